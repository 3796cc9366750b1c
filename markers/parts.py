"""Which parts of furniture belong together: bodies to their tops, backs to their seats, boards to their frames.

A part is a support plane or a connected piece of surface between planes. Parts are joined step by step; a `Parts`
holds the state in between.
"""

from dataclasses import dataclass, replace

import numpy as np

from markers.structure import Graph
from markers.supports import LEVEL_BAND_M, SLAB_M, Support, members

_UNDER_SHARE_MIN = 0.7
_COLUMN_SHARE_MIN = 0.15
_RISE_MIN_M = 0.1
_SEAT_LEVEL_M = (0.2, 0.65)
"""Seats and beds are this high, tables higher."""
_BACK_RISE_MAX_M = 0.8
"""No back is higher above its seat; what is higher is a wardrobe behind a box."""
_BACK_SHARE_MIN = 0.12
_FRAME_SHARE_MIN = 0.3
_ENCLOSED_SHARE_MIN = 0.5
_NEAR_M = 0.06


@dataclass(frozen=True, eq=False)
class Parts:
    """Supports and pieces, and which of them are joined so far."""

    graph: Graph
    supports: list[Support]
    owner: np.ndarray
    """(V,) int64: the support whose top or rim a point is, -1 = none."""
    labels: np.ndarray
    """(V,) int64: the joined part of every point, -1 = structure; support s alone is s."""
    roots: np.ndarray
    """(S,) int64: the joined part of every support."""

    def joined(self, pairs: list[tuple[int, int]]) -> "Parts":
        """With these pairs of labels joined too."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        if not pairs:
            return self
        count = int(max(self.labels.max(initial=-1), self.roots.max(initial=-1))) + 1
        a, b = np.array(pairs, np.int64).T
        _, group = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)
        return replace(self, labels=np.where(self.labels >= 0, group[self.labels], -1), roots=group[self.roots])


def first_parts(graph: Graph, free: np.ndarray, supports: list[Support], owner: np.ndarray) -> Parts:
    """Every support and every piece alone."""
    pieces = graph.components(np.where(free & (owner < 0), 0, -1))
    pieces = _split_by_column(graph, supports, owner, pieces)
    labels = np.where(owner >= 0, owner, np.where(pieces >= 0, pieces + len(supports), -1))
    return Parts(graph, supports, owner, labels, np.arange(len(supports)))


def with_bodies(parts: Parts) -> Parts:
    """Join tops that something lying across has parted, and to tops what hangs under them and touches them."""
    graph, pairs = parts.graph, _parted_tops(parts)
    every = members(parts.labels)
    for s, piece in _touching(graph, parts.owner, np.where(parts.owner < 0, parts.labels, -1)):
        points, areas = graph.points[every[piece]], graph.areas[every[piece]]
        under = (points[:, 2] < parts.supports[s].level_m) & parts.supports[s].covers(points)
        if areas[under].sum() > _UNDER_SHARE_MIN * areas.sum():
            pairs.append((s, piece))
    return parts.joined(pairs)


def with_backs_and_frames(parts: Parts, free: np.ndarray) -> Parts:
    """Join seats with what rises along their rims, and boards with the frame that holds or encloses them."""
    tops = parts.owner >= 0
    tops[tops] = parts.graph.normals[tops, 2] > 0.7
    whole = parts.graph.components(np.where(free & ~tops, 0, -1))
    lowest = np.full(whole.max(initial=-1) + 1, np.inf)
    np.minimum.at(lowest, whole[whole >= 0], parts.graph.points[whole >= 0, 2])
    reach_down = np.where(whole >= 0, lowest[whole], np.inf)
    for _ in range(3):
        pairs = [pair for s in range(len(parts.supports)) for pair in _holders(parts, s, reach_down)]
        if not pairs:
            break
        parts = parts.joined(pairs)
    return parts


def _holders(parts: Parts, s: int, reach_down: np.ndarray) -> list[tuple[int, int]]:
    from scipy.spatial import KDTree

    graph, support, own = parts.graph, parts.supports[s], parts.roots[s]
    z = graph.points[:, 2] - support.level_m
    near = np.flatnonzero((parts.labels >= 0) & (parts.labels != own) & (z > -SLAB_M) & (z < 2 * SLAB_M))
    near = near[np.abs(support.depth_inside_m(graph.points[near])) < _NEAR_M]
    if not len(near):
        return []
    _, cell = KDTree(support.outline_xy).query(graph.points[near, :2])
    hits = np.unique(np.stack([parts.labels[near], cell], axis=1), axis=0)
    pairs = []
    for other, count in zip(*np.unique(hits[:, 0], return_counts=True), strict=True):
        share = count / len(support.outline_xy)
        if share < _BACK_SHARE_MIN:
            continue
        member = np.flatnonzero(parts.labels == other)
        passes = bool((reach_down[near[parts.labels[near] == other]] < support.level_m - SLAB_M - LEVEL_BAND_M).any())
        if _holds(graph, support, member, share, passes):
            pairs.append((int(own), int(other)))
    return pairs


def _holds(graph: Graph, support: Support, member: np.ndarray, share: float, passes: bool) -> bool:
    points, areas = graph.points[member], graph.areas[member]
    height = points[:, 2] - support.level_m
    below = areas[height < 0].sum() / areas.sum()
    rise = np.quantile(height, 0.98)
    if rise < _RISE_MIN_M:
        return False
    if share > _ENCLOSED_SHARE_MIN and support.fill > 0.5:
        return True
    if passes and 0.1 < below < 0.9 and share > _FRAME_SHARE_MIN:
        return True
    low, high = _SEAT_LEVEL_M
    if not (passes and low < support.level_m < high and rise < _BACK_RISE_MAX_M):
        return False
    spread = np.linalg.norm(np.ptp(points[:, :2], axis=0))
    seat = np.linalg.norm(np.ptp(support.outline_xy, axis=0))
    inside = np.mean(support.depth_inside_m(points) > _NEAR_M)
    return bool(inside < 0.3 and spread < 1.3 * seat + 0.3)


def _parted_tops(parts: Parts) -> list[tuple[int, int]]:
    """Pieces of one top that something lying across it has parted, and steps in its rim."""
    pairs, supports = [], parts.supports
    for small in range(len(supports)):
        points = parts.graph.points[parts.owner == small]
        for large in range(small):
            below = supports[large].level_m - supports[small].level_m
            if -LEVEL_BAND_M / 2 < below < SLAB_M and np.mean(supports[large].covers(points)) > 0.5:
                pairs.append((large, small))
    return pairs


def _touching(graph: Graph, owner: np.ndarray, pieces: np.ndarray) -> list[tuple[int, int]]:
    """Supports and pieces that share an edge of the graph, as (support, piece), ascending."""
    a, b = graph.edges.T
    pairs = np.concatenate([np.stack([owner[a], pieces[b]], 1), np.stack([owner[b], pieces[a]], 1)])
    return [(int(s), int(p)) for s, p in np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)]


def _split_by_column(graph: Graph, supports: list[Support], owner: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Cut pieces that hang under a plane and go on under the next, or beside it and above it."""
    touched: dict[int, list[int]] = {}
    for s, piece in _touching(graph, owner, pieces):
        touched.setdefault(piece, []).append(s)
    none = len(supports)
    parts = np.where(pieces >= 0, pieces * (none + 1), -1)
    every = members(pieces)
    for piece, below in sorted(touched.items()):
        member = every[piece]
        points, areas = graph.points[member], graph.areas[member]
        column = np.full(len(member), none)
        for s in sorted(below, key=lambda s: -supports[s].level_m):
            column[supports[s].covers(points) & (points[:, 2] < supports[s].level_m)] = s
        share = np.bincount(column, areas, minlength=none + 1) / areas.sum()
        if (share > _COLUMN_SHARE_MIN).sum() < 2:
            continue
        beside = column == none
        top = max(supports[s].level_m for s in np.flatnonzero(share[:none] > 0))
        if beside.any() and not beside.all() and np.quantile(points[beside, 2], 0.98) < top + _RISE_MIN_M:
            # no higher than the plane: the plane's own front, where its top was not seen
            column[beside] = _nearest(points[~beside], column[~beside], points[beside])
        parts[member] = piece * (none + 1) + column
    return graph.components(parts)


def _nearest(points: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    return labels[KDTree(points).query(queries)[1]]
