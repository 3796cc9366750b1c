"""Where a local model's files lie, and what they hold: a folder of the user's, or the Hugging Face cache."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev.errors import UserError, require
from bev.learned.hub import check_no_pointer, is_hub_id
from bev.readers.json_object import read_object

logger = logging.getLogger(__name__)

# no pickles and no code: loading either runs whatever it holds
_WANTED = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
_WEIGHTS = "*.safetensors"
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class ModelFiles:
    """What a model is loaded from."""

    folder: Path
    """With config.json, weights, tokenizer and processor."""
    adapter: Path | None
    """With adapter_config.json and the adapter's weights."""
    config: dict[str, Any]
    """Of `folder`."""

    def fingerprint(self) -> str:
        """A hash of all that answers depend on; the place does not count, a re-trained adapter does."""
        return "+".join(_fingerprint(folder) for folder in (self.folder, self.adapter) if folder is not None)


def find_model(source: str, adapter: str | None = None) -> ModelFiles:
    """The files of a model; those on the Hugging Face hub are fetched once, after saying what they are.

    Args:
        source: a folder, OWNER/NAME on the hub, or the folder of an adapter alone, whose base its adapter_config.json
            names.
        adapter: the folder of a LoRA adapter, or OWNER/NAME.

    Raises:
        UserError: a file is missing or is no model's, or nothing can be fetched; says what to do by hand.
    """
    folder = _folder(source)
    if (folder / "adapter_config.json").is_file():
        if adapter is not None:
            raise UserError(f"{source}: is an adapter itself; give the model that it belongs to before the +")
        adapter, folder = source, _base_of(folder)
    _check(folder, "config.json")
    adapter_folder = _folder(adapter) if adapter is not None else None
    if adapter_folder is not None:
        _check(adapter_folder, "adapter_config.json")
    return ModelFiles(folder, adapter_folder, read_object(folder / "config.json"))


def _base_of(adapter: Path) -> Path:
    if any(path.name.startswith("model") for path in adapter.glob(_WEIGHTS)):
        raise UserError(f"{adapter}: holds both a whole model and an adapter; keep them in folders of their own")
    base = read_object(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise UserError(f"{adapter}: its adapter_config.json names no base model; write BASE+{adapter}")
    beside = adapter / base
    if beside.is_dir():
        return beside
    if not is_hub_id(base) and not Path(base).expanduser().is_dir():
        raise UserError(f"{adapter}: its base model {base} is not here; write BASE+{adapter} with where it is")
    return _folder(base)


def _folder(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if not is_hub_id(source):
        raise UserError(f"{source}: no such folder; give one with config.json and weights, or OWNER/NAME of the hub")
    hub = require("huggingface_hub", "local")
    try:
        folder = Path(hub.snapshot_download(source, allow_patterns=list(_WANTED), local_files_only=True))
        if any(folder.glob(_WEIGHTS)):
            return folder
    except (OSError, ValueError) as error:  # LocalEntryNotFoundError is both
        logger.debug("%s is not in the cache (%s)", source, error)
    return _fetch(hub, source)


def _fetch(hub: Any, source: str) -> Path:
    try:
        found = hub.HfApi().model_info(source, files_metadata=True)
        suffixes = tuple(pattern[1:] for pattern in _WANTED)
        sizes = [file.size or 0 for file in found.siblings or () if file.rfilename.endswith(suffixes)]
        licence = getattr(found.card_data, "license", None) or "licence not stated, see its page"
        logger.warning(  # seen also where nobody set up logging
            "Fetching %s: %.1f GB, %s, from the Hugging Face hub to %s",
            *(source, sum(sizes) / 1e9, licence, hub.constants.HF_HUB_CACHE),
        )
        return Path(hub.snapshot_download(source, allow_patterns=list(_WANTED)))
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{source} could not be fetched ({reason}): download the .json, .jinja, .txt and .safetensors files of "
            f"https://huggingface.co/{source} yourself and give their folder in place of the name"
        ) from error


def _check(folder: Path, config: str) -> None:
    if not (folder / config).is_file():
        raise UserError(f"{folder}: has no {config}; download it from where the weights come from")
    weights = sorted(folder.glob(_WEIGHTS))
    if not weights:
        raise UserError(f"{folder}: has no .safetensors file; download the weights, or convert them to safetensors")
    for path in weights:
        check_no_pointer(path)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _WANTED for path in folder.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        for piece in _pieces(path, size):
            digest.update(piece)
    return digest.hexdigest()[:16]


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """All of a file of up to 4 MB; of a larger one, pieces at even distances, both ends among them."""
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            yield file.read()
            return
        for index in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)
