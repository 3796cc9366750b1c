"""Masks vote: on which cells an object consists of, what it is called, and how sure all of that is."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from bev.errors import require
from markers.cells import Cells
from markers.evidence import Evidence
from markers.growth import BACKGROUND, OPEN, REACH_M, grown

_ROUNDS = 2
_PRECISION_MIN = 0.5
"""Of a mask's cells that belong to any object: with less in one of them it speaks for none."""
_KEPT_SHARE = 0.6
"""Of the votes on a cell, a doubt counted in, that keep it with the object."""
_DOUBT = 0.7
"""Votes against that every cell has from the start: one frame alone does not decide."""
_OPEN_SHARE = 0.4
"""Of the votes without that doubt, that leave the cell open to what it continues."""
_CONFIDENCE_MIN = 1e-3
"""A detector that gives no confidence has its say all the same."""
_CONTRADICTED = 0.5
"""Votes that there is nothing of an object near by, which make a cell without any vote background."""


@dataclass(frozen=True, eq=False)
class Support:
    """Masks that speak for objects."""

    object_of: np.ndarray
    """(M,) int64, the object of every mask, -1 = none."""
    precision: np.ndarray
    """(M,) float64: the share of the mask's cells that are its object's."""
    recall: np.ndarray
    """(M,) float64: the share of the object's cells in view that the mask holds."""


def settle(evidence: Evidence, cell_objects: np.ndarray, cells: Cells) -> tuple[np.ndarray, Support]:
    """Let masks choose their objects and then every cell its own, a few times over.

    A cell stays with an object where most frames that detect the object and see the cell have it in the object's mask:
    a mask that leaks is outvoted there. (The rule is MaskClustering's, Yan et al., CVPR 2024, section 3.4; here masks
    count by how well they fit, and what they leave open goes to what it continues.)

    Args:
        evidence: of all frames.
        cell_objects: (X,) int32, the object of every cell as `consensus_objects` has it, -1 = none.
        cells: of the surface.

    Returns:
        (X,) int32, the object of every cell, -1 = none; and what each mask says of them.
    """
    views = evidence.seen.tocsc().T
    for _ in range(_ROUNDS):
        cell_objects = _voted(evidence, views, find_support(evidence, cell_objects), cell_objects, cells)
    return cell_objects, find_support(evidence, cell_objects)


def find_support(evidence: Evidence, cell_objects: np.ndarray) -> Support:
    """Which object every mask shows, the one that has most of the mask's cells."""
    count = int(cell_objects.max(initial=-1)) + 1
    mask_count = evidence.masks.shape[0]
    if not count or not mask_count:
        return Support(np.full(mask_count, -1), np.zeros(mask_count), np.zeros(mask_count))
    held, shown = (counts.toarray() for counts in evidence.counts(cell_objects, count))
    best = held.argmax(axis=1)
    most = held[np.arange(mask_count), best]
    precision = most / np.maximum(held.sum(axis=1), 1)
    recall = most / np.maximum(shown[evidence.frame_rows, best], 1)
    speaks = (most > 0) & (precision >= _PRECISION_MIN)
    return Support(np.where(speaks, best, -1), precision.astype(np.float64), recall.astype(np.float64))


def _voted(evidence: Evidence, views: Any, support: Support, cell_objects: np.ndarray, cells: Cells) -> np.ndarray:
    """(X,) int32: every cell's object by the votes of the masks, -1 = none; `views` is `seen` turned, (X, F)."""
    speaking = np.flatnonzero(support.object_of >= 0)
    result = np.full(len(cell_objects), OPEN, np.int32)
    if not len(speaking):
        return np.full(len(cell_objects), BACKGROUND, np.int32)
    count = int(cell_objects.max()) + 1
    votes = _votes(evidence, support, speaking, count)
    weights = _weights_of_frames(evidence, support, speaking, count)
    unvoted = np.ones(len(cell_objects), bool)
    unvoted[votes.cells] = False
    objects, at = _near(np.flatnonzero(unvoted), cell_objects, cells, count)
    result[at[_in_view(views, weights, objects, at) >= _CONTRADICTED]] = BACKGROUND
    contra = np.maximum(_in_view(views, weights, votes.objects, votes.cells) - votes.weight, 0)
    # rounded, because sums of the same votes in another order differ in the last bit
    share = np.round(votes.precision / (votes.precision + contra), 6)
    sure = np.round(votes.precision / (votes.precision + contra + _DOUBT), 6)
    best = _best_of_cell(votes.cells, sure, votes.objects)
    at, objects, share, kept = votes.cells[best], votes.objects[best], share[best], sure[best] > _KEPT_SHARE
    result[at] = np.where(kept, objects, np.where(share >= _OPEN_SHARE, OPEN, BACKGROUND))
    result = grown(result, cells)
    # where growth does not reach, a single vote is better than none
    left = (result[at] == OPEN) & (share > _KEPT_SHARE)
    result[at[left]] = objects[left]
    return np.maximum(result, BACKGROUND)


@dataclass(frozen=True, eq=False)
class _Votes:
    """Pairs of objects and cells that any of the object's masks holds."""

    objects: np.ndarray
    """(n,) int64, ascending."""
    cells: np.ndarray
    """(n,) int64."""
    precision: np.ndarray
    """(n,) float64: summed over the masks, see `Support`: how much they say that the cell is the object's."""
    weight: np.ndarray
    """(n,) float64: that of the masks, as `_weights_of_frames` has it, summed up."""


def _votes(evidence: Evidence, support: Support, speaking: np.ndarray, count: int) -> _Votes:
    found = []
    for number in range(count):
        masks = speaking[support.object_of[speaking] == number]
        held = evidence.masks[masks]
        px = np.diff(held.indptr)
        precision = np.bincount(held.indices, np.repeat(support.precision[masks], px), held.shape[1])
        weight = np.bincount(held.indices, np.repeat(_weight(support, masks), px), held.shape[1])
        at = np.flatnonzero(precision)
        found.append((np.full(len(at), number), at, precision[at], weight[at]))
    return _Votes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _weight(support: Support, masks: np.ndarray) -> np.ndarray:
    """(n,) float64: masks that miss most of the object say little about the cells that they leave out."""
    return support.precision[masks] * support.recall[masks]


def _weights_of_frames(evidence: Evidence, support: Support, speaking: np.ndarray, count: int) -> np.ndarray:
    """(objects, F) float64: how much it says that a cell in view is in none of the object's masks."""
    entries = _weight(support, speaking), (support.object_of[speaking], evidence.frame_rows[speaking])
    return require("scipy.sparse").csr_matrix(entries, shape=(count, len(evidence.frames))).toarray()


def _in_view(views: Any, weights: np.ndarray, objects: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n,) float64: for pairs of objects, ascending, and cells the weight of the frames that see the cell.

    Only what is asked for is summed up: most frames see most cells, and hardly any of them matter to an object.
    """
    ends = np.searchsorted(objects, np.arange(len(weights) + 1))
    parts = [views[at[a:b]] @ weight for weight, a, b in zip(weights, ends[:-1], ends[1:], strict=True)]
    return np.concatenate([*parts, np.zeros(0)])


def _near(chosen: np.ndarray, cell_objects: np.ndarray, cells: Cells, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of objects, ascending, and chosen cells that lie where the object might grow: (n,) and (n,)."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    inside = np.flatnonzero(cell_objects >= 0)
    np.minimum.at(low, cell_objects[inside], cells.points[inside])
    np.maximum.at(high, cell_objects[inside], cells.points[inside])
    x, y, z = np.ascontiguousarray(cells.points[chosen].T)
    near = []
    for from_, to in zip(low - REACH_M, high + REACH_M, strict=True):
        within = (x > from_[0]) & (x < to[0])
        for axis, values in ((1, y), (2, z)):
            within[within] = (values[within] > from_[axis]) & (values[within] < to[axis])
        near.append(chosen[within])
    return np.repeat(np.arange(count), [len(each) for each in near]), np.concatenate([*near, np.zeros(0, np.int64)])


def _best_of_cell(at: np.ndarray, strength: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Positions, one per different cell, of the strongest entry, the lower object on a tie."""
    order = np.lexsort([-objects, strength, at])
    return order[np.append(np.diff(at[order]) != 0, True)[: len(order)]]


def vote_on_label(evidence: Evidence, support: Support, object_number: int) -> tuple[str, float]:
    """The label that most of an object's masks give it, weighted by confidence and fit, and its share of the votes.

    "" and 0 where no mask has a class.
    """
    total: dict[str, float] = defaultdict(float)
    for mask in np.flatnonzero(support.object_of == object_number).tolist():
        fit = float(support.precision[mask] * support.recall[mask])
        for label, confidence in evidence.votes[mask]:
            total[label] += max(confidence, _CONFIDENCE_MIN) * fit
    everything = sum(total.values())
    if everything <= 0:
        return "", 0.0
    label, votes = min(total.items(), key=lambda item: (-round(item[1], 6), item[0]))
    return label, round(votes / everything, 4)
