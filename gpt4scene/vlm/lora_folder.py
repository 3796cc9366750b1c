"""A LoRA folder as PEFT writes it: what it was trained on, its rank, and what would keep a server from applying it.

PEFT loads everything that PEFT writes. vLLM does not, and of some things it does not say so; the checks follow what its
own reader refuses (vllm/lora/peft_helper.py) and what it is known to pass over: one scale for all modules up to 0.30
(vllm-project/vllm #59799), no LoRA in the vision tower without a flag (#23796).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev.errors import UserError
from bev.readers.json_object import read_object

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` takes (`MaxLoRARanks` in vllm/config/lora.py)."""
TOWER_FLAG = "--enable-tower-connector-lora"
"""Makes vLLM apply LoRA in vision tower and connector; experimental, Qwen's families only (vllm/config/lora.py)."""

_CONFIG = "adapter_config.json"
_TOWER = re.compile(r"\b(visual|vision_tower|vision_model|multi_modal_projector|merger)\b")
_REBASING = ("pissa", "olora", "corda", "loftq")
"""Ways to begin an adapter that change the base model's own weights too."""
_UNKNOWN_TO_VLLM = {
    "use_dora": "is a DoRA",
    "modules_to_save": "holds whole modules (modules_to_save)",
    "lora_bias": "has biases (lora_bias)",
    "alora_invocation_tokens": "is an activated LoRA",
    "layer_replication": "replicates layers",
    "use_bdlora": "is a block-diagonal LoRA",
    "use_qalora": "is a QALoRA",
    "trainable_token_indices": "holds embeddings of single tokens (trainable_token_indices)",
}


@dataclass(frozen=True)
class LoraFolder:
    """A LoRA and what is known of it without loading its weights."""

    path: Path
    base: str
    """The model that it was trained on, as written in its configuration: a path or an id."""
    rank: int
    """The largest of its modules."""
    config: Mapping[str, Any]
    """adapter_config.json."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor; empty where the weights are in another format than safetensors."""

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name


def is_lora(path: Path | str) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    path = Path(path).expanduser()
    return (path / _CONFIG).is_file() and not (path / "config.json").is_file()


def read_lora(path: Path | str) -> LoraFolder:
    """Read an adapter's configuration and the header of its weights.

    Raises:
        UserError: there is no such folder, it holds no adapter or another kind than LoRA, or a file is broken.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give the folder that holds the adapter's {_CONFIG}")
    if not (path / _CONFIG).is_file():
        inner = sorted(path.glob(f"*/{_CONFIG}"))
        hint = f"; did you mean {inner[-1].parent}?" if inner else "; give the folder that PEFT's save_pretrained wrote"
        raise UserError(f"{path}: holds no {_CONFIG}, so it is no adapter{hint}")
    config = read_object(path / _CONFIG)
    if config.get("peft_type") != "LORA":
        raise UserError(f"{path}: is an adapter of type {config.get('peft_type')!r}; only LORA can be served")
    base, rank = config.get("base_model_name_or_path"), config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise UserError(f"{path / _CONFIG}: 'r', the rank, must be a whole number from 1 on, found {rank!r}")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path / _CONFIG}: 'base_model_name_or_path' does not name the base model, found {base!r}")
    patterns = (config.get("rank_pattern") or {}).values()
    shapes = _shapes(path)
    held = [shape[0] for name, shape in shapes.items() if ".lora_A." in name]
    return LoraFolder(path, base, max([rank, *patterns, *held]), config, shapes)


def vllm_rank(lora: LoraFolder) -> int:
    """What `--max-lora-rank` must be; its default of 16 refuses larger adapters.

    Raises:
        UserError: vLLM takes no adapter of that rank.
    """
    enough = [rank for rank in VLLM_RANKS if rank >= lora.rank]
    if not enough:
        raise UserError(f"{lora.path}: is of rank {lora.rank}, vLLM takes {VLLM_RANKS[-1]} at most; {_MERGE}")
    return enough[0]


_MERGE = "merge the adapter into its base and serve the merged folder, or serve with --engine transformers"


def check_for_vllm(lora: LoraFolder, *, tower: bool = False) -> None:
    """Refuse what vLLM would refuse after minutes of loading, and what it would leave out without a word.

    Args:
        lora: the adapter.
        tower: vLLM is started with `TOWER_FLAG`.

    Raises:
        UserError: says what the adapter has that vLLM does not apply.
    """
    fault = _fault(lora)
    if fault:
        raise UserError(f"{lora.path}: {fault}, which vLLM does not apply; {_MERGE}")
    inside = [name for name in lora.shapes if _TOWER.search(name)]
    if inside and not tower:
        raise UserError(
            f"{lora.path}: {len(inside)} of its {len(lora.shapes)} tensors are for the vision tower or its connector, "
            f"which vLLM leaves out; add --extra={TOWER_FLAG} (experimental, Qwen only), or {_MERGE}"
        )


def check_base(lora: LoraFolder, model: str, folder: Path | None, *, any_base: bool = False) -> None:
    """Refuse an adapter on another model than its own.

    Args:
        lora: the adapter.
        model: the base as the user names it.
        folder: where the base's files are; None where that is not known.
        any_base: the names may differ, as a copy's does; the widths may not.

    Raises:
        UserError: the widths or, without `any_base`, the names differ.
    """
    width, wanted = _width_of(folder), _width_for(lora)
    if width and wanted and width != wanted:
        raise UserError(
            f"{lora.path}: is for a model {wanted} wide, {model} is {width} wide; its own base is {lora.base}"
        )
    if not any_base and _last(model) != _last(lora.base) and not _same_place(model, lora.base):
        raise UserError(
            f"{lora.path}: was trained on {lora.base}, not on {model}; "
            "if these are the same model under two names, add --any-base"
        )


def key_prefix(lora: LoraFolder) -> str:
    """How the names of its tensors begin, up to the layer's number; "" where they are not known."""
    names = [name for name in lora.shapes if ".layers." in name]
    return names[0].split(".layers.")[0] + ".layers" if names else ""


def _fault(lora: LoraFolder) -> str:
    for key, said in _UNKNOWN_TO_VLLM.items():
        if lora.config.get(key):
            return said
    if lora.config.get("bias", "none") != "none":
        return f"trains biases (bias={lora.config['bias']!r})"
    begun = lora.config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_REBASING):
        return f"was begun with {begun!r}, which changes the base model too"
    odd = _oddly_scaled(lora)
    return f"scales {odd} otherwise than the rest (rank_pattern or alpha_pattern)" if odd else ""


def _oddly_scaled(lora: LoraFolder) -> str:
    """A module whose own alpha and rank give another scale than those of the whole; "" where all agree."""
    ranks, alphas = lora.config.get("rank_pattern") or {}, lora.config.get("alpha_pattern") or {}
    if not ranks and not alphas:
        return ""
    whole_rank, whole_alpha = lora.config["r"], lora.config.get("lora_alpha", 8)
    modules = [name.split(".lora_A.")[0].removeprefix("base_model.model.") for name in lora.shapes if "lora_A" in name]
    for module in modules or [*ranks, *alphas]:
        rank, alpha = _matching(ranks, module) or whole_rank, _matching(alphas, module) or whole_alpha
        root = math.sqrt if lora.config.get("use_rslora") else float
        if not math.isclose(alpha / root(rank), whole_alpha / root(whole_rank)):
            return module
    return ""


def _matching(pattern: Mapping[str, float], module: str) -> float | None:
    """As PEFT has it: the first key that is the name's end after a dot."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), None)


def _width_for(lora: LoraFolder) -> int | None:
    """How wide the language model is that the adapter's query or gate projections read from."""
    reading = re.compile(r"\b(q_proj|k_proj|v_proj|gate_proj|up_proj)\.lora_A\.")
    return next((s[1] for n, s in lora.shapes.items() if reading.search(n) and not _TOWER.search(n)), None)


def _width_of(folder: Path | None) -> int | None:
    if folder is None or not (folder / "config.json").is_file():
        return None
    config = read_object(folder / "config.json")
    width = (config.get("text_config") or config.get("llm_config") or config).get("hidden_size")
    return width if isinstance(width, int) else None


def _last(model: str) -> str:
    return Path(model).name.casefold()


def _same_place(one: str, other: str) -> bool:
    first, second = Path(one).expanduser(), Path(other).expanduser()
    return first.exists() and second.exists() and first.samefile(second)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """From the header of a safetensors file: its length in 8 bytes, then JSON."""
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        if not (path / "adapter_model.bin").is_file():
            raise UserError(f"{path}: holds no weights (adapter_model.safetensors)")
        return {}
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, weights.stat().st_size)))
            return {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{weights}: is no whole safetensors file; copy it again") from error
