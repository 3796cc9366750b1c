"""`gpt4scene ask` and `gpt4scene chat` as a user meets them, against scripted replies."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from batch_server import BatchServer
from box_scene import box_scene
from fault_server import FaultServer

from gpt4scene.cli import answer_lines
from gpt4scene.cli.ask import ask as ask_command
from gpt4scene.cli.chat import chat as chat_command
from gpt4scene.cli.main import main
from gpt4scene.prompting.presets import PRESETS
from gpt4scene.prompting.questions import TASKS

SCRIPT = (
    {
        "match": "nearest",
        "reply": "The <OBJ002> is nearest to <OBJ001>, not <OBJ099>.",
        "usage": {"input_tokens": 9123, "output_tokens": 20},
    },
    {"match": "hello", "reply": "Hello."},
    {"match": "again", "reply": "It is <OBJ003>."},
    {"match": "secret", "reply": "", "outcome": "refused"},
    {"match": "long", "reply": "A long object 3 by <OBJ02", "outcome": "truncated"},
    {"match": "evil", "reply": "red \x1b[31mtext‮"},
    {"match": "nothing fits", "reply": "No."},
    {"match": "somebody", "reply": "You stand there."},
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4SCENE_CACHE", str(tmp_path / "answers.sqlite"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GPT4SCENE_PRICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scene folder to write into."""
    box_scene(frame_size=(160, 120), frames=2).save(tmp_path / "scene")
    return tmp_path / "scene"


@pytest.fixture
def replay(tmp_path: Path) -> str:
    script = tmp_path / "replies.jsonl"
    script.write_text("".join(f"{json.dumps(line)}\n" for line in SCRIPT), encoding="utf-8")
    return f"replay:{script}"


def _run(*arguments: object) -> int:
    """The exit code, however the command ends."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that ends with code 2 before anything was asked."""
    capsys.readouterr()
    assert _run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err.removeprefix("gpt4scene: ").strip()


# ---------------------------------------------------------------- one question


def test_an_answer_its_objects_and_its_picture(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("ask", folder, "Which stool is nearest?", "-m", replay) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The <OBJ002> is nearest to <OBJ001>, not <OBJ099>."
    assert re.fullmatch(r" +2  stool  centre 3.00, 0.70, 0.25 m, size 0.50 x 0.50 x 0.50 m, yaw 0°", lines[1])
    assert re.fullmatch(r" +1  table  centre .* m, size .* m, yaw -?\d+°", lines[2])
    assert lines[3] == "  not in the scene: 99"
    assert lines[4] == f"{replay}: 9,123 tokens in, 20 out; $0.0000"
    path = folder / "answers" / "001-which-stool-is-nearest.png"
    assert lines[5] == f"look at {path}" and len(lines) == 6
    picture = cv2.imread(str(path))
    assert picture is not None and min(picture.shape[:2]) > 300


def test_the_answer_is_streamed(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces: list[str] = []
    monkeypatch.setattr("gpt4scene.cli.questioning.say", pieces.append)
    assert _run("ask", folder, "again", "-m", replay, "--no-picture") == 0
    assert pieces == ["It", " is", " <OBJ003>."]


def test_an_answer_that_cannot_be_printed_is_kept_all_the_same(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with monkeypatch.context() as patched, pytest.raises(BrokenPipeError):
        patched.setattr("sys.stdout", Closed())
        _run("ask", folder, "nearest?", "-m", replay)
    assert _run("ask", folder, "nearest?", "-m", replay, "--no-picture") == 0
    assert capsys.readouterr().out.endswith("from the cache, nothing was sent\n")


def test_a_closed_pipe_ends_without_a_traceback(folder: Path, replay: str) -> None:
    command = [sys.executable, "-c", "from gpt4scene.cli.main import run; run()", "ask", str(folder), "again"]
    process = subprocess.Popen([*command, "-m", replay], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 141 and "Traceback" not in said


def test_the_same_question_again_costs_nothing(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert _run("ask", folder, "nearest?", "-m", replay, "--no-picture") == 0
    out = capsys.readouterr().out
    assert out.count("not <OBJ099>.") == 2 and out.endswith(f"{replay}: from the cache, nothing was sent\n")
    assert not (folder / "answers").exists()


def test_pictures_are_numbered_and_may_be_named(folder: Path, replay: str, tmp_path: Path) -> None:
    for text in ("again, Größe?", "again", "hello"):
        assert _run("ask", folder, text, "-m", replay) == 0
    assert sorted(path.name for path in (folder / "answers").iterdir()) == ["001-again-grosse.png", "002-again.png"]
    named = tmp_path / "some.JPG"
    assert _run("ask", folder, "hello", "-m", replay, "--picture", named) == 0  # asked for, though nothing is named
    assert named.read_bytes()[:2] == b"\xff\xd8"


def test_the_picture_shows_just_what_is_named(folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Sequence[int]] = []
    monkeypatch.setattr(
        "gpt4scene.scene.highlight.highlight_picture",
        lambda scene, ids: shown.append(ids) or np.zeros((4, 4, 3), np.uint8),
    )
    assert _run("ask", folder, "nearest?", "-m", replay) == 0
    assert shown == [(2, 1)]


def test_an_answer_as_json(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("ask", folder, "nearest?", "-m", replay, "--json", "--no-picture") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ids"], answer["unknown_ids"], answer["outcome"]) == ([2, 1], [99], "answered")
    assert answer["objects"][0]["label"] == "stool" and answer["objects"][0]["center"] == [3.0, 0.7, 0.25]
    assert answer["objects"][0]["yaw_deg"] == 0 and answer["units"] == "metre"
    assert answer["usage"]["input_tokens"] == 9123 and answer["picture"] is None


def test_a_scene_without_metric_scale_prints_no_metres(
    tmp_path: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    box_scene(frame_size=(160, 120), frames=1, units="arbitrary").save(tmp_path / "scene")
    assert _run("ask", tmp_path / "scene", "again", "-m", replay, "--no-picture") == 0
    out = capsys.readouterr().out
    assert "units" in out and " m," not in out


def test_what_would_steer_the_terminal_is_not_printed(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("ask", folder, "evil", "-m", replay) == 0
    assert capsys.readouterr().out.startswith("red [31mtext\n")
    assert answer_lines.printable("a\ud800b\tc\n") == "ab\tc\n"


@pytest.mark.parametrize(
    ("question", "options", "line"),
    [
        ("secret", (), "the model declined to answer"),
        ("long", (), "the answer was cut short, allow more with --max-new-tokens"),
        ("unheard of", (), "no answer came"),
        ("hello", ("--task", "ground"), "the answer names no object"),
    ],
)
def test_what_is_no_answer_says_so_and_ends_with_code_1(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str], question: str, options: tuple[str, ...], line: str
) -> None:
    assert _run("ask", folder, question, "-m", replay, *options) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gpt4scene: {line}: ") and printed.err.count("\n") == 1
    if question == "long":  # what there is of it counts, but not a number that may lack its end
        assert "  3  Schränkchen" in printed.out and "look at" in printed.out and "stool" not in printed.out
        assert _run("ask", folder, question, "-m", replay) == 1
        assert "--retry-failed asks again" in capsys.readouterr().err


def test_tasks(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("ask", folder, "nothing fits", "--task", "ground", "-m", replay) == 0
    assert capsys.readouterr().out.startswith("No.\n")
    assert _run("ask", folder, "Who?", "--situation", "somebody at the door", "-m", replay) == 0
    assert capsys.readouterr().out.startswith("You stand there.\n")
    script = Path(replay.removeprefix("replay:"))
    script.write_text('{"match": "<OBJ002>", "reply": "A green stool."}\n')
    assert _run("ask", folder, "--object", 2, "-m", replay) == 0
    assert capsys.readouterr().out.startswith("A green stool.\n")


def test_the_command_offers_all_tasks_and_presets() -> None:
    for command in (ask_command, chat_command):
        hints = command.__annotations__
        assert hints["preset"].__args__ == tuple(PRESETS)
    assert ask_command.__annotations__["task"].__args__[0].__args__ == TASKS


# ---------------------------------------------------------------- before anything is sent


def test_a_dry_run_needs_no_key_and_sends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("ask", folder, "Which?", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.startswith("openai:gpt-4o: 1 to send, 0 in the cache\n") and out.endswith("nothing was sent\n")
    assert re.search(r"[\d,]+ to [\d,]+ tokens in, at most 512 out\n\$0\.\d{4} to \$0\.\d{4}\n", out)
    assert _run("ask", folder, "Which?", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["to_send"] == 1
    assert _run("ask", folder, "Which?", "--dry-run", "-m", "openai:gpt-5.6-sol") == 0
    assert "at most 4,608 out" in capsys.readouterr().out  # room for reasoning, which is paid for, counts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), 'no question is given: gpt4scene ask SCENE "QUESTION"'),
        (("  ",), "the question is empty"),
        (("  ", "--task", "ground"), "the description is empty"),
        ((), 'no question is given: gpt4scene ask SCENE "QUESTION"'),
        (("Which?",), "OPENAI_API_KEY"),
        (("Which?", "--task", "grund"), "--task"),
        (("Which?", "--task", "situated"), "--situation"),
        (("--task", "caption"), "--object 12"),
        (("Which?", "--object", "2"), "a caption takes no question"),
        (("--object", "99"), "no object has the number 99"),
        (("Which?", "-m", "gpt-4o"), "openai:gpt-4o"),
        (("Which?", "--max-new-tokens", "0"), "--max-new-tokens 0: must be 1 or more"),
        (("Which?", "--temperature", "-1"), "--temperature -1.0: must be 0 or more"),
        (("Which?", "--max-cost", "nan"), "--max-cost nan: must be 0 or more"),
        (("Which?", "--max-cost", "0.0001"), "beyond --max-cost 0.0001"),
        (("Which?", "--picture", "some.txt"), "some.txt: a picture's name ends in .png"),
        (("Which?", "--picture", "no/such/a.png"), "its folder is not there"),
        (("Which?", "--out", "a.jsonl"), "--questions"),
        (("x", "--task", "ground", "--no-marks"), "marks"),
    ],
)
def test_what_is_to_be_mended_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in _fails(capsys, "ask", folder, *arguments)
    assert not (folder / "answers").exists()


def test_a_picture_that_has_no_place_is_one_line_after_the_answer(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "answers").write_text("no folder")
    assert _run("ask", folder, "again", "-m", replay) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("It is <OBJ003>.") and printed.err.count("\n") == 1
    assert "answers: is no folder" in printed.err and "another file for the picture" in printed.err


def test_an_interrupted_question_tells_what_is_kept(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt4scene.vlm.answering.ask_all", broken_off)
    assert _run("ask", folder, "again", "-m", replay) == 130
    assert "takes what was answered from the cache" in capsys.readouterr().err


def test_no_scene(tmp_path: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path / "none") in _fails(capsys, "ask", tmp_path / "none", "Which?", "-m", replay)


# ---------------------------------------------------------------- many questions


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
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 0
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
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1  # one was refused
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
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1
    assert "3 from the cache, 0 sent" in capsys.readouterr().out and [row["cached"] for row in _rows(out)] == [True] * 3


def test_an_unparsable_answer_is_counted(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("hello\n")
    assert _run("ask", folder, "--questions", file, "--task", "ground", "-o", out, "-m", replay) == 1
    assert "1 of the answers name no object where one was asked for" in capsys.readouterr().out
    assert _rows(out)[0]["outcome"] == "unparsable"


def test_many_answers_that_are_none_say_why_and_how_to_ask_again(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    file.write_text("hello\nsecret\nlong\nunheard of\nnever said\n")
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 1
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
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 0
    kept = out.read_bytes()
    assert "OPENAI_API_KEY" in _fails(capsys, "ask", folder, "--questions", file, "-o", out)
    assert _run("ask", folder, "--questions", file, "-o", out, "--max-cost", "0") == 1
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
    assert _run("ask", folder, "--questions", file, "-o", out, "-m", replay) == 130
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
    assert words in _fails(capsys, *asked)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_of_questions_of_another_kind_is_refused(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "q.json"
    questions.write_text('["Which?"]', encoding="utf-8")
    many = ("--questions", questions, "--out", tmp_path / "o.jsonl")
    assert "must end in .txt" in _fails(capsys, "ask", folder, "-m", replay, *many)


def test_a_dry_run_says_that_the_limit_is_too_low(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for limit, told in (("0.0001", True), ("10", False)):
        assert _run("ask", folder, "Which?", "--dry-run", "--max-cost", limit) == 0
        assert (f"--max-cost {limit} may stop it" in capsys.readouterr().out) == told


def test_options_that_do_not_go_with_many_questions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "q.txt"
    file.write_text("a\nb\n")
    many = ("ask", folder, "--questions", file)
    assert "--out FILE.jsonl" in _fails(capsys, *many)
    assert "leave out a question" in _fails(capsys, "ask", folder, "Which?", "--questions", file, "-o", "a.jsonl")
    assert "leave out --json" in _fails(capsys, *many, "-o", "a.jsonl", "--json")
    assert "must end in .jsonl" in _fails(capsys, *many, "-o", "a.txt")
    assert "its folder is not there" in _fails(capsys, *many, "-o", "no/such/a.jsonl")
    assert _run(*many, "--dry-run") == 0 and "2 to send" in capsys.readouterr().out


# ---------------------------------------------------------------- chat


def _chat(monkeypatch: pytest.MonkeyPatch, said: str, *arguments: object) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    return _run("chat", *arguments)


def test_a_chat_keeps_its_conversation(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt4scene.vlm.replay import ReplayVLM

    seen, reply = [], ReplayVLM.reply

    def noted(self, requests, on_text=None):
        seen.append([(message.role, message.text) for message in requests[0].conversation.messages])
        return reply(self, requests, on_text)

    monkeypatch.setattr(ReplayVLM, "reply", noted)
    assert _chat(monkeypatch, "hello\n\n  \nnearest?\nsecret\nagain\n/quit\nhello\n", folder, "-m", replay) == 1
    turns = [[text for role, text in messages if role != "system"] for messages in seen]
    answer = "The <OBJ002> is nearest to <OBJ001>, not <OBJ099>."
    assert turns == [
        ["hello"],
        ["hello", "Hello.", "nearest?"],
        ["hello", "Hello.", "nearest?", answer, "secret"],
        ["hello", "Hello.", "nearest?", answer, "again"],  # what was refused is forgotten, the rest is not
    ]
    printed = capsys.readouterr()
    assert "  2  stool" in printed.out and "  not in the scene: 99\n" in printed.out
    assert "  3  Schränkchen" in printed.out
    assert printed.out.endswith("3 answered; $0.0000 in total\n")
    assert printed.err.startswith("gpt4scene: the model declined to answer") and printed.err.count("\n") == 1


def test_commands_of_a_chat(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "my picture.png"
    said = f"/picture\nagain\n/picture\n/picture {named}\n/picture no.txt\n/save\n"
    assert _chat(monkeypatch, said, folder, "-m", replay) == 0  # a slip of the hand is no failure
    printed = capsys.readouterr()
    assert (folder / "answers" / "001-again.png").is_file() and named.is_file()
    errors = printed.err.splitlines()
    assert "names no object" in errors[0] and "ends in .png" in errors[1] and "/save: there are /picture" in errors[2]


def test_a_chat_that_cannot_be_answered_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _chat(monkeypatch, "hello\nhello\n", folder) == 1  # there is no key
    printed = capsys.readouterr()
    assert printed.err.count("OPENAI_API_KEY") == 2 and printed.out == "0 answered; $0.0000 in total\n"


def test_a_chat_holds_its_limit_after_an_answer_that_told_no_usage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = {"as_of": "2026-11-20", "prices": {"127.0.0.1": {"m": {"input": 0, "output": 1000}}}}
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    monkeypatch.setenv("GPT4SCENE_PRICES", str(tmp_path / "prices.json"))
    with FaultServer(script=["cut"]) as server:  # which may have cost 100 tokens, 0.1 $; the others cost 8
        command = (folder, "-m", f"openai:m@{server.url}", "--max-new-tokens", "100", "--max-cost", "0.21")
        assert _chat(monkeypatch, "one\ntwo\nthree\nfour\n", *command) == 1
        assert len(server.requests) == 3
    printed = capsys.readouterr()
    assert printed.out.endswith("2 answered; $0.1160 in total\n") and "beyond --max-cost" in printed.err


def test_an_answer_that_told_no_usage_says_what_it_may_have_cost(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = {"as_of": "2026-11-20", "prices": {"127.0.0.1": {"m": {"input": 0, "output": 1000}}}}
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    monkeypatch.setenv("GPT4SCENE_PRICES", str(tmp_path / "prices.json"))
    with FaultServer(script=["cut"]) as server:
        assert _run("ask", folder, "q", "-m", f"openai:m@{server.url}", "--max-new-tokens", "100", "--no-picture") == 1
    assert "the provider told no tokens; $0.1000, of which up to $0.1000 for 1" in capsys.readouterr().out


def test_ctrl_c_ends_a_chat_cleanly(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Typing(io.StringIO):
        def __next__(self) -> str:
            line = self.readline()
            if not line:
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr("sys.stdin", Typing("hello\n"))
    assert _run("chat", folder, "-m", replay) == 0
    assert capsys.readouterr().out.endswith("1 answered; $0.0000 in total\n")


# ---------------------------------------------------------------- batches


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
            assert _run(*command) == 1 and not out.exists()
            assert "part 0: 3 requests, running" in capsys.readouterr().out
        assert len(server.keys()) == 3
        server.finish()
        assert _run(*command) == 1 and not out.exists()
        told = capsys.readouterr()
        assert "1 failed and are submitted again" in told.err and "part 1: 1 requests, running" in told.out
        failing.clear()
        server.finish()
        assert _run(*command) == 0
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
            assert _run(*command, *options) == 1
            assert len(server.keys()) == submitted
            server.finish()
    assert [row["outcome"] for row in _rows(out)] == ["answered", "refused"]
    assert "2 from the cache, 0 sent; 1 refused" in capsys.readouterr().out


def test_a_batch_is_for_many_questions_and_for_providers_that_have_them(
    folder: Path, replay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give them with --questions" in _fails(capsys, "ask", folder, "a", "-m", replay, "--batch", tmp_path / "b")
    questions = tmp_path / "q.txt"
    questions.write_text("a\n", encoding="utf-8")
    many = ("--questions", questions, "--out", tmp_path / "o.jsonl", "--batch", tmp_path / "b")
    assert "has no batches" in _fails(capsys, "ask", folder, "-m", replay, *many)
