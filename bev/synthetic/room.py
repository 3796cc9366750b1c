"""Seeded procedural rooms with ground truth: surface, textures, objects and their boxes."""

from dataclasses import dataclass

import numpy as np

from bev.errors import require
from bev.surface import Surface
from bev.synthetic.layout import Placed, furnish
from bev.synthetic.materials import Atlas, build_atlas
from bev.synthetic.solids import Solid, joined, patch

WALL_HEIGHT_M = 2.5
FLOOR, WALL, CEILING = 1, 2, 3
SKY_RAYS = 12


@dataclass(frozen=True, eq=False)
class RoomObject:
    """One object of a room with its exact box."""

    id: int
    """>= 1."""
    label: str
    center: np.ndarray
    """(3,) float64, metres."""
    size: np.ndarray
    """(3,) float64, metres, along the box's own axes."""
    yaw: float
    """radians in (-pi/4, pi/4], counter-clockwise from +x about +z: the direction of the box's axis 0."""
    touches: bool
    """Whether it stands against a wall, on another object or beside one."""


@dataclass(frozen=True, eq=False)
class Skin:
    """How a room's surface looks, finer than its vertices."""

    atlas: Atlas
    texture_uv: np.ndarray
    """(V, 2) float32, in the unit of the material's tile."""
    materials: np.ndarray
    """(F,) int32: rows of the atlas."""
    light: np.ndarray
    """(V,) float32, 0..1: light that reaches the vertex."""


@dataclass(frozen=True, eq=False)
class Room:
    """A furnished room in an upright world, its floor at z = 0, walls along x and y except one."""

    surface: Surface
    """The true mesh, ceiling included (it faces down)."""
    vertex_ids: np.ndarray
    """(V,) int32: the object of every vertex, -1 = floor, wall, ceiling and what is painted or lies flat on them."""
    structure: np.ndarray
    """(V,) int8: 0 = object, 1 = floor, 2 = wall, 3 = ceiling."""
    objects: tuple[RoomObject, ...]
    corners: np.ndarray
    """(4, 2) float64, metres: the floor's corners, counter-clockwise."""
    skin: Skin
    seed: int

    @property
    def face_ids(self) -> np.ndarray:
        """(F,) int32: the object of every face, -1 = structure."""
        return self.vertex_ids[self.surface.faces[:, 0]]


def synthetic_room(seed: int, *, big_table: bool = False) -> Room:
    """A room of 15 to 30 objects, most of which touch another or a wall.

    Args:
        seed: equal seeds give equal rooms.
        big_table: a table larger than the floor that a walk around it sees.
    """
    rng = np.random.default_rng([seed, int(big_table)])
    atlas = build_atlas(rng)
    rows = {name: row for row, name in enumerate(atlas.names)}
    corners = _corners(rng)
    placed = furnish(rng, rows, corners, big_table=big_table)
    structure = _structure(rng, rows, corners, with_rug=not big_table)
    solids = [solid for solid, _ in structure] + [item.solid for item in placed]
    whole = joined(solids)
    counts = [len(solid.vertices) for solid in solids]
    kinds = np.repeat([kind for _, kind in structure] + [0] * len(placed), counts).astype(np.int8)
    ids = np.repeat([-1] * len(structure) + list(range(1, len(placed) + 1)), counts).astype(np.int32)
    materials = whole.materials[whole.faces[:, 0]].astype(np.int32)
    light = _light(whole, corners)
    base = atlas.sample(whole.materials, whole.texture_uv, np.full(len(ids), 0.03))
    surface = Surface(whole.vertices, whole.faces, np.clip(base * light[:, None], 0, 255), whole.normals)
    skin = Skin(atlas, whole.texture_uv.astype(np.float32), materials, light)
    objects = tuple(_object(number, item) for number, item in enumerate(placed, start=1))
    return Room(surface, ids, kinds, objects, corners, skin, seed)


def _corners(rng: np.random.Generator) -> np.ndarray:
    """A rectangle with one wall turned by 4 to 12 degrees, counter-clockwise, its first corner at the origin."""
    width, depth = rng.uniform(4.6, 6.0), rng.uniform(4.0, 5.2)
    corners = np.array([[0, 0], [width, 0], [width, depth], [0, depth]])
    slanted = int(rng.integers(4))
    a, b, c = slanted, (slanted + 1) % 4, (slanted + 2) % 4
    outward = corners[b] - corners[c]
    length = np.linalg.norm(corners[b] - corners[a])
    corners[b] += outward / np.linalg.norm(outward) * length * np.tan(np.radians(rng.uniform(4, 12)))
    return corners - corners.min(axis=0)


def _structure(
    rng: np.random.Generator, rows: dict[str, int], corners: np.ndarray, *, with_rug: bool
) -> list[tuple[Solid, int]]:
    """Floor, walls and ceiling, with a rug, pictures, a window and a door that lie flat on them."""
    low = np.column_stack([corners, np.zeros(4)])
    high = np.column_stack([corners, np.full(4, WALL_HEIGHT_M)])
    parts = [(patch(low, rows["floor"], step=0.1), FLOOR), (patch(high[::-1], rows["ceiling"], step=0.25), CEILING)]
    accent, door = rng.permutation(4)[:2]
    for wall in range(4):
        a, b = wall, (wall + 1) % 4
        name = "wall_accent" if wall == accent else "wall"
        # seen from inside, a counter-clockwise wall runs from right to left
        parts.append((patch(np.array([low[b], low[a], high[a], high[b]]), rows[name], step=0.1), WALL))
        length, along = np.linalg.norm(corners[b] - corners[a]), 0.3
        while along < length - 1.0:
            what, width, bottom, top = _hanging(rng, wall == door)
            if along + width > length - 0.2:
                break
            parts.append((_on_wall(corners, wall, (along, along + width, bottom, top), rows[what]), WALL))
            along += width + rng.uniform(0.35, 0.9)
            door = -1 if what == "door" else door
    if with_rug:
        half = rng.uniform(0.7, 1.1, 2)
        center = corners.mean(axis=0) + rng.uniform(-0.4, 0.4, 2)
        rug = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + center
        parts.append((patch(np.column_stack([rug, np.full(4, 0.006)]), rows["rug"], step=0.1, fit=True), FLOOR))
    return parts


def _hanging(rng: np.random.Generator, door: bool) -> tuple[str, float, float, float]:
    """Material, width and heights (metres) of the next thing on a wall."""
    if door:
        return "door", 0.85, 0.01, 2.0
    if rng.random() < 0.25:
        return "window", rng.uniform(0.9, 1.2), 0.95, 2.15
    width, bottom = rng.uniform(0.4, 0.8), rng.uniform(0.95, 1.3)
    return f"poster_{int(rng.integers(4))}", width, bottom, bottom + rng.uniform(0.5, 0.9)


def _on_wall(corners: np.ndarray, wall: int, where: tuple[float, float, float, float], material: int) -> Solid:
    a, b = corners[wall], corners[(wall + 1) % 4]
    along = (b - a) / np.linalg.norm(b - a)
    inwards = np.array([-along[1], along[0]])
    near, far, bottom, top = where
    right, left = (a + along * distance + inwards * 0.004 for distance in (near, far))
    quad = np.array([[*left, bottom], [*right, bottom], [*right, top], [*left, top]])
    return patch(quad, material, step=0.1, fit=True)


def _object(number: int, item: Placed) -> RoomObject:
    """The exact box, described with |yaw| <= 45 degrees as `markers` describes its own."""
    turns = int(np.ceil(item.yaw / (np.pi / 2) - 0.5))
    size = item.size[[1, 0, 2]] if turns % 2 else item.size
    return RoomObject(number, item.label, item.center, size, item.yaw - turns * np.pi / 2, item.touches)


def _light(solid: Solid, corners: np.ndarray) -> np.ndarray:
    """(V,) float32: a lamp under the ceiling with soft shadows, and the sky of nearby open directions."""
    o3d = require("open3d")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor(solid.vertices.astype(np.float32)), o3d.core.Tensor(solid.faces.astype(np.uint32))
    )
    origins = solid.vertices + solid.normals * 0.004

    def free(directions: np.ndarray, reach: float) -> np.ndarray:
        rays = np.concatenate([origins, directions], axis=1, dtype=np.float32)
        return ~scene.test_occlusions(o3d.core.Tensor(rays), tnear=0.0, tfar=reach).numpy()

    # one and the same fan of directions for all, or neighbours would differ by chance
    side = np.cross(solid.normals, np.where(np.abs(solid.normals[:, 2:]) < 0.9, [0.0, 0, 1], [1.0, 0, 0]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other, sky = np.cross(solid.normals, side), np.zeros(len(origins))
    for ray in range(SKY_RAYS):
        flat, turn = np.sqrt((ray + 0.5) / SKY_RAYS), ray * 2.39996
        ways = flat * (np.cos(turn) * side + np.sin(turn) * other) + np.sqrt(1 - flat**2) * solid.normals
        sky += free(ways, 0.8) / SKY_RAYS
    lamp = np.zeros(len(origins))
    for offset in np.array([[-0.5, -0.3], [0.5, -0.3], [-0.5, 0.3], [0.5, 0.3]]):
        towards = np.append(corners.mean(axis=0) + offset, 2.35) - origins
        distance = np.linalg.norm(towards, axis=1, keepdims=True)
        cosine = np.clip((solid.normals * towards / distance).sum(axis=1), 0, 1)
        lamp += cosine * free(towards, 1.0) / (1 + 0.06 * distance[:, 0] ** 2) / 4
    window = 0.06 * solid.normals[:, 0] + 0.03 * solid.normals[:, 1]
    return np.clip((0.3 + 0.7 * sky) * (0.72 + window) + 0.45 * lamp, 0, 1.1).astype(np.float32)
