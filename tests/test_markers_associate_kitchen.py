"""Real detections of a real kitchen become objects: one number each, on its object in all 100 frames.

What is checked against is not our own surface where that can be helped: objects.json says where the table and the
chairs stand, the detector's masks say what a picture shows, and the depth camera says where that is.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SHARED

import bev
import markers
from bev.camera import transform_points
from bev.scan import Frame
from bev.surface import SurfaceCaster
from markers.instance import Instance, Marker, vertex_instance_ids
from markers.placement import Anchor, find_anchors, label_anchors
from markers.visibility import instance_map, visible_px

if TYPE_CHECKING:
    import supervision as sv

MARKED_PX = 246
"""What `compose` takes for the least that is marked in a frame of 640x480."""
DIGIT_HEIGHT_PX = 18
REACH_M = {"chair": 0.5, "dining table": 1.2}
"""Places in objects.json are good to 0.25 m, and a mask shows but a part; the chairs are 0.7 m and more apart."""
CUP_MAX_M, CHAIR_MAX_M = 0.25, 1.3
STEP_PX = 2
"""Every second row and column of a depth image is enough."""
NOT_SEEN = ("at the other end", "near side")
"""Notes of the two chairs that stand in several pictures and that the detector misses in all of them."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where something stands that objects.json knows."""

    label: str
    note: str
    center: np.ndarray
    """(3,) metres, in the upright world."""


@dataclass(frozen=True, eq=False)
class Mask:
    """One mask of the detector, and where the depth camera measures what it shows."""

    frame: int
    label: str
    pixels: np.ndarray
    """(H, W) bool."""
    center: np.ndarray
    """(3,) metres: the median of the points in it; NaN where depth is missing."""


@dataclass(frozen=True, eq=False)
class Marked:
    """One frame with its marks."""

    ids: np.ndarray
    """(H, W) int32, -1 = none."""
    marks: dict[int, Marker]


@pytest.fixture(scope="module")
def places(kitchen_path: Path, kitchen: tuple[bev.Scan, bev.Surface]) -> list[Place]:
    listed = json.loads((kitchen_path / "objects.json").read_text(encoding="utf-8"))["objects"]
    centers = transform_points(kitchen[0].world_from_source, np.array([each["center"] for each in listed]))
    return [Place(each["label"], each["note"], center) for each, center in zip(listed, centers, strict=True)]


@pytest.fixture(scope="module")
def detections(kitchen: tuple[bev.Scan, bev.Surface]) -> "dict[int, sv.Detections]":
    weights = SHARED / "weights" / "yolov8n-seg_int8.tflite"
    if not weights.is_file():
        pytest.skip("../shared/weights is not here")
    return markers.detect(kitchen[0], weights=weights)


@pytest.fixture(scope="module")
def masks(kitchen: tuple[bev.Scan, bev.Surface], detections: "dict[int, sv.Detections]") -> list[Mask]:
    found = []
    for frame in kitchen[0].frames:
        of_frame = detections.get(frame.index)
        if of_frame is None or not len(of_frame):
            continue
        assert of_frame.mask is not None
        points, uv = _measured(frame)
        column, row = uv.astype(int).T
        for number, label in enumerate(of_frame.data["class_name"]):
            pixels = np.asarray(of_frame.mask[number], bool)
            inside = points[pixels[row, column]]
            center = np.median(inside, axis=0) if len(inside) > 20 else np.full(3, np.nan)
            found.append(Mask(frame.index, str(label), pixels, center))
    return found


@pytest.fixture(scope="module")
def instances(kitchen: tuple[bev.Scan, bev.Surface], detections: "dict[int, sv.Detections]") -> list[Instance]:
    return markers.associate(*kitchen, detections)


@pytest.fixture(scope="module")
def marked(kitchen: tuple[bev.Scan, bev.Surface], instances: list[Instance]) -> dict[int, Marked]:
    """All 100 frames, marked one after the other as `compose` does it."""
    scan, surface = kitchen
    vertex_ids, caster = vertex_instance_ids(instances, len(surface.vertices)), SurfaceCaster(surface)
    result: dict[int, Marked] = {}
    previous: list[Anchor] = []
    for frame in scan.frames:
        ids = instance_map(caster.view(frame.camera), vertex_ids)
        previous = find_anchors(ids, min_visible_px=MARKED_PX, previous=previous)
        marks = label_anchors(previous, ids, digit_height_px=DIGIT_HEIGHT_PX)
        result[frame.index] = Marked(ids, {mark.id: mark for mark in marks})
    return result


def _measured(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """World points (n, 3) that the frame's depth camera measures, and their pixels uv (n, 2) in its colour image."""
    assert frame.read_depth is not None and frame.depth_camera is not None
    depth = frame.read_depth()
    row, column = STEP_PX * np.array(np.nonzero(depth[::STEP_PX, ::STEP_PX] > 0))
    points = frame.depth_camera.unproject(np.column_stack([column, row]) + 0.5, depth[row, column])
    uv, z = frame.camera.project(points)
    inside = (z > 0) & (uv >= 0).all(axis=1) & (uv < [frame.camera.width, frame.camera.height]).all(axis=1)
    return points[inside], uv[inside]


def _showing(place: Place, masks: list[Mask], places: list[Place]) -> list[Mask]:
    """The masks that have the place's label and lie nearer to it than to any other place of that label."""
    rivals = [each for each in places if each.label == place.label]
    shown = []
    for mask in masks:
        if mask.label == place.label and np.isfinite(mask.center).all():
            distances = [float(np.linalg.norm((mask.center - each.center)[:2])) for each in rivals]
            nearest = int(np.argmin(distances))
            if rivals[nearest] is place and distances[nearest] < REACH_M[place.label]:
                shown.append(mask)
    return shown


def _seen_places(masks: list[Mask], places: list[Place]) -> list[tuple[Place, list[Mask]]]:
    """The table and the chairs that the detector sees in three frames or more, each with its masks."""
    wanted = [place for place in places if place.label in ("dining table", "chair")]
    shown = [(place, _showing(place, masks, places)) for place in wanted]
    return [(place, of_place) for place, of_place in shown if len({mask.frame for mask in of_place}) >= 3]


def _on_mask(mask: Mask, marked: dict[int, Marked]) -> int:
    """The instance that most of a mask's pixels show, -1 = none."""
    shown = marked[mask.frame].ids[mask.pixels]
    counts = Counter(shown[shown >= 0].tolist())
    return max(counts, key=lambda id: (counts[id], -id), default=-1)


def _of_place(of_place: list[Mask], marked: dict[int, Marked]) -> int:
    """The instance that most of a place's masks lie on."""
    return Counter(_on_mask(mask, marked) for mask in of_place).most_common(1)[0][0]


def test_the_detector_sees_the_table_and_three_of_the_chairs(masks: list[Mask], places: list[Place]) -> None:
    seen = [place for place, _ in _seen_places(masks, places)]
    assert [place.label for place in seen] == ["dining table", "chair", "chair", "chair"]
    for place in places:
        if place.note.startswith(NOT_SEEN):
            assert not _showing(place, masks, places), place.note


def test_table_and_chairs_have_one_id_each_and_keep_it(
    masks: list[Mask], places: list[Place], instances: list[Instance], marked: dict[int, Marked]
) -> None:
    label_of = {instance.id: instance.label for instance in instances}
    taken = []
    for place, of_place in _seen_places(masks, places):
        ids = Counter(_on_mask(mask, marked) for mask in of_place)
        assert len(ids) == 1, f"{place.label} ({place.note}): {ids}"
        taken.append(next(iter(ids)))
        assert label_of[taken[-1]] == place.label
    assert len(set(taken)) == len(taken)


def test_boxes_stand_where_the_objects_do(
    masks: list[Mask], places: list[Place], instances: list[Instance], marked: dict[int, Marked]
) -> None:
    by_id = {instance.id: instance for instance in instances}
    for place, of_place in _seen_places(masks, places):
        box = by_id[_of_place(of_place, marked)].box
        assert np.linalg.norm((box.center - place.center)[:2]) < 0.3, place.note


def test_there_is_no_second_table_and_no_second_chair_at_one_place(
    masks: list[Mask], places: list[Place], instances: list[Instance]
) -> None:
    labels = Counter(instance.label for instance in instances)
    seen = Counter(place.label for place, _ in _seen_places(masks, places))
    assert labels["dining table"] == seen["dining table"] == 1
    assert labels["chair"] == seen["chair"] == 3


def test_nothing_grows_beyond_what_such_a_thing_measures(
    kitchen: tuple[bev.Scan, bev.Surface], instances: list[Instance]
) -> None:
    sizes = {
        label: [instance.box.size for instance in instances if instance.label == label]
        for label in ("cup", "chair", "dining table")
    }
    assert len(sizes["cup"]) == 2, "the white cup and the flowered one"
    for label, most_m in (("cup", CUP_MAX_M), ("chair", CHAIR_MAX_M)):
        assert np.max(sizes[label]) <= most_m
        # a box may leave out a few points; what is marked may not reach farther either
        for instance in instances:
            if instance.label == label:
                assert np.ptp(kitchen[1].vertices[instance.vertices], axis=0).max() <= most_m
    # objects.json: 2.2 x 1.1 m, 0.74 m high, its near edge seldom seen
    (width, length), height = np.sort(sizes["dining table"][0][:2]), sizes["dining table"][0][2]
    assert 2.0 < length < 2.4 and 0.8 < width < 1.25 and height < 0.9


def test_every_mark_is_on_visible_pixels_of_its_object_in_all_frames(marked: dict[int, Marked]) -> None:
    assert len(marked) == 100
    for index, frame in marked.items():
        px = visible_px(frame.ids)
        assert set(frame.marks) == {id for id, count in px.items() if count >= MARKED_PX}, f"frame {index}"
        for mark in frame.marks.values():
            u, v = mark.uv
            assert frame.ids[int(v), int(u)] == mark.id, f"frame {index}, mark {mark.id}"


def test_marks_are_where_the_depth_camera_measures_their_object(
    kitchen: tuple[bev.Scan, bev.Surface], instances: list[Instance], marked: dict[int, Marked]
) -> None:
    from scipy.spatial import KDTree

    scan, surface = kitchen
    trees = {instance.id: KDTree(surface.vertices[instance.vertices]) for instance in instances}
    distances, without_depth = [], 0
    for frame in scan.frames:
        points, uv = _measured(frame)
        for mark in marked[frame.index].marks.values():
            near = points[np.abs(uv - mark.uv).max(axis=1) < 3]
            if len(near):
                distances.append(float(trees[mark.id].query(np.median(near, axis=0))[0]))
            without_depth += not len(near)
    # dark screens, shiny tops and the rim that only the colour camera sees return none
    assert without_depth < 0.4 * len(distances)
    assert np.mean(np.array(distances) < 0.05) > 0.95


def test_marks_lie_in_the_detectors_own_masks(
    masks: list[Mask], instances: list[Instance], marked: dict[int, Marked]
) -> None:
    for instance in instances:
        if instance.label not in ("dining table", "chair", "cup"):
            continue
        inside = []
        for mask in masks:
            mark = marked[mask.frame].marks.get(instance.id)
            if mark is not None and mask.label == instance.label and _on_mask(mask, marked) == instance.id:
                u, v = mark.uv
                inside.append(bool(mask.pixels[int(v), int(u)]))
        assert len(inside) >= 3, f"{instance.label} {instance.id} has no masks"
        assert np.mean(inside) > 0.9, f"{instance.label} {instance.id}: {np.mean(inside):.2f}"


def test_objects_are_marked_where_the_detector_missed_them(
    masks: list[Mask], places: list[Place], marked: dict[int, Marked]
) -> None:
    for place, of_place in _seen_places(masks, places):
        id = _of_place(of_place, marked)
        with_mark = {index for index, frame in marked.items() if id in frame.marks}
        with_mask = {mask.frame for mask in of_place}
        assert with_mask <= with_mark, f"{place.note}: detected but not marked in {sorted(with_mask - with_mark)}"
        assert len(with_mark - with_mask) >= 10, place.note


def test_no_other_mark_is_on_a_chair(masks: list[Mask], places: list[Place], marked: dict[int, Marked]) -> None:
    seen = _seen_places(masks, places)
    ids = [_of_place(of_place, marked) for _, of_place in seen]
    for (place, of_place), own in zip(seen, ids, strict=True):
        if place.label != "chair":
            continue
        for mask in of_place:
            for other in set(ids) - {own}:
                mark = marked[mask.frame].marks.get(other)
                if mark is not None:
                    u, v = mark.uv
                    assert not mask.pixels[int(v), int(u)], f"frame {mask.frame}: {other} is on chair {own}"
