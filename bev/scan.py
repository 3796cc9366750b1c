"""A scan: frames that decode on access, whatever capture format they came from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bev.camera import Camera
from bev.sparse import SparsePoints

Poses = Literal["world_from_camera", "camera_from_world"]
Axes = Literal["opencv", "opengl"]
Units = Literal["metre", "arbitrary"]


@dataclass(frozen=True)
class Reading:
    """How the numbers in a capture's files were understood: what `bev.agreement` may doubt."""

    depth_units_per_m: float
    """Stored depth units per metre, 1000 for millimetres."""
    poses: Poses = "world_from_camera"
    """What the stored matrices map."""
    axes: Axes = "opencv"
    """Camera axes of the stored poses."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of a scan: a colour image and, where the capture has it, depth from its own camera."""

    index: int
    """Number in the source: file number or position; unique and ascending in a scan."""
    timestamp_s: float
    camera: Camera
    """The colour camera; its pose is the frame's pose."""
    read_color: Callable[[], np.ndarray]
    """Decodes and undistorts: (H, W, 3) uint8 RGB of the colour camera's size."""
    depth_camera: Camera | None = None
    """The depth camera: the colour camera's own numbers when the capture registered the two."""
    read_depth: Callable[[], np.ndarray] | None = None
    """Decodes: (H, W) float32 metres along z of the depth camera, 0 = none."""

    @property
    def color_from_depth(self) -> np.ndarray:
        """(4, 4) float64, metres; identity when depth is registered to colour."""
        if self.depth_camera is None:
            return np.eye(4)
        return self.camera.camera_from_world @ self.depth_camera.world_from_camera

    def moved(self, world_from_old: np.ndarray) -> "Frame":
        """The same frame in another world frame."""
        depth_camera = self.depth_camera.moved(world_from_old) if self.depth_camera else None
        return replace(self, camera=self.camera.moved(world_from_old), depth_camera=depth_camera)

    def scaled(self, factor: float) -> "Frame":
        """The same frame in a world `factor` times as large: depth grows with it."""
        depth_camera = self.depth_camera.scaled(factor) if self.depth_camera else None
        read_depth = self.read_depth and partial(_scaled_depth, self.read_depth, factor)
        return replace(self, camera=self.camera.scaled(factor), depth_camera=depth_camera, read_depth=read_depth)


@dataclass(frozen=True, eq=False)
class Scan:
    """Frames in time order, and what the capture knows about them and their world."""

    name: str
    path: Path
    reader: str
    """The capture format, as `--format` names it."""
    frames: tuple[Frame, ...]
    up_hint: np.ndarray | None = None
    """(3,) float64: up in this world, where the format defines it."""
    axes_are_walls: bool = False
    """The capture already has walls along x and y (ScanNet's axisAlignment): only the floor may move."""
    units: Units = "metre"
    """"arbitrary": what images alone tell, of unknown size; nobody may then claim metres."""
    has_poses: bool = True
    """False: no frame has a pose yet: colour cameras stand at the identity, depth cameras at `color_from_depth`."""
    has_intrinsics: bool = True
    """False: the calibration is a guess and the lens may distort; `bev.posing` finds both."""
    is_film: bool = False
    """Colour comes from a film: quick to read in order, slow in any other."""
    sparse: SparsePoints | None = None
    """Structure from motion's points, where the poses came with some."""
    surface_path: Path | None = None
    """The capture's own mesh or point cloud."""
    files_beside: tuple[Path, ...] = ()
    """Files that were read from outside the capture's folder, the surface apart: calibrations, images."""
    source_from_surface: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4): brings that surface's vertices into the frames' world as it was read."""
    world_from_source: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4): what `moved` and `scaled` have done to the world since the scan was read; rigid unless scaled."""
    warnings: tuple[str, ...] = ()
    """What the reader left out, one line each."""
    reading: Reading | None = None
    """How the files were read; None for a scan that came from no files."""

    def __post_init__(self) -> None:
        indices = [frame.index for frame in self.frames]
        if indices != sorted(set(indices)):
            raise ValueError("frame indices must be unique and ascending")

    @property
    def has_depth(self) -> bool:
        """Whether every frame carries depth."""
        return bool(self.frames) and all(frame.read_depth is not None for frame in self.frames)

    def moved(self, world_from_old: np.ndarray) -> "Scan":
        """The same scan in another world frame: `world_from_old` is a (4, 4) rigid motion."""
        return replace(
            self,
            frames=tuple(frame.moved(world_from_old) for frame in self.frames),
            up_hint=None if self.up_hint is None else world_from_old[:3, :3] @ self.up_hint,
            sparse=self.sparse and self.sparse.moved(world_from_old),
            world_from_source=world_from_old @ self.world_from_source,
        )

    def scaled(self, factor: float, *, units: Units | None = None) -> "Scan":
        """The same scan in a world `factor` times as large, in `units` if they are other ones then."""
        return replace(
            self,
            frames=tuple(frame.scaled(factor) for frame in self.frames),
            sparse=self.sparse and self.sparse.scaled(factor),
            world_from_source=np.diag([factor, factor, factor, 1.0]) @ self.world_from_source,
            units=units or self.units,
        )

    def with_frames(self, frames: tuple[Frame, ...]) -> "Scan":
        """The same scan with some of its frames."""
        return replace(self, frames=frames)

    def centers(self) -> np.ndarray:
        """(n, 3) float64, metres: where the colour camera stood."""
        return np.array([frame.camera.center for frame in self.frames]).reshape(-1, 3)


def _scaled_depth(read_depth: Callable[[], np.ndarray], factor: float) -> np.ndarray:
    return read_depth() * np.float32(factor)
