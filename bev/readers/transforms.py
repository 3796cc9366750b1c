"""`transforms.json`: nerfstudio, instant-ngp, and the phone apps and converters that write for them.

Poses are camera to world with OpenGL axes. `applied_scale` is undone; `applied_transform` is a rotation that stays, as
the points of `ply_file_path` have it too. Masks are not used.

How large the world is, and where up is, the format does not say; this is what counts as knowing:

- Metres, where frames have depth: `depth_file_path` is in millimetres by nerfstudio's definition (or in
  `depth_unit_scale_factor`), `depth_path` in `integer_depth_scale`. The one exception are frames with `colmap_im_id`:
  nerfstudio paints COLMAP's points into their depth, which is neither metric nor dense, and is left aside.
- Metres and up, where the poses are Polycam's: `ns-process-data polycam` writes `orientation_override: none` with
  intrinsics per frame and no distortion (up is +z); Polycam's own converter names images below `keyframes/` (up is +y).
- All else is "arbitrary", without an up hint: COLMAP, and what was scaled for a NeRF. What `ns-process-data record3d`
  writes is in metres too, but nothing in the file tells it from others.

https://docs.nerf.studio/quickstart/data_conventions.html and instant-ngp's src/nerf_loader.cu.
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from bev.ply import read_ply
from bev.readers.images import image_size
from bev.readers.json_object import number, read_object
from bev.readers.lenses import (
    Lens,
    Picture,
    checked,
    depth_for_all_or_none,
    frame_numbers,
    gone,
    lenses_checked,
    moments_of,
    natural_key,
)
from bev.readers.options import ReadOptions
from bev.readers.recording import Recording, scan_from_recording
from bev.scan import Scan
from bev.sparse import SparsePoints

LOOKED_FOR = "transforms.json"

_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
"""instant-ngp's files may leave the ending out."""
_PINHOLE_OR_OPENCV = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_LENS_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2")
_NERFSTUDIOS_DEPTH_UNIT_M = 0.001

_Frame = dict[str, Any]
"""One of `frames`, with what is shared by all filled in."""


def looks_like(path: Path) -> bool:
    """Whether the file is there."""
    return (path / "transforms.json").is_file()


def read(path: Path, options: ReadOptions) -> Scan:
    """Match the frames of the file with the images that they name, in natural order of these names.

    A frame's number is the one that its image's name ends in where those are unique and ascending, else its place.

    Args:
        path: the folder of the file.
        options: `intrinsics` are of the images as they lie in the folder, without distortion.

    Raises:
        UserError: no JSON, keys are missing or malformed, more than half of the images are gone or of another size than
            the intrinsics, a lens that is not supported.
    """
    file = path / "transforms.json"
    content = read_object(file)
    frames = _frames(file, content)
    depth_key, depth_unit_m, warnings = _depth(file, content, frames)
    pictures, missing = _pictures(path, frames, depth_key, options.intrinsics)
    warnings = gone([frame["file_path"] for frame in frames], missing, str(file), str(path)) + warnings
    pictures, left = depth_for_all_or_none(lenses_checked(pictures, options.intrinsics))
    units_per_m = options.depth_scale or 1 / depth_unit_m
    shrink = _positive(number(content, "applied_scale", str(file)), 1.0, "applied_scale", file)
    stored_poses = np.array([_matrix(frames[picture.row], picture.name) for picture in pictures])
    stored_poses[:, :3, 3] /= shrink
    up_hint = _up(content, frames)
    scan = scan_from_recording(
        Recording(
            name=path.name,
            path=path,
            reader="transforms",
            moments=moments_of(
                pictures,
                frame_numbers([picture.color_path for picture in pictures]),
                long_side_px=options.long_side_px,
                depth_units_per_m=units_per_m,
            ),
            stored_poses=stored_poses,
            pose_names=[picture.name for picture in pictures],
            depth_units_per_m=units_per_m,
            axes="opengl",
            up_hint=up_hint,
            files_beside=_beside(path, pictures),
            warnings=warnings + left,
        ),
        options,
    )
    sparse, lost = _sparse(path, content, shrink) if scan.has_poses else (None, ())
    metric = scan.has_depth or (scan.has_poses and up_hint is not None)
    return replace(
        scan,
        units="metre" if metric else "arbitrary",
        sparse=sparse,
        reading=scan.reading if scan.has_depth else None,
        warnings=scan.warnings + lost,
    )


def _pictures(
    path: Path, frames: list[_Frame], depth_key: str | None, intrinsics: str | None
) -> tuple[list[Picture], list[str]]:
    """The images that are there, and the names of those that are not."""
    pictures, missing = [], []
    for row, frame in enumerate(frames):
        where = f"{path / 'transforms.json'} frame {frame['file_path']}"
        color_path = _file(path, frame["file_path"])
        if color_path is None:
            missing.append(frame["file_path"])
            continue
        size = image_size(color_path)
        # the file's own numbers are not looked at where `--intrinsics` replaces them: they may be missing
        lens = _lens(frame, where, size) if intrinsics is None else Lens(where, 1.0, 1.0, 0.0, 0.0, *size)
        depth_path = _file(path, frame[depth_key]) if depth_key and frame.get(depth_key) else None
        pictures.append(Picture(where, color_path, lens, depth_path=depth_path, row=row))
    return pictures, missing


def _beside(path: Path, pictures: list[Picture]) -> tuple[Path, ...]:
    """Images from outside the capture's folder."""
    files = [Path(file) for picture in pictures for file in (picture.color_path, picture.depth_path) if file]
    return tuple(file for file in files if not file.is_relative_to(os.path.normpath(path)))


def _frames(file: Path, content: _Frame) -> list[_Frame]:
    """The frames in natural order of their names, each with what all of them share."""
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{file}: `frames` is missing or empty; export the capture again")
    shared = {key: value for key, value in content.items() if key != "frames"}
    for place, frame in enumerate(frames, 1):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise UserError(f"{file}: frame {place} of {len(frames)} names no image (file_path)")
    whole = [{**shared, **frame, "file_path": frame["file_path"].replace("\\", "/")} for frame in frames]
    return sorted(whole, key=lambda frame: natural_key(frame["file_path"]))


def _file(folder: Path, name: str) -> str | None:
    """A file that is named relative to a folder, its ending perhaps left out; None where it is gone."""
    base = os.path.normpath(folder / str(name).replace("\\", "/"))
    return next((base + ending for ending in _ENDINGS if Path(base + ending).is_file()), None)


def _matrix(frame: _Frame, where: str) -> np.ndarray:
    """The stored pose, (4, 4)."""
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
    except KeyError as error:
        raise UserError(
            f"{where}: transform_matrix is missing; remove the frame or export the capture again"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: transform_matrix must be 4x4 numbers") from error
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise UserError(f"{where}: transform_matrix must be 4x4 numbers, has shape {matrix.shape}")
    return matrix


def _lens(frame: _Frame, where: str, size: tuple[int, int]) -> Lens:
    """The lens of an image of `size`, which counts where the file does not say for which size it speaks."""
    width = round(number(frame, "w", where) or size[0])
    height = round(number(frame, "h", where) or size[1])
    fx = number(frame, "fl_x", where) or _focal(width, number(frame, "camera_angle_x", where))
    fy = number(frame, "fl_y", where) or _focal(height, number(frame, "camera_angle_y", where))
    if fx is None and fy is None:
        raise UserError(f"{where}: has no focal length (fl_x or camera_angle_x); or give --intrinsics fx,fy,cx,cy")
    cx, cy = number(frame, "cx", where), number(frame, "cy", where)
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    if not (0.25 < cx / width < 0.75 and 0.25 < cy / height < 0.75):
        raise UserError(
            f"{where}: the principal point ({cx:g}, {cy:g}) is far from the centre of the {width}x{height} images; are "
            "the intrinsics those of another image size? Give the right ones with --intrinsics fx,fy,cx,cy"
        )
    coefficients, fisheye = _distortion(frame, where)
    return checked(Lens(where, fx or fy or 0.0, fy or fx or 0.0, cx, cy, width, height, coefficients, fisheye))


def _focal(pixels: int, angle: float | None) -> float | None:
    """Focal length in pixels from a field of view in radians."""
    return None if angle is None or not 0 < angle < math.pi else pixels / 2 / math.tan(angle / 2)


def _distortion(frame: _Frame, where: str) -> tuple[tuple[float, ...], bool]:
    """Coefficients, see `Distortion`, and whether they are a fisheye's."""
    k1, k2, k3, k4, p1, p2 = (number(frame, key, where) or 0.0 for key in _LENS_KEYS)
    model = frame.get("camera_model")
    # instant-ngp's fisheye without coefficients is a pinhole, nerfstudio's is not
    if model == "OPENCV_FISHEYE" or (model is None and frame.get("is_fisheye") and any((k1, k2, k3, k4))):
        return (k1, k2, k3, k4), True
    if model is not None and model not in _PINHOLE_OR_OPENCV:
        known = ", ".join(("OPENCV_FISHEYE", *_PINHOLE_OR_OPENCV))
        raise UserError(f"{where}: the camera_model {str(model)[:40]} is none of {known}; undo the lens first")
    if k4:
        raise UserError(f"{where}: k4 of a lens that is no fisheye has no meaning all agree on; undo the lens first")
    return ((k1, k2, p1, p2, k3) if any((k1, k2, p1, p2, k3)) else ()), False


def _depth(file: Path, content: _Frame, frames: list[_Frame]) -> tuple[str | None, float, tuple[str, ...]]:
    """The key under which frames name their depth, None without; the stored unit in metres; notes on what is unused."""
    masked = sum("mask_path" in frame for frame in frames)
    notes = (f"masks are not used: {file} names them for {masked} frames",) if masked else ()
    if any("depth_file_path" in frame for frame in frames):
        if any("colmap_im_id" in frame for frame in frames):
            return None, 1.0, (*notes, f"{file}: its depth is COLMAP's points painted into images; it is left aside")
        unit_m = number(content, "depth_unit_scale_factor", str(file))
        return "depth_file_path", _positive(unit_m, _NERFSTUDIOS_DEPTH_UNIT_M, "depth_unit_scale_factor", file), notes
    if any("depth_path" in frame for frame in frames):
        unit_m = number(content, "integer_depth_scale", str(file))
        if unit_m is not None:
            return "depth_path", _positive(unit_m, 1.0, "integer_depth_scale", file), notes
        return None, 1.0, (*notes, f"{file}: its depth has no unit (integer_depth_scale) and is left aside")
    return None, 1.0, notes


def _positive(value: float | None, default: float, key: str, file: Path) -> float:
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{file}: {key} must be a number above 0, is {value:g}")
    return default if value is None else value


def _up(content: _Frame, frames: list[_Frame]) -> np.ndarray | None:
    """(3,): up, where the poses are known to be Polycam's, and so in metres; None elsewhere."""
    if all("/keyframes/" in f"/{frame['file_path']}" for frame in frames):
        return np.array([0.0, 1.0, 0.0])
    per_frame = all("fl_x" in frame for frame in frames) and "fl_x" not in content
    undistorted = not any(key in frame for frame in frames for key in _LENS_KEYS)
    if content.get("orientation_override") == "none" and per_frame and undistorted:
        return np.array([0.0, 0.0, 1.0])
    return None


def _sparse(path: Path, content: _Frame, shrink: float) -> tuple[SparsePoints | None, tuple[str, ...]]:
    """The points that came with the poses, of which nobody knows who saw them; and a warning where they are gone."""
    name = content.get("ply_file_path")
    if not name:
        return None, ()
    file = path / str(name)
    if not file.is_file():
        return None, (f"{file}, the points that go with the poses, is gone",)
    points = read_ply(file).vertices / shrink
    return SparsePoints(points[np.isfinite(points).all(axis=1)], np.zeros((0, 2), np.int64)), ()
