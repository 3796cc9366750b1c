"""Boxes, turned and rounded solids as textured triangle meshes: what synthetic furniture is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Solid:
    """A triangle mesh with texture coordinates; every face's three corners are of one material."""

    vertices: np.ndarray
    """(V, 3) float64, metres."""
    faces: np.ndarray
    """(F, 3) int64, counter-clockwise seen from outside."""
    normals: np.ndarray
    """(V, 3) float64, unit length, outwards."""
    texture_uv: np.ndarray
    """(V, 2) float64, metres on the surface, or 0..1 where a picture spans a whole face."""
    materials: np.ndarray
    """(V,) int64: rows of the material list."""

    def moved(self, yaw: float, offset: ArrayLike) -> "Solid":
        """The same solid turned by `yaw` radians about z, then shifted by `offset` (3,) metres."""
        return self.turned(turn_z(yaw), offset)

    def turned(self, rotation: np.ndarray, offset: ArrayLike = (0, 0, 0)) -> "Solid":
        """The same solid after a rotation (3, 3) and a shift (3,) metres."""
        vertices = self.vertices @ rotation.T + np.asarray(offset, np.float64)
        return Solid(vertices, self.faces, self.normals @ rotation.T, self.texture_uv, self.materials)


def turn_z(yaw: float) -> np.ndarray:
    """(3, 3) rotation by `yaw` radians about z."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def turn_x(angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about x."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])


def joined(solids: Sequence[Solid]) -> Solid:
    """Several solids as one mesh; no vertex is shared between them."""
    shift = np.cumsum([0] + [len(solid.vertices) for solid in solids])
    return Solid(
        np.concatenate([solid.vertices for solid in solids]),
        np.concatenate([solid.faces + offset for solid, offset in zip(solids, shift, strict=False)]),
        np.concatenate([solid.normals for solid in solids]),
        np.concatenate([solid.texture_uv for solid in solids]),
        np.concatenate([solid.materials for solid in solids]),
    )


def patch(corners: np.ndarray, material: int, *, step: float, fit: bool = False) -> Solid:
    """A flat quadrilateral as a grid.

    Args:
        corners: (4, 3) metres, counter-clockwise seen from its free side.
        material: row of the material list.
        step: longest edge of the grid, metres.
        fit: the texture spans the patch once, upright along its second axis.
    """
    a, b, c, d = corners = np.asarray(corners, np.float64)
    across, up = b - a, d - a
    lengths = np.sqrt(np.square(np.roll(corners, -1, axis=0) - corners).sum(axis=1))
    columns, rows = (max(1, int(np.ceil(max(lengths[i], lengths[i + 2]) / step - 1e-9))) for i in (0, 1))
    s, t = _unit_grid(rows, columns)
    points = (1 - s) * (1 - t) * a + s * (1 - t) * b + s * t * c + (1 - s) * t * d
    if fit:
        uv = np.concatenate([s, 1 - t], axis=1)
    elif lengths[0] >= lengths[3]:  # the grain of wood runs along the longer side
        uv = np.stack([points @ (across / lengths[0]), -(points @ (up / lengths[3]))], axis=1)
    else:
        uv = np.stack([points @ (up / lengths[3]), points @ (across / lengths[0])], axis=1)
    return _solid(points, _grid_faces(rows, columns), np.tile(_direction(across, up), (len(points), 1)), uv, material)


def box(
    size: ArrayLike,
    at: ArrayLike,
    material: int,
    *,
    step: float = 0.07,
    front: int | None = None,
    fit: bool = False,
) -> Solid:
    """An upright box.

    Args:
        size: (3,) metres along x, y, z.
        at: (3,) metres: the middle of its underside.
        material: of all faces.
        step: longest edge of the mesh, metres.
        front: another material for the face towards -y, spanning it once.
        fit: the texture spans every face once.
    """
    half = np.asarray(size, np.float64) / 2
    center = np.add(at, (0, 0, half[2]))
    sides = []
    for out, signs in _BOX_SIDES:
        chosen, pictured = (front, True) if front is not None and out[1] < 0 else (material, fit)
        sides.append(patch(center + signs * half, chosen, step=step, fit=pictured))
    return joined(sides)


def lathe(
    profile: Sequence[tuple[float, float]],
    at: ArrayLike,
    material: int,
    *,
    segments: int = 20,
    step: float = 0.07,
    fit: bool = False,
) -> Solid:
    """A turned solid about the vertical through `at`.

    Args:
        profile: (radius, height) metres, from the underside outside and up, then down inside if it is hollow.
        at: (3,) metres.
        material: of the whole solid.
        segments: facets around.
        step: longest edge along the profile, metres.
        fit: the texture goes around once and spans the profile.
    """
    around = np.linspace(0, 2 * np.pi, segments + 1)
    pieces, walked = [], 0.0
    total = sum(np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(profile))
    for (r0, z0), (r1, z1) in pairwise(profile):
        length = float(np.hypot(r1 - r0, z1 - z0))
        rows = max(1, int(np.ceil(length / step)))
        t, angle = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, rows + 1), around, indexing="ij"))
        radius, height = r0 + t * (r1 - r0), z0 + t * (z1 - z0)
        cosine, sine = np.cos(angle), np.sin(angle)
        points = np.stack([radius * cosine, radius * sine, height], axis=1)
        out, up = (z1 - z0) / length, (r0 - r1) / length
        normals = np.stack([out * cosine, out * sine, np.full_like(angle, up)], axis=1)
        uv = np.stack([angle * max(r0, r1), -(walked + t * length)], axis=1)
        if fit:
            uv = np.stack([angle / (2 * np.pi), 1 - (walked + t * length) / total], axis=1)
        elif abs(up) > 0.9:  # caps: the texture lies flat instead of meeting in a star
            uv = points[:, :2]
        keep = _grid_faces(rows, segments)
        corners = points[keep]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        pieces.append(_solid(points + np.asarray(at, np.float64), keep[area > 1e-12], normals, uv, material))
        walked += length
    return joined(pieces)


def rod(start: ArrayLike, end: ArrayLike, radius: float, material: int, *, segments: int = 10) -> Solid:
    """A round bar between two points, metres."""
    way = np.subtract(end, start)
    length = float(np.linalg.norm(way))
    axis = way / length
    side = _direction(axis, np.array([1.0, 0, 0] if abs(axis[0]) < 0.9 else [0, 1.0, 0]))
    rotation = np.stack([side, _direction(axis, side), axis], axis=1)
    profile = [(0, 0), (radius, 0), (radius, length), (0, length)]
    return lathe(profile, (0, 0, 0), material, segments=segments).turned(rotation, start)


def blob(
    size: ArrayLike,
    at: ArrayLike,
    material: int,
    *,
    squareness: float = 0.0,
    rows: int = 10,
    segments: int = 18,
) -> Solid:
    """A superellipsoid: a ball at `squareness` 0, nearly a box at 1; `at` is the middle of its underside."""
    power = 1 - 0.8 * squareness
    latitude, longitude = (
        grid.ravel()
        for grid in np.meshgrid(
            np.linspace(-np.pi / 2, np.pi / 2, rows + 1), np.linspace(0, 2 * np.pi, segments + 1), indexing="ij"
        )
    )

    def bent(value: np.ndarray, exponent: float) -> np.ndarray:
        return np.sign(value) * np.abs(np.where(np.abs(value) < 1e-9, 0, value)) ** exponent

    def shape(exponent: float) -> np.ndarray:
        flat = bent(np.cos(latitude), exponent)
        return np.stack(
            [
                flat * bent(np.cos(longitude), exponent),
                flat * bent(np.sin(longitude), exponent),
                bent(np.sin(latitude), exponent),
            ],
            axis=1,
        )

    half = np.asarray(size, np.float64) / 2
    points = shape(power) * half
    normals = shape(2 - power) / half
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # unrolled from the top: as far from the middle as it is along the surface, in the same direction
    steps = np.linalg.norm(np.diff(points.reshape(rows + 1, segments + 1, 3), axis=0), axis=2)
    along = np.concatenate([np.cumsum(steps[::-1], axis=0)[::-1], np.zeros((1, segments + 1))]).reshape(-1, 1)
    uv = along * points[:, :2] / np.maximum(np.linalg.norm(points[:, :2], axis=1, keepdims=True), 1e-9)
    faces = _grid_faces(rows, segments)
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return _solid(points + np.add(at, (0, 0, half[2])), faces[area > 1e-12], normals, uv, material)


@lru_cache(maxsize=512)
def _unit_grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Two columns ((rows + 1) * (columns + 1), 1), 0..1: along the first axis, which runs fastest, and the second."""
    s, t = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    return s.reshape(-1, 1), t.reshape(-1, 1)


@lru_cache(maxsize=512)
def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid whose second axis turns left of its first, seen from outside: (2 * rows * columns, 3)."""
    index = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]).reshape(-1, 3)


def _direction(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3,) unit length: the cross product, which numpy's own takes long for."""
    cross = np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
    return cross / np.sqrt(cross @ cross)


def _box_sides() -> list[tuple[np.ndarray, np.ndarray]]:
    """Outward normal (3,) and the signs of the four corners (4, 3) of a box's sides, counter-clockwise from outside."""
    x, y, z = np.eye(3)
    sides = []
    for along, up in ((x, z), (y, z), (-x, z), (-y, z), (x, y), (x, -y)):
        out = np.cross(along, up)
        sides.append((out, np.array([out - along - up, out + along - up, out + along + up, out - along + up])))
    return sides


_BOX_SIDES = _box_sides()


def _solid(points: np.ndarray, faces: np.ndarray, normals: np.ndarray, uv: np.ndarray, material: int) -> Solid:
    return Solid(points, faces, normals, uv, np.full(len(points), material))
