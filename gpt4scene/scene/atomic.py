"""Writing so that nothing half-written looks whole, and only into folders that are ours."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bev.errors import UserError

CACHE_NAME = ".cache"
SCHEMA_NAME = "gpt4scene/scene"

# backup programs leave a folder with this tag out (bford.info/cachedir), and we know our own by it
_TAG_NAME = "CACHEDIR.TAG"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Outputs of gpt4scene's steps; deleting them costs only time.\n"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def claim_folder(path: Path) -> None:
    """Make `path` a folder of ours, or say why it cannot be one.

    A folder is ours when it is new or empty, holds a scene.json of ours, or was claimed before.

    Raises:
        UserError: it is a file, holds something else, or cannot be written.
    """
    with write_errors(path):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; give a folder to write the scene to")
        if path.is_dir() and any(path.iterdir()) and not is_ours(path):
            raise UserError(f"{path}: holds something that is not a scene; give a new or empty folder")
        try:
            (path / CACHE_NAME).mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileNotFoundError, FileExistsError) as error:
            raise UserError(f"{path}: no folder can be made there ({error.strerror}); give another one") from error
        tag = path / CACHE_NAME / _TAG_NAME
        if not tag.exists():
            write_bytes(tag, _TAG.encode())


def is_ours(path: Path) -> bool:
    """Whether a folder was claimed by `claim_folder`, or holds a scene.json of any version of ours."""
    tag = path / CACHE_NAME / _TAG_NAME
    if tag.is_file() and tag.read_text(errors="replace") == _TAG:
        return True
    try:
        document = json.loads((path / "scene.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and str(document.get("schema", "")).startswith(f"{SCHEMA_NAME}@")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none: under a temporary name, then renamed."""
    with fresh_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def fresh_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, with its ending, that becomes `path` when the block ends well."""
    temporary = path.with_name(f".half-written-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission, met while writing below `folder`, into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and _concerns(error, folder):
            raise UserError(f"{folder}: the disk is full; free some space, or give another folder") from error
        if error.errno in _FORBIDDEN and _concerns(error, folder):
            raise UserError(f"{folder}: no permission to write; give another folder") from error
        raise


def lock_folder(path: Path, folder: Path) -> IO[str]:
    """Hold a folder until the file is closed or the process ends, however it ends.

    Args:
        path: of the file that is locked; made when missing.
        folder: that is held, for the message.

    Raises:
        UserError: another process holds it.
    """
    stream = path.open("w")
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows, where two runs in one folder are the user's to avoid
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise UserError(f"{folder}: another run is writing to it; wait for that one, or give another folder") from error
    return stream


def _concerns(error: OSError, folder: Path) -> bool:
    """Not so when it names a file elsewhere, such as an input that could not be read."""
    if not isinstance(error.filename, str | os.PathLike):
        return True
    path, folder = Path(error.filename).absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)
