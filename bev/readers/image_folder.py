"""A folder of photos, or of frames taken out of a film: images and nothing else."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bev.errors import UserError
from bev.exif import Photo, read_photo
from bev.readers.capture import FRAMES_PER_SECOND
from bev.readers.images import decoded
from bev.readers.lenses import natural_key
from bev.readers.options import ReadOptions
from bev.readers.recording import smaller_size
from bev.readers.single_camera import refuse_what_needs_more, single_camera
from bev.scan import Frame, Scan

LOOKED_FOR = "three or more .jpg, .png, .webp or .tif images directly in the folder"

IMAGES_MIN = 3

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_HEIC_ENDINGS = (".heic", ".heif", ".avif")
_OTHER_LENS = 1.1
"""Focal lengths that differ by more than this factor are not one camera's."""
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

# EXIF orientation to whether rows become columns, then steps down and across
_UPRIGHT = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}


def looks_like(path: Path) -> bool:
    """Whether at least three images, or photos that must be converted first, lie directly in the folder."""
    return path.is_dir() and len(_images(path, (*_ENDINGS, *_HEIC_ENDINGS))) >= IMAGES_MIN


def read(path: Path, options: ReadOptions) -> Scan:
    """List the images of a folder by their names, `img2` before `img10`.

    They decode when they are asked for, upright (EXIF orientation applied) and at most `long_side_px` long. A frame's
    index is the image's position in that order, from 0; its timestamp index / 30, since EXIF's time is whole seconds.
    There are no poses; the camera is a guess, from EXIF's focal length where there is one, unless intrinsics are given,
    in pixels of the upright images.

    Raises:
        UserError: fewer than three images, images of several sizes, one that is none, or HEIC.
    """
    refuse_what_needs_more(options, path)
    names = _usable(path)
    photos = [read_photo(str(path / name)) for name in names]
    _check_one_size(path, names, photos)
    full_size = photos[0].width, photos[0].height
    size = smaller_size(full_size, options.long_side_px)
    focals = [photo.focal_px for photo in photos if photo.focal_px]
    camera = single_camera(full_size, size, options, float(np.median(focals)) if focals else None)
    frames = tuple(
        Frame(i, i / FRAMES_PER_SECOND, camera, partial(_read_upright, str(path / name), photo, size))
        for i, (name, photo) in enumerate(zip(names, photos, strict=True))
    )
    return Scan(
        name=path.name,
        path=path,
        reader="images",
        frames=frames,
        has_poses=False,
        has_intrinsics=options.intrinsics is not None,
        units="arbitrary",
        warnings=_several_lenses(path, names, photos),
    )


def _images(path: Path, endings: Sequence[str]) -> list[str]:
    # a copy to another file system leaves `._IMG_1.jpg` beside `IMG_1.jpg`
    names = (entry.name for entry in path.iterdir() if not entry.name.startswith(".") and entry.is_file())
    return sorted(
        (name for name in names if name.lower().endswith(tuple(endings))), key=lambda name: natural_key(name.lower())
    )


def _usable(path: Path) -> list[str]:
    names = _images(path, _ENDINGS)
    converted = {Path(name).stem.lower() for name in names}
    heic = [name for name in _images(path, _HEIC_ENDINGS) if Path(name).stem.lower() not in converted]
    if heic:
        raise UserError(
            f"{path / heic[0]}: {len(heic)} of the photos are HEIC, which is not read; convert them, "
            f"`magick mogrify -format jpg '{path}'/*{Path(heic[0]).suffix}` (macOS: `sips -s format jpeg`), "
            "or set the phone's camera to its most compatible format"
        )
    if len(names) < IMAGES_MIN:
        raise UserError(f"{path}: holds {len(names)} images; a room needs at least {IMAGES_MIN}, better 30 or more")
    return names


def _check_one_size(path: Path, names: list[str], photos: list[Photo]) -> None:
    counts = Counter((photo.width, photo.height) for photo in photos)
    if len(counts) == 1:
        return
    usual, count = counts.most_common(1)[0]
    name, photo = next((n, p) for n, p in zip(names, photos, strict=True) if (p.width, p.height) != usual)
    raise UserError(
        f"{path}: {count} of {len(photos)} images are {usual[0]}x{usual[1]}, but {name} is {photo.width}x{photo.height}"
        "; all must come from one camera, held one way: remove those that differ"
    )


def _several_lenses(path: Path, names: list[str], photos: list[Photo]) -> tuple[str, ...]:
    known = sorted((photo.focal_px, name) for photo, name in zip(photos, names, strict=True) if photo.focal_px)
    if not known or known[-1][0] <= _OTHER_LENS * known[0][0]:
        return ()
    (shortest, wide), (longest, tele) = known[0], known[-1]
    return (
        f"{path.name}: {tele} was taken with {longest / shortest:.1f} times the focal length of {wide}, but one "
        "camera is assumed; leave out what was zoomed or taken with another lens",
    )


def _read_upright(path: str, photo: Photo, size: tuple[int, int]) -> np.ndarray:
    """Decode a photo at `size` (width, height): (H, W, 3) uint8 RGB, upright.

    Raises:
        UserError: missing, does not decode, or is another image than it was.
    """
    turned, down, across = _UPRIGHT[photo.orientation]
    stored = (photo.height, photo.width) if turned else (photo.width, photo.height)
    reduction = max((r for r in _REDUCED if _is_exact(r, stored) and max(stored) >= r * max(size)), default=1)
    image = decoded(path, _REDUCED.get(reduction, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION)
    if (image.shape[1] * reduction, image.shape[0] * reduction) != stored:
        raise UserError(f"{path}: is no longer of {stored[0]}x{stored[1]} pixels; it changed while it was in use")
    wanted = (size[1], size[0]) if turned else size
    if wanted != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, wanted, interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray((image.transpose(1, 0, 2) if turned else image)[::down, ::across])


def _is_exact(reduction: int, size: tuple[int, int]) -> bool:
    """JPEG decodes at a half, a quarter, an eighth; a size that is rounded then would shift the principal point."""
    return size[0] % reduction == 0 and size[1] % reduction == 0
