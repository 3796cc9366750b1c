"""Synthetic rooms and films: what later measurements take for the truth must be true, and hard enough."""

import cv2
import numpy as np
import pytest

from bev.camera import Camera, invert_rigid, pixel_centers, transform_points
from bev.errors import require
from bev.readers import read_scan
from bev.surface import SurfaceCaster
from bev.synthetic import Room, RoomObject, film, synthetic_room, write_seven_scenes
from bev.synthetic.sensor import DISPARITY_STEP, FAR_M, axial_noise_m, sensed_depth
from bev.synthetic.walk import camera_walk

TOUCH_M = 0.01
ROOMS = [(seed, False) for seed in range(16)] + [(seed, True) for seed in range(16, 20)]


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [synthetic_room(seed, big_table=big) for seed, big in ROOMS]


def _distance_scene(room: Room, keep: np.ndarray):
    """The faces where `keep`, (F,) bool, holds, as an Open3D scene for distances."""
    o3d = require("open3d")
    scene = o3d.t.geometry.RaycastingScene()
    faces = room.surface.faces[keep].astype(np.uint32)
    scene.add_triangles(o3d.core.Tensor(room.surface.vertices), o3d.core.Tensor(faces))
    return scene


def _distance(scene, points: np.ndarray) -> np.ndarray:
    o3d = require("open3d")
    return scene.compute_distance(o3d.core.Tensor(np.ascontiguousarray(points, np.float32))).numpy()


def _points(room: Room, thing: RoomObject) -> np.ndarray:
    return room.surface.vertices[room.vertex_ids == thing.id].astype(np.float64)


def _in_box(thing: RoomObject, points: np.ndarray) -> np.ndarray:
    cosine, sine = np.cos(thing.yaw), np.sin(thing.yaw)
    return (points - thing.center) @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def test_equal_seeds_give_equal_rooms_and_films():
    first, second, other = synthetic_room(3), synthetic_room(3), synthetic_room(4)
    assert np.array_equal(first.surface.vertices, second.surface.vertices)
    assert np.array_equal(first.surface.colors, second.surface.colors)
    assert np.array_equal(first.vertex_ids, second.vertex_ids)
    assert first.surface.vertices.shape != other.surface.vertices.shape
    a, b = (film(room, frames=3, width=96, height=72).scan.frames[1] for room in (first, second))
    assert np.array_equal(a.camera.world_from_camera, b.camera.world_from_camera)
    assert np.array_equal(a.read_color(), b.read_color())
    assert a.read_depth is not None and b.read_depth is not None
    assert np.array_equal(a.read_depth(), b.read_depth())
    another = film(first, frames=3, width=96, height=72, seed=77).scan.frames[1]
    assert np.abs(another.camera.world_from_camera - a.camera.world_from_camera).max() > 0.1


def test_rooms_are_full_and_small_enough_to_be_fast(rooms: list[Room]):
    for room in rooms:
        assert 15 <= len(room.objects) <= 30, room.seed
        assert len(room.surface.faces) < 200_000
        labels = [thing.label for thing in room.objects]
        assert labels.count("cup") + labels.count("book") >= 2
        assert "table" in labels and "chair" in labels
    everything = {thing.label for room in rooms for thing in room.objects}
    assert {"counter", "sofa", "bed", "bookshelf", "desk", "monitor", "lamp", "plant", "bin", "box"} <= everything
    assert sum(any(thing.label == "counter" for thing in room.objects) for room in rooms) >= 8


def test_at_least_forty_percent_touch_another_object_or_a_wall(rooms: list[Room]):
    for room in rooms:
        face_ids = room.face_ids
        walls = room.structure[room.surface.faces[:, 0]] == 2
        own = {thing.id: _distance_scene(room, face_ids == thing.id) for thing in room.objects}
        points = {thing.id: _points(room, thing) for thing in room.objects}
        wall_scene = _distance_scene(room, walls)
        touching = {key for key, cloud in points.items() if _distance(wall_scene, cloud).min() < TOUCH_M}
        for a in points:
            for b in points:
                if a < b and not (a in touching and b in touching) and _boxes_near(points[a], points[b]):
                    gap = min(_distance(own[b], points[a]).min(), _distance(own[a], points[b]).min())
                    touching |= {a, b} if gap < TOUCH_M else set()
        assert len(touching) >= 0.4 * len(points), room.seed
        # the flag may miss a table that carries a cup, but never claims what is not so
        assert {thing.id for thing in room.objects if thing.touches} <= touching, room.seed


def _boxes_near(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a.min(axis=0) < b.max(axis=0) + TOUCH_M) & (b.min(axis=0) < a.max(axis=0) + TOUCH_M)).all())


def test_boxes_hold_their_objects_tightly(rooms: list[Room]):
    for room in rooms:
        assert {int(i) for i in np.unique(room.vertex_ids)} == {-1} | {thing.id for thing in room.objects}
        for thing in room.objects:
            assert -np.pi / 4 - 1e-9 <= thing.yaw <= np.pi / 4 + 1e-9
            extent = np.abs(_in_box(thing, _points(room, thing)))
            assert np.abs(extent.max(axis=0) - thing.size / 2).max() < 1e-3, (room.seed, thing.label)


def test_objects_do_not_run_into_each_other(rooms: list[Room]):
    for room in rooms:
        for i, a in enumerate(room.objects):
            for b in room.objects[i + 1 :]:
                if {a.label, b.label} <= {"table", "chair", "counter"} or "desk" in (a.label, b.label):
                    continue  # what stands under or around another is looked at below
                if "counter" in (a.label, b.label) or ("chair" in a.label + b.label and _on_a_table(a, b)):
                    continue  # a counter's and a chair's box are mostly air
                assert _box_overlap_m(a, b) < 0.012, (room.seed, a.label, b.label)


def _on_a_table(a: RoomObject, b: RoomObject) -> bool:
    return max(thing.center[2] - thing.size[2] / 2 for thing in (a, b)) > 0.7


def _box_overlap_m(a: RoomObject, b: RoomObject) -> float:
    """How deep two upright boxes run into each other along the axis where it is least; negative when apart."""
    axes = [(np.cos(t.yaw + turn), np.sin(t.yaw + turn), 0.0) for t in (a, b) for turn in (0, np.pi / 2)]
    depths = []
    for axis in np.array([*axes, (0.0, 0.0, 1.0)]):
        reach = 0.0
        for thing in (a, b):
            cosine, sine = np.cos(thing.yaw), np.sin(thing.yaw)
            own = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
            reach += float(np.abs(own @ axis) @ thing.size) / 2
        depths.append(reach - abs(float(axis @ (a.center - b.center))))
    return min(depths)


def test_chairs_are_tucked_under_tables_without_meeting_them(rooms: list[Room]):
    tucked = 0
    for room in rooms:
        hosts = [thing for thing in room.objects if thing.label in ("table", "desk")]
        for host in hosts:
            scene = _distance_scene(room, room.face_ids == host.id)
            for thing in room.objects:
                if thing.label in ("chair", "office chair"):
                    points = _points(room, thing)
                    inside = (np.abs(_in_box(host, points)) < host.size / 2).all(axis=1)
                    tucked += bool(inside.any())
                    assert _distance(scene, points).min() > 0.005, (room.seed, thing.label)
    assert tucked >= 20


def test_everything_stands_in_the_room_and_one_wall_is_slanted(rooms: list[Room]):
    for room in rooms:
        edges = np.roll(room.corners, -1, axis=0) - room.corners
        off = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
        off = np.minimum(off, 90 - off)
        assert (off < 1e-6).sum() == 3 and 4 <= off.max() <= 12
        points = room.surface.vertices[room.vertex_ids >= 0]
        inwards = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
        distance = ((points[:, None, :2] - room.corners) * inwards).sum(axis=2)
        assert distance.min() > -0.001 and points[:, 2].min() > -1e-6
        normals, areas = room.surface.face_normals()
        corner_normals = room.surface.normals[room.surface.faces].mean(axis=1)
        assert (np.einsum("ij,ij->i", normals, corner_normals)[areas > 1e-9] > 0).all()
        ceiling = room.structure[room.surface.faces[:, 0]] == 3
        assert (normals[ceiling, 2] < -0.99).all() and ceiling.any()


def test_clean_depth_lies_on_the_surface_and_agrees_with_the_ids():
    room = synthetic_room(1)
    shot = film(room, frames=8, width=320, height=240, noise=False)
    scene = _distance_scene(room, np.ones(len(room.surface.faces), bool))
    room_from_world = invert_rigid(shot.world_from_room)
    caster = SurfaceCaster(shot.surface)
    for frame in shot.scan.frames[::3]:
        assert frame.depth_camera is not None and frame.read_depth is not None
        depth, ids = frame.read_depth(), shot.instance_ids(frame.index)
        assert depth.dtype == np.float32 and ids.dtype == np.int32 and (depth > 0).all()
        points = frame.depth_camera.unproject(pixel_centers(320, 240), depth.ravel())
        in_room = transform_points(room_from_world, points)
        assert _distance(scene, in_room).max() < 1e-3
        for thing in room.objects:
            own = in_room[ids.ravel() == thing.id]
            assert not len(own) or (np.abs(_in_box(thing, own)) <= thing.size / 2 + 1e-3).all()
        # the caster that everything else uses sees the same
        view = caster.view(frame.camera)
        assert np.mean(np.abs(view.depth - depth) < 1e-3) > 0.999
        assert np.mean(room.vertex_ids[view.vertex_ids] == ids) > 0.995


def test_the_film_is_of_a_tilted_world_unless_told_otherwise():
    room = synthetic_room(2)
    tilted, level = film(room, frames=4), film(room, frames=4, world_from_room=np.eye(4))
    up = tilted.world_from_room[:3, 2]
    assert up.max() < 0.95 and tilted.scan.up_hint is None and tilted.scan.reader == "synthetic"
    for a, b in zip(tilted.scan.frames, level.scan.frames, strict=True):
        assert np.allclose(a.camera.world_from_camera, tilted.world_from_room @ b.camera.world_from_camera)


def test_the_walk_stays_out_of_things_and_keeps_its_angles(rooms: list[Room]):
    for room in rooms:
        rng = np.random.default_rng(0)
        poses = camera_walk(room, rng, frames=60, pitch_deg=(20, 50), roll_deg=(-20, 20))
        places = poses[:, :3, 3]
        assert places[:, 2].min() >= 1.4 and places[:, 2].max() <= 1.7
        for thing in room.objects:
            # the room above what is tall is taken too: nobody holds a camera inside a wardrobe
            if thing.center[2] + thing.size[2] / 2 > 1.2:
                beside = np.abs(_in_box(thing, places)[:, :2]) > thing.size[:2] / 2
                assert beside.any(axis=1).all(), (room.seed, thing.label)
        inwards = np.roll(room.corners, -1, axis=0) - room.corners
        inwards = np.stack([-inwards[:, 1], inwards[:, 0]], axis=1) / np.linalg.norm(inwards, axis=1, keepdims=True)
        assert ((places[:, None, :2] - room.corners) * inwards).sum(axis=2).min() > 0.2
        pitch = np.degrees(np.arcsin(-poses[:, 2, 2]))
        assert abs(pitch.min() - 20) < 1e-6 and abs(pitch.max() - 50) < 1e-6
        right_of_level = np.cross(poses[:, :3, 2], [0, 0, 1])
        right_of_level /= np.linalg.norm(right_of_level, axis=1, keepdims=True)
        roll = np.degrees(np.arccos(np.clip((poses[:, :3, 0] * right_of_level).sum(axis=1), -1, 1)))
        assert abs(roll.max() - 20) < 1e-3
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        turns = np.einsum("nij,nij->n", poses[:-1, :3, :3], poses[1:, :3, :3])
        assert steps.max() < 0.4 and np.degrees(np.arccos(np.clip((turns - 1) / 2, -1, 1))).max() < 30


def test_the_film_shows_nearly_every_object(rooms: list[Room]):
    for room in rooms[::3]:
        shot, scale = film(room, width=160, height=120, noise=False), 16
        best = np.zeros(len(room.objects) + 2, int)
        for frame in shot.scan.frames:
            ids = shot.instance_ids(frame.index)
            best = np.maximum(best, np.bincount(ids.ravel() + 1, minlength=len(best)))
        assert np.mean(best[2:] * scale >= 300) >= 0.9, room.seed


def test_a_big_table_shows_more_than_the_floor(rooms: list[Room]):
    for room in rooms[-2:]:
        table = next(thing.id for thing in room.objects if thing.label == "table")
        shot = film(room, width=80, height=60, noise=False, world_from_room=np.eye(4))
        of_table = of_floor = 0
        for frame in shot.scan.frames[::3]:
            ids = shot.instance_ids(frame.index)
            assert frame.read_depth is not None
            points = frame.camera.unproject(pixel_centers(80, 60), frame.read_depth().ravel())
            of_table += int((ids == table).sum())
            of_floor += int(((points[:, 2] < 0.02) & (ids.ravel() < 0)).sum())
        assert of_table > 1.5 * of_floor


def test_portrait_and_upside_down():
    room = synthetic_room(5)
    plain = film(room, frames=3, world_from_room=np.eye(4), roll_deg=(0, 0)).scan.frames
    tall = film(room, frames=3, world_from_room=np.eye(4), roll_deg=(0, 0), portrait=True).scan.frames
    turned = film(room, frames=3, world_from_room=np.eye(4), roll_deg=(0, 0), upside_down=True).scan.frames
    assert tall[0].read_color().shape == (640, 480, 3) and turned[0].read_color().shape == (480, 640, 3)
    for upright, portrait, flipped in zip(plain, tall, turned, strict=True):
        a, b, c = (frame.camera.world_from_camera[:3, :3] for frame in (upright, portrait, flipped))
        assert abs(a[2, 0]) < 1e-9 and a[2, 1] < 0  # level, its y axis down
        assert abs(b[2, 1]) < 1e-9 and abs(b[2, 0]) > 0.5  # its x axis runs up or down
        assert abs(c[2, 0]) < 1e-9 and c[2, 1] > 0
        assert np.allclose(a[:, 2], b[:, 2]) and np.allclose(a[:, 2], c[:, 2])


def test_sensor_noise_is_as_stated():
    rng = np.random.default_rng(0)
    ones = np.ones((400, 400), np.float32)
    for z in (0.8, 1.6, 3.2):
        errors = sensed_depth(ones * z, ones, ones, rng=rng) - z
        errors = errors[errors > -z / 2]
        wanted = np.hypot(axial_noise_m(np.array(z)), DISPARITY_STEP * z**2 / np.sqrt(12))
        assert abs(errors.std() / wanted - 1) < 0.08 and abs(errors.mean()) < 0.15 * wanted
        assert len(errors) > 0.99 * ones.size
    assert (sensed_depth(ones * (FAR_M + 0.5), ones, ones, rng=rng) == 0).all()
    assert (sensed_depth(ones * 2, ones * 0.1, ones, rng=rng) == 0).all()  # grazing
    assert (sensed_depth(ones * 2, ones, ones * 0, rng=rng) == 0).all()  # glass
    sparse = np.mean(sensed_depth(ones * 2, ones, ones * 0.35, rng=rng) > 0)
    assert 0.1 < sparse < 0.5
    edge = np.where(np.arange(400)[None] < 200, 1.0, 2.0).astype(np.float32) * ones
    seen = sensed_depth(edge, ones, ones, rng=rng) > 0
    assert 0.2 < seen[:, 199:201].mean() < 0.8 < seen[:, :190].mean()


def test_noisy_films_have_holes_where_things_are_glossy_or_dark():
    room = synthetic_room(8)
    noisy, clean = (
        film(room, frames=20, width=320, height=240),
        film(room, frames=20, width=320, height=240, noise=False),
    )
    ids_of = {thing.label: thing.id for thing in room.objects}
    seen = {label: [0, 0] for label in ("television", "table")}
    brightness = []
    for a, b in zip(noisy.scan.frames, clean.scan.frames, strict=True):
        assert a.read_depth is not None and b.read_depth is not None
        depth, ids = a.read_depth(), noisy.instance_ids(a.index)
        near = b.read_depth() < 4.0
        for label, counts in seen.items():
            here = (ids == ids_of[label]) & near
            counts[0] += int((depth[here] > 0).sum())
            counts[1] += int(here.sum())
        brightness.append(a.read_color().astype(float).mean() / b.read_color().astype(float).mean())
    assert seen["television"][0] < 0.4 * seen["television"][1]
    assert seen["table"][0] > 0.9 * seen["table"][1]
    assert np.ptp(brightness) > 0.05 and min(brightness) > 0.8 and max(brightness) < 1.2


def test_images_have_detail_finer_than_the_vertices():
    shot = film(synthetic_room(6), frames=12, noise=False)
    for frame in shot.scan.frames[::4]:
        gray = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(gray, cv2.CV_32F, 0, 1) / 8)
        assert np.mean(slope > 2) > 0.3
        assert 50 < gray.mean() < 200


@pytest.mark.parametrize("registered", [True, False])
def test_written_in_the_seven_scenes_layout_it_reads_back(tmp_path, registered: bool):
    shot = film(synthetic_room(7), frames=3, width=160, height=120, registered=registered)
    scan = read_scan(write_seven_scenes(shot, tmp_path / "room"))
    assert scan.reader == "7scenes" and len(scan.frames) == 3
    for ours, read in zip(shot.scan.frames, scan.frames, strict=True):
        assert ours.depth_camera is not None and read.depth_camera is not None
        assert ours.read_depth is not None and read.read_depth is not None
        _same_camera(ours.camera, read.camera)
        _same_camera(ours.depth_camera, read.depth_camera)
        assert np.abs(ours.read_depth() - read.read_depth()).max() < 6e-4
        assert np.abs(ours.read_color().astype(float) - read.read_color()).mean() < 4
    baseline = np.linalg.norm(shot.scan.frames[0].color_from_depth[:3, 3])
    assert abs(baseline - (0.0 if registered else 0.025)) < 1e-9


def _same_camera(a: Camera, b: Camera) -> None:
    assert (a.width, a.height) == (b.width, b.height)
    assert np.allclose(a.K, b.K, atol=1e-6)
    assert np.allclose(a.world_from_camera, b.world_from_camera, atol=1e-7)
