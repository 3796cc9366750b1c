"""From masks in many frames to objects of the room, one identity for each."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bev.scan import Scan
from bev.surface import Surface
from markers.cells import Cells, surface_cells
from markers.consensus import consensus_objects, rejoin
from markers.evidence import Evidence, gather
from markers.instance import Box, Instance, fit_box, size_order, without_strays
from markers.lifting import sightings
from markers.pieces import split, without_islands
from markers.votes import Support, find_support, settle, vote_on_label

if TYPE_CHECKING:
    import supervision as sv

logger = logging.getLogger(__name__)

_SUPPORT_RECALL_MIN = 0.3
"""Of an object's cells in view, that its mask must hold for the frame to count as one that supports it."""


def associate(
    scan: Scan,
    surface: Surface,
    detections: "Mapping[int, sv.Detections]",
    *,
    voxel_size_m: float = 0.02,
    min_views: int = 3,
) -> list[Instance]:
    """Find the objects that the masks of many frames agree on, and give each one id.

    Every frame's masks are looked up at the pieces of surface that it sees. All frames together then tell which pieces
    belong together, how far masks bleed over the edges of things, and which mask leaks or holds two objects: those are
    outvoted. Labels are votes and gate nothing. Nothing depends on the order of frames, nor of masks within one.

    Args:
        scan: the frames that were looked at; upright, in the world of the surface. Without depth, rays are cast at the
            surface instead.
        surface: mesh or point cloud.
        detections: frame index to n masks, dense (n, H, W) or compact, of the frame's size; class names in
            `data["class_name"]`, class id -1 where the mask has no class. It may read from disk: each frame is asked
            for once.
        voxel_size_m: how finely the surface is told apart; pieces are about this large, or single vertices.
        min_views: frames that must support an object.

    Returns:
        Instances with ids from 1, the largest box first; `frames` are those that support the object, `label_share` the
        label's share of their votes, 0 where no mask had a class, and `score`, in [0, 1], the detector's mean
        confidence times the mean overlap of its masks with the object.

    Raises:
        UserError: detections of a frame that the scan lacks, without masks, or of another size than the frame.
        ValueError: `voxel_size_m` or `min_views` is not positive.
    """
    if voxel_size_m <= 0 or min_views < 1:
        raise ValueError(f"voxel_size_m and min_views must be positive, got {voxel_size_m} and {min_views}")
    if not len(surface.vertices):
        return []
    cells = surface_cells(surface, voxel_size_m)
    evidence = gather(sightings(scan, surface, detections, cells), len(cells.points))
    logger.debug("masks bleed over edges by %d px", evidence.bleed_px)
    cell_objects = consensus_objects(evidence, cells, min_views=min_views)
    cell_objects = split(evidence, cell_objects, cells)
    cell_objects, support = settle(evidence, cell_objects, cells)
    labels = [vote_on_label(evidence, support, number)[0] for number in range(int(cell_objects.max(initial=-1)) + 1)]
    joined = rejoin(evidence, cell_objects, cells, labels)
    if joined is not cell_objects:
        support = find_support(evidence, joined)
    cell_objects = without_islands(evidence, support, joined, cells)
    return _instances(evidence, find_support(evidence, cell_objects), cells, cell_objects, surface, min_views)


def _instances(
    evidence: Evidence, support: Support, cells: Cells, cell_objects: np.ndarray, surface: Surface, min_views: int
) -> list[Instance]:
    vertex_objects = cells.vertex_values(cell_objects, len(surface.vertices))
    found: list[tuple[Box, np.ndarray, np.ndarray, int]] = []
    for number in range(int(cell_objects.max(initial=-1)) + 1):
        masks = np.flatnonzero((support.object_of == number) & (support.recall >= _SUPPORT_RECALL_MIN))
        vertices = np.flatnonzero(vertex_objects == number).astype(np.int32)
        if len(np.unique(evidence.frame_rows[masks])) < min_views or not len(vertices):
            continue
        box = fit_box(without_strays(cells.points[cell_objects == number].astype(np.float64)))
        found.append((box, vertices, masks, number))
    found.sort(key=lambda f: (*size_order(f[0]), int(f[1][0])))
    instances = []
    for box, vertices, masks, number in found:
        label, share = vote_on_label(evidence, support, number)
        frames = tuple(np.unique(evidence.frames[evidence.frame_rows[masks]]).tolist())
        score = _score(evidence, support, masks)
        instances.append(Instance(len(instances) + 1, label or "object", vertices, box, "detect", share, score, frames))
    return instances


def _score(evidence: Evidence, support: Support, masks: np.ndarray) -> float:
    """Mean confidence times mean overlap (intersection over union, in view) of an object's masks."""
    precision, recall = support.precision[masks], support.recall[masks]
    overlap = precision * recall / (precision + recall - precision * recall)
    confidence = evidence.confidence[masks]
    return round(float(confidence.mean() * overlap.mean()), 4)
