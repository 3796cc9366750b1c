"""Files of ready answers: our rows, those of a benchmark's own repositories, and all that may be wrong with them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_benchmark
import pytest
from fake_benchmark import write_questions

from bev.errors import UserError
from gpt4scene.benchmarks.sample import Prediction
from gpt4scene.evaluation.answer_file import ReadyAnswers, answer_paths, read_answers
from gpt4scene.evaluation.evaluation import open_split
from gpt4scene.evaluation.ready_runs import part_answered

pytest_plugins = ["fake_benchmark"]
pytestmark = pytest.mark.usefixtures("fake")


def _read(tmp_path: Path, *files: tuple[str, Any]) -> ReadyAnswers:
    """Files by name and content: bytes as they are, a list as JSON or JSON lines."""
    paths = []
    for name, content in files:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif name.endswith(".jsonl"):
            path.write_text("".join(f"{json.dumps(row)}\n" for row in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        paths.append(path)
    opened = open_split("fake", write_questions(tmp_path / "data"))
    return read_answers(paths, sys.modules["gpt4scene.benchmarks.fake"], opened.samples)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_of_ours(tmp_path: Path, name: str) -> None:
    rows = [
        {"id": "q1", "answer": "table"},
        {"id": "q2", "text": "stool", "outcome": "truncated"},
        {"id": "q3", "outcome": "refused"},
        {"id": 4, "answer": 5},
    ]
    ready = _read(tmp_path, (name, rows))
    assert [(id, p.text, p.outcome) for id, p in ready.predictions.items()] == [
        ("q1", "table", "answered"),
        ("q2", "stool", "truncated"),
        ("q3", "", "refused"),
        ("4", "5", "answered"),
    ]
    assert not ready.rows


def test_chunks_in_a_repository_s_own_format_are_one(tmp_path: Path) -> None:
    chunks = [[{"qid": "q1", "pred": "a"}, {"qid": "q2", "pred": "b"}], [{"qid": "q3", "pred": "c"}]]
    ready = _read(tmp_path, *((f"predictions_chunk_{i}.json", chunk) for i, chunk in enumerate(chunks)))
    assert {id: p.text for id, p in ready.predictions.items()} == {"q1": "a", "q2": "b", "q3": "c"}


def test_files_called_as_their_scene_are_one_by_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def read(content: Any, samples: Any) -> dict[str, Prediction]:
        seen.append(content)
        return {}

    monkeypatch.setattr(fake_benchmark, "read_predictions", read)
    _read(tmp_path, ("room_a.json", [{"ann_id": 1}]), ("room_b.json", []), ("other.json", [{"ann_id": 2}]))
    assert seen == [[{"ann_id": 2}], {"room_a": [{"ann_id": 1}], "room_b": []}]


def test_files_folders_and_patterns_are_found(tmp_path: Path) -> None:
    for name in ("p_1.json", "p_0.json", "notes.txt"):
        (tmp_path / name).write_text("[]")
    expected = [tmp_path / "p_0.json", tmp_path / "p_1.json"]
    assert answer_paths([str(tmp_path)]) == expected
    assert answer_paths([str(tmp_path / "p_*.json")]) == expected
    assert answer_paths([str(tmp_path / "p_1.json"), str(tmp_path)]) == expected[::-1]
    with pytest.raises(UserError, match=r"q_.*: no such file of answers"):
        answer_paths([str(tmp_path / "q_*.json")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no file of answers"):
        answer_paths([str(tmp_path / "empty")])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "a.jsonl: is empty; it must hold a row"),
        ("a.json", b" \n", "a.json: is empty"),
        ("a.jsonl", b'{"id": "q1", "answer": "caf\xe9"}\n', "a.jsonl, line 1: is not UTF-8"),
        ("a.jsonl", b'{"id": "q1", "answer": "a"}\n{"id": \n', "a.jsonl, line 2: is no JSON"),
        ("a.json", b"{", "a.json: is no JSON"),
        ("a.json", b"3", "is in no format of answers to Fake-Bench that is known"),
        ("a.json", b"[1, 2]", "is in no format of answers"),
        ("a.json", b"{}", "is in no format of answers"),
        ("a.csv", b"q1,table", "its name must end in .jsonl"),
        ("a.jsonl", b'{"answer": "a"}', "a.jsonl, row 1: has no 'id'"),
        ("a.jsonl", b'{"id": "q1", "answer": "a"}\n{"id": "q2"}', "a.jsonl, row 2: 'answer' must be a text, is 'None'"),
        ("a.jsonl", b'{"id": "q1", "answer": ["a"]}', "row 1: 'answer' must be a text"),
        ("a.jsonl", b'{"id": "q1", "answer": "a", "outcome": "fine"}', "row 1: 'outcome' must be one of answered"),
        ("a.jsonl", b'{"id": "q1", "answer": "a", "extra": 1}', "row 1: 'extra' must be an object"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(UserError) as raised:
        _read(tmp_path, (name, content))
    assert words in str(raised.value) and name in str(raised.value)


def test_two_answers_to_one_question_are_named_with_both_places(tmp_path: Path) -> None:
    rows = [{"id": "q1", "answer": "a"}, {"id": "q2", "answer": "b"}, {"id": "q1", "answer": "a"}]
    with pytest.raises(UserError, match=r"a.jsonl, row 3: answers question 'q1', as .*a.jsonl, row 1 does"):
        _read(tmp_path, ("a.jsonl", rows))
    with pytest.raises(UserError, match=r"b.json, row 1: answers question 'q2', as .*a.jsonl, row 2 does"):
        _read(tmp_path, ("a.jsonl", rows[:2]), ("b.json", rows[1:2]))


def _row(id: str, **changed: Any) -> dict[str, Any]:
    scope = {"total": 4, "asked": 2, "seed": 5, "without_scenes": []}
    row = {"schema": "gpt4scene/result@1", "id": id, "text": "t", "benchmark": "fake", "split": "val", "scope": scope}
    return row | changed


def test_rows_of_eval_say_which_part_they_are(tmp_path: Path) -> None:
    ready = _read(tmp_path, ("a.jsonl", [_row("q1", answer="table", usage={"input_tokens": 1, "output_tokens": 2})]))
    opened = open_split("fake", tmp_path / "data")
    part = part_answered("a", ready, opened)
    assert part.scope.text() == "2 of 4 questions (seed 5)" and len(part.samples) == 2
    assert ready.predictions["q1"].text == "table"  # what was scored of the text
    with pytest.raises(UserError, match="the answer to 'q1' is to fake, split val, and not to scanqa"):
        part_answered("a", ready, replace(opened, name="scanqa"))
    of_two = _read(tmp_path, ("a.jsonl", [_row("q1"), _row("q2", benchmark="scanqa")]))
    with pytest.raises(UserError, match="the answer to 'q2' is to scanqa, split val, and not to fake"):
        part_answered("a", of_two, opened)
    mixed = _read(tmp_path, ("a.jsonl", [_row("q1"), _row("q2", scope=_row("q2")["scope"] | {"seed": 6})]))
    with pytest.raises(UserError, match="different parts of the split"):
        part_answered("a", mixed, opened)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"benchmark": None}, "'benchmark' must be str, is null"),
        ({"scope": 3}, "'scope' must be dict, is 3"),
        ({"scope": {"asked": 2, "seed": 0}}, "row 1, scope: has no 'without_scenes'"),
        ({"cost_usd": "much"}, "'cost_usd' must be int or float or NoneType"),
        ({"usage": [1]}, "'usage' must be dict or NoneType"),
    ],
)
def test_a_damaged_row_of_eval_is_told_in_a_line(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        _read(tmp_path, ("a.jsonl", [_row("q1", **changed)]))
    assert words in str(raised.value) and "a.jsonl, row 1" in str(raised.value)


def test_rows_of_eval_are_of_the_questions_that_were_asked(tmp_path: Path) -> None:
    ready = _read(tmp_path, ("a.jsonl", [_row("q1", question="What was red?")]))
    with pytest.raises(
        UserError, match="question 'q1' was asked with the question 'What was red\\?', and the annotation"
    ):
        part_answered("a", ready, open_split("fake", tmp_path / "data"), limit=4)


def test_a_limit_leaves_out_answers_to_other_questions_of_the_split_only(tmp_path: Path) -> None:
    rows = [{"id": id, "answer": "a"} for id in ("q1", "q2", "q3", "q4", "stranger")]
    ready = _read(tmp_path, ("a.jsonl", rows))
    opened = open_split("fake", tmp_path / "data")
    part = part_answered("a", ready, opened, limit=3)
    assert part.left_out == 1 and len(part.samples) == 3
    assert set(part.predictions) == {sample.id for sample in part.samples} | {"stranger"}


def test_the_fake_benchmark_is_one_as_others_are() -> None:
    assert {"TITLE", "SPLITS", "PROTOCOLS", "NEEDS_OBJECTS", "load", "score", "read_predictions"} <= set(
        vars(fake_benchmark)
    )
