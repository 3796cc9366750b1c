"""COLMAP models: text and binary, the places they lie in, lenses, and what is wrong with them in practice."""

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from bev_readers_world import distorted_by, found_dots, images, looking_from, off_surface_m, walk, write_color
from scipy.spatial.transform import Rotation

from bev.camera import Camera, invert_rigid, pixel_centers
from bev.errors import UserError
from bev.readers import colmap
from bev.readers.images import Distortion
from bev.readers.lenses import frame_numbers, natural_key
from bev.readers.options import ReadOptions

K = np.array([[150.0, 0, 81], [0, 152, 59.5], [0, 0, 1]])
PINHOLE = ("PINHOLE", 160, 120, (150, 152, 81, 59.5))
NUMBERS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5}
NUMBERS |= {"FULL_OPENCV": 6, "FOV": 7, "SIMPLE_RADIAL_FISHEYE": 8, "RADIAL_FISHEYE": 9, "THIN_PRISM_FISHEYE": 10}


def cameras(count):
    return [Camera(K, 160, 120, pose) for pose in walk(count)]


def posed(poses, names, camera_ids=None):
    """Rows of images: id (not in order), quaternion with the real part first, translation, camera id, name."""
    rows = []
    for i, (pose, name) in enumerate(zip(poses, names, strict=True)):
        camera_from_world = invert_rigid(pose)
        x, y, z, w = Rotation.from_matrix(camera_from_world[:3, :3]).as_quat()
        rows.append((90 - i, (w, x, y, z), camera_from_world[:3, 3], camera_ids[i] if camera_ids else 1, name))
    return rows


def seen_points(poses, rows, count=40):
    """Points on the room's surface and who saw them: (position, [image ids])."""
    rng = np.random.default_rng(0)
    uv = rng.uniform([5, 5], [155, 115], (count, 2))
    found = []
    for i in range(count):
        camera = Camera(K, 160, 120, poses[i % len(poses)])
        depth = images(camera)[1]
        u, v = uv[i].astype(int)
        point = camera.unproject(np.array([[u + 0.5, v + 0.5]]), depth[v, u : u + 1])[0]
        found.append((point, [rows[i % len(poses)][0], rows[(i + 1) % len(poses)][0]]))
    return found


def write_text(folder, lenses, rows, points):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Camera list"]
    lines += [f"{i} {m} {w} {h} {' '.join(map(str, numbers))}" for i, (m, w, h, numbers) in lenses.items()]
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list"]
    for i, (image_id, q, t, camera_id, name) in enumerate(rows):
        lines.append(f"{image_id} {' '.join(f'{n:.12g}' for n in (*q, *t))} {camera_id} {name}")
        lines.append("" if i % 2 else "10.5 20.5 -1 30.0 40.0 7")  # an image without key points has an empty line
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    lines = [
        f"{7 + i} {' '.join(f'{n:.12g}' for n in point)} 10 20 30 0.5 " + " ".join(f"{j} {i}" for j in ids)
        for i, (point, ids) in enumerate(points)
    ]
    (folder / "points3D.txt").write_text("\n".join(["# Points", *lines]) + "\n")


def write_binary(folder, lenses, rows, points):
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(lenses))
    for i, (model, width, height, numbers) in lenses.items():
        data += struct.pack(f"<IiQQ{len(numbers)}d", i, NUMBERS[model], width, height, *numbers)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(rows))
    for image_id, q, t, camera_id, name in rows:
        data += struct.pack("<I7dI", image_id, *q, *t, camera_id) + name.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddqddq", 10.5, 20.5, -1, 30.0, 40.0, 7)
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for i, (point, ids) in enumerate(points):
        data += struct.pack("<Q3d3BdQ", 7 + i, *point, 10, 20, 30, 0.5, len(ids))
        data += b"".join(struct.pack("<II", j, i) for j in ids)
    (folder / "points3D.bin").write_bytes(data)


def write(path, *, count=4, model="sparse/0", kind=write_binary, names=None, lenses=None, pictures=None, points=True):
    """A capture of the room; returns its cameras."""
    names = names or [f"frame_{5 * i + 5:04d}.png" for i in range(count)]
    poses = walk(count)
    rows = posed(poses, names)
    kind(path / model, lenses or {1: PINHOLE}, rows, seen_points(poses, rows) if points else [])
    for camera, name in zip(cameras(count), names, strict=True):
        write_color(path / (pictures or "images") / name, images(camera)[0])
    return cameras(count)


def read(path, **options):
    return colmap.read(path, ReadOptions(**options))


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (write_text, "sparse/0"),
        *((write_binary, m) for m in ("sparse/0", "sparse", "colmap/sparse/0", ".", "dense/sparse")),
    ],
)
def test_a_model_comes_back_as_it_was_written(tmp_path, kind, model):
    truth = write(tmp_path, kind=kind, model=model)
    assert colmap.looks_like(tmp_path)
    scan = read(tmp_path)
    assert (scan.reader, scan.warnings, scan.up_hint, scan.units) == ("colmap", (), None, "arbitrary")
    assert (scan.has_poses, scan.has_intrinsics, scan.has_depth) == (True, True, False)
    assert [frame.index for frame in scan.frames] == [5, 10, 15, 20]
    for frame, camera in zip(scan.frames, truth, strict=True):
        assert np.allclose(frame.camera.K, camera.K)
        assert frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-9)
        assert (frame.read_color() == images(camera)[0]).all()
        assert frame.timestamp_s == pytest.approx(frame.index / 30)
    assert scan.sparse is not None and len(scan.sparse.points) == 40
    assert off_surface_m(scan.sparse.points).max() < 1e-6
    # who saw it: points of the first frame are those of every fourth row, and of those before them
    assert len(scan.sparse.seen_by(5)) == 20
    uv, depth = scan.frames[0].camera.project(scan.sparse.points[::4])
    assert (depth > 0).all() and (uv > 0).all() and (uv < [160, 120]).all()


def test_what_is_no_model_does_not_look_like_one(tmp_path):
    write(tmp_path)
    assert not colmap.looks_like(tmp_path / "images")
    assert not colmap.looks_like(tmp_path / "sparse" / "0" / "cameras.bin")
    (tmp_path / "sparse" / "0" / "images.bin").unlink()
    assert not colmap.looks_like(tmp_path)
    with pytest.raises(UserError, match=r"holds no COLMAP model; looked for cameras and images"):
        read(tmp_path)


@pytest.mark.parametrize("inside", ["sparse/0", "sparse"])
def test_the_models_own_folder_can_be_given(tmp_path, inside):
    write(tmp_path)
    scan = read(tmp_path / inside)
    assert len(scan.frames) == 4 and scan.frames[0].read_color().shape == (120, 160, 3)
    assert scan.files_beside == tuple(tmp_path / "images" / f"frame_{n:04d}.png" for n in (5, 10, 15, 20))
    assert read(tmp_path).files_beside == ()


def test_binary_is_preferred_and_names_may_have_folders_and_spaces(tmp_path):
    names = ["cam 0/2.png", "cam 0/10.png", "cam 1/2.png", "cam 1/10.png"]
    write(tmp_path, names=names, kind=write_text)
    scan = read(tmp_path)
    # 2 before 10; the numbers are not unique, so that places count
    assert [frame.index for frame in scan.frames] == [0, 1, 2, 3]
    centers = np.array([pose[:3, 3] for pose in walk(4)])
    assert scan.centers() == pytest.approx(centers, abs=1e-9)
    rows = posed(walk(4)[:2], names[:2])
    write_binary(tmp_path / "sparse" / "0", {1: PINHOLE}, rows, [])
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [2, 10] and scan.sparse is None


def test_frame_numbers_and_the_order_of_names():
    assert sorted(["10.jpg", "9.jpg", "a/1.jpg"], key=natural_key) == ["9.jpg", "10.jpg", "a/1.jpg"]
    assert frame_numbers(["frame_00009.png", "frame_00010.png"]) == [9, 10]
    assert frame_numbers(["a9.png", "b7.png"]) == [0, 1]
    assert frame_numbers(["a9.png", "b.png"]) == [0, 1]
    assert frame_numbers(["1700000000000000.jpg", "1700000000000001.jpg"]) == [0, 1]


def real_lens(camera, model, coefficients):
    """For `images`: where the pixels of a lens look, in pixels of the pinhole."""
    if not model.endswith("FISHEYE"):
        return distorted_by(camera, coefficients)

    def real_uv(uv):
        # COLMAP's own words: the angle from the axis goes through the polynomial; solved by Newton's method
        x, y = ((uv - [camera.K[0, 2], camera.K[1, 2]]) / [camera.K[0, 0], camera.K[1, 1]]).T
        bent = np.hypot(x, y)
        angle = bent.copy()
        powers = np.array([3, 5, 7, 9])
        for _ in range(12):
            off = angle + (coefficients * angle[:, None] ** powers).sum(axis=1) - bent
            angle -= off / (1 + (powers * coefficients * angle[:, None] ** (powers - 1)).sum(axis=1))
        ratio = np.where(bent > 1e-9, np.tan(angle) / np.maximum(bent, 1e-9), 1.0)
        return np.stack([x * ratio, y * ratio], axis=1) * [camera.K[0, 0], camera.K[1, 1]] + camera.K[:2, 2]

    return real_uv


LENSES = [
    ("SIMPLE_RADIAL", (520, 322, 238), (-0.12,), (-0.12, 0, 0, 0)),
    ("RADIAL", (520, 322, 238), (-0.12, 0.05), (-0.12, 0.05, 0, 0)),
    ("OPENCV", (520, 524, 322, 238), (-0.12, 0.05, 0.004, -0.003), (-0.12, 0.05, 0.004, -0.003)),
    (
        "FULL_OPENCV",
        (520, 524, 322, 238),
        (0.2, -0.1, 0.002, -0.003, 0.02, 0.3, 0.02, 0.01),
        (0.2, -0.1, 0.002, -0.003, 0.02, 0.3, 0.02, 0.01),
    ),
    ("OPENCV_FISHEYE", (520, 524, 322, 238), (-0.05, 0.02, -0.01, 0.003), (-0.05, 0.02, -0.01, 0.003)),
    ("SIMPLE_RADIAL_FISHEYE", (520, 322, 238), (-0.05,), (-0.05, 0, 0, 0)),
    ("RADIAL_FISHEYE", (520, 322, 238), (-0.05, 0.02), (-0.05, 0.02, 0, 0)),
]


@pytest.mark.parametrize(("model", "pinhole", "coefficients", "meant"), LENSES, ids=[lens[0] for lens in LENSES])
def test_lenses_are_undone_once_and_large_images_become_smaller(tmp_path, model, pinhole, coefficients, meant):
    fx, fy, cx, cy = pinhole if len(pinhole) == 4 else (pinhole[0], *pinhole)
    camera = Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), 640, 480, looking_from(-1.5, 0.0, 1.5))
    lens = {1: (model, 640, 480, (*pinhole, *coefficients))}
    write_binary(tmp_path / "sparse", lens, posed([camera.world_from_camera], ["1.png"]), [])
    image = images(camera, real_lens(camera, model, np.array(meant)))[0]
    write_color(tmp_path / "images" / "1.png", image)
    for long_side_px, size in ((1280, (640, 480)), (320, (320, 240))):
        (frame,) = read(tmp_path, long_side_px=long_side_px).frames
        assert (frame.camera.width, frame.camera.height) == size
        assert np.allclose(frame.camera.K, camera.resized(*size).K)
        found, expected = found_dots(frame.read_color(), frame.camera)
        distorted, _ = found_dots(cv2.resize(image, size), frame.camera)
        assert len(found) >= 6 and np.abs(found - expected).max() < 0.1 < 0.4 < np.abs(distorted - expected).max()


def test_every_camera_has_its_own_numbers(tmp_path):
    wide = Camera(np.array([[100.0, 0, 60], [0, 100, 50], [0, 0, 1]]), 120, 100, walk(2)[1])
    lenses = {3: PINHOLE, 8: ("SIMPLE_PINHOLE", 120, 100, (100, 60, 50))}
    write_text(tmp_path / "sparse", lenses, posed(walk(2), ["a.png", "b.png"], [3, 8]), [])
    write_color(tmp_path / "images" / "a.png", images(cameras(2)[0])[0])
    write_color(tmp_path / "images" / "b.png", images(wide)[0])
    first, second = read(tmp_path).frames
    assert np.allclose(first.camera.K, K) and np.allclose(second.camera.K, wide.K)
    assert (second.read_color() == images(wide)[0]).all()


def test_maps_of_lenses_do_not_pile_up():
    """Structure from motion without a shared camera gives every image a lens."""
    from bev.readers.images import _maps

    for _ in range(30):
        Distortion(K, (-0.1, 0, 0, 0), 160, 120).undone_color(np.zeros((120, 160, 3), np.uint8))
    assert _maps.cache_info().currsize <= 8


@pytest.mark.parametrize("model", ["FOV", "THIN_PRISM_FISHEYE"])
def test_a_camera_model_that_is_not_supported_is_named(tmp_path, model):
    parameters = (150,) * (5 if model == "FOV" else 12)
    write(tmp_path, lenses={1: (model, 160, 120, parameters)})
    with pytest.raises(UserError, match=rf"cameras\.bin camera 1: the camera model {model} is none of .*undistorter"):
        read(tmp_path)


def test_images_that_are_gone_are_counted(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "frame_0010.png").unlink()
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [5, 15, 20]
    (warning,) = scan.warnings
    assert "1 of the 4 images that" in warning and "first: frame_0010.png" in warning
    # points that only one of the frames left saw are gone too
    assert scan.sparse is not None and len(scan.sparse.points) == 20
    assert set(scan.sparse.seen[:, 0].tolist()) == {5, 15, 20}
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(UserError, match=r"4 of the 4 images that .*sparse.0 names are not in .*images or .*frame_0005"):
        read(tmp_path)


def test_a_model_for_another_image_size_is_refused_and_intrinsics_mend_it(tmp_path):
    write(tmp_path, lenses={1: ("SIMPLE_PINHOLE", 80, 60, (75, 40, 30))})
    message = r"frame_0005\.png: is 160x120, but the intrinsics in .*camera 1 are of images of 80x60; .*--intrinsics"
    with pytest.raises(UserError, match=message):
        read(tmp_path)
    frame = read(tmp_path, intrinsics="150,152,80.5,59").frames[0]
    assert np.allclose(frame.camera.K, K) and frame.read_color().shape == (120, 160, 3)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_binary_files_that_are_cut_short_or_too_long_are_named(tmp_path, name, share):
    write(tmp_path)
    file = tmp_path / "sparse" / "0" / name
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=rf"{name}: is cut short after \d+ bytes, in row \d+ of \d+; copy"):
        read(tmp_path)
    file.write_bytes(b"123")
    with pytest.raises(UserError, match=rf"{name}: is cut short after 3 bytes"):
        read(tmp_path)
    file.write_bytes(data + b"123")
    with pytest.raises(UserError, match=rf"{name}: has 3 bytes more"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("cameras.txt", "1 PINHOLE wide 120 1 2 3 4", r"cameras\.txt line 3: must hold a camera's id"),
        ("cameras.txt", "2 PINHOLE 160 120 1 2 3", r"PINHOLE has 4 parameters \(fx fy cx cy\), found 3"),
        ("cameras.txt", "2 PINHOLE 160 120 0 150 80 60", r"focal lengths and image size must be positive"),
        ("images.txt", "1 1 0 0 0", r"images\.txt line 10: must hold an image's id, quaternion"),
        ("images.txt", "1 1 0 0 0 0 0 0 7 x.png", r"image x\.png is of camera 7, which is not in cameras"),
        ("points3D.txt", "1 2 3", r"points3D\.txt line 42: must hold a point's id"),
        ("points3D.txt", "1 2 3 x 5 6 7 8", r"points3D\.txt line 42: must hold 8 numbers"),
    ],
)
def test_malformed_lines_are_named(tmp_path, name, line, message):
    write(tmp_path, kind=write_text)
    file = tmp_path / "sparse" / "0" / name
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("kind", [write_text, write_binary])
def test_an_empty_model_is_refused(tmp_path, kind):
    kind(tmp_path / "sparse", {}, [], [])
    with pytest.raises(UserError, match=r"sparse: the model is empty"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [write_text, write_binary])
def test_of_several_models_the_largest_is_taken(tmp_path, kind):
    write(tmp_path, count=6, model="sparse/10", kind=kind)
    write(tmp_path, count=2, model="sparse/2", kind=kind)
    scan = read(tmp_path)
    assert len(scan.frames) == 6
    (warning,) = scan.warnings
    assert "2 models" in warning and "the largest, 10, has 6 of their 8 images (75%)" in warning


def test_quaternions_are_normalised_and_those_that_are_none_left_out(tmp_path):
    rows = posed(walk(4), [f"{i}.png" for i in range(4)])
    rows[1] = (rows[1][0], tuple(1.004 * n for n in rows[1][1]), *rows[1][2:])
    rows[2] = (rows[2][0], tuple(1.5 * n for n in rows[2][1]), *rows[2][2:])
    write(tmp_path, names=[f"{i}.png" for i in range(4)])
    write_binary(tmp_path / "sparse" / "0", {1: PINHOLE}, rows, [])
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [0, 1, 3]
    assert scan.frames[1].camera.world_from_camera == pytest.approx(walk(4)[1], abs=1e-9)
    assert "1 of 4 frames skipped" in scan.warnings[0] and "image 2.png" in scan.warnings[0]


def test_options_are_honoured(tmp_path):
    truth = write(tmp_path)
    (tmp_path / "dense").mkdir()
    (tmp_path / "dense" / "meshed-poisson.ply").touch()
    (tmp_path / "transforms.json").write_text('{"frames": [{"depth_file_path": "depth/1.png"}]}')
    scan = read(tmp_path)
    assert scan.surface_path == tmp_path / "dense" / "meshed-poisson.ply"
    assert "--format transforms reads them" in scan.warnings[0]
    scan = read(tmp_path, ignore_poses=True)
    assert (scan.has_poses, scan.sparse, scan.surface_path) == (False, None, None)
    assert all((frame.camera.world_from_camera == np.eye(4)).all() for frame in scan.frames)
    inverted = read(tmp_path, poses="world_from_camera")
    assert inverted.frames[0].camera.world_from_camera == pytest.approx(truth[0].camera_from_world, abs=1e-9)
    turned = read(tmp_path, axes="opengl").frames[0].camera
    assert turned.center == pytest.approx(truth[0].center) and turned.world_from_camera[:3, 2] == pytest.approx(
        -truth[0].world_from_camera[:3, 2]
    )


WITH_PYCOLMAP = """
import json, sys
import numpy as np, pycolmap
told = json.load(open(sys.argv[1]))
model = pycolmap.Reconstruction()
for i in (1, 2):
    model.add_camera(pycolmap.Camera(camera_id=i, model="PINHOLE", width=160, height=120, params=[150, 152, 81, 59.5]))
rig = pycolmap.Rig(rig_id=1)
rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 1))
second_from_first = pycolmap.Rigid3d(np.array(told["second_from_first"])[:3])
rig.add_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 2), second_from_first)
model.add_rig(rig)
names = iter(told["names"])
for i, pose in enumerate(told["camera_from_world"]):
    frame = pycolmap.Frame(frame_id=i + 1, rig_id=1, rig_from_world=pycolmap.Rigid3d(np.array(pose)[:3]))
    made = []
    for camera_id in (1, 2):
        made.append(pycolmap.Image(next(names), np.array([[10.5, 20.5]]), camera_id, 2 * i + camera_id))
        made[-1].frame_id = i + 1
        frame.add_data_id(made[-1].data_id)
    model.add_frame(frame)
    for image in made:
        model.add_image(image)
    model.register_frame(i + 1)
track = pycolmap.Track([pycolmap.TrackElement(1, 0), pycolmap.TrackElement(3, 0)])
model.add_point3D(np.array([2.0, 0.3, 1.2]), track, np.zeros(3, np.uint8))
getattr(model, told["write"])(told["folder"])
"""


@pytest.mark.parametrize("how", ["write_binary", "write_text"])
def test_a_model_that_pycolmap_wrote_with_a_rig_of_two_cameras_is_read(tmp_path, how):
    """In a process of its own: this one may have torch in it."""
    if importlib.util.find_spec("pycolmap") is None:
        pytest.skip("pycolmap is not installed")
    second_from_first = invert_rigid(looking_from(0.0, 0.1, 0.0, 20.0)) @ looking_from(0.0, 0.0, 0.0)
    poses = [pose for first in walk(3) for pose in (first, first @ invert_rigid(second_from_first))]
    names = [f"cam{i % 2}/{i // 2:04d}.png" for i in range(6)]
    for pose, name in zip(poses, names, strict=True):
        write_color(tmp_path / "images" / name, images(Camera(K, 160, 120, pose))[0])
    folder = tmp_path / "sparse" / "0"
    folder.mkdir(parents=True)
    told = {
        "names": names,
        "camera_from_world": [invert_rigid(pose).tolist() for pose in walk(3)],
        "second_from_first": second_from_first.tolist(),
        "folder": str(folder),
        "write": how,
    }
    (tmp_path / "told.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-c", WITH_PYCOLMAP, str(tmp_path / "told.json")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (folder / ("rigs.bin" if how == "write_binary" else "rigs.txt")).is_file()
    scan = read(tmp_path)
    in_order = [*poses[::2], *poses[1::2]]
    assert len(scan.frames) == 6 and scan.warnings == ()
    for frame, pose in zip(scan.frames, in_order, strict=True):
        assert frame.camera.world_from_camera == pytest.approx(pose, abs=1e-9)
        assert (frame.read_color() == images(Camera(K, 160, 120, pose))[0]).all()
    assert scan.sparse is not None and scan.sparse.points == pytest.approx(np.array([[2.0, 0.3, 1.2]]))
    assert scan.sparse.seen.tolist() == [[0, 0], [1, 0]]


def test_reading_a_model_imports_neither_pycolmap_nor_torch():
    root = Path(__file__).parents[1]
    code = "import sys, bev.readers.colmap; assert not {'pycolmap', 'torch', 'scipy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_pixels_and_points_agree(tmp_path):
    """A pixel of the image looks where the world has its colour: no half pixel is added to COLMAP's numbers."""
    (camera, *_) = write(tmp_path)
    frame = read(tmp_path).frames[0]
    uv = pixel_centers(160, 120)
    depth = images(camera)[1].ravel()
    assert off_surface_m(frame.camera.unproject(uv, depth)).max() < 1e-9
