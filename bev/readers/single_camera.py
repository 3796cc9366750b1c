"""The one camera of a film or of photos: as given, or guessed until posing has estimated it."""

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole
from bev.readers.options import ReadOptions

_USUAL_FOCAL = 1.2
"""Focal length over the longer side: between a phone's film (about 1.0) and a phone's lens at twice its zoom."""


def single_camera(
    full_size: tuple[int, int], size: tuple[int, int], options: ReadOptions, focal_px: float | None = None
) -> Camera:
    """The camera of images shown at `full_size` and decoded at `size`, both (width, height).

    Without `options.intrinsics`, which speak of the full size, it is a guess: `focal_px` of the full size where
    something is known, else 1.2 x the longer side, and the principal point at the centre.

    Raises:
        UserError: the intrinsics given are none, or of another image size.
    """
    width, height = full_size
    if options.intrinsics is not None:
        K = given_K(options.intrinsics)
        return pinhole(K, full_size, f"--intrinsics {options.intrinsics}").resized(*size)
    focal_px = focal_px or _USUAL_FOCAL * max(full_size)
    K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    return Camera(K, width, height, np.eye(4)).resized(*size)


def refuse_what_needs_more(options: ReadOptions, path: object) -> None:
    """Options that speak of poses, depth or a mesh say nothing about bare images.

    Raises:
        UserError: one of them is given.
    """
    for option, value, lacking in (
        ("--depth-scale", options.depth_scale, "depth images"),
        ("--poses", options.poses, "stored poses"),
        ("--axes", options.axes, "stored poses"),
        ("--surface", options.surface, "stored poses that a surface could fit"),
    ):
        if value is not None:
            raise UserError(f"{option} {value}: {path} has no {lacking}; leave the option out")
