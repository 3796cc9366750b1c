"""Reading captures: one file per format, chosen by looking at the folder or file."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bev.errors import UserError
from bev.readers import (
    arkitscenes,
    colmap,
    image_folder,
    polycam,
    record3d,
    replica,
    scannet,
    sens,
    seven_scenes,
    stray_scanner,
    transforms,
    tum,
    video_file,
)
from bev.readers.capture import Capture, scan_from
from bev.readers.options import ReadOptions
from bev.scan import Axes, Poses, Scan, Units

Format = Literal[
    "7scenes",
    "scannet",
    "sens",
    "tum",
    "replica",
    "arkitscenes",
    "stray",
    "record3d",
    "polycam",
    "colmap",
    "transforms",
    "video",
    "images",
]


@dataclass(frozen=True)
class _Reader:
    name: Format
    looks_like: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Capture | Scan]
    looked_for: str
    rank: int = 0
    """Of several that fit, the lowest rank is meant: exports of one tool often hold another's beside."""
    is_file: bool = False
    """The capture is one file and no folder."""


_READERS = (
    _Reader("7scenes", seven_scenes.looks_like, seven_scenes.read, seven_scenes.LOOKED_FOR),
    _Reader("scannet", scannet.looks_like, scannet.read, scannet.LOOKED_FOR),
    _Reader("sens", sens.looks_like, sens.read, sens.LOOKED_FOR, is_file=True),
    _Reader("tum", tum.looks_like, tum.read, tum.LOOKED_FOR),
    _Reader("replica", replica.looks_like, replica.read, replica.LOOKED_FOR),
    _Reader("arkitscenes", arkitscenes.looks_like, arkitscenes.read, arkitscenes.LOOKED_FOR),
    _Reader("stray", stray_scanner.looks_like, stray_scanner.read, stray_scanner.LOOKED_FOR),
    _Reader("record3d", record3d.looks_like, record3d.read, record3d.LOOKED_FOR, is_file=True),
    _Reader("polycam", polycam.looks_like, polycam.read, polycam.LOOKED_FOR),
    _Reader("colmap", colmap.looks_like, colmap.read, colmap.LOOKED_FOR, rank=1),
    _Reader("transforms", transforms.looks_like, transforms.read, transforms.LOOKED_FOR, rank=2),
    _Reader("video", video_file.looks_like, video_file.read, video_file.LOOKED_FOR, rank=3, is_file=True),
    _Reader("images", image_folder.looks_like, image_folder.read, image_folder.LOOKED_FOR, rank=3),
)
"""Each gives the files of an RGB-D capture, or where its layout is another kind of thing, a scan."""

_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")


def read_scan(
    path: Path | str,
    *,
    format: Format | None = None,
    depth_scale: float | None = None,
    poses: Poses | None = None,
    axes: Axes | None = None,
    intrinsics: str | None = None,
    surface: Path | str | None = None,
    long_side_px: int = 1280,
    ignore_poses: bool = False,
    units: Units | None = None,
) -> Scan:
    """Open a capture; no image is decoded until a frame is asked for it.

    A frame's `index` is the number in its file name, or its place among the images or the frames of the film, as the
    format's reader says; its `timestamp_s` the capture's own where it has time stamps, else index / 30.

    Args:
        path: the capture's folder, or the film or other file that it is.
        format: the capture format; None looks at the path.
        depth_scale: stored depth units per metre (1000 for millimetres); None takes the format's own.
        poses: what the stored matrices map, "world_from_camera" or "camera_from_world"; None takes the format's own.
        axes: camera axes of the stored poses, "opencv" (x right, y down, z forward) or "opengl" (y up, z back); None
            takes the format's own.
        intrinsics: path of a 3x3 text file, or the text `fx,fy,cx,cy` in pixels, in place of the capture's own.
            7-Scenes: the depth camera's, and colour's unless that has a file of its own. ScanNet: the colour camera's,
            and depth's, scaled to its size, unless that has. `.sens`: the colour camera's. All others: the one camera
            of colour, without distortion, at the full size of the images (of films and photos, upright), and of depth
            where that is registered to it.
        surface: mesh or point cloud to use in place of the capture's own, in the world of the stored poses.
        long_side_px: films and photos that are larger are decoded at this size.
        ignore_poses: leave out the poses that the capture brings, so that `bev.posing` finds them anew.
        units: of the capture's own poses, "metre" or "arbitrary", where its format leaves that open (COLMAP,
            transforms.json) or a tool has changed it; None takes what the format says.

    Returns:
        The scan in the capture's own world; what was left out is in `Scan.warnings`.

    Raises:
        UserError: nothing there, no format or several fit, files are missing or malformed, a frame is not whole, or
            more than half of the poses are no rigid motion.
    """
    folder = Path(path)
    _check_choices(
        {"--format": (format, Format), "--poses": (poses, Poses), "--axes": (axes, Axes), "--units": (units, Units)}
    )
    _check_path(folder, depth_scale)
    if surface is not None and not Path(surface).is_file():
        raise UserError(f"--surface {surface}: there is no such file")
    # the folder's name names the scan, which "." lacks; links stay, since files are looked for beside them
    folder = folder.resolve() if ".." in folder.parts else folder.absolute()
    reader = _reader_for(folder, format)
    options = ReadOptions(
        depth_scale, poses, axes, intrinsics, None if surface is None else Path(surface), long_side_px, ignore_poses
    )
    scan = _scan(reader.read(folder, options), reader, options)
    if units is None:
        return scan
    if not scan.has_poses:
        raise UserError(f"--units {units}: {path} has no poses whose units these could be; see --scale")
    return replace(scan, units=units)


def _scan(found: Capture | Scan, reader: _Reader, options: ReadOptions) -> Scan:
    intrinsics = options.intrinsics
    # `--intrinsics` is a file where there is one of that name, see `given_K`
    given = (Path(intrinsics),) if intrinsics is not None and Path(intrinsics).is_file() else ()
    if isinstance(found, Scan):
        return replace(found, files_beside=found.files_beside + given)
    return scan_from(found, reader.name, options, given)


def _check_choices(given: Mapping[str, tuple[str | None, Any]]) -> None:
    for option, (value, choices) in given.items():
        if value is not None and value not in get_args(choices):
            raise UserError(f"{option} {value}: must be one of {', '.join(get_args(choices))}")


def _check_path(path: Path, depth_scale: float | None) -> None:
    if depth_scale is not None and not 0 < depth_scale < math.inf:
        raise UserError(f"--depth-scale {depth_scale}: must be stored units per metre, a number above 0")
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if path.is_dir() and not any(path.iterdir()):
        raise UserError(f"{path}: the folder is empty")


def _reader_for(path: Path, format: Format | None) -> _Reader:
    if format is not None:
        reader = next(reader for reader in _READERS if reader.name == format)
        if reader.is_file != path.is_file():
            wanted, found = ("file", "folder") if reader.is_file else ("folder", "file")
            raise UserError(f"{path}: --format {format} wants a {wanted}, this is a {found}; it is {reader.looked_for}")
        return reader
    fitting = _fitting(path)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(reader.name for reader in fitting)
        raise UserError(f"{path}: fits several capture formats, {names}; say which with --format")
    raise UserError(f"{path}: {_why_none(path)}")


def _fitting(path: Path) -> list[_Reader]:
    fitting = [reader for reader in _READERS if reader.is_file == path.is_file() and reader.looks_like(path)]
    return [reader for reader in fitting if reader.rank == min(each.rank for each in fitting)]


def _why_none(path: Path) -> str:
    """Why a path fits no format, and what to give in its place."""
    if path.is_file() and path.suffix.lower() in _ARCHIVES:
        return "is an archive; unpack it, and give the folder or the film that comes out"
    if path.is_file():
        wanted = "; ".join(reader.looked_for for reader in _READERS if reader.is_file)
        return (
            f"is a file of no kind that is read ({wanted}); of other captures give the folder, and of films with "
            "another ending --format video"
        )
    inner = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".") and _fitting(entry)]
    if inner:
        some = f"{len(inner)} of them, such as" if len(inner) > 1 else "one:"
        return f"is no capture itself, but holds {some} {inner[0].name}; give {inner[0]}"
    wanted = "; ".join(f"{reader.name}: {reader.looked_for}" for reader in _READERS if not reader.is_file)
    return f"fits no capture format; looked for {wanted}"
