import logging
from itertools import combinations

import cv2
import numpy as np
import pytest

from markers import labels
from markers.draw import label_size_px, leader_line
from markers.instance import Marker
from markers.labels import COVER_SHARE, OWN_SHARE, lay_out_labels
from markers.packing import pack_in_rows
from markers.placement import place_markers

DIGITS = 14
PLATE = label_size_px(10, DIGITS)  # of two digits


def crowd(seed, count, width, height, largest):
    rng = np.random.default_rng(seed)
    ids_map = np.full((height, width), -1, np.int32)
    for id in range(count):
        radius = int(largest * (1 - id / count)) + 2
        at = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.ellipse(ids_map, at, (radius, int(rng.integers(1, radius + 1))), float(rng.uniform(0, 180)), 0, 360, id, -1)
    return ids_map


def assert_disjoint_and_inside(boxes, width, height):
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def on_anchor(marker):
    return leader_line(marker.uv, marker.label_box) is None


def of(markers):
    return {marker.id: marker for marker in markers}


def rectangles(width, height, **boxes):
    """`_12=(x0, y0, x1, y1)` paints id 12; later ones lie on top."""
    ids_map = np.full((height, width), -1, np.int32)
    for name, (x0, y0, x1, y1) in boxes.items():
        ids_map[y0:y1, x0:x1] = int(name[1:])
    return ids_map


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("count", "width", "height", "largest"), [(40, 640, 480, 80), (120, 512, 384, 60), (60, 224, 168, 40)]
)
def test_labels_are_inside_and_disjoint_and_of_their_size(seed, count, width, height, largest):
    ids_map = crowd(seed, count, width, height, largest)
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert len(markers) == len(np.unique(ids_map)) - 1
    assert_disjoint_and_inside([marker.label_box for marker in markers], width, height)
    for marker in markers:
        x0, y0, x1, y1 = marker.label_box
        assert (x1 - x0, y1 - y0) == label_size_px(marker.id, DIGITS)
        assert all(edge == int(edge) for edge in marker.label_box)


def test_with_room_every_label_is_centred_on_its_anchor():
    ids_map = rectangles(400, 300, _12=(10, 10, 110, 90), _5=(150, 30, 260, 120), _140=(200, 180, 390, 290))
    for marker in place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1):
        x0, y0, x1, y1 = marker.label_box
        assert abs((x0 + x1) / 2 - marker.uv[0]) <= 0.5 and abs((y0 + y1) / 2 - marker.uv[1]) <= 0.5


def covered_share(ids_map, marker, id):
    x0, y0, x1, y1 = (int(edge) for edge in marker.label_box)
    return (ids_map[y0:y1, x0:x1] == id).sum() / (ids_map == id).sum()


def test_a_tables_label_goes_beside_its_anchor_rather_than_over_a_cup():
    # the table's widest place is left of the cup, but so near that its plate would cover a part of it
    table = rectangles(300, 200, _11=(20, 20, 280, 180))
    (alone,) = place_markers(table, digit_height_px=DIGITS, min_visible_px=1)
    assert on_anchor(alone)
    table[95:105, 158:168] = 22
    markers = of(place_markers(table, digit_height_px=DIGITS, min_visible_px=1))
    assert covered_share(table, markers[11], 22) <= COVER_SHARE
    assert table[int(markers[11].uv[1]), int(markers[11].uv[0])] == 11
    # held to that anchor, the plate must leave it
    held = [Marker(11, (148.5, 100.5), (0, 0, 1, 1), int((table == 11).sum())), markers[22]]
    markers = of(lay_out_labels(held, table, digit_height_px=DIGITS))
    assert not on_anchor(markers[11])
    assert covered_share(table, markers[11], 22) <= COVER_SHARE


def test_an_unmarked_cup_is_not_hidden_either():
    ids_map = rectangles(300, 200, _11=(20, 20, 280, 180), _22=(150, 90, 165, 105))
    held = [Marker(11, (145.5, 100.5), (0, 0, 1, 1), int((ids_map == 11).sum()))]
    (marker,) = lay_out_labels(held, ids_map, digit_height_px=DIGITS)
    assert not on_anchor(marker) and covered_share(ids_map, marker, 22) <= COVER_SHARE


def test_a_speck_is_not_worth_a_detour():
    ids_map = rectangles(300, 200, _11=(20, 20, 280, 180), _22=(150, 100, 153, 103))
    held = [Marker(11, (145.5, 100.5), (0, 0, 1, 1), int((ids_map == 11).sum()))]
    (marker,) = lay_out_labels(held, ids_map, digit_height_px=DIGITS)
    assert on_anchor(marker)


def test_a_label_does_not_hide_its_own_small_object():
    w, h = PLATE
    ids_map = rectangles(200, 150, _11=(80, 60, 80 + w, 60 + h))
    (marker,) = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert not on_anchor(marker) and covered_share(ids_map, marker, 11) < 0.1
    assert np.hypot(*np.subtract(*leader_line(marker.uv, marker.label_box))) < 25


def test_an_object_that_is_large_enough_carries_its_label():
    w, h = PLATE
    side = int(np.ceil(np.sqrt(w * h / OWN_SHARE))) + 1
    ids_map = rectangles(200, 150, _11=(80, 40, 80 + side, 40 + side))
    (marker,) = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert on_anchor(marker)


def test_of_two_labels_that_would_overlap_the_smaller_objects_stays():
    # two long boards, one above the other: both plates are higher than a board
    ids_map = rectangles(300, 200, _11=(20, 80, 280, 95), _12=(40, 96, 260, 111))
    markers = of(place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1))
    assert on_anchor(markers[12]) and not on_anchor(markers[11])
    assert_disjoint_and_inside([marker.label_box for marker in markers.values()], 300, 200)


@pytest.mark.parametrize("seed", range(10))
def test_no_label_hides_the_anchor_of_another(seed):
    ids_map = crowd(seed, 30, 640, 480, 90)
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    for marker, other in combinations(markers, 2):
        for plate, (u, v) in ((marker.label_box, other.uv), (other.label_box, marker.uv)):
            assert not (plate[0] < u < plate[2] and plate[1] < v < plate[3])


def test_a_plate_leaves_its_anchor_rather_than_hide_a_larger_objects_anchor():
    ids_map = rectangles(300, 200, _11=(20, 20, 150, 180), _12=(150, 10, 290, 190))
    px = {id: int((ids_map == id).sum()) for id in (11, 12)}
    held = [Marker(11, (145.5, 100.5), (0, 0, 1, 1), px[11]), Marker(12, (154.5, 100.5), (0, 0, 1, 1), px[12])]
    markers = of(lay_out_labels(held, ids_map, digit_height_px=DIGITS))
    assert not on_anchor(markers[11]) and not on_anchor(markers[12])
    for marker, other in ((markers[11], markers[12]), (markers[12], markers[11])):
        x0, y0, x1, y1 = marker.label_box
        assert not (x0 <= other.uv[0] <= x1 and y0 <= other.uv[1] <= y1)


def test_plates_among_many_small_things_keep_off_their_anchors():
    ids_map = np.full((240, 260), -1, np.int32)
    for i in range(49):
        x, y = 20 + 36 * (i % 7), 20 + 30 * (i // 7)
        ids_map[y : y + 4, x : x + 4] = 10 + i
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert len(markers) == 49
    for marker in markers:
        x0, y0, x1, y1 = marker.label_box
        assert not any(x0 <= other.uv[0] <= x1 and y0 <= other.uv[1] <= y1 for other in markers)


@pytest.mark.parametrize("seed", range(10))
def test_no_label_covers_a_smaller_object_while_there_is_room(seed):
    ids_map = crowd(seed, 30, 640, 480, 90)
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=200)
    for marker in markers:
        smaller = [other.id for other in markers if other.visible_px < marker.visible_px]
        assert all(covered_share(ids_map, marker, id) <= COVER_SHARE for id in smaller)


def test_leader_lines_of_a_row_of_cups_do_not_cross():
    ids_map = np.full((200, 300), -1, np.int32)
    for i in range(8):
        ids_map[90:106, 60 + 20 * i : 76 + 20 * i] = 10 + i
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    lines = [line for line in (leader_line(marker.uv, marker.label_box) for marker in markers) if line]
    assert len(lines) == 8
    for a, b in combinations(np.array(lines), 2):
        assert not crosses(a, b)


def crossings(seed):
    ids_map = crowd(seed, 70, 320, 240, 20)
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    lines = [line for line in (leader_line(marker.uv, marker.label_box) for marker in markers) if line]
    assert len(lines) > 20
    return sum(crosses(a, b) for a, b in combinations(np.array(lines), 2))


def test_hardly_any_leader_lines_cross_even_in_a_crowd(monkeypatch):
    few = sum(crossings(seed) for seed in range(6))
    monkeypatch.setattr(labels, "_CROSSED_LEADER", 0.0)
    monkeypatch.setattr(labels, "_CROSSED_PLATE", 0.0)
    monkeypatch.setattr(labels, "_uncrossed", lambda view, boxes: boxes)
    many = sum(crossings(seed) for seed in range(6))
    assert few < 0.2 * many, (few, many)


def crosses(a, b):
    def turn(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return turn(*a, b[0]) * turn(*a, b[1]) < 0 and turn(*b, a[0]) * turn(*b, a[1]) < 0


def grid_of_markers(count, width, height):
    """An id map in which as many instances as asked for have one pixel each, all in one corner."""
    ids_map = np.full((height, width), -1, np.int32)
    columns = int(np.ceil(np.sqrt(count)))
    for i in range(count):
        ids_map[i // columns, i % columns] = 10 + i
    return ids_map


def test_labels_fill_the_image_to_the_last_place_when_they_must():
    w, h = PLATE
    ids_map = grid_of_markers(20, 5 * w, 4 * h)
    markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert len(markers) == 20
    assert_disjoint_and_inside([marker.label_box for marker in markers], 5 * w, 4 * h)


def test_what_cannot_fit_is_left_out_from_the_least_visible_with_a_warning(caplog):
    w, h = PLATE
    ids_map = grid_of_markers(21, 5 * w, 4 * h)
    ids_map[-1, -20:] = 10 + 4  # the others have one pixel each
    with caplog.at_level(logging.WARNING):
        markers = place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1)
    assert len(markers) == 20 and 14 in of(markers)
    assert_disjoint_and_inside([marker.label_box for marker in markers], 5 * w, 4 * h)
    assert "1 of 21 numbers do not fit" in caplog.text


def test_an_image_smaller_than_a_plate_has_no_markers(caplog):
    ids_map = np.zeros((10, 10), np.int32)
    assert place_markers(ids_map, digit_height_px=DIGITS, min_visible_px=1) == []
    assert "1 of 1 numbers do not fit" in caplog.text


def test_a_marker_without_a_pixel_is_refused():
    with pytest.raises(ValueError, match=r"\[4\] have no pixel"):
        lay_out_labels([Marker(4, (1.5, 1.5), (0, 0, 1, 1), 5)], np.zeros((40, 40), np.int32), digit_height_px=8)


@pytest.mark.parametrize("seed", range(20))
def test_rows_keep_plates_apart_and_near(seed):
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(60, 300)), int(rng.integers(30, 200))
    sizes = [(int(rng.choice([13, 24, 35])), 20) for _ in range(int(rng.integers(1, 60)))]
    anchors = rng.uniform(0, (width, height), (len(sizes), 2))
    boxes = pack_in_rows(sizes, anchors, width, height)
    assert_disjoint_and_inside(list(boxes.values()), width, height)
    assert all((x1 - x0, y1 - y0) == sizes[k] for k, (x0, y0, x1, y1) in boxes.items())
    # those left out are the least important
    assert sorted(boxes) == list(range(len(sizes) - len(boxes), len(sizes)))
    if sum(w for w, _ in sizes) <= (height // 20) * (width - 34):
        assert len(boxes) == len(sizes)
    if len(sizes) == 1:
        x0, _, x1, _ = boxes[0]
        assert abs((x0 + x1) / 2 - np.clip(anchors[0, 0], (x1 - x0) / 2, width - (x1 - x0) / 2)) <= 1
