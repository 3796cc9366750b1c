"""Masks of many frames become objects with one id each: what real masks do, and what must make no difference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from mask_noise import as_detections
from small_room import (
    BOOK,
    BOXES,
    CHEST,
    CUP,
    LABELS,
    SIZE,
    STOOL,
    TABLE,
    Masks,
    SmallRoom,
    box_faces,
    detected,
    dilated,
    rendered,
    ring_camera,
    small_room,
    without_depth,
)

from bev.errors import UserError
from bev.surface import Surface
from markers import Instance, associate, load_detections, save_detections, vertex_instance_ids
from markers.detections import compact_masks


@pytest.fixture(scope="module")
def room() -> SmallRoom:
    return small_room()


def _told(instances: list[Instance], *, frames: bool = True) -> list[tuple]:
    """All that is in instances, to be compared exactly."""
    return [
        (
            i.id,
            i.label,
            i.label_share,
            i.score,
            i.source,
            i.box.center.tolist(),
            i.box.size.tolist(),
            i.box.yaw,
            i.vertices.tolist(),
        )
        + ((i.frames,) if frames else ())
        for i in instances
    ]


def _one_each(
    room: SmallRoom, instances: list[Instance], objects: tuple[int, ...] = tuple(BOXES)
) -> dict[int, Instance]:
    """The instance of every object, which has one and no more."""
    found = room.by_object(instances)
    assert {number: len(of) for number, of in found.items()} == dict.fromkeys(objects, 1)
    assert (vertex_instance_ids(instances, len(room.vertex_ids)) >= 0).any()  # no vertex is claimed twice
    return {number: of[0] for number, of in found.items()}


def _fits(instance: Instance, number: int, within_m: float) -> bool:
    center, size = BOXES[number]
    off = [*(instance.box.size - size), *(instance.box.center - center)]
    return bool(np.abs(off).max() < within_m)


def _messy(room: SmallRoom) -> Masks:
    """Masks that overlap at their edges and miss things: where order might matter."""
    rng = np.random.default_rng(5)
    return {
        index: [(label, dilated(mask, 3)) for label, mask in each if rng.random() < 0.8]
        for index, each in room.masks().items()
    }


# --- what comes out ---


def test_every_object_has_one_id_its_label_and_its_box(room: SmallRoom):
    instances = associate(room.scan, room.surface, detected(room.masks()))
    found = _one_each(room, instances)
    assert [i.id for i in instances] == [1, 2, 3, 4, 5]
    volumes = [float(np.prod(i.box.size)) for i in instances]
    assert volumes == sorted(volumes, reverse=True)
    for number, instance in found.items():
        assert (instance.label, instance.label_share, instance.source) == (LABELS[number], 1.0, "detect")
        assert _fits(instance, number, 0.02) and abs(instance.box.yaw) < 0.01
        shown = {index for index, ids in room.maps.items() if (ids == number).sum() > 100}
        assert set(instance.frames) >= shown and list(instance.frames) == sorted(instance.frames)
        assert 0.7 < instance.score <= 0.9  # the detector's confidence at most
        assert instance.vertices.dtype == np.int32 and (np.diff(instance.vertices) > 0).all()


def test_only_frames_with_the_object_support_it(room: SmallRoom):
    masks = room.masks()
    for index in (10, 11, 12, 13, 14, 18):
        masks[index] = [each for each in masks[index] if each[0] != "stool"]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
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


# --- what must make no difference ---


def test_the_order_of_masks_makes_no_difference(room: SmallRoom):
    messy = _messy(room)
    straight = associate(room.scan, room.surface, detected(messy))
    rng = np.random.default_rng(3)
    shuffled = {index: [each[k] for k in rng.permutation(len(each))] for index, each in messy.items()}
    assert _told(associate(room.scan, room.surface, detected(shuffled))) == _told(straight)
    backwards = dict(reversed(detected(messy).items()))
    assert _told(associate(room.scan, room.surface, backwards)) == _told(straight)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_frames_makes_no_difference(room: SmallRoom, seed: int):
    detections = detected(_messy(room))
    straight = associate(room.scan, room.surface, detections)
    old = np.array(sorted(detections))
    new = dict(zip(old.tolist(), np.random.default_rng(seed).permutation(old).tolist(), strict=True))
    frames = sorted((replace(frame, index=new[frame.index]) for frame in room.scan.frames), key=lambda f: f.index)
    renumbered = {new[index]: each for index, each in detections.items()}
    walked = associate(room.scan.with_frames(tuple(frames)), room.surface, renumbered)
    assert _told(walked, frames=False) == _told(straight, frames=False)
    assert [set(i.frames) for i in walked] == [{new[index] for index in i.frames} for i in straight]


def test_the_same_input_gives_the_same_objects(room: SmallRoom):
    detections = detected(_messy(room))
    once, twice = (_told(associate(room.scan, room.surface, detections)) for _ in range(2))
    assert once == twice


def test_dense_compact_and_lazily_read_masks_are_one(room: SmallRoom, tmp_path: Path):
    dense = detected(_messy(room))
    expected = _told(associate(room.scan, room.surface, dense))
    compact = {
        index: sv.Detections(
            xyxy=each.xyxy,
            mask=compact_masks(each.mask),
            confidence=each.confidence,
            class_id=each.class_id,
            data=each.data,
        )
        for index, each in dense.items()
    }
    assert all(not isinstance(each.mask, np.ndarray) for each in compact.values())
    assert _told(associate(room.scan, room.surface, compact)) == expected
    save_detections(tmp_path / "kept", dense.items())
    assert _told(associate(room.scan, room.surface, load_detections(tmp_path / "kept"))) == expected


def test_vertices_in_another_order_are_the_same_objects(room: SmallRoom):
    detections = detected(_messy(room))
    straight = associate(room.scan, room.surface, detections)
    order = np.random.default_rng(0).permutation(len(room.vertex_ids))
    place = np.argsort(order)
    old = room.surface
    shuffled = Surface(old.vertices[order], place[old.faces], old.colors[order], old.normals[order])
    again = associate(room.scan, shuffled, detections)
    assert [(i.id, i.label, i.frames, i.score) for i in again] == [(i.id, i.label, i.frames, i.score) for i in straight]
    for a, b in zip(again, straight, strict=True):
        assert np.array_equal(np.sort(order[a.vertices]), b.vertices)
        assert np.allclose([*a.box.center, *a.box.size], [*b.box.center, *b.box.size], atol=1e-5)


# --- surfaces and cameras of every kind ---


def test_without_depth_rays_tell_what_is_seen(room: SmallRoom):
    detections = detected(room.masks())
    found = _one_each(room, associate(without_depth(room.scan), room.surface, detections))
    assert all(_fits(instance, number, 0.03) for number, instance in found.items())


@pytest.mark.parametrize("depth", [True, False])
def test_a_point_cloud(room: SmallRoom, depth: bool):
    old = room.surface
    cloud = Surface(old.vertices, np.zeros((0, 3)), old.colors, old.normals)
    scan = room.scan if depth else without_depth(room.scan)
    found = _one_each(room, associate(scan, cloud, detected(room.masks())))
    assert all(_fits(instance, number, 0.03) for number, instance in found.items())


def test_an_unwelded_mesh(room: SmallRoom):
    """Every face has corners of its own: six vertices at a place."""
    old = room.surface
    corners = old.faces.ravel()
    loose = Surface(
        old.vertices[corners], np.arange(len(corners)).reshape(-1, 3), old.colors[corners], old.normals[corners]
    )
    whole = replace(room, surface=loose, vertex_ids=room.vertex_ids[corners])
    found = _one_each(whole, associate(room.scan, loose, detected(room.masks())))
    assert all(_fits(instance, number, 0.02) for number, instance in found.items())


@pytest.mark.parametrize("step_m", [0.3, 2.0])
def test_faces_as_large_as_the_objects(step_m: float):
    coarse = small_room(step_m=step_m)
    found = _one_each(coarse, associate(coarse.scan, coarse.surface, detected(coarse.masks())))
    for number, instance in found.items():
        assert _fits(instance, number, 0.04)
        assert (coarse.vertex_ids[instance.vertices] == number).mean() > 0.9


def test_cells_of_another_size(room: SmallRoom):
    for voxel_size_m in (0.01, 0.04):
        instances = associate(room.scan, room.surface, detected(room.masks()), voxel_size_m=voxel_size_m)
        found = _one_each(room, instances)
        assert all(_fits(instance, number, 0.05) for number, instance in found.items())


# --- what real masks do ---


@pytest.mark.parametrize("px", [2, 4])
def test_edges_bleed(room: SmallRoom, px: int):
    """Half as much again at 640 wide, where pixels count; in images this narrow every other depth does not occur."""
    bled = {index: [(label, dilated(mask, px)) for label, mask in each] for index, each in room.masks().items()}
    found = _one_each(room, associate(room.scan, room.surface, detected(bled)))
    assert all(_fits(instance, number, 0.03) for number, instance in found.items())


def test_a_mask_over_two_objects_in_some_frames(room: SmallRoom):
    masks = room.masks()
    for index in (12, 16, 18, 20):
        both = dict(masks[index])
        joined = both.pop("table") | both.pop("chest")
        masks[index] = [("table", joined), *both.items()]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert _fits(found[TABLE], TABLE, 0.03) and _fits(found[CHEST], CHEST, 0.03)
    assert found[CHEST].label == "chest"


def test_an_object_in_two_partial_masks_in_some_frames(room: SmallRoom):
    masks = room.masks()
    for index in (10, 13, 15, 19, 20):
        whole = dict(masks[index])
        table = whole.pop("table")
        middle = int(np.median(np.nonzero(table)[1]))
        left = np.arange(table.shape[1]) < middle
        masks[index] = [("table", table & left), ("bench", table & ~left), *whole.items()]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert _fits(found[TABLE], TABLE, 0.03) and found[TABLE].label == "table"


@pytest.mark.parametrize("seed", range(3))
def test_missing_detections(room: SmallRoom, seed: int):
    rng = np.random.default_rng(seed)
    masks = {index: [one for one in each if rng.random() < 0.6] for index, each in room.masks().items()}
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert all(instance.label == LABELS[number] for number, instance in found.items())


def test_a_label_is_a_vote(room: SmallRoom):
    masks = room.masks()
    for index in (10, 13, 18, 21):
        masks[index] = [("chair" if label == "stool" else label, mask) for label, mask in masks[index]]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert found[STOOL].label == "stool"
    assert found[STOOL].label_share == pytest.approx(6 / 10, abs=0.02)
    assert found[TABLE].label_share == 1.0


def test_labels_that_never_agree_keep_one_id(room: SmallRoom):
    masks = {
        index: [(f"{label} {index}" if label == "stool" else label, mask) for label, mask in each]
        for index, each in room.masks().items()
    }
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert found[STOOL].label.startswith("stool ") and found[STOOL].label_share < 0.2


def test_surer_votes_count_more(room: SmallRoom):
    detections = detected(room.masks(), confidence=0.2)
    for index in (10, 11, 12):
        each = detections[index]
        row = each.data["class_name"].tolist().index("stool")
        names = each.data["class_name"].astype("U20")
        names[row] = "armchair"
        each.data["class_name"] = names
        each.confidence[row] = 1.0
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert found[STOOL].label == "armchair"  # 3 x 1.0 against 7 x 0.2
    assert found[STOOL].label_share == pytest.approx(3.0 / 4.4, abs=0.03)


def test_one_object_under_two_labels_in_every_frame(room: SmallRoom):
    detections = {}
    for index, each in room.masks().items():
        twice = [(label, mask, 0.9) for label, mask in each]
        twice += [("chair", dilated(mask, 1), 0.6) for label, mask in each if label == "stool"]
        detections[index] = as_detections(np.array([mask for _, mask, _ in twice]), [label for label, _, _ in twice])
        detections[index].confidence = np.array([confidence for _, _, confidence in twice])
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert found[STOOL].label == "stool"
    assert found[STOOL].label_share == pytest.approx(0.9 / 1.5, abs=0.03)


def test_a_cup_does_not_leak_over_the_table(room: SmallRoom):
    masks = room.masks()
    for index, px in ((11, 40), (14, 30), (17, 60), (20, 40)):
        by_label = dict(masks[index])
        leak = by_label["cup"] | (dilated(by_label["cup"], px) & by_label["table"])
        masks[index] = [(label, leak if label == "cup" else mask) for label, mask in masks[index]]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert found[CUP].box.size.max() < 0.16 and found[CUP].label == "cup"
    assert _fits(found[TABLE], TABLE, 0.03)


def test_a_cup_mask_that_is_the_whole_table_in_some_frames(room: SmallRoom):
    masks = room.masks()
    for index in (11, 15, 19):
        by_label = dict(masks[index])
        masks[index] = [(label, mask | by_label["table"] if label == "cup" else mask) for label, mask in masks[index]]
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert found[CUP].box.size.max() < 0.16 and found[CUP].label == "cup"
    assert _fits(found[TABLE], TABLE, 0.03) and found[TABLE].label == "table"


def test_nested_masks_are_objects_on_objects(room: SmallRoom):
    """Detectors give the table's mask without a hole where the cup stands."""
    masks = {}
    for index, each in room.masks().items():
        by_label = dict(each)
        by_label["table"] = by_label["table"] | by_label["cup"] | by_label["book"]
        masks[index] = list(by_label.items())
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    for number in (TABLE, CUP, BOOK):
        assert _fits(found[number], number, 0.03) and found[number].label == LABELS[number]


def test_two_detections_at_the_same_place(room: SmallRoom):
    """The same mask under two names of equal confidence: one id, and the name does not depend on the order."""
    detections = detected(
        {i: [*each, *[("vase", m) for name, m in each if name == "cup"]] for i, each in room.masks().items()}
    )
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert (found[CUP].label, found[CUP].label_share) == ("cup", 0.5)


def test_two_surfaces_at_the_same_place(room: SmallRoom):
    """Every vertex and face twice, as after two fusions: one id each still."""
    old = room.surface
    count = len(old.vertices)
    twice = Surface(
        *(
            np.concatenate([a, b])
            for a, b in (
                (old.vertices, old.vertices),
                (old.faces, old.faces + count),
                (old.colors, old.colors),
                (old.normals, old.normals),
            )
        )
    )
    whole = replace(room, surface=twice, vertex_ids=np.tile(room.vertex_ids, 2))
    found = _one_each(whole, associate(room.scan, twice, detected(room.masks())))
    ids = vertex_instance_ids(list(found.values()), 2 * count)
    assert np.array_equal(ids[:count], ids[count:])


def test_three_hundred_objects_in_one_frame():
    columns, rows, size = 20, 15, 0.1
    centers = [(0.5 + 0.15 * c, 0.3 + 0.15 * r, size / 2) for c in range(columns) for r in range(rows)]
    parts = [box_faces((1.9, 1.35, -0.05), (3.6, 2.9, 0.1), 0.03, sides=((2, 1),))]
    parts += [box_faces(center, (size, size, size), 0.02) for center in centers]
    counts = [len(vertices) for vertices, _ in parts]
    starts = np.cumsum([0, *counts[:-1]])
    vertices = np.concatenate([v for v, _ in parts])
    faces = np.concatenate([f + start for (_, f), start in zip(parts, starts, strict=True)])
    surface = Surface(vertices, faces, np.full(vertices.shape, 9), np.tile([0.0, 0.0, 1.0], (len(vertices), 1)))
    cameras = {k: replace(ring_camera(0.4 + k, (640, 480)), world_from_camera=_above(k)) for k in range(4)}
    crowd = rendered(surface, np.repeat(np.arange(-1, 300), counts).astype(np.int32), cameras)
    detections = {}
    for index, ids in crowd.maps.items():
        shown = np.unique(ids[ids >= 0])
        dense = as_detections(ids[None] == shown[:, None, None], ["crate"] * len(shown))
        detections[index] = replace_mask(dense)
    assert len(detections[0]) == 300
    found = crowd.by_object(associate(crowd.scan, surface, detections))
    assert {number: len(of) for number, of in found.items()} == dict.fromkeys(range(300), 1)


def _above(k: int) -> np.ndarray:
    """(4, 4): a camera that looks straight down from 3 m, a step to the side for every frame."""
    matrix = np.diag([1.0, -1.0, -1.0, 1.0])
    matrix[:3, 3] = 1.8 + 0.1 * k, 1.3 + 0.05 * k, 3.4
    return matrix


def replace_mask(dense: sv.Detections) -> sv.Detections:
    return sv.Detections(xyxy=dense.xyxy, mask=compact_masks(dense.mask), confidence=dense.confidence, data=dense.data)


def test_masks_without_a_class_have_no_vote(room: SmallRoom):
    """As `segment_everything` gives them."""
    detections = detected(room.masks())
    for each in detections.values():
        each.class_id = np.full(len(each), -1)
        each.data["class_name"] = np.full(len(each), "object")
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert {(i.label, i.label_share) for i in found.values()} == {("object", 0.0)}


def test_a_few_masks_with_a_class_name_what_many_without_show(room: SmallRoom):
    detections = detected(room.masks())
    for index, each in detections.items():
        if index not in (11, 14):
            each.class_id = np.full(len(each), -1)
            each.data["class_name"] = np.full(len(each), "object")
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert {n: (i.label, i.label_share) for n, i in found.items()} == {n: (LABELS[n], 1.0) for n in BOXES}


def test_masks_without_names_and_confidence(room: SmallRoom):
    detections = {
        index: sv.Detections(xyxy=each.xyxy, mask=each.mask) for index, each in detected(room.masks()).items()
    }
    found = _one_each(room, associate(room.scan, room.surface, detections))
    assert {(i.label, i.label_share) for i in found.values()} == {("object", 0.0)}
    assert all(0.7 < i.score <= 1.0 for i in found.values())


def test_what_one_frame_imagines_is_no_object(room: SmallRoom):
    """Each frame has a mask on another stretch of the floor, and one of them a mask over everything."""
    masks = room.masks()
    for index, each in masks.items():
        below = np.zeros_like(room.maps[index], bool)
        below[200:, 130:190] = True
        each.append(("rug", below & (room.maps[index] < 0)))
    masks[15].append(("room", np.ones_like(masks[15][0][1])))
    found = _one_each(room, associate(room.scan, room.surface, detected(masks)))
    assert all(_fits(instance, number, 0.03) for number, instance in found.items())


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
    wrong[14] = replace_mask(wrong[14])
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


def test_a_mask_over_the_whole_image_in_every_frame():
    """Then no frame speaks against anything: all that is seen is one object."""
    room = small_room()
    everywhere = np.ones((1, *SIZE[::-1]), bool)
    found = associate(room.scan, room.surface, {f.index: as_detections(everywhere, ["room"]) for f in room.scan.frames})
    assert [instance.label for instance in found] == ["room"]
    assert len(found[0].vertices) > 0.5 * len(room.surface.vertices)
