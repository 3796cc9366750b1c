"""The masks of one frame as layers: which mask every pixel belongs to, and how deep inside it lies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import supervision as sv

DEPTH_WIDTH_PX = 640
"""Depths inside a mask count pixels of an image this wide."""
DEPTH_MAX_PX = 32
_SAME_IOU = 0.7
"""Two masks of one frame that overlap more are one object seen twice."""
_NESTED_SHARE = 0.7
"""Of the smaller mask's pixels, that lie in a larger one: it is then an object on it, and in front."""


@dataclass(frozen=True, eq=False)
class Layers:
    """Every pixel's mask."""

    rows: np.ndarray
    """(H, W) int32: row of the detections, -1 = no mask."""
    depth_px: np.ndarray
    """(H, W) uint8: pixels, at `DEPTH_WIDTH_PX`, to the mask's edge; at most `DEPTH_MAX_PX`; 0 = no mask."""
    thickness_px: np.ndarray
    """(n,) uint8: the greatest depth inside each mask."""
    same_as: np.ndarray
    """(n,) int64: per row the row that stands for it; itself unless it is the same object seen twice."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """One mask, cut out of its image."""

    row: int
    window: tuple[slice, slice]
    mask: np.ndarray
    """(h, w) bool."""
    px: int


def mask_layers(detections: "sv.Detections", width: int, height: int) -> Layers:
    """Sort out the masks of a frame.

    A mask that lies within a larger one is in front of it. Where two masks merely overlap at their edges a pixel
    belongs to the one in which it lies deeper: edges that bleed do so to both sides, and the true edge is half way.
    Neither depends on the order of the rows.

    Args:
        detections: n masks, dense or compact, of shape (height, width).
        width: of the frame, pixels.
        height: of the frame, pixels.
    """
    patches = [patch for row in range(len(detections)) if (patch := _patch(detections, row)) is not None]
    confidence = np.ones(len(detections)) if detections.confidence is None else detections.confidence
    patches.sort(key=lambda p: (-p.px, confidence[p.row], _place(p), _name(detections, p.row)))
    rows, depth_px = np.full((height, width), -1, np.int32), np.zeros((height, width), np.uint8)
    layers = Layers(rows, depth_px, np.zeros(len(detections), np.uint8), np.arange(len(detections)))
    area = {patch.row: patch.px for patch in patches}
    for patch in patches:
        _lay(layers, patch, area)
    return layers


def _lay(layers: Layers, patch: _Patch, area: dict[int, int]) -> None:
    """Put a mask onto larger ones."""
    rows, depth_px = layers.rows[patch.window], layers.depth_px[patch.window]
    overlap = patch.mask & (depth_px > 0)
    counts = np.bincount(rows[overlap])
    shared = [(int(other), int(counts[other])) for other in np.flatnonzero(counts)]
    for other, count in shared:
        if count >= _SAME_IOU * (patch.px + area[other] - count):
            layers.same_as[patch.row] = layers.same_as[other]
            return
    depth = _inside_depth(patch, layers.rows.shape)
    layers.thickness_px[patch.row] = depth.max()
    wins = patch.mask
    if shared:
        wins = patch.mask & (depth > depth_px)  # where there is no mask yet its depth is 0
        for other, count in shared:
            if count >= _NESTED_SHARE * patch.px:
                wins |= patch.mask & (rows == other)
    chosen = wins.view(np.uint8)
    cv2.copyTo(np.full(wins.shape, patch.row, np.int32), chosen, rows)
    cv2.copyTo(depth, chosen, depth_px)


def _patch(detections: "sv.Detections", row: int) -> _Patch | None:
    """The mask of a row, None where it has no pixel."""
    masks: Any = detections.mask
    if hasattr(masks, "crop"):  # compact
        x, y = (int(v) for v in masks.offsets[row])
        mask = np.asarray(masks.crop(row), bool)
    else:
        x, y, mask = 0, 0, np.asarray(masks[row], bool)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = y + int(rows[0]), x + int(columns[0])
    window = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
    return _Patch(row, window, mask, int(np.count_nonzero(mask)))


def _inside_depth(patch: _Patch, shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) uint8: how deep every pixel lies in the mask; the image's own border is no edge."""
    rows, columns = patch.window
    top, bottom = int(rows.start > 0), int(rows.stop < shape[0])
    left, right = int(columns.start > 0), int(columns.stop < shape[1])
    # one more pixel on every side: the mask's own going on beyond the image, or background
    mask = patch.mask.view(np.uint8)
    padded = cv2.copyMakeBorder(mask, 1 - top, 1 - bottom, 1 - left, 1 - right, cv2.BORDER_REPLICATE)
    padded = cv2.copyMakeBorder(padded, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    # without any edge the distance is as large as a number can be
    np.minimum(distance, DEPTH_MAX_PX * shape[1] / DEPTH_WIDTH_PX, out=distance)
    # rounded up, by OpenCV in one pass
    return cv2.convertScaleAbs(distance[1:-1, 1:-1], alpha=DEPTH_WIDTH_PX / shape[1], beta=0.499)


def _place(patch: _Patch) -> tuple[int, int, int, int]:
    rows, columns = patch.window
    return rows.start, columns.start, rows.stop, columns.stop


def _name(detections: "sv.Detections", row: int) -> str:
    names = detections.data.get("class_name")
    return "" if names is None else str(names[row])
