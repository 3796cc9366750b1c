"""The images of a prompted composite, in the order in which a model is shown them.

Two layouts: "separate" is what models are fine-tuned on, the bird's-eye view and then each frame; "grid" is what
GPT4Scene (arXiv 2501.01428) prompts models with zero-shot, all frames in one picture and the bird's-eye view after it.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bev.render import BACKGROUND
from gpt4scene.scene.views import Views

Layout = Literal["separate", "grid"]
GRID_COLUMNS = 4


def compose_images(views: Views, layout: Layout = "separate") -> list[np.ndarray]:
    """The images of a composite, each (H, W, 3) uint8 RGB.

    Args:
        views: of a scene, at the model's size; in a grid that is the size of one cell.
        layout: "separate" gives the bird's-eye view, then the frames in time order; "grid" gives the frames in one
            grid, four to a row (8 frames: 2 rows of 4), then the bird's-eye view.

    Raises:
        ValueError: another layout, or a grid without frames.
    """
    if layout == "separate":
        return [views.bev, *views.frames]
    if layout == "grid":
        return [compose_grid(views.frames, *grid_shape(len(views.frames))), views.bev]
    raise ValueError(f'layout must be "separate" or "grid", got {layout!r}')


def grid_shape(frames: int) -> tuple[int, int]:
    """Rows and columns of the grid for a number of frames: four to a row, a single row for up to four."""
    return max(1, -(-frames // GRID_COLUMNS)), max(1, min(frames, GRID_COLUMNS))


def compose_grid(frames: Sequence[np.ndarray], rows: int, columns: int) -> np.ndarray:
    """One picture of several frames in reading order: left to right, then top to bottom.

    Cells touch, so that the sides stay multiples of what the model needs, and carry no number of their own, which a
    model could take for an object's. Cells that are left over are background, and so is what a smaller frame leaves.

    Args:
        frames: each (H, W, 3) uint8 RGB.
        rows: of cells.
        columns: of cells; each cell is as large as the largest frame.

    Returns:
        (rows * H, columns * W, 3) uint8 RGB.

    Raises:
        ValueError: there are no frames, or more than cells.
    """
    if not 0 < len(frames) <= rows * columns:
        raise ValueError(f"a grid of {rows}x{columns} cells holds 1 to {rows * columns} frames, got {len(frames)}")
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    grid = np.full((rows * height, columns * width, 3), BACKGROUND, np.uint8)
    for position, frame in enumerate(frames):
        top, left = position // columns * height, position % columns * width
        grid[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return grid
