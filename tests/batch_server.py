"""A loopback server that speaks OpenAI's files and batches and Anthropic's message batches, for tests.

    with BatchServer() as server:
        submit(OpenAIChat("openai:m", "m", server.url), ...)
        server.finish()

Batches run until `finish`; what becomes of a request is decided by `outcome`, by the text of its question.
"""

import json
import re
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ANSWER = "It is <OBJ012>."


def question(body: dict[str, Any]) -> str:
    """The last text of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


class BatchServer:
    """Serves on 127.0.0.1 between `with` and its end."""

    def __init__(self, outcome: Callable[[str], str] = lambda _: "ok") -> None:
        """
        Args:
            outcome: of a question: "ok", "error", "policy", "expired", "cancelled", "cut" or "missing" (told nowhere).
        """
        self.outcome = outcome
        self.files: dict[str, bytes] = {}
        self.batches: list[dict[str, Any]] = []
        """In the order of their creation; "requests" maps custom_id to body."""
        self.faults: list[str] = []
        """Of the next creations of batches: "ok", "drop-before", "drop-after", "500-after", a status such as "429"."""
        self.creations = 0
        self.largest_upload = 0
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def __enter__(self) -> "BatchServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def finish(self, status: str = "completed", *, only: int | None = None) -> None:
        """End the batches that run, or that one alone."""
        with self._lock:
            for number, batch in enumerate(self.batches):
                if batch["status"] == "in_progress" and only in (None, number):
                    batch["status"] = status

    def keys(self) -> list[str]:
        """Of all requests in all batches, as often as they were submitted."""
        return [key for batch in self.batches for key in batch["requests"]]

    def add(self, requests: dict[str, Any], **more: Any) -> dict[str, Any]:
        with self._lock:
            made = {
                "id": f"batch_{len(self.batches):03d}",
                "requests": requests,
                "status": "in_progress",
                "at": datetime.now(UTC),
                **more,
            }
            self.batches.append(made)
            return made

    def add_file(self, data: bytes) -> str:
        with self._lock:
            name = f"file_{len(self.files):03d}"
            self.files[name] = data
            self.largest_upload = max(self.largest_upload, len(data))
            return name

    def next_fault(self) -> str:
        with self._lock:
            self.creations += 1
            return self.faults.pop(0) if self.faults else "ok"

    def batch(self, name: str) -> dict[str, Any]:
        return next(batch for batch in self.batches if batch["id"] == name)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: BatchServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def owner(self) -> BatchServer:
        assert isinstance(self.server, _Http)
        return self.server.owner

    def log_message(self, format: str, *args: Any) -> None:
        """Not needed."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        if len(raw) < int(self.headers["content-length"]):
            return  # the client was killed in the middle
        path = urlsplit(self.path).path
        if path == "/v1/files":
            head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
            parts = {
                p.get_param("name", header="content-disposition"): p
                for p in BytesParser().parsebytes(head + raw).walk()
            }
            data = parts["file"].get_payload(decode=True)
            assert isinstance(data, bytes) and parts["purpose"].get_payload() == "batch"
            self._json(self._file(self.owner.add_file(data), len(data)))
        elif path == "/v1/batches":
            body = json.loads(raw)
            lines = [json.loads(line) for line in self.owner.files[body["input_file_id"]].splitlines() if line]
            assert all(line["url"] == body["endpoint"] and line["method"] == "POST" for line in lines)
            self._create(
                lines, "body", lambda batch: _openai(batch), **{k: body[k] for k in ("input_file_id", "metadata")}
            )
        elif path == "/v1/messages/batches":
            self._create(json.loads(raw)["requests"], "params", lambda batch: _anthropic(batch, self.owner))
        else:
            self._json({"error": {"message": f"no such path {path}"}}, 404)

    def do_GET(self) -> None:
        owner, parts = self.owner, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if found := re.fullmatch(r"/v1/files/(\w+)/content", parts.path):
            self._send(owner.files[found[1]], "application/octet-stream")
        elif parts.path == "/v1/batches":
            page, more = _page(owner.batches, query.get("after"))
            self._json({"object": "list", "data": [_openai(batch) for batch in page], "has_more": more})
        elif found := re.fullmatch(r"/v1/batches/(\w+)", parts.path):
            batch = owner.batch(found[1])
            if batch["status"] != "in_progress" and "outputs" not in batch:
                batch["outputs"] = self._outputs(batch)
            self._json(_openai(batch))
        elif parts.path == "/v1/messages/batches":
            page, more = _page(owner.batches, query.get("after_id"))
            ids = [batch["id"] for batch in page] or [None]
            data = [_anthropic(batch, owner) for batch in page]
            self._json({"data": data, "has_more": more, "first_id": ids[0], "last_id": ids[-1]})
        elif found := re.fullmatch(r"/v1/messages/batches/(\w+)/results", parts.path):
            lines = [_anthropic_result(owner, *item) for item in owner.batch(found[1])["requests"].items()]
            self._send("\n".join(json.dumps(line) for line in lines if line).encode(), "application/x-jsonl")
        elif found := re.fullmatch(r"/v1/messages/batches/(\w+)", parts.path):
            self._json(_anthropic(owner.batch(found[1]), owner))
        else:
            self._json({"error": {"message": f"no such path {parts.path}"}}, 404)

    def _create(
        self, lines: list[dict[str, Any]], field: str, told: Callable[[dict[str, Any]], Any], **more: Any
    ) -> None:
        fault = self.owner.next_fault()
        if fault.isdigit():
            self._json({"error": {"message": "not now", "type": "rate_limit_error"}}, int(fault))
            return
        if fault != "drop-before":
            batch = self.owner.add({line["custom_id"]: line[field] for line in lines}, **more)
            if fault == "ok":
                self._json(told(batch))
                return
        if fault == "500-after":
            self._json({"error": {"message": "something broke"}}, 500)
            return
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _outputs(self, batch: dict[str, Any]) -> tuple[str | None, str | None]:
        """Files of results and of errors, as OpenAI makes them; what a failed batch has not."""
        good, bad = [], []
        for key, body in batch["requests"].items():
            outcome = self.owner.outcome(question(body))
            if batch["status"] == "failed" or outcome == "missing":
                continue
            line = _openai_result(outcome, key, body, expired=batch["status"] == "expired")
            (good if line["response"] and line["response"]["status_code"] == 200 else bad).append(line)
        made = ["\n".join(json.dumps(line) for line in lines).encode() for lines in (good, bad)]
        results, errors = (self.owner.add_file(data) if data else None for data in made)
        return results, errors

    @staticmethod
    def _file(name: str, size: int) -> dict[str, Any]:
        return {
            "id": name,
            "object": "file",
            "bytes": size,
            "created_at": 1,
            "filename": "f",
            "purpose": "batch",
            "status": "processed",
        }

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, sent: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


def _page(batches: list[dict[str, Any]], after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Two at a time, the newest first, so that clients have to turn pages."""
    newest = batches[::-1]
    start = next((i + 1 for i, batch in enumerate(newest) if batch["id"] == after), 0)
    return newest[start : start + 2], start + 2 < len(newest)


def _openai(batch: dict[str, Any]) -> dict[str, Any]:
    results, errors = batch.get("outputs", (None, None))
    failed = {"data": [{"code": "token_limit", "message": "Enqueued token limit reached"}], "object": "list"}
    return {
        "id": batch["id"],
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "input_file_id": batch["input_file_id"],
        "metadata": batch["metadata"],
        "status": batch["status"],
        "created_at": int(batch["at"].timestamp()),
        "output_file_id": results,
        "error_file_id": errors,
        "errors": failed if batch["status"] == "failed" else None,
        "request_counts": {"total": len(batch["requests"]), "completed": 0, "failed": 0},
    }


def _openai_result(outcome: str, key: str, body: dict[str, Any], *, expired: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"id": f"r_{key[:6]}", "custom_id": key, "response": None, "error": None}
    if outcome == "expired" or expired:
        line["error"] = {"code": "batch_expired", "message": "This request could not be executed in time."}
    elif outcome in ("error", "policy"):
        code = {"error": "server_error", "policy": "content_policy_violation"}[outcome]
        said = {"error": {"message": f"it went wrong: {outcome}", "code": code}}
        line["response"] = {"status_code": 400 if outcome == "policy" else 500, "request_id": "q", "body": said}
    else:
        message = {"role": "assistant", "content": f"{question(body)} {ANSWER}"}
        finish = "length" if outcome == "cut" else "stop"
        line["response"] = {
            "status_code": 200,
            "request_id": "q",
            "body": {
                "id": "c",
                "object": "chat.completion",
                "model": f"{body['model']}-2026-01-01",
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                    "prompt_tokens_details": {"cached_tokens": 400},
                },
            },
        }
    return line


def _anthropic(batch: dict[str, Any], owner: BatchServer) -> dict[str, Any]:
    ended = batch["status"] != "in_progress"
    kinds = [owner.outcome(question(body)) for body in batch["requests"].values()]
    counts: dict[str, int] = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    names = {"error": "errored", "policy": "errored", "cancelled": "canceled", "expired": "expired"}
    for kind in kinds:
        counts[names.get(kind, "succeeded") if ended else "processing"] += 1
    at = batch["at"].isoformat()
    return {
        "id": batch["id"],
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": at,
        "expires_at": at,
        "ended_at": at if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{owner.root}/v1/messages/batches/{batch['id']}/results" if ended else None,
    }


def _anthropic_result(owner: BatchServer, key: str, params: dict[str, Any]) -> dict[str, Any] | None:
    outcome = owner.outcome(question(params))
    if outcome == "missing":
        return None
    result: dict[str, Any] = {"type": {"cancelled": "canceled", "expired": "expired"}.get(outcome, "succeeded")}
    if outcome in ("error", "policy"):
        said = "Output blocked by content filtering policy" if outcome == "policy" else "it went wrong: error"
        result = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": said}}}
    elif result["type"] == "succeeded":
        result["message"] = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": f"{params['model']}-20260101",
            "content": [{"type": "text", "text": f"{question(params)} {ANSWER}"}],
            "stop_reason": "max_tokens" if outcome == "cut" else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 600, "cache_read_input_tokens": 400, "output_tokens": 100},
        }
    return {"custom_id": key, "result": result}
