"""Objects from geometry alone: what is left of an upright surface without floor, walls and ceiling, cut at its planes.

The surface falls into support planes and the connected pieces between them. What hangs under a plane is its legs and
body and joins it; what rises from it or passes it by is something else, unless the plane is a seat and the piece its
back, or the plane is a board and the piece the frame around it.
"""

import numpy as np

from bev.surface import Surface, canonical_order
from markers.carriers import with_carriers
from markers.instance import Instance, fit_box, size_order, without_strays
from markers.parts import first_parts, with_backs_and_frames, with_bodies, with_feet
from markers.structure import Graph, structure_mask, surface_graph
from markers.supports import find_supports, members

_VERTICES_MIN = 10


def cluster(surface: Surface, *, area_min_m2: float = 0.008, extent_min_m: float = 0.05) -> list[Instance]:
    """Objects of a room, without weights and without labels.

    Args:
        surface: mesh or point cloud, upright: z up, floor at z = 0, metres.
        area_min_m2: smaller surfaces are dropped; a cup shows about 0.03 square metres.
        extent_min_m: objects whose longest edge is shorter are dropped.

    Returns:
        Instances with ids from 1, the largest box first; `score` is in (0, 1] and grows with the surface seen.
    """
    if len(surface.vertices) < _VERTICES_MIN:
        return []
    # what is equally large or near is told apart by the order of vertices, which must not be the file's
    order = np.lexsort(surface.vertices.T[::-1])
    graph = surface_graph(canonical_order(surface))
    found = []
    for vertices in members(object_labels(graph)):
        if not len(vertices):
            continue
        box = fit_box(without_strays(graph.points[vertices]))
        area = graph.areas[vertices].sum()
        if area >= area_min_m2 and box.size.max() >= extent_min_m:
            found.append((box, np.sort(order[vertices]), float(area / (area + 0.1))))
    found.sort(key=lambda f: size_order(f[0]))
    return [
        Instance(i + 1, "object", vertices.astype(np.int32), box, "cluster", score=score)
        for i, (box, vertices, score) in enumerate(found)
    ]


def object_labels(graph: Graph) -> np.ndarray:
    """The object of every point, (V,) int64, -1 = structure."""
    free = ~structure_mask(graph)
    supports, owner = find_supports(graph, free)
    parts = first_parts(graph, free, supports, owner)
    parts = with_bodies(parts)
    parts = with_backs_and_frames(parts, free)
    return with_feet(with_carriers(parts)).labels
