"""Objects of scenes: a synthetic room as ScanNet's files have it, and attribute files of GPT4Scene."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from box_scene import BOXES, LABELS, box_scene

from bev.errors import UserError
from bev.ply import write_ply
from bev.synthetic import Film, film, synthetic_room
from gpt4scene.benchmarks.objects import (
    Overlap,
    SceneObjects,
    TrueObject,
    best_overlap,
    claims,
    objects_from_attributes,
    overlaps,
)
from gpt4scene.benchmarks.scannet_objects import check_numbers, find_scan, objects_of_scene
from gpt4scene.metrics.boxes import box_iou
from gpt4scene.scene.prepare import prepare
from gpt4scene.scene.scene import Scene

NAME = "scene0007_00"


def turned(degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[:2, :2], matrix[:3, 3] = [[cosine, -sine], [sine, cosine]], shift
    return matrix


ALIGNMENT = turned(31, (-1.5, 2.5, 0.1))


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def annotate(
    folder: Path,
    points: np.ndarray,
    ids: np.ndarray,
    labels: dict[int, str],
    *,
    alignment: np.ndarray | None = ALIGNMENT,
    mesh: str = "_vh_clean_2.ply",
    name: str = NAME,
) -> Path:
    """ScanNet's files of one scan: every object is two segments.

    Args:
        folder: of the scan.
        points: (V, 3) in the aligned world.
        ids: (V,) of objects, -1 = none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = points if alignment is None else moved(points, np.linalg.inv(alignment))
    grey = np.full(points.shape, 90, np.uint8)
    write_ply(folder / f"{name}{mesh}", stored, np.zeros((0, 3), int), grey, np.tile([0, 0, 1.0], (len(points), 1)))
    segments = np.where(ids < 0, 999_999, 2 * ids + np.arange(len(ids)) % 2)
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments.tolist()}))
    groups = [{"id": i, "objectId": i, "segments": [2 * i, 2 * i + 1], "label": label} for i, label in labels.items()]
    (folder / f"{name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    text = "sceneType = Kitchen\n"
    if alignment is not None:
        text = "axisAlignment = " + " ".join(f"{number:.8f}" for number in alignment.ravel()) + " \n" + text
    (folder / f"{name}.txt").write_text(text)
    return folder


class Capture:
    """A filmed room as ScanNet's exporter writes it, and scenes made of it."""

    def __init__(self, folder: Path) -> None:
        self.walk: Film = film(synthetic_room(3), frames=8, width=160, height=120, noise=False)
        room = self.walk.room
        self.aligned = moved(room.surface.vertices, turned(0, (0.4, -0.3, 0.02)))
        self.ids = np.asarray(room.vertex_ids)
        self.labels = {item.id: item.label for item in room.objects}
        self.scan = folder / "scans" / NAME
        annotate(self.scan, self.aligned, self.ids, self.labels)
        # its own mesh with faces, which a room is made of
        scannet_from_room = np.linalg.inv(ALIGNMENT) @ turned(0, (0.4, -0.3, 0.02))
        surface = room.surface.moved(scannet_from_room)
        mesh = self.scan / f"{NAME}_vh_clean_2.ply"
        write_ply(mesh, surface.vertices, surface.faces, surface.colors, surface.normals)
        self._export(self.scan, scannet_from_room @ np.linalg.inv(self.walk.world_from_room))
        annotation = self.scan / f"{NAME}.aggregation.json"
        self.exact = prepare(self.scan, folder / "exact", proposals=annotation, frames=2, bev_size=128)
        self.found = prepare(self.scan, folder / "found", frames=2, bev_size=128)

    def _export(self, folder: Path, scannet_from_scan: np.ndarray) -> None:
        frames = self.walk.scan.frames
        assert frames[0].depth_camera is not None
        for part in ("color", "depth", "pose", "intrinsic"):
            (folder / part).mkdir()
        for part, camera in (("color", frames[0].camera), ("depth", frames[0].depth_camera)):
            matrix = np.eye(4)
            matrix[:3, :3] = camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
            np.savetxt(folder / "intrinsic" / f"intrinsic_{part}.txt", matrix)
        np.savetxt(folder / "intrinsic" / "extrinsic_color.txt", np.eye(4))
        np.savetxt(folder / "intrinsic" / "extrinsic_depth.txt", frames[0].color_from_depth)
        for frame in frames:
            assert frame.read_depth is not None
            pose = scannet_from_scan @ frame.camera.world_from_camera
            np.savetxt(folder / "pose" / f"{frame.index}.txt", pose, fmt="%.9f")
            color = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / "color" / f"{frame.index}.jpg"), color)
            millimetres = np.rint(frame.read_depth() * 1000).astype(np.uint16)
            cv2.imwrite(str(folder / "depth" / f"{frame.index}.png"), millimetres)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture(tmp_path_factory.mktemp("captured"))


def around(points: np.ndarray) -> np.ndarray:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([(low + high) / 2, high - low])


def test_a_prepared_scan_has_its_objects_where_the_annotation_has_them(capture: Capture) -> None:
    assert np.abs(capture.exact.world_from_source - np.eye(4)).max() > 1e-3  # the floor has been moved to 0
    objects = objects_of_scene(capture.exact, capture.scan)
    assert {id: each.label for id, each in objects.true.items()} == capture.labels
    assert set(objects.proposed) == {instance.id for instance in capture.exact.instances}
    for id, true in objects.true.items():
        assert np.allclose(true.box, around(capture.aligned[capture.ids == id]), atol=1e-5)
        assert np.allclose(objects.proposed[id], true.box, atol=1e-4)
    assert all(best == Overlap(id, best.iou) and best.iou > 0.999 for id, best in overlaps(objects).items())


def test_objects_that_were_found_overlap_those_that_were_annotated(capture: Capture) -> None:
    objects = objects_of_scene(capture.found, capture.scan)
    best = overlaps(objects)
    assert sum(each.iou >= 0.5 for each in best.values()) >= 0.5 * len(objects.true)
    for true_id, each in best.items():
        ious = {id: float(box_iou(box, objects.true[true_id].box)) for id, box in objects.proposed.items()}
        assert each.iou == max(ious.values()) == ious[each.id]


def test_the_world_of_the_capture_does_not_matter(scene: Scene, tmp_path: Path) -> None:
    """ScanNet's reader aligns what it reads; a capture that came otherwise is in ScanNet's own world."""
    world = moved(scene.surface.vertices, ALIGNMENT)
    folder = annotate(tmp_path / NAME, world, scene.vertex_ids, dict(enumerate(LABELS, start=1)))
    boxes = {}
    for reader, scannet_from_world in (("scannet", np.eye(4)), ("sens", np.eye(4)), ("images", np.eye(4))):
        for is_aligned in (False, True):
            source_from_world = ALIGNMENT if is_aligned else scannet_from_world
            one = replace(
                scene,
                source=replace(scene.source, reader=reader),
                world_from_source=np.linalg.inv(source_from_world),
            )
            boxes[reader, is_aligned] = objects_of_scene(one, folder).proposed
    for found in boxes.values():
        for id in range(1, len(BOXES) + 1):
            assert np.allclose(found[id], around(world[scene.vertex_ids == id]), atol=1e-5)


@pytest.fixture
def scene() -> Scene:
    return box_scene(frames=1)


def test_a_scan_of_another_room_is_refused(scene: Scene, tmp_path: Path) -> None:
    folder = annotate(tmp_path / NAME, 3 * scene.surface.vertices + 2, scene.vertex_ids, {1: "table"})
    with pytest.raises(UserError, match=r"only \d+ % of its surface lies within 10 cm of the mesh of .*scene0007_00"):
        objects_of_scene(scene, folder)


def test_scenes_without_metric_scale_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no metric scale") as caught:
        objects_of_scene(box_scene(frames=1, units="arbitrary"), tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_without_an_alignment_boxes_are_along_the_axes_of_the_scan(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = moved(scene.surface.vertices, np.linalg.inv(scene.world_from_source))
    folder = annotate(tmp_path / NAME, source, scene.vertex_ids, dict(enumerate(LABELS, start=1)), alignment=None)
    with caplog.at_level(logging.WARNING):
        objects = objects_of_scene(scene, folder)
    assert "holds no axisAlignment" in caplog.text
    for id, true in objects.true.items():
        assert np.allclose(objects.proposed[id], true.box, atol=1e-5)


def test_the_mesh_is_the_one_that_the_segments_count(scene: Scene, tmp_path: Path) -> None:
    points = moved(scene.surface.vertices, ALIGNMENT @ np.linalg.inv(scene.world_from_source))
    folder = annotate(tmp_path / NAME, points, scene.vertex_ids, {1: "table"}, mesh="_vh_clean_2.labels.ply")
    other = annotate(tmp_path / "other", points[:7], scene.vertex_ids[:7], {1: "table"})
    (other / f"{NAME}_vh_clean_2.ply").rename(folder / f"{NAME}_vh_clean_2.ply")
    objects = objects_of_scene(scene, folder)
    assert np.allclose(objects.true[1].box, around(points[scene.vertex_ids == 1]), atol=1e-5)
    (folder / f"{NAME}_vh_clean_2.labels.ply").unlink()
    with pytest.raises(UserError, match=rf"counts {len(points)} vertices; needs .*found {NAME}_vh_clean_2.ply with 7"):
        objects_of_scene(scene, folder)


def test_an_object_has_all_of_its_segments_and_one_without_vertices_is_left_out(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = moved(scene.surface.vertices, ALIGNMENT @ np.linalg.inv(scene.world_from_source))
    folder = annotate(tmp_path / NAME, points, scene.vertex_ids, {})
    groups = [
        {"objectId": 4, "segments": [2, 3], "label": "table"},
        {"objectId": 9, "segments": [2, 3, 4, 5], "label": "set of furniture"},
        {"objectId": 2, "segments": [777], "label": "ghost"},
    ]
    (folder / f"{NAME}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    with caplog.at_level(logging.WARNING):
        objects = objects_of_scene(scene, folder)
    assert set(objects.true) == {4, 9} and "object 2 has no vertices" in caplog.text
    assert np.allclose(objects.true[4].box, around(points[scene.vertex_ids == 1]), atol=1e-5)
    assert np.allclose(objects.true[9].box, around(points[np.isin(scene.vertex_ids, [1, 2])]), atol=1e-5)


def write_scanrefer_boxes(folder: Path, points: np.ndarray, ids: np.ndarray, kind: str) -> None:
    rows = [[*around(points[ids == id]), 7, id] for id in range(1, len(BOXES) + 1)]
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{NAME}{kind}_bbox.npy", np.array([*rows, [0.0] * 7 + [41]]))
    np.save(folder / f"{NAME}{kind}_vert.npy", np.hstack([points, np.zeros((len(points), 6))]).astype(np.float32))


def test_boxes_of_scanrefers_preprocessing_are_as_good(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = moved(scene.surface.vertices, np.linalg.inv(scene.world_from_source))
    write_scanrefer_boxes(tmp_path, moved(source, ALIGNMENT), scene.vertex_ids, "_aligned")
    write_scanrefer_boxes(tmp_path / "plain", source, scene.vertex_ids, "")
    numbers = " ".join(f"{number:.8f}" for number in ALIGNMENT.ravel())
    for folder in (tmp_path, tmp_path / "plain"):
        (folder / f"{NAME}.txt").write_text(f"axisAlignment = {numbers}\n")
    assert find_scan(NAME, tmp_path) == tmp_path
    aligned = objects_of_scene(scene, tmp_path, name=NAME)
    plain = objects_of_scene(scene, tmp_path / "plain", name=NAME)
    assert "no mesh" not in caplog.text
    for kind, folder in (("_aligned", tmp_path), ("", tmp_path / "plain")):
        (folder / f"{NAME}{kind}_vert.npy").unlink()
    unseen = [objects_of_scene(scene, folder, name=NAME) for folder in (tmp_path, tmp_path / "plain")]
    assert "no mesh to check that scene" in caplog.text
    for objects in (aligned, plain, *unseen):
        assert set(objects.true) == set(range(1, len(BOXES) + 1))  # not the one of zeros, which has no vertices
        for id, true in objects.true.items():
            assert np.allclose(objects.proposed[id], true.box, atol=1e-5)
    assert not np.allclose(aligned.true[1].box, plain.true[1].box, atol=0.1)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (".aggregation.json", "[]", "must hold an object"),
        (".aggregation.json", '{"segGroups": [{"objectId": "1", "segments": [], "label": "x"}]}', "'objectId' must be"),
        (".aggregation.json", '{"segGroups": [{"objectId": -1, "segments": [], "label": "x"}]}', "is negative"),
        ("_vh_clean_2.0.010000.segs.json", '{"segIndices": ["a"]}', "must hold an integer"),
        ("_vh_clean_2.0.010000.segs.json", '{"segIndices": [1, 2]}', "counts 2 vertices"),
        ("_vh_clean_2.0.010000.segs.json", "{", "is no JSON"),
    ],
)
def test_a_damaged_annotation_is_told_with_its_file(
    scene: Scene, tmp_path: Path, ending: str, content: str, message: str
) -> None:
    folder = annotate(tmp_path / NAME, scene.surface.vertices, scene.vertex_ids, {1: "table"})
    (folder / f"{NAME}{ending}").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        objects_of_scene(scene, folder)
    assert NAME in str(caught.value) and "\n" not in str(caught.value)


def test_a_scan_is_found_by_its_name(tmp_path: Path) -> None:
    for place in ("scans", "."):
        folder = tmp_path / place / NAME
        folder.mkdir(parents=True)
        (folder / f"{NAME}.aggregation.json").touch()
        assert find_scan(NAME, tmp_path) == folder
    with pytest.raises(UserError, match=r"scene0008_00: .* holds neither scene0008_00/scene0008_00.aggregation.json"):
        find_scan("scene0008_00", tmp_path)


def objects_of(true: dict[int, list[float]], proposed: dict[int, list[float]]) -> SceneObjects:
    return SceneObjects(
        {id: TrueObject("object", np.array(box)) for id, box in true.items()},
        {id: np.array(box) for id, box in proposed.items()},
    )


def test_of_equal_overlaps_the_lowest_number_is_taken() -> None:
    box = np.array([0, 0, 0, 1, 1, 1.0])
    assert best_overlap(box, {7: box, 3: box + 5, 5: box}).id == 5
    assert best_overlap(box, {7: box + 5, 3: box + 6}) == Overlap(3, 0.0)
    assert best_overlap(box, {}) == Overlap(-1, 0.0)


def test_a_claim_is_what_a_proposed_object_overlaps_most() -> None:
    """Chat-Scene asks for captions so: each proposed object goes to one annotated object."""
    objects = objects_of(
        {0: [0, 0, 0, 2, 1, 1], 1: [1, 0, 0, 1, 1, 1], 2: [9, 9, 9, 1, 1, 1]},
        {10: [0, 0, 0, 2, 1, 1], 11: [0.1, 0, 0, 2, 1, 1], 12: [0, 0, 0, 1, 1, 1], 13: [0, 0, 0, 2, 1, 1]},
    )
    assert {id: each.id for id, each in claims(objects, [0, 1, 2]).items()} == {0: 10}
    # of objects that nobody described none is asked for
    assert {id: each.id for id, each in claims(objects, [1, 2]).items()} == {1: 11}
    assert {id: each.id for id, each in overlaps(objects).items()} == {0: 10, 1: 11, 2: 10}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def scenes_of(boxes: dict[str, list[list[float]]], spare_labels: int = 0) -> dict[str, object]:
    return {
        name: {"objects": ["chair"] * (len(rows) + spare_labels), "locs": torch.tensor(rows).reshape(-1, 6)}
        for name, rows in boxes.items()
    }


def test_attribute_files_give_objects_by_row(tmp_path: Path) -> None:
    one, two = [0.1, 0, 0, 1, 1, 1], [3, 0, 0, 1, 1, 0.3]
    true = save(tmp_path / "true.pt", scenes_of({"a": [one, two], "b": [one]}))
    proposed = save(tmp_path / "proposed.pt", scenes_of({"a": [two, one, one]}, spare_labels=2))
    objects = objects_from_attributes(true, proposed)
    assert list(objects) == ["a", "b"]
    assert objects["a"].true[1].label == "chair" and set(objects["a"].proposed) == {0, 1, 2}
    # as float32 has it, which the official code scores
    assert objects["a"].true[0].box[0] == float(np.float32(0.1)) != 0.1
    assert {id: each.id for id, each in overlaps(objects["a"]).items()} == {0: 1, 1: 0}
    assert not objects["b"].proposed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold scenes by name"),
        ({"a": {"objects": ["x"]}}, "scene a: has no 'locs'"),
        ({"a": {"objects": ["x"], "locs": torch.zeros(1, 7)}}, r"must be \(n, 6\)"),
        ({"a": {"objects": ["x"], "locs": torch.full((1, 6), torch.nan)}}, r"must be \(n, 6\) finite"),
        ({"a": {"objects": [], "locs": torch.zeros(1, 6)}}, "1 boxes and 0 labels"),
        ({"a": {"objects": ["x"], "locs": Path("a")}}, "does not read as an attribute file"),
    ],
)
def test_attribute_files_of_something_else_are_told(tmp_path: Path, content: object, message: str) -> None:
    good = save(tmp_path / "good.pt", scenes_of({"a": [[0, 0, 0, 1, 1, 1]]}))
    bad = save(tmp_path / "bad.pt", content)
    for files in ((bad, good), (good, bad)):
        with pytest.raises(UserError, match=message) as caught:
            objects_from_attributes(*files)
        assert "bad.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_attribute_files_that_are_missing_damaged_or_of_two_splits_are_told(tmp_path: Path) -> None:
    good = save(tmp_path / "good.pt", scenes_of({"a": [[0, 0, 0, 1, 1, 1]]}))
    with pytest.raises(UserError, match=r"nowhere\.pt: cannot be read"):
        objects_from_attributes(tmp_path / "nowhere.pt", good)
    (tmp_path / "cut.pt").write_bytes(good.read_bytes()[:300])
    with pytest.raises(UserError, match=r"cut\.pt: does not read"):
        objects_from_attributes(tmp_path / "cut.pt", good)
    other = save(tmp_path / "other.pt", scenes_of({"z": [[0, 0, 0, 1, 1, 1]]}))
    with pytest.raises(UserError, match="none of its 1 scenes"):
        objects_from_attributes(good, other)


def test_numbers_that_are_not_those_of_the_rows_are_refused() -> None:
    """A scene that counts its objects from 1, or in another order, beside files that count from 0."""
    scene = box_scene()
    own = {i.id: np.array([*i.box.center, *i.box.size]) for i in scene.instances}
    assert len(own) > 3
    turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    elsewhere = {
        id: np.concatenate([turned @ box[:3] + [5, 7, 0.1], np.abs(turned) @ box[3:]]) for id, box in own.items()
    }
    check_numbers(scene, elsewhere)
    check_numbers(scene, {})
    with pytest.raises(UserError, match=r"numbers are not those of the attribute file's rows: heights .* differ by"):
        check_numbers(scene, {id - 1: box for id, box in elsewhere.items()})
    with pytest.raises(UserError, match="which go from 100 to"):
        check_numbers(scene, {id + 100 - min(own): box for id, box in elsewhere.items()})
