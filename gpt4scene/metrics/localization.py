"""How often a predicted place and heading of somebody in a scene come near the true ones, as SQA3D counts it."""

from collections.abc import Callable, Sequence

import numpy as np

from bev.errors import UserError, require
from gpt4scene.metrics.metric import Metric, mean_metric

MOST_CANDIDATES = 3
"""How many predictions there may be for one pose; the best counts."""
WITHIN_M = (0.5, 1.0)
WITHIN_DEG = (15, 30)


def localization_metrics(
    true_positions: np.ndarray,
    true_rotations: np.ndarray,
    positions: Sequence[Sequence[Sequence[float]]],
    rotations: Sequence[Sequence[Sequence[float]]],
) -> tuple[Metric, ...]:
    """acc@0.5m, acc@1.0m, acc@15° and acc@30°, each of places and of headings apart.

    A pose counts where the nearest of its candidates is strictly nearer than the bound: in x and y, or in the last
    component of the rotation vector. SilongYong/SQA3D a98da8f utils/localization_metric.py metric_localization, which
    fails where a pose has no candidate; here it counts as wrong.

    Args:
        true_positions: (n, 3) metres.
        true_rotations: (n, 4) quaternions, x y z w.
        positions: for each pose at most three candidates, metres.
        rotations: for each pose at most three candidates, x y z w.

    Raises:
        UserError: there are more candidates than may be, other numbers in them, or not as many lists as poses.
    """
    count = len(true_positions)
    away_m = _nearest(_by_pose(positions, count, 3, "positions"), np.asarray(true_positions, np.float64), _distance)
    turned = _by_pose(rotations, count, 4, "rotations")
    away_deg = _nearest([_z_of(each) for each in turned], _z_of(np.asarray(true_rotations, np.float64)), _turn)
    places = [mean_metric(f"acc@{bound}m", 100.0 * (away_m < bound)) for bound in WITHIN_M]
    return (*places, *(mean_metric(f"acc@{bound}°", 100.0 * (away_deg < bound)) for bound in WITHIN_DEG))


def _by_pose(given: Sequence[Sequence[Sequence[float]]], count: int, width: int, what: str) -> list[np.ndarray]:
    if len(given) != count:
        raise UserError(f"predicted {what}: there are {count} true poses, and candidates for {len(given)}")
    arrays = []
    for number, candidates in enumerate(given, start=1):
        if len(candidates) > MOST_CANDIDATES or any(len(one) != width for one in candidates):
            raise UserError(
                f"predicted {what} of pose {number}: must be at most {MOST_CANDIDATES} lists of {width} numbers, are"
                f" {str(candidates)[:60]}"
            )
        array = np.asarray(candidates, np.float64).reshape(-1, width)
        if not np.isfinite(array).all():
            raise UserError(f"predicted {what} of pose {number}: must be finite, are {str(candidates)[:60]}")
        arrays.append(array)
    return arrays


def _z_of(quaternions: np.ndarray) -> np.ndarray:
    """The last component of the rotation vectors, radians; of (k, 4) quaternions, x y z w."""
    if not len(quaternions):
        return np.zeros(0)
    if not np.linalg.norm(quaternions, axis=1).all():
        raise UserError(f"the quaternion 0 0 0 0 is no rotation; {len(quaternions)} given together hold one")
    return require("scipy.spatial.transform").Rotation.from_quat(quaternions).as_rotvec()[:, -1]


def _nearest(
    candidates: list[np.ndarray], true: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], list[float]]
) -> np.ndarray:
    return np.array(
        [min(distance(each, one), default=np.inf) for each, one in zip(candidates, true, strict=True)], np.float64
    )


def _distance(positions: np.ndarray, true: np.ndarray) -> list[float]:
    """In metres, heights apart."""
    return [float(metres) for metres in np.sqrt(((true[:2] - positions[:, :2]) ** 2).sum(axis=1))]


def _turn(angles: np.ndarray, true: np.ndarray) -> list[float]:
    """In degrees, the shorter way round."""
    apart = np.abs(true - angles)
    return [float(degrees) for degrees in np.minimum(apart, 2 * np.pi - apart) / np.pi * 180]
