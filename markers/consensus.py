"""Which parts of the surface masks hold together: cells into patches, patches into objects."""

from collections.abc import Sequence

import numpy as np

from markers.cells import Cells
from markers.connected import connected
from markers.evidence import Evidence

_LINK_SHARE = 0.75
"""Of the frames that see two neighbours, masked, that have them in one mask: then they are one patch."""
_LINK_VIEWS_SHARE = 0.75
"""Of the frames that have either of the two in a mask: a few chance views of both would chain two objects."""
_LINK_VIEWS = 2
"""At least so many frames link two neighbours, where so many are asked of an object."""
_UNCLEAR_WEIGHT = 0.5
"""What a frame counts against a link that has one of the two near a mask's edge."""
_PATCH_CELLS_MIN = 4
_HELD_SHARE = 0.5
"""Of a patch's cells in view, that one mask must hold for the patch to be in the mask."""
_SHOWN_SHARE = 0.2
"""Of a patch's cells, that a frame must see to have a say about it."""
_SHOWN_CELLS = 20
"""More is enough, however large the patch."""
_APART_SHARE = 0.5
"""Of the frames that tell, that may have two near pieces of one label apart and they are one object yet."""
_GAP_M = 0.2
"""How far apart two pieces of one object may lie that no frame sees together."""
_DOUBT_PER_VIEW, _DOUBT_VIEWS_MAX = 0.25, 4
"""Frames against that any two patches have from the start, for each frame with the less seen one in a mask."""
_MERGE_SHARE = 0.5
"""Of the frames that see two patches, masked, that have them in one mask: then they are one object."""


def consensus_objects(evidence: Evidence, cells: Cells, *, min_views: int = 3) -> np.ndarray:
    """The object of every cell as masks agree on it, (X,) int32, -1 = none.

    Neighbouring cells that are mostly in the same mask make patches; then patches, the best agreeing pair first, make
    objects, whatever lies between them. Agreement is measured over all frames at once, after the view consensus rate of
    MaskClustering (Yan et al., CVPR 2024, section 3.2), but between pieces of surface, whose number does not grow with
    that of the frames, and not between masks. Only sums over frames enter, so their order does not matter.
    """
    patches = _patches(evidence, cells, min(_LINK_VIEWS, min_views))
    count = int(patches.max(initial=-1)) + 1
    if not count:
        return patches
    objects = _merged(_Agreement(evidence, patches, count), count)
    return np.append(objects, -1)[patches].astype(np.int32)


def rejoin(evidence: Evidence, cell_objects: np.ndarray, cells: Cells, labels: Sequence[str]) -> np.ndarray:
    """Join near pieces of one label that few frames see together, unless those mostly have them apart.

    Args:
        evidence: of all frames.
        cell_objects: (X,) int32, the object of every cell, -1 = none.
        cells: of the surface.
        labels: one per object, "" where nobody said.

    Returns:
        (X,) int32, the object of every cell, counted anew; the same array where nothing was joined.
    """
    count = len(labels)
    names = np.array(labels)
    alike = (names[:, None] == names[None]) & (names != "")
    points = [cells.points[cell_objects == number] for number in range(count)]
    gaps = sorted((_gap_m(points[a], points[b]), a, b) for a, b in np.argwhere(np.triu(alike, 1)).tolist())
    agreement = _Agreement(evidence, cell_objects, count)
    whole = np.arange(count)
    for gap_m, a, b in gaps:
        if gap_m >= _GAP_M:
            break
        a, b = sorted((int(whole[a]), int(whole[b])))
        # of what was joined before, the whole is asked: two chairs do not become one through a piece of either
        together, apart = agreement.together[a, b], agreement.apart[a, b]
        if a != b and apart <= _APART_SHARE * (together + apart):
            agreement.join(a, b)
            whole[whole == b] = a
    if (whole == np.arange(count)).all():
        return cell_objects
    return np.append(np.unique(whole, return_inverse=True)[1], -1)[cell_objects].astype(np.int32)


def _gap_m(points: np.ndarray, others: np.ndarray) -> float:
    """The distance between two sets of points, (n, 3) metres; infinite where too large to matter."""
    from scipy.spatial import KDTree

    if not len(points) or not len(others):
        return float("inf")
    boxes = np.maximum(points.min(axis=0) - others.max(axis=0), others.min(axis=0) - points.max(axis=0))
    if boxes.max() >= _GAP_M:
        return float("inf")
    return float(KDTree(points).query(others, distance_upper_bound=_GAP_M)[0].min())


def _patches(evidence: Evidence, cells: Cells, least_views: int) -> np.ndarray:
    """(X,) int32, -1 = no patch."""
    count = len(cells.points)
    inside = np.zeros(count, bool)
    for seen, masks in evidence.cores:
        inside[seen[masks >= 0]] = True
    pairs = cells.pairs[inside[cells.pairs].all(axis=1)]
    together, apart, unclear = np.zeros((3, len(pairs)), np.int32)
    masked = np.zeros(count, np.int32)
    a, b = pairs.T
    # pairs lie in the order of their first cells, so those of a block are one run of them
    ends = np.searchsorted(a, cells.block_ends)
    block_of = np.searchsorted(cells.block_ends, np.arange(count), side="right")
    mask_of = np.full(count, -3, np.int32)  # -3 = not seen
    for seen, masks in evidence.cores:
        mask_of[seen] = masks
        masked[seen[masks >= 0]] += 1
        for start, end in _runs(block_of[seen], ends):
            of_a, of_b = mask_of[a[start:end]], mask_of[b[start:end]]
            lower, upper = np.minimum(of_a, of_b), np.maximum(of_a, of_b)
            together[start:end] += (lower == upper) & (lower >= 0)
            unclear[start:end] += lower == -2
            apart[start:end] += (lower != upper) & (lower >= -1)
        mask_of[seen] = -3
    most = np.maximum(masked[a], masked[b])
    linked = (together >= least_views) & (together >= _LINK_SHARE * (together + apart + _UNCLEAR_WEIGHT * unclear))
    linked &= together >= _LINK_VIEWS_SHARE * most
    return _numbered(connected(pairs[linked], count))


def _runs(blocks: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """From where to where the entries of some blocks, (n,) ascending, lie, neighbouring blocks as one run."""
    if not len(blocks):
        return []
    used = blocks[np.append(True, np.diff(blocks) > 0)]
    gaps = np.flatnonzero(np.diff(used) > 1)
    first, last = used[np.append(0, gaps + 1)], used[np.append(gaps, len(used) - 1)]
    starts = np.append(0, ends)[first]
    return list(zip(starts.tolist(), ends[last].tolist(), strict=True))


def _numbered(part: np.ndarray) -> np.ndarray:
    """Parts (X,) int counted by their first cell, whatever the library does: (X,) int32, -1 = of too few cells."""
    size = np.bincount(part, minlength=1)
    kept = np.flatnonzero(size >= _PATCH_CELLS_MIN)
    first_cell = np.full(len(size), len(part))
    np.minimum.at(first_cell, part, np.arange(len(part)))
    number = np.full(len(size), -1, np.int32)
    number[kept[np.argsort(first_cell[kept])]] = np.arange(len(kept))
    return number[part]


class _Agreement:
    """Who agrees with whom: in how many frames one mask holds two pieces of surface, and in how many it does not.

    Pieces that are joined count from then on as one piece, in every frame anew.
    """

    def __init__(self, evidence: Evidence, pieces: np.ndarray, count: int):
        """
        Args:
            evidence: of all frames.
            pieces: (X,) int32, the piece of every cell, -1 = none.
            count: of the pieces.
        """
        held, shown = evidence.counts(pieces, count)
        self._frame_of_mask = evidence.frame_rows
        self._size = np.bincount(pieces[pieces >= 0], minlength=count)
        self._shown = shown.toarray()  # (F, S) cells in view
        self._held = held.toarray()  # (M, S) cells in the mask
        self._in_mask, self._masked, self._unmasked = self._judged(np.arange(count))
        self.views = self._masked.sum(axis=0)  # (S,) in how many frames a mask holds the piece
        self.together = self._in_mask.T @ self._in_mask
        one_sided = self._masked.T @ self._unmasked
        self.apart = self._masked.T @ self._masked - self.together + one_sided + one_sided.T

    def join(self, a: int, b: int) -> None:
        """Make piece `b` part of piece `a`; nothing is left of `b`."""
        for counts in (self._size, self._shown, self._held):
            counts[..., a] += counts[..., b]
            counts[..., b] = 0
        for part, judged in zip(
            (self._in_mask, self._masked, self._unmasked), self._judged(np.array([a])), strict=True
        ):
            part[:, a] = judged[:, 0]
            part[:, b] = 0
        self.views[a], self.views[b] = self._masked[:, a].sum(), 0
        # sums over few rows, where a product would go over all masks of all frames
        together = self._in_mask[self._in_mask[:, a] > 0].sum(axis=0)
        masked, unmasked = self._masked[:, a] > 0, self._unmasked[:, a] > 0
        apart = (self._masked + self._unmasked)[masked].sum(axis=0) - together + self._masked[unmasked].sum(axis=0)
        for counts, row in ((self.together, together), (self.apart, apart)):
            counts[a] = counts[:, a] = row
            counts[b] = counts[:, b] = 0

    def _judged(self, pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of some pieces: (M, n) whether the mask holds it; (F, n) whether some mask does, and whether none does."""
        size, shown, held = self._size[pieces], self._shown[:, pieces], self._held[:, pieces]
        visible = shown >= np.maximum(np.clip(_SHOWN_SHARE * size, np.minimum(size, 3), _SHOWN_CELLS), 1)
        in_mask = visible[self._frame_of_mask] & (held > _HELD_SHARE * shown[self._frame_of_mask])
        masked = np.zeros(shown.shape, np.float32)
        masks, columns = np.nonzero(in_mask)
        masked[self._frame_of_mask[masks], columns] = 1
        return in_mask.astype(np.float32), masked, visible - masked


def _merged(agreement: _Agreement, count: int) -> np.ndarray:
    """Join pieces, the pair that agrees best first: the object of every piece, (S,) int64."""
    objects, rows = np.arange(count), np.arange(count)
    share = _share(agreement.together, agreement.apart, agreement.views[:, None], agreement.views[None])
    np.fill_diagonal(share, 0)
    best = share.argmax(axis=1)
    while True:
        a = int(share[rows, best].argmax())
        b = int(best[a])
        if share[a, b] <= _MERGE_SHARE:
            return np.unique(objects, return_inverse=True)[1]
        a, b = min(a, b), max(a, b)
        objects[objects == b] = a
        agreement.join(a, b)
        views = agreement.views
        share[a] = share[:, a] = _share(agreement.together[a], agreement.apart[a], views[a], views)
        share[b] = share[:, b] = share[a, a] = 0
        stale = np.flatnonzero((best == a) | (best == b))
        best[stale] = share[stale].argmax(axis=1)
        best[a] = share[a].argmax()
        better = share[:, a] > share[rows, best]
        best[better] = a


def _share(together: np.ndarray, apart: np.ndarray, views: np.ndarray, other_views: np.ndarray) -> np.ndarray:
    """How much of the evidence is for one object; a single frame is not enough for what many frames see."""
    doubt = _DOUBT_PER_VIEW * np.minimum(np.minimum(views, other_views), _DOUBT_VIEWS_MAX)
    return together / np.maximum(together + apart + doubt, 1e-6)
