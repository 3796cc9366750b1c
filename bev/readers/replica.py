"""Replica as NICE-SLAM ships it: `results/frame000000.jpg results/depth000000.png traj.txt`, `cam_params.json` above.

Line i of `traj.txt` is the pose of frame i, 16 numbers, world from camera with OpenCV's axes. `cam_params.json` lies
one folder above the scene (beside `traj.txt` does too) and holds the calibration that all scenes share, and `scale`,
the depth units per metre. The scene's mesh `<scene>_mesh.ply` lies one folder above as well. Up is +z.

Layout: https://github.com/cvg/nice-slam (scripts/download_replica.sh).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole
from bev.readers.capture import FRAMES_PER_SECOND, Capture, numbered_files, whole_frames
from bev.readers.images import image_size
from bev.readers.options import ReadOptions
from bev.readers.poses import parse_numbers

LOOKED_FOR = "results/frame000000.jpg, results/depth000000.png, traj.txt, ../cam_params.json"

_DEPTH_UNITS_PER_M = 6553.5
"""`scale` of the released cam_params.json: 16 bits span 10 metres."""


def looks_like(path: Path) -> bool:
    """Whether the folder holds `results/` and `traj.txt`, or `results/` with frames named as NICE-SLAM does."""
    results = path / "results"
    if not results.is_dir():
        return False
    return (path / "traj.txt").is_file() or any(results.glob("frame[0-9]*.jpg"))


def read(path: Path, options: ReadOptions) -> Capture:
    """List the frames of a scene.

    Args:
        path: the scene's folder, with `results/` and `traj.txt`.
        options: `intrinsics` are in place of those in `cam_params.json`; colour and depth share one camera.

    Raises:
        UserError: missing files, a calibration that is none.
    """
    results = path / "results"
    if not results.is_dir():
        raise UserError(f"{results} is missing: the folder of the images")
    colors = numbered_files(results, r"frame(\d+)\.(?:jpg|jpeg|png)")
    depths = numbered_files(results, r"depth(\d+)\.png")
    poses = None if options.ignore_poses else _trajectory(path / "traj.txt")
    numbers = whole_frames(path, colors, depths, None if poses is None else lambda number: number < len(poses))
    parameters_file, parameters = _camera_parameters(path)
    camera = _camera(path, parameters_file, parameters, options.intrinsics, image_size(colors[numbers[0]]))
    mesh = path.parent / f"{path.name}_mesh.ply"
    return Capture(
        name=path.name,
        path=path,
        indices=numbers,
        timestamps_s=[number / FRAMES_PER_SECOND for number in numbers],
        color_paths=[colors[number] for number in numbers],
        depth_paths=[depths[number] for number in numbers],
        stored_poses=None if poses is None else poses[numbers],
        pose_names=[f"{path / 'traj.txt'} line {number + 1}" for number in numbers],
        color_camera=camera,
        depth_camera=camera.resized(*image_size(depths[numbers[0]])),
        depth_units_per_m=float(parameters.get("scale", _DEPTH_UNITS_PER_M)),
        up_hint=np.array([0.0, 0.0, 1.0]),
        surface_path=mesh if mesh.is_file() else None,
        # its scale counts with --intrinsics as well
        files_beside=(parameters_file,) if parameters_file and parameters_file.parent != path else (),
    )


def _trajectory(file: Path) -> np.ndarray | None:
    """(n, 4, 4) as stored; None where there is no such file."""
    if not file.is_file():
        return None
    lines = file.read_text(encoding="ascii", errors="replace").rstrip().splitlines()
    poses = [parse_numbers(line, 16, f"{file} line {number}") for number, line in enumerate(lines, 1)]
    return np.array(poses, np.float64).reshape(-1, 4, 4)


def _camera_parameters(path: Path) -> tuple[Path | None, dict[str, Any]]:
    """The `camera` object of cam_params.json and where it lies; empty where there is none."""
    for folder in (path, path.parent):
        file = folder / "cam_params.json"
        if file.is_file():
            try:
                return file, dict(json.loads(file.read_text(encoding="utf-8"))["camera"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{file}: must be JSON with an object `camera` (fx, fy, cx, cy, scale)") from error
    return None, {}


def _camera(
    path: Path, file: Path | None, parameters: dict[str, Any], intrinsics: str | None, size: tuple[int, int]
) -> Camera:
    if intrinsics is not None:
        return pinhole(given_K(intrinsics), size, f"--intrinsics {intrinsics}")
    if file is None:
        raise UserError(
            f"{path.parent / 'cam_params.json'} is missing (nor is it in {path}): the camera's intrinsics; "
            "add the file, or give --intrinsics fx,fy,cx,cy"
        )
    try:
        fx, fy, cx, cy = (float(parameters[key]) for key in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: `camera` must hold the numbers fx, fy, cx, cy; or give --intrinsics") from error
    return pinhole(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), size, str(file))
