"""An object of the room: which vertices of the surface are it, its box, and its mark in a view."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Box:
    """A box that stands upright and is turned about z."""

    center: np.ndarray
    """(3,) float64, metres."""
    size: np.ndarray
    """(3,) float64, metres, along the box's own axes."""
    yaw: float
    """radians in (-pi/2, pi/2], counter-clockwise from +x about +z: the direction of the box's axis 0."""

    def corners(self) -> np.ndarray:
        """(8, 3) float64, metres."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        return signs * self.size / 2 @ _turn(self.yaw).T + self.center


@dataclass(frozen=True, eq=False)
class Instance:
    """One object with its number."""

    id: int
    """>= 0, given once; the same on pictures, in prompts, answers and files."""
    label: str
    """What it is, "object" where nobody said."""
    vertices: np.ndarray
    """(n,) int32, ascending: rows of the surface's vertices."""
    box: Box
    source: str
    """"cluster", "proposals" or "detect"."""
    label_share: float = 0.0
    """Share of the label's votes; 0 where nobody voted."""
    score: float = 1.0
    frames: tuple[int, ...] = ()
    """Indices of the frames that see it (cluster, proposals) or support it (detections)."""

    def __post_init__(self) -> None:
        if self.id < 0:
            raise ValueError(f"an instance's id must be >= 0, got {self.id}")
        if not len(self.vertices):
            raise ValueError(f"instance {self.id} has no vertices")


@dataclass(frozen=True)
class Marker:
    """Where one view carries an instance's number."""

    id: int
    uv: tuple[float, float]
    """pixels, on a visible pixel of the object."""
    label_box: tuple[float, float, float, float]
    """x0, y0, x1, y1, pixels: the plate behind the digits."""
    visible_px: int


def vertex_instance_ids(instances: Sequence[Instance], vertex_count: int) -> np.ndarray:
    """The instance of every vertex, (V,) int32, -1 = none.

    Raises:
        ValueError: two instances claim a vertex.
    """
    ids = np.full(vertex_count, -1, np.int32)
    for instance in instances:
        taken = ids[instance.vertices]
        if (taken >= 0).any():
            raise ValueError(f"instances {taken.max()} and {instance.id} claim the same vertex")
        ids[instance.vertices] = instance.id
    return ids


def fit_box(points: np.ndarray) -> Box:
    """The upright box of least footprint around points, (n, 3) metres.

    Every edge of the convex hull of the footprint is tried (rotating calipers). Of the four equal descriptions of a
    rectangle the one with |yaw| <= pi/4 is given, so that a box along the walls has yaw near 0.
    """
    points = np.asarray(points, np.float64)
    low, high = points[:, 2].min(), points[:, 2].max()
    yaw, center_xy, size_xy = _least_rectangle(points[:, :2])
    return Box(np.append(center_xy, (low + high) / 2), np.append(size_xy, high - low), yaw)


def size_order(box: Box) -> tuple[float, ...]:
    """What boxes are sorted by to have the largest first; rounded, so that it does not hang on the last bit."""
    return (-round(float(np.prod(box.size)), 6), *box.center.round(4).tolist())


def without_strays(points: np.ndarray) -> np.ndarray:
    """Points (n, 3) but for the outermost half percent along every axis: single stray ones would stretch the box."""
    if len(points) < 50:
        return points
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    kept = points[((points >= low) & (points <= high)).all(axis=1)]
    return kept if len(kept) else points


def _least_rectangle(xy: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = xy[ConvexHull(xy).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on one line
        hull = np.unique(xy, axis=0)
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.unique(np.round(np.append(np.arctan2(edges[:, 1], edges[:, 0]), 0.0) % (np.pi / 2), 9))
    angles = np.where(angles > np.pi / 4, angles - np.pi / 2, angles)
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    for angle in angles:
        turn = _turn(angle)[:2, :2]
        along = hull @ turn
        low, high = along.min(axis=0), along.max(axis=0)
        area = float(np.prod(high - low))
        # a hair's preference for the axes keeps square and round things from turning with the noise
        cost = area * (1 + 0.02 * abs(angle))
        if best is None or cost < best[0]:
            best = (cost, float(angle), turn @ ((low + high) / 2), high - low)
    assert best is not None
    return best[1:]


def _turn(yaw: float) -> np.ndarray:
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
