"""The points that structure from motion triangulated: where depth is to be expected, and how large the world is."""

from dataclasses import dataclass, replace

import numpy as np

from bev.camera import transform_points


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """Points of a scene, and which frames saw each of them."""

    points: np.ndarray
    """(N, 3) float64, in the scan's world and units."""
    seen: np.ndarray
    """(M, 2) int64: frame index, row of `points`; one row per observation."""

    def __post_init__(self) -> None:
        points, seen = np.asarray(self.points, np.float64), np.asarray(self.seen, np.int64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points must have shape (N, 3), got {points.shape}")
        if seen.ndim != 2 or seen.shape[1] != 2:
            raise ValueError(f"seen must have shape (M, 2), got {seen.shape}")
        if len(seen) and not 0 <= seen[:, 1].min() <= seen[:, 1].max() < len(points):
            raise ValueError(f"seen must name rows of the {len(points)} points, got up to {seen[:, 1].max()}")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "seen", seen)

    def seen_by(self, frame_index: int) -> np.ndarray:
        """(K, 3) float64: the points that a frame saw."""
        return self.points[self.seen[self.seen[:, 0] == frame_index, 1]]

    def moved(self, world_from_old: np.ndarray) -> "SparsePoints":
        """The same points in another world frame: `world_from_old` is a (4, 4) rigid motion."""
        return replace(self, points=transform_points(world_from_old, self.points))

    def scaled(self, factor: float) -> "SparsePoints":
        """The same points in a world `factor` times as large."""
        return replace(self, points=self.points * factor)
