"""7-Scenes: depth's camera has the poses; colour may be a camera of its own, with a lens to undo."""

from pathlib import Path

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
    write_matrix,
)

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.readers import read_scan

DEPTH_K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
REDKITCHEN = Path(__file__).parents[2] / "shared" / "data" / "redkitchen"


def write(folder: Path, *, numbers=(0, 10, 20), poses=None) -> np.ndarray:
    """Colour registered to depth; returns the poses, (n, 4, 4)."""
    poses = walk(len(numbers)) if poses is None else poses
    folder.mkdir(parents=True, exist_ok=True)
    write_matrix(folder / "camera-intrinsics.txt", DEPTH_K)
    for number, pose in zip(numbers, poses, strict=True):
        color, depth = images(Camera(DEPTH_K, 160, 120, pose))
        write_color(folder / f"frame-{number:06d}.color.jpg", color)
        write_depth(folder / f"frame-{number:06d}.depth.png", depth, 1000)
        write_matrix(folder / f"frame-{number:06d}.pose.txt", pose)
    return poses


def seen(frame) -> np.ndarray:
    depth = frame.read_depth()
    camera = frame.depth_camera
    uv = pixel_centers(camera.width, camera.height)[depth.ravel() > 0]
    return camera.unproject(uv, depth[depth > 0])


def test_a_registered_capture_comes_back_as_it_was_written(tmp_path):
    poses = write(tmp_path / "kitchen")
    scan = read_scan(tmp_path / "kitchen")
    assert (scan.reader, scan.name, scan.warnings) == ("7scenes", "kitchen", ())
    assert [frame.index for frame in scan.frames] == [0, 10, 20]
    assert [frame.timestamp_s for frame in scan.frames] == pytest.approx([0, 1 / 3, 2 / 3])
    for frame, pose in zip(scan.frames, poses, strict=True):
        assert frame.camera.world_from_camera == pytest.approx(pose, abs=1e-7)
        assert np.allclose(frame.camera.K, DEPTH_K)
        assert frame.color_from_depth == pytest.approx(np.eye(4), abs=1e-12)
        points = seen(frame)
        assert len(points) == 160 * 120 and off_surface_m(points).max() < 1e-3
        truth = images(Camera(DEPTH_K, 160, 120, pose))[0]
        assert frame.read_color().dtype == np.uint8
        assert np.abs(frame.read_color().astype(int) - truth).mean() < 3


def test_colour_with_a_camera_and_a_lens_of_its_own_becomes_a_pinhole_where_it_should(tmp_path):
    color_from_depth = np.eye(4)
    color_from_depth[:3, 3] = -0.2, 0.05, 0.01
    lens = (-0.35, 0.1, 0.004, -0.003, 0.0)
    pose = looking_from(-1.0, 0.0, 1.2)
    write(tmp_path, numbers=(7,), poses=pose[None])
    # a calibration that counts integer pixel centres
    color_camera = Camera(np.array([[260.0, 0, 166.0], [0, 262, 114.5], [0, 0, 1]]), 320, 240, np.eye(4))
    write_matrix(tmp_path / "camera-intrinsics-color.txt", color_camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    (tmp_path / "camera-distortion-color.txt").write_text(" ".join(map(str, lens)))
    write_matrix(tmp_path / "color_from_depth.txt", color_from_depth)
    color_camera = color_camera.moved(pose @ np.linalg.inv(color_from_depth))
    (tmp_path / "frame-000007.color.jpg").unlink()
    write_color(tmp_path / "frame-000007.color.png", images(color_camera, distorted_by(color_camera, lens))[0])
    frame = read_scan(tmp_path).frames[0]
    assert frame.depth_camera is not None
    assert frame.depth_camera.world_from_camera == pytest.approx(pose, abs=1e-9)
    assert frame.color_from_depth == pytest.approx(color_from_depth, abs=1e-9)
    assert np.allclose(frame.camera.K, color_camera.K)
    found, expected = found_dots(frame.read_color(), frame.camera)
    assert len(found) >= 6
    # without the half pixel that OpenCV wants taken off the principal point it is 0.08 px; distorted, 5 px
    assert np.abs(found - expected).max() < 0.04


def test_a_principal_point_at_the_very_centre_stays_and_any_other_moves_half_a_pixel(tmp_path):
    write(tmp_path)
    for stored, read in (((80, 60), (80, 60)), ((79.5, 59.5), (80, 60)), ((80, 59.5), (80.5, 60))):
        K = DEPTH_K.copy()
        K[:2, 2] = stored
        write_matrix(tmp_path / "camera-intrinsics.txt", K)
        assert tuple(read_scan(tmp_path).frames[0].camera.K[:2, 2]) == read


def test_depth_of_65535_and_0_is_none_and_a_frame_of_nothing_is_legal(tmp_path):
    write(tmp_path)
    stored = np.full((120, 160), 2.0)
    stored[:60], stored[60:70] = 65.535, 0
    write_depth(tmp_path / "frame-000000.depth.png", stored, 1000)
    write_depth(tmp_path / "frame-000010.depth.png", np.zeros((120, 160)), 1000)
    first, second, _ = (frame.read_depth() for frame in read_scan(tmp_path).frames if frame.read_depth)
    assert first.dtype == np.float32 and not first[:70].any() and (first[70:] == np.float32(2)).all()
    assert not second.any()


def test_a_sequence_folder_takes_the_calibration_beside_it_and_several_must_be_chosen_from(tmp_path):
    scene = tmp_path / "heads"
    write(scene / "seq-01")
    (scene / "seq-01" / "camera-intrinsics.txt").rename(scene / "camera-intrinsics.txt")
    for path in (scene, scene / "seq-01"):
        scan = read_scan(path)
        assert (scan.name, len(scan.frames)) == ("heads-seq-01", 3)
    write(scene / "seq-02", numbers=(0,))
    with pytest.raises(UserError, match=r"several sequences \(seq-01, seq-02\); give the folder of one"):
        read_scan(scene)


def test_missing_intrinsics_are_named_with_the_option_that_replaces_them(tmp_path):
    write(tmp_path)
    (tmp_path / "camera-intrinsics.txt").unlink()
    with pytest.raises(UserError, match=r"camera-intrinsics\.txt is missing.*--intrinsics fx,fy,cx,cy"):
        read_scan(tmp_path)
    frame = read_scan(tmp_path, intrinsics="150,151,79.5,60.5").frames[0]
    assert frame.camera.K.tolist() == [[150, 0, 80], [0, 151, 61], [0, 0, 1]]
    write_matrix(tmp_path / "other.txt", DEPTH_K)
    frame = read_scan(tmp_path, intrinsics=str(tmp_path / "other.txt")).frames[0]
    assert np.allclose(frame.camera.K, DEPTH_K)


@pytest.mark.parametrize(
    ("intrinsics", "message"),
    [
        ("150,150,80", "neither a file nor four numbers"),
        ("150,150,80,x", "could not convert"),
        ("-150,150,80,60", "no pinhole matrix"),
        ("nan,150,80,60", "no pinhole matrix"),
        ("585,585,320,240", "far from the centre of the 160x120 images"),
    ],
)
def test_intrinsics_that_cannot_be_right_are_refused(tmp_path, intrinsics, message):
    write(tmp_path)
    with pytest.raises(UserError, match=message):
        read_scan(tmp_path, intrinsics=intrinsics)


def test_a_distortion_without_its_intrinsics_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "camera-distortion-color.txt").write_text("0.1 0 0 0 0")
    with pytest.raises(UserError, match=r"camera-intrinsics-color\.txt is missing"):
        read_scan(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("frame-000010.depth.png", "frame 10 has colour .* but no depth image"),
        ("frame-000010.color.jpg", "frame 10 has depth .* but no colour image"),
        ("frame-000010.pose.txt", "frame 10 has colour and depth but no pose"),
    ],
)
def test_a_frame_that_is_not_whole_is_named(tmp_path, missing, message):
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=message):
        read_scan(tmp_path)


def test_two_images_of_one_frame_are_refused(tmp_path):
    write(tmp_path)
    write_color(tmp_path / "frame-000010.color.png", np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(UserError, match=r"frame 10 is there twice, frame-000010\.color\.jpg and"):
        read_scan(tmp_path)


@pytest.mark.skipif(not REDKITCHEN.is_dir(), reason="the real scan is not here")
def test_redkitchen_has_two_cameras():
    scan = read_scan(REDKITCHEN)
    assert (scan.reader, scan.name, len(scan.frames)) == ("7scenes", "redkitchen", 100)
    frame = scan.frames[12]
    assert frame.index == 120 and frame.depth_camera is not None and frame.read_depth is not None
    assert frame.camera.K[0].tolist() == [525, 0, 320] and frame.depth_camera.K[0].tolist() == [585, 0, 320]
    assert frame.color_from_depth[:3, 3] == pytest.approx([-0.025, 0, 0], abs=1e-9)
    stored = np.loadtxt(REDKITCHEN / "frame-000120.pose.txt")
    assert frame.depth_camera.world_from_camera == pytest.approx(stored, abs=1e-4)
    assert frame.read_color().shape == (480, 640, 3) and 0.3 < np.median(frame.read_depth()) < 5


def test_the_calibration_that_sequences_share_is_named_as_files_beside(tmp_path):
    sequence = tmp_path / "kitchen" / "seq-01"
    write(sequence)
    assert read_scan(sequence).files_beside == ()
    shared = tmp_path / "kitchen" / "camera-intrinsics.txt"
    (sequence / "camera-intrinsics.txt").rename(shared)
    write_matrix(shared.with_name("color_from_depth.txt"), np.eye(4))
    assert read_scan(sequence).files_beside == (shared, shared.with_name("color_from_depth.txt"))
    assert read_scan(shared.parent).files_beside == ()  # all within the folder that was given


def test_without_poses_colour_stands_at_the_identity_and_depth_beside_it(tmp_path):
    write(tmp_path)
    color_from_depth = looking_from(0.03, 0.01, 0.0, yaw_deg=5)
    write_matrix(tmp_path / "color_from_depth.txt", color_from_depth)
    posed = read_scan(tmp_path)
    ignored = read_scan(tmp_path, ignore_poses=True)
    for file in tmp_path.glob("*.pose.txt"):
        file.unlink()
    for scan in (ignored, read_scan(tmp_path)):
        assert posed.has_poses and not scan.has_poses and scan.units == "metre" and len(scan.frames) == 3
        for frame, with_pose in zip(scan.frames, posed.frames, strict=True):
            assert (frame.camera.world_from_camera == np.eye(4)).all()
            assert frame.color_from_depth == pytest.approx(color_from_depth, abs=1e-6)
            assert frame.color_from_depth == pytest.approx(with_pose.color_from_depth, abs=1e-6)
            assert frame.read_depth is not None and with_pose.read_depth is not None
            assert (frame.read_depth() == with_pose.read_depth()).all()


def test_some_poses_missing_is_a_fault_and_not_a_scan_without(tmp_path):
    write(tmp_path)
    (tmp_path / "frame-000010.pose.txt").unlink()
    with pytest.raises(UserError, match="frame 10 has colour and depth but no pose"):
        read_scan(tmp_path)


def test_a_surface_given_for_a_capture_without_poses_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "room.ply").write_text("")
    with pytest.raises(UserError, match="a surface needs the poses"):
        read_scan(tmp_path, ignore_poses=True, surface=tmp_path / "room.ply")
