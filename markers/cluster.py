"""Objects from geometry alone: what is left of an upright surface without floor, walls and ceiling, cut at its planes.

The surface falls into support planes and the connected pieces between them. What hangs under a plane is its legs and
body and joins it; what rises from it or passes it by is something else, unless the plane is a seat and the piece its
back, or the plane is a board and the piece the frame around it.
"""

from dataclasses import dataclass

import numpy as np

from bev.surface import Surface
from markers.instance import Instance, fit_box
from markers.structure import Graph, structure_mask, surface_graph
from markers.supports import Support, find_supports

_SEAT_LEVEL_MAX_M = 0.65
"""Seats and beds end below this, tables above."""
_BACK_HEIGHT_MIN_M = 0.15
_RIM_M = 0.06
_UNDER_SHARE_MIN = 0.7
_PART_SHARE_MIN = 0.15
_FRAME_CONTACT_MIN = 0.3
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
    nodes = np.where(owner >= 0, owner, np.where(pieces >= 0, pieces + len(supports), -1))
    pairs = _same_level_pairs(graph, supports, owner)
    for contact in _contacts(graph, nodes, len(supports)):
        if _belongs(graph, contact, supports[contact.support], nodes):
            pairs.append((contact.support, contact.piece))
    return _united(nodes, pairs)


@dataclass(frozen=True, eq=False)
class _Contact:
    support: int
    piece: int
    points: np.ndarray
    """Points of the piece that touch the plane's top or rim."""
    length_m: float


def _contacts(graph: Graph, nodes: np.ndarray, support_count: int) -> list[_Contact]:
    a, b = nodes[graph.edges].T
    touching = (a != b) & (a >= 0) & (b >= 0) & ((a < support_count) != (b < support_count))
    edges, a, b = graph.edges[touching], a[touching], b[touching]
    swap = a >= support_count
    support, piece = np.where(swap, b, a), np.where(swap, a, b)
    point = np.where(swap, edges[:, 0], edges[:, 1])
    rows = np.unique(np.stack([support, piece, point], axis=1), axis=0)
    cuts = np.flatnonzero(np.diff(rows[:, 0] * (nodes.max(initial=0) + 1) + rows[:, 1])) + 1
    return [
        _Contact(int(r[0, 0]), int(r[0, 1]), r[:, 2], float(np.sqrt(graph.areas[r[:, 2]]).sum()))
        for r in np.split(rows, cuts)
        if len(r)
    ]


def _belongs(graph: Graph, contact: _Contact, support: Support, nodes: np.ndarray) -> bool:
    members = np.flatnonzero(nodes == contact.piece)
    points, areas = graph.points[members], graph.areas[members]
    below = points[:, 2] < support.level_m
    total = areas.sum()
    if areas[below & support.covers(points)].sum() > _UNDER_SHARE_MIN * total:
        return True
    touching = graph.points[contact.points]
    rise = np.quantile(points[:, 2], 0.95) - support.level_m
    if support.level_m < _SEAT_LEVEL_MAX_M and rise > _BACK_HEIGHT_MIN_M:
        at_rim = np.mean(support.depth_inside_m(touching) < _RIM_M)
        if at_rim > 0.6 and contact.length_m > 0.5 * np.sqrt(support.area_m2):
            return True
    passes = 0.1 < areas[below].sum() / total < 0.9
    return bool(passes and contact.length_m > _FRAME_CONTACT_MIN * 4 * np.sqrt(support.area_m2))


def _split_by_column(graph: Graph, supports: list[Support], owner: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Cut pieces that hang under a plane and go on beside it: a counter's front that runs on into the next cabinet."""
    nodes = np.where(owner >= 0, owner, np.where(pieces >= 0, pieces + len(supports), -1))
    touched: dict[int, list[int]] = {}
    for contact in _contacts(graph, nodes, len(supports)):
        touched.setdefault(contact.piece - len(supports), []).append(contact.support)
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


def _same_level_pairs(graph: Graph, supports: list[Support], owner: np.ndarray) -> list[tuple[int, int]]:
    """Pieces of one top that something lying across it has parted."""
    pairs = []
    for small in range(len(supports)):
        points = graph.points[owner == small]
        for large in range(small):
            if abs(supports[small].level_m - supports[large].level_m) < 0.03:
                inside = np.mean(supports[large].covers(points))
                if inside > 0.5:
                    pairs.append((large, small))
    return pairs


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
