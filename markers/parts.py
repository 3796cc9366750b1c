"""Which parts of furniture belong together: bodies to their tops, backs to their seats, boards to their frames.

A part is a support plane or a connected piece of surface between planes. Parts are joined step by step; a `Parts`
holds the state in between.
"""

from dataclasses import dataclass, replace

import numpy as np

from markers.connected import connected
from markers.structure import Graph
from markers.supports import LEVEL_BAND_M, SEAT_LEVEL_M, SLAB_M, Support, members

_UNDER_SHARE_MIN = 0.7
_BODY_MARGIN_M = 0.08
"""A carton's sides bulge, a cabinet's front stands out below its top."""
_LEG_GAP_M = 0.1
"""Of a leg under a table the uppermost decimetre is what cameras above see least."""
_COLUMN_SHARE_MIN = 0.15
"""A piece is cut by columns where two of them hold this much of it each; less is an overhang."""
_NEAR_M = 0.06
"""What is this near a plane's outline is at its rim: a back stands on the rim, a cushion or a box within it."""
_RISE_MIN_M = 0.1
_BACK_RISE_MAX_M = 0.8
"""No back is higher above its seat; what is higher is a wardrobe behind a box."""
_BACK_SHARE_MIN = 0.12
"""Of a seat's outline, how much its back or one arm takes: a chair's back a quarter, a sofa's arm an eighth."""
_FIRM_SHARE_MIN = 0.06
"""Of that, how much is joined in the surface itself; a table beside an armchair is near it but apart."""
_FRAME_SHARE_MIN = 0.3
"""Of a board's outline, how much is held by what runs on above and below it: the two ends of a shelf."""
_ENCLOSED_SHARE_MIN = 0.5
"""A board with walls around half of its outline is a shelf's bottom; nothing that stands on a table reaches so far."""
_FOOT_M = 0.004
_FOOT_RINGS = 2
"""Two centimetres in a mesh of one- to two-centimetre edges."""


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
        if not pairs:
            return self
        count = int(max(self.labels.max(initial=-1), self.roots.max(initial=-1))) + 1
        group = connected(np.array(pairs, np.int64), count).astype(np.int64)
        return replace(self, labels=np.where(self.labels >= 0, group[self.labels], -1), roots=group[self.roots])


def first_parts(graph: Graph, free: np.ndarray, supports: list[Support], owner: np.ndarray) -> Parts:
    """Every support and every piece alone."""
    pieces = graph.components(np.where(free & (owner < 0), 0, -1))
    pieces = _split_by_column(graph, supports, owner, pieces)
    labels = np.where(owner >= 0, owner, np.where(pieces >= 0, pieces + len(supports), -1))
    return Parts(graph, supports, owner, labels, np.arange(len(supports)))


def with_bodies(parts: Parts) -> Parts:
    """Join tops that something lying across has parted, and to tops what hangs under them and touches them.

    A leg whose upper end was not seen may end a little below its top.
    """
    pairs = _parted_tops(parts)
    every = members(parts.labels)
    touching = _touching(parts.graph, parts.owner, np.where(parts.owner < 0, parts.labels, -1))
    pairs += [(s, piece) for s, piece in touching if _hangs(parts, s, every[piece])]
    loose = sorted(set(range(len(parts.supports), len(every))) - {piece for _, piece in touching})
    for piece in loose:
        top = np.quantile(parts.graph.points[every[piece], 2], 0.98)
        for s in range(len(parts.supports)):
            gap = parts.supports[s].level_m - SLAB_M - top
            if -LEVEL_BAND_M < gap < _LEG_GAP_M and _hangs(parts, s, every[piece]):
                pairs.append((s, piece))
    return parts.joined(pairs)


def _hangs(parts: Parts, s: int, member: np.ndarray) -> bool:
    points, areas = parts.graph.points[member], parts.graph.areas[member]
    under = (points[:, 2] < parts.supports[s].level_m) & parts.supports[s].covers(points, margin_m=_BODY_MARGIN_M)
    return bool(areas[under].sum() > _UNDER_SHARE_MIN * areas.sum())


def with_backs_and_frames(parts: Parts, free: np.ndarray) -> Parts:
    """Join seats with what rises along their rims, and boards with the frame that holds or encloses them."""
    tops = parts.owner >= 0
    tops[tops] = parts.graph.normals[tops, 2] > 0.7
    whole = parts.graph.components(np.where(free & ~tops, 0, -1))
    lowest = np.full(whole.max(initial=-1) + 1, np.inf)
    np.minimum.at(lowest, whole[whole >= 0], parts.graph.points[whole >= 0, 2])
    reach_down = np.append(lowest, np.inf)[whole]
    for _ in range(3):
        pairs = [pair for s in range(len(parts.supports)) for pair in _holders(parts, s, reach_down)]
        if not pairs:
            break
        parts = parts.joined(pairs)
    return parts


def with_feet(parts: Parts) -> Parts:
    """Give back to what stands on a plane its lowest two centimetres, which went with the plane."""
    graph, labels = parts.graph, parts.labels.copy()
    level = np.array([s.level_m for s in parts.supports] or [0.0])[np.maximum(parts.owner, 0)]
    foot = (parts.owner >= 0) & (graph.normals[:, 2] < 0.7) & (graph.points[:, 2] > level + _FOOT_M)
    a, b = np.concatenate([graph.edges, graph.edges[:, ::-1]]).T
    for _ in range(_FOOT_RINGS):
        up = foot[a] & (labels[a] != labels[b]) & (labels[b] >= 0) & (graph.points[b, 2] > level[a])
        # where two things meet, the one with the lower number, whatever the order of the edges
        winner = np.full(len(labels), np.iinfo(np.int64).max)
        np.minimum.at(winner, a[up], labels[b[up]])
        changed = np.unique(a[up])
        labels[changed] = winner[changed]
        foot[changed] = False
    return replace(parts, labels=labels)


def _holders(parts: Parts, s: int, reach_down: np.ndarray) -> list[tuple[int, int]]:
    from scipy.spatial import KDTree

    graph, support, own = parts.graph, parts.supports[s], parts.roots[s]
    z = graph.points[:, 2] - support.level_m
    near = np.flatnonzero((parts.labels >= 0) & (parts.labels != own) & (z > -SLAB_M) & (z < 2 * SLAB_M))
    near = near[np.abs(support.depth_inside_m(graph.points[near])) < _NEAR_M]
    if not len(near):
        return []
    cell = np.asarray(KDTree(support.outline_xy).query(graph.points[near, :2])[1])
    hits = np.unique(np.stack([parts.labels[near], cell], axis=1), axis=0)
    fixed = _edge_neighbours(parts, s)
    tables = {int(parts.roots[t]) for t in range(len(parts.supports)) if parts.supports[t].is_table}
    pairs = []
    for other in np.unique(hits[:, 0]):
        share = np.count_nonzero(hits[:, 0] == other) / len(support.outline_xy)
        if share < _BACK_SHARE_MIN:
            continue
        at = near[parts.labels[near] == other]
        firm = len(np.unique(cell[(parts.labels[near] == other) & fixed[near]])) / len(support.outline_xy)
        passes = bool((reach_down[at] < support.level_m - SLAB_M - LEVEL_BAND_M).any())
        may_be_back = passes and other not in tables and bool(firm > _FIRM_SHARE_MIN or share > 2 * _BACK_SHARE_MIN)
        if _holds(graph, support, np.flatnonzero(parts.labels == other), share, passes, may_be_back):
            pairs.append((int(own), int(other)))
    return pairs


def _edge_neighbours(parts: Parts, s: int) -> np.ndarray:
    """Which points share an edge of the graph with a support, (V,) bool."""
    a, b = parts.graph.edges.T
    found = np.zeros(len(parts.owner), bool)
    found[b[parts.owner[a] == s]] = True
    found[a[parts.owner[b] == s]] = True
    return found


def _holds(graph: Graph, support: Support, member: np.ndarray, share: float, passes: bool, may_be_back: bool) -> bool:
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
    low, high = SEAT_LEVEL_M
    if not (may_be_back and low < support.level_m < high and rise < _BACK_RISE_MAX_M):
        return False
    spread = np.linalg.norm(np.ptp(points[:, :2], axis=0))
    seat = np.linalg.norm(np.ptp(support.outline_xy, axis=0))
    inside = np.mean(support.depth_inside_m(points) > _NEAR_M)
    return bool(inside < 0.3 and spread < 1.9 * seat + 0.3)


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
    touching = _touching(graph, owner, pieces)
    touched: dict[int, list[int]] = {}
    for s, piece in touching:
        touched.setdefault(piece, []).append(s)
    none = len(supports)
    column = np.where(pieces >= 0, none, -1)
    every = members(pieces)
    for piece, above in sorted(touched.items()):
        points, areas = graph.points[every[piece]], graph.areas[every[piece]]
        under = np.full(len(points), none)
        for s in sorted(above, key=lambda s: -supports[s].level_m):
            under[supports[s].covers(points) & (points[:, 2] < supports[s].level_m)] = s
        share = np.bincount(under, areas, minlength=none + 1) / areas.sum()
        if (share > _COLUMN_SHARE_MIN).sum() > 1:
            column[every[piece]] = under
    parts = graph.components(np.where(pieces >= 0, pieces * (none + 1) + column, -1))
    return _mended(graph, supports, owner, pieces, column, parts)


def _mended(
    graph: Graph, supports: list[Support], owner: np.ndarray, pieces: np.ndarray, column: np.ndarray, parts: np.ndarray
) -> np.ndarray:
    """Undo cuts that part a plane's own front, where its top was not seen, or a chair from its half under a table."""
    a, b = graph.edges.T
    cut = (pieces[a] == pieces[b]) & (pieces[a] >= 0) & (parts[a] != parts[b])
    both = np.concatenate([np.stack([parts[a[cut]], parts[b[cut]]], 1), np.stack([parts[b[cut]], parts[a[cut]]], 1)])
    if not len(both):
        return parts
    rows, contact = np.unique(both, axis=0, return_counts=True)
    every = members(parts)
    carried = {(s, p) for s, p in _touching(graph, owner, parts)}
    new = np.arange(len(every))
    for part in np.unique(rows[:, 0]):
        own = int(column[every[part][0]])
        others = rows[rows[:, 0] == part, 1]
        count = contact[rows[:, 0] == part]
        neighbour = int(others[np.lexsort((others, -count))[0]])
        if own == len(supports):
            levels = [supports[c].level_m for c in column[[every[o][0] for o in others]] if c < len(supports)]
            top = np.quantile(graph.points[every[part], 2], 0.98)
            if levels and top < max(levels) + 2 * LEVEL_BAND_M:
                new[part] = neighbour
        elif (own, int(part)) not in carried:
            new[part] = neighbour
    return np.where(parts >= 0, _followed(new)[parts], -1)


def _followed(parent: np.ndarray) -> np.ndarray:
    """The group of every node when each node is tied to its parent."""
    return connected(np.stack([np.arange(len(parent)), parent], axis=1), len(parent))
