"""One number per object: on a surface, and over the frames of a walk."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bev.synthetic import film, synthetic_room
from markers import VOID, identity_scores, surface_identity

WIDTH = 10


def _bands(*ids: int | tuple[int, int]) -> np.ndarray:
    """A row of pixels, ten to each id; of a pair the first has six, the second four."""
    row = [[band] * WIDTH if isinstance(band, int) else [band[0]] * 6 + [band[1]] * 4 for band in ids]
    return np.array([[pixel for pixels in row for pixel in pixels]], np.int32)


def _ids(**counts: int) -> np.ndarray:
    return np.concatenate(
        [np.full(n, {"none": -1, "void": VOID}.get(name) or int(name[1:])) for name, n in counts.items()]
    )


# --- on the surface ---


def test_a_room_has_one_id_each_for_its_objects():
    ids = synthetic_room(1).vertex_ids
    scores = surface_identity(ids, ids)
    assert scores.objects == scores.one_id == scores.ids == len(np.unique(ids[ids >= 0]))
    assert (scores.no_id, scores.spurious, scores.purity) == (0, 0, 1.0)
    assert scores.one_id_share == 1.0 and scores.spurious_share == 0.0


def test_names_of_ids_do_not_matter():
    ids = synthetic_room(1).vertex_ids
    found = np.where(np.arange(len(ids)) % 7 == 0, -1, ids)
    renamed = np.where(found >= 0, 1000 - 3 * found, -1)
    assert surface_identity(ids, found) == surface_identity(ids, renamed)


def test_two_ids_on_an_object_are_one_too_many():
    true = _ids(o0=100, o1=50, none=30)
    found = np.repeat([5, 6, 7, -1], [70, 30, 50, 30])
    scores = surface_identity(true, found)
    assert (scores.objects, scores.one_id, scores.no_id, scores.ids, scores.spurious) == (2, 1, 0, 3, 1)
    assert scores.purity == 1.0


def test_one_id_over_two_objects_leaves_the_smaller_without():
    scores = surface_identity(_ids(o0=100, o1=50), np.full(150, 3))
    assert (scores.one_id, scores.no_id, scores.spurious) == (1, 1, 0)
    assert scores.purity == pytest.approx(100 / 150)


def test_an_id_that_is_mainly_wall_is_spurious_and_has_no_purity():
    true = _ids(o0=100, none=100)
    found = np.repeat([1, 2, -1], [60, 130, 10])  # 2 is 40 of the object and 90 of the wall
    scores = surface_identity(true, found)
    assert (scores.one_id, scores.ids, scores.spurious, scores.purity) == (1, 2, 1, 1.0)
    bleeding = surface_identity(true, np.repeat([1, -1], [125, 75]))
    assert (bleeding.spurious, bleeding.purity) == (0, 0.8)


def test_void_is_left_out():
    true = _ids(o0=100, void=100)
    assert surface_identity(true, np.repeat([1, -1], [150, 50])).purity == 1.0
    on_void = surface_identity(true, np.repeat([1, 2], [100, 100]))
    assert (on_void.ids, on_void.spurious) == (1, 0)
    half = surface_identity(true, np.repeat([-1, 2, -1], [50, 100, 50]))
    assert (half.ids, half.no_id) == (0, 1)


def test_nothing_found_and_nothing_true():
    nothing = surface_identity(_ids(o0=10), np.full(10, -1))
    assert (nothing.one_id, nothing.no_id, nothing.ids) == (0, 1, 0) and np.isnan(nothing.purity)
    assert np.isnan(nothing.spurious_share)
    empty = surface_identity(np.full(10, -1), np.full(10, 4))
    assert (empty.objects, empty.spurious) == (0, 1) and np.isnan(empty.one_id_share)
    with pytest.raises(ValueError, match="shape"):
        surface_identity(np.zeros(3), np.zeros(4))


# --- over frames ---


def test_a_film_agrees_with_itself():
    walk = film(synthetic_room(2), frames=5, width=160, height=120)
    maps = [walk.instance_ids(index) for index in range(5)]
    scores = identity_scores([(ids, ids) for ids in maps])
    assert (scores.idf1, scores.id_precision, scores.id_recall, scores.purity) == (1.0, 1.0, 1.0, 1.0)
    assert (scores.switches, scores.fragments, scores.missed, scores.stray) == (0, 0, 0, 0)
    assert scores.matched == sum(len(np.unique(ids[ids >= 0])) for ids in maps)
    assert scores.objects == scores.ids == len(np.unique([i for ids in maps for i in np.unique(ids) if i >= 0]))


def test_a_switch_costs_what_ristani_says():
    true = _bands(1, 2)
    scores = identity_scores([(true, _bands(8, 9))] * 3 + [(true, _bands(7, 9))] * 2)
    assert (scores.switches, scores.fragments, scores.matched) == (1, 0, 10)
    # object 1 keeps id 8 for 3 of its 5 frames: 8 of 10 regions on either side
    assert scores.idf1 == pytest.approx(0.8)
    assert scores.id_precision == scores.id_recall == pytest.approx(0.8)
    assert scores.purity == 1.0  # no id is on two objects


def test_swapped_numbers_are_two_switches_and_impure():
    true = _bands(1, 2)
    scores = identity_scores([(true, _bands(8, 9)), (true, _bands(8, 9)), (true, _bands(9, 8))])
    assert (scores.switches, scores.purity) == (2, pytest.approx(2 / 3))
    assert scores.idf1 == pytest.approx(2 / 3)


def test_one_id_per_object_and_frame_is_not_one_number():
    """What restarting marks in every frame does."""
    true = _bands(1)
    scores = identity_scores([(true, _bands(number)) for number in range(6)])
    assert (scores.matched, scores.switches) == (6, 5)
    assert scores.idf1 == pytest.approx(1 / 6) and scores.purity == 1.0


def test_a_gap_is_a_fragment_only_where_the_object_is_shown():
    true, found, nothing = _bands(1, -1), _bands(4, -1), _bands(-1, -1)
    missed = identity_scores([(true, found), (true, nothing), (true, nothing), (true, found)])
    assert (missed.fragments, missed.missed, missed.switches) == (1, 2, 0)
    away = identity_scores([(true, found), (nothing, nothing), (true, found)])
    assert (away.fragments, away.missed) == (0, 0) and away.idf1 == 1.0
    late = identity_scores([(true, nothing), (true, found), (true, nothing)])
    assert late.fragments == 0


def test_a_number_that_comes_back_to_another_object_after_a_gap_switches():
    true = _bands(1, 2)
    frames = [(true, _bands(8, 9)), (true, _bands(-1, -1)), (true, _bands(9, 8))]
    scores = identity_scores(frames)
    assert (scores.switches, scores.fragments) == (2, 2)


def test_an_object_keeps_its_id_though_another_overlaps_more():
    true = np.ones((1, 10), np.int32)
    frames = [(true, np.full((1, 10), 5)), (true, np.array([[5] * 4 + [6] * 6]))]
    assert identity_scores(frames, overlap_min=0.3).switches == 0
    assert identity_scores(frames, overlap_min=0.5).switches == 1


def test_the_overlap_is_enough_when_it_is_the_least():
    true, found = np.ones((1, 10), np.int32), np.array([[3] * 5 + [-1] * 5])
    assert identity_scores([(true, found)]).matched == 1
    assert identity_scores([(true, found)], overlap_min=0.51).matched == 0


def test_void_pixels_and_small_regions_are_left_out():
    true = np.array([[1] * 10 + [VOID] * 30], np.int32)
    found = np.array([[4] * 25 + [5] * 15], np.int32)
    scores = identity_scores([(true, found)])
    assert (scores.idf1, scores.stray, scores.ids) == (1.0, 0, 1)
    small = np.array([[1] * 20 + [2] * 3 + [-1] * 17], np.int32)
    marks = np.array([[4] * 20 + [5] * 3 + [-1] * 15 + [6] * 2], np.int32)
    assert identity_scores([(small, marks)]).objects == 2
    scores = identity_scores([(small, marks)], min_px=4)
    assert (scores.idf1, scores.objects, scores.ids, scores.stray) == (1.0, 1, 1, 0)


def test_no_frames_no_numbers():
    scores = identity_scores([])
    assert np.isnan(scores.idf1) and np.isnan(scores.purity) and (scores.frames, scores.switches) == (0, 0)
    blank = identity_scores([(_bands(-1), _bands(-1))])
    assert np.isnan(blank.idf1) and blank.frames == 1
    assert identity_scores([(_bands(1), _bands(-1))]).idf1 == 0.0


@pytest.mark.parametrize("overlap_min", [0.0, 1.1])
def test_what_cannot_be_is_refused(overlap_min: float):
    with pytest.raises(ValueError, match="overlap_min"):
        identity_scores([], overlap_min=overlap_min)
    with pytest.raises(ValueError, match="one shape"):
        identity_scores([(_bands(1), _bands(1, 2))])


# --- the definitions, read naively ---


def _naive(frames: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """At an overlap of more than a half no two regions compete, so there is nothing to choose within a frame."""
    pairs: list[dict[int, int]] = []
    shown: list[set[int]] = []
    found_count = 0
    for true, found in frames:
        objects, ids = (set(a[a >= 0].tolist()) for a in (true, found))
        overlap = {
            (o, i): ((true == o) & (found == i)).sum() / ((true == o) | (found == i)).sum()
            for o in objects
            for i in ids
        }
        pairs.append({o: i for (o, i), iou in overlap.items() if iou > 0.5})
        shown.append(objects)
        found_count += len(ids)
    objects, ids = sorted(set().union(*shown)), sorted({i for matches in pairs for i in matches.values()})
    ids += [-1 - spare for spare in range(len(objects))]  # an object may go without
    agreed = max(
        sum(matches.get(o) == i for matches in pairs for o, i in zip(objects, choice, strict=True))
        for choice in permutations(ids, len(objects))
    )
    switches = fragments = 0
    for o in objects:
        history = [matches.get(o) for matches, there in zip(pairs, shown, strict=True) if o in there]
        kept = [i for i in history if i is not None]
        switches += sum(a != b for a, b in pairwise(kept))
        inner = history[history.index(kept[0]) : len(history) - history[::-1].index(kept[-1])] if kept else []
        fragments += sum(a is not None and b is None for a, b in pairwise(inner))
    true_count = sum(map(len, shown))
    total = true_count + found_count
    return {"idf1": 2 * agreed / total if total else np.nan, "switches": switches, "fragments": fragments}


band = st.one_of(st.integers(-1, 3), st.tuples(st.integers(-1, 3), st.integers(-1, 3)))
places = st.lists(band, min_size=3, max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.permutations([0, 1, -1]), places), max_size=8))
def test_it_is_the_definition(rows: list[tuple[list[int], list]]):
    frames = [(_bands(*true), _bands(*found)) for true, found in rows]
    scores = identity_scores(frames, overlap_min=0.5 + 1e-9)
    for name, value in _naive(frames).items():
        np.testing.assert_allclose(getattr(scores, name), value, atol=1e-12, err_msg=name)
