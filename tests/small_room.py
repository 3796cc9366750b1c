"""A floor with a few boxes on it and a ring of cameras: scenes of masks of which one can say what must come out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from box_scene import look_at
from mask_noise import as_detections

from bev.camera import Camera
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster
from markers import Instance, instance_map, vertex_instance_ids
from markers.detections import compact_masks

SIDES = ((0, -1), (0, 1), (1, -1), (1, 1), (2, 1))
"""Axis and direction of the sides of a box that stands: all but the bottom."""
TABLE, CUP, BOOK, STOOL, CHEST = 1, 2, 3, 4, 5
LABELS = {TABLE: "table", CUP: "cup", BOOK: "book", STOOL: "stool", CHEST: "chest"}
# centre and size, metres; the cup and the book stand on the table, the chest touches it
BOXES = {
    TABLE: ((1.5, 1.4, 0.35), (1.0, 0.7, 0.7)),
    CUP: ((1.3, 1.35, 0.76), (0.1, 0.1, 0.12)),
    BOOK: ((1.75, 1.5, 0.72), (0.25, 0.2, 0.04)),
    STOOL: ((2.5, 1.2, 0.22), (0.4, 0.4, 0.44)),
    CHEST: ((0.8, 1.4, 0.3), (0.4, 0.6, 0.6)),
}
SIZE = (320, 240)
Masks = dict[int, list[tuple[str, np.ndarray]]]
"""Frame index to labels and their (H, W) bool masks."""


@dataclass(frozen=True, eq=False)
class SmallRoom:
    """A surface of which every vertex's object is known, and the frames that were rendered of it."""

    scan: Scan
    surface: Surface
    vertex_ids: np.ndarray
    """(V,) int32, -1 = floor."""
    maps: Mapping[int, np.ndarray]
    """Frame index to (H, W) int32, the object behind every pixel."""

    def masks(self) -> Masks:
        """Of every object in every frame, exact."""
        return {
            index: [(LABELS[i], ids == i) for i in np.unique(ids[ids >= 0]).tolist()]
            for index, ids in self.maps.items()
        }

    def main_object(self, instance: Instance) -> int:
        """What most of an instance's vertices are."""
        ids, count = np.unique(self.vertex_ids[instance.vertices], return_counts=True)
        return int(ids[count.argmax()])

    def by_object(self, instances: Iterable[Instance]) -> dict[int, list[Instance]]:
        """Main object to the instances that have it."""
        found: dict[int, list[Instance]] = {}
        for instance in instances:
            found.setdefault(self.main_object(instance), []).append(instance)
        return dict(sorted(found.items()))

    def one_each(self, instances: list[Instance], objects: tuple[int, ...] = tuple(BOXES)) -> dict[int, Instance]:
        """The instance of every object, which has one and no more."""
        found = self.by_object(instances)
        assert {number: len(of) for number, of in found.items()} == dict.fromkeys(objects, 1)
        assert (vertex_instance_ids(instances, len(self.vertex_ids)) >= 0).any()  # no vertex is claimed twice
        return {number: of[0] for number, of in found.items()}


@cache
def small_room(
    *,
    frames: int = 12,
    step_m: float = 0.02,
    boxes: tuple[int, ...] = tuple(BOXES),
    size: tuple[int, int] = SIZE,
) -> SmallRoom:
    """A floor of 5 x 4.8 m with boxes, cut into faces of about `step_m`, seen from a ring of cameras."""
    parts = [box_faces((1.5, 1.4, -0.05), (5.0, 4.8, 0.1), 1.5 * step_m, sides=((2, 1),))]
    parts += [box_faces(*BOXES[number], step_m) for number in boxes]
    counts = [len(vertices) for vertices, _ in parts]
    starts = np.cumsum([0, *counts[:-1]])
    vertices = np.concatenate([vertices for vertices, _ in parts])
    faces = np.concatenate([faces + start for (_, faces), start in zip(parts, starts, strict=True)])
    surface = Surface(vertices, faces, np.full(vertices.shape, 128), np.tile([0.0, 0.0, 1.0], (len(vertices), 1)))
    vertex_ids = np.repeat([-1, *boxes], counts).astype(np.int32)
    cameras = [ring_camera(2 * np.pi * k / frames, size) for k in range(frames)]
    return rendered(surface, vertex_ids, dict(enumerate(cameras, start=10)))


def ring_camera(angle: float, size: tuple[int, int] = SIZE) -> Camera:
    eye = (1.5 + 2.0 * np.cos(angle), 1.4 + 2.0 * np.sin(angle), 1.6 + 0.2 * np.cos(3 * angle))
    return look_at(eye, (1.55, 1.38, 0.35), size)


def rendered(surface: Surface, vertex_ids: np.ndarray, cameras: Mapping[int, Camera]) -> SmallRoom:
    """A scan of a surface with exact depth, and what its frames show."""
    caster = SurfaceCaster(surface)
    views = {index: caster.view(camera) for index, camera in cameras.items()}
    black = np.zeros((*views[min(views)].depth.shape, 3), np.uint8)
    frames = tuple(
        Frame(
            index,
            index / 5,
            camera,
            read_color=lambda: black,
            depth_camera=camera,
            read_depth=lambda index=index: views[index].depth,
        )
        for index, camera in sorted(cameras.items())
    )
    maps = {index: instance_map(view, vertex_ids) for index, view in views.items()}
    return SmallRoom(Scan("small", Path("small"), "synthetic", frames), surface, vertex_ids, maps)


def box_faces(
    center: tuple[float, float, float],
    size: tuple[float, float, float],
    step_m: float,
    *,
    sides: tuple[tuple[int, int], ...] = SIDES,
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) and faces (m, 3) of sides of a box, counter-clockwise seen from outside."""
    vertices, faces, start = [], [], 0
    for axis, side in sides:
        u, v = ((axis + 1) % 3, (axis + 2) % 3) if side > 0 else ((axis + 2) % 3, (axis + 1) % 3)
        counts = [max(1, round(size[a] / step_m)) for a in (u, v)]
        grid = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, n + 1) for n in counts), indexing="ij"), axis=-1)
        points = np.full((grid.shape[0] * grid.shape[1], 3), side / 2)
        points[:, [u, v]] = grid.reshape(-1, 2)
        vertices.append(points * size + center)
        a, b = (i.ravel() for i in np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"))
        first, width = start + a * (counts[1] + 1) + b, counts[1] + 1
        faces.append(np.stack([first, first + width, first + width + 1], axis=1))
        faces.append(np.stack([first, first + width + 1, first + 1], axis=1))
        start += len(points)
    return np.concatenate(vertices), np.concatenate(faces)


def fits(instance: Instance, number: int, within_m: float) -> bool:
    """Whether an instance's box is that of an object."""
    center, size = BOXES[number]
    off = [*(instance.box.size - size), *(instance.box.center - center)]
    return bool(np.abs(off).max() < within_m)


def compacted(dense: sv.Detections) -> sv.Detections:
    """The same detections with their masks as run lengths."""
    assert isinstance(dense.mask, np.ndarray)
    return sv.Detections(
        xyxy=dense.xyxy,
        mask=compact_masks(dense.mask),
        confidence=dense.confidence,
        class_id=dense.class_id,
        data=dense.data,
    )


def detected(masks: Masks, confidence: float = 0.9) -> dict[int, sv.Detections]:
    return {
        index: as_detections(np.array([mask for _, mask in each]), [label for label, _ in each], confidence)
        if each
        else sv.Detections.empty()
        for index, each in masks.items()
    }


def dilated(mask: np.ndarray, px: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * px + 1,) * 2)) > 0


def without_depth(scan: Scan) -> Scan:
    return scan.with_frames(tuple(replace(frame, depth_camera=None, read_depth=None) for frame in scan.frames))
