"""Images that may each have a lens of their own, as structure from motion and phones write them.

Principal points here are `bev.camera`'s already, the centre of the top-left pixel at (0.5, 0.5): COLMAP, nerfstudio,
instant-ngp and ARKit count from the corner of the image too, so nothing is added.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.readers.calibration import given_K, pinhole
from bev.readers.capture import FRAMES_PER_SECOND
from bev.readers.images import Distortion, image_size, read_color, read_confidence, read_depth
from bev.readers.recording import Moment, confident, smaller_size

_FRAME_NUMBER_MAX = 10_000_000
"""Larger numbers in file names are times or hashes."""


@dataclass(frozen=True)
class Lens:
    """The calibration of one or several images, as files hold it; equal numbers are one lens."""

    where: str = field(compare=False)
    """Where it stands, for messages."""
    fx: float
    fy: float
    cx: float
    cy: float
    """All four in pixels."""
    width: int
    height: int
    coefficients: tuple[float, ...] = ()
    """See `Distortion`; empty for a pinhole."""
    fisheye: bool = False

    def camera(self, size: tuple[int, int]) -> Camera:
        """The pinhole camera that is left when the distortion is undone, at the identity, of images of `size`."""
        K = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)
        return Camera(K, self.width, self.height, np.eye(4)).resized(*size)


@dataclass(frozen=True)
class Picture:
    """One image of a capture and what goes with it."""

    name: str
    """What the capture calls it."""
    color_path: str
    lens: Lens
    timestamp_s: float | None = None
    depth_path: str | None = None
    """Registered to the image, of any size."""
    confidence_path: str | None = None
    """Of the depth, see `read_confidence`."""
    row: int = 0
    """Its place in the reader's own lists."""


def checked(lens: Lens) -> Lens:
    """The same lens, if it can be one.

    Raises:
        UserError: focal lengths or a size that are not positive, numbers that are none.
    """
    numbers = (lens.fx, lens.fy, lens.cx, lens.cy, *lens.coefficients)
    if not all(map(math.isfinite, numbers)) or min(lens.fx, lens.fy, lens.width, lens.height) <= 0:
        raise UserError(
            f"{lens.where}: focal lengths and image size must be positive and all numbers finite, found "
            f"fx {lens.fx:g}, fy {lens.fy:g}, cx {lens.cx:g}, cy {lens.cy:g} of {lens.width}x{lens.height}"
        )
    return lens


def lenses_checked(pictures: Sequence[Picture], intrinsics: str | None) -> list[Picture]:
    """The same pictures, every lens compared with the first image that it took, or `--intrinsics` in place of all.

    `intrinsics` are of images without distortion, as they lie in the folder.

    Raises:
        UserError: the size of an image is another one than its lens speaks of.
    """
    if intrinsics is not None:
        size = image_size(pictures[0].color_path)
        where = f"--intrinsics {intrinsics}"
        K = pinhole(given_K(intrinsics), size, where).K
        given = Lens(where, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), *size)
        return [replace(picture, lens=given) for picture in pictures]
    first_of: dict[Lens, Picture] = {}
    for picture in pictures:
        first_of.setdefault(picture.lens, picture)
    for lens, picture in first_of.items():
        width, height = image_size(picture.color_path)
        if (width, height) != (lens.width, lens.height):
            raise UserError(
                f"{picture.color_path}: is {width}x{height}, but the intrinsics in {lens.where} are of images of "
                f"{lens.width}x{lens.height}; put the images of that size there, or give the intrinsics of these with "
                "--intrinsics fx,fy,cx,cy"
            )
    return list(pictures)


def depth_for_all_or_none(pictures: list[Picture]) -> tuple[list[Picture], tuple[str, ...]]:
    """Pictures of which all have depth or none: what is in the minority gives way, and a line says so."""
    lacking = [picture for picture in pictures if picture.depth_path is None]
    if not lacking or len(lacking) == len(pictures):
        return pictures, ()
    count = f"{len(lacking)} of {len(pictures)} images have no depth"
    if len(lacking) > len(pictures) / 2:
        bare = [replace(picture, depth_path=None, confidence_path=None) for picture in pictures]
        return bare, (f"{count}; the depth of the others is left aside",)
    whole = [picture for picture in pictures if picture.depth_path is not None]
    return whole, (f"{count} and are left out; first: {lacking[0].name}",)


def moments_of(
    pictures: Sequence[Picture], indices: Sequence[int], *, long_side_px: int, depth_units_per_m: float = 1000.0
) -> list[Moment]:
    """The moments of a recording, nothing decoded yet.

    Args:
        pictures: n images.
        indices: n frame numbers.
        long_side_px: larger images are made smaller when they are decoded; depth stays as it is.
        depth_units_per_m: stored depth units per metre.

    Raises:
        UserError: depth of another shape than its image.
    """
    cameras: dict[tuple[Lens, tuple[int, int]], tuple[Camera, Distortion | None]] = {}

    def camera_of(lens: Lens, size: tuple[int, int]) -> tuple[Camera, Distortion | None]:
        if (lens, size) not in cameras:
            camera = lens.camera(size)
            undone = Distortion(camera.K, lens.coefficients, *size, lens.fisheye) if _distorts(lens) else None
            cameras[lens, size] = camera, undone
        return cameras[lens, size]

    moments = []
    depth_sizes = _depth_sizes(pictures)
    for picture, index in zip(pictures, indices, strict=True):
        stored_size = (picture.lens.width, picture.lens.height)
        size = smaller_size(stored_size, long_side_px)
        camera, distortion = camera_of(picture.lens, size)
        moment = Moment(
            index,
            index / FRAMES_PER_SECOND if picture.timestamp_s is None else picture.timestamp_s,
            camera,
            partial(read_color, picture.color_path, size, distortion, stored_size),
        )
        if picture.depth_path is not None:
            size = depth_sizes[picture.lens]
            camera, distortion = camera_of(picture.lens, size)
            read = partial(read_depth, picture.depth_path, size, depth_units_per_m, None, distortion)
            levels = picture.confidence_path and partial(_read_levels, picture.confidence_path, size, distortion)
            moment = replace(moment, depth_camera=camera, read_depth=confident(read, levels or None))
        moments.append(moment)
    return moments


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """For sorting names as people do: 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def frame_numbers(names: Sequence[str]) -> list[int]:
    """The numbers that sorted names of images end in, where those are unique and ascending; else 0, 1, 2, ..."""
    endings = [re.search(r"(\d+)(\.\w+)?$", name) for name in names]
    numbers = [int(ending.group(1)) for ending in endings if ending is not None]
    ascending = all(a < b for a, b in pairwise(numbers))
    if len(numbers) == len(names) and ascending and numbers[-1] <= _FRAME_NUMBER_MAX:
        return numbers
    return list(range(len(names)))


def gone(names: Sequence[str], missing: Sequence[str], named_by: str, looked_in: str) -> tuple[str, ...]:
    """A warning, one line, where some of the `names` are `missing` from where their images should lie.

    Raises:
        UserError: more than half are.
    """
    if not missing:
        return ()
    count = f"{len(missing)} of the {len(names)} images that {named_by} names are not in {looked_in}"
    if len(missing) > len(names) / 2:
        raise UserError(f"{count}; first: {missing[0]}; put the images there under these names")
    return (f"{count} and are left out; first: {missing[0]}",)


def _distorts(lens: Lens) -> bool:
    return lens.fisheye or any(lens.coefficients)


def _read_levels(path: str, size: tuple[int, int], distortion: Distortion | None) -> np.ndarray:
    """Confidence as the pinhole camera sees it: (H, W) uint8."""
    levels = read_confidence(path, size)
    return levels if distortion is None else distortion.undone_depth(levels)


def _depth_sizes(pictures: Sequence[Picture]) -> dict[Lens, tuple[int, int]]:
    """(width, height) of the first depth image of every lens."""
    sizes: dict[Lens, tuple[int, int]] = {}
    for picture in pictures:
        if picture.depth_path is not None and picture.lens not in sizes:
            width, height = sizes[picture.lens] = image_size(picture.depth_path)
            if abs(width / height * picture.lens.height / picture.lens.width - 1) > 0.02:
                raise UserError(
                    f"{picture.depth_path}: is {width}x{height}, of another shape than its image of "
                    f"{picture.lens.width}x{picture.lens.height}; in this format depth is registered to colour"
                )
    return sizes
