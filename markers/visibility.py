"""Which object every pixel of a view shows, and which frames see which object.

What hides what is decided by casting a ray through every pixel: the first surface hit is what the pixel shows. A
pinhole frame and the bird's-eye view go through the same functions.
"""

from dataclasses import dataclass

import numpy as np

from bev.scan import Scan
from bev.surface import SurfaceCaster, SurfaceView


@dataclass(frozen=True, eq=False)
class Region:
    """The visible pixels of one instance in one view, summed up."""

    id: int
    px: int
    """How many pixels show it."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1, pixels, the last two exclusive: the smallest box around them."""
    center: tuple[float, float]
    """uv, pixels: the mean of the pixels' centres; not necessarily on the object."""


@dataclass(frozen=True, eq=False)
class VisibilityTable:
    """How much of every instance every frame shows."""

    frames: tuple[int, ...]
    """Frame indices, one per row."""
    ids: np.ndarray
    """(n_instances,) int32, ascending: instance ids, one per column."""
    px: np.ndarray
    """(n_frames, n_instances) int32, pixels of the frame's full size."""


def instance_map(view: SurfaceView, vertex_instance: np.ndarray) -> np.ndarray:
    """The instance that each pixel shows.

    Args:
        view: what a camera sees of the surface.
        vertex_instance: (V,) int32, the instance of every vertex of that surface, -1 = none.

    Returns:
        (H, W) int32, -1 where a pixel shows no instance or nothing at all.

    Raises:
        ValueError: the view shows a vertex that `vertex_instance` does not have.
    """
    vertex_instance = np.asarray(vertex_instance, np.int32)
    highest = int(view.vertex_ids.max(initial=-1))
    if vertex_instance.ndim != 1 or highest >= len(vertex_instance):
        raise ValueError(f"vertex_instance must have shape (V,) with V > {highest}, got {vertex_instance.shape}")
    # the appended -1 is what vertex id -1 looks up
    return np.append(vertex_instance, np.int32(-1))[view.vertex_ids]


def regions(ids_map: np.ndarray) -> list[Region]:
    """Size, box and centre of every instance of an id map, (H, W) int32 with -1 = none; ascending by id."""
    height, width = ids_map.shape
    if not ids_map.size:
        return []
    # runs of equal ids along rows: ten to a hundred times fewer than pixels
    begins = np.ones((height, width), bool)
    begins[:, 1:] = ids_map[:, 1:] != ids_map[:, :-1]
    start = np.flatnonzero(begins)
    length = np.diff(start, append=ids_map.size)
    value = ids_map.ravel()[start]
    start, length, value = (a[value >= 0] for a in (start, length, value))
    ids, group = np.unique(value, return_inverse=True)
    row, column = start // width, start % width
    px = np.bincount(group, length, len(ids))
    u = np.bincount(group, length * (column + length / 2), len(ids)) / np.maximum(px, 1)
    v = np.bincount(group, length * (row + 0.5), len(ids)) / np.maximum(px, 1)
    low, high = np.full((2, len(ids)), max(height, width)), np.zeros((2, len(ids)), np.int64)
    for axis, first, last in ((0, column, column + length), (1, row, row + 1)):
        np.minimum.at(low[axis], group, first)
        np.maximum.at(high[axis], group, last)
    return [
        Region(
            int(ids[i]),
            int(px[i]),
            (int(low[0, i]), int(low[1, i]), int(high[0, i]), int(high[1, i])),
            (float(u[i]), float(v[i])),
        )
        for i in range(len(ids))
    ]


def visible_px(ids_map: np.ndarray) -> dict[int, int]:
    """How many pixels of an id map, (H, W) int32 with -1 = none, show each instance; ascending by id."""
    return {region.id: region.px for region in regions(ids_map)}


def visibility_table(
    caster: SurfaceCaster, scan: Scan, vertex_instance: np.ndarray, *, width: int = 160
) -> VisibilityTable:
    """Count the pixels that every instance has in every frame, estimated from small views.

    Args:
        caster: of the surface that `vertex_instance` belongs to.
        scan: its frames' colour cameras are what looks.
        vertex_instance: (V,) int32, -1 = none.
        width: pixels: how wide the views that are cast are; a frame that is narrower keeps its own size.

    Returns:
        One row per frame and one column per instance of the surface, whether or not any frame sees it.
    """
    ids = np.unique(vertex_instance[vertex_instance >= 0]).astype(np.int32)
    column = np.searchsorted(ids, vertex_instance).astype(np.int32)
    column[vertex_instance < 0] = -1
    px = np.zeros((len(scan.frames), len(ids)), np.int32)
    for row, frame in enumerate(scan.frames):
        full = frame.camera
        small_width = min(width, full.width)
        camera = full.resized(small_width, max(1, round(full.height * small_width / full.width)))
        shown = instance_map(caster.view(camera), column)
        count = np.bincount(shown[shown >= 0], minlength=len(ids))
        px[row] = np.round(count * (full.width * full.height / (camera.width * camera.height)))
    return VisibilityTable(tuple(frame.index for frame in scan.frames), ids, px)
