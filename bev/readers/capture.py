"""What a reader finds in a folder, and how that becomes a scan: the same for every format."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.images import Distortion, read_color, read_depth
from bev.readers.options import ReadOptions
from bev.readers.recording import Moment, Recording, scan_from_recording
from bev.scan import Scan

FRAMES_PER_SECOND = 30.0
"""Formats without time stamps get frame number / 30."""


@dataclass(frozen=True, eq=False)
class Capture:
    """The files of an RGB-D capture with n frames, nothing decoded yet; poses as they are stored."""

    name: str
    path: Path
    indices: list[int]
    timestamps_s: list[float]
    color_paths: list[str]
    depth_paths: list[str]
    stored_poses: np.ndarray | None
    """(n, 4, 4) float64, metres; None where the capture has none."""
    pose_names: list[str]
    """Where each pose stands, for messages."""
    color_camera: Camera
    """Without a pose: `world_from_camera` is identity."""
    depth_camera: Camera
    """Likewise."""
    depth_units_per_m: float
    depth_none_value: int | None = None
    """Stored value beside 0 that means no depth."""
    color_distortion: Distortion | None = None
    depth_distortion: Distortion | None = None
    posed_from_color: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4) metres: from the colour camera to what the stored poses pose; identity when that is the colour camera."""
    posed_from_depth: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4) metres, likewise from the depth camera."""
    aligned_from_stored: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4) metres: from the world of the stored poses, and of the capture's own surface, to the scan's."""
    up_hint: np.ndarray | None = None
    axes_are_walls: bool = False
    surface_path: Path | None = None
    files_beside: tuple[Path, ...] = ()
    """What was read from outside `path`, the surface and `--intrinsics` apart."""
    warnings: tuple[str, ...] = ()


def scan_from(capture: Capture, reader: str, options: ReadOptions, given_files: tuple[Path, ...] = ()) -> Scan:
    """The frames of a capture, posed where it has poses; `bev.readers.read_scan` explains the options and errors.

    `given_files` are those that options named and the reader read.
    """
    units_per_m = options.depth_scale or capture.depth_units_per_m
    return scan_from_recording(
        Recording(
            name=capture.name,
            path=capture.path,
            reader=reader,
            moments=[_moment(capture, row, units_per_m) for row in range(len(capture.indices))],
            stored_poses=capture.stored_poses,
            pose_names=capture.pose_names,
            depth_units_per_m=units_per_m,
            posed_from_color=capture.posed_from_color,
            posed_from_depth=capture.posed_from_depth,
            aligned_from_stored=capture.aligned_from_stored,
            up_hint=capture.up_hint,
            axes_are_walls=capture.axes_are_walls,
            surface_path=capture.surface_path,
            files_beside=capture.files_beside + given_files,
            warnings=capture.warnings,
        ),
        options,
    )


def _moment(capture: Capture, row: int, units_per_m: float) -> Moment:
    color, depth = capture.color_camera, capture.depth_camera
    return Moment(
        index=capture.indices[row],
        timestamp_s=capture.timestamps_s[row],
        camera=color,
        read_color=partial(read_color, capture.color_paths[row], (color.width, color.height), capture.color_distortion),
        depth_camera=depth,
        read_depth=partial(
            read_depth,
            capture.depth_paths[row],
            (depth.width, depth.height),
            units_per_m,
            capture.depth_none_value,
            capture.depth_distortion,
        ),
    )


def numbered_files(folder: Path, pattern: str) -> dict[int, str]:
    """Files of a folder whose names match, by the number in the pattern's group `(\\d+)`, as path strings.

    Raises:
        UserError: two files of one number.
    """
    matches = re.compile(pattern).fullmatch
    found: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = matches(entry.name)
            if match is None:
                continue
            number = int(match.group(1))
            if number in found:
                names = sorted([Path(found[number]).name, entry.name])
                raise UserError(f"{folder}: frame {number} is there twice, {' and '.join(names)}; remove one")
            found[number] = entry.path
    return found


def whole_frames(
    path: Path, colors: Mapping[int, str], depths: Mapping[int, str], has_pose: Callable[[int], bool] | None
) -> list[int]:
    """The frame numbers, ascending, after a check that each has colour, depth and a pose.

    Poses without images are nothing wrong: exports often thin out the images only. `has_pose` is None for a capture
    without any poses.

    Raises:
        UserError: no frames, or a frame that is not whole.
    """
    numbers = sorted(colors.keys() | depths.keys())
    if not numbers:
        raise UserError(f"{path}: holds no frames, neither colour nor depth images")
    for number in numbers:
        if number not in depths:
            raise UserError(f"{path}: frame {number} has colour ({Path(colors[number]).name}) but no depth image")
        if number not in colors:
            raise UserError(f"{path}: frame {number} has depth ({Path(depths[number]).name}) but no colour image")
        if has_pose is not None and not has_pose(number):
            raise UserError(f"{path}: frame {number} has colour and depth but no pose; add it or remove the images")
    return numbers
