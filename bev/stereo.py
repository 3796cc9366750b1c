"""Depth from posed images alone, without any weights: multi-view plane-sweep stereo.

Every frame is matched with its neighbours: coarsely over the whole range of depth, made smooth semi-globally, then
finely around what was found. What other frames' depth does not confirm is dropped, so that a pixel has depth that
several views agree on, or none.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bev.camera import Camera
from bev.consistency import InverseDepth, confirmed, without_speckles
from bev.device import choose_device
from bev.errors import UserError, require
from bev.neighbours import neighbours
from bev.plane_sweep import GreyView, agreement
from bev.progress import track
from bev.scan import Frame, Scan
from bev.semi_global import aggregate, lowest
from bev.sparse import SparsePoints
from bev.triangulation import triangulated
from bev.workers import each_in_torch

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_COARSE = 2
"""The search over all depths is done on images this many times smaller."""
_PLANES = 64
_COARSE_MATCHES, _COARSE_ANGLE_DEG, _COARSE_RADIUS_PX = 12, 5.0, 1
"""Many small windows at small angles: what is ambiguous one by one is smoothed out semi-globally."""
_FINE_MATCHES, _FINE_ANGLE_DEG, _FINE_RADIUS_PX = 8, 8.0, 3
_FINE_STEPS = 6
"""To either side of what the coarse search found, all together as far as a plane is from the next."""
_AGREEMENT_MIN = 0.3
"""Mean correlation below which a match is none."""
_CONFIRMING, _CONFIRMED_BY = 12, 2
_TOLERANCE = 0.02
"""Share of the depth by which views that see the same may differ."""
_SPECKLE_AREA_PX = 60
_USUAL_PERCENT = (2, 98)
_NEAR_MARGIN, _FAR_MARGIN = 0.75, 1.4
"""Of the depths of sparse points: some are strays, and not all there is to see has a point."""


def stereo_depth(scan: Scan, *, long_side_px: int = 320, device: str | None = None, progress: bool = False) -> Scan:
    """Find depth for every frame of a posed scan by comparing its images.

    Args:
        scan: posed pinhole frames; `scan.sparse` tells where depth is to be expected; without it `bev.triangulation`
            makes such points.
        long_side_px: of the depth images.
        device: torch device, "cpu", "cuda" or "cuda:1"; None takes CUDA where there is one.
        progress: show a bar.

    Returns:
        The scan with depth in its own units, registered to colour and of `long_side_px`: (h, w) float32, 0 = none. It
        is held in memory as 16 bits a pixel. A frame that no others confirm has a depth image without depth.

    Raises:
        UserError: no poses, too few frames, cameras that do not move, or nothing that several frames agree on.
    """
    device = choose_device(device)
    sparse = _points_of(scan, progress)
    matches = _Matches.of(scan, sparse)
    views = [_pyramid(frame, long_side_px, device) for frame in track(scan.frames, "read images", show=progress)]
    each = partial(each_in_torch, items=range(len(views)), device=device, show=progress)
    found = each(lambda at: _found(at, scan.frames[at], views, matches, sparse), description="match images")
    maps = each(
        lambda at: _kept(found[at], [found[other] for other in matches.confirming[at]]), description="compare depth"
    )
    if not any(values.any() for values in maps):
        raise UserError(
            f"{scan.path}: no depth that several of its {len(maps)} frames agree on; film something with texture, in "
            "light, and walk sideways rather than turn on the spot"
        )
    lone = sum(not values.any() for values in maps)
    if lone:
        logger.info("%s: %d of %d frames have no depth that others confirm", scan.name, lone, len(maps))
    return scan.with_frames(tuple(with_inverse_depth(f, values) for f, values in zip(scan.frames, maps, strict=True)))


def _points_of(scan: Scan, progress: bool) -> SparsePoints:
    """The scan's sparse points, or new ones where it has none."""
    if not scan.has_poses:
        raise UserError(f"{scan.path}: has no poses, which stereo needs; find them with `bev.find_poses`")
    if len(scan.frames) <= _CONFIRMED_BY:
        raise UserError(
            f"{scan.path}: has {len(scan.frames)} frames, stereo needs at least {_CONFIRMED_BY + 1}; film longer"
        )
    sparse = scan.sparse
    if sparse is None or not len(sparse.seen):
        sparse = triangulated(scan, progress=progress)
    if not len(sparse.seen):
        raise UserError(
            f"{scan.path}: its frames share no features that meet in space; does the camera move sideways, are the "
            "poses right, and is there texture?"
        )
    return sparse


@dataclass(frozen=True)
class _Matches:
    """For every frame, by position: which others it is compared with."""

    coarse: list[tuple[int, ...]]
    fine: list[tuple[int, ...]]
    confirming: list[tuple[int, ...]]

    @staticmethod
    def of(scan: Scan, sparse: SparsePoints) -> "_Matches":
        coarse = neighbours(scan, sparse, count=_COARSE_MATCHES, angle_deg=_COARSE_ANGLE_DEG)
        fine = neighbours(scan, sparse, count=_FINE_MATCHES, angle_deg=_FINE_ANGLE_DEG)
        both = [tuple(dict.fromkeys(a + b))[:_CONFIRMING] for a, b in zip(fine, coarse, strict=True)]
        return _Matches(coarse, fine, both)


def with_inverse_depth(frame: Frame, inverse_depth: np.ndarray) -> Frame:
    """The frame with depth from an (h, w) float32 inverse depth, 0 = none, of its colour camera resized."""
    height, width = inverse_depth.shape
    largest = float(inverse_depth.max())
    step = largest / 65535 if largest > 0 else 1.0
    stored = np.rint(inverse_depth / step).astype(np.uint16)
    return replace(frame, depth_camera=frame.camera.resized(width, height), read_depth=partial(_unpacked, stored, step))


def _unpacked(stored: np.ndarray, step: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(stored > 0, np.float32(1 / step) / stored, 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Pyramid:
    fine: GreyView
    coarse: GreyView


def _pyramid(frame: Frame, long_side_px: int, device: str) -> _Pyramid:
    camera = frame.camera
    scale = min(1.0, long_side_px / max(camera.width, camera.height))
    image = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2GRAY)
    return _Pyramid(_grey_view(image, camera, scale, device), _grey_view(image, camera, scale / _COARSE, device))


def _grey_view(image: np.ndarray, camera: Camera, scale: float, device: str) -> GreyView:
    torch = require("torch", "video")
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return GreyView(torch.from_numpy(small).to(device), camera.resized(width, height))


def depth_range(frame: Frame, sparse: SparsePoints) -> tuple[float, float] | None:
    """Nearest and farthest depth at which to look: those of the sparse points that a frame saw, and a margin."""
    _, depth = frame.camera.project(sparse.seen_by(frame.index))
    if not (depth > 0).any():
        return None
    near, far = np.percentile(depth[depth > 0], _USUAL_PERCENT)
    return float(near * _NEAR_MARGIN), float(far * _FAR_MARGIN)


def _found(position: int, frame: Frame, views: list[_Pyramid], matches: _Matches, sparse: SparsePoints) -> InverseDepth:
    """Depth of one frame, with mistakes."""
    torch = require("torch", "video")
    own, near_to_far = views[position], depth_range(frame, sparse)
    if near_to_far is None or not matches.coarse[position]:
        return InverseDepth(torch.zeros_like(own.fine.image), own.fine.camera)
    smallest, largest = 1 / near_to_far[1], 1 / near_to_far[0]
    plane_step = (largest - smallest) / (_PLANES - 1)
    planes = smallest + plane_step * torch.arange(_PLANES, device=own.fine.image.device)
    others = [views[other].coarse for other in matches.coarse[position]]
    cost = 1 - agreement(own.coarse, others, planes[:, None, None], radius_px=_COARSE_RADIUS_PX)
    plane, _ = lowest(aggregate(cost, own.coarse.image))
    start = _upsampled(smallest + plane * plane_step, own.fine.image.shape, plane_step)
    others = [views[other].fine for other in matches.fine[position]]
    return InverseDepth(_refined(own.fine, others, start, plane_step / _FINE_STEPS), own.fine.camera)


def _refined(own: GreyView, others: list[GreyView], start: "Tensor", step: float) -> "Tensor":
    """(h, w) inverse depth near `start` at which the views agree best, 0 where they do not."""
    torch = require("torch", "video")
    offsets = step * torch.arange(-_FINE_STEPS, _FINE_STEPS + 1, device=start.device)
    tried = (start + offsets[:, None, None]).clamp_min_(step)
    scores = agreement(own, others, tried, radius_px=_FINE_RADIUS_PX)
    best, within = lowest(-scores)
    values = start + (best - _FINE_STEPS) * step
    return torch.where(within & (values > 0) & (scores.amax(dim=0) > _AGREEMENT_MIN), values, 0.0)


def _upsampled(values: "Tensor", shape: tuple[int, ...], step: float) -> "Tensor":
    """(h, w) to a larger shape: smooth, but not across jumps."""
    functional = require("torch.nn.functional", "video")
    torch = require("torch", "video")
    smooth, nearest = (
        functional.interpolate(values[None, None], size=tuple(shape), mode=mode, **arguments)[0, 0]
        for mode, arguments in (("bilinear", {"align_corners": False}), ("nearest-exact", {}))
    )
    return torch.where((smooth - nearest).abs() < step, smooth, nearest)


def _kept(own: InverseDepth, others: list[InverseDepth]) -> np.ndarray:
    """(h, w) float32 inverse depth: what others confirm, without speckles."""
    values = confirmed(own, others, tolerance=_TOLERANCE, count_min=_CONFIRMED_BY)
    return without_speckles(values.cpu().numpy(), area_px=_SPECKLE_AREA_PX)
