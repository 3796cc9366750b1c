"""ARKitScenes, of its raw and its 3dod download: images, depth, confidence, intrinsics and poses, matched by time.

```
<video>/                                 raw, or <video>/<video>_frames/ in 3dod
  vga_wide/<video>_<seconds>.png         640x480, 30 a second; lowres_wide/: 256x192, 60 a second
  vga_wide_intrinsics/<video>_<seconds>.pincam      width height fx fy cx cy, of every image
  lowres_depth/<video>_<seconds>.png     256x192 uint16 millimetres, registered to the colour images
  confidence/<video>_<seconds>.png       256x192 uint8: 0 low, 1 medium, 2 high
  lowres_wide.traj                       seconds, rotation vector, translation; about 10 a second
<video>/<video>_3dod_mesh.ply            ARKit's mesh, in the world of the poses
```

The trajectory maps the world to the camera. Its camera axes are OpenCV's, and its world, that of the laser scans, is
upright with +z up, unlike ARKit's own. Images are stored as the sensor lies in the tablet: held upright, they show the
room on its side. Intrinsics and poses speak of the images as stored, so nothing is turned here, and `sky_direction` of
the dataset's metadata.csv, which says how to turn them for people, is not needed.

The images' stamps are rounded to the millisecond, and poses come at a sixth of the images' rate: an image without a
pose within 5 ms is left out, as it is in Apple's own loader. The larger images are taken where both are there.

Layout: https://github.com/apple/ARKitScenes, DATA.md and threedod/benchmark_scripts/utils/tenFpsDataLoader.py; axes:
issues 59, 78 and 81 there.
"""

import os
import re
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.images import image_size, read_color, read_confidence, read_depth
from bev.readers.options import ReadOptions
from bev.readers.poses import parse_numbers, read_numbers
from bev.readers.recording import (
    Moment,
    Recording,
    arkit_camera,
    confident,
    matrices_from_rotation_vectors,
    scan_from_recording,
    smaller_size,
)
from bev.readers.tum import associate
from bev.scan import Scan

LOOKED_FOR = "lowres_wide/ or vga_wide/, its _intrinsics/*.pincam, lowres_depth/, confidence/, lowres_wide.traj"
GAP_MAX_S = 0.005
MATCHED_MIN = 0.1
"""Of the shortest list; the real ones share a clock, so that nearly all of it matches."""

_COLOR = ("vga_wide", "lowres_wide")
_TRAJECTORY = "lowres_wide.traj"


def looks_like(path: Path) -> bool:
    """Whether the folder, or its `<video>_frames`, holds colour images and the folder of their intrinsics."""
    frames = _frames_folder(path)
    return any((frames / name).is_dir() and (frames / f"{name}_intrinsics").is_dir() for name in _COLOR)


def read(path: Path, options: ReadOptions) -> Scan:
    """Match the files of one video by their time stamps; a frame's number is its place among the colour images.

    Args:
        path: the folder of the video, or the `<video>_frames` in it.
        options: `intrinsics` take the place of every image's own.

    Raises:
        UserError: missing files, intrinsics of another image size, time stamps that hardly match.
    """
    frames = _frames_folder(path)
    color_name = next((name for name in _COLOR if (frames / name).is_dir()), _COLOR[-1])
    colors = _Stamped.of(frames / color_name, "png")
    parts = {
        "intrinsics": _Stamped.of(frames / f"{color_name}_intrinsics", "pincam"),
        "depth": _Stamped.of(frames / "lowres_depth", "png"),
        "confidence": _Stamped.of(frames / "confidence", "png"),
    }
    if not parts["depth"].files:
        parts.pop("confidence")
    if options.intrinsics is not None:
        parts.pop("intrinsics")
    elif not parts["intrinsics"].files:
        raise UserError(
            f"{frames / color_name}_intrinsics: holds no .pincam files, the intrinsics of {color_name}; "
            "download them, or give --intrinsics fx,fy,cx,cy"
        )
    parts = {name: part for name, part in parts.items() if part.files}
    pose_times, stored, pose_names = _trajectory(frames / _TRAJECTORY, options.ignore_poses)
    times = {name: part.times_s for name, part in parts.items()}
    if stored is not None:
        times["pose"] = pose_times
    partner = {name: associate(colors.times_s, other, GAP_MAX_S) for name, other in times.items()}
    whole = [i for i in range(len(colors.files)) if all(i in found for found in partner.values())]
    warnings = _left_out(frames, colors, times, partner, whole)
    chosen = {name: [part.files[partner[name][i]] for i in whole] for name, part in parts.items()}
    chosen["color"] = [colors.files[i] for i in whole]
    video = path.name.removesuffix("_frames")
    pose_rows = [partner["pose"][i] for i in whole] if stored is not None else []
    return scan_from_recording(
        Recording(
            name=video,
            path=path,
            reader="arkitscenes",
            moments=_moments(whole, [float(colors.times_s[i]) for i in whole], chosen, options),
            stored_poses=None if stored is None else stored[pose_rows],
            pose_names=[pose_names[row] for row in pose_rows],
            depth_units_per_m=options.depth_scale or 1000.0,
            poses="camera_from_world",
            up_hint=np.array([0.0, 0.0, 1.0]),
            surface_path=_mesh(path, video),
            warnings=warnings,
        ),
        options,
    )


class _Stamped:
    """Files of one folder, ascending by the time stamps in their names."""

    def __init__(self, times_s: np.ndarray, files: list[str]) -> None:
        self.times_s = times_s
        self.files = files

    @classmethod
    def of(cls, folder: Path, ending: str) -> "_Stamped":
        """Those named `<video>_<seconds>.<ending>`; none where there is no such folder."""
        matches = re.compile(rf"(?:.*_)?(\d+\.\d+)\.{ending}").fullmatch
        rows: list[tuple[float, str]] = []
        if folder.is_dir():
            with os.scandir(folder) as entries:
                rows = sorted((float(m.group(1)), entry.path) for entry in entries if (m := matches(entry.name)))
        return cls(np.array([time for time, _ in rows]), [file for _, file in rows])


def _frames_folder(path: Path) -> Path:
    inner = path / f"{path.name}_frames"
    return inner if inner.is_dir() else path


def _mesh(path: Path, video: str) -> Path | None:
    """ARKit's mesh, which lies in the video's folder."""
    places = (path / f"{video}_3dod_mesh.ply", path.parent / f"{video}_3dod_mesh.ply")
    return next((place for place in places if place.is_file()), None)


def _trajectory(file: Path, ignored: bool) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Stamps (n,) seconds ascending, camera-from-world (n, 4, 4) and where each stands; None where there are none."""
    if ignored or not file.is_file():
        return np.zeros(0), None, []
    lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    rows = [(f"{file} line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{file}: holds no poses; download it again")
    numbers = np.array([parse_numbers(line, 7, where) for where, line in rows])
    order = np.argsort(numbers[:, 0], kind="stable")
    stored = matrices_from_rotation_vectors(numbers[order, 1:4], numbers[order, 4:])
    return numbers[order, 0], stored, [rows[i][0] for i in order.tolist()]


def _left_out(
    frames: Path,
    colors: _Stamped,
    times: dict[str, np.ndarray],
    partner: dict[str, dict[int, int]],
    whole: list[int],
) -> tuple[str, ...]:
    """A line about the images that are left out, with the number that lack each part.

    Raises:
        UserError: no images, or hardly any that are whole.
    """
    count = len(colors.files)
    if not count:
        raise UserError(f"{frames}: holds no colour images, neither vga_wide/*.png nor lowres_wide/*.png")
    lacks = {name: count - len(found) for name, found in partner.items() if len(found) < count}
    said = ", ".join(f"{missing} have no {name}" for name, missing in lacks.items())
    shortest = min([count, *map(len, times.values())])
    if len(whole) < max(1, MATCHED_MIN * shortest):
        raise UserError(
            f"{frames}: of {count} colour images only {len(whole)} have all that belongs to them within "
            f"{GAP_MAX_S * 1000:.0f} ms ({said or 'never all at once'}); are all files of one video? Download it again"
        )
    if len(whole) == count:
        return ()
    return (f"{count - len(whole)} of {count} colour images are left out: {said} within {GAP_MAX_S * 1000:.0f} ms",)


def _moments(
    indices: list[int], times_s: list[float], chosen: dict[str, list[str]], options: ReadOptions
) -> list[Moment]:
    """The whole frames, each with its own camera; sizes are those of the first images."""
    stored_size = image_size(chosen["color"][0])
    size = smaller_size(stored_size, options.long_side_px)
    depth_size = image_size(chosen["depth"][0]) if "depth" in chosen else None
    if depth_size is not None and abs(depth_size[0] * stored_size[1] / (depth_size[1] * stored_size[0]) - 1) > 0.02:
        raise UserError(
            f"{chosen['depth'][0]}: is {depth_size[0]}x{depth_size[1]}, of another shape than the colour images, "
            f"{stored_size[0]}x{stored_size[1]}; in this dataset both see the same"
        )
    units_per_m = options.depth_scale or 1000.0
    moments = []
    for row, (index, time_s) in enumerate(zip(indices, times_s, strict=True)):
        pincam = chosen["intrinsics"][row] if "intrinsics" in chosen else None
        camera = _camera(pincam, stored_size, chosen["color"][row], options)
        read_levels = read_of_depth = None
        if depth_size is not None:
            read_of_depth = partial(read_depth, chosen["depth"][row], depth_size, units_per_m)
            if "confidence" in chosen:
                read_levels = partial(read_confidence, chosen["confidence"][row], depth_size)
        moments.append(
            Moment(
                index=index,
                timestamp_s=time_s,
                camera=camera.resized(*size),
                read_color=partial(read_color, chosen["color"][row], size, None, stored_size),
                depth_camera=None if depth_size is None else camera.resized(*depth_size),
                read_depth=read_of_depth and confident(read_of_depth, read_levels),
            )
        )
    return moments


def _camera(pincam: str | None, size: tuple[int, int], color: str, options: ReadOptions) -> Camera:
    if pincam is None:
        return arkit_camera(None, size, color, options)
    width, height, *intrinsics = read_numbers(pincam, 6)
    if (width, height) != size:
        raise UserError(
            f"{pincam}: is of images of {width:g}x{height:g}, but {color} is {size[0]}x{size[1]}; put the images of "
            "that size there, or give the intrinsics of these with --intrinsics fx,fy,cx,cy"
        )
    return arkit_camera(intrinsics, size, pincam, options)
