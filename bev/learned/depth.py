"""Depth with weights for a scan that has poses: predicted by a network, fitted to what the poses came with."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bev.errors import UserError
from bev.learned.chunks import log_scale_of_centres, windows
from bev.learned.cleaning import cleaned, doubtful
from bev.learned.models import load_model
from bev.learned.protocol import DepthKind, DepthModel, Prediction
from bev.learned.sparse_fit import Sightings, inverse_line, log_factor, log_factors, sightings
from bev.progress import track
from bev.scan import Frame, Scan

logger = logging.getLogger(__name__)

_MOVED = 0.25
"""Share of a metric scan by which a metric network may disagree before that is said."""


@dataclass(frozen=True, eq=False)
class _Predicted:
    """What is kept of a frame's prediction until all frames are seen."""

    grid: np.ndarray
    """(h, w) float16 as the network gave it, NaN = none."""
    seen: Sightings


def learned_depth(
    scan: Scan,
    model: str | DepthModel,
    *,
    device: str | None = None,
    chunk: int | None = None,
    min_confidence: float = 0.2,
    progress: bool = False,
) -> Scan:
    """Give the frames of a posed scan depth from a network, on the scale of its poses.

    Each frame's depth is fitted to the points of structure from motion that it saw: by a factor, or by a factor and a
    shift of inverse depth for networks that give no more. Poses stay as they are. A scan of arbitrary scale becomes
    metric with a metric network: all of it is scaled once, by the median over frames.

    Args:
        scan: with poses, and with `sparse` unless the network gives metres or poses.
        model: `kind:ID_OR_FOLDER` as `parse_model` reads it, or an object with the `DepthModel` protocol.
        device: a torch device; None takes CUDA where there is one.
        chunk: images per pass of the network; None is what fits 24 GB.
        min_confidence: least confidence, as a share of the median, that is kept.
        progress: show a bar.

    Returns:
        The scan, its frames' depth in memory (2 bytes per pixel); the depth camera is the colour camera resized to
        the network's grid. Doubtful pixels, sky and edges of objects have no depth.

    Raises:
        UserError: the scan lacks poses, nothing tells the scale, or as `load_model`.
    """
    if not scan.has_poses:
        raise UserError(f"{scan.path}: has no poses; find them first (bev.find_poses), or use learned_reconstruction")
    if not scan.frames:
        raise UserError(f"{scan.path}: has no frames")
    network = load_model(model, device=device) if isinstance(model, str) else model
    predicted: list[_Predicted] = []
    groups: list[int] = []
    fallback: dict[int, float] = {}
    kind: DepthKind = "scaled"
    passes = _same_size(scan.frames, _checked_chunk(chunk, network))
    for number, frames in enumerate(track(passes, "predict depth", show=progress, unit="pass")):
        prediction = predict(network, frames, known_poses=True, known_K=scan.has_intrinsics)
        kind = prediction.kind
        for frame, grid in zip(frames, kept(prediction, min_confidence), strict=True):
            points = scan.sparse.seen_by(frame.index) if scan.sparse else np.zeros((0, 3))
            predicted.append(_Predicted(grid, sightings(grid, frame.camera, points)))
        # frames that went through a network of many views together share their scale; a monocular one has its own
        groups += [number if network.gives_poses else 0] * len(frames)
        if prediction.world_from_camera is not None:
            fallback[number] = log_scale_of_centres([f.camera for f in frames], prediction.world_from_camera)
    if kind == "inverse":
        return _with_lines(scan, network, predicted)
    return _with_factors(scan, network, predicted, groups, fallback, metric=kind == "metre")


def predict(network: DepthModel, frames: Sequence[Frame], *, known_poses: bool, known_K: bool) -> Prediction:
    """Decode some frames and run a network on them, giving it their cameras where those are known."""
    images = [frame.read_color() for frame in frames]
    K = np.stack([frame.camera.K for frame in frames]) if known_K else None
    poses = np.stack([frame.camera.world_from_camera for frame in frames]) if known_poses else None
    prediction = network.predict(images, K, poses)
    if len(prediction.depth) != len(frames):
        raise ValueError(f"{network.name}: gave {len(prediction.depth)} depth images for {len(frames)} frames")
    return prediction


def kept(prediction: Prediction, min_confidence: float) -> np.ndarray:
    """(n, h, w) float16: the network's values, NaN where it is in doubt, sees sky, or gives no number."""
    bad = doubtful(prediction.confidence, min_confidence) | ~(np.abs(prediction.depth) < 6e4)
    if prediction.kind != "inverse":
        bad |= prediction.depth <= 0
    return np.where(bad, np.nan, prediction.depth).astype(np.float16)


def _with_factors(
    scan: Scan,
    network: DepthModel,
    predicted: list[_Predicted],
    groups: list[int],
    fallback: dict[int, float],
    *,
    metric: bool,
) -> Scan:
    found = [log_factor(each.seen) for each in predicted]
    logs = log_factors(found, groups, fallback)
    known = np.isfinite(logs)
    if not known.any():
        if not (metric and scan.units == "metre"):
            raise UserError(_nothing_to_fit(scan, network))
        logs = np.zeros(len(logs))
    overall = float(np.median(logs[np.isfinite(logs)]))
    logs = np.where(np.isfinite(logs), logs, overall)
    if metric and scan.units == "arbitrary":
        factor = float(np.exp(-overall))
        logger.info("%s: the scan is %.3f times its former size in metres", network.name, factor)
        scan = scan.scaled(factor, units="metre")
        logs = logs - overall
    elif metric and abs(np.expm1(-overall)) > _MOVED:
        logger.warning("%s: finds the scan %.2f times as large as it says it is", network.name, np.exp(-overall))
    scan = _warned(scan, network, sum(1 for log, _ in found if np.isnan(log)), "their depth takes the others' scale")
    grids = (each.grid.astype(np.float32) * np.float32(np.exp(log)) for each, log in zip(predicted, logs, strict=True))
    return _with_depth(scan, grids)


def _with_lines(scan: Scan, network: DepthModel, predicted: list[_Predicted]) -> Scan:
    lines = [inverse_line(each.seen) for each in predicted]
    if not any(lines):
        raise UserError(_nothing_to_fit(scan, network))
    scan = _warned(scan, network, sum(1 for line in lines if line is None), "they have no depth")
    return _with_depth(scan, (_from_inverse(each.grid, line) for each, line in zip(predicted, lines, strict=True)))


def _from_inverse(grid: np.ndarray, line: tuple[float, float] | None) -> np.ndarray:
    if line is None:
        return np.zeros(grid.shape, np.float32)
    inverse = line[0] * grid.astype(np.float32) + line[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inverse > 1e-4, 1 / inverse, 0).astype(np.float32)


def _with_depth(scan: Scan, grids: Iterable[np.ndarray]) -> Scan:
    return scan.with_frames(tuple(with_depth(frame, grid) for frame, grid in zip(scan.frames, grids, strict=True)))


def with_depth(frame: Frame, depth: np.ndarray) -> Frame:
    """A frame with (h, w) float32 depth over its whole image, cleaned and kept as float16."""
    height, width = depth.shape
    camera = frame.camera.resized(width, height)
    compact = cleaned(depth, (camera.K[0, 0], camera.K[1, 1]))
    return replace(frame, depth_camera=camera, read_depth=partial(compact.astype, np.float32))


def _nothing_to_fit(scan: Scan, network: DepthModel) -> str:
    return (
        f"{scan.path}: too few points of structure from motion to fit the depth of {network.name} to; find poses from "
        "the images (bev.find_poses), or take a network that gives poses and learned_reconstruction"
    )


def _warned(scan: Scan, network: DepthModel, lacking: int, what: str) -> Scan:
    if not lacking or scan.sparse is None:
        return scan
    warning = f"{lacking} of {len(scan.frames)} frames saw too few points to fit the depth of {network.name} to: {what}"
    logger.warning(warning)
    return replace(scan, warnings=(*scan.warnings, warning))


def _same_size(frames: Sequence[Frame], chunk: int) -> list[list[Frame]]:
    """Runs of at most `chunk` neighbouring frames of one size."""
    runs: list[list[Frame]] = []
    for frame in frames:
        size = (frame.camera.width, frame.camera.height)
        if not runs or (runs[-1][0].camera.width, runs[-1][0].camera.height) != size:
            runs.append([])
        runs[-1].append(frame)
    return [[run[i] for i in window] for run in runs for window in windows(len(run), chunk)]


def _checked_chunk(chunk: int | None, network: DepthModel) -> int:
    if chunk is not None and chunk < 1:
        raise UserError(f"chunk must be at least 1 frame, got {chunk}")
    return chunk or network.frames_at_once
