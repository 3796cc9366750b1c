"""What every kind of model takes and gives, hosted or local."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from gpt4scene.prompting.conversation import Conversation

ReplyOutcome = Literal["answered", "refused", "truncated", "failed"]


@dataclass(frozen=True)
class Request:
    """One question to a model, with everything that its answer depends on."""

    conversation: Conversation
    """Ends with the user's turn."""
    max_new_tokens: int = 512
    temperature: float | None = None
    """None: as deterministic as the model can be, 0 where it takes a temperature at all."""
    json_schema: Mapping[str, Any] | None = None
    """The answer must be JSON of this schema."""
    repeat: int = 0
    """Which of several sampled answers to the same question; part of the cache's key, not sent."""

    def __post_init__(self) -> None:
        if not self.conversation.messages or self.conversation.messages[-1].role != "user":
            raise ValueError("a request's conversation must end with the user's turn")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, got {self.max_new_tokens}")


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, as the provider counts them."""

    input_tokens: int
    """All that was read, those from the provider's cache included."""
    output_tokens: int
    """All that was written, hidden reasoning included."""
    cached_input_tokens: int = 0
    """Of `input_tokens`, those read from the provider's prefix cache at a discount."""
    cache_write_tokens: int = 0
    """Of `input_tokens`, those written to the provider's prefix cache at a surcharge (Anthropic)."""


@dataclass(frozen=True)
class Reply:
    """What a model said to one request."""

    text: str
    outcome: ReplyOutcome
    """"truncated": cut at `max_new_tokens`; "failed": no answer came, `why` says what did."""
    model: str
    """The dated model that answered, as the provider names it."""
    usage: Usage | None = None
    """None where the provider did not say."""
    why: str = ""
    """One line on what went wrong; empty when answered."""


@dataclass(frozen=True)
class TokenRange:
    """How many input tokens a request takes: both ends are equal where the provider's rule leaves no doubt."""

    low: int
    high: int


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float
    cache_write: float
    """Input that is written to the provider's cache; equal to `input` where that costs nothing more."""
    as_of: str
    """ISO date of the price list; "" where nothing is charged."""
    over: "tuple[int, Price] | None" = None
    """Above how many input tokens a whole request costs more, and what; None: prices are the same at any length."""

    def at(self, input_tokens: int) -> "Price":
        """The prices of a request with that much input."""
        return self.over[1] if self.over is not None and input_tokens > self.over[0] else self


@dataclass(frozen=True)
class ViewSize:
    """At which size a model takes images without resampling them, as `Scene.views` wants it."""

    width: int
    """Pixels, of a view that is wider than high; a view that is higher than wide has the two turned."""
    height: int
    """Pixels, likewise."""
    multiple_of: int
    """What the sides must be multiples of."""
    longest_px: int | None = None
    """The side from which on an image is scaled down, which a grid of views must stay within; None: there is none."""


@runtime_checkable
class VLM(Protocol):
    """A model that answers questions about images."""

    name: str
    """As the user names it: "openai:gpt-4o"."""
    identity: str
    """What its answers depend on besides the request: provider, address, model, the files of local weights. Part of
    the cache's key; holds no secret."""
    view_size: ViewSize
    price: Price | None
    """None: not known. Local models cost nothing."""
    batch_size: int
    """How many requests of one image prefix a call of `reply` takes at most; 1 for hosted models."""
    in_flight: int
    """How many calls of `reply` may run at once; 1 for models in this process."""
    prefix_discount: bool
    """Whether it pays to have one answer of a scene before its other questions are sent."""

    def estimate(self, request: Request) -> TokenRange:
        """Input tokens of a request, without network."""
        ...

    def max_output_tokens(self, request: Request) -> int:
        """The most tokens that an answer is paid for, hidden reasoning included."""
        ...

    def reply(self, requests: Sequence[Request], on_text: Callable[[str], None] | None = None) -> list[Reply]:
        """Answer up to `batch_size` requests that share their image prefix, in order.

        Args:
            requests: of one prefix and the same parameters.
            on_text: called with each piece of text as it arrives; for a single request.

        Returns:
            One reply for each; what concerns a single question is a reply of its own outcome.

        Raises:
            UserError: what would fail for every other question too: no key, an unknown model, no such server.
        """
        ...

    def close(self) -> None:
        """End what is open; calls of `reply` that are under way fail soon."""
        ...
