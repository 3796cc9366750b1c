"""What providers charged, as they published it: dated rows in US dollars per million tokens, standard processing."""

from dataclasses import dataclass

from gpt4scene.vlm.protocol import Price


@dataclass(frozen=True)
class Row:
    """Prices of one model from one day on."""

    input: float
    cached_input: float
    """What is read from the provider's prefix cache; the price of input where there is no discount."""
    output: float
    as_of: str
    """ISO date on which the price list was read."""
    write: float = 1.0
    """What is written to the prefix cache, as a multiple of input."""
    since: str = ""
    """ISO date from which it holds, where a later price is announced already."""
    long: tuple[int, float, float] | None = None
    """Requests of more input tokens than the first number cost this many times as much for input, and for output."""

    @property
    def price(self) -> Price:
        base = Price(self.input, self.output, self.cached_input, round(self.input * self.write, 6), self.as_of)
        if self.long is None:
            return base
        tokens, inputs, outputs = self.long
        dearer = Price(
            self.input * inputs,
            self.output * outputs,
            self.cached_input * inputs,
            round(self.input * self.write * inputs, 6),
            self.as_of,
        )
        return Price(base.input, base.output, base.cached_input, base.cache_write, self.as_of, (tokens, dearer))


_OCT = "2026-10-09"
_272K = (272_000, 2.0, 1.5)

OPENAI: dict[str, tuple[Row, ...]] = {
    # developers.openai.com/api/docs/pricing, read 2026-10-09; writes to the cache cost since GPT-5.6
    "gpt-6-astra": (Row(10, 1, 50, _OCT, 1.25, long=_272K),),
    "gpt-6.1-sol": (Row(2, 0.1, 10, _OCT, 1.25, long=_272K),),
    "gpt-6.1-terra": (Row(1, 0.05, 5, "2026-10-27", 1.25, long=_272K),),
    "gpt-6-sol": (Row(2, 0.2, 10, _OCT, 1.25, long=_272K),),
    "gpt-6-luna": (Row(0.1, 0.01, 0.5, _OCT, 1.25, long=_272K),),
    "gpt-5.6-sol": (Row(4, 0.4, 20, _OCT, 1.25, long=_272K),),
    "gpt-5.6-terra": (Row(2, 0.2, 12, _OCT, 1.25, long=_272K),),
    "gpt-5.6-luna": (Row(0.2, 0.02, 1.2, _OCT, 1.25, long=_272K),),
    "gpt-5.5": (Row(5, 0.5, 30, _OCT, long=_272K),),
    "gpt-5.5-pro": (Row(30, 30, 180, _OCT, long=_272K),),
    "gpt-5.4": (Row(2.5, 0.25, 15, _OCT, long=_272K),),
    "gpt-5.4-pro": (Row(30, 30, 180, _OCT, long=_272K),),
    "gpt-5.4-mini": (Row(0.75, 0.075, 4.5, _OCT),),
    "gpt-5.4-nano": (Row(0.2, 0.02, 1.25, _OCT),),
    "gpt-5.2": (Row(1.75, 0.175, 14, _OCT),),
    "gpt-5.2-pro": (Row(21, 21, 168, _OCT),),
    "gpt-5.1": (Row(1.25, 0.125, 10, _OCT),),
    "gpt-5": (Row(1.25, 0.125, 10, _OCT),),
    "gpt-5-mini": (Row(0.25, 0.025, 2, _OCT),),
    "gpt-5-nano": (Row(0.05, 0.005, 0.4, _OCT),),
    "gpt-5-pro": (Row(15, 15, 120, _OCT),),
    "gpt-4.1": (Row(2, 0.5, 8, _OCT),),
    "gpt-4.1-mini": (Row(0.4, 0.1, 1.6, _OCT),),
    "gpt-4.1-nano": (Row(0.1, 0.025, 0.4, _OCT),),
    "gpt-4o": (Row(2.5, 1.25, 10, _OCT),),
    "gpt-4o-2024-05-13": (Row(5, 5, 15, _OCT),),
    "gpt-4o-mini": (Row(0.15, 0.075, 0.6, _OCT),),
    "o3": (Row(2, 0.5, 8, _OCT),),
    "o3-pro": (Row(20, 20, 80, _OCT),),
    "o4-mini": (Row(1.1, 0.275, 4.4, _OCT),),
    "o1": (Row(15, 7.5, 60, _OCT),),
    # no longer in that list; from github.com/simonw/llm-prices, read 2026-08-05
    "o1-pro": (Row(150, 150, 600, "2026-08-05"),),
    "gpt-4.5": (Row(75, 37.5, 150, "2026-08-05"),),
    "chatgpt-4o-latest": (Row(5, 5, 15, "2026-08-05"),),
    # OpenAI's announcement of 2023-11-06
    "gpt-4-turbo": (Row(10, 10, 30, "2023-11-06"),),
}

ANTHROPIC: dict[str, tuple[Row, ...]] = {
    # platform.claude.com/docs/en/about-claude/pricing, read 2026-10-09; writes of the five-minute cache cost 1.25 times
    "claude-fable-5-1": (Row(10, 0.25, 50, _OCT, 1.25),),
    "claude-mythos-5-1": (Row(10, 0.25, 50, _OCT, 1.25),),
    "claude-fable-5": (Row(10, 1, 50, _OCT, 1.25),),
    "claude-mythos-5": (Row(10, 1, 50, _OCT, 1.25),),
    "claude-opus-5-5": (Row(4, 0.2, 20, _OCT, 1.25),),
    "claude-opus-5": (Row(5, 0.5, 25, _OCT, 1.25),),
    "claude-opus-4-8": (Row(5, 0.5, 25, _OCT, 1.25),),
    "claude-opus-4-7": (Row(5, 0.5, 25, _OCT, 1.25),),
    "claude-opus-4-6": (Row(5, 0.5, 25, _OCT, 1.25),),
    "claude-opus-4-5": (Row(5, 0.5, 25, _OCT, 1.25),),
    "claude-opus-4-1": (Row(15, 1.5, 75, _OCT, 1.25),),
    "claude-opus-4": (Row(15, 1.5, 75, _OCT, 1.25),),
    "claude-opus-4-0": (Row(15, 1.5, 75, _OCT, 1.25),),
    "claude-sonnet-5-5": (Row(2, 0.1, 10, _OCT, 1.25),),
    "claude-sonnet-5": (Row(2, 0.2, 10, _OCT, 1.25),),
    "claude-sonnet-4-6": (Row(3, 0.3, 15, _OCT, 1.25),),
    "claude-sonnet-4-5": (Row(3, 0.3, 15, _OCT, 1.25),),
    "claude-sonnet-4": (Row(3, 0.3, 15, _OCT, 1.25),),
    "claude-sonnet-4-0": (Row(3, 0.3, 15, _OCT, 1.25),),
    "claude-haiku-5-5": (Row(0.1, 0.01, 0.5, _OCT, 1.25, long=(100_000, 5.0, 5.0)),),
    "claude-haiku-4-5": (Row(1, 0.1, 5, _OCT, 1.25),),
    "claude-3-5-haiku": (Row(0.8, 0.08, 4, _OCT, 1.25),),
    # retired; from the same page as of 2025
    "claude-3-7-sonnet": (Row(3, 0.3, 15, "2025-08-05", 1.25),),
    "claude-3-5-sonnet": (Row(3, 0.3, 15, "2025-08-05", 1.25),),
    "claude-3-opus": (Row(15, 1.5, 75, "2025-08-05", 1.25),),
    "claude-3-haiku": (Row(0.25, 0.03, 1.25, "2025-08-05", 1.2),),
}

_PROMISED = "2027-01-01"
"""Until then Google charges half for its Flash models of the second half of 2026."""

GOOGLE: dict[str, tuple[Row, ...]] = {
    # ai.google.dev/gemini-api/docs/pricing, read 2026-10-07 to 2026-10-14
    "gemini-4-argon": (
        Row(2, 0.1, 10, "2026-10-14"),
        Row(4, 0.2, 20, "2026-10-14", since="2026-12-01"),
    ),
    "gemini-3.8-flash": (Row(0.75, 0.075, 3.75, "2026-10-07"), Row(1.5, 0.15, 7.5, "2026-10-07", since=_PROMISED)),
    "gemini-3.7-flash": (Row(0.75, 0.075, 3.75, "2026-10-07"), Row(1.5, 0.15, 7.5, "2026-10-07", since=_PROMISED)),
    "gemini-3.6-flash": (Row(0.75, 0.075, 3.75, "2026-10-07"), Row(1.5, 0.15, 7.5, "2026-10-07", since=_PROMISED)),
    # github.com/simonw/llm-prices, read 2026-08-05, and the page itself in July
    "gemini-3.5-flash": (Row(1.5, 0.15, 9, "2026-08-05"),),
    "gemini-3.5-flash-lite": (Row(0.3, 0.03, 2.5, "2026-08-05"),),
    "gemini-3.1-pro": (Row(2, 0.2, 12, "2026-08-05", long=(200_000, 2.0, 1.5)),),
    "gemini-3.1-flash-lite": (Row(0.25, 0.025, 1.5, "2026-08-05"),),
    "gemini-3-pro": (Row(2, 0.2, 12, "2026-08-05", long=(200_000, 2.0, 1.5)),),
    "gemini-3-flash": (Row(0.5, 0.05, 3, "2026-08-05"),),
    "gemini-2.5-pro": (Row(1.25, 0.125, 10, "2026-08-05", long=(200_000, 2.0, 1.5)),),
    "gemini-2.5-flash": (Row(0.3, 0.03, 2.5, "2026-08-05"),),
    "gemini-2.5-flash-lite": (Row(0.1, 0.01, 0.4, "2026-08-05"),),
    "gemini-2.0-flash": (Row(0.1, 0.1, 0.4, "2026-08-05"),),
    "gemini-2.0-flash-lite": (Row(0.075, 0.075, 0.3, "2026-08-05"),),
}
