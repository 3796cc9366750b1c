"""What must make no difference to association: the order of masks, frames and vertices, and how masks are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_room import Masks, SmallRoom, compacted, detected, dilated, small_room

from bev.surface import Surface
from markers import Instance, associate, load_detections, save_detections


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


def _messy(room: SmallRoom) -> Masks:
    """Masks that overlap at their edges and miss things: where order might matter."""
    rng = np.random.default_rng(5)
    return {
        index: [(label, dilated(mask, 3)) for label, mask in each if rng.random() < 0.8]
        for index, each in room.masks().items()
    }


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
    compact = {index: compacted(each) for index, each in dense.items()}
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
