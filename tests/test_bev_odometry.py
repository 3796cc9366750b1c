"""Following the camera by depth: exact films of a synthetic room, with little texture, gaps and places seen again."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bev.camera import invert_rigid
from bev.odometry import odometry_poses
from bev.scan import Frame, Scan
from bev.synthetic import film, synthetic_room


@cache
def walk() -> Scan:
    """A slow stretch of a walk, depth from a camera beside the colour camera."""
    made = film(synthetic_room(3), frames=120, width=320, height=240, noise=False, registered=False)
    return made.scan.with_frames(made.scan.frames[:14])


def unposed(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(frame.moved(frame.camera.camera_from_world) for frame in frames)


def worst(rows: np.ndarray, poses: np.ndarray, frames: tuple[Frame, ...]) -> tuple[float, float]:
    """The largest error of a place, metres, and of a turn, degrees, since the first frame that has a place."""
    truth = np.array([frames[row].camera.world_from_camera for row in rows])
    errors = invert_rigid(truth[0]) @ truth
    away = np.linalg.norm(errors[:, :3, 3] - poses[:, :3, 3], axis=1)
    cosines = ((errors[:, :3, :3] * poses[:, :3, :3]).sum(axis=(1, 2)) - 1) / 2
    return float(away.max()), float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())


def test_a_camera_is_followed_in_metres() -> None:
    frames = walk().frames
    rows, poses = odometry_poses(unposed(frames))
    assert rows.tolist() == list(range(14))
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
    away, turned = worst(rows, poses, frames)
    walked = np.linalg.norm(np.diff(walk().centers(), axis=0), axis=1).sum()
    assert walked > 0.5 and away < 0.02 * walked and turned < 0.5


def test_shape_alone_leads_where_all_is_grey() -> None:
    grey = np.full((240, 320, 3), 140, np.uint8)
    frames = tuple(replace(frame, read_color=lambda: grey) for frame in walk().frames[:8])
    rows, poses = odometry_poses(unposed(frames))
    away, turned = worst(rows, poses, frames)
    assert len(rows) == 8 and away < 0.03 and turned < 1.0


def test_coming_back_closes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = film(synthetic_room(3), frames=120, width=320, height=240, registered=False).scan.frames
    there = noisy[:10]
    back = tuple(replace(frame, index=frame.index + 10 + 2 * (9 - k)) for k, frame in enumerate(there))[::-1]
    closed = worst(*odometry_poses(unposed((*there, *back))), (*there, *back))
    monkeypatch.setattr("bev.odometry._LOOPS_PER_FRAME", 0)
    drifted = worst(*odometry_poses(unposed((*there, *back))), (*there, *back))
    assert closed[0] < 0.6 * drifted[0] and closed[1] < 0.6 * drifted[1]


def test_frames_that_show_nothing_are_left_out() -> None:
    frames = list(walk().frames[:8])
    frames[3] = replace(frames[3], read_depth=lambda: np.zeros((240, 320), np.float32))
    rows, poses = odometry_poses(unposed(tuple(frames)))
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert worst(rows, poses, tuple(frames))[0] < 0.02


def test_the_longest_stretch_is_kept_and_other_places_are_never_joined_by_force() -> None:
    elsewhere = film(synthetic_room(5), frames=120, width=320, height=240, noise=False, registered=False).scan.frames
    frames = unposed((*walk().frames[:4], *elsewhere[:11]))
    rows, poses = odometry_poses(frames)
    # a new stretch begins only after several frames that fit to nothing
    assert rows.tolist() == list(range(7, 15))
    assert worst(rows, poses, (*walk().frames[:4], *elsewhere[:11]))[0] == pytest.approx(0.0, abs=0.02)
