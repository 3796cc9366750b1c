"""Put a scan into the canonical world: +z up, walls along x and y, the floor at z = 0.

The floor is the lowest level that is wide enough, the walls the angle that most of the upright surface shares. What is
left, which of four quarter turns and where x and y begin, follows from the room's longer side and the first camera, so
that the same room always lands in the same place. Which way is up, `bev.gravity` says.
"""

import numpy as np

from bev.errors import UserError
from bev.facets import Facets, facets_of, levels_along
from bev.facing import face_the_cameras
from bev.gravity import estimate_up
from bev.scan import Scan
from bev.surface import Surface

__all__ = ["estimate_up", "estimate_wall_yaw", "face_the_cameras", "floor_height_m", "upright"]

_SQUARE_WITHIN = 0.04
_LINE_M = 0.01
_AROUND_LINES = 21
_CHANCE_SHARE = 0.0015


def upright(scan: Scan, surface: Surface) -> tuple[Scan, Surface]:
    """Move scan and surface into the canonical world; `world_from_source` of the scan records the motion.

    x and y begin under the first camera. A capture whose axes are walls already keeps its rotation, x and y exactly.

    Args:
        scan: posed frames in the world of the capture.
        surface: the same room; normals that look away from the cameras are turned first.

    Raises:
        UserError: no frames, or no surface to find a floor in.
    """
    if not scan.frames or not len(surface.vertices):
        raise UserError(f"{scan.path}: nothing to put upright in {len(scan.frames)} frames and an empty surface")
    surface = face_the_cameras(surface, scan)
    move = np.eye(4)
    if not scan.axes_are_walls:
        up = estimate_up(scan, surface)
        move[:3, :3] = _z_from(up)
        yaw = estimate_wall_yaw(surface.moved(move))
        move = _about_z(-yaw) @ move
        move = _about_z(_quarter_turns(scan.moved(move), surface.moved(move)) * np.pi / 2) @ move
        move[:2, 3] = -(move[:3, :3] @ scan.centers()[0])[:2]
    scan, surface = scan.moved(move), surface.moved(move)
    lift = np.eye(4)
    lift[2, 3] = -floor_height_m(surface, scan)
    return scan.moved(lift), surface.moved(lift)


def floor_height_m(surface: Surface, scan: Scan) -> float:
    """Height of the floor where +z is up already: the lowest level that is no stray.

    Args:
        surface: the room, normals towards the free side.
        scan: its cameras, which stand above the floor.

    Returns:
        metres along z. Without any level surface beneath the cameras, the lower end of what was seen.
    """
    facets = facets_of(surface)
    heights, areas = levels_along(facets, np.array([0.0, 0.0, 1.0]))
    below = heights < np.median(scan.centers()[:, 2])
    heights, areas = heights[below], areas[below]
    for height, area in zip(heights, areas, strict=True):
        just_above = (heights > height) & (heights < height + 0.35)
        if area >= 0.2 * areas[just_above].max(initial=0):
            return float(height)
    return float(np.quantile(surface.vertices[:, 2], 0.01))


def estimate_wall_yaw(surface: Surface) -> float:
    """How far the walls are turned from x and y where +z is up already.

    Seen along a wall, its pieces fall into one narrow line, however rough each of them is: the angle at which most of
    the upright surface stands out as lines is that of the walls. A wall that is not square to the others does not pull
    it, for it stands alone.

    Args:
        surface: the room.

    Returns:
        radians in [-pi/4, pi/4), counter-clockwise, modulo a quarter turn.
    """
    facets = facets_of(surface, count_max=60_000)
    sides = facets.where(np.abs(facets.normals[:, 2]) < np.sin(np.radians(20.0)))
    if not len(sides.areas):
        return 0.0
    angle, step_deg, steps = 0.0, 0.5, 90
    for pieces in (sides.thinned(10_000), sides, sides):
        angles = angle + np.radians(step_deg) * np.arange(-steps, steps + 1)
        angle = float(angles[np.argmax([_lines_along(pieces, each) for each in angles])])
        step_deg, steps = step_deg / 5, 7
    return float(np.mod(angle + np.pi / 4, np.pi / 2) - np.pi / 4)


def _lines_along(sides: Facets, yaw: float) -> float:
    """Area in lines across the two axes that `yaw` turns x and y to, the largest line at half its weight.

    Square walls have company in each other and in what stands along them; the largest alone decides little.
    """
    lines = [line for angle in (yaw, yaw + np.pi / 2) if len(line := _lines_across(sides, angle))]
    if not lines:
        return 0.0
    largest = max(float(np.convolve(each, np.ones(5), "same").max()) for each in lines)
    return sum(float(each.sum()) for each in lines) - largest / 2


def _lines_across(sides: Facets, angle: float) -> np.ndarray:
    """(M,) square metres per cm, facing along `angle`, by which a place stands out from its surroundings."""
    axis = np.array([np.cos(angle), np.sin(angle)])
    facing = np.abs(sides.normals[:, :2] @ axis) > np.cos(np.radians(20.0))
    if not facing.any():
        return np.zeros(0)
    place = sides.centers[facing, :2] @ axis / _LINE_M
    place += _AROUND_LINES - place.min()
    index = np.floor(place).astype(np.int64)
    share, weights = place - index, sides.areas[facing]
    size = int(index.max()) + 2 + _AROUND_LINES
    area = np.bincount(index, weights * (1 - share), size) + np.bincount(index + 1, weights * share, size)
    around = np.convolve(area, np.full(_AROUND_LINES, 1 / _AROUND_LINES), "same")
    here = np.convolve(area, [0.25, 0.5, 0.25], "same")
    return np.clip(here - around - _CHANCE_SHARE * sides.areas.sum(), 0, None)


def _quarter_turns(scan: Scan, surface: Surface) -> int:
    """How often to turn counter-clockwise by 90 degrees: the long side along x, then the first look towards +y."""
    facets = facets_of(surface, count_max=50_000)
    sides = [_spread(facets.centers[:, axis], facets.areas) for axis in range(2)]
    looks = _looks(scan)
    if abs(sides[0] - sides[1]) < _SQUARE_WITHIN * max(sides):
        return _turns_towards_y(looks, (0, 1, 2, 3))  # a square room has no longer side
    return _turns_towards_y(looks, (0, 2) if sides[0] > sides[1] else (1, 3))


def _turns_towards_y(looks: list[np.ndarray], allowed: tuple[int, ...]) -> int:
    """The turn after which the first look that is not undecided goes most along +y."""
    for look in looks:
        towards = [float((_about_z(turns * np.pi / 2)[:2, :2] @ look)[1]) for turns in allowed]
        ranked = sorted(towards)
        if ranked[-1] - ranked[-2] > 0.1:
            return allowed[int(np.argmax(towards))]
    return allowed[0]


def _looks(scan: Scan) -> list[np.ndarray]:
    """Horizontal directions (2,) of at most unit length that tell one side of a room from the other, best first."""
    rotations = np.array([frame.camera.world_from_camera[:3, :3] for frame in scan.frames])
    travelled = scan.centers()[-1] - scan.centers()[0]
    looks = [rotations[0][:2, 2], -rotations[0][:2, 1], rotations[:, :2, 2].mean(axis=0), travelled[:2]]
    return looks


def _spread(values: np.ndarray, weights: np.ndarray) -> float:
    """How far values reach, without the outer hundredth by weight on either side."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    low, high = np.searchsorted(total, [0.01 * total[-1], 0.99 * total[-1]])
    return float(values[order][high] - values[order][low])


def _z_from(up: np.ndarray) -> np.ndarray:
    """A (3, 3) rotation that takes `up` to +z, by the shortest way."""
    z = np.array([0.0, 0.0, 1.0])
    if up @ z < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    v = np.cross(up, z)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + up @ z)


def _about_z(angle: float) -> np.ndarray:
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return motion
