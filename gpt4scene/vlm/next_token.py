"""Which token comes next: the model's own generation settings, for one answer at a time."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bev.errors import require

_KNOWN = {
    "repetition_penalty",
    "no_repeat_ngram_size",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "do_sample",
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "max_length",
    "max_new_tokens",
    "use_cache",
    "transformers_version",
}
"""Fields of generation_config.json that are followed here, or that change no token of an answer."""

Choose = Callable[[Any, Any], int]
"""From the (L,) int64 ids so far, prompt included, and the (V,) logits that follow them, to the next id."""


def settings_fault(generation_config: Any) -> str | None:
    """Which of a model's generation settings only transformers' own `generate` follows; None where there is none."""
    odd = [
        f"{name}={value}"
        for name, value in sorted(generation_config.to_diff_dict().items())
        if name not in _KNOWN and value is not None and (name, value) not in (("num_beams", 1), ("length_penalty", 1.0))
    ]
    return f"its generation_config.json says {', '.join(odd)}" if odd else None


def end_tokens(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    ends = generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or ())


def sampling(generation_config: Any, temperature: float | None) -> Mapping[str, Any]:
    """How `generate` is told what `chooser` does."""
    if not temperature:
        return {"do_sample": False, "temperature": None, "top_k": None, "top_p": None, "min_p": None}
    return {
        "do_sample": True,
        "temperature": float(temperature),
        "top_k": generation_config.top_k or 0,
        "top_p": generation_config.top_p,
        "min_p": generation_config.min_p,
    }


def seed_of(prefix_key: str, rest: Sequence[int], repeat: int) -> int:
    """What sampled answers are drawn from: the same for the same question and repeat, whatever else is asked."""
    return int.from_bytes(hashlib.sha256(repr((prefix_key, tuple(rest), repeat)).encode()).digest()[:6], "big")


def chooser(generation_config: Any, *, temperature: float | None, seed: int) -> Choose:
    """How the next token of an answer is chosen; greedy without a temperature.

    Processors and their order are those of transformers' `generate`.
    """
    torch = require("torch", "local")
    t = require("transformers", "local")
    settings = generation_config
    processors: list[Any] = []
    if settings.repetition_penalty not in (None, 1.0):
        processors.append(t.RepetitionPenaltyLogitsProcessor(penalty=settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        processors.append(t.NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if temperature:
        processors.append(t.TemperatureLogitsWarper(float(temperature)))
        if settings.top_k:
            processors.append(t.TopKLogitsWarper(settings.top_k))
        if settings.top_p not in (None, 1.0):
            processors.append(t.TopPLogitsWarper(settings.top_p))
        if settings.min_p is not None:
            processors.append(t.MinPLogitsWarper(settings.min_p))
    generator = torch.Generator().manual_seed(seed)

    def choose(ids: Any, logits: Any) -> int:
        scores = logits[None].to(torch.float32, copy=True)
        for process in processors:
            scores = process(ids[None], scores)
        if not temperature:
            return int(scores.argmax())
        return int(torch.multinomial(scores[0].softmax(-1).cpu(), 1, generator=generator))

    return choose
