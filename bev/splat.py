"""A bare point cloud seen by a camera: every point a square that reaches its neighbours, the nearest on top."""

import cv2
import numpy as np

from bev.camera import Camera, OrthoCamera, View

_NEIGHBOURS = 8
_REACH_IN_SPACINGS = 1.2
"""Squares of this half side leave about 1 of 1,000 pixels open on points that were drawn at random."""
_RADII_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SHARES = (0.0, 0.25, 0.5, 0.75)
_NEAR_M = 1e-6


def splat_reach_m(points: np.ndarray) -> float:
    """How far each point of a cloud (N, 3) must reach so that together they are a closed surface, metres.

    Points drawn at random lie in clumps, so the nearest neighbour says little: the eighth one counts, which on a
    regular grid is at the diagonal of the cell.
    """
    if len(points) <= _NEIGHBOURS:
        return 0.01
    from scipy.spatial import KDTree

    sample = points[:: max(1, len(points) // 2000)]
    eighth = np.asarray(KDTree(points).query(sample, k=_NEIGHBOURS + 1)[0])[:, -1]
    return float(np.median(eighth) / np.sqrt(2) * _REACH_IN_SPACINGS)


def splat(points: np.ndarray, view: View, reach_m: float) -> tuple[np.ndarray, np.ndarray]:
    """What a view sees of a point cloud.

    A pixel belongs to the surface nearest to the camera among the points that reach it; of that surface it shows the
    point that is closest to it in the image, or nearly so.

    Args:
        points: (N, 3) metres.
        view: pinhole or orthographic.
        reach_m: half the side of a point's square, metres at the point; at most 32 px are drawn.

    Returns:
        depth (H, W) float32 metres, 0 = none; row of `points` (H, W) int32, -1 = none.
    """
    uv, depth = view.project(points)
    radius = _radius_px(view, depth, reach_m)
    with np.errstate(invalid="ignore"):
        reaches = (uv > -radius[:, None]) & (uv < radius[:, None] + [view.width, view.height])
    ranked = np.flatnonzero((depth > _NEAR_M) & reaches.all(axis=1))
    ranked = ranked[np.argsort(depth[ranked], kind="stable")]
    rank_depth = np.append(depth[ranked], np.inf)
    finer, nearest = _nearest_ranks(uv[ranked], radius[ranked], (view.width, view.height))
    chosen = nearest
    for ranks in reversed(finer):
        chosen = np.where(rank_depth[ranks] <= rank_depth[nearest] + 2 * reach_m, ranks, chosen)
    index = np.append(ranked, -1)[chosen]
    return np.where(index >= 0, rank_depth[chosen], 0).astype(np.float32), index.astype(np.int32)


def _radius_px(view: View, depth: np.ndarray, reach_m: float) -> np.ndarray:
    """(N,) int: the half side of each point's square in pixels, one of a few sizes."""
    if isinstance(view, Camera):
        pixels = reach_m * max(view.K[0, 0], view.K[1, 1]) / np.maximum(depth, 1e-3)
    elif isinstance(view, OrthoCamera):
        pixels = np.full(len(depth), reach_m / min(view.metres_per_pixel_xy))
    else:
        raise TypeError(f"points are splatted into pinhole and orthographic views, not {type(view).__name__}")
    sizes = np.array(_RADII_PX)
    return sizes[np.minimum(np.searchsorted(sizes, pixels), len(sizes) - 1)]


def _nearest_ranks(uv: np.ndarray, radius: np.ndarray, size: tuple[int, int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Per pixel the first point that reaches it: with squares of several shares of their size, and with the whole.

    The smallest of the ranks under a square is what a grey-scale erosion finds, however many points there are.
    """
    width, height = size
    nothing = len(uv)
    # float32 holds whole numbers up to 2 ** 24
    dtype = np.float32 if nothing < 2**24 else np.float64
    layers = [np.full((height, width), nothing, dtype) for _ in (*_SHARES, 1.0)]
    for pad in np.unique(radius).tolist():
        own = np.flatnonzero(radius == pad)[::-1]  # of several in one pixel the last that is written stays
        ranks = np.full((height + 2 * pad, width + 2 * pad), nothing, dtype)
        column, row = np.floor(uv[own]).astype(np.int64).T + pad
        ranks[row, column] = own
        for layer, share in zip(layers, (*_SHARES, 1.0), strict=True):
            side = 2 * round(share * pad) + 1
            spread = cv2.erode(ranks, np.ones((side, side), np.uint8)) if side > 1 else ranks
            np.minimum(layer, spread[pad : pad + height, pad : pad + width], out=layer)
    *finer, nearest = (layer.astype(np.int64) for layer in layers)
    return finer, nearest
