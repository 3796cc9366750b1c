"""All sightings of a scan put together: which mask, if any, every frame has on every cell it sees."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from markers.layers import DEPTH_MAX_PX
from markers.lifting import Sighting

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_BLEED_MAX_PX = 15
_CORE_PX, _CORE_SHARE = 2, 0.3
_BLEEDING_SHARE = 0.15
"""Of what lies at one depth inside masks, that is seldom in a mask otherwise: that far they bleed."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Masks x cells, as sparse as it is."""

    masks: "csr_matrix"
    """(M, X) float32, 1 where the mask holds the cell."""
    seen: "csr_matrix"
    """(F, X) float32, 1 where the frame sees the cell and it is clear whether a mask holds it."""
    frame_rows: np.ndarray
    """(M,) int64: the row of `seen` of every mask."""
    frames: np.ndarray
    """(F,) int64: frame indices, ascending."""
    votes: tuple[tuple[tuple[str, float], ...], ...]
    """Per mask the labels that the detector gave it, each with its confidence."""
    cores: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Per frame the cells that it sees, (n,) int32, and for each the mask, -1 = none, -2 = near a mask's edge."""
    bleed_px: int
    """How far masks reach over the edges of what they show, pixels at 640 wide."""


def gather(sightings: Iterable[Sighting], cell_count: int) -> Evidence:
    """Collect what all frames say.

    How far masks bleed is measured, see `_bleed_px`, and what lies no deeper in a mask than that says nothing.
    """
    from scipy.sparse import csr_matrix

    kept = list(sightings)
    bleed_px = _bleed_px(kept, cell_count)
    mask_indices, seen_indices, mask_counts, seen_counts = [], [], [], []
    frame_rows, votes, cores, first_mask = [], [], [], 0
    for frame_row, sighting in enumerate(kept):
        rows, clear = _rows_and_clear(sighting, bleed_px)
        cells = sighting.cells[clear]
        cores.append((sighting.cells, _core_masks(sighting, bleed_px, first_mask)))
        first_mask += len(sighting.labels)
        order = np.argsort(rows[clear], kind="stable")
        count = np.bincount(rows[clear] + 1, minlength=len(sighting.labels) + 1)
        mask_indices.append(cells[order][count[0] :])
        seen_indices.append(cells)
        mask_counts.append(count[1:])
        seen_counts.append(len(cells))
        frame_rows.append(np.full(len(sighting.labels), frame_row))
        votes.extend(_votes(sighting))

    def matrix(indices: list[np.ndarray], counts: np.ndarray) -> csr_matrix:
        columns = np.concatenate([*indices, np.zeros(0, np.int32)])
        pointers = np.append(0, np.cumsum(counts)).astype(np.int64)
        return csr_matrix((np.ones(len(columns), np.float32), columns, pointers), shape=(len(counts), cell_count))

    return Evidence(
        masks=matrix(mask_indices, np.concatenate([*mask_counts, np.zeros(0, np.int64)])),
        seen=matrix(seen_indices, np.array(seen_counts, np.int64)),
        frame_rows=np.concatenate([*frame_rows, np.zeros(0, np.int64)]),
        frames=np.array([sighting.frame for sighting in kept], np.int64),
        votes=tuple(votes),
        cores=tuple(cores),
        bleed_px=bleed_px,
    )


def _rows_and_clear(sighting: Sighting, bleed_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The mask of every cell, -1 = none, and whether it is clear which: not so within the masks' bleeding edges."""
    use_first = (sighting.first >= 0) & (sighting.first_depth > bleed_px)
    use_second = ~use_first & (sighting.second >= 0) & (sighting.second_depth > bleed_px)
    rows = np.where(use_first, sighting.first, np.where(use_second, sighting.second, -1))
    return rows, (use_first | use_second | (sighting.first < 0)) & (sighting.edge_px > max(3, bleed_px + 2))


def _core_masks(sighting: Sighting, bleed_px: int, first_mask: int) -> np.ndarray:
    thickness = np.zeros(len(sighting.labels) + 1, np.uint8)
    np.maximum.at(thickness, sighting.first, sighting.first_depth)
    margin = bleed_px + np.minimum(_CORE_PX, _CORE_SHARE * (thickness.astype(np.float32) - bleed_px))
    core = (sighting.first >= 0) & (sighting.first_depth > margin[sighting.first])
    rows, clear = _rows_and_clear(sighting, bleed_px)
    core &= clear & (rows == sighting.first)
    return np.where(core, sighting.first + first_mask, np.where((sighting.first < 0) & clear, -1, -2)).astype(np.int32)


def _votes(sighting: Sighting) -> list[tuple[tuple[str, float], ...]]:
    """What the detector called every mask; a mask that stands for others has their votes as well."""
    votes: list[list[tuple[str, float]]] = [[] for _ in sighting.labels]
    for row, (label, confidence) in enumerate(zip(sighting.labels, sighting.confidence.tolist(), strict=True)):
        if label:
            votes[int(sighting.same_as[row])].append((label, confidence))
    return [tuple(sorted(each)) for each in votes]


def _bleed_px(sightings: list[Sighting], cell_count: int) -> int:
    """Measure how far masks reach over the edges of what they show.

    What an object's masks hold in one frame they hold in others, as often as the object is detected at all. What they
    hold by bleeding over its outline lies behind it, elsewhere in every frame. So the share of cells that are seldom in
    a mask, by their depth inside the mask, falls where the bleeding ends.
    """
    seen, masked = np.zeros((2, cell_count), np.int32)
    for sighting in sightings:
        seen[sighting.cells] += 1
        masked[sighting.cells[sighting.first >= 0]] += 1
    count, seldom = np.zeros((2, DEPTH_MAX_PX + 1))
    for sighting in sightings:
        told = (sighting.first >= 0) & (seen[sighting.cells] > 2)
        cells, rows, depth = sighting.cells[told], sighting.first[told], sighting.first_depth[told]
        held = (masked[cells] - 1) / (seen[cells] - 1)  # in the other frames
        weight = depth.astype(np.float64) ** 2  # what is deep inside is the object
        usual = np.bincount(rows, weight * held) / np.maximum(np.bincount(rows, weight), 1)
        count += np.bincount(depth, minlength=DEPTH_MAX_PX + 1)
        seldom += np.bincount(depth, held < 0.5 * usual[rows], minlength=DEPTH_MAX_PX + 1)
    share = seldom / np.maximum(count, 1)
    inside = share[_BLEED_MAX_PX + 1 :]
    within = (
        share[1 : _BLEED_MAX_PX + 1] < np.average(inside, weights=count[_BLEED_MAX_PX + 1 :] + 1e-9) + _BLEEDING_SHARE
    )
    return int(within.argmax()) if within.any() else _BLEED_MAX_PX
