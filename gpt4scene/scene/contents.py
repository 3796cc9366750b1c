"""What a scene is made of: marked views, objects, the way the camera went, and where all of it came from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bev.camera import Camera, OrthoCamera, rigid_fault, scale_of, without_scale
from bev.surface import Surface
from markers.instance import Box, Instance, Marker

Pixels = np.ndarray | Callable[[], np.ndarray]
"""An image that is there, or a function that decodes it on access."""

UNITS = ("metre", "arbitrary")


class _Decoded:
    """Pixels of a view, decoded on access and checked against its camera; those that are there, at once."""

    camera: Any
    pixels: Pixels
    object_pixels: Pixels

    def __post_init__(self) -> None:
        if not callable(self.pixels):
            _ = self.image
        if not callable(self.object_pixels):
            _ = self.ids

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        image = self.pixels() if callable(self.pixels) else self.pixels
        return _checked(image, (self.camera.height, self.camera.width, 3), np.uint8, "image")

    @property
    def ids(self) -> np.ndarray:
        """(H, W) int32, -1 = none."""
        ids = self.object_pixels() if callable(self.object_pixels) else self.object_pixels
        return _checked(np.asarray(ids, np.int32), (self.camera.height, self.camera.width), np.int32, "ids")


@dataclass(frozen=True, eq=False)
class BevView(_Decoded):
    """The room from above, unscaled and unmarked, and where its marks go."""

    camera: OrthoCamera
    """With square pixels."""
    pixels: Pixels
    """(H, W, 3) uint8 RGB; read it as `image`."""
    object_pixels: Pixels
    """(H, W) int32, the id of the object that a pixel shows, -1 = none; read it as `ids`."""
    markers: tuple[Marker, ...] = ()


@dataclass(frozen=True, eq=False)
class SceneFrame(_Decoded):
    """One chosen frame of the scan, unscaled and unmarked, and where its marks go."""

    index: int
    """Number in the source."""
    timestamp_s: float
    camera: Camera
    pixels: Pixels
    """(H, W, 3) uint8 RGB; read it as `image`."""
    object_pixels: Pixels
    """(H, W) int32, the id of the object that a pixel shows, -1 = none; read it as `ids`."""
    markers: tuple[Marker, ...] = ()


@dataclass(frozen=True, eq=False)
class SceneInstance:
    """One object with its number, as the scene folder keeps it."""

    id: int
    label: str
    label_share: float
    """Share of the label's votes; 0 where nobody voted."""
    score: float
    source: str
    """"cluster", "proposals" or "detect"."""
    box: Box
    frames: tuple[int, ...]
    """Indices of the frames that see or support it."""
    points: int
    """How many vertices of the surface it holds."""

    @classmethod
    def of(cls, instance: Instance) -> "SceneInstance":
        """The instance without its vertices, which the scene holds as `vertex_ids`."""
        return cls(
            id=instance.id,
            label=instance.label,
            label_share=instance.label_share,
            score=instance.score,
            source=instance.source,
            box=instance.box,
            frames=tuple(instance.frames),
            points=len(instance.vertices),
        )


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Every posed frame of the scan, not only the chosen ones."""

    indices: np.ndarray
    """(n,) int64, ascending."""
    timestamps_s: np.ndarray
    """(n,) float64."""
    world_from_camera: np.ndarray
    """(n, 4, 4) float64, metres; colour cameras."""

    def __post_init__(self) -> None:
        n = len(self.indices)
        for name, dtype, shape in (
            ("indices", np.int64, (n,)),
            ("timestamps_s", np.float64, (n,)),
            ("world_from_camera", np.float64, (n, 4, 4)),
        ):
            value = np.asarray(getattr(self, name), dtype)
            if value.shape != shape:
                raise ValueError(f"trajectory.{name} must have shape {shape}, got {value.shape}")
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class SceneSource:
    """The capture that a scene was made from."""

    path: str
    reader: str
    """The capture format, as `--format` names it."""
    frames: int
    """How many frames were read."""
    fingerprint: str
    """Of the names, sizes and first and last bytes of its files."""


@dataclass(frozen=True)
class SceneRun:
    """How a scene was made."""

    version: str
    arguments: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each step."""
    notes: tuple[str, ...] = ()
    """What was found, and why nothing was, one line each."""


@dataclass(frozen=True, eq=False)
class SceneContents:
    """All that a scene folder holds, in memory or decoded from the folder on access; checked when it is made."""

    name: str
    source: SceneSource
    units: str
    """"metre" or "arbitrary"."""
    world_from_source: np.ndarray
    """(4, 4) float64: what was done to the capture's world; a rigid motion, times a scale where it had none."""
    cut_height_m: float | None
    """Nothing above this height is in the bird's-eye view; None: no cut."""
    bev: BevView
    frames: tuple[SceneFrame, ...]
    """The chosen frames, in time order."""
    trajectory: Trajectory
    instances: tuple[SceneInstance, ...]
    """By ascending id."""
    vertex_ids: np.ndarray
    """(V,) int32: the object of every vertex of the surface, -1 = none."""
    surface_data: Surface | Callable[[], Surface]
    """Read it as `surface`."""
    run: SceneRun

    def __post_init__(self) -> None:
        object.__setattr__(self, "world_from_source", np.asarray(self.world_from_source, np.float64))
        object.__setattr__(self, "vertex_ids", np.asarray(self.vertex_ids, np.int32))
        fault = find_fault(self)
        if fault:
            raise ValueError(fault)

    @property
    def surface(self) -> Surface:
        """The room's mesh or point cloud.

        Raises:
            ValueError: it has another number of vertices than `vertex_ids`.
        """
        surface = self.surface_data() if callable(self.surface_data) else self.surface_data
        if len(surface.vertices) != len(self.vertex_ids):
            raise ValueError(f"the surface has {len(surface.vertices)} vertices, vertex_ids {len(self.vertex_ids)}")
        return surface

    @property
    def is_metric(self) -> bool:
        """Whether lengths are metres; where not, nothing may print "m"."""
        return self.units == "metre"

    @property
    def all_views(self) -> tuple[BevView | SceneFrame, ...]:
        """The bird's-eye view, then the frames in time order."""
        return (self.bev, *self.frames)


def find_fault(scene: SceneContents) -> str | None:
    """What contradicts itself in a scene, by the name of its key in scene.json; None when it is sound."""
    if scene.units not in UNITS:
        return f"units must be one of {', '.join(UNITS)}, found {scene.units!r}"
    fault = _similarity_fault(scene.world_from_source)
    if fault:
        return f"world_from_source {fault}"
    across, down = scene.bev.camera.metres_per_pixel_xy
    if abs(across - down) > 1e-9:
        return f"bev.metres_per_pixel must be equal along x and y, found {across} and {down}"
    fault = _order_fault([frame.index for frame in scene.frames], "frames[{}].index")
    fault = fault or _order_fault([instance.id for instance in scene.instances], "instances[{}].id")
    fault = fault or _order_fault(scene.trajectory.indices.tolist(), "trajectory.indices[{}]")
    return fault or _reference_fault(scene) or _vertex_fault(scene)


def _similarity_fault(matrix: np.ndarray) -> str | None:
    """Why a (4, 4) matrix is no rigid motion times a scale."""
    return rigid_fault(matrix if np.isnan(scale_of(matrix)) else without_scale(matrix))


def _order_fault(numbers: Sequence[int], key: str) -> str | None:
    for position, number in enumerate(numbers):
        if number < 0:
            return f"{key.format(position)} must be 0 or more, found {number}"
        if position and number <= numbers[position - 1]:
            return f"{key.format(position)} must be above the one before it, found {number}"
    return None


def _reference_fault(scene: SceneContents) -> str | None:
    ids = {instance.id for instance in scene.instances}
    posed = set(scene.trajectory.indices.tolist())
    for position, frame in enumerate(scene.frames):
        if frame.index not in posed:
            return f"frames[{position}].index: {frame.index} is not in trajectory.indices"
        fault = rigid_fault(frame.camera.world_from_camera)
        if fault:
            return f"frames[{position}].world_from_camera {fault}"
    for key, view in zip(["bev", *(f"frames[{i}]" for i in range(len(scene.frames)))], scene.all_views, strict=True):
        for position, marker in enumerate(view.markers):
            where = f"{key}.markers[{position}]"
            if marker.id not in ids:
                return f"{where}.id: {marker.id} is not among instances"
            u, v = marker.uv
            if not (0 <= u <= view.camera.width and 0 <= v <= view.camera.height):
                return f"{where}.uv: ({u}, {v}) is outside of {view.camera.width}x{view.camera.height}"
        marked = [marker.id for marker in view.markers]
        if len(set(marked)) < len(marked):
            return f"{key}.markers: {next(i for i in marked if marked.count(i) > 1)} is marked twice"
    return None


def _vertex_fault(scene: SceneContents) -> str | None:
    if scene.vertex_ids.ndim != 1:
        return f"vertex_ids must have shape (V,), found {scene.vertex_ids.shape}"
    found, counts = np.unique(scene.vertex_ids[scene.vertex_ids != -1], return_counts=True)
    points = {instance.id: instance.points for instance in scene.instances}
    for number, count in zip(found.tolist(), counts.tolist(), strict=True):
        if number not in points:
            return f"vertex_ids: {number} is not among instances"
        if points[number] != count:
            return f"instances: {number} says points {points[number]}, vertex_ids has {count}"
    missing = sorted(set(points) - set(found.tolist()))
    return f"vertex_ids: holds no vertex of instance {missing[0]}" if missing else None


def _checked(array: np.ndarray, shape: tuple[int, ...], dtype: type, name: str) -> np.ndarray:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}")
    return array
