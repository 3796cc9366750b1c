"""The commands that ask about a scene, run as a user runs them: a scene, scripted replies, a cache of one's own."""

import json
from pathlib import Path

import pytest
from box_scene import box_scene

from gpt4scene.cli.main import main

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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def run(*arguments: object) -> int:
    """The exit code, however the command ends."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that ends with code 2 before anything was asked."""
    capsys.readouterr()
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err.removeprefix("gpt4scene: ").strip()
