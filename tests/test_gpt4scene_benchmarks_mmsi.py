"""MMSI-Bench: rows of both formats become samples, images stay in their folder, letters are read as lmms-eval does."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from bev.errors import UserError
from gpt4scene.benchmarks import mmsi
from gpt4scene.benchmarks.sample import Prediction

QUESTION = (
    "Two photos of one room. Where is the lamp?\nOptions: A: left, by the door, B: right, C: behind you, D: above"
)


def _png(shade: int = 0) -> bytes:
    data = io.BytesIO()
    PillowImage.new("RGB", (4, 3), (shade, 0, 0)).save(data, "PNG")
    return data.getvalue()


def _row(id: int = 7, **changes) -> dict:
    row = {
        "id": id,
        "images": ["rooms/one.png", "rooms/two.png"],
        "question_type": "Positional Relationship (Cam.-Obj.)",
        "question": QUESTION,
        "answer": "B",
        "thought": "the lamp is right of the door",
    }
    return row | changes


def _root(folder: Path, rows: list[dict]) -> Path:
    (folder / "rooms").mkdir()
    for name in ("one", "two"):
        (folder / "rooms" / f"{name}.png").write_bytes(_png())
    (folder / "mmsi_bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _parquet(folder: Path, rows: list[dict], name: str = "MMSI_bench.parquet") -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    return folder


def test_a_row_becomes_a_question_with_its_images(tmp_path) -> None:
    (sample,) = mmsi.load(_root(tmp_path, [_row()]), "test")
    assert sample.id == "7" and sample.scene == "" and sample.answers == ("B",)
    assert sample.kind == "Positional Relationship (Cam.–Obj.)"
    assert sample.question.options == ("left, by the door", "right", "behind you", "above")
    assert sample.question.text == "Two photos of one room. Where is the lamp?"
    assert [image.read() for image in sample.images] == [_png(), _png()]
    assert "images" not in sample.row and sample.row["thought"]


@pytest.mark.parametrize("name", ["MMSI_bench.parquet", "questions.parquet", "test-00000-of-00001.parquet"])
@pytest.mark.parametrize("embedded", [lambda b: b, lambda b: {"bytes": b, "path": None}])
def test_images_in_a_parquet_file_are_bytes_with_a_name(tmp_path, name, embedded) -> None:
    root = _parquet(tmp_path, [_row(images=[embedded(_png(1)), embedded(_png(2))])], name)
    (sample,) = mmsi.load(root, "test")
    assert [image.read() for image in sample.images] == [_png(1), _png(2)]
    assert len({image.path for image in sample.images}) == 2
    assert all(image.path.endswith(".png") for image in sample.images)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Which?\nOptions: A: a: b, B: c, C: d, D: e", ("a: b", "c", "d", "e")),
        ("Which? Options: A: 1\nB: 2\nC: 3\nD: 4", ("1", "2", "3", "4")),
        ("Which? Options: A:north-east, B:B side,C:x", ("north-east", "B side", "x")),
        ("Which of the Options: is best? Options: A: x, B: y.", ("x", "y.")),
        ("Which?", ()),
        ("Which? Options: A: only one", ()),
        ("Which? Options: A: , B: y", ()),
        ("Options: A: x, B: y", ()),
    ],
)
def test_options_are_taken_from_the_question(text, options) -> None:
    stem, found = mmsi.split_options(text)
    assert found == options
    assert stem == (text.rsplit("Options:", 1)[0].strip() if options else text)


def test_a_question_whose_options_do_not_read_is_asked_as_it_stands(tmp_path) -> None:
    text = "Which is nearer, (A) the bed or (B) the chair?"
    (sample,) = mmsi.load(_root(tmp_path, [_row(question=text)]), "test")
    assert sample.question.text == text and not sample.question.options
    # nor where the options lack the one that is right
    folder = tmp_path / "second"
    folder.mkdir()
    (sample,) = mmsi.load(_root(folder, [_row(question="Which? Options: A: x, B: y", answer="D")]), "test")
    assert not sample.question.options


def test_the_official_prompt_is_the_question_and_its_request(tmp_path) -> None:
    (sample,) = mmsi.load(_root(tmp_path, [_row()]), "test")
    said = mmsi.official_prompt(sample.row)
    assert said.startswith(QUESTION) and said.endswith("Enclose the option's letter within ``.")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("``B`` and not ``C``", "B"),
        ("`A` {C}", "A"),
        ("``{C} A``", "C"),
        ("A chair", None),
        ("A, the chair", "A"),
        ("A 4", "A"),
        ("G", None),
        ("", None),
        ("````", None),
    ],
)
def test_letters(text, letter) -> None:
    assert mmsi.read_letter(text) == letter


def test_accuracy_is_over_questions_and_by_type(tmp_path) -> None:
    rows = [
        _row(1),
        _row(2),
        _row(3, question_type="Motion (Cam.)"),
        _row(4, question_type="Motion (Cam.)", answer="A"),
    ]
    samples = mmsi.load(_root(tmp_path, rows), "test")
    answers = {"1": Prediction("`B`"), "2": Prediction("no idea"), "3": Prediction("B", "refused")}
    report = mmsi.score(samples, answers)
    assert report.value("Accuracy") == 25.0
    assert report.value("Accuracy", "Positional Relationship (Cam.–Obj.)") == 50.0
    assert report.value("Accuracy", "Motion (Cam.)") == 0.0
    assert report.unanswered == ("3", "4") and report.unparsed == ("2",)
    np.testing.assert_array_equal(report.groups["Motion (Cam.)"][0].values, [np.nan, np.nan, 0, 0])


def test_answers_of_lmms_eval_and_of_vlmevalkit_are_read(tmp_path) -> None:
    samples = mmsi.load(_root(tmp_path, [_row(1), _row(2)]), "test")
    logged = [
        {"doc_id": 0, "doc": {"id": 1}, "filtered_resps": ["``B``"]},
        {"doc_id": 1, "doc": {"id": 2}, "resps": "A"},
    ]
    assert mmsi.read_predictions(logged, samples) == {"1": Prediction("``B``"), "2": Prediction("A")}
    predicted = [{"index": 1, "prediction": "B"}, {"index": 2, "prediction": "C"}]
    assert mmsi.read_predictions(predicted, samples) == {"1": Prediction("B"), "2": Prediction("C")}
    assert mmsi.read_predictions([{"id": 1, "pred": "B"}], samples) is None
    assert mmsi.read_predictions({"a": 1}, samples) is None
    with pytest.raises(UserError, match="two are to the question '1'"):
        mmsi.read_predictions([predicted[0], predicted[0]], samples)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": ["../secret.png"]}, "row 1.*outside"),
        ({"images": ["/etc/passwd"]}, "row 1.*outside"),
        ({"images": ["rooms/none.png"]}, "row 1.*not there"),
        ({"images": [3]}, "row 1"),
        ({"images": []}, "'images' is empty"),
        ({"images": "rooms/one.png"}, "'images' must be list"),
        ({"answer": "left"}, "'answer' must be the letter"),
        ({"question": 3}, "'question' must be str"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, match) -> None:
    with pytest.raises(UserError, match=match):
        mmsi.load(_root(tmp_path, [_row(**changes)]), "test")


def test_bad_folders_splits_and_duplicates_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match="lacks MMSI_bench"):
        mmsi.load(tmp_path, "test")
    with pytest.raises(UserError, match="--split val"):
        mmsi.load(tmp_path, "val")
    with pytest.raises(UserError, match=r"'7', as .*row 1 has"):
        mmsi.load(_root(tmp_path, [_row(), _row()]), "test")
    with pytest.raises(UserError, match="another benchmark or split"):
        folder = tmp_path / "other"
        folder.mkdir()
        mmsi.score(mmsi.load(_root(folder, [_row()]), "test"), {"scanqa-1": Prediction("A")})
