"""Images that a benchmark's rows bring along: embedded in them, or as files beside them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image

_SUFFIX_BY_START = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def row_images(values: Sequence[Any], root: Path, *, name: str, where: str) -> tuple[Image, ...]:
    """The images of one row.

    Args:
        values: each as `row_image` takes it.
        root: folder of the benchmark's data, which paths are relative to.
        name: what to call images that have no name; they are numbered where there are several.
        where: file and row.

    Raises:
        UserError: as `row_image`.
    """
    several = len(values) > 1
    return tuple(
        row_image(value, root, name=f"{name}_{number}" if several else name, where=where)
        for number, value in enumerate(values, start=1)
    )


def row_image(value: Any, root: Path, *, name: str, where: str) -> Image:
    """One image, as the datasets library stores it.

    Args:
        value: {"bytes": ..., "path": ...} with bytes, or with a path alone; bytes; or a path.
        root, name, where: as `row_images` takes them.

    Raises:
        UserError: it is something else, is not there, or lies outside of the folder.
    """
    path = value.get("path") if isinstance(value, Mapping) else value
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(data, bytes):
        if not data:
            raise UserError(f"{where}: its image {name} is empty; is the file damaged?")
        return Image(_name_of(data, path, name), data=data)
    if isinstance(path, str) and path:
        return Image(str(_below(root, path, where)))
    raise UserError(f"{where}: its image {name} is neither bytes nor a path, but {str(value)[:60]!r}")


def _name_of(data: bytes, path: Any, name: str) -> str:
    if isinstance(path, str) and PurePosixPath(path).name:
        return PurePosixPath(path).name
    return name + next((suffix for start, suffix in _SUFFIX_BY_START.items() if data.startswith(start)), "")


def _below(root: Path, path: str, where: str) -> Path:
    """The file, which must lie in the folder by its name; links in the folder are the user's own and are followed."""
    normal = PurePosixPath(os.path.normpath(path.replace("\\", "/")))
    if normal.is_absolute() or normal.parts[:1] == ("..",) or "\0" in path:
        raise UserError(
            f"{where}: its image {path!a} lies outside of {root}; a dataset's images must lie in its folder"
        )
    file = root / normal
    if not file.is_file():
        raise UserError(f"{where}: its image {file} is not there; fetch the benchmark's images too")
    return file
