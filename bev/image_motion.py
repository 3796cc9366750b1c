"""How far a film's picture has moved, as a share of its longer side: from the pictures, or from known cameras."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from bev.scan import Frame, Scan

_LONG_SIDE_PX = 160
_TEXTURE = 3.0
"""Gradients, in grey levels per pixel, below this are noise: nothing moves visibly there."""
_TEXTURED_SHARE = 0.02
_FORTH_AND_BACK_PX = 2.0
_ALIKE = 0.5
_DEPTH_M = 2.0
"""How far away the things in a room usually are."""

Motion = Callable[["Look", "Look"], float | None]
"""How far the picture moved, as a share of its longer side; None where the two have nothing in common to follow."""


@dataclass(frozen=True, eq=False)
class Look:
    """What motion is measured on."""

    frame: Frame
    grey: np.ndarray
    """(h, w) uint8, 160 px long."""


def look(frame: Frame, image: np.ndarray) -> Look:
    """A frame with its image, (H, W, 3) uint8 RGB, made small."""
    shrink = _LONG_SIDE_PX / max(image.shape[:2])
    size = max(16, round(image.shape[1] * shrink)), max(16, round(image.shape[0] * shrink))
    return Look(frame, cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))


def motion_for(scan: Scan) -> Motion:
    """Cameras tell where their poses and the size of the world are known; the pictures tell anywhere else."""
    if scan.has_poses and scan.units == "metre":
        return camera_motion
    return FlowMotion()


def camera_motion(first: Look, second: Look) -> float | None:
    """How far things two metres away move in the picture between two poses, in metres."""
    cameras = first.frame.camera, second.frame.camera
    turn = cameras[0].camera_from_world[:3, :3] @ cameras[1].world_from_camera[:3, :3]
    angle = float(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    baseline_m = float(np.linalg.norm(cameras[1].center - cameras[0].center))
    focal_share = cameras[0].K[0, 0] / max(cameras[0].width, cameras[0].height)
    return focal_share * (angle + baseline_m / _DEPTH_M)


@dataclass(frozen=True, eq=False)
class FlowMotion:
    """Median optical flow where there is texture (Dense Inverse Search, Kroeger et al., ECCV 2016).

    It counts turning and walking alike: both bring new surface into view. The median ignores what moves by itself as
    long as that fills less than half of the picture.
    """

    _flow: cv2.DISOpticalFlow = field(
        default_factory=lambda: cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    )

    def __call__(self, first: Look, second: Look) -> float | None:
        if first.grey.shape != second.grey.shape:
            return None
        textured = _textured(first.grey)
        for start in (_still, _shifted):
            forth = self._flow.calc(first.grey, second.grey, start(first.grey, second.grey))
            moved_px = float(np.median(np.hypot(forth[..., 0], forth[..., 1])[textured]))
            if moved_px <= 1 or not self._is_lost(first.grey, second.grey, forth, textured):
                return moved_px / max(first.grey.shape)
        return None

    def _is_lost(self, first: np.ndarray, second: np.ndarray, forth: np.ndarray, textured: np.ndarray) -> bool:
        """Whether the way back is another one, and the detail at its ends another too."""
        back = self._flow.calc(second, first, _still(second, first) - np.median(forth, axis=(0, 1)))
        height, width = first.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        x, y = x + forth[..., 0], y + forth[..., 1]
        seen = textured & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        if seen.sum() < textured.sum() / 4:
            return True
        error = forth + cv2.remap(back, x, y, cv2.INTER_LINEAR)
        if np.median(np.hypot(error[..., 0], error[..., 1])[seen]) < _FORTH_AND_BACK_PX:
            return False
        there = cv2.remap(_detail(second), x, y, cv2.INTER_LINEAR)
        return _correlation(_detail(first)[seen], there[seen]) < _ALIKE


def has_texture(at: Look) -> bool:
    """Whether there is anything in the picture that motion could be seen by."""
    return bool(_has_gradient(at.grey).mean() > _TEXTURED_SHARE)


def _still(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.zeros((*first.shape, 2), np.float32)


def _shifted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A start for what moved further than flow finds by itself: one shift for all (phase correlation)."""
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(first.astype(np.float32), second.astype(np.float32), window)
    return np.broadcast_to(np.array(shift, np.float32), (*first.shape, 2)).copy()


def _textured(grey: np.ndarray) -> np.ndarray:
    """(h, w) bool: where flow can be seen; everywhere in a picture without any texture."""
    textured = _has_gradient(grey)
    return textured if textured.mean() > _TEXTURED_SHARE else np.ones_like(textured)


def _has_gradient(grey: np.ndarray) -> np.ndarray:
    across, down = (cv2.Scharr(grey, cv2.CV_32F, *axes, scale=1 / 32) for axes in ((1, 0), (0, 1)))
    return np.hypot(across, down) > _TEXTURE


def _detail(grey: np.ndarray) -> np.ndarray:
    image = grey.astype(np.float32)
    return image - cv2.GaussianBlur(image, (0, 0), 4)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's, 0 where one of them does not vary."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > 0 else 0.0
