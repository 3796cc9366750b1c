"""What all networks share: sizes of their input, tensors of images, and the circumstances in which they run."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import cv2
import numpy as np

from bev.camera import invert_rigid
from bev.errors import UserError, require

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def grid_size(width: int, height: int, *, longest_px: int, multiple_of: int = 1) -> tuple[int, int]:
    """Width and height of an image whose longest side becomes `longest_px`, each rounded to a multiple."""
    scale = longest_px / max(width, height)
    w, h = (max(1, round(side * scale / multiple_of)) * multiple_of for side in (width, height))
    return w, h


def resized(images: Sequence[np.ndarray], width: int, height: int) -> np.ndarray:
    """Images (H, W, 3) uint8 as (n, height, width, 3) uint8; each covers what it covered before."""
    shrinks = images[0].shape[1] > width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.stack([cv2.resize(image, (width, height), interpolation=how) for image in images])


def image_tensor(images: np.ndarray, *, device: str, imagenet: bool) -> Any:
    """(n, h, w, 3) uint8 as an (n, 3, h, w) float32 tensor in 0..1, or with ImageNet's mean and deviation taken out."""
    torch = require("torch", "video")
    values = images.astype(np.float32) / 255
    if imagenet:
        values = (values - _IMAGENET_MEAN) / _IMAGENET_STD
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2))).to(device)


def as_numpy(tensor: Any) -> np.ndarray:
    """A tensor of any float type, on any device, as float32."""
    return tensor.detach().float().cpu().numpy()


def inverted(camera_from_world: np.ndarray) -> np.ndarray:
    """(n, 3, 4) or (n, 4, 4) float32 rigid motions the other way round, (n, 4, 4) float64, rigid to that precision."""
    matrices = np.tile(np.eye(4), (len(camera_from_world), 1, 1))
    matrices[:, :3] = camera_from_world[:, :3]
    u, _, vt = np.linalg.svd(matrices[:, :3, :3])
    matrices[:, :3, :3] = u @ vt
    return np.stack([invert_rigid(matrix) for matrix in matrices])


@contextmanager
def inference(device: str) -> Iterator[None]:
    """Run a network: without gradients, in 16 bits on CUDA.

    Raises:
        UserError: the device's memory is full.
    """
    torch = require("torch", "video")
    sixteen_bits = nullcontext()
    if device.startswith("cuda"):
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        sixteen_bits = torch.autocast("cuda", dtype=dtype)
    try:
        with torch.inference_mode(), sixteen_bits:
            yield
    except torch.cuda.OutOfMemoryError as error:
        raise UserError(f"device {device!r}: its memory is full; give fewer frames at once (chunk), or cpu") from error


def import_installed_by_hand(module: str, how: str) -> Any:
    """Import a module that no extra of ours can bring.

    Raises:
        UserError: it, or what it imports, is not installed; `how` says what to run.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: {how}") from error
