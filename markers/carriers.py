"""What rests on nothing is held by something: loose parts joined to what is next to them."""

from itertools import pairwise

import numpy as np

from markers.parts import Parts
from markers.structure import FLOOR_BAND_M
from markers.supports import CELL_M, LEVEL_BAND_M, SEAT_LEVEL_M, SLAB_M, members

_HOLD_M = 0.05
"""Gaps this wide are the sensor's: thin rods and leaves come out in pieces."""
_CELL_M = 0.015
_REST_M = 0.03
"""What ends so near above a plane or the floor stands on it."""
_CARRIED_AREA_MAX_M2 = 0.5
"""Larger things whose foot was not seen are furniture, not parts of it."""
_TABLE_WEIGHT = 0.3
"""Under a table most things are chairs, so a loose part goes to a table only where little else is near."""
_RIM_M = 0.18
"""Backs lean: so far from a table's outline one may be and still be beside the table."""
_ROUNDS = 4


def with_carriers(parts: Parts) -> Parts:
    """Join every part that rests neither on the floor nor on a support to the part that it is nearest to.

    Leaves go to their stem, a lamp's shade to its foot, slats to their chair. The back of a chair whose legs are
    hidden does not go to the table that it shows above.
    """
    from scipy.spatial import KDTree

    free = _thinned(parts, np.flatnonzero(parts.labels >= 0))
    if len(free) < 2:
        return parts
    pairs = KDTree(parts.graph.points[free]).query_pairs(_HOLD_M, output_type="ndarray")
    pairs = free[np.concatenate([pairs, pairs[:, ::-1]])]
    for _ in range(_ROUNDS):
        pairs = pairs[parts.labels[pairs[:, 0]] != parts.labels[pairs[:, 1]]]
        ties = _ties(parts, pairs)
        if not ties:
            break
        parts = parts.joined(ties)
    return parts


def _thinned(parts: Parts, points: np.ndarray) -> np.ndarray:
    """One point of every part in each cell of 1.5 cm, so that a dense scan has no more pairs than a coarse one."""
    cell = np.floor(parts.graph.points[points] / _CELL_M).astype(np.int64)
    cell -= cell.min(axis=0, initial=0)
    size = cell.max(axis=0, initial=0) + 1
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    _, first = np.unique(key * (parts.labels.max(initial=0) + 1) + parts.labels[points], return_index=True)
    return points[np.sort(first)]


def _ties(parts: Parts, pairs: np.ndarray) -> list[tuple[int, int]]:
    """The carrier of every loose part; pairs (n, 2) of close points that belong to different parts."""
    every = members(parts.labels)
    tables = {int(root) for root, s in zip(parts.roots, parts.supports, strict=True) if s.is_table}
    rims: dict[int, list[int]] = {}
    ties = []
    for part, contacts in _contacts(parts, pairs).items():
        if not _is_loose(parts, part, every[part]):
            continue
        weight = {b: len(points) * (_TABLE_WEIGHT if b in tables else 1.0) for b, points in contacts.items()}
        for other in sorted(contacts, key=lambda b: (-weight[b], b)):
            for one in (part, other):
                if one not in rims:
                    rims[one] = _rims_beside(parts, one, every[one])
            if not _at_rim(parts, parts.graph.points[contacts[other]], rims[part] + rims[other]):
                ties.append((part, other))
                break
    return ties


def _contacts(parts: Parts, pairs: np.ndarray) -> dict[int, dict[int, np.ndarray]]:
    """For every part and every other part near it, the points of the first that are near the second."""
    total, labels = len(parts.labels), parts.labels
    count = int(labels.max(initial=-1)) + 1
    keys = np.unique((labels[pairs[:, 0]] * count + labels[pairs[:, 1]]) * total + pairs[:, 0])
    contact, point = np.divmod(keys, total)
    starts = np.flatnonzero(np.diff(contact, prepend=-1))
    found: dict[int, dict[int, np.ndarray]] = {}
    for start, end in pairwise([*starts, len(contact)]):
        part, other = divmod(int(contact[start]), count)
        found.setdefault(part, {})[other] = point[start:end]
    return found


def _is_loose(parts: Parts, part: int, member: np.ndarray) -> bool:
    if parts.graph.areas[member].sum() > _CARRIED_AREA_MAX_M2:
        return False
    points = parts.graph.points[member]
    low = np.quantile(points[:, 2], 0.01)
    if low < _REST_M + FLOOR_BAND_M:
        return False
    foot = points[points[:, 2] < low + _REST_M]
    for root, support in zip(parts.roots, parts.supports, strict=True):
        at_level = root != part and abs(low - support.level_m - LEVEL_BAND_M) < _REST_M
        if at_level and np.mean(support.depth_inside_m(foot) > -CELL_M) > 0.5:
            return False
    return True


def _rims_beside(parts: Parts, part: int, member: np.ndarray) -> list[int]:
    """The tables that a part rises beside: it shows above them, but is not on them."""
    points = parts.graph.points[member]
    top = np.quantile(points[:, 2], 0.98)
    return [
        s
        for s, support in enumerate(parts.supports)
        if parts.roots[s] != part
        and SEAT_LEVEL_M[1] < support.level_m < top - 2 * LEVEL_BAND_M
        and np.mean(support.depth_inside_m(points) > CELL_M) <= 0.5
    ]


def _at_rim(parts: Parts, touching: np.ndarray, rims: list[int]) -> bool:
    """Whether a contact, (n, 3) metres, lies mostly at the rim of one of these tables."""
    for support in (parts.supports[s] for s in rims):
        near = np.abs(touching[:, 2] - support.level_m) < 2 * SLAB_M
        near[near] = np.abs(support.depth_inside_m(touching[near])) < _RIM_M
        if near.mean() > 0.5:
            return True
    return False
