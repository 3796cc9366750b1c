"""Scenes of textured rectangles, rendered exactly: what stereo should find is known for every pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from box_scene import look_at

from bev.camera import Camera, pixel_centers
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints

TEXELS_PER_M = 160
SUPERSAMPLED = 2


@dataclass(frozen=True, eq=False)
class Quad:
    """A rectangle in space."""

    corner: tuple[float, float, float]
    across: tuple[float, float, float]
    """Edge from the corner; at right angles to `up`."""
    up: tuple[float, float, float]
    texture: np.ndarray
    """(h, w) float32 brightness."""


def textured(corner, across, up, *, seed: int = 0, contrast: float = 45.0) -> Quad:
    """A rectangle with cloudy noise on it: several sizes of blobs, so that near and far see some."""
    width, height = (max(8, round(float(np.linalg.norm(edge)) * TEXELS_PER_M)) for edge in (across, up))
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), size) * size for size in (2.0, 5.0, 12.0)]
    noise = np.sum(layers, axis=0)
    texture = 128 + contrast * noise / noise.std()
    return Quad(corner, across, up, np.clip(texture, 0, 255).astype(np.float32))


def plain(corner, across, up, brightness: float = 150.0) -> Quad:
    """A rectangle without any texture."""
    return Quad(corner, across, up, np.full((8, 8), brightness, np.float32))


def render(quads: Sequence[Quad], camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a camera sees: (h, w, 3) uint8; (h, w) float32 depth, 0 = none; (h, w) int32 positions in `quads`, or -1."""
    large = camera.resized(camera.width * SUPERSAMPLED, camera.height * SUPERSAMPLED)
    brightness, _, _ = _cast(quads, large)
    brightness = cv2.resize(brightness, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    _, depth, which = _cast(quads, camera)
    return np.repeat(np.rint(brightness).astype(np.uint8)[..., None], 3, axis=2), depth, which


def _cast(quads: Sequence[Quad], camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (camera.height, camera.width)
    origins, directions = camera.rays(pixel_centers(camera.width, camera.height))
    depth, which = np.full(len(directions), np.inf), np.full(len(directions), -1, np.int32)
    brightness = np.full(len(directions), 20.0, np.float32)
    for number, quad in enumerate(quads):
        across, up = np.array(quad.across, float), np.array(quad.up, float)
        normal = np.cross(across, up)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (np.array(quad.corner) - origins) @ normal / (directions @ normal)
            at = origins + directions * reach[:, None] - quad.corner
            s, t = at @ across / (across @ across), at @ up / (up @ up)
        hit = (reach > 1e-6) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1) & (reach < depth)
        rows, columns = quad.texture.shape
        x, y = (np.where(hit, k, 0) * n - 0.5 for k, n in ((s, columns), (t, rows)))
        x, y = (values.astype(np.float32).reshape(shape) for values in (x, y))
        colors = cv2.remap(quad.texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()
        depth[hit], which[hit], brightness[hit] = reach[hit], number, colors[hit]
    depth = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    return brightness.reshape(shape), depth.reshape(shape), which.reshape(shape)


@dataclass(frozen=True, eq=False)
class Shot:
    """A scan of rectangles, and what its frames truly show."""

    scan: Scan
    depth: list[np.ndarray]
    """(h, w) float32 of every frame."""
    which: list[np.ndarray]
    """(h, w) int32 of every frame: position of the rectangle behind the pixel."""


def shoot(
    quads: Sequence[Quad] | Callable[[int], Sequence[Quad]],
    cameras: Sequence[Camera],
    *,
    sparse: bool = True,
    noise: float = 0.0,
    path: Path = Path("quads"),
) -> Shot:
    """Film rectangles, or other ones in every frame; with `sparse` the scan has points like those of SfM."""
    seen = [render(quads(k) if callable(quads) else quads, camera) for k, camera in enumerate(cameras)]
    if noise:
        seen = [(_noisy(image, noise, k), depth, which) for k, (image, depth, which) in enumerate(seen)]
    frames = tuple(
        Frame(10 + 5 * k, k / 3, camera, read_color=lambda image=image: image)
        for k, (camera, (image, _, _)) in enumerate(zip(cameras, seen, strict=True))
    )
    depths = [depth for _, depth, _ in seen]
    points = _sparse_points(frames, depths) if sparse else None
    return Shot(Scan("quads", path, "test", frames, sparse=points), depths, [which for _, _, which in seen])


def _noisy(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, sigma, image.shape[:2])
    return np.clip(np.rint(image + grain[..., None]), 0, 255).astype(np.uint8)


def _sparse_points(frames: Sequence[Frame], depths: Sequence[np.ndarray]) -> SparsePoints:
    """Some pixels of every frame, seen by that frame alone, and a few strays."""
    rng = np.random.default_rng(5)
    points, seen = [], []
    for frame, depth in zip(frames, depths, strict=True):
        v, u = np.nonzero(depth)
        chosen = rng.choice(len(v), size=min(200, len(v)), replace=False)
        values = depth[v[chosen], u[chosen]].astype(float)
        values[:2] *= (30, 0.05)[: len(v)]
        points.append(frame.camera.unproject(np.stack([u[chosen], v[chosen]], axis=1) + 0.5, values))
        seen += [(frame.index, len(seen) + row) for row in range(len(chosen))]
    return SparsePoints(np.concatenate(points), np.array(seen))


def sideways(count: int = 9, *, size: tuple[int, int] = (160, 120), step_m: float = 0.08) -> list[Camera]:
    """Cameras that walk along x, 2 m in front of the origin, up and down and forth and back a little."""
    return [
        look_at(
            (step_m * (k - (count - 1) / 2), -2.0 + 0.05 * (k % 3), 1.0 + 0.06 * (k % 2)),
            (0.02 * k, 0.0, 0.65),
            size,
        )
        for k in range(count)
    ]
