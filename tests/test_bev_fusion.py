"""Fusion of exact depth: the surface lies where it is, whatever camera measured it, and comes out the same twice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bev_readers_world import BLOCK, ROOM, depth_at, in_block, looking_from, off_surface_m, walk

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.fusion import fuse
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster

WIDTH, HEIGHT = 160, 120
K = np.array([[140.0, 0, 80], [0, 140, 60], [0, 0, 1]])
AWAY = np.zeros((HEIGHT, WIDTH), np.float32)


def _frame(index: int, depth_camera: Camera, depth: np.ndarray, camera: Camera | None = None) -> Frame:
    return Frame(
        index=index,
        timestamp_s=index / 30,
        camera=camera or depth_camera,
        read_color=lambda: pytest.fail("fusion needs no colour"),
        depth_camera=depth_camera,
        read_depth=lambda: depth,
    )


def _scan(frames: Sequence[Frame]) -> Scan:
    return Scan("exact", Path("scans/exact"), "test", tuple(frames))


def _room_scan(poses: np.ndarray) -> Scan:
    """Exact depth of the room with one block."""
    frames = []
    for index, pose in enumerate(poses):
        camera = Camera(K, WIDTH, HEIGHT, pose)
        depth = depth_at(camera, pixel_centers(WIDTH, HEIGHT)).reshape(HEIGHT, WIDTH).astype(np.float32)
        frames.append(_frame(index, camera, depth))
    return _scan(frames)


def _wall_scan(count: int, distance_m: float = 1.5, depth: np.ndarray | None = None) -> Scan:
    """Straight at a wall, with a step to the side per frame."""
    frames = []
    for index in range(count):
        pose = np.eye(4)
        pose[0, 3] = 0.02 * index
        image = np.full((HEIGHT, WIDTH), distance_m, np.float32) if depth is None else depth
        frames.append(_frame(index, Camera(K, WIDTH, HEIGHT, pose), image))
    return _scan(frames)


def _same(a: Surface, b: Surface) -> bool:
    names = ("vertices", "faces", "colors", "normals")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def test_a_wall_lies_where_it_was_measured() -> None:
    surface = fuse(_wall_scan(6))
    assert np.abs(surface.vertices[:, 2] - 1.5).max() < 1e-3
    # and is all that the cameras saw, but for half a voxel at the rim
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    half = np.array([80, 60]) / 140 * 1.5
    assert low[:2] == pytest.approx(-half, abs=0.06) and high[:2] == pytest.approx(half + [0.1, 0], abs=0.06)
    # faces run counter-clockwise seen from the cameras, and normals point at them
    assert (surface.face_normals()[0][:, 2] < -0.99).all() and (surface.normals[:, 2] < -0.9).all()


def test_a_room_with_a_block_is_rebuilt_within_millimetres() -> None:
    surface = fuse(_room_scan(walk(24)))
    off_m = off_surface_m(surface.vertices.astype(np.float64))
    assert np.median(off_m) < 0.002
    assert np.quantile(off_m, 0.95) < 0.015  # edges are rounded
    assert np.quantile(off_m, 0.99) < 0.05 and off_m.max() < 0.16  # crumbs, as far as distances are kept
    # it is seen as it was measured
    frame = _room_scan(walk(24)).frames[5]
    assert frame.depth_camera is not None and frame.read_depth is not None
    depth = SurfaceCaster(surface).view(frame.depth_camera).depth
    both = depth > 0
    assert both.mean() > 0.85
    assert np.median(np.abs(depth - frame.read_depth())[both]) < 0.003
    points = surface.vertices[in_block(surface.vertices.astype(np.float64) - [0, 0, 1e-3])]
    assert points[:, 2].max() == pytest.approx(BLOCK[1, 2], abs=0.01)
    assert surface.vertices.min(axis=0)[2] == pytest.approx(ROOM[0, 2], abs=0.02)


def test_finer_voxels_give_more_vertices() -> None:
    scan = _wall_scan(4)
    coarse, fine = fuse(scan, voxel_size_m=0.04), fuse(scan, voxel_size_m=0.02)
    assert 3 < len(fine.vertices) / len(coarse.vertices) < 5


def test_what_too_few_frames_saw_is_left_out() -> None:
    frames = list(_wall_scan(9).frames)
    far = np.eye(4)
    far[0, 3] = 5.0  # one frame looks at another part of the wall
    frames.append(_frame(9, Camera(K, WIDTH, HEIGHT, far), np.full((HEIGHT, WIDTH), 1.5, np.float32)))
    scan = _scan(frames)
    assert fuse(scan).vertices[:, 0].max() < 2
    assert fuse(scan, weight_min=1).vertices[:, 0].max() > 5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_weight_min_counts_frames(count: int) -> None:
    """Of 15 frames `count` look at a part of the wall of its own, which is there if that many are asked for."""
    depth = np.full((HEIGHT, WIDTH), 1.5, np.float32)
    frames = [_frame(i, _aside(5.0 if i < count else 0.0), depth) for i in range(15)]
    for weight_min in (1, 2, 3, 4, 5):
        shown = fuse(_scan(frames), weight_min=weight_min, voxel_size_m=0.05).vertices[:, 0].max() > 4
        assert shown == (count >= weight_min)


def test_depth_that_meets_nowhere_is_an_error() -> None:
    depth = np.full((HEIGHT, WIDTH), 1.5, np.float32)
    with pytest.raises(UserError, match="the depth of 9 frames does not meet in a surface"):
        fuse(_scan([_frame(i, _aside(5.0 * i), depth) for i in range(9)]))


def _aside(x_m: float) -> Camera:
    pose = np.eye(4)
    pose[0, 3] = x_m
    return Camera(K, WIDTH, HEIGHT, pose)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_scan_of_few_frames_gives_a_surface(count: int) -> None:
    surface = fuse(_wall_scan(count))
    assert len(surface.faces) > 1000
    assert np.abs(surface.vertices[:, 2] - 1.5).max() < 2e-3


def test_frames_without_any_depth_are_legal() -> None:
    seeing = _wall_scan(6)
    frames = [frame for pair in zip(seeing.frames, _wall_scan(6, depth=AWAY).frames, strict=True) for frame in pair]
    mixed = _scan([_frame(i, frame.depth_camera, frame.read_depth()) for i, frame in enumerate(frames)])  # type: ignore[misc, arg-type]
    assert _same(fuse(mixed), fuse(seeing))


@pytest.mark.parametrize("depth", [AWAY, np.full((HEIGHT, WIDTH), 7.0, np.float32)], ids=["none at all", "all too far"])
def test_no_depth_within_reach_is_an_error(depth: np.ndarray) -> None:
    scan = _wall_scan(5, depth=depth)
    with pytest.raises(UserError, match=r"scans/exact: no depth within 4\.0 m in any of 5 frames") as error:
        fuse(scan)
    assert "--depth-scale" in str(error.value) and "--depth-max-m" in str(error.value)


def test_depth_beyond_the_limit_is_left_out() -> None:
    depth = np.full((HEIGHT, WIDTH), 1.5, np.float32)
    depth[:, :60] = 3.0
    scan = _wall_scan(6, depth=depth)
    assert fuse(scan).vertices[:, 2].max() == pytest.approx(3.0, abs=0.01)
    assert fuse(scan, depth_max_m=2.5).vertices[:, 2].max() == pytest.approx(1.5, abs=0.05)


def test_the_depth_camera_of_its_own_is_respected() -> None:
    """The colour camera stands beside it, turned and of another focal length: nothing of it may matter."""
    registered = _wall_scan(6)
    turned = looking_from(3.0, 1.0, 0.5, yaw_deg=70)
    frames = []
    for frame in registered.frames:
        assert frame.depth_camera is not None and frame.read_depth is not None
        color = Camera(2 * K, 320, 240, frame.depth_camera.world_from_camera @ turned)
        frames.append(_frame(frame.index, frame.depth_camera, frame.read_depth(), color))
    assert _same(fuse(_scan(frames)), fuse(registered))


def test_the_principal_point_counts_from_the_corner() -> None:
    """Depth of a tilted plane, made with uv of pixel centres at one half, fuses to that plane without a shift."""
    camera = Camera(np.array([[30.0, 0, 20], [0, 30, 15], [0, 0, 1]]), 40, 30, np.eye(4))
    directions = camera.rays(pixel_centers(40, 30))[1]
    normal, offset = np.array([0.7, 0.0, -0.714]), -0.9
    depth = (offset / (directions @ normal)).reshape(30, 40).astype(np.float32)
    surface = fuse(_scan([_frame(i, camera, depth) for i in range(3)]), voxel_size_m=0.02)
    # half a pixel would be 1.7 cm here
    assert abs(np.median(surface.vertices @ normal - offset)) < 0.004


def test_fusion_gives_the_same_arrays_twice() -> None:
    scan = _room_scan(walk(8))
    assert _same(fuse(scan), fuse(scan))
