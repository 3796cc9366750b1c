"""How large a model from structure from motion is, by a depth sensor that filmed with it."""

import cv2
import numpy as np

from bev.camera import invert_rigid, transform_points
from bev.progress import track
from bev.scan import Frame
from bev.sfm import SfmModel

_OBSERVATIONS_MIN = 100
_FLAT_WITHIN = 0.05
"""Depth whose neighbours differ by more than this share lies on an edge: the point may be on either side."""
_ROUNDS = 5


def sensor_scale(frames: tuple[Frame, ...], model: SfmModel, *, progress: bool = False) -> float | None:
    """Metres per unit of a model: the median over all points in all images of the depth that the sensor has there.

    The sensor looks from beside the colour camera, by metres that are known where the model's are not: a point lands
    on its pixel only with the right scale, which is therefore found in rounds.

    Args:
        frames: those that `model.rows` counts, with depth; their own poses do not matter, but how their two cameras
            stand to each other does.
        model: in its own units.
        progress: show a bar.

    Returns:
        None where the sensor has depth at fewer than 100 of the points.
    """
    sights = []
    rows = track([int(row) for row in model.rows], "read the scale", show=progress)
    for row, world_from_camera in zip(rows, model.world_from_camera, strict=True):
        points = model.points[model.seen[model.seen[:, 0] == row, 1]]
        sights.append(_Sight(frames[row], transform_points(invert_rigid(world_from_camera), points)))
    scale = None
    for _ in range(_ROUNDS):
        ratios = np.concatenate([np.empty(0), *(sight.ratios(scale) for sight in sights)])
        if len(ratios) < _OBSERVATIONS_MIN:
            return None
        scale = float(np.median(ratios))
    return scale


class _Sight:
    """One frame's depth image, and the points that its colour camera saw, in that camera's frame and units."""

    def __init__(self, frame: Frame, points: np.ndarray) -> None:
        assert frame.depth_camera is not None and frame.read_depth is not None
        depth_from_color = invert_rigid(frame.color_from_depth)
        self._K = frame.depth_camera.K
        self._turned = points @ depth_from_color[:3, :3].T
        self._offset = depth_from_color[:3, 3]
        depth = frame.read_depth()
        nearest = cv2.erode(np.where(depth > 0, depth, np.inf).astype(np.float32), np.ones((3, 3)))
        flat = cv2.dilate(depth, np.ones((3, 3))) - nearest <= depth * _FLAT_WITHIN
        self._depth = np.where(flat, depth, 0.0)

    def ratios(self, scale: float | None) -> np.ndarray:
        """(k,) metres per unit, one for each point that has depth where `scale` puts it.

        Without a scale, which is how the rounds begin, as if both cameras stood in one place.
        """
        points = self._turned if scale is None else self._turned * scale + self._offset
        height, width = self._depth.shape
        ahead = (points[:, 2] > 1e-6) & (self._turned[:, 2] > 1e-6)
        uvw = points[ahead] @ self._K.T
        u, v = np.floor(np.clip(uvw[:, :2] / uvw[:, 2:], -1, max(width, height))).astype(np.int64).T
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        depth = self._depth[v[inside], u[inside]]
        ratios = (depth - self._offset[2]) / self._turned[ahead, 2][inside]
        return ratios[(depth > 0) & (ratios > 0)]
