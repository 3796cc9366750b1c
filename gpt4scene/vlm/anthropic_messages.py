"""Models behind Anthropic's messages."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image
from gpt4scene.vlm.access import check_address, key_in
from gpt4scene.vlm.calls import OnText
from gpt4scene.vlm.hosted import HostedVLM, one_line
from gpt4scene.vlm.image_bytes import EncodedImage, ImageLimits
from gpt4scene.vlm.protocol import Reply, Request, Usage

ANTHROPIC_URL = "https://api.anthropic.com"

_KEY_VARIABLE, _URL_VARIABLE = "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"
_IMAGE_BYTES, _REQUEST_BYTES = 5_000_000, 32_000_000
"""platform.claude.com/docs/en/build-with-claude/vision: 32 MB in a request, 600 images, or 100 where the context is
200,000 tokens. The limit on an image is the lowest that it ever stated."""
_STOPS = re.compile(
    r"credit balance|usage limits|too many images|extra inputs are not permitted|for this model", re.IGNORECASE
)
"""In messages of errors 400 that every other question would meet too."""


class AnthropicMessages(HostedVLM):
    """A model of Anthropic's.

    What precedes the question is marked for the provider's cache: the first question about a scene pays a quarter
    more for it, each of the others within five minutes a tenth.
    """

    provider = "anthropic"

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str | None = None,
        *,
        in_flight: int = 16,
        timeout_s: float = 300.0,
        max_retries: int = 4,
    ) -> None:
        """
        Args:
            name: as the user names the model.
            model: as Anthropic names it.
            base_url: of the API, without /v1; None: ANTHROPIC_BASE_URL, or Anthropic's.
            in_flight: how many questions may be under way at once.
            timeout_s: how long the server may stay silent.
            max_retries: further attempts that the SDK makes after 408, 409, 429, 5xx, silence and lost connections,
                when the server's Retry-After says, or after 0.5 s, 1 s, 2 s ...
        """
        preset = os.environ.get(_URL_VARIABLE, "").strip()
        check_address(base_url or preset or ANTHROPIC_URL, variable="" if base_url else _URL_VARIABLE)
        super().__init__(
            name,
            model,
            (base_url or preset or ANTHROPIC_URL).rstrip("/"),
            key_variable=_KEY_VARIABLE,
            limits=ImageLimits(100 if _generation(model) <= (4, 5) else 600, _IMAGE_BYTES, _REQUEST_BYTES),
            in_flight=in_flight,
            timeout_s=timeout_s,
            max_retries=max_retries,
        )

    def thinks(self) -> bool:
        """Whether it reasons by default, as Claude 5 and later do."""
        return _generation(self.model) >= (5, 0)

    def _wire(self, request: Request, encoded: Sequence[EncodedImage]) -> dict[str, Any]:
        if request.temperature is not None:
            # abolished for all models by version 2026-10-21 (platform.claude.com/docs/en/api/versioning)
            raise UserError(f"{self.name}: this model takes no temperature; leave it out")
        images = iter(encoded)
        system: list[dict[str, Any]] = []
        messages: list[dict[str, Any]] = []
        for message in request.conversation.messages:
            blocks: list[dict[str, Any]] = []
            for part in message.parts:
                if isinstance(part, Image):
                    image = next(images)
                    source = {"type": "base64", "media_type": image.media_type, "data": image.data}
                    blocks.append({"type": "image", "source": source})
                elif part.text:  # an empty block is an error
                    blocks.append({"type": "text", "text": part.text})
            if message.role == "system":
                system = blocks
            else:
                messages.append({"role": message.role, "content": blocks})
        shown = [block for block in messages[0]["content"] if block["type"] == "image"]
        for block in (shown or system)[-1:]:
            block["cache_control"] = {"type": "ephemeral"}
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.max_output_tokens(request)}
        if system:
            body["system"] = system
        if request.json_schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(request.json_schema)}}
        return {**body, "messages": messages}

    def read(self, response: Mapping[str, Any]) -> Reply:
        """What the JSON body of a response says."""
        model, usage = str(response.get("model") or self.model), _usage(response.get("usage"))
        blocks = response.get("content")
        if not isinstance(blocks, list):
            return Reply("", "failed", model, usage, "the server's answer holds no content")
        text = "".join(block.get("text") or "" for block in blocks if block.get("type") == "text")
        stopped = response.get("stop_reason")
        if stopped == "refusal":
            details = response.get("stop_details") or {}
            why = details.get("explanation") or details.get("category") or "the model refused to answer"
            return Reply(text, "refused", model, usage, one_line(why))
        if stopped in ("max_tokens", "model_context_window_exceeded"):
            written = f" after {usage.output_tokens} tokens" if usage else ""
            why = f"cut{written}"
            return Reply(text, "truncated", model, usage, why)
        if not text.strip():
            return Reply(text, "failed", model, usage, "the answer is empty")
        return Reply(text, "answered", model, usage)

    def _key(self) -> str:
        key = key_in(_KEY_VARIABLE)
        if not key:
            raise UserError(f"{self.name}: no key for Anthropic: set the environment variable {_KEY_VARIABLE}")
        return key

    def _connect(self, sdk: Any, key: str) -> Any:
        logger = logging.getLogger("anthropic._base_client")
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)  # below, it writes whole bodies
        return sdk.Anthropic(
            api_key=key,
            base_url=self.base_url,
            timeout=sdk.Timeout(self.timeout_s, connect=10.0),
            max_retries=self.max_retries,
        )

    def _send(self, client: Any, body: bytes) -> object:
        return client.post("/v1/messages", cast_to=object, content=body)

    def _stream(self, client: Any, body: bytes, said: list[str], say: OnText) -> Mapping[str, Any]:
        import anthropic

        response: dict[str, Any] = {"usage": {}}
        with client.post(
            "/v1/messages",
            cast_to=object,
            content=body,
            stream=True,
            stream_cls=anthropic.Stream[object],
        ) as events:
            self._check_stream(events.response)
            for event in events:
                if event["type"] == "message_start":
                    response |= event["message"]
                elif event["type"] == "message_delta":
                    usage = {key: value for key, value in (event.get("usage") or {}).items() if value is not None}
                    response |= {**event["delta"], "usage": {**(response["usage"] or {}), **usage}}
                elif event["type"] == "content_block_delta" and (piece := event["delta"].get("text")):
                    said.append(piece)
                    say(piece)
            if response.get("stop_reason") is None:
                raise anthropic.APIConnectionError(request=events.response.request)
        return {**response, "content": [{"type": "text", "text": "".join(said)}]}

    def _reply_to(self, error: Any, said: str, images: int) -> Reply | None:
        if error.status_code != 400:
            return None
        if _STOPS.search(said):
            raise UserError(
                f"{self.name}: {self.base_url} would refuse every such request (HTTP 400: {said})"
            ) from None
        if "content filtering policy" in said:
            return Reply("", "refused", self.model, Usage(0, 0), said)
        return None


def _generation(model: str) -> tuple[int, int]:
    """(4, 8) of claude-opus-4-8, (5, 0) of claude-sonnet-5, (3, 5) of claude-3-5-haiku-20241022; the newest of a name
    without a number."""
    found = re.search(r"-(\d{1,2})(?:-(\d{1,2}))?(?!\d)", model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _usage(usage: object) -> Usage | None:
    """Anthropic counts what it read from its cache, and wrote to it, apart from the other input tokens."""
    if not isinstance(usage, Mapping) or usage.get("input_tokens") is None:
        return None
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return Usage(usage["input_tokens"] + read + written, usage.get("output_tokens") or 0, read, written)
