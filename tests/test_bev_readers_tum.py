"""TUM RGB-D: lists matched by time, quaternions, constants by the folder's name."""

import numpy as np
import pytest
from bev_readers_world import (
    distorted_by,
    found_dots,
    images,
    looking_from,
    off_surface_m,
    walk,
    write_color,
    write_depth,
)
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.readers import read_scan
from bev.readers.tum import associate

START_S = 1305031102.0
K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
INTRINSICS = "150,150,79.5,59.5"


def write(path, cameras, *, lens=None, color_at=None, depth_at=None, pose_at=None, tail=""):
    """One frame per camera at 30 Hz unless times in seconds are given."""
    times = [i / 30 for i in range(len(cameras))]
    color_at, depth_at, pose_at = color_at or times, depth_at or times, pose_at or times
    lines = {"rgb.txt": ["# timestamp filename"], "depth.txt": [], "groundtruth.txt": ["# t tx ty tz qx qy qz qw"]}
    for i, camera in enumerate(cameras):
        color, depth = images(camera, distorted_by(camera, lens) if lens else lambda uv: uv)
        write_color(path / "rgb" / f"{i}.png", color)
        write_depth(path / "depth" / f"{i}.png", depth, 5000)
        lines["rgb.txt"].append(f"{START_S + color_at[i]:.6f} rgb/{i}.png")
        lines["depth.txt"].append(f"{START_S + depth_at[i]:.6f} depth/{i}.png")
        pose = camera.world_from_camera
        numbers = (*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat())
        lines["groundtruth.txt"].append(f"{START_S + pose_at[i]:.4f} " + " ".join(f"{n:.6f}" for n in numbers))
    for name, rows in lines.items():
        (path / name).write_text("\n".join(rows) + "\n" + (tail if name == "groundtruth.txt" else ""))


def cameras(count):
    return [Camera(K, 160, 120, pose) for pose in walk(count)]


def test_a_sequence_comes_back_as_it_was_written(tmp_path):
    write(tmp_path, cameras(4))
    scan = read_scan(tmp_path, intrinsics=INTRINSICS)
    assert (scan.reader, scan.warnings, scan.up_hint) == ("tum", (), None)
    assert [frame.index for frame in scan.frames] == [0, 1, 2, 3]
    for i, (frame, camera) in enumerate(zip(scan.frames, cameras(4), strict=True)):
        assert frame.timestamp_s == pytest.approx(START_S + i / 30, abs=1e-5)
        assert np.allclose(frame.camera.K, K)
        assert frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-5)
        depth = frame.read_depth()
        points = frame.depth_camera.unproject(pixel_centers(160, 120), depth.ravel())
        assert off_surface_m(points).max() < 1e-3
        assert np.abs(frame.read_color().astype(int) - images(camera)[0]).mean() < 1


def test_partners_are_within_20_ms_and_what_has_none_is_left_out_and_counted(tmp_path):
    # depth: 20 ms late is a partner, 21 ms is not; poses: the last is 30 ms away
    color_at = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    write(
        tmp_path,
        cameras(6),
        color_at=color_at,
        depth_at=[0.020, 0.121, 0.19, 0.3, 0.4, 0.5],
        pose_at=[0.0, 0.1, 0.21, 0.3, 0.4, 0.53],
    )
    scan = read_scan(tmp_path, intrinsics=INTRINSICS)
    assert [frame.index for frame in scan.frames] == [0, 2, 3, 4]
    (warning,) = scan.warnings
    assert warning.startswith("2 of 6 colour images have no depth or no pose within 20 ms")
    assert "first: 1.png has no depth" in warning


def test_association_is_nearest_first_and_one_to_one():
    times, others = np.array([0.0, 0.010, 0.033, 0.066]), np.array([0.008, 0.024, 0.040, 0.100])
    # 0.008 goes to 0.010, its nearest; 0.0 does not get it as well, nor 0.024, which is too far
    assert associate(times, others) == {1: 0, 2: 2}
    assert associate(times, others, gap_max_s=0.025) == {0: 1, 1: 0, 2: 2}
    assert associate(times, np.array([])) == {}


def test_the_nearest_pose_is_taken_from_a_faster_trajectory(tmp_path):
    write(tmp_path, cameras(3), pose_at=[0.002, 1 / 30, 2 / 30])
    rows = (tmp_path / "groundtruth.txt").read_text().splitlines()
    far = f"{START_S - 0.003:.4f} 9 9 9 0 0 0 1"
    (tmp_path / "groundtruth.txt").write_text("\n".join([rows[0], far, *rows[1:]]))
    frame = read_scan(tmp_path, intrinsics=INTRINSICS).frames[0]
    assert frame.camera.center == pytest.approx(walk(3)[0][:3, 3], abs=1e-5)


@pytest.mark.parametrize(("folder", "fx", "cx"), [("freiburg1", 517.3, 319.1), ("freiburg2", 520.9, 325.6)])
def test_constants_go_by_the_folders_name_and_the_lens_is_undone_in_colour_and_depth(tmp_path, folder, fx, cx):
    path = tmp_path / f"rgbd_dataset_{folder}_desk"
    lens = {
        "freiburg1": (0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
        "freiburg2": (0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    }[folder]
    fy, cy = {"freiburg1": (516.5, 255.8), "freiburg2": (521.0, 250.2)}[folder]
    pose = looking_from(-1.5, 0.0, 1.5)
    camera = Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), 640, 480, pose)
    write(path, [camera], lens=lens)
    frame = read_scan(path).frames[0]
    assert np.allclose(frame.camera.K, camera.K) and frame.read_depth and frame.depth_camera
    found, expected = found_dots(frame.read_color(), frame.camera)
    distorted, _ = found_dots(images(camera, distorted_by(camera, lens))[0], camera)
    assert len(found) >= 6 and np.abs(found - expected).max() < 0.05 < 0.2 < np.abs(distorted - expected).max()
    depth = frame.read_depth()
    points = frame.depth_camera.unproject(pixel_centers(640, 480)[depth.ravel() > 0], depth[depth > 0])
    # nearest-pixel resampling leaves up to half a pixel on slanted surfaces and at edges
    assert np.percentile(off_surface_m(points), 95) < 0.005


def test_freiburg3_is_a_pinhole_and_an_unknown_folder_needs_intrinsics(tmp_path):
    frame_camera = Camera(np.array([[535.4, 0, 320.6], [0, 539.2, 248.1], [0, 0, 1]]), 640, 480, walk(1)[0])
    write(tmp_path / "fr3_office", [frame_camera])
    frame = read_scan(tmp_path / "fr3_office").frames[0]
    assert np.allclose(frame.camera.K, frame_camera.K)
    assert (frame.read_color() == images(frame_camera)[0]).all()
    (tmp_path / "fr3_office").rename(tmp_path / "office")
    with pytest.raises(UserError, match=r"intrinsics are missing.*freiburg1.*--intrinsics fx,fy,cx,cy"):
        read_scan(tmp_path / "office")


def test_lists_of_two_recordings_are_refused(tmp_path):
    write(tmp_path, cameras(4), depth_at=[100 + i / 30 for i in range(4)])
    with pytest.raises(UserError, match=r"4 of 4 colour images have no depth.*are the three lists of one recording"):
        read_scan(tmp_path, intrinsics=INTRINSICS)


def test_a_quaternion_that_is_none_is_skipped_like_any_pose_that_is_not_rigid(tmp_path):
    write(tmp_path, cameras(4))
    rows = (tmp_path / "groundtruth.txt").read_text().splitlines()
    rows[2] = f"{rows[2].split()[0]} 0 0 0 0 0 0 0"
    (tmp_path / "groundtruth.txt").write_text("\n".join(rows))
    scan = read_scan(tmp_path, intrinsics=INTRINSICS)
    assert [frame.index for frame in scan.frames] == [0, 2, 3]
    assert "1 of 4 frames skipped" in scan.warnings[0] and "groundtruth.txt at 1305031102.0333 s" in scan.warnings[0]


def test_a_listed_image_that_is_missing_is_named(tmp_path):
    write(tmp_path, cameras(3))
    (tmp_path / "depth" / "1.png").unlink()
    with pytest.raises(UserError, match=r"depth\.txt line 2: .*depth/1\.png is missing"):
        read_scan(tmp_path, intrinsics=INTRINSICS)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("rgb.txt", "1305031102.5", "must hold a time stamp and a file name"),
        ("groundtruth.txt", "1305031102.5 1 2 3", "must hold 8 numbers"),
        ("depth.txt", None, r"depth\.txt is missing"),
    ],
)
def test_malformed_and_missing_lists_are_named(tmp_path, name, row, message):
    write(tmp_path, cameras(3))
    if row is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text((tmp_path / name).read_text() + row + "\n")
    with pytest.raises(UserError, match=message):
        read_scan(tmp_path, intrinsics=INTRINSICS)


def test_images_of_another_folder_are_named_as_files_beside(tmp_path):
    path = tmp_path / "walk"
    write(path, cameras(2))
    assert read_scan(path, intrinsics=INTRINSICS).files_beside == ()
    (path / "depth").rename(tmp_path / "depth")
    (path / "depth.txt").write_text((path / "depth.txt").read_text().replace("depth/", "../depth/"))
    beside = read_scan(path, intrinsics=INTRINSICS).files_beside
    assert beside == (path / "../depth/0.png", path / "../depth/1.png")


def test_what_is_left_out_is_told_in_the_scans_warnings_and_not_logged_as_well(tmp_path, caplog):
    write(tmp_path, cameras(3), pose_at=[0.0, 1 / 30, 9.0])
    assert len(read_scan(tmp_path, intrinsics=INTRINSICS).warnings) == 1 and not caplog.text


def test_without_ground_truth_the_scan_has_no_poses(tmp_path):
    write(tmp_path, cameras(3))
    (tmp_path / "groundtruth.txt").unlink()
    scan = read_scan(tmp_path, intrinsics=INTRINSICS)
    assert not scan.has_poses and len(scan.frames) == 3 and not scan.warnings
