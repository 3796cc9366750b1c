"""Objects from geometry alone: on scenes of a few boxes, on filmed synthetic rooms, on a real kitchen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bev import Scan, Surface, fuse
from bev.camera import transform_points
from bev.errors import require
from bev.surface import canonical_order
from bev.synthetic import Room, film, synthetic_room
from markers.cluster import cluster
from markers.instance import Instance, vertex_instance_ids

STEP_M = 0.02


def _sheet(origin, u, v) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rectangle as a grid of triangles: points, faces, normals; `u` x `v` points to its free side."""
    origin, u, v = (np.asarray(x, float) for x in (origin, u, v))
    columns, rows = (max(1, round(np.linalg.norm(x) / STEP_M)) for x in (u, v))
    i, j = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1), indexing="ij")
    points = origin + (i / columns)[..., None] * u + (j / rows)[..., None] * v
    index = np.arange((columns + 1) * (rows + 1)).reshape(columns + 1, rows + 1)
    a, b, c, d = (x.ravel() for x in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    normal = np.cross(u, v)
    return points.reshape(-1, 3), faces, np.tile(normal / np.linalg.norm(normal), (index.size, 1))


def _box(low, high) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    (x0, y0, z0), (x1, y1, z1) = low, high
    dx, dy, dz = (x1 - x0, 0, 0), (0, y1 - y0, 0), (0, 0, z1 - z0)
    back = [(x0, y0, z0), (x0, y0, z0), (x0, y0, z0)]
    front = [(x0, y0, z1), (x1, y0, z0), (x0, y1, z0)]
    sheets = [_sheet(o, u, v) for o, u, v in zip(front, (dx, dy, dz), (dy, dz, dx), strict=True)]
    return sheets + [_sheet(o, u, v) for o, u, v in zip(back, (dy, dz, dx), (dx, dy, dz), strict=True)]


def _surface(things: dict[int, list]) -> tuple[Surface, np.ndarray]:
    """One mesh of several sheets, corners welded within each thing, and which thing every vertex is of."""
    points, faces, normals, ids, start = [], [], [], [], 0
    for number, sheets in things.items():
        for p, f, n in sheets:
            points.append(p), faces.append(f + start), normals.append(n), ids.append(np.full(len(p), number))
            start += len(p)
    points, normals, ids = np.concatenate(points), np.concatenate(normals), np.concatenate(ids)
    # touching things share vertices, as they do in a fused mesh
    _, first, inverse = np.unique(np.round(points, 4), axis=0, return_index=True, return_inverse=True)
    inverse = np.ravel(inverse)
    mean = np.stack([np.bincount(inverse, normals[:, k]) for k in range(3)], 1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    colors = np.full((len(first), 3), 120)
    return Surface(points[first], inverse[np.concatenate(faces)], colors, mean), ids[first]


def _room() -> dict[int, list]:
    floor = _sheet((0, 0, 0), (4, 0, 0), (0, 3, 0))
    walls = [_sheet((0, 0, 0), (0, 0, 2), (4, 0, 0)), _sheet((0, 0, 0), (0, 3, 0), (0, 0, 2))]
    return {-1: [floor, *walls]}


def _table(x: float, y: float) -> list:
    legs = [(x + a, y + b) for a in (0.02, 1.12) for b in (0.02, 0.72)]
    top = _box((x, y, 0.7), (x + 1.2, y + 0.8, 0.74))
    return top + [sheet for a, b in legs for sheet in _box((a, b, 0), (a + 0.06, b + 0.06, 0.7))]


def _owners(instances: list[Instance], truth: np.ndarray) -> dict[int, set[int]]:
    """Which true things make up at least a quarter of every found object; things that touch share their border."""
    found = {}
    for instance in instances:
        things, counts = np.unique(truth[instance.vertices], return_counts=True)
        found[instance.id] = {int(t) for t, c in zip(things, counts, strict=True) if c > 0.25 * counts.sum()}
    return found


def test_what_stands_on_a_table_is_cut_from_it():
    things = _room()
    things[1] = _table(1.5, 1.2)
    things[2] = _box((2.0, 1.5, 0.74), (2.08, 1.58, 0.84))  # a cup
    things[3] = _box((2.3, 1.4, 0.74), (2.5, 1.66, 0.80))  # a thick book
    surface, truth = _surface(things)
    found = cluster(surface)
    assert sorted(map(tuple, _owners(found, truth).values())) == [(1,), (2,), (3,)]
    table = found[0]
    assert table.box.size == pytest.approx([1.2, 0.8, 0.72], abs=0.05)  # top and legs
    assert table.box.center == pytest.approx([2.1, 1.6, 0.38], abs=0.04)
    cup = next(i for i in found if _owners([i], truth)[i.id] == {2})
    assert cup.box.size == pytest.approx([0.08, 0.08, 0.1], abs=0.03)


def test_a_chair_whose_back_touches_the_table_is_not_the_table():
    things = _room()
    things[1] = _table(1.5, 1.2)
    seat = _box((1.9, 1.7, 0.42), (2.3, 2.04, 0.46))
    back = _box((1.9, 2.0, 0.46), (2.3, 2.04, 0.9))
    legs = [s for x in (1.9, 2.26) for y in (1.7, 2.0) for s in _box((x, y, 0), (x + 0.04, y + 0.04, 0.42))]
    things[2] = seat + back + legs
    surface, truth = _surface(things)
    found = cluster(surface)
    assert sorted(map(tuple, _owners(found, truth).values())) == [(1,), (2,)]
    chair = found[1]
    assert chair.box.size == pytest.approx([0.4, 0.34, 0.87], abs=0.06)


def test_things_at_a_wall_keep_their_shape_and_the_wall_is_none():
    things = _room()
    things[1] = _box((0.0, 1.0, 0.0), (0.4, 1.9, 0.8))
    things[2] = _box((2.0, 0.0, 0.0), (2.9, 0.5, 1.9))
    surface, truth = _surface(things)
    found = cluster(surface)
    assert sorted(map(tuple, _owners(found, truth).values())) == [(1,), (2,)]
    assert found[0].box.size == pytest.approx([0.9, 0.5, 1.9], abs=0.06)
    ids = vertex_instance_ids(found, len(truth))
    inner = (truth == -1) & (surface.vertices[:, 2] > 0.1)
    assert (ids[inner] < 0).mean() > 0.98


def test_two_cabinets_side_by_side_are_told_apart_by_their_tops():
    things = _room()
    things[1] = _box((1.0, 1.0, 0.0), (1.8, 1.6, 0.9))
    things[2] = _box((1.8, 1.0, 0.0), (2.6, 1.6, 1.3))
    surface, truth = _surface(things)
    assert sorted(map(tuple, _owners(cluster(surface), truth).values())) == [(1,), (2,)]


def _mixed() -> tuple[Surface, np.ndarray]:
    things = _room()
    things[1] = _table(1.5, 1.2)
    things[2] = _box((2.0, 1.5, 0.74), (2.2, 1.7, 1.0))
    things[3] = _box((0.0, 1.0, 0.0), (0.4, 1.9, 0.8))
    return _surface(things)


def test_ids_scores_and_vertices_are_as_promised():
    surface, _ = _mixed()
    found = cluster(surface)
    assert [i.id for i in found] == [1, 2, 3]
    volumes = [np.prod(i.box.size) for i in found]
    assert volumes == sorted(volumes, reverse=True)
    for instance in found:
        assert (instance.label, instance.source, instance.label_share) == ("object", "cluster", 0.0)
        assert 0 < instance.score <= 1
        assert instance.frames == ()
        assert instance.vertices.dtype == np.int32
        assert (np.diff(instance.vertices) > 0).all()
    assert vertex_instance_ids(found, len(surface.vertices)).max() == 3  # and no vertex is claimed twice


def test_the_order_of_vertices_does_not_matter():
    surface, _ = _mixed()
    order = np.random.default_rng(3).permutation(len(surface.vertices))
    rank = np.argsort(order)
    shuffled = Surface(surface.vertices[order], rank[surface.faces], surface.colors[order], surface.normals[order])
    for a, b in zip(cluster(surface), cluster(shuffled), strict=True):
        assert np.array_equal(a.vertices, np.sort(order[b.vertices]))
        assert np.array_equal(a.box.size, b.box.size)
        assert (a.score, a.box.yaw) == (b.score, b.box.yaw)


def test_a_bare_point_cloud_gives_the_same_objects():
    surface, truth = _mixed()
    cloud = replace(surface, faces=np.zeros((0, 3), np.int32))
    found = cluster(cloud)
    assert sorted(map(tuple, _owners(found, truth).values())) == [(1,), (2,), (3,)]
    for a, b in zip(cluster(surface), found, strict=True):
        assert a.box.center == pytest.approx(b.box.center, abs=0.03)


@pytest.mark.parametrize("kind", ["nothing", "three points", "a floor"])
def test_nothing_to_find(kind):
    floor, _ = _surface({-1: [_sheet((0, 0, 0), (2, 0, 0), (0, 2, 0))]})
    none = np.zeros((0, 3))
    surfaces = {
        "nothing": Surface(none, none, none, none),
        "three points": Surface(np.eye(3), none, np.eye(3), np.eye(3)),
        "a floor": floor,
    }
    assert cluster(surfaces[kind]) == []


# the film of a room, fused; and average precision at an overlap of half


def _true_ids(room: Room, surface: Surface) -> np.ndarray:
    """The object whose true face lies nearest to every vertex, (V,) int32."""
    o3d = require("open3d")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(room.surface.vertices), o3d.core.Tensor(room.surface.faces.astype(np.uint32)))
    nearest = scene.compute_closest_points(o3d.core.Tensor(surface.vertices))["primitive_ids"].numpy()
    return room.face_ids[nearest.astype(np.int64)]


def _judged(room: Room, truth: np.ndarray, found: list[Instance]) -> tuple[list[tuple[float, bool]], int]:
    """Score and hit or miss of every found object, and how many there are to find.

    To find are objects of at least 0.2 m, seen by at least 100 vertices (ScanNet's least region). What is found
    of smaller ones is neither hit nor miss.
    """
    counts = np.bincount(truth[truth >= 0], minlength=len(room.objects) + 1)
    wanted = {o.id for o in room.objects if o.size.max() >= 0.2 and counts[o.id] >= 100}
    rows, taken = [], set()
    for instance in sorted(found, key=lambda i: (-i.score, i.id)):
        ids, overlap = np.unique(truth[instance.vertices], return_counts=True)
        iou = {
            int(i): o / (len(instance.vertices) + counts[i] - o)
            for i, o in zip(ids, overlap, strict=True)
            if i in wanted
        }
        best = max(iou, key=lambda i: iou[i], default=None)
        hit = best is not None and iou[best] > 0.5 and best not in taken
        small = ~np.isin(ids, [-1, *wanted])
        if hit:
            taken.add(best)
        elif overlap[small].sum() > 0.5 * len(instance.vertices):
            continue
        rows.append((instance.score, hit))
    return rows, len(wanted)


def _average_precision(rows: list[tuple[float, bool]], count: int) -> float:
    hits = np.cumsum([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(np.sum(np.diff(hits / count, prepend=0.0) * precision))


def test_average_precision_of_a_known_ranking():
    assert _average_precision([(0.9, True), (0.8, True)], 2) == pytest.approx(1.0)
    assert _average_precision([(0.9, True), (0.8, False), (0.7, True)], 4) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert _average_precision([(0.9, False)], 3) == 0.0


def _filmed(seed: int) -> tuple[list[tuple[float, bool]], int]:
    room = synthetic_room(seed)
    surface = fuse(film(room, world_from_room=np.eye(4)).scan)
    return _judged(room, _true_ids(room, surface), cluster(surface))


@pytest.mark.parametrize("rooms", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_average_precision_on_filmed_rooms(rooms: int):
    judged = [_filmed(seed) for seed in range(rooms)]
    rows = [row for one, _ in judged for row in one]
    assert _average_precision(rows, sum(count for _, count in judged)) >= 0.6


def test_the_table_and_the_chairs_of_the_real_kitchen(kitchen: tuple[Scan, Surface], kitchen_path):
    scan, surface = kitchen
    found = cluster(surface)
    objects = json.loads((kitchen_path / "objects.json").read_text())["objects"]
    centers = transform_points(scan.world_from_source, np.array([o["center"] for o in objects]))

    def nearest(center: np.ndarray) -> tuple[float, Instance]:
        return min(((float(np.linalg.norm((i.box.center - center)[:2])), i) for i in found), key=lambda row: row[0])

    away, table = nearest(centers[0])
    assert objects[0]["label"] == "dining table" and away < 0.35
    assert sorted(table.box.size[:2]) == pytest.approx([1.1, 2.2], abs=0.2)
    assert table.box.center[2] + table.box.size[2] / 2 == pytest.approx(0.74, abs=0.05)
    chairs = set()
    for item, center in zip(objects, centers, strict=True):
        away, one = nearest(center)
        # the size of a chair or of the part of one that is seen: neither a splinter nor half the room
        if item["label"] == "chair" and away < 0.35 and 0.3 < one.box.size.max() < 1.1:
            chairs.add(one.id)
    assert len(chairs - {table.id}) >= 4


def test_the_same_kitchen_twice(kitchen: tuple[Scan, Surface]):
    _, surface = kitchen
    again = canonical_order(surface)
    first, second = cluster(surface), cluster(again)
    assert [i.id for i in first] == [i.id for i in second]
    assert all(np.array_equal(a.box.center, b.box.center) for a, b in zip(first, second, strict=True))
