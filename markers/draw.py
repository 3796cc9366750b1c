"""Paints markers on an image: a dark plate with white digits, its border in the colour of the id.

Only the plates, the leader lines and the dots at their ends change the image.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from bev.errors import UserError, require
from markers.instance import Marker

DIGIT_HEIGHT_PX = 14
"""Height of a digit in the image that a model sees, for images about 512 px wide."""
DOT_RADIUS_PX = 3

_PLATE = (16, 16, 16)
# bright enough to stand on the dark plate, and neighbours in the list differ in hue
_COLORS = (
    *("#ffd60a", "#35c2ff", "#ff6b6b", "#5ce65c", "#ff9ff3", "#ffa033", "#4de8d0", "#b79bff", "#d4e157", "#ff7ab8"),
    *("#8ab4ff", "#ffc9a3", "#00e68a", "#f2a2e8", "#ff8a65", "#9be7ff", "#e6c84c", "#c9f299", "#ff5c93"),
)
_OVERSAMPLING = 8


def label_size_px(id: int, digit_height_px: int) -> tuple[int, int]:
    """Width and height in pixels of the plate that carries the number `id`, at digits `digit_height_px` high."""
    cell, padding = _cell_width_px(digit_height_px), _padding_px(digit_height_px)
    return len(str(id)) * cell + 2 * padding, digit_height_px + 2 * padding


def leader_line(
    uv: tuple[float, float], label_box: tuple[float, float, float, float]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """From the anchor to the nearest point of the plate, uv in pixels; None when the plate lies on the anchor."""
    x0, y0, x1, y1 = label_box
    u, v = uv
    if x0 <= u <= x1 and y0 <= v <= y1:
        return None
    return (u, v), (min(max(u, x0 + 0.5), x1 - 0.5), min(max(v, y0 + 0.5), y1 - 0.5))


@lru_cache(maxsize=1024)
def id_color(id: int) -> tuple[int, int, int]:
    """The RGB colour, 0 to 255, that stands for an id in every view."""
    color = require("supervision").ColorPalette.from_hex(list(_COLORS)).by_idx(id)
    return color.as_rgb()


def draw_markers(
    image: np.ndarray,
    markers: Sequence[Marker],
    *,
    digit_height_px: int = DIGIT_HEIGHT_PX,
) -> np.ndarray:
    """Paint every marker's number on a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB, unmarked, at the size that its viewer gets.
        markers: of this image; their label boxes must have been laid out for `digit_height_px`.
        digit_height_px: height of the digits.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the image is no uint8 RGB, or a label box does not fit `digit_height_px`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    scene = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # supervision paints in OpenCV's order
    for marker in markers:
        _draw_leader(scene, marker)
    for marker in markers:
        _draw_plate(scene, marker, digit_height_px)
    return cv2.cvtColor(scene, cv2.COLOR_BGR2RGB)


def _draw_plate(scene: np.ndarray, marker: Marker, digit_height_px: int) -> None:
    sv = require("supervision")
    x0, y0, x1, y1 = (round(edge) for edge in marker.label_box)
    size = label_size_px(marker.id, digit_height_px)
    if (x1 - x0, y1 - y0) != size:
        raise ValueError(
            f"the label box of {marker.id} is {x1 - x0}x{y1 - y0} px, digits {digit_height_px} px high need "
            f"{size[0]}x{size[1]}: lay the labels out for this digit height"
        )
    # OpenCV paints both corners of a rectangle, so it ends one pixel before the box does
    plate = sv.Rect(x=x0, y=y0, width=size[0] - 1, height=size[1] - 1)
    sv.draw_filled_rectangle(scene, plate, color=sv.Color(*_PLATE))
    sv.draw_rectangle(scene, plate, color=sv.Color(*id_color(marker.id)), thickness=1)
    padding = _padding_px(digit_height_px)
    digits = np.concatenate([_digit(digit, digit_height_px) for digit in str(marker.id)], axis=1)
    top, left = y0 + padding, x0 + padding
    inner = (slice(top, top + digits.shape[0]), slice(left, left + digits.shape[1]))
    ink = digits[..., None].astype(np.float32) / 255
    scene[inner] = np.round(255 * ink + (1 - ink) * scene[inner]).astype(np.uint8)


def _draw_leader(scene: np.ndarray, marker: Marker) -> None:
    """A coloured line and dot, both on a dark rim that sets them off from any background."""
    line = leader_line(marker.uv, marker.label_box)
    if line is None:
        return
    sv = require("supervision")
    start, end = (sv.Point(x=x, y=y) for x, y in line)
    color, rim = sv.Color(*id_color(marker.id)), sv.Color(*_PLATE)
    at = start.as_xy_int_tuple()
    sv.draw_line(scene, start, end, color=rim, thickness=3)
    cv2.circle(scene, at, DOT_RADIUS_PX, rim.as_bgr(), -1)
    sv.draw_line(scene, start, end, color=color, thickness=1)
    cv2.circle(scene, at, DOT_RADIUS_PX - 1, color.as_bgr(), -1)


def _cell_width_px(digit_height_px: int) -> int:
    return max(3, round(0.72 * digit_height_px))


def _padding_px(digit_height_px: int) -> int:
    """Free space around the digits; the outermost pixel of it is the plate's border."""
    return max(2, round(0.22 * digit_height_px))


@lru_cache(maxsize=256)
def _digit(digit: str, height_px: int) -> np.ndarray:
    """How much ink each pixel of a digit's cell holds, (height_px, cell width) uint8.

    Rendered large and scaled down with Pillow's built-in font, because OpenCV's own differs between its versions and
    strikes its zeros through, which makes eights of them at this size.
    """
    from PIL import Image, ImageDraw, ImageFont, features

    if not features.check("freetype2"):
        raise UserError("this Pillow has no FreeType, so digits cannot be drawn: run `pip install --force pillow`")
    font = ImageFont.load_default(1.4 * height_px * _OVERSAMPLING)
    stroke = max(1, round(0.03 * height_px * _OVERSAMPLING))
    # all digits share one top and one bottom, or a 1 would be stretched to the height of a round 8
    _, top, _, bottom = font.getbbox("0123456789", stroke_width=stroke, anchor="ls")
    widest = max(font.getbbox(each, stroke_width=stroke, anchor="ms")[2] * 2 for each in "0123456789")
    canvas = Image.new("L", (int(np.ceil(widest)), int(np.ceil(bottom - top))))
    ImageDraw.Draw(canvas).text(
        (canvas.width / 2, -top), digit, fill=255, font=font, anchor="ms", stroke_width=stroke, stroke_fill=255
    )
    return cv2.resize(np.asarray(canvas), (_cell_width_px(height_px), height_px), interpolation=cv2.INTER_AREA)
