"""Which mask of a frame every pixel belongs to, and how deep inside it lies."""

import warnings

import numpy as np
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_noise import as_detections
from small_room import dilated

from markers.detections import compact_masks
from markers.layers import DEPTH_MAX_PX, Layers, mask_layers

WIDTH, HEIGHT = 640, 480


def _square(x0: int, y0: int, x1: int, y1: int, *, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _layers(*masks: np.ndarray, names: list[str] | None = None) -> Layers:
    height, width = masks[0].shape
    return mask_layers(as_detections(np.array(masks), names or ["thing"] * len(masks)), width, height)


def test_depth_counts_pixels_from_the_edge():
    layers = _layers(_square(100, 100, 121, 161))
    assert set(np.unique(layers.rows).tolist()) == {-1, 0}
    assert (layers.rows == 0).sum() == 21 * 61 == (layers.depth_px > 0).sum()
    assert layers.depth_px[130, 98:124].tolist() == [0, 0, *range(1, 12), *range(10, 0, -1), 0, 0, 0]
    assert layers.thickness_px.tolist() == [11] and layers.same_as.tolist() == [0]


def test_depth_ends_at_its_greatest():
    layers = _layers(_square(100, 100, 300, 300))
    assert layers.depth_px.max() == layers.thickness_px[0] == DEPTH_MAX_PX
    assert layers.depth_px[200, 100 + DEPTH_MAX_PX - 3] < DEPTH_MAX_PX <= layers.depth_px[200, 100 + DEPTH_MAX_PX + 2]


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_depth_is_that_of_an_image_640_wide(scale: float):
    size = {"width": round(WIDTH * scale), "height": round(HEIGHT * scale)}
    layers = _layers(_square(*(round(v * scale) for v in (100, 100, 140, 200)), **size))
    assert layers.thickness_px[0] == pytest.approx(20, abs=1)
    row = layers.depth_px[round(150 * scale), round(100 * scale) : round(120 * scale)].astype(int)
    assert (np.diff(row) >= 0).all() and np.abs(row - (np.arange(len(row)) + 1) / scale).max() <= 1


def test_the_border_of_the_image_is_no_edge():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything = _layers(np.ones((HEIGHT, WIDTH), bool))
        narrow = _layers(np.ones((HEIGHT // 2, WIDTH // 2), bool))
    assert (everything.depth_px == DEPTH_MAX_PX).all() and (narrow.depth_px == DEPTH_MAX_PX).all()
    corner = _layers(_square(0, 0, 10, 10)).depth_px
    assert corner[0, :11].tolist() == [*range(10, 0, -1), 0] == corner[:11, 0].tolist()
    far = _layers(_square(WIDTH - 10, HEIGHT - 10, WIDTH, HEIGHT)).depth_px
    assert far[-1, -11:].tolist() == [0, *range(1, 11)] == far[-11:, -1].tolist()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_mask_within_another_is_in_front(order: tuple[int, int]):
    masks = [_square(100, 100, 400, 400), _square(240, 240, 252, 252)]
    layers = _layers(*(masks[k] for k in order))
    assert np.array_equal(layers.rows == order.index(1), masks[1])
    assert layers.depth_px[246, 246] == 6  # its own, not the table's
    assert layers.same_as.tolist() == [0, 1]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_nested_masks_three_deep(order: tuple[int, ...]):
    masks = [_square(100, 100, 400, 400), _square(200, 200, 300, 300), _square(240, 240, 252, 252)]
    rows = _layers(*(masks[k] for k in order)).rows
    for number, mask in enumerate(masks):
        inner = masks[number + 1] if number < 2 else np.zeros_like(mask)
        assert np.array_equal(rows == order.index(number), mask & ~inner)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("px", [2, 5, 9])
def test_edges_that_bleed_meet_half_way(order: tuple[int, int], px: int):
    true = [_square(100, 100, 220, 300), _square(220, 140, 300, 260)]
    layers = _layers(*(dilated(true[k], px) for k in order))
    for number in (0, 1):
        rows = layers.rows[160:240, 150:260] == order.index(number)
        assert np.abs(rows.sum(axis=1) - true[number][160:240, 150:260].sum(axis=1)).max() <= 1


def test_an_object_seen_twice_stands_for_itself_once():
    masks = [_square(100, 100, 200, 200), _square(102, 101, 203, 200), _square(400, 100, 450, 150)]
    for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0)):
        layers = _layers(*(masks[k] for k in order))
        first, second, other = (order.index(k) for k in range(3))
        assert layers.same_as[first] == layers.same_as[second] in (first, second)
        assert layers.same_as[other] == other
        stand_in = int(layers.same_as[first])
        assert set(np.unique(layers.rows).tolist()) == {-1, stand_in, other}
        assert layers.thickness_px[({first, second} - {stand_in}).pop()] == 0


def test_three_sightings_of_one_object_have_one_stand_in():
    masks = [_square(100, 100, 200, 200), _square(100, 100, 198, 200), _square(104, 100, 198, 200)]
    assert len(set(_layers(*masks).same_as.tolist())) == 1


def test_overlapping_less_than_that_they_are_two():
    layers = _layers(_square(100, 100, 200, 200), _square(140, 100, 240, 200))  # IoU 0.43
    assert layers.same_as.tolist() == [0, 1] and set(np.unique(layers.rows).tolist()) == {-1, 0, 1}


def test_masks_without_pixels_and_no_masks():
    layers = _layers(np.zeros((HEIGHT, WIDTH), bool), _square(10, 10, 20, 20))
    assert set(np.unique(layers.rows).tolist()) == {-1, 1}
    assert (layers.thickness_px.tolist(), layers.same_as.tolist()) == ([0, 5], [0, 1])
    nothing = mask_layers(sv.Detections.empty(), WIDTH, HEIGHT)
    assert nothing.rows.shape == (HEIGHT, WIDTH) and (nothing.rows == -1).all() and not nothing.depth_px.any()


boxes = st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(2, 30), st.integers(2, 20))


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=8), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_and_the_form_of_masks_make_no_difference(sizes, random, pack: bool):
    masks = [_square(x, y, x + w, y + h, width=64, height=48) for x, y, w, h in sizes]
    names = [f"thing {k}" for k in range(len(masks))]
    order = random.sample(range(len(masks)), len(masks))
    straight = _layers(*masks, names=names)
    detections = as_detections(np.array([masks[k] for k in order]), [names[k] for k in order])
    if pack:
        detections = sv.Detections(xyxy=detections.xyxy, mask=compact_masks(detections.mask), data=detections.data)
    turned = mask_layers(detections, 64, 48)
    old = np.array([*order, -1])
    assert np.array_equal(old[turned.rows], straight.rows)
    assert np.array_equal(turned.depth_px, straight.depth_px)
    assert np.array_equal(turned.thickness_px, straight.thickness_px[order])
    assert np.array_equal(old[turned.same_as], straight.same_as[order])
