"""Surfaces: their canonical order, what cameras see of meshes and clouds, and files that are whole or damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bev.camera import Camera, OrthoCamera, View, pixel_centers
from bev.errors import UserError
from bev.facets import facets_of
from bev.fusion import fuse
from bev.readers import read_scan
from bev.surface import Surface, SurfaceCaster, canonical_order, load_surface, save_surface

QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
LOW, HIGH = np.array([-0.5, -0.3, 0.0]), np.array([0.6, 0.4, 0.8])
FLOOR_M = 2.0


def _box() -> tuple[np.ndarray, np.ndarray]:
    """A box from LOW to HIGH: (8, 3) vertices and (12, 3) faces that run counter-clockwise from outside."""
    corners = np.stack(np.meshgrid(*np.stack([LOW, HIGH], axis=1), indexing="ij"), axis=-1).reshape(-1, 3)
    return corners, np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])


def _room() -> Surface:
    """The box on a floor, all one mesh."""
    vertices, faces = _box()
    floor = FLOOR_M * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    points = np.concatenate([vertices, floor])
    faces = np.concatenate([faces, [[8, 9, 10], [8, 10, 11]]])
    return Surface(points, faces, np.full(points.shape, 128), np.tile([0.0, 0, 1], (len(points), 1)))


def _looking_down(height_m: float = 3.0, size: tuple[int, int] = (120, 90)) -> Camera:
    pose = np.diag([1.0, -1, -1, 1])
    pose[2, 3] = height_m
    return Camera(np.array([[100.0, 0, 60], [0, 100, 45], [0, 0, 1]]), 120, 90, pose).resized(*size)


def _slanted() -> Camera:
    """From the side, 40 degrees down."""
    s, c = np.sin(np.radians(40)), np.cos(np.radians(40))
    pose = np.eye(4)
    pose[:3, :3] = np.array([[1, 0, 0], [0, -s, c], [0, -c, -s]])
    pose[:3, 3] = 0.1, -2.0, 1.9
    return Camera(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), 160, 120, pose)


def _top(size: tuple[int, int] = (400, 380)) -> OrthoCamera:
    return OrthoCamera(-1.9, 1.9, 1.5, (0.01, 0.01), 380, 380).resized(*size)


def _depth_by_hand(view: View) -> np.ndarray:
    """(H, W) depth of box and floor by intersecting slabs: nothing of ray casting's code."""
    origins, directions = view.rays(pixel_centers(view.width, view.height))
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (LOW - origins) / directions, (HIGH - origins) / directions
        to_floor = -origins[:, 2] / directions[:, 2]
    enter, leave = np.fmin(near, far).max(axis=1), np.fmax(near, far).min(axis=1)
    on_floor = origins + to_floor[:, None] * directions
    floor = np.where((to_floor > 0) & (np.abs(on_floor[:, :2]) < FLOOR_M).all(axis=1), to_floor, np.inf)
    depth = np.minimum(np.where((enter < leave) & (enter > 0), enter, np.inf), floor)
    return np.where(np.isfinite(depth), depth, 0).reshape(view.height, view.width)


def _same(a: Surface, b: Surface) -> bool:
    names = ("vertices", "faces", "colors", "normals")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def _shuffled(surface: Surface, rng: np.random.Generator) -> Surface:
    """The same surface with its vertices and faces in another order, and faces that begin at another corner."""
    order = rng.permutation(len(surface.vertices))
    rank = np.argsort(order)
    faces = rank[surface.faces]
    faces = np.stack([np.roll(face, rng.integers(3)) for face in faces]) if len(faces) else faces
    faces = rng.permutation(faces)
    return Surface(surface.vertices[order], faces, surface.colors[order], surface.normals[order])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), soup=st.booleans(), plain=st.booleans(), cloud=st.booleans())
def test_canonical_order_does_not_depend_on_the_order_given(seed: int, soup: bool, plain: bool, cloud: bool) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = _box()
    vertices = vertices + np.round(rng.uniform(-0.1, 0.1, vertices.shape), 1)
    faces = faces[rng.permutation(12)[: rng.integers(1, 13)]]
    if soup:  # every face with corners of its own, as .stl files have: many vertices at one place
        vertices, faces = vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)
    colors = np.full(vertices.shape, 9) if plain else rng.integers(0, 3, vertices.shape)
    normals = np.tile([0.0, 0, 1], (len(vertices), 1)) if plain else rng.choice([0.0, 1.0], vertices.shape)
    surface = Surface(vertices, np.zeros((0, 3)) if cloud else faces, colors, normals)
    ordered = canonical_order(surface)
    assert _same(ordered, canonical_order(_shuffled(surface, rng)))
    assert _same(ordered, canonical_order(ordered))
    assert (np.diff(np.unique(ordered.vertices, axis=0, return_index=True)[1]) > 0).all()


def test_canonical_order_keeps_the_surface_and_its_sides() -> None:
    rng = np.random.default_rng(3)
    surface = _room()
    colored = Surface(surface.vertices, surface.faces, rng.integers(0, 256, (12, 3)), rng.standard_normal((12, 3)))
    ordered = canonical_order(_shuffled(colored, rng))
    row = {tuple(vertex): i for i, vertex in enumerate(colored.vertices.tolist())}
    back = np.array([row[tuple(vertex)] for vertex in ordered.vertices.tolist()])
    assert np.array_equal(colored.colors[back], ordered.colors)
    assert np.array_equal(colored.normals[back], ordered.normals)

    def oriented(faces: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(np.roll(face, -int(face.argmin())).tolist()) for face in faces}

    assert oriented(back[ordered.faces]) == oriented(colored.faces)


def test_canonical_order_of_nothing() -> None:
    nothing = np.zeros((0, 3))
    assert len(canonical_order(Surface(nothing, nothing, nothing, nothing)).vertices) == 0


@pytest.mark.parametrize("view", [_looking_down(), _slanted(), _top(), _top((95, 190))])
def test_depth_is_along_z_through_pixel_centres(view: View) -> None:
    seen, expected = SurfaceCaster(_room()).view(view), _depth_by_hand(view)
    assert seen.depth.shape == (view.height, view.width) and seen.depth.dtype == np.float32
    # pixels whose ray grazes an edge may go either way
    differs = np.abs(seen.depth - expected) > 1e-4
    assert differs.mean() < 2e-3
    assert (expected > 0).mean() > 0.8


def test_vertex_and_face_ids_name_what_is_seen() -> None:
    surface, view = _room(), _slanted()
    seen = SurfaceCaster(surface).view(view)
    hit = seen.depth > 0
    assert (seen.face_ids[~hit] == -1).all() and (seen.vertex_ids[~hit] == -1).all()
    uv = pixel_centers(view.width, view.height)[hit.ravel()]
    points = view.unproject(uv, seen.depth[hit])
    corners = surface.vertices[surface.faces[seen.face_ids[hit]]].astype(np.float64)
    normals = surface.face_normals()[0][seen.face_ids[hit]]
    assert np.abs(((points - corners[:, 0]) * normals).sum(axis=1)).max() < 1e-4  # in the plane of the face
    is_corner = surface.faces[seen.face_ids[hit]] == seen.vertex_ids[hit][:, None]
    assert (is_corner.sum(axis=1) == 1).all()
    # the corner that weighs most, so never farther than the farthest one
    away = np.linalg.norm(points[:, None] - corners, axis=2)
    assert (away[is_corner] <= np.sort(away, axis=1)[:, 1] + 1e-4).mean() > 0.9


def test_hits_looks_behind_single_pixels() -> None:
    caster, view = SurfaceCaster(_room()), _slanted()
    seen = caster.view(view)
    uv = np.array([[0.5, 0.5], [80.5, 70.5], [159.5, 119.5], [10.5, 3.5]])
    column, row = np.floor(uv).astype(int).T
    for found, image in zip(caster.hits(view, uv), (seen.depth, seen.vertex_ids, seen.face_ids), strict=True):
        assert found.tolist() == image[row, column].tolist()
    # between the pixels too: straight down on the box, its top 0.8 m above the floor
    depth, vertex_ids, _ = caster.hits(_looking_down(), np.array([[60.0, 45.0], [60 + 100 * 1.0 / 3, 45.0]]))
    assert depth == pytest.approx([2.2, 3.0], abs=1e-4)
    assert vertex_ids[0] < 8 <= vertex_ids[1]


@pytest.mark.parametrize("view", [_slanted().resized(1999, 1501), _top((2001, 1499)), _slanted().resized(3, 5)])
def test_a_large_view_is_cast_in_bands_and_is_the_same(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    caster = SurfaceCaster(_room())
    at_once = caster.hits(view, pixel_centers(view.width, view.height))
    counts = []

    def counted(camera: View, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts.append(len(uv))
        return SurfaceCaster.hits(caster, camera, uv)

    monkeypatch.setattr(caster, "hits", counted)
    seen = caster.view(view)
    assert sum(counts) == view.width * view.height and max(counts) <= 1 << 20
    for image, values in zip((seen.depth, seen.vertex_ids, seen.face_ids), at_once, strict=True):
        assert image.dtype == values.dtype and np.array_equal(image, values.reshape(view.height, view.width))


def test_faces_that_are_not_kept_let_rays_through() -> None:
    surface, view = _room(), _top()
    keep = np.arange(len(surface.faces)) >= 12
    seen = SurfaceCaster(surface, keep_faces=keep).view(view)
    assert np.abs(seen.depth - 1.5).max() < 1e-4
    # ids still count all faces and vertices
    assert set(np.unique(seen.face_ids)) == {12, 13} and set(np.unique(seen.vertex_ids)) <= set(range(8, 12))
    with pytest.raises(ValueError, match="shape"):
        SurfaceCaster(surface, keep_faces=keep[1:])


def _cloud_of(surface: Surface, count: int, kind: str) -> Surface:
    """Points on a mesh: drawn at random, or on a grid per face pair as a scanner leaves them."""
    rng = np.random.default_rng(8)
    normals, areas = surface.face_normals()
    face = rng.choice(len(areas), count, p=areas / areas.sum())
    first, second = rng.random((2, count))
    swap = first + second > 1
    first, second = np.where(swap, 1 - first, first), np.where(swap, 1 - second, second)
    a, b, c = (surface.vertices[surface.faces[face, i]].astype(np.float64) for i in range(3))
    points = a + first[:, None] * (b - a) + second[:, None] * (c - a)
    if kind == "grid":
        step = np.sqrt(areas.sum() / count)
        points = np.where(np.abs(normals[face]) > 0.5, points, (np.floor(points / step) + 0.5) * step)
        points, rows = np.unique(np.round(points, 5), axis=0, return_index=True)
        face = face[rows]
    return Surface(points, np.zeros((0, 3)), np.full(points.shape, 99), normals[face])


@pytest.mark.parametrize("kind", ["random", "grid"])
@pytest.mark.parametrize("view", [_slanted(), _slanted().resized(640, 480), _top((190, 190)), _top((1520, 1520))])
def test_a_cloud_looks_like_the_mesh_that_it_lies_on(kind: str, view: View) -> None:
    mesh = _room()
    cloud = _cloud_of(mesh, 60_000, kind)
    spacing_m = np.sqrt(mesh.face_normals()[1].sum() / 60_000)
    expected, seen = SurfaceCaster(mesh).view(view), SurfaceCaster(cloud).view(view)
    on_mesh, on_cloud = expected.depth > 0, seen.depth > 0
    behind = (seen.depth - expected.depth)[on_mesh & on_cloud]
    assert (on_mesh & ~on_cloud).mean() < 1e-3  # no holes
    assert (behind > 4 * spacing_m).mean() < 2e-3  # no shoot-through
    assert np.median(np.abs(behind)) < spacing_m
    assert (behind < -4 * spacing_m).mean() < 0.06  # silhouettes grow by little more than a spacing
    assert (seen.face_ids == -1).all() and ((seen.vertex_ids >= 0) == on_cloud).all()
    shown_depth = view.project(cloud.vertices[seen.vertex_ids[on_cloud]])[1]
    assert np.abs(shown_depth - seen.depth[on_cloud]).max() < 1e-4


def test_the_points_shown_are_those_of_the_pixel() -> None:
    mesh, view = _room(), _top((1520, 1520))
    cloud = _cloud_of(mesh, 60_000, "random")
    seen = SurfaceCaster(cloud).view(view)
    hit = seen.vertex_ids >= 0
    uv = view.project(cloud.vertices[seen.vertex_ids[hit]])[0]
    off_px = np.linalg.norm(uv - pixel_centers(view.width, view.height)[hit.ravel()], axis=1)
    spacing_px = np.sqrt(mesh.face_normals()[1].sum() / 60_000) / view.metres_per_pixel_xy[0]
    assert np.median(off_px) < 0.75 * spacing_px


def test_points_that_are_not_kept_are_not_seen() -> None:
    cloud = _cloud_of(_room(), 20_000, "random")
    keep = cloud.vertices[:, 2] < 0.01
    seen = SurfaceCaster(cloud, keep_points=keep).view(_top())
    assert keep[seen.vertex_ids[seen.vertex_ids >= 0]].all()
    under_the_box = seen.depth[185:195, 185:195]
    assert under_the_box[under_the_box > 0] == pytest.approx(1.5, abs=1e-4)
    with pytest.raises(ValueError, match="shape"):
        SurfaceCaster(cloud, keep_points=keep[1:])


def test_a_point_just_outside_reaches_into_the_image() -> None:
    # the points nearest to the image's edges lie outside of it
    x, y = np.meshgrid(np.arange(-0.08, 1.4, 0.29), np.arange(-0.08, 1.4, 0.29))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    cloud = Surface(points, np.zeros((0, 3)), np.zeros(points.shape), np.tile([0.0, 0, 1], (len(points), 1)))
    view = OrthoCamera(0.0, 1.0, 1.0, (0.05, 0.05), 20, 20)
    seen = SurfaceCaster(cloud).view(view)
    assert (seen.depth == 1).all()
    shown = cloud.vertices[seen.vertex_ids]
    assert all((shown[..., axis] < 0).any() and (shown[..., axis] > 1).any() for axis in (0, 1))


def test_near_points_are_as_large_as_they_must_be() -> None:
    """A wall of points 4 cm apart, seen from so near that they are 26 pixels apart, hides what is behind it."""
    x, y = np.meshgrid(np.arange(-1, 1, 0.04), np.arange(-1, 1, 0.04))
    wall = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    points = np.concatenate([wall + [0, 0, 0.3], wall + [0.013, 0.017, -1.0]])
    cloud = Surface(points, np.zeros((0, 3)), np.zeros(points.shape), np.tile([0.0, 0, 1], (len(points), 1)))
    view = _looking_down(0.6)
    assert np.abs(SurfaceCaster(cloud).view(view.resized(240, 180)).depth - 0.3).max() < 1e-4


def test_clouds_of_few_points_and_none_in_view() -> None:
    view = _top()
    one = np.array([[0.0, 0.0, 0.5]])
    cloud = Surface(one, np.zeros((0, 3)), np.zeros((1, 3)), one)
    seen = SurfaceCaster(cloud).view(view)
    assert 1 <= (seen.depth > 0).sum() <= 25 and seen.depth.max() == 1.0
    assert SurfaceCaster(cloud.moved(np.eye(4) + 99 * np.eye(4, k=3))).view(view).depth.max() == 0
    depth, ids, faces = SurfaceCaster(cloud).hits(view, np.array([[190.0, 190.0], [-5.0, 3.0]]))
    assert depth.tolist() == [0, 0] or depth[0] == 1.0
    assert ids[1] == -1 and (faces == -1).all()


def test_cropping_keeps_whole_faces_and_remembers_rows() -> None:
    surface = _room()
    keep = np.ones(12, bool)
    keep[[0, 3]] = False
    cropped = surface.cropped(keep)
    assert cropped.rows is not None and cropped.rows.tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert np.array_equal(surface.vertices[cropped.rows], cropped.vertices)
    whole = keep[surface.faces].all(axis=1)
    assert np.array_equal(cropped.rows[cropped.faces], surface.faces[whole])
    # of a part of a part the rows still count those of the whole
    again = cropped.cropped(np.arange(10) % 2 == 0)
    assert again.rows is not None and again.rows.tolist() == [1, 4, 6, 8, 10]
    moved = cropped.moved(np.diag([1.0, -1, -1, 1]))
    assert moved.rows is not None and moved.rows.tolist() == cropped.rows.tolist()
    assert moved.normals[0].tolist() == [0, 0, -1]


def _random(count: int, *, is_mesh: bool) -> Surface:
    rng = np.random.default_rng(1)
    normals = rng.standard_normal((count, 3))
    faces = rng.integers(0, count, (2 * count, 3)) if is_mesh else np.zeros((0, 3))
    colors = rng.integers(0, 256, (count, 3))
    colors[:256, 0] = np.arange(256)  # every value there is
    return Surface(rng.uniform(-5, 5, (count, 3)), faces, colors, normals / np.linalg.norm(normals, axis=1)[:, None])


@pytest.mark.parametrize("is_mesh", [True, False])
def test_a_surface_saved_and_read_is_the_same(tmp_path: Path, is_mesh: bool) -> None:
    surface, path = _random(400, is_mesh=is_mesh), tmp_path / "surface.ply"
    save_surface(surface, path)
    read = load_surface(path)
    if is_mesh:  # its normals follow from its faces, whatever the file says
        surface = replace(surface, normals=read.normals)
    assert np.abs(read.normals - surface.normals).max() < 1e-6
    assert _same(replace(read, normals=surface.normals), surface)
    save_surface(read, path)
    assert np.abs(load_surface(path).normals - read.normals).max() < 1e-6


def _saved_with_normals(path: Path, surface: Surface, normals: np.ndarray) -> Surface:
    """What is read of the surface from a file with other normals."""
    save_surface(replace(surface, normals=normals), path)
    return load_surface(path)


@pytest.mark.parametrize("factor", [-1.0, 0.0, np.nan])
def test_normals_of_a_mesh_follow_from_its_faces(tmp_path: Path, factor: float) -> None:
    vertices, faces = _box()
    outward = vertices - vertices.mean(axis=0)
    box = Surface(vertices, faces, np.full(vertices.shape, 128), outward)
    read = _saved_with_normals(tmp_path / "box.ply", box, factor * outward)
    assert np.linalg.norm(read.normals, axis=1) == pytest.approx(1, abs=1e-5)
    assert ((read.normals * outward).sum(axis=1) > 0).all()
    facing = np.einsum("fij,fj->fi", read.normals[read.faces], read.face_normals()[0])
    assert (facing > 0).all()


@pytest.mark.parametrize("length", [1e-2, 0.3, 50.0])
def test_normals_of_a_cloud_are_of_unit_length(tmp_path: Path, length: float) -> None:
    cloud = _cloud_of(_room(), 2000, "random")
    read = _saved_with_normals(tmp_path / "cloud.ply", cloud, length * cloud.normals)
    assert np.abs(read.normals - cloud.normals).max() < 1e-5
    assert len(facets_of(read).areas) == 2000


@pytest.mark.parametrize("nothing", [0.0, np.nan])
@pytest.mark.parametrize("missing", [0.02, 0.6, 1.0])
def test_normals_that_a_cloud_lacks_are_estimated(tmp_path: Path, nothing: float, missing: float) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    points = np.stack([x.ravel(), y.ravel(), 0.2 * x.ravel()], axis=1)
    normal = np.array([0.2, 0, -1]) / np.sqrt(1.04)  # looks down, which no estimate guesses
    cloud = Surface(points, np.zeros((0, 3)), np.zeros(points.shape), np.tile(normal, (1600, 1)))
    lost = np.random.default_rng(2).permutation(1600) < missing * 1600
    read = _saved_with_normals(tmp_path / "cloud.ply", cloud, np.where(lost[:, None], nothing, cloud.normals))
    cosine = read.normals @ normal
    assert np.abs(cosine) == pytest.approx(1, abs=1e-4)
    if missing < 0.05:
        assert (cosine > 0).all()  # like the neighbours that have one


@pytest.mark.parametrize("is_mesh", [True, False])
def test_other_programs_read_what_is_saved(tmp_path: Path, is_mesh: bool) -> None:
    import open3d as o3d

    surface, path = _random(400, is_mesh=is_mesh), tmp_path / "surface.ply"
    save_surface(surface, path)
    read = o3d.io.read_point_cloud(str(path))
    assert np.asarray(read.points, np.float32).tolist() == surface.vertices.tolist()
    assert np.round(np.asarray(read.colors) * 255).astype(int).tolist() == surface.colors.tolist()
    assert np.asarray(read.normals, np.float32).tolist() == surface.normals.tolist()
    faces = np.asarray(o3d.io.read_triangle_mesh(str(path)).triangles)
    assert faces.tolist() == surface.faces.tolist()


@pytest.mark.parametrize(
    ("ending", "ascii"),
    [("ply", True), ("ply", False), ("obj", True), ("pcd", True), ("pcd", False), ("stl", False)],
)
def test_surfaces_of_other_programs_are_read(tmp_path: Path, ending: str, ascii: bool) -> None:
    import open3d as o3d

    room, path = _room(), tmp_path / f"scan.{ending}"
    vertices = o3d.utility.Vector3dVector(room.vertices.astype(np.float64))
    if ending == "pcd":
        assert o3d.io.write_point_cloud(str(path), o3d.geometry.PointCloud(vertices), write_ascii=ascii)
    else:
        mesh = o3d.geometry.TriangleMesh(vertices, o3d.utility.Vector3iVector(room.faces))
        mesh.compute_triangle_normals()
        assert o3d.io.write_triangle_mesh(str(path), mesh, write_ascii=ascii)
    surface = load_surface(path)
    assert surface.is_mesh == (ending != "pcd")
    assert surface.vertices.min(axis=0) == pytest.approx(room.vertices.min(axis=0), abs=1e-5)
    if surface.is_mesh:
        assert surface.face_normals()[1].sum() == pytest.approx(room.face_normals()[1].sum(), rel=1e-4)
        corners = surface.vertices[surface.faces]
        assert corners == pytest.approx(room.vertices[room.faces], abs=1e-5)
    if ending in ("ply", "pcd"):
        assert surface.vertices == pytest.approx(room.vertices, abs=1e-5)  # in the file's order
    assert np.linalg.norm(surface.normals, axis=1) == pytest.approx(1.0, abs=1e-3)


HEADER = "ply\nformat ascii 1.0\ncomment by hand\nelement vertex {}\n" + "".join(
    f"property float {axis}\n" for axis in "xyz"
)
FACES = "element face {}\nproperty list uchar int vertex_indices\n"
POINTS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def test_polygons_of_several_sizes_become_triangles(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ply"
    faces = "4 0 1 2 3\n3 0 1 4\n5 0 1 2 3 4\n"
    path.write_text(HEADER.format(5) + FACES.format(3) + "end_header\n" + POINTS + "0 0 1\n" + faces)
    surface = load_surface(path)
    fans = [[0, 1, 2], [0, 2, 3], [0, 1, 4], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert surface.faces.tolist() == fans
    assert surface.colors.min() == surface.colors.max() == 178  # grey where the file has no colours


def test_binary_files_of_either_byte_order_and_extra_properties(tmp_path: Path) -> None:
    for order, name in (("<", "little"), (">", "big")):
        row = np.dtype([("q", order + "i2"), ("p", order + "f8", 3), ("c", order + "f4", 3)])
        rows = np.zeros(3, row)
        rows["p"], rows["c"] = [[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0.5, 1]]
        face = np.zeros(1, [("n", "u1"), ("i", order + "u4", 3), ("flag", "u1")])
        face["n"], face["i"] = 3, [[0, 1, 2]]
        header = [f"ply\nformat binary_{name}_endian 1.0\nelement camera 1\nproperty float f\nelement vertex 3"]
        header += ["property short quality", *(f"property double {axis}" for axis in "xyz")]
        header += [f"property float {color}" for color in ("red", "green", "blue")]
        header += ["element face 1\nproperty list uchar uint vertex_index\nproperty uchar flag\nend_header\n"]
        path = tmp_path / f"{name}.ply"
        path.write_bytes("\n".join(header).encode() + bytes(4) + rows.tobytes() + face.tobytes())
        surface = load_surface(path)
        assert surface.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
        assert surface.colors.tolist() == [[0, 128, 255]] * 3
        assert surface.faces.tolist() == [[0, 1, 2]] and surface.normals.tolist() == [[0, 0, 1]] * 3


MESH = HEADER.format(4) + FACES.format(2) + "end_header\n" + POINTS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.ply", "", "no PLY file"),
        ("garbage.ply", "hello world\n" * 9, "no PLY file"),
        ("garbage.obj", "hello world\n" * 9, "holds no points"),
        ("page.html", "<html>not found</html>", "holds no points"),
        ("no-points.ply", HEADER.format(0) + "end_header\n", "no vertices"),
        ("header.ply", "ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "'element vertex many'"),
        ("type.ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty real x\nend_header\n1\n", "'property real x'"),
        ("words.ply", HEADER.format(1) + "end_header\n0 zero 0\n", "no number"),
        ("nan.ply", HEADER.format(2) + "end_header\n0 0 0\n0 nan 0\n", "1 of 2 points are NaN"),
        ("nan-mesh.ply", MESH.replace("1 1 0", "1 inf 0") + "3 0 1 2\n3 0 2 3\n", "1 of 4 points are NaN"),
        ("cut-points.ply", HEADER.format(9) + "end_header\n" + POINTS, "ends before its 9 rows of 'vertex'"),
        ("cut-faces.ply", MESH + "3 0 1 2\n", "ends before its 2 rows of 'face'"),
        ("cut-within.ply", MESH + "3 0 1 2\n3 0 1\n", "ends before its 2 rows of 'face'"),
        ("corner.ply", MESH + "3 0 1 2\n3 0 1 4\n", "the corner 4, but there are 4 vertices"),
        ("negative.ply", MESH + "3 0 1 2\n3 0 1 -1\n", "the corner -1"),
        ("corner.off", "OFF\n4 1 0\n" + POINTS + "3 0 1 7\n", "corner"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        load_surface(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name)) and words in str(error.value)


@pytest.mark.parametrize("is_mesh", [True, False])
def test_a_file_cut_anywhere_is_never_taken_for_whole(tmp_path: Path, is_mesh: bool) -> None:
    path = tmp_path / "surface.ply"
    save_surface(_random(300, is_mesh=is_mesh), path)
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 25).astype(int).tolist():
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            load_surface(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.ply", tmp_path):
        with pytest.raises(UserError, match="no such surface file") as error:
            load_surface(path)
        assert str(path) in str(error.value)


def test_surfaces_of_impossible_shape_are_refused() -> None:
    points = np.zeros((4, 3))
    with pytest.raises(ValueError, match="shape"):
        Surface(np.zeros((4, 2)), np.zeros((0, 3)), points, points)
    with pytest.raises(ValueError, match="equal length"):
        Surface(points, np.zeros((0, 3)), points[:3], points)


def test_the_kitchen_fused_twice_is_the_same_and_has_no_vertex_twice(kitchen_path: Path) -> None:
    scan = read_scan(kitchen_path)
    scan = scan.with_frames(scan.frames[::6])
    first, second = fuse(scan), fuse(scan)
    assert _same(first, second)
    assert len(np.unique(first.vertices, axis=0)) == len(first.vertices) > 20_000
