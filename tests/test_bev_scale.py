"""How large the world becomes: as the user says, or about as large as a room."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev.camera import Camera, scale_of, without_scale
from bev.errors import UserError
from bev.scale import ROUGH_DEPTH, USUAL_CAMERA_HEIGHT, check_scale_options, roughly_room_sized, scale_factor
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints

K = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])


def scan_at(heights, units="arbitrary", sparse=None) -> Scan:
    """Cameras at (0, 0, height) that look along +z, with depth 3 everywhere."""
    frames = []
    for index, height in enumerate(heights):
        pose = np.eye(4)
        pose[2, 3] = height
        camera = Camera(K, 100, 100, pose)
        depth = np.full((100, 100), 3.0, np.float32)
        frames.append(Frame(index, index / 30, camera, lambda: np.zeros((100, 100, 3), np.uint8), camera, depth.copy))
    return Scan("room", Path("room"), "video", tuple(frames), units=units, sparse=sparse)


def test_without_knowledge_cameras_come_to_a_usual_height_and_units_stay_arbitrary():
    assert scale_factor(scan_at([1.0, 1.0, 5.0])) == pytest.approx(USUAL_CAMERA_HEIGHT)


def test_what_the_user_measured_decides():
    scan = scan_at([0.7, 0.8, 0.9])
    assert scale_factor(scan, camera_height_m=1.6) == pytest.approx(2.0)
    # --scale is relative to what is shown without it
    assert scale_factor(scan, scale=0.5) == pytest.approx(0.5 * scale_factor(scan))


def test_metres_stay_as_they_are():
    scan = scan_at([0.5, 0.5], units="metre")
    assert scale_factor(scan) == 1.0 and roughly_room_sized(scan) is scan


def test_a_floor_where_none_can_be_does_not_blow_the_room_up():
    assert scale_factor(scan_at([0.01, 0.01])) == 1.0
    assert scale_factor(scan_at([-1.0, -1.0])) == 1.0
    with pytest.raises(UserError, match="no floor beneath"):
        scale_factor(scan_at([-1.0]), camera_height_m=1.5)


@pytest.mark.parametrize("tracked", [True, False])
def test_a_scan_of_any_size_is_made_room_sized(tracked):
    points = np.array([[0.0, 0, 40], [0, 0, 50], [0, 0, 90]])
    seen = np.array([[0, 0], [0, 1], [0, 2]]) if tracked else np.zeros((0, 2))
    scan = roughly_room_sized(scan_at([0.0], sparse=SparsePoints(points, seen)))
    assert scan.sparse is not None and np.median(scan.sparse.points[:, 2]) == pytest.approx(ROUGH_DEPTH)
    assert scale_of(scan.world_from_source) == pytest.approx(ROUGH_DEPTH / 50)
    again = roughly_room_sized(scan)
    assert scale_of(again.world_from_source) == pytest.approx(scale_of(scan.world_from_source))


def test_scaling_moves_points_of_pixels_with_the_world():
    scan = scan_at([1.0, 2.0])
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = 1, 2, 3
    moved = scan.moved(turn).scaled(2.5, units="metre").moved(turn)
    assert moved.units == "metre" and scale_of(moved.world_from_source) == pytest.approx(2.5)
    np.testing.assert_allclose(np.linalg.det(without_scale(moved.world_from_source)[:3, :3]), 1.0)
    uv = np.array([[10.5, 80.5]])
    for before, after in zip(scan.frames, moved.frames, strict=True):
        assert before.depth_camera and after.depth_camera and before.read_depth and after.read_depth
        point = before.depth_camera.unproject(uv, before.read_depth()[80, 10:11])[0]
        expected = moved.world_from_source @ np.append(point, 1)
        found = after.depth_camera.unproject(uv, after.read_depth()[80, 10:11])[0]
        np.testing.assert_allclose(found, expected[:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "units", "message"),
    [
        ({"scale": 2.0, "camera_height_m": 1.5}, "arbitrary", "give one of the two"),
        ({"scale": 2.0, "camera_height_m": None}, "metre", "is in metres already"),
        ({"scale": None, "camera_height_m": 1.5}, "metre", "is in metres already"),
        ({"scale": 0.0, "camera_height_m": None}, "arbitrary", "above 0"),
        ({"scale": float("nan"), "camera_height_m": None}, "arbitrary", "above 0"),
        ({"scale": None, "camera_height_m": 150.0}, "arbitrary", "between 0.1 and 10 metres"),
    ],
)
def test_sizes_that_contradict_the_scan_are_refused(options, units, message):
    with pytest.raises(UserError, match=message):
        check_scale_options(scan_at([1.0], units=units), **options)


def test_mirrored_or_broken_matrices_have_no_scale():
    assert np.isnan(scale_of(np.diag([1.0, 1, -1, 1]))) and np.isnan(scale_of(np.full((4, 4), np.nan)))


def test_sparse_points_are_checked():
    points = np.zeros((2, 3))
    with pytest.raises(ValueError, match="rows of the 2 points"):
        SparsePoints(points, np.array([[0, 2]]))
    sparse = SparsePoints(np.arange(6.0).reshape(2, 3), np.array([[7, 1], [8, 0], [7, 0]]))
    np.testing.assert_array_equal(sparse.seen_by(7), [[3, 4, 5], [0, 1, 2]])
    assert len(replace(sparse).seen_by(9)) == 0
