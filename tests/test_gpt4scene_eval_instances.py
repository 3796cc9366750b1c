"""`gpt4scene eval-instances`: from a scene folder and the truth to a table."""

import json
import shutil
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from bev.surface import Surface, load_surface, save_surface
from bev.synthetic import Film, film, synthetic_room, write_seven_scenes
from gpt4scene.cli.eval_instances import eval_instances
from gpt4scene.cli.main import main
from gpt4scene.scene.prepare import prepare
from gpt4scene.scene.scene import load_scene
from gpt4scene.scene.truth import STRUCTURE, load_truth, score_scene
from markers import VOID


class Capture:
    """A filmed room with its true mesh and the true object of each of its vertices, and scenes made of it."""

    def __init__(self, folder: Path):
        self.walk: Film = film(synthetic_room(3), frames=20, width=240, height=180)
        self.folder, self.mesh, self.truth = folder, folder / "mesh.ply", folder / "truth.npy"
        sequence = write_seven_scenes(self.walk, folder / "room")
        save_surface(self.walk.surface, self.mesh)
        np.save(self.truth, self.walk.room.vertex_ids)
        few = {"frames": 3, "bev_size": 128, "align": False}
        self.exact, self.clustered, self.fused = (folder / name for name in ("exact", "clustered", "fused"))
        prepare(sequence, self.exact, surface=self.mesh, proposals=self.truth, **few)
        prepare(sequence, self.clustered, surface=self.mesh, **few)
        prepare(sequence, self.fused, **few)

    def annotate(self, folder: Path, labels: dict[int, str]) -> Path:
        """ScanNet's annotation: a segment per object, one for the structure (0) and one that is left out (1)."""
        room = self.walk.room
        segments = np.where(room.vertex_ids >= 0, room.vertex_ids + 2, np.where(room.structure == 1, 0, 1))
        (folder / "room.segs.json").write_text(json.dumps({"segIndices": segments.tolist()}))
        groups = [{"objectId": 1000, "segments": [0], "label": "Floor"}]
        groups += [{"objectId": id, "segments": [id + 2], "label": label} for id, label in labels.items()]
        path = folder / "room.aggregation.json"
        path.write_text(json.dumps({"segGroups": groups}))
        return path


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture(tmp_path_factory.mktemp("captured"))


def _scores(capsys: pytest.CaptureFixture[str], tmp_path: Path, scene: Path, truth: Path, *options: object):
    """The printed table, and the numbers as they are written."""
    written = tmp_path / "scores.json"
    arguments = ["eval-instances", scene, "--truth", truth, "--json", written, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out, json.loads(written.read_text())


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["eval-instances", *(str(argument) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def test_the_truth_as_proposals_scores_one(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table, numbers = _scores(capsys, tmp_path, capture.exact, capture.truth, "--min-region", 1)
    objects = len(capture.walk.room.objects)
    scored = numbers["any_class"]["classes"]["any"]
    assert scored == {"ap": 1.0, "ap50": 1.0, "ap25": 1.0, "objects": objects, "found": objects}
    assert numbers["by_class"] is None  # per-vertex ids have no names
    surface, frames = numbers["surface"], numbers["frames"]
    assert (surface["one_id"], surface["spurious"], surface["purity"]) == (objects, 0, 1.0)
    assert (frames["frames"], frames["idf1"], frames["switches"], frames["purity"]) == (3, 1.0, 0, 1.0)
    assert f"{objects} of {objects} (100.0 %)" in table and "IDF1 1.000" in table


def test_clustering_scores_less(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, numbers = _scores(capsys, tmp_path, capture.clustered, capture.truth, "--min-region", 20)
    assert 0 < numbers["any_class"]["ap25"] < 1
    assert 0 < numbers["surface"]["one_id"] < numbers["surface"]["objects"]
    assert 0 < numbers["frames"]["idf1"] < 1


def test_a_fused_scene_is_scored_against_the_annotated_mesh(
    capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scene = load_scene(capture.fused)
    truth = load_truth(capture.truth, scene, truth_surface=capture.mesh)
    upright = capture.walk.surface.moved(scene.world_from_source)
    for id in truth.ids():
        box = upright.vertices[capture.walk.room.vertex_ids == id]
        carried = scene.surface.vertices[truth.vertex_ids == id]
        assert (carried > box.min(axis=0) - 0.05).all() and (carried < box.max(axis=0) + 0.05).all()
    # what the sensor saw is of the true room, but for what its noise blew off the surface
    assert (truth.vertex_ids == VOID).mean() < 0.1
    sizes = np.bincount(truth.vertex_ids[truth.vertex_ids >= 0])
    options = ("--truth-surface", capture.mesh, "--min-region", 20)
    _, numbers = _scores(capsys, tmp_path, capture.fused, capture.truth, *options)
    assert numbers["surface"]["objects"] == (sizes >= 20).sum() > 5
    assert 0 < numbers["any_class"]["ap25"] < 1


def test_the_scenes_own_surface_carries_onto_itself(capture: Capture, tmp_path: Path):
    scene, room = load_scene(capture.exact), capture.walk.room
    own = load_truth(capture.truth, scene)
    assert np.array_equal(own.vertex_ids, room.vertex_ids)
    touching = load_truth(capture.truth, scene, truth_surface=capture.mesh)
    # where two objects touch, one's corner may lie on the other's face
    assert (touching.vertex_ids == own.vertex_ids).mean() > 0.97
    cloud = tmp_path / "cloud.ply"
    mesh = load_surface(capture.mesh)
    save_surface(Surface(mesh.vertices, np.zeros((0, 3)), mesh.colors, mesh.normals), cloud)
    points = load_truth(capture.truth, scene, truth_surface=cloud)
    assert (points.vertex_ids == own.vertex_ids).mean() > 0.97


def test_a_face_between_two_objects_is_of_the_nearer_corners(capture: Capture, tmp_path: Path):
    by_place = (capture.walk.surface.vertices[:, 0] > 0.1).astype(np.int32)  # cuts through faces, and through no vertex
    np.save(tmp_path / "halves.npy", by_place)
    scene = load_scene(capture.exact)
    truth = load_truth(tmp_path / "halves.npy", scene, truth_surface=capture.mesh)
    assert (truth.vertex_ids == by_place).mean() > 0.9999


def test_labels_structure_and_what_nobody_labelled(
    capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = {thing.id: thing.label for thing in capture.walk.room.objects}
    left_out = min(names)
    path = capture.annotate(tmp_path, {id: name for id, name in names.items() if id != left_out})
    scene, room = load_scene(capture.exact), capture.walk.room
    truth = load_truth(path, scene)
    assert set(truth.ids().tolist()) == set(names) - {left_out}
    assert (truth.vertex_ids[room.structure == 1] == -1).all()
    assert (truth.vertex_ids[room.structure == 2] == VOID).all()
    assert (truth.vertex_ids[room.vertex_ids == left_out] == VOID).all()
    table, numbers = _scores(capsys, tmp_path, capture.exact, path, "--min-region", 1)
    # the scene's objects have no names, so they are right only where none are asked for
    assert numbers["any_class"]["ap"] == 1.0 and numbers["by_class"]["ap"] == 0.0
    assert set(numbers["by_class"]["classes"]) == set(names.values()) - (
        set() if names[left_out] in [names[id] for id in names if id != left_out] else {names[left_out]}
    )
    assert "mean of classes" in table and all(f"  {name}" in table for name in numbers["by_class"]["classes"])
    # the floor is an object when nobody says otherwise, and one that no id has
    _, with_floor = _scores(capsys, tmp_path, capture.exact, path, "--min-region", 1, "--ignore", "wall")
    assert with_floor["surface"]["objects"] == numbers["surface"]["objects"] + 1
    assert with_floor["surface"]["no_id"] == 1


def test_named_instances_are_scored_by_class(capture: Capture, tmp_path: Path):
    names = {thing.id: thing.label for thing in capture.walk.room.objects}
    path = capture.annotate(tmp_path, names)
    few = {"frames": 2, "bev_size": 128, "align": False}
    scene = prepare(capture.folder / "room", tmp_path / "scene", surface=capture.mesh, proposals=path, **few)
    scores = score_scene(scene, load_truth(path, scene), min_region=1)
    assert scores.by_class is not None and scores.by_class.ap == 1.0
    # the floor is an instance of this scene too: nothing to average precision, spurious as an id
    assert (scores.surface.one_id, scores.surface.spurious) == (len(names), 1)


def test_small_objects_are_not_asked_for(capture: Capture):
    scene = load_scene(capture.exact)
    truth = load_truth(capture.truth, scene)
    sizes = np.bincount(truth.vertex_ids[truth.vertex_ids >= 0])
    least = int(np.sort(sizes[sizes > 0])[-3])
    scores = score_scene(scene, truth, min_region=least)
    assert scores.surface.objects == 3 == scores.any_class.classes["any"].objects
    assert scores.surface.spurious == 0 and scores.any_class.ap == 1.0  # ids on the small ones cost nothing
    assert scores.frames.idf1 == 1.0 and 0 < scores.frames.objects <= 3


def test_what_is_not_defined_is_null(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table, numbers = _scores(capsys, tmp_path, capture.exact, capture.truth, "--min-region", 1, "--min-px", 10**6)
    assert numbers["frames"]["idf1"] is None and "IDF1 -" in table


def test_a_truth_for_another_mesh_names_the_option(capture: Capture, capsys: pytest.CaptureFixture[str]):
    line = _fails(capsys, capture.fused, "--truth", capture.truth)
    assert "46365 entries" in line and "with --truth-surface" in line


def test_a_mesh_of_another_world_is_refused(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    away = np.eye(4)
    away[:3, 3] = 5
    save_surface(load_surface(capture.mesh).moved(away), tmp_path / "away.ply")
    line = _fails(capsys, capture.fused, "--truth", capture.truth, "--truth-surface", tmp_path / "away.ply")
    assert "away.ply: only" in line and "within 5 cm" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--min-region", 0), "--min-region 0"),
        (("--min-px", -1), "--min-px -1"),
        (("--reach-m", 0), "--reach-m 0"),
        (("--min-region", 10**6), "lower --min-region"),
        (("--json", "nowhere/scores.json"), "its folder is not there"),
        (("--truth-surface", "nowhere.ply"), "nowhere.ply: no such surface"),
        (("--ignore", "object"), "leave some out of --ignore"),
    ],
)
def test_options_that_cannot_be(capture: Capture, capsys: pytest.CaptureFixture[str], options: tuple, said: str):
    assert said in _fails(capsys, capture.exact, "--truth", capture.truth, *options)


def test_the_command_ignores_what_the_library_does():
    assert signature(eval_instances).parameters["ignore"].default == STRUCTURE


def test_no_truth_no_scene_no_table(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "--truth" in _fails(capsys, capture.exact)
    assert "nothing.npy: no such file" in _fails(capsys, capture.exact, "--truth", tmp_path / "nothing.npy")
    assert "prepare" in _fails(capsys, tmp_path, "--truth", capture.truth)
    np.save(tmp_path / "none.npy", np.full(46365, -1))
    assert "no instance" in _fails(capsys, capture.exact, "--truth", tmp_path / "none.npy")


def test_without_metric_scale_no_other_mesh_fits(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene = Path(shutil.copytree(capture.exact, tmp_path / "scene"))
    document = json.loads((scene / "scene.json").read_text())
    (scene / "scene.json").write_text(json.dumps(document | {"units": "arbitrary"}))
    assert "no metric scale" in _fails(capsys, scene, "--truth", capture.truth, "--truth-surface", capture.mesh)
    assert main(["eval-instances", str(scene), "--truth", str(capture.truth)]) == 0
