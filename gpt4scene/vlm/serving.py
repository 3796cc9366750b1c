"""How a model, with or without an adapter, is served: the engine's command, flag by flag.

Flags of vLLM after docs.vllm.ai/en/stable/cli/serve, those of `transformers serve` after its own --help (5.23).
"""

import hashlib
import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bev.errors import UserError
from bev.readers.json_object import read_object
from gpt4scene.vlm.cache import default_cache_folder
from gpt4scene.vlm.lora_folder import (
    TOWER_FLAG,
    LoraFolder,
    check_base,
    check_for_vllm,
    is_lora,
    key_prefix,
    read_lora,
    vllm_rank,
)
from gpt4scene.vlm.names import split_adapter
from gpt4scene.vlm.server_process import free_port
from gpt4scene.vlm.view_sizes import view_size_of

Engine = Literal["vllm", "transformers"]

_TOKENS_PER_IMAGE = 512
"""560x420 pixels take 300 in Qwen2-VL's and Qwen2.5-VL's families; a bird's-eye view may take more."""
_TOKENS_OF_TEXT = 4096
_LEAST_CONTEXT = 32768
_OF_THE_PROCESSOR = ("tokenizer", "processor", "preprocessor", "chat_template", "special_tokens", "vocab", "merges")


@dataclass(frozen=True)
class Server:
    """One server: what to run, and how it is asked."""

    command: tuple[str, ...]
    base_url: str
    model: str
    """The name by which it is asked for."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to be added."""

    @property
    def line(self) -> str:
        """The command for a shell."""
        return " ".join([*(f"{k}={shlex.quote(v)}" for k, v in self.environment.items()), shlex.join(self.command)])


@dataclass(frozen=True)
class ServePlan:
    """What `gpt4scene serve` does."""

    engine: Engine
    server: Server
    plain: Server | None
    """The base without the adapter, to compare with: on the same address where the engine serves both, else a server
    of its own that ends before the other starts, so that both never share the memory. None without an adapter."""
    lora: LoraFolder | None
    notes: tuple[str, ...]
    """What the user should know before it runs."""


def choose_engine(wanted: Engine | None = None) -> Engine:
    """vLLM where it is installed, else `transformers serve`.

    Raises:
        UserError: what is wanted, or both, are missing; says how to install it.
    """
    if wanted != "transformers" and _vllm():
        return "vllm"
    if wanted != "vllm" and _can_transformers_serve():
        return "transformers"
    install = {"vllm": "pip install vllm", "transformers": "pip install 'gpt4scene[serve]'"}
    if wanted:
        raise UserError(f"the engine {wanted} is not installed: run `{install[wanted]}`")
    raise UserError(
        f"no engine is installed: run `{install['vllm']}` (fast, NVIDIA GPUs) or `{install['transformers']}` (anywhere)"
    )


def plan_serving(
    model: str,
    *,
    engine: Engine,
    host: str = "127.0.0.1",
    port: int = 8000,
    images: int = 33,
    name: str | None = None,
    max_model_len: int | None = None,
    tensor_parallel: int = 1,
    dtype: str | None = None,
    extra: Sequence[str] = (),
    any_base: bool = False,
    download: bool = False,
) -> ServePlan:
    """Check a model and its adapter, and say with which command an engine serves them.

    Args:
        model: "MODEL", "MODEL+ADAPTER", or an adapter's folder, whose base is then the one it names itself.
        engine: what serves.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        images: the most images of one question; a bird's-eye view and 32 frames are 33.
        name: what the model is called by those who ask; vLLM only, `transformers serve` takes paths alone.
        max_model_len: tokens of context; None for what that many images take; vLLM only.
        tensor_parallel: over how many GPUs the weights are split; vLLM only.
        dtype: as the engine knows it; None for that of the weights.
        extra: further arguments for the engine.
        any_base: the adapter's base may go by another name.
        download: the engine may fetch from the hub what is not on this disk.

    Raises:
        UserError: a folder is missing, the adapter does not fit its base, or the engine cannot apply it.
    """
    model = model.removeprefix("local:")
    base, lora = _parts(model)
    folder = find_model(base)
    _check_present(base, folder, named_by=lora if lora and is_lora(model) else None, download=download)
    if lora is not None:
        check_base(lora, base, folder, any_base=any_base)
    port = port or free_port(host)
    environment = {} if download else {"HF_HUB_OFFLINE": "1"}
    if engine == "transformers":
        if name is not None or max_model_len is not None or tensor_parallel != 1:
            raise UserError("--name, --max-model-len and --tensor-parallel are vLLM's; leave them out")
        options = [*(["--dtype", dtype] if dtype else []), *extra]
        return _plan_transformers(base, folder, lora, host, port, options, environment)
    options = [
        "--limit-mm-per-prompt",
        json.dumps({"image": images, "video": 0}, separators=(",", ":")),
        "--max-model-len",
        str(max_model_len or _context(images, folder)),
    ]
    if tensor_parallel > 1:
        # the vision tower is small: each GPU takes some of the images rather than a slice of the tower
        options += ["--tensor-parallel-size", str(tensor_parallel), "--mm-encoder-tp-mode", "data"]
    options += [*(["--dtype", dtype] if dtype else []), *extra]
    return _plan_vllm(base, folder, lora, name, host, port, options, environment)


def find_model(model: str) -> Path | None:
    """Where a model's files are: its folder, or the hub's cache; None where neither is on this disk."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None  # a path that is not there
    return Path(cached).parent if isinstance(cached, str) else None


def hub_cache() -> Path:
    """The hub's cache; `transformers serve` looks through it and fails where it is missing."""
    from bev.errors import require

    return Path(require("huggingface_hub.constants", "serve").HF_HUB_CACHE)


def _parts(model: str) -> tuple[str, LoraFolder | None]:
    base, adapter = split_adapter(model)
    if adapter is not None:
        if is_lora(base):
            raise UserError(f"{base}: is an adapter itself; write MODEL+ADAPTER, or the adapter alone")
        return base, read_lora(adapter)
    if is_lora(base):
        lora = read_lora(base)
        return lora.base, lora
    return base, None


def _check_present(model: str, folder: Path | None, *, named_by: LoraFolder | None, download: bool) -> None:
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: holds no config.json, so it is no model; give the folder that holds one")
        return
    if model.startswith(("/", ".", "~")) or model.count("/") != 1:
        if named_by is not None:
            raise UserError(
                f"{model}: no such folder, and {named_by.path} names it as its base; give where that is now, "
                f"as in MODEL+{named_by.path}"
            )
        raise UserError(f"{model}: no such folder; give a model's folder, or an id such as Qwen/Qwen2.5-VL-7B-Instruct")
    if not download:
        raise UserError(
            f"{model}: is not on this disk; add --download to let the engine fetch it from https://huggingface.co/{model}"
            " (read there its size and licence), or give the folder of a copy"
        )


def _context(images: int, folder: Path | None) -> int:
    """Tokens for that many images and a question; no more than the model was made for, where that is known."""
    wanted = max(_LEAST_CONTEXT, -(-(images * _TOKENS_PER_IMAGE + _TOKENS_OF_TEXT) // 1024) * 1024)
    if folder is None:
        return wanted
    config = read_object(folder / "config.json")
    most = (config.get("text_config") or config).get("max_position_embeddings")
    return min(wanted, most) if isinstance(most, int) else wanted


def _plan_vllm(
    base: str,
    folder: Path | None,
    lora: LoraFolder | None,
    name: str | None,
    host: str,
    port: int,
    options: list[str],
    environment: dict[str, str],
) -> ServePlan:
    path = Path(base).expanduser()
    base_name = _with_family(path.resolve().name, folder) if path.is_dir() else base
    notes: list[str] = []
    called = name or (_with_family(lora.name, folder) if lora else base_name)
    if lora is not None and called == base_name:
        called = f"{called}-tuned"
    if "=" in called or "," in called or called != called.strip():
        raise UserError(f"{called!r}: cannot be a model's name; give another with --name")
    command = [*(_vllm() or ("vllm",)), "serve", str(path.resolve()) if path.is_dir() else base]
    command += ["--served-model-name", base_name if lora else called, "--host", host, "--port", str(port), *options]
    if lora is not None:
        check_for_vllm(lora, tower=TOWER_FLAG in options)
        where = str(lora.path.resolve())
        module = json.dumps({"name": called, "path": where}) if "," in where else f"{called}={where}"
        command += ["--enable-lora", "--lora-modules", module, "--max-lora-rank", str(vllm_rank(lora))]
        if key_prefix(lora) and "language_model" not in key_prefix(lora):
            notes.append(
                f"the adapter's weights are named {key_prefix(lora)}…, without language_model: vLLM may load such "
                "names without applying them; the canary question will tell"
            )
    base_url = f"http://{_asked(host)}:{port}/v1"
    server = Server(tuple(command), base_url, called, environment)
    plain = Server(tuple(command), base_url, base_name, environment) if lora else None
    return ServePlan("vllm", server, plain, lora, tuple(notes))


def _plan_transformers(
    base: str,
    folder: Path | None,
    lora: LoraFolder | None,
    host: str,
    port: int,
    options: list[str],
    environment: dict[str, str],
) -> ServePlan:
    """It knows no adapters: a folder of links, base and adapter side by side, is a model to it."""
    path = Path(base).expanduser()
    plain = str(path.resolve()) if path.is_dir() else base
    if lora is None and (folder is None or _with_family(plain, folder) == plain):
        server = _transformers_server(plain, host, port, options, environment)
        return ServePlan("transformers", server, None, None, ())
    if folder is None:
        raise UserError(f"{base}: must be on this disk to be served with an adapter; fetch it first")
    joined = join_folders(folder, lora)
    if lora is None:
        server = _transformers_server(str(joined), host, port, options, environment)
        return ServePlan("transformers", server, None, None, (f"{joined}: links to {folder}, under a telling name",))
    server = _transformers_server(str(joined), host, port, options, environment)
    beside = _transformers_server(plain, "127.0.0.1", free_port(), options, environment)
    notes = (f"{joined}: links to base and adapter, which transformers serve reads as one model",)
    return ServePlan("transformers", server, beside, lora, notes)


def _transformers_server(model: str, host: str, port: int, options: list[str], environment: dict[str, str]) -> Server:
    if "@" in model:
        raise UserError(f"{model}: transformers serve takes what follows an @ for a revision; move or link the folder")
    command = (*_transformers(), "serve", model, "--host", host, "--port", str(port), *options)
    return Server(command, f"http://{_asked(host)}:{port}/v1", model, environment)


def join_folders(base: Path, lora: LoraFolder | None) -> Path:
    """A folder of links to a base's files and an adapter's, which transformers loads as the tuned model.

    Where the adapter brings a processor or a tokenizer, those are the ones; they are what it was trained with.
    """
    files = {path.name: path for path in sorted(base.iterdir()) if path.is_file()}
    for path in sorted(lora.path.iterdir()) if lora else ():
        if path.name.startswith(("adapter_", *_OF_THE_PROCESSOR)):
            files[path.name] = path
    wanted = {name: str(path.resolve()) for name, path in files.items()}
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    name = _with_family(lora.name if lora else base.resolve().name, base)
    joined = default_cache_folder() / "served" / f"{name}-{key}"
    joined.mkdir(parents=True, exist_ok=True)
    for name, target in wanted.items():
        link = joined / name
        if not link.is_symlink():
            link.symlink_to(target)
    return joined


def _with_family(name: str, folder: Path | None) -> str:
    """The name, begun with the model's family where it would not tell those who ask at which size it takes images."""
    if folder is None:
        return name
    family = read_object(folder / "config.json").get("model_type")
    telling = not family or view_size_of(name) == view_size_of(family)
    return name if telling else f"{family}-{name}"


def _asked(host: str) -> str:
    """Where a server that listens on `host` is asked from this machine."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else host


def _vllm() -> tuple[str, ...] | None:
    if found := _script("vllm"):
        return (found,)
    if importlib.util.find_spec("vllm") is not None:
        return (sys.executable, "-m", "vllm.entrypoints.cli.main")
    return None


def _transformers() -> tuple[str, ...]:
    return (_script("transformers") or "transformers",)


def _can_transformers_serve() -> bool:
    needed = ("transformers", "torch", "fastapi", "uvicorn", "openai")
    return bool(_script("transformers")) and all(importlib.util.find_spec(module) for module in needed)


def _script(name: str) -> str | None:
    """A console script: of this environment, which need not be active, else the one on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)
