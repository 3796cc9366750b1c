"""What the adapters of hosted models share: the SDK's client, one call with its retries, and what its errors mean."""

import json
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from bev.errors import UserError, require
from gpt4scene.vlm.access import is_own_server
from gpt4scene.vlm.calls import Calls, OnText
from gpt4scene.vlm.image_bytes import EncodedImage, ImageEncoder, ImageLimits
from gpt4scene.vlm.prices import price_of
from gpt4scene.vlm.protocol import Price, Reply, Request, TokenRange, Usage, ViewSize
from gpt4scene.vlm.tokens import estimate_tokens
from gpt4scene.vlm.view_sizes import view_size_of

THINKING_TOKENS = 4096
"""Room for hidden reasoning on top of an answer's tokens, which providers count together: without it a model that
reasons uses up the 512 tokens of an answer before its first visible word, and is paid for nothing."""

_MARK = f"image-{secrets.token_hex(16)}"
"""Stands for the base64 of an image while a body is written; drawn anew in each process, so that no text holds it."""


class HostedVLM(ABC):
    """A model behind a provider's official SDK, whose retries are the only ones.

    Nothing is imported, looked up or sent before the first question. Keys come from the environment alone, and are
    neither kept here nor shown. May be used from many threads at once.
    """

    provider: ClassVar[str]
    """Also the name of the SDK's module and of the extra that brings it."""
    batch_size = 1
    _streaming: ClassVar[Mapping[str, Any]] = {"stream": True}
    """What a body says besides when the answer is to come in pieces."""

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str,
        *,
        key_variable: str,
        limits: ImageLimits,
        in_flight: int,
        timeout_s: float,
        max_retries: int,
    ) -> None:
        self.name = name
        self.model = model
        self.base_url = base_url
        self.key_variable = key_variable
        self.identity = f"{self.provider} {base_url} {model}"
        self.view_size: ViewSize = view_size_of(model)
        self.price: Price | None = price_of(self.provider, model, base_url)
        self.in_flight = in_flight
        self.prefix_discount = True
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self._images = ImageEncoder(limits, base_url)
        self._calls = Calls()
        self._lock = threading.Lock()
        self._client: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, base_url={self.base_url!r})"

    @abstractmethod
    def read(self, response: Mapping[str, Any]) -> Reply:
        """What the JSON body of a response says."""

    @abstractmethod
    def thinks(self) -> bool:
        """Whether the model reasons out of sight unless it is told not to."""

    @abstractmethod
    def _key(self) -> str:
        """The key from the environment, by `access.key_in`; a UserError names the variable that is missing."""

    @abstractmethod
    def _connect(self, sdk: Any, key: str) -> Any:
        """The SDK's client."""

    @abstractmethod
    def _wire(self, request: Request, encoded: Sequence[EncodedImage]) -> dict[str, Any]:
        """See `wire`."""

    @abstractmethod
    def _send(self, client: Any, body: bytes) -> object:
        """The JSON body of the response."""

    @abstractmethod
    def _stream(self, client: Any, body: bytes, said: list[str], say: OnText) -> Mapping[str, Any]:
        """The JSON body that would have come at once, put together from a stream; its text goes to `say` as it comes,
        and into `said`, so that it is there when the stream breaks."""

    @abstractmethod
    def _reply_to(self, error: Any, said: str, images: int) -> Reply | None:
        """What an answer of status 4xx or 5xx means with this provider; None: what it means everywhere.

        Raises:
            UserError: no other question would be answered either. `from None`: the SDK's error holds the server's
                words as they came, and servers repeat keys.
        """

    def wire(self, request: Request) -> dict[str, Any]:
        """The JSON body of a request.

        Raises:
            UserError: the model takes no temperature, or the images do not fit the server's limits.
        """
        return self._wire(request, self._images.encode(request.conversation.images))

    def estimate(self, request: Request) -> TokenRange:
        """Input tokens of a request, without network."""
        return estimate_tokens(request, provider=self.provider, model=self.model, base_url=self.base_url)

    def max_output_tokens(self, request: Request) -> int:
        """The most that the model may write and be paid for, hidden reasoning included."""
        return request.max_new_tokens + (THINKING_TOKENS if self.thinks() else 0)

    def reply(self, requests: Sequence[Request], on_text: OnText | None = None) -> list[Reply]:
        """Answer one request; see the protocol."""
        (request,) = requests
        self.client()
        key, sdk = self._key(), require(self.provider, self.provider)

        def call(say: OnText) -> Reply:
            return self._ask(sdk, request, key, say if on_text else None)

        return [self._calls.run(call, on_text, self.model)]

    def client(self) -> Any:
        """The SDK's client, made at the first call; for many threads at once.

        Raises:
            UserError: there is no key, or the SDK is not installed.
        """
        key, sdk = self._key(), require(self.provider, self.provider)
        with self._lock:
            if self._client is None:
                self._client = self._connect(sdk, key)
            return self._client

    def why(self, error: Exception) -> str:
        """In one line, why a call of the SDK's client failed that may succeed later.

        Raises:
            UserError: it would fail again.
        """
        sdk = require(self.provider, self.provider)
        if isinstance(error, sdk.APIStatusError):
            return self._why_refused(error, message_of(error, self._key()))
        return self._why_lost(error)

    def close(self) -> None:
        """Give up the calls under way; they come back failed at once."""
        with self._lock:
            if self._client is not None:
                self._client.close()
        self._calls.close()

    def _ask(self, sdk: Any, request: Request, key: str, say: OnText | None) -> Reply:
        import httpx2

        images = request.conversation.images
        while True:
            quality = self._images.quality(images)
            body = self._written(request, stream=say is not None)
            said: list[str] = []
            try:
                response = self._stream(self._client, body, said, say) if say else self._send(self._client, body)
                return self._understand(response)
            except sdk.APIStatusError as error:
                if error.status_code == 413 and self._images.lower(images, quality):
                    continue
                text = message_of(error, key)
                return self._reply_to(error, text, len(images)) or self._turned_away(said, error, text)
            except sdk.APIConnectionError as error:
                return self._failed(said, self._why_lost(error))
            except sdk.APIError as error:
                return self._failed(said, f"an error in the middle of the answer: {message_of(error, key)}")
            except httpx2.RequestError as error:  # which not every SDK wraps while it streams
                return self._failed(said, self._why_lost(error))
            except (json.JSONDecodeError, UnicodeDecodeError):
                return self._failed(said, "the server's answer is not JSON")

    def _written(self, request: Request, *, stream: bool) -> bytes:
        """The body as JSON. Nearly all of it is base64, which needs no escaping: it is put between what is written of
        the rest, for a third of the processor time that the SDK takes to write 33 images."""
        encoded = self._images.encode(request.conversation.images)
        body = self._wire(request, [EncodedImage(image.media_type, _MARK) for image in encoded])
        rest = (
            json.dumps({**body, **(self._streaming if stream else {})}, allow_nan=False).encode().split(_MARK.encode())
        )
        assert len(rest) == len(encoded) + 1
        pieces = [rest[0]]
        for image, after in zip(encoded, rest[1:], strict=True):
            pieces += image.data.encode("ascii"), after
        return b"".join(pieces)

    def _turned_away(self, said: Sequence[str], error: Any, text: str) -> Reply:
        """Of a question that was not answered, and so costs nothing unless some of an answer had come."""
        failed = self._failed(said, self._why_refused(error, text))
        return failed if said else replace(failed, usage=Usage(0, 0))

    def _failed(self, said: Sequence[str], why: str) -> Reply:
        return Reply("".join(said), "failed", self.model, why=why)

    def _understand(self, response: object) -> Reply:
        if isinstance(response, Mapping):
            return self.read(response)
        if isinstance(response, str) and response.lstrip().startswith("<"):
            raise self._web_page()
        return self._failed((), "the server's answer is no JSON object")

    def _check_stream(self, response: Any) -> None:
        """Complain of a web page, of which the SDKs make a stream that holds nothing; takes httpx2's response."""
        if response.headers.get("content-type", "").startswith("text/html"):
            raise self._web_page()

    def _web_page(self) -> UserError:
        return UserError(f"{self.name}: {self.base_url} answers with a web page; is this the address of its API?")

    def _why_lost(self, error: BaseException) -> str:
        """In one line, why a connection brought no answer.

        Raises:
            UserError: there was none.
        """
        import httpx2

        causes = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        for cause in causes:
            if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise self._no_server(one_line(str(cause) or "no connection in time", limit=100)) from error
        if any(isinstance(cause, httpx2.TimeoutException) for cause in causes):
            return f"no answer within {self.timeout_s:g} s"
        return "the connection ended before the answer did"

    def _no_server(self, reason: str) -> UserError:
        mend = (
            "start it, or mend the address"
            if is_own_server(self.base_url)
            else "look after the network, or the address"
        )
        return UserError(f"{self.name}: no server answers at {self.base_url} ({reason}); {mend}")

    def _why_refused(self, error: Any, said: str) -> str:
        """In one line, why a server did not answer a single question.

        Raises:
            UserError: the key, the account, the address or the size is to blame, so that none would be answered.
        """
        status, where = error.status_code, f"{self.name}: {self.base_url}"
        stops = {
            401: f"does not accept the key in {self.key_variable} (HTTP 401); set a valid one",
            402: f"wants to be paid first (HTTP 402: {said})",
            403: f"does not let the key in {self.key_variable} use this model (HTTP 403: {said})",
            404: f"has no model {self.model!r}, or is no address of such an API (HTTP 404: {said})",
            405: f"has no model {self.model!r}, or is no address of such an API (HTTP 405: {said})",
            413: "takes no request as large as this, even with its images as JPEG of the lowest quality (HTTP 413); "
            "show fewer frames (--preset), or raise the server's limit",
        }
        if status in stops:
            raise UserError(f"{where} {stops[status]}") from None  # as in `_reply_to`
        attempts = f"after {self.max_retries + 1} attempts" if self.max_retries else "at the only attempt"
        if status == 429:
            return f"too many requests, {attempts} (HTTP 429: {said}); --in-flight asks fewer at once"
        if status >= 500 or status in (408, 409):
            return f"the server failed, {attempts} (HTTP {status}: {said})"
        if status < 400:
            return f"an error in the middle of the answer: {said}"
        return f"the server refused the request (HTTP {status}: {said})"


def one_line(text: object, secret: str = "", limit: int = 300) -> str:
    """A server's message in one line without the key, cut where it goes on and on."""
    line = " ".join(str(text).split())
    if len(secret) > 4:
        line = line.replace(secret, "***")
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def message_of(error: Any, secret: str = "") -> str:
    """What the server said in an SDK's `APIError`, in one line."""
    said = error.body
    for key in ("error", "message"):
        if isinstance(said, Mapping):
            said = said.get(key, said)
    text = str(said or "").strip()
    return one_line("a web page" if text.startswith("<") else text or "no reason given", secret)
