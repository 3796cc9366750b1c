"""The whole way from a capture to a scene folder: marks against the truth of synthetic rooms, and the real kitchen."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bev
import gpt4scene
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
