"""Objects from geometry alone: what is left of an upright surface without floor, walls and ceiling, cut at its planes.

The surface falls into support planes and the connected pieces between them. What hangs under a plane is its legs and
body and joins it; what rises from it or passes it by is something else, unless the plane is a seat and the piece its
back, or the plane is a board and the piece the frame around it.
"""

import numpy as np

from bev.surface import Surface
from markers.instance import Instance, fit_box
from markers.structure import Graph, structure_mask, surface_graph
from markers.supports import LEVEL_BAND_M, SLAB_M, Support, find_supports

_SEAT_LEVEL_MAX_M = 0.65
"""Seats and beds end below this, tables above."""
_BACK_HEIGHT_MIN_M = 0.15
_UNDER_SHARE_MIN = 0.7
_PART_SHARE_MIN = 0.15
_BACK_SHARE_MIN = 0.12
_FRAME_SHARE_MIN = 0.3
_NEAR_M = 0.06


def cluster(surface: Surface, *, area_min_m2: float = 0.008, extent_min_m: float = 0.05) -> list[Instance]:
    """Objects of a room, without weights and without labels.

    Args:
        surface: mesh or point cloud, upright: z up, floor at z = 0, metres.
        area_min_m2: smaller surfaces are dropped; a cup shows about 0.03 square metres.
        extent_min_m: objects whose longest edge is shorter are dropped.

    Returns:
        Instances with ids from 1, the largest box first; `score` is in (0, 1] and grows with the surface seen.
    """
    graph = surface_graph(surface)
    owner = object_labels(graph)
    found = []
    for vertices in _groups(owner):
        box = fit_box(_trimmed(graph.points[vertices]))
        area = graph.areas[vertices].sum()
        if area >= area_min_m2 and box.size.max() >= extent_min_m:
            found.append((box, vertices, float(area / (area + 0.1))))
    found.sort(key=lambda f: (-round(float(np.prod(f[0].size)), 6), *f[0].center.round(4)))
    return [
        Instance(i + 1, "object", vertices.astype(np.int32), box, "cluster", score=score)
        for i, (box, vertices, score) in enumerate(found)
    ]


def object_labels(graph: Graph) -> np.ndarray:
    """The object of every point, (V,) int64, -1 = structure."""
    free = ~structure_mask(graph)
    supports, owner = find_supports(graph, free)
    pieces = graph.components(np.where(free & (owner < 0), 0, -1))
    pieces = _split_by_column(graph, supports, owner, pieces)
    return _united(
        np.where(owner >= 0, owner, np.where(pieces >= 0, pieces + len(supports), -1)),
        [
            *((large, small) for large, small in _parted_tops(graph, supports, owner)),
            *((s, piece + len(supports)) for s, piece in _bodies(graph, supports, owner, pieces)),
            *((s, piece + len(supports)) for s, piece in _backs_and_frames(graph, supports, pieces)),
        ],
    )


def _bodies(graph: Graph, supports: list[Support], owner: np.ndarray, pieces: np.ndarray) -> list[tuple[int, int]]:
    """Pieces that hang under a plane and touch it: legs, aprons, the body of a cabinet."""
    pairs = []
    for (s, piece) in _touching(graph, owner, pieces):
        members = np.flatnonzero(pieces == piece)
        points, areas = graph.points[members], graph.areas[members]
        under = (points[:, 2] < supports[s].level_m) & supports[s].covers(points)
        if areas[under].sum() > _UNDER_SHARE_MIN * areas.sum():
            pairs.append((s, piece))
    return pairs


def _backs_and_frames(graph: Graph, supports: list[Support], pieces: np.ndarray) -> list[tuple[int, int]]:
    """Pieces that rise along the rim of a seat, and frames that hold a board from several sides."""
    from scipy.spatial import KDTree

    pairs = []
    for s, support in enumerate(supports):
        z = graph.points[:, 2] - support.level_m
        near = np.flatnonzero((pieces >= 0) & (z > -SLAB_M) & (z < 2 * SLAB_M))
        near = near[np.abs(support.depth_inside_m(graph.points[near])) < _NEAR_M]
        _, cell = KDTree(support.outline_xy).query(graph.points[near, :2])
        hits = np.unique(np.stack([pieces[near], cell], axis=1), axis=0)
        for piece, count in zip(*np.unique(hits[:, 0], return_counts=True), strict=True):
            members = np.flatnonzero(pieces == piece)
            share = count / len(support.outline_xy)
            height, areas = z[members], graph.areas[members]
            below = areas[height < 0].sum() / areas.sum()
            rise = np.quantile(height, 0.95)
            inside = np.mean(support.depth_inside_m(graph.points[members]) > _NEAR_M)
            seat = support.level_m < _SEAT_LEVEL_MAX_M and rise > _BACK_HEIGHT_MIN_M and inside < 0.3
            if (seat and share > _BACK_SHARE_MIN) or (0.1 < below < 0.9 and share > _FRAME_SHARE_MIN):
                pairs.append((s, int(piece)))
    return pairs


def _parted_tops(graph: Graph, supports: list[Support], owner: np.ndarray) -> list[tuple[int, int]]:
    """Pieces of one top that something lying across it has parted, and steps in its rim."""
    pairs = []
    for small in range(len(supports)):
        points = graph.points[owner == small]
        for large in range(small):
            below = supports[large].level_m - supports[small].level_m
            if -LEVEL_BAND_M / 2 < below < SLAB_M and np.mean(supports[large].covers(points)) > 0.5:
                pairs.append((large, small))
    return pairs


def _touching(graph: Graph, owner: np.ndarray, pieces: np.ndarray) -> list[tuple[int, int]]:
    """Planes and pieces that share an edge of the graph, as (plane, piece), ascending."""
    a, b = graph.edges.T
    pairs = np.concatenate([np.stack([owner[a], pieces[b]], 1), np.stack([owner[b], pieces[a]], 1)])
    return [(int(s), int(p)) for s, p in np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)]


def _split_by_column(graph: Graph, supports: list[Support], owner: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Cut pieces that hang under a plane and go on beside it: a counter's front that runs on into the next cabinet."""
    touched: dict[int, list[int]] = {}
    for s, piece in _touching(graph, owner, pieces):
        touched.setdefault(piece, []).append(s)
    parts = np.where(pieces >= 0, pieces * (len(supports) + 1), -1)
    for piece, below in sorted(touched.items()):
        members = np.flatnonzero(pieces == piece)
        points, areas = graph.points[members], graph.areas[members]
        column = np.full(len(members), len(supports))
        for s in sorted(below, key=lambda s: -supports[s].level_m):
            column[supports[s].covers(points) & (points[:, 2] < supports[s].level_m)] = s
        share = np.bincount(column, areas, minlength=len(supports) + 1) / areas.sum()
        if (share > _PART_SHARE_MIN).sum() > 1:
            parts[members] = piece * (len(supports) + 1) + column
    return graph.components(parts)


def _united(nodes: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = nodes.max(initial=-1) + 1
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    _, group = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)
    return np.where(nodes >= 0, group[nodes] if count else -1, -1)


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []


def _trimmed(points: np.ndarray) -> np.ndarray:
    """Without the outermost half percent along every axis: single stray vertices would stretch the box."""
    if len(points) < 50:
        return points
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    kept = points[((points >= low) & (points <= high)).all(axis=1)]
    return kept if len(kept) else points
