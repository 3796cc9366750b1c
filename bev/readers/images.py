"""Images of a capture: sizes from headers, decoding on access, lens distortion undone."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from bev.errors import UserError

_WHOLE_FILE_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""The end markers of JPEG and PNG."""


@dataclass(frozen=True, eq=False)
class Distortion:
    """A lens's distortion; the map that undoes it is built on first use, and kept while it is among the last used."""

    K: np.ndarray
    """(3, 3) float64 pixels; also of the pinhole camera that results."""
    coefficients: tuple[float, ...]
    """OpenCV's model: k1 k2 p1 p2, then k3, then k4 k5 k6; of a fisheye lens its k1 k2 k3 k4."""
    width: int
    height: int
    fisheye: bool = False
    """OpenCV's fisheye model, in which the angle from the axis goes through the polynomial."""

    def undone_color(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 of the real lens as a pinhole camera sees it.

        What lies outside of the real image repeats its rim: black would be taken for the colour of the room.
        """
        return cv2.remap(image, *_maps(self), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def undone_depth(self, depth: np.ndarray) -> np.ndarray:
        """(H, W) depth of the real lens as a pinhole camera sees it, unmixed; 0 outside of the real image."""
        return cv2.remap(depth, *_maps(self), cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


@dataclass(frozen=True, eq=False)
class Undistorted:
    """Reads an image as a pinhole camera sees it: a frame's `read_color`, through a lens that was found later."""

    read_color: Callable[[], np.ndarray]
    """(H, W, 3) uint8 RGB of the real lens."""
    distortion: Distortion

    def __call__(self) -> np.ndarray:
        return self.distortion.undone_color(self.read_color())


@lru_cache(maxsize=8)  # a structure from motion may have given every image a lens of its own: gigabytes of maps
def _maps(lens: Distortion) -> tuple[np.ndarray, np.ndarray]:
    """Where in the real image each pixel of the pinhole image is: x and y, (H, W) float32, OpenCV's pixels."""
    K = lens.K.copy()
    K[:2, 2] -= 0.5  # OpenCV counts the centre of the top-left pixel as (0, 0)
    coefficients = np.array(lens.coefficients, np.float64)
    undistort = cv2.fisheye.initUndistortRectifyMap if lens.fisheye else cv2.initUndistortRectifyMap
    x, y = undistort(K, coefficients, np.eye(3), K, (lens.width, lens.height), cv2.CV_32FC1)
    return x, y


def image_size(path: str) -> tuple[int, int]:
    """(width, height) from the file's header; nothing is decoded.

    Raises:
        UserError: the file is missing or no image.
    """
    return _size(path, path)


def size_from_bytes(data: bytes, where: str) -> tuple[int, int]:
    """As `image_size`, of an image file that lies inside of another file; `where` names it in messages."""
    return _size(io.BytesIO(data), where)


def _size(file: str | io.BytesIO, where: str) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return image.size
    except (UnidentifiedImageError, SyntaxError, ValueError, ImportError) as error:
        raise _undecodable(where) from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror or error})") from error


def read_color(
    path: str,
    size: tuple[int, int],
    distortion: Distortion | None = None,
    stored_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decode a colour image, make it smaller if the scan wants that, and undo its lens's distortion.

    Args:
        path: JPEG or PNG; its EXIF orientation is ignored, because calibrations speak of the pixels as stored.
        size: (width, height) that the camera of the scan has.
        distortion: None for a pinhole image.
        stored_size: (width, height) of the file where that is larger than `size`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: missing, does not decode, cut short, or of another size.
    """
    return color_from_bytes(_bytes(path), path, size, distortion, stored_size)


def color_from_bytes(
    data: bytes,
    where: str,
    size: tuple[int, int],
    distortion: Distortion | None = None,
    stored_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """As `read_color`, of an image file that lies inside of another file; `where` names it in messages."""
    image = _decoded(data, where, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    _check_size(where, image, stored_size or size)
    if stored_size is not None and stored_size != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image if distortion is None else distortion.undone_color(image)


def read_depth(
    path: str,
    size: tuple[int, int],
    units_per_m: float,
    none_value: int | None = None,
    distortion: Distortion | None = None,
) -> np.ndarray:
    """Decode a depth image.

    Args:
        path: 16-bit PNG with one channel, 0 = none.
        size: (width, height) that the camera of the scan has.
        units_per_m: stored units per metre.
        none_value: another stored value that means none.
        distortion: for depth registered to a colour image that is distorted itself.

    Returns:
        (H, W) float32 metres, 0 = none.

    Raises:
        UserError: missing, does not decode, cut short, not 16 bit, or of another size.
    """
    stored = decoded(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        channels, bits = 1 if stored.ndim == 2 else stored.shape[2], stored.dtype.itemsize * 8
        raise UserError(f"{path}: depth must be a 16-bit PNG with one channel, this has {channels} of {bits} bit")
    _check_size(path, stored, size)
    if none_value is not None:
        stored[stored == none_value] = 0
    if distortion is not None:
        stored = distortion.undone_depth(stored)
    return stored * np.float32(1 / units_per_m)


def read_confidence(path: str, size: tuple[int, int]) -> np.ndarray:
    """Decode what a depth sensor thinks of each of its pixels.

    Args:
        path: 8-bit PNG with one channel.
        size: (width, height) of the depth image.

    Returns:
        (H, W) uint8 as stored; 0 is the least.

    Raises:
        UserError: missing, does not decode, cut short, not 8 bit, or of another size.
    """
    stored = decoded(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint8:
        channels, bits = 1 if stored.ndim == 2 else stored.shape[2], stored.dtype.itemsize * 8
        raise UserError(f"{path}: confidence must be an 8-bit PNG with one channel, this has {channels} of {bits} bit")
    _check_size(path, stored, size)
    return stored


def decoded(path: str, flags: int) -> np.ndarray:
    """A whole image as OpenCV decodes it with `flags`: colours as BGR.

    Raises:
        UserError: missing, does not decode, or cut short.
    """
    return _decoded(_bytes(path), path, flags)


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _decoded(data: bytes, where: str, flags: int) -> np.ndarray:
    # some decoders fill what is missing with grey and say nothing
    if not data.rstrip(b"\0").endswith(_WHOLE_FILE_ENDS) and not _pillow_decodes(data):
        raise _undecodable(where)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise _undecodable(where)
    return image


def _pillow_decodes(data: bytes) -> bool:
    """Slow and strict: for files with something behind their end marker, and for other image formats."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, ImportError):
        # ImportError: another package of the process may have made Pillow ask for plugins that are not there
        return False
    return True


def _check_size(path: str, image: np.ndarray, size: tuple[int, int]) -> None:
    height, width = image.shape[:2]
    if (width, height) != size:
        raise UserError(
            f"{path}: is {width}x{height}, the first frame's is {size[0]}x{size[1]}; "
            "all images of one camera must be of one size"
        )


def _undecodable(path: str) -> UserError:
    return UserError(
        f"{path}: does not decode as an image, is it damaged or cut short? Copy it again or remove its frame"
    )
