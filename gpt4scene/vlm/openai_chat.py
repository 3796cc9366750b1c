"""Models behind OpenAI's chat completions: OpenAI's own, and any server that speaks the same protocol."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.openai_messages import to_openai
from gpt4scene.vlm.calls import OnText
from gpt4scene.vlm.hosted import HostedVLM, one_line
from gpt4scene.vlm.image_bytes import EncodedImage, ImageLimits
from gpt4scene.vlm.openai_access import NO_KEY, Address, refused_here
from gpt4scene.vlm.protocol import Reply, Request, Usage

_LIMITS = {
    # developers.openai.com/api/docs/guides/images-vision, "Image input requirements"
    "openai": ImageLimits(images=500, request_bytes=50_000_000),
    # the lowest that ai.google.dev and docs.cloud.google.com, "Image understanding", state for any current model
    "google": ImageLimits(images=900, image_bytes=7_000_000, request_bytes=20_000_000),
    "other": ImageLimits(),
}
REFUSALS = ("content_policy_violation", "content_filter", "invalid_prompt", "image_content_policy_violation")
"""Codes of errors 400 that are the model's refusal of one question."""
_SETTINGS = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "model_not_found", "invalid_model")
"""Codes of errors 400 that every other question would meet too."""


class OpenAIChat(HostedVLM):
    """A model of OpenAI's, or of a server that speaks its protocol."""

    provider = "openai"
    _streaming = MappingProxyType({"stream": True, "stream_options": {"include_usage": True}})

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str | None = None,
        *,
        in_flight: int = 16,
        timeout_s: float = 300.0,
        max_retries: int = 4,
        limits: ImageLimits | None = None,
    ) -> None:
        """
        Args:
            name: as the user names the model.
            model: as the server names it.
            base_url: of the server, with its /v1; None: OPENAI_BASE_URL, or OpenAI. See `openai_access` for keys.
            in_flight: how many questions may be under way at once.
            timeout_s: how long the server may stay silent.
            max_retries: further attempts that the SDK makes after 408, 409, 429, 5xx, silence and lost connections,
                when the server's Retry-After says, or after 0.5 s, 1 s, 2 s ...
            limits: of the server; None: OpenAI's and Google's as published, none for others.
        """
        self.address = Address.of(base_url)
        super().__init__(
            name,
            model,
            self.address.base_url,
            key_variable=self.address.key_variable,
            limits=limits or _LIMITS[self.address.owner],
            in_flight=in_flight,
            timeout_s=timeout_s,
            max_retries=max_retries,
        )
        self.prefix_discount = self.address.owner != "other"

    def thinks(self) -> bool:
        """Whether it is a model that reasons by default, by its name: OpenAI's, and Gemini since 2.5."""
        return bool(_generation(self.model)) or _gemini(self.model) >= (2, 5)

    def _wire(self, request: Request, encoded: Sequence[EncodedImage]) -> dict[str, Any]:
        conversation, official = request.conversation, self.address.owner == "openai"
        images = iter(encoded)
        messages = to_openai(conversation, image_url=lambda _: next(images).url)
        generation = _generation(self.model)
        body: dict[str, Any] = {"model": self.model, "messages": messages}
        # other servers know the older name alone, OpenAI's newer models the newer one
        limit = "max_completion_tokens" if official or generation else "max_tokens"
        body[limit] = self.max_output_tokens(request)
        if not generation:
            body["temperature"] = request.temperature or 0
        elif request.temperature is not None:
            raise UserError(f"{self.name}: this model takes no temperature; leave it out")
        if official:
            body["prompt_cache_key"] = conversation.prefix_key()[:32]  # leads to the machine that holds the prefix
        if official and generation >= (5, 6):
            _mark_prefix(messages)
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": dict(request.json_schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def read(self, response: Mapping[str, Any]) -> Reply:
        """What the JSON body of a response says."""
        model, usage = str(response.get("model") or self.model), _usage(response.get("usage"))
        choices = response.get("choices")
        if not choices:
            error = response.get("error")
            said = error.get("message", error) if isinstance(error, Mapping) else error
            return Reply("", "failed", model, usage, one_line(said or "the server's answer holds no choices"))
        message, finish = choices[0].get("message") or {}, choices[0].get("finish_reason")
        text = _text(message.get("content"))
        refusal = message.get("refusal")
        if refusal:
            return Reply(text or refusal, "refused", model, usage, one_line(refusal))
        if str(finish).startswith("content_filter"):  # Google adds which: "content_filter: RECITATION"
            return Reply(text, "refused", model, usage, "the server's content filter ended the answer")
        if finish == "length":
            written = f" after {usage.output_tokens} tokens" if usage else ""
            why = f"cut{written}"
            return Reply(text, "truncated", model, usage, why)
        if not text.strip():
            return Reply(text, "failed", model, usage, "the answer is empty")
        return Reply(text, "answered", model, usage)

    def _key(self) -> str:
        return self.address.key(self.name)

    def _connect(self, sdk: Any, key: str) -> Any:
        if reason := refused_here(self.address):
            raise self._no_server(reason)
        known = self.key_variable == "OPENAI_API_KEY"
        return sdk.OpenAI(
            api_key=key,
            base_url=self.base_url,
            timeout=sdk.Timeout(self.timeout_s, connect=10.0),
            max_retries=self.max_retries,
            # whose account it is at OpenAI is no business of other servers
            organization=None if known else "",
            project=None if known else "",
        )

    def _send(self, client: Any, body: bytes) -> object:
        return client.post("/chat/completions", cast_to=object, content=body)

    def _stream(self, client: Any, body: bytes, said: list[str], say: OnText) -> Mapping[str, Any]:
        import openai

        response: dict[str, Any] = {}
        refusal: list[str] = []
        finish = None
        with client.post(
            "/chat/completions", cast_to=object, content=body, stream=True, stream_cls=openai.Stream[object]
        ) as chunks:
            self._check_stream(chunks.response)
            for chunk in chunks:
                response |= {key: chunk[key] for key in ("model", "usage") if chunk.get(key)}
                for choice in chunk.get("choices") or ():
                    finish = choice.get("finish_reason") or finish
                    delta = choice.get("delta") or {}
                    refusal.append(delta.get("refusal") or "")
                    if piece := _text(delta.get("content")):
                        said.append(piece)
                        say(piece)
            if finish is None:
                raise openai.APIConnectionError(request=chunks.response.request)
        message = {"content": "".join(said), "refusal": "".join(refusal)}
        return {**response, "choices": [{"message": message, "finish_reason": finish}]}

    def _reply_to(self, error: Any, said: str, images: int) -> Reply | None:
        status, code, where = error.status_code, str(error.code or ""), f"{self.name}: {self.base_url}"
        if status == 401 and self._key() == NO_KEY:
            raise UserError(f"{where} wants a key (HTTP 401); set the environment variable {self.key_variable}")
        if code == "insufficient_quota":
            raise UserError(f"{where} has nothing left on the account (HTTP {status}: {said})") from None
        if status == 400 and re.search(r"at most \d+ image|limit-mm-per-prompt", said, re.IGNORECASE):
            raise UserError(
                f"{where} takes fewer than {images} images in a request ({said}); show fewer frames (--preset), or "
                f"start vLLM with --limit-mm-per-prompt '{{\"image\": {images}}}'"
            ) from None
        if status in (400, 403) and (code in REFUSALS or error.type in REFUSALS):
            return Reply("", "refused", self.model, Usage(0, 0), said)
        if status in (400, 422) and code in _SETTINGS:
            raise UserError(f"{where} would refuse every such request (HTTP {status}: {said})") from None
        return None


def _generation(model: str) -> tuple[int, ...]:
    """Of OpenAI's reasoning models, by name: (0, 3) for o3, (5, 6) for gpt-5.6; () for all others.

    They take `max_completion_tokens` alone, and of temperatures only the default (the SDK's
    `completion_create_params`; khoj-ai/khoj#1377 for gpt-5.6).
    """
    found = re.match(r"(?:o(\d)|gpt-([5-9]|\d\d)(?:\.(\d+))?)(?![\w.])", model.lower().rsplit("/", 1)[-1])
    if found is None:
        return ()
    return (0, int(found[1])) if found[1] else (int(found[2]), int(found[3] or 0))


def _gemini(model: str) -> tuple[int, int]:
    """(2, 5) of gemini-2.5-flash, (3, 0) of gemini-3-pro-preview; the newest of gemini-flash-latest; (0, 0) of others.

    Its thoughts count towards `max_tokens`, and are not in `completion_tokens` (vectorize-io/hindsight#3365 measured
    478 of 500 tokens; QuantumNous/new-api#1358).
    """
    found = re.search(r"gemini(?:-(\d+)(?:\.(\d+))?)?", model.lower())
    if found is None:
        return 0, 0
    return (int(found[1]), int(found[2] or 0)) if found[1] else (99, 0)


def _mark_prefix(messages: Sequence[Mapping[str, Any]]) -> None:
    """Mark the last image of the first user message: since gpt-5.6 a prefix is found again only where a request
    marked its end (developers.openai.com/api/docs/guides/prompt-caching)."""
    content = next(message["content"] for message in messages if message["role"] == "user")
    shown = [] if isinstance(content, str) else [part for part in content if part["type"] == "image_url"]
    if shown:
        shown[-1]["prompt_cache_breakpoint"] = {"mode": "explicit"}


def _text(content: object) -> str:
    """The text of a message, which some servers give in parts."""
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping) or usage.get("prompt_tokens") is None:
        return None
    details = usage.get("prompt_tokens_details") or {}
    read, written = usage["prompt_tokens"], usage.get("completion_tokens") or 0
    return Usage(
        input_tokens=read,
        # whatever else is in the total is hidden reasoning, which Google counts there alone and charges as output
        output_tokens=max(written, (usage.get("total_tokens") or 0) - read),
        cached_input_tokens=details.get("cached_tokens") or 0,
        cache_write_tokens=details.get("cache_write_tokens") or 0,
    )
