"""A surface cut into cells: nothing is left out, neighbours are neighbours, and order makes no difference."""

from dataclasses import replace

import numpy as np
import pytest
from small_room import BOXES, TABLE, box_faces, ring_camera, small_room

from bev.surface import Surface
from markers.cells import Cells, surface_cells


def _surface(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray | None = None) -> Surface:
    up = np.tile([0.0, 0.0, 1.0], (len(vertices), 1)) if normals is None else normals
    return Surface(vertices, faces, np.full(vertices.shape, 7), up)


def _sheet(step_m: float, *, z: float = 0.0, size_m: float = 1.0) -> Surface:
    """A level square that faces up."""
    return _surface(*box_faces((0.5, 0.5, z - 0.5), (size_m, size_m, 1.0), step_m, sides=((2, 1),)))


def _joined(a: Surface, b: Surface) -> Surface:
    return Surface(
        np.concatenate([a.vertices, b.vertices]),
        np.concatenate([a.faces, b.faces + len(a.vertices)]),
        np.concatenate([a.colors, b.colors]),
        np.concatenate([a.normals, b.normals]),
    )


def _parts(cells: Cells) -> int:
    """How many connected parts the cells have."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(cells.points)
    return connected_components(coo_matrix((np.ones(len(cells.pairs)), tuple(cells.pairs.T)), shape=(count, count)))[0]


@pytest.mark.parametrize("step_m", [0.003, 0.01, 0.02, 0.05, 0.3, 1.0])
def test_cells_cover_the_surface_evenly(step_m: float):
    from scipy.spatial import KDTree

    cells = surface_cells(_sheet(step_m), 0.02)
    u = np.arange(0.0, 1.0001, 0.01)
    everywhere = np.stack(np.meshgrid(u, u, [0.0]), axis=-1).reshape(-1, 3)
    assert KDTree(cells.points).query(everywhere)[0].max() < 0.035
    assert 1500 < len(cells.points) < 16000  # 2500 voxels
    assert _parts(cells) == 1
    assert np.allclose(cells.normals, [0, 0, 1], atol=1e-5)


def test_every_vertex_is_in_the_cell_where_it_is():
    room = small_room()
    cells = surface_cells(room.surface, 0.02)
    count = len(room.surface.vertices)
    assert np.array_equal(cells.sample_vertices[:count], np.arange(count))
    off = np.linalg.norm(cells.points[cells.sample_cells[:count]] - room.surface.vertices, axis=1)
    assert off.max() < 0.02 * 3**0.5
    assert np.array_equal(np.unique(cells.sample_cells), np.arange(len(cells.points)))


def test_samples_within_a_face_stand_for_its_nearest_corner():
    surface = _sheet(1.0)
    cells = surface_cells(surface, 0.02)
    assert len(cells.sample_vertices) > 2000 and set(cells.sample_vertices.tolist()) == {0, 1, 2, 3}
    apart = np.linalg.norm(cells.points[cells.sample_cells][:, None] - surface.vertices[None], axis=2)
    for corner in range(4):
        assert set(cells.sample_vertices[apart[:, corner] < 0.3].tolist()) == {corner}


def test_neighbours_touch():
    cells = surface_cells(_sheet(0.02), 0.02)
    apart = np.linalg.norm(cells.points[cells.pairs[:, 0]] - cells.points[cells.pairs[:, 1]], axis=1)
    assert apart.max() < 0.075
    assert len(np.unique(cells.pairs, axis=0)) == len(cells.pairs)
    assert (cells.pairs[:, 0] < cells.pairs[:, 1]).all()


def test_sheets_a_hand_apart_are_no_neighbours():
    both = _joined(_sheet(0.015), _sheet(0.015, z=0.1))
    assert _parts(surface_cells(both, 0.02)) == 2
    assert _parts(surface_cells(replace(both, faces=np.zeros((0, 3))), 0.02)) == 2


def test_the_order_of_vertices_makes_no_difference():
    surface = small_room().surface
    order = np.random.default_rng(1).permutation(len(surface.vertices))
    place = np.argsort(order)
    turned = Surface(surface.vertices[order], place[surface.faces], surface.colors[order], surface.normals[order])
    a, b = surface_cells(surface, 0.02), surface_cells(turned, 0.02)
    assert np.allclose(a.points, b.points, atol=1e-6) and np.allclose(a.normals, b.normals, atol=1e-5)
    assert np.array_equal(a.pairs, b.pairs)
    assert np.array_equal(a.block_ends, b.block_ends)
    count = len(order)
    assert np.array_equal(b.sample_cells[:count], a.sample_cells[order])


def test_vertices_at_one_place_are_one_cell():
    surface = _sheet(0.03)
    corners = surface.faces.ravel()
    loose = _surface(surface.vertices[corners], np.arange(len(corners)).reshape(-1, 3))
    welded, unwelded = surface_cells(surface, 0.02), surface_cells(loose, 0.02)
    assert len(unwelded.points) == len(welded.points)
    assert _parts(unwelded) == 1


def test_a_cloud_has_no_sides():
    surface = _sheet(0.02)
    assert not surface_cells(replace(surface, faces=np.zeros((0, 3))), 0.02).normals.any()


def test_a_cell_that_faces_both_ways_has_no_side():
    """A board of 4 mm, with its two faces in one voxel."""
    center, size = (0.5, 0.5, 0.01), (0.6, 0.6, 0.004)
    vertices, faces = box_faces(center, size, 0.005, sides=((2, 1), (2, -1)))
    half = len(vertices) // 2
    normals = np.repeat([[0, 0, 1.0], [0, 0, -1.0]], half, axis=0)
    cells = surface_cells(_surface(vertices, faces, normals), 0.02)
    assert len(cells.points) < half / 8  # voxels, not vertices
    assert not cells.normals.any()


@pytest.mark.parametrize("angle", np.linspace(0, 6, 7).tolist())
def test_near_view_has_all_that_the_image_shows(angle: float):
    cells = surface_cells(small_room().surface, 0.02)
    camera = ring_camera(angle)
    closer = replace(camera, K=camera.K * [[2.5, 1, 1], [1, 2.5, 1], [1, 1, 1]])
    for view in (camera, closer, replace(closer, width=160)):
        uv, depth = view.project(cells.points)
        shown = (depth > 0) & (uv >= 0).all(axis=1) & (uv < [view.width, view.height]).all(axis=1)
        near = cells.near_view(view)
        assert set(np.flatnonzero(shown).tolist()) <= set(near.tolist())
        assert (np.diff(near) > 0).all()
    assert shown.sum() <= len(near) < 0.7 * len(cells.points)


def test_vertices_take_what_most_of_their_samples_have():
    cells = surface_cells(_sheet(1.0), 0.02)
    x = cells.points[:, 0]
    surface = _sheet(1.0)
    left = (surface.vertices[:, 0] < 0.5).tolist()
    found = cells.vertex_values(np.where(x < 0.5, 4, 9).astype(np.int32), 6)
    assert found.tolist() == [*(4 if is_left else 9 for is_left in left), -1, -1]  # the last two have no sample
    mostly_none = cells.vertex_values(np.where(x < 0.1, 4, -1).astype(np.int32), 4)
    assert mostly_none.tolist() == [-1] * 4


def test_the_lower_number_wins_a_tie():
    four = np.array([[0.0, 0, 0], [0.05, 0, 0], [0, 0.05, 0], [0.05, 0.05, 0]])
    cells = surface_cells(_surface(four, np.array([[0, 1, 2], [1, 3, 2]])), 0.02)
    per_vertex = replace(cells, sample_cells=np.array([0, 1, 2, 3]), sample_vertices=np.array([0, 0, 1, 1]))
    assert per_vertex.vertex_values(np.array([7, 3, -1, 5]), 2).tolist() == [3, -1]


def test_one_point_and_one_face():
    one = surface_cells(_surface(np.array([[1.0, 2.0, 3.0]]), np.zeros((0, 3))), 0.02)
    assert one.points.tolist() == [[1, 2, 3]] and len(one.pairs) == 0
    assert one.near_view(ring_camera(0.0)).tolist() in ([], [0])
    face = surface_cells(_surface(np.eye(3), np.array([[0, 1, 2]])), 0.02)
    assert len(face.points) > 500 and _parts(face) == 1


def test_far_from_the_origin_cells_are_the_same():
    """As in a capture that is placed on a map; float32 leaves a millimetre there."""
    vertices, faces = box_faces(*BOXES[TABLE], 0.02)
    here = surface_cells(_surface(vertices, faces), 0.02)
    there = surface_cells(_surface(vertices + [2000.0, -3000.0, 50.0], faces), 0.02)
    assert len(there.points) == pytest.approx(len(here.points), rel=0.05)
    assert _parts(there) == _parts(here)
