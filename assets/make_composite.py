"""The README's picture from a scene folder: `python assets/make_composite.py out/demo/scene assets/composite.jpg`."""

import sys
from pathlib import Path

import cv2
import numpy as np

import gpt4scene
from gpt4scene.scene.composite import compose_grid

GAP_PX = 8


def main(scene_folder: Path, picture: Path, frame_positions: tuple[int, ...] = (0, 2, 4, 6)) -> None:
    """The marked bird's-eye view with four marked frames beside it, all as a model sees them."""
    scene = gpt4scene.load_scene(scene_folder)
    frames = [scene.views(448, 336, 28).frames[position] for position in frame_positions]
    beside = compose_grid(frames, 2, 2)
    bev = scene.views(896, beside.shape[0], 28, digit_height_px=18).bev
    height = max(bev.shape[0], beside.shape[0])
    parts = [with_height(part, height) for part in (bev, beside)]
    whole = np.hstack([parts[0], np.full((height, GAP_PX, 3), 255, np.uint8), parts[1]])
    cv2.imwrite(str(picture), cv2.cvtColor(whole, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


def with_height(image: np.ndarray, height: int) -> np.ndarray:
    """The image in the middle of a white strip of that height."""
    above = (height - image.shape[0]) // 2
    return np.pad(image, ((above, height - image.shape[0] - above), (0, 0), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
