"""From masks in many frames to objects of the room, one identity for each."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bev.scan import Scan
from bev.surface import Surface
from markers.cells import surface_cells
from markers.consensus import consensus_objects, rejoin
from markers.evidence import Evidence, gather
from markers.instance import Instance, fit_box
from markers.lifting import sightings
from markers.votes import Support, find_support, name, settle

if TYPE_CHECKING:
    import supervision as sv

logger = logging.getLogger(__name__)

_SUPPORT_RECALL_MIN = 0.3
"""Of an object's cells in view, that its mask must hold for the frame to count as one that supports it."""
_CELLS_MIN = 3


def associate(
    scan: Scan,
    surface: Surface,
    detections: "Mapping[int, sv.Detections]",
    *,
    voxel_size_m: float = 0.02,
    min_views: int = 3,
) -> list[Instance]:
    """Find the objects that the masks of many frames agree on, and give each one id."""
    cells = surface_cells(surface, voxel_size_m)
    evidence = gather(sightings(scan, surface, detections, cells), len(cells.points))
    cell_objects = consensus_objects(evidence, cells, min_views=min_views)
    cell_objects, support = settle(evidence, cell_objects, cells)
    labels = [name(evidence, support, number)[0] for number in range(int(cell_objects.max(initial=-1)) + 1)]
    cell_objects = rejoin(evidence, cell_objects, cells, labels)
    support = find_support(evidence, cell_objects)
    found = []
    vertex_objects = cells.vertex_values(cell_objects, len(surface.vertices))
    for number in range(int(cell_objects.max(initial=-1)) + 1):
        masks = np.flatnonzero((support.object_of == number) & (support.recall >= _SUPPORT_RECALL_MIN))
        frames = np.unique(evidence.frames[evidence.frame_rows[masks]])
        vertices = np.flatnonzero(vertex_objects == number).astype(np.int32)
        if len(frames) < min_views or len(vertices) < _CELLS_MIN:
            continue
        label, share = name(evidence, support, number)
        points = cells.points[cell_objects == number]
        found.append((fit_box(points), vertices, label, share, _score(evidence, support, masks), frames))
    found.sort(key=lambda f: (-round(float(np.prod(f[0].size)), 6), *f[0].center.round(4)))
    return [
        Instance(i + 1, label, vertices, box, "detect", share, score, tuple(frames.tolist()))
        for i, (box, vertices, label, share, score, frames) in enumerate(found)
    ]


def _score(evidence: Evidence, support: Support, masks: np.ndarray) -> float:
    confidence = [max((c for _, c in evidence.votes[m]), default=1.0) for m in masks.tolist()]
    precision, recall = support.precision[masks], support.recall[masks]
    fit = precision * recall / np.maximum(precision + recall - precision * recall, 1e-6)
    return round(float(np.mean(np.array(confidence) * fit)), 4)
