"""What a reader finds in a folder, and how that becomes a scan: the same for every format."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError
from bev.readers.images import Distortion, read_color, read_depth
from bev.readers.options import ReadOptions
from bev.readers.poses import rigid_only, world_from_cameras
from bev.scan import Frame, Reading, Scan

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
    if capture.stored_poses is None:
        return _unposed(capture, reader, options, units_per_m, given_files)
    poses, axes = options.poses or "world_from_camera", options.axes or "opencv"
    kept, stored, warnings = rigid_only(capture.stored_poses, capture.pose_names)
    posed = capture.aligned_from_stored @ world_from_cameras(stored, poses, axes)
    return Scan(
        name=capture.name,
        path=capture.path,
        reader=reader,
        frames=_frames(
            capture,
            np.flatnonzero(kept),
            posed @ capture.posed_from_color,
            posed @ capture.posed_from_depth,
            units_per_m,
        ),
        up_hint=capture.up_hint,
        axes_are_walls=capture.axes_are_walls,
        surface_path=options.surface or capture.surface_path,
        files_beside=capture.files_beside + given_files,
        source_from_surface=capture.aligned_from_stored,
        warnings=capture.warnings + warnings,
        reading=Reading(units_per_m, poses, axes),
    )


def _unposed(
    capture: Capture, reader: str, options: ReadOptions, units_per_m: float, given_files: tuple[Path, ...]
) -> Scan:
    """Without poses there is no world: what the capture says of it, its mesh included, is left aside."""
    if options.surface is not None:
        raise UserError(f"--surface {options.surface}: a surface needs the poses of its world, and there are none")
    left = () if capture.surface_path is None else (f"{capture.surface_path} is left aside: it needs poses",)
    count = len(capture.indices)
    color_from_depth = invert_rigid(capture.posed_from_color) @ capture.posed_from_depth
    return Scan(
        name=capture.name,
        path=capture.path,
        reader=reader,
        frames=_frames(
            capture,
            np.arange(count),
            np.tile(np.eye(4), (count, 1, 1)),
            np.tile(color_from_depth, (count, 1, 1)),
            units_per_m,
        ),
        has_poses=False,
        files_beside=capture.files_beside + given_files,
        warnings=capture.warnings + left,
    )


def _frames(
    capture: Capture, rows: np.ndarray, color_poses: np.ndarray, depth_poses: np.ndarray, units_per_m: float
) -> tuple[Frame, ...]:
    """The frames at `rows` of a capture, with one pose each."""
    color, depth = capture.color_camera, capture.depth_camera
    return tuple(
        Frame(
            index=capture.indices[row],
            timestamp_s=capture.timestamps_s[row],
            camera=color.moved(color_pose),
            read_color=partial(
                read_color, capture.color_paths[row], (color.width, color.height), capture.color_distortion
            ),
            depth_camera=depth.moved(depth_pose),
            read_depth=partial(
                read_depth,
                capture.depth_paths[row],
                (depth.width, depth.height),
                units_per_m,
                capture.depth_none_value,
                capture.depth_distortion,
            ),
        )
        for row, color_pose, depth_pose in zip(rows.tolist(), color_poses, depth_poses, strict=True)
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
