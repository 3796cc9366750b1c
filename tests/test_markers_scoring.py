"""Average precision: by hand, against a naive reading of ScanNet's definition, and at its quirks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bev.synthetic import synthetic_room
from markers import VOID, Found, TrueObjects, average_precision
from markers.cluster import cluster
from markers.instance import Instance, fit_box

CLASSES = ("chair", "table", "lamp")


def _truth(*sizes: int, labels: tuple[str, ...] = (), tail: int = 0) -> TrueObjects:
    """Objects 0, 1, ... of these sizes one after the other, then `tail` vertices of no object."""
    ids = np.append(np.repeat(np.arange(len(sizes)), sizes), np.full(tail, -1))
    return TrueObjects(ids, dict(enumerate(labels)))


def _found(start: int, stop: int, label: str = "object", score: float = 1.0) -> Found:
    return Found(np.arange(start, stop), label, score)


def _any(truth: TrueObjects, found: list[Found], min_region: int = 100):
    return average_precision([(truth, found)], min_region=min_region).classes["any"]


def test_the_truth_itself_scores_one():
    room = synthetic_room(1)
    truth = TrueObjects(room.vertex_ids, {thing.id: thing.label for thing in room.objects})
    found = [Found(np.flatnonzero(room.vertex_ids == thing.id), thing.label) for thing in room.objects]
    labels = sorted({thing.label for thing in room.objects})
    agnostic = average_precision([(truth, found)], min_region=1)
    by_class = average_precision([(truth, found)], min_region=1, classes=labels)
    for scores in (agnostic, by_class):
        assert (scores.ap, scores.ap50, scores.ap25) == (1.0, 1.0, 1.0)
    assert sum(score.objects for score in by_class.classes.values()) == len(found) == agnostic.classes["any"].found


def test_clustering_a_room_scores_between_nothing_and_all():
    room = synthetic_room(1)
    scores = average_precision([(TrueObjects(room.vertex_ids), cluster(room.surface))], min_region=50)
    assert 0 < scores.ap < scores.ap25 < 1


def test_an_overlap_must_exceed_the_threshold():
    truth = _truth(200, tail=200)
    half = _any(truth, [_found(0, 100)], min_region=1)
    assert (half.ap50, half.ap25) == (0.0, 1.0)  # IoU is 0.5 exactly
    more = _any(truth, [_found(0, 101)], min_region=1)
    assert (more.ap, more.ap50) == (pytest.approx(1 / 9), 1.0)


def test_a_second_match_is_a_false_one_and_the_better_score_is_kept():
    truth = _truth(200, 200)
    weak, strong, other = _found(0, 190, score=0.5), _found(5, 200, score=0.9), _found(200, 400, score=0.3)
    for found in ([weak, strong, other], [strong, weak, other]):
        # precision 2/3, 1/2, 1, 1 at recall 1, 1/2, 1/2, 0: each a quarter wide
        assert _any(truth, found).ap50 == pytest.approx((2 / 3 + 1 / 2 + 1 + 1) / 4)


def test_at_a_quarter_one_prediction_may_be_two_objects_and_counts_for_the_first():
    truth, both = _truth(200, 200), _found(0, 400, score=0.5)
    assert _any(truth, [both]).ap25 == pytest.approx(0.5)
    # ScanNet's quirk: as the second on the first object it is wrong, and still free to be right on the other
    scores = _any(truth, [_found(0, 200, score=0.9), both])
    assert scores.ap25 == pytest.approx((2 / 3 + 2 * 1 + 1) / 4)


def test_predictions_on_nothing_cost_only_where_the_truth_says_an_object_is():
    truth = _truth(300, 300, tail=300)
    right = [_found(0, 300, score=0.5), _found(300, 600, score=0.5)]
    on_wall = _found(600, 900, score=0.9)
    on_object = Found(np.arange(100, 500), score=0.9)
    assert _any(truth, [*right, on_wall]).ap50 == 1.0
    # precision 2/3, 0, 1 at recall 1, 0, 0
    assert _any(truth, [*right, on_object]).ap50 == pytest.approx(2 / 3 / 2)
    # just half of it on the wall is not more than the threshold
    on_both = Found(np.append(np.arange(200, 350), np.arange(600, 750)), score=0.9)
    assert _any(truth, [*right, on_both]).ap50 < 1 and _any(truth, [*right, on_both]).ap25 == 1


def test_void_and_no_object_are_one_to_average_precision():
    truth = _truth(300, 300, tail=300)
    void = TrueObjects(np.where(truth.vertex_ids < 0, VOID, truth.vertex_ids))
    found = [_found(0, 250), _found(280, 640, score=0.4), _found(550, 900, score=0.7)]
    assert _any(truth, found) == _any(void, found)


def test_small_objects_are_not_asked_for_and_small_predictions_not_judged():
    truth = _truth(300, 60, tail=50)
    assert _any(truth, [_found(0, 300)]).objects == 1
    assert _any(truth, [_found(0, 300)]).ap == 1.0
    # on the small one, larger than the least: matched or mainly on it, it is left out
    assert _any(truth, [_found(0, 300, score=0.5), _found(250, 360, score=0.9)], min_region=61).ap50 == 1.0
    on_both = _found(250, 350, score=0.9)  # more than half of it on the small one, at an IoU of less
    assert _any(_truth(300, 90), [_found(0, 300, score=0.5), on_both]).ap50 < 1.0
    assert _any(_truth(299, 90), [_found(0, 299, score=0.5), on_both]).ap50 == 1.0
    assert _any(truth, [_found(0, 300, score=0.5), _found(100, 160, score=0.9)]).found == 1
    assert _any(truth, [_found(0, 300, score=0.5), _found(100, 160, score=0.9)], min_region=60).ap50 < 1.0


def test_labels_count_only_where_they_are_asked_for():
    truth = _truth(200, 200, labels=("chair", "table"))
    found = [_found(0, 200, "table"), _found(200, 400, "table")]
    assert average_precision([(truth, found)]).ap == 1.0
    scores = average_precision([(truth, found)], classes=CLASSES)
    assert scores.classes["chair"].ap == 0.0
    # one of the two tables is a chair: a false one of equal score
    assert scores.classes["table"].ap50 == pytest.approx(0.5 * 0.5 + 1.0 * 0.5)
    assert np.isnan(scores.classes["lamp"].ap) and scores.classes["lamp"].objects == 0
    assert scores.ap == pytest.approx((0.0 + scores.classes["table"].ap) / 2)


def test_objects_of_classes_that_are_not_asked_for_are_void():
    truth = _truth(200, 200, labels=("chair", "window"))
    found = [_found(0, 200, "chair", 0.5), _found(200, 400, "chair", 0.9)]
    assert average_precision([(truth, found)], classes=("chair",)).ap == 1.0
    assert average_precision([(truth, found)], classes=("chair", "window")).classes["chair"].ap < 1.0


def test_rooms_are_pooled_not_averaged():
    good = (_truth(200), [_found(0, 200, score=0.9)])
    bad = (_truth(200, 200, 200), [])
    assert average_precision([bad, good]).ap == pytest.approx(0.25 / 2 + 0.0 + 0.25 / 2)
    assert average_precision([good, bad]) == average_precision([bad, good])


def test_no_objects_is_nan_and_no_predictions_zero():
    empty = average_precision([(_truth(tail=300), [_found(0, 200)])])
    assert np.isnan(empty.ap) and np.isnan(empty.classes["any"].ap50)
    assert np.isnan(average_precision([]).ap)
    assert average_precision([(_truth(200), [])]).ap == 0.0
    # ScanNet's own script ends with an IndexError where all predictions are left out
    assert average_precision([(_truth(200, tail=300), [_found(200, 500)])]).ap == 0.0


def test_instances_are_predictions():
    room = synthetic_room(2)
    vertices = np.flatnonzero(room.vertex_ids == 1).astype(np.int32)
    instance = Instance(7, "chair", vertices, fit_box(room.surface.vertices[vertices]), "detect", score=0.4)
    truth = TrueObjects.of([instance], len(room.vertex_ids))
    assert truth.label(7) == "chair" and truth.ids().tolist() == [7]
    assert average_precision([(truth, [instance])], classes=["chair"], min_region=1).ap == 1.0


def test_giving_objects_up():
    truth = _truth(10, 20, 30)
    assert truth.without([1]).vertex_ids[10:30].tolist() == [VOID] * 20
    assert truth.without([1], left=-1).vertex_ids[10:30].tolist() == [-1] * 20
    assert truth.without([0, 2]).ids().tolist() == [1]


@pytest.mark.parametrize("vertices", [[0, 1, 1], [-1, 0], [5, 400]])
def test_vertices_that_cannot_be_are_refused(vertices: list[int]):
    with pytest.raises(ValueError, match="found object 1"):
        average_precision([(_truth(400), [_found(0, 300), Found(np.array(vertices))])])


def test_ids_below_void_are_refused():
    with pytest.raises(ValueError, match="-2 or more"):
        TrueObjects(np.array([0, -3]))


# --- the definition, read naively: sets of vertices, thresholds one by one ---


def _naive(rooms: list[tuple[TrueObjects, list[Found]]], label: str, labels: tuple[str, ...], least: int, over: float):
    right, wrong, missed = [], [], 0
    for truth, found in rooms:
        objects = {
            int(i): set(np.flatnonzero(truth.vertex_ids == i).tolist())
            for i in np.unique(truth.vertex_ids)
            if i >= 0 and truth.label(int(i)) in labels
        }
        everything = set().union(*objects.values()) if objects else set()
        mine = {i: v for i, v in objects.items() if truth.label(i) == label}
        masks = [(set(f.vertices.tolist()), f.score) for f in found if f.label == label and len(f.vertices) >= least]
        used: set[int] = set()
        for vertices in mine.values():
            if len(vertices) < least:
                continue
            scores = []
            for number, (mask, score) in enumerate(masks):
                if number not in used and len(mask & vertices) / len(mask | vertices) > over:
                    if not scores:
                        used.add(number)
                    scores.append(score)
            if scores:
                right.append(max(scores))
                # each later one is compared with the best so far
                best = scores[0]
                for score in scores[1:]:
                    wrong.append(min(best, score))
                    best = max(best, score)
            else:
                missed += 1
        for mask, score in masks:
            if any(len(mask & v) / len(mask | v) > over for v in mine.values()):
                continue
            ignored = len(mask - everything) + sum(len(mask & v) for v in mine.values() if len(v) < least)
            if ignored / len(mask) <= over:
                wrong.append(score)
    if not right and not missed:
        return float("nan")
    curve = [(1.0, 0.0)]  # precision and recall, from the highest threshold to the lowest
    for threshold in sorted({*right, *wrong}, reverse=True):
        hits, errors = sum(s >= threshold for s in right), sum(s >= threshold for s in wrong)
        curve.append((hits / (hits + errors), hits / (len(right) + missed)))
    area = 0.0
    for place, (precision, _) in enumerate(curve):
        before = curve[max(place - 1, 0)][1]
        after = curve[min(place + 1, len(curve) - 1)][1]
        area += precision * (after - before) / 2
    return area


def _random_rooms(rng: np.random.Generator) -> list[tuple[TrueObjects, list[Found]]]:
    """Rooms of a few vertices, with predictions near the truth, over two objects, and anywhere."""
    rooms = []
    for _ in range(rng.integers(1, 3)):
        sizes = rng.integers(2, 13, rng.integers(0, 7)).tolist()
        names = tuple(rng.choice([*CLASSES, "wall"], len(sizes), p=[0.6, 0.2, 0.1, 0.1]).tolist())
        truth = _truth(*sizes, labels=names, tail=int(rng.integers(1, 20)))
        starts, count, found = np.cumsum([0, *sizes]), len(truth.vertex_ids), []
        for _ in range(rng.integers(0, 12)):
            if sizes and rng.random() < 0.7:
                first = int(rng.integers(len(sizes)))
                last = min(first + int(rng.random() < 0.3), len(sizes) - 1)
                name, ends = names[first], starts[[first, last + 1]] + rng.integers(-2, 3, 2)
            else:
                name, ends = str(rng.choice([*CLASSES, "wall"])), rng.integers(0, count, 2)
            start, stop = np.clip(np.sort(ends), 0, count)
            if start < stop:
                found.append(_found(start, stop, name, float(rng.choice([0.1, 0.2, 0.5, 0.9]))))
        rooms.append((truth, found))
    return rooms


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 6))
def test_it_is_the_definition(seed: int, least: int):
    rooms = _random_rooms(np.random.default_rng(seed))
    scores = average_precision(rooms, classes=CLASSES, min_region=least)
    for name in CLASSES:
        expected = [_naive(rooms, name, CLASSES, least, over) for over in (*np.arange(0.5, 0.95, 0.05), 0.25)]
        got = scores.classes[name]
        np.testing.assert_allclose(
            [got.ap, got.ap50, got.ap25], [np.mean(expected[:-1]), expected[0], expected[-1]], atol=1e-9
        )
    for name in ("ap", "ap50", "ap25"):
        values = [getattr(score, name) for score in scores.classes.values() if score.objects]
        expected = np.mean(values) if values else np.nan
        np.testing.assert_allclose(getattr(scores, name), expected, atol=1e-12)
