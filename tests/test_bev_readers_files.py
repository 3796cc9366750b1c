"""What holds for every format: faults of single files, poses, conventions, speed of opening."""

import logging
import os
import time

import cv2
import numpy as np
import pytest
from bev_readers_world import looking_from, write_matrix
from scipy.spatial.transform import Rotation

from bev.errors import UserError
from bev.readers import read_scan
from bev.readers.poses import rigid_only, stored_poses, world_from_cameras

K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])


@pytest.fixture
def capture(tmp_path):
    """Ten frames of noise in the 7-Scenes layout."""
    random = np.random.default_rng(0)
    write_matrix(tmp_path / "camera-intrinsics.txt", K)
    for number in range(10):
        color = random.integers(0, 255, (48, 64, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / f"frame-{number:06d}.color.jpg"), color)
        depth = random.integers(500, 4000, (48, 64), np.uint16)
        assert cv2.imwrite(str(tmp_path / f"frame-{number:06d}.depth.png"), depth)
        write_matrix(tmp_path / f"frame-{number:06d}.pose.txt", looking_from(0.1 * number, 0, 1, 5 * number))
    return tmp_path


def cut(path, count):
    path.write_bytes(path.read_bytes()[:count])


@pytest.mark.parametrize("count", [0, 20, 700, -2])
@pytest.mark.parametrize("kind", ["color.jpg", "depth.png"])
def test_an_image_cut_short_is_named_when_it_is_asked_for(capture, kind, count):
    path = capture / f"frame-000004.{kind}"
    cut(path, count)
    frame = read_scan(capture).frames[4]
    with pytest.raises(UserError, match=rf"frame-000004\.{kind}: does not decode"):
        frame.read_color() if kind == "color.jpg" else frame.read_depth()


def test_a_first_image_that_is_none_is_named_on_opening(capture):
    (capture / "frame-000000.color.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"frame-000000\.color\.jpg: does not decode"):
        read_scan(capture)


def test_bytes_behind_a_whole_image_do_no_harm(capture):
    path = capture / "frame-000004.color.jpg"
    path.write_bytes(path.read_bytes() + b"made by a phone")
    assert read_scan(capture).frames[4].read_color().shape == (48, 64, 3)


def test_an_image_that_went_away_is_named(capture):
    frame = read_scan(capture).frames[4]
    (capture / "frame-000004.depth.png").unlink()
    with pytest.raises(UserError, match=r"frame-000004\.depth\.png: cannot be read"):
        frame.read_depth()


def test_a_later_image_of_another_size_is_named(capture):
    cv2.imwrite(str(capture / "frame-000004.color.jpg"), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"frame-000004\.color\.jpg: is 32x24, the first frame's is 64x48"):
        read_scan(capture).frames[4].read_color()


@pytest.mark.parametrize("stored", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.uint16)])
def test_depth_that_is_not_16_bit_grey_is_refused(capture, stored):
    cv2.imwrite(str(capture / "frame-000004.depth.png"), stored)
    with pytest.raises(UserError, match=r"frame-000004\.depth\.png: depth must be a 16-bit PNG with one channel"):
        read_scan(capture).frames[4].read_depth()


def test_colour_is_read_as_stored_though_exif_would_turn_it(capture):
    from PIL import Image

    path = capture / "frame-000004.color.png"
    (capture / "frame-000004.color.jpg").unlink()
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    assert (read_scan(capture).frames[4].read_color() == pixels).all()


def test_frames_without_a_rigid_pose_are_skipped_counted_and_named(capture, caplog):
    lost = np.full((4, 4), -np.inf)
    write_matrix(capture / "frame-000002.pose.txt", lost)
    write_matrix(capture / "frame-000003.pose.txt", np.diag([1.01, 1.01, 1.01, 1]))
    write_matrix(capture / "frame-000005.pose.txt", np.diag([1.0, 1, -1, 1]))
    write_matrix(capture / "frame-000006.pose.txt", np.eye(4) * np.nan)
    with caplog.at_level(logging.WARNING):
        scan = read_scan(capture)
    assert [frame.index for frame in scan.frames] == [0, 1, 4, 7, 8, 9]
    (warning,) = scan.warnings
    assert "4 of 10 frames skipped" in warning and "frame-000002.pose.txt holds NaN or infinity" in warning
    assert not caplog.text  # whoever reads the scan says it, once
    assert scan.frames[2].camera.center == pytest.approx([0.4, 0, 1])
    for number in (0, 1):
        write_matrix(capture / f"frame-{number:06d}.pose.txt", lost)
    with pytest.raises(UserError, match=r"frame-000000\.pose\.txt holds NaN.*6 of 10 poses are no rigid motion"):
        read_scan(capture)


@pytest.mark.parametrize("text", ["", "1 2 3", "one" + " 0" * 15])
def test_a_pose_file_of_something_else_is_named(capture, text):
    (capture / "frame-000004.pose.txt").write_text(text)
    with pytest.raises(UserError, match=r"frame-000004\.pose\.txt: must hold 16 numbers"):
        read_scan(capture)


def test_rounded_poses_become_exactly_rigid_and_hardly_move():
    matrices = np.tile(np.eye(4), (50, 1, 1))
    matrices[:, :3, :3] = Rotation.random(50, random_state=0).as_matrix()
    rounded = matrices.round(4)
    kept, rigid, warnings = rigid_only(rounded, ["line"] * 50)
    assert kept.all() and not warnings
    rotations = rigid[:, :3, :3]
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert np.abs(rigid - matrices).max() < 2e-4


@pytest.mark.parametrize("poses", ["world_from_camera", "camera_from_world"])
@pytest.mark.parametrize("axes", ["opencv", "opengl"])
def test_every_convention_gives_the_same_cameras(capture, poses, axes):
    right = [frame.camera.world_from_camera for frame in read_scan(capture).frames]
    for number, world_from_camera in enumerate(right):
        world_from_stored_axes = world_from_camera @ (np.eye(4) if axes == "opencv" else np.diag([1, -1, -1, 1]))
        stored = world_from_stored_axes if poses == "world_from_camera" else np.linalg.inv(world_from_stored_axes)
        write_matrix(capture / f"frame-{number:06d}.pose.txt", stored)
    scan = read_scan(capture, poses=poses, axes=axes)
    assert scan.reading is not None and (scan.reading.poses, scan.reading.axes) == (poses, axes)
    for frame, world_from_camera in zip(scan.frames, right, strict=True):
        assert frame.camera.world_from_camera == pytest.approx(world_from_camera, abs=1e-7)
    stored = np.stack([np.loadtxt(capture / f"frame-{number:06d}.pose.txt") for number in range(10)])
    again = stored_poses(world_from_cameras(stored, poses, axes), poses, axes)
    assert again == pytest.approx(stored, abs=1e-7)


def test_the_depth_scale_given_overrides_the_formats(capture):
    millimetres, others = (read_scan(capture, depth_scale=scale).frames[0].read_depth for scale in (None, 5000))
    assert millimetres is not None and others is not None
    assert others() * 5 == pytest.approx(millimetres(), rel=1e-6)


def test_5000_frames_open_in_under_a_second_of_work(capture):
    color, depth, pose = (capture / f"frame-000000.{kind}" for kind in ("color.jpg", "depth.png", "pose.txt"))
    for number in range(10, 5000):
        os.link(color, capture / f"frame-{number:06d}.color.jpg")
        os.link(depth, capture / f"frame-{number:06d}.depth.png")
        os.link(pose, capture / f"frame-{number:06d}.pose.txt")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert len(read_scan(capture).frames) == 5000
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0
