"""Masks of many frames become objects with one id each: what comes out, of which surfaces, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import supervision as sv
from mask_noise import as_detections
from small_room import (
    LABELS,
    STOOL,
    TABLE,
    SmallRoom,
    compacted,
    detected,
    fits,
    small_room,
    without_depth,
)

from bev.errors import UserError
from bev.surface import Surface
from markers import associate


@pytest.fixture(scope="module")
def room() -> SmallRoom:
    return small_room()


# --- what comes out ---


def test_every_object_has_one_id_its_label_and_its_box(room: SmallRoom):
    instances = associate(room.scan, room.surface, detected(room.masks()))
    found = room.one_each(instances)
    assert [i.id for i in instances] == [1, 2, 3, 4, 5]
    volumes = [float(np.prod(i.box.size)) for i in instances]
    assert volumes == sorted(volumes, reverse=True)
    for number, instance in found.items():
        assert (instance.label, instance.label_share, instance.source) == (LABELS[number], 1.0, "detect")
        assert fits(instance, number, 0.02) and abs(instance.box.yaw) < 0.01
        shown = {index for index, ids in room.maps.items() if (ids == number).sum() > 100}
        assert set(instance.frames) >= shown and list(instance.frames) == sorted(instance.frames)
        assert 0.7 < instance.score <= 0.9  # the detector's confidence at most
        assert instance.vertices.dtype == np.int32 and (np.diff(instance.vertices) > 0).all()


def test_only_frames_with_the_object_support_it(room: SmallRoom):
    masks = room.masks()
    for index in (10, 11, 12, 13, 14, 18):
        masks[index] = [each for each in masks[index] if each[0] != "stool"]
    found = room.one_each(associate(room.scan, room.surface, detected(masks)))
    assert not set(found[STOOL].frames) & {10, 11, 12, 13, 14, 18}
    assert len(found[TABLE].frames) == 12


def test_fewer_frames_than_min_views_are_no_object(room: SmallRoom):
    masks = room.masks()
    for index in list(masks)[2:]:
        masks[index] = [each for each in masks[index] if each[0] != "stool"]
    assert STOOL not in room.by_object(associate(room.scan, room.surface, detected(masks)))
    two = room.by_object(associate(room.scan, room.surface, detected(masks), min_views=2))
    assert [i.frames for i in two[STOOL]] == [(10, 11)]
    assert associate(room.scan, room.surface, detected(masks), min_views=13) == []


# --- surfaces and cameras of every kind ---


def test_without_depth_rays_tell_what_is_seen(room: SmallRoom):
    detections = detected(room.masks())
    found = room.one_each(associate(without_depth(room.scan), room.surface, detections))
    assert all(fits(instance, number, 0.03) for number, instance in found.items())


@pytest.mark.parametrize("depth", [True, False])
def test_a_point_cloud(room: SmallRoom, depth: bool):
    old = room.surface
    cloud = Surface(old.vertices, np.zeros((0, 3)), old.colors, old.normals)
    scan = room.scan if depth else without_depth(room.scan)
    found = room.one_each(associate(scan, cloud, detected(room.masks())))
    assert all(fits(instance, number, 0.03) for number, instance in found.items())


def test_an_unwelded_mesh(room: SmallRoom):
    """Every face has corners of its own: six vertices at a place."""
    old = room.surface
    corners = old.faces.ravel()
    loose = Surface(
        old.vertices[corners], np.arange(len(corners)).reshape(-1, 3), old.colors[corners], old.normals[corners]
    )
    whole = replace(room, surface=loose, vertex_ids=room.vertex_ids[corners])
    found = whole.one_each(associate(room.scan, loose, detected(room.masks())))
    assert all(fits(instance, number, 0.02) for number, instance in found.items())


@pytest.mark.parametrize("step_m", [0.3, 2.0])
def test_faces_as_large_as_the_objects(step_m: float):
    coarse = small_room(step_m=step_m)
    found = coarse.one_each(associate(coarse.scan, coarse.surface, detected(coarse.masks())))
    for number, instance in found.items():
        assert fits(instance, number, 0.04)
        assert (coarse.vertex_ids[instance.vertices] == number).mean() > 0.9


def test_cells_of_another_size(room: SmallRoom):
    for voxel_size_m in (0.01, 0.04):
        instances = associate(room.scan, room.surface, detected(room.masks()), voxel_size_m=voxel_size_m)
        found = room.one_each(instances)
        assert all(fits(instance, number, 0.05) for number, instance in found.items())


# --- bad input ---


def test_nothing_detected_is_no_error(room: SmallRoom):
    assert associate(room.scan, room.surface, {}) == []
    assert associate(room.scan, room.surface, {index: sv.Detections.empty() for index in room.maps}) == []
    black = as_detections(np.zeros((1, 240, 320), bool), ["chair"])
    assert associate(room.scan, room.surface, dict.fromkeys(room.maps, black)) == []


def test_masks_of_another_size_than_the_frame(room: SmallRoom):
    wrong = detected(room.masks())
    wrong[14] = as_detections(np.ones((1, 480, 640), bool), ["chair"])
    _refused(room, wrong, "frame 14", "640x480", "320x240")
    wrong[14] = as_detections(np.ones((1, 320, 240), bool), ["chair"])  # portrait
    _refused(room, wrong, "frame 14", "240x320", "320x240")
    wrong[14] = compacted(wrong[14])
    _refused(room, wrong, "frame 14", "240x320", "320x240")


def test_detections_of_a_frame_that_the_scan_lacks(room: SmallRoom):
    _refused(room, detected(room.masks()) | {99: sv.Detections.empty()}, "frame 99", "small", "10 to 21")


def test_boxes_without_masks(room: SmallRoom):
    boxes = detected(room.masks())
    boxes[12].mask = None
    _refused(room, boxes, "frame 12", "masks", "--sam")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_boxes_that_are_not_numbers(room: SmallRoom, value: float):
    wrong = detected(room.masks())
    wrong[13].xyxy[2, 1] = value
    _refused(room, wrong, "frame 13", "box 2")


def _refused(room: SmallRoom, detections: dict[int, sv.Detections], *words: str) -> None:
    with pytest.raises(UserError) as caught:
        associate(room.scan, room.surface, detections)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"voxel_size_m": 0.0}, {"voxel_size_m": -0.02}, {"min_views": 0}, {"min_views": -1}]
)
def test_sizes_and_counts_must_be_positive(room: SmallRoom, options: dict):
    with pytest.raises(ValueError, match="positive"):
        associate(room.scan, room.surface, detected(room.masks()), **options)
