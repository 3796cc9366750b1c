"""Colour cameras that are off by centimetres come back; those that are right stay."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bev.alignment import align_to_surface
from bev.scan import Scan
from bev.synthetic import Film, film, synthetic_room


@pytest.fixture(scope="module")
def walk() -> Film:
    return film(synthetic_room(3), frames=40, width=320, height=240, world_from_room=np.eye(4))


def shaken(scan: Scan, sigma_m: float, sigma_deg: float) -> Scan:
    rng = np.random.default_rng(1)
    frames = []
    for frame in scan.frames:
        motion = np.eye(4)
        motion[:3, :3] = cv2.Rodrigues(np.radians(rng.normal(0, sigma_deg, 3)))[0]
        motion[:3, 3] = rng.normal(0, sigma_m, 3)
        camera = replace(frame.camera, world_from_camera=frame.camera.world_from_camera @ motion)
        frames.append(replace(frame, camera=camera))
    return scan.with_frames(tuple(frames))


def pixel_errors(scan: Scan, truth: Scan, points: np.ndarray) -> np.ndarray:
    """Median distance in pixels between where a frame and its truth show the points, per frame."""
    errors = []
    for frame, true_frame in zip(scan.frames, truth.frames, strict=True):
        uv, depth = true_frame.camera.project(points)
        seen = (depth > 0.3) & (uv > 0).all(axis=1) & (uv < [frame.camera.width, frame.camera.height]).all(axis=1)
        errors.append(np.median(np.linalg.norm(frame.camera.project(points[seen])[0] - uv[seen], axis=1)))
    return np.array(errors)


def test_shaken_cameras_come_back(walk: Film):
    points = walk.room.surface.vertices[::50]
    off = shaken(walk.scan, 0.02, 0.5)
    before = pixel_errors(off, walk.scan, points)
    after = pixel_errors(align_to_surface(off, walk.room.surface), walk.scan, points)
    assert before.mean() > 2.5
    assert after.mean() < 0.5 * before.mean()


def test_right_cameras_stay(walk: Film):
    points = walk.room.surface.vertices[::50]
    after = pixel_errors(align_to_surface(walk.scan, walk.room.surface), walk.scan, points)
    assert np.median(after) < 0.5 and after.max() < 2


def test_depth_cameras_do_not_move(walk: Film):
    off = shaken(walk.scan, 0.02, 0.5)
    aligned = align_to_surface(off, walk.room.surface, rounds=(2, 1, 1))
    for before, after in zip(off.frames, aligned.frames, strict=True):
        assert before.depth_camera is not None and after.depth_camera is not None
        assert (before.depth_camera.world_from_camera == after.depth_camera.world_from_camera).all()
        assert (before.camera.world_from_camera != after.camera.world_from_camera).any()


def test_a_scan_of_plain_white_stays(walk: Film):
    def white() -> np.ndarray:
        return np.full((240, 320, 3), 255, np.uint8)

    scan = walk.scan.with_frames(tuple(replace(frame, read_color=white) for frame in walk.scan.frames[:10]))
    aligned = align_to_surface(scan, walk.room.surface, rounds=(2, 1, 1))
    for before, after in zip(scan.frames, aligned.frames, strict=True):
        assert np.allclose(before.camera.world_from_camera, after.camera.world_from_camera, atol=1e-9)
