"""Names of networks, what is known of them before they are loaded, and loading them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from bev.device import choose_device
from bev.errors import UserError
from bev.learned.depth_anything_3 import DepthAnything3, preset_depth, preset_gives_poses, preset_of
from bev.learned.hub import is_hub_id, read_config
from bev.learned.known_models import KNOWN, UNKNOWN_LICENCE, KnownModel
from bev.learned.monocular import Monocular, depth_kind
from bev.learned.protocol import DepthKind, DepthModel
from bev.learned.vggt import Vggt

logger = logging.getLogger(__name__)

KINDS = ("da3", "vggt", "transformers")
_EXAMPLE = "da3:depth-anything/DA3-BASE"


@dataclass(frozen=True)
class ModelName:
    """A network by its kind and where its weights are."""

    kind: str
    """One of `KINDS`."""
    source: str
    """A folder, or OWNER/NAME on the Hugging Face hub."""


def parse_model(text: str) -> ModelName:
    """Read `kind:ID_OR_FOLDER`, such as `da3:depth-anything/DA3-BASE` or `transformers:models/depth-pro`.

    Raises:
        UserError: it is not of that form, or neither a folder nor a name on the hub.
    """
    kind, colon, source = text.strip().partition(":")
    if not colon or kind not in KINDS:
        kinds = ", ".join(f"{known}:" for known in KINDS)
        raise UserError(f"{text!r}: a network is named by its kind ({kinds}) and its weights, such as {_EXAMPLE}")
    source = source.strip()
    if not source:
        raise UserError(f"{text!r}: lacks the weights: a folder, or OWNER/NAME on the hub, such as {_EXAMPLE}")
    if not is_hub_id(source):
        _check_folder(source)
    return ModelName(kind, source)


def gives_poses(model: str) -> bool:
    """Whether a network gives poses and intrinsics besides depth; no weights are loaded.

    Raises:
        UserError: as `parse_model`, or config.json of a network that is not in `KNOWN` cannot be read.
    """
    name = parse_model(model)
    known = _known(name)
    if known:
        return known.gives_poses
    return name.kind == "vggt" or (name.kind == "da3" and preset_gives_poses(preset_of(name.source)))


def is_metric(model: str) -> bool:
    """Whether a network's depth is in metres; no weights are loaded.

    Raises:
        UserError: as `gives_poses`.
    """
    return _depth_kind(parse_model(model)) == "metre"


def load_model(model: str, *, device: str | None = None) -> DepthModel:
    """A network with its weights on a device; the licence of the weights is logged first.

    Args:
        model: as `parse_model` reads it.
        device: a torch device; None takes CUDA where there is one.

    Raises:
        UserError: the weights are not there and cannot be fetched, are damaged, or a package is missing.
    """
    name = parse_model(model)
    known = _known(name)
    # a warning, so that it is seen also where nobody set up logging
    logger.warning("%s: weights under %s", model, known.licence if known else UNKNOWN_LICENCE)
    device = choose_device(device, "local" if name.kind == "transformers" else "da3")
    if name.kind == "da3":
        return DepthAnything3(name.source, device=device)
    if name.kind == "vggt":
        return Vggt(name.source, device=device)
    return Monocular(name.source, device=device)


def _depth_kind(name: ModelName) -> DepthKind:
    known = _known(name)
    if known:
        return known.depth
    if name.kind == "da3":
        return preset_depth(preset_of(name.source))
    return "scaled" if name.kind == "vggt" else depth_kind(read_config(name.source), name.source)


def _known(name: ModelName) -> KnownModel | None:
    return KNOWN.get(name.source) if is_hub_id(name.source) else None


def _check_folder(source: str) -> None:
    path = Path(source).expanduser()
    if path.is_dir():
        return
    if path.exists():
        raise UserError(f"{source}: is a file; give the folder that holds config.json and model.safetensors")
    raise UserError(f"{source}: no such folder, and no OWNER/NAME of the hub such as depth-anything/DA3-BASE")
