"""What a network that predicts depth looks like from outside, whoever made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

DepthKind = Literal["metre", "scaled", "inverse"]
"""What a network's numbers mean: metres; depth up to one factor; or inverse depth up to a factor and a shift."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of some images: one grid per image, which covers the whole image.

    A network that crops or pads has that undone by its adapter; one that only resizes needs nothing undone, because
    the grid's camera is the image's, resized.
    """

    depth: np.ndarray
    """(n, h, w) float32 along z, or inverse depth where `kind` says so."""
    confidence: np.ndarray
    """(n, h, w) float32, from 0, which says that there is no depth (sky); comparable within a prediction only."""
    kind: DepthKind
    """"scaled": the factor is the same for all images of a prediction where the network gives poses."""
    world_from_camera: np.ndarray | None = None
    """(n, 4, 4) float64, in the depth's own units and some world; None where the network gives no poses."""
    K: np.ndarray | None = None
    """(n, 3, 3) float64, pixels of the grid, whose top-left pixel has its centre at (0.5, 0.5)."""

    def __post_init__(self) -> None:
        if self.depth.ndim != 3 or self.confidence.shape != self.depth.shape:
            raise ValueError(
                f"depth and confidence must both be (n, h, w), got {self.depth.shape} and {self.confidence.shape}"
            )
        for name, matrices, size in (("world_from_camera", self.world_from_camera, 4), ("K", self.K, 3)):
            if matrices is not None and matrices.shape != (len(self.depth), size, size):
                raise ValueError(f"{name} must have shape ({len(self.depth)}, {size}, {size}), got {matrices.shape}")


class DepthModel(Protocol):
    """A loaded network: the adapters of this package, or an object of your own."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights."""
        ...

    @property
    def gives_poses(self) -> bool:
        """Whether a prediction holds poses and intrinsics."""
        ...

    @property
    def frames_at_once(self) -> int:
        """How many images of a few hundred pixels fit 24 GB of GPU memory at once."""
        ...

    def predict(
        self, images: Sequence[np.ndarray], K: np.ndarray | None, world_from_camera: np.ndarray | None
    ) -> Prediction:
        """Depth of some images of one scene.

        Args:
            images: (H, W, 3) uint8 RGB, all of one size.
            K: (n, 3, 3) float64, pixels of the images; None where they are not known.
            world_from_camera: (n, 4, 4) float64, where the images were taken; None where that is not known.
        """
        ...
