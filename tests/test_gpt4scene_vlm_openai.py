"""OpenAI's protocol: what goes over the wire, to whom with which key, and what the answers say."""

import base64
import io
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from hosted_questions import picture, question, shown
from PIL import Image as Pillow

import gpt4scene.vlm.image_bytes as image_bytes
from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.image_bytes import ImageEncoder, ImageLimits
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.protocol import VLM, Request, Usage, ViewSize
from gpt4scene.vlm.view_sizes import view_size_of

SCHEMA = {
    "type": "object",
    "properties": {"ids": {"type": "array", "items": {"type": "integer"}}},
    "required": ["ids"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GEMINI_API_KEY", "GPT4SCENE_API_KEY", "OPENAI_ORG_ID"):
        monkeypatch.delenv(name, raising=False)


def images_of(body: dict[str, Any]) -> list[bytes]:
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return [base64.b64decode(part["image_url"]["url"].split(",")[1]) for part in parts if part["type"] == "image_url"]


def test_it_is_a_model() -> None:
    assert isinstance(OpenAIChat("openai:gpt-4o", "gpt-4o"), VLM)


def test_a_request_to_openai() -> None:
    images = shown(3, details=("high", "low", "auto"))
    body = OpenAIChat("openai:gpt-4o", "gpt-4o").wire(question("Where?", images, max_new_tokens=77))
    assert images_of(body) == [image.data for image in images]
    assert [part.get("image_url", {}).get("detail") for part in body["messages"][1]["content"]] == [
        "high", "low", None, None,
    ]  # fmt: skip
    assert body["messages"][0] == {"role": "system", "content": "You see a room."}
    assert body["messages"][1]["content"][-1] == {"type": "text", "text": "Where?"}
    assert {key: value for key, value in body.items() if key not in ("messages", "prompt_cache_key")} == {
        "model": "gpt-4o",
        "max_completion_tokens": 77,
        "temperature": 0,
    }


def test_a_request_to_another_server_says_nothing_that_it_may_not_know() -> None:
    body = OpenAIChat("o", "tuned", "http://127.0.0.1:8000/v1/").wire(question(max_new_tokens=77, temperature=0.5))
    assert {key: value for key, value in body.items() if key != "messages"} == {
        "model": "tuned",
        "max_tokens": 77,
        "temperature": 0.5,
    }


@pytest.mark.parametrize(
    "model", ["o1", "o3", "o4-mini-2025-04-16", "gpt-5", "gpt-5.6-sol", "gpt-6-astra", "openai/gpt-5"]
)
def test_models_that_reason_take_no_temperature_and_get_room_for_it(model: str) -> None:
    asked = OpenAIChat(f"openai:{model}", model, "http://127.0.0.1:8000/v1" if "/" in model else None)
    body = asked.wire(question(max_new_tokens=77))
    assert "temperature" not in body and "max_tokens" not in body
    assert body["max_completion_tokens"] == asked.max_output_tokens(question(max_new_tokens=77)) > 77 + 1000
    with pytest.raises(UserError, match=f"openai:{model}: this model takes no temperature; leave it out"):
        asked.wire(question(temperature=0.0))


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-oss-120b", "olmo-7b", "Qwen/Qwen3-VL-8B"])
def test_models_that_do_not(model: str) -> None:
    assert OpenAIChat("o", model).wire(question())["temperature"] == 0


def test_json_is_asked_for_strictly() -> None:
    body = OpenAIChat("o", "gpt-4o").wire(question(json_schema=SCHEMA))
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }


def test_questions_about_a_scene_share_a_cache_key_and_their_bytes_up_to_the_question() -> None:
    with FaultServer() as server:
        model = OpenAIChat("o", "gpt-5.6-sol", server.url)
        for text in ("Where is the lamp?", "How many chairs?"):
            model.reply([question(text, shown(4))])
        first, second = (received.raw for received in server.requests)
    same = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert first[:same].endswith(b'"text": "') and len(images_of(json.loads(first))) == 4
    official = OpenAIChat("o", "gpt-4o")
    keys = [official.wire(question(text, shown(4)))["prompt_cache_key"] for text in ("Where?", "How many?")]
    assert keys[0] == keys[1] != official.wire(question("Where?", shown(4, first_seed=1)))["prompt_cache_key"]


def test_the_end_of_what_is_shared_is_marked_where_the_model_wants_it() -> None:
    def marks(model: OpenAIChat) -> list[bool]:
        return ["prompt_cache_breakpoint" in part for part in model.wire(question())["messages"][1]["content"]]

    assert marks(OpenAIChat("o", "gpt-5.6-sol")) == [False, False, True, False]
    assert marks(OpenAIChat("o", "gpt-6-luna")) == [False, False, True, False]
    assert not any(marks(OpenAIChat("o", "gpt-5.5")))
    assert not any(marks(OpenAIChat("o", "gpt-5.6-sol", "http://127.0.0.1:8000/v1")))


def test_what_is_sent_is_what_wire_says() -> None:
    text = 'quotes " and \\ and <OBJ012>, "data": , Küche, \u2028, \U0001f6cb and \udc80'
    asked = question(text, shown(5), json_schema=SCHEMA)
    with FaultServer() as server:
        model = OpenAIChat("o", "m", server.url)
        model.reply([asked])
        model.reply([asked], lambda piece: None)
        whole, streamed = (received.body for received in server.requests)
    assert whole == json.loads(json.dumps(model.wire(asked)))
    assert streamed == {**whole, "stream": True, "stream_options": {"include_usage": True}}


def test_a_streamed_answer_is_the_same_reply() -> None:
    with FaultServer() as server:
        model = OpenAIChat("o", "m", server.url)
        pieces: list[str] = []
        (whole,), (streamed,) = model.reply([question()]), model.reply([question()], pieces.append)
    assert whole == streamed
    assert whole.text == "".join(pieces) == "It is <OBJ012>, next to <OBJ003>." and len(pieces) == 5
    assert whole.model == "m-2026-01-01"
    assert whole.usage == Usage(input_tokens=85 * 3 + 8, output_tokens=8, cached_input_tokens=85 * 2)


def test_a_conversation_keeps_its_turns() -> None:
    said = question("Where is it?").conversation.then("assistant", "There.").then("user", "And the other?")
    body = OpenAIChat("o", "m", "http://127.0.0.1/v1").wire(Request(said))
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][2:] == [
        {"role": "assistant", "content": "There."},
        {"role": "user", "content": "And the other?"},
    ]


FILTERED = "the server's content filter ended the answer"


@pytest.mark.parametrize(
    ("response", "outcome", "text", "why"),
    [
        ({"choices": [{"message": {"content": "Yes"}, "finish_reason": "stop"}]}, "answered", "Yes", ""),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Yes"}]}}]}, "answered", "Yes", ""),
        ({"choices": []}, "failed", "", "the server's answer holds no choices"),
        ({"error": {"message": "busy,\n try again"}}, "failed", "", "busy, try again"),
        ({"choices": [{"message": None, "finish_reason": "stop"}]}, "failed", "", "the answer is empty"),
        ({"choices": [{"message": {"content": None, "refusal": "No."}}]}, "refused", "No.", "No."),
        ({"choices": [{"finish_reason": "content_filter: PROHIBITED_CONTENT"}]}, "refused", "", FILTERED),
        ({"choices": [{"message": {"content": "It"}, "finish_reason": "content_filter"}]}, "refused", "It", FILTERED),
    ],
)
def test_reading_responses(response: dict[str, Any], outcome: str, text: str, why: str) -> None:
    reply = OpenAIChat("o", "m").read(response)
    assert (reply.outcome, reply.text, reply.why, reply.model, reply.usage) == (outcome, text, why, "m", None)


@pytest.mark.parametrize(
    ("model", "room"),
    [
        ("gemini-3.8-flash", True),
        ("models/gemini-2.5-pro", True),
        ("gemini-flash-latest", True),
        ("gemini-2.0-flash", False),
    ],
)
def test_gemini_gets_room_for_its_thoughts(model: str, room: bool) -> None:
    asked = OpenAIChat("o", model, "https://generativelanguage.googleapis.com/v1beta/openai/")
    body = asked.wire(question(max_new_tokens=77))
    assert body["max_tokens"] == asked.max_output_tokens(question(max_new_tokens=77)) == (4096 + 77 if room else 77)
    assert body["temperature"] == 0


def test_thoughts_that_only_the_total_counts_are_paid_for() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 9, "total_tokens": 88}
    reply = OpenAIChat("o", "m").read({"choices": [{"message": {"content": "x"}}], "usage": usage})
    assert reply.usage == Usage(11, 77)


def test_written_to_the_cache_is_told_apart() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    }
    reply = OpenAIChat("o", "m").read({"choices": [{"message": {"content": "x"}}], "usage": usage})
    assert reply.usage == Usage(9, 2, 4, 3)


# keys


def sent_key(model: OpenAIChat, server: FaultServer) -> str:
    model.reply([question()])
    return server.requests[-1].headers["authorization"]


def test_the_key_of_openai_goes_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    with FaultServer() as server:
        assert sent_key(OpenAIChat("o", "m", server.url), server) == "Bearer none"
        monkeypatch.setenv("GPT4SCENE_API_KEY", "sk-of-this-server")
        assert sent_key(OpenAIChat("o", "m", server.url), server) == "Bearer sk-of-this-server"
        assert not any("sk-of-openai" in str(r.headers) or "org-of-mine" in str(r.headers) for r in server.requests)


def test_the_key_of_openai_goes_to_the_address_that_is_set_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    with FaultServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        assert sent_key(OpenAIChat("o", "m"), server) == "Bearer sk-of-openai"
        assert OpenAIChat("o", "m").identity == f"openai {server.url} m"


@pytest.mark.parametrize(
    ("base_url", "line"),
    [
        (None, "openai:m: no key for api.openai.com: set the environment variable OPENAI_API_KEY"),
        (
            "https://eu.api.openai.com/v1",
            "openai:m: no key for eu.api.openai.com: set the environment variable OPENAI_API_KEY",
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "openai:m: no key for generativelanguage.googleapis.com: set the environment variable GEMINI_API_KEY",
        ),
        (
            "https://api.openai.com.example.org/v1",
            "openai:m: no key for api.openai.com.example.org: set the environment variable GPT4SCENE_API_KEY to the "
            "key of that server, or to 'none' if it wants none (OPENAI_API_KEY is sent to OpenAI alone)",
        ),
    ],
)
def test_a_missing_key_is_named(base_url: str | None, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if base_url and "example" in base_url:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    model = OpenAIChat("openai:m", "m", base_url)
    with pytest.raises(UserError) as caught:
        model.reply([question()])
    assert str(caught.value) == line


@pytest.mark.parametrize("host", ["localhost", "192.168.1.7", "10.0.0.2", "[::1]", "gpu-box", "box.local"])
def test_servers_nearby_need_no_key(host: str) -> None:
    model = OpenAIChat("o", "m", f"http://{host}:8000/v1")
    assert model.address.key("o") == "none"
    assert not model.prefix_discount


def test_a_server_that_wants_a_key_after_all() -> None:
    with FaultServer(forever="unauthorized") as server, pytest.raises(UserError) as caught:
        OpenAIChat("o", "m", server.url).reply([question()])
    assert (
        str(caught.value) == f"o: {server.url} wants a key (HTTP 401); set the environment variable GPT4SCENE_API_KEY"
    )


def test_nothing_is_needed_before_the_first_question() -> None:
    model = OpenAIChat("openai:gpt-4o", "gpt-4o")
    assert model.estimate(question()).high >= model.estimate(question()).low > 0
    assert model.price is not None and model.prefix_discount
    model.close()
    assert OpenAIChat("o", "no-such-model-xyz").price is None


# many at once


def test_many_threads_ask_at_once_and_each_gets_its_own_answer() -> None:
    with FaultServer(0.05, answer=lambda body: body["messages"][-1]["content"][-1]["text"]) as server:
        model = OpenAIChat("o", "m", server.url)
        with ThreadPoolExecutor(16) as threads:
            replies = list(threads.map(lambda i: model.reply([question(f"question {i}")])[0].text, range(64)))
        assert replies == [f"question {i}" for i in range(64)]
        assert server.most_in_flight == 16
        model.close()


def test_every_image_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    inner = base64.b64encode

    def counted(data: bytes) -> bytes:
        encoded.append(len(data))
        time.sleep(0.005)  # so that threads meet here
        return inner(data)

    monkeypatch.setattr(image_bytes.base64, "b64encode", counted)
    for i in range(9):
        (tmp_path / f"{i}.jpg").write_bytes(picture(i))
    images = [Image(str(tmp_path / f"{i}.jpg")) for i in range(9)] + shown(1, first_seed=20)
    with FaultServer() as server:
        model = OpenAIChat("o", "m", server.url)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i: model.reply([question(f"question {i}", images)]), range(24)))
        assert len(server.requests) == 24 and len(encoded) == 10
        (tmp_path / "3.jpg").write_bytes(picture(99))
        model.reply([question("and now?", images)])
        assert images_of(server.requests[-1].body)[3] == picture(99) and len(encoded) == 11


# limits


def total(model: OpenAIChat, asked: Request) -> int:
    return sum(len(data) for data in images_of(model.wire(asked)))


def limited(images: list[Image], share: float, **more: int) -> OpenAIChat:
    """A model whose server takes this share of the images' base64, and the text."""
    size = sum(len(image.read()) for image in images) * 4 / 3
    limits = ImageLimits(request_bytes=int(size * share) + 256 * 1024, **more)
    return OpenAIChat("o", "m", "http://127.0.0.1:8000/v1", limits=limits)


def test_images_within_the_limits_go_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    images = [*shown(3), *shown(1, kind="PNG")]
    assert images_of(limited(images, 1.01).wire(question(images=images))) == [image.data for image in images]
    assert not caplog.records


def test_jpeg_quality_comes_down_first_and_alike_for_all_questions_of_a_scene(caplog: pytest.LogCaptureFixture) -> None:
    images = shown(6)
    model = limited(images, 0.6)
    bodies = [model.wire(question(text, images)) for text in ("Where?", "How many?" * 1000, "Why?")]
    first = images_of(bodies[0])
    assert sum(map(len, first)) * 4 / 3 <= 0.6 * sum(len(image.read()) for image in images) * 4 / 3
    assert all(images_of(body) == first for body in bodies)
    sizes = {Pillow.open(io.BytesIO(data)).size for data in first}
    assert sizes == {(160, 120)}
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "6 images go to http://127.0.0.1:8000/v1 as JPEG of quality" in lines[0] and "MB in a request" in lines[0]


def test_png_becomes_jpeg_before_quality_is_lost() -> None:
    images = shown(4, kind="PNG")
    sent = images_of(limited(images, 0.9).wire(question(images=images)))
    assert all(data.startswith(b"\xff\xd8") for data in sent)
    assert max(len(picture(0, quality=95)), len(sent[0])) == len(sent[0])


def test_a_single_image_may_be_too_large() -> None:
    images = shown(3)
    most = max(len(image.read()) for image in images)
    sent = images_of(limited(images, 2.0, image_bytes=most).wire(question(images=images)))
    assert max(map(len, sent)) * 4 / 3 <= most


def test_what_does_not_fit_at_the_lowest_quality_is_said() -> None:
    images = shown(33)
    model = limited(images, 0.05)
    with pytest.raises(UserError) as caught:
        model.wire(question(images=images))
    assert str(caught.value) == (
        "http://127.0.0.1:8000/v1 takes at most 0.3 MB in a request, and these images do not fit even as JPEG of "
        "quality 50: show fewer frames (--preset)"
    )


def test_too_many_images_for_a_provider() -> None:
    with pytest.raises(UserError) as caught:
        OpenAIChat("o", "gpt-4o").wire(question(images=shown(1) * 501))
    assert str(caught.value) == (
        "https://api.openai.com/v1 takes at most 500 images in a request, this one has 501: show fewer frames "
        "(--preset)"
    )


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"a\.jpg: is neither JPEG nor PNG"):
        OpenAIChat("o", "m").wire(question(images=[Image(str(tmp_path / "a.jpg"))]))


def test_what_is_kept_is_bounded() -> None:
    images = shown(12)
    encoder = ImageEncoder(ImageLimits(), "server", kept_bytes=3 * len(images[0].read()) * 4 // 3 + 1000)
    for _ in range(3):
        assert len(encoder.encode(images)) == 12
    assert sum(len(kept.data) for kept in encoder._kept.values()) == encoder._kept_size <= encoder._kept_bytes


def test_a_quality_is_lowered_once_for_many_threads() -> None:
    images = shown(2)
    encoder = ImageEncoder(ImageLimits(), "server")
    before = encoder.quality(images)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(encoder.lower(images, before))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    lowered = encoder.quality(images)
    assert lowered == 85  # 95 is what they are, and would not have made them smaller
    assert encoder.lower(images, 50) is False


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("gpt-4o", ViewSize(512, 512, 1, longest_px=2048)),
        ("gpt-4.1-mini", ViewSize(512, 384, 32, longest_px=2048)),
        ("gpt-6-astra", ViewSize(512, 384, 32, longest_px=2048)),
        ("Qwen/Qwen2.5-VL-7B-Instruct", ViewSize(504, 504, 28)),
        ("Qwen3-VL-8B", ViewSize(512, 512, 32)),
        ("OpenGVLab/InternVL3-8B", ViewSize(448, 448, 448)),
        ("claude-opus-4-8", ViewSize(560, 420, 28, longest_px=1568)),
        ("gemini-3.5-flash", ViewSize(768, 576, 1)),
        ("somebody/tuned", ViewSize(512, 512, 1, longest_px=2048)),
    ],
)
def test_sizes_of_views(model: str, size: ViewSize) -> None:
    assert view_size_of(model) == size == OpenAIChat("o", model).view_size


def test_text_alone_is_plain() -> None:
    asked = Request(Conversation((Message("user", (Text("Hello"), Text(" there"))),)))
    assert OpenAIChat("o", "m").wire(asked)["messages"] == [{"role": "user", "content": "Hello there"}]
