"""`gpt4scene chat` as a user meets it, against scripted replies."""

import io
import json
from pathlib import Path

import pytest
from asking_commands import run
from fault_server import FaultServer

pytest_plugins = ["asking_commands"]
pytestmark = pytest.mark.usefixtures("own_cache")


def _chat(monkeypatch: pytest.MonkeyPatch, said: str, *arguments: object) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    return run("chat", *arguments)


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
        assert run("ask", folder, "q", "-m", f"openai:m@{server.url}", "--max-new-tokens", "100", "--no-picture") == 1
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
    assert run("chat", folder, "-m", replay) == 0
    assert capsys.readouterr().out.endswith("1 answered; $0.0000 in total\n")
