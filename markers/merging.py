"""Objects that masks found, and those that geometry knows besides."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bev.surface import Surface
from markers.instance import Instance, fit_box, vertex_instance_ids, without_strays
from markers.structure import Graph, surface_graph

_OWN_SHARE_MIN = 0.5
"""What geometry took for one object is one that was detected when less than this of it is left: the rest are rims that
masks missed, legs, the back of a chair. They are dropped: given to the detected object they would gain it 0.01 of IoU
on synthetic rooms with noisy masks, and cost it 0.01 of its purity."""
_HELD_SHARE_MIN = 0.5
_PART_SHARE_MIN = 1 / 3
"""It is also one that was detected when it holds most of that one, and that one is no small part of it: a chair of
which masks show only the back. In RedKitchen two chairs are doubled so (0.39 and 0.44 of what geometry took for them
is detected) and no other object; from 0.2 on a chair detected at a table that was not would cost a synthetic room the
table, and a cup or book has less than 0.05 of its table."""
_PIECE_SHARE_MIN = 0.1
"""Of what is left: smaller loose pieces are rims."""
_VERTICES_MIN = 10


def merge_instances(surface: Surface, detected: Sequence[Instance], others: Sequence[Instance]) -> list[Instance]:
    """The detected objects as they are, then what else the others are: no vertex twice, and no object.

    Of an other that shares vertices with detected objects, the connected pieces that are clearly its own are kept: a
    table that had swallowed a detected cup, without the cup. One that is half detected is the detected one, and left
    out whole; so is one of which a detected object is a third, if that lies mostly in it.

    Args:
        surface: whose vertices both count.
        detected: from `associate`; they keep their ids.
        others: from `cluster`; they get ids from the greatest of `detected` on, in their order.

    Raises:
        ValueError: two detected objects, or two of the others, claim a vertex.
    """
    detected_ids = vertex_instance_ids(detected, len(surface.vertices))
    sizes = {instance.id: len(instance.vertices) for instance in detected}
    vertex_instance_ids(others, len(surface.vertices))
    next_id = 1 + max((instance.id for instance in detected), default=0)
    graph = surface_graph(surface) if detected and others else None
    merged = list(detected)
    for other in others:
        vertices = other.vertices
        if graph is not None and (detected_ids[vertices] >= 0).any():
            if _shows_one_of(detected_ids[vertices], sizes):
                continue
            vertices = _own_vertices(graph, vertices, detected_ids >= 0)
        if not len(vertices):
            continue
        whole = len(vertices) == len(other.vertices)
        box = other.box if whole else fit_box(without_strays(surface.vertices[vertices]))
        merged.append(replace(other, id=next_id, vertices=vertices, box=box))
        next_id += 1
    return merged


def _shows_one_of(detected_ids: np.ndarray, sizes: Mapping[int, int]) -> bool:
    """Whether an object, given who of the detected has each of its vertices (n,), is one of them and seen further."""
    ids, counts = np.unique(detected_ids[detected_ids >= 0], return_counts=True)
    held = counts / np.array([sizes[int(id)] for id in ids])
    return bool(np.any((held >= _HELD_SHARE_MIN) & (counts >= _PART_SHARE_MIN * len(detected_ids))))


def _own_vertices(graph: Graph, vertices: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Those of an object's vertices, (n,) int32, that make it an object beside the ones that took the others."""
    free = vertices[~taken[vertices]]
    if len(free) < max(_OWN_SHARE_MIN * len(vertices), _VERTICES_MIN):
        return free[:0]
    labels = np.full(len(taken), -1, np.int64)
    labels[free] = 0
    pieces = graph.components(labels)[free]
    return free[np.bincount(pieces)[pieces] >= _PIECE_SHARE_MIN * len(free)]
