"""A scan: posed frames that decode on access, whatever capture format they came from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from bev.camera import Camera

Poses = Literal["world_from_camera", "camera_from_world"]
Axes = Literal["opencv", "opengl"]


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


@dataclass(frozen=True, eq=False)
class Scan:
    """Posed frames in time order, and what the capture knows about its world."""

    name: str
    path: Path
    reader: str
    """The capture format, as `--format` names it."""
    frames: tuple[Frame, ...]
    up_hint: np.ndarray | None = None
    """(3,) float64: up in this world, where the format defines it."""
    axes_are_walls: bool = False
    """The capture already has walls along x and y (ScanNet's axisAlignment): only the floor may move."""
    units: str = "metre"
    """"metre" or "arbitrary"."""
    surface_path: Path | None = None
    """The capture's own mesh or point cloud."""
    files_beside: tuple[Path, ...] = ()
    """Files that were read from outside the capture's folder, the surface apart: calibrations, images."""
    source_from_surface: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4): brings that surface's vertices into the frames' world as it was read."""
    world_from_source: np.ndarray = field(default_factory=lambda: np.eye(4))
    """(4, 4): what `moved` has done to the world since the scan was read."""
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
            world_from_source=world_from_old @ self.world_from_source,
        )

    def with_frames(self, frames: tuple[Frame, ...]) -> "Scan":
        """The same scan with some of its frames."""
        return replace(self, frames=frames)

    def centers(self) -> np.ndarray:
        """(n, 3) float64, metres: where the colour camera stood."""
        return np.array([frame.camera.center for frame in self.frames]).reshape(-1, 3)
