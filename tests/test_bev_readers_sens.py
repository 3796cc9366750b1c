"""ScanNet's .sens: one binary file, two cameras of two sizes, frames found by their offsets, files cut short."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from bev_readers_world import images, off_surface_m, walk
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers, transform_points
from bev.errors import UserError
from bev.readers.options import ReadOptions
from bev.readers.sens import looks_like, read

COLOR_K = np.array([[300.0, 0, 161], [0, 301, 122], [0, 0, 1]])
DEPTH_K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
COLOR_SIZE, DEPTH_SIZE = (320, 240), (160, 120)
JPEG, PNG, RAW_COLOR = 2, 1, 0
ZLIB, RAW_DEPTH, OCCI = 1, 0, 2


def stored_K(K):
    """ScanNet counts the centre of the top-left pixel as (0, 0), and writes 4x4."""
    matrix = np.eye(4)
    matrix[:3, :3] = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    return matrix


def packed(matrix):
    return struct.pack("<16f", *np.asarray(matrix).ravel())


def head(count, *, color=JPEG, depth=ZLIB, version=4, extrinsic_color=None, color_size=COLOR_SIZE, units=1000.0):
    name = b"StructureSensor"
    parts = [struct.pack("<IQ", version, len(name)), name]
    parts += [packed(stored_K(COLOR_K)), packed(np.eye(4) if extrinsic_color is None else extrinsic_color)]
    parts += [packed(stored_K(DEPTH_K)), packed(np.eye(4))]
    parts += [struct.pack("<ii", color, depth), struct.pack("<4I", *color_size, *DEPTH_SIZE)]
    parts += [struct.pack("<f", units), struct.pack("<Q", count)]
    return b"".join(parts)


def frame(pose, *, color=JPEG, depth=ZLIB, stamp=0, stored_pose=None):
    image = images(Camera(COLOR_K, *COLOR_SIZE, pose))[0]
    stored = (images(Camera(DEPTH_K, *DEPTH_SIZE, pose))[1] * 1000).round().astype("<u2").tobytes()
    if color == RAW_COLOR:
        encoded = image.tobytes()
    else:
        ok, buffer = cv2.imencode(".jpg" if color == JPEG else ".png", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        assert ok
        encoded = buffer.tobytes()
    compressed = zlib.compress(stored) if depth == ZLIB else stored
    sizes = struct.pack("<4Q", stamp, stamp + 3, len(encoded), len(compressed))
    return packed(pose if stored_pose is None else stored_pose) + sizes + encoded + compressed


def write(path, frames, start=None):
    imu = struct.pack("<Q", 0)
    path.write_bytes((start or head(len(frames))) + b"".join(frames) + imu)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "scene0000_00.sens", [frame(pose) for pose in walk(3)])


def seen(one):
    camera = one.depth_camera
    return camera.unproject(pixel_centers(camera.width, camera.height), one.read_depth().ravel())


def test_a_scan_comes_back_as_it_was_written(path):
    assert looks_like(path) and not looks_like(path.parent)
    scan = read(path, ReadOptions())
    assert (scan.name, scan.reader, scan.units, scan.warnings) == ("scene0000_00", "sens", "metre", ())
    assert scan.has_poses and scan.has_intrinsics and [one.index for one in scan.frames] == [0, 1, 2]
    assert scan.up_hint is not None and scan.up_hint.tolist() == [0, 0, 1]
    assert not scan.axes_are_walls and scan.surface_path is None and scan.files_beside == ()
    for i, (one, pose) in enumerate(zip(scan.frames, walk(3), strict=True)):
        assert one.timestamp_s == pytest.approx(i / 30)
        assert np.allclose(one.camera.K, COLOR_K) and (one.camera.width, one.camera.height) == COLOR_SIZE
        assert one.depth_camera is not None and np.allclose(one.depth_camera.K, DEPTH_K)
        assert one.camera.world_from_camera == pytest.approx(pose, abs=1e-6)
        assert off_surface_m(seen(one)).max() < 1e-3
        truth = images(Camera(COLOR_K, *COLOR_SIZE, pose))[0]
        assert np.abs(one.read_color().astype(int) - truth).mean() < 3


@pytest.mark.parametrize(("color", "depth"), [(PNG, RAW_DEPTH), (RAW_COLOR, ZLIB)])
def test_the_other_compressions_that_need_no_decoder_of_their_own(tmp_path, color, depth):
    frames = [frame(pose, color=color, depth=depth) for pose in walk(2)]
    scan = read(write(tmp_path / "a.sens", frames, head(2, color=color, depth=depth)), ReadOptions())
    truth = images(Camera(COLOR_K, *COLOR_SIZE, walk(2)[1]))[0]
    assert (scan.frames[1].read_color() == truth).all() and off_surface_m(seen(scan.frames[1])).max() < 1e-3


def test_frames_are_read_in_any_order_and_the_file_is_never_whole_in_memory(path, monkeypatch):
    largest = 0
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("read as a whole"))
    scan = read(path, ReadOptions())
    for i in (2, 0, 1):
        assert off_surface_m(seen(scan.frames[i])).max() < 1e-3
        largest = max(largest, scan.frames[i].read_color().nbytes)
    assert largest == 320 * 240 * 3


def test_stamps_count_where_they_ascend(tmp_path):
    stamps = (5_000_000, 5_033_333, 5_066_667)
    frames = [frame(pose, stamp=stamp) for pose, stamp in zip(walk(3), stamps, strict=True)]
    scan = read(write(tmp_path / "a.sens", frames), ReadOptions())
    assert [one.timestamp_s for one in scan.frames] == pytest.approx([5.0, 5.033333, 5.066667])
    frames = [frame(pose, stamp=stamp) for pose, stamp in zip(walk(3), (0, 7, 0), strict=True)]
    scan = read(write(tmp_path / "b.sens", frames), ReadOptions())
    assert [one.timestamp_s for one in scan.frames] == pytest.approx([0, 1 / 30, 2 / 30])


def test_lost_poses_are_skipped(tmp_path):
    lost = np.full((4, 4), -np.inf)
    frames = [frame(pose, stored_pose=lost if i == 1 else None) for i, pose in enumerate(walk(3))]
    scan = read(write(tmp_path / "a.sens", frames), ReadOptions())
    assert [one.index for one in scan.frames] == [0, 2]
    assert len(scan.warnings) == 1 and "1 of 3 frames skipped" in scan.warnings[0]


def test_the_axis_alignment_and_the_mesh_beside_belong_to_it(path):
    aligned = np.eye(4)
    aligned[:3, :3] = Rotation.from_euler("z", 33, degrees=True).as_matrix()
    aligned[:3, 3] = -1.5, 2.5, 0.1
    text, mesh = path.with_suffix(".txt"), path.with_name("scene0000_00_vh_clean_2.ply")
    text.write_text("axisAlignment = " + " ".join(f"{number:.6f}" for number in aligned.ravel()) + "\n")
    mesh.write_text("ply")
    scan = read(path, ReadOptions())
    assert scan.axes_are_walls and scan.surface_path == mesh and scan.files_beside == (text,)
    assert scan.source_from_surface == pytest.approx(aligned, abs=1e-6)
    for one, pose in zip(scan.frames, walk(3), strict=True):
        assert one.camera.world_from_camera == pytest.approx(aligned @ pose, abs=1e-5)
        assert off_surface_m(transform_points(np.linalg.inv(aligned), seen(one))).max() < 1e-3
    ignored = read(path, ReadOptions(ignore_poses=True))
    assert not ignored.has_poses and ignored.surface_path is None and ignored.up_hint is None
    assert ignored.warnings == (f"{mesh} is left aside: it needs poses",)


def test_extrinsics_set_the_cameras_apart_with_poses_and_without(tmp_path):
    extrinsic = np.eye(4)
    extrinsic[0, 3] = 0.03
    path = write(tmp_path / "a.sens", [frame(pose) for pose in walk(2)], head(2, extrinsic_color=extrinsic))
    for one, pose in zip(read(path, ReadOptions()).frames, walk(2), strict=True):
        assert one.depth_camera is not None
        assert one.depth_camera.world_from_camera == pytest.approx(pose, abs=1e-6)
        assert one.camera.world_from_camera == pytest.approx(pose @ extrinsic, abs=1e-6)
    one = read(path, ReadOptions(ignore_poses=True)).frames[0]
    assert (one.camera.world_from_camera == np.eye(4)).all()
    assert one.color_from_depth == pytest.approx(np.linalg.inv(extrinsic), abs=1e-6)


def test_options_take_the_place_of_what_the_file_says(path):
    scan = read(path, ReadOptions(intrinsics="310,310,159.5,119.5", depth_scale=500, poses="camera_from_world"))
    one = scan.frames[0]
    assert one.depth_camera is not None and one.read_depth is not None and scan.reading is not None
    assert one.camera.K[0].tolist() == [310, 0, 160] and np.allclose(one.depth_camera.K, DEPTH_K)
    assert one.camera.world_from_camera == pytest.approx(np.linalg.inv(walk(3)[0]), abs=1e-5)
    truth = images(Camera(DEPTH_K, *DEPTH_SIZE, walk(3)[0]))[1]
    assert one.read_depth() == pytest.approx(2 * truth, abs=2e-3)
    assert (scan.reading.depth_units_per_m, scan.reading.poses) == (500, "camera_from_world")


@pytest.mark.parametrize("missing", [1, 5000])
def test_of_a_file_cut_short_the_whole_frames_are_used(path, missing):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 8 - missing])
    scan = read(path, ReadOptions())
    assert len(scan.frames) == 2 and off_surface_m(seen(scan.frames[1])).max() < 1e-3
    assert scan.warnings == ("scene0000_00.sens is cut short: 2 of 3 frames are whole and used",)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "is no .sens file of version 4 .*nothing"),
        (head(1, version=5), "is no .sens file of version 4"),
        (struct.pack("<IQ", 4, 1 << 40), "is no .sens file of version 4"),
        (head(1)[:200], "ends within its header"),
        (head(1), "holds no whole frame"),
        (head(1, depth=OCCI), "compressed as occi_ushort.*SensReader"),
        (head(1, depth=7), "depth compression 7 is none of"),
        (head(1, color=-1), "colour compression -1 is none of"),
        (head(1, units=0.0), "0 depth units per metre"),
        (head(1, color_size=(0, 240)), r"colour \(0, 240\)"),
    ],
)
def test_a_header_that_cannot_be_is_told_in_one_line(tmp_path, start, message):
    path = tmp_path / "a.sens"
    path.write_bytes(start)
    with pytest.raises(UserError, match=message) as error:
        read(path, ReadOptions())
    assert "\n" not in str(error.value) and "a.sens" in str(error.value)


def test_intrinsics_of_another_image_size_are_refused(tmp_path):
    path = write(tmp_path / "a.sens", [frame(walk(1)[0])], head(1, color_size=(1296, 968)))
    with pytest.raises(UserError, match=r"intrinsics of the colour camera: the principal point .* 1296x968"):
        read(path, ReadOptions())


def test_a_frame_that_is_damaged_is_told_when_it_is_read(path):
    data = bytearray(path.read_bytes())
    first = len(head(3)) + 64 + 32
    color_bytes, depth_bytes = struct.unpack("<2Q", data[first - 16 : first])
    data[first + color_bytes : first + color_bytes + depth_bytes] = b"x" * depth_bytes
    data[first : first + color_bytes] = b"x" * color_bytes
    path.write_bytes(data)
    one = read(path, ReadOptions()).frames[0]
    assert one.read_depth is not None
    with pytest.raises(UserError, match=r"sens: colour of frame 0: does not decode"):
        one.read_color()
    with pytest.raises(UserError, match=r"sens: depth of frame 0: does not unpack"):
        one.read_depth()
    path.write_bytes(data[:5000])
    with pytest.raises(UserError, match=r"colour of frame 0 is gone"):
        one.read_color()
