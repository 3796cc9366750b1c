"""Up, walls and floor: found however the room was filmed, and the same wherever its world began."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev.camera import Camera, transform_points
from bev.connected import check_connected
from bev.errors import UserError
from bev.facets import facets_of, levels_along
from bev.fusion import fuse
from bev.readers import read_scan
from bev.scan import Frame, Scan
from bev.storeys import pick_storey
from bev.surface import Surface, load_surface, save_surface
from bev.synthetic import film, synthetic_room
from bev.upright import estimate_up, estimate_wall_yaw, face_the_cameras, floor_height_m, upright

K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


# --- a room without a renderer: rectangles, seen from their free side only ---


def rectangle(corner, side_a, side_b, step_m: float = 0.1) -> Surface:
    """A flat rectangle in squares, its free side towards cross(side_a, side_b)."""
    a, b = np.asarray(side_a, float), np.asarray(side_b, float)
    na, nb = (max(2, round(float(np.linalg.norm(side)) / step_m) + 1) for side in (a, b))
    s, t = np.meshgrid(np.linspace(0, 1, na), np.linspace(0, 1, nb), indexing="ij")
    vertices = np.asarray(corner, float) + s.reshape(-1, 1) * a + t.reshape(-1, 1) * b
    i = (np.arange(na - 1)[:, None] * nb + np.arange(nb - 1)).ravel()
    faces = np.concatenate([np.stack([i, i + nb, i + 1], axis=1), np.stack([i + 1, i + nb, i + nb + 1], axis=1)])
    normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    return Surface(vertices, faces, np.full(vertices.shape, 128), np.broadcast_to(normal, vertices.shape))


def joined(*parts: Surface) -> Surface:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.normals for part in parts]),
    )


def box(low, high) -> tuple[Surface, ...]:
    """The top and the four sides of a piece of furniture."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
    return (
        rectangle((x0, y0, z1), (dx, 0, 0), (0, dy, 0)),
        rectangle((x0, y0, z0), (dx, 0, 0), (0, 0, dz)),
        rectangle((x1, y1, z0), (-dx, 0, 0), (0, 0, dz)),
        rectangle((x0, y1, z0), (0, -dy, 0), (0, 0, dz)),
        rectangle((x1, y0, z0), (0, dy, 0), (0, 0, dz)),
    )


def room(long_m: float = 5.0, wide_m: float = 3.6, skew_deg: float = 0.0, ceiling: bool = True) -> Surface:
    """Floor, four walls of which the last may be askew, a table, a cabinet, ceiling."""
    skew = wide_m * np.tan(np.radians(skew_deg))
    cabinet = box((3.2, wide_m - 0.6, 0.0), (4.6, wide_m, 1.9))
    parts = [
        rectangle((0, 0, 0), (long_m, 0, 0), (0, wide_m, 0)),
        rectangle((long_m, 0, 0), (-long_m, 0, 0), (0, 0, 2.4)),
        rectangle((0, wide_m, 0), (long_m, 0, 0), (0, 0, 2.4)),
        rectangle((0, 0, 0), (0, wide_m, 0), (0, 0, 2.4)),
        rectangle((long_m + skew, wide_m, 0), (-skew, -wide_m, 0), (0, 0, 2.4)),
        *box((1.2, 1.3, 0.0), (2.8, 2.2, 0.74)),
        *cabinet[1:2],  # no camera sees its top or its back
        *cabinet[3:],
    ]
    if ceiling:
        parts.append(rectangle((0, 0, 2.4), (0, wide_m, 0), (long_m, 0, 0)))
    return joined(*parts)


def looking(center, yaw: float, pitch_down_deg: float, roll_deg: float) -> np.ndarray:
    """world_from_camera in the room's world: yaw from +x, roll clockwise about the view."""
    pitch, roll = np.radians([pitch_down_deg, roll_deg])
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0])
    down = np.cross(forward, right)
    matrix = np.eye(4)
    matrix[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    matrix[:3, 1] = -np.sin(roll) * right + np.cos(roll) * down
    matrix[:3, 2], matrix[:3, 3] = forward, center
    return matrix


def filmed(*, seed: int = 0, count: int = 40, pitch=(20, 50), roll=(-20, 20), turned_deg: float = 0.0) -> Scan:
    """A walk around the table of `room`, every pitch and roll drawn anew."""
    random = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        angle = 2 * np.pi * index / count + 0.3
        center = (2 + 1.3 * np.cos(angle), 1.75 + 1.0 * np.sin(angle), 1.45 + random.uniform(-0.1, 0.1))
        world_from_camera = looking(
            center,
            angle + np.pi + random.uniform(-0.6, 0.6),
            random.uniform(*pitch),
            turned_deg + random.uniform(*roll),
        )
        camera = Camera(K, 320, 240, world_from_camera)
        frames.append(Frame(index, index / 30, camera, lambda: np.zeros((240, 320, 3), np.uint8)))
    return Scan("room", Path("room"), "test", tuple(frames))


def random_motion(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    motion = np.eye(4)
    motion[:3, :3] = q * np.sign(np.linalg.det(q))
    motion[:3, 3] = random.uniform(-5, 5, 3)
    return motion


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def wall_error_deg(world_from_room: np.ndarray) -> float:
    """How far the room's x axis is from the nearest axis of the world, about z."""
    x = world_from_room[:3, 0]
    return abs(float((np.degrees(np.arctan2(x[1], x[0])) + 45) % 90 - 45))


# --- up ---


@pytest.mark.parametrize("turned_deg", [0, 90, -90, 180], ids=["landscape", "portrait", "portrait-left", "upside-down"])
@pytest.mark.parametrize("ceiling", [True, False])
def test_up_however_the_camera_is_held(turned_deg, ceiling):
    surface = room(ceiling=ceiling)
    for seed in range(2):
        motion = random_motion(seed)
        scan = filmed(seed=seed, turned_deg=turned_deg).moved(motion)
        up = estimate_up(scan, surface.moved(motion))
        assert angle_deg(up, motion[:3, 2]) < 0.1


def test_up_from_a_table_that_hides_most_of_the_floor():
    surface = joined(rectangle((0, 0, 0), (4, 0, 0), (0, 0.5, 0)), *box((0, 0.5, 0.3), (4, 3, 0.74)))
    for turned_deg in (0, 90, 180):
        motion = random_motion(turned_deg)
        scan, moved = filmed(turned_deg=turned_deg).moved(motion), surface.moved(motion)
        scan, moved = upright(scan, moved)
        assert angle_deg(scan.world_from_source[:3, 2], np.array([0, 0, 1])) < 0.1
        assert moved.vertices[:, 2].min() == pytest.approx(0, abs=0.005)


def test_a_level_camera_that_never_looks_down_still_tells_up_from_down():
    for seed in range(3):
        motion = random_motion(seed)
        scan = filmed(seed=seed, pitch=(-8, 8), roll=(-5, 5)).moved(motion)
        assert angle_deg(estimate_up(scan, room().moved(motion)), motion[:3, 2]) < 0.1


def test_a_hint_is_refined_by_a_few_degrees():
    surface = room()
    for off_deg in (0.0, 3.0):
        hint = np.array([np.sin(np.radians(off_deg)), 0, np.cos(np.radians(off_deg))])
        up = estimate_up(replace(filmed(), up_hint=hint), surface)
        assert angle_deg(up, np.array([0, 0, 1])) < 0.05


def test_a_hint_is_overruled_by_clear_evidence_only():
    """Tools write a format's layout with other worlds in it; but the format knows better than a slight preference."""
    sideways = replace(filmed(), up_hint=np.array([1.0, 0, 0]))
    assert angle_deg(estimate_up(sideways, room()), np.array([0, 0, 1.0])) < 1
    slope = replace(filmed(), up_hint=np.array([0, np.sin(np.radians(9)), np.cos(np.radians(9))]))
    assert angle_deg(estimate_up(slope, room()), slope.up_hint) < 5, "nine degrees are no refinement"


def test_a_hint_of_any_length_will_do():
    scan = replace(filmed(), up_hint=np.array([0, 0, 9.81]))
    np.testing.assert_allclose(np.linalg.norm(estimate_up(scan, room())), 1)


# --- floor ---


def test_the_floor_is_the_lowest_level_not_the_largest():
    surface = joined(rectangle((0, 0, 0.2), (1.5, 0, 0), (0, 1, 0)), *box((0, 1, 0.5), (4, 3.5, 0.94)))
    assert floor_height_m(surface, filmed()) == pytest.approx(0.2, abs=0.002)


def test_strays_beneath_the_floor_do_not_lower_it():
    random = np.random.default_rng(0)
    points = random.uniform((0, 0, -1.5), (5, 3.6, -0.1), (600, 3))
    specks = [rectangle(point, (0.02, 0, 0), (0, 0.02, 0)) for point in points]
    reflection = rectangle((2, 2, -0.2), (0.5, 0, 0), (0, 0.5, 0))
    surface = joined(room(), *specks, reflection)
    assert floor_height_m(surface, filmed()) == pytest.approx(0, abs=0.002)


def test_a_reflection_in_a_shiny_floor_is_not_the_floor():
    reflection = rectangle((1, 0.1, -0.25), (1.5, 0, 0), (0, 1, 0))
    assert floor_height_m(joined(room(), reflection), filmed()) == pytest.approx(0, abs=0.002)


def test_without_a_floor_the_lower_end_of_the_room_stands_in():
    walls = rectangle((0, 0, 0.3), (0, 4, 0), (0, 0, 2)), rectangle((4, 0, 0.3), (-4, 0, 0), (0, 0, 2))
    shelf = rectangle((0, 0, 2.1), (2, 0, 0), (0, 0.5, 0))
    assert floor_height_m(joined(*walls, shelf), filmed()) == pytest.approx(0.3, abs=0.05)


def test_floor_to_the_centimetre_under_noise():
    surface = room()
    noise = np.random.default_rng(0).normal(scale=0.004, size=len(surface.vertices))
    rough = replace(surface, vertices=surface.vertices + np.array([0, 0, 1]) * noise[:, None])
    assert floor_height_m(rough, filmed()) == pytest.approx(0, abs=0.003)


# --- walls ---


@pytest.mark.parametrize("yaw_deg", [-44.0, -20.0, 0.0, 7.0, 44.9])
@pytest.mark.parametrize("skew_deg", [0.0, 6.0, 14.0])
def test_walls_are_found_and_one_that_is_not_square_does_not_pull(yaw_deg, skew_deg):
    motion = np.eye(4)
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    motion[:2, :2] = [[c, -s], [s, c]]
    found = np.degrees(estimate_wall_yaw(room(skew_deg=skew_deg).moved(motion)))
    assert abs((found - yaw_deg + 45) % 90 - 45) < 0.05


def test_a_wall_that_is_not_square_stands_alone_even_when_it_is_the_most_seen():
    slanted = rectangle((4 * np.cos(0.2), 3 + 4 * np.sin(0.2), 0), (-4 * np.cos(0.2), -4 * np.sin(0.2), 0), (0, 0, 2.4))
    square = rectangle((1.6, 0, 0), (-1.6, 0, 0), (0, 0, 2.4)), rectangle((0, 0, 0), (0, 1.6, 0), (0, 0, 2.4))
    assert np.degrees(estimate_wall_yaw(joined(slanted, *square))) == pytest.approx(0, abs=0.05)


def test_no_walls_at_all_is_no_fault():
    surface = rectangle((0, 0, 0), (4, 0, 0), (0, 3, 0))
    scan, _ = upright(filmed(), surface)
    np.testing.assert_allclose(scan.world_from_source[:3, 2], [0, 0, 1], atol=1e-6)


# --- all together ---


@pytest.mark.parametrize("seed", range(6))
def test_the_world_a_scan_comes_in_makes_no_difference(seed):
    turned_deg = (0, 90, 180)[seed % 3]
    surface, scan = room(skew_deg=5), filmed(seed=seed, turned_deg=turned_deg)
    expected_scan, expected = upright(scan, surface)
    motion = random_motion(seed)
    moved_scan, moved = upright(scan.moved(motion), surface.moved(motion))
    np.testing.assert_allclose(moved.vertices, expected.vertices, atol=0.005)
    again = moved_scan.world_from_source
    np.testing.assert_allclose(again, expected_scan.world_from_source, atol=0.002)


def test_world_from_source_says_what_happened():
    motion = random_motion(3)
    scan, surface = filmed().moved(motion), room().moved(motion)
    scan = replace(scan, world_from_source=np.eye(4))
    result, moved = upright(scan, surface)
    np.testing.assert_allclose(transform_points(result.world_from_source, surface.vertices), moved.vertices, atol=1e-5)
    before, after = scan.frames[7].camera.world_from_camera, result.frames[7].camera.world_from_camera
    np.testing.assert_allclose(result.world_from_source @ before, after, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_long_side_lies_along_x_and_the_first_look_along_y(seed):
    motion = random_motion(seed)
    scan, surface = upright(filmed(seed=seed).moved(motion), room().moved(motion))
    extent = np.ptp(surface.vertices, axis=0)
    np.testing.assert_allclose(extent, [5.0, 3.6, 2.4], atol=0.02)
    assert surface.vertices[:, 2].min() == pytest.approx(0, abs=0.002)
    assert scan.frames[0].camera.world_from_camera[1, 2] > -0.05
    np.testing.assert_allclose(scan.frames[0].camera.center[:2], 0, atol=1e-6)


def test_a_square_room_lands_the_same_way_every_time():
    surface, scan = room(long_m=3.6), filmed()
    surface = surface.cropped(surface.vertices[:, 0] < 3.61)
    turns = []
    for seed in range(5):
        motion = random_motion(seed)
        result, _ = upright(scan.moved(motion), surface.moved(motion))
        turns.append(result.world_from_source[:3, :3])
        assert result.frames[0].camera.world_from_camera[1, 2] > 0.3
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], (5, 3, 3)), atol=0.002)


def test_axes_that_are_walls_already_only_move_in_height():
    motion = np.eye(4)
    c, s = np.cos(0.3), np.sin(0.3)
    motion[:2, :2], motion[:3, 3] = [[c, -s], [s, c]], (2.0, -3.0, 0.7)
    scan = replace(filmed(), axes_are_walls=True, up_hint=np.array([0.0, 0, 1])).moved(motion)
    scan = replace(scan, world_from_source=np.eye(4))
    result, _ = upright(scan, room().moved(motion))
    expected = np.eye(4)
    expected[2, 3] = -0.7
    np.testing.assert_array_equal(result.world_from_source[:3, :3], np.eye(3))
    np.testing.assert_allclose(result.world_from_source, expected, atol=0.002)
    assert (result.world_from_source[:2, 3] == 0).all()


def test_nothing_to_put_upright():
    empty = Surface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(UserError, match="room"):
        upright(filmed(), empty)
    with pytest.raises(UserError):
        upright(replace(filmed(), frames=()), room())


# --- normals ---


def test_an_inside_out_mesh_is_turned():
    surface, scan = room(), filmed()
    inside_out = replace(surface, faces=surface.faces[:, ::-1], normals=-surface.normals)
    turned = face_the_cameras(inside_out, scan)
    np.testing.assert_array_equal(turned.normals, surface.normals)
    np.testing.assert_allclose(turned.face_normals()[0], surface.face_normals()[0])
    assert face_the_cameras(surface, scan) is surface
    for turned_deg in (0, 180):
        motion = random_motion(turned_deg)
        held = filmed(turned_deg=turned_deg).moved(motion)
        result, moved = upright(held, inside_out.moved(motion))
        assert angle_deg(result.world_from_source[:3, 2], np.array([0, 0, 1])) < 0.1
        assert moved.face_normals()[0][:, 2] @ moved.face_normals()[1] > 0


def test_a_cloud_with_normals_of_any_sign_faces_the_cameras():
    surface, scan = room(ceiling=False), filmed(count=60, pitch=(0, 40))
    signs = np.random.default_rng(0).choice([-1, 1], len(surface.vertices))
    cloud = Surface(surface.vertices, np.zeros((0, 3)), surface.colors, surface.normals * signs[:, None])
    faced = face_the_cameras(cloud, scan)
    agree = np.einsum("ij,ij->i", faced.normals, surface.normals) > 0
    floor = (surface.vertices[:, 2] < 0.01) & (surface.normals[:, 2] > 0.5)
    assert agree.mean() > 0.88, "some of it no camera can see from its free side"
    assert agree[floor].mean() > 0.99
    good = replace(cloud, normals=surface.normals)
    assert face_the_cameras(good, scan) is good


@pytest.mark.parametrize("turned_deg", [0, 90, 180])
def test_a_bare_point_cloud_is_put_upright(turned_deg):
    surface = room()
    signs = np.random.default_rng(1).choice([-1, 1], len(surface.vertices))
    cloud = Surface(surface.vertices, np.zeros((0, 3)), surface.colors, surface.normals * signs[:, None])
    motion = random_motion(turned_deg)
    result, moved = upright(filmed(turned_deg=turned_deg).moved(motion), cloud.moved(motion))
    world_from_room = result.world_from_source  # the motion is part of it already
    assert angle_deg(world_from_room[:3, 2], np.array([0, 0, 1])) < 0.1
    assert wall_error_deg(world_from_room) < 0.1
    assert np.quantile(moved.vertices[:, 2], 0.01) == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("inside_out", [False, True])
@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_a_mesh_from_a_file_faces_the_cameras_whatever_normals_the_file_has(tmp_path, inside_out, factor):
    surface, scan = room(), filmed()
    faces = surface.faces[:, ::-1] if inside_out else surface.faces
    save_surface(replace(surface, faces=faces, normals=factor * surface.normals), tmp_path / "room.ply")
    _, moved = upright(scan, load_surface(tmp_path / "room.ply"))
    expected = upright(scan, surface)[1]
    np.testing.assert_allclose(moved.normals, expected.normals, atol=1e-5)
    np.testing.assert_array_equal(moved.faces, expected.faces)


@pytest.mark.parametrize("factor", [0.0, 0.1])
def test_a_cloud_from_a_file_without_sound_normals_is_put_upright(tmp_path, factor):
    motion, surface = random_motion(3), room().moved(random_motion(3))
    cloud = replace(surface, faces=np.zeros((0, 3)), normals=factor * surface.normals)
    save_surface(cloud, tmp_path / "room.ply")
    result, _ = upright(filmed().moved(motion), load_surface(tmp_path / "room.ply"))
    assert angle_deg(result.world_from_source[:3, 2], np.array([0, 0, 1])) < 0.5


# --- rooms filmed with noise, and the real kitchen ---

HELD = ({}, {"portrait": True}, {"upside_down": True}, {"portrait": True, "upside_down": True})


@pytest.mark.parametrize("seed", range(20))
def test_a_filmed_room_is_put_upright(seed):
    """Pitched down 20 to 50 degrees, rolled up to 20 either way; every third with a table larger than the floor."""
    room = synthetic_room(seed, big_table=seed % 3 == 0)
    film_of_room = film(room, frames=24, width=320, height=240, roll_deg=(-20, 20), **HELD[seed % 4])
    surface = fuse(film_of_room.scan, voxel_size_m=0.05, weight_min=1)
    scan, surface = upright(film_of_room.scan, surface)
    world_from_room = scan.world_from_source @ film_of_room.world_from_room
    assert angle_deg(world_from_room[:3, 2], np.array([0, 0, 1])) < 0.5
    assert wall_error_deg(world_from_room) < 1
    middle = transform_points(world_from_room, np.array([[*room.corners.mean(axis=0), 0]]))
    assert middle[0, 2] == pytest.approx(0, abs=0.02)
    assert pick_storey(scan, surface, None)[0] is scan, "one floor"
    check_connected(scan, surface)


@pytest.fixture(scope="module")
def kitchen_in_its_own_world(kitchen_path):
    scan = read_scan(kitchen_path)
    return scan, fuse(scan)


def test_the_kitchen(kitchen_in_its_own_world):
    scan, surface = kitchen_in_its_own_world
    result, moved = upright(scan, surface)
    known_up = np.array([0.008, -0.892, -0.452])
    assert angle_deg(result.world_from_source[2, :3], known_up) < 0.5
    heights, areas = levels_along(facets_of(moved), np.array([0.0, 0, 1]))
    assert heights[0] == pytest.approx(0, abs=0.001)
    table = heights[1:][np.argmax(areas[1:])]
    assert table == pytest.approx(0.74, abs=0.03)
    assert np.ptp(moved.vertices[:, 0]) > np.ptp(moved.vertices[:, 1])
    assert result.frames[0].camera.world_from_camera[1, 2] > 0.5


def test_the_kitchen_from_a_world_turned_otherwise(kitchen_in_its_own_world):
    scan, surface = kitchen_in_its_own_world
    expected_scan, expected = upright(scan, surface)
    for seed in range(2):
        motion = random_motion(seed)
        again_scan, again = upright(scan.moved(motion), surface.moved(motion))
        np.testing.assert_allclose(again.vertices, expected.vertices, atol=0.005)
        rotation = again_scan.world_from_source[:3, :3] @ expected_scan.world_from_source[:3, :3].T
        assert angle_deg(rotation[:, 2], np.array([0, 0, 1])) < 0.1
        assert angle_deg(rotation[:, 0], np.array([1, 0, 0])) < 0.1


def test_the_kitchen_is_one_connected_storey(kitchen_in_its_own_world):
    scan, surface = kitchen_in_its_own_world
    scan, surface = upright(scan, surface)
    check_connected(scan, surface)
    assert pick_storey(scan, surface, None)[0] is scan


def test_every_50th_frame_of_the_kitchen_will_do(kitchen_in_its_own_world):
    scan, _ = kitchen_in_its_own_world
    few = scan.with_frames(scan.frames[::5])
    result, moved = upright(few, fuse(few))
    assert angle_deg(result.world_from_source[2, :3], np.array([0.008, -0.892, -0.452])) < 1.5
    check_connected(result, moved)
