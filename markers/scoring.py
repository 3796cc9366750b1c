"""Average precision of 3D instances, as ScanNet's benchmark defines it.

The rules are those of ScanNet's `BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py`
(github.com/ScanNet/ScanNet), quirks included, so that numbers compare with published ones; the tables are sparse counts
instead of loops over vertices.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from markers.instance import Instance

VOID = -2
"""The id of vertices or pixels of which the truth knows nothing: neither an object nor no object."""

OVERLAPS = np.append(np.arange(0.5, 0.95, 0.05), 0.25)
"""(10,) IoU that a match must exceed: 0.5 to 0.9, which AP is the mean of, and 0.25."""

ANY_CLASS = "any"
"""The name of the one class of a class-agnostic score."""


class Found(NamedTuple):
    """A predicted object, where an `Instance` would be too much to make; masks may overlap."""

    vertices: np.ndarray
    """(n,) int: rows of the surface's vertices, each once."""
    label: str = "object"
    score: float = 1.0


@dataclass(frozen=True, eq=False)
class TrueObjects:
    """Which objects a surface really holds."""

    vertex_ids: np.ndarray
    """(V,) int32: the true object of every vertex, -1 = no object (floor, walls), `VOID` = nobody knows."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """What each object is; those that are missing are "object"."""

    def __post_init__(self) -> None:
        vertex_ids = np.asarray(self.vertex_ids, np.int32)
        if vertex_ids.ndim != 1 or vertex_ids.min(initial=0) < VOID:
            raise ValueError(f"vertex_ids must have shape (V,) and be {VOID} or more, got {vertex_ids.shape}")
        object.__setattr__(self, "vertex_ids", vertex_ids)

    @classmethod
    def of(cls, instances: Iterable[Instance], vertex_count: int) -> "TrueObjects":
        """The objects that annotated instances say; every other vertex is no object."""
        vertex_ids = np.full(vertex_count, -1, np.int32)
        labels = {}
        for instance in instances:
            vertex_ids[instance.vertices] = instance.id
            labels[instance.id] = instance.label
        return cls(vertex_ids, labels)

    def ids(self) -> np.ndarray:
        """(n,) int32 ascending: the objects that have vertices."""
        return np.unique(self.vertex_ids[self.vertex_ids >= 0])

    def label(self, id: int) -> str:
        return self.labels.get(id, "object")

    def without(self, ids: Iterable[int], *, left: int = VOID) -> "TrueObjects":
        """The same with some objects given up: their vertices are void, or -1, no object, as `left` says."""
        gone = np.isin(self.vertex_ids, np.fromiter(ids, np.int64))
        return replace(self, vertex_ids=np.where(gone, np.int32(left), self.vertex_ids))


@dataclass(frozen=True)
class ClassScore:
    """One class; NaN where the truth holds no object of it."""

    ap: float
    """Mean over the IoU thresholds 0.5, 0.55, ... 0.9."""
    ap50: float
    ap25: float
    objects: int
    """True objects of the least size or more."""
    found: int
    """Predicted ones of the least size or more."""


@dataclass(frozen=True)
class InstanceScores:
    """Average precision per class, and its mean over the classes that the truth holds; NaN where it holds none."""

    classes: Mapping[str, ClassScore]
    ap: float
    ap50: float
    ap25: float


@dataclass(frozen=True, eq=False)
class _Table:
    """How one room's true and predicted objects overlap."""

    shared: np.ndarray
    """(T, P) int64 vertices."""
    on_void: np.ndarray
    """(P,) int64: vertices that are of no true object of any class in play."""
    true_size: np.ndarray
    true_class: np.ndarray
    """(T,) int64: row of the classes."""
    found_size: np.ndarray
    found_class: np.ndarray
    """(P,) int64, -1 = out of play."""
    score: np.ndarray


def average_precision(
    rooms: Iterable[tuple[TrueObjects, Sequence[Found | Instance]]],
    *,
    classes: Sequence[str] | None = None,
    min_region: int = 100,
) -> InstanceScores:
    """ScanNet's AP, AP50 and AP25 of predicted 3D objects, pooled over rooms.

    A prediction matches a true object of its class when their IoU exceeds the threshold; each true object in ascending
    order of ids takes all that match it and are not taken, counts the best as found and the others as false. What
    matches nothing is false, unless more than the threshold's share of it lies on vertices that are no object in play,
    or on true objects of its class that are too small: then it is left out. So an id on a bare wall costs nothing here;
    see `markers.identity.surface_identity` for that. Where scores are equal, the curve has one point for all of them.

    Args:
        rooms: each one's truth, and what was found on the same vertices; found objects keep their order where
            0.25 leaves a choice.
        classes: score these labels one by one; true objects of other labels are void, predictions of others are left
            out. None scores all objects as one class, `ANY_CLASS`, whatever their labels.
        min_region: vertices; smaller predictions are left out, smaller true objects are not asked for.

    Raises:
        ValueError: a prediction names a vertex that the truth does not have, or names one twice.
    """
    names = [ANY_CLASS] if classes is None else list(classes)
    tables = [_table(truth, found, names if classes is not None else None, min_region) for truth, found in rooms]
    scores = {name: _class_score(tables, row, min_region) for row, name in enumerate(names)}
    there = [score for score in scores.values() if score.objects]
    means = [float(np.mean([getattr(s, name) for s in there])) if there else np.nan for name in ("ap", "ap50", "ap25")]
    return InstanceScores(scores, *means)


def _table(truth: TrueObjects, found: Sequence[Found | Instance], classes: list[str] | None, min_region: int) -> _Table:
    row_of = {} if classes is None else {name: row for row, name in enumerate(classes)}
    ids = truth.ids()
    true_class = np.array([0 if classes is None else row_of.get(truth.label(int(i)), -1) for i in ids], np.int64)
    ids, true_class = ids[true_class >= 0], true_class[true_class >= 0]
    found_class = np.array([0 if classes is None else row_of.get(f.label, -1) for f in found], np.int64)
    found_size = np.array([len(f.vertices) for f in found], np.int64)
    # row 0 is void: no object, unknown, or of a class that is not in play
    row_of_vertex = np.zeros(len(truth.vertex_ids), np.int64)
    in_play = np.isin(truth.vertex_ids, ids)
    row_of_vertex[in_play] = 1 + np.searchsorted(ids, truth.vertex_ids[in_play])
    vertices = np.concatenate([np.asarray(f.vertices, np.int64) for f in found]) if len(found) else np.empty(0, int)
    owner = np.repeat(np.arange(len(found)), found_size)
    _check_vertices(vertices, owner, len(row_of_vertex))
    cells = owner * (len(ids) + 1) + row_of_vertex[vertices]
    counts = np.bincount(cells, minlength=len(found) * (len(ids) + 1)).reshape(len(found), len(ids) + 1).T
    return _Table(
        shared=counts[1:],
        on_void=counts[0],
        true_size=np.bincount(row_of_vertex, minlength=len(ids) + 1)[1:],
        true_class=true_class,
        found_size=found_size,
        found_class=np.where(found_size < max(min_region, 1), -1, found_class),
        score=np.array([f.score for f in found], np.float64),
    )


def _check_vertices(vertices: np.ndarray, owner: np.ndarray, vertex_count: int) -> None:
    wrong = (vertices < 0) | (vertices >= vertex_count)
    if wrong.any():
        raise ValueError(f"found object {owner[wrong][0]} has vertex {vertices[wrong][0]} of {vertex_count}")
    named = np.sort(owner * vertex_count + vertices)
    twice = np.flatnonzero(named[1:] == named[:-1])
    if len(twice):
        raise ValueError(f"found object {named[twice[0]] // vertex_count} names a vertex twice")


def _class_score(tables: list[_Table], class_row: int, min_region: int) -> ClassScore:
    objects = sum(int(((t.true_class == class_row) & (t.true_size >= min_region)).sum()) for t in tables)
    found = sum(int((t.found_class == class_row).sum()) for t in tables)
    aps = np.full(len(OVERLAPS), np.nan)
    if objects:
        for row, overlap in enumerate(OVERLAPS):
            judged = [_judge(table, class_row, float(overlap), min_region) for table in tables]
            truth, score = (np.concatenate(parts) for parts in zip(*judged, strict=True))
            aps[row] = _area(truth, score, objects)
    return ClassScore(float(aps[:-1].mean()), float(aps[0]), float(aps[-1]), objects, found)


def _judge(table: _Table, class_row: int, overlap: float, min_region: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each prediction that counts is right, (n,) bool, and its score, (n,)."""
    true, found = table.true_class == class_row, table.found_class == class_row
    shared = table.shared[np.ix_(true, found)]
    true_size, found_size = table.true_size[true], table.found_size[found]
    score: list[float] = table.score[found].tolist()
    matches = shared / (true_size[:, None] + found_size - shared) > overlap
    asked = true_size >= min_region
    best: dict[int, float] = {}
    false: list[float] = []
    taken = np.zeros(len(score), bool)
    for row, column in np.argwhere(matches & asked[:, None]).tolist():
        if taken[column]:
            continue
        if row in best:  # its lower score is a false one; the column stays free for another object, as in ScanNet's
            false.append(min(best[row], score[column]))
            best[row] = max(best[row], score[column])
        else:
            best[row] = score[column]
            taken[column] = True
    ignored = (table.on_void[found] + shared[~asked].sum(axis=0)) / found_size
    stray = np.array(score)[~matches.any(axis=0) & (ignored <= overlap)]
    scores = np.concatenate([np.array([*best.values(), *false], np.float64), stray])
    return np.arange(len(scores)) < len(best), scores


def _area(right: np.ndarray, score: np.ndarray, objects: int) -> float:
    """Area under precision over recall, each point as wide as half the way between its two neighbours.

    Args:
        right: (n,) bool.
        score: (n,).
        objects: how many there are to be found, above 0.
    """
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    right_below = np.append(0, np.cumsum(right[order]))[first]
    hits = right.sum() - right_below
    precision = np.append(hits / (len(score) - first), 1.0)  # the last point, nothing predicted, is by definition
    recall = np.append(hits / objects, 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((around[:-2] - around[2:]) / 2))
