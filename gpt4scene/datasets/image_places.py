"""Where images lie that a released file names by paths of its maker's own folders."""

import os
import shutil
from pathlib import Path

from bev.errors import UserError
from gpt4scene.scene.atomic import fresh_file


class ImagePlaces:
    """Finds images below one folder and nowhere else, and can copy them.

    By what is written: links in the folder are followed, as those who keep images on another disk expect.
    """

    def __init__(self, root: Path, bases: list[Path], strip: str = "") -> None:
        """
        Args:
            root: nothing outside of it is an image.
            bases: folders that paths may be relative to, the likeliest first.
            strip: what paths begin with and is left out of them.
        """
        self._root, self._bases, self._strip = _plain(root), [_plain(base) for base in bases], strip
        self._found: dict[str, Path | None] = {}

    def find(self, path: str, where: str) -> Path | None:
        """The file of a path; None where there is none.

        Args:
            path: as it is written.
            where: what names it, for the message.

        Raises:
            UserError: it leads out of the root.
        """
        if path not in self._found:
            if "\0" in path:
                raise UserError(f"{where}: image {path!r} is no path")
            self._found[path] = self._search(path.removeprefix(self._strip), path, where)
        return self._found[path]

    @property
    def missing(self) -> list[str]:
        """All paths that were asked for and are not there."""
        return [path for path, file in self._found.items() if file is None]

    @property
    def files(self) -> list[Path]:
        """All files that were found."""
        return list(dict.fromkeys(file for file in self._found.values() if file is not None))

    def _search(self, path: str, written: str, where: str) -> Path | None:
        inside = True
        for base in self._bases:
            file = _plain(base / path)
            if not file.is_relative_to(self._root):
                inside = False
            elif file.is_file():
                self._bases.remove(base)
                self._bases.insert(0, base)  # where one lies, lie the others
                return file
        if not inside:
            raise UserError(
                f"{where}: image {written} lies outside of {self._root}, the folder that is imported; where that is"
                " only its maker's own folder, leave it out with --strip"
            )
        return None

    def copy(self, folder: Path) -> dict[Path, Path]:
        """Copy all files that were found, with their folders and times; those that are there already stay.

        Returns:
            from each file to its copy.
        """
        copies = {}
        for file in self.files:
            copies[file] = target = folder / file.relative_to(self._root)
            if not (target.is_file() and _state(target) == _state(file)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with fresh_file(target) as temporary:
                    shutil.copy2(file, temporary)
        return copies


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _plain(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
