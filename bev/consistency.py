"""What several depth maps confirm: depth that is right in one view is found again in the others.

A moving thing, a reflection or a chance match has depths that contradict each other, and does not survive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bev.camera import Camera
from bev.errors import require
from bev.plane_sweep import Reprojection, lookup, pixel_grid

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class InverseDepth:
    """A depth map on a torch device, and its camera of the same size."""

    values: "Tensor"
    """(h, w) float32, 1 / (units of the world), 0 = none."""
    camera: Camera


def confirmed(
    reference: InverseDepth, others: Sequence[InverseDepth], *, tolerance: float = 0.015, count_min: int = 2
) -> "Tensor":
    """The depth of a view that enough other views have found too, as the mean of what they found.

    Args:
        reference: the view.
        others: views that see some of the same.
        tolerance: by which share the depth in the other view may differ from what this one expects there.
        count_min: views that must confirm a pixel.

    Returns:
        (h, w) float32 inverse depth, 0 = none.
    """
    torch = require("torch", "video")
    own = reference.values
    pixels, has_depth = pixel_grid(own), own > 0
    count, total = torch.zeros_like(own), own.clone()
    for other in others:
        motion = Reprojection.between(reference.camera, other.camera, pixels)
        grid, inside = motion.grid(own[None])
        theirs = lookup(other.values, grid, mode="nearest")[0]
        ahead = motion.ahead(own)
        # `own / ahead` is the inverse depth at which the other view should see it
        agrees = inside[0] & has_depth & ((theirs * ahead - own).abs() < tolerance * own)
        # the depth of this view's pixel that has the other view's depth there
        theirs_here = motion.far[2] * theirs / (1 - motion.shift[2] * theirs)
        total += torch.where(agrees, theirs_here, 0.0)
        count += agrees
    return torch.where(count >= count_min, total / (count + 1), 0.0)


def without_speckles(inverse_depth: np.ndarray, *, area_px: int, step: float = 0.03) -> np.ndarray:
    """(h, w) float32 without its patches smaller than `area_px`; neighbours in a patch differ by less than `step`."""
    values = np.log(np.where(inverse_depth > 0, inverse_depth, 1))
    # filterSpeckles takes 16 bits: a thousandth of a depth is fine enough
    stored = np.where(inverse_depth > 0, np.clip(values * 1000, -32000, 32000), 32767).astype(np.int16)
    cv2.filterSpeckles(stored, 32767, area_px, step * 1000)
    return np.where(stored == 32767, 0, inverse_depth).astype(np.float32)
