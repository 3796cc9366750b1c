"""A loopback server that speaks OpenAI's chat completions and Anthropic's messages, and misbehaves as a script says.

    with FaultServer(latency_s=1.0, script=["ok", Fault("rate-limit", {"retry-after": "1"}), "hang"]) as server:
        OpenAIChat("openai:m@" + server.url, "m", server.url)
        server.requests[0].body["messages"]

As a process of its own: `python tests/fault_server.py --latency 1` prints its address in one line and serves until its
standard input ends or it is killed; GET /count tells how many requests came.
"""

import argparse
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "ok": (200, "", ""),
    "rate-limit": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "quota": (
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server-error": (500, "server_error", "The server had an error while processing your request."),
    "tells-the-key": (500, "server_error", "KEY is not known to the backend."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "unauthorized": (401, "invalid_api_key", "Incorrect API key provided: sk-very-secret."),
    "forbidden": (403, "permission_error", "This key may not use this model."),
    "not-found": (404, "model_not_found", "The model `nosuch` does not exist or you do not have access to it."),
    "no-credit": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "too-many-images": (400, "BadRequestError", "At most 4 image(s) may be provided in one prompt."),
    "too-large": (413, "request_too_large", "Request exceeds the maximum size"),
    "too-long": (400, "context_length_exceeded", "This model's maximum context length is 4096 tokens."),
    "policy": (400, "content_policy_violation", "Rejected by our safety system: content filtering policy."),
    "bad-parameter": (
        400,
        "unsupported_parameter",
        "Unsupported parameter: 'temperature' is not supported for this model.",
    ),
    # below: answers of status 200 that are not what was asked for
    "refusal": (200, "", ""),
    "content-filter": (200, "", ""),
    "truncated": (200, "", ""),
    "empty": (200, "", ""),
    "malformed": (200, "", ""),
    "no-choices": (200, "", ""),
    "web-page": (200, "", ""),
    "cut": (200, "", ""),  # the connection ends in the middle of the answer, streamed or not
    "drop": (200, "", ""),  # the connection ends before a word is said
    "hang": (200, "", ""),  # nothing is said until the server ends
    "hang-midway": (200, "", ""),  # a stream's first words, then nothing
    "unfinished": (200, "", ""),  # a stream's first words, then its end, without a reason
    "stream-error": (200, "", ""),  # a stream's first words, then an error event
}


_BROKEN = ("cut", "hang-midway", "stream-error", "malformed", "unfinished")
"""Streams that end after two pieces."""


@dataclass(frozen=True)
class Fault:
    """What becomes of one request."""

    kind: str
    """One of `KINDS`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the response: {"retry-after": "1"}, {"retry-after-ms": "10"}."""


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes = field(repr=False)
    """Empty where bodies are not kept."""
    at_s: float
    """`time.monotonic()` when it was read."""

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


class FaultServer:
    """Serves on 127.0.0.1 between `with` and its end; see the module for how to use it."""

    def __init__(
        self,
        latency_s: float = 0.0,
        script: Sequence[str | Fault] = (),
        *,
        answer: Callable[[dict[str, Any]], str] | str = "It is <OBJ012>, next to <OBJ003>.",
        forever: str | Fault = "ok",
        keep_bodies: bool = True,
    ) -> None:
        """
        Args:
            latency_s: how long every answer takes.
            script: what becomes of the first requests, in the order in which they come.
            answer: the text, or what makes it from the request's JSON body.
            forever: what becomes of all requests after the script.
            keep_bodies: without, `requests` holds no bodies and they are not even parsed, so that the server is light.
        """
        self.latency_s = latency_s
        self.answer = answer
        self.keep_bodies = keep_bodies
        self.requests: list[Received] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._script = [_fault(item) for item in script]
        self._forever = _fault(forever)
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """The base URL for OpenAI's client."""
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        """The base URL for Anthropic's client, which adds /v1 itself."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "FaultServer":
        self._thread.start()
        return self

    def stop(self) -> None:
        self.ending.set()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> "FaultServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def next_fault(self, received: Received) -> Fault:
        with self._lock:
            self.requests.append(received)
            return self._script.pop(0) if self._script else self._forever

    def enter(self, step: int) -> None:
        with self._lock:
            self.in_flight += step
            self.most_in_flight = max(self.most_in_flight, self.in_flight)


def _fault(item: str | Fault) -> Fault:
    made = Fault(item) if isinstance(item, str) else item
    if made.kind not in KINDS:
        raise ValueError(f"no fault is called {made.kind!r}; there are {', '.join(KINDS)}")
    return made


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: FaultServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def owner(self) -> FaultServer:
        assert isinstance(self.server, _Http)
        return self.server.owner

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests` instead."""

    def do_GET(self) -> None:
        owner = self.owner
        if self.path == "/count":
            self._send_json(200, {"requests": len(owner.requests), "most_in_flight": owner.most_in_flight})
        elif self.path.endswith("/models"):
            self._send_json(200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "tests"}]})
        else:
            self._send_json(404, {"error": {"message": f"no such path {self.path}"}})

    def do_POST(self) -> None:
        owner = self.owner
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, raw if owner.keep_bodies else b"", time.monotonic())
        fault = owner.next_fault(received)
        owner.enter(1)
        try:
            self._reply(fault, raw)
        finally:
            owner.enter(-1)

    def _reply(self, fault: Fault, raw: bytes) -> None:
        owner = self.owner
        body = (
            json.loads(raw)
            if owner.keep_bodies
            else {"model": "m", "stream": re.search(rb'"stream": ?true', raw) is not None}
        )
        if owner.latency_s:
            owner.ending.wait(owner.latency_s)
        if fault.kind in ("hang", "drop"):
            if fault.kind == "hang":
                owner.ending.wait()
            self._hang_up()
            return
        if fault.kind == "web-page":
            self._send(200, b"<!doctype html><title>Hello</title>", "text/html", fault.headers)
            return
        api = _OpenAI if self.path.endswith("/chat/completions") else _Anthropic
        status, code, message = KINDS[fault.kind]
        if status != 200:
            message = message.replace("KEY", self.headers["authorization"] or "")
            self._send_json(status, api.error(status, code, message), fault.headers)
            return
        text = owner.answer if isinstance(owner.answer, str) else owner.answer(body)
        if body.get("stream"):
            self._send_stream(api.stream(body, fault.kind, text), fault)
            return
        sent = json.dumps(api.whole(body, fault.kind, text)).encode()
        if fault.kind == "malformed":
            sent = sent[: len(sent) // 2]
        self._send(200, sent, "application/json", fault.headers, cut=fault.kind == "cut")

    def _send_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", headers or {})

    def _send(self, status: int, sent: bytes, kind: str, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(sent)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent[: len(sent) // 2] if cut else sent)
        if cut:
            self._hang_up()

    def _send_stream(self, events: Iterator[str], fault: Fault) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            sent = event.encode()
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
        if fault.kind == "hang-midway":
            self.owner.ending.wait()
        if fault.kind in ("cut", "hang-midway"):
            self._hang_up()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _shown(body: Mapping[str, Any]) -> tuple[int, int]:
    """How many images and how many characters of text a request shows."""
    images = letters = 0
    for message in body.get("messages", []):
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            images += part["type"] in ("image", "image_url")
            letters += len(part.get("text", ""))
    return images, letters


def _pieces(text: str, kind: str) -> list[str]:
    """An answer in pieces of at most seven letters, as a stream brings it."""
    pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
    return pieces[:2] if kind in _BROKEN else pieces


def _said(kind: str, text: str) -> str:
    return {"truncated": text[:12], "empty": "", "refusal": "", "content-filter": ""}.get(kind, text)


class _OpenAI:
    """What OpenAI's chat completions answer."""

    @staticmethod
    def error(status: int, code: str, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": code, "param": None, "code": code}}

    @staticmethod
    def usage(body: Mapping[str, Any], text: str) -> dict[str, Any]:
        images, letters = _shown(body)
        read, written = 85 * images + letters // 4, max(1, len(text) // 4)
        details = {"cached_tokens": 85 * max(0, images - 1)}
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": details,
        }

    @classmethod
    def whole(cls, body: Mapping[str, Any], kind: str, text: str) -> dict[str, Any]:
        said = _said(kind, text)
        message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": None}
        if kind == "refusal":
            message.update(content=None, refusal="I can't help with that.")
        choice = {"index": 0, "message": message, "finish_reason": cls.finish(kind)}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": f"{body['model']}-2026-01-01",
            "choices": [] if kind == "no-choices" else [choice],
            "usage": cls.usage(body, said),
        }

    @staticmethod
    def finish(kind: str) -> str:
        return {"truncated": "length", "content-filter": "content_filter"}.get(kind, "stop")

    @classmethod
    def stream(cls, body: Mapping[str, Any], kind: str, text: str) -> Iterator[str]:
        def event(**more: Any) -> str:
            head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
            model = f"{body['model']}-2026-01-01"
            return f"data: {json.dumps({**head, 'model': model, **more})}\n\n"

        def delta(said: dict[str, Any], finish: str | None = None) -> str:
            return event(choices=[{"index": 0, "delta": said, "finish_reason": finish}])

        yield delta({"role": "assistant", "content": ""})
        if kind == "refusal":
            yield delta({"refusal": "I can't help with that."})
        for piece in _pieces(_said(kind, text), kind):
            yield delta({"content": piece})
        if kind == "stream-error":
            yield f"data: {json.dumps(cls.error(500, 'server_error', 'The engine died.'))}\n\n"
        if kind == "malformed":
            yield 'data: {"choices": [{"del\n\n'
        if kind in _BROKEN:
            return
        yield delta({}, cls.finish(kind))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield event(choices=[], usage=cls.usage(body, _said(kind, text)))
        yield "data: [DONE]\n\n"


class _Anthropic:
    """What Anthropic's messages answer."""

    @staticmethod
    def error(status: int, code: str, message: str) -> dict[str, Any]:
        names = {
            401: "authentication_error",
            402: "billing_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
        }
        names |= {400: "invalid_request_error", 413: "request_too_large", 500: "api_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": names[status], "message": message}, "request_id": "req_1"}

    @staticmethod
    def usage(body: Mapping[str, Any], text: str) -> dict[str, int]:
        images, letters = _shown(body)
        return {
            "input_tokens": letters // 4,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 342 * images,
            "output_tokens": max(1, len(text) // 4),
        }

    @classmethod
    def whole(cls, body: Mapping[str, Any], kind: str, text: str) -> dict[str, Any]:
        said = _said(kind, text)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": f"{body['model']}-20260101",
            "content": [{"type": "text", "text": said}] if said and kind != "no-choices" else [],
            "stop_reason": cls.stop(kind),
            "stop_sequence": None,
            "usage": cls.usage(body, said),
        }

    @staticmethod
    def stop(kind: str) -> str:
        stops = {"truncated": "max_tokens", "refusal": "refusal", "content-filter": "refusal"}
        return stops.get(kind, "end_turn")

    @classmethod
    def stream(cls, body: Mapping[str, Any], kind: str, text: str) -> Iterator[str]:
        def event(name: str, **more: Any) -> str:
            return f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n"

        said = _said(kind, text)
        usage = cls.usage(body, said)
        start = {
            **cls.whole(body, kind, text),
            "content": [],
            "stop_reason": None,
            "usage": {**usage, "output_tokens": 1},
        }
        yield event("message_start", message=start)
        if said:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in _pieces(said, kind):
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        if kind == "stream-error":
            yield event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        if kind == "malformed":
            yield 'event: content_block_delta\ndata: {"type": "content_bl\n\n'
        if kind in _BROKEN:
            return
        if said:
            yield event("content_block_stop", index=0)
        stopped = {"stop_reason": cls.stop(kind), "stop_sequence": None}
        yield event("message_delta", delta=stopped, usage={"output_tokens": usage["output_tokens"]})
        yield event("message_stop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--script", nargs="*", default=[], help=f"of {', '.join(KINDS)}")
    parser.add_argument("--answer", default="It is <OBJ012>, next to <OBJ003>.")
    asked = parser.parse_args()
    server = FaultServer(asked.latency, asked.script, answer=asked.answer, keep_bodies=False).start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
