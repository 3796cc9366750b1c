"""ScanNet exports: two cameras of two sizes, and the axis alignment that poses and mesh share."""

import numpy as np
import pytest
from bev_readers_world import images, off_surface_m, walk, write_color, write_depth, write_matrix
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers, transform_points
from bev.errors import UserError
from bev.readers import read_scan

COLOR_K = np.array([[300.0, 0, 161], [0, 301, 122], [0, 0, 1]])
DEPTH_K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def four_by_four(K):
    matrix = np.eye(4)
    matrix[:3, :3] = K
    return matrix


def alignment() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 33, degrees=True).as_matrix()
    matrix[:3, 3] = -1.5, 2.5, 0.1
    return matrix


@pytest.fixture
def scene(tmp_path):
    """Three frames, numbered 0, 2 and 10, without `scene0000_00.txt`."""
    path = tmp_path / "scene0000_00"
    write_matrix(path / "intrinsic" / "intrinsic_color.txt", four_by_four(COLOR_K - HALF_PIXEL))
    write_matrix(path / "intrinsic" / "intrinsic_depth.txt", four_by_four(DEPTH_K - HALF_PIXEL))
    for name in ("extrinsic_color", "extrinsic_depth"):
        write_matrix(path / "intrinsic" / f"{name}.txt", np.eye(4))
    for number, pose in zip((0, 2, 10), walk(3), strict=True):
        write_color(path / "color" / f"{number}.jpg", images(Camera(COLOR_K, 320, 240, pose))[0])
        write_depth(path / "depth" / f"{number}.png", images(Camera(DEPTH_K, 160, 120, pose))[1], 1000)
        write_matrix(path / "pose" / f"{number}.txt", pose)
    return path


def seen(frame):
    depth, camera = frame.read_depth(), frame.depth_camera
    return camera.unproject(pixel_centers(camera.width, camera.height), depth.ravel())


def test_an_export_comes_back_as_it_was_written(scene):
    scan = read_scan(scene)
    assert (scan.reader, scan.name, scan.warnings) == ("scannet", "scene0000_00", ())
    assert [frame.index for frame in scan.frames] == [0, 2, 10]
    assert scan.up_hint is not None and scan.up_hint.tolist() == [0, 0, 1]
    assert not scan.axes_are_walls and scan.surface_path is None
    assert (scan.source_from_surface == np.eye(4)).all()
    for frame, pose in zip(scan.frames, walk(3), strict=True):
        assert np.allclose(frame.camera.K, COLOR_K) and frame.camera.width == 320
        assert np.allclose(frame.depth_camera.K, DEPTH_K) and frame.depth_camera.width == 160
        assert frame.camera.world_from_camera == pytest.approx(pose, abs=1e-7)
        assert frame.color_from_depth == pytest.approx(np.eye(4), abs=1e-9)
        assert off_surface_m(seen(frame)).max() < 1e-3
        truth = images(Camera(COLOR_K, 320, 240, pose))[0]
        assert np.abs(frame.read_color().astype(int) - truth).mean() < 3


@pytest.mark.parametrize("inside", [True, False])
def test_the_axis_alignment_moves_poses_and_mesh_together(scene, inside):
    numbers = " ".join(f"{number:.6f}" for number in alignment().ravel())
    text = f"colorHeight = 240\naxisAlignment = {numbers} \nsceneType = Kitchen\n"
    (scene / "scene0000_00.txt").write_text(text)
    (scene / "scene0000_00_vh_clean_2.ply").write_text("ply")
    path = scene
    if not inside:
        path = scene / "exported"
        path.mkdir()
        for name in ("color", "depth", "pose", "intrinsic"):
            (scene / name).rename(path / name)
    scan = read_scan(path)
    assert scan.name == "scene0000_00" and scan.axes_are_walls
    assert scan.surface_path == scene / "scene0000_00_vh_clean_2.ply"
    assert scan.source_from_surface == pytest.approx(alignment(), abs=1e-6)
    stored_from_source = np.linalg.inv(alignment())
    for frame, pose in zip(scan.frames, walk(3), strict=True):
        assert frame.camera.world_from_camera == pytest.approx(alignment() @ pose, abs=1e-6)
        assert off_surface_m(transform_points(stored_from_source, seen(frame))).max() < 1e-3
    other = scene / "other.ply"
    other.write_text("ply")
    scan = read_scan(path, surface=other)
    assert scan.surface_path == other and scan.source_from_surface == pytest.approx(alignment(), abs=1e-6)


def test_the_alignment_comes_after_the_conventions_are_undone(scene):
    numbers = " ".join(map(str, alignment().ravel()))
    (scene / "scene0000_00.txt").write_text(f"axisAlignment = {numbers}\n")
    for number, pose in zip((0, 2, 10), walk(3), strict=True):
        write_matrix(scene / "pose" / f"{number}.txt", np.linalg.inv(pose @ np.diag([1, -1, -1, 1])))
    scan = read_scan(scene, poses="camera_from_world", axes="opengl")
    for frame, pose in zip(scan.frames, walk(3), strict=True):
        assert frame.camera.world_from_camera == pytest.approx(alignment() @ pose, abs=1e-6)


@pytest.mark.parametrize("value", ["1 2 3", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1"])
def test_an_alignment_that_is_none_is_named(scene, value):
    (scene / "scene0000_00.txt").write_text(f"axisAlignment = {value}\n")
    with pytest.raises(UserError, match=r"scene0000_00\.txt: axisAlignment"):
        read_scan(scene)


def test_extrinsics_that_are_not_identity_set_the_cameras_apart(scene):
    extrinsic = np.eye(4)
    extrinsic[0, 3] = 0.03
    write_matrix(scene / "intrinsic" / "extrinsic_color.txt", extrinsic)
    for frame, pose in zip(read_scan(scene).frames, walk(3), strict=True):
        assert frame.depth_camera is not None
        assert frame.depth_camera.world_from_camera == pytest.approx(pose, abs=1e-6)
        assert frame.camera.world_from_camera == pytest.approx(pose @ extrinsic, abs=1e-6)


def test_poses_of_infinity_are_skipped(scene):
    write_matrix(scene / "pose" / "2.txt", np.full((4, 4), -np.inf))
    scan = read_scan(scene)
    assert [frame.index for frame in scan.frames] == [0, 10]
    assert len(scan.warnings) == 1 and "1 of 3 frames skipped" in scan.warnings[0]


def test_missing_intrinsics_are_named_and_given_ones_scale_to_depth(scene):
    (scene / "intrinsic" / "intrinsic_color.txt").unlink()
    with pytest.raises(UserError, match=r"intrinsic_color\.txt is missing.*colour camera.*--intrinsics"):
        read_scan(scene)
    frame = read_scan(scene, intrinsics="300,301,160.5,121.5").frames[0]
    assert np.allclose(frame.camera.K, COLOR_K)
    assert frame.depth_camera is not None and np.allclose(frame.depth_camera.K, DEPTH_K)
    (scene / "intrinsic" / "intrinsic_depth.txt").unlink()
    frame = read_scan(scene, intrinsics="300,300,159.5,119.5").frames[0]
    assert frame.depth_camera is not None and np.allclose(frame.depth_camera.K, DEPTH_K)


def test_intrinsics_of_the_images_before_they_were_made_smaller_are_refused(scene):
    for number in (0, 2, 10):
        write_color(scene / "color" / f"{number}.jpg", np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(UserError, match=r"intrinsic_color\.txt: the principal point .* of the 80x60 images"):
        read_scan(scene)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("color/2.jpg", "frame 2 has depth"),
        ("depth/2.png", "frame 2 has colour"),
        ("pose/2.txt", "frame 2 has .* no pose"),
    ],
)
def test_a_frame_that_is_not_whole_is_named(scene, missing, message):
    (scene / missing).unlink()
    with pytest.raises(UserError, match=message):
        read_scan(scene)


def test_poses_without_images_are_nothing_wrong(scene):
    write_matrix(scene / "pose" / "5.txt", np.eye(4))
    assert [frame.index for frame in read_scan(scene).frames] == [0, 2, 10]


def test_the_scenes_text_is_named_as_a_file_beside_where_it_lies_above(scene):
    text = scene / "scene0000_00.txt"
    text.write_text("axisAlignment = " + " ".join(str(number) for number in alignment().ravel()))
    assert read_scan(scene).files_beside == ()
    frames = scene / "exported"
    frames.mkdir()
    for name in ("color", "depth", "pose", "intrinsic"):
        (scene / name).rename(frames / name)
    scan = read_scan(frames)
    assert scan.axes_are_walls and scan.files_beside == (text,)
