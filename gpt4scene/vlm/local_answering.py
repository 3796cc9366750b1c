"""A loaded model that answers: together, over one prefix, or each question alone where that cannot be."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bev.errors import require
from gpt4scene.vlm.branches import Branch, Continuation, continue_branches
from gpt4scene.vlm.families import Family, core_of
from gpt4scene.vlm.local_prompts import Prompt, Prompts
from gpt4scene.vlm.next_token import chooser, end_tokens, sampling, seed_of, settings_fault
from gpt4scene.vlm.prefix import Prefix, Prefixes, read_prefix, reuse_fault
from gpt4scene.vlm.protocol import Request

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """An answer as the model wrote it."""

    text: str
    ended: bool
    """False where it was cut at `max_new_tokens`."""
    input_tokens: int
    output_tokens: int
    """The one that ends the answer included."""
    cached_tokens: int
    """Of `input_tokens`, those that had been read for an earlier question."""


Asked = tuple[Request, Prompt]


class Answering:
    """A model with its prompts and the prefixes that it has read.

    Args:
        model: on its device.
        family: of the model.
        prompts: of the model.
        prefix_bytes: memory budget for prefixes.
    """

    def __init__(self, model: Any, family: Family, prompts: Prompts, *, prefix_bytes: int) -> None:
        self._model, self._family, self._prompts = model, family, prompts
        self._tokenizer = prompts.tokenizer
        self._settings = model.generation_config
        self._ends = end_tokens(self._settings, self._tokenizer)
        self._prefixes = Prefixes(prefix_bytes)
        fault = reuse_fault(model) or settings_fault(self._settings)
        if fault:
            logger.warning("Images are read anew for every question, which is slow: %s", fault)
        self._reuse = fault is None

    def answer(
        self, asked: Sequence[Asked], on_piece: Callable[[str], None] | None, check: Callable[[], None]
    ) -> list[Written]:
        """Answer requests of one prefix.

        Args:
            asked: the requests.
            on_piece: called with each piece of the answer; for a single request.
            check: called before each token; what it raises ends the call.

        Raises:
            MemoryError: the device's memory does not suffice, even without the prefixes that were kept.
        """
        streams = [_Stream(self._tokenizer, on_piece, check) for _ in asked]
        answer = self._together if self._reuse else self._one_by_one
        try:
            with _memory_error():
                return answer(asked, streams)
        except MemoryError:
            if not len(self._prefixes) or any(stream.ids for stream in streams):
                raise
        self._prefixes.clear()
        with _memory_error():
            return answer(asked, streams)

    def _together(self, asked: Sequence[Asked], streams: Sequence["_Stream"]) -> list[Written]:
        first = asked[0][1]
        prefix, kept = self._prefixes.get(first.prefix_key(), lambda: self._read(first))
        branches = [
            Branch(
                prompt.ids,
                chooser(self._settings, temperature=request.temperature, seed=_seed(request, prompt)),
                request.max_new_tokens,
                stream.put,
            )
            for (request, prompt), stream in zip(asked, streams, strict=True)
        ]
        done = dict(continue_branches(self._model, self._family, prefix, branches, self._ends))
        return [
            self._written(prompt, stream, done[position], prefix.length if kept else 0)
            for position, ((_, prompt), stream) in enumerate(zip(asked, streams, strict=True))
        ]

    def _read(self, prompt: Prompt) -> Prefix:
        pixels = self._prompts.pixels(prompt.images)
        return read_prefix(self._model, self._family, prompt.prefix, self._prompts.is_image, pixels)

    def _one_by_one(self, asked: Sequence[Asked], streams: Sequence["_Stream"]) -> list[Written]:
        return [self._alone(request, prompt, stream) for (request, prompt), stream in zip(asked, streams, strict=True)]

    def _alone(self, request: Request, prompt: Prompt, stream: "_Stream") -> Written:
        torch = require("torch", "local")
        core = core_of(self._model)
        inputs = self._inputs(prompt)
        beams = (self._settings.num_beams or 1) > 1
        devices = [core.device] if core.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(_seed(request, prompt))
            made = self._model.generate(
                **inputs,
                **sampling(self._settings, request.temperature),
                max_new_tokens=request.max_new_tokens,
                streamer=None if beams else _Streamer(stream, self._ends),
            )
        ids = made[0, len(prompt.ids) :].tolist()
        ended = bool(ids) and ids[-1] in self._ends
        return self._written(prompt, stream, Continuation(tuple(ids[:-1] if ended else ids), ended), 0)

    def _inputs(self, prompt: Prompt) -> dict[str, Any]:
        torch = require("torch", "local")
        device = core_of(self._model).device
        ids = torch.tensor([prompt.ids], device=device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self._family.multimodal_positions:
            inputs["mm_token_type_ids"] = self._prompts.is_image(ids).int()
        pixels = self._prompts.pixels(prompt.images)
        if pixels is None:
            return inputs
        inputs["pixel_values"] = pixels.values.to(device)
        if self._family.grid is not None:
            inputs[self._family.grid] = pixels.grid.to(device)
        if self._family.grid == "image_sizes":
            inputs["batch_num_images"] = torch.tensor([len(prompt.images)])
        return inputs

    def _written(self, prompt: Prompt, stream: "_Stream", made: Continuation, cached: int) -> Written:
        text = stream.finish(made.ids)
        return Written(text, made.ended, len(prompt.ids), len(made.ids) + made.ended, cached)


def _seed(request: Request, prompt: Prompt) -> int:
    return seed_of(prompt.prefix_key(), prompt.rest, request.repeat)


class _Stream:
    """Tokens of one answer turned into pieces of text; a character that is not whole yet waits."""

    def __init__(self, tokenizer: Any, on_piece: Callable[[str], None] | None, check: Callable[[], None]) -> None:
        self._tokenizer, self._on_piece, self._check = tokenizer, on_piece, check
        self.ids: list[int] = []
        self._told = ""

    def put(self, token: int) -> None:
        self._check()
        self.ids.append(token)
        if self._on_piece is not None:
            self._tell(self._text(self.ids).rstrip("\ufffd"))

    def finish(self, ids: Sequence[int]) -> str:
        """The whole text; what was not told of it is told now."""
        text = self._text(ids)
        self._tell(text)
        return text

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def _tell(self, text: str) -> None:
        if self._on_piece is not None and text.startswith(self._told) and text != self._told:
            self._on_piece(text[len(self._told) :])
            self._told = text


class _Streamer:
    """What `generate` tells of tokens: first the prompt, then one after another."""

    def __init__(self, stream: _Stream, ends: frozenset[int]) -> None:
        self._stream, self._ends = stream, ends
        self._begun = False

    def put(self, tokens: Any) -> None:
        if self._begun:
            for token in tokens.reshape(-1).tolist():
                if token not in self._ends:
                    self._stream.put(token)
        self._begun = True

    def end(self) -> None:
        """The whole answer is told by whoever called."""


@contextmanager
def _memory_error() -> Iterator[None]:
    """Make one error of the many that say that memory does not suffice."""
    torch = require("torch", "local")
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # which torch raises on the CPU
            raise MemoryError(str(error)) from error
        raise
