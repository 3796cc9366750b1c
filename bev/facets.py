"""The surface as small flat pieces, faces of a mesh or points of a cloud alike, and the levels that they form."""

from dataclasses import dataclass

import numpy as np

from bev.surface import Surface, point_spacing_m

_BIN_M = 0.01
_WINDOW_M = 0.06


@dataclass(frozen=True, eq=False)
class Facets:
    """Where pieces of the surface lie, where they face and how large they are."""

    centers: np.ndarray
    """(N, 3) float64, metres."""
    normals: np.ndarray
    """(N, 3) float64, unit length, towards the free side."""
    areas: np.ndarray
    """(N,) float64, square metres."""

    def where(self, keep: np.ndarray) -> "Facets":
        """The pieces where `keep`, (N,) bool, holds."""
        return Facets(self.centers[keep], self.normals[keep], self.areas[keep])

    def thinned(self, count_max: int) -> "Facets":
        """Every k-th piece, standing for its k - 1 neighbours too, so that about `count_max` are left."""
        step = max(1, -(-len(self.areas) // count_max))
        return Facets(self.centers[::step], self.normals[::step], self.areas[::step] * step)


def facets_of(surface: Surface, *, count_max: int = 200_000) -> Facets:
    """The faces of a mesh by area, or the points of a cloud by equal weights, thinned to about `count_max`."""
    if surface.is_mesh:
        step = -(-len(surface.faces) // count_max)
        faces = surface.faces[::step]
        a, b, c = (surface.vertices[faces[:, i]].astype(np.float64) for i in range(3))
        cross = np.cross(b - a, c - a)
        length = np.linalg.norm(cross, axis=1)
        kept = length > 1e-12
        normals = cross[kept] / length[kept, None]
        return Facets(((a + b + c) / 3)[kept], normals, length[kept] / 2 * step)
    step = max(1, -(-len(surface.vertices) // count_max))
    normals = surface.normals[::step].astype(np.float64)
    length = np.linalg.norm(normals, axis=1)
    kept = length > 0.5
    areas = np.full(int(kept.sum()), step * point_spacing_m(surface.vertices) ** 2)
    return Facets(surface.vertices[::step][kept].astype(np.float64), normals[kept] / length[kept, None], areas)


def levels_along(facets: Facets, up: np.ndarray, *, cone_deg: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Heights at which surface lies level and faces up: floors, table tops, seats.

    Args:
        facets: the surface, in any world.
        up: (3,) unit length.
        cone_deg: how far a piece may lean and still count, degrees.

    Returns:
        heights (L,) float64 metres along `up`, ascending, at least 0.12 m apart; areas (L,) float64 square metres of
        what lies within 6 cm of each. Levels below 0.1 m2, or 4 % of all that lies level, are left out.
    """
    level = facets.where(facets.normals @ up > np.cos(np.radians(cone_deg)))
    heights = level.centers @ up
    if not len(heights):
        return np.zeros(0), np.zeros(0)
    area_min = max(0.1, 0.04 * level.areas.sum())
    order = np.argsort(heights, kind="stable")
    heights, areas = heights[order], level.areas[order]
    left = areas.copy()
    found: list[tuple[float, float]] = []
    while True:
        height = _fullest(heights, left)
        near = np.abs(heights - height) < _WINDOW_M
        area = float(left[near].sum())
        if area < area_min:
            break
        found.append((_center(heights[near], left[near]), area))
        left[np.abs(heights - height) < 2 * _WINDOW_M] = 0
    found.sort()
    return np.array([height for height, _ in found]), np.array([area for _, area in found])


def _fullest(heights: np.ndarray, weights: np.ndarray) -> float:
    """The middle of the window of twice 6 cm that holds the most weight; `heights` ascend."""
    total = np.concatenate([[0.0], np.cumsum(weights)])
    middles = np.arange(heights[0], heights[-1] + _BIN_M, _BIN_M)
    first = np.searchsorted(heights, middles - _WINDOW_M)
    last = np.searchsorted(heights, middles + _WINDOW_M)
    return float(middles[np.argmax(total[last] - total[first])])


def _center(heights: np.ndarray, weights: np.ndarray) -> float:
    """A mean that noise on one side does not drag along: around the median, twice within 3 cm."""
    order = np.argsort(heights, kind="stable")
    total = np.cumsum(weights[order])
    center = float(heights[order][np.searchsorted(total, total[-1] / 2)])
    for _ in range(3):
        near = np.abs(heights - center) < _WINDOW_M / 2
        if weights[near].sum() > 0:
            center = float(np.average(heights[near], weights=weights[near]))
    return center
