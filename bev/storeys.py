"""One storey at a time: a scan of several floors is cut down to the one that was asked for.

A floor is a level that people with cameras walked on; a gallery bed, a cabinet top or a table is level too, but no
camera goes over it at a person's height once the floors beneath have had their say.
"""

from dataclasses import dataclass

import numpy as np

from bev.errors import UserError
from bev.facets import Facets, facets_of, levels_along
from bev.scan import Scan
from bev.surface import Surface

_CAMERA_ABOVE_M = (0.8, 2.2)
_USUAL_CAMERA_M = 1.5
_STOREY_MIN_M = 1.8
_SLAB_M = 0.15
_NEARBY_M = 1.5
_CAMERAS_MIN = 0.05
_AREA_SHARE_MIN = 0.15


@dataclass(frozen=True, eq=False)
class _Levels:
    """Level surface, and over which of it each camera stands."""

    heights: np.ndarray
    """(L,) float64 metres, ascending."""
    areas: np.ndarray
    """(L,) float64 square metres."""
    beneath: np.ndarray
    """(n, L) bool: the level lies near under the camera, as far below as a camera is carried."""


def pick_storey(scan: Scan, surface: Surface, floor: int | None) -> tuple[Scan, Surface]:
    """Keep one storey of an upright scan, its floor at z = 0.

    A scan of one storey is returned as it is. Frames filmed on stairs go to the storey that is nearer.

    Args:
        scan: upright, the lowest floor at z = 0.
        surface: the same building.
        floor: which one, 1 is the lowest; None where there is only one.

    Raises:
        UserError: there are several floors and none was chosen, or there is no such floor.
    """
    floors = floor_heights_m(scan, surface)
    _check_choice(scan, floors, floor)
    if len(floors) == 1:
        return scan, surface
    number = (floor or 1) - 1
    camera_heights = scan.centers()[:, 2]
    nearest = np.argmin(np.abs(camera_heights[:, None] - (floors + _USUAL_CAMERA_M)), axis=1)
    kept = scan.with_frames(tuple(f for f, storey in zip(scan.frames, nearest, strict=True) if storey == number))
    top = floors[number + 1] - _SLAB_M if number + 1 < len(floors) else np.inf
    bottom = floors[number] - _SLAB_M if number else -np.inf
    z = surface.vertices[:, 2]
    down = np.eye(4)
    down[2, 3] = -floors[number]
    return kept.moved(down), surface.cropped((z > bottom) & (z < top)).moved(down)


def floor_heights_m(scan: Scan, surface: Surface) -> np.ndarray:
    """Heights of the floors that cameras stood on, (K,) float64 metres ascending, K >= 1, over 1.8 m apart."""
    levels = _levels(scan, surface)
    choice = np.where(levels.beneath, levels.areas, 0.0)
    stood_on = np.where(choice.max(axis=1, initial=0) > 0, choice.argmax(axis=1), -1) if choice.size else np.zeros(0)
    floors = [0.0]
    largest = levels.areas[np.abs(levels.heights) < 0.1].max(initial=0.0)
    for index, height in enumerate(levels.heights):
        walked = np.flatnonzero(stood_on == index)
        if height - floors[-1] <= _STOREY_MIN_M or len(walked) < max(1, _CAMERAS_MIN * len(scan.frames)):
            continue
        lowest = _floor_under(levels, index, floors[-1])
        if levels.areas[lowest] >= max(1.0, _AREA_SHARE_MIN * largest):
            floors.append(float(levels.heights[lowest]))
            largest = max(largest, levels.areas[lowest])
    return np.array(floors)


def _check_choice(scan: Scan, floors: np.ndarray, floor: int | None) -> None:
    count = len(floors)
    if (floor is None and count == 1) or (floor is not None and 1 <= floor <= count):
        return
    if count == 1:
        raise UserError(f"{scan.path}: there is no floor {floor}: scan holds 1 floor; leave --floor out")
    at = ", ".join(f"{height:.2f}" for height in floors[:-1]) + f" and {floors[-1]:.2f} m"
    options = ["--floor 1 (lowest)"] + [f"--floor {number}" for number in range(2, count + 1)]
    choice = f"choose one with {', '.join(options[:-1])} or {options[-1]}"
    wrong = "" if floor is None else f"there is no floor {floor}: "
    raise UserError(f"{scan.path}: {wrong}scan holds {count} floors (at {at}): {choice}")


def _levels(scan: Scan, surface: Surface) -> _Levels:
    from scipy.spatial import KDTree

    facets = facets_of(surface)
    up = np.array([0.0, 0.0, 1.0])
    heights, areas = levels_along(facets, up)
    centers = scan.centers()
    beneath = np.zeros((len(centers), len(heights)), bool)
    for index, height in enumerate(heights):
        on_level = _on_level(facets, height)
        away = KDTree(on_level.centers[:, :2]).query(centers[:, :2])[0]
        above = centers[:, 2] - height
        beneath[:, index] = (above > _CAMERA_ABOVE_M[0]) & (above < _CAMERA_ABOVE_M[1]) & (away < _NEARBY_M)
    return _Levels(heights, areas, beneath)


def _on_level(facets: Facets, height: float) -> Facets:
    return facets.where((facets.normals[:, 2] > 0.95) & (np.abs(facets.centers[:, 2] - height) < 0.06))


def _floor_under(levels: _Levels, index: int, floor_below: float) -> int:
    """The floor on which a table stands that is larger than what was seen of that floor."""
    for lower in range(index):
        gap = levels.heights[index] - levels.heights[lower]
        shared = (levels.beneath[:, index] & levels.beneath[:, lower]).sum()
        is_storey = levels.heights[lower] - floor_below > _STOREY_MIN_M
        if is_storey and gap < 1.2 and shared >= 0.5 * levels.beneath[:, index].sum():
            return lower
    return index
