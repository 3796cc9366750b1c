"""`gpt4scene score` as a user meets it."""

import json
import re
from pathlib import Path

import pytest
from asking_commands import fails, run
from fake_benchmark import write_questions

pytest_plugins = ["asking_commands", "fake_benchmark"]
pytestmark = pytest.mark.usefixtures("own_cache", "fake")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "data")


def _file(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_answers_are_scored_and_the_missing_count_as_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "q1", "answer": "table"}, {"id": "q2", "outcome": "refused"}, {"id": "q3", "text": "?"}]
    answers, out = _file(tmp_path / "mine.jsonl", rows), tmp_path / "numbers.json"
    assert run("score", "fake", "--root", data, "--answers", answers, "--json", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["Fake-Bench val, protocol exact: 4 questions; in brackets 95 % intervals", "  mine"]
    rows = [re.fullmatch(r" *(.*\S)  +(\d\S*)(?: \[.*\])?", line) for line in printed[2:]]
    assert {row[1]: row[2] for row in rows if row} == {
        "EM": "25.00",
        "colour, EM": "50.00",
        "count, EM": "0.00",
        "unanswered": "2",
        "of these refused": "1",
        "answers not read": "1",
    }
    (told,) = json.loads(out.read_text(encoding="utf-8"))["runs"]
    assert told["metrics"] == {"EM": 25.0} and told["groups"]["colour"] == {"EM": 50.0}
    assert told["unanswered"] == ["q2", "q4"] and told["unparsed"] == ["q3"] and told["cost_usd"] is None


def test_several_runs_side_by_side_and_several_protocols(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _file(tmp_path / "a.jsonl", [{"id": "q1", "answer": "Table"}, {"id": "q2", "answer": "stool"}])
    chunks = [tmp_path / f"b_{i}.json" for i in (0, 1)]
    for chunk, rows in zip(chunks, ([{"qid": "q1", "pred": "table"}], [{"qid": "q3", "pred": "five"}]), strict=True):
        chunk.write_text(json.dumps(rows))
    command = ("score", "fake", "--root", data, "--protocol", "lenient", "--protocol", "exact")
    assert run(*command, "--answers", f"tuned={first}", f"plain={tmp_path}/b_*.json") == 0
    exact = capsys.readouterr().out.split("protocol exact")[1]
    row = next(line for line in exact.splitlines() if line.startswith("EM "))
    assert "tuned" in exact and re.findall(r"\d+\.\d\d", row) == ["25.00", "50.00"]
    assert "EM: tuned minus plain: -25.00" in exact and "tuned: in which words it was asked" in exact
    assert "name all runs or none" in fails(capsys, *command, "--answers", f"tuned={first}", chunks[0])
    # of one run, several files
    assert run(*command, "--answers", *chunks) == 0
    printed = capsys.readouterr().out
    assert "  b_0\n" in printed and re.findall(r"^EM +50.00", printed, re.MULTILINE)


def test_what_eval_wrote_is_scored_as_it_was(
    data: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"match": "red", "reply": "<think>so</think>table"},
        {"match": "green", "reply": 'a "chair"'},
        {"reply": "five"},
    ]
    model = f"replay:{_file(tmp_path / 'm.jsonl', lines)}"
    out = tmp_path / "out"
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", model, "-o", out, "--limit", "3")
    assert run(*command) == 0
    table = capsys.readouterr().out.split("protocol exact")[1].split("\n\n")[0]
    (results,) = out.glob("*.jsonl")
    assert run("score", "fake", "--root", data, "--answers", f"again={results}", "--json", tmp_path / "n.json") == 0
    assert capsys.readouterr().out.split("protocol exact")[1].rstrip().replace("again", model) == table.rstrip()
    told, scored = (json.loads(path.read_text())["runs"][0] for path in (out / "scores.json", tmp_path / "n.json"))
    assert told | {"model": ""} == scored | {"model": ""}


def test_answers_to_part_of_a_split(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = _file(tmp_path / "a.jsonl", [{"id": f"q{i}", "answer": "table"} for i in (1, 2, 3, 4)])
    assert run("score", "fake", "--root", data, "--answers", answers, "--limit", "3", "--seed", "2") == 0
    printed = capsys.readouterr().out
    assert "1 answers are to questions that are not among the 3 of 4 questions (seed 2)" in printed
    assert "protocol exact: 3 of 4 questions (seed 2)" in printed


def test_an_answers_file_of_another_benchmark_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = _file(tmp_path / "a.jsonl", [{"id": "q1", "answer": "table"}, {"id": "val-7", "answer": "brown"}])
    told = fails(capsys, "score", "fake", "--root", data, "--answers", answers)
    assert "1 of 2 answers are to questions that this benchmark's split does not hold, the first to 'val-7'" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--answers", "nowhere.jsonl"), "nowhere.jsonl: no such file of answers"),
        (("--answers",), "--answers"),
        (("--answers", "{a}", "--json", "no/such/n.json"), "--json no/such/n.json: its folder is not there"),
        (("--answers", "{a}", "--scans", "x"), "needs no boxes"),
        (("--answers", "{a}", "--protocol", "odd"), "--protocol odd: there are exact, lenient"),
        (("--answers", "{a}", "--judge", "openai:gpt-4o"), "only openeqa is judged"),
        (("--answers", "{a}", "--limit", "0"), "--limit 0"),
    ],
)
def test_options_that_are_none(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    answers = _file(tmp_path / "a.jsonl", [{"id": "q1", "answer": "table"}])
    given = tuple(option.replace("{a}", str(answers)) for option in options)
    assert words in fails(capsys, "score", "fake", "--root", data, *given)


def test_runs_that_were_shown_otherwise_are_in_no_table_and_parts_are_compared_on_what_both_have(
    data: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"replay:{_file(tmp_path / 'm.jsonl', [{'reply': 'table'}])}"
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", model)
    found = {}
    for name, options in (("all", ()), ("some", ("--limit", "3")), ("bare", ("--no-marks",))):
        assert run(*command, "-o", tmp_path / name, *options) == 0
        (found[name],) = (tmp_path / name).glob("*.jsonl")
    capsys.readouterr()
    score = ("score", "fake", "--root", data, "--answers", f"all={found['all']}")
    assert run(*score, f"some={found['some']}") == 0
    printed = capsys.readouterr().out
    assert "protocol exact: 3 questions" in printed and "tables are of the 3 that all of them have" in printed
    told = fails(capsys, *score, f"bare={found['bare']}")
    assert "bare was asked in other words than all on question q1 and 3 more" in told
