"""Taking out of predicted depth what no surface is there for: doubtful pixels, sky, the ramps at edges of objects."""

import numpy as np

GRAZING_DEG = 4.0
"""Floors filmed from 1.5 m are seen at this angle from 20 m away."""


def doubtful(confidence: np.ndarray, min_confidence: float) -> np.ndarray:
    """Pixels whose confidence is 0, or below a share of the prediction's median; (n, h, w) to (n, h, w) bool."""
    some = confidence > 0
    if not some.any():
        return np.ones(confidence.shape, bool)
    return ~(some & (confidence >= min_confidence * float(np.median(confidence[some]))))


def at_edges(depth: np.ndarray, focal_px: tuple[float, float], *, grazing_deg: float = GRAZING_DEG) -> np.ndarray:
    """Pixels between a near and a far surface, where networks draw a ramp that is not there.

    Inverse depth is linear over the image of a plane. Over its own value, its step from pixel to pixel is at most
    1 / (focal length * sine of the angle at which the plane is seen), so that what is steeper than the least angle
    allows is a ramp, or a surface seen so sharply from the side that its depth is a guess.

    Args:
        depth: (h, w) float32, 0 = none.
        focal_px: along x and y, pixels of this grid.
        grazing_deg: the least angle between a ray and the surface that it meets.

    Returns:
        (h, w) bool: both pixels of every step that is too steep.
    """
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), np.nan).astype(np.float32)
    edge = np.zeros(depth.shape, bool)
    for values, marks, focal in ((inverse.T, edge.T, focal_px[0]), (inverse, edge, focal_px[1])):
        steepest = 1 / (focal * np.sin(np.radians(grazing_deg)))
        with np.errstate(invalid="ignore"):
            steep = np.abs(np.diff(values, axis=0)) > steepest * np.minimum(values[1:], values[:-1])
        marks[1:] |= steep
        marks[:-1] |= steep
    return edge


def cleaned(depth: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
    """Depth (h, w) as float16 with 0 where it is not finite, not positive, too large to be kept, or at an edge."""
    with np.errstate(invalid="ignore"):
        depth = np.where((depth > 0) & (depth < 6e4), depth, 0).astype(np.float32)
    return np.where(at_edges(depth, focal_px), 0, depth).astype(np.float16)
