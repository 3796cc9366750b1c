"""Where a network's files lie: a folder of the user's, or the Hugging Face cache, filled only after saying so."""

import logging
import re
from pathlib import Path
from typing import Any

from bev.errors import UserError, require
from bev.learned.known_models import licence_of
from bev.readers.json_object import read_object

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
# no pickles: loading one runs whatever code it holds
_WANTED = ["*.json", "*.safetensors"]
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_id(source: str) -> bool:
    """Whether `source` reads as OWNER/NAME and no folder of that name is here."""
    return _HUB_ID.fullmatch(source) is not None and not Path(source).expanduser().exists()


def model_folder(source: str) -> Path:
    """The folder with a network's config.json and safetensors; downloaded once, after saying what it is.

    Args:
        source: a folder, or a name on the Hugging Face hub.

    Raises:
        UserError: the folder lacks one of the two, or nothing can be downloaded; says what to do by hand.
    """
    if not is_hub_id(source):
        return _checked(Path(source).expanduser())
    hub = require("huggingface_hub", "da3")
    try:
        folder = Path(hub.snapshot_download(source, allow_patterns=_WANTED, local_files_only=True))
        if _weights_in(folder):
            return _checked(folder)
    except (OSError, ValueError) as error:  # LocalEntryNotFoundError is both
        logger.debug("%s is not in the cache (%s)", source, error)
    return _checked(_download(hub, source))


def read_config(source: str) -> dict[str, Any]:
    """A network's config.json, from its folder, the cache, or the hub (some kilobytes).

    Raises:
        UserError: it is not there, or is not JSON.
    """
    if not is_hub_id(source):
        return _json(Path(source).expanduser() / "config.json")
    hub = require("huggingface_hub", "da3")
    try:
        return _json(Path(hub.hf_hub_download(source, "config.json")))
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        raise UserError(_by_hand(source, error)) from error


def _download(hub: Any, source: str) -> Path:
    try:
        files = hub.HfApi().model_info(source, files_metadata=True).siblings or ()
        megabytes = sum(file.size or 0 for file in files if file.rfilename.endswith((".json", ".safetensors"))) / 1e6
        logger.warning(  # seen also where nobody set up logging
            "Fetching %s: %.0f MB, %s, from the Hugging Face hub to %s",
            *(source, megabytes, licence_of(source), hub.constants.HF_HUB_CACHE),
        )
        return Path(hub.snapshot_download(source, allow_patterns=_WANTED))
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        raise UserError(_by_hand(source, error)) from error


def _by_hand(source: str, error: Exception) -> str:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return (
        f"{source} could not be fetched ({reason}): download config.json and the .safetensors files of "
        f"https://huggingface.co/{source} yourself and give their folder in place of the name"
    )


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with config.json and {WEIGHTS}, or OWNER/NAME of the hub")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: has no config.json; download it from where the weights come from")
    weights = _weights_in(folder)
    if not weights:
        raise UserError(f"{folder}: has no {WEIGHTS}; download it, or convert the weights to safetensors")
    for path in weights:
        check_no_pointer(path)
    return folder


def check_no_pointer(path: Path) -> None:
    """That a file is the weights themselves.

    Raises:
        UserError: it is what git-lfs leaves in their place.
    """
    with path.open("rb") as file:
        if file.read(64).startswith(b"version https://git-lfs"):
            raise UserError(f"{path}: is a git-lfs pointer, not the file; run `git lfs pull` where it comes from")


def _weights_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a network's folder holds config.json and {WEIGHTS}")
    return read_object(path)
