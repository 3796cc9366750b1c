"""The room's surface, a triangle mesh or a bare point cloud, and what a camera sees of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bev.camera import Camera, View, pixel_centers, transform_points
from bev.errors import UserError, require


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh, or a point cloud when it has no faces."""

    vertices: np.ndarray
    """(V, 3) float32, metres."""
    faces: np.ndarray
    """(F, 3) int32 rows of vertex indices, counter-clockwise seen from the free side; F may be 0."""
    colors: np.ndarray
    """(V, 3) uint8 RGB."""
    normals: np.ndarray
    """(V, 3) float32, unit length, towards the free side."""
    rows: np.ndarray | None = None
    """(V,) int64: which row of the file, or of the surface before cropping, each vertex was; None = its own."""

    def __post_init__(self) -> None:
        for name, dtype in (
            ("vertices", np.float32),
            ("faces", np.int32),
            ("colors", np.uint8),
            ("normals", np.float32),
        ):
            value = np.ascontiguousarray(getattr(self, name), dtype)
            if value.ndim != 2 or value.shape[1] != 3:
                raise ValueError(f"{name} must have shape (N, 3), got {value.shape}")
            object.__setattr__(self, name, value)
        if not len(self.vertices) == len(self.colors) == len(self.normals):
            raise ValueError("vertices, colors and normals must be of equal length")

    @property
    def is_mesh(self) -> bool:
        """False for a bare point cloud."""
        return len(self.faces) > 0

    def moved(self, world_from_old: np.ndarray) -> "Surface":
        """The same surface in another world frame: `world_from_old` is a (4, 4) rigid motion."""
        normals = self.normals @ world_from_old[:3, :3].T
        return replace(self, vertices=transform_points(world_from_old, self.vertices), normals=normals)

    def face_normals(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit normals (F, 3) float64 and areas (F,) float64 in square metres."""
        a, b, c = (self.vertices[self.faces[:, i]].astype(np.float64) for i in range(3))
        cross = np.cross(b - a, c - a)
        length = np.linalg.norm(cross, axis=1)
        return cross / np.maximum(length, 1e-20)[:, None], length / 2

    def cropped(self, keep: np.ndarray) -> "Surface":
        """The part on the vertices where `keep`, (V,) bool, holds; faces need all three corners."""
        new_index = np.cumsum(keep) - 1
        faces = self.faces[keep[self.faces].all(axis=1)] if self.is_mesh else self.faces
        rows = np.flatnonzero(keep) if self.rows is None else self.rows[keep]
        return Surface(self.vertices[keep], new_index[faces], self.colors[keep], self.normals[keep], rows)


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """What one camera sees of a surface, pixel by pixel."""

    depth: np.ndarray
    """(H, W) float32 metres along the view's z, 0 = none."""
    vertex_ids: np.ndarray
    """(H, W) int32: the surface vertex nearest to what the pixel shows, -1 = none."""
    face_ids: np.ndarray
    """(H, W) int32, -1 = none or a point cloud."""


class SurfaceCaster:
    """Casts rays at a mesh, or splats a point cloud; built once per surface, used for every view."""

    def __init__(
        self, surface: Surface, *, keep_faces: np.ndarray | None = None, keep_points: np.ndarray | None = None
    ):
        """
        Args:
            surface: the mesh or point cloud.
            keep_faces: (F,) bool, of a mesh: the others let rays through (ceilings seen from above).
            keep_points: (V,) bool, of a point cloud, likewise.
        """
        self.surface = surface
        self._kept = _kept(
            len(surface.faces) if surface.is_mesh else len(surface.vertices), surface.is_mesh, keep_faces, keep_points
        )
        if surface.is_mesh:
            o3d = require("open3d")
            faces = surface.faces if self._kept is None else surface.faces[self._kept]
            self._scene = o3d.t.geometry.RaycastingScene()
            self._scene.add_triangles(o3d.core.Tensor(surface.vertices), o3d.core.Tensor(faces.astype(np.uint32)))
        else:
            self._spacing_m = point_spacing_m(surface.vertices)

    def view(self, camera: View) -> SurfaceView:
        """What `camera` sees, at the size of its image."""
        shape = (camera.height, camera.width)
        if not self.surface.is_mesh:
            return self._splat(camera)
        depth, vertex_ids, face_ids = self.hits(camera, pixel_centers(camera.width, camera.height))
        return SurfaceView(depth.reshape(shape), vertex_ids.reshape(shape), face_ids.reshape(shape))

    def hits(self, camera: View, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What lies behind single pixels.

        Args:
            camera: any view.
            uv: (N, 2) pixels.

        Returns:
            depth (N,) float32 metres, 0 = none; vertex_ids (N,) int32 and face_ids (N,) int32, -1 = none.
        """
        if not self.surface.is_mesh:
            return _look_up(self._splat(camera), uv)
        o3d = require("open3d")
        rays = np.concatenate(camera.rays(uv), axis=1, dtype=np.float32)
        answer = self._scene.cast_rays(o3d.core.Tensor(rays))
        depth = answer["t_hit"].numpy()
        hit = np.isfinite(depth)
        face_ids = np.where(hit, answer["primitive_ids"].numpy(), 0).astype(np.int64)
        if self._kept is not None:
            face_ids = self._kept[face_ids]
        second_third = answer["primitive_uvs"].numpy()
        weights = np.concatenate([1 - second_third.sum(axis=1, keepdims=True), second_third], axis=1)
        vertex_ids = self.surface.faces[face_ids, weights.argmax(axis=1)]
        nothing = np.int32(-1)
        return (
            np.where(hit, depth, 0).astype(np.float32),
            np.where(hit, vertex_ids, nothing),
            np.where(hit, face_ids, nothing).astype(np.int32),
        )

    def _splat(self, camera: View) -> SurfaceView:
        """Each point as a square as large as the cloud's spacing, nearest on top."""
        points = self.surface.vertices if self._kept is None else self.surface.vertices[self._kept]
        uv, depth = camera.project(points)
        inside = (depth > 1e-6) & np.isfinite(uv).all(axis=1)
        column, row = np.full(len(uv), -1), np.full(len(uv), -1)
        column[inside], row[inside] = np.floor(uv[inside]).astype(np.int64).T
        shape = (camera.height, camera.width)
        nearest = np.full(shape, np.inf, np.float32)
        index = np.full(shape, -1, np.int32)
        radius = _splat_radius_px(camera, depth, self._spacing_m)
        order = np.argsort(-depth, kind="stable")  # later writes win: the nearest comes last
        order = order[inside[order]]
        for dy, dx in _offsets(int(radius.max(initial=0))):
            reach = max(abs(dy), abs(dx))
            some = order[radius[order] >= reach]
            x, y = column[some] + dx, row[some] + dy
            on_image = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
            some, x, y = some[on_image], x[on_image], y[on_image]
            candidate, owner = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32)
            candidate[y, x], owner[y, x] = depth[some], some
            closer = candidate < nearest
            nearest[closer], index[closer] = candidate[closer], owner[closer]
        if self._kept is not None:
            index = np.where(index >= 0, self._kept[index], -1).astype(np.int32)
        return SurfaceView(np.where(index >= 0, nearest, 0).astype(np.float32), index, np.full(shape, -1, np.int32))


def canonical_order(surface: Surface) -> Surface:
    """Vertices sorted by x, y, z and faces by their corners, so that equal surfaces are equal arrays."""
    order = np.lexsort(surface.vertices.T[::-1])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    faces = rank[surface.faces]
    first = faces.argmin(axis=1) if len(faces) else np.zeros(0, np.int64)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    turned = turned[np.lexsort(turned.T[::-1])]
    return Surface(surface.vertices[order], turned, surface.colors[order], surface.normals[order])


def load_surface(path: Path) -> Surface:
    """Read a mesh or point cloud (.ply, .obj, .pcd, .stl, ...) as it is, without reordering its vertices.

    Raises:
        UserError: the file is missing or holds no points.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such surface file")
    o3d = require("open3d")
    quiet = o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error)
    with quiet:
        mesh = o3d.io.read_triangle_mesh(str(path))
        if not mesh.has_triangles():
            return _from_cloud(o3d.io.read_point_cloud(str(path)), path)
    if not mesh.has_vertex_normals():
        mesh.compute_vertex_normals()
    vertices = np.asarray(mesh.vertices)
    _check_finite(vertices, path)
    colors = np.asarray(mesh.vertex_colors) if mesh.has_vertex_colors() else np.full_like(vertices, 0.7)
    return Surface(vertices, np.asarray(mesh.triangles), np.round(colors * 255), np.asarray(mesh.vertex_normals))


def save_surface(surface: Surface, path: Path) -> None:
    """Write a binary .ply with colours and normals; vertex order is kept.

    Written here, because Open3D's writer for meshes takes 8-bit colours for shares of 1, and misses a full disk.

    Raises:
        OSError: the disk is full, or no permission.
    """
    rows = np.empty(len(surface.vertices), [("points", "<f4", 3), ("normals", "<f4", 3), ("colors", "u1", 3)])
    rows["points"], rows["normals"], rows["colors"] = surface.vertices, surface.normals, surface.colors
    corners = np.empty(len(surface.faces), [("count", "u1"), ("corners", "<i4", 3)])
    corners["count"], corners["corners"] = 3, surface.faces
    names = [f"float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    names += [f"uchar {name}" for name in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {name}" for name in names]
    if surface.is_mesh:
        header += [f"element face {len(corners)}", "property list uchar int vertex_indices"]
    text = "\n".join([*header, "end_header", ""])
    path.write_bytes(text.encode() + rows.tobytes() + corners.tobytes())


def point_spacing_m(points: np.ndarray) -> float:
    """Median distance from a point to its nearest neighbour; `points` (N, 3) metres."""
    if len(points) < 2:
        return 0.01
    from scipy.spatial import KDTree

    sample = points[:: max(1, len(points) // 2000)]
    return float(np.median(KDTree(points).query(sample, k=2)[0][:, 1]))


def _from_cloud(cloud, path: Path) -> Surface:
    points = np.asarray(cloud.points)
    if not len(points):
        raise UserError(f"{path}: holds no points; give a mesh or point cloud (.ply, .obj, .pcd) with --surface")
    _check_finite(points, path)
    if not cloud.has_normals():
        cloud.estimate_normals()
    colors = np.asarray(cloud.colors) if cloud.has_colors() else np.full_like(points, 0.7)
    return Surface(points, np.zeros((0, 3)), np.round(colors * 255), np.asarray(cloud.normals))


def _check_finite(points: np.ndarray, path: Path) -> None:
    bad = int((~np.isfinite(points).all(axis=1)).sum())
    if bad:
        raise UserError(
            f"{path}: {bad} of {len(points)} points are NaN or infinite; export the surface again without them"
        )


def _kept(count: int, is_mesh: bool, faces: np.ndarray | None, points: np.ndarray | None) -> np.ndarray | None:
    keep = faces if is_mesh else points
    if keep is None:
        return None
    if keep.shape != (count,):
        raise ValueError(f"the mask of what to keep must have shape ({count},), got {keep.shape}")
    return np.flatnonzero(keep)


def _splat_radius_px(camera: View, depth: np.ndarray, spacing_m: float) -> np.ndarray:
    """(N,) int: how far a point's square reaches so that a surface of this spacing has no holes, at most 4 px."""
    if isinstance(camera, Camera):
        pixels = spacing_m * camera.K[0, 0] / np.maximum(depth, 1e-3)
    else:
        pixels = np.full(
            len(depth),
            spacing_m
            / np.linalg.norm(
                camera.unproject(np.array([[0, 0], [1, 0]]), np.zeros(2))[1] - camera.world_from_camera[:3, 3]
            ),
        )
    return np.clip(np.ceil(pixels), 1, 4).astype(np.int64)


def _offsets(radius: int) -> list[tuple[int, int]]:
    span = range(-radius, radius + 1)
    return sorted(((dy, dx) for dy in span for dx in span), key=lambda o: max(abs(o[0]), abs(o[1])))


def _look_up(view: SurfaceView, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = view.depth.shape
    column, row = np.floor(uv).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth, ids = np.zeros(len(uv), np.float32), np.full(len(uv), -1, np.int32)
    depth[inside], ids[inside] = view.depth[row[inside], column[inside]], view.vertex_ids[row[inside], column[inside]]
    return depth, ids, np.full(len(uv), -1, np.int32)
