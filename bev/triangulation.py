"""Sparse points of posed frames: features that match between two of them and meet in space.

What structure from motion leaves behind as a matter of course is made here for captures that bring poses alone.
"""

import cv2
import numpy as np

from bev.camera import Camera
from bev.progress import track
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints

_LONG_SIDE_PX = 640
_FEATURES = 1500
_RATIO = 0.8
"""Lowe's: the best match must be that much nearer than the second best."""
_OFFSETS = (1, 2, 4, 8, 16)
"""Frames later, with which a frame is matched: how far the camera goes between two frames is not known here."""
_TURN_MAX_DEG = 60.0
_ERROR_MAX_PX = 1.5
_ANGLE_MIN_DEG = 1.0


def triangulated(scan: Scan, *, progress: bool = False) -> SparsePoints:
    """Match SIFT features of posed frames and triangulate them; each point is seen by two frames.

    Args:
        scan: posed pinhole frames; every image is read once.
        progress: show a bar.
    """
    sift = cv2.SIFT.create(nfeatures=_FEATURES)
    features = [_features(frame, sift) for frame in track(scan.frames, "find features", show=progress)]
    points, seen, count = [np.zeros((0, 3))], [np.zeros((0, 2), np.int64)], 0
    for first, second in _pairs(scan):
        found = _common_points(scan.frames[first].camera, features[first], scan.frames[second].camera, features[second])
        rows = np.arange(count, count + len(found))
        points.append(found)
        count += len(found)
        seen += [np.stack([np.full(len(found), scan.frames[k].index), rows], axis=1) for k in (first, second)]
    return SparsePoints(np.concatenate(points), np.concatenate(seen))


def _pairs(scan: Scan) -> list[tuple[int, int]]:
    """Positions of frames that look the same way from different places."""
    forward = np.array([frame.camera.world_from_camera[:3, 2] for frame in scan.frames])
    centers = scan.centers()
    found = []
    for first in range(len(scan.frames)):
        for second in (first + offset for offset in _OFFSETS):
            if second >= len(scan.frames):
                break
            same_way = forward[first] @ forward[second] > np.cos(np.radians(_TURN_MAX_DEG))
            if same_way and (centers[first] != centers[second]).any():
                found.append((first, second))
    return found


def _features(frame: Frame, sift: cv2.SIFT) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) float64 uv in the frame's camera, (n, 128) float32 descriptors."""
    image = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _LONG_SIDE_PX / max(image.shape))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    keypoints, descriptors = sift.detectAndCompute(image, np.array([]))
    if not len(keypoints):
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    # OpenCV counts the centre of the top-left pixel as (0, 0)
    uv = (np.array([keypoint.pt for keypoint in keypoints]) + 0.5) / image.shape[::-1]
    return uv * (frame.camera.width, frame.camera.height), descriptors


def _common_points(
    camera: Camera, own: tuple[np.ndarray, np.ndarray], other: Camera, theirs: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(n, 3) world points where the rays of matching features meet, as exactly as features are."""
    if len(own[0]) < 2 or len(theirs[0]) < 2:
        return np.zeros((0, 3))
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(own[1], theirs[1], k=2)
    pairs = np.array([(a.queryIdx, a.trainIdx) for a, b in matches if a.distance < _RATIO * b.distance])
    if not len(pairs):
        return np.zeros((0, 3))
    uv, other_uv = own[0][pairs[:, 0]], theirs[0][pairs[:, 1]]
    points = _between_rays(camera, uv, other, other_uv)
    error_px = 0.0
    for view, at in ((camera, uv), (other, other_uv)):
        projected, _ = view.project(points)
        size_px = max(view.width, view.height) / _LONG_SIDE_PX
        error_px = np.maximum(error_px, np.linalg.norm(projected - at, axis=1) / size_px)
    return points[np.nan_to_num(error_px, nan=np.inf) < _ERROR_MAX_PX]  # NaN behind a camera


def _between_rays(camera: Camera, uv: np.ndarray, other: Camera, other_uv: np.ndarray) -> np.ndarray:
    """(n, 3) points halfway between two rays each, where they are closest; NaN where they are all but parallel."""
    origin, direction = camera.rays(uv)
    other_origin, other_direction = other.rays(other_uv)
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    other_direction = other_direction / np.linalg.norm(other_direction, axis=1, keepdims=True)
    between = other_origin - origin
    cosine = (direction * other_direction).sum(axis=1)
    along, other_along = (between * direction).sum(axis=1), (between * other_direction).sum(axis=1)
    sine_squared = np.maximum(1 - cosine**2, 1e-12)
    reach = (along - cosine * other_along) / sine_squared
    other_reach = (cosine * along - other_along) / sine_squared
    points = (origin + direction * reach[:, None] + other_origin + other_direction * other_reach[:, None]) / 2
    points[sine_squared < np.sin(np.radians(_ANGLE_MIN_DEG)) ** 2] = np.nan
    return points
