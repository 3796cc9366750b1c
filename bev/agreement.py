"""Whether a scan's depth and poses agree with each other; where not, what was misread.

Wrong depth units, inverted poses and OpenGL axes are what users get wrong most. None of them shows in a single frame,
and each breaks the one thing that must hold: a point that frame i measures must lie where a later frame, which sees it
from elsewhere, measures it too.
"""

import logging
import math
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError
from bev.readers.poses import stored_poses, world_from_cameras
from bev.scan import Axes, Frame, Poses, Reading, Scan

logger = logging.getLogger(__name__)

TOLERANCE = 0.03
"""Depths within this share of each other agree: sensor noise is a third of it, a wrong unit at least eight times it."""

USUAL_DEPTH_UNITS_PER_M = (1.0, 100.0, 256.0, 1000.0, 4000.0, 5000.0, 6553.5, 10000.0)
_ROOM_DEPTH_M = (0.3, 12.0)
"""Median depth in a room; a unit that gives another one is no suspect."""

_PAIRS = 24
_BASELINE_M = (0.05, 0.30)
"""Under the first, parallax drowns in noise; at the second, wrong readings stand apart and most is still in view."""
_ROTATION_MAX_DEG = 40.0
_RAYS_ACROSS = 80
_PIXELS_ACROSS = 320
_LANDED_MIN = 0.1
"""With fewer of the points than this in view there is nothing to compare."""

_DOUBT = 0.75
"""Above this no suspect is tried: right scans of real sensors reach 0.6 to 0.95, wrong ones rarely pass 0.5."""
_WRONG = 0.4
_CLEARLY_BETTER = 0.2
_AS_GOOD = 0.03


@dataclass(frozen=True, eq=False)
class _Pair:
    """Points of one frame and the depth that a later frame measured, as read."""

    first: int
    """Position in the scan, likewise `second`."""
    second: int
    points: np.ndarray
    """(N, 3) float64 metres, in the first depth camera."""
    camera: Camera
    """The second depth camera, scaled to `depth`."""
    depth: np.ndarray
    """(H, W) float32 metres."""


def agreement(scan: Scan) -> float:
    """The share of pixels whose depth, moved into a later frame, lies within 3 % of the depth measured there.

    Two dozen pairs of frames spread over the scan, 0.3 m apart (less where the camera moved less), each thinned out to
    80 points across. Occluded points count as disagreeing, so right scans stay below 1.

    Args:
        scan: in any world, metres.

    Returns:
        0 to 1; NaN where nothing can be said: fewer than two frames with depth, a camera that hardly moves, frames
        that see nothing in common, a scan without metric scale.
    """
    return _share(_pairs(scan), _depth_poses(scan), 1.0)


def check_agreement(scan: Scan, *, skip_check: bool = False) -> float:
    """`agreement`, and where it is low, which of the usual misreadings explains it.

    Tried are other depth units, inverted poses, other camera axes and all their combinations, on the same decoded
    depth.

    Args:
        scan: as `read_scan` returned it, or moved since.
        skip_check: log what would have been raised (`--skip-check`).

    Returns:
        As `agreement`.

    Raises:
        UserError: another reading fits clearly better, and which; or the agreement is below 0.4 and none does.
    """
    pairs, poses = _pairs(scan), _depth_poses(scan)
    share = _share(pairs, poses, 1.0)
    if not pairs or share >= _DOUBT:
        return share
    fault = _misreading(scan, pairs, poses, share)
    if fault is None and share < _WRONG:
        fault = (
            f"{scan.path}: depth and poses do not agree ({_percent(share)}), and no other depth unit, pose direction "
            "or camera axes explain it; are depth, poses and intrinsics of one recording? --skip-check goes on anyway"
        )
    if fault is not None and not skip_check:
        raise UserError(fault)
    if fault is not None:
        logger.warning(fault)
    return share


def _misreading(scan: Scan, pairs: list[_Pair], poses: np.ndarray, share: float) -> str | None:
    """The message that names a reading which fits clearly better; None where there is none."""
    used = scan.reading
    if used is None:
        return None
    # what the reader did to the world comes off first, because inverting does not commute with it
    world_from_stored = scan.world_from_source @ scan.source_from_surface
    stored = stored_poses(invert_rigid(world_from_stored) @ poses, used.poses, used.axes)
    fits: list[tuple[float, list[str]]] = []
    for reading in _suspects(used, pairs):
        factor = used.depth_units_per_m / reading.depth_units_per_m
        fit = _share(pairs, world_from_cameras(stored, reading.poses, reading.axes), factor)
        if not math.isnan(fit):
            fits.append((fit, _options(reading, used)))
    if not fits:
        return None
    best = max(fit for fit, _ in fits)
    # the simplest explanation of those that fit as well
    fit, options = min((found for found in fits if found[0] >= best - _AS_GOOD), key=lambda found: len(found[1]))
    if fit < max(_WRONG, (0.0 if math.isnan(share) else share) + _CLEARLY_BETTER):
        return None
    text = " ".join(options)
    return f"{scan.path}: depth and poses do not agree ({_percent(share)}; with {text} {fit:.2f}): add {text}"


def _suspects(used: Reading, pairs: list[_Pair]) -> list[Reading]:
    """Every other reading whose depth is plausible for a room, in a fixed order."""
    median_m = float(np.median(np.concatenate([pair.points[:, 2] for pair in pairs])))
    units = dict.fromkeys((used.depth_units_per_m, *USUAL_DEPTH_UNITS_PER_M))
    low, high = _ROOM_DEPTH_M
    plausible = [unit for unit in units if low <= median_m * used.depth_units_per_m / unit <= high]
    readings = [Reading(unit, poses, axes) for unit, poses, axes in product(plausible, get_args(Poses), get_args(Axes))]
    return [reading for reading in readings if reading != used]


def _options(reading: Reading, used: Reading) -> list[str]:
    """The command-line options that turn one reading into another."""
    options = []
    if reading.depth_units_per_m != used.depth_units_per_m:
        options.append(f"--depth-scale {reading.depth_units_per_m:g}")
    if reading.poses != used.poses:
        options.append(f"--poses {reading.poses}")
    if reading.axes != used.axes:
        options.append(f"--axes {reading.axes}")
    return options


def _percent(share: float) -> str:
    if math.isnan(share):
        return "frames see nothing in common"
    return f"{share:.2f} of the pixels within {TOLERANCE * 100:.0f} %"


def _depth_poses(scan: Scan) -> np.ndarray:
    """World from depth camera, (n, 4, 4), of the frames with depth."""
    return np.array([_depth_camera(frame).world_from_camera for frame in _with_depth(scan)]).reshape(-1, 4, 4)


def _with_depth(scan: Scan) -> list[Frame]:
    return [frame for frame in scan.frames if frame.read_depth is not None and frame.depth_camera is not None]


def _depth_camera(frame: Frame) -> Camera:
    assert frame.depth_camera is not None
    return frame.depth_camera


def _pairs(scan: Scan) -> list[_Pair]:
    """Frames to compare, decoded; empty where the scan cannot be judged."""
    frames, poses = _with_depth(scan), _depth_poses(scan)
    if len(frames) < 2 or scan.units != "metre":
        return []
    baseline_m = min(_BASELINE_M[1], np.linalg.norm(np.ptp(poses[:, :3, 3], axis=0)) / 2)
    if baseline_m < _BASELINE_M[0]:
        return []
    pairs = []
    for first in dict.fromkeys(np.linspace(0, len(frames) - 2, _PAIRS).astype(int).tolist()):
        second = _moved_on(poses, first, float(baseline_m))
        if second is not None:
            pair = _decoded(frames, first, second)
            pairs += [pair] if len(pair.points) else []
    return pairs


def _moved_on(poses: np.ndarray, first: int, baseline_m: float) -> int | None:
    """The next frame that stands `baseline_m` away and looks the same way; None where there is none.

    The angle between two cameras is the same for inverted poses and other axes, so misread scans get like pairs.
    """
    later = poses[first + 1 :]
    distance_m = np.linalg.norm(later[:, :3, 3] - poses[first, :3, 3], axis=1)
    cosine = (np.einsum("nij,ij->n", later[:, :3, :3], poses[first, :3, :3]) - 1) / 2
    found = np.flatnonzero((distance_m >= baseline_m) & (cosine >= math.cos(math.radians(_ROTATION_MAX_DEG))))
    return first + 1 + int(found[0]) if len(found) else None


def _decoded(frames: list[Frame], first: int, second: int) -> _Pair:
    depth, camera = _thinned(frames[first], _RAYS_ACROSS)
    other_depth, other_camera = _thinned(frames[second], _PIXELS_ACROSS)
    v, u = np.nonzero(depth)
    z = depth[v, u].astype(np.float64)
    origin = Camera(camera.K, camera.width, camera.height, np.eye(4))
    points = origin.unproject(np.stack([u + 0.5, v + 0.5], axis=1), z)
    return _Pair(first, second, points, other_camera, other_depth)


def _thinned(frame: Frame, pixels_across: int) -> tuple[np.ndarray, Camera]:
    """Every k-th pixel of a frame's depth, unmixed, and the camera of that smaller image."""
    assert frame.read_depth is not None
    camera, depth = _depth_camera(frame), frame.read_depth()
    step = max(1, camera.width // pixels_across)
    middle = step // 2
    thin = depth[middle::step, middle::step]
    height, width = thin.shape
    K = camera.K.copy()
    # the kept pixels' centres become the small image's pixel centres
    K[:2, 2] = (K[:2, 2] - middle - 0.5) / step + 0.5
    K[:2, :2] /= step
    return np.ascontiguousarray(thin), Camera(K, width, height, camera.world_from_camera)


def _share(pairs: list[_Pair], poses: np.ndarray, depth_factor: float) -> float:
    """`agreement` if depth were `depth_factor` times what was read, and the depth cameras stood at `poses`."""
    agreeing = landed = sampled = 0
    for pair in pairs:
        second_from_first = invert_rigid(poses[pair.second]) @ poses[pair.first]
        # dividing the motion by the factor is multiplying both depths by it
        x, y, z = second_from_first[:3, :3] @ pair.points.T + second_from_first[:3, 3:] / depth_factor
        K = pair.camera.K
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            inside = (z > 0) & (u >= 0) & (v >= 0) & (u < pair.camera.width) & (v < pair.camera.height)
        measured = pair.depth[v[inside].astype(np.intp), u[inside].astype(np.intp)]
        valid = measured > 0
        agreeing += int((np.abs(z[inside] - measured)[valid] <= TOLERANCE * measured[valid]).sum())
        landed += int(valid.sum())
        sampled += len(pair.points)
    return agreeing / landed if landed and landed >= _LANDED_MIN * sampled else math.nan
