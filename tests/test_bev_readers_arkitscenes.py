"""ARKitScenes: parts matched by time, world-to-camera rotation vectors, a lens that refocuses, doubtful depth."""

import cv2
import numpy as np
import pytest
from bev_readers_world import found_dots, images, off_surface_m, walk, write_color, write_depth
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.readers.arkitscenes import looks_like, read
from bev.readers.options import ReadOptions

VIDEO = "41069021"
START_S = 6845.706
WIDTH, HEIGHT = 160, 120
DEPTH_SIZE = (80, 60)
LYING_DOWN = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""The sensor's axes in a tablet that is held upright: its +x points down."""


def cameras(count):
    """Held upright, so that the stored images show the room on its side; the focal length breathes."""
    return [
        Camera(np.array([[140.0 + i, 0, 80.5], [0, 140.0 + i, 59.25], [0, 0, 1]]), WIDTH, HEIGHT, pose @ LYING_DOWN)
        for i, pose in enumerate(walk(count))
    ]


def write(path, filmed, *, name="lowres_wide", stamps_s=None, pose_stamps_s=None):
    """One frame per camera; poses lie 1.2 ms behind the images, as rounding and two clocks leave them."""
    stamps_s = stamps_s or [START_S + i / 10 for i in range(len(filmed))]
    pose_stamps_s = pose_stamps_s or [stamp + 0.0012 for stamp in stamps_s]
    rows = []
    for camera, stamp, pose_stamp in zip(filmed, stamps_s, pose_stamps_s, strict=True):
        file = f"{VIDEO}_{stamp:.3f}"
        write_color(path / name / f"{file}.png", images(camera)[0])
        depth = images(camera.resized(*DEPTH_SIZE))[1]
        levels = np.full(depth.shape, 2, np.uint8)
        levels[:20], levels[20:40] = 0, 1
        depth[:20] += 0.4
        write_depth(path / "lowres_depth" / f"{file}.png", depth, 1000)
        (path / "confidence").mkdir(exist_ok=True)
        assert cv2.imwrite(str(path / "confidence" / f"{file}.png"), levels)
        K = camera.K
        (path / f"{name}_intrinsics").mkdir(exist_ok=True)
        (path / f"{name}_intrinsics" / f"{file}.pincam").write_text(
            f"{WIDTH} {HEIGHT} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}"
        )
        world_to_camera = np.linalg.inv(camera.world_from_camera)
        vector = Rotation.from_matrix(world_to_camera[:3, :3]).as_rotvec()
        rows.append(" ".join(map(str, [f"{pose_stamp:.8f}", *vector, *world_to_camera[:3, 3]])))
    (path / "lowres_wide.traj").write_text("\n".join(rows) + "\n")


def depth_of(frame):
    assert frame.read_depth is not None
    return frame.read_depth()


def seen(frame):
    depth, camera = depth_of(frame).ravel(), frame.depth_camera
    return camera.unproject(pixel_centers(camera.width, camera.height), depth)[depth > 0]


def test_a_video_comes_back_as_it_was_filmed(tmp_path):
    path = tmp_path / VIDEO
    filmed = cameras(4)
    write(path, filmed)
    assert looks_like(path) and not looks_like(tmp_path)
    scan = read(path, ReadOptions())
    assert (scan.name, scan.reader, scan.units, scan.warnings) == (VIDEO, "arkitscenes", "metre", ())
    assert scan.has_poses and scan.has_intrinsics and scan.has_depth
    assert scan.up_hint is not None and scan.up_hint.tolist() == [0, 0, 1]
    assert scan.reading is not None and scan.reading.poses == "camera_from_world"
    for i, (frame, camera) in enumerate(zip(scan.frames, filmed, strict=True)):
        assert frame.index == i and frame.timestamp_s == pytest.approx(START_S + i / 10, abs=1e-6)
        assert np.allclose(frame.camera.K, camera.K)
        assert frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-6)
        assert frame.depth_camera is not None and (frame.depth_camera.width, frame.depth_camera.height) == DEPTH_SIZE
        assert off_surface_m(seen(frame)).max() < 1e-3
        # the camera's +x is down in the room: the images are left lying on their side
        assert frame.camera.world_from_camera[2, 0] < -0.9
        found, expected = found_dots(frame.read_color(), frame.camera)
        assert len(found) == 0 or np.abs(found - expected).max() < 0.5
    assert any(len(found_dots(frame.read_color(), frame.camera)[0]) for frame in scan.frames)


def test_only_low_confidence_is_left_out(tmp_path):
    write(tmp_path, cameras(1))
    depth = depth_of(read(tmp_path, ReadOptions()).frames[0])
    assert (depth[:20] == 0).all() and (depth[20:] > 0).all()


@pytest.mark.parametrize("folder", ["inner", "outer"])
def test_the_3dod_download_has_its_frames_a_folder_deeper_and_its_mesh_beside(tmp_path, folder):
    outer = tmp_path / VIDEO
    inner = outer / f"{VIDEO}_frames"
    write(inner, cameras(2))
    (outer / f"{VIDEO}_3dod_mesh.ply").write_text("ply")
    path = inner if folder == "inner" else outer
    assert looks_like(path)
    scan = read(path, ReadOptions())
    assert scan.name == VIDEO and len(scan.frames) == 2
    assert scan.surface_path == outer / f"{VIDEO}_3dod_mesh.ply"
    assert (scan.source_from_surface == np.eye(4)).all()


def test_the_larger_images_are_taken_with_their_own_intrinsics(tmp_path):
    filmed = cameras(2)
    write(tmp_path, filmed)
    larger = [camera.resized(2 * WIDTH, 2 * HEIGHT) for camera in filmed]
    for i, camera in enumerate(larger):
        file = f"{VIDEO}_{START_S + i / 10:.3f}"
        write_color(tmp_path / "vga_wide" / f"{file}.png", images(camera)[0])
        (tmp_path / "vga_wide_intrinsics").mkdir(exist_ok=True)
        numbers = [camera.width, camera.height, *camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]]
        (tmp_path / "vga_wide_intrinsics" / f"{file}.pincam").write_text(" ".join(map(str, numbers)))
    frame = read(tmp_path, ReadOptions()).frames[1]
    assert frame.camera.width == 2 * WIDTH and np.allclose(frame.camera.K, larger[1].K)
    assert off_surface_m(seen(frame)).max() < 1e-3
    small = read(tmp_path, ReadOptions(long_side_px=200)).frames[1]
    assert small.read_color().shape == (150, 200, 3) and small.camera.K[0, 0] == pytest.approx(141 * 200 / 160)


def test_images_between_the_poses_are_left_out_and_counted(tmp_path):
    filmed = cameras(7)
    stamps = [START_S + i / 60 for i in range(7)]
    write(tmp_path, filmed, stamps_s=stamps)
    rows = (tmp_path / "lowres_wide.traj").read_text().splitlines()
    (tmp_path / "lowres_wide.traj").write_text("\n".join([rows[0], rows[6]]))
    scan = read(tmp_path, ReadOptions())
    assert [frame.index for frame in scan.frames] == [0, 6]
    assert frame_off(scan.frames[1], filmed[6]) < 1e-6
    assert scan.warnings == ("5 of 7 colour images are left out: 5 have no pose within 5 ms",)


def frame_off(frame, camera):
    return np.abs(frame.camera.world_from_camera - camera.world_from_camera).max()


def test_files_of_another_video_are_refused(tmp_path):
    stamps = [START_S + i / 10 for i in range(4)]
    write(tmp_path, cameras(4), stamps_s=stamps, pose_stamps_s=[stamp + 900 for stamp in stamps])
    with pytest.raises(UserError, match=r"of 4 colour images only 0 have all .*4 have no pose.*one video"):
        read(tmp_path, ReadOptions())


def test_without_a_trajectory_or_ignoring_it_there_are_no_poses(tmp_path):
    write(tmp_path / VIDEO, cameras(3))
    (tmp_path / VIDEO / f"{VIDEO}_3dod_mesh.ply").write_text("ply")
    ignored = read(tmp_path / VIDEO, ReadOptions(ignore_poses=True))
    assert not ignored.has_poses and ignored.up_hint is None and ignored.surface_path is None
    assert ignored.warnings == (f"{tmp_path / VIDEO / VIDEO}_3dod_mesh.ply is left aside: it needs poses",)
    assert all((frame.camera.world_from_camera == np.eye(4)).all() for frame in ignored.frames)
    (tmp_path / VIDEO / "lowres_wide.traj").unlink()
    scan = read(tmp_path / VIDEO, ReadOptions())
    assert not scan.has_poses and len(scan.frames) == 3 and scan.has_depth


def test_options_take_the_place_of_what_the_files_say(tmp_path):
    write(tmp_path, cameras(1))
    options = ReadOptions(intrinsics="150,150,79.5,59.5", poses="world_from_camera", axes="opengl", depth_scale=500)
    scan = read(tmp_path, options)
    frame = scan.frames[0]
    assert frame.depth_camera is not None and scan.reading is not None
    assert frame.camera.K[0].tolist() == [150, 0, 80] and frame.depth_camera.K[0].tolist() == [75, 0, 40]
    flip = np.diag([1.0, -1, -1, 1])
    assert frame.camera.world_from_camera == pytest.approx(cameras(1)[0].camera_from_world @ flip, abs=1e-6)
    assert depth_of(frame).max() == pytest.approx(2 * depth_of(read(tmp_path, ReadOptions()).frames[0]).max())
    assert (scan.reading.poses, scan.reading.axes, scan.reading.depth_units_per_m) == (
        "world_from_camera",
        "opengl",
        500,
    )


def test_without_depth_there_are_images_and_poses(tmp_path):
    write(tmp_path, cameras(2))
    for file in (tmp_path / "lowres_depth").iterdir():
        file.unlink()
    scan = read(tmp_path, ReadOptions())
    assert scan.has_poses and not scan.has_depth and len(scan.frames) == 2


def only_file(folder):
    return next(folder.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: only_file(path / "lowres_wide_intrinsics").write_text("640 480 530 530 320 240"), "of 640x480"),
        (lambda path: only_file(path / "lowres_wide_intrinsics").write_text("160 120 530"), "must hold 6 numbers"),
        (lambda path: only_file(path / "lowres_wide_intrinsics").unlink(), r"holds no \.pincam files"),
        (lambda path: only_file(path / "lowres_wide").unlink(), "holds no colour images"),
        (lambda path: (path / "lowres_wide.traj").write_text("1 2 3\n"), "traj line 1: must hold 7 numbers"),
        (lambda path: (path / "lowres_wide.traj").write_text("\n"), "holds no poses"),
        (lambda path: write_depth(only_file(path / "lowres_depth"), np.ones((50, 80)), 1000), "another shape"),
    ],
)
def test_what_is_broken_is_told_in_one_line(tmp_path, spoil, message):
    write(tmp_path, cameras(1))
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, ReadOptions())
    assert "\n" not in str(error.value)


def test_confidence_of_another_size_is_told_when_it_is_read(tmp_path):
    write(tmp_path, cameras(1))
    assert cv2.imwrite(str(only_file(tmp_path / "confidence")), np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"confidence.*is 5x5"):
        depth_of(read(tmp_path, ReadOptions()).frames[0])
