"""TUM RGB-D: `rgb.txt depth.txt groundtruth.txt`, which name images and poses by time stamp.

Stamps of colour, depth and pose differ; each colour image takes the nearest depth image and the nearest pose within
20 ms, no depth image or pose twice. Poses are not interpolated: the ground truth comes at 100 Hz or more, so the
nearest is at most 5 ms away. What finds no partner is left out, with a count in the scan's warnings.

There is no calibration file: the sensors' constants go by `freiburg1`, `2` or `3` in the folder's name. Depth was
registered pixel by pixel to the colour image as it came from the lens, so the distortion is undone in both.

Layout and constants: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats. 5000 depth units are one metre.
"""

import re
from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole
from bev.readers.capture import Capture
from bev.readers.images import Distortion, image_size
from bev.readers.options import ReadOptions
from bev.readers.poses import parse_numbers

LOOKED_FOR = "rgb.txt, depth.txt, groundtruth.txt"
GAP_MAX_S = 0.020

_FREIBURG = {
    "1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "3": ((535.4, 539.2, 320.1, 247.6), None),
}
"""fx, fy, cx, cy of the colour cameras, and k1 k2 p1 p2 k3."""

_CLOCK_S = 1e-6
"""Stamps are written to the microsecond."""


def looks_like(path: Path) -> bool:
    """Whether at least two of the three lists are there."""
    return sum((path / name).is_file() for name in ("rgb.txt", "depth.txt", "groundtruth.txt")) >= 2


def read(path: Path, options: ReadOptions) -> Capture:
    """Match the three lists of a sequence; a frame's number is its place among the colour images.

    Args:
        path: the sequence's folder.
        options: `intrinsics` are of an image without distortion, in place of the constants that go by the folder's
            name.

    Raises:
        UserError: missing lists or images, no known calibration, under half of the colour images find partners.
    """
    color_times, color_files = _image_list(path, "rgb.txt")
    depth_times, depth_files = _image_list(path, "depth.txt")
    truth_file = path / "groundtruth.txt"
    posed = truth_file.is_file() and not options.ignore_poses
    pose_times, stored_poses = _ground_truth(truth_file) if posed else (color_times, np.zeros((0, 4, 4)))
    depth_of = associate(color_times, depth_times)
    pose_of = associate(color_times, pose_times)
    whole = sorted(depth_of.keys() & pose_of.keys())
    warnings = _left_out(path, color_files, depth_of, pose_of, whole)
    color_paths = [color_files[i] for i in whole]
    depth_paths = [depth_files[depth_of[i]] for i in whole]
    camera, distortion = _camera(path, options.intrinsics, image_size(color_paths[0]))
    depth_size = image_size(depth_paths[0])
    if depth_size != (camera.width, camera.height):
        raise UserError(
            f"{depth_paths[0]}: is {depth_size[0]}x{depth_size[1]}, colour is {camera.width}x{camera.height}; "
            "in this format depth is registered to colour, pixel by pixel"
        )
    return Capture(
        name=path.name,
        path=path,
        indices=whole,
        timestamps_s=[float(color_times[i]) for i in whole],
        color_paths=color_paths,
        depth_paths=depth_paths,
        stored_poses=stored_poses[[pose_of[i] for i in whole]] if posed else None,
        pose_names=[f"{path / 'groundtruth.txt'} at {pose_times[pose_of[i]]:.4f} s" for i in whole],
        color_camera=camera,
        depth_camera=camera,
        depth_units_per_m=5000.0,
        color_distortion=distortion,
        depth_distortion=distortion,
        files_beside=tuple(Path(file) for file in color_paths + depth_paths if "/../" in file),
        warnings=warnings,
    )


def associate(times_s: np.ndarray, other_times_s: np.ndarray, gap_max_s: float = GAP_MAX_S) -> dict[int, int]:
    """Pair two ascending lists of time stamps, (n,) and (m,), nearest first and one to one.

    Returns:
        Positions in the first list to positions in the second; what finds nothing within `gap_max_s` is not in it.
    """
    gap_max_s = gap_max_s + _CLOCK_S
    starts = np.searchsorted(other_times_s, times_s - gap_max_s, side="left")
    ends = np.searchsorted(other_times_s, times_s + gap_max_s, side="right")
    candidates = [
        (abs(float(times_s[i] - other_times_s[j])), i, j)
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
        for j in range(start, end)
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(candidates):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def _rows(file: Path) -> list[tuple[str, list[str]]]:
    """Rows of a list that are no comments: where each stands, and its words."""
    if not file.is_file():
        raise UserError(f"{file} is missing; this format needs {LOOKED_FOR}")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [(f"{file} line {number}", line.split()) for number, line in enumerate(lines, 1)]
    return [(where, words) for where, words in rows if words and not words[0].startswith("#")]


def _image_list(path: Path, name: str) -> tuple[np.ndarray, list[str]]:
    """Time stamps (n,) seconds ascending, and n paths of images that are there."""
    rows = _rows(path / name)
    stamped: list[tuple[float, str]] = []
    listed: dict[str, set[str]] = {}
    for where, words in rows:
        if len(words) != 2:
            raise UserError(f"{where}: must hold a time stamp and a file name, holds {' '.join(words)}")
        folder, _, file_name = words[1].rpartition("/")
        if folder not in listed:
            listed[folder] = {entry.name for entry in (path / folder).glob("*")}
        if file_name not in listed[folder]:
            raise UserError(f"{where}: {path / words[1]} is missing; add the image or remove the line")
        stamped.append((parse_numbers(words[0], 1, where)[0], f"{path}/{words[1]}"))
    if not stamped:
        raise UserError(f"{path / name}: names no images")
    stamped.sort()
    return np.array([time for time, _ in stamped]), [file for _, file in stamped]


def _ground_truth(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Time stamps (n,) seconds ascending and poses (n, 4, 4) of `stamp tx ty tz qx qy qz qw` lines.

    A quaternion that is not of unit length to 1 % gives NaN, which is left out later, as any pose that is not rigid.
    """
    rows = _rows(file)
    numbers = np.array([parse_numbers(" ".join(words), 8, where) for where, words in rows]).reshape(-1, 8)
    if not len(numbers):
        raise UserError(f"{file}: holds no poses")
    numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
    length = np.linalg.norm(numbers[:, 4:], axis=1)
    length[~(np.abs(length - 1) < 0.01)] = np.nan
    x, y, z, w = (numbers[:, 4:] / length[:, None]).T
    poses = np.zeros((len(numbers), 4, 4))
    poses[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    poses[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    poses[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    poses[:, :3, 3] = numbers[:, 1:4]
    poses[:, 3, 3] = 1
    return numbers[:, 0], poses


def _left_out(
    path: Path, files: list[str], depth_of: dict[int, int], pose_of: dict[int, int], whole: list[int]
) -> tuple[str, ...]:
    missing = sorted(set(range(len(files))) - set(whole))
    if not missing:
        return ()
    count = f"{len(missing)} of {len(files)} colour images have no depth or no pose within {GAP_MAX_S * 1000:.0f} ms"
    first = missing[0]
    lacks = " and ".join(word for word, found in (("depth", depth_of), ("pose", pose_of)) if first not in found)
    if len(missing) > len(files) / 2:
        raise UserError(f"{path}: {count}; first: {files[first]} has no {lacks}; are the three lists of one recording?")
    return (f"{count} and are left out; first: {Path(files[first]).name} has no {lacks}",)


def _camera(path: Path, intrinsics: str | None, size: tuple[int, int]) -> tuple[Camera, Distortion | None]:
    if intrinsics is not None:
        return pinhole(given_K(intrinsics), size, f"--intrinsics {intrinsics}"), None
    match = re.search(r"(?:freiburg|fr)_?([123])(?!\d)", path.name, re.IGNORECASE)
    if match is None:
        raise UserError(
            f"{path}: intrinsics are missing: this format has no file for them, and the folder's name says none of "
            "freiburg1, freiburg2, freiburg3; rename it, or give --intrinsics fx,fy,cx,cy"
        )
    (fx, fy, cx, cy), coefficients = _FREIBURG[match.group(1)]
    camera = pinhole(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), size, f"the constants of {match.group(0)}")
    return camera, None if coefficients is None else Distortion(camera.K, coefficients, *size)
