"""A scene held against the true objects of its room: average precision, and whether each object has one number."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bev.errors import UserError, require
from bev.surface import Surface, SurfaceCaster, load_surface
from gpt4scene.scene.contents import SceneContents
from markers.identity import FrameIdentity, SurfaceIdentity, identity_scores, surface_identity
from markers.proposals import load_proposals
from markers.scoring import VOID, Found, InstanceScores, TrueObjects, average_precision
from markers.visibility import instance_map

STRUCTURE = ("wall", "floor", "ceiling")
"""Labels of annotations that are no objects."""

NEARBY_SHARE_MIN = 0.3
"""Of a scene's surface that must lie on the annotated mesh; less is another room, or another world."""


@dataclass(frozen=True)
class SceneScores:
    """What `score_scene` finds."""

    any_class: InstanceScores
    by_class: InstanceScores | None
    """None where the truth does not name its objects."""
    surface: SurfaceIdentity
    frames: FrameIdentity


def load_truth(
    path: Path,
    scene: SceneContents,
    *,
    truth_surface: Path | None = None,
    ignore: Iterable[str] = STRUCTURE,
    reach_m: float = 0.05,
) -> TrueObjects:
    """The true objects on a scene's own vertices, in any format that `markers.load_proposals` reads.

    What the truth labels as structure is no object. Where it does label structure, vertices without any label are
    void: an annotator left them out. Where it does not, they are no object.

    Args:
        path: of the truth.
        scene: whose vertices it counts, unless `truth_surface` is given.
        truth_surface: the mesh or point cloud that the truth counts, in the world of the capture's poses. The scene's
            vertices take the id of the vertex at the nearest point of it; those farther than `reach_m` are void.
        ignore: labels of structure; case does not matter.
        reach_m: metres.

    Raises:
        UserError: the truth or its mesh is missing, damaged, of another room, or has nothing but structure.
    """
    surface = scene.surface if truth_surface is None else load_surface(truth_surface).moved(scene.world_from_source)
    try:
        instances = load_proposals(path, surface)
    except UserError as error:
        # other commands have another name for the option
        raise UserError(str(error).replace("--surface", "--truth-surface")) from error
    truth = TrueObjects.of(instances, len(surface.vertices))
    truth = replace(truth, labels={id: _plain(label) for id, label in truth.labels.items()})
    structure = {_plain(label) for label in ignore}
    ignored = [id for id, label in truth.labels.items() if label in structure]
    if len(ignored) == len(instances):
        raise UserError(f"{path}: all it holds is {', '.join(sorted(structure))}; leave some out of --ignore")
    if ignored:
        truth = replace(truth, vertex_ids=np.where(truth.vertex_ids < 0, VOID, truth.vertex_ids))
        truth = truth.without(ignored, left=-1)
    if truth_surface is None:
        return truth
    if not scene.is_metric:
        raise UserError(f"{truth_surface}: scene {scene.name} has no metric scale, so no other mesh lies on it")
    return _carried(truth, surface, scene.surface.vertices, truth_surface, reach_m)


def score_scene(scene: SceneContents, truth: TrueObjects, *, min_region: int = 100, min_px: int = 64) -> SceneScores:
    """Score a scene's objects on its surface and in its frames.

    Args:
        scene: what is scored.
        truth: on the scene's vertices.
        min_region: vertices: smaller true objects are not asked for, by AP or by the counts of ids; AP leaves out
            smaller objects of the scene too.
        min_px: pixels: likewise of regions in the scene's frames.

    Raises:
        UserError: the truth has no object that is large enough.
    """
    ids, sizes = np.unique(truth.vertex_ids[truth.vertex_ids >= 0], return_counts=True)
    if not (sizes >= min_region).any():
        raise UserError(
            f"scene {scene.name}: none of the {len(ids)} true objects on it has {min_region} vertices "
            f"(the largest has {sizes.max(initial=0)}); lower --min-region"
        )
    found = [Found(np.flatnonzero(scene.vertex_ids == i.id), _plain(i.label), i.score) for i in scene.instances]
    labels = sorted({truth.label(int(id)) for id in ids})
    large = truth.without(ids[sizes < min_region].tolist())
    return SceneScores(
        any_class=average_precision([(truth, found)], min_region=min_region),
        by_class=average_precision([(truth, found)], classes=labels, min_region=min_region)
        if labels != ["object"]
        else None,
        surface=surface_identity(large.vertex_ids, scene.vertex_ids),
        frames=_frame_scores(scene, large, min_px),
    )


def _frame_scores(scene: SceneContents, truth: TrueObjects, min_px: int) -> FrameIdentity:
    caster = SurfaceCaster(scene.surface)
    maps = ((instance_map(caster.view(frame.camera), truth.vertex_ids), frame.ids) for frame in scene.frames)
    return identity_scores(maps, min_px=min_px)


def _carried(truth: TrueObjects, surface: Surface, points: np.ndarray, path: Path, reach_m: float) -> TrueObjects:
    """The truth of `surface` on points (N, 3) of another surface of the same room."""
    vertices, distance_m = _nearest(surface, points)
    near = distance_m <= reach_m
    if near.mean() < NEARBY_SHARE_MIN:
        raise UserError(
            f"{path}: only {100 * near.mean():.0f} % of the scene's surface lies within {100 * reach_m:.0f} cm of it; "
            "give the mesh of this room, in the world of the capture's poses"
        )
    carried = replace(truth, vertex_ids=np.where(near, truth.vertex_ids[vertices], np.int32(VOID)))
    if not len(carried.ids()):
        raise UserError(f"{path}: none of its objects is within {100 * reach_m:.0f} cm of the scene's surface")
    return carried


def _nearest(surface: Surface, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For points (N, 3): the vertex at the nearest point of a surface, (N,) int64, and that point's distance, metres.

    Not the nearest vertex's distance: those of a large face may be far from all that lies on it.
    """
    if not surface.is_mesh:
        from scipy.spatial import KDTree

        distance, vertices = KDTree(surface.vertices).query(points)
        return np.asarray(vertices), np.asarray(distance)
    o3d = require("open3d")
    room = o3d.t.geometry.RaycastingScene()
    room.add_triangles(o3d.core.Tensor(surface.vertices), o3d.core.Tensor(surface.faces.astype(np.uint32)))
    answer = room.compute_closest_points(o3d.core.Tensor(np.ascontiguousarray(points, np.float32)))
    second_third = answer["primitive_uvs"].numpy()
    corner = np.column_stack([1 - second_third.sum(axis=1), second_third]).argmax(axis=1)
    vertices = surface.faces[answer["primitive_ids"].numpy().astype(np.int64), corner]
    return vertices, np.linalg.norm(answer["points"].numpy() - points, axis=1)


def _plain(label: str) -> str:
    return label.strip().casefold()
