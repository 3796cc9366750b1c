"""transforms.json as nerfstudio, instant-ngp and phone apps write it, and Polycam's raw data."""

import json

import cv2
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

from bev.camera import Camera, pixel_centers
from bev.errors import UserError
from bev.ply import write_ply
from bev.readers import polycam, transforms
from bev.readers.options import ReadOptions

K = np.array([[150.0, 0, 81], [0, 152, 59.5], [0, 0, 1]])
INTRINSICS = {"fl_x": 150, "fl_y": 152, "cx": 81, "cy": 59.5, "w": 160, "h": 120}
OPENGL_FROM_OPENCV = np.diag([1.0, -1, -1, 1])
Z_UP_FROM_Y_UP = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""What nerfstudio does to Polycam's world."""


def cameras(count):
    return [Camera(K, 160, 120, pose) for pose in walk(count)]


def write(path, *, count=4, names=None, shared=INTRINSICS, per_frame=None, depth=None, scale=1.0, depth_size=(80, 60)):
    """A capture of the room in its z-up world; `depth` is the key that names it, and its units per metre."""
    names = names or [f"images/frame_{5 * i + 5:05d}.png" for i in range(count)]
    frames = []
    for i, (camera, name) in enumerate(zip(cameras(count), names, strict=True)):
        write_color(path / name, images(camera)[0])
        matrix = camera.world_from_camera @ OPENGL_FROM_OPENCV
        matrix[:3, 3] *= scale
        frames.append({"file_path": f"./{name}", "transform_matrix": matrix.tolist(), **(per_frame or {})})
        if depth:
            write_depth(path / "depth" / f"{i}.png", images(camera.resized(*depth_size))[1], depth[1])
            frames[-1][depth[0]] = f"depth/{i}.png"
    # not in the order of the names: readers sort
    content = {**shared, "frames": frames[::-1]}
    (path / "transforms.json").write_text(json.dumps(content))
    return cameras(count)


def change(path, edit):
    file = path / "transforms.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def read(path, **options):
    return transforms.read(path, ReadOptions(**options))


def depth_of(frame):
    assert frame.read_depth is not None and frame.depth_camera is not None
    return frame.read_depth()


def off_m(frame):
    """How far what a frame measures is from the room's surface, (N,) metres, and the share of pixels with depth."""
    depth = depth_of(frame)
    kept = depth.ravel() > 0
    uv = pixel_centers(depth.shape[1], depth.shape[0])[kept]
    return off_surface_m(frame.depth_camera.unproject(uv, depth.ravel()[kept])), kept.mean()


def test_frames_come_back_as_they_were_written(tmp_path):
    truth = write(tmp_path)
    assert transforms.looks_like(tmp_path) and not transforms.looks_like(tmp_path / "transforms.json")
    scan = read(tmp_path)
    assert (scan.reader, scan.warnings, scan.up_hint, scan.units) == ("transforms", (), None, "arbitrary")
    assert (scan.has_poses, scan.has_intrinsics, scan.has_depth, scan.sparse) == (True, True, False, None)
    assert [frame.index for frame in scan.frames] == [5, 10, 15, 20]
    for frame, camera in zip(scan.frames, truth, strict=True):
        assert np.allclose(frame.camera.K, K)
        assert frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-9)
        assert (frame.read_color() == images(camera)[0]).all()


@pytest.mark.parametrize(
    ("key", "units_per_m", "shared"),
    [
        ("depth_file_path", 1000, {}),
        ("depth_file_path", 5000, {"depth_unit_scale_factor": 0.0002}),
        ("depth_path", 6553.5, {"integer_depth_scale": 10 / 65535}),
    ],
)
def test_depth_of_another_size_lands_on_the_surface_and_makes_metres(tmp_path, key, units_per_m, shared):
    write(tmp_path, depth=(key, units_per_m), shared=INTRINSICS | shared)
    scan = read(tmp_path)
    assert (scan.units, scan.has_depth, scan.warnings) == ("metre", True, ())
    assert scan.reading is not None and scan.reading.axes == "opengl"
    assert scan.reading.depth_units_per_m == pytest.approx(units_per_m)
    for frame in scan.frames:
        assert frame.depth_camera and (frame.depth_camera.width, frame.camera.width) == (80, 160)
        off, share = off_m(frame)
        assert off.max() < 2e-3 and share == 1
    doubled = depth_of(read(tmp_path, depth_scale=units_per_m / 2).frames[0])
    assert doubled == pytest.approx(2 * depth_of(scan.frames[0]), rel=1e-5)


def test_an_applied_scale_is_undone_and_points_come_along(tmp_path):
    truth = write(tmp_path, depth=("depth_file_path", 1000), scale=0.3)
    points = truth[0].unproject(pixel_centers(160, 120), images(truth[0])[1].ravel())
    nothing = np.zeros((len(points), 3))
    write_ply(tmp_path / "sparse_pc.ply", 0.3 * points, np.zeros((0, 3)), nothing, nothing)
    applied = {"applied_scale": 0.3, "ply_file_path": "sparse_pc.ply"}
    change(tmp_path, lambda content: content.update(applied))
    scan = read(tmp_path)
    assert scan.centers() == pytest.approx(np.array([camera.center for camera in truth]), abs=1e-9)
    assert max(off_m(frame)[0].max() for frame in scan.frames) < 2e-3
    assert scan.sparse is not None and scan.sparse.seen.shape == (0, 2)
    assert off_surface_m(scan.sparse.points).max() < 1e-5
    (tmp_path / "sparse_pc.ply").unlink()
    scan = read(tmp_path)
    assert scan.sparse is None and "sparse_pc.ply, the points that go with the poses, is gone" in scan.warnings[0]


def test_depth_that_is_colmaps_points_is_left_aside(tmp_path):
    write(tmp_path, depth=("depth_file_path", 1000), per_frame={"colmap_im_id": 3, "mask_path": "masks/1.png"})
    scan = read(tmp_path)
    assert (scan.units, scan.has_depth) == ("arbitrary", False)
    assert "masks are not used" in scan.warnings[0] and "COLMAP's points" in scan.warnings[1]


def test_depth_of_some_frames_only(tmp_path):
    write(tmp_path, depth=("depth_file_path", 1000))
    (tmp_path / "depth" / "2.png").unlink()
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [5, 10, 20] and scan.has_depth
    assert "1 of 4 images have no depth and are left out; first: " in scan.warnings[0]
    assert "frame_00015.png" in scan.warnings[0]
    for i in (0, 1):
        (tmp_path / "depth" / f"{i}.png").unlink()
    scan = read(tmp_path)
    assert len(scan.frames) == 4 and not scan.has_depth and scan.units == "arbitrary"
    assert "3 of 4 images have no depth; the depth of the others is left aside" in scan.warnings[0]


def test_depth_of_another_shape_is_not_registered(tmp_path):
    write(tmp_path, depth=("depth_file_path", 1000), depth_size=(60, 60))
    with pytest.raises(UserError, match=r"0\.png: is 60x60, of another shape than its image of 160x120"):
        read(tmp_path)


LENSES = [
    ({"camera_model": "OPENCV", "k1": -0.12, "k2": 0.05, "p1": 0.004, "p2": -0.003}, (-0.12, 0.05, 0.004, -0.003)),
    ({"k1": -0.12, "k2": 0.05, "k3": -0.02}, (-0.12, 0.05, 0, 0, -0.02)),
    ({"camera_model": "OPENCV_FISHEYE", "k1": -0.05, "k2": 0.02, "k3": 0.0, "k4": 0.0}, None),
    ({"is_fisheye": True, "k1": -0.05, "k2": 0.02}, None),
]


@pytest.mark.parametrize(("keys", "coefficients"), LENSES)
def test_lenses_are_undone_in_colour_and_depth(tmp_path, keys, coefficients):
    pose = looking_from(-1.5, 0.0, 1.5)
    camera = Camera(np.array([[520.0, 0, 322], [0, 524, 238], [0, 0, 1]]), 640, 480, pose)

    def fisheye(uv):
        # OpenCV's own inverse; the reader's way goes through the forward model, which COLMAP's tests hold to
        shift, pinhole = np.array([0.5, 0.5]), camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        D = np.array([-0.05, 0.02, 0, 0])
        undone = cv2.fisheye.undistortPoints((uv - shift)[:, None], pinhole, D, None, pinhole)
        return undone[:, 0] + shift

    image, depth = images(camera, fisheye if coefficients is None else distorted_by(camera, coefficients))
    write_color(tmp_path / "1.png", image)
    write_depth(tmp_path / "1.depth.png", depth, 1000)
    matrix = (pose @ OPENGL_FROM_OPENCV).tolist()
    frame = {"file_path": "1.png", "transform_matrix": matrix, "depth_file_path": "1.depth.png"}
    content = {"fl_x": 520, "fl_y": 524, "cx": 322, "cy": 238, "w": 640.0, "h": 480.0, **keys, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    frame = read(tmp_path).frames[0]
    found, expected = found_dots(frame.read_color(), frame.camera)
    distorted, _ = found_dots(image, frame.camera)
    assert len(found) >= 6 and np.abs(found - expected).max() < 0.1 < 0.4 < np.abs(distorted - expected).max()
    off, _ = off_m(frame)
    assert np.percentile(off, 95) < 0.005
    small = read(tmp_path, long_side_px=320).frames[0]
    assert small.read_color().shape == (240, 320, 3) and depth_of(small).shape == (480, 640)
    found, expected = found_dots(small.read_color(), small.camera)
    assert np.abs(found - expected).max() < 0.1


def test_a_fisheye_without_coefficients_is_one_to_nerfstudio_and_a_pinhole_to_instant_ngp(tmp_path):
    write(tmp_path, count=1, shared=INTRINSICS | {"is_fisheye": True, "k1": 0, "k2": 0})
    pinhole = read(tmp_path).frames[0].read_color()
    assert (pinhole == images(cameras(1)[0])[0]).all()
    change(tmp_path, lambda content: content.update(camera_model="OPENCV_FISHEYE"))
    assert (read(tmp_path).frames[0].read_color() != pinhole).any()


def test_instant_ngps_short_form_angles_missing_endings_and_folders_above(tmp_path):
    path = tmp_path / "walk"
    names = [f"../cam/{i}.png" for i in (9, 10, 11)]
    write(path, count=3, names=names, shared={"camera_angle_x": 2 * np.arctan(80 / 150)})
    change(path, lambda content: [frame.update(file_path=frame["file_path"][2:-4]) for frame in content["frames"]])
    scan = read(path)
    assert [frame.index for frame in scan.frames] == [9, 10, 11]
    assert np.allclose(scan.frames[0].camera.K, [[150, 0, 80], [0, 150, 60], [0, 0, 1]])
    assert scan.files_beside == tuple(tmp_path / "cam" / f"{i}.png" for i in (9, 10, 11))


def test_intrinsics_per_frame_come_before_shared_ones(tmp_path):
    write(tmp_path, count=3, shared={"w": 160, "h": 120, "fl_x": 99}, per_frame={"fl_x": 150, "fl_y": 152})
    change(tmp_path, lambda content: content["frames"][0].update(fl_x=170))
    scan = read(tmp_path)
    assert [frame.camera.K[0, 0] for frame in scan.frames] == [150, 150, 170]
    assert scan.frames[0].camera.K[:2, 2].tolist() == [80, 60]


def test_nerfstudios_polycam_export_is_in_metres_and_upright(tmp_path):
    write(tmp_path, shared={"camera_model": "OPENCV", "orientation_override": "none"}, per_frame=INTRINSICS)
    scan = read(tmp_path)
    assert scan.units == "metre" and scan.up_hint is not None and scan.up_hint.tolist() == [0, 0, 1]
    # RealityCapture's has the same override, and lenses: its world may be anything
    change(tmp_path, lambda content: [frame.update(k1=0.0) for frame in content["frames"]])
    assert (read(tmp_path).units, read(tmp_path).up_hint) == ("arbitrary", None)


def test_polycams_own_transforms_are_in_metres_and_y_is_up(tmp_path):
    write(tmp_path, names=[f"keyframes/images/{1700000000000000 + i}.png" for i in range(4)])
    scan = read(tmp_path)
    assert scan.units == "metre" and scan.up_hint is not None and scan.up_hint.tolist() == [0, 1, 0]
    assert [frame.index for frame in scan.frames] == [0, 1, 2, 3]


def test_options_are_honoured(tmp_path):
    truth = write(tmp_path, depth=("depth_file_path", 1000))
    scan = read(tmp_path, ignore_poses=True)
    assert (scan.has_poses, scan.units, scan.up_hint) == (False, "metre", None)
    assert (scan.frames[0].camera.world_from_camera == np.eye(4)).all() and np.allclose(
        scan.frames[0].color_from_depth, np.eye(4)
    )
    cv = read(tmp_path, axes="opencv").frames[0].camera
    assert cv.world_from_camera[:3, 2] == pytest.approx(-truth[0].world_from_camera[:3, 2])
    inverted = read(tmp_path, poses="camera_from_world").frames[0].camera
    stored = truth[0].world_from_camera @ OPENGL_FROM_OPENCV
    assert inverted.world_from_camera == pytest.approx(np.linalg.inv(stored) @ OPENGL_FROM_OPENCV, abs=1e-9)
    change(tmp_path, lambda content: [content.pop(key) for key in INTRINSICS])
    with pytest.raises(UserError, match=r"frame_00005\.png: has no focal length \(fl_x or camera_angle_x\)"):
        read(tmp_path)
    frame = read(tmp_path, intrinsics="150,152,80.5,59").frames[0]
    assert np.allclose(frame.camera.K, K) and off_m(frame)[0].max() < 2e-3


def test_images_that_are_gone_are_counted(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "frame_00010.png").unlink()
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [5, 15, 20]
    assert "1 of the 4 images that" in scan.warnings[0] and "first: ./images/frame_00010.png" in scan.warnings[0]
    for name in ("05", "15"):
        (tmp_path / "images" / f"frame_000{name}.png").unlink()
    with pytest.raises(UserError, match=r"3 of the 4 images that .*transforms\.json names are not in .*frame_00005"):
        read(tmp_path)


def test_poses_that_are_not_rigid_are_left_out(tmp_path):
    write(tmp_path)

    def bend(content):
        content["frames"][2]["transform_matrix"][0][0] = 3

    change(tmp_path, bend)
    scan = read(tmp_path)
    assert [frame.index for frame in scan.frames] == [5, 15, 20]
    assert "1 of 4 frames skipped" in scan.warnings[0] and "frame_00010.png has axes" in scan.warnings[0]


def set_all(**values):
    return lambda content: [frame.update(values) for frame in content["frames"]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c.update(w=320, h=240, cx=160, cy=120),
            r"is 160x120, but the intrinsics in .* of 320x240; .*--intr",
        ),
        (lambda c: [c.pop("w"), c.pop("h"), c.update(cx=320)], r"the principal point \(320, 59\.5\) is far from"),
        (lambda c: c.update(fl_x="wide"), r"frame_00005\.png: fl_x must be a number, is 'wide'"),
        (lambda c: c.update(fl_x=-5), r"focal lengths and image size must be positive"),
        (
            lambda c: c.update(camera_model="EQUIRECTANGULAR"),
            r"the camera_model EQUIRECTANGULAR is none of OPENCV_FISH",
        ),
        (lambda c: c.update(k4=0.1), r"k4 of a lens that is no fisheye"),
        (lambda c: c.update(applied_scale=0), r"transforms\.json: applied_scale must be a number above 0, is 0"),
        (lambda c: c.update(frames=[]), r"`frames` is missing or empty"),
        (lambda c: c["frames"][1].pop("file_path"), r"frame 2 of 4 names no image"),
        (lambda c: c["frames"][1].pop("transform_matrix"), r"frame_00015\.png: transform_matrix is missing"),
        (lambda c: c["frames"][1].update(transform_matrix=[[1, 2], [3]]), r"00015\.png: transform_matrix must be 4x4"),
        (lambda c: c["frames"][1].update(transform_matrix=[1, 2]), r"must be 4x4 numbers, has shape \(2,\)"),
        (set_all(transform_matrix=[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]]), r"4 of 4 poses are no rigid motion"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, edit, message):
    write(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(UserError, match=message) as told:
        read(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("text", "message"), [('{"frames": [', r"is no JSON \("), ("[1]", r"holds a list")])
def test_what_is_no_json_object_is_refused(tmp_path, text, message):
    write(tmp_path)
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def write_polycam(path, *, kind="", count=4, depth=True, start=1_700_000_000_000_000):
    """Raw data in ARKit's world, in which y is up; every image has numbers of its own."""
    truth = []
    for i, pose in enumerate(walk(count)):
        y_up = np.linalg.inv(Z_UP_FROM_Y_UP) @ pose
        camera = Camera(K + [[i, 0, 0], [0, i, 0], [0, 0, 0]], 160, 120, y_up)
        room_camera = Camera(camera.K, 160, 120, pose)
        stem = str(start + 250_000 * i)
        color, _ = images(room_camera)
        write_color(path / f"keyframes/{kind}images/{stem}.jpg", color)
        stored = y_up @ OPENGL_FROM_OPENCV
        content = {f"t_{row}{column}": stored[row, column] for row in range(3) for column in range(4)}
        content |= {"fx": 150 + i, "fy": 152 + i, "cx": 81, "cy": 59.5, "width": 160, "height": 120, "blur_score": 7}
        (path / f"keyframes/{kind}cameras").mkdir(parents=True, exist_ok=True)
        (path / f"keyframes/{kind}cameras/{stem}.json").write_text(json.dumps(content))
        if depth:
            measured = images(room_camera.resized(64, 48))[1]
            measured[:10] += 0.5  # what is wrong, the phone itself doubts
            levels = np.full((48, 64), 255, np.uint8)
            levels[10:20] = 127
            levels[:10] = 0
            write_depth(path / f"keyframes/depth/{stem}.png", measured, 1000)
            write_color(path / f"keyframes/confidence/{stem}.png", levels[..., None])
        truth.append(camera)
    return truth


@pytest.mark.parametrize("kind", ["", "corrected_"])
def test_polycams_raw_data_comes_back_as_it_was_written(tmp_path, kind):
    if kind:
        # the first poses are there too, and are not taken
        write_polycam(tmp_path, count=5)
        for file in (tmp_path / "keyframes" / "cameras").iterdir():
            file.write_text("{}")
    truth = write_polycam(tmp_path, kind=kind)
    assert polycam.looks_like(tmp_path) and not polycam.looks_like(tmp_path / "keyframes")
    scan = polycam.read(tmp_path, ReadOptions())
    assert (scan.reader, scan.units, scan.has_depth) == ("polycam", "metre", True)
    assert scan.up_hint is not None and scan.up_hint.tolist() == [0, 1, 0]
    assert [frame.index for frame in scan.frames] == [0, 1, 2, 3]
    for i, (frame, camera) in enumerate(zip(scan.frames, truth, strict=True)):
        assert frame.timestamp_s == pytest.approx(1.7e9 + 0.25 * i)
        assert np.allclose(frame.camera.K, camera.K)
        assert frame.camera.world_from_camera == pytest.approx(camera.world_from_camera, abs=1e-9)
        in_room = Camera(camera.K, 160, 120, Z_UP_FROM_Y_UP @ camera.world_from_camera)
        assert np.abs(frame.read_color().astype(int) - images(in_room)[0]).mean() < 3
        assert frame.read_depth is not None and frame.depth_camera is not None
        depth = frame.read_depth()
        assert depth.shape == (48, 64) and (depth[:10] == 0).all() and (depth[10:] > 0).all()
        uv = pixel_centers(64, 48)[depth.ravel() > 0]
        points = frame.depth_camera.unproject(uv, depth[depth > 0])
        assert off_surface_m(points @ Z_UP_FROM_Y_UP[:3, :3].T).max() < 2e-3
    assert len(scan.warnings) == (1 if kind else 0)
    if kind:
        assert "1 of 5 images have no camera in" in scan.warnings[0] and "corrected_cameras" in scan.warnings[0]


def test_polycam_without_depth_without_poses_and_with_smaller_images(tmp_path):
    write_polycam(tmp_path, depth=False)
    scan = polycam.read(tmp_path, ReadOptions(long_side_px=80))
    assert (scan.units, scan.has_depth, scan.reading) == ("metre", False, None)
    assert scan.frames[0].read_color().shape == (60, 80, 3)
    scan = polycam.read(tmp_path, ReadOptions(ignore_poses=True))
    assert (scan.units, scan.has_poses, scan.up_hint) == ("arbitrary", False, None)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("t_23"), r"cameras.*000\.json: t_23 is missing"),
        (lambda c: c.update(fx=None), r"fx is missing"),
        (
            lambda c: c.update(width=640, height=480),
            r"is 160x120, but the intrinsics in .*json are of images of 640x480",
        ),
    ],
)
def test_polycam_cameras_that_are_wrong_are_named(tmp_path, edit, message):
    write_polycam(tmp_path, count=1)
    (file,) = (tmp_path / "keyframes" / "cameras").iterdir()
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        polycam.read(tmp_path, ReadOptions())


def test_polycam_images_that_are_gone_are_counted_and_a_broken_confidence_is_named(tmp_path):
    write_polycam(tmp_path)
    first, second, *_ = sorted((tmp_path / "keyframes" / "images").iterdir())
    first.unlink()
    scan = polycam.read(tmp_path, ReadOptions())
    assert len(scan.frames) == 3 and "1 of the 4 images" in scan.warnings[0]
    assert scan.frames[0].timestamp_s == pytest.approx(1.7e9 + 0.25)
    write_depth(tmp_path / "keyframes" / "confidence" / f"{second.stem}.png", np.ones((48, 64)), 1000)
    assert scan.frames[0].read_depth is not None
    with pytest.raises(UserError, match=r"confidence must be an 8-bit PNG with one channel, this has 1 of 16 bit"):
        scan.frames[0].read_depth()
    for file in (tmp_path / "keyframes" / "cameras").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"holds no cameras; looked for keyframes/images and keyframes/cameras"):
        polycam.read(tmp_path, ReadOptions())
