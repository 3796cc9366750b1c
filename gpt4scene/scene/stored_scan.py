"""What was found of a capture, cameras, points and depth, written under `.cache/` and read back."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bev.camera import Camera
from bev.readers.images import Distortion, Undistorted
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints

_CAMERAS, _TOLD = "cameras.npz", "scan.json"


def save_found(folder: Path, found: Scan, *, depth: bool) -> None:
    """Keep the cameras, points, units and warnings of a scan, and its depth where that was made and not recorded.

    Args:
        folder: empty.
        found: posed; its images stay where they are.
        depth: write the depth too, if it has any, as float16.
    """
    depth = depth and found.has_depth
    frames = found.frames
    sparse = found.sparse or SparsePoints(np.zeros((0, 3)), np.zeros((0, 2)))
    np.savez(
        folder / _CAMERAS,
        allow_pickle=False,
        indices=np.array([frame.index for frame in frames]),
        color=np.array([_numbers(frame.camera) for frame in frames]),
        depth=np.array([_numbers(frame.depth_camera or frame.camera) for frame in frames]),
        world_from_source=found.world_from_source,
        points=sparse.points,
        seen=sparse.seen,
        **_lens(frames),
    )
    told = {"units": found.units, "warnings": list(found.warnings), "depth": depth, "sparse": found.sparse is not None}
    (folder / _TOLD).write_text(json.dumps(told), encoding="utf-8")
    for frame in frames if depth else ():
        assert frame.read_depth is not None
        np.save(folder / _depth_name(frame.index), frame.read_depth().astype(np.float16))


def load_found(folder: Path, scan: Scan) -> Scan:
    """The scan that `save_found` kept of `scan`, as that is read again."""
    told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
    with np.load(folder / _CAMERAS) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    lens = None
    if "lens" in kept:
        lens = Distortion(kept["lens_K"], tuple(kept["lens"].tolist()), *kept["lens_size"].tolist())
    by_index = {frame.index: frame for frame in scan.frames}
    frames = []
    for index, color, depth in zip(kept["indices"].tolist(), kept["color"], kept["depth"], strict=True):
        frame = replace(by_index[index], camera=_camera(color))
        # of a scan that an earlier step kept, the lens is undone already
        if lens is not None and not isinstance(frame.read_color, Undistorted):
            frame = replace(frame, read_color=Undistorted(frame.read_color, lens))
        if told["depth"]:
            frame = replace(frame, read_depth=partial(_read_depth, folder / _depth_name(index)))
        frames.append(replace(frame, depth_camera=_camera(depth) if frame.read_depth else None))
    return replace(
        scan,
        frames=tuple(frames),
        has_poses=True,
        has_intrinsics=True,
        sparse=SparsePoints(kept["points"], kept["seen"]) if told["sparse"] else None,
        units=told["units"],
        warnings=tuple(told["warnings"]),
        world_from_source=kept["world_from_source"],
        **({} if scan.has_poses else _WORLDLESS),
    )


_WORLDLESS = {"up_hint": None, "axes_are_walls": False, "surface_path": None, "source_from_surface": np.eye(4)}
"""What a capture says of a world, its poses being found in another one."""


def _lens(frames: tuple[Frame, ...]) -> dict[str, np.ndarray]:
    """The one lens whose distortion was found; nothing where none was."""
    lenses = [frame.read_color.distortion for frame in frames if isinstance(frame.read_color, Undistorted)]
    if not lenses:
        return {}
    lens = lenses[0]
    return {
        "lens_K": lens.K,
        "lens": np.array(lens.coefficients),
        "lens_size": np.array([lens.width, lens.height]),
    }


def _numbers(camera: Camera) -> np.ndarray:
    return np.concatenate([camera.K.ravel(), [camera.width, camera.height], camera.world_from_camera.ravel()])


def _camera(numbers: np.ndarray) -> Camera:
    return Camera(numbers[:9].reshape(3, 3), int(numbers[9]), int(numbers[10]), numbers[11:].reshape(4, 4))


def _depth_name(index: int) -> str:
    return f"{index:06d}.npy"


def _read_depth(path: Path) -> np.ndarray:
    return np.load(path).astype(np.float32)
