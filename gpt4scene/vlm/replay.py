"""Scripted replies from a file: for tests, demos and trying out prompts without a model."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from bev.errors import UserError
from gpt4scene.vlm.protocol import Price, Reply, ReplyOutcome, Request, TokenRange, Usage, ViewSize

_KEYS = ("match", "reply", "outcome", "usage")
_TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens")


@dataclass(frozen=True)
class ScriptedReply:
    """One line of a script."""

    text: str
    match: str | None = None
    """What the last user message's text must hold for this line to answer; None: it answers anything."""
    outcome: ReplyOutcome = "answered"
    usage: Usage | None = None


class ReplayVLM:
    """Answers from a JSONL file: the first line whose `match` is in the last user message's text.

    A line is {"reply": text, "match": text or left out, "outcome": "answered" | "refused" | "truncated" | "failed",
    "usage": {"input_tokens": n, "output_tokens": n}}; only "reply" must be there. Where no line matches, the reply has
    failed and says so.

    Raises:
        UserError: there is no such file, or one of its lines is no such object; says which.
    """

    price: Price | None = Price(0.0, 0.0, 0.0, 0.0, "")
    batch_size = 1
    prefix_discount = False

    def __init__(self, name: str, path: Path | str, *, in_flight: int = 1) -> None:
        self.name = name
        self.path = Path(path).expanduser()
        self.view_size = ViewSize(560, 420, 28)
        self.in_flight = in_flight
        data = _bytes(self.path)
        self.identity = f"replay sha256:{hashlib.sha256(data).hexdigest()}"
        self._script = _script(self.path, data)

    def estimate(self, request: Request) -> TokenRange:
        """What the line that will answer says of its input; 0 where it says nothing, as nothing is read."""
        line = self._line(request)
        tokens = line.usage.input_tokens if line and line.usage else 0
        return TokenRange(tokens, tokens)

    def max_output_tokens(self, request: Request) -> int:
        """As many as are asked for."""
        return request.max_new_tokens

    def reply(self, requests: Sequence[Request], on_text: Callable[[str], None] | None = None) -> list[Reply]:
        """The scripted replies; `on_text` gets them word by word."""
        replies = [self._reply(request) for request in requests]
        if on_text is not None:
            for reply in replies:
                for piece in re.findall(r"\s*\S+|\s+", reply.text):
                    on_text(piece)
        return replies

    def close(self) -> None:
        """Nothing is open."""

    def _line(self, request: Request) -> ScriptedReply | None:
        asked = request.conversation.messages[-1].text
        return next((line for line in self._script if line.match is None or line.match in asked), None)

    def _reply(self, request: Request) -> Reply:
        line = self._line(request)
        if line is None:
            asked = " ".join(request.conversation.messages[-1].text.split())
            shown = asked if len(asked) <= 80 else f"{asked[:80]}…"
            why = f'{self.path}: no line has a "match" that is in the question "{shown}"'
            return Reply("", "failed", self.name, None, why)
        why = "" if line.outcome == "answered" else f"{self.path} scripts this reply as {line.outcome}"
        return Reply(line.text, line.outcome, self.name, line.usage, why)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file; replay:FILE needs a JSONL file of scripted replies") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; replay:FILE needs a JSONL file of scripted replies") from error


def _script(path: Path, data: bytes) -> tuple[ScriptedReply, ...]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
    # not splitlines(), which also ends lines at characters that JSON allows within strings
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise UserError(f'{path}: holds no replies; write one JSON object per line, such as {{"reply": "Yes."}}')
    return tuple(_scripted(line, where=f"{path}, line {number}") for number, line in lines)


def _scripted(line: str, *, where: str) -> ScriptedReply:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: is not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: must be a JSON object such as {{"reply": "Yes."}}, found {type(row).__name__}')
    unknown = [key for key in row if key not in _KEYS]
    if unknown:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
    for key, needed in (("reply", True), ("match", False)):
        if (needed or row.get(key) is not None) and not isinstance(row.get(key), str):
            raise UserError(f"{where}: {key!r} must be a text, found {row.get(key)!r}")
    outcome = row.get("outcome", "answered")
    if outcome not in get_args(ReplyOutcome):
        raise UserError(f"{where}: 'outcome' must be one of {', '.join(get_args(ReplyOutcome))}, found {outcome!r}")
    usage = row.get("usage")
    return ScriptedReply(row["reply"], row.get("match"), cast(ReplyOutcome, outcome), _usage(usage, where=where))


def _usage(counts: Any, *, where: str) -> Usage | None:
    if counts is None:
        return None
    known = isinstance(counts, Mapping) and {"input_tokens", "output_tokens"} <= set(counts) <= set(_TOKENS)
    if not known or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise UserError(f"{where}: 'usage' must count {' and '.join(_TOKENS[:2])} in whole numbers, found {counts!r}")
    return Usage(**counts)
