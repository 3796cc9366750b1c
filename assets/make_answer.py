"""The README's picture of an answer: `python assets/make_answer.py out/demo/scene assets/answer.jpg 4 7`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

import gpt4scene
from gpt4scene.scene.highlight import highlight_picture

WIDTH_PX = 1400


def main(scene_folder: Path, picture: Path, ids: Sequence[int]) -> None:
    """What `gpt4scene ask` writes for an answer that names these objects, made smaller."""
    whole = highlight_picture(gpt4scene.load_scene(scene_folder), ids)
    size = (WIDTH_PX, round(WIDTH_PX * whole.shape[0] / whole.shape[1]))
    small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(picture), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(id) for id in sys.argv[3:]])
