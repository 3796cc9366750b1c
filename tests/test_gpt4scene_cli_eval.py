"""`gpt4scene eval` as a user meets it: plan, questions, results and tables."""

import json
import re
import shutil
from pathlib import Path

import fake_benchmark
import pytest
from asking_commands import fails, run
from batch_server import BatchServer
from fake_benchmark import ROWS, write_questions

pytest_plugins = ["asking_commands", "fake_benchmark"]
pytestmark = pytest.mark.usefixtures("own_cache", "fake")

GOOD = (
    {"match": "red", "reply": "table", "usage": {"input_tokens": 1000, "output_tokens": 2}},
    {"match": "green", "reply": "stool"},
    {"match": "many", "reply": "<think>5</think>five"},
    {"match": "high", "reply": "?"},
)
WEAK = (
    {"match": "red", "reply": "", "outcome": "refused"},
    {"match": "green", "reply": "stoo", "outcome": "truncated"},
    {"match": "many", "reply": "five"},
    {"match": "high", "reply": "very"},
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "data")


def _script(path: Path, lines: tuple[dict, ...]) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return f"replay:{path}"


@pytest.fixture
def good(tmp_path: Path) -> str:
    return _script(tmp_path / "good.jsonl", GOOD)


@pytest.fixture
def weak(tmp_path: Path) -> str:
    return _script(tmp_path / "weak.jsonl", WEAK)


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_models_in_one_table(
    data: Path, prepared: Path, good: str, weak: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good, "--model", weak, "-o", out)
    assert run(*command) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Fake-Bench val: 4 questions; 2 scenes\n")
    assert f"{good}: 4 to send, 0 in the cache; 1,000 tokens in" in printed.out
    assert "Fake-Bench val, protocol exact: 4 questions" in printed.out
    lines = {line[:20].strip(): line[20:] for line in printed.out.splitlines() if line}
    assert re.findall(r"\d+\.\d\d", lines["EM"]) == ["75.00", "25.00"]
    assert lines["unanswered"].split() == ["0", "1"] and lines["answers not read"].split() == ["1", "0"]
    assert "EM: [1] minus [2]: +50.00" in printed.out
    assert "colour, EM" in printed.out and printed.out.endswith(
        f"results are in {out}; look at {out / 'report.html'}\n"
    )
    assert "1 refused, --retry-failed asks again" in printed.err
    assert (out / "report.html").is_file() and "Fake" in (out / "report.md").read_text(encoding="utf-8")
    named = sorted(path.name for path in out.iterdir() if path.suffix == ".jsonl")
    assert len(named) == 2 and named[0].endswith("good.jsonl") and named[1].endswith("weak.jsonl")
    rows = _rows(out / named[0])
    assert [row["id"] for row in rows] == ["q1", "q2", "q3", "q4"]
    first, third = rows[0], rows[2]
    assert (first["scene"], first["kind"], first["question"]) == ("room_a", "colour", "What is red?")
    assert (first["text"], first["outcome"], first["answers"]) == ("table", "answered", ["table"])
    assert first["scores"] == {"exact": {"EM": 100.0, "read": {"text": "table"}}}
    assert first["usage"]["input_tokens"] == 1000 and first["cost_usd"] == 0.0 and first["asked"] == good
    assert (third["text"], third["answer"]) == ("<think>5</think>five", "five")
    assert rows[3]["scores"]["exact"]["unparsed"] is True
    other = _rows(out / named[1])
    for key in ("prompt_version", "question_key", "image_key", "scope", "showing"):
        assert [row[key] for row in rows] == [row[key] for row in other]
    assert [row["outcome"] for row in other] == ["refused", "truncated", "answered", "answered"]
    numbers = json.loads((out / "scores.json").read_text(encoding="utf-8"))["runs"]
    assert [one["metrics"]["EM"] for one in numbers] == [75.0, 25.0] and numbers[1]["unanswered"] == ["q1"]
    # the same again takes all from the cache, and says the same
    before = [path.read_text(encoding="utf-8") for path in sorted(out.glob("*.jsonl"))]
    assert run(*command) == 0
    assert "0 to send, 4 in the cache" in capsys.readouterr().out
    again = [
        path.read_text(encoding="utf-8").replace('"cached": true', '"cached": false')
        for path in sorted(out.glob("*.jsonl"))
    ]
    assert again == before
    assert run(*command, "--retry-failed") == 0
    printed = capsys.readouterr().out
    assert "2 to send, 2 in the cache" in printed and "2 from the cache, 2 sent" in printed


def test_protocols_split_and_official_words(
    data: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _script(tmp_path / "m.jsonl", ({"match": "OFFICIAL What is red?", "reply": "Table"}, {"reply": "x"}))
    write_questions(data, ROWS[:1], split="test")
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", model, "-o", tmp_path / "out")
    command = (*command, "--split", "test", "--prompts", "official", "--protocol", "exact", "--protocol", "lenient")
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "Fake-Bench test, protocol exact: 1 question;" in printed and "protocol lenient" in printed
    (row,) = _rows(tmp_path / "out" / next(p.name for p in (tmp_path / "out").glob("*.jsonl")))
    assert (row["scores"]["exact"]["EM"], row["scores"]["lenient"]["EM"]) == (0.0, 100.0)


def test_a_subset_shows_its_cost_first_and_is_part_of_the_title(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good, "-o", tmp_path / "out")
    assert run(*command, "--limit", "2", "--seed", "5", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "Fake-Bench val: 2 of 4 questions (seed 5); 2 scenes" in printed and "2 to send" in printed
    assert printed.endswith("nothing was sent\n") and not (tmp_path / "out").exists()
    assert run(*command, "--limit", "2", "--seed", "5") == 0
    assert "protocol exact: 2 of 4 questions (seed 5)" in capsys.readouterr().out
    assert run(*command, "--limit", "3", "--seed", "5") == 0  # of which two were asked
    assert "1 to send, 2 in the cache" in capsys.readouterr().out


def test_missing_scenes_are_counted_and_named_and_nothing_is_sent(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "some"
    shutil.copytree(prepared / "room_a", scenes / "room_a")
    command = ("eval", "fake", "--root", data, "--scenes", scenes, "-m", good, "-o", tmp_path / "out")
    told = fails(capsys, *command)
    assert "1 of 2 scenes are not there: room_b; prepare their scans" in told and "their 2 questions" in told
    assert not (tmp_path / "out").exists() and not (tmp_path / "answers.sqlite").exists()
    assert run(*command, "--skip-missing-scenes") == 0
    printed = capsys.readouterr().out
    left = "2 of 4 questions, without 1 scene that was not there"
    assert f"Fake-Bench val: {left}" in printed and f"protocol exact: {left}" in printed
    (row, _) = _rows(next((tmp_path / "out").glob("*.jsonl")))
    assert row["scope"]["without_scenes"] == ["room_b"]


def test_a_limit_of_money_stops_before_it_is_passed_and_what_is_not_whole_is_not_scored(
    data: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", "openai:gpt-4o", "-o", tmp_path / "out")
    assert run(*command, "--dry-run", "--max-cost", "0.0001") == 0
    assert "--max-cost 0.0001 may stop it before all is asked" in capsys.readouterr().out
    assert run(*command, "--max-cost", "0.0001") == 1
    printed = capsys.readouterr()
    assert "4 of 4 questions were not asked" in printed.err and "it is not scored" in printed.err
    assert "protocol" not in printed.out and not list((tmp_path / "out").iterdir())


def test_a_limit_of_money_needs_all_prices(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "eval",
        "fake",
        "--root",
        data,
        "--scenes",
        prepared,
        "-m",
        good,
        "-m",
        "openai:unheard-of",
    )
    assert "no price is known, so --max-cost cannot be held" in _error(capsys, *command, "--max-cost", "1")


def test_what_scoring_lacks_shows_before_anything_is_sent(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    def lacks(*_, **__):
        from bev.errors import require

        require("no_such_module", "eval")

    monkeypatch.setattr(fake_benchmark, "score", lacks)
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good, "-o", tmp_path / "out")
    assert "pip install 'gpt4scene[eval]'" in fails(capsys, *command)
    assert run(*command, "--dry-run") == 0 and "4 to send" in capsys.readouterr().out


def test_boxes_are_asked_for_where_scoring_needs_them_and_turned_away_elsewhere(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good)
    assert "needs no boxes of objects" in fails(capsys, *command, "--scans", tmp_path)
    monkeypatch.setattr(fake_benchmark, "NEEDS_OBJECTS", True)
    assert "with --scans, or attribute files with --attributes" in fails(capsys, *command)
    assert "scene room_a" in fails(capsys, *command, "--scans", tmp_path)


def test_a_question_that_failed_is_asked_by_the_same_command_again(
    data: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _script(tmp_path / "m.jsonl", GOOD[:3])
    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", model, "-o", tmp_path / "out")
    assert run(*command) == 1
    printed = capsys.readouterr()
    assert "1 failed, the same command asks again" in printed.err and "75.00" in printed.out
    row = _rows(next((tmp_path / "out").glob("*.jsonl")))[-1]
    assert row["outcome"] == "failed" and "no line has" in row["why"] and row["scores"]["exact"]["EM"] == 0.0


def test_an_interrupted_run_goes_on_where_it_was(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    from gpt4scene.vlm.replay import ReplayVLM

    reply = ReplayVLM.reply

    def interrupted(self, requests, on_text=None):
        if "many" in requests[0].conversation.messages[-1].text:
            raise KeyboardInterrupt
        return reply(self, requests, on_text)

    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good, "-o", tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(ReplayVLM, "reply", interrupted)
        assert run(*command) == 130
    assert "takes what was answered from the cache" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())  # no part that looks whole
    assert run(*command) == 0 and "2 to send, 2 in the cache" in capsys.readouterr().out


def test_models_in_batches_are_scored_once_all_is_there(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BatchServer(lambda asked: "ok") as server:
        model = f"openai:gpt-4o@{server.url}"
        command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", model, "-o", tmp_path / "out")
        command = (*command, "--batch", tmp_path / "batch")
        assert "has no batches" in _error(capsys, *command, "-m", good)
        for _ in range(2):
            assert run(*command) == 1
            printed = capsys.readouterr().out
            assert f"{model}: part 0: 4 requests, running" in printed and "protocol" not in printed
        server.finish()
        assert run(*command) == 0
        assert len(server.keys()) == 4
    assert "protocol exact" in capsys.readouterr().out


def _error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--limit", "0"), "--limit 0: must be 1 or more"),
        (("--split", "train"), "--split train: there are val, test"),
        (("--protocol", "odd"), "--protocol odd: there are exact, lenient"),
        (("--judge", "openai:gpt-4o"), "only openeqa is judged"),
        (("--max-new-tokens", "0"), "--max-new-tokens 0"),
        (("--max-cost", "-1"), "--max-cost -1"),
        (("--drop-marks", "2"), "the share of marks to drop must be 0 to 1"),
        (("--timeout-s", "3"), "timeout_s means nothing"),
        (("--out", "{data}/val.jsonl/x"), "no folder can be made there"),
        (("--split", "test"), "test.jsonl"),
    ],
)
def test_options_that_are_none(
    data: Path, prepared: Path, good: str, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    given = tuple(option.replace("{data}", str(data)) for option in options)
    assert words in fails(capsys, "eval", "fake", "--root", data, "--scenes", prepared, "-m", good, *given)


def test_models_and_benchmarks_that_are_none(
    data: Path, prepared: Path, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("eval", "fake", "--root", data, "--scenes", prepared)
    assert "no model is named" in fails(capsys, *command)
    assert "is named twice" in fails(capsys, *command, "-m", good, "-m", good)
    assert "benchmark 'fakes': there are scanqa" in fails(capsys, "eval", "fakes", "--root", data, "-m", good)
    assert "--judge MODEL" in fails(capsys, "eval", "openeqa", "--root", data, "-m", good)
    assert "say with --scenes" in fails(capsys, "eval", "fake", "--root", data, "-m", good)
    assert "no such folder" in fails(capsys, "eval", "fake", "--root", data, "-m", good, "--scenes", data / "no")


def test_a_setting_of_one_kind_of_model_passes_by_the_others(
    data: Path, prepared: Path, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ("-m", good, "-m", "openai:gpt-4o", "--timeout-s", "5")
    assert run("eval", "fake", "--root", data, "--scenes", prepared, *models, "--dry-run") == 0
    assert "together: $" in capsys.readouterr().out


def test_a_disk_that_is_full_is_told_in_a_line_and_answers_are_kept(
    data: Path, prepared: Path, good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    import errno

    from gpt4scene.scene import atomic

    command = ("eval", "fake", "--root", data, "--scenes", prepared, "-m", good, "-o", tmp_path / "out")
    with monkeypatch.context() as patched:

        def full(path: Path, payload: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        patched.setattr(atomic, "write_bytes", full)
        patched.setattr("gpt4scene.evaluation.results.write_bytes", full)
        assert "the disk is full" in _error(capsys, *command)
    assert run(*command) == 0 and "0 to send, 4 in the cache" in capsys.readouterr().out


def test_files_of_models_have_names_that_differ() -> None:
    from gpt4scene.cli.evaluating import file_names

    names = file_names(["openai:gpt-4o", "openai:gpt/4o", "local:/a b/c+d", "replay:x.jsonl", "openai:é"])
    assert names == ["openai-gpt-4o-1", "openai-gpt-4o-2", "local-a-b-c-d", "replay-x", "openai"]


def test_openeqa_s_answers_are_judged_and_the_judge_is_named(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    rows = [
        {
            "question_id": f"e{i}",
            "question": question,
            "answer": answer,
            "episode_history": "scannet-v0/002-scannet-room_a",
            "category": "object recognition",
        }
        for i, (question, answer) in enumerate((("What is red?", "A table."), ("What is green?", "A stool.")))
    ]
    (data / "open-eqa-v0.json").write_text(json.dumps(rows))
    model = _script(tmp_path / "m.jsonl", ({"match": "red", "reply": "A desk."}, {"match": "green", "reply": "Stool."}))
    judge = _script(tmp_path / "j.jsonl", ({"match": "A desk.", "reply": "Your mark: 3"}, {"reply": "5"}))
    command = ("eval", "openeqa", "--root", data, "--scenes", prepared, "-m", model, "-o", out)
    assert run(*command, "--judge", judge, "--dry-run") == 0
    assert f"judge {judge}, for each model" in capsys.readouterr().out
    assert run(*command, "--judge", judge) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^LLM-Match +75\.00\b", printed, re.MULTILINE)
    assert f"marked by {judge}" in printed
    (told,) = json.loads((out / "scores.json").read_text())["runs"]
    assert told["judge"] == judge
    (results,) = out.glob("*.jsonl")
    assert [row["extra"]["judge_score"] for row in _rows(results)] == [3, 5]
    # the marks are in the results; answers without any need a judge
    assert run("score", "openeqa", "--root", data, "--answers", results) == 0
    assert " 75.00" in capsys.readouterr().out
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps([{"question_id": "e0", "answer": "A desk."}, {"question_id": "e1", "answer": "Stool."}]))
    scored = ("score", "openeqa", "--root", data, "--answers", bare)
    assert "name one with --judge MODEL" in fails(capsys, *scored)
    assert run(*scored, "--judge", judge) == 0 and " 75.00" in capsys.readouterr().out
    mute = _script(tmp_path / "mute.jsonl", ({"match": "A desk.", "reply": "4"},))
    assert run(*scored, "--judge", mute) == 1 and "1 answers were not marked" in capsys.readouterr().err
    assert run(*command, "--judge", mute) == 1
    printed = capsys.readouterr()
    assert "has not marked 1 of the answers; it is not scored" in printed.err and "protocol" not in printed.out
