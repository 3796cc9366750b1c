"""Loading a local model: whole, with every weight of its adapter in place, or not at all."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bev.errors import UserError, require
from gpt4scene.vlm.local_files import ModelFiles

logger = logging.getLogger(__name__)

DTYPES = ("bfloat16", "float16", "float32")


def choose_dtype(dtype: str | None, device: str) -> str:
    """In which precision a model runs: bfloat16 on CUDA, float32 elsewhere, unless the user says otherwise.

    Raises:
        UserError: there is no such precision.
    """
    if dtype is None:
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: is none that models run in; give one of {', '.join(DTYPES)}")
    return dtype


def load_processor(files: ModelFiles) -> Any:
    """The processor of a model: tokenizer, chat template, image processor.

    Raises:
        UserError: a file of it is missing or broken.
    """
    transformers = require("transformers", "local")
    require("torchvision", "local")
    try:
        processor = transformers.AutoProcessor.from_pretrained(str(files.folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{files.folder}: its processor does not load ({_one_line(error)}); download the tokenizer, "
            "preprocessor_config.json and chat template too"
        ) from error
    token = getattr(processor, "image_token", None)
    if token is None or token not in processor.tokenizer.get_vocab():  # as when its file is not there
        raise UserError(f"{files.folder}: its tokenizer knows no images; download tokenizer.json too")
    if not getattr(processor, "chat_template", None):
        raise UserError(f"{files.folder}: has no chat template; download chat_template.jinja (or .json) too")
    return processor


def load_model(files: ModelFiles, *, device: str, dtype: str) -> Any:
    """The model on its device, ready to answer, its adapter within.

    Raises:
        UserError: weights are missing or of another model, the adapter fits another, or memory does not suffice.
    """
    torch = require("torch", "local")
    transformers = require("transformers", "local")
    require("accelerate", "local")
    try:
        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            str(files.folder),
            dtype=getattr(torch, dtype),
            device_map={"": device},
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{files.folder}: does not fit into the memory of {device}; give another device, or a smaller model"
        ) from error
    except (OSError, ValueError, RuntimeError, require("safetensors", "local").SafetensorError) as error:
        raise UserError(f"{files.folder}: does not load ({_one_line(error)})") from error
    lost = sorted([*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])])
    if lost:
        raise UserError(
            f"{files.folder}: {len(lost)} weights are missing or of another shape, {lost[0]} among them; "
            "config.json and weights are not of the same model, or a file is missing"
        )
    if files.adapter is not None:
        model = _with_adapter(model, files.adapter)
    return model.eval()


def _with_adapter(model: Any, adapter: Path) -> Any:
    """The model with an adapter in its layers.

    peft loads with a warning, or none, what does not match, and the answers are then those of the base model.
    """
    peft = require("peft", "local")
    broken = require("safetensors", "local").SafetensorError
    try:
        config = peft.PeftConfig.from_pretrained(str(adapter))
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise UserError(f"{adapter}: is an adapter of type {config.peft_type.value}; LoRA and its kin can be used")
        config.inference_mode = True
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 for what goes by another name there
            warnings.simplefilter("ignore", FutureWarning)
            tuned = peft.PeftModel(model, config, autocast_adapter_dtype=False)
            loaded = tuned.load_adapter(str(adapter), "default", autocast_adapter_dtype=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, broken) as error:
        raise UserError(f"{adapter}: does not fit the model ({_one_line(error)}); was it tuned on another?") from error
    _check_keys(adapter, loaded.missing_keys, loaded.unexpected_keys)
    return tuned.get_base_model()


def _check_keys(adapter: Path, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    for keys, what in ((unexpected, "name no layer of the model"), (missing, "are missing in the adapter")):
        if keys:
            raise UserError(
                f"{adapter}: {len(keys)} weights {what}, {min(keys)} among them; it was tuned on another model"
            )


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."
