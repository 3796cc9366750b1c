"""Connected parts of a graph given as pairs of neighbours: vertices of a mesh, cells of a surface."""

import numpy as np


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """The connected part of every node, (N,) int32.

    Args:
        pairs: (E, 2) int, neighbours.
        count: N, of the nodes; one without neighbours is a part of its own.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def connected_of_label(pairs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Connected parts of equal label.

    Args:
        pairs: (E, 2) int, neighbours.
        labels: (N,) int, negative = left out.

    Returns:
        (N,) int64, the parts counted from 0, -1 = left out.
    """
    a, b = pairs.T
    part = connected(pairs[(labels[a] == labels[b]) & (labels[a] >= 0)], len(labels))
    used, inverse = np.unique(np.where(labels >= 0, part, -1), return_inverse=True)
    return inverse - int((used < 0).any())
