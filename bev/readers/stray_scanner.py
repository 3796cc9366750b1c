"""Stray Scanner (iPhone, iPad): a film, depth and confidence images, and a row of poses and intrinsics per frame.

```
rgb.mp4                  1920x1440, tagged to be shown upright, a quarter turn from how the sensor lies in the phone
depth/000000.png         256x192 uint16 millimetres, registered to the film as the sensor saw it
confidence/000000.png    256x192 uint8: 0 low, 1 medium, 2 high
odometry.csv             a line of names, then timestamp, frame, x, y, z, qx, qy, qz, qw, of newer ones fx, fy, cx, cy
camera_matrix.csv        3x3 of the last frame, in pixels of the film; imu.csv is not needed
```

The poses are ARKit's, +y of the world up, but the app turns their camera axes to OpenCV's. They, the depth and the
intrinsics speak of the film as the sensor saw it, so its rotation tag is not followed, and nothing is turned here.
The rows of odometry.csv and the frames of the film were written one by one in the same order, which is how they are
matched; depth goes by the row's frame number.

Layout: https://github.com/strayrobots/scanner, docs/format.md and StrayScanner/Helpers/OdometryEncoder.swift.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.film import Film
from bev.readers.capture import numbered_files
from bev.readers.images import image_size, read_confidence, read_depth
from bev.readers.options import ReadOptions
from bev.readers.poses import parse_numbers
from bev.readers.recording import (
    Moment,
    Recording,
    arkit_camera,
    confident,
    matrices_from_quaternions,
    scan_from_recording,
)
from bev.readers.video_file import open_film
from bev.scan import Scan

LOOKED_FOR = "rgb.mp4, odometry.csv, depth/000000.png, confidence/000000.png (Stray Scanner)"

_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
_INTRINSICS = ("fx", "fy", "cx", "cy")
_SLACK, _SLACK_SHARE = 5, 0.02
"""So many frames may the film and the rows differ by: an app that is stopped drops the last ones."""


def looks_like(path: Path) -> bool:
    """Whether the folder holds `rgb.mp4` and `odometry.csv`."""
    return (path / "rgb.mp4").is_file() and (path / "odometry.csv").is_file()


def read(path: Path, options: ReadOptions) -> Scan:
    """Match film, rows and depth; a frame's number is the row's.

    Args:
        path: the recording's folder.
        options: `intrinsics` are of the film as the sensor saw it, at its full size.

    Raises:
        UserError: missing files, malformed rows, numbers of frames that contradict each other, intrinsics of another
            image size.
    """
    rows = _odometry(path / "odometry.csv")
    film, span, warnings = open_film(path / "rgb.mp4", long_side_px=options.long_side_px, upright=False)
    places, left = _with_pictures(path, rows, film, span)
    depths, levels = _images(path / "depth"), _images(path / "confidence")
    if depths:
        places, more = _with_depth(path, rows, places, depths)
        left += more
    moments = _moments(path, rows, places, film, (depths, levels), options)
    poses = np.array([[rows[i].values[name] for name in _POSE] for i in places]).reshape(-1, 7)
    return scan_from_recording(
        Recording(
            name=path.name,
            path=path,
            reader="stray",
            moments=moments,
            stored_poses=matrices_from_quaternions(poses[:, 3:], poses[:, :3]),
            pose_names=[rows[i].where for i in places],
            depth_units_per_m=options.depth_scale or 1000.0,
            up_hint=np.array([0.0, 1.0, 0.0]),
            is_film=True,
            warnings=warnings + left,
        ),
        options,
    )


@dataclass(frozen=True)
class _Row:
    where: str
    number: int
    values: dict[str, float]
    """By column; columns that are empty in this row are not in it."""


def _odometry(file: Path) -> list[_Row]:
    if not file.is_file():
        raise UserError(f"{file} is missing; this format needs {LOOKED_FOR}")
    first, *lines = file.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    names = [name.strip().lower() for name in first.split(",")]
    lacking = [name for name in ("timestamp", "frame", *_POSE) if name not in names]
    if lacking:
        raise UserError(
            f"{file}: its first line names no {', '.join(lacking)}; is it of Stray Scanner? Export it again"
        )
    rows: list[_Row] = []
    for number, line in enumerate(lines, 2):
        where = f"{file} line {number}"
        cells = dict(zip(names, (cell.strip() for cell in line.split(",")), strict=False))
        values = {name: parse_numbers(cell, 1, f"{where}, {name}")[0] for name, cell in cells.items() if cell and name}
        lacking = [name for name in ("timestamp", "frame", *_POSE) if name not in values]
        if line.strip() and lacking:
            raise UserError(f"{where}: has no {', '.join(lacking)}; is the file cut short? Remove the line")
        if line.strip():
            frame = values["frame"]
            if not math.isfinite(frame) or (rows and frame <= rows[-1].number):
                raise UserError(
                    f"{where}: frame numbers must ascend, this one is {frame:g}; export the recording again"
                )
            rows.append(_Row(where, int(frame), values))
    if not rows:
        raise UserError(f"{file}: holds no rows; record the room again")
    return rows


def _images(folder: Path) -> dict[int, str]:
    return numbered_files(folder, r"(\d+)\.png") if folder.is_dir() else {}


def _with_pictures(path: Path, rows: list[_Row], film: Film, span: range) -> tuple[list[int], tuple[str, ...]]:
    """The rows that have a picture in the film, and a line where the two are not of one length.

    Raises:
        UserError: they differ by so much that nobody knows which row belongs to which picture.
    """
    filmed = len(film.listing.timestamps_s)
    said = f"{path}: odometry.csv has {len(rows)} rows, but rgb.mp4 has {filmed} frames"
    if abs(len(rows) - filmed) > max(_SLACK, _SLACK_SHARE * len(rows)):
        raise UserError(f"{said}; are both of one recording? Export it again")
    places = [i for i in span if i < len(rows)]
    if not places:
        raise UserError(f"{path / 'rgb.mp4'}: none of its frames that decode has a row in odometry.csv")
    return places, () if len(rows) == filmed else (f"{said}; they are matched from the first on",)


def _with_depth(
    path: Path, rows: list[_Row], places: list[int], depths: dict[int, str]
) -> tuple[list[int], tuple[str, ...]]:
    """The rows that have depth, and a line about the others.

    Raises:
        UserError: more than half have none.
    """
    kept = [i for i in places if rows[i].number in depths]
    if len(kept) == len(places):
        return kept, ()
    first = next(rows[i].number for i in places if rows[i].number not in depths)
    said = f"{len(places) - len(kept)} of {len(places)} frames have no depth image"
    if len(kept) < len(places) / 2:
        raise UserError(f"{path}: {said}; first: depth/{first:06d}.png; copy the whole recording again")
    return kept, (f"{said} and are left out; first: depth/{first:06d}.png",)


def _moments(
    path: Path,
    rows: list[_Row],
    places: list[int],
    film: Film,
    stored: tuple[dict[int, str], dict[int, str]],
    options: ReadOptions,
) -> list[Moment]:
    """The frames at `places`, of the film as of the rows; `stored` are the images of depth and of confidence."""
    depths, levels = stored
    depth_size = None
    if depths:
        first = depths[rows[places[0]].number]
        depth_size = _checked_depth_size(first, film.picture.full_size)
    units_per_m = options.depth_scale or 1000.0
    of_all = _camera_matrix(path) if options.intrinsics is None else None
    moments = []
    for i in places:
        number = rows[i].number
        camera = _camera(path, rows[i], of_all, film.picture.full_size, options)
        read_of_depth = read_levels = None
        if depth_size is not None:
            read_of_depth = partial(read_depth, depths[number], depth_size, units_per_m)
        if depth_size is not None and levels:
            if number not in levels:
                raise UserError(f"{path}: frame {number} has depth but no confidence/{number:06d}.png; copy it again")
            read_levels = partial(read_confidence, levels[number], depth_size)
        moments.append(
            Moment(
                index=number,
                timestamp_s=rows[i].values["timestamp"],
                camera=camera.resized(*film.picture.size),
                read_color=partial(film.read, i),
                depth_camera=None if depth_size is None else camera.resized(*depth_size),
                read_depth=read_of_depth and confident(read_of_depth, read_levels),
            )
        )
    return moments


def _checked_depth_size(first: str, filmed: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the first depth image, which has the shape of the film as the sensor saw it."""
    width, height = image_size(first)
    if abs(width * filmed[1] - height * filmed[0]) > 0.02 * height * filmed[0]:
        raise UserError(
            f"{first}: is {width}x{height}, of another shape than the film's {filmed[0]}x{filmed[1]}, which this app "
            "never writes; was the film converted or turned? Take the app's own rgb.mp4"
        )
    return width, height


def _camera_matrix(path: Path) -> tuple[float, ...] | None:
    """fx fy cx cy of `camera_matrix.csv`; None where there is no such file."""
    file = path / "camera_matrix.csv"
    if not file.is_file():
        return None
    text = file.read_text(encoding="ascii", errors="replace").replace(",", " ")
    K = np.array(parse_numbers(text, 9, str(file))).reshape(3, 3)
    return K[0, 0], K[1, 1], K[0, 2], K[1, 2]


def _camera(
    path: Path, row: _Row, of_all: tuple[float, ...] | None, size: tuple[int, int], options: ReadOptions
) -> Camera:
    """The camera of a row: its own intrinsics, else those of the whole recording."""
    if all(name in row.values for name in _INTRINSICS):
        return arkit_camera([row.values[name] for name in _INTRINSICS], size, row.where, options)
    return arkit_camera(of_all, size, str(path / "camera_matrix.csv"), options)
