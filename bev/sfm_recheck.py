"""What structure from motion placed wrongly, and takes out again: single images, and whole stretches of a film.

Part of the child process of `bev.sfm`; it is handed pycolmap's objects and imports nothing of it. Repeated patterns,
alike chairs and tiles, let COLMAP place an image, or all that was filmed after a fast turn, by a minority of matches or
by a handful of points. What such images bend, the lens with them, is set right once they are gone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Matches = Sequence[tuple[int, int, np.ndarray]]
"""Two images and their verified matches, (n, 2) rows of features."""

_IMAGES_MIN = 5
_NEAR = 8
"""Images before and after a place in the film, whose points tell whether the film hangs together there."""
_JOINT_POINTS_MIN = 15
"""Fewer points that are seen from both sides are chance: films that are placed right have 150 and more."""
_JOINED_SHARE_MIN = 0.12
"""Of the points of the smaller part, those that another part sees too: 0.2 and more where the film comes back to what
it saw before, 0.07 at most where only a pattern repeats."""
_FITTING_PX = 8.0
_FITTING_MIN = 0.7
"""Of the points that an image's matches lead to, those that must lie within so many pixels of the features: 0.97 and
more in a real kitchen, 0.76 and more beside an image that stands wrong, which has 0.6 at most."""
_CLEARLY_OFF = 0.5
"""Images with less go together, not one after the other."""


def without_misplaced(model: Any, order: Sequence[int], matches: Matches, adjust: Callable[[Any], None]) -> Any:
    """Take images out of a model that stand where the others contradict them.

    Args:
        model: pycolmap's reconstruction; it is changed.
        order: ids of all images in the order of time.
        matches: of all pairs of images.
        adjust: bundle adjustment of a model.

    Returns:
        The model.
    """
    kept = joined_part([i for i in order if i in model.reg_image_ids()], points_of(model))
    astray = [i for i in model.reg_image_ids() if i not in kept]
    if astray:
        _take_out(model, astray, adjust)
    while model.num_reg_images() > _IMAGES_MIN:
        shares = fitting_shares(model, matches)
        ranked = sorted(shares, key=lambda image_id: (shares[image_id], image_id))
        off = [i for i in ranked[: max(1, len(ranked) // 4)] if shares[i] < _CLEARLY_OFF] or ranked[:1]
        if shares[off[0]] >= _FITTING_MIN:
            break
        _take_out(model, off, adjust)
    return model


def _take_out(model: Any, image_ids: Sequence[int], adjust: Callable[[Any], None]) -> None:
    for image_id in image_ids:
        model.deregister_frame(model.images[image_id].frame_id)
    adjust(model)


def points_of(model: Any) -> dict[int, set[int]]:
    """The points that each placed image sees."""
    return {
        image_id: {feature.point3D_id for feature in model.images[image_id].points2D if feature.has_point3D()}
        for image_id in model.reg_image_ids()
    }


def joined_part(order: Sequence[int], points: dict[int, set[int]]) -> set[int]:
    """The images of the largest part that hangs together by more than chance.

    Where next to no points are seen from both sides of a place in the film, it is cut; parts that share enough of
    their points, because the film came back, are joined again.

    Args:
        order: placed images in the order of time.
        points: of each of them.
    """
    parts: list[tuple[set[int], set[int]]] = []
    for place, image_id in enumerate(order):
        before = set().union(*(points[i] for i in order[max(0, place - _NEAR) : place]))
        after = set().union(*(points[i] for i in order[place : place + _NEAR]))
        if not parts or len(before & after) < _JOINT_POINTS_MIN:
            parts.append((set(), set()))
        parts[-1][0].add(image_id)
        parts[-1][1].update(points[image_id])
    while len(parts) > 1:
        pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
        best = max(pairs, key=lambda pair: _shared(parts[pair[0]][1], parts[pair[1]][1]))
        if _shared(parts[best[0]][1], parts[best[1]][1]) < _JOINED_SHARE_MIN:
            break
        images, seen = parts.pop(best[0])
        parts[best[1]][0].update(images)
        parts[best[1]][1].update(seen)
    return max((images for images, _ in parts), key=len, default=set())


def _shared(some: set[int], others: set[int]) -> float:
    return len(some & others) / max(min(len(some), len(others)), 1)


def fitting_shares(model: Any, matches: Matches) -> dict[int, float]:
    """Of the points that an image's verified matches lead to, the share that lie where the image has the feature."""
    (camera,) = model.cameras.values()
    placed = set(model.reg_image_ids())
    points = {i: np.array([f.point3D_id if f.has_point3D() else -1 for f in model.images[i].points2D]) for i in placed}
    uv = {i: np.array([f.xy for f in model.images[i].points2D]) for i in placed}
    fitting, compared = dict.fromkeys(placed, 0), dict.fromkeys(placed, 0)
    for first, second, rows in matches:
        if first not in placed or second not in placed:
            continue
        for here, features, led_to in (
            (first, rows[:, 0], points[second][rows[:, 1]]),
            (second, rows[:, 1], points[first][rows[:, 0]]),
        ):
            known = led_to >= 0
            off = _off_px(model, camera, here, led_to[known], uv[here][features[known]])
            fitting[here] += int((off < _FITTING_PX).sum())
            compared[here] += len(off)
    return {i: fitting[i] / compared[i] if compared[i] else 1.0 for i in placed}


def _off_px(model: Any, camera: Any, image_id: int, point_ids: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """How far from uv (n, 2) an image sees n points, (n,) pixels; infinity for those behind it."""
    xyz = np.array([model.points3D[p].xyz for p in point_ids.tolist()]).reshape(-1, 3)
    camera_from_world = model.images[image_id].cam_from_world().matrix()
    in_camera = xyz @ camera_from_world[:, :3].T + camera_from_world[:, 3]
    ahead = in_camera[:, 2] > 0
    seen = np.full((len(xyz), 2), np.inf)
    if ahead.any():
        seen[ahead] = camera.img_from_cam(in_camera[ahead])
    return np.linalg.norm(seen - uv, axis=1)
