"""Support planes: level pieces of surface that carry things, such as table tops, seats, shelves and lids."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from markers.structure import Graph

CELL_M = 0.025
"""Cell of a footprint: a little more than the usual voxel, so that no holes open between vertices."""
LEVEL_BAND_M = 0.02
"""What rises less than this above a plane cannot be told from it: papers, a tablecloth's folds."""
SLAB_M = 0.06
"""How far below its level the rim of a board is taken along: boards are 2 to 5 cm thick."""
_AREA_MIN_M2 = 0.03
"""A book; smaller plane pieces belong to what they are part of."""
_HALF_WIDTH_MIN_M = 0.06
"""Narrower are rails, slats and the tops of back rests."""
SEAT_LEVEL_M = (0.2, 0.65)
"""Seats and beds are this high, tables higher."""
_TABLE_HALF_WIDTH_M = 0.15
_CLOSING_CELLS = 4
"""Bays up to 20 cm wide at a plane's edge are things that stand there, not the plane's outline."""
MARGIN_M = 0.05
"""A board's rim reaches this far beyond what faces up of its top: fusion rounds edges."""


@dataclass(frozen=True, eq=False)
class Support:
    """One level plane and the ground it covers."""

    level_m: float
    area_m2: float
    origin_xy: np.ndarray
    """(2,) float64, metres: the low corner of the footprint's grid."""
    inside_m: np.ndarray
    """(nx, ny) float64, metres: how far inside the plane's outline a cell lies, negative outside."""
    outline_xy: np.ndarray
    """(k, 2) float64, metres: the cells along the outline."""
    flank: np.ndarray
    """(nx, ny) bool: cells at the rim where something beside the plane rises above it, a chair's back at a table."""
    fill: float
    """Share of the area within the outline whose top was seen; the rest is covered by what stands on it."""

    def depth_inside_m(self, points: np.ndarray) -> np.ndarray:
        """How far inside the outline points lie seen from above, (N,) metres, negative outside; points (N, 3)."""
        return self._look_up(self.inside_m, points, -np.inf)

    def covers(self, points: np.ndarray, *, margin_m: float = MARGIN_M) -> np.ndarray:
        """Which points lie above, in or under the plane, its rim included, (N,) bool; points (N, 3) metres."""
        near = self.depth_inside_m(points) > -margin_m - 1e-9
        near[near] = ~self._look_up(self.flank, points[near], False)
        return near

    @property
    def is_table(self) -> bool:
        """Higher than any seat and too wide for a back rest."""
        return self.level_m > SEAT_LEVEL_M[1] and self.inside_m.max() > _TABLE_HALF_WIDTH_M

    def _look_up(self, grid: np.ndarray, points: np.ndarray, elsewhere: float | bool) -> np.ndarray:
        cell = _cells(points, self.origin_xy)
        on_grid = ((cell >= 0) & (cell < grid.shape)).all(axis=1)
        values = np.full(len(points), elsewhere)
        values[on_grid] = grid[cell[on_grid, 0], cell[on_grid, 1]]
        return values


def find_supports(graph: Graph, free: np.ndarray) -> tuple[list[Support], np.ndarray]:
    """Support planes among the points where `free`, (V,) bool, holds, largest first.

    Returns:
        the planes, and for every point the plane whose top or rim it is, (V,) int64, -1 = none.
    """
    level_piece = _level_pieces(graph, free)
    count = level_piece.max(initial=-1) + 1
    area = np.bincount(level_piece[level_piece >= 0], graph.areas[level_piece >= 0], minlength=count)
    every = members(level_piece)
    # ties cannot be left to the numbering of the pieces, which follows the order of the vertices
    wanted = [i for i in range(count) if area[i] >= _AREA_MIN_M2]
    wanted.sort(key=lambda i: (-round(area[i], 6), *graph.points[every[i]].mean(axis=0).round(4)))
    owner = np.full(len(graph.points), -1, np.int64)
    supports = []
    for piece in wanted:
        top = every[piece]
        level = _weighted_median(graph.points[top, 2], graph.areas[top])
        support = _support(graph.points[top], level, float(area[piece]))
        if support.inside_m.max() >= _HALF_WIDTH_MIN_M:
            owner[top] = len(supports)
            supports.append(support)
    supports = [_with_flank(graph, support, free & (owner < 0)) for support in supports]
    for i, support in enumerate(supports):
        z = graph.points[:, 2] - support.level_m
        slab = free & (owner < 0) & (z > -SLAB_M) & (z < LEVEL_BAND_M)
        slab[slab] = support.covers(graph.points[slab])
        owner[slab] = i
    return supports, owner


def _level_pieces(graph: Graph, free: np.ndarray) -> np.ndarray:
    """Connected pieces that face up and keep their height, (V,) int64, -1 = none."""
    up = free & (graph.normals[:, 2] > 0.85)
    pieces = graph.components(np.where(up, 0, -1))
    labels, next_label = np.full(len(up), -1, np.int64), 0
    for member in members(pieces):
        if graph.areas[member].sum() < _AREA_MIN_M2:
            continue
        z, areas = graph.points[member, 2], graph.areas[member]
        # a piece that climbs holds several levels: the strongest first, as long as one is worth it
        left = np.ones(len(member), bool)
        while areas[left].sum() >= _AREA_MIN_M2:
            level = _mode(z[left], areas[left])
            at_level = left & (np.abs(z - level) < 1.5 * LEVEL_BAND_M)
            if areas[at_level].sum() < _AREA_MIN_M2:
                break
            labels[member[at_level]] = next_label
            next_label += 1
            left &= ~at_level
    return graph.components(labels)


def _support(top: np.ndarray, level: float, area: float) -> Support:
    from scipy import ndimage

    pad = _CLOSING_CELLS + 3
    origin = (np.floor(top[:, :2].min(axis=0) / CELL_M) - pad) * CELL_M
    cell = _cells(top, origin)
    seen = np.zeros(cell.max(axis=0) + 1 + pad, bool)
    seen[cell[:, 0], cell[:, 1]] = True
    y, x = np.mgrid[-_CLOSING_CELLS : _CLOSING_CELLS + 1, -_CLOSING_CELLS : _CLOSING_CELLS + 1]
    disk = x * x + y * y <= _CLOSING_CELLS**2 + 1
    covered = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(seen, disk)))
    inside = np.asarray(ndimage.distance_transform_edt(covered))
    inside = inside - np.asarray(ndimage.distance_transform_edt(~covered))
    outline = np.argwhere((inside > 0) & (inside <= 1))
    fill = float(seen[covered].mean())
    edge_xy = (outline + 0.5) * CELL_M + origin
    return Support(level, area, origin, inside * CELL_M, edge_xy, np.zeros_like(seen), fill)


def _with_flank(graph: Graph, support: Support, free: np.ndarray) -> Support:
    from scipy import ndimage

    z = graph.points[:, 2] - support.level_m
    above = graph.points[free & (z > LEVEL_BAND_M) & (z < 2 * SLAB_M)]
    depth = support.depth_inside_m(above)
    above = above[(depth > -4 * CELL_M) & (depth < CELL_M + 1e-9)]
    cell = _cells(above, support.origin_xy)
    flank = np.zeros(support.inside_m.shape, bool)
    flank[cell[:, 0], cell[:, 1]] = True
    flank = np.asarray(ndimage.binary_dilation(flank), bool) & (support.inside_m < CELL_M + 1e-9)
    return replace(support, flank=flank)


def _cells(points: np.ndarray, origin_xy: np.ndarray) -> np.ndarray:
    # vertices of made-up rooms lie on the lines between cells, on either side by their rounding
    return np.floor((points[:, :2] - origin_xy) / CELL_M + 1e-4).astype(np.int64)


def members(labels: np.ndarray) -> list[np.ndarray]:
    """The points of every label from 0 to the greatest, ascending; labels (V,) int, negative = none."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(labels.max(initial=-1) + 2))
    return [order[a:b] for a, b in pairwise(bounds)]


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.lexsort((weights, values))
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _mode(z: np.ndarray, areas: np.ndarray) -> float:
    """The height with the most area within a band of two centimetres to either side."""
    low = z.min()
    votes = np.bincount(((z - low) / 0.005).astype(int), areas)
    window = np.convolve(votes, np.ones(8), "same")
    return float(low + (window.argmax() + 0.5) * 0.005)
