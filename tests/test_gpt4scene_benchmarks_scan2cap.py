"""Scan2Cap: objects come from ScanRefer's rows, poor overlap hides a caption, what stops official code is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bev.errors import UserError
from gpt4scene.benchmarks import scan2cap
from gpt4scene.benchmarks.detected_captions import Detections, match_detections, official_giou
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.benchmarks.scan2cap_wording import caption_of, references_of
from gpt4scene.metrics import captions
from gpt4scene.metrics.boxes import corners_of
from gpt4scene.metrics.meteor import STATISTICS, MeteorScores


@pytest.fixture(autouse=True)
def quick_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program takes seconds to start; the fixture cases are scored with it."""

    def score(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> MeteorScores:
        values = np.array([float(one in others) for one, others in zip(candidates, references, strict=True)])
        return MeteorScores(float(values.mean()), values, np.zeros((len(values), STATISTICS)))

    monkeypatch.setattr(captions, "meteor_scores", score)


def _row(object_id: str, text: str, ann: str = "0", scene: str = "scene0011_00") -> dict[str, Any]:
    row = {
        "scene_id": scene,
        "object_id": object_id,
        "object_name": {"0": "office_chair", "1": "table"}.get(object_id, "lamp"),
        "ann_id": ann,
        "description": text,
        "token": text.lower().replace(".", " .").split(),
    }
    return row


ROWS = [
    _row("0", "A brown chair by the door."),
    _row("1", "The round table. It is white."),
    _row("0", "This is the chair near the lamp.", ann="1"),
    _row("5", "a tall lamp in the corner", scene="scene0046_00"),
]


def _root(folder: Path, rows: list[dict[str, Any]] = ROWS, **files: Any) -> Path:
    (folder / "ScanRefer_filtered_val.json").write_text(json.dumps(rows), encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _samples(folder: Path, **files: Any) -> list[BenchmarkSample]:
    return scan2cap.load(_root(folder, **files), "val")


def _box(x: float, height: float = 2.0) -> np.ndarray:
    return np.array([x, 0.0, 1.0, 1.0, 1.0, height])


OBJECTS = {
    "scene0011_00": SceneObjects(
        {0: TrueObject("chair", _box(0)), 1: TrueObject("table", _box(5))},
        # 0.8, 0.3 and nothing of the annotated boxes
        {7: _box(0, 1.6), 8: _box(5, 0.6), 9: _box(50)},
    ),
    "scene0046_00": SceneObjects({5: TrueObject("lamp", _box(0))}, {3: _box(0)}),
}
ANSWERS = {
    "scene0011_00|0": Prediction("A brown chair by the door."),
    "scene0011_00|1": Prediction("The round table. It is white."),
    "scene0046_00|5": Prediction("A tall lamp in the corner"),
}


def test_rows_become_objects_with_all_their_descriptions(tmp_path) -> None:
    chair, table, lamp = _samples(tmp_path)
    assert [s.id for s in (chair, table, lamp)] == ["scene0011_00|0", "scene0011_00|1", "scene0046_00|5"]
    assert chair.answers == ("A brown chair by the door.", "This is the chair near the lamp.")
    assert chair.question.task == "caption" and chair.question.object_id == 0 and chair.object_ids == (0,)
    assert chair.kind == "office chair" and lamp.row["first_row"] == 3


def test_references_in_the_words_of_each_protocol(tmp_path) -> None:
    chair, table, _ = _samples(tmp_path)
    assert references_of(table, "gpt4scene") == ["sos The round table. It is white. eos"]
    assert references_of(table, "official") == ["sos the round table . it is white . eos"]
    assert references_of(table, "video3dllm") == ["sos the round table .  it is white .  eos"]
    assert len(references_of(chair, "benchmark")) == 2
    long = _row("0", "so " * 40)
    (sample,) = scan2cap.load(_root(tmp_path, [long]), "val")
    assert len(references_of(sample, "official")[0].split()) == 32
    assert len(references_of(sample, "benchmark")[0].split()) == 42


@pytest.mark.parametrize(
    ("text", "protocol", "said"),
    [
        ("It's A\nchair.", "gpt4scene", "sos It's A chair. eos"),
        ("It's A chair, l-shaped.", "official", "sos it's a chair , l-shaped . eos"),
        ("sos a chair . eos", "official", "sos a chair . eos"),
        ("sos eos", "benchmark", "sos eos"),
        ("", "official", "sos eos"),
        ("A b.c,D", "video3dllm", "sos a b . c , d eos"),
        ("a ||| b\nc", "official", "sos a | | | b c eos"),
    ],
)
def test_captions_in_the_words_of_each_protocol(text, protocol, said) -> None:
    assert caption_of(text, protocol) == said


def test_a_caption_of_an_object_that_overlaps_too_little_is_hidden(tmp_path) -> None:
    report = scan2cap.score(_samples(tmp_path), ANSWERS, objects=OBJECTS)
    assert report.metrics[0].name == "CIDEr@0.5" and report.metrics[1].name == "BLEU-4@0.5"
    values = {metric.name: np.asarray(metric.values, np.float64) for metric in report.metrics}
    np.testing.assert_allclose(values["ROUGE-L@0.25"], 100)
    assert values["ROUGE-L@0.5"][1] < 60 and values["ROUGE-L@0.5"][[0, 2]] == pytest.approx(100)
    assert [detail["object"] for detail in report.details] == [7, 8, 3]
    assert [round(detail["iou"], 3) for detail in report.details] == [0.8, 0.3, 1.0]
    assert not report.unanswered and not report.flags
    assert set(report.groups) == {"office chair", "table", "lamp"}
    assert report.value("ROUGE-L@0.5", "table") == pytest.approx(values["ROUGE-L@0.5"][1])
    assert report.value("BLEU-4@0.25", "table") == pytest.approx(100)


def test_the_object_that_was_described_decides(tmp_path) -> None:
    samples = _samples(tmp_path)
    for key in ("proposed_id", "pred_id"):
        answers = {**ANSWERS, "scene0011_00|0": Prediction(ANSWERS["scene0011_00|0"].text, extra={key: 9})}
        report = scan2cap.score(samples, answers, objects=OBJECTS)
        assert report.details[0]["iou"] == 0 and not report.flags
    # what the released rows assign
    rows = [{"scene_id": "scene0011_00", "obj_id": 0, "pred_id": 9, "iou": 0.0}]
    samples = _samples(tmp_path, scan2cap_mask3d_val=rows)
    assert scan2cap.score(samples, ANSWERS, objects=OBJECTS).details[0]["object"] == 9


def test_half_passes_one_gate_and_not_the_other(tmp_path) -> None:
    """Answers tell the overlap here, as exact as a number is; computed ones fall short of 0.5 by a rounding."""
    samples = _samples(tmp_path)
    answers = {id: Prediction(one.text, extra={"iou": 0.5}) for id, one in ANSWERS.items()}
    assert scan2cap.score(samples, answers).value("ROUGE-L@0.5") == pytest.approx(100)
    assert scan2cap.score(samples, answers, protocol="official").value("ROUGE-L@0.5") < 60
    assert scan2cap.score(samples, answers, protocol="official").value("ROUGE-L@0.25") > 90


def test_no_answer_is_an_empty_caption_and_counts(tmp_path) -> None:
    samples = _samples(tmp_path)
    answers = {"scene0011_00|0": ANSWERS["scene0011_00|0"], "scene0011_00|1": Prediction("The table", "refused")}
    for protocol in ("gpt4scene", "official", "video3dllm"):
        report = scan2cap.score(samples, answers, protocol=protocol, objects=OBJECTS)
        assert report.unanswered == ("scene0011_00|1", "scene0046_00|5")
        assert [detail["caption"] for detail in report.details[1:]] == ["sos eos", "sos eos"]
        assert all(len(metric.values) == 3 for metric in report.metrics if metric.values is not None)
    nothing = scan2cap.score(samples, {}, objects=OBJECTS)
    assert len(nothing.unanswered) == 3 and 0 < nothing.value("ROUGE-L@0.5") < 60


def test_where_official_code_stops_a_flag_says_what_was_done(tmp_path) -> None:
    samples = _samples(tmp_path)
    stranger = {**ANSWERS, "scene0011_00|77": Prediction("a chair")}
    assert "KeyError" in scan2cap.score(samples, stranger, objects=OBJECTS).flags[0]
    broken = {**ANSWERS, "scene0011_00|0": Prediction("sos a\nchair ||| eos")}
    for protocol in ("official", "video3dllm"):
        report = scan2cap.score(samples, broken, protocol=protocol, objects=OBJECTS)
        assert any("ValueError out of METEOR" in flag and "scene0011_00|0" in flag for flag in report.flags)
    assert not scan2cap.score(samples, broken, objects=OBJECTS).flags
    lost = {**ANSWERS, "scene0011_00|0": Prediction("a chair", extra={"pred_id": 55})}
    assert "none of the proposed" in scan2cap.score(samples, lost, objects=OBJECTS).flags[0]
    few = {**OBJECTS, "scene0046_00": SceneObjects({}, {3: _box(0)})}
    for protocol in scan2cap.PROTOCOLS:
        flags = scan2cap.score(samples, ANSWERS, protocol=protocol, objects=few).flags
        assert any("annotation does not hold" in flag and "scene0046_00|5" in flag for flag in flags)


def test_what_cannot_be_scored_is_said(tmp_path) -> None:
    samples = _samples(tmp_path)
    for protocol in ("gpt4scene", "official", "benchmark"):
        with pytest.raises(UserError, match="--scans or --attributes"):
            scan2cap.score(samples, ANSWERS, protocol=protocol)
    assert any("however little" in flag for flag in scan2cap.score(samples, ANSWERS, protocol="video3dllm").flags)
    with pytest.raises(UserError, match=r"row 4: .*not of scene scene0046_00"):
        scan2cap.score(samples, ANSWERS, objects={"scene0011_00": OBJECTS["scene0011_00"]})
    with pytest.raises(UserError, match="another benchmark or split"):
        scan2cap.score(samples, {"val-1": Prediction("yes")}, objects=OBJECTS)
    with pytest.raises(UserError, match="--protocol leo"):
        scan2cap.score(samples, ANSWERS, protocol="leo", objects=OBJECTS)


def test_rows_of_gpt4scene_the_last_counts(tmp_path) -> None:
    samples = _samples(tmp_path)
    rows = [
        {"scene_id": "scene0011_00", "gt_id": 0, "pred_id": 9, "pred": "nothing"},
        {"scene_id": "scene0011_00", "gt_id": "0", "pred_id": 7, "pred": "A brown chair by the door."},
    ]
    answers = scan2cap.read_predictions(rows, samples)
    assert answers is not None and answers["scene0011_00|0"].text.startswith("A brown")
    report = scan2cap.score(samples, answers, objects=OBJECTS)
    assert report.details[0]["object"] == 7 and "the last counts" in report.flags[0]


def test_rows_of_video_3d_llm_are_found_by_their_place(tmp_path) -> None:
    samples = _samples(tmp_path)
    rows = [{"sample_id": 3, "pred_response": "A lamp", "gt_response": ["a tall lamp in the corner"]}]
    answers = scan2cap.read_predictions(rows, samples)
    assert answers is not None and list(answers) == ["scene0046_00|5"]
    # the file leaves out poor overlaps by itself, so boxes change nothing
    far = {**OBJECTS, "scene0046_00": SceneObjects({5: TrueObject("lamp", _box(0))}, {3: _box(9)})}
    report = scan2cap.score(samples, answers, protocol="video3dllm", objects=far)
    assert report.details[2]["caption"] == "sos a lamp eos" and not report.flags
    with pytest.raises(UserError, match="'gt_response' is not what"):
        scan2cap.read_predictions([{**rows[0], "gt_response": ["a bed"]}], samples)


def test_captions_of_eval_cap_are_gated_already(tmp_path) -> None:
    samples = _samples(tmp_path)
    content = {
        "scene0011_00|0|office_chair": ["sos a brown chair by the door . eos"],
        "scene0011_00|1|desk": ["sos a desk eos"],
    }
    answers = scan2cap.read_predictions(content, samples)
    assert answers is not None and list(answers) == ["scene0011_00|0", "scene0011_00|1|desk"]
    report = scan2cap.score(samples, answers, protocol="official")
    assert report.unanswered == ("scene0011_00|1", "scene0046_00|5")
    assert report.value("CIDEr@0.5") == report.value("CIDEr@0.25")
    assert any("leaves out poor overlaps" in flag for flag in report.flags)


def _detection(caption: str, box: np.ndarray) -> dict[str, Any]:
    return {"caption": caption, "box": corners_of(box).tolist(), "sem_prob": [1.0], "obj_prob": [0, 1]}


def _boxed(folder: Path) -> list[BenchmarkSample]:
    boxes = {"scene0011_00|0": _box(0), "scene0011_00|1": _box(5), "scene0046_00|5": _box(0)}
    rows = [row | {"bbox": corners_of(boxes[f"{row['scene_id']}|{row['object_id']}"]).tolist()} for row in ROWS]
    (folder / "ScanRefer_filtered_val_gt_bbox.json").write_text(json.dumps(rows), encoding="utf-8")
    return scan2cap.load(folder, "val")


FOUND = {
    "scene0011_00": [
        _detection("sos the round table . it is white . eos", _box(5, 1.8)),
        _detection("sos a brown chair by the door . eos", _box(0, 0.8)),
        _detection("sos a ghost eos", _box(30)),
    ],
    "scene0046_00": [_detection("sos a tall lamp in the corner eos", _box(0))],
}


def test_detections_find_their_objects(tmp_path) -> None:
    samples = _boxed(tmp_path)
    answers = scan2cap.read_predictions(FOUND, samples)
    assert answers is not None
    report = scan2cap.score(samples, answers, protocol="benchmark")
    assert [round(detail["iou"], 2) for detail in report.details] == [0.4, 0.9, 1.0]
    assert report.value("ROUGE-L@0.25 recall") == pytest.approx(100)
    assert report.value("ROUGE-L@0.25 precision") == pytest.approx(75)
    assert report.value("ROUGE-L@0.25") == pytest.approx(2 * 100 * 75 / 175)
    assert report.value("ROUGE-L@0.5 recall") == pytest.approx(200 / 3)
    assert not report.flags and not report.unanswered
    with pytest.raises(UserError, match="--protocol benchmark scores"):
        scan2cap.score(samples, answers, objects=OBJECTS)


def test_a_scene_without_detections_scores_nothing_and_is_told(tmp_path) -> None:
    samples = _boxed(tmp_path)
    answers = scan2cap.read_predictions({**FOUND, "scene0046_00": []}, samples)
    assert answers is not None
    report = scan2cap.score(samples, answers, protocol="benchmark")
    assert report.unanswered == ("scene0046_00|5",) and "no detection in the scene" in report.flags[0]
    assert report.value("ROUGE-L@0.25 recall") == pytest.approx(200 / 3)
    with pytest.raises(UserError, match="none of their 1 scenes"):
        scan2cap.read_predictions({"scene9": FOUND["scene0046_00"]}, samples)


def test_f1_of_nothing_is_not_defined_and_is_told(tmp_path) -> None:
    samples = _boxed(tmp_path)
    far = {scene: [_detection("sos a chair eos", _box(70))] for scene in FOUND}
    answers = scan2cap.read_predictions(far, samples)
    assert answers is not None
    report = scan2cap.score(samples, answers, protocol="benchmark")
    assert np.isnan(report.value("CIDEr@0.5")) and report.value("CIDEr@0.5 recall") == 0
    assert any("F1 of" in flag and "CIDEr@0.5" in flag for flag in report.flags)
    f1 = report.metrics[0]
    resampled = f1.resampled(np.ones((2, 3)))
    assert resampled is not None and (resampled == 0).all()


def test_answers_about_proposed_objects_are_detections_of_these(tmp_path) -> None:
    samples = _samples(tmp_path)
    report = scan2cap.score(samples, ANSWERS, protocol="benchmark", objects=OBJECTS)
    assert [round(detail["iou"], 2) for detail in report.details] == [0.8, 0.3, 1.0]
    assert report.value("ROUGE-L@0.25 precision") == pytest.approx(report.value("ROUGE-L@0.25 recall"))
    # what is told of the chair is of a box where the table is, but nobody answered about that
    part = {id: one for id, one in ANSWERS.items() if id != "scene0011_00|1"}
    part["scene0011_00|0"] = Prediction("The round table. It is white.", extra={"proposed_id": 8})
    report = scan2cap.score(samples, part, protocol="benchmark", objects=OBJECTS)
    recall = next(metric for metric in report.metrics if metric.name == "ROUGE-L@0.25 recall")
    assert recall.values is not None and recall.values[1] == 0 and report.unanswered == ("scene0011_00|1",)


def test_more_objects_than_boxes_share_the_first_box() -> None:
    boxes = np.stack([corners_of(_box(20)), corners_of(_box(5))])
    true = [corners_of(_box(5)), corners_of(_box(0)), corners_of(_box(20))]
    matched = match_detections(["s"] * 3, true, {"s": Detections(("first", "second"), boxes)})
    assert matched.captions == ("second", "first", "first") and matched.detected == 2
    np.testing.assert_array_equal(matched.ious, [1, 0, 1])


def test_the_official_giou_sees_no_overlap() -> None:
    one, other = corners_of(_box(0)), corners_of(_box(0.5))
    assert official_giou(one[None], other[None])[0, 0] == pytest.approx(4 / 3 - 1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"object_id": "x"}, r"row 1: 'object_id' must be the number"),
        ({"object_name": 3}, r"row 1: 'object_name' must be str"),
        ({"description": None}, r"row 1: 'description' must be str"),
        ({"token": "a chair"}, r"row 1: 'token' must be a list"),
        ({"bbox": [[1, 2, 3]]}, r"row 1: 'bbox' must be 8 corners"),
        ({"bbox": "x"}, r"row 1: 'bbox' holds no numbers"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, match) -> None:
    with pytest.raises(UserError, match=match):
        scan2cap.load(_root(tmp_path, [_row("0", "a chair") | changes]), "val")


def test_files_that_do_not_belong_together_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"lacks .*ScanRefer_filtered_val"):
        scan2cap.load(tmp_path, "val")
    with pytest.raises(UserError, match="--split test"):
        scan2cap.load(tmp_path, "test")
    with pytest.raises(UserError, match=r"row 2: has the 'ann_id' '0' of its object, as .*row 1"):
        scan2cap.load(_root(tmp_path, [ROWS[0], ROWS[0]]), "val")
    with pytest.raises(UserError, match=r"differ in 3 of the objects"):
        _samples(tmp_path, scan2cap_val_corpus={"scene0011_00|0": ["sos A chair. eos"]} | {"s|1": ["sos a eos"]})
    (tmp_path / "scan2cap_val_corpus.json").unlink()
    with pytest.raises(UserError, match="has no description"):
        _samples(tmp_path, scan2cap_mask3d_val=[{"scene_id": "scene0011_00", "obj_id": 9, "pred_id": 1}])


def test_the_corpus_alone_is_enough_for_gpt4scenes_protocol(tmp_path) -> None:
    corpus = {"scene0011_00|0": ["sos A brown chair by the door. eos"], "scene0046_00|5": ["sos A lamp. eos"]}
    (tmp_path / "scan2cap_val_corpus.json").write_text(json.dumps(corpus), encoding="utf-8")
    samples = scan2cap.load(tmp_path, "val")
    assert samples[0].answers == ("A brown chair by the door.",) and samples[0].kind == "object"
    assert scan2cap.score(samples, {}, objects=OBJECTS).unanswered
    with pytest.raises(UserError, match="'token' lists"):
        scan2cap.score(samples, {}, protocol="official", objects=OBJECTS)


def test_other_formats_are_none_of_ours(tmp_path) -> None:
    samples = _samples(tmp_path)
    for other in ([], {}, "a", [1], [{"id": 1, "answer": "x"}], {"a": 1}, {"a": []}, {"a": ["x", 1]}):
        assert scan2cap.read_predictions(other, samples) is None
    with pytest.raises(UserError, match="detection 1: 'box' must be 8 corners"):
        scan2cap.read_predictions({"scene0011_00": [{"caption": "a", "box": [[0, 0, 0]]}]}, samples)
    with pytest.raises(UserError, match="detection 1: must have"):
        scan2cap.read_predictions({"scene0011_00": [{"caption": "a"}]}, samples)
