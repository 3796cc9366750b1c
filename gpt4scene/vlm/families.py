"""The families of open models that run in this process, and what they differ in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bev.errors import UserError
from gpt4scene.vlm.protocol import ViewSize
from gpt4scene.vlm.view_sizes import INTERNVL, LLAVA_ONEVISION, QWEN2, QWEN3


@dataclass(frozen=True)
class Family:
    """What sets one family of models apart from the others."""

    view_size: ViewSize
    """At which size its processor leaves images as they are."""
    projector: tuple[str, ...]
    """Attributes that lead from the model without its head to what turns the vision tower's tokens into the language
    model's."""
    grid: str | None
    """The processor's output that says how an image's tokens lie; None where all images are alike."""
    image_options: Mapping[str, Any]
    """What the image processor is told beside its own settings."""
    multimodal_positions: bool
    """Whether a token's position has a time, a row and a column (m-RoPE)."""


_MERGER = ("visual", "merger")
_PROJECTOR = ("multi_modal_projector",)
_QWEN2 = Family(QWEN2, _MERGER, "image_grid_thw", {}, True)
_QWEN3 = Family(QWEN3, _MERGER, "image_grid_thw", {}, True)
FAMILIES: Mapping[str, Family] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen3_vl": _QWEN3,
    # an image of more than one tile costs as many times the tokens, and tiles cut the marks
    "internvl": Family(INTERNVL, _PROJECTOR, None, {"crop_to_patches": False}, False),
    "llava_onevision": Family(LLAVA_ONEVISION, _PROJECTOR, "image_sizes", {}, False),
}
"""By `model_type` of config.json."""


def family_of(config: Mapping[str, Any], place: str) -> Family:
    """The family of a model.

    Args:
        config: its config.json.
        place: where that lies, for the message.

    Raises:
        UserError: it is of none that we know.
    """
    kind = str(config.get("model_type", ""))
    if kind not in FAMILIES:
        hint = "; give the variant whose name ends in -hf" if kind == "internvl_chat" else ""
        raise UserError(
            f"{place}: is a model of type {kind!r}; in this process run {', '.join(FAMILIES)}{hint}; "
            f"serve another with vLLM and name it openai:MODEL@ADDRESS"
        )
    return FAMILIES[kind]


def family_of_model(model: Any) -> Family:
    """The family of a loaded model, an adapter around it or not."""
    return FAMILIES[model.config.model_type]


def core_of(model: Any) -> Any:
    """The model without its head; adapters are within its layers, so they stay active."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.model
