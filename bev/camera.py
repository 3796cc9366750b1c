"""Cameras, and the conventions that everything else refers to.

Camera axes are OpenCV's: +x right, +y down, +z forward. The world is right-handed with +z up, in metres, the floor at
z = 0, walls along x and y. Transforms are named `world_from_camera`: the product `world_from_camera @ point_in_camera`
is a point in the world. Pixels are `uv` = (x, y), continuous; the centre of the top-left pixel is (0.5, 0.5).
Images are (H, W, 3) uint8 RGB; depth is (H, W) float32 metres along z, 0 = none. Sizes go as `width, height`, shapes
as (H, W).

A bird's-eye view is just another view: `OrthoCamera` has the pinhole's interface.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

RIGID_TOLERANCE = 1e-3


class View(Protocol):
    """What visibility, placement and drawing need from a camera, pinhole or orthographic."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def world_from_camera(self) -> np.ndarray: ...
    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def unproject(self, uv: np.ndarray, depth: np.ndarray) -> np.ndarray: ...
    def rays(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def resized(self, width: int, height: int) -> "View": ...


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera without distortion, somewhere in the world."""

    K: np.ndarray
    """(3, 3) float64, pixels."""
    width: int
    height: int
    world_from_camera: np.ndarray
    """(4, 4) float64, metres; a rigid motion."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "K", _matrix(self.K, (3, 3), "K"))
        object.__setattr__(self, "world_from_camera", _matrix(self.world_from_camera, (4, 4), "world_from_camera"))
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0 or self.width <= 0 or self.height <= 0:
            raise ValueError(
                f"focal lengths and size must be positive, got {self.K.tolist()}, {self.width}x{self.height}"
            )

    @property
    def camera_from_world(self) -> np.ndarray:
        """(4, 4) float64."""
        return invert_rigid(self.world_from_camera)

    @property
    def center(self) -> np.ndarray:
        """(3,) float64, metres: where the camera stands in the world."""
        return self.world_from_camera[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points to the image.

        Args:
            points: (N, 3), metres.

        Returns:
            uv (N, 2) pixels, NaN where the point is not in front of the camera; depth (N,) metres along z.
        """
        x, y, depth = self.points_in_camera(np.asarray(points, np.float64)).T
        z = np.where(depth > 1e-9, depth, np.nan)
        uv = np.stack(
            [(self.K[0, 0] * x + self.K[0, 1] * y) / z + self.K[0, 2], self.K[1, 1] * y / z + self.K[1, 2]], axis=1
        )
        return uv, depth

    def points_in_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) metres, float32 or float64, to this camera's frame, in the same type."""
        return transform_points(self.camera_from_world, points)

    def unproject(self, uv: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Pixels with depth back to the world: uv (N, 2), depth (N,) metres along z, to (N, 3) metres."""
        origins, directions = self.rays(uv)
        return origins + directions * np.asarray(depth, np.float64)[:, None]

    def rays(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays through pixels: origins (N, 3) and directions (N, 3) whose unit of length is one metre of depth."""
        uv = np.asarray(uv, np.float64)
        y = (uv[:, 1] - self.K[1, 2]) / self.K[1, 1]
        x = (uv[:, 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        turned_only = np.column_stack([self.world_from_camera[:3, :3], np.zeros(3)])
        directions = transform_points(turned_only, np.stack([x, y, np.ones_like(x)], axis=1))
        return np.broadcast_to(self.center, directions.shape), directions

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera with its image scaled to `width` x `height` pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, K=scale @ self.K, width=width, height=height)

    def moved(self, world_from_old: np.ndarray) -> "Camera":
        """The same camera in another world frame."""
        return replace(self, world_from_camera=world_from_old @ self.world_from_camera)

    def scaled(self, factor: float) -> "Camera":
        """The same camera in a world `factor` times as large."""
        world_from_camera = self.world_from_camera.copy()
        world_from_camera[:3, 3] *= factor
        return replace(self, world_from_camera=world_from_camera)


@dataclass(frozen=True, eq=False)
class OrthoCamera:
    """A camera above the room that looks straight down, image up = +y of the world."""

    x_min: float
    """metres: the world's x at the image's left edge."""
    y_max: float
    """metres: the world's y at the image's top edge."""
    z: float
    """metres: where depth 0 is; nothing above it is seen."""
    metres_per_pixel_xy: tuple[float, float]
    width: int
    height: int

    @property
    def metres_per_pixel(self) -> float:
        """Metres per pixel; the same along x and y until an image is resized unevenly."""
        return self.metres_per_pixel_xy[0]

    @property
    def world_from_camera(self) -> np.ndarray:
        """(4, 4) float64: rotation diag(1, -1, -1), origin at the image's top-left corner."""
        matrix = np.diag([1.0, -1.0, -1.0, 1.0])
        matrix[:3, 3] = self.x_min, self.y_max, self.z
        return matrix

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (N, 3) metres to uv (N, 2) pixels and depth (N,) metres below the camera."""
        points = np.asarray(points, np.float64)
        across, down = self.metres_per_pixel_xy
        uv = np.stack([(points[:, 0] - self.x_min) / across, (self.y_max - points[:, 1]) / down], axis=1)
        return uv, self.z - points[:, 2]

    def unproject(self, uv: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Pixels uv (N, 2) with depth (N,) metres back to the world, (N, 3) metres."""
        origins, directions = self.rays(uv)
        return origins + directions * np.asarray(depth, np.float64)[:, None]

    def rays(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parallel rays through pixels: origins (N, 3) metres and directions (N, 3), all (0, 0, -1)."""
        uv = np.asarray(uv, np.float64)
        across, down = self.metres_per_pixel_xy
        x = self.x_min + uv[:, 0] * across
        y = self.y_max - uv[:, 1] * down
        origins = np.stack([x, y, np.full_like(x, self.z)], axis=1)
        return origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape)

    def resized(self, width: int, height: int) -> "OrthoCamera":
        """The same view with its image scaled to `width` x `height` pixels."""
        across, down = self.metres_per_pixel_xy
        per_pixel = (across * self.width / width, down * self.height / height)
        return replace(self, metres_per_pixel_xy=per_pixel, width=width, height=height)


def pixel_centers(width: int, height: int) -> np.ndarray:
    """uv of all pixel centres in row-major order, (height * width, 2) float64 pixels."""
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([u.ravel(), v.ravel()], axis=1)


def invert_rigid(b_from_a: np.ndarray) -> np.ndarray:
    """The inverse of a rigid motion, (4, 4) to (4, 4)."""
    a_from_b = np.eye(4)
    a_from_b[:3, :3] = b_from_a[:3, :3].T
    a_from_b[:3, 3] = -b_from_a[:3, :3].T @ b_from_a[:3, 3]
    return a_from_b


def scale_of(b_from_a: np.ndarray) -> float:
    """By how much a similarity, (4, 4), makes lengths larger; NaN where it mirrors or is none."""
    determinant = np.linalg.det(b_from_a[:3, :3]) if np.isfinite(b_from_a).all() else np.nan
    return float(np.cbrt(determinant)) if determinant > 0 else np.nan


def without_scale(b_from_a: np.ndarray) -> np.ndarray:
    """The rigid motion that is left when a world of a, made as large as b by `scale_of`, is moved by (4, 4)."""
    rigid = np.array(b_from_a, np.float64)
    rigid[:3, :3] /= scale_of(b_from_a)
    return rigid


def transform_points(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) in frame a to frame b, metres; float32 stays float32, all else becomes float64."""
    points = np.ascontiguousarray(points, np.float32 if points.dtype == np.float32 else np.float64)
    if not len(points):
        return points
    # OpenCV's loop: matrix products this narrow wake BLAS threads that cost more than the sums
    return cv2.transform(points[None], b_from_a[:3])[0]


def rigid_fault(matrix: np.ndarray, tolerance: float = RIGID_TOLERANCE) -> str | None:
    """Why a (4, 4) matrix is no rigid motion, in a few words; None when it is one."""
    if matrix.shape != (4, 4):
        return f"has shape {matrix.shape}, not (4, 4)"
    if not np.isfinite(matrix).all():
        return "holds NaN or infinity"
    rotation = matrix[:3, :3]
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > tolerance:
        return f"has the last row {matrix[3].tolist()}, not [0, 0, 0, 1]"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > tolerance:
        return "has axes that are not orthonormal (a scale or a shear?)"
    if np.linalg.det(rotation) < 0:
        return "mirrors the world (determinant -1)"
    return None


def _matrix(value: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    matrix = np.asarray(value, np.float64)
    if matrix.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {matrix.shape}")
    return matrix
