"""Boxes that stand upright, and the map from vertices to instances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markers.instance import Box, Instance, fit_box, vertex_instance_ids


def _turn(yaw: float) -> np.ndarray:
    return np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])


def _filled_box(center, size, yaw: float, count: int = 4000, seed: int = 0) -> np.ndarray:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    inside = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))
    return np.concatenate([corners, inside]) * size @ _turn(yaw).T + center


def _instance(number: int, vertices: list[int]) -> Instance:
    box = Box(np.zeros(3), np.ones(3), 0.0)
    return Instance(number, "object", np.array(vertices, np.int32), box, "cluster")


@settings(max_examples=60, deadline=None)
@given(
    yaw=st.floats(-3.0, 3.0),
    size=st.tuples(*[st.floats(0.2, 3.0)] * 3),
    center=st.tuples(*[st.floats(-5.0, 5.0)] * 3),
)
def test_a_turned_box_is_recovered(yaw, size, center):
    points = _filled_box(center, size, yaw, count=50)
    box = fit_box(points)
    assert box.center == pytest.approx(center, abs=1e-6)
    assert np.prod(box.size) == pytest.approx(np.prod(size), rel=0.03)
    # the same rectangle, whichever of its sides counts as the first: its own corners are the points' extremes
    expected = _filled_box(center, size, yaw, count=0)
    found = box.corners()
    gap = np.linalg.norm(expected[:, None] - found[None], axis=2).min(axis=1).max()
    assert gap < 0.03 * max(size)


@pytest.mark.parametrize("degrees", [-40, -20, 0, 10, 30, 44])
def test_axis_zero_points_along_yaw(degrees):
    yaw = np.radians(degrees)
    box = fit_box(_filled_box((1, 2, 0.5), (2.0, 0.5, 1.0), yaw))
    assert box.yaw == pytest.approx(yaw, abs=1e-3)
    assert box.size == pytest.approx([2.0, 0.5, 1.0], abs=1e-3)


@pytest.mark.parametrize("degrees", [46, 60, 90, 135, 170])
def test_yaw_stays_within_an_eighth_of_a_turn_and_size_follows(degrees):
    box = fit_box(_filled_box((0, 0, 0), (2.0, 0.5, 1.0), np.radians(degrees)))
    assert abs(box.yaw) <= np.pi / 4 + 1e-9
    swapped = round((np.radians(degrees) - box.yaw) / (np.pi / 2)) % 2 == 1
    assert box.size == pytest.approx([0.5, 2.0, 1.0] if swapped else [2.0, 0.5, 1.0], abs=1e-3)


def test_the_order_of_points_does_not_matter():
    points = _filled_box((1, 2, 3), (1.5, 0.7, 0.4), 0.3)
    shuffled = np.random.default_rng(1).permutation(points)
    a, b = fit_box(points), fit_box(shuffled)
    assert a.yaw == b.yaw
    assert np.array_equal(a.center, b.center)
    assert np.array_equal(a.size, b.size)


def test_round_things_do_not_turn():
    angles = np.linspace(0, 2 * np.pi, 500)
    noise = np.random.default_rng(0).normal(0, 0.002, (500, 3))
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(500)], axis=1)
    assert abs(fit_box(circle + noise).yaw) < 0.05


@pytest.mark.parametrize(
    "points, size",
    [
        ([[1, 2, 3]], [0, 0, 0]),
        ([[0, 0, 0], [0, 0, 2]], [0, 0, 2]),
        ([[0, 0, 0], [1, 0, 0]], [1, 0, 0]),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 1]], [2, 0, 1]),
        ([[0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 0]], [3, 4, 0]),
    ],
    ids=["one point", "a pole", "two points", "on a line", "a triangle"],
)
def test_degenerate_points_still_have_a_box(points, size):
    box = fit_box(np.array(points, float))
    assert box.size == pytest.approx(size, abs=1e-9)
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    assert box.center == pytest.approx((low + high) / 2)


def test_a_line_across_has_a_box_along_it():
    box = fit_box(np.array([[0, 0, 0], [1, 1, 0], [2, 2, 0]], float))
    assert sorted(box.size) == pytest.approx([0, 0, np.sqrt(8)], abs=1e-6)


def test_every_vertex_knows_its_instance():
    ids = vertex_instance_ids([_instance(0, [0, 2]), _instance(7, [3])], 5)
    assert ids.dtype == np.int32
    assert ids.tolist() == [0, -1, 0, 7, -1]
    assert vertex_instance_ids([], 3).tolist() == [-1, -1, -1]


def test_a_vertex_has_one_instance():
    with pytest.raises(ValueError, match="0 and 7"):
        vertex_instance_ids([_instance(0, [0, 2]), _instance(7, [2, 3])], 5)


def test_an_instance_needs_vertices_and_an_id():
    with pytest.raises(ValueError, match="no vertices"):
        _instance(1, [])
    with pytest.raises(ValueError, match=">= 0"):
        _instance(-1, [0])
