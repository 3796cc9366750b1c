"""Which parts of the surface masks hold together: cells into patches, patches into objects."""

import numpy as np

from markers.cells import Cells
from markers.evidence import Evidence

_LINK_SHARE = 0.75
"""Of the frames that see two neighbours, masked, that have them in one mask: then they are one patch."""
_PATCH_CELLS_MIN = 4
_HELD_SHARE = 0.5
"""Of a patch's cells in view, that one mask must hold for the patch to be in the mask."""
_SHOWN_SHARE = 0.2
"""Of a patch's cells, that a frame must see to have a say about it."""
_MERGE_SHARE = 0.5
"""Of the frames that see two patches, masked, that have them in one mask: then they are one object."""


def consensus_objects(evidence: Evidence, cells: Cells) -> np.ndarray:
    """The object of every cell as masks agree on it, (X,) int32, -1 = none.

    Neighbouring cells that are mostly in the same mask make patches; then patches, the best agreeing pair first, make
    objects, whatever lies between them. Agreement is measured over all frames at once, after the view consensus rate of
    MaskClustering (Yan et al., CVPR 2024, section 3.2), but between pieces of surface, whose number does not grow with
    that of the frames, and not between masks. Only sums over frames enter, so their order does not matter.
    """
    patches = _patches(evidence, cells)
    count = int(patches.max(initial=-1)) + 1
    if not count:
        return patches
    together, apart = _agreement(evidence, patches, count)
    objects = _merged(together, apart)
    return np.append(objects, -1)[patches].astype(np.int32)


def _patches(evidence: Evidence, cells: Cells) -> np.ndarray:
    """(X,) int32, -1 = no patch."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(cells.points)
    together, apart = np.zeros((2, len(cells.pairs)), np.int32)
    a, b = cells.pairs.T
    mask_of = np.empty(count, np.int32)
    for seen, masks in evidence.cores:
        # -3 = not seen
        mask_of.fill(-3)
        mask_of[seen] = masks
        of_a, of_b = mask_of[a], mask_of[b]
        same = of_a == of_b
        together += same & (of_a >= 0)
        apart += (~same | (of_a == -2)) & (of_a > -3) & (of_b > -3)
    linked = (together >= 2) & (together >= _LINK_SHARE * (together + apart))
    pairs = cells.pairs[linked]
    graph = coo_matrix((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    size = np.bincount(part, minlength=1)
    kept = np.flatnonzero(size >= _PATCH_CELLS_MIN)
    number = np.full(len(size), -1, np.int32)
    # parts are numbered by their first cell, whatever the library does
    first_cell = np.full(len(size), count)
    np.minimum.at(first_cell, part, np.arange(count))
    number[kept[np.argsort(first_cell[kept])]] = np.arange(len(kept))
    return number[part]


def _agreement(evidence: Evidence, patches: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """In how many frames one mask holds two patches, and in how many different masks do, or only one is in a mask."""
    from scipy.sparse import csr_matrix

    inside = np.flatnonzero(patches >= 0)
    member = csr_matrix((np.ones(len(inside), np.float32), (inside, patches[inside])), shape=(len(patches), count))
    size = np.bincount(patches[inside], minlength=count)
    shown = (evidence.seen @ member).toarray()
    visible = shown >= np.maximum(_SHOWN_SHARE * size, np.minimum(size, 3))
    held = (evidence.masks @ member).tocoo()
    frame = evidence.frame_rows[held.row]
    good = visible[frame, held.col] & (held.data > _HELD_SHARE * shown[frame, held.col])
    rows, columns, frame = held.row[good], held.col[good], frame[good]
    ones = np.ones(len(rows), np.float32)
    in_mask = csr_matrix((ones, (rows, columns)), shape=(evidence.masks.shape[0], count))
    masked = np.zeros(visible.shape, np.float32)
    masked[frame, columns] = 1
    unmasked = visible.astype(np.float32) - masked
    together = (in_mask.T @ in_mask).toarray()
    one_sided = masked.T @ unmasked
    apart = masked.T @ masked - together + one_sided + one_sided.T
    return together, apart


def _merged(together: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Average linkage on counts: the object of every patch, (S,) int64."""
    together, apart = together.copy(), apart.copy()
    count = len(together)
    objects = np.arange(count)
    np.fill_diagonal(together, 0)
    share = _share(together, apart)
    best = share.argmax(axis=1)
    while True:
        rows = np.arange(count)
        a = int(share[rows, best].argmax())
        b = int(best[a])
        if share[a, b] < _MERGE_SHARE:
            return np.unique(objects, return_inverse=True)[1]
        a, b = min(a, b), max(a, b)
        objects[objects == b] = a
        for counts in (together, apart):
            counts[a] += counts[b]
            counts[:, a] += counts[:, b]
            counts[b] = counts[:, b] = 0
            counts[a, a] = 0
        share[a] = share[:, a] = _share(together[a], apart[a])
        share[b] = share[:, b] = 0
        stale = np.flatnonzero((best == a) | (best == b))
        best[stale] = share[stale].argmax(axis=1)
        best[a] = share[a].argmax()
        better = share[:, a] > share[rows, best]
        best[better] = a


def _share(together: np.ndarray, apart: np.ndarray) -> np.ndarray:
    return together / (together + apart + 1)
