"""Objects that masks found, and those that geometry knows besides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bev.surface import Surface
from markers.instance import Instance, fit_box, vertex_instance_ids
from markers.structure import surface_graph

_COVERED_MAX = 0.5
_PIECE_SHARE_MIN = 0.25
_VERTICES_MIN = 10


def merge_instances(surface: Surface, detected: Sequence[Instance], others: Sequence[Instance]) -> list[Instance]:
    """The detected objects, and what of the others is something else.

    Args:
        surface: whose vertices both count.
        detected: keep their ids.
        others: from `cluster`; what is kept of them follows with new ids, in their order.
    """
    taken = vertex_instance_ids(detected, len(surface.vertices)) >= 0
    graph = surface_graph(surface)
    next_id = max((instance.id for instance in detected), default=0) + 1
    merged = list(detected)
    for other in others:
        free = other.vertices[~taken[other.vertices]]
        if len(free) < (1 - _COVERED_MAX) * len(other.vertices):
            continue
        labels = np.full(len(taken), -1, np.int64)
        labels[free] = 0
        pieces = graph.components(labels)[free]
        kept = free[np.bincount(pieces)[pieces] >= _PIECE_SHARE_MIN * len(other.vertices)]
        if len(kept) < _VERTICES_MIN:
            continue
        whole = len(kept) == len(other.vertices)
        box = other.box if whole else fit_box(surface.vertices[kept])
        merged.append(replace(other, id=next_id, vertices=kept, box=box))
        taken[kept] = True
        next_id += 1
    return merged
