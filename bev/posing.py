"""Where the camera stood, from the images alone: poses for a film, for photos, and for RGB-D that came without."""

import logging
from dataclasses import replace

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError
from bev.odometry import odometry_poses
from bev.readers.images import Distortion, Undistorted
from bev.scale import ROUGH_DEPTH
from bev.scan import Frame, Scan
from bev.sensor_scale import sensor_scale
from bev.sfm import Mapper, SfmModel, SfmResult, run_sfm
from bev.sparse import SparsePoints

logger = logging.getLogger(__name__)

_SHARE_MIN = 0.5
_POINTS_PER_FRAME_MIN = 10
_ANGLE_MIN_DEG = 2.0
"""Under which the median point must be seen from two places at least."""
_FOCAL_LENGTHS = (0.3, 5.0)
"""Of the longer side: from the widest lens that a pinhole can stand for to a strong telephoto."""
_PINCUSHION_MAX = 0.15
_FEATURES_MIN = 150
_TURNED_SHARE = 0.7


def find_poses(
    scan: Scan, *, mapper: Mapper = "incremental", progress: bool = False, timeout_s: float = 1800.0
) -> Scan:
    """Find where the colour camera stood in every frame, its focal length and its lens's distortion.

    Structure from motion in a child process. A sensor's depth, where the frames have it, gives the scale, and takes
    over (`bev.odometry`) where images alone place less than half of the frames. Without depth the units stay arbitrary:
    the median depth of the points is then 2.0.

    Args:
        scan: one lens for all frames, in the order of time if it is a film; poses that are there do not matter. With
            `has_intrinsics` the cameras are taken as they are, and the images as free of distortion.
        mapper: "incremental" adds one frame after the other; "global" places all at once.
        progress: show bars.
        timeout_s: after so many seconds structure from motion is stopped.

    Returns:
        The frames whose place was found, in a world whose origin and axes are the first one's camera. Frames that were
        left out are named in its warnings, by time. `read_color` undoes the distortion that was found; `sparse` holds
        the points, `up_hint` nothing.

    Raises:
        UserError: less than half of the frames hang together, or what was found cannot be right; the message says what
            to film differently.
    """
    camera = _shared_camera(scan)
    result = run_sfm(
        (frame.read_color() for frame in scan.frames),
        camera,
        known=scan.has_intrinsics,
        mapper=mapper,
        timeout_s=timeout_s,
        progress=progress,
    )
    fault = _fault(scan, result, camera)
    if fault is None:
        return _posed(scan, result, camera, progress)
    if scan.has_depth and scan.has_intrinsics:
        return _followed(scan, fault, progress)
    raise UserError(f"{scan.path}: {fault}")


def _shared_camera(scan: Scan) -> Camera:
    """The lens that all frames share, each of its numbers the median of theirs."""
    if len(scan.frames) < 3:
        raise UserError(f"{scan.path}: poses need at least 3 frames that differ, this has {len(scan.frames)}")
    first = scan.frames[0].camera
    for frame in scan.frames:
        size = (frame.camera.width, frame.camera.height)
        if size != (first.width, first.height):
            raise UserError(
                f"{scan.path}: frame {frame.index} is {size[0]}x{size[1]}, frame {scan.frames[0].index} is "
                f"{first.width}x{first.height}; poses need images of one camera and one size"
            )
    return replace(first, K=np.median([frame.camera.K for frame in scan.frames], axis=0), world_from_camera=np.eye(4))


def _fault(scan: Scan, result: SfmResult, camera: Camera) -> str | None:
    """Why the largest model cannot be used, and what to film differently; None where it can."""
    count = len(scan.frames)
    if not result.models or len(result.models[0].rows) < max(_SHARE_MIN * count, 3):
        placed = len(result.models[0].rows) if result.models else 0
        return f"only {placed} of {count} frames could be placed{_break(scan, result)}: {_advice(result)}"
    model = result.models[0]
    focal = model.K[0, 0] / max(camera.width, camera.height)
    if not _FOCAL_LENGTHS[0] <= focal <= _FOCAL_LENGTHS[1]:
        return (
            f"a focal length of {focal:.2f} x the longer side was found, which no such camera has: walk sideways "
            "while filming, and look at things that are near and far"
        )
    if model.k1 > _PINCUSHION_MAX:
        return (
            f"a lens that bends lines inwards was found (k1 {model.k1:.2f}), which no such camera has: film more of "
            "the room, walking sideways, or give --intrinsics fx,fy,cx,cy"
        )
    if len(model.points) < _POINTS_PER_FRAME_MIN * len(model.rows):
        return f"only {len(model.points)} points were found in {len(model.rows)} frames: {_advice(result)}"
    angle = _median_angle_deg(model)
    if angle < _ANGLE_MIN_DEG:
        return (
            f"the camera hardly moved (points are seen under {angle:.1f} degrees): walk through the room instead of "
            "turning where you stand"
        )
    return None


def _advice(result: SfmResult) -> str:
    features = int(np.median(result.features))
    if features < _FEATURES_MIN:
        return (
            f"the images have little texture or are blurred (a median of {features} features): film slowly, with "
            "light, and keep furniture or pictures in view beside bare walls"
        )
    if result.turned_share > _TURNED_SHARE:
        return "the camera hardly moved: walk sideways through the room instead of turning where you stand"
    return (
        "film one room in one go, walk slowly and sideways rather than turning on the spot, and let each view overlap "
        "the one before by two thirds"
    )


def _break(scan: Scan, result: SfmResult) -> str:
    """Where the two largest models meet in time, in words; nothing where they are mixed."""
    if len(result.models) < 2:
        return ""
    times = np.array([frame.timestamp_s for frame in scan.frames])
    first, second = sorted((times[model.rows] for model in result.models[:2]), key=lambda stretch: stretch[0])
    if first[-1] >= second[0]:
        return ""
    return f"; the film breaks at {(first[-1] + second[0]) / 2:.1f} s"


def _median_angle_deg(model: SfmModel) -> float:
    """The median over the points of the widest angle between two cameras that see it."""
    centers = model.world_from_camera[np.searchsorted(model.rows, model.seen[:, 0]), :3, 3]
    order = np.argsort(model.seen[:, 1], kind="stable")
    rays = (centers - model.points[model.seen[:, 1]])[order]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    starts = np.flatnonzero(np.diff(model.seen[order, 1], prepend=-1))
    step = max(1, len(starts) // 2000)
    bundles = np.split(rays, starts[1:])[::step]
    return float(np.degrees(np.median([np.arccos(np.clip((b @ b.T).min(), -1, 1)) for b in bundles])))


def _posed(scan: Scan, result: SfmResult, camera: Camera, progress: bool) -> Scan:
    """The scan with the cameras of the largest model, in metres where there is a sensor to tell."""
    model = result.models[0]
    if scan.has_depth:
        scale = sensor_scale(scan.frames, model, progress=progress)
        if scale is None:
            raise UserError(
                f"{scan.path}: the sensor has no depth where the images have features, so that nothing tells the "
                "scale; check the depth images and --depth-scale"
            )
    else:
        scale = ROUGH_DEPTH / float(np.median(model.depths()))
    logger.info(
        "%d of %d frames placed, %d points, focal length %.1f px, k1 %.4f, %.2f px off",
        *(len(model.rows), len(scan.frames), len(model.points), model.K[0, 0], model.k1, model.error_px),
    )
    new_from_old = invert_rigid(model.world_from_camera[0])
    poses = new_from_old @ model.world_from_camera
    poses[:, :3, 3] *= scale
    lens = camera if scan.has_intrinsics else replace(camera, K=model.K)
    points = (model.points @ new_from_old[:3, :3].T + new_from_old[:3, 3]) * scale
    indices = np.array([frame.index for frame in scan.frames])
    posed = with_poses(scan, model.rows, poses)
    undistorted = Distortion(lens.K, (model.k1, 0.0, 0.0, 0.0), lens.width, lens.height) if model.k1 else None
    return replace(
        posed,
        frames=tuple(_through_lens(frame, lens, scan.has_intrinsics, undistorted) for frame in posed.frames),
        has_intrinsics=True,
        sparse=SparsePoints(points, np.column_stack([indices[model.seen[:, 0]], model.seen[:, 1]])),
        units="metre" if scan.has_depth else "arbitrary",
        warnings=posed.warnings + _left_out(scan, model.rows, _break(scan, result)),
    )


def _followed(scan: Scan, fault: str, progress: bool) -> Scan:
    """The scan with the cameras that its depth images give, step by step; `fault` says why images alone do not."""
    logger.info("images alone do not place the frames, following the depth images: %s", fault)
    rows, poses = odometry_poses(scan.frames, progress=progress)
    count = len(scan.frames)
    if len(rows) < max(_SHARE_MIN * count, 3):
        raise UserError(f"{scan.path}: {fault} (the depth images place {len(rows)} of {count} frames)")
    posed = with_poses(scan, rows, poses)
    warning = f"the cameras were followed by depth, step by step, which drifts; by images alone {fault}"
    return replace(posed, units="metre", warnings=posed.warnings + (warning,) + _left_out(scan, rows, ""))


def with_poses(scan: Scan, rows: np.ndarray, poses: np.ndarray) -> Scan:
    """Some of the frames of a scan, their colour cameras at other poses in another world.

    Args:
        rows: (n,) int64, ascending: which frames.
        poses: (n, 4, 4) float64, `world_from_camera`.
    """
    frames = []
    for row, world_from_camera in zip(rows.tolist(), poses, strict=True):
        frame = scan.frames[row]
        frames.append(frame.moved(world_from_camera @ frame.camera.camera_from_world))
    return replace(
        scan,
        frames=tuple(frames),
        has_poses=True,
        up_hint=None,
        axes_are_walls=False,
        surface_path=None,
        source_from_surface=np.eye(4),
        world_from_source=np.eye(4),
        sparse=None,
    )


def _through_lens(frame: Frame, lens: Camera, known: bool, distortion: Distortion | None) -> Frame:
    """The frame with the lens that was found; each keeps its own where that was known."""
    if known:
        return frame
    camera = replace(frame.camera, K=lens.K)
    if distortion is None:
        return replace(frame, camera=camera)
    return replace(frame, camera=camera, read_color=Undistorted(frame.read_color, distortion))


def _left_out(scan: Scan, rows: np.ndarray, broken: str) -> tuple[str, ...]:
    """One warning that says which stretches of time have no pose; none where all frames have one."""
    count = len(scan.frames)
    lost = np.setdiff1d(np.arange(count), rows)
    if not len(lost):
        return ()
    stretches = np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1)
    times = [[scan.frames[row].timestamp_s for row in (stretch[0], stretch[-1])] for stretch in stretches]
    named = ", ".join(f"{start:.1f} s" if start == end else f"{start:.1f}-{end:.1f} s" for start, end in times)
    warning = f"{len(lost)} of {count} frames could not be placed and were left out: {named}{broken}"
    logger.info("%s", warning)
    return (warning,)
