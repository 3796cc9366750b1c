"""Record3D's `.r3d`: a zip of JPEG images, depth and confidence, with poses and intrinsics in one JSON file.

```
metadata        JSON: w h of the images, dw dh of the depth, K, perFrameIntrinsicCoeffs, poses, frameTimestamps, fps
rgbd/0.jpg      upright as the phone was held: portrait, or landscape from version 1.10.1 on
rgbd/0.depth    float32 metres, LZFSE-compressed, registered to the image, NaN = none
rgbd/0.conf     uint8, LZFSE-compressed: 0 low, 1 medium, 2 high; not there with the front camera
```

`K` holds nine numbers by columns, `perFrameIntrinsicCoeffs` fx fy cx cy of every image, both in pixels of images of
w x h; versions before 1.6 have none of dw dh. A pose is qx qy qz qw tx ty tz, camera to world, with OpenGL's camera
axes of the image as it is stored. The front camera has no poses, and the app then writes zeros for all of them.

The world is ARKit's, +y up, or, in recordings of versions that begin at zero, the first camera's own: then the first
pose is the identity and nothing is known of up.

Layout: https://github.com/marek-simonik/record3d, issues 7, 27, 33, 36, 64, 83, 86, 93 and 108.
"""

import json
import re
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bev.camera import Camera
from bev.errors import UserError, require
from bev.readers.capture import FRAMES_PER_SECOND, whole_frames
from bev.readers.images import color_from_bytes, size_from_bytes
from bev.readers.options import ReadOptions
from bev.readers.recording import (
    Moment,
    Recording,
    arkit_camera,
    confident,
    matrices_from_quaternions,
    scan_from_recording,
    smaller_size,
)
from bev.scan import Scan

LOOKED_FOR = "a file .r3d (Record3D)"

_NO_POSE = np.array([0.0, 0, 0, 1, 0, 0, 0])
_SAME = 1e-4
"""Of quaternions: 0.01 degrees, under what any hand does in a thirtieth of a second."""


def looks_like(path: Path) -> bool:
    """Whether the path is a file `.r3d`."""
    return path.is_file() and path.suffix.lower() == ".r3d"


def read(path: Path, options: ReadOptions) -> Scan:
    """List the frames of a recording; the zip stays open, and nothing in it is decoded before it is asked for.

    Args:
        path: the file.
        options: `intrinsics` are of the images as they are stored, in place of every image's own.

    Raises:
        UserError: no whole zip, no metadata, counts or sizes that contradict each other, or `lzfse` is not installed.
    """
    require("lzfse", "video")
    archive = _Archive(path)
    metadata = archive.metadata()
    colors, depths, levels = (archive.numbered(ending) for ending in ("jpg", "depth", "conf"))
    numbers = whole_frames(path, colors, depths, None)
    for number in numbers if levels else ():
        if number not in levels:
            raise UserError(f"{path}: frame {number} has depth but no confidence (rgbd/{number}.conf); export it again")
    poses, warnings = _poses(archive, metadata, len(numbers))
    times_s = _times(archive, metadata, numbers)
    stored_size = size_from_bytes(archive.read(colors[numbers[0]]), f"{path}: {colors[numbers[0]]}")
    cameras = _cameras(archive, metadata, len(numbers), stored_size, options)
    size = smaller_size(stored_size, options.long_side_px)
    depth_size = _depth_size(archive, metadata, depths[numbers[0]], stored_size)
    units_per_m = options.depth_scale or 1.0
    moments = [
        Moment(
            index=number,
            timestamp_s=time_s,
            camera=camera.resized(*size),
            read_color=partial(_color, archive, colors[number], size, stored_size),
            depth_camera=camera.resized(*depth_size),
            read_depth=confident(
                partial(_depth, archive, depths[number], depth_size, units_per_m),
                partial(_levels, archive, levels[number], depth_size) if levels else None,
            ),
        )
        for number, time_s, camera in zip(numbers, times_s, cameras, strict=True)
    ]
    starts_at_zero = poses is not None and np.abs(poses[0, :4] - _NO_POSE[:4]).max() < _SAME
    return scan_from_recording(
        Recording(
            name=path.stem,
            path=path,
            reader="record3d",
            moments=moments,
            stored_poses=None if poses is None else matrices_from_quaternions(poses[:, :4], poses[:, 4:]),
            pose_names=[f"{path}: the pose of frame {number}" for number in numbers],
            depth_units_per_m=units_per_m,
            axes="opengl",
            up_hint=None if starts_at_zero else np.array([0.0, 1.0, 0.0]),
            warnings=warnings,
        ),
        options,
    )


class _Archive:
    """A zip that stays open; zipfile's own lock guards reading it from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{path}: is no whole zip ({error}), was it cut short? Export it from Record3D and copy it again"
            ) from error

    def read(self, member: str) -> bytes:
        """The bytes of a member.

        Raises:
            UserError: they are damaged.
        """
        try:
            return self._zip.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{self.path}: {member} cannot be read ({error}); copy the file again") from error

    def metadata(self) -> dict[str, Any]:
        """What the JSON file says.

        Raises:
            UserError: there is none.
        """
        if "metadata" not in self._zip.namelist():
            raise UserError(f"{self.path}: holds no file metadata, so it is no recording of Record3D")
        try:
            metadata = json.loads(self.read("metadata"))
        except ValueError as error:
            raise UserError(f"{self.path}: metadata is no JSON ({error}); export it again") from error
        if not isinstance(metadata, dict):
            raise UserError(f"{self.path}: metadata is no JSON object; export it again")
        return metadata

    def numbered(self, ending: str) -> dict[int, str]:
        """Members `rgbd/<number>.<ending>`, by their number."""
        matches = re.compile(rf"rgbd/(\d+)\.{ending}").fullmatch
        return {int(match.group(1)): name for name in self._zip.namelist() if (match := matches(name))}


def _rows(archive: _Archive, metadata: dict[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of the metadata, float64; None where it is not there, or empty.

    Raises:
        UserError: it holds something else than numbers of this shape.
    """
    if not metadata.get(key):
        return None
    try:
        rows = np.array(metadata[key], np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{archive.path}: metadata: {key} holds something else than rows of numbers") from error
    if rows.shape != shape:
        raise UserError(
            f"{archive.path}: metadata: {key} has {'x'.join(map(str, rows.shape))} numbers where "
            f"{'x'.join(map(str, shape))} belong to {shape[0]} images; export the recording again"
        )
    return rows


def _poses(archive: _Archive, metadata: dict[str, Any], count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """qx qy qz qw tx ty tz of every image, (n, 7), and a warning where there are none."""
    poses = _rows(archive, metadata, "poses", (count, 7))
    if poses is None:
        return None, (f"{archive.path.name} has no poses",)
    if count > 1 and np.abs(poses - _NO_POSE).max() < _SAME:
        return None, (f"{archive.path.name} has no poses, all are zero: the front camera records none",)
    return poses, ()


def _times(archive: _Archive, metadata: dict[str, Any], numbers: list[int]) -> list[float]:
    stamps = _rows(archive, metadata, "frameTimestamps", (len(numbers),))
    if stamps is not None:
        return stamps.tolist()
    rate = metadata.get("fps")
    per_second = float(rate) if isinstance(rate, int | float) and rate > 0 else FRAMES_PER_SECOND
    return [number / per_second for number in numbers]


def _cameras(
    archive: _Archive, metadata: dict[str, Any], count: int, stored_size: tuple[int, int], options: ReadOptions
) -> list[Camera]:
    """The camera of every image, at the identity, for images of `stored_size`."""
    where = f"{archive.path}: metadata"
    if options.intrinsics is not None:
        return [arkit_camera(None, stored_size, where, options)] * count
    size = _whole_size(metadata, "w", "h") or stored_size
    if abs(size[0] * stored_size[1] - size[1] * stored_size[0]) > 0.02 * size[0] * stored_size[1]:
        raise UserError(
            f"{where}: the intrinsics are of images of {size[0]}x{size[1]}, but the images are "
            f"{stored_size[0]}x{stored_size[1]}; give those of the images with --intrinsics fx,fy,cx,cy"
        )
    per_frame = _rows(archive, metadata, "perFrameIntrinsicCoeffs", (count, 4))
    if per_frame is not None:
        return [
            arkit_camera(numbers, size, f"{where}: perFrameIntrinsicCoeffs {i}", options).resized(*stored_size)
            for i, numbers in enumerate(per_frame.tolist())
        ]
    by_columns = _rows(archive, metadata, "K", (9,))
    if by_columns is None:
        raise UserError(f"{where}: holds neither K nor perFrameIntrinsicCoeffs; give --intrinsics fx,fy,cx,cy")
    numbers = by_columns[[0, 4, 6, 7]].tolist()
    return [arkit_camera(numbers, size, f"{where}: K", options).resized(*stored_size)] * count


def _whole_size(metadata: dict[str, Any], width: str, height: str) -> tuple[int, int] | None:
    values = metadata.get(width), metadata.get(height)
    if not all(isinstance(value, int | float) and value > 0 for value in values):
        return None
    return round(values[0]), round(values[1])  # type: ignore[arg-type]


def _depth_size(
    archive: _Archive, metadata: dict[str, Any], first: str, stored_size: tuple[int, int]
) -> tuple[int, int]:
    """(width, height) of the depth: what the metadata says, else what the first frame's bytes make in that shape."""
    count = len(_unpacked(archive, first)) // 4
    size = _whole_size(metadata, "dw", "dh")
    if size is None:
        share = (count / (stored_size[0] * stored_size[1])) ** 0.5
        size = round(stored_size[0] * share), round(stored_size[1] * share)
    if size[0] * size[1] != count:
        raise UserError(
            f"{archive.path}: {first} holds {count} numbers, which make no depth image of {size[0]}x{size[1]}; "
            "export the recording again"
        )
    if abs(size[0] * stored_size[1] - size[1] * stored_size[0]) > 0.02 * size[0] * stored_size[1]:
        raise UserError(
            f"{archive.path}: depth is {size[0]}x{size[1]}, of another shape than the images, "
            f"{stored_size[0]}x{stored_size[1]}; in this format both see the same"
        )
    return size


def _unpacked(archive: _Archive, member: str) -> bytes:
    lzfse = require("lzfse", "video")
    data = archive.read(member)
    try:
        return lzfse.decompress(data)
    except lzfse.error as error:
        raise UserError(
            f"{archive.path}: {member} is not compressed with LZFSE, or is damaged; export the recording again"
        ) from error


def _array(archive: _Archive, member: str, size: tuple[int, int], dtype: type) -> np.ndarray:
    values = np.frombuffer(_unpacked(archive, member), dtype)
    if len(values) != size[0] * size[1]:
        raise UserError(
            f"{archive.path}: {member} holds {len(values)} numbers where the first frame has {size[0]}x{size[1]}"
        )
    return values.reshape(size[1], size[0])


def _color(archive: _Archive, member: str, size: tuple[int, int], stored_size: tuple[int, int]) -> np.ndarray:
    return color_from_bytes(archive.read(member), f"{archive.path}: {member}", size, None, stored_size)


def _depth(archive: _Archive, member: str, size: tuple[int, int], units_per_m: float) -> np.ndarray:
    stored = _array(archive, member, size, np.float32)
    return np.where(np.isfinite(stored) & (stored > 0), stored / np.float32(units_per_m), np.float32(0))


def _levels(archive: _Archive, member: str, size: tuple[int, int]) -> np.ndarray:
    return _array(archive, member, size, np.uint8)
