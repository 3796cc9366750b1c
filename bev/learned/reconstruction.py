"""Poses, intrinsics and depth of a plain video from a network that gives all three."""

import logging
from dataclasses import replace

import numpy as np

from bev.camera import Camera
from bev.errors import UserError
from bev.learned.chunks import Part, Similarity, in_first_camera, joined, windows
from bev.learned.depth import kept, predict, with_depth
from bev.learned.models import load_model
from bev.learned.protocol import DepthKind, DepthModel
from bev.progress import track
from bev.scale import ROUGH_DEPTH
from bev.scan import Frame, Scan

logger = logging.getLogger(__name__)


def learned_reconstruction(
    scan: Scan,
    model: str | DepthModel,
    *,
    device: str | None = None,
    chunk: int | None = None,
    overlap: int | None = None,
    min_confidence: float = 0.2,
    progress: bool = False,
) -> Scan:
    """Give a scan without poses all that fusion needs, from a network alone.

    Long scans go through the network in chunks that share frames; neighbouring chunks are joined by a similarity that
    the shared frames agree on. Errors add up from chunk to chunk: what is filmed again at the end of a long walk may
    not fall in place. Where structure from motion works, `learned_depth` on its poses is the better way.

    Args:
        scan: frames of one size; poses that it may have are not used.
        model: `kind:ID_OR_FOLDER` as `parse_model` reads it, or an object with the `DepthModel` protocol.
        device: a torch device; None takes CUDA where there is one.
        chunk: images per pass of the network; None is what fits 24 GB.
        overlap: images that neighbouring chunks share; None is a quarter of a chunk.
        min_confidence: least confidence, as a share of the median, that is kept.
        progress: show a bar.

    Returns:
        The scan in the world of its first camera, with poses, depth in memory, and intrinsics: its own if it had
        them, else one focal length for all frames. In metres with a metric network, else of arbitrary scale with a
        median depth of 2.

    Raises:
        UserError: the network gives no poses, frames differ in size, chunks cannot be joined, or as `load_model`.
    """
    if not scan.frames:
        raise UserError(f"{scan.path}: has no frames")
    sizes = sorted({(frame.camera.width, frame.camera.height) for frame in scan.frames})
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise UserError(f"{scan.path}: frames are of different sizes ({shown}); give those of one size")
    network = load_model(model, device=device) if isinstance(model, str) else model
    if not network.gives_poses:
        raise UserError(f"{network.name}: gives no poses; find them first (bev.find_poses), then use learned_depth")
    parts, kind = _parts(scan, network, chunk, overlap, min_confidence, progress=progress)
    similarities, owners = joined(parts)
    poses = _poses(parts, similarities, owners)
    scales = [similarities[owner].scale for owner in owners]
    grids = [parts[owner].depth[i - parts[owner].start] for i, owner in enumerate(owners)]
    metric = kind == "metre"
    factor = 1.0 if metric else ROUGH_DEPTH / _median_depth(scan, network, grids, scales)
    K = None if scan.has_intrinsics else _common_K(parts, owners, sizes[0])
    frames = []
    for frame, pose, scale, grid in zip(scan.frames, poses, scales, grids, strict=True):
        pose[:3, 3] *= factor
        frames.append(_reconstructed(frame, K, pose, grid.astype(np.float32) * np.float32(scale * factor)))
    return replace(
        scan,
        frames=tuple(frames),
        units="metre" if metric else "arbitrary",
        has_poses=True,
        has_intrinsics=True,
        sparse=None,
        up_hint=None,
        axes_are_walls=False,
        surface_path=None,
        source_from_surface=np.eye(4),
        world_from_source=np.eye(4),
    )


def _parts(
    scan: Scan, network: DepthModel, chunk: int | None, overlap: int | None, min_confidence: float, *, progress: bool
) -> tuple[list[Part], DepthKind]:
    size = network.frames_at_once if chunk is None else chunk
    shared = max(1, size // 4) if overlap is None else overlap
    if size < 1 or (len(scan.frames) > size and not 1 <= shared < size):
        raise UserError(
            f"chunks of {size} frames cannot share {shared}: overlap must be at least 1, and less than chunk"
        )
    parts: list[Part] = []
    kind: DepthKind = "scaled"
    spans = windows(len(scan.frames), size, shared)
    for span in track(spans, "predict poses and depth", show=progress, unit="pass"):
        frames = [scan.frames[i] for i in span]
        prediction = predict(network, frames, known_poses=False, known_K=scan.has_intrinsics)
        if prediction.world_from_camera is None or prediction.K is None or prediction.kind == "inverse":
            raise ValueError(f"{network.name}: says that it gives poses, but gave none with K and depth")
        kind = prediction.kind
        grids = kept(prediction, min_confidence)
        parts.append(Part(span.start, grids, in_first_camera(prediction.world_from_camera), prediction.K))
    return parts, kind


def _poses(parts: list[Part], similarities: list[Similarity], owners: list[int]) -> list[np.ndarray]:
    return [
        similarities[owner].pose(parts[owner].world_from_camera[i - parts[owner].start])
        for i, owner in enumerate(owners)
    ]


def _median_depth(scan: Scan, network: DepthModel, grids: list[np.ndarray], scales: list[float]) -> float:
    medians = [
        scale * float(np.nanmedian(grid.astype(np.float32)))
        for grid, scale in zip(grids, scales, strict=True)
        if np.isfinite(grid).any()
    ]
    if not medians:
        raise UserError(f"{scan.path}: {network.name} found no depth in any frame; film with light and texture")
    return float(np.median(medians))


def _common_K(parts: list[Part], owners: list[int], size: tuple[int, int]) -> np.ndarray:
    """(3, 3) float64, pixels of the images: the median over all frames, as one camera filmed them."""
    height, width = parts[0].depth.shape[1:]
    K = np.median([parts[owner].K[i - parts[owner].start] for i, owner in enumerate(owners)], axis=0)
    return np.diag([size[0] / width, size[1] / height, 1.0]) @ K


def _reconstructed(frame: Frame, K: np.ndarray | None, pose: np.ndarray, depth: np.ndarray) -> Frame:
    camera = Camera(frame.camera.K if K is None else K, frame.camera.width, frame.camera.height, pose)
    return with_depth(replace(frame, camera=camera), depth)
