"""The surface cut into small cells: what masks are looked up at, counted in and voted on."""

from dataclasses import dataclass

import numpy as np

from bev.camera import Camera
from bev.surface import Surface

_NORMAL_AGREEMENT_MIN = 0.7
"""Length of the mean of a cell's unit normals, above which it has one side: two sides at a right angle have 0.7."""
_VERTICES_PER_VOXEL_MAX = 2.5
"""With more in a voxel, voxels are the cells: a mesh fused at that size has 1.3 to 1.5, at two thirds of it 2.9."""
_WELD_M = 0.001
"""Vertices nearer than this are at one place: rounding in files is far less, the finest surfaces are far coarser."""
_CLOUD_SPACINGS = 2.5
"""How many spacings of a cloud apart its neighbours lie at most, as `markers.structure` joins clouds too."""
_BLOCK_M = 0.5
"""Edge of the blocks that are in view or out of it as one: smaller than what a view shows, and few hundreds a room."""
_BLOCK_RADIUS_M = 0.5 * _BLOCK_M * 3**0.5
"""From a block's centre to its corners: so far out of view a centre may lie and some of its cells be in it."""
_LARGE_FACE_VOXELS = 2.5
"""Edges longer than so many voxels make a face one that is sampled within: those of fused meshes have two at most."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Small pieces of a surface, in the order of their place."""

    points: np.ndarray
    """(X, 3) float32, metres: the mean of the surface within the cell."""
    normals: np.ndarray
    """(X, 3) float32, unit length; zero where the surface in the cell faces both ways, or the surface is a cloud."""
    pairs: np.ndarray
    """(E, 2) int32: neighbours that share a face, an edge or a corner, each pair once, ascending."""
    block_ends: np.ndarray
    """(B,) int64: where each block of neighbouring cells ends in the order of cells."""
    block_centers: np.ndarray
    """(B, 3) float64, metres."""
    sample_cells: np.ndarray
    """(S,) int32: the cell of every sample of the surface."""
    sample_vertices: np.ndarray
    """(S,) int32: the vertex of the surface that stands for the sample."""

    def near_view(self, camera: Camera) -> np.ndarray:
        """(n,) int32, ascending: all cells in blocks that a camera's image may show, and few others."""
        x, y, z = camera.points_in_camera(self.block_centers).T
        near = z > -_BLOCK_RADIUS_M
        for axis, along, size in ((0, x, camera.width), (1, y, camera.height)):
            focal, middle = camera.K[axis, axis], camera.K[axis, 2]
            # distances to the planes through the image's two edges
            near &= focal * along + middle * z > -_BLOCK_RADIUS_M * np.hypot(focal, middle)
            near &= (size - middle) * z - focal * along > -_BLOCK_RADIUS_M * np.hypot(focal, size - middle)
        first = np.append(0, self.block_ends[:-1])
        chosen = [np.arange(a, b, dtype=np.int32) for a, b in zip(first[near], self.block_ends[near], strict=True)]
        return np.concatenate([*chosen, np.zeros(0, np.int32)])

    def vertex_values(self, cell_values: np.ndarray, vertex_count: int) -> np.ndarray:
        """Carry an instance number per cell, (X,) int, -1 = none, to vertices: (V,) int32.

        Every vertex takes what most of its samples have, the lower number on a tie; a vertex without samples, -1.
        """
        values = cell_values[self.sample_cells].astype(np.int64)
        width = int(values.max(initial=-1)) + 2
        keys, counts = np.unique(self.sample_vertices * np.int64(width) + values + 1, return_counts=True)
        vertices, found = np.divmod(keys, width)
        # the last entry of a vertex is its most frequent value
        order = np.lexsort([-found, counts, vertices])
        last = np.flatnonzero(np.append(np.diff(vertices[order]) != 0, True)) if len(order) else order
        result = np.full(vertex_count, -1, np.int32)
        result[vertices[order][last]] = found[order][last] - 1
        return result


def surface_cells(surface: Surface, voxel_size_m: float) -> Cells:
    """Cut a mesh or point cloud into cells about as large as a voxel.

    Where vertices are as sparse as voxels, as in meshes fused at that voxel size, each is a cell of its own: a voxel
    over the edge between two objects would have to belong to one of them. Where they are denser, voxels are the cells.
    Faces larger than a voxel are sampled within: the corners alone of a large face lie on its edges, where masks are
    least sure.

    Args:
        surface: at least one vertex.
        voxel_size_m: edge of a voxel.
    """
    points, normals, vertices = _samples(surface, voxel_size_m)
    place = np.floor(points / voxel_size_m).astype(np.int64)
    place -= place.min(axis=0)
    strides = _strides(place)
    keys, voxels = np.unique(place @ strides, return_inverse=True)
    voxels = np.ravel(voxels)
    cells = _cells(voxels, points, len(surface.vertices))
    mean, sides = _means(points, cells), _means(normals, cells)
    if surface.is_mesh:
        pairs = _mesh_pairs(surface, cells, voxels, _neighbours(keys, strides))
    else:
        pairs = _cloud_pairs(mean, voxel_size_m)
    order, ends, centers = _in_blocks(mean)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    length = np.linalg.norm(sides, axis=1, keepdims=True)
    one_sided = (length > _NORMAL_AGREEMENT_MIN) & surface.is_mesh
    sides = np.where(one_sided, sides / np.maximum(length, 1e-9), 0)
    return Cells(
        points=mean[order].astype(np.float32),
        normals=sides[order].astype(np.float32),
        pairs=_distinct(rank[pairs]).astype(np.int32),
        block_ends=ends,
        block_centers=centers,
        sample_cells=rank[cells].astype(np.int32),
        sample_vertices=vertices.astype(np.int32),
    )


def _in_blocks(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An order of cells (X,) that has neighbours together, where its blocks end (B,), and their centres (B, 3)."""
    block = np.floor(points / _BLOCK_M)
    order = np.lexsort(block.T[::-1])  # stable: within a block the cells keep their order
    changes = np.flatnonzero((np.diff(block[order], axis=0) != 0).any(axis=1)) + 1
    ends = np.append(changes, len(order))
    return order, ends, (block[order][ends - 1] + 0.5) * _BLOCK_M


def _means(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(X, 3) float64: the mean of values (S, 3) over each cell's samples."""
    total = np.stack([np.bincount(cells, values[:, axis]) for axis in range(3)], axis=1)
    return total / np.bincount(cells)[:, None]


def _cells(voxels: np.ndarray, points: np.ndarray, vertex_count: int) -> np.ndarray:
    """The cell of every sample, (S,) int64, in an order that does not depend on that of the vertices."""
    if vertex_count > _VERTICES_PER_VOXEL_MAX * len(np.unique(voxels[:vertex_count])):
        return voxels
    # vertices at one place, which unwelded faces have, are one
    fine = np.floor(points / _WELD_M).astype(np.int64)
    fine[vertex_count:] = 0
    inside = np.arange(len(points)) >= vertex_count
    order = np.lexsort([*fine.T[::-1], inside, voxels])
    keys = np.column_stack([voxels, inside, fine])[order]
    cells = np.empty(len(points), np.int64)
    cells[order] = np.append(0, np.cumsum((np.diff(keys, axis=0) != 0).any(axis=1)))
    return cells


def _mesh_pairs(surface: Surface, cells: np.ndarray, voxels: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """(E, 2) int64: cells that an edge joins, that share a voxel, or whose voxels touch and are not single vertices."""
    if cells is not voxels:
        # single vertices are joined by edges: what lies beside them without one is something else
        sampled = np.isin(np.arange(int(voxels.max()) + 1), voxels[len(surface.vertices) :])
        touching = touching[sampled[touching].any(axis=1)]
    first = np.full(int(voxels.max()) + 1, len(cells))
    np.minimum.at(first, voxels, cells)  # one cell stands for its voxel
    corners = cells[surface.faces]  # vertices are the first samples
    edges = [corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]
    return _distinct(np.concatenate([*edges, np.stack([first[voxels], cells], axis=1), first[touching]]))


def _cloud_pairs(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(E, 2) int64: neighbours in a cloud, at most 8 each, within a few times its spacing or a voxel's diagonal."""
    from scipy.spatial import KDTree

    distance, neighbour = KDTree(points).query(points, k=min(9, len(points)))
    distance, neighbour = distance.reshape(len(points), -1)[:, 1:], neighbour.reshape(len(points), -1)[:, 1:]
    if not distance.size:
        return np.zeros((0, 2), np.int64)
    near = distance <= max(_CLOUD_SPACINGS * float(np.median(distance[:, 0])), voxel_size_m * 3**0.5)
    source = np.broadcast_to(np.arange(len(points))[:, None], near.shape)[near]
    return _distinct(np.stack([source, neighbour[near]], axis=1))


def _distinct(pairs: np.ndarray) -> np.ndarray:
    """Each pair (a, b) of different cells once, the lower first; (E, 2) int64."""
    a, b = pairs[pairs[:, 0] != pairs[:, 1]].T.astype(np.int64)
    count = int(pairs.max(initial=0)) + 1
    # sorted: `np.unique` takes many times as long with its table of hashes
    keys = np.sort(np.minimum(a, b) * count + np.maximum(a, b))
    keys = keys[np.append(True, np.diff(keys) != 0)[: len(keys)]]
    return np.stack(np.divmod(keys, count), axis=1)


def _samples(surface: Surface, voxel_size_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (S, 3), normals (S, 3) and the nearest vertex (S,): all vertices, and the inside of large faces."""
    points, normals = [surface.vertices.astype(np.float64)], [surface.normals.astype(np.float64)]
    vertices = [np.arange(len(surface.vertices))]
    if surface.is_mesh:
        a, b, c = (surface.vertices[surface.faces[:, corner]].astype(np.float64) for corner in range(3))
        steps = np.stack([np.linalg.norm(b - a, axis=1), np.linalg.norm(c - a, axis=1)], axis=1) / voxel_size_m
        far = np.linalg.norm(c - b, axis=1) / voxel_size_m
        large = np.flatnonzero(np.maximum(steps.max(axis=1), far) > _LARGE_FACE_VOXELS)
        face, second, third = _inside(np.ceil(np.maximum(steps[large], 1)).astype(np.int64))
        face = large[face]
        weights = np.stack([1 - second - third, second, third], axis=1)
        points.append(a[face] * weights[:, :1] + b[face] * weights[:, 1:2] + c[face] * weights[:, 2:])
        normals.append(surface.face_normals()[0][face])
        vertices.append(surface.faces[face, weights.argmax(axis=1)])
    return np.concatenate(points), np.concatenate(normals), np.concatenate(vertices)


def _inside(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grid within each triangle: steps (n, 2) along its two edges, to triangle (S,) and two weights (S,)."""
    counts = steps.prod(axis=1)
    triangle = np.repeat(np.arange(len(steps)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    across, along = np.divmod(place, steps[triangle, 1])
    second, third = (across + 0.5) / steps[triangle, 0], (along + 0.5) / steps[triangle, 1]
    within = second + third < 1
    return triangle[within], second[within], third[within]


def _strides(place: np.ndarray) -> np.ndarray:
    """What a grid place (x, y, z) is multiplied by to make one key, with a free border around the grid."""
    _, y, z = place.max(axis=0) + 3
    return np.array([y * z, z, 1], np.int64)


def _neighbours(keys: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """(E, 2) int32 pairs of positions in the sorted keys (X,)."""
    steps = np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    pairs = []
    for step in (steps @ strides)[steps @ strides > 0]:
        position = np.searchsorted(keys, keys + step)
        found = np.flatnonzero(keys[np.minimum(position, len(keys) - 1)] == keys + step)
        pairs.append(np.stack([found, position[found]], axis=1))
    return np.concatenate(pairs).astype(np.int32)
