"""Annotation files of benchmarks, read so that every fault names file and row: JSON, JSON lines and parquet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bev.errors import UserError, require

_POINTER = b"version https://git-lfs"
Kind = TypeVar("Kind")


def find_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of the files that is there.

    Args:
        root: folder of the benchmark's data.
        names: where the file may lie in it, as relative paths.
        what: the file is, and where it comes from, for the message.

    Raises:
        UserError: none is there.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --root names the folder of {what}")
    for name in names:
        if (root / name).is_file():
            return root / name
    raise UserError(f"{root}: lacks {' or '.join(names)}, {what}")


def read_json(path: Path) -> Any:
    """A JSON file's content; of a file whose name ends in .jsonl, the list of its lines.

    Raises:
        UserError: it is missing, no UTF-8, no JSON, or a git-lfs pointer.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if data.startswith(_POINTER):
        raise UserError(f"{path}: is a git-lfs pointer, not the file itself; run `git lfs pull` in its repository")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        return [_parsed(line, f"{path}, line {number}") for number, line in lines]
    return _parsed(text, str(path))


def read_rows(path: Path) -> list[tuple[Mapping[str, Any], str]]:
    """The objects of a JSON list, of JSON lines or of a parquet file, each with where it is from.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: must hold a list of rows, holds a {type(rows).__name__}")
    return as_rows(rows, str(path))


def as_rows(rows: Any, where: str) -> list[tuple[Mapping[str, Any], str]]:
    """The objects of a list, each with where it is from.

    Raises:
        UserError: it is no list, or one of its rows is no object.
    """
    if not isinstance(rows, list):
        raise UserError(f"{where}: must be a list of rows, is a {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{where}, row {number}: must be an object, is {str(row)[:60]!r}")
    return [(row, f"{where}, row {number}") for number, row in enumerate(rows, start=1)]


def needed(row: Mapping[str, Any], key: str, kind: type[Kind] | tuple[type, ...], where: str) -> Any:
    """The value of a key that must be there.

    Args:
        row: of an annotation.
        key: its key.
        kind: of the value; a bool is no int.
        where: file and row.

    Raises:
        UserError: it is missing, or of another kind.
    """
    if key not in row:
        raise UserError(f"{where}: has no {key!r}; is it the benchmark's own file?")
    value = row[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(each.__name__ for each in kinds)
        raise UserError(f"{where}: {key!r} must be {names}, is {json.dumps(value, default=str)[:60]}")
    return value


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is no JSON ({error}); is it damaged or cut short?") from error


def _parquet_rows(path: Path) -> list[Any]:
    parquet = require("pyarrow.parquet", "eval")
    arrow = require("pyarrow", "eval")
    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, arrow.ArrowInvalid) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: does not read as parquet ({line}); is it damaged or cut short?") from error
