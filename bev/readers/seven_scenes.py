"""7-Scenes and tsdf-fusion-python: `frame-000000.{color.jpg,depth.png,pose.txt}` and `camera-intrinsics.txt`.

The poses are the depth camera's. `camera-intrinsics.txt` calibrates the depth camera; without more files colour is
registered to depth and shares its camera. Optional files make colour a camera of its own:
`camera-intrinsics-color.txt` (3x3), `camera-distortion-color.txt` (k1 k2 p1 p2 k3, OpenCV's model) and
`color_from_depth.txt` (4x4, metres).

Layout: https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/ and
https://github.com/andyzeng/tsdf-fusion-python. Depth is in millimetres; 65535 means none, as 0 does.
"""

import re
from pathlib import Path

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole, read_K, read_rigid
from bev.readers.capture import FRAMES_PER_SECOND, Capture, numbered_files, whole_frames
from bev.readers.images import Distortion, image_size
from bev.readers.options import ReadOptions
from bev.readers.poses import read_numbers, read_pose_files

LOOKED_FOR = "frame-000000.color.jpg, frame-000000.depth.png, frame-000000.pose.txt, camera-intrinsics.txt"

_CALIBRATION = (
    "camera-intrinsics.txt",
    "camera-intrinsics-color.txt",
    "camera-distortion-color.txt",
    "color_from_depth.txt",
)
_ANY_FRAME = re.compile(r"frame-\d+\.(color\.(jpg|jpeg|png)|depth\.png|pose\.txt)")
_SEQUENCE = re.compile(r"seq-?\d+")


def looks_like(path: Path) -> bool:
    """Whether the folder, or a sequence folder in it, holds frames named as 7-Scenes does."""
    return path.is_dir() and (_has_frames(path) or bool(_sequences(path)))


def read(path: Path, options: ReadOptions) -> Capture:
    """List the frames of one sequence.

    Args:
        path: the folder of the frames, or one above that holds a single `seq-01`.
        options: `intrinsics` are in place of `camera-intrinsics.txt`, so of the depth camera, and of colour unless
            that has its own.

    Raises:
        UserError: several sequences, missing files, a calibration that is none.
    """
    frames_path = _frames_folder(path)
    colors = numbered_files(frames_path, r"frame-(\d+)\.color\.(?:jpg|jpeg|png)")
    depths = numbered_files(frames_path, r"frame-(\d+)\.depth\.png")
    poses = {} if options.ignore_poses else numbered_files(frames_path, r"frame-(\d+)\.pose\.txt")
    numbers = whole_frames(frames_path, colors, depths, poses.__contains__ if poses else None)
    # the sequences of one scene share a calibration, which may lie beside their folders
    beside = frames_path.parent if _SEQUENCE.fullmatch(frames_path.name) else frames_path
    depth_camera = _depth_camera(frames_path, beside, options.intrinsics, image_size(depths[numbers[0]]))
    color_camera, distortion = _color_camera(frames_path, beside, depth_camera, image_size(colors[numbers[0]]))
    pose_paths = [poses[number] for number in numbers if poses]
    return Capture(
        name=frames_path.name if beside == frames_path else f"{beside.name}-{frames_path.name}",
        path=path,
        indices=numbers,
        timestamps_s=[number / FRAMES_PER_SECOND for number in numbers],
        color_paths=[colors[number] for number in numbers],
        depth_paths=[depths[number] for number in numbers],
        stored_poses=read_pose_files(pose_paths) if poses else None,
        pose_names=pose_paths,
        color_camera=color_camera,
        depth_camera=depth_camera,
        depth_units_per_m=1000.0,
        depth_none_value=65535,
        color_distortion=distortion,
        files_beside=() if beside in (frames_path, path) else _calibration_files(frames_path, beside),
        posed_from_color=invert_rigid(read_rigid(_beside(frames_path, beside, "color_from_depth.txt"))),
    )


def _depth_camera(frames_path: Path, beside: Path, intrinsics: str | None, size: tuple[int, int]) -> Camera:
    if intrinsics is not None:
        return pinhole(given_K(intrinsics), size, f"--intrinsics {intrinsics}")
    file = _beside(frames_path, beside, "camera-intrinsics.txt")
    return pinhole(read_K(file, wanted_for="the depth camera"), size, str(file))


def _color_camera(
    frames_path: Path, beside: Path, depth_camera: Camera, size: tuple[int, int]
) -> tuple[Camera, Distortion | None]:
    file = _beside(frames_path, beside, "camera-intrinsics-color.txt")
    distortion_file = _beside(frames_path, beside, "camera-distortion-color.txt")
    if not file.is_file():
        if distortion_file.is_file():
            raise UserError(
                f"{file} is missing, but {distortion_file.name} is there: a distortion needs its intrinsics"
            )
        return depth_camera.resized(*size), None
    camera = pinhole(read_K(file, wanted_for="the colour camera"), size, str(file))
    if not distortion_file.is_file():
        return camera, None
    coefficients = tuple(read_numbers(str(distortion_file), 5))
    if not np.isfinite(coefficients).all():
        raise UserError(f"{distortion_file}: holds NaN or infinity")
    return camera, Distortion(camera.K, coefficients, *size) if any(coefficients) else None


def _frames_folder(path: Path) -> Path:
    if _has_frames(path):
        return path
    sequences = _sequences(path)
    if len(sequences) > 1:
        names = ", ".join(folder.name for folder in sequences)
        raise UserError(f"{path}: holds several sequences ({names}); give the folder of one, such as {sequences[0]}")
    return sequences[0] if sequences else path


def _sequences(path: Path) -> list[Path]:
    folders = [folder for folder in path.iterdir() if _SEQUENCE.fullmatch(folder.name) and folder.is_dir()]
    return sorted(folder for folder in folders if _has_frames(folder))


def _has_frames(path: Path) -> bool:
    return any(_ANY_FRAME.fullmatch(entry.name) for entry in path.iterdir())


def _beside(frames_path: Path, beside: Path, name: str) -> Path:
    """The file in the sequence's folder, or beside that folder where it is missing."""
    return frames_path / name if (frames_path / name).is_file() else beside / name


def _calibration_files(frames_path: Path, beside: Path) -> tuple[Path, ...]:
    """The calibration that is taken from beside the sequence's folder."""
    files = (_beside(frames_path, beside, name) for name in _CALIBRATION)
    return tuple(file for file in files if file.parent == beside and file.is_file())
