"""Masks vote: on which cells an object consists of, what it is called, and how sure all of that is."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from markers.evidence import Evidence
from markers.growth import BACKGROUND, OPEN, grown

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_PRECISION_MIN = 0.5
"""Of a mask's cells that belong to any object: with less in one of them it speaks for none."""
_KEPT_SHARE = 0.6
_PRIOR = 0.7
_OPEN_SHARE = 0.4
"""Of the frames that detect the object and see the cell, that have it in the object's mask."""
_ROUNDS = 2
_SUPPORT_RECALL = 0.3


@dataclass(frozen=True, eq=False)
class Support:
    """Masks that speak for objects."""

    object_of: np.ndarray
    """(M,) int64, the object of every mask, -1 = none."""
    precision: np.ndarray
    """(M,) float32: the share of the mask's cells that are its object's."""
    recall: np.ndarray
    """(M,) float32: the share of the object's cells in view that the mask holds."""


def settle(evidence: Evidence, cell_objects: np.ndarray, cells) -> tuple[np.ndarray, Support]:
    """Let masks choose their objects and then every cell its own, a few times over.

    A cell stays with an object where most frames that detect the object and see the cell have it in the object's mask:
    a mask that leaks is outvoted there. (MaskClustering's rule, section 3.4, with masks weighted by how well they fit.)
    """
    for _ in range(_ROUNDS):
        support = find_support(evidence, cell_objects)
        cell_objects = grown(_voted(evidence, support, int(cell_objects.max(initial=-1)) + 1), cells)
    return cell_objects, find_support(evidence, cell_objects)


def find_support(evidence: Evidence, cell_objects: np.ndarray) -> Support:
    """Which object every mask shows, the one that has most of the mask's cells."""
    count = int(cell_objects.max(initial=-1)) + 1
    mask_count = evidence.masks.shape[0]
    if not count or not mask_count:
        return Support(np.full(mask_count, -1), np.zeros(mask_count, np.float32), np.zeros(mask_count, np.float32))
    member = _members(cell_objects, count)
    held = (evidence.masks @ member).toarray()
    shown = (evidence.seen @ member).toarray()
    best = held.argmax(axis=1)
    most = held[np.arange(mask_count), best]
    precision = most / np.maximum(held.sum(axis=1), 1)
    recall = most / np.maximum(shown[evidence.frame_rows, best], 1)
    speaks = (most > 0) & (precision >= _PRECISION_MIN)
    return Support(np.where(speaks, best, -1), precision.astype(np.float32), recall.astype(np.float32))


def _voted(evidence: Evidence, support: Support, count: int) -> np.ndarray:
    """(X,) int32: every cell's object by the votes of the masks."""
    from scipy.sparse import csr_matrix

    cell_count = evidence.masks.shape[1]
    speaking = np.flatnonzero(support.object_of >= 0)
    if not len(speaking):
        return np.full(cell_count, -1, np.int32)
    objects = support.object_of[speaking]
    by_mask = csr_matrix((support.precision[speaking], (objects, speaking)), shape=(count, evidence.masks.shape[0]))
    votes = (by_mask @ evidence.masks).tocoo()
    frames = evidence.frame_rows[speaking]
    # masks that miss most of the object say little about the cells that they leave out
    weight = support.precision[speaking] * support.recall[speaking]
    by_frame = csr_matrix((weight, (objects, frames)), shape=(count, len(evidence.frames)))
    inside = csr_matrix((weight, (objects, speaking)), shape=(count, evidence.masks.shape[0])) @ evidence.masks
    against = (by_frame @ evidence.seen - inside).tocsr()
    against.sort_indices()
    against = np.asarray(against[votes.row, votes.col]).ravel()
    share = votes.data / (votes.data + np.maximum(against, 0))
    sure = votes.data / (votes.data + np.maximum(against, 0) + _PRIOR)
    cells, objects, strength = votes.col, votes.row, np.round(sure, 4)
    order = np.lexsort([-objects, strength, cells])
    last = order[np.append(np.diff(cells[order]) != 0, True)[: len(order)]]
    seen = np.asarray(evidence.seen.sum(axis=0)).ravel() > 0
    result = np.where(seen, BACKGROUND, OPEN).astype(np.int32)
    kept = sure[last] > _KEPT_SHARE
    result[cells[last]] = np.where(kept, objects[last], np.where(share[last] >= _OPEN_SHARE, OPEN, BACKGROUND))
    return result


def _members(cell_objects: np.ndarray, count: int) -> "csr_matrix":
    from scipy.sparse import csr_matrix

    inside = np.flatnonzero(cell_objects >= 0)
    ones = np.ones(len(inside), np.float32)
    return csr_matrix((ones, (inside, cell_objects[inside])), shape=(len(cell_objects), count))


def name(evidence: Evidence, support: Support, object_number: int) -> tuple[str, float]:
    """The label that most of an object's masks give it, weighted by confidence and fit, and its share of the votes."""
    total: dict[str, float] = defaultdict(float)
    for mask in np.flatnonzero(support.object_of == object_number).tolist():
        fit = float(support.precision[mask] * support.recall[mask])
        for label, confidence in evidence.votes[mask]:
            total[label] += confidence * fit
    everything = sum(total.values())
    if everything <= 0:
        return "object", 0.0
    label, votes = min(total.items(), key=lambda item: (-round(item[1], 6), item[0]))
    return label, votes / everything
