"""A dataset as tar files with an index: fast to read in order, as WebDataset does, and at any place, as training does.

`SPLIT-000000.tar` and its followers hold for each scene `SCENE.jsonl`, its conversations, and `SCENE.bev.jpg`,
`SCENE.000120.jpg` ...: WebDataset takes what has one name up to the first dot for one sample, here a scene, whose
thousands of questions share its images. `SPLIT.index.json` says where in which file each image and each conversation
lies, so that both can be had without reading what is before them.
"""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import read_json
from gpt4scene.datasets.parts import ScenePart
from gpt4scene.prompting.conversation import Conversation, Image, Message
from gpt4scene.prompting.conversation_file import Sample, read_sample

SCHEMA = "gpt4scene/shards@1"
_BLOCK = tarfile.BLOCKSIZE


def shard_writers(
    out: Path, parts: Sequence[ScenePart], split: str, *, shard_bytes: int
) -> dict[str, Callable[[Path], object]]:
    """What writes each tar file of a split, and its index last, by the files' names.

    A scene is in one tar file whole. The bytes depend on the parts and on nothing else.

    Args:
        out: the dataset's folder, in which the parts' images are.
        parts: of all scenes, in the order in which they are written.
        split: which conversations.
        shard_bytes: a tar file that has come to so many gets no further scene.

    Raises:
        UserError: two scenes have names that differ in nothing but dots.
    """
    index: dict[str, Any] = {"schema": SCHEMA, "split": split, "shards": [], "images": {}, "samples": {}}
    writers: dict[str, Callable[[Path], object]] = {}
    keys: dict[str, str] = {}
    for number, group in enumerate(_groups(parts, split, shard_bytes)):
        for part in group:
            key = part.name.replace(".", "_")
            if keys.setdefault(key, part.name) != part.name:
                raise UserError(f"scenes {keys[key]} and {part.name} are one sample to WebDataset; rename one of them")
        name = f"{split}-{number:06d}.tar"
        writers[name] = _shard_writer(out, group, split, name, index)
    writers[f"{split}.index.json"] = lambda path: path.write_bytes(
        f"{json.dumps(index, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")
    )
    return writers


def _groups(parts: Sequence[ScenePart], split: str, shard_bytes: int) -> Iterator[list[ScenePart]]:
    group: list[ScenePart] = []
    size = 0
    for part in parts:
        lines = part.lines(split, "jsonl")
        if not lines.is_file():
            continue
        group.append(part)
        size += lines.stat().st_size + sum(part.images.values())
        if size >= shard_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _shard_writer(
    out: Path, group: Sequence[ScenePart], split: str, name: str, index: dict[str, Any]
) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        number = len(index["shards"])
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for part in group:
                key = part.name.replace(".", "_")
                data = part.lines(split, "jsonl").read_bytes()
                at = _add(tar, f"{key}.jsonl", data)
                for line in data.splitlines(keepends=True):
                    index["samples"][json.loads(line)["id"]] = [number, at, len(line)]
                    at += len(line)
                for image in part.images:
                    pixels = (out / image).read_bytes()
                    at = _add(tar, f"{key}.{Path(image).name}", pixels)
                    index["images"][image] = [number, at, len(pixels)]
        index["shards"].append({"file": name, "bytes": path.stat().st_size})

    return write


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file that is the same whoever adds it and when; where in the tar its data begins."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    return tar.offset - (len(data) + _BLOCK - 1) // _BLOCK * _BLOCK


class Shards:
    """A split in tar files, read at any place; may be handed to other processes and used by several threads."""

    def __init__(self, index: Path | str) -> None:
        """Open a split.

        Args:
            index: SPLIT.index.json, beside its tar files.

        Raises:
            UserError: the index is missing or damaged, or a tar file is, or was cut short.
        """
        self.path = Path(index)
        content = read_json(self.path)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise UserError(f"{self.path}: is no index of shards of this version ({SCHEMA}); build the dataset again")
        self._files = [self.path.parent / shard["file"] for shard in content["shards"]]
        for path, shard in zip(self._files, content["shards"], strict=True):
            found = path.stat().st_size if path.is_file() else None
            if found != shard["bytes"]:
                there = "is missing" if found is None else f"has {found:,} bytes"
                raise UserError(f"{path}: {there}, its index says {shard['bytes']:,}; copy or build it again")
        self._images: Mapping[str, Sequence[int]] = content["images"]
        self._samples: Mapping[str, Sequence[int]] = content["samples"]
        self._begin()

    def _begin(self) -> None:
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all conversations, in their order."""
        return tuple(self._samples)

    def sample(self, id: str, *, images: bool = True) -> Sample:
        """A conversation.

        Args:
            id: one of `ids`.
            images: put the images' bytes into it; else it has their paths alone, for `image`.

        Raises:
            UserError: there is no such conversation, or it is damaged.
        """
        if id not in self._samples:
            raise UserError(f"{self.path}: holds no conversation {id!r}")
        sample = read_sample(self._read(self._samples[id]), f"{self.path}, {id}", self.path.parent)
        return replace(sample, conversation=self._filled(sample.conversation)) if images else sample

    def image(self, path: str) -> bytes:
        """An image's file by its path, as `sample` with `images=False` has it.

        Raises:
            UserError: there is no such image.
        """
        name = Path(os.path.relpath(path, self.path.parent)).as_posix()
        if name not in self._images:
            raise UserError(f"{self.path}: holds no image {name!r}")
        return self._read(self._images[name])

    def _filled(self, conversation: Conversation) -> Conversation:
        def filled(message: Message) -> Message:
            parts = (replace(p, data=self.image(p.path)) if isinstance(p, Image) else p for p in message.parts)
            return replace(message, parts=tuple(parts))

        return Conversation(tuple(filled(message) for message in conversation.messages))

    def _read(self, place: Sequence[int]) -> bytes:
        number, at, size = place
        with self._lock:
            if number not in self._open:
                self._open[number] = os.open(self._files[number], os.O_RDONLY)
        data = os.pread(self._open[number], size, at)
        if len(data) != size:
            raise UserError(f"{self._files[number]}: ends before it should; copy or build it again")
        return data

    def close(self) -> None:
        """Close the tar files; they are opened again when they are needed."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()
