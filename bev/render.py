"""The bird's-eye view: the room without its ceiling, seen straight from above, in the frames' own colours."""

from dataclasses import dataclass

import cv2
import numpy as np

from bev.camera import OrthoCamera, pixel_centers
from bev.orthophoto import exposure_gains, rank_views, sample_colors, smooth_choice
from bev.scan import Scan
from bev.surface import Surface, SurfaceCaster

BACKGROUND = (255, 255, 255)
_MARGIN_M = 0.1
_GAIN_SAMPLES = 4000


@dataclass(frozen=True, eq=False)
class Bev:
    """A bird's-eye view of a room."""

    camera: OrthoCamera
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    vertex_ids: np.ndarray
    """(H, W) int32: the surface vertex that the pixel shows, -1 = background."""
    color_frames: np.ndarray
    """(H, W) int32: index of the frame that gave the pixel its colour, -1 = none did."""
    cut_height_m: float | None
    caster: SurfaceCaster
    """Casts rays at what this view shows: the surface without what looks down or is cut off."""


def render_bev(
    surface: Surface,
    scan: Scan,
    *,
    long_side_px: int = 1024,
    cut_height_m: float | None = None,
    caster: SurfaceCaster | None = None,
    progress: bool = False,
) -> Bev:
    """Render an upright room from above, each pixel coloured from the frames that see it best.

    Args:
        surface: upright, metres.
        scan: the frames, in the same world.
        long_side_px: longer side of the image.
        cut_height_m: nothing above this height is drawn; None draws everything that does not look down.
        caster: of the whole surface, where there is one already.
        progress: show a bar.
    """
    above = caster_from_above(surface, cut_height_m)
    camera = top_camera(surface, long_side_px=long_side_px, cut_height_m=cut_height_m)
    view = above.view(camera)
    pixels = np.flatnonzero(view.vertex_ids >= 0)
    vertex = view.vertex_ids.ravel()[pixels]
    uv = pixel_centers(camera.width, camera.height)[pixels]
    points = camera.unproject(uv, view.depth.ravel()[pixels]).astype(np.float32)
    normals = _smooth_normals(surface, view.vertex_ids)[pixels]
    shape = view.vertex_ids.shape
    ranked = rank_views(points, normals, scan, caster or SurfaceCaster(surface), progress=progress)
    row = smooth_choice(ranked, shape, pixels)
    frames = np.take_along_axis(ranked.frames, row[None], axis=0)[0].astype(np.int64)
    colors = _colors(points, frames, ranked.frames, scan, camera.metres_per_pixel)
    image = np.full((*shape, 3), BACKGROUND, np.uint8)
    unseen = frames < 0
    colors[unseen] = surface.colors[vertex[unseen]]
    image.reshape(-1, 3)[pixels] = np.clip(np.round(colors), 0, 255)
    color_frames = np.full(shape, -1, np.int32)
    indices = np.array([*(frame.index for frame in scan.frames), -1], np.int32)
    color_frames.ravel()[pixels] = indices[frames]
    return Bev(camera, image, view.vertex_ids, color_frames, cut_height_m, above)


def top_camera(surface: Surface, *, long_side_px: int, cut_height_m: float | None = None) -> OrthoCamera:
    """The orthographic camera above a surface that shows all of it with a small margin."""
    vertices = surface.vertices
    if cut_height_m is not None and (vertices[:, 2] <= cut_height_m).any():
        vertices = vertices[vertices[:, 2] <= cut_height_m]
    low, high = vertices.min(axis=0) - _MARGIN_M, vertices.max(axis=0) + _MARGIN_M
    extent = (high - low)[:2].astype(np.float64)
    metres_per_pixel = float(extent.max() / long_side_px)
    width, height = (max(1, int(np.ceil(side / metres_per_pixel - 1e-6))) for side in extent)
    z = float(high[2]) if cut_height_m is None else float(cut_height_m)
    return OrthoCamera(float(low[0]), float(high[1]), z, (metres_per_pixel, metres_per_pixel), width, height)


def caster_from_above(surface: Surface, cut_height_m: float | None = None) -> SurfaceCaster:
    """Rays at what a view from above keeps: not what looks down, like ceilings and undersides, nor what is cut off."""
    if surface.is_mesh:
        keep = surface.face_normals()[0][:, 2] > -0.05
        if cut_height_m is not None:
            keep &= (surface.vertices[:, 2] <= cut_height_m)[surface.faces].all(axis=1)
        return SurfaceCaster(surface, keep_faces=keep)
    keep = surface.normals[:, 2] > -0.3
    if cut_height_m is not None:
        keep &= surface.vertices[:, 2] <= cut_height_m
    return SurfaceCaster(surface, keep_points=keep)


def _smooth_normals(surface: Surface, vertex_ids: np.ndarray) -> np.ndarray:
    """(H*W, 3) float32 unit normals, averaged over neighbours: noisy ones would make the choice of frames speckle."""
    normals = np.where((vertex_ids >= 0)[..., None], surface.normals[vertex_ids], 0).astype(np.float32)
    normals = cv2.blur(normals, (9, 9)).reshape(-1, 3)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)


def _colors(
    points: np.ndarray, frames: np.ndarray, ranked_frames: np.ndarray, scan: Scan, spacing_m: float
) -> np.ndarray:
    """(N, 3) float32 colours of points from the frames chosen for them, NaN where that is -1, exposures evened out.

    An even sample of the points is looked up in all the frames that see it, in the same pass over the images, to
    compare the frames' exposures.
    """
    some = np.linspace(0, len(points) - 1, min(len(points), _GAIN_SAMPLES)).astype(np.int64)
    compared = ranked_frames[:, some].astype(np.int64)
    everything = np.concatenate([points, *[points[some]] * len(compared)])
    sampled = sample_colors(everything, np.append(frames, compared.ravel())[None], scan, spacing_m=spacing_m)[0]
    colors, samples = sampled[: len(points)], sampled[len(points) :].reshape(*compared.shape, 3)
    gains = exposure_gains(samples, compared, len(scan.frames))
    seen = frames >= 0
    colors[seen] *= gains[frames[seen]]
    return colors
