"""Depth Anything 3 (Lin et al., 2025, arXiv 2511.10647), through the core of the package `depth-anything-3`.

The package's requirements exclude numpy 2 and name forty packages that the network does not need, so it is installed
without them: `pip install 'gpt4scene[da3]'`, then `pip install --no-deps depth-anything-3==0.1.1`. Importing it
registers a resolver "eval" with OmegaConf, so that a YAML file can run code: only the package's own presets are read.

Its cameras are camera-from-world in OpenCV's axes, its principal point is the image's centre (width / 2), which is
how we count pixels; images are resized to multiples of 14, neither cropped nor padded.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.camera import invert_rigid
from bev.errors import UserError, require
from bev.learned.hub import WEIGHTS, is_hub_id, model_folder, read_config
from bev.learned.known_models import KNOWN, licence_of
from bev.learned.network_input import (
    as_numpy,
    grid_size,
    image_tensor,
    import_installed_by_hand,
    inference,
    inverted,
    resized,
)
from bev.learned.protocol import DepthKind, Prediction

logger = logging.getLogger(__name__)

PATCH_PX = 14
LONGEST_PX = 504
"""as the package's own inference"""
_SKY = 0.3
_FOCAL_PX = 300.0
"""the focal length at which the metric preset's numbers are metres, by the package's README"""
_HOW = "run `pip install 'gpt4scene[da3]'`, then `pip install --no-deps depth-anything-3==0.1.1`"


class DepthAnything3:
    """A preset of the package with its published weights."""

    frames_at_once = 48
    """An estimate: Giant, the largest, keeps about 50 MB of features per frame beside 5 GB of weights."""

    def __init__(self, source: str, *, device: str, net: Any = None, preset: str = ""):
        """
        Args:
            source: a folder with config.json and model.safetensors, or a name on the hub.
            device: a torch device.
            net: a network that is already there; None loads it.
            preset: of that network.
        """
        self.name = f"da3:{source}"
        self.licence = licence_of(source)
        self._device = device
        if net is None:
            folder = model_folder(source)
            preset = preset_of(source)
            net = _load(folder, preset)
        self.gives_poses = preset_gives_poses(preset)
        self._kind: DepthKind = preset_depth(preset)
        self._monocular_metric = preset.startswith("da3metric")
        self._net = net.to(device).eval()

    def predict(
        self, images: Sequence[np.ndarray], K: np.ndarray | None, world_from_camera: np.ndarray | None
    ) -> Prediction:
        """Depth, poses and intrinsics; known cameras are given to the network, which then leans on them."""
        height, width = images[0].shape[:2]
        w, h = grid_size(width, height, longest_px=LONGEST_PX, multiple_of=PATCH_PX)
        pixels = image_tensor(resized(images, w, h), device=self._device, imagenet=True)
        grid_K = None if K is None else np.diag([w / width, h / height, 1.0]) @ K
        with inference(self._device):
            if not self.gives_poses:
                answers = [self._net(pixels[None, i : i + 1]) for i in range(len(images))]
                return self._monocular(answers, grid_K)
            answer = self._net(pixels[None], *self._known_cameras(grid_K, world_from_camera))
            return Prediction(
                as_numpy(answer["depth"])[0],
                as_numpy(answer["depth_conf"])[0] - 1,  # the network gives 1 + exp(x)
                self._kind,
                inverted(as_numpy(answer["extrinsics"])[0]),
                as_numpy(answer["intrinsics"])[0].astype(np.float64),
            )

    def _monocular(self, answers: list[Any], grid_K: np.ndarray | None) -> Prediction:
        depth = np.concatenate([as_numpy(answer["depth"])[0] for answer in answers])
        sky = np.concatenate([as_numpy(answer["sky"])[0] for answer in answers])
        if self._monocular_metric:
            if grid_K is None:
                raise UserError(f"{self.name}: its metres follow from the focal length; give a scan with intrinsics")
            depth *= ((grid_K[:, 0, 0] + grid_K[:, 1, 1]) / 2 / _FOCAL_PX).astype(np.float32)[:, None, None]
        return Prediction(depth, (sky < _SKY).astype(np.float32), self._kind)

    def _known_cameras(self, grid_K: np.ndarray | None, world_from_camera: np.ndarray | None) -> tuple[Any, ...]:
        """Camera-from-world relative to the first camera, the median distance to it being 1, and intrinsics."""
        if grid_K is None or world_from_camera is None:
            return ()
        torch = require("torch", "video")
        first_from_world = invert_rigid(world_from_camera[0])
        first_from_camera = first_from_world @ world_from_camera
        # the package's own lower bound: a camera that stands still has no baseline to be blown up
        distance = max(float(np.median(np.linalg.norm(first_from_camera[:, :3, 3], axis=1))), 0.1)
        first_from_camera[:, :3, 3] /= distance
        camera_from_first = np.stack([invert_rigid(matrix) for matrix in first_from_camera])
        return tuple(
            torch.from_numpy(matrices.astype(np.float32))[None].to(self._device)
            for matrices in (camera_from_first, grid_K)
        )


def preset_of(source: str) -> str:
    """The package's name of a model's architecture, as its config.json has it.

    Raises:
        UserError: it does not tell.
    """
    if source in KNOWN and is_hub_id(source):
        return source.split("/")[1].lower().removesuffix("-1.1")
    preset = str(read_config(source).get("model_name"))
    if not preset.startswith("da3"):
        raise UserError(f"{source}: config.json has no model_name of Depth Anything 3, such as da3-base, got {preset}")
    return preset


def preset_gives_poses(preset: str) -> bool:
    """The two presets of single images give depth only."""
    return not preset.startswith(("da3metric", "da3mono"))


def preset_depth(preset: str) -> DepthKind:
    """Metres from the metric preset, and from the nested ones, which hold it."""
    return "metre" if preset.startswith(("da3metric", "da3nested")) else "scaled"


def _load(folder: Path, preset: str) -> Any:
    cfg = import_installed_by_hand("depth_anything_3.cfg", _HOW)
    presets = import_installed_by_hand("depth_anything_3.registry", _HOW).MODEL_REGISTRY
    if preset not in presets:
        raise UserError(f"{folder}: model_name is {preset!r}, the package knows {', '.join(presets)}")
    if "DA3_LOG_LEVEL" not in os.environ:  # it prints to stdout, where commands print their answers
        import_installed_by_hand("depth_anything_3.utils.logger", _HOW).logger.level = 0
    settings = cfg.load_config(str(presets[preset]))
    for part in (settings, settings.get("anyview") or {}):
        for gaussians in ("gs_head", "gs_adapter"):  # never asked for here, and a tenth of the weights
            if gaussians in part:
                part.pop(gaussians)
    import_installed_by_hand("depth_anything_3.model.da3", _HOW)
    net = cfg.create_object(settings)
    _fill(net, folder / WEIGHTS, preset)
    return net


def _fill(net: Any, path: Path, preset: str) -> None:
    """Load weights as the package's own class published them: below `model.`, what is shared written once."""
    torch, safetensors = require("torch", "da3"), require("safetensors.torch", "da3")
    published = torch.nn.Module()
    published.model = net
    names = set(published.state_dict())
    try:
        missing, unexpected = safetensors.load_model(published, path, strict=False)
    except (OSError, require("safetensors", "da3").SafetensorError) as error:
        raise UserError(f"{path}: is cut short or no safetensors file ({error}); download it again") from error
    except RuntimeError as error:  # sizes differ
        raise UserError(f"{path}: its weights are not those of {preset}; check model_name in config.json") from error
    unexpected = [name for name in unexpected if ".gs_" not in name and name not in names]
    if missing or unexpected:
        odd = sorted(missing or unexpected)[0]
        raise UserError(
            f"{path}: lacks {len(missing)} and has {len(unexpected)} other weights than {preset} ({odd}); check "
            "model_name in config.json"
        )
