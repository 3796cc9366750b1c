"""Poses and depth from a network alone: chunks in worlds of their own become one world."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from depth_teacher import (
    SIZE,
    Teacher,
    as_first_camera_sees_it,
    covered,
    filmed_room,
    moved_world,
    off_surface,
)

from bev.camera import pixel_centers
from bev.errors import UserError
from bev.learned import learned_reconstruction
from bev.learned.chunks import Part, between
from bev.scan import Scan


@pytest.fixture(scope="module")
def room():
    return filmed_room()


def unposed(scan: Scan) -> Scan:
    """As a video comes: cameras at the identity, a guess for intrinsics."""
    K = np.array([[192.0, 0, 80], [0, 192.0, 59], [0, 0, 1]])
    frames = tuple(
        replace(frame, camera=replace(frame.camera, K=K, world_from_camera=np.eye(4))) for frame in scan.frames
    )
    return replace(scan, frames=frames, has_poses=False, has_intrinsics=False, units="arbitrary")


@pytest.mark.parametrize("loses_way", [False, True])
def test_chunks_become_one_world_on_the_true_surface(room, loses_way: bool) -> None:
    teacher = Teacher(room, "scaled", gives_poses=True, frames_at_once=8, loses_way=loses_way)
    scan = learned_reconstruction(unposed(room.scan), teacher, overlap=4)
    assert [(call[0], call[-1]) for call in teacher.calls] == [(0, 7), (4, 11), (8, 15), (12, 19)]
    assert scan.has_poses and scan.has_intrinsics and scan.units == "arbitrary" and scan.has_depth
    medians = [np.median(d[d > 0]) for d in (f.read_depth() for f in scan.frames if f.read_depth)]
    assert np.median(medians) == pytest.approx(2.0, rel=0.1)
    if loses_way:  # the first frame of every chunk is nowhere; those of later chunks are taken from the chunk before
        first, true = 1, room.scan
        world = room.camera(1).world_from_camera @ np.linalg.inv(scan.frames[1].camera.world_from_camera)
        scan = scan.moved(world)
    else:
        first, true = 0, room.scan.moved(as_first_camera_sees_it(room))
        np.testing.assert_allclose(scan.frames[0].camera.world_from_camera, np.eye(4), atol=1e-9)
    scan = scan.moved(_about(scan.frames[first].camera.center, -1))
    true = true.moved(_about(true.frames[first].camera.center, -1))
    factor = np.linalg.norm(true.centers()[-1]) / np.linalg.norm(scan.centers()[-1])
    scan = scan.scaled(float(factor))
    np.testing.assert_allclose(scan.centers()[first:], true.centers()[first:], atol=0.005)
    to_room = room.camera(first).world_from_camera @ np.linalg.inv(true.frames[first].camera.world_from_camera)
    kept = scan.with_frames(scan.frames[first:]).moved(to_room)
    assert np.percentile(off_surface(kept, room.surface), 95) < 0.006
    assert covered(kept) > 0.75


def _about(point: np.ndarray, sign: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = sign * point
    return matrix


def test_intrinsics_come_out_at_the_size_of_the_image(room) -> None:
    scan = learned_reconstruction(unposed(room.scan), Teacher(room, "scaled", gives_poses=True, frames_at_once=20))
    for frame in scan.frames:
        np.testing.assert_allclose(frame.camera.K, room.camera(0).K, rtol=1e-6)
        assert (frame.camera.width, frame.camera.height) == SIZE
    known = replace(unposed(room.scan), has_intrinsics=True)
    scan = learned_reconstruction(known, Teacher(room, "scaled", gives_poses=True, frames_at_once=20))
    np.testing.assert_array_equal(scan.frames[3].camera.K, known.frames[3].camera.K)


def test_frame_i_maps_its_depth_onto_the_world_of_frame_j(room) -> None:
    scan = learned_reconstruction(unposed(room.scan), Teacher(room, "scaled", gives_poses=True, frames_at_once=8))
    shares = []
    for a, b in pairwise(scan.frames):
        assert a.read_depth and b.read_depth and a.depth_camera and b.depth_camera
        depth = a.read_depth().ravel()
        uv = pixel_centers(a.depth_camera.width, a.depth_camera.height)[depth > 0]
        uv, z = b.depth_camera.project(a.depth_camera.unproject(uv, depth[depth > 0]))
        inside = (z > 0) & (uv >= 0).all(axis=1) & (uv < [b.depth_camera.width, b.depth_camera.height]).all(axis=1)
        column, row = uv[inside].astype(int).T
        there = b.read_depth()[row, column]
        seen = (there > 0) & (z[inside] < 1.05 * there)  # what is not hidden from b
        if seen.sum() > 300:
            shares.append(np.mean(np.abs(there[seen] / z[inside][seen] - 1) < 0.02))
    assert len(shares) >= 8 and np.median(shares) > 0.97


def test_a_metric_network_gives_metres(room) -> None:
    scan = learned_reconstruction(unposed(room.scan), Teacher(room, "metre", gives_poses=True, frames_at_once=8))
    assert scan.units == "metre"
    true = np.linalg.norm(room.scan.centers()[-1] - room.scan.centers()[0])
    assert np.linalg.norm(scan.centers()[-1] - scan.centers()[0]) == pytest.approx(true, rel=2e-3)


def test_a_mesh_of_the_world_that_is_left_is_left_too(room) -> None:
    """As up and walls are."""
    scan = replace(room.scan, surface_path=Path("mesh.ply"), up_hint=np.array([0.0, 0, 1]), axes_are_walls=True)
    found = learned_reconstruction(scan, Teacher(room, "metre", gives_poses=True))
    assert found.surface_path is None and found.up_hint is None and not found.axes_are_walls


def test_what_cannot_be_reconstructed_is_an_error(room) -> None:
    plain = unposed(room.scan)
    with pytest.raises(UserError, match="gives no poses"):
        learned_reconstruction(plain, Teacher(room))
    with pytest.raises(UserError, match="cannot share 4"):
        learned_reconstruction(plain, Teacher(room, gives_poses=True), chunk=4, overlap=4)
    with pytest.raises(UserError, match="has no frames"):
        learned_reconstruction(plain.with_frames(()), Teacher(room, gives_poses=True))
    odd = replace(plain.frames[0], camera=plain.frames[0].camera.resized(80, 59))
    with pytest.raises(UserError, match="different sizes"):
        learned_reconstruction(plain.with_frames((odd, *plain.frames[1:])), Teacher(room, gives_poses=True))
    blind = Teacher(room, gives_poses=True, factors=np.full(20, np.nan))
    with pytest.raises(UserError, match="by which they could be joined"):
        learned_reconstruction(plain, blind)
    with pytest.raises(UserError, match="found no depth in any frame"):
        learned_reconstruction(plain.with_frames(plain.frames[:3]), blind)


def test_parts_are_joined_by_frames_of_which_some_are_wrong() -> None:
    rng = np.random.default_rng(0)
    poses = np.stack([moved_world(seed) for seed in range(8)])
    depth = rng.uniform(1, 3, (8, 20, 30)).astype(np.float16)
    old = Part(0, depth, poses, np.tile(np.eye(3), (8, 1, 1)))
    motion = moved_world(40)
    moved = motion @ poses[3:]
    moved[:, :3, 3] *= 0.5
    moved[1] = moved_world(50)
    half = (depth[3:] * 0.5).astype(np.float16)
    half[0] = np.nan  # a frame without depth
    half[2, :8] *= 3  # and something that moved
    found = between(old, Part(3, half, moved, np.tile(np.eye(3), (5, 1, 1))))
    assert found.scale == pytest.approx(2, rel=1e-3)
    for i in (0, 2, 3, 4):
        np.testing.assert_allclose(found.pose(moved[i]), poses[3 + i], atol=5e-3)


def test_cameras_in_a_row_leave_no_rotation_open() -> None:
    """Centres alone would."""
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = np.arange(4)
    depth, K = np.full((4, 5, 5), 2.0, np.float16), np.tile(np.eye(3), (4, 1, 1))
    found = between(Part(0, depth, moved_world(3) @ poses, K), Part(0, depth, poses, K))
    np.testing.assert_allclose(found.rotation, moved_world(3)[:3, :3], atol=1e-9)
