"""The whole way from a capture to a scene folder: marks against the truth of synthetic rooms, and the real kitchen."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import bev
import gpt4scene
from bev.camera import transform_points
from bev.surface import SurfaceCaster, save_surface
from bev.synthetic import Film, film, synthetic_room, write_seven_scenes
from gpt4scene.scene.prepare import prepare


@dataclass(frozen=True)
class Prepared:
    film: Film
    scene: gpt4scene.Scene


@pytest.fixture(scope="module", params=[11, 12])
def truth_marked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A synthetic room prepared with its true instances as proposals, every frame in the scene."""
    folder = tmp_path_factory.mktemp(f"room{request.param}")
    walk = film(synthetic_room(request.param), frames=16, registered=request.param % 2 == 0)
    capture = write_seven_scenes(walk, folder / "capture")
    save_surface(walk.surface, folder / "mesh.ply")
    np.save(folder / "ids.npy", walk.room.vertex_ids)
    scene = prepare(
        capture, folder / "scene", surface=folder / "mesh.ply", proposals=folder / "ids.npy", frames=16, bev_size=896
    )
    return Prepared(walk, scene)


def seen_from_above(prepared: Prepared, points: np.ndarray) -> np.ndarray:
    """(N,) the true object under points (N, 3) of the scene's world: of the room's faces that look up, the highest."""
    room = prepared.film.room
    world_from_room = prepared.scene.world_from_source @ prepared.film.world_from_room
    surface = room.surface.moved(world_from_room)
    normals, _ = surface.face_normals()
    upward = np.flatnonzero(normals[:, 2] > 0)
    a, b, c = (surface.vertices[surface.faces[upward, corner]].astype(float) for corner in range(3))
    found = np.full(len(points), -2)
    for i, (x, y, _) in enumerate(points):
        # barycentric coordinates in the plan
        v0, v1, v2 = b[:, :2] - a[:, :2], c[:, :2] - a[:, :2], np.array([x, y]) - a[:, :2]
        area = v0[:, 0] * v1[:, 1] - v1[:, 0] * v0[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            second = (v2[:, 0] * v1[:, 1] - v1[:, 0] * v2[:, 1]) / area
            third = (v0[:, 0] * v2[:, 1] - v2[:, 0] * v0[:, 1]) / area
        over = (second >= 0) & (third >= 0) & (second + third <= 1)
        height = np.where(over, a[:, 2] + second * (b - a)[:, 2] + third * (c - a)[:, 2], -np.inf)
        if over.any():
            found[i] = room.face_ids[upward[height.argmax()]]
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_imported_ids_and_boxes_are_kept(truth_marked: Prepared):
    scene, room = truth_marked.scene, truth_marked.film.room
    assert [instance.id for instance in scene.instances] == [thing.id for thing in room.objects]
    for instance, thing in zip(scene.instances, room.objects, strict=True):
        # the canonical world may be turned by quarter turns, so sizes are compared without their order
        assert np.sort(instance.box.size) == pytest.approx(np.sort(thing.size), abs=0.02 + 0.05 * thing.size.max())


def test_every_anchor_is_on_a_pixel_of_its_object(truth_marked: Prepared):
    for frame in truth_marked.scene.frames:
        truth = truth_marked.film.instance_ids(frame.index)
        for marker in frame.markers:
            assert truth[int(marker.uv[1]), int(marker.uv[0])] == marker.id, (frame.index, marker)


def test_every_object_in_sight_has_exactly_one_mark(truth_marked: Prepared):
    for frame in truth_marked.scene.frames:
        ids, counts = np.unique(truth_marked.film.instance_ids(frame.index), return_counts=True)
        in_sight = [id for id, count in zip(ids.tolist(), counts.tolist(), strict=True) if id >= 0 and count >= 1000]
        marked = [marker.id for marker in frame.markers]
        assert len(marked) == len(set(marked))
        assert set(in_sight) <= set(marked), frame.index


def test_marks_of_the_birds_eye_view_are_on_their_objects(truth_marked: Prepared):
    bev_view = truth_marked.scene.bev
    markers = bev_view.markers
    points = bev_view.camera.unproject(np.array([marker.uv for marker in markers]), np.zeros(len(markers)))
    assert len(markers) >= 15
    assert seen_from_above(truth_marked, points).tolist() == [marker.id for marker in markers]


def test_every_object_seen_from_above_has_exactly_one_mark(truth_marked: Prepared):
    bev_view = truth_marked.scene.bev
    # every 8th pixel either way: 1,000 px of an object are 15 of these
    rows, columns = np.mgrid[4 : bev_view.camera.height : 8, 4 : bev_view.camera.width : 8]
    uv = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    truth = seen_from_above(truth_marked, bev_view.camera.unproject(uv, np.zeros(len(uv))))
    ids, counts = np.unique(truth, return_counts=True)
    in_sight = {id for id, count in zip(ids.tolist(), counts.tolist(), strict=True) if id >= 0 and count >= 15}
    marked = [marker.id for marker in bev_view.markers]
    assert len(in_sight) >= 8 and in_sight <= set(marked) and len(marked) == len(set(marked))


def test_labels_neither_overlap_nor_leave_the_image(truth_marked: Prepared):
    for view in truth_marked.scene.all_views:
        boxes = [marker.label_box for marker in view.markers]
        for i, box in enumerate(boxes):
            assert box[0] >= 0 and box[1] >= 0 and box[2] <= view.camera.width and box[3] <= view.camera.height
            assert not any(overlap(box, other) for other in boxes[i + 1 :])


def test_rays_through_marks_hit_their_instance_on_synthetic_rooms(truth_marked: Prepared):
    assert_rays_hit(truth_marked.scene)


def assert_rays_hit(scene: gpt4scene.Scene) -> None:
    from bev.render import caster_from_above

    surface = scene.surface
    for view in scene.all_views:
        caster = caster_from_above(surface, scene.cut_height_m) if view is scene.bev else SurfaceCaster(surface)
        uv = np.array([marker.uv for marker in view.markers]).reshape(-1, 2)
        _, vertices, _ = caster.hits(view.camera, uv)
        assert (vertices >= 0).all()
        assert scene.vertex_ids[vertices].tolist() == [marker.id for marker in view.markers]


@pytest.fixture(scope="module")
def kitchen_scene(kitchen_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gpt4scene.Scene]:
    folder = tmp_path_factory.mktemp("kitchen") / "scene"
    return folder, prepare(kitchen_path, folder)


def test_rays_through_marks_hit_their_instance_in_the_kitchen(kitchen_scene: tuple[Path, gpt4scene.Scene]):
    _, scene = kitchen_scene
    assert sum(len(view.markers) for view in scene.all_views) > 60
    assert_rays_hit(scene)


def test_the_table_is_projected_onto_the_table(kitchen_path: Path, kitchen_scene: tuple[Path, gpt4scene.Scene]):
    """Where its rim falls in colour images there are edges, unlike with the depth camera's numbers for colour."""
    _, scene = kitchen_scene
    objects = json.loads((kitchen_path / "objects.json").read_text())["objects"]
    (center,) = transform_points(scene.world_from_source, np.array([objects[0]["center"]]))
    table = min(scene.instances, key=lambda one: float(np.linalg.norm((one.box.center - center)[:2])))
    caster = SurfaceCaster(scene.surface)
    depth_K = np.loadtxt(kitchen_path / "camera-intrinsics.txt")
    right, wrong = [], []
    for frame in scene.frames:
        edges = cv2.Canny(cv2.GaussianBlur(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), (0, 0), 1.5), 60, 150)
        away_px = cv2.distanceTransform((edges == 0).astype(np.uint8), cv2.DIST_L2, 5)
        for distances, K in ((right, frame.camera.K), (wrong, depth_K)):
            view = caster.view(replace(frame.camera, K=K))
            behind_m = cv2.dilate(view.depth, np.ones((3, 3), np.uint8)) - view.depth
            rim = (np.append(scene.vertex_ids, -1)[view.vertex_ids] == table.id) & (behind_m > 0.15)
            distances.append(away_px[rim])
    right_px, wrong_px = np.concatenate(right), np.concatenate(wrong)
    assert len(right_px) > 1000
    assert np.median(right_px) <= 5
    assert np.mean(right_px < 4) > 1.25 * np.mean(wrong_px < 4)


def test_the_same_input_twice_gives_the_same_scene(kitchen_path, kitchen_scene, tmp_path: Path):
    first, _ = kitchen_scene
    prepare(kitchen_path, tmp_path / "again")

    def document(folder: Path) -> dict:
        content = json.loads((folder / "scene.json").read_text())
        del content["run"]["seconds"]
        return content

    assert document(first) == document(tmp_path / "again")
    images = [path.relative_to(first) for ending in ("png", "jpg") for path in sorted(first.glob(f"**/*.{ending}"))]
    assert len(images) == 18
    for image in [*images, Path("surface.ply"), Path("instances.npz")]:
        assert (first / image).read_bytes() == (tmp_path / "again" / image).read_bytes(), image


def test_a_second_run_does_nothing_again(kitchen_path, kitchen_scene):
    folder, _ = kitchen_scene
    before = {path: path.stat().st_mtime_ns for path in folder.glob("**/*") if path.is_file() and path.name != "lock"}
    prepare(kitchen_path, folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_library_way_gives_the_same_marks(kitchen, kitchen_path):
    from markers import cluster

    scan, surface = kitchen
    top = bev.render_bev(surface, scan, long_side_px=512)
    scene = gpt4scene.compose(top, scan, surface, cluster(surface), frames=3)
    assert len(scene.frames) == 3 and len(scene.instances) > 20
    assert all(frame.image.shape == (480, 640, 3) for frame in scene.frames)
    views = scene.views(560, 420, 28)
    assert [frame.shape for frame in views.frames] == [(420, 560, 3)] * 3
    assert views.bev.shape[0] % 28 == views.bev.shape[1] % 28 == 0
