"""Overlap of boxes at exact thresholds, turned boxes against counted points, and pairs of the greatest overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4scene.metrics.boxes import (
    bounds_iou,
    bounds_iou_float32,
    bounds_of,
    bounds_of_corners,
    box_around,
    box_iou,
    corners_of,
    yawed_iou,
)
from gpt4scene.metrics.matching import matched_f1
from markers.instance import Box

UNIT = np.array([0, 0, 0, 1, 1, 1.0])
lengths = st.floats(0.05, 3)
boxes = st.builds(
    lambda center, size: np.array([*center, *size]),
    st.tuples(*[st.floats(-2, 2)] * 3),
    st.tuples(lengths, lengths, lengths),
)
yaws = st.floats(-4, 4)


def test_exactly_half_falls_short_in_float64_and_counts_in_float32() -> None:
    """The trap of scorers: ScanRefer's epsilon tells in float64, M3DRef-CLIP's is lost in float32 for large boxes."""
    half = np.array([0, 0, 0, 1, 1, 0.5])
    assert float(box_iou(UNIT, half)) == 0.5 / (1 + 1e-8) < 0.5
    assert float(np.float32(box_iou(UNIT, half))) == 0.5  # so it counts in GPT4Scene's Multi3DRefer
    double = np.array([0, 0, 0, 2, 1, 1.0])
    assert float(bounds_iou_float32(bounds_of(UNIT), bounds_of(double))) == 0.5
    assert float(bounds_iou_float32(bounds_of(UNIT), bounds_of(half))) < 0.5
    assert bounds_iou_float32(bounds_of(UNIT), bounds_of(half)).dtype == np.float32


def test_a_box_of_negative_size_is_the_same_box_and_an_empty_one_overlaps_nothing() -> None:
    assert float(box_iou(np.array([0, 0, 0, -1, 1, 1.0]), UNIT)) == pytest.approx(1)
    empty = np.zeros(6)
    assert float(box_iou(empty, empty)) == 0.0 == float(box_iou(empty, UNIT))


@given(boxes, boxes)
def test_overlap_is_symmetric_and_between_none_and_all(one: np.ndarray, other: np.ndarray) -> None:
    assert float(box_iou(one, other)) == float(box_iou(other, one))
    assert 0 <= float(box_iou(one, other)) <= 1
    assert float(box_iou(one, one)) == pytest.approx(1, abs=1e-4)


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, min_size=1, max_size=4))
def test_many_at_once_are_as_one_by_one(some: list[np.ndarray], others: list[np.ndarray]) -> None:
    table = box_iou(np.stack(some)[:, None], np.stack(others)[None])
    assert table.tolist() == [[float(box_iou(one, other)) for other in others] for one in some]


@given(boxes)
def test_corners_bounds_and_boxes_lead_back_to_each_other(box: np.ndarray) -> None:
    corners = corners_of(box)
    assert corners.shape == (8, 3) and len(np.unique(np.round(corners, 9), axis=0)) == 8
    assert (corners[:4, 2] > corners[4:, 2]).all()
    assert np.array_equal(bounds_of_corners(corners), bounds_of(box))
    assert np.allclose(box_around(corners), box)


@given(boxes, boxes)
def test_boxes_that_are_not_turned_overlap_as_axis_aligned_ones(one: np.ndarray, other: np.ndarray) -> None:
    exact = bounds_iou(bounds_of(one), bounds_of(other))
    assert yawed_iou(np.append(one, 0), np.append(other, 0)) == pytest.approx(float(exact), abs=1e-4)


@given(boxes, boxes, yaws, yaws, yaws, st.floats(-1000, 1000))
def test_overlap_of_turned_boxes_stays_when_both_are_moved(
    one: np.ndarray, other: np.ndarray, yaw: float, other_yaw: float, turn: float, far: float
) -> None:
    before = yawed_iou(np.append(one, yaw), np.append(other, other_yaw))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = []
    for box, angle in ((one, yaw), (other, other_yaw)):
        xy = rotation @ box[:2] + far
        turned.append(np.array([*xy, *box[2:], angle + turn]))
    assert yawed_iou(*turned) == pytest.approx(before, abs=1e-6)
    assert yawed_iou(turned[1], turned[0]) == pytest.approx(before, abs=1e-6)
    # a quarter turn with the sides exchanged is the same box
    same = np.array([*one[:3], one[4], one[3], one[5], yaw + np.pi / 2])
    assert yawed_iou(same, np.append(other, other_yaw)) == pytest.approx(before, abs=1e-6)


def test_overlap_of_turned_boxes_is_what_points_in_both_count() -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(-1.6, 1.6, (200_000, 3))
    for _ in range(12):
        some = [(*rng.uniform(-0.4, 0.4, 3), *rng.uniform(0.4, 1.6, 3), rng.uniform(-3, 3)) for _ in range(2)]
        inside = [_within(Box(np.array(b[:3]), np.array(b[3:6]), b[6]), points) for b in some]
        counted = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()
        assert yawed_iou(np.array(some[0]), np.array(some[1])) == pytest.approx(counted, abs=0.03)


def _within(box: Box, points: np.ndarray) -> np.ndarray:
    cosine, sine = np.cos(box.yaw), np.sin(box.yaw)
    local = (points - box.center) @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return np.all(np.abs(local) <= box.size / 2, axis=1)


def test_a_square_turned_by_an_eighth_in_itself() -> None:
    octagon = 2 * np.sqrt(2) - 2
    turned = np.append(UNIT, np.pi / 4)
    assert yawed_iou(np.append(UNIT, 0), turned) == pytest.approx(octagon / (2 - octagon), abs=1e-12)
    assert yawed_iou(np.append(UNIT, 0), turned + [0, 0, 2, 0, 0, 0, 0]) == 0.0
    assert yawed_iou(np.append(UNIT, 0), turned + [5, 0, 0, 0, 0, 0, 0]) == 0.0
    assert yawed_iou(np.zeros(7), np.zeros(7)) == 0.0


def test_pairs_are_made_for_the_greatest_sum_not_for_the_most_that_count() -> None:
    """0.9 + 0.1 is more than 0.45 + 0.45, of which both would count."""
    assert matched_f1(np.array([[0.9, 0.45], [0.45, 0.1]])) == (0.5, 0.5)
    assert matched_f1(np.array([[0.9, 0.45], [0.5, 0.1]])) == (0.5, 0.5)
    assert matched_f1(np.array([[0.6, 0.45], [0.45, 0.1]])) == (1.0, 0.0)


def test_what_is_too_much_or_too_little_lowers_f1() -> None:
    assert matched_f1(np.array([[0.7], [0.7], [0.7]])) == (0.5, 0.5)
    assert matched_f1(np.array([[0.3, 0.0, 0.0]])) == (0.5, 0.0)
    assert matched_f1(np.zeros((0, 3))) == matched_f1(np.zeros((2, 0))) == (0.0, 0.0)
    assert matched_f1(np.zeros((0, 0))) == (1.0, 1.0)
    assert matched_f1(np.array([[0.5]]), (0.5, 0.5000001)) == (1.0, 0.0)
    assert matched_f1(np.array([[np.nan, 0.6]])) == (2 / 3, 2 / 3)


def test_exactly_half_counts_once_it_is_float32() -> None:
    iou = box_iou(UNIT, np.array([0, 0, 0, 1, 1, 0.5])).reshape(1, 1)
    assert iou[0, 0] < 0.5 and matched_f1(iou) == (1.0, 1.0)
