"""A scene's pictures at the size that a model sees, the marks laid out and drawn at that size, last of all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bev.camera import Camera, OrthoCamera
from bev.errors import UserError
from bev.render import BACKGROUND
from gpt4scene.scene.contents import BevView, SceneFrame
from markers.draw import DIGIT_HEIGHT_PX, draw_markers, label_size_px
from markers.instance import Marker
from markers.placement import relabel


@dataclass(frozen=True, eq=False)
class Views:
    """A scene's pictures at one size, and the marks that are drawn on them."""

    bev: np.ndarray
    """(H, W, 3) uint8 RGB."""
    frames: tuple[np.ndarray, ...]
    """Each (H, W, 3) uint8 RGB, in time order."""
    bev_markers: tuple[Marker, ...]
    """What `bev` carries, in its pixels."""
    frame_markers: tuple[tuple[Marker, ...], ...]
    """What each of `frames` carries, in its pixels."""
    bev_camera: OrthoCamera
    """Of `bev` at this size."""
    frame_cameras: tuple[Camera, ...]
    """Of `frames` at this size."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A view at another size, without marks on it."""

    image: np.ndarray
    ids: np.ndarray
    markers: tuple[Marker, ...]


def views_at(
    bev: BevView,
    frames: Sequence[SceneFrame],
    width: int,
    height: int,
    multiple_of: int,
    *,
    marks: bool = True,
    digit_height_px: int = DIGIT_HEIGHT_PX,
    drop_marks: Collection[int] = frozenset(),
) -> Views:
    """The views within `width` x `height`, every side a multiple of `multiple_of`.

    A view that is higher than wide has the limit turned. Frames are scaled down, never up but for the rounding of
    their sides, which is to the nearest multiple that fits, as a VLM would round them itself. The bird's-eye view
    keeps square pixels and is continued with its background to the right and below instead.

    Args:
        bev: the bird's-eye view.
        frames: in time order.
        width: pixels, of a view that is wider than high.
        height: pixels, likewise.
        multiple_of: what the model's patches need: 28 (Qwen2-VL, Qwen2.5-VL), 32 (Qwen3-VL), 1 for any size.
        marks: draw the marks; without them the views carry none, and say so.
        digit_height_px: height of the digits in the pixels of these views.
        drop_marks: ids that are not drawn.

    Raises:
        UserError: no multiple of `multiple_of` fits into the size.
    """
    if multiple_of < 1 or min(width, height) < multiple_of:
        raise UserError(f"views of {width}x{height} px have no side that is a multiple of {multiple_of}: ask for more")
    bev_size, scale = fit_bev_size(bev.camera.width, bev.camera.height, width, height, multiple_of)
    sizes = [fit_frame_size(frame.camera.width, frame.camera.height, width, height, multiple_of) for frame in frames]
    fitted = [_fit(bev, bev_size, (scale, scale))]
    for frame, size in zip(frames, sizes, strict=True):
        fitted.append(_fit(frame, size, (size[0] / frame.camera.width, size[1] / frame.camera.height)))
    drawn = [_draw(view, marks=marks, digit_height_px=digit_height_px, drop_marks=drop_marks) for view in fitted]
    images, markers = zip(*drawn, strict=True)
    across, down = bev.camera.metres_per_pixel_xy
    return Views(
        bev=images[0],
        frames=images[1:],
        bev_markers=markers[0],
        frame_markers=markers[1:],
        bev_camera=replace(
            bev.camera, metres_per_pixel_xy=(across / scale, down / scale), width=bev_size[0], height=bev_size[1]
        ),
        frame_cameras=tuple(frame.camera.resized(*size) for frame, size in zip(frames, sizes, strict=True)),
    )


def fit_frame_size(width: int, height: int, limit_width: int, limit_height: int, multiple_of: int) -> tuple[int, int]:
    """Width and height in pixels of a frame's view: its shape as nearly as multiples of `multiple_of` allow."""
    limit = _turned((limit_width, limit_height), width, height)
    scale = min(1.0, limit[0] / width, limit[1] / height)
    sides = []
    for side, most in zip((width, height), limit, strict=True):
        steps = max(1, min(int(side * scale / multiple_of + 0.5), most // multiple_of))
        sides.append(steps * multiple_of)
    return sides[0], sides[1]


def fit_bev_size(
    width: int, height: int, limit_width: int, limit_height: int, multiple_of: int
) -> tuple[tuple[int, int], float]:
    """Width and height in pixels of the bird's-eye view with its margin, and its scale, at most 1."""
    limit = [side // multiple_of * multiple_of for side in _turned((limit_width, limit_height), width, height)]
    scale = min(1.0, limit[0] / width, limit[1] / height)
    # the hundredth of a pixel keeps an exact multiple from being rounded up to the next
    across, down = (int(np.ceil((side * scale - 0.01) / multiple_of)) * multiple_of for side in (width, height))
    return (across, down), scale


def marked_image(view: BevView | SceneFrame) -> np.ndarray:
    """A view at its own size with its marks as the scene lays them out, for people: (H, W, 3) uint8 RGB."""
    if not view.markers:
        return view.image
    return draw_markers(view.image, view.markers, digit_height_px=_digit_height_px(view.markers[0]))


def _digit_height_px(marker: Marker) -> int:
    """The digit height that a marker's label box was laid out for."""
    height = round(marker.label_box[3] - marker.label_box[1])
    for digit_height_px in range(1, height + 1):
        if label_size_px(marker.id, digit_height_px)[1] == height:
            return digit_height_px
    raise ValueError(f"the label box of {marker.id} is {height} px high, which fits no digits")


def _turned(limit: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """A limit on width and height, turned to stand where the image stands."""
    return limit if (width >= height) == (limit[0] >= limit[1]) else (limit[1], limit[0])


def _fit(view: BevView | SceneFrame, size: tuple[int, int], scale: tuple[float, float]) -> _Fitted:
    """Scale a view by `scale` (x, y) and continue it with background to `size` (width, height)."""
    moved = tuple(replace(marker, uv=(marker.uv[0] * scale[0], marker.uv[1] * scale[1])) for marker in view.markers)
    ids = _fit_ids(view.ids, size, scale)
    _keep_thin_objects(ids, moved)
    return _Fitted(_fit_image(view.image, size, scale), ids, moved)


def _fit_image(image: np.ndarray, size: tuple[int, int], scale: tuple[float, float]) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    if (width, height) == size and scale == (1.0, 1.0):
        return image
    # the part of the image's plane that the result shows; where it ends within a pixel, Pillow weighs that pixel
    region = size[0] / scale[0], size[1] / scale[1]
    pad = [max(0, int(np.ceil(wanted - 1e-6)) - side) for wanted, side in zip(region, (width, height), strict=True)]
    if any(pad):
        wide = np.full((height + pad[1], width + pad[0], 3), BACKGROUND, np.uint8)
        wide[:height, :width] = image
        image = wide
    box = (0.0, 0.0, min(region[0], image.shape[1]), min(region[1], image.shape[0]))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box))


def _fit_ids(ids: np.ndarray, size: tuple[int, int], scale: tuple[float, float]) -> np.ndarray:
    column, row = (
        ((np.arange(side) + 0.5) / factor).astype(np.int64) for side, factor in zip(size, scale, strict=True)
    )
    fitted = np.full((size[1], size[0]), -1, np.int32)
    across, down = (int((at < side).sum()) for at, side in ((column, ids.shape[1]), (row, ids.shape[0])))
    fitted[:down, :across] = ids[row[:down, None], column[None, :across]]
    return fitted


def _keep_thin_objects(ids: np.ndarray, markers: Sequence[Marker]) -> None:
    """Give a marked object that fell between the pixels of the smaller map the one under its anchor."""
    there = set(np.unique(ids).tolist())
    for marker in markers:
        if marker.id not in there:
            row, column = (min(int(at), side - 1) for at, side in zip(marker.uv[::-1], ids.shape, strict=True))
            ids[row, column] = marker.id


def _draw(
    view: _Fitted, *, marks: bool, digit_height_px: int, drop_marks: Collection[int]
) -> tuple[np.ndarray, tuple[Marker, ...]]:
    wanted = [marker for marker in view.markers if marks and marker.id not in drop_marks]
    if not wanted:
        return view.image, ()
    markers = tuple(relabel(wanted, view.ids, digit_height_px=digit_height_px))
    return draw_markers(view.image, markers, digit_height_px=digit_height_px), markers
