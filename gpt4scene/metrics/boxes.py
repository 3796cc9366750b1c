"""How much boxes overlap: axis-aligned in the two roundings that benchmarks score with, and turned about the vertical.

A box is (6,) float64, metres: centre and size; its bounds are (2, 3): the lower and the upper corner. Boxes whose
overlap is exactly 0.25 or 0.5 pass a threshold or fail it by the last digit, so every operation here is in the order
and the precision of the code that it stands for.
"""

import numpy as np

EPSILON = 1e-8
"""Added to the volume of the union by ScanRefer, Scan2Cap, Chat-Scene and GPT4Scene, in float64: exactly half falls
short of 0.5."""


def bounds_of(boxes: np.ndarray) -> np.ndarray:
    """Bounds (..., 2, 3) float64 of boxes (..., 6)."""
    boxes = np.asarray(boxes, np.float64)
    center, half = boxes[..., :3], boxes[..., 3:] / 2
    ends = np.stack([center - half, center + half], axis=-2)
    return np.stack([ends.min(axis=-2), ends.max(axis=-2)], axis=-2)


def bounds_of_corners(corners: np.ndarray) -> np.ndarray:
    """Bounds (..., 2, 3) of boxes that are given by their corners (..., 8, 3), in any order."""
    corners = np.asarray(corners)
    return np.stack([corners.min(axis=-2), corners.max(axis=-2)], axis=-2)


def box_around(points: np.ndarray) -> np.ndarray:
    """The axis-aligned box (6,) float64 around points (N, 3)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([(low + high) / 2, high - low]).astype(np.float64)


def corners_of(box: np.ndarray) -> np.ndarray:
    """The corners (8, 3) float64 of a box (6,), in the order of ScanRefer's files: the upper four, then the lower."""
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    signs = np.concatenate([np.column_stack([signs, np.full(4, up)]) for up in (1, -1)])
    box = np.asarray(box, np.float64)
    return box[:3] + signs * (box[3:] / 2)


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap of boxes (..., 6) with others (..., 6), which broadcast, as ScanRefer and GPT4Scene round it."""
    return bounds_iou(bounds_of(boxes), bounds_of(others))


def bounds_iou(bounds: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of bounds (..., 2, 3), which broadcast, in float64 with `EPSILON`.

    ScanRefer 9d74830 utils/box_util.py box3d_iou; the same in GPT4Scene, Chat-Scene, Scan2Cap and Video-3D-LLM.
    """
    return _iou(np.asarray(bounds, np.float64), np.asarray(others, np.float64), EPSILON)


def bounds_iou_float32(bounds: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The same in float32 with float32's own epsilon: M3DRef-CLIP babfcc4 util/utils.py get_batch_aabb_pair_ious."""
    return _iou(np.asarray(bounds, np.float32), np.asarray(others, np.float32), np.finfo(np.float32).eps)


def _iou(bounds: np.ndarray, others: np.ndarray, epsilon: float | np.floating) -> np.ndarray:
    shared = np.minimum(bounds[..., 1, :], others[..., 1, :]) - np.maximum(bounds[..., 0, :], others[..., 0, :])
    shared_volume = _volume(np.maximum(shared, 0))
    volume, other_volume = (
        _volume(bounds[..., 1, :] - bounds[..., 0, :]),
        _volume(others[..., 1, :] - others[..., 0, :]),
    )
    return shared_volume / (volume + other_volume - shared_volume + bounds.dtype.type(epsilon))


def _volume(extent: np.ndarray) -> np.ndarray:
    return extent[..., 0] * extent[..., 1] * extent[..., 2]


def yawed_iou(box: np.ndarray, other: np.ndarray) -> float:
    """Exact intersection over union of two boxes that stand upright and are turned about the vertical.

    Args:
        box: (7,) centre, size along its own axes, and yaw: radians, counter-clockwise from above.
        other: likewise.

    Returns:
        0 to 1; 0 where both are flat.
    """
    box, other = np.asarray(box, np.float64), np.asarray(other, np.float64)
    shared_height = min(box[2] + box[5] / 2, other[2] + other[5] / 2) - max(
        box[2] - box[5] / 2, other[2] - other[5] / 2
    )
    # about the one's centre: far from the origin the cross products below would lose digits
    outline, clip = _outline(box, box[:2]), _outline(other, box[:2])
    shared = _area(_clipped(outline, clip)) * max(shared_height, 0.0)
    union = float(np.prod(box[3:6]) + np.prod(other[3:6])) - shared
    return float(np.clip(shared / union, 0, 1)) if union > 0 else 0.0


def _outline(box: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(4, 2) the box from above, counter-clockwise."""
    cosine, sine = np.cos(box[6]), np.sin(box[6])
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * box[3:5] / 2
    return half @ np.array([[cosine, sine], [-sine, cosine]]) + (box[:2] - origin)


def _clipped(outline: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """What of a convex outline (n, 2) is within another (Sutherland and Hodgman, 1974); both counter-clockwise."""
    kept = list(outline)
    for start, end in zip(clip, np.roll(clip, -1, axis=0), strict=True):
        edge = end - start
        left = [edge[0] * (p[1] - start[1]) - edge[1] * (p[0] - start[0]) for p in kept]
        points, kept = kept, []
        for i in range(len(points)):
            before = i - 1
            if (left[i] < 0) != (left[before] < 0):
                share = left[before] / (left[before] - left[i])
                kept.append(points[before] + share * (points[i] - points[before]))
            if left[i] >= 0:
                kept.append(points[i])
    return np.array(kept).reshape(-1, 2)


def _area(outline: np.ndarray) -> float:
    x, y = outline.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
