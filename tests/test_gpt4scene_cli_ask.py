"""`gpt4scene ask` with one question, as a user meets it, against scripted replies."""

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
from asking_commands import fails, run
from box_scene import box_scene

from gpt4scene.cli import answer_lines
from gpt4scene.cli.ask import ask as ask_command
from gpt4scene.cli.chat import chat as chat_command
from gpt4scene.prompting.presets import PRESETS
from gpt4scene.prompting.questions import TASKS

pytest_plugins = ["asking_commands"]
pytestmark = pytest.mark.usefixtures("own_cache")


def test_an_answer_its_objects_and_its_picture(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", folder, "Which stool is nearest?", "-m", replay) == 0
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
    assert run("ask", folder, "again", "-m", replay, "--no-picture") == 0
    assert pieces == ["It", " is", " <OBJ003>."]


def test_an_answer_that_cannot_be_printed_is_kept_all_the_same(
    folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with monkeypatch.context() as patched, pytest.raises(BrokenPipeError):
        patched.setattr("sys.stdout", Closed())
        run("ask", folder, "nearest?", "-m", replay)
    assert run("ask", folder, "nearest?", "-m", replay, "--no-picture") == 0
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
        assert run("ask", folder, "nearest?", "-m", replay, "--no-picture") == 0
    out = capsys.readouterr().out
    assert out.count("not <OBJ099>.") == 2 and out.endswith(f"{replay}: from the cache, nothing was sent\n")
    assert not (folder / "answers").exists()


def test_pictures_are_numbered_and_may_be_named(folder: Path, replay: str, tmp_path: Path) -> None:
    for text in ("again, Größe?", "again", "hello"):
        assert run("ask", folder, text, "-m", replay) == 0
    assert sorted(path.name for path in (folder / "answers").iterdir()) == ["001-again-grosse.png", "002-again.png"]
    named = tmp_path / "some.JPG"
    assert run("ask", folder, "hello", "-m", replay, "--picture", named) == 0  # asked for, though nothing is named
    assert named.read_bytes()[:2] == b"\xff\xd8"


def test_the_picture_shows_just_what_is_named(folder: Path, replay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Sequence[int]] = []
    monkeypatch.setattr(
        "gpt4scene.scene.highlight.highlight_picture",
        lambda scene, ids: shown.append(ids) or np.zeros((4, 4, 3), np.uint8),
    )
    assert run("ask", folder, "nearest?", "-m", replay) == 0
    assert shown == [(2, 1)]


def test_an_answer_as_json(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", folder, "nearest?", "-m", replay, "--json", "--no-picture") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ids"], answer["unknown_ids"], answer["outcome"]) == ([2, 1], [99], "answered")
    assert answer["objects"][0]["label"] == "stool" and answer["objects"][0]["center"] == [3.0, 0.7, 0.25]
    assert answer["objects"][0]["yaw_deg"] == 0 and answer["units"] == "metre"
    assert answer["usage"]["input_tokens"] == 9123 and answer["picture"] is None


def test_a_scene_without_metric_scale_prints_no_metres(
    tmp_path: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    box_scene(frame_size=(160, 120), frames=1, units="arbitrary").save(tmp_path / "scene")
    assert run("ask", tmp_path / "scene", "again", "-m", replay, "--no-picture") == 0
    out = capsys.readouterr().out
    assert "units" in out and " m," not in out


def test_what_would_steer_the_terminal_is_not_printed(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ask", folder, "evil", "-m", replay) == 0
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
    assert run("ask", folder, question, "-m", replay, *options) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gpt4scene: {line}: ") and printed.err.count("\n") == 1
    if question == "long":  # what there is of it counts, but not a number that may lack its end
        assert "  3  Schränkchen" in printed.out and "look at" in printed.out and "stool" not in printed.out
        assert run("ask", folder, question, "-m", replay) == 1
        assert "--retry-failed asks again" in capsys.readouterr().err


def test_tasks(folder: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", folder, "nothing fits", "--task", "ground", "-m", replay) == 0
    assert capsys.readouterr().out.startswith("No.\n")
    assert run("ask", folder, "Who?", "--situation", "somebody at the door", "-m", replay) == 0
    assert capsys.readouterr().out.startswith("You stand there.\n")
    script = Path(replay.removeprefix("replay:"))
    script.write_text('{"match": "<OBJ002>", "reply": "A green stool."}\n')
    assert run("ask", folder, "--object", 2, "-m", replay) == 0
    assert capsys.readouterr().out.startswith("A green stool.\n")


def test_the_command_offers_all_tasks_and_presets() -> None:
    for command in (ask_command, chat_command):
        hints = command.__annotations__
        assert hints["preset"].__args__ == tuple(PRESETS)
    assert ask_command.__annotations__["task"].__args__[0].__args__ == TASKS


def test_a_dry_run_needs_no_key_and_sends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", folder, "Which?", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.startswith("openai:gpt-4o: 1 to send, 0 in the cache\n") and out.endswith("nothing was sent\n")
    assert re.search(r"[\d,]+ to [\d,]+ tokens in, at most 512 out\n\$0\.\d{4} to \$0\.\d{4}\n", out)
    assert run("ask", folder, "Which?", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["to_send"] == 1
    assert run("ask", folder, "Which?", "--dry-run", "-m", "openai:gpt-5.6-sol") == 0
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
    assert words in fails(capsys, "ask", folder, *arguments)
    assert not (folder / "answers").exists()


def test_a_picture_that_has_no_place_is_one_line_after_the_answer(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "answers").write_text("no folder")
    assert run("ask", folder, "again", "-m", replay) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("It is <OBJ003>.") and printed.err.count("\n") == 1
    assert "answers: is no folder" in printed.err and "another file for the picture" in printed.err


def test_an_interrupted_question_tells_what_is_kept(
    folder: Path, replay: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt4scene.vlm.answering.ask_all", broken_off)
    assert run("ask", folder, "again", "-m", replay) == 130
    assert "takes what was answered from the cache" in capsys.readouterr().err


def test_no_scene(tmp_path: Path, replay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path / "none") in fails(capsys, "ask", tmp_path / "none", "Which?", "-m", replay)
