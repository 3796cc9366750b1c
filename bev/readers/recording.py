"""Recordings whose frames each bring a camera of their own: phones refocus while they film, and tell so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole
from bev.readers.options import ReadOptions
from bev.readers.poses import rigid_only, world_from_cameras
from bev.scan import Axes, Frame, Poses, Reading, Scan

ReadImage = Callable[[], np.ndarray]


@dataclass(frozen=True, eq=False)
class Moment:
    """One moment of a recording, its pose apart; nothing is decoded yet."""

    index: int
    timestamp_s: float
    camera: Camera
    """The colour camera at the identity."""
    read_color: ReadImage
    """Decodes: (H, W, 3) uint8 RGB of the camera's size."""
    depth_camera: Camera | None = None
    """The depth camera at the identity."""
    read_depth: ReadImage | None = None
    """Decodes: (H, W) float32 metres along z, 0 = none."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What a reader found: n moments, poses as they are stored, and what the format says of their world."""

    name: str
    path: Path
    reader: str
    moments: list[Moment]
    stored_poses: np.ndarray | None
    """(n, 4, 4) float64, metres; None where there are none."""
    pose_names: list[str]
    """Where each of the n poses stands, for messages."""
    depth_units_per_m: float
    """What `Moment.read_depth` divided the stored numbers by."""
    poses: Poses = "world_from_camera"
    """What the format's matrices map, and in `axes` their camera axes, unless the user says otherwise."""
    axes: Axes = "opencv"
    posed_from_color: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4) metres: from the colour camera to what the stored poses pose, and `posed_from_depth` likewise."""
    posed_from_depth: np.ndarray = field(default_factory=lambda: np.eye(4))
    aligned_from_stored: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4) metres: from the world of the stored poses, and of the recording's own surface, to the scan's."""
    up_hint: np.ndarray | None = None
    axes_are_walls: bool = False
    is_film: bool = False
    surface_path: Path | None = None
    files_beside: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def scan_from_recording(recording: Recording, options: ReadOptions) -> Scan:
    """The frames of a recording, posed where it has poses and `options` do not ignore them.

    Raises:
        UserError: more than half of the poses are no rigid motion, or a surface is given and there are no poses.
    """
    if recording.stored_poses is None or options.ignore_poses:
        return _unposed(recording, options)
    poses, axes = options.poses or recording.poses, options.axes or recording.axes
    kept, stored, warnings = rigid_only(recording.stored_poses, recording.pose_names)
    posed = recording.aligned_from_stored @ world_from_cameras(stored, poses, axes)
    moments = [moment for moment, good in zip(recording.moments, kept.tolist(), strict=True) if good]
    return Scan(
        name=recording.name,
        path=recording.path,
        reader=recording.reader,
        frames=_frames(moments, posed @ recording.posed_from_color, posed @ recording.posed_from_depth),
        up_hint=recording.up_hint,
        axes_are_walls=recording.axes_are_walls,
        is_film=recording.is_film,
        surface_path=options.surface or recording.surface_path,
        files_beside=recording.files_beside,
        source_from_surface=recording.aligned_from_stored,
        warnings=recording.warnings + warnings,
        reading=Reading(recording.depth_units_per_m, poses, axes),
    )


def _unposed(recording: Recording, options: ReadOptions) -> Scan:
    """Without poses there is no world: what the recording says of it, its mesh included, is left aside.

    Only depth then still knows metres.
    """
    if options.surface is not None:
        raise UserError(f"--surface {options.surface}: a surface needs the poses of its world, and there are none")
    left = () if recording.surface_path is None else (f"{recording.surface_path} is left aside: it needs poses",)
    color_from_depth = invert_rigid(recording.posed_from_color) @ recording.posed_from_depth
    count = len(recording.moments)
    has_depth = all(moment.read_depth is not None for moment in recording.moments)
    return Scan(
        name=recording.name,
        path=recording.path,
        reader=recording.reader,
        frames=_frames(recording.moments, np.tile(np.eye(4), (count, 1, 1)), np.tile(color_from_depth, (count, 1, 1))),
        units="metre" if has_depth else "arbitrary",
        has_poses=False,
        is_film=recording.is_film,
        files_beside=recording.files_beside,
        warnings=recording.warnings + left,
    )


def _frames(moments: list[Moment], color_poses: np.ndarray, depth_poses: np.ndarray) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            moment.index,
            moment.timestamp_s,
            moment.camera.moved(color_pose),
            moment.read_color,
            None if moment.depth_camera is None else moment.depth_camera.moved(depth_pose),
            moment.read_depth,
        )
        for moment, color_pose, depth_pose in zip(moments, color_poses, depth_poses, strict=True)
    )


def arkit_camera(intrinsics: Sequence[float] | None, size: tuple[int, int], where: str, options: ReadOptions) -> Camera:
    """A camera at the identity from what ARKit says of it: fx fy cx cy in pixels of images of `size`.

    ARKit counts the principal point from the image's corner, as `bev.camera` does, so that nothing is added to it
    (https://developer.apple.com/documentation/arkit/arcamera/intrinsics). ARKit's images have no lens distortion to
    speak of. `options.intrinsics` take the place of the recording's, which may then be None.

    Raises:
        UserError: no pinhole camera, or one for images of another size; `where` is named.
    """
    if options.intrinsics is not None:
        return pinhole(given_K(options.intrinsics), size, f"--intrinsics {options.intrinsics}")
    if intrinsics is None:
        raise UserError(f"{where}: has no intrinsics; give --intrinsics fx,fy,cx,cy")
    fx, fy, cx, cy = intrinsics
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return replace(pinhole(K, size, where), K=K)


def matrices_from_quaternions(xyzw: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4), the real part last, and translations (n, 3) as (n, 4, 4) float64.

    A quaternion that is not of unit length to 1 % gives NaN, which `rigid_only` leaves out.
    """
    from scipy.spatial.transform import Rotation

    length = np.linalg.norm(xyzw, axis=1)
    unit = np.abs(length - 1) < 0.01  # False for NaN
    matrices = np.full((len(xyzw), 4, 4), np.nan)
    matrices[unit, :3, :3] = Rotation.from_quat(xyzw[unit]).as_matrix() if unit.any() else np.nan
    matrices[:, :3, 3] = translations
    matrices[:, 3] = 0, 0, 0, 1
    return matrices


def matrices_from_rotation_vectors(vectors: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Axes of rotation times angles (n, 3) radians, and translations (n, 3), as (n, 4, 4) float64."""
    from scipy.spatial.transform import Rotation

    matrices = np.tile(np.eye(4), (len(vectors), 1, 1))
    if len(vectors):
        matrices[:, :3, :3] = Rotation.from_rotvec(vectors).as_matrix()
    matrices[:, :3, 3] = translations
    return matrices


def smaller_size(size: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """(width, height) at which images of `size` are decoded: no side longer than `long_side_px`."""
    share = min(1.0, long_side_px / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def confident(read_depth: ReadImage, read_levels: ReadImage | None) -> ReadImage:
    """A reader of depth (H, W) metres that leaves out what a reader of confidence, (H, W) uint8, calls low.

    ARKit knows 0 low, 1 medium and 2 high. Low marks what it filled in around edges, on glass and black, and beyond
    the lidar's reach, off by decimetres. Medium stays: it is most of a dark or slanted surface, right to centimetres,
    and fusing many frames averages it, while without it floors seen from afar would be holes.
    """
    return read_depth if read_levels is None else partial(_confident_depth, read_depth, read_levels)


def _confident_depth(read_depth: ReadImage, read_levels: ReadImage) -> np.ndarray:
    return np.where(read_levels() == 0, np.float32(0), read_depth())
