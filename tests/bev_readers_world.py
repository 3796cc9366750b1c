"""A room with one block, cast by numpy, for tests that write small captures in a format and read them back."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bev.camera import Camera, pixel_centers

ROOM = np.array([[-2.0, -1.5, 0.0], [2.0, 1.5, 2.5]])
BLOCK = np.array([[-0.4, -0.5, 0.0], [0.5, 0.3, 0.9]])
DOTS = np.array([[2.0, y, z] for y in (-0.9, -0.3, 0.3, 0.9) for z in (1.2, 1.6, 2.0)])
"""(12, 3) metres: centres of soft white dots on the wall at x = 2."""
_DOT_SIGMA_M = 0.03


def looking_from(x: float, y: float, z: float, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> np.ndarray:
    """World from camera, (4, 4): a camera that looks along +x, turned left by yaw and down by pitch."""
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = x, y, z
    return matrix


def walk(count: int) -> np.ndarray:
    """World from camera, (count, 4, 4): a walk around the middle of the room, looking outwards and down."""
    angles = np.linspace(0.0, 2.2, count)
    return np.array(
        [
            looking_from(-1.0 + 0.9 * np.sin(a), 0.8 * np.cos(a), 1.4 + 0.1 * np.sin(3 * a), -25 + 40 * a, 15)
            for a in angles
        ]
    )


def depth_at(camera: Camera, uv: np.ndarray) -> np.ndarray:
    """Exact depth behind pixels, (N,) metres along z."""
    origins, directions = camera.rays(uv)
    with np.errstate(divide="ignore"):
        leave = np.max((ROOM[:, None] - origins) / directions, axis=0).min(axis=1)
        hits = (BLOCK[:, None] - origins) / directions
    enter, out = hits.min(axis=0).max(axis=1), hits.max(axis=0).min(axis=1)
    return np.where((enter < out) & (enter > 0), enter, leave)


def color_at(camera: Camera, uv: np.ndarray) -> np.ndarray:
    """Colours behind pixels, (N, 3) uint8: dark walls with soft white dots, green floor, blue block."""
    points = camera.unproject(uv, depth_at(camera, uv))
    colors = np.full(points.shape, 20.0)
    wall = points[:, 0] > ROOM[1, 0] - 1e-6
    distance = np.linalg.norm(points[wall, None] - DOTS, axis=2).min(axis=1)
    colors[wall] += 200 * np.exp(-((distance / _DOT_SIGMA_M) ** 2) / 2)[:, None]
    colors[points[:, 2] < 1e-6] = 20, 160, 20
    colors[in_block(points)] = 20, 20, 160
    return colors.round().astype(np.uint8)


def in_block(points: np.ndarray) -> np.ndarray:
    """Which points (N, 3) lie on or in the block, (N,) bool."""
    return ((points > BLOCK[0] - 1e-3) & (points < BLOCK[1] + 1e-3)).all(axis=1)


def off_surface_m(points: np.ndarray) -> np.ndarray:
    """How far points (N, 3) lie from the nearest surface of the room, (N,) metres."""
    to_room = np.abs(points[:, None] - ROOM).min(axis=(1, 2))
    outside = np.maximum(np.maximum(BLOCK[0] - points, points - BLOCK[1]), 0)
    to_block = np.where(
        outside.any(axis=1), np.linalg.norm(outside, axis=1), np.abs(points[:, None] - BLOCK).min((1, 2))
    )
    return np.minimum(to_room, to_block)


def images(
    camera: Camera, real_uv: Callable[[np.ndarray], np.ndarray] = lambda uv: uv
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3) uint8 and depth (H, W) metres; `real_uv` maps a real lens's pixels to the pinhole's."""
    uv = real_uv(pixel_centers(camera.width, camera.height))
    shape = (camera.height, camera.width)
    return color_at(camera, uv).reshape(*shape, 3), depth_at(camera, uv).reshape(shape)


def distorted_by(camera: Camera, coefficients: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """For `images`: where the pixels of a lens with OpenCV's `coefficients` look, in pinhole pixels."""

    def real_uv(uv: np.ndarray) -> np.ndarray:
        shift = np.array([0.5, 0.5])
        K = camera.K.copy()
        K[:2, 2] -= shift
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
        undone = cv2.undistortPoints((uv - shift)[:, None], K, np.array(coefficients), None, None, K, criteria)
        return undone[:, 0] + shift

    return real_uv


def found_dots(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where the white dots are, and where `camera` says they are: both (k, 2) pixels, of dots well within view."""
    expected, depth = camera.project(DOTS)
    reach = np.ceil(4 * _DOT_SIGMA_M * camera.K[0, 0] / depth.max()).astype(int)
    inside = ((expected > reach + 1) & (expected < [camera.width - reach - 1, camera.height - reach - 1])).all(axis=1)
    found = []
    for u, v in expected[inside]:
        x, y = int(u), int(v)
        patch = image[y - reach : y + reach + 1, x - reach : x + reach + 1, 0].astype(float) - 20
        rows, columns = np.mgrid[y - reach : y + reach + 1, x - reach : x + reach + 1] + 0.5
        found.append([(columns * patch).sum() / patch.sum(), (rows * patch).sum() / patch.sum()])
    return np.array(found).reshape(-1, 2), expected[inside]


def write_color(path: Path, image: np.ndarray) -> None:
    """RGB to a JPEG of high quality, or to a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])


def write_depth(path: Path, depth: np.ndarray, units_per_m: float) -> None:
    """Metres to a 16-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), (depth * units_per_m).round().astype(np.uint16))


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    """Rows of numbers, as every format has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(" ".join(f"{number:.9g}" for number in row) for row in matrix) + "\n")
