"""Records of JSONL files and of JSON lists: every fault names file and line, and none is written by halves."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bev.errors import UserError
from gpt4scene.scene.atomic import fresh_file, write_errors

_BOM = b"\xef\xbb\xbf"


def records(stream: IO[bytes], path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each record of JSONL or of a JSON list, and what it is called in errors."""
    start = stream.read(4096)
    stream.seek(0)
    if not start.removeprefix(_BOM).lstrip().startswith(b"["):
        yield from line_records(stream, path)
        return
    for position, record in enumerate(parsed_json(stream.read(), str(path))):
        where = f"{path}, record {position}"
        yield as_object(record, where), where


def line_records(stream: IO[bytes], path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each line's object, and what it is called in errors; lines end at a line feed and nowhere else."""
    for number, line in enumerate(stream, 1):
        if line.removeprefix(_BOM).strip():
            where = f"{path}, line {number}"
            yield as_object(parsed_json(line, where), where), where


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file of records, closed at the end.

    Raises:
        UserError: there is none.
    """
    try:
        stream = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file of conversations") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; give the file of conversations in it") from error
    with stream:
        yield stream


def parsed_json(data: bytes, where: str) -> Any:
    """The value of JSON, with or without a mark of the byte order.

    Raises:
        UserError: it is no UTF-8 or no JSON; `where` is what it is called.
    """

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(data.removeprefix(_BOM).decode(), parse_constant=no_number)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise UserError(f"{where}: is not JSON that can be read (lists in lists without end)") from error
    except ValueError as error:
        raise UserError(f"{where}: is not JSON ({error})") from error


def as_object(value: Any, where: str) -> dict[str, Any]:
    """The value, which must be an object.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be an object, found {json_text(value)[:60]}")
    return value


def json_text(value: Any) -> str:
    """On one line; a text that is no UTF-8 is escaped, and read back as it was.

    Raises:
        TypeError, ValueError: it is nothing that JSON holds.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file, whole or not at all; the lines bring their ends.

    Raises:
        UserError: the disk is full, or may not be written; whatever the lines raise.
    """
    with write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)
