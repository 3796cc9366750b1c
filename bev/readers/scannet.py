"""ScanNet as its exporter writes it: `color/0.jpg depth/0.png pose/0.txt intrinsic/intrinsic_{color,depth}.txt`.

Up is +z. The exporter's poses are in the frame that the scan was reconstructed in; `<scene>.txt` may hold
`axisAlignment = 16 numbers`, which turns that frame so that walls run along x and y. ScanNet's boxes, and the
benchmarks built on them, are in the aligned frame, so where the line is there it is applied to the poses, and *source*
(as in `Scan.world_from_source`) means the aligned frame. ScanNet's meshes stay in the unaligned one, so the same matrix
is `Scan.source_from_surface`, for `<scene>_vh_clean_2.ply` as for a mesh given by hand.

Layout: https://github.com/ScanNet/ScanNet. Depth is in millimetres and already lies on the colour image's field of
view, so the two extrinsics are identity in released data; where they are not, they map a camera to the posed rig.
"""

from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.readers.calibration import checked_rigid, given_K, pinhole, read_K, read_rigid
from bev.readers.capture import FRAMES_PER_SECOND, Capture, numbered_files, whole_frames
from bev.readers.images import image_size
from bev.readers.options import ReadOptions
from bev.readers.poses import parse_numbers, read_pose_files

LOOKED_FOR = "color/0.jpg, depth/0.png, pose/0.txt, intrinsic/intrinsic_color.txt, intrinsic/intrinsic_depth.txt"

MESH_ENDING = "_vh_clean_2.ply"


def looks_like(path: Path) -> bool:
    """Whether the folder holds `color/` and at least one of `depth/` and `pose/`."""
    return (path / "color").is_dir() and ((path / "depth").is_dir() or (path / "pose").is_dir())


def read(path: Path, options: ReadOptions) -> Capture:
    """List the frames of an exported scan.

    Args:
        path: the folder that holds `color/`; `<scene>.txt` and the mesh may lie in it or in the folder above.
        options: `intrinsics` are of the colour camera; depth has `intrinsic_depth.txt`, or without it the same scaled
            to its size.

    Raises:
        UserError: missing files, a calibration or alignment that is none.
    """
    colors = _numbered(path, "color", r"(\d+)\.(?:jpg|jpeg|png)")
    depths = _numbered(path, "depth", r"(\d+)\.png")
    poses = {} if options.ignore_poses else _numbered(path, "pose", r"(\d+)\.txt")
    numbers = whole_frames(path, colors, depths, poses.__contains__ if poses else None)
    color_camera, depth_camera = _cameras(
        path / "intrinsic", options.intrinsics, image_size(colors[numbers[0]]), image_size(depths[numbers[0]])
    )
    scene_path = _scene_folder(path)
    scene_text = _scene_file(scene_path, ".txt")
    alignment = None if scene_text is None else axis_alignment(scene_text)
    pose_paths = [poses[number] for number in numbers if poses]
    return Capture(
        name=scene_path.name,
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
        posed_from_color=read_rigid(path / "intrinsic" / "extrinsic_color.txt"),
        posed_from_depth=read_rigid(path / "intrinsic" / "extrinsic_depth.txt"),
        aligned_from_stored=np.eye(4) if alignment is None else alignment,
        up_hint=np.array([0.0, 0.0, 1.0]),
        axes_are_walls=alignment is not None,
        surface_path=_scene_file(scene_path, MESH_ENDING),
        files_beside=(scene_text,) if scene_text and scene_path != path else (),
    )


def _numbered(path: Path, folder: str, pattern: str) -> dict[int, str]:
    return numbered_files(path / folder, pattern) if (path / folder).is_dir() else {}


def _cameras(
    folder: Path, intrinsics: str | None, color_size: tuple[int, int], depth_size: tuple[int, int]
) -> tuple[Camera, Camera]:
    color_file, depth_file = folder / "intrinsic_color.txt", folder / "intrinsic_depth.txt"
    if intrinsics is None:
        color = pinhole(read_K(color_file, wanted_for="the colour camera"), color_size, str(color_file))
    else:
        color = pinhole(given_K(intrinsics), color_size, f"--intrinsics {intrinsics}")
        if not depth_file.is_file():
            return color, color.resized(*depth_size)
    return color, pinhole(read_K(depth_file, wanted_for="the depth camera"), depth_size, str(depth_file))


def axis_alignment(file: Path) -> np.ndarray | None:
    """`axisAlignment` of `<scene>.txt`, (4, 4); None where there is no such line (the test scans)."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            where = f"{file}: axisAlignment"
            return checked_rigid(parse_numbers(value, 16, where), where)
    return None


def _scene_file(scene_path: Path, ending: str) -> Path | None:
    file = scene_path / f"{scene_path.name}{ending}"
    return file if file.is_file() else None


def _scene_folder(path: Path) -> Path:
    """The folder that bears the scene's name and holds its own files: that of the frames, or the one above it."""
    for folder in (path, path.parent):
        if any(_scene_file(folder, ending) for ending in (".txt", MESH_ENDING)):
            return folder
    return path
