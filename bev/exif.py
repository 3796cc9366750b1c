"""What a photo's header says: its size as it is shown, and the focal length."""

import math
import struct
from dataclasses import dataclass
from typing import Any

from bev.errors import UserError

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_FOCAL_MM, _FOCAL_35MM = 0x920A, 0xA405
_PLANE_X_PER_UNIT, _PLANE_UNIT, _PIXELS_ACROSS = 0xA20E, 0xA210, 0xA002
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0}
_DIAGONAL_35MM = math.hypot(36, 24)

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that turn rows into columns."""


@dataclass(frozen=True)
class Photo:
    """The header of a photo."""

    width: int
    """As it is shown, its orientation applied."""
    height: int
    orientation: int
    """EXIF's, 1 to 8; 1 where the photo has none."""
    focal_px: float | None
    """Focal length in pixels of the photo at full size, as far as EXIF tells: within some 10 %."""


def read_photo(path: str) -> Photo:
    """Read a photo's header; nothing is decoded. EXIF that is damaged counts as none.

    Raises:
        UserError: the file is missing or no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation, focal_px = _from_exif(image)
    except (UnidentifiedImageError, SyntaxError, ValueError, ImportError) as error:
        raise UserError(
            f"{path}: does not decode as an image, is it damaged or cut short? Copy it again or remove it"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Photo(width, height, orientation, focal_px)


def _from_exif(image: Any) -> tuple[int, float | None]:
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        focal_px = _focal_px(exif.get_ifd(_EXIF_IFD), *image.size)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error, ZeroDivisionError):
        return 1, None
    return (orientation if orientation in range(1, 9) else 1), focal_px


def _focal_px(tags: Any, width: int, height: int) -> float | None:
    """From the 35 mm equivalent, of the diagonal (CIPA DCG-001), or from the focal length and the sensor."""
    equivalent_mm = float(tags.get(_FOCAL_35MM) or 0)
    if equivalent_mm > 0:
        return equivalent_mm / _DIAGONAL_35MM * math.hypot(width, height)
    focal_mm, per_unit = float(tags.get(_FOCAL_MM) or 0), float(tags.get(_PLANE_X_PER_UNIT) or 0)
    unit_mm = _MM_PER_UNIT.get(tags.get(_PLANE_UNIT, 2))
    if not (focal_mm > 0 and per_unit > 0 and unit_mm) or not math.isfinite(focal_mm * per_unit):
        return None
    # the sensor's resolution is that of the photo as it was taken, which this file may be a smaller copy of
    return focal_mm * per_unit / unit_mm * max(width, height) / float(tags.get(_PIXELS_ACROSS) or max(width, height))
