"""Depth and poses that do not belong together are found, and the option that mends it is named."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bev_readers_world import depth_at, looking_from, walk
from scipy.spatial.transform import Rotation

from bev.agreement import agreement, check_agreement
from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.readers import read_scan
from bev.readers.poses import world_from_cameras
from bev.scan import Frame, Reading, Scan

REDKITCHEN = Path(__file__).parents[2] / "shared" / "data" / "redkitchen"
real = pytest.mark.skipif(not REDKITCHEN.is_dir(), reason="the real scan is not here")
K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])


def room(poses: np.ndarray, *, reading: Reading | None = None, units_per_m: float = 1000.0) -> Scan:
    """The room filmed at `poses`, (n, 4, 4), stored rightly with `units_per_m`, then read as `reading` says."""
    reading = reading or Reading(units_per_m)
    read_at = world_from_cameras(poses, reading.poses, reading.axes)
    frames = []
    for i, (pose, read_pose) in enumerate(zip(poses, read_at, strict=True)):
        camera = Camera(K, 160, 120, pose)
        depth = depth_at(camera, pixel_centers(160, 120)).reshape(120, 160) * units_per_m / reading.depth_units_per_m
        camera = Camera(K, 160, 120, read_pose)
        frames.append(
            Frame(i, i / 30, camera, lambda: np.zeros((120, 160, 3), np.uint8), camera, lambda d=depth: np.float32(d))
        )
    return Scan("room", Path("room"), "7scenes", tuple(frames), reading=reading)


@pytest.mark.parametrize("units_per_m", [1000.0, 5000.0, 6553.5])
def test_a_right_scan_agrees_and_each_wrong_reading_is_named(units_per_m):
    poses = walk(30)
    right = Reading(units_per_m)
    assert check_agreement(room(poses, units_per_m=units_per_m)) > 0.75
    wrong_units = 1000.0 if units_per_m == 5000 else 5000.0
    for wrong, options in (
        (replace(right, depth_units_per_m=wrong_units), f"--depth-scale {units_per_m:g}"),
        (replace(right, poses="camera_from_world"), "--poses world_from_camera"),
        (replace(right, axes="opengl"), "--axes opencv"),
        (Reading(wrong_units, "camera_from_world"), f"--depth-scale {units_per_m:g} --poses world_from_camera"),
        (Reading(wrong_units, axes="opengl"), f"--depth-scale {units_per_m:g} --axes opencv"),
        (replace(right, poses="camera_from_world", axes="opengl"), "--poses world_from_camera --axes opencv"),
    ):
        with pytest.raises(UserError) as caught:
            check_agreement(room(poses, reading=wrong, units_per_m=units_per_m))
        assert str(caught.value).startswith("room: depth and poses do not agree (")
        assert str(caught.value).endswith(f": add {options}")


def test_a_scan_that_was_moved_since_is_still_undone_rightly():
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [0.3, -0.4, 1.0]).as_matrix()
    turn[:3, 3] = 3, -2, 1
    aligned = room(walk(30), reading=Reading(1000.0, "camera_from_world"))
    # as ScanNet's alignment does: poses and surface's world moved by the reader, before anything else moved them
    aligned = replace(aligned.moved(turn), world_from_source=np.eye(4), source_from_surface=turn)
    with pytest.raises(UserError, match=r"add --poses world_from_camera$"):
        check_agreement(aligned.moved(turn))
    assert check_agreement(room(walk(30)).moved(turn)) > 0.75


def test_poses_that_nothing_mends_say_so_and_can_be_let_through(caplog):
    poses = walk(30)
    random = np.random.default_rng(0)
    poses[:, :3, 3] += random.normal(0, 0.4, (30, 3))
    scan = room(walk(30))
    frames = tuple(
        replace(frame, depth_camera=Camera(K, 160, 120, pose)) for frame, pose in zip(scan.frames, poses, strict=True)
    )
    scan = scan.with_frames(frames)
    with pytest.raises(UserError, match=r"no other depth unit, pose direction or camera axes explain it.*--skip-check"):
        check_agreement(scan)
    assert check_agreement(scan, skip_check=True) < 0.4
    assert "do not agree" in caplog.text


def test_what_cannot_be_judged_is_nan_and_no_error():
    def shares(scan):
        return agreement(scan), check_agreement(scan)

    still = np.array([looking_from(-1, 0, 1.4, yaw) for yaw in range(0, 60, 3)])
    apart = np.array([looking_from(-1, 0, 1.4, 0), looking_from(-1, 0.5, 1.4, 180)])
    for scan in (
        room(walk(1)),
        room(walk(30)).with_frames(()),
        room(still),
        room(apart),
        replace(room(walk(30)), units="arbitrary"),
        room(walk(30)).with_frames(
            tuple(replace(f, read_depth=None, depth_camera=None) for f in room(walk(30)).frames)
        ),
        room(walk(30)).with_frames(
            tuple(replace(f, read_depth=lambda: np.zeros((120, 160), np.float32)) for f in room(walk(30)).frames)
        ),
    ):
        assert all(math.isnan(share) for share in shares(scan))


def test_frames_without_depth_do_not_matter():
    scan = room(walk(30))
    empty = tuple(
        replace(frame, read_depth=lambda: np.zeros((120, 160), np.float32)) if frame.index % 3 == 0 else frame
        for frame in scan.frames
    )
    assert check_agreement(scan.with_frames(empty)) == pytest.approx(check_agreement(scan), abs=0.1)


@real
def test_redkitchen_agrees_and_images_are_not_touched():
    scan = read_scan(REDKITCHEN)
    blind = tuple(replace(frame, read_color=lambda: pytest.fail("decoded a colour image")) for frame in scan.frames)
    share = check_agreement(scan.with_frames(blind))
    assert 0.8 < share < 0.95 and agreement(scan) == share


@real
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        *[({"depth_scale": scale}, "--depth-scale 1000") for scale in (1, 100, 500, 2000, 5000, 6553.5, 65535)],
        ({"poses": "camera_from_world"}, "--poses world_from_camera"),
        ({"axes": "opengl"}, "--axes opencv"),
        ({"poses": "camera_from_world", "axes": "opengl"}, "--poses world_from_camera --axes opencv"),
        ({"depth_scale": 5000, "poses": "camera_from_world"}, "--depth-scale 1000 --poses world_from_camera"),
        ({"depth_scale": 256, "axes": "opengl"}, "--depth-scale 1000 --axes opencv"),
    ],
)
def test_redkitchen_misread_is_told_which_option_mends_it(arguments, options):
    scan = read_scan(REDKITCHEN, **arguments)
    share = agreement(scan)
    assert math.isnan(share) or share <= 0.34
    with pytest.raises(UserError) as caught:
        check_agreement(scan)
    assert str(caught.value).endswith(f"): add {options}")
