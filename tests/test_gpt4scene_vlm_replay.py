"""Scripted replies: which line answers, how text arrives, and what a faulty script says."""

import json
from pathlib import Path

import pytest

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.protocol import VLM, Request, TokenRange, Usage
from gpt4scene.vlm.replay import ReplayVLM


def _request(*turns: str) -> Request:
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], (Text(turn),)) for i, turn in enumerate(turns)]  # type: ignore[arg-type]
    return Request(Conversation(tuple(messages)))


def _script(folder: Path, *rows: object) -> Path:
    path = folder / "script.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def _ask(path: Path, *turns: str):
    return ReplayVLM(f"replay:{path}", path).reply([_request(*turns)])[0]


def test_the_first_line_that_matches_answers(tmp_path: Path) -> None:
    path = _script(
        tmp_path,
        {"match": "chair", "reply": "<OBJ003>"},
        {"match": "chair nearest", "reply": "never"},
        {"reply": "I do not know."},
    )
    assert _ask(path, "Which chair nearest the window?").text == "<OBJ003>"
    assert _ask(path, "Which table?").text == "I do not know."
    assert _ask(path, "Which table?").outcome == "answered"


def test_only_the_last_user_text_is_matched(tmp_path: Path) -> None:
    path = _script(tmp_path, {"match": "chair", "reply": "chair"}, {"match": "table", "reply": "table"})
    assert _ask(path, "the chair", "a chair, yes", "and the table?").text == "table"


def test_images_among_the_text_do_not_disturb(tmp_path: Path) -> None:
    path = _script(tmp_path, {"match": "how many", "reply": "4"})
    message = Message("user", (Image("a.png", data=b"x"), Text("Say how many.")))
    reply = ReplayVLM("replay:x", path).reply([Request(Conversation((message,)))])[0]
    assert reply.text == "4"


def test_without_a_matching_line_the_reply_failed_and_says_where(tmp_path: Path) -> None:
    path = _script(tmp_path, {"match": "chair", "reply": "x"})
    reply = _ask(path, "Which\ntable?")
    assert (reply.text, reply.outcome, reply.usage) == ("", "failed", None)
    assert str(path) in reply.why and '"Which table?"' in reply.why


@pytest.mark.parametrize("outcome", ["refused", "truncated", "failed"])
def test_outcomes_and_usage_are_those_of_the_line(tmp_path: Path, outcome: str) -> None:
    usage = {"input_tokens": 9, "output_tokens": 2, "cached_input_tokens": 4}
    path = _script(tmp_path, {"reply": "No", "outcome": outcome, "usage": usage})
    reply = _ask(path, "?")
    assert (reply.outcome, reply.usage) == (outcome, Usage(9, 2, 4))
    assert outcome in reply.why
    assert ReplayVLM("replay:x", path).estimate(_request("?")) == TokenRange(9, 9)


def test_text_arrives_word_by_word(tmp_path: Path) -> None:
    path = _script(tmp_path, {"reply": "  The chair <OBJ003>,\nby the window. "})
    pieces: list[str] = []
    ReplayVLM("replay:x", path).reply([_request("?")], on_text=pieces.append)
    assert "".join(pieces) == "  The chair <OBJ003>,\nby the window. "
    assert len(pieces) == 7


def test_every_request_is_answered_in_order(tmp_path: Path) -> None:
    path = _script(tmp_path, {"match": "a", "reply": "A"}, {"match": "b", "reply": "B"})
    replies = ReplayVLM("replay:x", path).reply([_request("b"), _request("a")])
    assert [reply.text for reply in replies] == ["B", "A"]


def test_identity_follows_the_content_and_not_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = _script(tmp_path / "one", {"reply": "x"}), _script(tmp_path / "two", {"reply": "x"})
    before = ReplayVLM("replay:one", one).identity
    assert before == ReplayVLM("replay:two", two).identity
    _script(tmp_path / "one", {"reply": "y"})
    assert ReplayVLM("replay:one", one).identity != before


def test_it_is_a_model_that_costs_nothing(tmp_path: Path) -> None:
    model = ReplayVLM("replay:x", _script(tmp_path, {"reply": "x"}))
    assert isinstance(model, VLM)
    assert model.price is not None and (model.price.input, model.price.output) == (0, 0)


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text('\ufeff{"reply": "first\u2028line"}\r\n\r\n', encoding="utf-8")
    assert _ask(path, "?").text == "first\u2028line"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"reply": ', "is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"match": "x"}', "'reply' must be a text"),
        ('{"reply": "x", "match": 3}', "'match' must be a text"),
        ('{"reply": "x", "mtach": "y"}', "unknown key 'mtach'"),
        ('{"reply": "x", "outcome": "unparsable"}', "found 'unparsable'"),
        ('{"reply": "x", "usage": {"input_tokens": 3}}', "'usage' must count"),
        ('{"reply": "x", "usage": {"input_tokens": -1, "output_tokens": 1}}', "'usage' must count"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text(f'{{"reply": "fine"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(UserError) as caught:
        ReplayVLM("replay:x", path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_script_says_so(tmp_path: Path) -> None:
    empty, latin = tmp_path / "empty.jsonl", tmp_path / "latin.jsonl"
    empty.write_text("\n", encoding="utf-8")
    latin.write_bytes(b'{"reply": "x"}\n{"reply": "caf\xe9"}\n')
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "is a folder"), (empty, "holds no replies")):
        with pytest.raises(UserError, match=said):
            ReplayVLM("replay:x", path)
    with pytest.raises(UserError, match="line 2: is not UTF-8"):
        ReplayVLM("replay:x", latin)
