"""A dataset's own files: they appear when all of its scenes are done, and go before any of them changes."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.datasets.dataset_info import dataset_info
from gpt4scene.datasets.parts import PARTS, Format, ScenePart, remove_others
from gpt4scene.datasets.report import report_markdown
from gpt4scene.datasets.shards import shard_writers
from gpt4scene.scene.atomic import lock_folder, write_bytes, write_errors

# backup programs leave a folder with this tag out (bford.info/cachedir), and we know our own by it
_TAG_NAME = "CACHEDIR.TAG"
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# Parts of a dataset of gpt4scene; deleting them costs only time.\n"
)
_PUBLISHED = "published.json"
"""Among the parts: which files make up the dataset; it comes last and goes first."""
_STAGED = ".half-written-"


@contextmanager
def claim_dataset(out: Path) -> Iterator[None]:
    """Make a folder a dataset's, and keep other runs out of it while the block runs.

    Raises:
        UserError: it is a file, holds something else, cannot be written, or another run is at work in it.
    """
    tag = out / PARTS / _TAG_NAME
    with write_errors(out):
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file; give a folder to write the dataset to")
        ours = tag.is_file() and tag.read_text(errors="replace") == _TAG
        # a run that was killed may have made the folder of parts and not yet its tag
        if out.is_dir() and not ours and any(path.name != PARTS for path in out.iterdir()):
            raise UserError(f"{out}: holds something that is not a dataset of ours; give a new or empty folder")
        try:
            tag.parent.mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileNotFoundError, FileExistsError) as error:
            raise UserError(f"{out}: no folder can be made there ({error.strerror}); give another one") from error
        write_bytes(tag, _TAG.encode())
        lock = lock_folder(tag.with_name("lock"), out)
    with lock:
        yield


def is_published(out: Path, key: str) -> dict[str, Any] | None:
    """The report of a dataset that is there with this key; None where it is not, or lost files."""
    try:
        record = json.loads((out / PARTS / _PUBLISHED).read_bytes())
        whole = all((out / name).stat().st_size == size for name, size in record["files"].items())
        return json.loads((out / "report.json").read_bytes()) if whole and record["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def unpublish(out: Path) -> None:
    """Take the dataset's files away, and what a killed run had begun of them; its scenes' parts stay.

    Raises:
        UserError: no permission.
    """
    with write_errors(out):
        for name in _named_files(out):
            (out / name).unlink(missing_ok=True)
        for leftover in out.glob(f"{_STAGED}*"):
            leftover.unlink()
        (out / PARTS / _PUBLISHED).unlink(missing_ok=True)


def _named_files(out: Path) -> list[str]:
    """The files of the dataset that are there, or were to be: nobody else's."""
    try:
        files = json.loads((out / PARTS / _PUBLISHED).read_bytes())["files"]
        return [name for name in files if "/" not in name and "\\" not in name]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def publish(
    out: Path,
    parts: Sequence[ScenePart],
    splits: Sequence[str],
    formats: Sequence[Format],
    report: Mapping[str, Any],
    key: str,
    *,
    shard_bytes: int = 0,
) -> None:
    """Put the parts of a dataset together.

    Args:
        out: the dataset's folder.
        parts: of all its scenes, in the order in which they are written.
        splits: each becomes a file of each format.
        formats: of the files.
        report: of `report_of`.
        key: of `is_published`.
        shard_bytes: tar files of about so many bytes are written too, see `shard_writers`; 0: none.

    Raises:
        UserError: the disk is full, or may not be written.
    """
    writers: dict[str, Callable[[Path], object]] = {}
    for split in splits:
        if "jsonl" in formats:
            writers[f"{split}.jsonl"] = functools.partial(_join_jsonl, parts, split)
        if "sharegpt" in formats:
            writers[f"{split}.sharegpt.json"] = functools.partial(_join_sharegpt, parts, split)
        if shard_bytes:
            writers |= shard_writers(out, parts, split, shard_bytes=shard_bytes)
    if "sharegpt" in formats:
        writers["dataset_info.json"] = json_writer(dataset_info(splits))
    writers["report.json"] = json_writer(report)
    writers["report.md"] = lambda path: path.write_text(report_markdown(report), "utf-8")
    write_together(out, writers, key)
    with write_errors(out):
        remove_others(out, [part.name for part in parts])


def json_writer(content: Any) -> Callable[[Path], object]:
    """What writes JSON to a path."""
    text = f"{json.dumps(content, indent=1, ensure_ascii=False)}\n"
    return lambda path: path.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_together(out: Path, writers: Mapping[str, Callable[[Path], object]], key: str) -> None:
    """Write all files of a dataset under other names first, so that they appear together.

    Args:
        out: the dataset's folder.
        writers: by the file's name, what writes it to a path in `out`.
        key: of `is_published`.

    Raises:
        UserError: the disk is full, or may not be written; whatever a writer raises.
    """
    staged = {name: out / f"{_STAGED}{name}" for name in writers}
    record = out / PARTS / _PUBLISHED
    try:
        with write_errors(out):
            for name, write in writers.items():
                write(staged[name])
            sizes = {name: path.stat().st_size for name, path in staged.items()}
            # without a key first: so a run that is killed from here on leaves word of what it leaves
            write_bytes(record, json.dumps({"key": "", "files": sizes}).encode())
            for name, path in staged.items():
                path.replace(out / name)
            write_bytes(record, json.dumps({"key": key, "files": sizes}).encode())
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)


def _join_jsonl(parts: Sequence[ScenePart], split: str, path: Path) -> None:
    with path.open("wb") as stream:
        for lines in _files(parts, split, "jsonl"):
            with lines.open("rb") as source:
                shutil.copyfileobj(source, stream)


def _join_sharegpt(parts: Sequence[ScenePart], split: str, path: Path) -> None:
    """A JSON list, byte for byte as `write_sharegpt` writes it."""
    start = b"[\n"
    with path.open("wb") as stream:
        for lines in _files(parts, split, "sharegpt"):
            with lines.open("rb") as source:
                for line in source:
                    stream.write(start + line.removesuffix(b"\n"))
                    start = b",\n"
        stream.write(b"\n]\n" if start == b",\n" else b"[\n]\n")


def _files(parts: Sequence[ScenePart], split: str, format: Format) -> Iterator[Path]:
    return (path for part in parts if (path := part.lines(split, format)).is_file())
