"""Small corrections of the colour cameras until all images agree on what the surface looks like.

Trajectories, and the timing and mounting of a colour camera beside its depth camera, are off by centimetres, which is
several pixels: an orthophoto would show double edges and marks would sit beside small objects. As in Zhou and Koltun
("Color map optimization", SIGGRAPH 2014, section 4), two steps alternate: every vertex gets the mean brightness of the
images that see it, then every camera moves so that its image fits those means. The images come from coarse to fine,
and a prior holds each camera near where the capture put it.
"""

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np

from bev.camera import Camera
from bev.progress import track
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster

logger = logging.getLogger(__name__)

_BORDER_PX = 3
_WORTHWHILE = 0.9
"""Poses stay as they are unless the images then differ by less than this share of before."""
_NOISE = 10.0
"""Brightness, of 255, by which a right pose still differs: highlights, motion blur, a coarse surface."""
_SAMPLES_PER_FACT = 200
"""Neighbouring pixels err alike, so that many of them weigh as one against the prior."""
_RELAXATION = 1.6
"""The two steps alternate towards each other, each going part of the way: a longer stride saves rounds."""


@dataclass(frozen=True, eq=False)
class _Sight:
    """A frame's small grey image and the points that it sees; a thousand of these are in memory at once."""

    image: np.ndarray
    """(h, w) uint8."""
    points: np.ndarray
    """(n,) int32 rows of the sampled points."""


def align_to_surface(
    scan: Scan,
    surface: Surface,
    *,
    caster: SurfaceCaster | None = None,
    widths_px: tuple[int, ...] = (64, 128, 256),
    rounds: tuple[int, ...] = (6, 6, 4),
    points_max: int = 15_000,
    sigma_m: float = 0.03,
    progress: bool = False,
) -> Scan:
    """Move the cameras of a scan, by centimetres, until their images agree on the surface.

    Args:
        scan: posed frames; all their images are read once.
        surface: fused from the same poses, in the same world.
        caster: of the surface, where there is one already.
        widths_px: widths of the images at each stage, coarse first.
        rounds: how often each stage repeats both steps.
        points_max: vertices to compare, spread over the surface.
        sigma_m: how far poses are expected to be off; the pull back grows with the square of the distance over this.
        progress: show a bar.

    Returns:
        The scan with corrected colour cameras, or as it was where that makes the images agree no better. Depth
        cameras stay: the surface was made from them, and what is corrected here includes the two cameras' offset in
        time and place.
    """
    step = max(1, -(-len(surface.vertices) // points_max))
    points = surface.vertices[::step].astype(np.float64)
    normals = surface.normals[::step]
    caster = caster or SurfaceCaster(surface)
    frames = track(scan.frames, "look at the surface", show=progress)
    sights = [_sight(frame, points, normals, caster, widths_px[-1]) for frame in frames]
    first = [frame.camera for frame in scan.frames]
    cameras = list(first)
    widths = [width for width, count in zip(widths_px, rounds, strict=True) for _ in range(count)]
    for width in track(widths, "align cameras", show=progress, unit="round"):
        mean = _mean_brightness(cameras, sights, points, width)
        cameras = [
            _fitted(camera, start, sight, points, mean, width, sigma_m)
            for camera, start, sight in zip(cameras, first, sights, strict=True)
        ]
    before, after = (_disagreement(those, sights, points, widths_px[-1]) for those in (first, cameras))
    logger.info("%s: images differ by %.1f of 255 before, %.1f after aligning the cameras", scan.name, before, after)
    if after > _WORTHWHILE * before:
        return scan
    moved = tuple(replace(frame, camera=camera) for frame, camera in zip(scan.frames, cameras, strict=True))
    return scan.with_frames(moved)


def _sight(frame: Frame, points: np.ndarray, normals: np.ndarray, caster: SurfaceCaster, width: int) -> _Sight:
    small = _small(frame.camera, width)
    grey = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2GRAY)
    image = cv2.resize(grey, (small.width, small.height), interpolation=cv2.INTER_AREA)
    view_camera = _small(frame.camera, width // 2)
    depth_map = caster.view(view_camera).depth
    uv, depth = view_camera.project(points)
    index = np.flatnonzero((depth > 0.1) & _inside(uv, depth_map.shape))
    column, row = uv[index].astype(np.int64).T
    facing = np.einsum("ij,ij->i", points[index] - small.center, normals[index]) < 0
    near_surface = np.abs(depth_map[row, column] - depth[index]) < 0.03 + 0.01 * depth[index]
    return _Sight(image, index[facing & near_surface].astype(np.int32))


def _small(camera: Camera, width: int) -> Camera:
    return camera.resized(width, max(1, round(camera.height * width / camera.width)))


def _at_width(image: np.ndarray, width: int) -> np.ndarray:
    if image.shape[1] == width:
        return image
    return cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA)


def _mean_brightness(cameras: list[Camera], sights: list[_Sight], points: np.ndarray, width: int) -> np.ndarray:
    """(P,) brightness of each point over the frames that see it, NaN where fewer than two do."""
    total, count = np.zeros(len(points)), np.zeros(len(points))
    for camera, sight in zip(cameras, sights, strict=True):
        image = _at_width(sight.image, width)
        uv, _ = camera.resized(width, image.shape[0]).project(points[sight.points])
        ok = _inside(uv, image.shape)
        index = sight.points[ok]
        total[index] += _lookup(image, uv[ok])
        count[index] += 1
    return np.where(count > 1, total / np.maximum(count, 1), np.nan)


def _disagreement(cameras: list[Camera], sights: list[_Sight], points: np.ndarray, width: int) -> float:
    """Mean difference, of 255, between what images show of the points and the points' means."""
    mean = _mean_brightness(cameras, sights, points, width)
    total, count = 0.0, 0
    for camera, sight in zip(cameras, sights, strict=True):
        image = _at_width(sight.image, width)
        index = sight.points[np.isfinite(mean[sight.points])]
        uv, _ = camera.resized(width, image.shape[0]).project(points[index])
        ok = _inside(uv, image.shape)
        if ok.any():
            brightness = _lookup(image, uv[ok])
            total += np.abs(brightness - _exposed(mean[index[ok]], brightness)).sum()
            count += int(ok.sum())
    return total / max(count, 1)


def _fitted(
    camera: Camera,
    start: Camera,
    sight: _Sight,
    points: np.ndarray,
    mean: np.ndarray,
    width: int,
    sigma_m: float,
) -> Camera:
    """One Gauss-Newton step of a camera towards the points' mean brightness."""
    image = _at_width(sight.image, width)
    small = camera.resized(width, image.shape[0])
    index = sight.points[np.isfinite(mean[sight.points])]
    in_camera = small.points_in_camera(points[index])
    uv = in_camera[:, :2] / in_camera[:, 2:] * [small.K[0, 0], small.K[1, 1]] + small.K[:2, 2]
    ok = _inside(uv, image.shape) & (in_camera[:, 2] > 0.1)
    if ok.sum() < 100:
        return camera
    index, in_camera, uv = index[ok], in_camera[ok], uv[ok]
    brightness = _lookup(image, uv)
    residual = brightness - _exposed(mean[index], brightness)
    jacobian = _jacobian(image, uv, in_camera, small.K)
    weight = 1 / np.maximum(np.abs(residual), 8.0)  # Huber: highlights and moved things must not pull
    # what a pose may be off: sigma_m, and the angle that moves a point two metres away by as much
    expected = np.array([sigma_m] * 3 + [sigma_m / 2] * 3)
    prior = np.diag(np.median(weight) * _NOISE**2 / expected**2) * len(index) / _SAMPLES_PER_FACT
    weighted = jacobian * weight[:, None]
    normal = np.einsum("ni,nj->ij", weighted, jacobian) + prior
    offset = _twist(start.camera_from_world @ camera.world_from_camera)
    right = -np.einsum("ni,n->i", weighted, residual) - prior @ offset
    step = np.clip(_RELAXATION * np.linalg.solve(normal, right), -0.5 * sigma_m, 0.5 * sigma_m)
    return replace(camera, world_from_camera=camera.world_from_camera @ _motion(step))


def _jacobian(image: np.ndarray, uv: np.ndarray, in_camera: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(n, 6): change of brightness as the camera moves by (x, y, z) metres and turns by (x, y, z) radians."""
    ahead = [np.array([0.5, 0]), np.array([0, 0.5])]
    slope_u, slope_v = (_lookup(image, uv + a) - _lookup(image, uv - a) for a in ahead)
    x, y, z = in_camera.T
    # a camera that moves by t and turns by w sees its points move by -t - w x p
    by_x, by_y = slope_u * K[0, 0] / z, slope_v * K[1, 1] / z
    by_z = -(by_x * x + by_y * y) / z
    by_point = np.stack([by_x, by_y, by_z], axis=1)
    return -np.concatenate([by_point, np.cross(in_camera, by_point)], axis=1)


def _exposed(mean: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """The mean brightness as this frame's exposure shows it: the best scale and offset."""
    centred = mean - mean.mean()
    scale = np.clip((centred * (brightness - brightness.mean())).sum() / max((centred**2).sum(), 1e-9), 0.5, 2)
    return brightness.mean() + scale * centred


def _lookup(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(n,) float64 brightness at uv (n, 2) pixels, bilinear."""
    if not len(uv):
        return np.zeros(0)  # which OpenCV refuses
    columns = 256
    count = -(-len(uv) // columns) * columns
    at = np.zeros((count, 2), np.float32)
    at[: len(uv)] = uv - 0.5
    grid = at.reshape(-1, columns, 2)
    return cv2.remap(image, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR).ravel()[: len(uv)].astype(np.float64)


def _inside(uv: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    low, high = _BORDER_PX, (shape[1] - _BORDER_PX, shape[0] - _BORDER_PX)
    return (uv[:, 0] > low) & (uv[:, 0] < high[0]) & (uv[:, 1] > low) & (uv[:, 1] < high[1])


def _motion(twist: np.ndarray) -> np.ndarray:
    """(4, 4) of a small motion: (x, y, z) metres, then a rotation vector in radians."""
    motion = np.eye(4)
    motion[:3, :3], _ = cv2.Rodrigues(twist[3:])
    motion[:3, 3] = twist[:3]
    return motion


def _twist(motion: np.ndarray) -> np.ndarray:
    """The inverse of `_motion`."""
    return np.append(motion[:3, 3], cv2.Rodrigues(motion[:3, :3])[0].ravel())
