"""Normals towards the free side: the side from which cameras saw the surface."""

from dataclasses import replace

import numpy as np

from bev.camera import Camera
from bev.facets import facets_of
from bev.scan import Scan
from bev.surface import Surface

_CAMERAS = 40
_GRID_WIDTH_MAX = 64
_POINTS_PER_CELL = 6
_TRUSTED_SHARE = 0.9


def face_the_cameras(surface: Surface, scan: Scan) -> Surface:
    """The surface with its normals towards the cameras that see it.

    A mesh is turned as a whole, normals and winding, when most of what is seen is seen from behind. The points of a
    cloud are turned one by one when over a tenth of them look away: estimated normals have arbitrary signs.
    """
    if surface.is_mesh:
        facets = facets_of(surface, count_max=20_000)
        seen, _ = _facing_votes(facets.centers, facets.normals, scan)
        if facets.areas @ np.sign(seen) >= 0:
            return surface
        return replace(surface, faces=surface.faces[:, ::-1], normals=-surface.normals)
    seen, hidden = _facing_votes(surface.vertices.astype(np.float64), surface.normals.astype(np.float64), scan)
    if (seen > 0).sum() >= _TRUSTED_SHARE * (seen != 0).sum():
        return surface
    # a ceiling above all frames: its free side is the one that the cameras, wherever they looked, are on
    centers = scan.centers().mean(axis=0)
    beyond = np.einsum("ij,ij->i", centers - surface.vertices, surface.normals)
    votes = np.where(seen != 0, seen, np.where(hidden != 0, hidden, beyond))
    return replace(surface, normals=surface.normals * np.where(votes < 0, -1, 1)[:, None])


def _facing_votes(points: np.ndarray, normals: np.ndarray, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """(N,) and (N,) float64, positive where cameras stand in front of a point: of those that see it, of the others."""
    seen_votes, hidden_votes = np.zeros(len(points)), np.zeros(len(points))
    for i in np.unique(np.linspace(0, len(scan.frames) - 1, _CAMERAS).astype(int)):
        camera = scan.frames[i].camera
        inside, is_seen = _seen(camera, points)
        towards = camera.center - points[inside]
        distance = np.maximum(np.linalg.norm(towards, axis=1), 0.1)
        vote = np.einsum("ij,ij->i", towards, normals[inside]) / distance**2
        seen_votes[inside] += vote * is_seen
        hidden_votes[inside] += vote * ~is_seen
    return seen_votes, hidden_votes


def _seen(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (M,) of the points within the image, and (M,) bool which of them a coarse depth buffer leaves visible."""
    uv, depth = camera.project(points)
    size = np.array([camera.width, camera.height])
    inside = np.flatnonzero((depth > 0.05) & (uv >= 0).all(axis=1) & (uv < size).all(axis=1))
    # cells that hold several points each: through finer ones, far points would be seen between near ones
    columns = int(np.clip(np.sqrt(len(inside) / _POINTS_PER_CELL), 4, _GRID_WIDTH_MAX))
    column, row = (uv[inside] * columns / camera.width).astype(np.int64).T
    cell = row * columns + column
    nearest = np.full(int(cell.max(initial=0)) + 1, np.inf)
    np.minimum.at(nearest, cell, depth[inside])
    return inside, depth[inside] < nearest[cell] * 1.1 + 0.05
