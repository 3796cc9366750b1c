"""Which frames are shown: the paper's even spacing, and the frames that together show the most."""

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bev.camera import Camera
from bev.sampling import coverage_sample, prefer_sharp, surface_shares, uniform_sample
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster


@given(count=st.integers(1, 3000), wanted=st.integers(1, 64))
def test_uniform_is_the_papers_formula(count: int, wanted: int) -> None:
    chosen = uniform_sample(count, wanted)
    n = min(wanted, count)
    # "s_i = floor((i - 1) * N / n) + 1", frames and i counted from 1
    paper = [int(np.floor((i - 1) * count / n)) + 1 for i in range(1, n + 1)]
    assert [position + 1 for position in chosen] == paper
    assert chosen[0] == 0 and chosen[-1] < count and len(set(chosen)) == n
    if n > 1:
        gaps = np.diff([*chosen, count])
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("wanted", [0, -3])
def test_no_frames_cannot_be_wanted(wanted: int) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        uniform_sample(10, wanted)
    with pytest.raises(ValueError, match="at least one frame"):
        coverage_sample(np.ones((3, 2)), np.ones(2), wanted)


def _worth(shares: np.ndarray, weights: np.ndarray, chosen: list[int]) -> float:
    return float(shares[chosen].max(axis=0) @ weights)


def test_coverage_finds_what_even_spacing_misses() -> None:
    # 20 frames look at the same wall, and three short glances at one object each
    shares = np.zeros((20, 4))
    shares[:, 0] = 1
    shares[3, 1] = shares[8, 2] = shares[17, 3] = 1
    weights = np.ones(4)
    chosen = coverage_sample(shares, weights, 3)
    assert chosen == [3, 8, 17]
    assert _worth(shares, weights, chosen) == 4 > _worth(shares, weights, uniform_sample(20, 3)) + 2


def test_a_better_look_at_the_same_thing_counts_for_what_it_adds() -> None:
    shares = np.array([[0.6, 0.0], [0.9, 0.0], [0.0, 0.5]])
    assert coverage_sample(shares, np.array([1.0, 1.0]), 1) == [1]
    assert coverage_sample(shares, np.array([1.0, 1.0]), 2) == [1, 2]
    # once frame 1 is chosen, frame 0 adds nothing however heavy the thing is
    assert coverage_sample(shares, np.array([100.0, 0.1]), 2) == [1, 2]
    assert coverage_sample(shares, np.array([0.1, 1.0]), 1) == [2]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_greedy_choice_reaches_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares, weights = rng.random((9, 6)) ** 3, rng.random(6)
    wanted = int(rng.integers(1, 5))
    chosen = coverage_sample(shares, weights, wanted)
    best = max(_worth(shares, weights, list(rows)) for rows in combinations(range(9), wanted))
    assert _worth(shares, weights, chosen) >= (1 - 1 / np.e) * best
    assert chosen == sorted(set(chosen)) and len(chosen) == wanted


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_things_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # few values, so that many frames are equally good and sums differ in their last bits only
    shares = rng.choice([0.0, 0.3, 0.7, 1.0], (8, 12))
    weights = rng.choice([0.1, 1 / 3, 0.7], 12)
    order = rng.permutation(12)
    wanted = int(rng.integers(1, 8))
    assert coverage_sample(shares, weights, wanted) == coverage_sample(shares[:, order], weights[order], wanted)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_of_equal_frames_the_earlier_is_taken(seed: int) -> None:
    """Equal as exact numbers: sums of tenths in floating point differ in their last bits."""
    rng = np.random.default_rng(seed)
    shown = rng.random((12, 40)) < rng.choice([0.2, 0.5])
    seen, expected = np.zeros(40, bool), []
    while (shown & ~seen).any():
        gain = (shown & ~seen).sum(axis=1)
        expected.append(int(gain.argmax()))
        seen |= shown[expected[-1]]
    assert coverage_sample(shown * 1.0, np.full(40, 0.1), len(expected)) == sorted(expected)


def test_once_nothing_is_gained_frames_far_in_time_fill_up() -> None:
    shares = np.zeros((11, 1))
    shares[2] = 1
    assert coverage_sample(shares, np.ones(1), 1) == [2]
    assert coverage_sample(shares, np.ones(1), 2) == [2, 10]
    assert coverage_sample(shares, np.ones(1), 3) == [2, 6, 10]
    # with nothing to see at all, from the beginning on
    assert coverage_sample(np.zeros((5, 0)), np.zeros(0), 3) == [0, 2, 4]
    assert coverage_sample(np.zeros((5, 3)), np.ones(3), 3) == [0, 2, 4]


def test_no_frame_is_taken_twice_for_next_to_nothing() -> None:
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert coverage_sample(shares, np.array([1.0, 1e-12]), 2) == [0, 1]
    assert coverage_sample(shares, np.array([1.0, 1e-12]), 3) == [0, 1, 2]


def test_more_wanted_than_there_are_gives_all() -> None:
    assert coverage_sample(np.random.default_rng(0).random((4, 3)), np.ones(3), 9) == [0, 1, 2, 3]
    assert uniform_sample(4, 9) == [0, 1, 2, 3]


def _floor(x_min: float, x_max: float) -> Surface:
    points = np.array([[x_min, -1, 0], [x_max, -1, 0], [x_max, 1, 0], [x_min, 1, 0.0]])
    return Surface(points, np.array([[0, 1, 2], [0, 2, 3]]), np.zeros((4, 3)), np.tile([0.0, 0, 1], (4, 1)))


def _from_above(index: int, x: float, height_m: float, size: tuple[int, int] = (160, 120)) -> Frame:
    pose = np.diag([1.0, -1, -1, 1])
    pose[:3, 3] = x, 0, height_m
    camera = Camera(np.array([[160.0, 0, 80], [0, 160, 60], [0, 0, 1]]), 160, 120, pose).resized(*size)
    return Frame(index, index / 30, camera, lambda: pytest.fail("no image need be read"))


def _shares(frames: list[Frame]) -> np.ndarray:
    caster = SurfaceCaster(_floor(-3.0, 3.0))
    return surface_shares(caster, Scan("floor", Path("floor"), "test", tuple(frames)))


def test_frames_share_the_cells_that_both_show() -> None:
    left, same, right, away = _from_above(0, -2, 1), _from_above(1, -2, 1), _from_above(2, 2, 1), _from_above(3, 9, 1)
    shares = _shares([left, same, right, away])
    assert shares.dtype == np.float32 and 0 <= shares.min() <= shares.max() == 1
    assert np.array_equal(shares[0], shares[1])
    assert not (shares[0] * shares[2]).any()  # 4 m apart: no cell in common
    assert shares[0].any() and shares[2].any() and not shares[3].any()
    assert (shares.max(axis=0) > 0).all()  # every column is a cell that some frame shows
    # a view of 1.0 x 0.75 m of floor fills, or touches, cells of 0.3 m
    assert 4 * 2 <= (shares[0] > 0).sum() <= 6 * 5


def test_from_farther_away_more_is_seen() -> None:
    near, far = _shares([_from_above(0, 0, 0.5), _from_above(1, 0, 1.5)])
    assert (far > 0).sum() > 3 * (near > 0).sum()


def test_portrait_frames_and_tiny_ones_are_looked_at_too() -> None:
    shares = _shares([_from_above(0, 0, 1, (120, 160)), _from_above(1, 0, 1, (8, 6)), _from_above(2, 0, 1, (200, 1))])
    assert (shares > 0).any(axis=1).all()


def blurred_scan(count: int, sharp: set[int]) -> Scan:
    """Frames of one noise image, blurred but for some."""
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(image, (0, 0), 3)
    camera = Camera(np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]]), 128, 96, np.eye(4))
    frames = [Frame(i, i / 30, camera, lambda i=i: image if i in sharp else soft) for i in range(count)]
    return Scan("blur", Path("blur"), "test", tuple(frames))


def test_a_sharper_frame_close_by_is_preferred_where_it_shows_as_much():
    shares = np.ones((20, 4), np.float32)
    shares[12] = 0.5  # sharp, but shows less
    scan = blurred_scan(20, sharp={5, 12, 19})
    assert prefer_sharp(scan, [3, 11, 14], shares, np.ones(4)) == [5, 12, 14]
    alone = np.zeros((20, 1), np.float32)
    alone[11], alone[12] = 1.0, 0.5
    assert prefer_sharp(scan, [11], alone, np.ones(1)) == [11]
    assert prefer_sharp(scan, [15], np.ones((20, 1), np.float32), np.ones(1)) == [12]


def test_exchanged_frames_stay_different_frames():
    scan = blurred_scan(8, sharp={4})
    chosen = prefer_sharp(scan, [2, 3, 6], np.ones((8, 1), np.float32), np.ones(1))
    assert 4 in chosen and len(set(chosen)) == 3
