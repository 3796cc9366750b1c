"""Polycam's raw data (developer mode): `keyframes/` with images, cameras, depth and confidence, named by microseconds.

Poses are ARKit's: OpenGL camera axes, metres, up is +y. Where Polycam has optimised them, `corrected_cameras/` and
`corrected_images/` take the place of the first ones. Depth is ARKit's, 256x192 in millimetres, registered to the
images; what the phone trusts least (confidence 0 of 0, 127, 255) is thrown away.

Layout and conventions: https://github.com/PolyCam/polyform (README, "Polycam's data format").
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from bev.errors import UserError
from bev.readers.json_object import needed_number, read_object
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

LOOKED_FOR = "keyframes/images and keyframes/cameras"

_UNITS_PER_M = 1000.0
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
_MICROSECONDS_MIN = 10_000_000
"""Smaller numbers in file names are no times."""


def looks_like(path: Path) -> bool:
    """Whether there are key frames, corrected or not."""
    return any(
        (path / "keyframes" / f"{kind}images").is_dir() and (path / "keyframes" / f"{kind}cameras").is_dir()
        for kind in ("corrected_", "")
    )


def read(path: Path, options: ReadOptions) -> Scan:
    """Match images, cameras and depth by their names; a frame's number is its place among the images.

    Args:
        path: the folder that holds `keyframes`.
        options: `intrinsics` are of the images, in place of every image's own.

    Raises:
        UserError: no key frames, malformed cameras, more than half of the images are gone or of another size.
    """
    kind = "corrected_" if _by_stem(path / "keyframes" / "corrected_cameras", (".json",)) else ""
    folder = path / "keyframes"
    cameras = _by_stem(folder / f"{kind}cameras", (".json",))
    images = _by_stem(folder / f"{kind}images", _IMAGE_ENDINGS)
    depths = _by_stem(folder / "depth", (".png",))
    levels = _by_stem(folder / "confidence", (".png",))
    if not cameras:
        raise UserError(f"{folder}: holds no cameras; looked for {LOOKED_FOR}; export the raw data again")
    stems = sorted(cameras, key=natural_key)
    missing = [stem for stem in stems if stem not in images]
    warnings = gone(stems, missing, str(folder / f"{kind}cameras"), str(folder / f"{kind}images"))
    warnings += _without_camera(folder, kind, cameras)
    there = [stem for stem in stems if stem in images]
    stored = np.zeros((len(there), 4, 4))
    pictures = []
    for row, stem in enumerate(there):
        lens, stored[row] = _camera(cameras[stem])
        time_s = int(stem) * 1e-6 if stem.isdecimal() and int(stem) >= _MICROSECONDS_MIN else None
        pictures.append(Picture(stem, str(images[stem]), lens, time_s, depths.get(stem), levels.get(stem), row))
    whole, left = depth_for_all_or_none(lenses_checked(pictures, options.intrinsics))
    rows = [picture.row for picture in whole]
    units_per_m = options.depth_scale or _UNITS_PER_M
    indices = frame_numbers(there)
    scan = scan_from_recording(
        Recording(
            name=path.name,
            path=path,
            reader="polycam",
            moments=moments_of(
                whole,
                [indices[row] for row in rows],
                long_side_px=options.long_side_px,
                depth_units_per_m=units_per_m,
            ),
            stored_poses=stored[rows],
            pose_names=[str(cameras[picture.name]) for picture in whole],
            depth_units_per_m=units_per_m,
            axes="opengl",
            up_hint=np.array([0.0, 1.0, 0.0]),
            warnings=warnings + left,
        ),
        options,
    )
    return scan if scan.has_depth else replace(scan, reading=None)


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, str]:
    """Files of a folder by name without ending, as path strings; empty where there is no such folder."""
    if not folder.is_dir():
        return {}
    return {file.stem: str(file) for file in sorted(folder.iterdir()) if file.suffix.lower() in endings}


def _without_camera(folder: Path, kind: str, cameras: dict[str, str]) -> tuple[str, ...]:
    """A line where more was filmed than has a camera: Polycam optimises only a part of long captures."""
    filmed = _by_stem(folder / "images", _IMAGE_ENDINGS)
    lacking = sorted(filmed.keys() - cameras.keys(), key=natural_key)
    if not lacking:
        return ()
    what = f"{folder / f'{kind}cameras'}"
    return (f"{len(lacking)} of {len(filmed)} images have no camera in {what} and are left out; first: {lacking[0]}",)


def _camera(path: str) -> tuple[Lens, np.ndarray]:
    """The lens and the stored pose, (4, 4), of one image."""
    content = read_object(Path(path))
    fx, fy, cx, cy, width, height = (
        needed_number(content, key, path) for key in ("fx", "fy", "cx", "cy", "width", "height")
    )
    pose = np.eye(4)
    pose[:3] = [[needed_number(content, f"t_{row}{column}", path) for column in range(4)] for row in range(3)]
    return checked(Lens(path, fx, fy, cx, cy, round(width), round(height))), pose
