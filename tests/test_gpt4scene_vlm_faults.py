"""What becomes of a question when the server, or the way to it, is at fault: the line, and how often it was asked."""

import logging
import threading
import time
import traceback

import pytest
from fault_server import KINDS, Fault, FaultServer
from hosted_questions import picture, question, shown

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image
from gpt4scene.vlm.anthropic_messages import AnthropicMessages
from gpt4scene.vlm.hosted import HostedVLM
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.protocol import Reply, Usage

SOON = {"retry-after-ms": "1"}
KEY = "sk-a-key-that-nobody-may-see"
HALF = "It is <OBJ012>"
"""What of the server's answer comes before a stream breaks."""


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("GPT4SCENE_API_KEY", KEY)


def model_at(api: str, server: FaultServer, **options: object) -> HostedVLM:
    settings = {"timeout_s": 5.0, "max_retries": 2, **options}
    if api == "openai":
        return OpenAIChat("openai:m", "m", server.url, **settings)  # pyright: ignore[reportArgumentType]
    return AnthropicMessages("anthropic:m", "m", server.root, **settings)  # pyright: ignore[reportArgumentType]


def ask(model: HostedVLM, *, stream: bool = False) -> Reply:
    pieces: list[str] = []
    (reply,) = model.reply([question()], pieces.append if stream else None)
    if stream and reply.outcome != "refused":
        assert "".join(pieces) == reply.text
    return reply


both = pytest.mark.parametrize("api", ["openai", "anthropic"])
either_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

FAILED = [
    (
        "rate-limit",
        "too many requests, after 3 attempts (HTTP 429: Rate limit reached for requests); "
        "--in-flight asks fewer at once",
    ),
    (
        "server-error",
        "the server failed, after 3 attempts (HTTP 500: The server had an error while processing your request.)",
    ),
    ("overloaded", "the server failed, after 3 attempts (HTTP 529: Overloaded)"),
]


@both
@either_way
@pytest.mark.parametrize(("kind", "why"), FAILED)
def test_trouble_that_lasts_fails_a_question_after_the_sdks_attempts_and_no_more(
    api: str, stream: bool, kind: str, why: str
) -> None:
    with FaultServer(forever=Fault(kind, SOON)) as server:
        reply = ask(model_at(api, server), stream=stream)
        assert (reply.outcome, reply.text, reply.why) == ("failed", "", why)
        assert reply.usage == Usage(0, 0)  # what was turned away costs nothing
        assert len(server.requests) == 3


@both
@either_way
def test_trouble_that_passes_is_not_seen(api: str, stream: bool) -> None:
    faults = [Fault("rate-limit", SOON), Fault("server-error", SOON)]
    with FaultServer(script=faults) as server:
        reply = ask(model_at(api, server), stream=stream)
        assert (reply.outcome, reply.text) == ("answered", "It is <OBJ012>, next to <OBJ003>.")
        assert len(server.requests) == 3


@both
def test_the_servers_retry_after_is_kept(api: str) -> None:
    """Without the header, the SDK's first pause is half a second at most."""
    with FaultServer(script=[Fault("rate-limit", {"retry-after": "1"})]) as server:
        assert ask(model_at(api, server)).outcome == "answered"
        first, second = server.requests
        assert second.at_s - first.at_s >= 0.98


@both
def test_too_many_requests_without_retry_after_are_tried_again_after_a_pause(api: str) -> None:
    with FaultServer(script=["rate-limit"]) as server:
        assert ask(model_at(api, server)).outcome == "answered"
        first, second = server.requests
        assert second.at_s - first.at_s >= 0.3


@both
@either_way
def test_silence_ends_at_the_time_limit(api: str, stream: bool) -> None:
    with FaultServer(forever="hang") as server:
        reply = ask(model_at(api, server, timeout_s=0.25, max_retries=1), stream=stream)
        assert (reply.outcome, reply.why) == ("failed", "no answer within 0.25 s")
        assert reply.usage is None  # it may be paid for
        assert len(server.requests) == 2


@both
@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_a_lost_connection_is_tried_again(api: str, kind: str) -> None:
    with FaultServer(forever=kind) as server:
        reply = ask(model_at(api, server, max_retries=1))
        assert (reply.outcome, reply.why) == ("failed", "the connection ended before the answer did")
        assert len(server.requests) == 2


BROKEN = [
    ("cut", "the connection ended before the answer did"),
    ("unfinished", "the connection ended before the answer did"),
    ("hang-midway", "no answer within 0.25 s"),
    ("malformed", "the server's answer is not JSON"),
]


@both
@pytest.mark.parametrize(("kind", "why"), BROKEN)
def test_a_stream_that_breaks_keeps_what_came_and_is_not_paid_twice(api: str, kind: str, why: str) -> None:
    with FaultServer(forever=kind) as server:
        reply = ask(model_at(api, server, timeout_s=0.25), stream=True)
        assert (reply.outcome, reply.text, reply.why) == ("failed", HALF, why)
        assert len(server.requests) == 1


@pytest.mark.parametrize(("api", "said"), [("openai", "The engine died."), ("anthropic", "Overloaded")])
def test_a_server_that_fails_in_the_middle_of_a_stream(api: str, said: str) -> None:
    with FaultServer(forever="stream-error") as server:
        reply = ask(model_at(api, server), stream=True)
        assert (reply.outcome, reply.text) == ("failed", HALF)
        assert reply.why == f"an error in the middle of the answer: {said}"


@both
def test_malformed_json_fails_the_question(api: str) -> None:
    with FaultServer(forever="malformed") as server:
        reply = ask(model_at(api, server))
        assert (reply.outcome, reply.why) == ("failed", "the server's answer is not JSON")
        assert len(server.requests) == 1


@both
@either_way
def test_an_answer_that_was_cut_is_truncated_and_paid_for(api: str, stream: bool) -> None:
    with FaultServer(forever="truncated") as server:
        reply = ask(model_at(api, server), stream=stream)
        assert (reply.outcome, reply.text) == ("truncated", "It is <OBJ01")
        assert reply.why == "cut after 3 tokens"
        assert reply.usage is not None and reply.usage.output_tokens == 3


REFUSED = [
    ("openai", "refusal", "I can't help with that.", "I can't help with that."),
    ("openai", "content-filter", "", "the server's content filter ended the answer"),
    ("openai", "policy", "", "Rejected by our safety system: content filtering policy."),
    ("anthropic", "refusal", "", "the model refused to answer"),
    ("anthropic", "policy", "", "Rejected by our safety system: content filtering policy."),
]


@either_way
@pytest.mark.parametrize(("api", "kind", "text", "why"), REFUSED)
def test_refusals_are_told_apart_from_failures(api: str, kind: str, text: str, why: str, stream: bool) -> None:
    with FaultServer(forever=kind) as server:
        reply = ask(model_at(api, server), stream=stream)
        assert (reply.outcome, reply.text, reply.why) == ("refused", text, why)
        assert len(server.requests) == 1


@both
@either_way
def test_an_empty_answer_is_no_answer(api: str, stream: bool) -> None:
    with FaultServer(forever="empty") as server:
        reply = ask(model_at(api, server), stream=stream)
        assert (reply.outcome, reply.why) == ("failed", "the answer is empty")


@both
def test_a_request_that_the_server_finds_faulty_fails_alone(api: str) -> None:
    with FaultServer(forever="too-long") as server:
        reply = ask(model_at(api, server))
        assert reply.outcome == "failed"
        assert (
            reply.why
            == "the server refused the request (HTTP 400: This model's maximum context length is 4096 tokens.)"
        )


NO_MODEL = (
    "has no model 'm', or is no address of such an API "
    "(HTTP 404: The model `nosuch` does not exist or you do not have access to it.)"
)
FORBIDDEN = "use this model (HTTP 403: This key may not use this model.)"
UNSUPPORTED = "(HTTP 400: Unsupported parameter: 'temperature' is not supported for this model.)"
NO_CREDIT = "(HTTP 400: Your credit balance is too low to access the Anthropic API.)"
STOPS = [
    ("openai", "unauthorized", "does not accept the key in GPT4SCENE_API_KEY (HTTP 401); set a valid one"),
    ("anthropic", "unauthorized", "does not accept the key in ANTHROPIC_API_KEY (HTTP 401); set a valid one"),
    ("openai", "forbidden", f"does not let the key in GPT4SCENE_API_KEY {FORBIDDEN}"),
    ("openai", "not-found", NO_MODEL),
    ("anthropic", "not-found", NO_MODEL),
    ("openai", "bad-parameter", f"would refuse every such request {UNSUPPORTED}"),
    ("anthropic", "bad-parameter", f"would refuse every such request {UNSUPPORTED}"),
    ("anthropic", "no-credit", f"would refuse every such request {NO_CREDIT}"),
]


@either_way
@pytest.mark.parametrize(("api", "kind", "ending"), STOPS)
def test_what_no_question_would_survive_ends_the_run_in_one_line(
    api: str, kind: str, ending: str, stream: bool
) -> None:
    with FaultServer(forever=kind) as server:
        model = model_at(api, server)
        with pytest.raises(UserError) as caught:
            ask(model, stream=stream)
        assert str(caught.value) == f"{api}:m: {model.base_url} {ending}"
        assert len(server.requests) == 1


def test_an_account_that_is_used_up_ends_the_run() -> None:
    with (
        FaultServer(forever=Fault("quota", SOON)) as server,
        pytest.raises(UserError, match="nothing left on the account"),
    ):
        ask(model_at("openai", server))


def test_too_many_images_for_the_server_names_its_option() -> None:
    with FaultServer(forever="too-many-images") as server, pytest.raises(UserError) as caught:
        model_at("openai", server).reply([question(images=shown(33))])
    assert str(caught.value) == (
        f"openai:m: {server.url} takes fewer than 33 images in a request (At most 4 image(s) may be provided in one "
        "prompt.); show fewer frames (--preset), or start vLLM with --limit-mm-per-prompt '{\"image\": 33}'"
    )


def test_no_server_is_said_at_once() -> None:
    with FaultServer() as server:
        model = model_at("openai", server, max_retries=9)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        ask(model)
    # nine pauses of the SDK are half a minute
    assert time.monotonic() - began < 10
    assert str(caught.value) == (
        f"openai:m: no server answers at {server.url} (Connection refused); start it, or mend the address"
    )


def test_no_server_for_the_other_sdk() -> None:
    with FaultServer() as server:
        model = model_at("anthropic", server, max_retries=0)
    with pytest.raises(UserError, match=r"anthropic:m: no server answers at .* \(.*refused\); start it"):
        ask(model)


@both
def test_a_request_that_is_too_large_goes_again_with_smaller_images(api: str, caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(script=["too-large", "too-large"]) as server:
        model = model_at(api, server)
        assert ask(model).outcome == "answered"
        sizes = [len(received.raw) for received in server.requests]
        assert len(sizes) == 3 and sizes[0] > sizes[1] > sizes[2]
        assert ask(model).outcome == "answered"
        assert len(server.requests[3].raw) == sizes[2]  # what was learnt holds for the scene's other questions
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("gpt4scene")]
    assert len(lines) == 2
    assert all("as JPEG of quality" in line and "refused the larger request" in line for line in lines)


@both
def test_a_request_that_stays_too_large_ends_the_run(api: str) -> None:
    with FaultServer(forever="too-large") as server, pytest.raises(UserError) as caught:
        ask(model_at(api, server))
    assert "takes no request as large as this, even with its images as JPEG of the lowest quality (HTTP 413)" in str(
        caught.value
    )
    assert "show fewer frames (--preset)" in str(caught.value)
    assert 2 <= len(server.requests) <= 6


def test_many_threads_that_are_refused_at_once_lower_the_quality_once(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(0.2, script=["too-large"] * 8) as server:
        model = model_at("openai", server)
        outcomes: list[str] = []
        threads = [threading.Thread(target=lambda: outcomes.append(ask(model).outcome)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == ["answered"] * 8
        assert len({len(received.raw) for received in server.requests}) == 2
    assert len([record for record in caplog.records if record.name.startswith("gpt4scene")]) == 1


@both
@pytest.mark.parametrize("kind", ["hang", "rate-limit"])
def test_closing_ends_calls_under_way(api: str, kind: str) -> None:
    """One waits for the server, the other for the SDK's next attempt, for a minute each."""
    with FaultServer(forever=Fault(kind, {"retry-after": "60"})) as server:
        model = model_at(api, server, timeout_s=60.0)
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(ask(model)))
        thread.start()
        while not server.requests:
            time.sleep(0.01)
        model.close()
        thread.join(10)
        assert [(reply.outcome, reply.why) for reply in replies] == [
            ("failed", "the model was closed before it answered")
        ]
        assert ask(model).outcome == "failed"
        assert len(server.requests) == 1


@both
@pytest.mark.parametrize("kind", ["ok", "unauthorized", "server-error", "tells-the-key", "cut"])
def test_neither_key_nor_images_are_logged_or_said(api: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultServer(forever=Fault(kind, SOON)) as server:
        model = model_at(api, server, max_retries=1)
        try:
            said = repr(ask(model))
        except UserError as error:
            said = str(error)
        assert KEY in server.requests[0].headers["authorization"]  # it was used
    written = "\n".join([caplog.text, said, repr(model), model.identity, model.name])
    assert KEY not in written and "very-secret" not in written
    assert "base64" not in written and "Where is the lamp?" not in written


@both
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
def test_a_traceback_does_not_show_a_key_that_the_server_repeats(
    api: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "KEY: credit balance, and 'temperature' is not supported for this model."
    monkeypatch.setitem(KINDS, "bad-parameter", (status, "unsupported_parameter", said))
    with FaultServer(forever="bad-parameter") as server, pytest.raises(UserError) as caught:
        ask(model_at(api, server))
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY in server.requests[0].headers["authorization"]
    assert "hosted.py" in shown and KEY not in shown


@both
@pytest.mark.parametrize("key", ["sk-quoted-\u201d", "sk-zero\u200bwidth", "sk-two\nlines", "sk two words"])
def test_what_no_header_can_hold_is_no_key(api: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    monkeypatch.setenv("GPT4SCENE_API_KEY", key)
    with FaultServer() as server:
        with pytest.raises(UserError, match=r"_API_KEY: holds .* copy the key anew") as caught:
            ask(model_at(api, server))
        assert key not in str(caught.value) and not server.requests


def test_an_image_that_is_missing_ends_the_run() -> None:
    with FaultServer() as server, pytest.raises(UserError, match=r"gone\.jpg: no such image"):
        model_at("openai", server).reply([question(images=[Image("gone.jpg")])])


@both
@either_way
def test_a_web_page_is_no_answer(api: str, stream: bool) -> None:
    with FaultServer(forever="web-page") as server:
        model = model_at(api, server)
        with pytest.raises(UserError) as caught:
            ask(model, stream=stream)
    where = f"{api}:m: {model.base_url}"
    assert str(caught.value) == f"{where} answers with a web page; is this the address of its API?"


def test_retries_are_told_to_those_alone_who_want_to_know(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "anthropic")  # as the commands have it
    logging.getLogger("anthropic._base_client").setLevel(logging.NOTSET)
    with FaultServer(script=[Fault("rate-limit", SOON)]) as server:
        assert ask(model_at("anthropic", server)).outcome == "answered"
        assert len(server.requests) == 2 and not caplog.records


def test_pictures_differ() -> None:
    assert picture(0) != picture(1)
