"""Where RedKitchen's colour camera truly stood, and how what was found lies against it."""

from pathlib import Path

import numpy as np

import bev
from bev.camera import transform_points
from bev.scan import Scan

SHARED = Path(__file__).parents[2] / "shared"
KITCHEN = SHARED / "data" / "redkitchen"
KITCHEN_FILM = SHARED / "data" / "redkitchen.mp4"
UP = np.array([0.008, -0.892, -0.452])
"""In the world of the stored poses, known to 1 degree."""


def true_scan() -> Scan:
    """The hundred posed frames, every tenth of the film's."""
    return bev.read_scan(KITCHEN)


def true_centers(indices: np.ndarray) -> np.ndarray:
    """(n, 3) metres: the colour camera at frames of the film, between the known ones on a straight line."""
    scan = true_scan()
    known, centers = [frame.index for frame in scan.frames], scan.centers()
    return np.stack([np.interp(indices, known, centers[:, axis]) for axis in range(3)], axis=1)


def fitted(points: np.ndarray, truth: np.ndarray, *, with_scale: bool = True) -> np.ndarray:
    """The similarity or rigid motion, (4, 4), that brings points (n, 3) nearest to the truth (Umeyama 1991)."""
    middle, true_middle = points.mean(axis=0), truth.mean(axis=0)
    away, true_away = points - middle, truth - true_middle
    u, spread, vt = np.linalg.svd(true_away.T @ away)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    scale = (spread * np.diag(flip)).sum() / (away**2).sum() if with_scale else 1.0
    truth_from_points = np.eye(4)
    truth_from_points[:3, :3] = scale * rotation
    truth_from_points[:3, 3] = true_middle - scale * rotation @ middle
    return truth_from_points


def rmse_m(points: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared distance of two sets of points (n, 3), metres."""
    return float(np.sqrt(((points - truth) ** 2).sum(axis=1).mean()))


def up_error_deg(truth_from_world: np.ndarray) -> float:
    """How far the +z of a world is from the kitchen's up."""
    up = truth_from_world[:3, 2] / np.linalg.norm(truth_from_world[:3, 2])
    return float(np.degrees(np.arccos(np.clip(up @ UP / np.linalg.norm(UP), -1, 1))))


def occupied_iou(points: np.ndarray, others: np.ndarray, cell_m: float = 0.05) -> float:
    """Share of floor cells that two sets of points (n, 3), metres, z up, both occupy, of those that either does."""
    first, second = (
        {tuple(cell) for cell in np.floor(p[:, :2] / cell_m).astype(int).tolist()} for p in (points, others)
    )
    return len(first & second) / max(len(first | second), 1)


def moved(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 3), by a similarity."""
    return transform_points(b_from_a, points.astype(np.float64))
