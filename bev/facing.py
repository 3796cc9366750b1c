"""Normals towards the free side: the side from which cameras saw the surface."""

from dataclasses import replace

import numpy as np

from bev.camera import Camera
from bev.facets import facets_of
from bev.scan import Scan
from bev.surface import Surface

_CAMERAS = 40
_GRID_WIDTH = 64
_TRUSTED_SHARE = 0.9


def face_the_cameras(surface: Surface, scan: Scan) -> Surface:
    """The surface with its normals towards the cameras that see it.

    A mesh is turned as a whole, normals and winding, when most of what is seen is seen from behind. The points of a
    cloud are turned one by one when over a tenth of them look away: estimated normals have arbitrary signs.
    """
    if not surface.is_mesh:
        votes = _facing_votes(surface.vertices.astype(np.float64), surface.normals.astype(np.float64), scan)
        decided = votes[votes != 0]
        if not len(decided) or (decided > 0).mean() > _TRUSTED_SHARE:
            return surface
        return replace(surface, normals=surface.normals * np.where(votes < 0, -1, 1)[:, None])
    facets = facets_of(surface, count_max=20_000)
    votes = _facing_votes(facets.centers, facets.normals, scan)
    if facets.areas @ np.sign(votes) >= 0:
        return surface
    return replace(surface, faces=surface.faces[:, ::-1], normals=-surface.normals)


def _facing_votes(points: np.ndarray, normals: np.ndarray, scan: Scan) -> np.ndarray:
    """(N,) float64: positive where the cameras that see a point stand in front of it, 0 where none does."""
    votes = np.zeros(len(points))
    for i in np.unique(np.linspace(0, len(scan.frames) - 1, _CAMERAS).astype(int)):
        camera = scan.frames[i].camera
        seen = _seen(camera, points)
        towards = camera.center - points[seen]
        distance = np.linalg.norm(towards, axis=1)
        votes[seen] += np.einsum("ij,ij->i", towards, normals[seen]) / np.maximum(distance, 0.1) ** 2
    return votes


def _seen(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Indices of the points on the image and not far behind the nearest one there: a coarse depth buffer."""
    small = camera.resized(_GRID_WIDTH, max(1, round(_GRID_WIDTH * camera.height / camera.width)))
    uv, depth = small.project(points)
    inside = np.flatnonzero((depth > 0.05) & (uv >= 0).all(axis=1) & (uv < [small.width, small.height]).all(axis=1))
    column, row = uv[inside].astype(np.int64).T
    cell = row * small.width + column
    nearest = np.full(small.width * small.height, np.inf)
    np.minimum.at(nearest, cell, depth[inside])
    return inside[depth[inside] < nearest[cell] * 1.05 + 0.05]
