"""Replica: one trajectory file, a calibration that lies one folder above, with the depth scale."""

import json

import numpy as np
import pytest
from bev_readers_world import images, off_surface_m, walk, write_color, write_depth

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.readers import read_scan

K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
PARAMETERS = {"w": 160, "h": 120, "fx": 150.0, "fy": 150.0, "cx": 79.5, "cy": 59.5, "scale": 6553.5}


@pytest.fixture
def scene(tmp_path):
    """Three frames, with cam_params.json above and no mesh."""
    path = tmp_path / "room0"
    (tmp_path / "cam_params.json").write_text(json.dumps({"camera": PARAMETERS}))
    for number, pose in enumerate(walk(3)):
        color, depth = images(Camera(K, 160, 120, pose))
        write_color(path / "results" / f"frame{number:06d}.jpg", color)
        write_depth(path / "results" / f"depth{number:06d}.png", depth, 6553.5)
    rows = [" ".join(f"{number:.9g}" for number in pose.ravel()) for pose in walk(3)]
    (path / "traj.txt").write_text("\n".join(rows) + "\n\n")
    return path


def test_a_scene_comes_back_as_it_was_written(scene):
    scan = read_scan(scene)
    assert (scan.reader, scan.name, scan.surface_path) == ("replica", "room0", None)
    assert scan.up_hint is not None and scan.up_hint.tolist() == [0, 0, 1] and not scan.axes_are_walls
    for frame, pose in zip(scan.frames, walk(3), strict=True):
        assert np.allclose(frame.camera.K, K)
        assert frame.camera.world_from_camera == pytest.approx(pose, abs=1e-7)
        depth = frame.read_depth()
        assert off_surface_m(frame.depth_camera.unproject(pixel_centers(160, 120), depth.ravel())).max() < 1e-3
        truth = images(Camera(K, 160, 120, pose))[0]
        assert np.abs(frame.read_color().astype(int) - truth).mean() < 3


def test_the_mesh_above_is_the_scenes_own(scene):
    (scene.parent / "room0_mesh.ply").write_text("ply")
    assert read_scan(scene).surface_path == scene.parent / "room0_mesh.ply"


def test_the_calibration_may_lie_beside_and_its_scale_counts(scene):
    (scene.parent / "cam_params.json").unlink()
    (scene / "cam_params.json").write_text(json.dumps({"camera": {**PARAMETERS, "scale": 1000.0}}))
    scan = read_scan(scene)
    assert scan.reading is not None and scan.reading.depth_units_per_m == 1000
    frame = scan.frames[0]
    assert frame.read_depth is not None
    assert np.median(frame.read_depth()) == pytest.approx(6.5535 * np.median(images(frame.camera)[1]), rel=1e-3)


def test_without_calibration_the_file_above_is_named_and_intrinsics_replace_it(scene):
    (scene.parent / "cam_params.json").unlink()
    with pytest.raises(UserError, match=r"cam_params\.json is missing.*--intrinsics fx,fy,cx,cy"):
        read_scan(scene)
    scan = read_scan(scene, intrinsics="150,150,79.5,59.5")
    assert np.allclose(scan.frames[0].camera.K, K)
    assert scan.reading is not None and scan.reading.depth_units_per_m == 6553.5


@pytest.mark.parametrize("text", ["{", "[]", '{"camera": {"fx": 150}}', '{"camera": {"fx": "wide"}}'])
def test_a_calibration_that_is_none_is_named(scene, text):
    (scene.parent / "cam_params.json").write_text(text)
    with pytest.raises(UserError, match=r"cam_params\.json: .*camera"):
        read_scan(scene)


def test_frames_thinned_out_keep_their_numbers_and_their_lines(scene):
    for kind in ("frame000000.jpg", "depth000000.png", "frame000001.jpg", "depth000001.png"):
        (scene / "results" / kind).unlink()
    (frame,) = read_scan(scene).frames
    assert frame.index == 2 and frame.camera.world_from_camera == pytest.approx(walk(3)[2], abs=1e-7)


def test_a_trajectory_too_short_or_malformed_is_named(scene):
    rows = (scene / "traj.txt").read_text().splitlines()
    (scene / "traj.txt").write_text("\n".join(rows[:2]))
    with pytest.raises(UserError, match="frame 2 has colour and depth but no pose"):
        read_scan(scene)
    (scene / "traj.txt").write_text("\n".join([rows[0], "1 2 3", rows[2]]))
    with pytest.raises(UserError, match=r"traj\.txt line 2: must hold 16 numbers, holds 3"):
        read_scan(scene)


def test_without_a_trajectory_the_scan_has_no_poses(scene):
    (scene / "traj.txt").unlink()
    scan = read_scan(scene)
    assert not scan.has_poses and len(scan.frames) == 3 and scan.up_hint is None


def test_a_pose_of_nan_is_skipped_and_its_line_named(scene):
    rows = (scene / "traj.txt").read_text().splitlines()
    (scene / "traj.txt").write_text("\n".join([rows[0], " ".join(["nan"] * 16), rows[2]]))
    scan = read_scan(scene)
    assert [frame.index for frame in scan.frames] == [0, 2] and "traj.txt line 2 holds NaN" in scan.warnings[0]


def test_a_calibration_above_is_named_as_a_file_beside_and_one_in_the_folder_is_not(scene):
    assert read_scan(scene).files_beside == (scene.parent / "cam_params.json",)
    assert read_scan(scene).moved(np.eye(4)).files_beside == (scene.parent / "cam_params.json",)
    (scene.parent / "cam_params.json").rename(scene / "cam_params.json")
    assert read_scan(scene).files_beside == ()
    np.savetxt(scene.parent / "K.txt", K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    assert read_scan(scene, intrinsics=str(scene.parent / "K.txt")).files_beside == (scene.parent / "K.txt",)
    assert read_scan(scene, intrinsics="150,150,79.5,59.5").files_beside == ()
