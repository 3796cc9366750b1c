"""Whether an object keeps one number: on the surface, and over the frames of a walk."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from markers.scoring import VOID


@dataclass(frozen=True)
class SurfaceIdentity:
    """How true objects and the ids on a surface belong together, see `surface_identity`."""

    objects: int
    """True objects."""
    one_id: int
    """Those that are the main object of exactly one id."""
    no_id: int
    """Those that are no id's main object: missed, or swallowed by an id that is mainly something else."""
    ids: int
    """Ids that were judged: those that lie mainly on void are not."""
    spurious: int
    """Ids without a main object, and all but the largest of those that share one."""
    purity: float
    """Share of the vertices of ids with a main object that are of it; NaN without such ids."""

    @property
    def one_id_share(self) -> float:
        """NaN without objects."""
        return self.one_id / self.objects if self.objects else float("nan")

    @property
    def spurious_share(self) -> float:
        """Of the ids that were judged; NaN without any."""
        return self.spurious / self.ids if self.ids else float("nan")


@dataclass(frozen=True)
class FrameIdentity:
    """How well ids stay on their objects over frames, see `identity_scores`."""

    idf1: float
    """NaN where there is neither truth nor id."""
    id_precision: float
    id_recall: float
    switches: int
    fragments: int
    purity: float
    """Share of the pixels of ids with a main object that are of it; NaN without such ids."""
    frames: int
    objects: int
    """True objects that a frame shows."""
    ids: int
    """Ids that a frame shows."""
    matched: int
    """Regions of the truth that an id was matched to, over all frames."""
    missed: int
    """Regions of the truth that none was."""
    stray: int
    """Regions of ids that were matched to nothing."""


def surface_identity(true_ids: np.ndarray, found_ids: np.ndarray) -> SurfaceIdentity:
    """Count how many ids every true object has.

    The main object of an id is what most of its vertices are: a true object, or no object; the smaller id on a tie.
    Void vertices are left out, and so is an id of which half or more is void. Every true object counts, however
    small or badly seen: give up those that should not with `TrueObjects.without`.

    Args:
        true_ids: (V,) int, -1 = no object, `VOID` = unknown.
        found_ids: (V,) int, -1 = none.
    """
    true_ids, found_ids = np.asarray(true_ids), np.asarray(found_ids)
    if true_ids.shape != found_ids.shape or true_ids.ndim != 1:
        raise ValueError(f"both must have shape (V,), got {true_ids.shape} and {found_ids.shape}")
    objects = np.unique(true_ids[true_ids >= 0])
    true, found, count = _shared(true_ids, found_ids)
    kept = np.isin(found, _not_void(true, found, count)) & (true != VOID) & (found >= 0)
    main, on_main, total = _main_objects(true[kept], found[kept], count[kept])
    ids_of = np.bincount(np.searchsorted(objects, main[main >= 0]), minlength=len(objects))
    return SurfaceIdentity(
        objects=len(objects),
        one_id=int((ids_of == 1).sum()),
        no_id=int((ids_of == 0).sum()),
        ids=len(main),
        spurious=int((main < 0).sum() + (ids_of[ids_of > 1] - 1).sum()),
        purity=_share(on_main[main >= 0].sum(), total[main >= 0].sum()),
    )


def identity_scores(
    frames: Iterable[tuple[np.ndarray, np.ndarray]], *, overlap_min: float = 0.5, min_px: int = 1
) -> FrameIdentity:
    """IDF1, switches, fragments and purity of the ids that the frames of a walk show.

    In every frame the region of an id and that of a true object may be matched when their IoU is `overlap_min` or
    more. Then, over all frames:
    - IDF1 (Ristani et al. 2016, "Performance measures and a data set for multi-target, multi-camera tracking"): every
      object is given at most one id for the whole walk and every id one object, so that as many matches as can be
      agree with it. IDF1 is the F1 score of the matches that do.
    - a switch (Bernardin and Stiefelhagen 2008, CLEAR MOT) is an object matched to another id than when it was
      last matched; an object that can keep its id does, the others are matched for the greatest overlap.
    - a fragment is a gap in an object's matches: frames that show it unmatched between frames that have it matched.
      Frames that do not show it break nothing.
    These agree with py-motmetrics' `idf1`, `num_switches` and `num_fragmentations`.

    Void pixels are taken from the regions of ids before overlaps are measured, and an unmatched region of which half
    or more was void is left out (as in panoptic quality, Kirillov et al. 2019).

    Args:
        frames: in time order, of each the true object and the found id of every pixel, both (H, W) int32; -1 = none,
            in the truth `VOID` = unknown.
        overlap_min: in (0, 1].
        min_px: pixels; a smaller region of the truth is void, a smaller one of an id is not there.

    Raises:
        ValueError: the two maps of a frame differ in shape, or `overlap_min` is out of range.
    """
    if not 0 < overlap_min <= 1:
        raise ValueError(f"overlap_min must be in (0, 1], got {overlap_min}")
    seen = [_regions(np.asarray(true), np.asarray(found), overlap_min, min_px) for true, found in frames]
    true_regions = sum(len(frame.true) for frame in seen)
    found_regions = sum(len(frame.found) for frame in seen)
    agreed = _agreed(seen)
    matched, switches, fragments = _follow(seen)
    true, found, count = (np.concatenate([[]] + [frame.shared[i] for frame in seen]).astype(np.int64) for i in range(3))
    main, on_main, total = _main_objects(true, found, count)
    return FrameIdentity(
        idf1=_share(2 * agreed, true_regions + found_regions),
        id_precision=_share(agreed, found_regions),
        id_recall=_share(agreed, true_regions),
        switches=switches,
        fragments=fragments,
        purity=_share(on_main[main >= 0].sum(), total[main >= 0].sum()),
        frames=len(seen),
        objects=len({int(id) for frame in seen for id in frame.true}),
        ids=len({int(id) for frame in seen for id in frame.found}),
        matched=matched,
        missed=true_regions - matched,
        stray=found_regions - matched,
    )


@dataclass(frozen=True, eq=False)
class _Frame:
    """The regions of one frame."""

    true: np.ndarray
    """(T,) int64 ids, ascending."""
    found: np.ndarray
    """(F,) int64 ids, ascending."""
    overlap: np.ndarray
    """(T, F) float64 IoU, 0 where it is below the least."""
    shared: tuple[np.ndarray, np.ndarray, np.ndarray]
    """True id or -1, found id, pixels: of every pair that shares some."""


def _regions(true_map: np.ndarray, found_map: np.ndarray, overlap_min: float, min_px: int) -> _Frame:
    if true_map.shape != found_map.shape:
        raise ValueError(f"the maps of a frame must be of one shape, got {true_map.shape} and {found_map.shape}")
    true, found, px = _shared(true_map, found_map)
    true_ids, true_px = _sums(true, px)
    true = np.where(np.isin(true, true_ids[(true_px < min_px) & (true_ids >= 0)]), VOID, true)
    found_ids, found_px = _sums(found, px)
    found = np.where(np.isin(found, found_ids[(found_px < min_px)]), -1, found)
    true_ids, true_px = _sums(true[true >= 0], px[true >= 0])
    known = (found >= 0) & (true != VOID)
    found_ids, found_px = _sums(found[known], px[known])
    shared = np.zeros((len(true_ids), len(found_ids)), np.int64)
    both = known & (true >= 0)
    np.add.at(shared, (np.searchsorted(true_ids, true[both]), np.searchsorted(found_ids, found[both])), px[both])
    overlap = shared / (true_px[:, None] + found_px - shared)
    overlap[overlap < overlap_min] = 0
    keep = (overlap > 0).any(axis=0) | np.isin(found_ids, _not_void(true, found, px))
    known &= np.isin(found, found_ids[keep])
    return _Frame(true_ids, found_ids[keep], overlap[:, keep], (true[known], found[known], px[known]))


def _agreed(seen: list[_Frame]) -> int:
    """How many matches agree with the best one-to-one choice of objects and ids for the whole walk."""
    from scipy.optimize import linear_sum_assignment

    pairs = [np.zeros((0, 2), np.int64)]
    for frame in seen:
        rows, columns = np.nonzero(frame.overlap)
        pairs.append(np.stack([frame.true[rows], frame.found[columns]], axis=1))
    true, found = np.concatenate(pairs).T
    true_ids, rows = np.unique(true, return_inverse=True)
    found_ids, columns = np.unique(found, return_inverse=True)
    together = np.zeros((len(true_ids), len(found_ids)), np.int64)
    np.add.at(together, (rows, columns), 1)
    return int(together[linear_sum_assignment(together, maximize=True)].sum())


def _follow(seen: list[_Frame]) -> tuple[int, int, int]:
    """Matches, switches and fragments over the frames."""
    last: dict[int, int] = {}
    lost: set[int] = set()
    matched = switches = fragments = 0
    for frame in seen:
        matches = _match(frame, last)
        for id in frame.true.tolist():
            if id not in matches:
                lost |= {id} & last.keys()
                continue
            switches += id in last and last[id] != matches[id]
            fragments += id in lost
            lost.discard(id)
        last |= matches
        matched += len(matches)
    return matched, switches, fragments


def _match(frame: _Frame, last: dict[int, int]) -> dict[int, int]:
    """The id of every object that has one in this frame: that of the last time where it can be."""
    from scipy.optimize import linear_sum_assignment

    column = {id: place for place, id in enumerate(frame.found.tolist())}
    overlap, matches = frame.overlap.copy(), {}
    for row, id in enumerate(frame.true.tolist()):
        place = column.get(last.get(id, -1))
        if place is not None and overlap[row, place] > 0:
            matches[id] = int(frame.found[place])
            overlap[row], overlap[:, place] = 0, 0
    # as many as can be, then the greatest overlap: an IoU is at most 1
    gain = np.where(overlap > 0, overlap + len(frame.true) + 1, 0)
    for row, place in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
        if overlap[row, place] > 0:
            matches[int(frame.true[row])] = int(frame.found[place])
    return matches


def _shared(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of a true id (-1 and `VOID` too) and a found id (-1 too) that meet, and how often: (n,) int64 each."""
    true = np.maximum(true.ravel().astype(np.int64), VOID)
    found = np.maximum(found.ravel().astype(np.int64), -1)
    width = int(found.max(initial=-1)) + 2
    keys, count = np.unique((true - VOID) * width + found + 1, return_counts=True)
    return keys // width + VOID, keys % width - 1, count.astype(np.int64)


def _sums(ids: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids, ascending, and the sum of what each counts."""
    unique, place = np.unique(ids, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, place, count)
    return unique, total


def _not_void(true: np.ndarray, found: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The found ids of which less than half is void."""
    ids, total = _sums(found, count)
    void = np.zeros(len(ids), np.int64)
    on_void = true == VOID
    np.add.at(void, np.searchsorted(ids, found[on_void]), count[on_void])
    return ids[2 * void < total]


def _main_objects(true: np.ndarray, found: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every found id, ascending: its main object or -1, how much of it that is, and how much it is in all."""
    width = int(true.max(initial=-1)) + 2
    keys, count = _sums(found * width + true + 1, count)
    found, true = keys // width, keys % width - 1
    ids, total = _sums(found, count)
    best = np.lexsort((true, -count, found))  # by id, then the greatest count, then the smaller object
    best = best[np.searchsorted(found[best], ids)]
    return true[best], count[best], total


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
