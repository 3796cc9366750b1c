"""Calibrations as files hold them, brought to the pixel convention of `bev.camera`."""

from pathlib import Path

import numpy as np

from bev.camera import Camera, rigid_fault
from bev.errors import UserError
from bev.readers.poses import parse_numbers, read_numbers


def pinhole(K: np.ndarray, size: tuple[int, int], where: str) -> Camera:
    """A camera at the origin from a stored calibration, (3, 3) pixels, of images of `size` (width, height).

    The rule for principal points, stated here and nowhere else: calibrations count the centre of the top-left pixel as
    (0, 0), `bev.camera` as (0.5, 0.5), so 0.5 is added (319.5 becomes 320 in an image 640 wide). A principal point at
    exactly (width / 2, height / 2) is taken as it is: it was written down as the image's centre, not measured.

    Raises:
        UserError: no pinhole matrix, or one for images of another size; `where` is named.
    """
    width, height = size
    K = np.array(K, np.float64)
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0 or np.abs(K[2] - [0, 0, 1]).max() > 1e-6:
        raise UserError(f"{where}: is no pinhole matrix (fx 0 cx, 0 fy cy, 0 0 1): {K.tolist()}")
    if not (0.25 < K[0, 2] / width < 0.75 and 0.25 < K[1, 2] / height < 0.75):
        raise UserError(
            f"{where}: the principal point ({K[0, 2]:g}, {K[1, 2]:g}) is far from the centre of the {width}x{height} "
            "images; is this the calibration of another image size? Give the right one with --intrinsics fx,fy,cx,cy"
        )
    if (K[0, 2], K[1, 2]) != (width / 2, height / 2):
        K[:2, 2] += 0.5
    return Camera(K, width, height, np.eye(4))


def read_K(path: Path, *, wanted_for: str) -> np.ndarray:
    """The (3, 3) matrix of a text file of 3x3 numbers, or of 4x4 as ScanNet writes it; as stored, in pixels.

    Raises:
        UserError: the file is missing (`wanted_for` says what it calibrates) or holds something else.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing: the intrinsics of {wanted_for}; add the file, or give --intrinsics fx,fy,cx,cy"
        )
    text = path.read_text(encoding="ascii", errors="replace")
    side = 4 if len(text.split()) == 16 else 3
    return np.array(parse_numbers(text, side * side, str(path))).reshape(side, side)[:3, :3]


def given_K(intrinsics: str) -> np.ndarray:
    """What `--intrinsics` says: the path of a 3x3 text file, or `fx,fy,cx,cy` in pixels; (3, 3) as given.

    Raises:
        UserError: neither.
    """
    if Path(intrinsics).is_file():
        return read_K(Path(intrinsics), wanted_for="the camera")
    words = intrinsics.split(",")
    if len(words) != 4:
        raise UserError(f"--intrinsics {intrinsics}: neither a file nor four numbers fx,fy,cx,cy in pixels")
    fx, fy, cx, cy = parse_numbers(" ".join(words), 4, f"--intrinsics {intrinsics}")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def read_rigid(path: Path) -> np.ndarray:
    """A rigid motion from a text file of 4x4 numbers, (4, 4) metres; identity where there is no such file.

    Raises:
        UserError: the file holds something else.
    """
    if not path.is_file():
        return np.eye(4)
    return checked_rigid(read_numbers(str(path), 16), str(path))


def checked_rigid(numbers: list[float], where: str) -> np.ndarray:
    """16 numbers as a rigid motion, (4, 4).

    Raises:
        UserError: they are none; `where` is named.
    """
    matrix = np.array(numbers).reshape(4, 4)
    fault = rigid_fault(matrix)
    if fault:
        raise UserError(f"{where}: {fault}, so it is no rigid motion")
    return matrix
