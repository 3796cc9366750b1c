"""The files that a dataset is released in: for each split a table in JSON lines, JSON or parquet, whole or in parts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed, read_rows

_SUFFIXES = (".jsonl", ".json", ".parquet")
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")

Rows = list[tuple[Mapping[str, Any], str]]
"""Each with where it is from."""


def find_split(root: Path, stem: str) -> list[Path]:
    """The files of a split: STEM.jsonl, .json or .parquet, or STEM-00000-of-00002.parquet and so on.

    Args:
        root: folder of the benchmark's data; the files may also lie in its folder "data".
        stem: of their names, with the folder where they have one of their own.

    Returns:
        Empty where there are none.

    Raises:
        UserError: parts are missing.
    """
    for folder in (root, root / "data"):
        for suffix in _SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return [folder / f"{stem}{suffix}"]
        start = folder / stem
        parts = sorted(path for path in start.parent.glob(f"{start.name}-*.parquet") if _PART.search(path.name))
        if parts:
            of = {(match[1], match[2]) for path in parts if (match := _PART.search(path.name))}
            total = max(int(count) for _, count in of)
            if len(parts) != total or len({count for _, count in of}) > 1:
                raise UserError(f"{parts[0]}: of its {total} parts {len(parts)} are there; fetch the others too")
            return parts
    return []


def read_split(root: Path, stems: Sequence[str], what: str) -> Rows:
    """The rows of the first split that is there.

    Args:
        root: folder of the benchmark's data.
        stems: as `find_split` takes them, the newest release first.
        what: the files are, and where they come from, for the message.

    Raises:
        UserError: none is there, or one cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --root names the folder of {what}")
    for stem in stems:
        files = find_split(root, stem)
        if files:
            return [row for file in files for row in read_rows(file)]
    names = " or ".join(f"{stem}.{{jsonl,json,parquet}}" for stem in stems)
    raise UserError(f"{root}: lacks {names}, {what}")


def row_ids(rows: Rows, key: str, kind: str) -> list[str]:
    """The ids of rows: what stands under a key, and where rows of several kinds share a number, KIND-NUMBER for all.

    Args:
        rows: of a split.
        key: of the id: a number or a text.
        kind: the key of the kind of question.

    Raises:
        UserError: a row has no id.
    """
    plain = [str(needed(row, key, (int, str), where)) for row, where in rows]
    kinds = [str(needed(row, kind, str, where)) for row, where in rows]
    if len(set(plain)) == len(set(zip(plain, kinds, strict=True))):
        return plain
    return [f"{kind}-{id}" for id, kind in zip(plain, kinds, strict=True)]
