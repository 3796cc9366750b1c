"""How somebody walks through a synthetic room with a camera: where they stand and where they look."""

import cv2
import numpy as np

from bev.errors import require
from bev.synthetic.room import Room

CELL_M = 0.05
TALL_M = 1.2
TRIES = 64
NEAR_ENOUGH = 0.0016
"""area over squared distance: about 500 of 640x480 pixels."""


def camera_walk(
    room: Room,
    rng: np.random.Generator,
    *,
    frames: int,
    pitch_deg: tuple[float, float],
    roll_deg: tuple[float, float],
) -> np.ndarray:
    """Poses of a smooth walk around the room that looks about.

    The path is the closed loop around the room's middle that stays farthest from furniture and out of everything
    taller than 1.2 m; the gaze sweeps from side to side of the direction to the middle. Of several
    such walks the one that looks at most objects from near is taken.

    Args:
        room: the room.
        rng: chance.
        frames: how many poses.
        pitch_deg: least and greatest angle below the horizon, degrees; both are reached.
        roll_deg: least and greatest roll about the viewing direction, degrees; both are reached.

    Returns:
        (frames, 4, 4) float64 room_from_camera, metres.
    """
    loop, walks = _loop(room), []
    for _ in range(TRIES):
        walks.append(_walk(room, rng, loop, frames=frames, pitch_deg=pitch_deg, roll_deg=roll_deg))
    return walks[int(np.argmax(_objects_shown(room, np.array(walks))))]


def _walk(
    room: Room,
    rng: np.random.Generator,
    loop: np.ndarray,
    *,
    frames: int,
    pitch_deg: tuple[float, float],
    roll_deg: tuple[float, float],
) -> np.ndarray:
    """(frames, 4, 4): once around the loop, from a chance start, looking about at chance."""
    time = np.arange(frames) / max(frames - 1, 1)
    angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1.0, 1.0]) * 2 * np.pi * 0.97 * time
    position = np.stack([np.interp(angle, loop[:, 0], loop[:, axis], period=2 * np.pi) for axis in (1, 2)], axis=1)
    height = 1.55 + 0.15 * np.sin(2 * np.pi * (1.3 * time + rng.random()))
    inwards = room.corners.mean(axis=0) - position
    yaw = np.unwrap(np.arctan2(inwards[:, 1], inwards[:, 0]))
    yaw += np.radians(rng.uniform(50, 80)) * np.sin(2 * np.pi * (rng.uniform(1.7, 2.5) * time + rng.random()))
    pitch = np.radians(_swing(time, rng.uniform(2.1, 3.3), rng, pitch_deg))
    roll = np.radians(_swing(time, 2.2, rng, roll_deg))
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, 3] = np.column_stack([position, height])
    for index in range(frames):
        poses[index, :3, :3] = _looking(yaw[index], pitch[index]) @ _rolled(roll[index])
    return poses


def _objects_shown(room: Room, walks: np.ndarray) -> np.ndarray:
    """How many objects each of the walks (n, frames, 4, 4) looks at from near enough, unhidden: (n,) float64."""
    o3d = require("open3d")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(room.surface.vertices), o3d.core.Tensor(room.surface.faces.astype(np.uint32)))
    tops = np.array([np.add(thing.center, (0, 0, thing.size[2] / 2 + 0.01)) for thing in room.objects])
    sizes = np.array([thing.size for thing in room.objects])
    poses = walks.reshape(-1, 4, 4)
    ways = tops - poses[:, None, :3, 3]
    x, y, z = np.moveaxis(np.einsum("fji,foj->foi", poses[:, :3, :3], ways), 2, 0)
    framed = (z > 0.3) & (np.abs(x) < 0.45 * z) & (np.abs(y) < 0.33 * z)
    pose, thing = np.nonzero(framed)
    rays = np.concatenate([poses[pose, :3, 3], ways[pose, thing]], axis=1, dtype=np.float32)
    framed[pose, thing] = ~scene.test_occlusions(o3d.core.Tensor(rays), tnear=0.0, tfar=1.0).numpy()
    level, steep = np.linalg.norm(ways[..., :2], axis=2), np.abs(ways[..., 2])
    area = sizes[:, 0] * sizes[:, 1] * steep + sizes[:, :2].mean(axis=1) * sizes[:, 2] * level
    share = np.where(framed, area / np.maximum(z, 0.3) ** 3, 0) / NEAR_ENOUGH
    best = share.reshape(len(walks), -1, len(sizes)).max(axis=1)
    return (np.minimum(best, 1) + (best > 0.6)).sum(axis=1)  # what is nearly enough counts most of it


def _swing(time: np.ndarray, turns: float, rng: np.random.Generator, limits: tuple[float, float]) -> np.ndarray:
    """A smooth back and forth that touches both limits."""
    wave = np.sin(2 * np.pi * (turns * time + rng.random())) + 0.35 * np.sin(2 * np.pi * (2.3 * turns * time))
    span = np.ptp(wave)
    share = (wave - wave.min()) / span if span > 0 else np.full_like(wave, 0.5)
    return limits[0] + share * (limits[1] - limits[0])


def _looking(yaw: float, pitch: float) -> np.ndarray:
    """(3, 3) room_from_camera of a level camera that looks along `yaw`, `pitch` radians below the horizon."""
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def _rolled(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _loop(room: Room) -> np.ndarray:
    """(n, 3): angle about the middle (ascending, radians), x and y of the walk, metres."""
    clear, tall = _clearances(room)
    middle = room.corners.mean(axis=0)
    angles = np.linspace(0, 2 * np.pi, 73)[:-1]
    radii = np.arange(0.7, np.linalg.norm(np.ptp(room.corners, axis=0)) / 2, CELL_M)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = middle + ways[:, None] * radii[:, None]
    cells = np.clip((points / CELL_M).astype(int), 0, np.array(clear.shape) - 1)
    free, far = clear[cells[..., 0], cells[..., 1]], tall[cells[..., 0], cells[..., 1]]
    cost = np.exp(-4 * free) + 0.2 * np.abs(radii - 0.42 * np.ptp(room.corners, axis=0).min()) + 1e3 * (far < 0.3)
    path = _cheapest_ring(cost)
    smooth = np.convolve(np.pad(radii[path], 6, mode="wrap"), np.hanning(9) / np.hanning(9).sum(), mode="same")[6:-6]
    return np.column_stack([angles, middle + ways * smooth[:, None]])


def _cheapest_ring(cost: np.ndarray) -> np.ndarray:
    """(angles,) column of the cheapest closed path through `cost` (angles, radii), at most two columns per step."""
    count, width = cost.shape
    twice = np.concatenate([cost, cost])  # going around twice and keeping the second round closes the ring
    total, choice = twice[0], np.zeros((2 * count, width), int)
    offsets = np.arange(-2, 3)
    for row in range(1, 2 * count):
        padded = np.pad(total, 2, constant_values=np.inf)
        options = np.stack([padded[2 + o : 2 + o + width] + 0.05 * abs(o) for o in offsets])
        best = options.argmin(axis=0)
        choice[row] = np.arange(width) + offsets[best]
        total = options.min(axis=0) + twice[row]
    path = np.zeros(2 * count, int)
    path[-1] = int(total.argmin())
    for row in range(2 * count - 1, 0, -1):
        path[row - 1] = choice[row, path[row]]
    half = count // 2
    return np.roll(path[half : half + count], half)


def _clearances(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Distances (nx, ny), metres, on a grid of the floor: to furniture or walls, and to tall things or walls."""
    shape = tuple(np.ceil(room.corners.max(axis=0) / CELL_M).astype(int) + 1)
    inside = np.zeros(shape[::-1], np.uint8)
    cv2.fillPoly(inside, [np.round(room.corners / CELL_M).astype(np.int32)], 1)
    low, high = inside.copy(), inside.copy()
    for thing in room.objects:
        points = room.surface.vertices[room.vertex_ids == thing.id]
        hull = cv2.convexHull(np.round(points[:, :2] / CELL_M).astype(np.int32))
        cv2.fillPoly(low, [hull], 0)
        if points[:, 2].max() > TALL_M:
            cv2.fillPoly(high, [hull], 0)
    border = (cv2.copyMakeBorder(grid, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0) for grid in (low, high))
    near, far = (cv2.distanceTransform(grid, cv2.DIST_L2, 5)[1:-1, 1:-1].T * CELL_M for grid in border)
    return near, far
