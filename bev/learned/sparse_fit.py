"""Fitting predicted depth to the points of structure from motion: one factor per frame, or a factor and a shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bev.camera import Camera

POINTS_MIN = 15
"""Fewer points say nothing of a frame; it takes its neighbours' factor."""
_VARIANCE_MIN = 1e-6
"""Of a log factor: nobody knows depth to better than a thousandth."""
_FAR_OFF = 0.2
"""Of depth: points further off their frame's factor are on another surface."""
_AGREEING_MIN = 0.4
_PAIRS = 300
_INVERSE_NOISE = 0.02


@dataclass(frozen=True, eq=False)
class Sightings:
    """Where the points that a frame saw fall on a predicted grid."""

    predicted: np.ndarray
    """(k,) float64: the grid's values there."""
    depth: np.ndarray
    """(k,) float64: the points' depth, in the scan's units."""


def sightings(grid: np.ndarray, camera: Camera, points: np.ndarray) -> Sightings:
    """Predicted values under the points of a frame.

    Args:
        grid: (h, w) predicted values, NaN = none, over the whole image of `camera`.
        camera: of the colour image.
        points: (K, 3), in the scan's world and units.
    """
    height, width = grid.shape
    camera = camera.resized(width, height)
    uv, depth = camera.project(points)
    seen = (depth > 0) & (uv >= 0).all(axis=1) & (uv < [width, height]).all(axis=1)
    column, row = uv[seen].astype(np.int64).T
    values = grid[row, column].astype(np.float64)
    there = np.isfinite(values)
    return Sightings(values[there], depth[seen][there])


def log_factor(seen: Sightings) -> tuple[float, float]:
    """Logarithm of what predicted depth must be multiplied with, and its variance.

    Returns:
        NaN and infinity where there are too few points, or they do not agree.
    """
    positive = seen.predicted > 0
    if positive.sum() < POINTS_MIN:
        return np.nan, np.inf
    ratios = np.log(seen.depth[positive] / seen.predicted[positive])
    near = np.abs(ratios - np.median(ratios)) < _FAR_OFF
    if near.sum() < max(POINTS_MIN, _AGREEING_MIN * len(ratios)):
        return np.nan, np.inf
    middle = float(np.median(ratios[near]))
    # the variance of a median of normal errors
    variance = np.pi / 2 * _spread(ratios[near], middle) ** 2 / near.sum()
    return middle, max(float(variance), _VARIANCE_MIN)


def log_factors(found: Sequence[tuple[float, float]], groups: Sequence[int], fallback: dict[int, float]) -> np.ndarray:
    """One log factor per frame, drawn towards its group's median by how well each of the two is known.

    Args:
        found: from `log_factor`, per frame.
        groups: per frame, which frames share a factor up to the network's errors.
        fallback: group to log factor, for groups in which no frame has points.

    Returns:
        (n,) float64; NaN where nothing is known.
    """
    own, variance = np.array(found, np.float64).reshape(-1, 2).T
    group = np.asarray(groups)
    logs = np.full(len(own), np.nan)
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        known = rows[np.isfinite(own[rows])]
        if not len(known):
            logs[rows] = fallback.get(int(number), np.nan)
            continue
        middle = float(np.median(own[known]))
        among = max(_spread(own[known], middle) ** 2, _VARIANCE_MIN)
        logs[rows] = middle
        logs[known] = (own[known] * among + middle * variance[known]) / (among + variance[known])
    return logs


def _spread(values: np.ndarray, middle: float) -> float:
    """The standard deviation of normal errors, from their median."""
    return 1.4826 * float(np.median(np.abs(values - middle)))


def inverse_line(seen: Sightings) -> tuple[float, float] | None:
    """Factor and shift (a, b) with 1 / depth = a * predicted + b: least median of squares, then least squares.

    Returns:
        None where there are too few points, or they do not agree on a rising line.
    """
    x, y = seen.predicted, 1 / seen.depth
    if len(x) < POINTS_MIN:
        return None
    rng = np.random.default_rng(len(x))
    first, second = rng.integers(0, len(x), (2, _PAIRS))
    apart = np.abs(x[first] - x[second]) > 0.05 * np.ptp(x)
    if not apart.any():
        return None
    first, second = first[apart], second[apart]
    a = (y[first] - y[second]) / (x[first] - x[second])
    b = y[first] - a * x[first]
    # errors of inverse depth, over inverse depth: what counts is the share by which depth is off
    off = np.abs(a[:, None] * x + b[:, None] - y) / y
    best = np.where(a > 0, np.median(off, axis=1), np.inf).argmin()
    near = off[best] < max(2.5 * 1.4826 * float(np.median(off[best])), _INVERSE_NOISE)
    if near.sum() < max(POINTS_MIN, _AGREEING_MIN * len(x)) or np.median(off[best]) > _FAR_OFF:
        return None
    system = np.stack([x[near], np.ones(near.sum())], axis=1) / y[near, None]
    (slope, shift), *_ = np.linalg.lstsq(system, np.ones(near.sum()), rcond=None)
    return (float(slope), float(shift)) if slope > 0 else None
