"""`gpt4scene eval` and `score` on the field's own benchmarks: a small room, hand-made annotations, scripted replies."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking_commands import run
from box_scene import box_scene

from gpt4scene.benchmarks.names import benchmark_named
from gpt4scene.evaluation.evaluation import frames_note

pytest_plugins = ["asking_commands"]
pytestmark = pytest.mark.usefixtures("own_cache", "no_java")
SCENE = "scene0000_00"


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR, which takes seconds to start, is left out where there is no Java."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    box_scene(frame_size=(160, 120), frames=2).save(folder / SCENE)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ScanRefer's boxes of the room, in the world of its capture: objects 10, 11, ... where the scene says 1, 2, ..."""
    folder = tmp_path_factory.mktemp("scans")
    scene = box_scene(frame_size=(160, 120), frames=2)
    source_from_world = np.linalg.inv(scene.world_from_source)
    points = scene.surface.vertices @ source_from_world[:3, :3].T + source_from_world[:3, 3]
    rows = []
    for instance in scene.instances:
        mine = points[scene.vertex_ids == instance.id]
        low, high = mine.min(axis=0), mine.max(axis=0)
        rows.append([*(low + high) / 2, *(high - low), 0, 9 + instance.id])
    (folder / SCENE).mkdir()
    np.save(folder / SCENE / f"{SCENE}_aligned_bbox.npy", np.array(rows))
    np.save(folder / SCENE / f"{SCENE}_aligned_vert.npy", points)
    return folder


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _model(path: Path, *replies: tuple[str, str]) -> str:
    path.write_text("".join(json.dumps({"match": match, "reply": reply}) + "\n" for match, reply in replies))
    return f"replay:{path}"


def _scores(printed: str, name: str) -> list[str]:
    """The values of a metric over all questions in the tables that were printed."""
    return list(re.findall(rf"^{re.escape(name)} +(\d+\.\d+|-)", printed, re.MULTILINE))


def test_scanqa(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocoevalcap")
    data, out = tmp_path / "data", tmp_path / "out"
    texts = (("What color is the big box?", ["red", "dark red"]), ("Where is the cup?", ["on the table"]))
    rows = [
        {"scene_id": SCENE, "question_id": f"val-{i}", "question": text, "answers": answers, "object_ids": [10]}
        for i, (text, answers) in enumerate(texts)
    ]
    _write(data / "ScanQA_v1.0_val.json", rows)
    model = _model(tmp_path / "m.jsonl", ("big box", "red"), ("cup", "on table"))
    command = ("eval", "scanqa", "--root", data, "--scenes", scenes, "-m", model, "-o", out)
    assert run(*command, "--protocol", "official", "--protocol", "leo") == 0
    printed = capsys.readouterr().out
    assert _scores(printed, "EM@1") == ["50.00", "100.00"]  # "the" is not cleaned away by the first
    (results,) = out.glob("*.jsonl")
    assert run("score", "scanqa", "--root", data, "--answers", results, "--protocol", "gpt4scene") == 0
    assert _scores(capsys.readouterr().out, "EM@1") == ["50.00"]


def test_sqa3d(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocoevalcap")
    data = tmp_path / "data"
    asked = {"scene_id": SCENE, "situation": "I face the table.", "alternative_situation": ["a", "b"]}
    questions = [asked | {"question": text, "question_id": i} for i, text in enumerate(("Which is red?", "Can I sit?"))]
    annotations = [
        {"scene_id": SCENE, "question_id": i, "answers": [{"answer": answer}], "question_type": "N/A"}
        for i, answer in enumerate(("table", "no"))
    ]
    _write(data / "v1_balanced_questions_test_scannetv2.json", {"questions": questions})
    _write(data / "v1_balanced_sqa_annotations_test_scannetv2.json", {"annotations": annotations})
    model = _model(tmp_path / "m.jsonl", ("I face the table.\n", "the table"), ("sit", "yes"))
    command = ("eval", "sqa3d", "--root", data, "--scenes", scenes, "-m", model, "-o", tmp_path / "out")
    assert run(*command, "--protocol", "strict") == 0
    assert len(_scores(capsys.readouterr().out, "EM@1")) == 1


def _scanrefer(data: Path) -> None:
    named = (("10", "table", "the red table"), ("11", "stool", "the green stool"), ("12", "cabinet", "the blue one"))
    rows = [
        {
            "scene_id": SCENE,
            "object_id": id,
            "object_name": name,
            "ann_id": "0",
            "description": f"This is {text}.",
            "token": ["this", "is", *text.split(), "."],
        }
        for id, name, text in named
    ]
    _write(data / "ScanRefer_filtered_val.json", rows)


def test_scanrefer(scenes: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    _scanrefer(data)
    model = _model(
        tmp_path / "m.jsonl", ("the red", "<OBJ001>."), ("the green", "It is <OBJ003>."), ("the blue", "none")
    )
    command = ("eval", "scanrefer", "--root", data, "--scenes", scenes, "-m", model, "-o", out, "--scans", scans)
    assert run(*command, "--protocol", "official", "--protocol", "gpt4scene") == 0
    printed = capsys.readouterr().out
    assert _scores(printed, "Acc@0.5") == ["33.33", "33.33"]
    (results,) = out.glob("*.jsonl")
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [(row["outcome"], row["ids"]) for row in rows] == [("answered", [1]), ("answered", [3]), ("answered", [])]
    score = ("score", "scanrefer", "--root", data, "--answers", results)
    assert run(*score, "--scenes", scenes, "--scans", scans) == 0
    assert _scores(capsys.readouterr().out, "Acc@0.5") == ["33.33"]
    assert run(*score) == 2 and "--scans" in capsys.readouterr().err


def test_multi3drefer(scenes: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    rows = [
        {
            "scene_id": SCENE,
            "object_name": "box",
            "ann_id": i,
            "description": text,
            "object_ids": ids,
            "eval_type": kind,
        }
        for i, (text, ids, kind) in enumerate(
            (("all boxes", [10, 11], "mt"), ("a piano", [], "zt_wo_d"), ("the cup", [14], "st_wo_d"))
        )
    ]
    _write(data / "multi3drefer_val.json", rows)
    replies = (("all boxes", "Yes. <OBJ001> and <OBJ002>."), ("piano", "No."), ("cup", "Yes. <OBJ001>."))
    model = _model(tmp_path / "m.jsonl", *replies)
    command = ("eval", "multi3drefer", "--root", data, "--scenes", scenes, "-m", model, "--scans", scans)
    assert run(*command, "-o", tmp_path / "out") == 0
    assert _scores(capsys.readouterr().out, "F1@0.5") == ["66.67"]


def test_scan2cap(scenes: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocoevalcap")
    data, out = tmp_path / "data", tmp_path / "out"
    _scanrefer(data)
    model = _model(tmp_path / "m.jsonl", ("<OBJ001>", "This is the red table."), ("<OBJ002>", "A stool."))
    command = ("eval", "scan2cap", "--root", data, "--scenes", scenes, "-m", model, "-o", out, "--scans", scans)
    assert run(*command) == 1  # there is no reply about the third object
    printed = capsys.readouterr()
    assert len(_scores(printed.out, "CIDEr@0.5")) == 1 and "1 failed" in printed.err
    (results,) = out.glob("*.jsonl")
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [row["extra"] for row in rows] == [{"proposed_id": 1}, {"proposed_id": 2}, {"proposed_id": 3}]
    assert [row["object"] for row in rows] == [10, 11, 12]
    score = ("score", "scan2cap", "--root", data, "--answers", results, "--scenes", scenes, "--scans", scans)
    assert run(*score) == 0 and _scores(capsys.readouterr().out, "CIDEr@0.5") == _scores(printed.out, "CIDEr@0.5")


def test_vstibench_says_that_its_questions_are_about_32_frames(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    row = {"id": 0, "scene_name": SCENE, "question_type": "camera_displacement", "ground_truth": "2", "options": None}
    _write(data / "test.json", [row | {"question": "How far from frame 2 to 7 of 32?", "mc_answer": "2"}])
    command = (
        "eval",
        "vstibench",
        "--root",
        data,
        "--scenes",
        scenes,
        "-m",
        _model(tmp_path / "m.jsonl", ("far", "2")),
    )
    assert run(*command, "-o", out) == 0
    said = "among 32; the preset default shows as many as each scene was prepared with, --preset paper-32 shows 32"
    assert said in capsys.readouterr().out and said in (out / "report.md").read_text(encoding="utf-8")


def test_other_benchmarks_and_the_fitting_preset_say_nothing_of_frames() -> None:
    vstibench = benchmark_named("vstibench")
    assert frames_note(vstibench, "paper-32") == "" == frames_note(benchmark_named("vsibench"), "paper")
    assert "the preset paper shows 8, --preset paper-32" in frames_note(vstibench, "paper")
