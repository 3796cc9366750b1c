from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from markers.instance import Marker
from markers.placement import Anchor, find_anchors, place_markers, relabel
from markers.visibility import instance_map, visible_px

SHARED = Path(__file__).parents[2] / "shared"
W, H = 160, 120


def cluttered(seed, width=W, height=H):
    """Blobs over blobs, a ring, slivers, one-pixel lines and specks, some cut by the border; ids 10 to 49."""
    rng = np.random.default_rng(seed)
    ids_map = np.full((height, width), -1, np.int32)
    for id in rng.permutation(np.arange(10, 50)).tolist():
        at = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        kind = rng.integers(0, 5)
        if kind <= 1:
            axes = (int(rng.integers(2, 30)), int(rng.integers(2, 30)))
            cv2.ellipse(ids_map, at, axes, float(rng.uniform(0, 180)), 0, 360, id, -1)
        elif kind == 2:
            cv2.circle(ids_map, at, int(rng.integers(5, 25)), id, 2)
        elif kind == 3:
            to = (int(rng.integers(0, width)), int(rng.integers(0, height)))
            cv2.line(ids_map, at, to, id, int(rng.integers(1, 4)))
        else:
            ids_map[rng.random(ids_map.shape) < 0.002] = id
    return ids_map


def edge_distance(mask):
    """Distance of every pixel of a mask to the nearest pixel outside it, where the image's border is outside."""
    return distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


def pixel(uv):
    u, v = uv
    assert u % 1 == 0.5 and v % 1 == 0.5, "an anchor is the centre of a pixel"
    return int(v), int(u)


@pytest.mark.parametrize("seed", range(25))
def test_each_anchor_is_where_its_own_object_is_widest(seed):
    ids_map = cluttered(seed)
    for anchor in find_anchors(ids_map, min_visible_px=1):
        at = pixel(anchor.uv)
        assert ids_map[at] == anchor.id
        distance = edge_distance(ids_map == anchor.id)
        assert distance[at] == pytest.approx(distance.max(), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_visible_px", [0, 1, 40, 300])
def test_exactly_the_instances_with_enough_pixels_get_exactly_one_marker(seed, min_visible_px):
    ids_map = cluttered(seed, 320, 240)
    markers = place_markers(ids_map, digit_height_px=8, min_visible_px=min_visible_px)
    px = visible_px(ids_map)
    assert [marker.id for marker in markers] == [id for id, count in px.items() if count >= min_visible_px]
    assert [marker.visible_px for marker in markers] == [px[marker.id] for marker in markers]


def test_the_border_of_the_image_is_an_edge():
    ids_map = np.full((60, 80), -1, np.int32)
    ids_map[20:50, 60:80] = 3  # 20 wide, cut off at the right
    (anchor,) = find_anchors(ids_map, min_visible_px=1)
    assert 69 <= anchor.uv[0] <= 71
    (anchor,) = find_anchors(np.full((61, 81), 0, np.int32), min_visible_px=1)
    assert anchor == Anchor(0, (40.5, 30.5), (40.5, 30.5), 61 * 81)


def test_of_equally_wide_places_the_one_nearest_the_middle_is_taken():
    ids_map = np.full((40, 101), -1, np.int32)
    ids_map[20, 10:91] = 5  # one pixel thin: every pixel is equally near the edge
    (anchor,) = find_anchors(ids_map, min_visible_px=1)
    assert anchor.uv == (50.5, 20.5)


@pytest.mark.parametrize("seed", range(8))
def test_another_numbering_of_the_same_objects_marks_the_same_places(seed):
    ids_map = cluttered(seed)
    new_id = np.append(np.random.default_rng(seed).permutation(np.arange(10, 100))[:90], -1)
    renumbered = np.where(ids_map < 0, -1, new_id[np.maximum(ids_map - 10, 0)]).astype(np.int32)
    before = place_markers(ids_map, digit_height_px=8, min_visible_px=20)
    after = {marker.id: marker for marker in place_markers(renumbered, digit_height_px=8, min_visible_px=20)}
    assert len(before) == len(after) > 5
    for marker in before:
        other = after[int(new_id[marker.id - 10])]
        assert (other.uv, other.label_box, other.visible_px) == (marker.uv, marker.label_box, marker.visible_px)


def walk(seed, frames=30):
    """A camera that pans over a still room in which a pillar wanders in front: id maps of consecutive frames."""
    rng = np.random.default_rng(seed)
    room = cluttered(seed, 3 * W, 2 * H)
    x, y = 40.0, 40.0
    step = rng.uniform(-9, 9, (frames, 2)).cumsum(axis=0) * 0.7
    for k in range(frames):
        left, top = (int(np.clip(x + 5 * k + step[k, 0], 0, 2 * W)), int(np.clip(y + step[k, 1], 0, H)))
        ids_map = room[top : top + H, left : left + W].copy()
        pillar = int(W - 7 * k)
        ids_map[:, max(pillar, 0) : max(pillar + 25, 0)] = 77
        yield ids_map


@pytest.mark.parametrize("seed", range(6))
def test_anchors_move_no_farther_than_their_objects_plus_ten_pixels(seed):
    previous, moves, exceptions = [], 0, 0
    for ids_map in walk(seed):
        anchors = find_anchors(ids_map, min_visible_px=20, previous=previous)
        before = {anchor.id: anchor for anchor in previous}
        for anchor in anchors:
            assert ids_map[pixel(anchor.uv)] == anchor.id
            row, column = np.nonzero(ids_map == anchor.id)
            assert anchor.center == pytest.approx((column.mean() + 0.5, row.mean() + 0.5))
            last = before.get(anchor.id)
            if last is None:
                continue
            moved = np.hypot(*np.subtract(anchor.uv, last.uv))
            allowed = np.hypot(*np.subtract(anchor.center, last.center)) + 10
            away = np.hypot(column + 0.5 - last.uv[0], row + 0.5 - last.uv[1])
            distance = edge_distance(ids_map == anchor.id)
            if away.min() > allowed:
                exceptions += 1
                assert moved == pytest.approx(away.min())
            else:
                moves += 1
                assert moved <= allowed + 1e-9
                within = away <= allowed
                assert distance[pixel(anchor.uv)] == pytest.approx(distance[row, column][within].max(), abs=1e-4)
        previous = anchors
    assert moves > 50


def test_an_object_that_is_hidden_where_its_anchor_was_is_marked_at_its_nearest_pixel():
    ids_map = np.full((60, 200), -1, np.int32)
    ids_map[20:40, 100:104] = 1
    previous = [Anchor(1, (40.5, 30.5), (102.0, 30.0), 80)]
    (anchor,) = find_anchors(ids_map, min_visible_px=1, previous=previous)
    assert anchor.uv == (100.5, 30.5)


def test_the_last_bits_of_a_distance_choose_nothing(monkeypatch):
    # OpenCV's distances really differ by this much from call to call
    ids_map = cluttered(3)
    first = find_anchors(ids_map, min_visible_px=1)
    exact, rng = cv2.distanceTransform, np.random.default_rng(0)

    def shaky(*arguments):
        distance = exact(*arguments)
        return (distance * (1 + rng.uniform(-1e-7, 1e-7, distance.shape))).astype(np.float32)

    monkeypatch.setattr(cv2, "distanceTransform", shaky)
    assert find_anchors(ids_map, min_visible_px=1) == first


def test_a_still_view_keeps_its_anchors():
    ids_map = cluttered(3)
    first = find_anchors(ids_map, min_visible_px=10)
    assert find_anchors(ids_map, min_visible_px=10, previous=first) == first


@pytest.mark.parametrize("size", [(160, 120), (112, 84), (81, 240), (320, 240)])
def test_at_another_size_each_marker_is_still_on_its_object(size):
    ids_map = cluttered(4, 320, 240)
    markers = place_markers(ids_map, digit_height_px=8, min_visible_px=30)
    small = cv2.resize(ids_map, size, interpolation=cv2.INTER_NEAREST)
    scaled = [replace(m, uv=(m.uv[0] * size[0] / 320, m.uv[1] * size[1] / 240)) for m in markers]
    again = relabel(scaled, small, digit_height_px=8)
    px = visible_px(small)
    assert [marker.id for marker in again] == [marker.id for marker in markers if marker.id in px]
    for marker, was in zip(again, [marker for marker in markers if marker.id in px], strict=True):
        assert small[pixel(marker.uv)] == marker.id and marker.visible_px == px[marker.id]
        wanted = np.multiply(was.uv, size) / (320, 240)
        row, column = np.nonzero(small == marker.id)
        nearest = np.hypot(column + 0.5 - wanted[0], row + 0.5 - wanted[1]).min()
        # half a pixel of rounding to the centre of the pixel that holds it
        assert np.hypot(*np.subtract(marker.uv, wanted)) <= nearest + 0.71


def test_relabelling_at_the_same_size_changes_nothing():
    ids_map = cluttered(5, 320, 240)
    markers = place_markers(ids_map, digit_height_px=8, min_visible_px=30)
    assert relabel(markers[::-1], ids_map, digit_height_px=8) == markers


def test_an_object_that_vanished_at_the_new_size_has_no_marker():
    ids_map = np.zeros((50, 50), np.int32)
    gone = Marker(8, (10.5, 10.5), (0, 0, 1, 1), 30)
    assert [marker.id for marker in relabel([gone], ids_map, digit_height_px=8)] == []


def test_nothing_visible_gives_no_markers():
    assert place_markers(np.full((40, 50), -1, np.int32), digit_height_px=8, min_visible_px=1) == []


@pytest.mark.skipif(not (SHARED / "data" / "redkitchen").is_dir(), reason="the RedKitchen frames are not here")
def test_rays_through_the_markers_of_a_real_kitchen_hit_their_instances():
    from bev.camera import OrthoCamera
    from bev.fusion import fuse
    from bev.readers import read_scan
    from bev.surface import SurfaceCaster

    scan = read_scan(SHARED / "data" / "redkitchen")
    scan = scan.with_frames(scan.frames[::10])
    surface = fuse(scan)
    # cubes of half a metre stand in for objects: they cut through everything, which is harder than objects are
    cube = np.floor(surface.vertices / 0.5).astype(np.int64) - np.floor(surface.vertices.min(axis=0) / 0.5).astype(int)
    _, ids = np.unique(cube @ [1, 100, 10000], return_inverse=True)
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    top = OrthoCamera(
        low[0], high[1], high[2] + 1, (0.01, 0.01), *np.ceil((high - low)[:2] / 0.01).astype(int).tolist()
    )
    caster, previous, checked = SurfaceCaster(surface), [], 0
    for view in [*(frame.camera for frame in scan.frames), top]:
        ids_map = instance_map(caster.view(view), ids)
        previous = [] if view is top else previous
        markers = place_markers(ids_map, digit_height_px=14, min_visible_px=300, previous=previous)
        previous = find_anchors(ids_map, min_visible_px=300, previous=previous)
        checked += len(markers)
        _, vertex_ids, _ = caster.hits(view, np.array([marker.uv for marker in markers]))
        assert ids[vertex_ids].tolist() == [marker.id for marker in markers]
    assert checked > 100
