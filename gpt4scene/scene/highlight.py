"""A picture of just some objects of a scene: from above and in the frames that show the most of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gpt4scene.scene.contents import BevView, SceneFrame, SceneInstance
from gpt4scene.scene.scene import Scene
from markers.draw import draw_markers, id_color
from markers.placement import place_markers

if TYPE_CHECKING:
    from PIL import ImageFont

MAX_FRAMES = 4
DIGIT_HEIGHT_PX = 22

_HEIGHT_PX = 840
"""Of the bird's-eye view in the picture, unless that makes it wider than `_BEV_WIDTH_PX`."""
_BEV_WIDTH_PX = 1120
_MARGIN_PX = 24
_GAP_PX = 12
_NOTE_PX = 17
_CAPTION_PX = 22
_PAGE, _INK, _SOFT = (255, 255, 255), (29, 29, 27), (107, 106, 101)

_FADE = 0.62
"""How much of what is not named goes over into `_FOG`, after it lost its colours."""
_FOG = 236
_TINT = 0.1
"""How much of an object's own colour its number's colour takes over."""
_RIM = (16, 16, 16)
_SPECK_PX, _HOLE_PX = 40, 250
"""Pieces and holes of an object that are smaller get no outline."""
_ROWS = {1: 1, 3: 3}
"""Rows of frames beside the bird's-eye view, by their number; 2 for any other."""
_MIN_SHARE = 0.02
"""A frame that shows less of an object than this share of what the best frame shows of it does not count for it."""
_SEEN_BEFORE = 0.4
"""What an object that a chosen frame shows already counts for in the choice of another."""


@dataclass(frozen=True, eq=False)
class _Tile:
    """One view in the picture."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    note: str
    ids: frozenset[int]
    """What it shows of the named objects."""


def highlight_picture(scene: Scene, ids: Sequence[int], *, max_frames: int = MAX_FRAMES) -> np.ndarray:
    """The bird's-eye view, and frames, with some objects in colour and everything else faded.

    Args:
        scene: where the objects are.
        ids: which objects; repeats do not matter. Without any, the bird's-eye view alone, nothing faded.
        max_frames: at most so many frames; those that show the most of the objects, in time order.

    Returns:
        (H, W, 3) uint8 RGB, at most about 2400 px wide; below the views a line says which object is which, and which
        ones no view shows.

    Raises:
        UserError: the scene holds no object of such a number.
    """
    named = [scene.instance(id) for id in dict.fromkeys(ids)]
    wanted = [instance.id for instance in named]
    frames = choose_frames(scene.frames, wanted, max_frames)
    height = _bev_height(scene.bev)
    rows = _ROWS.get(len(frames), 2)
    cell_px = (height - (rows - 1) * (_NOTE_PX + 2 * _GAP_PX)) // rows
    bev = _highlighted(scene.bev, wanted, height, "from above")
    cells = [_highlighted(frame, wanted, cell_px, f"frame {frame.index}") for frame in frames]
    columns = [[bev], *(cells[start : start + rows] for start in range(0, len(cells), rows))]
    seen = bev.ids.union(*(cell.ids for cell in cells))
    return np.concatenate([_page(columns), _caption(columns, named, seen)], axis=0)


def choose_frames(frames: Sequence[SceneFrame], ids: Sequence[int], most: int) -> list[SceneFrame]:
    """The frames that together show the most of some objects, in time order.

    What a frame shows of an object is measured against the frame that shows the most of it, so that a small object
    counts as much as a large one; an object that is shown already counts for less in the choice of the next frame.
    """
    shown = [{marker.id: marker.visible_px for marker in frame.markers} for frame in frames]
    best = {id: max((pixels.get(id, 0) for pixels in shown), default=0) for id in ids}
    shares = [
        {id: pixels[id] / best[id] for id in ids if id in pixels and pixels[id] >= _MIN_SHARE * best[id]}
        for pixels in shown
    ]
    weight = dict.fromkeys(ids, 1.0)
    chosen: list[int] = []
    while len(chosen) < most:
        gains = [sum(weight[id] * share for id, share in each.items()) for each in shares]
        left = [i for i in range(len(frames)) if i not in chosen and gains[i] > 0]
        if not left:
            break
        chosen.append(max(left, key=lambda i: gains[i]))
        for id, share in shares[chosen[-1]].items():
            weight[id] *= 1 - (1 - _SEEN_BEFORE) * share
    return [frames[i] for i in sorted(chosen)]


def _bev_height(bev: BevView) -> int:
    width, height = bev.camera.width, bev.camera.height
    return max(1, min(_HEIGHT_PX, int(_BEV_WIDTH_PX * height / width)))


def _highlighted(view: BevView | SceneFrame, ids: Sequence[int], height: int, note: str) -> _Tile:
    """A view at another height with some objects in colour, outlined and numbered."""
    width = max(1, round(view.camera.width * height / view.camera.height))
    smaller = height < view.camera.height
    image = cv2.resize(view.image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    if not ids:
        return _Tile(image, note, frozenset())
    shown = cv2.resize(view.ids, (width, height), interpolation=cv2.INTER_NEAREST)
    shown[~np.isin(shown, list(ids))] = -1
    there = [id for id in ids if (shown == id).any()]
    picture = _faded(image)
    for id in there:
        _color_in(picture, image, shown == id, id)
    marks = place_markers(shown, digit_height_px=DIGIT_HEIGHT_PX, min_visible_px=1)
    return _Tile(draw_markers(picture, marks, digit_height_px=DIGIT_HEIGHT_PX), note, frozenset(there))


def _faded(image: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pale = np.round(gray * (1 - _FADE) + _FOG * _FADE).astype(np.uint8)
    return cv2.cvtColor(pale, cv2.COLOR_GRAY2RGB)


def _color_in(picture: np.ndarray, image: np.ndarray, mask: np.ndarray, id: int) -> None:
    """Put an object's own pixels, tinted, and its outline on the faded picture."""
    color = np.array(id_color(id), np.float32)
    picture[mask] = np.round(image[mask] * (1 - _TINT) + color * _TINT).astype(np.uint8)
    outlines = _outlines(mask)
    cv2.drawContours(picture, outlines, -1, _RIM, 5, cv2.LINE_AA)
    cv2.drawContours(picture, outlines, -1, id_color(id), 3, cv2.LINE_AA)


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of an object's pixels, without the map's frayed edges, its pinholes and its specks."""
    solid = mask.astype(np.uint8)
    smooth = (cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 3.0) > 0.5).astype(np.uint8)
    found, tree = cv2.findContours(smooth, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    least = [_HOLE_PX if tree[0][i][3] >= 0 else _SPECK_PX for i in range(len(found))]
    large = [outline for outline, area in zip(found, least, strict=True) if cv2.contourArea(outline) >= area]
    # what is too small or too thin for that is outlined as it is
    return large or list(cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def _page(columns: Sequence[Sequence[_Tile]]) -> np.ndarray:
    """The tiles in columns, each with its note above it."""
    from PIL import Image, ImageDraw

    head = _NOTE_PX + _GAP_PX
    heights = [sum(tile.image.shape[0] + head + _GAP_PX for tile in column) - _GAP_PX for column in columns]
    page = Image.new("RGB", (_width(columns), max(heights) + 2 * _MARGIN_PX), _PAGE)
    draw = ImageDraw.Draw(page)
    left = _MARGIN_PX
    for column in columns:
        top = _MARGIN_PX
        for tile in column:
            draw.text((left, top), tile.note, fill=_SOFT, font=_font(_NOTE_PX, tile.note))
            page.paste(Image.fromarray(tile.image), (left, top + head))
            top += head + tile.image.shape[0] + _GAP_PX
        left += max(tile.image.shape[1] for tile in column) + _GAP_PX
    return np.array(page)


def _width(columns: Sequence[Sequence[_Tile]]) -> int:
    widths = [max(tile.image.shape[1] for tile in column) for column in columns]
    return sum(widths) + _GAP_PX * (len(columns) - 1) + 2 * _MARGIN_PX


@dataclass(frozen=True)
class _Chip:
    """A piece of the caption."""

    text: str
    color: tuple[int, int, int] | None = None
    """Of the square before the text; None: there is none."""

    @property
    def square_px(self) -> int:
        return 0 if self.color is None else _CAPTION_PX + _GAP_PX


def _caption(columns: Sequence[Sequence[_Tile]], named: Sequence[SceneInstance], seen: frozenset[int]) -> np.ndarray:
    """Lines that name the objects, and those that the picture does not show: (H, W, 3) uint8 RGB."""
    from PIL import Image, ImageDraw

    chips = [_Chip(f"{each.id}  {each.label}", id_color(each.id)) for each in named if each.id in seen]
    missing = ", ".join(f"{each.id} {each.label}" for each in named if each.id not in seen)
    chips += [_Chip(f"not visible in these views: {missing}")] if missing else []
    width = _width(columns)
    lines = _wrapped(chips or [_Chip("no object is named")], width - 2 * _MARGIN_PX)
    step = _CAPTION_PX + _GAP_PX
    strip = Image.new("RGB", (width, len(lines) * step + _MARGIN_PX), _PAGE)
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        for at, chip in line:
            left, top = _MARGIN_PX + at, row * step
            if chip.color is not None:
                square = (left, top + 2, left + _CAPTION_PX, top + 2 + _CAPTION_PX)
                draw.rounded_rectangle(square, 4, fill=chip.color, outline=_INK)
            text_color = _SOFT if chip.color is None else _INK
            draw.text((left + chip.square_px, top), chip.text, fill=text_color, font=_font(_CAPTION_PX, chip.text))
    return np.array(strip)


def _wrapped(chips: Sequence[_Chip], width: int) -> list[list[tuple[int, _Chip]]]:
    """The chips in lines of a width in pixels, each with its distance from the left; one that is too long is cut."""
    lines: list[list[tuple[int, _Chip]]] = [[]]
    left = 0
    for chip in chips:
        while len(chip.text) > 1 and chip.square_px + _text_px(chip.text) > width:
            chip = _Chip(f"{chip.text[:-2]}…", chip.color)
        wide = chip.square_px + _text_px(chip.text)
        if left and left + wide > width:
            lines.append([])
            left = 0
        lines[-1].append((left, chip))
        left += wide + 3 * _GAP_PX
    return lines


def _text_px(text: str) -> int:
    return int(np.ceil(_font(_CAPTION_PX, text).getlength(text)))


def _font(size_px: int, text: str) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """Pillow's own font, which knows English alone; for other texts the one that comes with matplotlib."""
    from PIL import ImageFont

    # supervision, which draws the marks, brings matplotlib; looked up without its import, which takes half a second
    spec = None if text.isascii() else find_spec("matplotlib")
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size_px)
    return ImageFont.load_default(size_px)
