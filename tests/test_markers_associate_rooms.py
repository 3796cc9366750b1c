"""The bars of association: filmed rooms with true masks, with what real detectors do to them, and a rendered mesh."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import supervision as sv
from mask_noise import as_detections, with_noise
from true_rooms import Tally, TrueRoom, clear_vertices, true_room

from bev.scan import Scan
from bev.surface import SurfaceCaster
from markers import associate, instance_map

SEEDS = (1, 7)
GLOSSY = frozenset({"fridge", "television", "monitor"})
RENDERED_PX = 50


@cache
def _room(seed: int) -> TrueRoom:
    return true_room(seed)


def _tally(rooms: list[TrueRoom], *, noisy: bool, clear: bool = False) -> Tally:
    tally = Tally()
    for room in rooms:
        seed = room.walk.room.seed
        detections = with_noise(room.detections, seed=seed) if noisy else room.detections
        instances = associate(room.scan, room.surface, detections)
        tally.add(room, instances, clear_vertices(room.walk, room.surface) if clear else None)
    return tally


def _reaches_the_clean_bars(tally: Tally) -> None:
    assert (tally.one_id, tally.spurious, tally.ids) == (tally.objects, 0, tally.objects), str(tally)
    assert tally.ap50 >= 0.98, str(tally)
    # at edges where two things touch the truth itself is a guess: fused surfaces are round there
    assert tally.purity >= 0.995, str(tally)


def _reaches_the_noisy_bars(tally: Tally) -> None:
    assert tally.one_id >= 0.97 * tally.objects, str(tally)
    assert tally.spurious <= 0.02 * tally.ids, str(tally)
    assert tally.purity >= 0.98 and tally.ap50 >= 0.93, str(tally)


def test_true_masks_give_every_object_one_id():
    _reaches_the_clean_bars(_tally([_room(seed) for seed in SEEDS], noisy=False))


def test_masks_as_detectors_make_them():
    _reaches_the_noisy_bars(_tally([_room(seed) for seed in SEEDS], noisy=True))


@pytest.mark.slow
def test_ten_rooms():
    clean, noisy = Tally(), Tally()
    for seed in range(10):
        room = true_room(seed)
        for tally, detections in ((clean, room.detections), (noisy, with_noise(room.detections, seed=seed))):
            clear = clear_vertices(room.walk, room.surface) if tally is clean else None
            tally.add(room, associate(room.scan, room.surface, detections), clear)
    _reaches_the_clean_bars(clean)
    assert clean.clear_purity >= 0.999, str(clean)
    _reaches_the_noisy_bars(noisy)


@pytest.mark.parametrize(("dilated_px", "purity"), [(0, 0.995), (9, 0.98)])
def test_an_annotated_mesh_rendered_into_few_views(dilated_px: int, purity: float):
    """As with a ready-made scan whose annotation is rendered: every object that a view shows has one id."""
    room = _room(SEEDS[0])
    scan, detections = _rendered(room)
    if dilated_px:
        detections = with_noise(detections, seed=0, dropped=0, relabelled=0, joined=0, dilated_px=dilated_px)
    shown = {int(name) for each in detections.values() for name in each.data["class_name"]}
    truth = room.truth.without(sorted(set(room.truth.ids().tolist()) - shown))
    tally = Tally()
    tally.add(replace(room, truth=truth), associate(scan, room.surface, detections, min_views=1))
    assert tally.objects == len(shown)
    assert (tally.one_id, tally.ids) == (tally.objects, tally.objects), str(tally)
    assert tally.purity >= purity, str(tally)


def _without(detections: sv.Detections, labels: frozenset[str]) -> sv.Detections:
    return detections[[name not in labels for name in detections.data["class_name"]]] if len(detections) else detections


def _rendered(room: TrueRoom) -> tuple[Scan, dict[int, sv.Detections]]:
    """Depth and masks of the labelled surface in every third frame; labels are the objects' numbers."""
    caster = SurfaceCaster(room.surface)
    frames, detections = [], {}
    for frame in room.scan.frames[::3]:
        view = caster.view(frame.camera)
        frames.append(replace(frame, depth_camera=frame.camera, read_depth=lambda depth=view.depth: depth))
        ids = instance_map(view, room.truth.vertex_ids)
        numbers, px = np.unique(ids[ids >= 0], return_counts=True)
        numbers = numbers[px >= RENDERED_PX]
        detections[frame.index] = as_detections(ids[None] == numbers[:, None, None], [str(n) for n in numbers])
    return room.scan.with_frames(tuple(frames)), detections


def test_small_images_and_a_depth_camera_beside_the_colour_camera():
    room = true_room(3, frames=40, width=320, height=240, registered=False)
    tally = _tally([room], noisy=False)
    assert tally.one_id == tally.objects > 15 and tally.spurious == 0, str(tally)
    assert tally.purity >= 0.985, str(tally)


def test_depth_is_not_needed_where_there_is_a_surface():
    room = _room(SEEDS[1])
    blind = room.scan.with_frames(
        tuple(replace(frame, depth_camera=None, read_depth=None) for frame in room.scan.frames[::2])
    )
    # what returns no depth is not in the fused surface either, and rays pass through it to the wall
    glossy = {item.id for item in room.walk.room.objects if item.label in GLOSSY}
    detections = {frame.index: _without(room.detections[frame.index], GLOSSY) for frame in blind.frames}
    tally = Tally()
    truth = room.truth.without(sorted(glossy & set(room.truth.ids().tolist())))
    tally.add(replace(room, truth=truth), associate(blind, room.surface, detections))
    assert tally.one_id >= 0.95 * tally.objects, str(tally)
    assert tally.purity >= 0.98, str(tally)
