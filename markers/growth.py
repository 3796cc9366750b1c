"""Cells that masks leave open go to the object, or the background, that they continue."""

import numpy as np

from markers.cells import Cells

OPEN, BACKGROUND = -2, -1
REACH_M = 0.05
"""How far an object grows over open cells, on a flat surface."""
_CREASE_COST = 30.0
"""A right angle between neighbours counts as so many times their distance."""


def grown(cell_objects: np.ndarray, cells: Cells) -> np.ndarray:
    """Give open cells away.

    From all decided cells at once the objects, and the background likewise, spread over open ones, slowly across
    creases: where a chair stands on the floor, what is open on either side of the crease goes to that side.

    Args:
        cell_objects: (X,) int32, the object of every cell, -1 = background, -2 = open.
        cells: their places and neighbours.

    Returns:
        (X,) int32, -1 = background, -2 = still open: nothing reached it.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    is_open = cell_objects == OPEN
    a, b = cells.pairs[is_open[cells.pairs].any(axis=1)].T
    decided = np.unique(np.concatenate([a[~is_open[a]], b[~is_open[b]]]))
    result = cell_objects.astype(np.int32)
    if not len(decided):
        return result
    nodes, (a, b) = _renumbered(a, b)
    points, normals = cells.points[nodes], cells.normals[nodes]
    cosine = (normals[a] * normals[b]).sum(axis=1)
    length = np.linalg.norm(points[a] - points[b], axis=1) * (1 + _CREASE_COST * (1 - np.maximum(cosine, 0)))
    graph = coo_matrix((length, (a, b)), shape=(len(nodes), len(nodes))).tocsr()
    sources = np.searchsorted(nodes, decided)
    _, _, source = dijkstra(
        graph, directed=False, indices=sources, limit=REACH_M, min_only=True, return_predecessors=True
    )
    reached = np.flatnonzero((source >= 0) & is_open[nodes])
    result[nodes[reached]] = cell_objects[nodes[source[reached]]]
    return result


def _renumbered(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nodes, numbers = np.unique(np.stack([a, b]), return_inverse=True)
    return nodes, numbers.reshape(2, -1)
