"""A scene as a model is shown it: the images at its size, and what the prompt must know about them.

Drawn images are kept in the scene folder, under `.cache/shown/`, and shown again without decoding or drawing anything:
thousands of questions about a scene cost one drawing.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Detail, Image, Message, Text
from gpt4scene.prompting.presets import PRESETS, Preset, choose_frames
from gpt4scene.prompting.prompts import system_prompt
from gpt4scene.scene.atomic import CACHE_NAME
from gpt4scene.scene.composite import compose_images, grid_shape
from gpt4scene.scene.contents import SceneContents, SceneFrame
from gpt4scene.scene.document import document_text, frame_name
from gpt4scene.scene.views import Views, views_at
from gpt4scene.vlm.protocol import ViewSize

logger = logging.getLogger(__name__)

_DRAWING = 2
"""Raise it when images are drawn otherwise: those that are kept then count no more."""
_INDEX = "index.json"
# thin white digits on dark plates with coloured borders: halving the resolution of colour blurs the borders
_JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


@dataclass(frozen=True)
class Shown:
    """A scene's images for a model, and what is on them."""

    preset: Preset
    images: tuple[Image, ...]
    """In the preset's order, JPEG; files where a scene folder holds them, else bytes."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each, pixels."""
    frames: tuple[int, ...]
    """Numbers in the source of the frames that are shown, in time order."""
    ids: tuple[int, ...]
    """The numbers that are to be seen on the images, ascending."""
    has_bev: bool
    bev_metres: tuple[float, float] | None
    """Width and height of the area that the image of the bird's-eye view covers; None without one, and where the
    scene's scale is unknown."""

    @property
    def has_marks(self) -> bool:
        """Whether any image carries a number."""
        return bool(self.ids)

    @property
    def system_prompt(self) -> str:
        """What the model is told about the images, the same for every task."""
        return system_prompt(
            layout=self.preset.layout,
            frames=len(self.frames),
            bev=self.has_bev,
            marks=self.has_marks,
            bev_metres=self.bev_metres,
        )

    def conversation(self, text: str) -> Conversation:
        """The system message, and the user's first turn: all images, then a text, as `prompts` words it."""
        return Conversation(
            (Message("system", (Text(self.system_prompt),)), Message("user", (*self.images, Text(text))))
        )


def show(
    scene: SceneContents,
    *,
    size: ViewSize,
    preset: Preset = PRESETS["default"],
    bev: bool = True,
    marks: bool = True,
    drop_marks_share: float = 0.0,
    seed: int = 0,
    folder: Path | None = None,
    frame_detail: Detail = "auto",
) -> Shown:
    """Show a scene: draw its images at a model's size, or take those that were drawn before.

    Args:
        scene: a scene.
        size: at which the model takes images without resampling; in a grid, of one frame, and smaller where the grid
            would be scaled down.
        preset: which frames, in which layout.
        bev: show the bird's-eye view.
        marks: draw the numbers.
        drop_marks_share: 0 to 1, how many of the objects that carry a number lose it, on all images alike.
        seed: which of them. A larger share drops those of a smaller one too.
        folder: the scene folder that `scene` was loaded from: images are kept there and used again. Where it cannot be
            written, and when None, they are bytes in memory.
        frame_detail: how closely a hosted model looks at separate frames. At the bird's-eye view, and at a grid, in
            which frames are small, it always looks closely.

    Raises:
        UserError: the scene has too few frames for the preset; nothing would be shown; `drop_marks_share` is out of
            range; `folder` holds no scene.
    """
    frames = choose_frames(scene, preset, folder=folder)
    if not bev and not frames:
        raise UserError(f"scene {scene.name}: has no frames, so without the bird's-eye view nothing would be shown")
    dropped = dropped_ids(scene, frames, drop_marks_share, seed) if marks else frozenset[int]()
    in_grid = preset.layout == "grid" and frames
    frame_size = cell_size(size, *grid_shape(len(frames))) if in_grid else size
    drawing = _Drawing(scene, frames, preset, size, frame_size, bev, marks, dropped)
    kept = _kept(drawing, folder) if folder is not None else _draw(drawing)
    grid = preset.layout == "grid"
    images = tuple(
        Image(file.path, detail="high" if grid or Path(file.path).name == _BEV_NAME else frame_detail, data=file.data)
        for file in kept.files
    )
    return Shown(
        preset=preset,
        images=images,
        sizes=tuple(file.size for file in kept.files),
        frames=tuple(frame.index for frame in frames),
        ids=kept.ids,
        has_bev=bev,
        bev_metres=kept.bev_metres if bev and scene.is_metric else None,
    )


def cell_size(size: ViewSize, rows: int, columns: int) -> ViewSize:
    """The size of a cell, so that the grid stays within what the model takes without scaling it down, marks and all."""
    if size.longest_px is None:
        return size
    scale = min(1.0, size.longest_px / (columns * size.width), size.longest_px / (rows * size.height))
    width, height = (int(side * scale) // size.multiple_of * size.multiple_of for side in (size.width, size.height))
    return replace(size, width=width, height=height)


def dropped_ids(scene: SceneContents, frames: Collection[SceneFrame], share: float, seed: int) -> frozenset[int]:
    """The objects whose numbers are not drawn: a share of those that carry one, the same in every run.

    Args:
        scene: a scene.
        frames: of it, that are shown.
        share: 0 to 1.
        seed: together with the scene's name, which of them.

    Raises:
        UserError: the share is out of range.
    """
    if not 0 <= share <= 1:
        raise UserError(f"the share of marks to drop must be 0 to 1, got {share}")
    marked = {marker.id for view in (scene.bev, *frames) for marker in view.markers}

    def rank(id: int) -> bytes:
        return hashlib.sha256(f"{seed} {id} {scene.name}".encode()).digest()

    return frozenset(sorted(marked, key=rank)[: round(share * len(marked))])


@dataclass(frozen=True, eq=False)
class _Drawing:
    """All that the images depend on."""

    scene: SceneContents
    frames: tuple[SceneFrame, ...]
    preset: Preset
    size: ViewSize
    """Of the bird's-eye view."""
    frame_size: ViewSize
    """Of each frame; smaller where a grid of them must stay within what the model takes."""
    bev: bool
    marks: bool
    dropped: frozenset[int]

    def key(self) -> str:
        """Names the folder of the images."""
        parts = {
            "drawing": [_DRAWING, version("gpt4scene")],
            # of the scene that is drawn: by now the folder may hold a newer one
            "scene": hashlib.sha256(document_text(self.scene).encode()).hexdigest(),
            "layout": self.preset.layout,
            "frames": [frame.index for frame in self.frames],
            "sizes": [[size.width, size.height, size.multiple_of] for size in (self.size, self.frame_size)],
            "bev": self.bev,
            "marks": self.marks,
            "dropped": sorted(self.dropped),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _File:
    """One drawn image."""

    path: str
    size: tuple[int, int]
    data: bytes | None


@dataclass(frozen=True)
class _Drawn:
    """The images, and what is known of them only once they are drawn."""

    files: tuple[_File, ...]
    ids: tuple[int, ...]
    bev_metres: tuple[float, float]


_BEV_NAME = "bev.jpg"


def _draw(drawing: _Drawing) -> _Drawn:
    """Images in memory."""
    if drawing.frame_size == drawing.size:
        views = _views(drawing, drawing.frames, drawing.size)
    else:
        above, taken = _views(drawing, (), drawing.size), _views(drawing, drawing.frames, drawing.frame_size)
        views = replace(taken, bev=above.bev, bev_markers=above.bev_markers, bev_camera=above.bev_camera)
    named = _named_images(views, drawing)
    shown = (*((views.bev_markers,) if drawing.bev else ()), *views.frame_markers)
    camera = views.bev_camera
    return _Drawn(
        files=tuple(_File(name, (image.shape[1], image.shape[0]), _jpeg(image)) for name, image in named.items()),
        ids=tuple(sorted({marker.id for markers in shown for marker in markers})),
        bev_metres=(camera.width * camera.metres_per_pixel, camera.height * camera.metres_per_pixel),
    )


def _views(drawing: _Drawing, frames: Sequence[SceneFrame], size: ViewSize) -> Views:
    return views_at(
        drawing.scene.bev,
        frames,
        size.width,
        size.height,
        size.multiple_of,
        marks=drawing.marks,
        drop_marks=drawing.dropped,
    )


def _named_images(views: Views, drawing: _Drawing) -> dict[str, np.ndarray]:
    """The images by the names of their files, in the order in which they are shown."""
    if not drawing.frames:
        return {_BEV_NAME: views.bev}
    grid = drawing.preset.layout == "grid"
    names = ["grid.jpg"] if grid else [f"{frame_name(frame.index)}.jpg" for frame in drawing.frames]
    names = [*names, _BEV_NAME] if grid else [_BEV_NAME, *names]
    named = dict(zip(names, compose_images(views, drawing.preset.layout), strict=True))
    if not drawing.bev:
        del named[_BEV_NAME]
    return named


def _jpeg(image: np.ndarray) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)
    return data.tobytes()


def _kept(drawing: _Drawing, folder: Path) -> _Drawn:
    """The images in the scene folder, drawn now unless they are there."""
    if not (folder / "scene.json").is_file():
        raise UserError(f"{folder}: holds no scene.json; give the folder that the scene was loaded from")
    place = folder / CACHE_NAME / "shown" / drawing.key()
    found = _read_index(place)
    if found is not None:
        return found
    drawn = _draw(drawing)
    try:
        _write(place, drawn)
    except OSError as error:  # somebody else's folder, or a full disk: the images are there all the same
        logger.warning("%s: images cannot be kept there (%s); they are drawn anew every time", place, error.strerror)
        return drawn
    return _Drawn(
        tuple(_File(str(place / file.path), file.size, None) for file in drawn.files), drawn.ids, drawn.bev_metres
    )


def _write(place: Path, drawn: _Drawn) -> None:
    """The index comes last, so that its presence means that the images are whole."""
    place.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"ids": drawn.ids, "bev_metres": drawn.bev_metres, "images": []}
    for file in drawn.files:
        assert file.data is not None
        _replace(place / file.path, file.data)
        index["images"].append({"name": file.path, "size": file.size, "bytes": len(file.data)})
    _replace(place / _INDEX, json.dumps(index).encode())


def _replace(path: Path, data: bytes) -> None:
    """Write a whole file or none; two processes that draw the same scene write the same bytes under names apart."""
    temporary = path.with_name(f".half-written-{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_index(place: Path) -> _Drawn | None:
    """The images of a folder; None where it lacks one, or has one of another length than was written."""
    try:
        index: Mapping[str, Any] = json.loads((place / _INDEX).read_bytes())
        files = []
        for image in index["images"]:
            path = place / image["name"]
            if path.stat().st_size != image["bytes"]:
                return None
            files.append(_File(str(path), (image["size"][0], image["size"][1]), None))
        return _Drawn(tuple(files), tuple(index["ids"]), (index["bev_metres"][0], index["bev_metres"][1]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # not there, or damaged: drawn again
