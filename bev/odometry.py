"""Poses from depth and brightness together, step by step: where images alone tell too little.

Open3D's RGB-D odometry (Park, Zhou and Koltun, "Colored Point Cloud Registration Revisited", ICCV 2017), then a pose
graph over the steps and the places that were visited again (Choi, Zhou and Koltun, "Robust Reconstruction of Indoor
Scenes", CVPR 2015).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from bev.camera import Camera, invert_rigid, pixel_centers, transform_points
from bev.errors import require
from bev.progress import track
from bev.scan import Frame

_WIDTH_PX = 320
_DEPTH_MAX_M = 8.0
_TRIED_BEFORE = 3
"""A frame is fitted to the last of those that have a place, and else to the ones before that."""
_LOST_IN_A_ROW = 4
"""After so many frames without a place, a new stretch begins."""
_OVERLAP_MIN = 0.3
_AGREEMENT_MIN = 0.8
_AGREES_WITHIN = 0.03
"""Two depths are one surface when they differ by less than this share, and a centimetre."""
_MATCHES_MIN = 12
_CONTRAST_MIN = 0.03
_LOOP_STEPS = 6
_LOOPS_PER_FRAME = 3
_LOOP_DISTANCE_M = 0.6
_LOOP_ANGLE_DEG = 30.0


@dataclass(frozen=True, eq=False)
class _Sight:
    """A frame as its depth camera sees it, small."""

    rgbd: Any
    """open3d.geometry.RGBDImage."""
    brightness: np.ndarray
    """(h, w) float32, 0 to 1."""
    depth: np.ndarray
    """(h, w) float32 metres, 0 = none."""
    camera: Camera
    """The depth camera, at the identity."""


@dataclass(frozen=True, eq=False)
class _Step:
    """How one frame lies to another."""

    source: int
    target: int
    target_from_source: np.ndarray
    """(4, 4) metres."""
    information: np.ndarray
    """(6, 6): how firmly."""
    agreement: float
    """0 to 1: share of the common pixels whose depths agree, times how well their brightness does."""


def odometry_poses(frames: tuple[Frame, ...], *, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Fit each frame to the ones before, close loops, and keep the longest stretch that hangs together.

    Args:
        frames: in the order of time, with depth in metres; their poses do not matter, but how their two cameras stand
            to each other does.
        progress: show bars.

    Returns:
        Rows of the frames that have a place, (n,) int64 ascending, and (n, 4, 4) float64 metres, `world_from_camera` of
        their colour cameras; the first one's is the identity.
    """
    sights = [_sight(frame) for frame in track(frames, "read depth", show=progress)]
    rows, steps, poses = _longest_stretch(sights, progress)
    loops = _loops(sights, rows, poses, progress)
    poses = _optimised(poses, rows, steps, loops)
    offsets = [invert_rigid(frames[row].color_from_depth) for row in rows]
    world_from_color = np.array([pose @ offset for pose, offset in zip(poses, offsets, strict=True)])
    return np.array(rows, np.int64), invert_rigid(world_from_color[0]) @ world_from_color


def _sight(frame: Frame) -> _Sight:
    assert frame.depth_camera is not None and frame.read_depth is not None
    o3d = require("open3d")
    camera = frame.depth_camera.moved(frame.depth_camera.camera_from_world)
    height = max(1, round(camera.height * _WIDTH_PX / camera.width))
    camera = camera.resized(_WIDTH_PX, height)
    depth = cv2.resize(frame.read_depth(), (_WIDTH_PX, height), interpolation=cv2.INTER_NEAREST)
    depth[depth > _DEPTH_MAX_M] = 0
    # where the sensor has no depth, brightness is not compared: any distance will do to look it up
    known = depth[depth > 0]
    distance = np.where(depth > 0, depth, np.median(known) if len(known) else 1.0).ravel()
    points = camera.unproject(pixel_centers(_WIDTH_PX, height), distance)
    uv, _ = frame.camera.moved(frame.camera.camera_from_world).project(transform_points(frame.color_from_depth, points))
    x, y = (np.nan_to_num(uv, nan=-1.0) - 0.5).astype(np.float32).T.reshape(2, height, _WIDTH_PX)
    grey = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2GRAY)
    grey = cv2.blur(grey, (round(grey.shape[1] / _WIDTH_PX) or 1,) * 2)  # a pixel of the small image covers several
    brightness = cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32) / 255
    rgbd = o3d.geometry.RGBDImage()
    rgbd.color, rgbd.depth = o3d.geometry.Image(brightness), o3d.geometry.Image(depth)
    return _Sight(rgbd, brightness, depth, camera)


def _fitted(sights: list[_Sight], source: int, target: int, guess: np.ndarray) -> _Step | None:
    """How the source lies to the target, found from a guess (4, 4); None where the depths do not bear it out."""
    o3d = require("open3d")
    camera, odometry = sights[source].camera, o3d.pipelines.odometry
    K = camera.K
    # Open3D counts the centre of the top-left pixel as (0, 0) here
    intrinsic = o3d.camera.PinholeCameraIntrinsic(
        camera.width, camera.height, K[0, 0], K[1, 1], K[0, 2] - 0.5, K[1, 2] - 0.5
    )
    option = odometry.OdometryOption(depth_diff_max=0.07, depth_max=_DEPTH_MAX_M)
    done, moved, information = odometry.compute_rgbd_odometry(
        sights[source].rgbd,
        sights[target].rgbd,
        intrinsic,
        guess,
        odometry.RGBDOdometryJacobianFromHybridTerm(),
        option,
    )
    if not done or not np.isfinite(moved).all():
        return None
    agreement = _agreement(sights[source], sights[target], moved)
    return _Step(source, target, moved, information, agreement) if agreement >= _AGREEMENT_MIN else None


def _agreement(source: _Sight, target: _Sight, target_from_source: np.ndarray) -> float:
    """Share of the source's depth that lies on the target's, of what lies in its view; 0 where little does."""
    camera = source.camera
    depth = source.depth[::2, ::2].ravel()
    uv = pixel_centers(camera.width, camera.height).reshape(camera.height, camera.width, 2)[::2, ::2].reshape(-1, 2)
    points = transform_points(target_from_source, camera.unproject(uv[depth > 0], depth[depth > 0]))
    seen_uv, seen_depth = target.camera.project(points)
    inside = np.isfinite(seen_uv).all(axis=1)
    inside &= ((seen_uv >= 0) & (seen_uv < (camera.width, camera.height))).all(axis=1)
    column, row = np.floor(seen_uv[inside]).astype(np.int64).T
    there = target.depth[row, column]
    both = there > 0
    if both.sum() < _OVERLAP_MIN * max((depth > 0).sum(), 1):
        return 0.0
    close = np.abs(seen_depth[inside] - there)[both] < _AGREES_WITHIN * there[both] + 0.01
    brightness = source.brightness[::2, ::2].ravel()[depth > 0][inside][both], target.brightness[row, column][both]
    return float(close.mean()) * _likeness(brightness[0][close], brightness[1][close])


def _likeness(brightness: np.ndarray, other: np.ndarray) -> float:
    """How well two samples of brightness correlate, 0 to 1; 1 where there is too little contrast to tell."""
    if min(len(brightness), len(other)) < 2 or min(brightness.std(), other.std()) < _CONTRAST_MIN:
        return 1.0
    return max(float(np.corrcoef(brightness, other)[0, 1]), 0.0)


def _longest_stretch(sights: list[_Sight], progress: bool) -> tuple[list[int], list[_Step], list[np.ndarray]]:
    """Rows of the frames of the longest stretch, the steps between them, and `world_from_depth` of each."""
    stretches: list[tuple[list[int], list[_Step], list[np.ndarray]]] = [([0], [], [np.eye(4)])]
    for row in track(range(1, len(sights)), "follow the camera", show=progress):
        rows, steps, poses = stretches[-1]
        step = _step_back(sights, rows, poses, row)
        if step is not None:
            poses.append(poses[rows.index(step.target)] @ step.target_from_source)
            rows.append(row)
            steps.append(step)
        elif row - rows[-1] >= _LOST_IN_A_ROW:
            stretches.append(([row], [], [np.eye(4)]))
    return max(stretches, key=lambda stretch: len(stretch[0]))


def _step_back(sights: list[_Sight], rows: list[int], poses: list[np.ndarray], row: int) -> _Step | None:
    """The best fit of a frame to one of the last that have a place, from where it would be if it stood or went on."""
    for k in range(len(rows) - 1, max(len(rows) - 1 - _TRIED_BEFORE, -1), -1):
        guesses = [np.eye(4)]
        if k:
            guesses.append(invert_rigid(poses[k - 1]) @ poses[k])
        steps = [_fitted(sights, row, rows[k], guess) for guess in guesses]
        found = [step for step in steps if step is not None]
        if not found:
            guess = _guess_from_features(sights[row], sights[rows[k]])
            step = None if guess is None else _fitted(sights, row, rows[k], guess)
            found += [] if step is None else [step]
        if found:
            return max(found, key=lambda step: step.agreement)
    return None


def _guess_from_features(source: _Sight, target: _Sight) -> np.ndarray | None:
    """(4, 4) target_from_source of two frames too far apart for their brightness to lead the way."""
    sift = cv2.SIFT.create(1000)
    (points, descriptors), (target_points, target_descriptors) = (
        sift.detectAndCompute((sight.brightness * 255).astype(np.uint8), None) for sight in (source, target)
    )
    if len(points) < _MATCHES_MIN or len(target_points) < _MATCHES_MIN:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(descriptors, target_descriptors, k=2)
    matches = [best for best, second in pairs if best.distance < 0.8 * second.distance]
    uv = np.array([points[match.queryIdx].pt for match in matches]).reshape(-1, 2) + 0.5
    target_uv = np.array([target_points[match.trainIdx].pt for match in matches]).reshape(-1, 2)
    column, row = np.floor(uv).astype(np.int64).T
    depth = source.depth[row, column]
    if (depth > 0).sum() < _MATCHES_MIN:
        return None
    K = target.camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    cv2.setRNGSeed(0)
    found, turn, shift, inliers = cv2.solvePnPRansac(
        source.camera.unproject(uv[depth > 0], depth[depth > 0]),
        target_uv[depth > 0],
        K,
        None,
        reprojectionError=2.0,
        iterationsCount=500,
    )
    if not found or len(inliers) < _MATCHES_MIN:
        return None
    guess = np.eye(4)
    guess[:3, :3], guess[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    return guess


def _loops(sights: list[_Sight], rows: list[int], poses: list[np.ndarray], progress: bool) -> list[_Step]:
    """Fits of frames to earlier ones that stood near and looked the same way, by the chain of steps."""
    centers = np.array([pose[:3, 3] for pose in poses])
    looks = np.array([pose[:3, 2] for pose in poses])
    found = []
    for k in track(range(_LOOP_STEPS, len(rows)), "close loops", show=progress):
        distance = np.linalg.norm(centers[: k - _LOOP_STEPS + 1] - centers[k], axis=1)
        turned = looks[: k - _LOOP_STEPS + 1] @ looks[k] < np.cos(np.radians(_LOOP_ANGLE_DEG))
        distance[turned] = np.inf
        for before in np.argsort(distance, kind="stable")[:_LOOPS_PER_FRAME].tolist():
            if distance[before] < _LOOP_DISTANCE_M:
                guess = invert_rigid(poses[before]) @ poses[k]
                step = _fitted(sights, rows[k], rows[before], guess)
                found += [] if step is None else [step]
    return found


def _optimised(poses: list[np.ndarray], rows: list[int], steps: list[_Step], loops: list[_Step]) -> list[np.ndarray]:
    """The poses that all steps and loops together bear out; loops that contradict the rest are dropped."""
    if not loops:
        return poses
    registration = require("open3d").pipelines.registration
    graph = registration.PoseGraph()
    graph.nodes.extend([registration.PoseGraphNode(pose) for pose in poses])
    node = {row: k for k, row in enumerate(rows)}
    for step in [*steps, *loops]:
        graph.edges.append(
            registration.PoseGraphEdge(
                node[step.source],
                node[step.target],
                step.target_from_source,
                step.information,
                uncertain=node[step.source] - node[step.target] >= _LOOP_STEPS,
            )
        )
    registration.global_optimization(
        graph,
        registration.GlobalOptimizationLevenbergMarquardt(),
        registration.GlobalOptimizationConvergenceCriteria(),
        registration.GlobalOptimizationOption(
            max_correspondence_distance=0.03, edge_prune_threshold=0.25, preference_loop_closure=1.0, reference_node=0
        ),
    )
    return [np.array(node.pose) for node in graph.nodes]
