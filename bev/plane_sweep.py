"""How well views agree if a pixel had this or that depth: the cost volume of a plane sweep.

Other views are warped onto a reference view as if all it sees lay at one inverse depth after the other (Collins, "A
space-sweep approach to true multi-image matching", CVPR 1996), or at inverse depths of each pixel's own, and compared
in windows by their normalised correlation. torch, on whatever device the images are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bev.camera import Camera
from bev.errors import require

if TYPE_CHECKING:
    from torch import Tensor

_NOISE_VARIANCE = 1.0
"""Of brightness 0..255: windows with less contrast than what compression and noise make correlate little."""
_CHUNK_VALUES_CPU, _CHUNK_VALUES_GPU = 2**18, 2**26
"""As many values of the volume are made at a time: on a CPU what its cache holds."""


@dataclass(frozen=True, eq=False)
class GreyView:
    """A grey image on a torch device, and its camera of the same size."""

    image: "Tensor"
    """(h, w) float32 brightness, 0..255."""
    camera: Camera


def agreement(
    reference: GreyView,
    others: Sequence[GreyView],
    inverse_depths: "Tensor",
    *,
    radius_px: int = 3,
) -> "Tensor":
    """The mean correlation of a view's windows with those of other views, for every inverse depth.

    Args:
        reference: the view whose depth is asked for.
        others: views with other centres.
        inverse_depths: (D, 1, 1) for planes or (D, h, w) for each pixel, 1 / (units of the world), positive.
        radius_px: windows have 2 * radius_px + 1 pixels a side.

    Returns:
        (D, h, w) float32 in [-1, 1], on the device of the reference; 0 where no other view sees the place.
    """
    torch = require("torch", "video")
    image = reference.image
    height, width = image.shape
    pixels = pixel_grid(image)
    own = _Windows(image[None], radius_px)
    out = torch.empty((len(inverse_depths), height, width), device=image.device)
    chunk_values = _CHUNK_VALUES_CPU if image.device.type == "cpu" else _CHUNK_VALUES_GPU
    chunk = max(1, chunk_values // image.numel())
    motions = [Reprojection.between(reference.camera, other.camera, pixels) for other in others]
    for start in range(0, len(inverse_depths), chunk):
        part = inverse_depths[start : start + chunk]
        total = torch.zeros((len(part), height, width), device=image.device)
        seen = torch.zeros_like(total)
        for other, motion in zip(others, motions, strict=True):
            grid, inside = motion.grid(part)
            warped = lookup(other.image, grid, mode="bilinear")
            total += own.correlation(warped).mul_(inside)
            seen += inside
        out[start : start + chunk] = total / seen.clamp_min_(1)
    return out


@dataclass(frozen=True, eq=False)
class Reprojection:
    """Where another camera sees the pixels of a reference camera: at (far + inverse depth * shift), homogeneous."""

    far: "Tensor"
    """(3, h, w) float32: where it sees what is infinitely far away."""
    shift: tuple[float, float, float]
    """Towards its image of the reference camera's centre."""
    width: int
    height: int

    @staticmethod
    def between(reference: Camera, other: Camera, pixels: "Tensor") -> "Reprojection":
        """From `reference`, whose `pixel_grid` is `pixels`, to `other`."""
        torch = require("torch", "video")
        motion = other.camera_from_world @ reference.world_from_camera
        turned = torch.as_tensor(other.K @ motion[:3, :3] @ np.linalg.inv(reference.K), dtype=torch.float32)
        far = torch.tensordot(turned.to(pixels.device), pixels, 1)
        x, y, z = (other.K @ motion[:3, 3]).tolist()
        return Reprojection(far, (x, y, z), other.width, other.height)

    def grid(self, inverse_depths: "Tensor") -> tuple["Tensor", "Tensor"]:
        """For `lookup`: (D, h, w, 2) positions, and (D, h, w) bool whether they lie in the other image."""
        torch = require("torch", "video")
        # what is not in front of the other camera goes far out of its image
        per_depth = self.ahead(inverse_depths).clamp_min(1e-9).reciprocal()
        grid = torch.empty((*per_depth.shape, 2), device=per_depth.device)
        for axis, size in enumerate((self.width, self.height)):
            at = (self.far[axis] + inverse_depths * self.shift[axis]).mul_(per_depth)
            torch.sub(at.mul_(2 / size), 1, out=grid[..., axis])
        inside = (grid[..., 0].abs() <= 1) & (grid[..., 1].abs() <= 1)
        return grid, inside

    def ahead(self, inverse_depths: "Tensor") -> "Tensor":
        """(D, h, w): the depth in the other camera, over that in the reference camera."""
        return self.far[2] + inverse_depths * self.shift[2]


def pixel_grid(image: "Tensor") -> "Tensor":
    """(3, h, w) float32 on the device of an (h, w) image: (u, v, 1) of its pixels' centres."""
    torch = require("torch", "video")
    height, width = image.shape
    v, u = torch.meshgrid(
        torch.arange(height, device=image.device) + 0.5, torch.arange(width, device=image.device) + 0.5, indexing="ij"
    )
    return torch.stack([u, v, torch.ones_like(u)])


def lookup(image: "Tensor", grid: "Tensor", *, mode: str) -> "Tensor":
    """(D, h, w) values of an image (H, W) at a `Reprojection.grid`; what lies outside repeats the rim."""
    functional = require("torch.nn.functional", "video")
    depths, height, width, _ = grid.shape
    flat = grid.view(1, depths * height, width, 2)
    found = functional.grid_sample(image[None, None], flat, mode=mode, padding_mode="border", align_corners=False)
    return found.view(depths, height, width)


class _Windows:
    """Means and variances of an image's windows, to correlate other images with."""

    def __init__(self, image: "Tensor", radius_px: int):
        self._image, self._radius = image, radius_px
        self._mean = box_mean(image, radius_px)
        self._variance = self._variance_of(image, self._mean)

    def correlation(self, images: "Tensor") -> "Tensor":
        """(D, h, w) in [-1, 1] of (D, h, w) images with this one, window by window."""
        mean = box_mean(images, self._radius)
        variance = self._variance_of(images, mean)
        covariance = box_mean(images * self._image, self._radius).addcmul_(mean, self._mean, value=-1)
        return covariance.mul_(variance.mul_(self._variance).rsqrt_())

    def _variance_of(self, images: "Tensor", mean: "Tensor") -> "Tensor":
        squares = box_mean(images * images, self._radius).addcmul_(mean, mean, value=-1)
        return squares.clamp_min_(0).add_(_NOISE_VARIANCE)


def box_mean(images: "Tensor", radius_px: int) -> "Tensor":
    """(D, h, w) mean of every pixel's window; beyond the rim the rim's pixels repeat."""
    functional = require("torch.nn.functional", "video")
    height, width = images.shape[-2:]
    side = 2 * radius_px + 1
    padded = functional.pad(images[:, None], (radius_px,) * 4, mode="replicate")[:, 0]
    # on a CPU sums of shifted images are many times as fast as average pooling
    across = padded[..., :width].clone()
    for shift in range(1, side):
        across += padded[..., shift : shift + width]
    down = across[..., :height, :].clone()
    for shift in range(1, side):
        down += across[..., shift : shift + height, :]
    return down.mul_(1 / side**2)
