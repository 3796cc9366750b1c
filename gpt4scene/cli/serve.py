"""`gpt4scene serve`: a model, with or without an adapter, behind an OpenAI-compatible address."""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bev.errors import UserError

if TYPE_CHECKING:
    from gpt4scene.vlm.canary import CanaryAnswers
    from gpt4scene.vlm.serving import ServePlan, Server


def serve(
    model: Annotated[str, tyro.conf.Positional],
    /,
    *,
    engine: Literal["vllm", "transformers"] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    images: int = 33,
    name: str | None = None,
    max_model_len: int | None = None,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    extra: str = "",
    any_base: bool = False,
    download: bool = False,
    canary: bool = True,
    timeout_s: float = 1800.0,
    print_only: bool = False,
) -> None:
    """Serve a model, prove that its adapter is active, and keep it running until Ctrl-C.

    The command of the engine is printed first. When the server is ready, the adapter is asked a few canary questions
    beside its plain base: an adapter that changes nothing ends the command with exit code 1.

    Args:
        model: MODEL, MODEL+ADAPTER or ADAPTER; a folder, or the id of a model on the hub.
        engine: what serves; vllm where it is installed, else transformers.
        host: address to listen on; 0.0.0.0 for all of this machine's.
        port: port to listen on; 0 for any that is free.
        images: the most images of one question; a bird's-eye view and 32 frames are 33.
        name: what the model is called by those who ask (vllm).
        max_model_len: tokens of context, for images and text together (vllm); what the images take, 32768 or more.
        tensor_parallel: number of GPUs over which the weights are split (vllm).
        dtype: numbers to compute with, as in bfloat16; those of the weights.
        extra: further arguments of the engine, in quotes: --extra="--max-num-seqs 8".
        any_base: the adapter's base goes by another name here; only its width is compared.
        download: let the engine fetch a model that is not on this disk from the hub.
        canary: ask the canary questions.
        timeout_s: how long the server may take until it is ready, seconds.
        print_only: print the command and run nothing.
    """
    from gpt4scene.vlm.server_process import check_port, free_port
    from gpt4scene.vlm.serving import choose_engine, plan_serving

    if images < 1 or tensor_parallel < 1:
        raise UserError("--images and --tensor-parallel must be 1 or more")
    port = port or free_port()
    plan = plan_serving(
        model,
        engine=(engine or "vllm") if print_only else choose_engine(engine),
        host=host,
        port=port,
        images=images,
        name=name,
        max_model_len=max_model_len,
        tensor_parallel=tensor_parallel,
        dtype=dtype,
        extra=shlex.split(extra),
        any_base=any_base,
        download=download,
    )
    for note in plan.notes:
        sys.stderr.write(f"{note}\n")
    sys.stdout.write(f"{plan.server.line}\n")
    sys.stdout.flush()
    if print_only:
        return
    check_port(host, port)
    with _ended_by_signals():
        _run(plan, canary=canary, timeout_s=timeout_s)


def _run(plan: "ServePlan", *, canary: bool, timeout_s: float) -> None:
    from gpt4scene.vlm.canary import ask_canary
    from gpt4scene.vlm.server_process import ServerProcess

    if plan.engine == "transformers":
        _make_hub_cache()
    base = None
    if canary and plan.plain is not None and plan.plain.base_url != plan.server.base_url:
        sys.stderr.write("first the plain base, for the canary questions\n")
        base = _asked_alone(plan.plain, timeout_s=timeout_s)
    server = plan.server
    with ServerProcess(
        server.command, base_url=server.base_url, environment=server.environment, echo=_pass_on
    ) as process:
        process.wait_until_ready(timeout_s, tell=_tell)
        if canary and plan.plain is not None:
            _prove(plan, base or ask_canary(plan.plain.base_url, plan.plain.model))
        asked = shlex.quote(f"openai:{server.model}@{server.base_url}")
        try:
            sys.stdout.write(f'ready; ask with\n  gpt4scene ask SCENE "QUESTION" --model {asked}\n')
            sys.stdout.flush()
            process.wait()
        except KeyboardInterrupt:
            sys.stderr.write("\nthe server is ended\n")


def _asked_alone(server: "Server", *, timeout_s: float) -> "CanaryAnswers":
    from gpt4scene.vlm.canary import ask_canary
    from gpt4scene.vlm.server_process import ServerProcess

    with ServerProcess(
        server.command, base_url=server.base_url, environment=server.environment, echo=_pass_on
    ) as process:
        process.wait_until_ready(timeout_s, tell=_tell)
        return ask_canary(server.base_url, server.model)


def _prove(plan: "ServePlan", base: "CanaryAnswers") -> None:
    """Say what the canary questions show; exit code 1 where the adapter changes nothing."""
    from gpt4scene.vlm.canary import advice, ask_canary, compare
    from gpt4scene.vlm.lora_folder import key_prefix

    found = compare(base, ask_canary(plan.server.base_url, plan.server.model))
    if found.outcome == "same as base":
        prefix = key_prefix(plan.lora) if plan.lora else ""
        sys.stderr.write(f"gpt4scene: {advice(found.why, model=plan.server.model, key_prefix=prefix)}\n")
        raise SystemExit(1)
    said = "the adapter is active" if found.outcome == "active" else "whether the adapter is active cannot be told"
    sys.stderr.write(f"{said}: {found.why}\n")


def _make_hub_cache() -> None:
    from gpt4scene.vlm.serving import hub_cache

    folder = hub_cache()
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sys.stderr.write(f"made {folder}, which transformers serve looks through and fails without\n")


def _pass_on(piece: bytes) -> None:
    sys.stderr.write(piece.decode("utf-8", "replace"))
    sys.stderr.flush()


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """While it lasts, SIGTERM and a closed terminal unwind as an exit does, so that the server is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # one that is ignored stays so: nohup means it
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, _exit) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
