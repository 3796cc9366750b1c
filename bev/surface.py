"""The room's surface, a triangle mesh or a bare point cloud, and what a camera sees of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bev.camera import View, pixel_centers, transform_points, without_scale
from bev.errors import UserError, require
from bev.ply import Ply, read_ply, write_ply
from bev.splat import splat, splat_reach_m

_UNCOLORED = 178
_NORMAL_LENGTH_MIN = 1e-3
_RAYS_AT_ONCE = 1 << 20
"""Each takes about 110 bytes on its way."""
_ESTIMATED_SHARE_MAX = 0.05


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
    row_count: int | None = None
    """How many rows that file or surface has; given with `rows`."""

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
        if (self.rows is None) != (self.row_count is None):
            raise ValueError("rows and row_count are given together or not at all")

    @property
    def is_mesh(self) -> bool:
        """False for a bare point cloud."""
        return len(self.faces) > 0

    def moved(self, world_from_old: np.ndarray) -> "Surface":
        """The same surface in another world frame: `world_from_old` is a (4, 4) rigid motion or similarity."""
        normals = self.normals @ without_scale(world_from_old)[:3, :3].T
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
        count = len(self.vertices) if self.rows is None else self.row_count
        return Surface(self.vertices[keep], new_index[faces], self.colors[keep], self.normals[keep], rows, count)


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
            self._reach_m = splat_reach_m(surface.vertices)

    def view(self, camera: View) -> SurfaceView:
        """What `camera` sees, at the size of its image."""
        if not self.surface.is_mesh:
            return self._splat(camera)
        shape = (camera.height, camera.width)
        view = SurfaceView(np.empty(shape, np.float32), np.empty(shape, np.int32), np.empty(shape, np.int32))
        band = max(1, _RAYS_AT_ONCE // camera.width)
        for row in range(0, camera.height, band):
            rows = slice(row, min(row + band, camera.height))
            uv = pixel_centers(camera.width, rows.stop - row) + [0, row]
            found = self.hits(camera, uv)
            for image, values in zip((view.depth, view.vertex_ids, view.face_ids), found, strict=True):
                image[rows] = values.reshape(-1, camera.width)
        return view

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
            face_ids = np.append(self._kept, 0)[face_ids]  # what hit nothing has index 0, even where nothing is kept
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
        points = self.surface.vertices if self._kept is None else self.surface.vertices[self._kept]
        depth, index = splat(points, camera, self._reach_m)
        if self._kept is not None:
            index = np.append(self._kept, -1)[index].astype(np.int32)
        return SurfaceView(depth, index, np.full(index.shape, -1, np.int32))


def canonical_order(surface: Surface) -> Surface:
    """Vertices sorted by x, y, z and faces by their corners, so that equal surfaces are equal arrays.

    Vertices at one place are told apart by normal and colour, then by the first face that each is a corner of.
    """
    keys = np.concatenate([surface.vertices, surface.normals, surface.colors], axis=1, dtype=np.float32)
    order = np.lexsort(keys.T[::-1])
    differs = (np.diff(keys[order], axis=0) != 0).any(axis=1)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.append(0, np.cumsum(differs))[: len(order)]
    faces, corners = _sorted_faces(rank[surface.faces])
    if not differs.all():
        first = np.full(len(order), corners.size)
        np.minimum.at(first, surface.faces.ravel()[corners].ravel(), np.arange(corners.size))
        order = np.lexsort([first, rank])
        rank[order] = np.arange(len(order))
        faces, _ = _sorted_faces(rank[surface.faces])
    return Surface(surface.vertices[order], faces, surface.colors[order], surface.normals[order])


def load_surface(path: Path | str) -> Surface:
    """Read a mesh or point cloud (.ply, .obj, .pcd, .stl, ...) as it is, without reordering its vertices.

    Normals of a mesh always follow from its faces: in files they may contradict the winding, or be zero. Those of a
    cloud are the file's, of unit length, or estimated where it has none.

    Raises:
        UserError: the file is missing or damaged, or holds no points.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such surface file")
    ply = read_ply(path) if path.suffix.lower() == ".ply" else _read_other(path)
    if not len(ply.vertices):
        raise UserError(f"{path}: holds no points; give a mesh or point cloud (.ply, .obj, .pcd, .stl)")
    bad = int((~np.isfinite(ply.vertices).all(axis=1)).sum())
    if bad:
        raise UserError(
            f"{path}: {bad} of {len(ply.vertices)} points are NaN or infinite; export the surface again without them"
        )
    colors = np.full(ply.vertices.shape, _UNCOLORED) if ply.colors is None else ply.colors
    is_mesh = len(ply.faces) > 0
    normals = _mesh_normals(ply.vertices, ply.faces) if is_mesh else _cloud_normals(ply.vertices, ply.normals)
    return Surface(ply.vertices, ply.faces, colors, normals)


def save_surface(surface: Surface, path: Path) -> None:
    """Write a binary .ply with colours and normals; vertex order is kept.

    Raises:
        OSError: the disk is full, or no permission.
    """
    write_ply(path, surface.vertices, surface.faces, surface.colors, surface.normals)


def point_spacing_m(points: np.ndarray) -> float:
    """Median distance from a point to its nearest neighbour; `points` (N, 3) metres."""
    if len(points) < 2:
        return 0.01
    from scipy.spatial import KDTree

    sample = points[:: max(1, len(points) // 2000)]
    return float(np.median(KDTree(points).query(sample, k=2)[0][:, 1]))


def _read_other(path: Path) -> Ply:
    """A mesh or point cloud in any of the formats that Open3D knows."""
    o3d = require("open3d")
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        read = o3d.io.read_triangle_mesh(str(path))
        faces = np.asarray(read.triangles)
        if len(faces):
            points, colors, normals = read.vertices, read.vertex_colors, read.vertex_normals
        else:
            read = o3d.io.read_point_cloud(str(path))
            points, colors, normals = read.points, read.colors, read.normals
    points, colors, normals = np.asarray(points), np.asarray(colors), np.asarray(normals)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(points):
        raise UserError(f"{path}: a face has a corner that is not among the {len(points)} vertices; export it again")
    return Ply(
        vertices=points,
        faces=faces.reshape(-1, 3),
        colors=np.clip(np.round(colors * 255), 0, 255).astype(np.uint8) if len(colors) == len(points) else None,
        normals=normals if len(normals) == len(points) else None,
    )


def _mesh_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit length, the mean over each vertex's faces by area; up where it has none."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    corner = faces.ravel()
    total = [np.bincount(corner, np.repeat(cross[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(total, axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def _cloud_normals(points: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(V, 3) unit length: the given ones, estimated where they are missing, of no length or not finite.

    A few estimated ones face where the nearest given one does. Where many are missing all are estimated, facing either
    side: a file does not say where the cameras were.
    """
    given = np.zeros(points.shape) if given is None else given.astype(np.float64)
    length = np.linalg.norm(given, axis=1)
    good = np.isfinite(length) & (length > _NORMAL_LENGTH_MIN)
    if good.all():
        return given / length[:, None]
    estimated = _estimated_normals(points)
    if (~good).mean() > _ESTIMATED_SHARE_MAX:
        return estimated
    from scipy.spatial import KDTree

    estimated[good] = given[good] / length[good, None]
    nearest = estimated[good][KDTree(points[good]).query(points[~good])[1]]
    agrees = (estimated[~good] * nearest).sum(axis=1) >= 0
    estimated[~good] *= np.where(agrees, 1, -1)[:, None]
    return estimated


def _estimated_normals(points: np.ndarray) -> np.ndarray:
    """(V, 3) unit length, either side; up where the neighbours leave it open."""
    o3d = require("open3d")
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.estimate_normals()
    normals = np.array(cloud.normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    sound = np.isfinite(length) & (length > _NORMAL_LENGTH_MIN)
    return np.where(sound, normals / np.where(sound, length, 1), [0.0, 0.0, 1.0])


def _sorted_faces(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces (F, 3) that begin at their smallest corner, sorted; and where each corner stood in `faces.ravel()`."""
    corners = 3 * np.arange(len(faces))[:, None] + (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    turned = faces.ravel()[corners]
    order = np.lexsort(turned.T[::-1])
    return turned[order], corners[order]


def _kept(count: int, is_mesh: bool, faces: np.ndarray | None, points: np.ndarray | None) -> np.ndarray | None:
    keep = faces if is_mesh else points
    if keep is None:
        return None
    if keep.shape != (count,):
        raise ValueError(f"the mask of what to keep must have shape ({count},), got {keep.shape}")
    return np.flatnonzero(keep)


def _look_up(view: SurfaceView, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = view.depth.shape
    column, row = np.floor(uv).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth, ids = np.zeros(len(uv), np.float32), np.full(len(uv), -1, np.int32)
    depth[inside], ids[inside] = view.depth[row[inside], column[inside]], view.vertex_ids[row[inside], column[inside]]
    return depth, ids, np.full(len(uv), -1, np.int32)
