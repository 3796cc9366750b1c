"""VSI-Bench, VSTI-Bench, SPAR-Bench, CV-Bench and BLINK on small made-up files in their own schemas."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from bev.errors import UserError
from gpt4scene.benchmarks import blink, cvbench, sparbench, vsibench, vstibench
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.prompting import prompts

OPTIONS = ["A. a bed", "B. a chair", "C. a sofa"]


def vsi_row(id: int, kind: str, truth: Any, **more: Any) -> dict[str, Any]:
    row = {"id": id, "dataset": "scannet", "scene_name": "scene0000_00", "question_type": kind, "question": "Which?"}
    options = None if kind in vsibench.NUMERIC_TASKS else OPTIONS
    return row | {"options": options, "ground_truth": truth} | more


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def png(shade: int) -> bytes:
    held = io.BytesIO()
    Picture.new("RGB", (4, 3), (shade, 0, 0)).save(held, "PNG")
    return held.getvalue()


def answered(samples: Sequence[BenchmarkSample], *texts: str) -> dict[str, Prediction]:
    return {sample.id: Prediction(text) for sample, text in zip(samples, texts, strict=True)}


def assert_resamples(report: Report) -> None:
    """Every metric is what its own resampling with each sample once gives."""
    once = np.ones((1, len(report.sample_ids)))
    for metric in (*report.metrics, *(one for group in report.groups.values() for one in group)):
        resampled = metric.resampled(once)
        if resampled is not None and not math.isnan(metric.value):
            assert resampled[0] == pytest.approx(metric.value, abs=1e-4), metric.name


VSI_ROWS = [
    vsi_row(1, "object_counting", "4"),
    vsi_row(2, "room_size_estimation", 20.5),
    vsi_row(3, "object_rel_direction_easy", "A"),
    vsi_row(4, "object_rel_direction_medium", "B"),
    vsi_row(5, "object_rel_direction_hard", "C"),
    vsi_row(6, "route_planning", "C"),
]


def vsi(tmp_path: Path, rows: Sequence[Mapping[str, Any]] = VSI_ROWS) -> list[BenchmarkSample]:
    write_lines(tmp_path / "test.jsonl", rows)
    return vsibench.load(tmp_path, "test")


def test_vsi_questions_have_options_without_letters_and_are_asked_in_our_words(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    assert [sample.id for sample in samples] == ["1", "2", "3", "4", "5", "6"]
    assert samples[0].scene == "scene0000_00" and samples[0].kind == "object_counting"
    assert samples[1].answers == ("20.5",)
    assert samples[2].question.options == ("a bed", "a chair", "a sofa")
    asked = prompts.question("Which?", style="letter", options=samples[2].question.options)
    assert "A. a bed\nB. a chair" in asked
    assert samples[0].question.style == "number"


def test_vsi_reads_lines_and_whole_or_parted_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    wanted = [(sample.id, sample.question, sample.answers) for sample in vsi(tmp_path / "lines")]
    rows = [row | {"ground_truth": str(row["ground_truth"])} for row in VSI_ROWS]
    write_parquet(tmp_path / "whole" / "data" / "test.parquet", rows)
    for number, part in enumerate((rows[:4], rows[4:])):
        write_parquet(tmp_path / "parts" / f"test-0000{number}-of-00002.parquet", part)
    for folder in ("whole", "parts"):
        found = [(sample.id, sample.question, sample.answers) for sample in vsibench.load(tmp_path / folder, "test")]
        assert found == wanted, folder
    (tmp_path / "parts" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="of its 2 parts 1 are there"):
        vsibench.load(tmp_path / "parts", "test")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([vsi_row(1, "object_rel_direction", "A")], "test.jsonl, row 1: 'object_rel_direction' is no type of question"),
        ([vsi_row(1, "route_planning", "A", options=["B. x", "A. y"])], "letters B, A"),
        ([vsi_row(1, "route_planning", "A", options=None)], "'options' must be list"),
        ([vsi_row(1, "route_planning", 4)], "'ground_truth' must be"),
        ([{"id": 1}], "has no 'question_type'"),
        ([vsi_row(1, "object_counting", "4"), vsi_row(1, "object_counting", "5")], "ids must differ"),
        ([3], "row 1: must be an object"),
    ],
)
def test_vsi_files_that_are_none_are_told_with_file_and_row(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        vsi(tmp_path, rows)


def test_vsi_folders_without_the_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        vsibench.load(tmp_path / "nowhere", "test")
    with pytest.raises(UserError, match="lacks test"):
        vsibench.load(tmp_path, "test")
    with pytest.raises(UserError, match="there are test, debiased"):
        vsibench.load(tmp_path, "val")


def test_vsi_scores_are_means_of_tasks_of_which_direction_is_one(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    report = vsibench.score(samples, answered(samples, "4", "20.5.", "A. a bed", "b", "A", "(C)"))
    assert report.value("Overall") == pytest.approx((100 + 100 + 200 / 3 + 0) / 4)
    assert report.value("Numeric") == 100 and report.value("Multiple choice") == pytest.approx(100 / 3)
    assert report.value("Accuracy", "object_rel_direction") == pytest.approx(200 / 3)
    assert report.unparsed == ("6",) and not report.flags
    assert json.dumps(report.details)
    assert_resamples(report)


def test_vsi_lmms_eval_finds_numbers_anywhere(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    answers = answered(samples, "there are four", "20.5m2", "A", "B", "C", "C")
    assert vsibench.score(samples, answers, protocol="official").value("Numeric") == 0
    lenient = vsibench.score(samples, answers, protocol="lmms_eval")
    assert lenient.value("Numeric") == 100 and lenient.value("Overall") == 100
    assert_resamples(vsibench.score(samples, answered(samples, "5", "x", "A", "A", "A", "A"), protocol="lmms_eval"))


def test_vsi_what_is_missing_refused_or_failed_counts_as_wrong(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    answers = answered(samples, "4", "20.5", "A", "B", "C", "C")
    answers["1"] = Prediction("4", "refused")
    answers["2"] = Prediction("20.5", "failed")
    del answers["6"]
    report = vsibench.score(samples, answers)
    assert report.unanswered == ("1", "2", "6") and not report.unparsed
    assert report.value("Overall") == pytest.approx(100 / 4)
    cut = vsibench.score(samples, answers | {"1": Prediction("4", "truncated"), "6": Prediction("")})
    assert cut.value("MRA", "object_counting") == 100 and cut.unparsed == ("6",)


@pytest.mark.parametrize(
    ("protocol", "overall", "is_flagged"), [("official", 50, True), ("vlm3r", 50, False), ("lmms_eval", 50, True)]
)
def test_vsi_without_one_type_of_direction(tmp_path: Path, protocol: str, overall: float, is_flagged: bool) -> None:
    samples = vsi(tmp_path, [row for row in VSI_ROWS if row["id"] in (1, 3, 5)])
    report = vsibench.score(samples, answered(samples, "4", "B", "B"), protocol=protocol)
    assert report.value("Overall") == overall
    assert bool(report.flags) is is_flagged and ("medium" in "".join(report.flags)) is is_flagged


@pytest.mark.parametrize(("protocol", "overall"), [("official", 200 / 3), ("vlm3r", 75), ("lmms_eval", 75)])
def test_vsi_without_the_easy_direction_they_are_tasks_each_by_the_official_code(
    tmp_path: Path, protocol: str, overall: float
) -> None:
    samples = vsi(tmp_path, [row for row in VSI_ROWS if row["id"] in (1, 4, 5)])
    report = vsibench.score(samples, answered(samples, "4", "B", "B"), protocol=protocol)
    assert report.value("Overall") == pytest.approx(overall)
    assert ("object_rel_direction" in report.groups) is (protocol != "official")


def test_vsi_truths_of_zero_are_flagged(tmp_path: Path) -> None:
    samples = vsi(tmp_path, [vsi_row(n, "object_counting", "0") for n in range(4)])
    report = vsibench.score(samples, answered(samples, "0", "1", "nan", "x"))
    assert [detail["score"] for detail in report.details] == [100, 0, 0, 0]
    assert len(report.flags) == 1 and "3 questions, the first 0" in report.flags[0]
    assert json.loads(json.dumps(report.details, allow_nan=False))[2]["read"] == "nan"


def test_vsi_answers_to_other_questions_and_unknown_protocols_are_refused(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    with pytest.raises(UserError, match="another benchmark"):
        vsibench.score(samples, {"99": Prediction("A")})
    with pytest.raises(UserError, match="there are official, lmms_eval, vlm3r"):
        vsibench.score(samples, {}, protocol="paper")


def test_vsi_the_official_prompt_has_the_options_with_their_letters() -> None:
    prompt = vsibench.official_prompt(VSI_ROWS[2], pre_prompt="Look.")
    assert prompt.split("\n")[:5] == ["Look.", "Which?", "Options:", "A. a bed", "B. a chair"]


def test_logs_of_lmms_eval_and_of_thinking_in_space_are_read(tmp_path: Path) -> None:
    samples = vsi(tmp_path)
    lines = [
        {"doc_id": 5, "target": "4", "filtered_resps": "4 chairs", "vsibench_overall": VSI_ROWS[0]},
        {"doc_id": 1, "target": "20.5", "filtered_resps": ["20"], "resps": [["twenty"]]},
    ]
    found = vsibench.read_predictions(lines, samples)
    assert found == {"1": Prediction("4 chairs"), "2": Prediction("20")}
    older = {"args": {}, "logs": [{"doc_id": 0, "doc": VSI_ROWS[5], "resps": [["C"]], "filtered_resps": ["C"]}]}
    assert vsibench.read_predictions(older, samples) == {"6": Prediction("C")}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"doc_id": 0, "target": "5", "filtered_resps": "4"}], "entry 1: does not say which question"),
        ([{"doc_id": 0, "target": "4", "filtered_resps": "4"}] * 2, "entry 2: answers the question '1' once more"),
        ([{"doc_id": 0, "target": "4", "filtered_resps": None}], "entry 1: its response is no text"),
        ([{"doc_id": 0, "target": "A", "filtered_resps": "A", "mmsi": {"id": 1}}], "1 of 1 entries tell other truths"),
    ],
)
def test_logs_that_cannot_be_matched_are_refused(tmp_path: Path, lines: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        vsibench.read_predictions(lines, vsi(tmp_path))


@pytest.mark.parametrize("content", [{}, [], [{"id": "1", "answer": "4"}], {"1": "4"}, "x", None])
def test_what_is_no_log_is_left_to_others(tmp_path: Path, content: Any) -> None:
    assert vsibench.read_predictions(content, vsi(tmp_path)) is None


def vsti_row(id: int, kind: str, truth: Any, letter: str | None = None) -> dict[str, Any]:
    row = {"id": id, "video_path": "scannet/scene0001_00.mp4", "question_type": kind, "question": "Which way?"}
    return row | {"options": OPTIONS if letter else None, "ground_truth": truth, "mc_answer": letter}


def test_vsti_has_the_mean_of_five_columns_and_the_mean_of_types(tmp_path: Path) -> None:
    rows = [
        vsti_row(0, "camera_obj_abs_dist", "2.0"),
        vsti_row(1, "obj_obj_relative_pos_nf", "a bed", "A"),
        vsti_row(2, "obj_obj_relative_pos_lr", "a sofa", "C"),
        vsti_row(3, "camera_movement_direction", "a chair", "B"),
    ]
    write_lines(tmp_path / "test.jsonl", rows)
    samples = vstibench.load(tmp_path, "test")
    assert samples[0].scene == "scene0001_00" and samples[1].answers == ("A",)
    report = vstibench.score(samples, answered(samples, "2", "a", "B", "b."))
    assert report.metrics[0].name == "Overall"
    assert report.value("Overall") == pytest.approx((100 + 50 + 100) / 3)
    assert report.value("Mean of types") == pytest.approx((100 + 100 + 0 + 100) / 4)
    assert report.value("Accuracy", "Obj-Obj Rel Pos") == 50 and not report.flags
    assert_resamples(report)


def test_vsti_flags_what_stops_the_official_code(tmp_path: Path) -> None:
    choice = vsti_row(1, "camera_movement_direction", "a bed", "A") | {"mc_answer": None}
    rows = [
        vsti_row(0, "camera_displacement", "0"),
        choice,
        vsti_row(2, "camera_obj_dist_change", "-0.5"),
        vsti_row(3, "camera_displacement", None),
    ]
    write_lines(tmp_path / "test.jsonl", rows)
    samples = vstibench.load(tmp_path, "test")
    report = vstibench.score(samples, answered(samples, "0.1", "A", "99", "1"))
    assert [detail["score"] for detail in report.details] == [0, 0, 100, 0]
    assert len(report.flags) == 4
    del choice["mc_answer"]
    write_lines(tmp_path / "test.jsonl", rows)
    with pytest.raises(UserError, match="row 2: has no 'mc_answer'"):
        vstibench.load(tmp_path, "test")


def spar_row(id: int, task: str, answer: str, question: str = "How far?", **more: Any) -> dict[str, Any]:
    images = [{"bytes": png(id), "path": None}, {"bytes": png(id + 1), "path": "b.png"}]
    return {"id": id, "task": task, "source": "scannet", "image": images, "question": question, "answer": answer} | more


def test_spar_images_are_taken_along_and_options_found_in_the_text(tmp_path: Path) -> None:
    lettered = "Where is it?\nA. left\nB. right of B\nC. behind"
    rows = [
        spar_row(1, "depth_prediction_oc", "2.5"),
        spar_row(2, "obj_spatial_relation_oo", "B", lettered),
        spar_row(3, "obj_spatial_relation_oo", "B", "Is it A. or not?"),
        spar_row(4, "view_change_infer", "move_up:1"),
    ]
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    samples = sparbench.load(tmp_path, "test")
    assert [sample.id for sample in samples] == ["1", "2", "3", "4"]
    first, second = samples[0].images
    assert first.read() == png(1) and second.read() == png(2)
    assert first.path == "depth_prediction_oc-1_1.png" and second.path == "b.png"
    assert "image" not in samples[0].row
    assert samples[1].question.options == ("left", "right of B", "behind")
    assert samples[1].question.text == "Where is it?"
    assert [sample.question.style for sample in samples] == ["number", "letter", "short", "form"]
    # what the scorer reads is said, as "a single word" would lead elsewhere
    assert samples[3].question.text == "How far?\nWrite it as name:number, with commas between and no spaces."


def test_spar_coordinates_are_explained_where_questions_have_them(tmp_path: Path) -> None:
    options = "Which box?\nA. [1, 2, 3, 4]\nB. [5, 6, 7, 8]"
    rows = [
        spar_row(1, "position_matching", "A", options),
        spar_row(2, "camera_motion_infer", "A", "Where to?"),
        spar_row(3, "obj_spatial_relation_oo", "A", options),
    ]
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    questions = [sample.question for sample in sparbench.load(tmp_path, "test")]
    assert ["from 0 to 1000" in question.text for question in questions] == [True, True, False]
    assert questions[0].options == questions[2].options == ("[1, 2, 3, 4]", "[5, 6, 7, 8]")


def test_spar_ids_that_tasks_share_get_the_task_before_them(tmp_path: Path) -> None:
    rows = [spar_row(1, task, "2", image=["a.png"]) for task in ("depth_prediction_oc", "depth_prediction_oo")]
    (tmp_path / "a.png").write_bytes(png(0))
    write_lines(tmp_path / "test.jsonl", rows)
    samples = sparbench.load(tmp_path, "test")
    assert [sample.id for sample in samples] == ["depth_prediction_oc-1", "depth_prediction_oo-1"]
    logged = [{"doc_id": 0, "filtered_resps": "2", "sparbench_score": rows[1]}]
    assert sparbench.read_predictions(logged, samples) == {"depth_prediction_oo-1": Prediction("2")}
    write_lines(tmp_path / "test.jsonl", [rows[0], rows[0]])
    with pytest.raises(UserError, match="ids must differ"):
        sparbench.load(tmp_path, "test")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("../a.png", "lies outside"),
        ("x/../../a.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("a\0.png", "lies outside"),
        ("b.png", "is not there"),
        ({"bytes": None, "path": "../a.png"}, "lies outside"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        (5, "neither bytes nor a path"),
    ],
)
def test_images_outside_of_the_folder_or_not_there_are_refused(tmp_path: Path, image: Any, message: str) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    root = tmp_path / "root"
    write_lines(root / "test.jsonl", [spar_row(1, "position_matching", "A", image=[image])])
    with pytest.raises(UserError, match=f"row 1.*{message}"):
        sparbench.load(root, "test")


def spar_samples(*pairs: tuple[str, str]) -> list[BenchmarkSample]:
    question = sparbench._question("How far?", "depth_prediction_oc")
    return [BenchmarkSample(str(n), "", question, task, (truth,)) for n, (task, truth) in enumerate(pairs)]


def test_spar_levels_leave_the_change_of_view_out_as_the_official_code_does() -> None:
    samples = spar_samples(("depth_prediction_oc", "2"), ("view_change_infer", "move_up:1"), ("position_matching", "B"))
    answers = answered(samples, "2 m", "move_up:1", "C")
    report = sparbench.score(samples, answers)
    assert report.value("Overall") == pytest.approx(200 / 3)
    assert report.value("Low") == 100 and report.value("Middle") == 0
    assert report.value("Middle, view change included") == 50
    assert math.isnan(report.value("High")) and "High" in report.flags[0]
    lmms = sparbench.score(samples, answers, protocol="lmms_eval")
    assert lmms.value("High") == 0 and not lmms.flags
    assert_resamples(report)


def test_spar_an_empty_answer_is_right_but_a_missing_one_is_wrong() -> None:
    samples = spar_samples(("position_matching", "A"), ("position_matching", "B"), ("position_matching", "C"))
    report = sparbench.score(samples, {"0": Prediction(""), "1": Prediction("B", "refused")})
    assert [detail["score"] for detail in report.details] == [100, 0, 0]
    assert report.unanswered == ("1", "2") and report.unparsed == ("0",)


@pytest.mark.parametrize(
    ("text", "answer", "agreement"),
    [
        ("move_right:0.3,move_up:0.1,rotate_left:20", "move_right:0.3,move_up:0.1,rotate_left:20", 1.0),
        ("move_right:0.33,rotate_up:5", "move_right:0.3,rotate_up:10", 0.78),
        ("move_right: 0.3, move_up: 0.1", "move_right:0.3,move_up:0.1", 0.98),  # " move_up" is no known name
        ("move_right:0.3m", "move_right:0.3", None),
        ("", "move_right:0.3", None),
        ("a:b:c", "move_right:0.3", None),
        ("move_up:2", "nothing", None),
    ],
)
def test_agreement_on_a_change_of_view(text: str, answer: str, agreement: float | None) -> None:
    found = sparbench.view_change_agreement(text, answer)
    assert found == (None if agreement is None else pytest.approx(agreement))


def cv_row(idx: int, source: str, answer: str = "(A)", **more: Any) -> dict[str, Any]:
    deep = source == "Omni3D"
    row = {"idx": idx, "type": "3D" if deep else "2D", "task": "Depth" if deep else "Count", "question": "How many?"}
    return row | {"choices": ["1", "2", "3"], "answer": answer, "source": source, "filename": "img/a.png"} | more


def test_cvbench_has_the_mean_of_2d_and_3d_and_plain_accuracy(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(png(0))
    write_lines(tmp_path / "test_2d.jsonl", [cv_row(0, "ADE20K"), cv_row(1, "COCO"), cv_row(2, "COCO", "(C)")])
    write_lines(tmp_path / "test_3d.jsonl", [cv_row(3, "Omni3D", "(B)")])
    samples = cvbench.load(tmp_path, "test")
    assert [sample.id for sample in samples] == ["0", "1", "2", "3"]
    assert samples[0].images[0].read() == png(0) and samples[0].question.options == ("1", "2", "3")
    answers = answered(samples, "(A) 1", "a", "**C**", "The second")
    report = cvbench.score(samples, answers)
    assert report.value("Overall") == pytest.approx(0.5 * ((100 + 50) / 2 + 0))
    assert report.value("Accuracy") == 50 and cvbench.score(samples, answers, protocol="plain").value("Overall") == 50
    assert report.unparsed == ("2", "3")  # "The second" reads as T, which is no option
    assert [sample.id for sample in cvbench.load(tmp_path, "3d")] == ["3"]
    refused = cvbench.score(samples, answers | {"0": Prediction("A", "refused")})
    assert refused.value("Accuracy") == 25 and refused.unanswered == ("0",)
    assert_resamples(report)


def test_cvbench_without_a_source_is_flagged(tmp_path: Path) -> None:
    rows = [cv_row(0, "COCO", image={"bytes": png(9), "path": None}), cv_row(0, "Omni3D", image={"bytes": png(8)})]
    write_parquet(tmp_path / "test.parquet", [rows[0], rows[1] | {"image": {"bytes": png(8), "path": None}}])
    samples = cvbench.load(tmp_path, "test")
    assert [sample.id for sample in samples] == ["2D-0", "3D-0"]
    report = cvbench.score(samples, answered(samples, "A", "B"))
    assert report.value("Overall") == 50 and "ADE20K" in report.flags[0]


def blink_row(task: str, number: int, answer: str = "(A)") -> dict[str, Any]:
    images = {f"image_{n}": {"bytes": png(n), "path": None} if n < 3 else None for n in range(1, 5)}
    row = {"idx": f"val_{task}_{number}", "sub_task": task, "question": "Which?", "choices": ["one", "two"]}
    return row | {"answer": answer, "prompt": "Which?\n(A) one\n(B) two", "explanation": ""} | images


@pytest.fixture
def blink_root(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "Counting" / "val-00000-of-00001.parquet", [blink_row("Counting", n) for n in (1, 2, 3)])
    write_parquet(tmp_path / "Relative_Depth" / "val-00000-of-00001.parquet", [blink_row("Relative_Depth", 1, "(B)")])
    return tmp_path


def test_blink_averages_over_subtasks(blink_root: Path) -> None:
    samples = blink.load(blink_root, "val")
    assert len(samples) == 4 and [image.read() for image in samples[0].images] == [png(1), png(2)]
    assert "image_1" not in samples[0].row and samples[0].question.options == ("one", "two")
    report = blink.score(samples, answered(samples, "A", "B", "B", "(B) two"))
    assert report.value("Overall") == pytest.approx((100 / 3 + 100) / 2)
    assert report.value("Accuracy") == 50 and report.value("Spatial") == 100
    assert [sample.kind for sample in blink.load(blink_root, "val_spatial")] == ["Relative_Depth"]
    assert_resamples(report)


def test_blink_reads_its_own_predictions(blink_root: Path) -> None:
    samples = blink.load(blink_root, "val")
    own = {"val": [{"idx": "val_Counting_1", "answer": "(A)", "full_prediction": "One.", "prediction": "(A)"}]}
    assert blink.read_predictions(own, samples) == {"val_Counting_1": Prediction("(A)")}
    assert blink.read_predictions({"val_Counting_2": "(B)"}, samples) == {"val_Counting_2": Prediction("(B)")}
    logged = [{"doc_id": 0, "filtered_resps": "B", "blink_acc": {"id": "val_Relative_Depth_1", "pred": "B"}}]
    assert blink.read_predictions(logged, samples) == {"val_Relative_Depth_1": Prediction("B")}
    assert blink.read_predictions({"scene0000_00": []}, samples) is None


def test_blink_hidden_answers_count_as_nothing(tmp_path: Path) -> None:
    write_parquet(tmp_path / "Counting" / "test-00000-of-00001.parquet", [blink_row("Counting", 1, "hidden")])
    samples = blink.load(tmp_path, "test")
    report = blink.score(samples, answered(samples, "A"))
    assert math.isnan(report.value("Overall")) and "hidden" in report.flags[0]
