"""Steps that are not done twice: each keeps its output, and what it was made from, under `.cache/`."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.scene.atomic import CACHE_NAME, claim_folder, is_ours, lock_folder, write_errors

_RECORD = ".step.json"
"""Hidden, so that it does not count when a step's output is itself the capture that is prepared."""
_HALF_WRITTEN = "half-written-"
_SAMPLE_BYTES = 1024


class Steps:
    """The steps of one scene folder; use it in a `with` block, which keeps a second run out of the folder.

    A step writes into a temporary folder that gets its name only when the step has ended, so a run that was
    interrupted or killed at any moment leaves nothing that looks done. Output that lost files, or whose files have
    other sizes than they were written with, does not count as done either.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False):
        """
        Args:
            folder: the scene folder; made when missing.
            overwrite: do every step again.

        Raises:
            UserError: the folder is not ours, cannot be written, or another run is at work in it.
        """
        claim_folder(folder)
        self.folder = folder
        self.seconds: dict[str, float] = {}
        """Wall time that each step took when it was made, in the order of `run`."""
        self.reused: list[str] = []
        """Names of the steps that were there already."""
        self._overwrite = overwrite
        self._cache = folder / CACHE_NAME
        self._digests: dict[str, str] = {}
        with write_errors(folder):
            self._lock = lock_folder(self._cache / "lock", folder)
            for leftover in self._cache.glob(f"{_HALF_WRITTEN}*"):
                shutil.rmtree(leftover)

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def run(
        self, name: str, key: Mapping[str, Any], make: Callable[[Path], None], *, after: Sequence[str] = ()
    ) -> Path:
        """The folder with a step's output, made now unless it is there already.

        Args:
            name: names the folder under `.cache/`.
            key: all that the output depends on, as JSON can hold it: inputs' fingerprints and arguments.
            make: writes the output into the empty folder that it is given.
            after: names of earlier steps that it builds on; their keys count as part of its own.

        Returns:
            the output folder, `.cache/<name>`.

        Raises:
            UserError: the disk is full or may not be written; whatever `make` raises.
        """
        full_key = {"version": version("gpt4scene"), "key": key, "after": {step: self._digests[step] for step in after}}
        text = json.dumps(full_key, sort_keys=True, allow_nan=False)
        self._digests[name] = hashlib.sha256(text.encode()).hexdigest()
        output = self._cache / name
        record = None if self._overwrite else _read_record(output / _RECORD)
        if record and record.get("key") == json.loads(text) and record.get("files") == _sizes(output):
            self.reused.append(name)
        else:
            record = self._make(name, json.loads(text), make)
        self.seconds[name] = float(record["seconds"])
        return output

    def _make(self, name: str, key: Any, make: Callable[[Path], None]) -> dict[str, Any]:
        output, half_written = self._cache / name, self._cache / f"{_HALF_WRITTEN}{name}"
        start = time.perf_counter()
        try:
            with write_errors(self.folder):
                half_written.mkdir()
                make(half_written)
                seconds = round(time.perf_counter() - start, 3)
                record = {"key": key, "seconds": seconds, "files": _sizes(half_written)}
                (half_written / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
                if output.exists():
                    old = self._cache / f"{_HALF_WRITTEN}old-{name}"
                    output.replace(old)
                    shutil.rmtree(old)
                half_written.replace(output)
        finally:
            shutil.rmtree(half_written, ignore_errors=True)
        return record


def fingerprint(path: Path, *others: Path) -> str:
    """A hash of the names, sizes and first and last bytes of a capture's files, in a second for 10,000 files.

    Hidden files and scene folders of ours within the capture do not count, nor does where the capture lies.

    Args:
        path: the capture's folder, or a file.
        others: files and folders beside it that belong to it, such as a calibration.

    Raises:
        UserError: one of them is missing.
    """
    digest = hashlib.sha256()
    for top in (path, *others):
        if not top.exists():
            raise UserError(f"{top}: no such file or folder")
        for name, file in _files(top):
            size = file.stat().st_size
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as stream:
                digest.update(stream.read(_SAMPLE_BYTES))
                if size > _SAMPLE_BYTES:
                    stream.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                    digest.update(stream.read(_SAMPLE_BYTES))
        digest.update(b"\0\0")
    return digest.hexdigest()[:32]


def _files(top: Path) -> Iterator[tuple[str, Path]]:
    """Name within `top` and path of every file below it, in a fixed order; links are followed, once."""
    if top.is_file():
        yield top.name, top
        return
    seen: set[str] = set()
    for folder, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or (Path(folder) != top and is_ours(Path(folder))):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file():
                yield file.relative_to(top).as_posix(), file


def _sizes(top: Path) -> dict[str, int]:
    """Name to bytes of every file below a folder: one that was cut short since then differs."""
    return {name: file.stat().st_size for name, file in _files(top)}


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("seconds"), int | float) else None
