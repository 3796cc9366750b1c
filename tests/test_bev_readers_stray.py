"""Stray Scanner: a film whose rotation must not be followed, OpenCV axes in a world with +y up, doubtful depth."""

import shutil

import cv2
import numpy as np
import pytest
from bev_readers_world import found_dots, images, off_surface_m, walk, write_depth
from film_clips import write_film
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers, transform_points
from bev.errors import UserError
from bev.readers.options import ReadOptions
from bev.readers.stray_scanner import looks_like, read

WIDTH, HEIGHT = 160, 120
DEPTH_SIZE = (40, 30)
COUNT = 32
START_S = 80350.25
Y_UP_FROM_ROOM = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
ROOM_FROM_Y_UP = np.linalg.inv(Y_UP_FROM_ROOM)
LYING_DOWN = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""The sensor's axes in a phone that is held upright: its +x points down."""
OLD = "timestamp, frame, x, y, z, qx, qy, qz, qw"
NEW = f"{OLD}, fx, fy, cx, cy, distortion_center_x, distortion_center_y"


def cameras():
    """Held upright, in the room's own world; the focal length breathes."""
    return [
        Camera(np.array([[140 + i / 8, 0, 80.5], [0, 140 + i / 8, 59.25], [0, 0, 1]]), WIDTH, HEIGHT, pose @ LYING_DOWN)
        for i, pose in enumerate(walk(COUNT))
    ]


def row(i, camera, header=NEW):
    """What the app writes: ARKit's pose, its camera axes turned to OpenCV's by half a turn about x."""
    arkit = Y_UP_FROM_ROOM @ camera.world_from_camera @ np.diag([1.0, -1, -1, 1])
    turned = Rotation.from_matrix(arkit[:3, :3]) * Rotation.from_quat([1.0, 0, 0, 0])
    numbers = [f"{START_S + i / 30:.6f}", f"{i:06d}", *arkit[:3, 3], *turned.as_quat()]
    K = camera.K
    return ", ".join(map(str, numbers + ([K[0, 0], K[1, 1], K[0, 2], K[1, 2], "", ""] if header == NEW else [])))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A recording that tests copy before they change it."""
    path = tmp_path_factory.mktemp("stray") / "71de12f9"
    path.mkdir()
    filmed = cameras()
    shown = [images(camera)[0] for camera in filmed]
    write_film(
        path / "rgb.mp4",
        lambda i: shown[i],
        COUNT,
        options={"crf": "4"},
        prepare=lambda stream: stream.set_display_rotation(degrees=-90),
    )
    (path / "confidence").mkdir()
    for i, camera in enumerate(filmed):
        depth = images(camera.resized(*DEPTH_SIZE))[1]
        levels = np.full(depth.shape, 2, np.uint8)
        levels[:10], levels[10:20] = 0, 1
        depth[:10] += 0.4
        write_depth(path / "depth" / f"{i:06d}.png", depth, 1000)
        assert cv2.imwrite(str(path / "confidence" / f"{i:06d}.png"), levels)
    (path / "odometry.csv").write_text("\n".join([NEW, *(row(i, camera) for i, camera in enumerate(filmed))]) + "\n")
    K = filmed[-1].K
    (path / "camera_matrix.csv").write_text("\n".join(", ".join(map(str, line)) for line in K))
    (path / "imu.csv").write_text("timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z\n")
    return path


@pytest.fixture
def path(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / recorded.name)


def depth_of(frame):
    assert frame.read_depth is not None
    return frame.read_depth()


def seen(frame):
    depth, camera = depth_of(frame).ravel(), frame.depth_camera
    return camera.unproject(pixel_centers(camera.width, camera.height), depth)[depth > 0]


def test_a_recording_comes_back_as_it_was_filmed(path):
    assert looks_like(path) and not looks_like(path.parent) and not looks_like(path / "rgb.mp4")
    scan = read(path, ReadOptions())
    assert (scan.name, scan.reader, scan.units, scan.warnings) == ("71de12f9", "stray", "metre", ())
    assert scan.has_poses and scan.has_intrinsics and scan.has_depth and scan.is_film
    assert [frame.index for frame in scan.frames] == list(range(COUNT))
    assert scan.up_hint is not None and (Y_UP_FROM_ROOM[:3, :3] @ [0, 0, 1] == scan.up_hint).all()
    dots = 0
    for i in (0, 31, 7, 20):
        frame, camera = scan.frames[i], cameras()[i]
        assert frame.timestamp_s == pytest.approx(START_S + i / 30, abs=1e-5)
        assert np.allclose(frame.camera.K, camera.K)
        in_room = frame.camera.moved(ROOM_FROM_Y_UP)
        assert in_room.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-6)
        # the room lies on its side in the pictures, whatever the film's rotation says
        assert in_room.world_from_camera[2, 0] < -0.9
        assert off_surface_m(transform_points(ROOM_FROM_Y_UP, seen(frame))).max() < 1e-3
        assert frame.read_color().shape == (HEIGHT, WIDTH, 3)
        assert np.abs(frame.read_color().astype(int) - images(camera)[0]).mean() < 4
        found, expected = found_dots(frame.read_color(), in_room)
        dots += len(found)
        assert len(found) == 0 or np.abs(found - expected).max() < 0.5
    assert dots > 0


def test_only_low_confidence_is_left_out(path):
    depth = depth_of(read(path, ReadOptions()).frames[0])
    assert (depth[:10] == 0).all() and (depth[10:] > 0).all()
    shutil.rmtree(path / "confidence")
    assert (depth_of(read(path, ReadOptions()).frames[0]) > 0).all()


def test_films_are_decoded_smaller_and_their_cameras_with_them(path):
    frame = read(path, ReadOptions(long_side_px=80)).frames[8]
    assert frame.read_color().shape == (60, 80, 3)
    assert np.allclose(frame.camera.K[:2], cameras()[8].K[:2] / 2)
    assert off_surface_m(transform_points(ROOM_FROM_Y_UP, seen(frame))).max() < 1e-3


def test_older_recordings_have_one_camera_matrix_for_all(path):
    lines = [OLD, *(row(i, camera, OLD) for i, camera in enumerate(cameras()))]
    (path / "odometry.csv").write_text("\n".join(lines))
    scan = read(path, ReadOptions())
    assert all(np.allclose(frame.camera.K, cameras()[-1].K) for frame in scan.frames)
    (path / "camera_matrix.csv").unlink()
    with pytest.raises(UserError, match=r"camera_matrix\.csv: has no intrinsics; give --intrinsics"):
        read(path, ReadOptions())
    assert read(path, ReadOptions(intrinsics="140,141,79.5,59.5")).frames[3].camera.K[1].tolist() == [0, 141, 60]


def test_poses_can_be_ignored(path):
    scan = read(path, ReadOptions(ignore_poses=True))
    assert not scan.has_poses and scan.up_hint is None and scan.is_film and len(scan.frames) == COUNT
    assert (scan.frames[5].camera.world_from_camera == np.eye(4)).all()


def test_metres_are_those_of_the_poses_or_of_the_depth(path):
    """With neither, the size is for the user to say: no `--scale` may be refused."""
    assert read(path, ReadOptions(ignore_poses=True)).units == "metre"
    shutil.rmtree(path / "depth")
    assert read(path, ReadOptions()).units == "metre"
    assert read(path, ReadOptions(ignore_poses=True)).units == "arbitrary"


def test_options_say_how_poses_and_depth_are_meant(path):
    usual = read(path, ReadOptions()).frames[0]
    scan = read(path, ReadOptions(axes="opengl", depth_scale=500))
    flip = np.diag([1.0, -1, -1, 1])
    assert scan.frames[0].camera.world_from_camera == pytest.approx(usual.camera.world_from_camera @ flip)
    assert depth_of(scan.frames[0]).max() == pytest.approx(2 * depth_of(usual).max())
    assert scan.reading is not None and (scan.reading.axes, scan.reading.depth_units_per_m) == ("opengl", 500)


def test_frames_without_depth_are_left_out_and_counted(path):
    for i in (0, 1, 9):
        (path / "depth" / f"{i:06d}.png").unlink()
    scan = read(path, ReadOptions())
    assert [frame.index for frame in scan.frames] == [i for i in range(COUNT) if i not in (0, 1, 9)]
    assert scan.warnings == (f"3 of {COUNT} frames have no depth image and are left out; first: depth/000000.png",)
    assert np.abs(scan.frames[0].read_color().astype(int) - images(cameras()[2])[0]).mean() < 4
    shutil.rmtree(path / "depth")
    without = read(path, ReadOptions())
    assert without.has_poses and not without.has_depth and len(without.frames) == COUNT


def test_a_row_too_few_is_a_warning_and_many_are_an_error(path):
    lines = (path / "odometry.csv").read_text().splitlines()
    (path / "odometry.csv").write_text("\n".join(lines[:-1]))
    scan = read(path, ReadOptions())
    assert len(scan.frames) == COUNT - 1
    assert len(scan.warnings) == 1 and "has 31 rows, but rgb.mp4 has 32 frames" in scan.warnings[0]
    (path / "odometry.csv").write_text("\n".join(lines[:20]))
    with pytest.raises(UserError, match=r"odometry\.csv has 19 rows, but rgb\.mp4 has 32 frames; are both"):
        read(path, ReadOptions())


def test_poses_that_are_none_are_skipped(path):
    lines = (path / "odometry.csv").read_text().splitlines()
    cells = lines[4].split(", ")
    lines[4] = ", ".join([*cells[:5], "0", "0", "0", "0", *cells[9:]])
    (path / "odometry.csv").write_text("\n".join(lines))
    scan = read(path, ReadOptions())
    assert 3 not in [frame.index for frame in scan.frames] and len(scan.frames) == COUNT - 1
    assert "1 of 32 frames skipped" in scan.warnings[0] and "odometry.csv line 5" in scan.warnings[0]


def rewrite(path, change):
    lines = (path / "odometry.csv").read_text().splitlines()
    (path / "odometry.csv").write_text("\n".join(change(lines)))


def camera_of_4k(lines):
    header, *rows = lines
    return [header, *(", ".join([*row.split(", ")[:9], "3000", "3000", "1920", "1080", "", ""]) for row in rows)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "odometry.csv").unlink(), r"odometry\.csv is missing; this format needs rgb\.mp4"),
        (lambda path: rewrite(path, lambda lines: lines[1:]), "first line names no timestamp, frame"),
        (lambda path: rewrite(path, lambda lines: lines[:1]), "holds no rows"),
        (lambda path: rewrite(path, lambda lines: [*lines[:-1], "80351.2, 000031, 0.1"]), "line 33: has no y, z, qx"),
        (lambda path: rewrite(path, lambda lines: [*lines[:-1], "x" + lines[-1]]), "line 33, timestamp: must hold 1"),
        (lambda path: rewrite(path, lambda lines: [*lines[:-1], lines[1]]), "line 33: frame numbers must ascend"),
        (lambda path: rewrite(path, camera_of_4k), r"line 2: the principal point \(1920, 1080\) .* 160x120"),
        (lambda path: shutil.rmtree(path / "depth") or write_depth(path / "depth/000003.png", np.ones((3, 4)), 1000),
         "31 of 32 frames have no depth image"),
        (lambda path: write_depth(path / "depth/000000.png", np.ones((40, 30)), 1000), "30x40, of another shape than"),
        (lambda path: (path / "confidence/000004.png").unlink(), "frame 4 has depth but no confidence/000004"),
        (lambda path: (path / "rgb.mp4").write_bytes(b""), r"rgb\.mp4: .* empty"),
    ],
)  # fmt: skip
def test_what_is_broken_is_told_in_one_line(path, spoil, message):
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        read(path, ReadOptions())
    assert "\n" not in str(error.value)
