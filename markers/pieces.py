"""Objects put right piece by piece: what frames show as two things is split, islands that masks deny are dropped."""

import numpy as np

from markers.cells import Cells
from markers.connected import connected_of_label
from markers.evidence import Evidence
from markers.votes import Support, find_support

_CELLS_MIN = 4
_MINOR_VIEWS_MIN = 3
_MINOR_SHARE = 0.5
"""Of the frames that have a cell in a mask of the object, that have it in a lesser one: then it is another's."""
_ISLAND_SHOWN_SHARE = 0.3
"""Of an island's cells, that a frame must see to have a say about it."""


def split(evidence: Evidence, cell_objects: np.ndarray, cells: Cells) -> np.ndarray:
    """Make objects of their own of what most frames have in a mask beside the object's.

    Weak links over many frames can chain a magazine to the table below it. A frame in which two masks lie on one object
    says that they are two things; what is in the lesser of them in most of its frames comes off.

    Args:
        evidence: of all frames.
        cell_objects: (X,) int32, the object of every cell, -1 = none.
        cells: of the surface.

    Returns:
        (X,) int32, with further numbers for what came off.
    """
    support = find_support(evidence, cell_objects)
    speaking = np.flatnonzero(support.object_of >= 0)
    if not len(speaking):
        return cell_objects
    # of every object's masks in a frame, all but the one that holds most of it
    keys = np.stack([evidence.frame_rows[speaking], support.object_of[speaking]], axis=1)
    order = np.lexsort([-support.recall[speaking], *keys.T[::-1]])
    first = np.append(True, (np.diff(keys[order], axis=0) != 0).any(axis=1))
    minor = speaking[order[~first]]
    views, minor_views = _held_by(evidence, speaking), _held_by(evidence, minor)
    off = (minor_views >= _MINOR_VIEWS_MIN) & (minor_views > _MINOR_SHARE * views) & (cell_objects >= 0)
    part = connected_of_label(cells.pairs, np.where(off, cell_objects, -1))
    sizes = np.bincount(part[part >= 0], minlength=1)
    numbers = np.full(len(sizes), -1)
    kept = np.flatnonzero(sizes >= _CELLS_MIN)
    numbers[kept] = int(cell_objects.max()) + 1 + np.arange(len(kept))
    new = np.append(numbers, -1)[part]
    return np.where(new >= 0, new, cell_objects).astype(np.int32)


def _held_by(evidence: Evidence, masks: np.ndarray) -> np.ndarray:
    """(X,) float32: how many of some masks, (n,) int, hold each cell."""
    return np.bincount(masks, minlength=evidence.masks.shape[0]).astype(np.float32) @ evidence.masks


def without_islands(evidence: Evidence, support: Support, cell_objects: np.ndarray, cells: Cells) -> np.ndarray:
    """Drop detached pieces of objects that the object's own masks mostly leave out.

    Args:
        evidence: of all frames.
        support: which masks are the object's.
        cell_objects: (X,) int32, the object of every cell, -1 = none.
        cells: of the surface.

    Returns:
        (X,) int32, -1 also where a piece was dropped.
    """
    part = connected_of_label(cells.pairs, cell_objects)
    count = int(part.max(initial=-1)) + 1
    if not count:
        return cell_objects
    inside = np.flatnonzero(part >= 0)
    size = np.bincount(part[inside], minlength=count)
    object_of = np.zeros(count, np.int64)
    object_of[part[inside]] = cell_objects[inside]
    largest = np.zeros(int(object_of.max()) + 1, np.int64)
    order = np.lexsort([-np.arange(count), size])  # of equals the first one wins
    largest[object_of[order]] = order
    islands = np.flatnonzero(largest[object_of] != np.arange(count))
    denied = _denied(evidence, support, part, object_of, size, islands)
    dropped = np.zeros(count + 1, bool)
    dropped[islands[denied]] = True
    return np.where(dropped[part], -1, cell_objects).astype(np.int32)


def _denied(
    evidence: Evidence,
    support: Support,
    part: np.ndarray,
    object_of: np.ndarray,
    size: np.ndarray,
    islands: np.ndarray,
) -> np.ndarray:
    """Whether most frames that detect an island's object and see the island leave it out: (n,) bool."""
    number = np.full(len(size) + 1, -1)
    number[islands] = np.arange(len(islands))
    in_masks, in_view = evidence.counts(number[part], len(islands))
    speaking = np.flatnonzero(support.object_of >= 0)
    frame_count, object_count = len(evidence.frames), int(object_of.max()) + 1
    detected = np.zeros((frame_count, object_count), bool)
    detected[evidence.frame_rows[speaking], support.object_of[speaking]] = True
    shown = in_view.toarray()
    held = np.zeros((frame_count, len(islands)), np.float32)
    in_mask = in_masks[speaking].tocoo()
    own = support.object_of[speaking[in_mask.row]] == object_of[islands[in_mask.col]]
    np.add.at(held, (evidence.frame_rows[speaking[in_mask.row[own]]], in_mask.col[own]), in_mask.data[own])
    asked = detected[:, object_of[islands]] & (shown > _ISLAND_SHOWN_SHARE * size[islands]) & (shown > 0)
    yes = (asked & (held > 0.5 * shown)).sum(axis=0)
    return 2 * yes <= asked.sum(axis=0)
