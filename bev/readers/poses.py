"""Camera poses as files hold them: text to matrices, other conventions, the faults of single frames."""

from pathlib import Path

import numpy as np

from bev.camera import RIGID_TOLERANCE, rigid_fault
from bev.errors import UserError
from bev.scan import Axes, Poses

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def read_numbers(path: str, count: int) -> list[float]:
    """The `count` numbers of a text file.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_numbers(text, count, path)


def parse_numbers(text: str, count: int, where: str) -> list[float]:
    """The `count` numbers of a text; NaN and infinity are numbers here.

    Raises:
        UserError: the text holds something else; `where` is named.
    """
    words = text.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise UserError(f"{where}: must hold {count} numbers, but {error}") from error
    if len(numbers) != count:
        raise UserError(f"{where}: must hold {count} numbers, holds {len(numbers)}")
    return numbers


def read_pose_files(paths: list[str]) -> np.ndarray:
    """One 4x4 matrix per text file, as stored: (n, 4, 4) float64."""
    return np.array([read_numbers(path, 16) for path in paths], np.float64).reshape(-1, 4, 4)


def rigid_only(matrices: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Leave out matrices that are no rigid motion, and make the others exactly rigid.

    Rounded text is off by up to 1e-3: the nearest rotation (by SVD) takes its place.

    Args:
        matrices: (n, 4, 4) as stored.
        names: n places to name, files or lines.

    Returns:
        kept (n,) bool; the kept matrices, (k, 4, 4) float64; warnings, one line if any was left out.

    Raises:
        UserError: more than half would be left out.
    """
    rotations = matrices[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        skew = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        last_row = np.abs(matrices[:, 3] - [0, 0, 0, 1]).max(axis=1)
        finite = np.isfinite(matrices).all(axis=(1, 2))
        kept = finite & (skew <= RIGID_TOLERANCE) & (last_row <= RIGID_TOLERANCE) & (np.linalg.det(rotations) > 0)
    warnings = _skipped(matrices, kept, names)
    rigid = matrices[kept]
    u, _, vt = np.linalg.svd(rigid[:, :3, :3])
    rigid[:, :3, :3] = u @ vt
    rigid[:, 3] = 0, 0, 0, 1
    return kept, rigid, warnings


def world_from_cameras(stored: np.ndarray, poses: Poses, axes: Axes) -> np.ndarray:
    """Stored rigid poses, (n, 4, 4), as world-from-camera with OpenCV's camera axes."""
    world_from_camera = _inverted(stored) if poses == "camera_from_world" else stored
    return world_from_camera @ OPENCV_FROM_OPENGL if axes == "opengl" else world_from_camera


def stored_poses(world_from_camera: np.ndarray, poses: Poses, axes: Axes) -> np.ndarray:
    """The inverse of `world_from_cameras`: what the file held, (n, 4, 4)."""
    turned = world_from_camera @ OPENCV_FROM_OPENGL if axes == "opengl" else world_from_camera
    return _inverted(turned) if poses == "camera_from_world" else turned


def _inverted(b_from_a: np.ndarray) -> np.ndarray:
    a_from_b = np.zeros_like(b_from_a)
    rotations = b_from_a[:, :3, :3].transpose(0, 2, 1)
    a_from_b[:, :3, :3] = rotations
    a_from_b[:, :3, 3] = -np.einsum("nij,nj->ni", rotations, b_from_a[:, :3, 3])
    a_from_b[:, 3, 3] = 1
    return a_from_b


def _skipped(matrices: np.ndarray, kept: np.ndarray, names: list[str]) -> tuple[str, ...]:
    skipped = np.flatnonzero(~kept)
    if not len(skipped):
        return ()
    first = f"{names[skipped[0]]} {rigid_fault(matrices[skipped[0]])}"
    if len(skipped) > len(kept) / 2:
        raise UserError(
            f"{first}; {len(skipped)} of {len(kept)} poses are no rigid motion: "
            "each must be a 4x4 matrix of a rotation and a translation in metres"
        )
    return (f"{len(skipped)} of {len(kept)} frames skipped, their pose is no rigid motion; first: {first}",)
