"""ScanNet's `.sens`, version 4: one file that holds every frame of a scan, little-endian.

```
uint32 version, uint64 length, the sensor's name
float32 4x4 by rows: intrinsic_color, extrinsic_color, intrinsic_depth, extrinsic_depth
int32 colour compression (0 raw, 1 png, 2 jpeg), int32 depth compression (0 raw, 1 zlib, 2 occi; all of uint16)
uint32 colour width, height, depth width, height; float32 depth units per metre; uint64 number of frames
then every frame: float32 4x4 camera to world; uint64 colour stamp and depth stamp, microseconds;
    uint64 bytes of colour and bytes of depth; the colour; the depth
```

What the matrices mean, `<scene>.txt` and the mesh are as in the exporter's folders, see `scannet`; lost poses hold
-inf. Stamps are 0 in many scans and no times in others (https://github.com/ScanNet/ScanNet, issues 9 and 39): where
they do not ascend, a frame's time is its number / 30. Colour stays at its stored size, as in the exporter's folders.

Layout: https://github.com/ScanNet/ScanNet/tree/master/SensReader. The depth compression `occi` would need a decoder of
its own; released scans are of `zlib`.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.calibration import checked_rigid, given_K, pinhole
from bev.readers.capture import FRAMES_PER_SECOND
from bev.readers.images import color_from_bytes
from bev.readers.options import ReadOptions
from bev.readers.recording import Moment, Recording, scan_from_recording
from bev.readers.scannet import MESH_ENDING, axis_alignment
from bev.scan import Scan

LOOKED_FOR = "a file .sens (ScanNet)"

_VERSION = 4
_RAW_COLOR, _PNG, _JPEG = 0, 1, 2
_RAW_DEPTH, _ZLIB, _OCCI = 0, 1, 2
_HEAD = struct.Struct("<64f2i4IfQ")
"""All that follows the sensor's name: four matrices, two compressions, four lengths, depth units, frames."""
_FRAME = struct.Struct("<16f4Q")
_NAME_MAX = 4096
"""Bytes of the sensor's name: more is no name."""


def looks_like(path: Path) -> bool:
    """Whether the path is a file `.sens`."""
    return path.is_file() and path.suffix.lower() == ".sens"


def read(path: Path, options: ReadOptions) -> Scan:
    """Note where each frame lies in the file; nothing of them is read before it is asked for.

    Args:
        path: the file; `<scene>.txt` and the mesh may lie beside it.
        options: `intrinsics` are of the colour camera.

    Raises:
        UserError: another kind or version of file, a compression that is not known, no whole frame, a calibration or
            alignment that is none.
    """
    with _opened(path) as file:
        head = _head(file, path)
        spots = _spots(file, head)
    if not spots:
        raise UserError(f"{path}: holds no whole frame, was it cut short? Copy it again")
    warnings = ()
    if len(spots) < head.frames:
        warnings = (f"{path.name} is cut short: {len(spots)} of {head.frames} frames are whole and used",)
    color_camera = _camera(path, "colour", head.intrinsic_color, head.color_size, options.intrinsics)
    depth_camera = _camera(path, "depth", head.intrinsic_depth, head.depth_size, None)
    units_per_m = options.depth_scale or head.depth_units_per_m
    text = path.with_name(f"{path.stem}.txt")
    alignment = axis_alignment(text) if text.is_file() else None
    mesh = path.with_name(f"{path.stem}{MESH_ENDING}")
    times_s = _times(spots)
    return scan_from_recording(
        Recording(
            name=path.stem,
            path=path,
            reader="sens",
            moments=[
                Moment(
                    index=number,
                    timestamp_s=time_s,
                    camera=color_camera,
                    read_color=partial(_color, path, head, number, spot),
                    depth_camera=depth_camera,
                    read_depth=partial(_depth, path, head, number, spot, units_per_m),
                )
                for number, (spot, time_s) in enumerate(zip(spots, times_s, strict=True))
            ],
            stored_poses=np.array([spot.pose for spot in spots]),
            pose_names=[f"{path}: the pose of frame {number}" for number in range(len(spots))],
            depth_units_per_m=units_per_m,
            posed_from_color=_extrinsic(path, "colour", head.extrinsic_color),
            posed_from_depth=_extrinsic(path, "depth", head.extrinsic_depth),
            aligned_from_stored=np.eye(4) if alignment is None else alignment,
            up_hint=np.array([0.0, 0.0, 1.0]),
            axes_are_walls=alignment is not None,
            surface_path=mesh if mesh.is_file() else None,
            files_beside=(text,) if text.is_file() else (),
            warnings=warnings,
        ),
        options,
    )


@dataclass(frozen=True, eq=False)
class _Head:
    intrinsic_color: np.ndarray
    """(4, 4) float64, as the other three."""
    extrinsic_color: np.ndarray
    intrinsic_depth: np.ndarray
    extrinsic_depth: np.ndarray
    color_compression: int
    depth_compression: int
    color_size: tuple[int, int]
    """(width, height)."""
    depth_size: tuple[int, int]
    depth_units_per_m: float
    frames: int


@dataclass(frozen=True, eq=False)
class _Spot:
    """Where a frame lies in the file."""

    pose: np.ndarray
    """(4, 4) float64 as stored."""
    stamp_us: int
    offset: int
    """Of the colour; depth follows it."""
    color_bytes: int
    depth_bytes: int


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _head(file: BinaryIO, path: Path) -> _Head:
    start = file.read(12)
    version, name_bytes = struct.unpack("<IQ", start) if len(start) == 12 else (0, 0)
    if version != _VERSION or name_bytes > _NAME_MAX:
        raise UserError(
            f"{path}: is no .sens file of version {_VERSION} (it begins with {start[:4].hex() or 'nothing'})"
        )
    rest = file.read(name_bytes + _HEAD.size)
    if len(rest) < name_bytes + _HEAD.size:
        raise UserError(f"{path}: ends within its header, was it cut short? Copy it again")
    *numbers, color, depth, color_width, color_height, depth_width, depth_height, units_per_m, frames = _HEAD.unpack(
        rest[name_bytes:]
    )
    intrinsic_color, extrinsic_color, intrinsic_depth, extrinsic_depth = np.array(numbers).reshape(4, 4, 4)
    head = _Head(
        intrinsic_color=intrinsic_color,
        extrinsic_color=extrinsic_color,
        intrinsic_depth=intrinsic_depth,
        extrinsic_depth=extrinsic_depth,
        color_compression=color,
        depth_compression=depth,
        color_size=(color_width, color_height),
        depth_size=(depth_width, depth_height),
        depth_units_per_m=units_per_m,
        frames=frames,
    )
    _check_head(head, path)
    return head


def _check_head(head: _Head, path: Path) -> None:
    color, depth = head.color_compression, head.depth_compression
    if color not in (_RAW_COLOR, _PNG, _JPEG):
        raise UserError(f"{path}: its colour compression {color} is none of 0 raw, 1 png, 2 jpeg")
    if depth == _OCCI:
        raise UserError(
            f"{path}: its depth is compressed as occi_ushort, which cannot be read here; export the scan to a folder "
            "with ScanNet's own SensReader"
        )
    if depth not in (_RAW_DEPTH, _ZLIB):
        raise UserError(f"{path}: its depth compression {depth} is none of 0 raw_ushort, 1 zlib_ushort")
    if min(*head.color_size, *head.depth_size) <= 0 or not 0 < head.depth_units_per_m < np.inf:
        raise UserError(
            f"{path}: its header says colour {head.color_size}, depth {head.depth_size}, {head.depth_units_per_m:g} "
            "depth units per metre, which cannot be; copy the file again"
        )


def _spots(file: BinaryIO, head: _Head) -> list[_Spot]:
    """The frames that are whole, in one pass from the header of one to that of the next."""
    at = file.tell()
    end = file.seek(0, 2)
    spots: list[_Spot] = []
    while len(spots) < head.frames:
        file.seek(at)
        stored = file.read(_FRAME.size)
        if len(stored) < _FRAME.size:
            break
        *pose, color_stamp, _, color_bytes, depth_bytes = _FRAME.unpack(stored)
        at += _FRAME.size
        if at + color_bytes + depth_bytes > end:
            break
        spots.append(_Spot(np.array(pose).reshape(4, 4), color_stamp, at, color_bytes, depth_bytes))
        at += color_bytes + depth_bytes
    return spots


def _times(spots: list[_Spot]) -> list[float]:
    stamps = [spot.stamp_us for spot in spots]
    if len(stamps) > 1 and all(earlier < later for earlier, later in pairwise(stamps)):
        return [stamp * 1e-6 for stamp in stamps]
    return [number / FRAMES_PER_SECOND for number in range(len(stamps))]


def _camera(path: Path, what: str, stored: np.ndarray, size: tuple[int, int], intrinsics: str | None) -> Camera:
    if intrinsics is not None:
        return pinhole(given_K(intrinsics), size, f"--intrinsics {intrinsics}")
    return pinhole(stored[:3, :3], size, f"{path}: the intrinsics of the {what} camera")


def _extrinsic(path: Path, what: str, stored: np.ndarray) -> np.ndarray:
    return checked_rigid(stored.ravel().tolist(), f"{path}: the extrinsics of the {what} camera")


def _bytes(path: Path, offset: int, count: int, where: str) -> bytes:
    with _opened(path) as file:
        file.seek(offset)
        data = file.read(count)
    if len(data) < count:
        raise UserError(f"{where} is gone: the file has become shorter since it was opened; read it anew")
    return data


def _color(path: Path, head: _Head, number: int, spot: _Spot) -> np.ndarray:
    where = f"{path}: colour of frame {number}"
    data = _bytes(path, spot.offset, spot.color_bytes, where)
    width, height = head.color_size
    if head.color_compression != _RAW_COLOR:
        return color_from_bytes(data, where, head.color_size)
    if len(data) != width * height * 3:
        raise UserError(f"{where}: has {len(data)} bytes where {width}x{height} RGB pixels belong; copy the file again")
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()


def _depth(path: Path, head: _Head, number: int, spot: _Spot, units_per_m: float) -> np.ndarray:
    where = f"{path}: depth of frame {number}"
    data = _bytes(path, spot.offset + spot.color_bytes, spot.depth_bytes, where)
    width, height = head.depth_size
    if head.depth_compression == _ZLIB:
        try:
            data = zlib.decompress(data)
        except zlib.error as error:
            raise UserError(f"{where}: does not unpack ({error}), is it damaged? Copy the file again") from error
    if len(data) != width * height * 2:
        raise UserError(f"{where}: has {len(data)} bytes where {width}x{height} of 16 bit belong; copy the file again")
    return np.frombuffer(data, "<u2").reshape(height, width) * np.float32(1 / units_per_m)
