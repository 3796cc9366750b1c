"""Record3D's .r3d: a zip, LZFSE, OpenGL axes, a world with +y up, intrinsics that breathe with the focus."""

import io
import json
import zipfile

import cv2
import lzfse
import numpy as np
import pytest
from bev_readers_world import found_dots, images, off_surface_m, walk
from scipy.spatial.transform import Rotation

from bev.camera import Camera, pixel_centers, transform_points
from bev.errors import UserError
from bev.readers.options import ReadOptions
from bev.readers.record3d import looks_like, read

WIDTH, HEIGHT = 120, 160
DEPTH_SIZE = (60, 80)
Y_UP_FROM_ROOM = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def cameras(count):
    """A phone held upright, in the room's own world."""
    return [
        Camera(np.array([[150.0 + i, 0, 60.5], [0, 150.0 + i, 79.25], [0, 0, 1]]), WIDTH, HEIGHT, pose)
        for i, pose in enumerate(walk(count))
    ]


def recorded(filmed, world_from_room=Y_UP_FROM_ROOM):
    """What the app writes: metadata, and the members of the zip."""
    members, poses = {}, []
    for i, camera in enumerate(filmed):
        ok, jpeg = cv2.imencode(".jpg", images(camera)[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        assert ok
        depth = images(camera.resized(*DEPTH_SIZE))[1].astype(np.float32)
        levels = np.full(depth.shape, 2, np.uint8)
        levels[:10], levels[10:30] = 0, 1
        depth[:10] += 0.4
        depth[-1], depth[-1, ::2] = np.nan, np.inf
        members |= {
            f"rgbd/{i}.jpg": jpeg.tobytes(),
            f"rgbd/{i}.depth": lzfse.compress(depth.tobytes()),
            f"rgbd/{i}.conf": lzfse.compress(levels.tobytes()),
        }
        pose = world_from_room @ camera.world_from_camera @ np.diag([1.0, -1, -1, 1])
        poses.append([*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]])
    K = filmed[0].K
    metadata = {
        "w": filmed[0].width,
        "h": filmed[0].height,
        "dw": DEPTH_SIZE[0],
        "dh": DEPTH_SIZE[1],
        "fps": 60,
        "K": [K[0, 0], 0, 0, 0, K[1, 1], 0, K[0, 2], K[1, 2], 1],
        "perFrameIntrinsicCoeffs": [[c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2]] for c in filmed],
        "poses": poses,
        "initPose": [0, 0, 0, 1, 0, 0, 0],
        "frameTimestamps": [0.5 + i / 60 for i in range(len(filmed))],
        "cameraType": 1,
    }
    return metadata, members


def write(path, metadata, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata", metadata if isinstance(metadata, str) else json.dumps(metadata))
        archive.writestr("icon", b"a thumbnail")
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def metadata_and_members():
    return recorded(cameras(3))


def depth_of(frame):
    assert frame.read_depth is not None
    return frame.read_depth()


def seen(frame):
    depth, camera = depth_of(frame).ravel(), frame.depth_camera
    return camera.unproject(pixel_centers(camera.width, camera.height), depth)[depth > 0]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_recording_comes_back_as_it_was_filmed(tmp_path, metadata_and_members, compression):
    path = write(tmp_path / "kitchen.r3d", *metadata_and_members, compression=compression)
    assert looks_like(path) and not looks_like(tmp_path)
    scan = read(path, ReadOptions())
    assert (scan.name, scan.reader, scan.units, scan.warnings) == ("kitchen", "record3d", "metre", ())
    assert scan.has_poses and scan.has_intrinsics and scan.has_depth and [f.index for f in scan.frames] == [0, 1, 2]
    assert scan.up_hint is not None and (Y_UP_FROM_ROOM[:3, :3] @ [0, 0, 1] == scan.up_hint).all()
    room_from_world = np.linalg.inv(Y_UP_FROM_ROOM)
    for i, (frame, camera) in enumerate(zip(scan.frames, cameras(3), strict=True)):
        assert frame.timestamp_s == pytest.approx(0.5 + i / 60)
        assert np.allclose(frame.camera.K, camera.K)
        assert room_from_world @ frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-6)
        assert off_surface_m(transform_points(room_from_world, seen(frame))).max() < 1e-3
        found, expected = found_dots(frame.read_color(), frame.camera.moved(room_from_world))
        assert len(found) == 0 or np.abs(found - expected).max() < 0.5


def test_low_confidence_and_nan_are_no_depth(tmp_path, metadata_and_members):
    depth = depth_of(read(write(tmp_path / "a.r3d", *metadata_and_members), ReadOptions()).frames[0])
    assert depth.dtype == np.float32
    assert (depth[:10] == 0).all() and (depth[-1] == 0).all() and (depth[10:-1] > 0).all()


def test_without_confidence_all_depth_counts(tmp_path, metadata_and_members):
    metadata, members = metadata_and_members
    kept = {name: data for name, data in members.items() if not name.endswith(".conf")}
    depth = depth_of(read(write(tmp_path / "a.r3d", metadata, kept), ReadOptions()).frames[0])
    assert (depth[:-1] > 0).all()


def test_older_metadata_without_sizes_of_depth_and_intrinsics_of_frames(tmp_path, metadata_and_members):
    metadata, members = metadata_and_members
    for key in ("dw", "dh", "perFrameIntrinsicCoeffs", "frameTimestamps"):
        del metadata[key]
    scan = read(write(tmp_path / "a.r3d", metadata, members), ReadOptions())
    frame = scan.frames[2]
    assert frame.timestamp_s == pytest.approx(2 / 60) and depth_of(frame).shape == (80, 60)
    assert np.allclose(frame.camera.K, cameras(1)[0].K)


def test_intrinsics_of_smaller_images_of_the_same_shape_are_scaled(tmp_path, metadata_and_members):
    metadata, members = metadata_and_members
    metadata |= {"w": WIDTH // 2, "h": HEIGHT // 2}
    metadata["perFrameIntrinsicCoeffs"] = [[n / 2 for n in row] for row in metadata["perFrameIntrinsicCoeffs"]]
    frame = read(write(tmp_path / "a.r3d", metadata, members), ReadOptions()).frames[1]
    assert np.allclose(frame.camera.K, cameras(2)[1].K)
    assert (frame.camera.width, frame.camera.height) == (WIDTH, HEIGHT)


def test_large_images_are_decoded_smaller(tmp_path, metadata_and_members):
    frame = read(write(tmp_path / "a.r3d", *metadata_and_members), ReadOptions(long_side_px=80)).frames[0]
    assert frame.read_color().shape == (80, 60, 3) and frame.camera.K[0, 0] == pytest.approx(75)
    truth = images(cameras(1)[0].resized(60, 80))[0]
    assert np.abs(frame.read_color().astype(int) - truth).mean() < 3


def test_a_world_that_begins_at_the_first_camera_knows_no_up(tmp_path):
    filmed = cameras(3)
    first_gl = filmed[0].world_from_camera @ np.diag([1.0, -1, -1, 1])
    metadata, members = recorded(filmed, np.linalg.inv(first_gl))
    scan = read(write(tmp_path / "a.r3d", metadata, members), ReadOptions())
    assert scan.has_poses and scan.up_hint is None
    assert off_surface_m(transform_points(first_gl, seen(scan.frames[2]))).max() < 1e-3


def test_the_front_camera_has_no_poses(tmp_path, metadata_and_members):
    metadata, members = metadata_and_members
    metadata["poses"] = [[0, 0, 0, 1, 0, 0, 0]] * 3
    scan = read(write(tmp_path / "a.r3d", metadata, members), ReadOptions())
    assert not scan.has_poses and scan.up_hint is None and len(scan.frames) == 3
    assert len(scan.warnings) == 1 and "front camera" in scan.warnings[0]
    ignored = read(write(tmp_path / "b.r3d", *recorded(cameras(2))), ReadOptions(ignore_poses=True))
    assert not ignored.has_poses and (ignored.frames[1].camera.world_from_camera == np.eye(4)).all()


def test_options_take_the_place_of_what_the_file_says(tmp_path, metadata_and_members):
    path = write(tmp_path / "a.r3d", *metadata_and_members)
    options = ReadOptions(intrinsics="155,155,59.5,79.5", axes="opencv", depth_scale=2)
    scan = read(path, options)
    assert scan.frames[0].camera.K[0].tolist() == [155, 0, 60]
    flip = np.diag([1.0, -1, -1, 1])
    usual = read(path, ReadOptions()).frames[0]
    assert scan.frames[0].camera.world_from_camera == pytest.approx(usual.camera.world_from_camera @ flip)
    assert depth_of(scan.frames[0]).max() == pytest.approx(depth_of(usual).max() / 2)
    assert scan.reading is not None and (scan.reading.axes, scan.reading.depth_units_per_m) == ("opencv", 2)


def spoilt(recording, changes):
    """The recording with some keys or members changed, or left out where the new value is None."""
    metadata, members = recording
    metadata = {key: value for key, value in (metadata | changes.get("metadata", {})).items() if value is not None}
    members = {name: data for name, data in (members | changes.get("members", {})).items() if data is not None}
    return metadata, members


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"poses": [[0, 0, 0, 1, 0, 0, 0]] * 2}}, "poses has 2x7 numbers where 3x7 belong to 3 images"),
        ({"metadata": {"poses": [[0, 0, 0, 1]] * 3}}, "poses has 3x4"),
        ({"metadata": {"poses": "none"}}, "poses holds something else"),
        ({"metadata": {"perFrameIntrinsicCoeffs": [[1, 1, 1, 1]]}}, "perFrameIntrinsicCoeffs has 1x4"),
        ({"metadata": {"K": None, "perFrameIntrinsicCoeffs": None}}, "neither K nor perFrame.*--intrinsics"),
        ({"metadata": {"w": 1920, "h": 1440}}, "of images of 1920x1440, but the images are 120x160"),
        ({"metadata": {"w": 1440, "h": 1920}}, "principal point .* is far from the centre of the 1440x1920"),
        ({"metadata": {"dw": 192, "dh": 256}}, r"0\.depth holds 4800 numbers, which make no .* 192x256"),
        ({"metadata": {"dw": 80, "dh": 60}}, "depth is 80x60, of another shape"),
        ({"members": {"rgbd/1.depth": None}}, "frame 1 has colour .* no depth"),
        ({"members": {"rgbd/1.jpg": None}}, "frame 1 has depth .* no colour"),
        ({"members": {"rgbd/1.conf": None}}, "frame 1 has depth but no confidence"),
        ({"members": {"rgbd/0.depth": b"\x00" * 19200}}, r"rgbd/0\.depth is not compressed with LZFSE"),
        ({"members": {"rgbd/0.jpg": b"no image"}}, r"rgbd/0\.jpg: does not decode"),
    ],
)
def test_what_contradicts_itself_is_told_in_one_line(tmp_path, metadata_and_members, changes, message):
    metadata, members = spoilt(metadata_and_members, changes)
    path = write(tmp_path / "a.r3d", metadata, members)
    with pytest.raises(UserError, match=message) as error:
        read(path, ReadOptions())
    assert "\n" not in str(error.value) and "a.r3d" in str(error.value)


def test_a_file_cut_short_or_of_another_kind_is_named(tmp_path, metadata_and_members):
    path = write(tmp_path / "a.r3d", *metadata_and_members)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a\.r3d: is no whole zip"):
        read(path, ReadOptions())
    with pytest.raises(UserError, match="metadata is no JSON"):
        read(write(path, "{", {}), ReadOptions())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other", "")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="holds no file metadata"):
        read(path, ReadOptions())


def test_a_frame_that_is_damaged_is_told_when_it_is_read(tmp_path, metadata_and_members):
    metadata, members = metadata_and_members
    damaged = members | {"rgbd/1.depth": members["rgbd/1.depth"][:900], "rgbd/2.jpg": members["rgbd/2.jpg"][:900]}
    frames = read(write(tmp_path / "a.r3d", metadata, damaged), ReadOptions()).frames
    with pytest.raises(UserError, match=r"rgbd/1\.depth is not compressed with LZFSE, or is damaged"):
        depth_of(frames[1])
    with pytest.raises(UserError, match=r"rgbd/2\.jpg: does not decode"):
        frames[2].read_color()
    short = members | {"rgbd/1.conf": lzfse.compress(bytes(100))}
    frames = read(write(tmp_path / "b.r3d", metadata, short), ReadOptions()).frames
    with pytest.raises(UserError, match=r"1\.conf holds 100 numbers where the first frame has 60x80"):
        depth_of(frames[1])
    stored = write(tmp_path / "c.r3d", metadata, members).read_bytes()
    at = stored.index(members["rgbd/1.depth"]) + 400
    (tmp_path / "c.r3d").write_bytes(stored[:at] + bytes([stored[at] ^ 255]) + stored[at + 1 :])
    with pytest.raises(UserError, match=r"rgbd/1\.depth cannot be read .*copy the file again"):
        depth_of(read(tmp_path / "c.r3d", ReadOptions()).frames[1])
