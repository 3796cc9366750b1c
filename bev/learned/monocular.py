"""Networks of `transformers` that read depth off a single image: metric ones, and relative ones up to a shift.

Depth Pro (Bochkovskii et al., arXiv 2410.02073) scales its depth by the focal length: the known one where there is
one, else its own guess. Depth Anything V2 (Yang et al., arXiv 2406.09414) gives metres in its metric variants, and
inverse depth up to a factor and a shift in its relative ones. The library's processors resize images and bring the
answer back to any size, aligned at the images' borders, so that pixels keep our count.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bev.errors import UserError, require
from bev.learned.hub import model_folder
from bev.learned.known_models import licence_of
from bev.learned.network_input import as_numpy, grid_size, inference
from bev.learned.protocol import DepthKind, Prediction

LONGEST_PX = 518
"""Of the depth that is kept: the networks' own detail is hardly finer."""


class Monocular:
    """A depth estimation model of transformers with its image processor."""

    gives_poses = False
    frames_at_once = 4
    """Depth Pro reads 35 crops of 384 pixels per image."""

    def __init__(self, source: str, *, device: str):
        """
        Args:
            source: a folder with config.json and safetensors, or a name on the hub.
            device: a torch device.
        """
        transformers = require("transformers", "local")
        self.name = f"transformers:{source}"
        self.licence = licence_of(source)
        self._device = device
        folder = model_folder(source)
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            net = transformers.AutoModelForDepthEstimation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{folder}: transformers cannot load it as a depth model ({reason})") from error
        self._kind: DepthKind = depth_kind(net.config.to_dict(), str(folder))
        self._focal_matters = net.config.model_type == "depth_pro"
        self._net = net.to(device).eval()

    def predict(
        self, images: Sequence[np.ndarray], K: np.ndarray | None, world_from_camera: np.ndarray | None
    ) -> Prediction:
        """Depth of each image by itself."""
        height, width = images[0].shape[:2]
        w, h = grid_size(width, height, longest_px=min(LONGEST_PX, max(width, height)))
        inputs = self._processor(images=list(images), return_tensors="pt").to(self._device)
        with inference(self._device):
            answer = self._net(**inputs)
        answer["predicted_depth"] = answer["predicted_depth"].float()
        if self._focal_matters:
            answer["field_of_view"] = self._field_of_view_deg(answer, K, width)
        found = self._processor.post_process_depth_estimation(answer, target_sizes=[(h, w)] * len(images))
        depth = np.stack([as_numpy(each["predicted_depth"]) for each in found])
        return Prediction(depth, np.ones_like(depth), self._kind)

    def _field_of_view_deg(self, answer: Any, K: np.ndarray | None, width: int) -> Any:
        """(n,) tensor: of the known cameras, else what the network guessed."""
        if K is not None:
            degrees = np.degrees(2 * np.arctan(width / 2 / K[:, 0, 0])).astype(np.float32)
            return require("torch", "local").from_numpy(degrees).to(self._device)
        if answer["field_of_view"] is None:
            raise UserError(f"{self.name}: was saved without its focal length head; give a scan with intrinsics")
        return answer["field_of_view"].float()


def depth_kind(config: dict[str, Any], where: str) -> DepthKind:
    """What the numbers of a model mean, by its config.json.

    Raises:
        UserError: it is no model of which we know that.
    """
    model_type = config.get("model_type")
    if model_type == "depth_pro":
        return "metre"
    if model_type == "depth_anything":
        return "metre" if config.get("depth_estimation_type") == "metric" else "inverse"
    if model_type == "dpt":
        return "inverse"
    raise UserError(
        f"{where}: is of type {model_type!r}; of transformers' models depth_pro, depth_anything and dpt are supported"
    )
