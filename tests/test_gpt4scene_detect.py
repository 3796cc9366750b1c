"""Objects by detection, end to end: `gpt4scene prepare --weights` on every fifth frame of a real kitchen."""

import json
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from mask_noise import true_detections
from tiny_sam import tiny_sam

from bev.errors import UserError
from bev.synthetic import film, synthetic_room, write_seven_scenes
from gpt4scene.cli.main import main
from gpt4scene.scene import detecting
from gpt4scene.scene import prepare as prepare_module
from gpt4scene.scene.objects import choose_source, find_instances
from gpt4scene.scene.prepare import prepare
from gpt4scene.scene.scene import Scene, load_scene

FRAMES = 20
FEW = ("--frames", "4", "--bev-size", "512", "--no-align")
SEG, BOXES = "yolov8n-seg_int8.tflite", "yolov8n_int8.tflite"


def _weights(name: str) -> Path:
    path = SHARED / "weights" / name
    if not path.is_file():
        pytest.skip("../shared/weights is not here")
    return path


@pytest.fixture(scope="module")
def capture(kitchen_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to every fifth frame."""
    folder = tmp_path_factory.mktemp("capture") / "kitchen"
    folder.mkdir()
    for file in sorted(kitchen_path.iterdir()):
        number = re.match(r"frame-(\d+)", file.name)
        if number is None or int(number[1]) % 50 == 0:
            (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def prepared(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder with detected objects; never written to."""
    out = tmp_path_factory.mktemp("prepared") / "scene"
    assert main(["prepare", str(capture), "-o", str(out), *FEW, "--weights", str(_weights(SEG))]) == 0
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("sam") / "tiny_sam.pth"
    torch.save(tiny_sam().state_dict(), path)
    return path


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    """That folder, to go on in."""
    return Path(shutil.copytree(prepared, tmp_path / "scene"))


def _again(capture: Path, out: Path, *options: object) -> Scene:
    assert main(["prepare", str(capture), "-o", str(out), *FEW, *(str(option) for option in options)]) == 0
    return load_scene(out)


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    line = printed.err.strip().splitlines()[-1]
    assert line.startswith("gpt4scene: ") and "Traceback" not in printed.err and printed.out == ""
    return line


def _stamps(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_the_table_and_a_chair_are_found_named_and_marked(prepared: Path):
    scene = load_scene(prepared)
    assert {i.source for i in scene.instances} == {"detect"}
    by_label = {label: [i for i in scene.instances if i.label == label] for label in ("dining table", "chair")}
    assert len(by_label["dining table"]) == 1 and by_label["chair"]
    for instance in scene.instances:
        assert 0 < instance.label_share <= 1 and 0 < instance.score <= 1 and len(instance.frames) >= 3
    table = by_label["dining table"][0]
    assert {table.id, by_label["chair"][0].id} <= {m.id for m in scene.bev.markers}
    for view in scene.all_views:  # a number stands on a pixel of its object
        for marker in view.markers:
            column, row = (int(x) for x in marker.uv)
            assert view.ids[row, column] == marker.id


def test_what_the_detector_missed_in_a_frame_is_marked_there_all_the_same(capture: Path, copy: Path):
    scene = _again(capture, copy, "--frames", FRAMES, "--weights", _weights(SEG))
    assert len(scene.frames) == FRAMES
    supported = {i.id: set(i.frames) for i in scene.instances}
    reprojected = [(f.index, m.id) for f in scene.frames for m in f.markers if f.index not in supported[m.id]]
    assert len(reprojected) >= 3


def test_what_was_found_is_told(prepared: Path, capture: Path, capsys: pytest.CaptureFixture[str]):
    scene = _again(capture, prepared, "--weights", _weights(SEG))  # all of it is there
    assert scene.run.notes == (scene.run.notes[0],)
    assert re.fullmatch(rf"{SEG} found \d+ masks in \d+ of {FRAMES} frames", scene.run.notes[0])
    assert json.loads((prepared / "scene.json").read_text())["run"]["notes"] == list(scene.run.notes)
    table = next(i for i in scene.instances if i.label == "dining table")
    said = capsys.readouterr().out
    assert scene.run.notes[0] in said
    assert f"dining table: {table.id} ({table.label_share:.0%} of votes, score {table.score:.2f})" in said
    report = unescape((prepared / "report.html").read_text())
    assert scene.run.notes[0] in report and "dining table" in report and f"<td>{table.score:.2f}</td>" in report


def test_other_options_of_association_do_not_detect_again(capture: Path, copy: Path, monkeypatch: pytest.MonkeyPatch):
    before, scene = _stamps(copy / ".cache"), load_scene(copy)
    monkeypatch.setattr(detecting, "iter_detections", lambda *_, **__: pytest.fail("detected again"))
    monkeypatch.setattr(prepare_module, "reconstruct", lambda *_, **__: pytest.fail("done again"))
    fewer = _again(capture, copy, "--weights", _weights(SEG), "--min-views", "6", "--device", "cpu")
    assert 0 < len(fewer.instances) < len(scene.instances)
    after = _stamps(copy / ".cache")
    changed = {name.split("/")[0] for name in after if after[name] != before.get(name)} - {"lock"}
    assert changed == {"instances"}


@pytest.mark.parametrize("change", [("--score-min", "0.6"), ("--classes", "chair, dining table")])
def test_other_options_of_detection_detect_again(
    capture: Path, copy: Path, change: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prepare_module, "reconstruct", lambda *_, **__: pytest.fail("done again"))
    scene, before = load_scene(copy), _stamps(copy / ".cache")
    other = _again(capture, copy, "--weights", _weights(SEG), *change)
    assert _stamps(copy / ".cache")["detections/counts.json"] != before["detections/counts.json"]
    assert 0 < len(other.instances) < len(scene.instances)
    assert change[0] != "--classes" or {i.label for i in other.instances} <= {"chair", "dining table"}


def test_other_frames_are_looked_at_again(capture: Path, copy: Path):
    fewer = FRAMES // 2
    _again(capture, copy, "--weights", _weights(SEG), "--key-frames", str(fewer))
    counts = json.loads((copy / ".cache" / "detections" / "counts.json").read_text())
    assert 3 <= counts["frames"] <= fewer


def test_both_adds_what_only_geometry_finds(capture: Path, copy: Path):
    detected = load_scene(copy)
    both = _again(capture, copy, "--weights", _weights(SEG), "--instances", "both")
    first, added = both.instances[: len(detected.instances)], both.instances[len(detected.instances) :]
    assert [(i.id, i.label, i.points) for i in first] == [(i.id, i.label, i.points) for i in detected.instances]
    assert len(added) >= 5 and {i.source for i in added} == {"cluster"} and {i.label_share for i in added} == {0.0}
    assert both.run.notes[-1] == f"{len(first)} objects by detection, {len(added)} more from geometry alone"
    assert (both.vertex_ids[detected.vertex_ids >= 0] == detected.vertex_ids[detected.vertex_ids >= 0]).all()


def test_nothing_found_is_legal_and_says_why(capture: Path, copy: Path, capsys: pytest.CaptureFixture[str]):
    scene = _again(capture, copy, "--weights", _weights(SEG), "--classes", "airplane")
    why = f"{SEG} found nothing in {FRAMES} frames"
    assert scene.instances == () and not any(view.markers for view in scene.all_views)
    assert scene.run.notes[0].startswith(why) and "airplane" in scene.run.notes[0]
    assert why in capsys.readouterr().out and why in unescape((copy / "report.html").read_text())
    assert (copy / "bev_marked.png").is_file() and len(list((copy / "marked").iterdir())) == 4


def test_too_few_views_say_so(capture: Path, copy: Path, capsys: pytest.CaptureFixture[str]):
    scene = _again(capture, copy, "--weights", _weights(SEG), "--min-views", FRAMES + 1)
    assert scene.instances == ()
    why = f"no object was seen in {FRAMES + 1} frames"
    assert why in capsys.readouterr().out and why in unescape((copy / "report.html").read_text())


def test_boxes_without_masks_are_refused_before_anything_else(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prepare_module, "reconstruct", lambda *_, **__: pytest.fail("reconstructed before"))
    line = _fails(capsys, "prepare", capture, "-o", tmp_path / "scene", *FEW, "--weights", _weights(BOXES))
    assert BOXES in line and "--sam" in line and "-seg" in line
    assert not list((tmp_path / "scene" / ".cache").glob("*detections*"))


def test_segment_anything_draws_the_masks_of_boxes(
    capture: Path, copy: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    scene = _again(capture, copy, "--weights", _weights(BOXES), "--sam", checkpoint)
    assert scene.run.notes[0].startswith(f"{BOXES} and tiny_sam.pth found ")
    assert {"detections", "masks"} <= set(scene.run.seconds)
    # another model of the same boxes
    import torch

    state = torch.load(checkpoint, weights_only=True)
    state["mask_decoder.iou_token.weight"] += 1
    torch.save(state, copy / "other_sam.pth")
    monkeypatch.setattr(detecting, "iter_detections", lambda *_, **__: pytest.fail("detected again"))
    before = _stamps(copy / ".cache")
    other = _again(capture, copy, "--weights", _weights(BOXES), "--sam", copy / "other_sam.pth")
    assert _stamps(copy / ".cache")["masks/counts.json"] != before["masks/counts.json"]
    assert other.source.fingerprint != scene.source.fingerprint


def test_segment_anything_alone_proposes(tmp_path: Path, checkpoint: Path):
    walk = film(synthetic_room(3), frames=3, width=64, height=48, world_from_room=np.eye(4))
    capture = write_seven_scenes(walk, tmp_path / "room")
    scene = prepare(capture, tmp_path / "scene", sam=checkpoint, bev_size=128, align=False)
    assert scene.run.arguments["instances"] == "detect"
    # random weights are sure of nothing
    assert scene.run.notes == ("tiny_sam.pth found nothing in 3 frames",) and scene.instances == ()


def test_weights_that_are_none_are_told(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "yolo11x-seg.pt"
    page.write_text("<!DOCTYPE html><html>404</html>")
    for path, what in ((page, "is a web page"), (tmp_path / "none.onnx", "no such file")):
        line = _fails(capsys, "prepare", capture, "-o", tmp_path / "scene", "--weights", path)
        assert str(path) in line and what in line
        line = _fails(capsys, "prepare", capture, "-o", tmp_path / "scene", "--sam", path)
        assert str(path) in line and what in line
    line = _fails(
        capsys, "prepare", capture, "-o", tmp_path / "scene", "--weights", _weights(SEG), "--classes", "chiar"
    )
    assert "'chiar'" in line and "did you mean chair" in line
    assert not (tmp_path / "scene" / "scene.json").exists()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--instances", "detect"), ("--instances detect", "--weights", "--sam")),
        (("--instances", "both"), ("--instances both", "--weights", "--sam")),
        (("--instances", "proposals"), ("--instances proposals", "--proposals FILE")),
        (("--instances", "geometry", "--weights", "w.onnx"), ("--weights", "--instances geometry")),
        (("--instances", "proposals", "--proposals", "p.npy", "--sam", "s.pth"), ("--sam", "--instances proposals")),
        (("--weights", "w.onnx", "--proposals", "p.npy"), ("--proposals", "--weights")),
        (("--instances", "geometry", "--proposals", "p.npy"), ("--proposals", "--instances geometry")),
        (("--classes", "chair"), ("--classes", "--weights")),
        (("--sam", "s.pth", "--classes", "chair"), ("--classes", "--weights")),
        (("--weights", "w.onnx", "--classes", " , "), ("--classes",)),
        (("--trust-weights",), ("--trust-weights", "--weights")),
        (("--weights", "w.onnx", "--score-min", "25"), ("--score-min 25", "between 0 and 1")),
        (("--weights", "w.onnx", "--min-views", "0"), ("--min-views 0",)),
        (("--weights", "w.onnx", "--device", "gpu"), ("--device gpu", "cuda")),
    ],
)
def test_options_that_contradict_each_other_are_named(
    tmp_path: Path, options: tuple[str, ...], names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    line = _fails(capsys, "prepare", tmp_path / "nowhere", "-o", tmp_path / "scene", *options)
    assert all(name in line for name in names) and "nowhere" not in line
    assert not (tmp_path / "scene").exists()


def test_detections_of_another_storeys_frames_are_left_alone():
    walk = film(synthetic_room(3), frames=8, width=160, height=120, world_from_room=np.eye(4))
    asked = []

    class Lazily(dict):
        def __getitem__(self, index: int):
            asked.append(index)
            return super().__getitem__(index)

    masks = Lazily(true_detections(walk))
    detected = detecting.Detected(masks, ("net",), "", 8, 8, sum(len(each) for each in masks.values()))
    upstairs = walk.scan.with_frames(walk.scan.frames[:5])
    found = find_instances("detect", upstairs, walk.surface, detected=detected, min_views=2)
    assert found and {index for i in found for index in i.frames} <= set(range(5)) == set(asked)


def test_what_the_options_imply():
    assert choose_source(None) == "geometry"
    assert choose_source(None, weights="w.onnx") == choose_source(None, sam="s.pth") == "detect"
    assert choose_source(None, proposals=Path("p.npy")) == "proposals"
    assert choose_source("both", sam="s.pth") == "both"


def test_a_device_is_named_once():
    assert prepare_module._devices(None) == ("CPU:0", None)
    assert prepare_module._devices("cpu") == prepare_module._devices("CPU:0") == ("CPU:0", "cpu")
    assert prepare_module._devices("cuda") == prepare_module._devices("CUDA:0") == ("CUDA:0", "cuda:0")
    assert prepare_module._devices("cuda:1") == ("CUDA:1", "cuda:1")
    for name in ("cpu:1", "cuda:-1", "cuda:", "0", ""):
        with pytest.raises(UserError, match="--device"):
            prepare_module._devices(name)


def test_a_run_that_ended_between_its_last_step_and_the_scene_does_not_pass_off_other_weights(
    capture: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    mine = tmp_path / SEG
    shutil.copyfile(_weights(SEG), mine)
    given = {"weights": mine, "frames": 4, "bev_size": 512, "align": False}
    scene = prepare(capture, copy, **given)
    with mine.open("ab") as file:
        file.write(b"\0" * 8)  # other weights at the same place, which find the same
    monkeypatch.setattr(prepare_module, "compose", lambda *_, **__: pytest.fail("composed"))
    with pytest.raises(pytest.fail.Exception, match="composed"):
        prepare(capture, copy, **given)
    monkeypatch.undo()
    again = prepare(capture, copy, **given)
    assert again.source.fingerprint != scene.source.fingerprint
    assert np.array_equal(again.vertex_ids, scene.vertex_ids)


def test_a_scene_from_before_there_were_notes_is_read(copy: Path):
    document = json.loads((copy / "scene.json").read_text())
    del document["run"]["notes"]
    (copy / "scene.json").write_text(json.dumps(document))
    assert load_scene(copy).run.notes == ()


def test_help_states_the_licence(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "AGPL-3.0" in text and "Apache-2.0" in text
    for option in ("--instances", "--weights", "--classes", "--sam", "--score-min", "--min-views", "--trust-weights"):
        assert option in text
