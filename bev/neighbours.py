"""Which frames to match with which: those that see the same points from the right distance apart.

Matches of views that are close together are easy to find and say little about depth; those far apart say much and are
hard to find. Pairs are scored by the angles at the points that they share, as MVSNet does (Yao et al., ECCV 2018,
section 4.1).
"""

import numpy as np

from bev.camera import Camera
from bev.scan import Scan
from bev.sparse import SparsePoints

_SPREAD_BELOW, _SPREAD_ABOVE = 0.5, 1.0
"""Of the angle that is best: what is too close together is worth less than what is too far apart."""
_POINTS_PER_FRAME = 200
_SEEN_SHARE_MIN = 0.15
"""Of a frame's points, that a neighbour must have in its image."""
_ANGLE_MIN_DEG = 0.3
"""Below that nothing is told about depth."""


def neighbours(scan: Scan, sparse: SparsePoints, *, count: int, angle_deg: float) -> list[tuple[int, ...]]:
    """For every frame the frames that see most of what it sees, at about `angle_deg` between the rays.

    Args:
        scan: posed frames.
        sparse: points of that scan, and who saw them; a frame that saw none has no neighbours.
        count: at most so many for a frame.
        angle_deg: at the points, between the rays to the two cameras.

    Returns:
        Positions in `scan.frames`, the best first.
    """
    cameras = [frame.camera for frame in scan.frames]
    return [
        _best(_scores(position, cameras, sparse.seen_by(frame.index), angle_deg), count)
        for position, frame in enumerate(scan.frames)
    ]


def _best(scores: np.ndarray, count: int) -> tuple[int, ...]:
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(order[scores[order] > 0].tolist())


def _scores(position: int, cameras: list[Camera], points: np.ndarray, best_deg: float) -> np.ndarray:
    """(n,) float64: how well each camera does as a neighbour of the one at `position`, 0 = not at all."""
    scores = np.zeros(len(cameras))
    if not len(points):
        return scores
    points = points[:: -(-len(points) // _POINTS_PER_FRAME)]
    rays = _unit(points - cameras[position].center)
    for other, camera in enumerate(cameras):
        uv, depth = camera.project(points)
        inside = (depth > 0) & (uv > 0).all(axis=1) & (uv < (camera.width, camera.height)).all(axis=1)
        if other == position or inside.mean() < _SEEN_SHARE_MIN:
            continue
        cosine = (rays * _unit(points - camera.center)).sum(axis=1)
        angle_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        if np.median(angle_deg[inside]) < _ANGLE_MIN_DEG:
            continue
        spread = np.where(angle_deg < best_deg, _SPREAD_BELOW, _SPREAD_ABOVE) * best_deg
        scores[other] = (np.exp(-(((angle_deg - best_deg) / spread) ** 2) / 2) * inside).sum()
    return scores


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
