"""`gpt4scene ask --questions`, in batches too, as a user meets it."""

import json
from pathlib import Path

import pytest
from asking_commands import fails, run
from batch_server import BatchServer

pytest_plugins = ["asking_commands"]
pytestmark = pytest.mark.usefixtures("own_cache")


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_many_questions(folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    lines = [
        {"question": "again", "id": "x"},
        {"question": "nothing fits", "task": "ground"},
        {"question": "Who?", "situation": "somebody", "id": 70},
        {"question": "nearest?"},
    ]
    file.write_text("\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 0
    rows = _rows(out)
    assert [row["id"] for row in rows] == ["x", "3", "70", "7"]  # else the number of the line
    assert [row["task"] for row in rows] == ["qa", "ground", "situated", "qa"]
    assert [(row["ids"], row["unknown_ids"]) for row in rows] == [([3], []), ([], []), ([], []), ([2, 1], [99])]
    assert rows[2]["situation"] == "somebody" and "situation" not in rows[0]
    assert capsys.readouterr().out.startswith("4 questions: 0 from the cache, 4 sent;")


def test_a_text_file_of_questions(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("\ufeffagain\n\nsecret\r\nhello\n", encoding="utf-8")
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1  # one was refused
    rows = _rows(out)
    assert [(row["id"], row["question"], row["outcome"], row["ids"]) for row in rows] == [
        ("1", "again", "answered", [3]),
        ("3", "secret", "refused", []),
        ("4", "hello", "answered", []),
    ]
    assert rows[0]["text"] == "It is <OBJ003>." and rows[0]["task"] == "qa" and rows[0]["asked"] == replay
    printed = capsys.readouterr().out
    assert printed.startswith("3 questions: 0 from the cache, 3 sent; 1 refused;")
    assert printed.endswith(f"answers are in {out}\n")
    # the second time all comes from the cache
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1
    assert "3 from the cache, 0 sent" in capsys.readouterr().out and [row["cached"] for row in _rows(out)] == [True] * 3


def test_an_unparsable_answer_is_counted(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("hello\n")
    assert run("ask", folder, "--questions", file, "--task", "ground", "-o", out, "-m", replay) == 1
    assert "1 of the answers name no object where one was asked for" in capsys.readouterr().out
    assert _rows(out)[0]["outcome"] == "unparsable"


def test_many_answers_that_are_none_say_why_and_how_to_ask_again(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("hello\nsecret\nlong\nunheard of\nnever said\n")
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1
    failed, refused, cut = capsys.readouterr().err.splitlines()
    assert failed.startswith("gpt4scene: 2 failed, the same command asks again: ") and "no line has" in failed
    assert failed.endswith("(and 1 more)")
    assert refused.startswith("gpt4scene: 1 refused, --retry-failed asks again: ")
    assert cut.startswith("gpt4scene: 1 truncated, --max-new-tokens allows more: ")


def test_a_run_that_brings_nothing_leaves_the_answers_of_another(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("hello\n")
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 0
    kept = out.read_bytes()
    assert "OPENAI_API_KEY" in fails(capsys, "ask", folder, "--questions", file, "-o", out)
    assert run("ask", folder, "--questions", file, "-o", out, "--max-cost", "0") == 1
    assert "answers are in" not in capsys.readouterr().out and out.read_bytes() == kept


def test_an_interrupted_run_leaves_what_it_has(
    folder: Path, replay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt4scene.vlm.replay import ReplayVLM

    reply = ReplayVLM.reply

    def interrupted(self, requests, on_text=None):
        if "hello" in requests[0].conversation.messages[-1].text:
            raise KeyboardInterrupt
        return reply(self, requests, on_text)

    monkeypatch.setattr(ReplayVLM, "reply", interrupted)
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("again\nhello\nnearest\n")
    assert run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 130
    assert [row["question"] for row in _rows(out)] == ["again"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.jsonl", '{"question": "a"}\n{"question": \n', "q.jsonl, line 2: is not JSON"),
        ("q.jsonl", '{"question": "a"}\n["b"]\n', "q.jsonl, line 2: must be an object"),
        ("q.jsonl", '{"frage": "a"}', "line 1: unknown key 'frage'"),
        ("q.jsonl", '{"question": 3}', "line 1: 'question' must be a text, found 3"),
        ("q.jsonl", '{"task": "caption", "object": true}', "line 1: 'object' must be a whole number, found true"),
        ("q.jsonl", '{"question": "a", "expect": "two"}', "line 1: 'expect' must be one of one, any"),
        ("q.jsonl", '\n{"question": "  "}', "q.jsonl, line 2: the question is empty"),
        ("q.jsonl", '{"question": "a", "task": "grund"}', "q.jsonl, line 1: task 'grund'"),
        (
            "q.jsonl",
            '{"question": "a", "id": "x"}\n{"question": "b", "id": "x"}',
            "line 2: another line has the id 'x'",
        ),
        ("q.jsonl", '{"object": 99}', "q.jsonl, line 1: scene Küche <1>: no object has the number 99"),
        ("q.jsonl", "[" * 100000, "q.jsonl, line 1: is not JSON"),
        ("q.txt", "\n \n", "q.txt: holds no question"),
        ("q.txt", b"caf\xe9?\n", "q.txt, line 1: is not UTF-8"),
        ("q.txt", None, "q.txt: no such file of questions"),
    ],
)
def test_a_bad_file_of_questions_is_told_by_its_line(
    folder: Path,
    replay: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | bytes | None,
    words: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    asked = ("ask", folder, "--questions", tmp_path / name, "-o", tmp_path / "out.jsonl", "-m", replay)
    assert words in fails(capsys, *asked)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_of_questions_of_another_kind_is_refused(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "q.json"
    questions.write_text('["Which?"]', encoding="utf-8")
    many = ("--questions", questions, "--out", tmp_path / "o.jsonl")
    assert "must end in .txt" in fails(capsys, "ask", folder, "-m", replay, *many)


def test_a_dry_run_says_that_the_limit_is_too_low(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for limit, told in (("0.0001", True), ("10", False)):
        assert run("ask", folder, "Which?", "--dry-run", "--max-cost", limit) == 0
        assert (f"--max-cost {limit} may stop it" in capsys.readouterr().out) == told


def test_options_that_do_not_go_with_many_questions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.txt"
    file.write_text("a\nb\n")
    many = ("ask", folder, "--questions", file)
    assert "--out FILE.jsonl" in fails(capsys, *many)
    assert "leave out a question" in fails(capsys, "ask", folder, "Which?", "--questions", file, "-o", "a.jsonl")
    assert "leave out --json" in fails(capsys, *many, "-o", "a.jsonl", "--json")
    assert "must end in .jsonl" in fails(capsys, *many, "-o", "a.txt")
    assert "its folder is not there" in fails(capsys, *many, "-o", "no/such/a.jsonl")
    assert run(*many, "--dry-run") == 0 and "2 to send" in capsys.readouterr().out


def test_a_batch_is_submitted_once_and_taken_when_it_is_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions, out, batch = tmp_path / "q.txt", tmp_path / "a.jsonl", tmp_path / "batch"
    questions.write_text("Which is red?\nWhich is blue?\nmissed\n", encoding="utf-8")
    failing = ["missed"]
    with BatchServer(lambda asked: "expired" if any(f in asked for f in failing) else "ok") as server:
        command = ("ask", folder, "-m", f"openai:gpt-4o@{server.url}", "--questions", questions, "--out", out)
        command = (*command, "--batch", batch)
        for _ in range(2):
            assert run(*command) == 1 and not out.exists()
            assert "part 0: 3 requests, running" in capsys.readouterr().out
        assert len(server.keys()) == 3
        server.finish()
        assert run(*command) == 1 and not out.exists()
        told = capsys.readouterr()
        assert "1 failed and are submitted again" in told.err and "part 1: 1 requests, running" in told.out
        failing.clear()
        server.finish()
        assert run(*command) == 0
        assert len(server.keys()) == 4
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["outcome"], row["cached"], row["unknown_ids"]) for row in rows] == [("answered", True, [12])] * 3
    assert "3 from the cache, 0 sent" in capsys.readouterr().out


def test_a_batch_that_asks_refusals_again_ends(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions, out, batch = tmp_path / "q.txt", tmp_path / "a.jsonl", tmp_path / "batch"
    questions.write_text("Which is red?\nevil\n", encoding="utf-8")
    with BatchServer(lambda asked: "policy" if "evil" in asked else "ok") as server:
        command = ("ask", folder, "-m", f"openai:gpt-4o@{server.url}", "--questions", questions, "--out", out)
        command = (*command, "--batch", batch)
        for options, submitted in (((), 2), ((), 2), (("--retry-failed",), 3), (("--retry-failed",), 3)):
            assert run(*command, *options) == 1
            assert len(server.keys()) == submitted
            server.finish()
    assert [row["outcome"] for row in _rows(out)] == ["answered", "refused"]
    assert "2 from the cache, 0 sent; 1 refused" in capsys.readouterr().out


def test_a_batch_is_for_many_questions_and_for_providers_that_have_them(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give them with --questions" in fails(capsys, "ask", folder, "a", "-m", replay, "--batch", tmp_path / "b")
    questions = tmp_path / "q.txt"
    questions.write_text("a\n", encoding="utf-8")
    many = ("--questions", questions, "--out", tmp_path / "o.jsonl", "--batch", tmp_path / "b")
    assert "has no batches" in fails(capsys, "ask", folder, "-m", replay, *many)
