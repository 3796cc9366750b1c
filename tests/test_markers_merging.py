"""Detected objects and what geometry knows besides: on a plate of squares, and on filmed rooms."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_noise import true_detections

from bev.fusion import fuse
from bev.surface import Surface
from bev.synthetic import film, synthetic_room
from markers.associate import associate
from markers.cluster import cluster
from markers.instance import Box, Instance, fit_box, vertex_instance_ids
from markers.merging import merge_instances

SIDE = 30
STEP_M = 0.02


def _plate(*, mesh: bool = True) -> Surface:
    """30 x 30 vertices, 2 cm apart, at table height."""
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    vertices = np.stack([column * STEP_M, row * STEP_M, np.full(SIDE * SIDE, 0.7)], axis=1).astype(np.float32)
    corner = np.flatnonzero((row < SIDE - 1) & (column < SIDE - 1))
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + SIDE], axis=1),
            np.stack([corner + 1, corner + SIDE + 1, corner + SIDE], axis=1),
        ]
    )
    return Surface(
        vertices=vertices,
        faces=(faces if mesh else faces[:0]).astype(np.int32),
        colors=np.full((len(vertices), 3), 128, np.uint8),
        normals=np.tile(np.float32([0, 0, 1]), (len(vertices), 1)),
    )


def _square(x0: int, x1: int, y0: int, y1: int) -> np.ndarray:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[y0:y1, x0:x1] = True
    return np.flatnonzero(inside).astype(np.int32)


def _instance(id: int, vertices: np.ndarray, source: str = "cluster", label: str = "object") -> Instance:
    return Instance(id, label, vertices, fit_box(_plate().vertices[vertices]), source)


WHOLE = _square(0, SIDE, 0, SIDE)


def test_what_no_mask_touches_follows_as_it_is_with_ids_of_its_own():
    detected = [_instance(0, _square(0, 5, 0, 5), "detect"), _instance(7, _square(6, 9, 0, 5), "detect")]
    others = [_instance(1, _square(20, 30, 0, 30)), _instance(2, _square(0, 10, 20, 30))]
    merged = merge_instances(_plate(), detected, others)
    assert merged[:2] == detected
    assert [i.id for i in merged] == [0, 7, 8, 9] and [i.source for i in merged[2:]] == ["cluster"] * 2
    for kept, other in zip(merged[2:], others, strict=True):
        assert np.array_equal(kept.vertices, other.vertices) and kept.box is other.box


def test_the_rim_that_masks_missed_is_no_second_table():
    table = _instance(3, _square(3, 27, 3, 27), "detect", "dining table")
    assert merge_instances(_plate(), [table], [_instance(1, WHOLE)]) == [table]


def test_a_table_that_swallowed_a_detected_cup_stays_a_table_without_it():
    cup = _instance(1, _square(26, 30, 10, 14), "detect", "cup")
    merged = merge_instances(_plate(), [cup], [_instance(1, WHOLE)])
    assert [i.id for i in merged] == [1, 2]
    assert np.array_equal(merged[1].vertices, np.setdiff1d(WHOLE, cup.vertices))
    assert merged[1].vertices.dtype == np.int32


def test_a_chair_of_which_masks_show_the_back_is_no_second_chair():
    back = _instance(4, _square(0, 30, 0, 12), "detect", "chair")
    assert merge_instances(_plate(), [back], [_instance(1, WHOLE)]) == [back]


def test_a_chair_that_lies_mostly_elsewhere_leaves_the_table_that_reached_over_it():
    """It has two fifths of the table's vertices, but those are less than half of its own."""
    chair, table = _square(0, 30, 0, 18), _square(0, 30, 10, 30)
    merged = merge_instances(_plate(), [_instance(1, chair, "detect", "chair")], [_instance(1, table)])
    assert [i.id for i in merged] == [1, 2] and np.array_equal(merged[1].vertices, _square(0, 30, 18, 30))


def test_a_tray_that_is_a_quarter_of_its_table_leaves_the_table():
    tray = _instance(1, _square(8, 23, 8, 23), "detect", "tray")
    merged = merge_instances(_plate(), [tray], [_instance(1, WHOLE)])
    assert [len(i.vertices) for i in merged] == [225, 675]


def test_specks_beyond_a_detected_thing_do_not_stretch_the_box():
    strip = _instance(1, _square(24, 28, 0, 30), "detect", "bench")
    for mesh in (True, False):
        _, plate = merge_instances(_plate(mesh=mesh), [strip], [_instance(1, WHOLE)])
        assert np.array_equal(plate.vertices, _square(0, 24, 0, 30))
        assert plate.box.size[:2].max() == pytest.approx(29 * STEP_M) and plate.box.size[:2].min() == pytest.approx(
            23 * STEP_M
        )


def test_a_single_stray_vertex_does_not_stretch_the_box_of_what_is_left():
    surface = _plate()
    surface.vertices[0] = (-0.9, -0.9, 1.9)  # still joined to its neighbours by faces
    cup = _instance(1, _square(26, 30, 10, 14), "detect", "cup")
    _, plate = merge_instances(surface, [cup], [_instance(1, WHOLE)])
    assert 0 in plate.vertices and plate.box.size.max() < SIDE * STEP_M and plate.box.size[2] == 0


def test_nothing_detected_and_nothing_else_are_legal():
    other = _instance(4, _square(0, 9, 0, 9))
    assert [i.id for i in merge_instances(_plate(), [], [other])] == [1]
    assert merge_instances(_plate(), [_instance(5, WHOLE, "detect")], [])[0].id == 5
    assert merge_instances(_plate(), [], []) == []


def test_objects_that_overlap_among_themselves_are_refused():
    twice = [_instance(1, _square(0, 9, 0, 9)), _instance(2, _square(8, 20, 0, 9))]
    with pytest.raises(ValueError, match="claim the same vertex"):
        merge_instances(_plate(), [], twice)


corners = st.tuples(*[st.integers(0, SIDE - 3)] * 2, *[st.integers(2, SIDE)] * 2)


def _apart(squares: Sequence[tuple[int, int, int, int]], source: str) -> list[Instance]:
    taken = np.zeros(SIDE * SIDE, bool)
    found = []
    for x, y, width, height in squares:
        vertices = _square(x, x + width, y, y + height)
        vertices = vertices[~taken[vertices]]
        if len(vertices):
            taken[vertices] = True
            box = Box(np.zeros(3), np.ones(3), 0.0)
            found.append(Instance(3 * len(found), "object", vertices, box, source))
    return found


@given(st.lists(corners, max_size=4), st.lists(corners, max_size=5))
def test_no_vertex_twice_and_the_detected_untouched(first, second):
    detected, others = _apart(first, "detect"), _apart(second, "cluster")
    merged = merge_instances(_plate(), detected, others)
    assert merged[: len(detected)] == detected
    ids = vertex_instance_ids(merged, SIDE * SIDE)
    assert len({i.id for i in merged}) == len(merged)
    for kept in merged[len(detected) :]:
        # each is what is left of one of the others, and more than half of it
        owner = [o for o in others if np.isin(kept.vertices, o.vertices).all()]
        assert len(owner) == 1 and 2 * len(kept.vertices) > 0.8 * len(owner[0].vertices)
        assert (np.diff(kept.vertices) > 0).all() and (ids[kept.vertices] == kept.id).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_in_a_filmed_room_with_half_of_the_labels_detected_none_is_doubled_and_none_lost(seed: int):
    room = synthetic_room(seed)
    filmed = film(room, frames=30, width=320, height=240, world_from_room=np.eye(4))
    surface = fuse(filmed.scan)
    known = set(sorted({item.label for item in room.objects})[::2])
    masks = {
        index: each[np.isin(each.data["class_name"], sorted(known))]
        for index, each in true_detections(filmed).items()
        if len(each)
    }
    detected, others = associate(filmed.scan, surface, masks), cluster(surface)
    truth = _true_ids(filmed.room.surface, filmed.room.face_ids, surface)

    def main(instance: Instance) -> int:
        return int(np.bincount(truth[instance.vertices] + 1).argmax()) - 1

    merged = merge_instances(surface, detected, others)
    seen = {main(i) for i in detected}
    labels = {item.id: item.label for item in room.objects}
    assert len(seen) >= 8 and {labels[id] for id in seen} <= known
    added = [main(i) for i in merged if i.source == "cluster"]
    assert not seen & set(added)
    assert {main(i) for i in others} - seen - {-1} <= set(added)


def _true_ids(true: Surface, face_ids: np.ndarray, surface: Surface) -> np.ndarray:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(true.vertices), o3d.core.Tensor(true.faces.astype(np.uint32)))
    nearest = scene.compute_closest_points(o3d.core.Tensor(surface.vertices))["primitive_ids"].numpy()
    return face_ids[nearest.astype(np.int64)]
