"""VGGT (Wang et al., "Visual Geometry Grounded Transformer", CVPR 2025), through the package `vggt` of its authors.

No registry carries that package, so the user installs it. Its cameras are camera-from-world in OpenCV's axes, its
principal point is the image's centre; images are resized to multiples of 14, neither cropped nor padded (the
package's own loader crops portrait images). The weights are on a scale of their own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bev.learned.hub import model_folder
from bev.learned.known_models import licence_of
from bev.learned.network_input import (
    as_numpy,
    grid_size,
    image_tensor,
    import_installed_by_hand,
    inference,
    inverted,
    resized,
)
from bev.learned.protocol import Prediction

PATCH_PX = 14
LONGEST_PX = 518
_HOW = (
    "VGGT is in no package registry: run `git clone https://github.com/facebookresearch/vggt` and "
    "`pip install --no-deps ./vggt` (its requirements exclude numpy 2)"
)


class Vggt:
    """The authors' model class with its published weights."""

    gives_poses = True
    frames_at_once = 40
    """about 10 GB by the authors' table: 5.6 GB for 20 frames, 11.4 GB for 50"""

    def __init__(self, source: str, *, device: str, net: Any = None):
        """
        Args:
            source: a folder with config.json and model.safetensors, or a name on the hub.
            device: a torch device.
            net: a network that is already there; None loads it.
        """
        self.name = f"vggt:{source}"
        self.licence = licence_of(source)
        self._device = device
        self._decode = import_installed_by_hand("vggt.utils.pose_enc", _HOW).pose_encoding_to_extri_intri
        if net is None:
            model_class = import_installed_by_hand("vggt.models.vggt", _HOW).VGGT
            net = model_class.from_pretrained(str(model_folder(source)))
        # depth and cameras are all that is asked for; the other two heads take memory and time
        net.point_head = net.track_head = None
        self._net = net.to(device).eval()

    def predict(
        self, images: Sequence[np.ndarray], K: np.ndarray | None, world_from_camera: np.ndarray | None
    ) -> Prediction:
        """Depth, poses and intrinsics from the images alone; this network takes no known cameras."""
        height, width = images[0].shape[:2]
        w, h = grid_size(width, height, longest_px=LONGEST_PX, multiple_of=PATCH_PX)
        pixels = image_tensor(resized(images, w, h), device=self._device, imagenet=False)  # it normalises itself
        with inference(self._device):
            answer = self._net(pixels[None])
            camera_from_world, intrinsics = self._decode(answer["pose_enc"].float(), (h, w))
            depth = as_numpy(answer["depth"]).reshape(len(images), h, w)
            confidence = as_numpy(answer["depth_conf"]).reshape(len(images), h, w) - 1  # it gives 1 + exp(x)
            return Prediction(
                depth,
                confidence,
                "scaled",
                inverted(as_numpy(camera_from_world)[0]),
                as_numpy(intrinsics)[0].astype(np.float64),
            )
