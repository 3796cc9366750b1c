"""Taking out of predicted depth what no surface is there for: doubtful pixels, sky, the ramps at edges of objects."""

import numpy as np

CURVATURE_MAX = 0.03
STEEPNESS_MAX = 0.08


def doubtful(confidence: np.ndarray, min_confidence: float) -> np.ndarray:
    """Pixels whose confidence is 0, or below a share of the prediction's median; (n, h, w) to (n, h, w) bool."""
    some = confidence > 0
    if not some.any():
        return np.ones(confidence.shape, bool)
    return ~(some & (confidence >= min_confidence * float(np.median(confidence[some]))))


def at_edges(
    depth: np.ndarray, *, curvature_max: float = CURVATURE_MAX, steepness_max: float = STEEPNESS_MAX
) -> np.ndarray:
    """Pixels between a near and a far surface, where networks draw a ramp that is not there.

    Inverse depth is linear over the image of a plane, however slanted; so a plane has no curvature in it, and what
    bends by more than a few percent from pixel to pixel is an edge. What is steeper than a grazing floor is the ramp.

    Args:
        depth: (h, w) float32, 0 = none.
        curvature_max: second difference of inverse depth, over inverse depth.
        steepness_max: difference of neighbours' inverse depth, over inverse depth.

    Returns:
        (h, w) bool.
    """
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), np.nan).astype(np.float32)
    edge = np.zeros(depth.shape, bool)
    with np.errstate(invalid="ignore"):
        for values, marks in ((inverse, edge), (inverse.T, edge.T)):
            step = np.diff(values, axis=0)
            steep = np.abs(step) > steepness_max * np.minimum(values[1:], values[:-1])
            marks[1:] |= steep
            marks[:-1] |= steep
            marks[1:-1] |= np.abs(np.diff(step, axis=0)) > curvature_max * values[1:-1]
    return edge


def cleaned(depth: np.ndarray) -> np.ndarray:
    """Depth (h, w) as float16 with 0 where it is not finite, not positive, too large to be kept, or at an edge."""
    with np.errstate(invalid="ignore"):
        depth = np.where((depth > 0) & (depth < 6e4), depth, 0).astype(np.float32)
    return np.where(at_edges(depth), 0, depth).astype(np.float16)
