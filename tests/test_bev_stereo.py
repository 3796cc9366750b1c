"""Depth from posed images: complete and exact where there is texture, none where nobody can know."""

import logging
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from textured_quads import Quad, Shot, plain, shoot, sideways, textured

import bev
from bev.camera import Camera
from bev.errors import UserError
from bev.scan import Scan
from bev.stereo import stereo_depth
from bev.synthetic import film, synthetic_room

WALL = textured((-2.2, 0.0, -0.6), (4.4, 0, 0), (0, 0, 3.2), seed=1)
FLOOR = textured((-2.2, -2.4, 0.1), (4.4, 0, 0), (0, 2.4, 0), seed=2)
BOX = textured((-0.35, -0.7, 0.45), (0.5, 0, 0), (0, 0, 0.5), seed=3)
SMALL = 160


def depths(scan: Scan) -> list[np.ndarray]:
    return [frame.read_depth() for frame in scan.frames if frame.read_depth is not None]


def score(scan: Scan, shot: Shot) -> tuple[float, float, float]:
    """Share of the pixels with depth, median relative error, and share within 5 %."""
    found, true = np.array(depths(scan)), np.array(shot.depth)
    some = (found > 0) & (true > 0)
    error = np.abs(found[some] / true[some] - 1)
    return float(some.sum() / (true > 0).sum()), float(np.median(error)), float((error < 0.05).mean())


@cache
def corner_room() -> Shot:
    return shoot((WALL, FLOOR, BOX), sideways())


@cache
def corner_room_depth() -> Scan:
    return stereo_depth(corner_room().scan, long_side_px=SMALL)


def test_a_textured_room_is_found_nearly_whole_and_exactly() -> None:
    share, median, within = score(corner_room_depth(), corner_room())
    assert share > 0.8 and median < 0.005 and within > 0.98


@pytest.mark.parametrize("lean", [0.0, 0.8, -1.2])
def test_walls_that_face_the_camera_and_walls_that_lean(lean: float) -> None:
    wall = textured((-2.2, -lean, -0.6), (4.4, 0, 0), (0, 2 * lean, 3.2), seed=4)
    shot = shoot((wall,), sideways(7))
    share, median, within = score(stereo_depth(shot.scan, long_side_px=SMALL), shot)
    assert share > 0.85 and median < 0.005 and within > 0.99


def test_every_frame_has_the_colour_camera_resized() -> None:
    scan = stereo_depth(corner_room().scan, long_side_px=80)
    for before, frame, values in zip(corner_room().scan.frames, scan.frames, depths(scan), strict=True):
        assert frame.index == before.index and frame.camera is before.camera
        assert frame.depth_camera is not None
        assert np.allclose(frame.depth_camera.K, before.camera.resized(80, 60).K)
        assert np.array_equal(frame.depth_camera.world_from_camera, frame.camera.world_from_camera)
        assert values.shape == (60, 80) and values.dtype == np.float32 and (values >= 0).all()
        assert np.isfinite(values).all()


def test_what_frames_see_lies_on_the_walls() -> None:
    for frame, values, which in zip(
        corner_room_depth().frames, depths(corner_room_depth()), corner_room().which, strict=True
    ):
        assert frame.depth_camera is not None
        v, u = np.nonzero((values > 0) & (which == 1))
        points = frame.depth_camera.unproject(np.stack([u, v], axis=1) + 0.5, values[v, u])
        assert np.median(np.abs(points[:, 2] - FLOOR.corner[2])) < 0.01


def test_images_are_never_enlarged() -> None:
    shot = shoot((WALL,), sideways(4, size=(96, 72)))
    assert depths(stereo_depth(shot.scan))[0].shape == (72, 96)


def test_upright_images_have_the_same_number_of_pixels() -> None:
    shot = shoot((WALL, FLOOR), sideways(5, size=(120, 160)))
    scan = stereo_depth(shot.scan, long_side_px=80)
    assert depths(scan)[0].shape == (80, 60)
    assert score(stereo_depth(shot.scan, long_side_px=SMALL), shot)[2] > 0.98


def test_a_world_twice_as_large_has_depth_twice_as_large() -> None:
    doubled = stereo_depth(corner_room().scan.scaled(2.0), long_side_px=SMALL)
    for one, two in zip(depths(corner_room_depth()), depths(doubled), strict=True):
        both = (one > 0) & (two > 0)
        assert ((one > 0) == (two > 0)).mean() > 0.995
        assert np.median(np.abs(two[both] / one[both] / 2 - 1)) < 1e-4


def test_another_world_frame_changes_nothing() -> None:
    turn = np.array([[0.6, 0, 0.8, 3], [0, 1, 0, -2], [-0.8, 0, 0.6, 1], [0, 0, 0, 1.0]])
    moved = stereo_depth(corner_room().scan.moved(turn), long_side_px=SMALL)
    for one, two in zip(depths(corner_room_depth()), depths(moved), strict=True):
        assert ((one > 0) == (two > 0)).mean() > 0.995


def test_the_order_of_the_frames_does_not_matter() -> None:
    scan = corner_room().scan
    order = [4, 0, 7, 2, 8, 1, 6, 3, 5]
    seen = scan.sparse
    assert seen is not None
    renamed = {scan.frames[old].index: new for new, old in enumerate(order)}
    shuffled = replace(
        scan,
        frames=tuple(replace(scan.frames[old], index=new) for new, old in enumerate(order)),
        sparse=replace(seen, seen=np.array([(renamed[index], row) for index, row in seen.seen.tolist()])),
    )
    found, before = depths(stereo_depth(shuffled, long_side_px=SMALL)), depths(corner_room_depth())
    for new, old in enumerate(order):
        assert ((found[new] > 0) == (before[old] > 0)).mean() > 0.99


def test_without_sparse_points_they_are_found_first() -> None:
    shot = shoot((WALL, FLOOR, BOX), sideways(5, size=(240, 180), step_m=0.12), sparse=False)
    share, median, within = score(stereo_depth(shot.scan), shot)
    assert share > 0.8 and median < 0.005 and within > 0.98


def test_a_wall_without_texture_has_no_depth() -> None:
    bare = plain((-2.2, -0.02, 0.5), (2.0, 0, 0), (0, 0, 2.2))  # before the left of the wall
    shot = shoot((WALL, bare), sideways(), noise=1.5)
    found = np.array(depths(stereo_depth(shot.scan, long_side_px=SMALL)))
    which = np.array(shot.which)
    inner = np.array([eroded(w == 1, 12) for w in which])
    assert inner.mean() > 0.1
    assert (found[inner] > 0).mean() < 0.02
    assert (found[which == 0] > 0).mean() > 0.7


def eroded(mask: np.ndarray, px: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * px + 1, 2 * px + 1), np.uint8)) > 0


def test_what_moves_between_frames_has_no_depth() -> None:
    def quads(k: int) -> tuple[Quad, ...]:
        # comes nearer and goes to the side and down, as somebody who walks through does
        walker = textured((-0.7 + 0.11 * k, -0.5 - 0.05 * (k % 4), 0.7 - 0.04 * k), (0.45, 0, 0), (0, 0, 0.8), seed=9)
        return WALL, FLOOR, walker

    shot = shoot(quads, sideways())
    scan = stereo_depth(shot.scan, long_side_px=SMALL)
    found, which = np.array(depths(scan)), np.array(shot.which)
    assert (which == 2).mean() > 0.05
    assert (found[which == 2] > 0).mean() < 0.1
    assert (found[which == 0] > 0).mean() > 0.6
    share, _, within = score(scan, shot)
    assert share > 0.6 and within > 0.95


def test_a_frame_apart_from_all_others_is_left_without_depth_and_told(caplog: pytest.LogCaptureFixture) -> None:
    cameras = sideways(6)
    away = replace(cameras[0], world_from_camera=cameras[0].world_from_camera @ np.diag([-1.0, 1, -1, 1]))
    back = textured((-3, -5.0, -1), (6, 0, 0), (0, 0, 4), seed=8)
    shot = shoot((WALL, back), [*cameras, away])
    with caplog.at_level(logging.INFO, logger="bev.stereo"):
        found = depths(stereo_depth(shot.scan, long_side_px=SMALL))
    assert [bool(values.any()) for values in found] == [True] * 6 + [False]
    assert "1 of 7 frames have no depth" in caplog.text


def test_too_little_to_go_by_is_told_in_one_line() -> None:
    two = shoot((WALL,), sideways(2)).scan
    cameras = [sideways(1)[0]] * 5
    for scan, told in (
        (replace(corner_room().scan, has_poses=False), "has no poses"),
        (two, "has 2 frames"),
        (shoot((WALL,), cameras).scan, "no depth that several"),
        (shoot((WALL,), cameras, sparse=False).scan, "share no features"),
        (shoot((plain(WALL.corner, WALL.across, WALL.up),), sideways(5)).scan, "no depth that several"),
        (shoot((plain(WALL.corner, WALL.across, WALL.up),), sideways(5), sparse=False).scan, "share no features"),
    ):
        with pytest.raises(UserError, match=told) as raised:
            stereo_depth(scan, long_side_px=80)
        assert "\n" not in str(raised.value) and "quads" in str(raised.value)


def test_no_such_device() -> None:
    with pytest.raises(UserError, match="torch does not know it"):
        stereo_depth(corner_room().scan, device="abacus")


def test_depth_goes_on_into_a_surface() -> None:
    surface = bev.fuse(corner_room_depth(), weight_min=2)
    on_wall = np.abs(surface.vertices[:, 1]) < 0.03
    on_floor = np.abs(surface.vertices[:, 2] - FLOOR.corner[2]) < 0.03
    on_box = np.abs(surface.vertices[:, 1] + 0.7) < 0.03
    assert (on_wall | on_floor | on_box).mean() > 0.9
    assert min(on_wall.sum(), on_floor.sum(), on_box.sum()) > 200


@pytest.mark.gpu
def test_a_gpu_finds_the_same() -> None:
    for one, two in zip(
        depths(corner_room_depth()),
        depths(stereo_depth(corner_room().scan, long_side_px=SMALL, device="cuda")),
        strict=True,
    ):
        both = (one > 0) & (two > 0)
        assert ((one > 0) == (two > 0)).mean() > 0.98
        assert np.median(np.abs(one[both] / two[both] - 1)) < 1e-3


def test_cameras_without_a_common_size_are_fine() -> None:
    cameras = sideways(6)
    mixed: list[Camera] = [camera.resized(120, 90) if k % 2 else camera for k, camera in enumerate(cameras)]
    shot = shoot((WALL, FLOOR), mixed)
    scan = stereo_depth(shot.scan, long_side_px=SMALL)
    for values, true in zip(depths(scan), shot.depth, strict=True):
        some = values > 0
        assert some.mean() > 0.5 and np.median(np.abs(values[some] / true[some] - 1)) < 0.01


def test_a_furnished_room_from_its_images_alone() -> None:
    walk = film(synthetic_room(3), frames=60, width=320, height=240).scan
    some = walk.with_frames(walk.frames[:12])
    blind = some.with_frames(tuple(replace(f, depth_camera=None, read_depth=None) for f in some.frames))
    clean = film(synthetic_room(3), frames=60, width=320, height=240, noise=False).scan.frames[:12]
    found = np.array(depths(stereo_depth(blind)))
    true = np.array([frame.read_depth() for frame in clean if frame.read_depth is not None])
    both = (found > 0) & (true > 0)
    error = np.abs(found[both] / true[both] - 1)
    assert (found > 0).mean() > 0.67 and np.median(error) < 0.006 and (error < 0.05).mean() > 0.95
