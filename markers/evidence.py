"""All sightings of a scan put together: which mask, if any, every frame has on every cell it sees."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bev.errors import require
from markers.layers import DEPTH_MAX_PX
from markers.lifting import Sighting

_BLEED_MAX_PX = 15
_ROUNDING_PX = 1
"""So far the edges of faultless masks are off, because points are looked up at whole pixels."""
_CORE_PX, _CORE_SHARE = 2, 0.3
"""How much deeper than bleeding a cell lies in the core of a mask: pixels, at most that share of a thin mask."""
_EDGE_PX = 3
"""So near to something much nearer, nothing is clear: masks and depth are off by a pixel or two."""
_BLEEDING_SHARE = 0.15
"""Of what lies at one depth inside masks, that is seldom in a mask otherwise: that far they bleed."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Masks x cells, as sparse as it is."""

    masks: Any
    """(M, X) csr_matrix float32, 1 where the mask holds the cell."""
    seen: Any
    """(F, X) csr_matrix float32, 1 where the frame sees the cell and it is clear whether a mask holds it."""
    frame_rows: np.ndarray
    """(M,) int64: the row of `seen` of every mask."""
    frames: np.ndarray
    """(F,) int64: frame indices, ascending."""
    votes: tuple[tuple[tuple[str, float], ...], ...]
    """Per mask the labels that the detector gave it, each with its confidence; none where it has no class."""
    confidence: np.ndarray
    """(M,) float64: the highest that the detector has in each mask."""
    cores: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Per frame the cells that it sees, (n,) int32, and for each the mask, -1 = none, -2 = near a mask's edge."""
    bleed_px: int
    """How far masks reach over the edges of what they show, pixels at 640 wide."""

    def counts(self, cell_pieces: np.ndarray, count: int) -> tuple[Any, Any]:
        """How many cells of every piece of surface each mask holds and each frame sees.

        Args:
            cell_pieces: (X,) int, the piece of every cell, an object or a part of one; -1 = none.
            count: S, of the pieces.

        Returns:
            (M, S) and (F, S) csr_matrix float32.
        """
        inside = np.flatnonzero(cell_pieces >= 0)
        entries = np.ones(len(inside), np.float32), (inside, cell_pieces[inside])
        member = require("scipy.sparse").csr_matrix(entries, shape=(len(cell_pieces), count))
        return self.masks @ member, self.seen @ member


def gather(sightings: Iterable[Sighting], cell_count: int) -> Evidence:
    """Collect what all frames say.

    How far masks bleed is measured, see `_bleed_px`, and what lies no deeper in a mask than that says nothing.

    Args:
        sightings: of every frame with masks.
        cell_count: X, the number of the surface's cells.
    """
    kept = list(sightings)
    bleed_px = _bleed_px(kept, cell_count)
    masks, seen, cores = [], [], []
    frame_rows, votes, confidence, first_mask = [], [], [], 0
    for frame_row, sighting in enumerate(kept):
        clear = np.flatnonzero(_clear(sighting, bleed_px))
        masks += _by_mask(sighting, clear)
        seen.append(sighting.cells.take(clear))
        cores.append((sighting.cells, _core_masks(sighting, bleed_px, first_mask)))
        first_mask += len(sighting.labels)
        frame_rows.append(np.full(len(sighting.labels), frame_row))
        votes.extend(_votes(sighting))
        highest = np.zeros(len(sighting.labels))
        np.maximum.at(highest, sighting.same_as, sighting.confidence)
        confidence.append(highest)
    return Evidence(
        masks=_matrix(masks, cell_count),
        seen=_matrix(seen, cell_count),
        frame_rows=np.concatenate([*frame_rows, np.zeros(0, np.int64)]),
        frames=np.array([sighting.frame for sighting in kept], np.int64),
        votes=tuple(votes),
        confidence=np.concatenate([*confidence, np.zeros(0)]),
        cores=tuple(cores),
        bleed_px=bleed_px,
    )


def _by_mask(sighting: Sighting, chosen: np.ndarray) -> list[np.ndarray]:
    """Of the chosen positions among a frame's cells, the cells in every mask."""
    cells, rows = sighting.cells.take(chosen), sighting.rows.take(chosen)
    order = np.argsort(rows, kind="stable")
    count = np.bincount(rows + 1, minlength=len(sighting.labels) + 1)
    return np.split(cells.take(order[count[0] :]), np.cumsum(count[1:])[:-1])


def _matrix(rows: list[np.ndarray], cell_count: int) -> Any:
    """(rows, cells) csr_matrix float32, 1 at the cells of every row."""
    columns = np.concatenate([*rows, np.zeros(0, np.int32)])
    pointers = np.cumsum([0, *map(len, rows)])
    values = np.ones(len(columns), np.float32)
    return require("scipy.sparse").csr_matrix((values, columns, pointers), shape=(len(rows), cell_count))


def _clear(sighting: Sighting, bleed_px: int) -> np.ndarray:
    """(n,) bool: whether it is clear in which mask a cell lies: not within bleeding edges, nor behind other things."""
    in_one = (sighting.rows < 0) | (sighting.depth_px > _rim_px(bleed_px))
    return in_one & (sighting.edge_px > max(_EDGE_PX, _rim_px(bleed_px) + 1))


def _rim_px(bleed_px: int) -> int:
    """How much of a mask's edge is in doubt: a pixel more than bleeds, because edges fall between pixels."""
    return bleed_px + 1 if bleed_px else 0


def _core_masks(sighting: Sighting, bleed_px: int, first_mask: int) -> np.ndarray:
    """(n,) int32: the mask that a cell lies well inside of; see `Evidence.cores`."""
    thickness = np.append(sighting.thickness_px, 0).astype(np.float32)
    rim_px = _rim_px(bleed_px)
    margin = rim_px + np.minimum(_CORE_PX, _CORE_SHARE * (thickness - rim_px))
    masked, clear = sighting.rows >= 0, _clear(sighting, bleed_px)
    core = masked & clear & (sighting.depth_px > margin[sighting.rows])
    return np.where(core, sighting.rows + first_mask, np.where(~masked & clear, -1, -2)).astype(np.int32)


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
        masked[sighting.cells.take(np.flatnonzero(sighting.rows >= 0))] += 1
    count, seldom = np.zeros((2, DEPTH_MAX_PX + 1))
    told_of = seen > 2
    held_elsewhere = (masked - 1) / np.maximum(seen - 1, 1)  # of a cell in a mask, how many of the other frames
    weight_at = np.arange(DEPTH_MAX_PX + 1, dtype=np.float64) ** 2  # what is deep inside is the object
    for sighting in sightings:
        # positions: numpy takes what they name several times as fast as what a mask of booleans marks
        told = np.flatnonzero((sighting.rows >= 0) & told_of.take(sighting.cells))
        rows, depth = sighting.rows.take(told), sighting.depth_px.take(told)
        held, weight = held_elsewhere.take(sighting.cells.take(told)), weight_at.take(depth)
        usual = np.bincount(rows, weight * held) / np.maximum(np.bincount(rows, weight), 1)
        count += np.bincount(depth, minlength=DEPTH_MAX_PX + 1)
        few = np.flatnonzero(held < 0.5 * usual.take(rows))
        seldom += np.bincount(depth.take(few), minlength=DEPTH_MAX_PX + 1)
    share = seldom / np.maximum(count, 1)
    usually = float(seldom[_BLEED_MAX_PX + 1 :].sum() / max(count[_BLEED_MAX_PX + 1 :].sum(), 1))
    met = count[1 : _BLEED_MAX_PX + 1] > 0  # images narrower than `DEPTH_WIDTH_PX` do not have every depth
    clean = met & (share[1 : _BLEED_MAX_PX + 1] < usually + _BLEEDING_SHARE)
    if not met.any():
        return 0
    bleed_px = int(clean.argmax()) if clean.any() else _BLEED_MAX_PX
    return bleed_px if bleed_px > _ROUNDING_PX else 0
