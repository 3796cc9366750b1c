"""A scan of given images, for what looks at nothing but colour."""

from pathlib import Path

import numpy as np

import bev
from bev.camera import Camera
from bev.scan import Frame, Scan


def image_scan(images: list[np.ndarray], indices: list[int] | None = None) -> Scan:
    """A scan whose frames decode to `images`, (H, W, 3) uint8 RGB each."""

    def frame(k: int, image: np.ndarray) -> Frame:
        height, width = image.shape[:2]
        camera = Camera(np.array([[500.0, 0, width / 2], [0, 500.0, height / 2], [0, 0, 1]]), width, height, np.eye(4))
        return Frame(index=indices[k] if indices else k, timestamp_s=float(k), camera=camera, read_color=lambda: image)

    return bev.Scan(
        name="images", path=Path(), reader="test", frames=tuple(frame(k, image) for k, image in enumerate(images))
    )


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: coarse coloured noise, in which a network of random weights sees something."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width])
