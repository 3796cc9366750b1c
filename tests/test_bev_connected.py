"""Two rooms that nothing joins are refused; a door, a view or a walk joins them."""

from pathlib import Path

import numpy as np
import pytest

from bev.camera import Camera
from bev.connected import check_connected
from bev.errors import UserError
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster

K = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])


def floor(*rooms: tuple[float, float, float]) -> Surface:
    """Floors of 4 m by a depth: (x where it begins, depth, height), in 10 cm squares."""
    vertices, faces, start = [], [], 0
    for x, depth, height in rooms:
        xs, ys = np.meshgrid(np.arange(x, x + 4.05, 0.1), np.arange(0, depth + 0.05, 0.1), indexing="ij")
        ny = xs.shape[1]
        i = start + (np.arange(xs.shape[0] - 1)[:, None] * ny + np.arange(ny - 1)).ravel()
        faces += [np.stack([i, i + ny, i + 1], axis=1), np.stack([i + 1, i + ny, i + ny + 1], axis=1)]
        vertices.append(np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, height)], axis=1))
        start += xs.size
    points = np.concatenate(vertices)
    return Surface(
        points, np.concatenate(faces), np.full(points.shape, 128), np.broadcast_to([0.0, 0, 1], points.shape)
    )


def camera_at(x: float, forward: tuple[float, float, float]) -> Camera:
    z = np.array(forward) / np.linalg.norm(forward)
    right = np.cross(z, [0.0, 0, 1])
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack([right, np.cross(z, right), z], axis=1)
    world_from_camera[:3, 3] = x, 1.5, 1.5
    return Camera(K, 80, 60, world_from_camera)


def filmed(
    surface: Surface,
    xs: np.ndarray,
    forward: tuple[float, float, float] = (0, 0.1, -1),
    with_depth: bool = True,
    index_step: int = 10,
) -> Scan:
    caster = SurfaceCaster(surface)
    frames = []
    for i, x in enumerate(xs):
        camera = camera_at(x, forward)
        depth = (lambda camera=camera: caster.view(camera).depth) if with_depth else None
        frames.append(
            Frame(
                i * index_step, i / 3, camera, lambda: np.zeros((60, 80, 3), np.uint8), camera if depth else None, depth
            )
        )
    return Scan("two rooms", Path("scans/two"), "test", tuple(frames))


TWO_WALKS = np.concatenate([np.linspace(1, 3, 8), np.linspace(13, 15, 8)])


@pytest.mark.parametrize("with_depth", [True, False])
def test_two_rooms_without_a_way_between_them_are_refused(with_depth):
    surface = floor((0, 3, 0), (12, 2, 0))
    with pytest.raises(UserError) as refused:
        check_connected(filmed(surface, TWO_WALKS, with_depth=with_depth), surface)
    message = str(refused.value)
    assert "\n" not in message
    assert "12.0 and 8.0 m2" in message, "names the sizes"
    assert "frame 000080" in message and "10.0 m from frame 000070" in message, "names the break"
    assert "scans/two" in message and "one walk" in message


def test_an_open_door_joins():
    surface = floor((0, 3, 0), (4.6, 3, 0))
    check_connected(filmed(surface, np.array([1, 2, 5.5, 7])), surface)
    apart = floor((0, 3, 0), (5.3, 3, 0))
    with pytest.raises(UserError):
        check_connected(filmed(apart, np.array([1, 1.5, 7.5, 8])), apart)


def test_a_frame_that_shows_both_rooms_joins():
    surface = floor((0, 3, 0), (6, 3, 0))
    jumping = np.array([1, 1.2, 8.8, 9])
    with pytest.raises(UserError):
        check_connected(filmed(surface, jumping), surface)
    for with_depth in (True, False):
        check_connected(filmed(surface, jumping, forward=(1, 0, -0.45), with_depth=with_depth), surface)


def test_a_camera_that_walks_across_joins():
    surface = floor((0, 3, 0), (12, 3, 0))
    check_connected(filmed(surface, np.arange(1, 15, 1.2)), surface)


def test_a_small_part_does_not_matter():
    surface = floor((0, 3, 0), (12, 0.4, 0))
    check_connected(filmed(surface, TWO_WALKS), surface)


def test_many_small_parts_do_not_matter_but_a_second_room_beside_them_does():
    crumbs = [(x, 0.2, 0.0) for x in (20.0, 30.0, 40.0)]
    check_connected(filmed(floor((0, 3, 0), *crumbs), np.linspace(1, 3, 8)), floor((0, 3, 0), *crumbs))
    surface = floor((0, 3, 0), (12, 2, 0), *crumbs)
    with pytest.raises(UserError, match=r"12\.0 and 8\.0 m2"):
        check_connected(filmed(surface, TWO_WALKS), surface)


def test_a_second_part_that_no_frame_shows_is_refused_as_such():
    surface = floor((0, 3, 0), (12, 3, 0))
    with pytest.raises(UserError, match="no frame shows the second"):
        check_connected(filmed(surface, np.linspace(1, 3, 8)), surface)


def test_a_point_cloud_is_checked_like_a_mesh():
    mesh = floor((0, 3, 0), (12, 3, 0))
    cloud = Surface(mesh.vertices, np.zeros((0, 3)), mesh.colors, mesh.normals)
    with pytest.raises(UserError, match="do not connect"):
        check_connected(filmed(mesh, TWO_WALKS), cloud)
