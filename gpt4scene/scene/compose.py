"""A bird's-eye view, frames and instances put together into a scene, every mark in its place."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Literal

import numpy as np

from bev.camera import View
from bev.render import Bev
from bev.sampling import coverage_sample, prefer_sharp, surface_shares, uniform_sample
from bev.scan import Scan
from bev.surface import Surface, SurfaceCaster
from gpt4scene.scene.contents import BevView, SceneFrame, SceneInstance, SceneRun, SceneSource, Trajectory
from gpt4scene.scene.scene import Scene
from markers.draw import DIGIT_HEIGHT_PX
from markers.instance import Instance, vertex_instance_ids
from markers.placement import Anchor, find_anchors, label_anchors
from markers.visibility import VisibilityTable, instance_map, visibility_table

Sampling = Literal["coverage", "uniform"]

_MARKED_AREA_SHARE = 8e-4
"""Of a frame: 250 px of 640x480; what shows less gets no number in it."""
_MARKED_BEV_PX = 40
_MODEL_WIDTH_PX = 512
_SEEN_WELL = 0.6
"""Of the most that any frame shows of an object: a frame with this much shows it as well as it needs."""
_SURFACE_WEIGHT = 0.5
"""What all of the surface is worth in the choice of frames, against all of the objects."""


def compose(
    top: Bev,
    scan: Scan,
    surface: Surface,
    instances: Sequence[Instance],
    *,
    frames: int = 8,
    sampling: Sampling = "coverage",
    source: SceneSource | None = None,
    run: SceneRun | None = None,
    caster: SurfaceCaster | None = None,
) -> Scene:
    """Choose frames, find what every view shows of every instance, and place the marks.

    Args:
        top: the bird's-eye view of `surface`.
        scan: upright, in the same world.
        surface: what the instances' vertices index.
        instances: their ids are kept; their `frames` are filled in where they are empty.
        frames: how many frames the scene shows; all where the scan has fewer.
        sampling: "coverage", the frames that together show the most, or "uniform", the paper's even spacing.
        source: where the capture came from; None takes what the scan knows.
        run: how the scene was made.
        caster: of the surface, where there is one already.
    """
    instances = sorted(instances, key=lambda instance: instance.id)
    vertex_ids = vertex_instance_ids(instances, len(surface.vertices))
    caster = caster or SurfaceCaster(surface)
    table = visibility_table(caster, scan, vertex_ids)
    chosen = _choose(scan, table, caster, frames, sampling)
    return Scene(
        name=scan.name,
        source=source or SceneSource(str(scan.path), scan.reader, len(scan.frames), ""),
        units=scan.units,
        world_from_source=scan.world_from_source,
        cut_height_m=top.cut_height_m,
        bev=_bev_view(top, vertex_ids),
        frames=_scene_frames(scan, chosen, caster, vertex_ids),
        trajectory=Trajectory(
            indices=np.array([frame.index for frame in scan.frames]),
            timestamps_s=np.array([frame.timestamp_s for frame in scan.frames]),
            world_from_camera=np.array([frame.camera.world_from_camera for frame in scan.frames]),
        ),
        instances=tuple(SceneInstance.of(_with_frames(instance, scan, table)) for instance in instances),
        vertex_ids=vertex_ids,
        surface_data=surface,
        run=run or SceneRun(version("gpt4scene"), {}),
    )


def native_digit_height_px(view: View) -> int:
    """Digits on a view of its own size that have their usual height once it is shown to a model."""
    return max(DIGIT_HEIGHT_PX, round(DIGIT_HEIGHT_PX * max(view.width, view.height) / _MODEL_WIDTH_PX))


def _bev_view(top: Bev, vertex_ids: np.ndarray) -> BevView:
    ids = np.append(vertex_ids, np.int32(-1))[top.vertex_ids]
    anchors = find_anchors(ids, min_visible_px=_MARKED_BEV_PX)
    markers = label_anchors(anchors, ids, digit_height_px=native_digit_height_px(top.camera))
    return BevView(top.camera, top.image, ids, tuple(markers))


def _scene_frames(
    scan: Scan, chosen: list[int], caster: SurfaceCaster, vertex_ids: np.ndarray
) -> tuple[SceneFrame, ...]:
    scene_frames: list[SceneFrame] = []
    previous: list[Anchor] = []
    for position in chosen:
        frame = scan.frames[position]
        camera = frame.camera
        ids = instance_map(caster.view(camera), vertex_ids)
        min_visible_px = round(_MARKED_AREA_SHARE * camera.width * camera.height)
        previous = find_anchors(ids, min_visible_px=min_visible_px, previous=previous)
        markers = label_anchors(previous, ids, digit_height_px=native_digit_height_px(camera))
        scene_frames.append(SceneFrame(frame.index, frame.timestamp_s, camera, frame.read_color(), ids, tuple(markers)))
    return tuple(scene_frames)


def _choose(scan: Scan, table: VisibilityTable, caster: SurfaceCaster, wanted: int, sampling: Sampling) -> list[int]:
    if sampling == "uniform":
        return uniform_sample(len(scan.frames), wanted)
    most = np.maximum(table.px.max(axis=0, initial=0), 1)
    objects = np.minimum(table.px / (_SEEN_WELL * most), 1).astype(np.float32)
    cells = surface_shares(caster, scan)
    object_weights = np.full(objects.shape[1], 1 / max(objects.shape[1], 1))
    cell_weights = np.full(cells.shape[1], _SURFACE_WEIGHT / max(cells.shape[1], 1))
    shares, weights = np.hstack([objects, cells]), np.append(object_weights, cell_weights)
    return prefer_sharp(scan, coverage_sample(shares, weights, wanted), shares, weights)


def _with_frames(instance: Instance, scan: Scan, table: VisibilityTable) -> Instance:
    if instance.frames:
        return instance
    column = int(np.searchsorted(table.ids, instance.id))
    least = [_MARKED_AREA_SHARE * frame.camera.width * frame.camera.height for frame in scan.frames]
    seen = np.flatnonzero(table.px[:, column] >= least)
    return replace(instance, frames=tuple(table.frames[row] for row in seen))
