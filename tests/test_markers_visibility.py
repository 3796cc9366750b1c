from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bev.camera import Camera, OrthoCamera
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster
from markers.visibility import instance_map, regions, visibility_table, visible_px

K = np.array([[160.0, 0, 80], [0, 160, 60], [0, 0, 1]])


def sheet(x0, x1, y0, y1, z, spacing=0.02):
    """A horizontal rectangle, as a mesh: vertices (V, 3) and faces (F, 3)."""
    nx, ny = round((x1 - x0) / spacing) + 1, round((y1 - y0) / spacing) + 1
    x, y = np.meshgrid(np.linspace(x0, x1, nx), np.linspace(y0, y1, ny))
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)
    corner = (np.arange(ny - 1)[:, None] * nx + np.arange(nx - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + nx + 1, corner + nx
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def room():
    """Floor (none), a table top (7) at 0.7 m, and under it a box top (3) at 0.3 m that sticks out at one side."""
    parts = [
        (sheet(-2, 2, -2, 2, 0.0), -1),
        (sheet(-0.5, 0.5, -0.4, 0.4, 0.7), 7),
        (sheet(0.2, 0.9, -0.2, 0.2, 0.3), 3),
    ]
    vertices, faces, ids, count = [], [], [], 0
    for (points, corners), id in parts:
        vertices.append(points)
        faces.append(corners + count)
        ids.append(np.full(len(points), id, np.int32))
        count += len(points)
    vertices = np.concatenate(vertices)
    normals = np.broadcast_to([0.0, 0, 1], vertices.shape)
    surface = Surface(vertices, np.concatenate(faces), np.full(vertices.shape, 128), normals)
    return surface, np.concatenate(ids)


def looking_down(height_m, width=160, height=120):
    world_from_camera = np.diag([1.0, -1, -1, 1])
    world_from_camera[2, 3] = height_m
    return Camera(K, 160, 120, world_from_camera).resized(width, height)


def looking_up(height_m, x_m=0.0):
    world_from_camera = np.eye(4)
    world_from_camera[:3, 3] = x_m, 0.0, height_m
    return Camera(K, 160, 120, world_from_camera)


def scan_of(*cameras):
    def no_image():
        raise AssertionError("visibility decodes no image")

    frames = tuple(Frame(10 * i, float(i), camera, no_image) for i, camera in enumerate(cameras))
    return Scan("room", Path("room"), "test", frames)


def test_from_above_the_table_hides_what_stands_under_it():
    surface, ids = room()
    camera = OrthoCamera(-1.0, 1.0, 3.0, (0.01, 0.01), 200, 200)
    shown = instance_map(SurfaceCaster(surface).view(camera), ids)
    assert shown.dtype == np.int32
    assert shown[100, 100] == 7  # x = 0: table
    assert shown[100, 140] == 7  # x = 0.4: table above the box
    assert shown[100, 180] == 3  # x = 0.8: the box sticks out
    assert shown[10, 10] == -1
    # 1.0 x 0.8 m and 0.4 x 0.4 m of 1 cm pixels; a vertex spacing of slack along the edges
    px = visible_px(shown)
    assert px[7] == pytest.approx(8000, rel=0.03)
    assert px[3] == pytest.approx(1600, rel=0.06)


def test_a_pinhole_below_the_table_sees_the_box_that_hides_the_table():
    surface, ids = room()
    shown = instance_map(SurfaceCaster(surface).view(looking_up(0.1, x_m=0.2)), ids)
    assert shown[60, 120] == 3  # passes z = 0.3 at x = 0.25, within the box
    assert shown[60, 40] == 7  # passes z = 0.3 at x = 0.15, beside it, and z = 0.7 at x = 0.05


def test_a_point_cloud_hides_as_its_mesh_does():
    surface, ids = room()
    camera = looking_down(2.0)
    mesh = instance_map(SurfaceCaster(surface).view(camera), ids)
    cloud = replace(surface, faces=np.zeros((0, 3), np.int32))
    splat = instance_map(SurfaceCaster(cloud).view(camera), ids)
    for id in (3, 7):
        inside = cv2.erode((mesh == id).astype(np.uint8), np.ones((9, 9))) > 0
        outside = cv2.dilate((mesh == id).astype(np.uint8), np.ones((9, 9))) == 0
        assert inside.sum() > 100 and (splat[inside] == id).all()
        assert (splat[outside] != id).all()


def test_ids_for_another_surface_are_refused():
    surface, ids = room()
    view = SurfaceCaster(surface).view(looking_down(3.0))
    with pytest.raises(ValueError, match="vertex_instance must have shape"):
        instance_map(view, ids[:100])


@given(
    arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([-1, 0, 4, 2**31 - 1]))
)
def test_regions_are_what_counting_pixels_gives(ids_map):
    found = regions(ids_map)
    assert [region.id for region in found] == [int(id) for id in np.unique(ids_map) if id >= 0]
    for region in found:
        row, column = np.nonzero(ids_map == region.id)
        assert region.px == len(row)
        assert region.box == (column.min(), row.min(), column.max() + 1, row.max() + 1)
        assert region.center == pytest.approx((column.mean() + 0.5, row.mean() + 0.5))


def test_small_views_count_what_full_views_count():
    surface, ids = room()
    caster = SurfaceCaster(surface)
    camera = looking_down(2.0, 640, 480)
    table = visibility_table(caster, scan_of(camera, looking_down(2.5, 640, 480)), ids, width=160)
    assert table.frames == (0, 10) and table.ids.tolist() == [3, 7] and table.px.dtype == np.int32
    full = visible_px(instance_map(caster.view(camera), ids))
    assert table.px[0].tolist() == pytest.approx([full[3], full[7]], rel=0.05)
    assert (table.px[1] < table.px[0]).all()


def test_an_instance_that_no_frame_sees_is_listed_without_pixels():
    surface, ids = room()
    below = looking_up(1.0)  # above everything, looking at the sky
    table = visibility_table(SurfaceCaster(surface), scan_of(below, looking_down(2.0), below), ids)
    assert table.ids.tolist() == [3, 7]
    assert ((table.px > 50) == [[False, False], [True, True], [False, False]]).all() and not table.px[0].any()


def test_a_surface_without_instances_has_an_empty_table():
    surface, ids = room()
    scan = scan_of(looking_down(2.0))
    assert visibility_table(SurfaceCaster(surface), scan, np.full_like(ids, -1)).px.shape == (1, 0)
