"""Anthropic's protocol: what goes over the wire, and what the answers say."""

import base64
import json
from typing import Any

import pytest
from fault_server import FaultServer
from hosted_questions import question, shown

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Message, Text
from gpt4scene.vlm.anthropic_messages import AnthropicMessages
from gpt4scene.vlm.protocol import VLM, Request, Usage, ViewSize


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-mine")
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_a_model() -> None:
    model = AnthropicMessages("anthropic:claude-opus-4-8", "claude-opus-4-8")
    assert (
        isinstance(model, VLM) and model.prefix_discount and model.view_size == ViewSize(560, 420, 28, longest_px=1568)
    )
    assert model.identity == "anthropic https://api.anthropic.com claude-opus-4-8"
    assert model.price is not None
    assert model.estimate(question()).low > 0


def test_a_request() -> None:
    images = shown(3)
    body = AnthropicMessages("a", "claude-opus-4-8").wire(question("Where?", images, max_new_tokens=77))
    content = body["messages"][0]["content"]
    assert [base64.b64decode(block["source"]["data"]) for block in content[:3]] == [image.data for image in images]
    assert {block["source"]["media_type"] for block in content[:3]} == {"image/jpeg"}
    assert content[3] == {"type": "text", "text": "Where?"}
    assert {key: value for key, value in body.items() if key != "messages"} == {
        "model": "claude-opus-4-8",
        "max_tokens": 77,
        "system": [{"type": "text", "text": "You see a room."}],
    }


def marked(body: dict[str, Any]) -> list[tuple[str, int]]:
    """Where blocks are marked for the provider's cache."""
    places = {"system": body.get("system", []), "user": body["messages"][0]["content"]}
    found = [
        (place, i) for place, blocks in places.items() for i, block in enumerate(blocks) if "cache_control" in block
    ]
    assert all(places[place][i]["cache_control"] == {"type": "ephemeral"} for place, i in found)
    return found


def test_the_last_block_of_what_questions_share_is_marked() -> None:
    model = AnthropicMessages("a", "m")
    assert marked(model.wire(question(images=shown(3)))) == [("user", 2)]
    assert marked(model.wire(question(images=[]))) == [("system", 0)]
    assert marked(model.wire(Request(Conversation((Message("user", (Text("Hello"),)),))))) == []
    chat = question(images=shown(2)).conversation.then("assistant", "There.").then("user", "And now?")
    body = model.wire(Request(chat))
    assert marked(body) == [("user", 1)]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_an_empty_text_is_left_out_for_it_is_an_error() -> None:
    asked = Request(Conversation((Message("user", (*shown(1), Text(""), Text("Where?"))),)))
    assert [block["type"] for block in AnthropicMessages("a", "m").wire(asked)["messages"][0]["content"]] == [
        "image",
        "text",
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_model_takes_a_temperature(temperature: float) -> None:
    with pytest.raises(UserError, match="anthropic:m: this model takes no temperature; leave it out"):
        AnthropicMessages("anthropic:m", "m").wire(question(temperature=temperature))


@pytest.mark.parametrize(
    ("model", "thinks", "images"),
    [
        ("claude-3-5-haiku-20241022", False, 100),
        ("claude-opus-4-20250514", False, 100),
        ("claude-sonnet-4-5-20250929", False, 100),
        ("claude-opus-4-8", False, 600),
        ("claude-sonnet-5", True, 600),
        ("claude-haiku-5-5", True, 600),
        ("claude-next", True, 600),
    ],
)
def test_models_by_name(model: str, thinks: bool, images: int) -> None:
    asked = AnthropicMessages("a", model)
    assert asked.thinks() is thinks
    assert (asked.wire(question(max_new_tokens=77))["max_tokens"] > 77) is thinks
    with pytest.raises(UserError, match=f"takes at most {images} images in a request, this one has {images + 1}"):
        asked.wire(question(images=shown(1) * (images + 1)))


def test_json_is_asked_for() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = AnthropicMessages("a", "m").wire(question(json_schema=schema))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


def test_what_is_sent_is_what_wire_says() -> None:
    asked = question('quotes " and \\ and "data":, Küche', shown(5))
    with FaultServer() as server:
        model = AnthropicMessages("a", "m", server.root)
        model.reply([asked])
        model.reply([asked], lambda piece: None)
        whole, streamed = server.requests
    assert whole.path == "/v1/messages"
    assert whole.body == json.loads(json.dumps(model.wire(asked)))
    assert streamed.body == {**whole.body, "stream": True}
    assert whole.headers["content-type"] == "application/json"
    assert "anthropic-version" in whole.headers
    assert "sk-ant-of-mine" in whole.headers.get("authorization", "") + whole.headers.get("x-api-key", "")


def test_a_streamed_answer_is_the_same_reply() -> None:
    with FaultServer() as server:
        model = AnthropicMessages("a", "m", server.root)
        pieces: list[str] = []
        (whole,), (streamed,) = model.reply([question()]), model.reply([question()], pieces.append)
    assert whole == streamed
    assert whole.text == "".join(pieces) == "It is <OBJ012>, next to <OBJ003>." and len(pieces) == 5
    assert whole.model == "m-20260101"
    # what was read from the cache and written to it is counted apart by the provider, within the total here
    assert whole.usage == Usage(4 + 342 * 3 + 10, 8, cached_input_tokens=342 * 3, cache_write_tokens=10)


@pytest.mark.parametrize(
    ("response", "outcome", "text", "why"),
    [
        ({"content": [{"type": "text", "text": "Yes"}], "stop_reason": "end_turn"}, "answered", "Yes", ""),
        (
            {"content": [{"type": "thinking"}, {"type": "text", "text": "Yes"}], "stop_reason": "end_turn"},
            "answered", "Yes", "",
        ),
        ({"content": [], "stop_reason": "end_turn"}, "failed", "", "the answer is empty"),
        ({"type": "message"}, "failed", "", "the server's answer holds no content"),
        (
            {"content": [], "stop_reason": "refusal", "stop_details": {"category": "bio", "explanation": None}},
            "refused", "", "bio",
        ),
        (
            {"content": [{"type": "text", "text": "It is"}], "stop_reason": "model_context_window_exceeded"},
            "truncated", "It is", "cut",
        ),
    ],
)  # fmt: skip
def test_reading_responses(response: dict[str, Any], outcome: str, text: str, why: str) -> None:
    reply = AnthropicMessages("a", "m").read(response)
    assert (reply.outcome, reply.text, reply.why, reply.model, reply.usage) == (outcome, text, why, "m", None)


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UserError) as caught:
        AnthropicMessages("anthropic:m", "m").reply([question()])
    assert str(caught.value) == "anthropic:m: no key for Anthropic: set the environment variable ANTHROPIC_API_KEY"


def test_another_address_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root)
        assert AnthropicMessages("a", "m").reply([question()])[0].outcome == "answered"
