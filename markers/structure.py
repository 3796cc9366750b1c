"""Floor, walls and ceiling of an upright surface, and the neighbourhood graph that clustering works on."""

from dataclasses import dataclass

import numpy as np

from bev.surface import Surface, point_spacing_m
from markers.connected import connected_of_label

FLOOR_BAND_M = 0.05
"""Sensor noise and drift at 3 m are about 2 cm; what lies flatter than this cannot be told from the floor."""
WALL_BAND_M = 0.04
"""Half the thickness of a wall's plane, for the same reason; pictures and sockets go with their wall."""
_FLAT_M = 0.06
"""What nowhere stands out further than this from its wall is the wall's: pictures, sockets, frayed edges."""
_SMOOTHING_ROUNDS = 1
_ROOM_HEIGHT_MIN_M = 1.9
_WALL_AREA_MIN_M2 = 0.3
_WALL_SHAPES_M = ((0.8, 1.2, 0.3, 0.5), (1.3, 0.6, 0.5, 1.5))
"""Least length, top and height of the seen part: tall, or long; a camera that looks down sees a wall's foot only. And
how far to its sides nothing may lie behind it: beside a wardrobe its wall is seen behind its front.
"""
_BEHIND_SHARE_MAX = 0.15
"""Of a wall's area, how much may lie behind it: doors and windows let the sensor look through. Furniture has its top
behind its front."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A surface as points with areas, joined to their neighbours."""

    points: np.ndarray
    """(V, 3) float64, metres."""
    normals: np.ndarray
    """(V, 3) float64, unit length."""
    areas: np.ndarray
    """(V,) float64, square metres that each point stands for."""
    edges: np.ndarray
    """(E, 2) int64, each pair once, lower index first."""

    def components(self, labels: np.ndarray) -> np.ndarray:
        """Connected parts of equal label: labels (V,) int, negative = left out, to (V,) int64, -1 = left out."""
        return connected_of_label(self.edges, labels)


def surface_graph(surface: Surface) -> Graph:
    """Edges of the mesh, or of a point cloud's neighbours within 2.5 times its spacing (at most 8 each)."""
    points, normals = surface.vertices.astype(np.float64), surface.normals.astype(np.float64)
    if surface.is_mesh:
        _, face_areas = surface.face_normals()
        corners = surface.faces.astype(np.int64)
        areas = np.bincount(corners.ravel(), np.repeat(face_areas / 3, 3), minlength=len(points))
        pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    else:
        pairs, areas = _cloud_neighbours(points)
    pairs.sort(axis=1)
    keys = np.unique(pairs[:, 0] * len(points) + pairs[:, 1])
    edges = np.stack(np.divmod(keys, max(len(points), 1)), axis=1)
    return Graph(points, _smoothed(normals, edges), areas, edges)


def _smoothed(normals: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Normals averaged over neighbours: a sensor's noise tilts those of far walls by 20 degrees."""
    from scipy.sparse import coo_matrix

    count = len(normals)
    ones = np.ones(len(edges))
    matrix = coo_matrix((ones, tuple(edges.T)), shape=(count, count)).tocsr()
    for _ in range(_SMOOTHING_ROUNDS):
        normals = normals + matrix @ normals + matrix.T @ normals
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return normals


def _cloud_neighbours(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import KDTree

    spacing = point_spacing_m(points)
    distance, neighbour = KDTree(points).query(points, k=min(9, len(points)), distance_upper_bound=2.5 * spacing)
    near = np.isfinite(distance[:, 1:])
    source = np.broadcast_to(np.arange(len(points))[:, None], near.shape)[near]
    cell = np.floor(points / 0.025).astype(np.int64)
    inverse = np.ravel(np.unique(cell, axis=0, return_inverse=True)[1])
    return np.stack([source, np.asarray(neighbour)[:, 1:][near]], axis=1), 0.025**2 / np.bincount(inverse)[inverse]


def structure_mask(graph: Graph) -> np.ndarray:
    """Which points are floor, wall or ceiling, or lie beyond them: (V,) bool."""
    z, up = graph.points[:, 2], graph.normals[:, 2]
    mask = (z < FLOOR_BAND_M / 2) | ((z < FLOOR_BAND_M) & (up > 0.7))
    mask |= _ceiling(graph)
    flat = np.zeros(len(z), bool)
    for normal, offset, along in _walls(graph, mask):
        distance = graph.points[:, :2] @ normal - offset
        lateral = graph.points[:, :2] @ [-normal[1], normal[0]]
        beside = (lateral > along[0] - 0.1) & (lateral < along[1] + 0.1)
        facing = graph.normals[:, :2] @ normal > 0.5
        mask |= beside & ((distance < WALL_BAND_M / 2) | ((distance < WALL_BAND_M) & facing))
        flat |= beside & (distance < _FLAT_M)
    rest = graph.components(np.where(mask, -1, 0))
    part = rest[~mask]
    area = np.bincount(part, graph.areas[~mask], minlength=1)
    flat_area = np.bincount(part, (graph.areas * flat)[~mask], minlength=1)
    mask[~mask] = (flat_area > 0.95 * area)[part]
    return mask


def _ceiling(graph: Graph) -> np.ndarray:
    z = graph.points[:, 2]
    down = (graph.normals[:, 2] < -0.8) & (z > _ROOM_HEIGHT_MIN_M)
    if graph.areas[down].sum() < _WALL_AREA_MIN_M2:
        return np.zeros(len(z), bool)
    level = np.round(z[down] / FLOOR_BAND_M).astype(int)
    area = np.bincount(level, graph.areas[down])
    low = np.flatnonzero(area > 0.2 * area.max())[0] * FLOOR_BAND_M
    return z > low - FLOOR_BAND_M


def _walls(graph: Graph, known: np.ndarray) -> list[tuple[np.ndarray, float, tuple[float, float]]]:
    """Planes as (normal into the room (2,), offset, (from, to) along the plane), by a Hough vote over directions."""
    upright = np.flatnonzero((np.abs(graph.normals[:, 2]) < 0.35) & ~known)
    walls = []
    while graph.areas[upright].sum() > _WALL_AREA_MIN_M2:
        normal, offset, votes = _strongest_plane(graph, upright)
        if votes < _WALL_AREA_MIN_M2 / 2:
            break
        facing = graph.normals[upright, :2] @ normal > 0.85
        inlier = facing & (np.abs(graph.points[upright, :2] @ normal - offset) < WALL_BAND_M)
        if graph.areas[upright[inlier]].sum() > _WALL_AREA_MIN_M2:
            along = _wall_span(graph, upright[inlier], normal, offset)
            if along is not None:
                walls.append((normal, offset, along))
        if not inlier.any():
            break
        upright = upright[~inlier]
    return walls


def _strongest_plane(graph: Graph, upright: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The vertical plane with the most area: every 2 degrees, in steps of 4 cm, then a least-squares fit."""
    xy, normals, areas = graph.points[upright, :2], graph.normals[upright, :2], graph.areas[upright]
    azimuth = np.degrees(np.arctan2(normals[:, 1], normals[:, 0])) % 360
    order = np.argsort(azimuth, kind="stable")
    # once around and a bit more, so that every direction's neighbours are one run of the sorted points
    order, turned = np.concatenate([order, order]), np.concatenate([azimuth[order], azimuth[order] + 360])
    best, normal, offset = 0.0, np.array([1.0, 0.0]), 0.0
    for angle in np.arange(8, 368, 2):
        facing = order[np.searchsorted(turned, angle - 8) : np.searchsorted(turned, angle + 8)]
        if areas[facing].sum() <= best:
            continue
        direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        distance = xy[facing] @ direction
        low = distance.min()
        votes = np.bincount(((distance - low) / WALL_BAND_M).astype(int), areas[facing])
        pairs = votes + np.append(votes[1:], 0)
        if pairs.max() > best:
            best, normal, offset = float(pairs.max()), direction, low + (pairs.argmax() + 1) * WALL_BAND_M
    for _ in range(3):
        near = (np.abs(xy @ normal - offset) < 1.5 * WALL_BAND_M) & (normals @ normal > 0.85)
        if not near.any():
            break
        weight = areas[near] / areas[near].sum()
        middle = weight @ xy[near]
        centred = xy[near] - middle
        _, axes = np.linalg.eigh((centred * weight[:, None]).T @ centred)
        normal = axes[:, 0] if axes[:, 0] @ normal > 0 else -axes[:, 0]
        offset = float(middle @ normal)
    return normal, offset, best


def _wall_span(graph: Graph, inliers: np.ndarray, normal: np.ndarray, offset: float) -> tuple[float, float] | None:
    """From where to where along itself the plane is a wall; None when it is furniture."""
    side = np.array([-normal[1], normal[0]])
    lateral = graph.points[inliers, :2] @ side
    low, high = np.quantile(lateral, [0.005, 0.995])
    bottom, top = np.quantile(graph.points[inliers, 2], [0.05, 0.95])
    all_lateral = graph.points[:, :2] @ side
    behind = graph.points[:, :2] @ normal - offset < -2.5 * WALL_BAND_M
    for length, least_top, height, margin in _WALL_SHAPES_M:
        beside = (all_lateral > low - margin) & (all_lateral < high + margin)
        shaped = high - low > length and top > least_top and top - bottom > height
        if shaped and graph.areas[beside & behind].sum() < _BEHIND_SHARE_MAX * graph.areas[inliers].sum():
            return float(low), float(high)
    return None
