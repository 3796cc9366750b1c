"""Fitting predicted depth to the points of structure from motion: one factor per frame, or a factor and a shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bev.camera import Camera

POINTS_MIN = 15
"""Fewer points say nothing of a frame; it takes its neighbours' factor."""
_PRIOR_POINTS = 10.0
"""As many points as the other frames' factor counts for in each frame."""
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


def log_factor(seen: Sightings) -> tuple[float, int]:
    """Logarithm of what predicted depth must be multiplied with, and how many points agree on it.

    Returns:
        NaN and 0 where there are too few points, or they do not agree.
    """
    positive = seen.predicted > 0
    if positive.sum() < POINTS_MIN:
        return np.nan, 0
    ratios = np.log(seen.depth[positive] / seen.predicted[positive])
    near = np.abs(ratios - np.median(ratios)) < _FAR_OFF
    if near.sum() < max(POINTS_MIN, _AGREEING_MIN * len(ratios)):
        return np.nan, 0
    return float(np.median(ratios[near])), int(near.sum())


def log_factors(found: Sequence[tuple[float, int]], groups: Sequence[int], fallback: dict[int, float]) -> np.ndarray:
    """One log factor per frame, drawn towards its group's where few points speak for it.

    Args:
        found: from `log_factor`, per frame.
        groups: per frame, which frames share a factor up to the network's errors.
        fallback: group to log factor, for groups in which no frame has points.

    Returns:
        (n,) float64; NaN where nothing is known.
    """
    own, points = np.array([each[0] for each in found]), np.array([each[1] for each in found], np.float64)
    group = np.asarray(groups)
    common = np.full(len(own), np.nan)
    for number in np.unique(group):
        members = own[(group == number) & np.isfinite(own)]
        common[group == number] = np.median(members) if len(members) else fallback.get(int(number), np.nan)
    drawn = (points * np.where(np.isfinite(own), own, 0) + _PRIOR_POINTS * common) / (points + _PRIOR_POINTS)
    return np.where(np.isfinite(own), drawn, common)


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
    if a[best] <= 0 or near.sum() < max(POINTS_MIN, _AGREEING_MIN * len(x)) or np.median(off[best]) > _FAR_OFF:
        return None
    system = np.stack([x[near], np.ones(near.sum())], axis=1) / y[near, None]
    (slope, shift), *_ = np.linalg.lstsq(system, np.ones(near.sum()), rcond=None)
    return (float(slope), float(shift)) if slope > 0 else None
