"""Models that run in this process, through transformers."""

import threading
from collections.abc import Callable, Sequence

from bev.device import choose_device
from bev.errors import UserError, require
from gpt4scene.vlm.families import family_of
from gpt4scene.vlm.local_answering import Answering, Asked, Written
from gpt4scene.vlm.local_files import find_model
from gpt4scene.vlm.local_loading import choose_dtype, load_model, load_processor
from gpt4scene.vlm.local_prompts import Prompts
from gpt4scene.vlm.protocol import Price, Reply, Request, TokenRange, Usage

_CPU_PREFIX_BYTES = 4 << 30
_CUDA_PREFIX_SHARE = 0.3
"""Of the memory that is free once the model is loaded."""


class LocalVLM:
    """A model of this process: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, InternVL or LLaVA-OneVision, with a LoRA or without.

    The images of a scene are read once, and what was read is kept for all its questions, for several scenes at a time;
    questions of a call are answered together. Answers are those of transformers' `generate` for each question alone,
    token for token in float32. Where a model's settings do not allow this, `generate` itself is used, which the log
    says. Weights are loaded with the first question, so a run that finds every answer on disk never loads them.

    `Request.json_schema` is not enforced here: the answer is what the model makes of the prompt, and is parsed like any
    other. Without a temperature the model's most likely token is taken; its own settings of repetition and of sampling
    (generation_config.json) hold.

    Args:
        name: as the user names it.
        path: a folder, OWNER/NAME on the Hugging Face hub, or an adapter's folder alone.
        adapter: the folder of a LoRA adapter.
        device: "cpu", "cuda", "cuda:1"; None takes CUDA where there is one.
        dtype: "bfloat16", "float16", "float32"; None takes bfloat16 on CUDA, else float32.
        batch_size: how many questions about one scene are answered at once.
        prefix_memory_gb: how much memory scenes that were read may take, in GB; None takes a part of what is free. One
            scene is kept whatever it takes.

    Raises:
        UserError: there is no such model here, or it is of a family that we do not run.
    """

    price: Price | None = Price(0, 0, 0, 0, "")
    in_flight: int = 1
    prefix_discount: bool = False

    def __init__(
        self,
        name: str,
        path: str,
        adapter: str | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 16,
        prefix_memory_gb: float | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"{name}: a batch size of {batch_size} answers nothing; give 1 or more")
        files = find_model(path, adapter)
        self._device = choose_device(device, extra="local")
        self._dtype = choose_dtype(dtype, self._device)
        self._files = files
        self._family = family_of(files.config, path)
        self._prefix_memory_gb = prefix_memory_gb
        self.name = name
        fingerprint = files.fingerprint()
        self.identity = f"local {files.config['model_type']} {fingerprint} {self._dtype}"
        self.view_size = self._family.view_size
        self.batch_size = batch_size
        self._model_name = f"{path}{'+' + adapter if adapter else ''}@{fingerprint}"
        self._prompts: Prompts | None = None
        self._answering: Answering | None = None
        self._busy = threading.Lock()
        self._closed = threading.Event()

    def estimate(self, request: Request) -> TokenRange:
        """Input tokens of a request, exactly: the processor counts them, without the weights."""
        with self._busy:
            count = len(self._processor().prompt(request.conversation).ids)
        return TokenRange(count, count)

    def max_output_tokens(self, request: Request) -> int:
        """As many as are asked for."""
        return request.max_new_tokens

    def reply(self, requests: Sequence[Request], on_text: Callable[[str], None] | None = None) -> list[Reply]:
        """Answer requests, in order; those that share their images are answered together, `batch_size` at a time.

        Args:
            requests: of any scenes and parameters, though of one scene they are quickest.
            on_text: called with each piece of the answer; for a single request.

        Raises:
            UserError: the model does not load, memory does not suffice, an image cannot be read, or it was closed.
        """
        if on_text is not None and len(requests) != 1:
            raise ValueError(f"an answer is streamed for a single request, not for {len(requests)}")
        replies: dict[int, Reply] = {}
        with self._busy:
            asked = [(request, self._processor().prompt(request.conversation)) for request in requests]
            groups: dict[str, list[int]] = {}
            for position, (_, prompt) in enumerate(asked):
                groups.setdefault(prompt.prefix_key(), []).append(position)
            for members in groups.values():
                for start in range(0, len(members), self.batch_size):
                    batch = members[start : start + self.batch_size]
                    written = self._answer([asked[position] for position in batch], on_text)
                    replies.update((p, self._reply(w)) for p, w in zip(batch, written, strict=True))
        return [replies[position] for position in range(len(requests))]

    def close(self) -> None:
        """Free the model; a call that is under way fails at its next token."""
        self._closed.set()
        with self._busy:
            self._answering = None

    def _processor(self) -> Prompts:
        if self._prompts is None:
            self._prompts = Prompts(load_processor(self._files), self._family)
        return self._prompts

    def _model(self) -> Answering:
        if self._answering is None:
            model = load_model(self._files, device=self._device, dtype=self._dtype)
            limit = self._prefix_memory_gb
            free = _prefix_bytes(self._device) if limit is None else int(limit * 1e9)
            self._answering = Answering(model, self._family, self._processor(), prefix_bytes=free)
        return self._answering

    def _answer(self, asked: Sequence[Asked], on_text: Callable[[str], None] | None) -> list[Written]:
        self._check_open()
        try:
            return self._model().answer(asked, on_text, self._check_open)
        except MemoryError as error:
            prompt = asked[0][1]
            raise UserError(
                f"{self.name}: out of memory on {self._device} with {len(prompt.images)} images, {len(prompt.ids)} "
                f"tokens and {len(asked)} questions at once; take fewer frames or a smaller batch"
            ) from error

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise UserError(f"{self.name}: was closed; open it again")

    def _reply(self, written: Written) -> Reply:
        usage = Usage(written.input_tokens, written.output_tokens, written.cached_tokens)
        if written.ended:
            return Reply(written.text, "answered", self._model_name, usage)
        why = f"cut after {written.output_tokens} tokens"
        return Reply(written.text, "truncated", self._model_name, usage, why)


def _prefix_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return _CPU_PREFIX_BYTES
    free, _ = require("torch", "local").cuda.mem_get_info(device)
    return int(free * _CUDA_PREFIX_SHARE)
