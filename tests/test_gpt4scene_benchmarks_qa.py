"""ScanQA and SQA3D on made-up files: what is read, what is refused, and what is scored."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bev.errors import UserError
from gpt4scene.benchmarks import scanqa, sqa3d
from gpt4scene.benchmarks.names import benchmark_named
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.metrics import captions
from gpt4scene.metrics.meteor import MeteorScores

SCANQA = [
    {
        "scene_id": "scene0001_00",
        "object_ids": [4, 5],
        "object_names": ["chair", "chair"],
        "question_id": "val-scene0001-0",
        "question": "What color is the chair?",
        "answers": ["green", "dark green"],
    },
    {
        "scene_id": "scene0001_00",
        "object_ids": [7],
        "object_names": ["lamp"],
        "question_id": "val-scene0001-1",
        "question": "Where is the lamp?",
        "answers": ["on the desk"],
    },
    {
        "scene_id": "scene0002_00",
        "object_ids": [1],
        "object_names": ["chair"],
        "question_id": "val-scene0002-0",
        "question": "How many chairs are there?",
        "answers": ["2"],
    },
]
ASKED = [
    {
        "scene_id": "scene0001_00",
        "situation": "I am facing a lamp.",
        "alternative_situation": ["I stand before a lamp.", "A lamp is in front of me."],
        "question": "What is behind me?",
        "question_id": 11,
    },
    {
        "scene_id": "scene0001_00",
        "situation": "I am sitting on my bed.",
        "alternative_situation": ["My bed is what I sit on.", "I sit."],
        "question": "What is behind me?",
        "question_id": 12,
    },
    {
        "scene_id": "scene0002_00",
        "situation": "I am at the door.",
        "alternative_situation": [],
        "question": "Can I go back?",
        "question_id": 13,
    },
]
ANNOTATED = [
    {
        "scene_id": row["scene_id"],
        "question_type": "N/A",
        "answer_type": "other",
        "question_id": row["question_id"],
        "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
        "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1},
        "position": {"x": 0.5, "y": 0.25, "z": 0},
    }
    for row, answer in zip(ASKED, ("window", "wall", "yes"), strict=True)
]
SUFFIX = " Answer the question using a single word or phrase."


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR takes seconds to start; here it says 0 of everything."""

    def none(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> MeteorScores:
        return MeteorScores(0.0, np.zeros(len(candidates)), np.zeros((len(candidates), 23)))

    monkeypatch.setattr(captions, "meteor_scores", none)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def scanqa_samples(root: Path, rows: Sequence[Mapping[str, Any]] = SCANQA, split: str = "val") -> list[BenchmarkSample]:
    write(root / f"ScanQA_v1.0_{split}.json", rows)
    return scanqa.load(root, split)


def sqa3d_samples(
    root: Path, asked: Sequence[Any] = ASKED, annotated: Sequence[Any] = ANNOTATED, folder: str = ""
) -> list[BenchmarkSample]:
    write(root / folder / "v1_balanced_questions_test_scannetv2.json", {"questions": asked})
    write(root / folder / "v1_balanced_sqa_annotations_test_scannetv2.json", {"annotations": annotated})
    return sqa3d.load(root, "test")


def changed(rows: Sequence[Mapping[str, Any]], position: int, **values: Any) -> list[dict[str, Any]]:
    """The rows with other values in one of them; None takes a key out."""
    copies = [dict(row) for row in rows]
    copies[position] = {key: value for key, value in (copies[position] | values).items() if value is not None}
    return copies


def said(**answers: str) -> dict[str, Prediction]:
    """Answers to ScanQA's questions a, b and c."""
    ids = dict(zip("abc", (row["question_id"] for row in SCANQA), strict=True))
    return {ids[key]: Prediction(text) for key, text in answers.items()}


def test_both_are_what_a_benchmark_is() -> None:
    for name in ("scanqa", "sqa3d"):
        benchmark = benchmark_named(name)
        assert benchmark.TITLE and benchmark.PROTOCOLS and not benchmark.NEEDS_OBJECTS


def test_scanqa_is_read(tmp_path: Path) -> None:
    first, second, third = scanqa_samples(tmp_path)
    assert (first.id, first.scene, first.kind) == ("val-scene0001-0", "scene0001_00", "Color")
    assert first.answers == ("green", "dark green") and first.object_ids == (4, 5)
    assert (first.question.text, first.question.task, first.question.style) == (
        "What color is the chair?",
        "qa",
        "short",
    )
    assert (second.kind, third.kind) == ("Place", "Number")
    assert first.where.endswith("row 1")


def test_scanqas_hidden_answers(tmp_path: Path) -> None:
    rows = changed(SCANQA, 0, answers=None, object_ids=None, object_names=None)[:1]
    samples = scanqa_samples(tmp_path, rows, "test_wo_obj")
    assert samples[0].answers == ()
    with pytest.raises(UserError, match=r"cannot be scored here.*write_submission"):
        scanqa.score(samples, {})


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (changed(SCANQA, 1, answers=None), "row 2: has no 'answers'"),
        (changed(SCANQA, 1, answers=[]), "row 2: 'answers' must be one or several texts"),
        (changed(SCANQA, 1, answers=["a", 2]), "row 2: 'answers' must be"),
        (changed(SCANQA, 1, object_ids=["4"]), "row 2: 'object_ids' must be"),
        (changed(SCANQA, 1, question=3), "row 2: 'question' must be str"),
        (changed(SCANQA, 2, question_id="val-scene0001-0"), r"row 3: has the id 'val-scene0001-0', as .*row 1"),
        ({"questions": []}, "must hold a list"),
    ],
)
def test_scanqa_files_that_are_none(tmp_path: Path, rows: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        scanqa_samples(tmp_path, rows)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for load, split in ((scanqa.load, "val"), (sqa3d.load, "test")):
        with pytest.raises(UserError, match="lacks"):
            load(tmp_path, split)
        with pytest.raises(UserError, match="--split dev: there are"):
            load(tmp_path, "dev")


def test_scanqas_protocols_differ_as_theirs_do(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    answers = said(a="Green.", b="on the desk.", c="2")
    exact = {name: scanqa.score(samples, answers, protocol=name).metrics[0].values for name in scanqa.PROTOCOLS}
    assert {name: list(values) for name, values in exact.items() if values is not None} == {
        "official": [0, 0, 100],
        "gpt4scene": [100, 0, 0],  # cleaned against raw
        "leo": [100, 100, 100],
        "video3dllm": [0, 0, 100],
    }
    assert scanqa.score(samples, answers, protocol="gpt4scene").value("EM@1 refined", "Place") == 0
    theirs = scanqa.score(samples, answers, protocol="video3dllm")
    assert theirs.details[1]["text"] == "on the desk." and theirs.details[1]["tokens"] == "on the desk"


def test_answers_that_are_wrong_for_their_form_alone_are_counted(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    answers = said(a="Green.", b="under the desk", c="2")
    for name in scanqa.PROTOCOLS:
        flags = [flag for flag in scanqa.score(samples, answers, protocol=name).flags if "nothing but capitals" in flag]
        assert len(flags) == (name in ("official", "video3dllm")) and all(samples[0].id in flag for flag in flags)


def test_what_is_not_answered_is_wrong_whatever_an_empty_text_is(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    answers = {samples[0].id: Prediction("green", "refused"), samples[1].id: Prediction("", "answered")}
    report = scanqa.score(samples, answers, protocol="leo")
    assert report.unanswered == (samples[0].id, samples[2].id)
    assert report.unparsed == (samples[1].id,)
    refined = next(metric.values for metric in report.metrics if metric.name == "EM@1 refined")
    assert refined is not None and list(refined) == [0, 100, 0]
    official = scanqa.score(samples, {samples[0].id: Prediction("green", "refused")})
    assert official.value("EM@1") == official.value("F-value") == official.value("BLEU-1") == 0
    blank = scanqa_samples(tmp_path, changed(SCANQA, 0, answers=["", "green"]))
    assert scanqa.score(blank, {}).value("F-value") == 0


def test_scanqas_official_extras(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    answers = {
        samples[0].id: Prediction("red", extra={"answer_top10": ["red", "green"]}),
        samples[1].id: Prediction("two desks"),
    }
    report = scanqa.score(samples, answers)
    assert [report.metrics[i].name for i in (0, 1, 2, -1)] == ["EM@1", "CIDEr", "F-value", "EM@10"]
    # the second comes without ten and is left out, the third is unanswered and wrong
    assert report.value("EM@10") == 50
    assert any("EM@10" in flag and samples[1].id in flag for flag in report.flags)
    assert report.value("F-value", "Place") == pytest.approx(100 * 2 * (1 / 2 * 1 / 3) / (1 / 2 + 1 / 3))
    assert set(report.groups) == {"Place", "Number", "Color"}
    alone = scanqa.score(samples, said(a="green", b="x", c="y"))
    assert math.isnan(alone.value("EM@10"))
    assert any("EM@10" in flag for flag in alone.flags)


def test_where_official_code_stops_a_flag_says_so(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    report = scanqa.score(samples, said(a="", b="x", c="y"))
    assert any("ZeroDivisionError" in flag and samples[0].id in flag for flag in report.flags)
    for text in ("a\nb", "a|||b", "a\rb"):
        report = scanqa.score(samples, said(a=text, b="x", c="y"), protocol="video3dllm")
        assert any("ValueError" in flag and samples[0].id in flag for flag in report.flags), text


def test_evalais_rows_go_out_and_come_back(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    box = [[float(i), 0.0, 1.0] for i in range(8)]
    answers = {
        samples[0].id: Prediction("red", extra={"answer_top10": ["red", "green"], "bbox": box}),
        samples[1].id: Prediction("on it"),
    }
    scanqa.write_submission(samples, answers, tmp_path / "pred.json")
    rows = json.loads((tmp_path / "pred.json").read_text(encoding="utf-8"))
    assert [row["answer_top10"] for row in rows] == [["red", "green"], ["on it"] * 10, ["(no answer)"] * 10]
    assert rows[0] == {"scene_id": "scene0001_00", "question_id": samples[0].id, **answers[samples[0].id].extra}
    assert np.shape(rows[1]["bbox"]) == (8, 3)
    found = scanqa.read_predictions(rows, samples)
    assert found is not None and found[samples[0].id] == answers[samples[0].id]
    with pytest.raises(UserError, match=r"row 4: question .* is answered twice"):
        scanqa.read_predictions([*rows, rows[0]], samples)
    with pytest.raises(UserError, match="row 1: question 'x' is none"):
        scanqa.read_predictions(changed(rows, 0, question_id="x"), samples)
    with pytest.raises(UserError, match="row 1: 'answer_top10' must be"):
        scanqa.read_predictions(changed(rows, 0, answer_top10=[]), samples)


def test_a_list_of_ten_that_is_none(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    with pytest.raises(UserError, match="must be a list of texts"):
        scanqa.score(samples, {samples[0].id: Prediction("a", extra={"answer_top10": "a"})})


def gpt4scene_row(scene: str, prompt: str, pred: str, references: Sequence[str], **values: Any) -> dict[str, Any]:
    return {
        "scene_id": scene,
        "qid": 0,
        "gt_id": 0,
        "pred_id": 0,
        "prompt": f"<image> {prompt}{SUFFIX}",
        "pred": pred,
        "ref_captions": list(references),
        "type_info": 0,
    } | values


def texts(found: Mapping[str, Prediction] | None) -> dict[str, str]:
    assert found is not None
    return {id: prediction.text for id, prediction in found.items()}


def test_gpt4scenes_rows_are_matched_by_their_prompts(tmp_path: Path) -> None:
    # one question is part of another, and two differ in their answers only
    rows = [
        *SCANQA,
        dict(SCANQA[0], question_id="longer", question="Tell me: What color is the chair?"),
        dict(SCANQA[0], question_id="again", answers=["blue"], object_ids=[9]),
    ]
    samples = scanqa_samples(tmp_path, rows)
    predictions = [
        gpt4scene_row("scene0001_00", "What color is the chair?", "P4", ["blue"]),
        gpt4scene_row("scene0001_00", "Tell me: What color is the chair?", "P3", ["green", "dark green"]),
        gpt4scene_row("scene0001_00", "What color is the chair?", "P0", ["green", "dark green"]),
        gpt4scene_row("scene0002_00", "whatever", "P2", ["2"], qid="val-scene0002-0"),
    ]
    assert texts(scanqa.read_predictions(predictions, samples)) == {
        "again": "P4",
        "longer": "P3",
        "val-scene0001-0": "P0",
        "val-scene0002-0": "P2",
    }


def test_rows_that_fit_nothing_are_no_answers(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    good = gpt4scene_row("scene0001_00", "Where is the lamp?", "x", ["on the desk"])
    bad = {
        "row 2: no question of this split": dict(good, prompt="What is this?"),
        "row 2: no question of this split about 'scene0009_00'": dict(good, scene_id="scene0009_00"),
        "row 2: answers question 'val-scene0002-0' in scene": dict(good, qid="val-scene0002-0"),
        "row 2: answers question 'val-scene0001-1', as answers, row 1 does": good,
        "row 2: 'pred' must be str": dict(good, pred=None),
        "row 2: has no 'pred'": {"scene_id": "scene0001_00"},
        "row 2: must be an object": 3,
    }
    for line, row in bad.items():
        with pytest.raises(UserError, match=line):
            scanqa.read_predictions([good, row], samples)


def test_what_is_no_format_of_theirs(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    for content in ([], {}, "x", [1], [{"id": "a", "answer": "b"}]):
        assert scanqa.read_predictions(content, samples) is None
        assert sqa3d.read_predictions(content, samples) is None


def test_video_3d_llms_rows_name_question_and_reference(tmp_path: Path) -> None:
    samples = scanqa_samples(tmp_path)
    rows = [{"sample_id": f"scanqa_{samples[0].id}_0", "pred_response": "red", "prompt": "", "gt_response": ""}]
    assert texts(scanqa.read_predictions(rows, samples)) == {samples[0].id: "red"}
    with pytest.raises(UserError, match="row 2: sample_id 'scanqa_x_0' is none"):
        scanqa.read_predictions([*rows, dict(rows[0], sample_id="scanqa_x_0")], samples)
    other = sqa3d_samples(tmp_path)
    assert texts(sqa3d.read_predictions([{"sample_id": 12, "pred_response": "wall"}], other)) == {"12": "wall"}


def test_leos_rows_are_in_the_second_person(tmp_path: Path) -> None:
    samples = sqa3d_samples(tmp_path)
    rows = [
        {
            "source": "scannet",
            "scene_id": "scene0001_00",
            "situation": row["situation"],
            "instruction": "USER: What is behind you ? ASSISTANT:",
            "response_gt": [annotation["answers"][0]["answer"]],
            "response_pred": f"P{row['question_id']}",
        }
        for row, annotation in zip(ASKED[:2], ANNOTATED[:2], strict=True)
    ]
    assert texts(sqa3d.read_predictions(rows[::-1], samples)) == {"11": "P11", "12": "P12"}
    one = dict(rows[0], instruction="USER: Where is the lamp? ASSISTANT:", response_gt=["on the desk"])
    del one["situation"]
    assert texts(scanqa.read_predictions([one], scanqa_samples(tmp_path))) == {"val-scene0001-1": "P11"}


def test_a_situation_may_be_told_in_other_words(tmp_path: Path) -> None:
    samples = sqa3d_samples(tmp_path)
    for situation, id in (("My bed is what I sit on.", "12"), ("A lamp is in front of me.", "11")):
        rows = [gpt4scene_row("scene0001_00", f"{situation} What is behind me?", "x", [])]
        assert texts(sqa3d.read_predictions(rows, samples)) == {id: "x"}
    with pytest.raises(UserError, match="row 1: no question"):
        sqa3d.read_predictions([gpt4scene_row("scene0001_00", "I fly. What is behind me?", "x", [])], samples)


def test_rows_with_a_situation_are_not_scanqas(tmp_path: Path) -> None:
    row = {"scene_id": "scene0001_00", "situation": "I sit.", "question": "What color is the chair?", "answer": "red"}
    with pytest.raises(UserError, match="row 1: tells a situation, and no question of this split about 'scene0001_00'"):
        scanqa.read_predictions([row], scanqa_samples(tmp_path))


def test_sqa3ds_own_rows_and_questions_that_are_asked_twice(tmp_path: Path) -> None:
    asked = [*ASKED, dict(ASKED[0], question_id=14), dict(ASKED[0], question_id=15)]
    elsewhere = {"x": 9, "y": 9, "z": 0}
    annotated = [
        *ANNOTATED,
        dict(ANNOTATED[0], question_id=14, position=elsewhere),
        dict(ANNOTATED[0], question_id=15, position=elsewhere, answers=[{"answer": "other"}]),
    ]
    samples = sqa3d_samples(tmp_path, asked, annotated)
    own = {key: ASKED[0][key] for key in ("scene_id", "situation", "question")}
    own["agent_rot"] = ANNOTATED[0]["rotation"]
    rows = [
        own | {"answer": "P14", "agent_pos": elsewhere},
        own | {"answer": "P11", "agent_pos": ANNOTATED[0]["position"]},
        own | {"answer": "P15", "agent_pos": elsewhere},
    ]
    assert texts(sqa3d.read_predictions(rows, samples)) == {"14": "P14", "11": "P11", "15": "P15"}


@pytest.mark.parametrize("folder", ["", "balanced", "sqa_task/balanced"])
def test_sqa3d_is_read(tmp_path: Path, folder: str) -> None:
    first, _, third = sqa3d_samples(tmp_path, folder=folder)
    assert (first.id, first.scene, first.kind, first.answers) == ("11", "scene0001_00", "what", ("window",))
    assert (first.question.task, first.question.style) == ("situated", "short")
    assert first.question.situation == "I am facing a lamp."
    assert first.row["alternative_situation"] == ASKED[0]["alternative_situation"]
    assert first.row["position"] == {"x": 0.5, "y": 0.25, "z": 0}
    assert third.kind == "can"


@pytest.mark.parametrize(
    ("asked", "annotated", "line"),
    [
        (ASKED[:2], ANNOTATED, r"annotations.*row 3: question_id 13 has no question"),
        (ASKED, ANNOTATED[1:], r"questions.*row 1: question_id 11 has no annotation"),
        (changed(ASKED, 1, question_id=11), ANNOTATED, "row 2: has the question_id 11, as .*row 1"),
        (ASKED, changed(ANNOTATED, 0, answers=[]), "row 1: question 11 has no answer"),
        (ASKED, changed(ANNOTATED, 0, answers=[{"answer": 2}]), "'answer' must be str"),
        (ASKED, changed(ANNOTATED, 0, scene_id="scene0009_00"), "is about scene0009_00, but .* says scene0001_00"),
        (changed(ASKED, 0, situation=None), ANNOTATED, "row 1: has no 'situation'"),
        (changed(ASKED, 0, alternative_situation="x"), ANNOTATED, "'alternative_situation' must be"),
    ],
)
def test_sqa3d_files_that_are_none(tmp_path: Path, asked: Any, annotated: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        sqa3d_samples(tmp_path, asked, annotated)


def test_an_sqa3d_file_with_another_content(tmp_path: Path) -> None:
    write(tmp_path / "v1_balanced_questions_test_scannetv2.json", ASKED)
    with pytest.raises(UserError, match="must hold an object with 'questions'"):
        sqa3d.load(tmp_path, "test")


def test_sqa3ds_protocols_differ_as_theirs_do(tmp_path: Path) -> None:
    samples = sqa3d_samples(tmp_path)
    answers = {"11": Prediction("the Window."), "12": Prediction(""), "13": Prediction("yes, I can")}

    def find(protocol: str) -> list[float]:
        metrics = sqa3d.score(samples, answers, protocol=protocol).metrics
        return [round(metric.value, 3) for metric in metrics[:2]]

    assert find("strict") == [33.333]
    assert find("gpt4scene") == [33.333, 66.667]
    assert find("leo") == [33.333, 100]
    assert find("lenient") == [66.667]  # "yes," is another word than "yes"
    report = sqa3d.score(samples, answers)
    assert report.protocol == "strict" and set(report.groups) == {"what", "can"}
    assert report.value("EM@1", "what") == 50 and report.unparsed == ("12",)


def test_gpt4scene_cleans_the_references_of_sqa3d_only(tmp_path: Path) -> None:
    samples = sqa3d_samples(tmp_path, ASKED, changed(ANNOTATED, 0, answers=[{"answer": "2"}]))
    values = sqa3d.score(samples, {"11": Prediction("2")}, protocol="gpt4scene").metrics[0].values
    assert values is not None and values[0] == 100


def test_sqa3ds_unanswered_are_wrong_for_the_lenient_too(tmp_path: Path) -> None:
    samples = sqa3d_samples(tmp_path)
    report = sqa3d.score(samples, {"11": Prediction("", "failed")}, protocol="lenient")
    assert report.metrics[0].value == 0 and report.unanswered == ("11", "12", "13")


def test_answers_to_other_questions_and_other_protocols_are_refused(tmp_path: Path) -> None:
    both: list[tuple[Any, list[BenchmarkSample]]] = [
        (scanqa, scanqa_samples(tmp_path)),
        (sqa3d, sqa3d_samples(tmp_path)),
    ]
    for benchmark, samples in both:
        with pytest.raises(UserError, match="another benchmark or split"):
            benchmark.score(samples, {"x": Prediction("a")})
        with pytest.raises(UserError, match="--protocol x: there are"):
            benchmark.score(samples, {}, protocol="x")
