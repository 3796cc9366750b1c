"""Depth from networks on the poses of structure from motion: scale, shift, outliers, edges, and what is missing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from depth_teacher import GRID, Teacher, covered, filmed_room, off_surface, with_sparse

from bev.errors import UserError
from bev.learned import Prediction, learned_depth
from bev.learned.chunks import log_scale_of_centres, windows
from bev.learned.cleaning import at_edges, cleaned, doubtful
from bev.learned.sparse_fit import Sightings, inverse_line, log_factor, log_factors, sightings
from bev.sparse import SparsePoints

JITTER = np.exp(np.random.default_rng(1).normal(0, 0.1, 20))
"""What a network of single images is off by from frame to frame."""


@pytest.fixture(scope="module")
def room():
    return filmed_room()


def test_depth_of_every_frame_lies_on_the_surface(room) -> None:
    teacher = Teacher(room, "scaled", factors=7.0 * JITTER)
    scan = learned_depth(with_sparse(room, wrong=0.2), teacher)
    assert teacher.calls == [list(range(0, 6)), list(range(6, 12)), list(range(12, 18)), [18, 19]]
    off = off_surface(scan, room.surface)
    # half a pixel of the grid would be 10 mm sideways
    assert np.percentile(off, 50) < 0.004 and np.percentile(off, 95) < 0.02
    assert covered(scan) > 0.75
    assert scan.units == "metre" and scan.has_depth and not scan.warnings
    for before, after in zip(room.scan.frames, scan.frames, strict=True):
        np.testing.assert_array_equal(after.camera.world_from_camera, before.camera.world_from_camera)
        assert after.depth_camera is not None
        np.testing.assert_allclose(after.depth_camera.K, before.camera.resized(*GRID).K)


def test_exact_depth_needs_no_mending(room) -> None:
    scan = learned_depth(with_sparse(room), Teacher(room, "scaled", factors=np.full(20, 0.25)))
    assert np.percentile(off_surface(scan, room.surface), 95) < 0.003


def test_a_metric_network_gives_a_scan_of_any_size_its_metres(room) -> None:
    small = with_sparse(room, wrong=0.1).scaled(0.37, units="arbitrary")
    scan = learned_depth(small, Teacher(room, "metre", factors=JITTER))
    assert scan.units == "metre"
    size = np.linalg.norm(scan.centers()[-1] - scan.centers()[0])
    true = np.linalg.norm(room.scan.centers()[-1] - room.scan.centers()[0])
    overall = float(np.median(JITTER))
    assert size / true == pytest.approx(overall, rel=0.02)  # one factor for all: the median of the network's
    resized = scan.scaled(1 / overall)
    assert np.percentile(off_surface(resized, room.surface), 50) < 0.01
    np.testing.assert_allclose(scan.world_from_source[0, 0], size / true, rtol=1e-6)
    assert scan.sparse is not None and small.sparse is not None
    np.testing.assert_allclose(scan.sparse.points, small.sparse.points * size / true / 0.37)


def test_a_metric_scan_keeps_its_size_whatever_the_network_says(room, caplog) -> None:
    scan = learned_depth(with_sparse(room), Teacher(room, "metre", factors=np.full(20, 1.5)))
    np.testing.assert_array_equal(scan.centers(), room.scan.centers())
    assert np.percentile(off_surface(scan, room.surface), 95) < 0.003
    assert "1.50 times as large" in caplog.text


def test_relative_networks_are_fitted_by_factor_and_shift_of_inverse_depth(room) -> None:
    scan = learned_depth(with_sparse(room, wrong=0.2), Teacher(room, "inverse"))
    off = off_surface(scan, room.surface)
    assert np.percentile(off, 50) < 0.003 and np.percentile(off, 95) < 0.02
    assert covered(scan) > 0.75


def test_frames_without_points_take_the_scale_of_the_others(room) -> None:
    scan = with_sparse(room)
    assert scan.sparse is not None
    lonely = replace(scan.sparse, seen=scan.sparse.seen[scan.sparse.seen[:, 0] != 4])
    result = learned_depth(replace(scan, sparse=lonely), Teacher(room, "scaled", factors=np.full(20, 3.0)))
    assert np.percentile(off_surface(result, room.surface), 95) < 0.003
    assert len(result.warnings) == 1 and result.warnings[0].startswith("1 of 20 frames")
    relative = learned_depth(replace(scan, sparse=lonely), Teacher(room, "inverse"))
    depth = [frame.read_depth() for frame in relative.frames if frame.read_depth]
    assert not depth[4].any() and depth[5].any()
    assert "no depth" in relative.warnings[0]


def test_a_network_that_gives_poses_needs_no_points(room) -> None:
    """The scale of each pass then follows from how far the cameras are apart."""
    scan = learned_depth(room.scan, Teacher(room, "scaled", gives_poses=True, frames_at_once=8))
    assert np.percentile(off_surface(scan, room.surface), 95) < 0.003


def test_what_tells_no_scale_is_an_error(room) -> None:
    with pytest.raises(UserError, match="too few points of structure from motion"):
        learned_depth(room.scan, Teacher(room, "scaled"))
    with pytest.raises(UserError, match="too few points of structure from motion"):
        learned_depth(replace(room.scan, units="arbitrary"), Teacher(room, "metre"))
    with pytest.raises(UserError, match="too few points of structure from motion"):
        learned_depth(room.scan, Teacher(room, "inverse"))
    metric = learned_depth(room.scan, Teacher(room, "metre"))  # metres fit a metric scan as they are
    assert np.percentile(off_surface(metric, room.surface), 95) < 0.003
    with pytest.raises(UserError, match="has no poses"):
        learned_depth(replace(room.scan, has_poses=False), Teacher(room))
    with pytest.raises(UserError, match="chunk must be at least 1"):
        learned_depth(room.scan, Teacher(room), chunk=0)


def test_depth_in_memory_is_compact_and_answers_are_the_callers_own(room) -> None:
    scan = learned_depth(with_sparse(room), Teacher(room))
    read = scan.frames[0].read_depth
    assert read is not None
    first = read()
    first[:] = 9
    assert (read() != 9).all()


def test_frames_of_two_sizes_go_to_the_network_apart(room) -> None:
    frames = tuple(
        replace(f, camera=f.camera.resized(80, 59), read_color=lambda f=f: f.read_color()[::2, ::2]) if i > 9 else f
        for i, f in enumerate(room.scan.frames)
    )
    teacher = Teacher(room, "scaled")
    scan = learned_depth(replace(with_sparse(room), frames=frames), teacher)
    assert teacher.calls == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13, 14, 15], [16, 17, 18, 19]]
    assert np.percentile(off_surface(scan, room.surface), 95) < 0.003


def test_doubt_is_relative_to_the_median_and_zero_is_never_kept() -> None:
    confidence = np.array([[[0.0, 1.0, 10.0, 10.0, 12.0]]], np.float32)
    np.testing.assert_array_equal(doubtful(confidence, 0.2)[0, 0], [True, True, False, False, False])
    np.testing.assert_array_equal(doubtful(confidence, 0.0)[0, 0], [True, False, False, False, False])
    assert doubtful(np.zeros((1, 2, 2), np.float32), 0.2).all()


def test_ramps_between_surfaces_go_and_slanted_planes_stay() -> None:
    v = np.arange(120.0)[:, None] + np.zeros((1, 160))
    focal = (150.0, 150.0)
    floor = (1.5 * 150 / (v + 20)).astype(np.float32)  # a floor 1.5 m below that is seen at 8 degrees where it is far
    assert not at_edges(floor, focal).any()
    assert (
        at_edges(floor, focal, grazing_deg=12.0)[:5].all() and not at_edges(floor, focal, grazing_deg=12.0)[30:].any()
    )
    assert not at_edges(np.ascontiguousarray(floor.T), (150.0, 30.0)).any()  # each axis has its own focal length
    assert at_edges(floor, (30.0, 500.0))[:5].all()
    step = np.where(np.arange(160) < 80, 1.0, 2.0).astype(np.float32) + np.zeros((120, 1), np.float32)
    smeared = step.copy()
    smeared[:, 77:83] = np.linspace(1, 2, 8)[1:-1]
    assert set(np.flatnonzero(at_edges(step, focal).any(axis=0))) == {79, 80}
    for image in (smeared, np.ascontiguousarray(smeared.T)):
        kept = cleaned(image, (450.0, 450.0)).astype(np.float32)
        assert set(np.unique(kept)) == {0.0, 1.0, 2.0}
        assert (kept > 0).mean() > 0.9
    holes = floor.copy()
    holes[40:50, 40:50] = 0
    assert not at_edges(holes, focal).any()  # what borders on nothing is no ramp


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e6])
def test_numbers_that_are_no_depth_become_none(value: float) -> None:
    depth = np.full((8, 8), 2.0, np.float32)
    depth[3, 3] = value
    kept = cleaned(depth, (100.0, 100.0))
    assert kept[3, 3] == 0 and (kept == 2).sum() == 63


def test_points_are_looked_up_where_they_fall(room) -> None:
    camera = room.camera(0)
    grid = np.arange(GRID[0] * GRID[1], dtype=np.float32).reshape(GRID[1], GRID[0])
    uv = np.array([[0.2, 0.2], [159.8, 117.8], [80.5, 40.0]])
    behind = camera.unproject(uv[:1], np.array([-1.0]))
    found = sightings(grid, camera, np.concatenate([camera.unproject(uv, np.array([1.0, 2.0, 3.0])), behind]))
    at = grid[int(40 * 70 / 118), int(80.5 * 98 / 160)]
    np.testing.assert_allclose(found.predicted, [0, grid.size - 1, at])
    np.testing.assert_allclose(found.depth, [1, 2, 3])


def test_a_factor_needs_points_that_agree() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 4, 60)
    noisy = depth * np.exp(rng.normal(0, 0.05, 60))
    factor, variance = log_factor(Sightings(depth / 3, np.where(np.arange(60) < 20, 9.0, noisy)))
    assert np.exp(factor) == pytest.approx(3, rel=0.03) and 0.003 < np.sqrt(variance) < 0.03
    assert log_factor(Sightings(depth[:10], depth[:10])) == (pytest.approx(np.nan, nan_ok=True), np.inf)
    assert np.isnan(log_factor(Sightings(np.exp(rng.uniform(-2, 2, 60)), depth))[0])


def test_a_frame_that_is_known_badly_leans_on_its_group() -> None:
    nothing = (np.nan, np.inf)
    found = [(0.0, 1e-6), (0.1, 1e-6), (-0.1, 1e-6), (0.05, 1e-6), (0.5, 0.1), nothing, nothing, nothing]
    logs = log_factors(found, [0, 0, 0, 0, 0, 0, 1, 2], {1: 0.7})
    np.testing.assert_allclose(logs[:4], [0.0, 0.1, -0.1, 0.05], atol=1e-3)
    assert 0.05 < logs[4] < 0.15 and logs[5] == 0.05 and logs[6] == 0.7 and np.isnan(logs[7])


def test_a_line_is_found_among_wrong_points_and_only_a_rising_one() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.8, 5, 80)
    x = (1 / depth + 0.2) / 0.7
    x[:24] = rng.uniform(0, 2, 24)
    line = inverse_line(Sightings(x, depth))
    assert line is not None
    np.testing.assert_allclose(line, [0.7, -0.2], rtol=1e-6)
    assert inverse_line(Sightings(-x, depth)) is None
    for _ in range(8):
        assert inverse_line(Sightings(rng.uniform(0, 2, 80), depth)) is None
    assert inverse_line(Sightings(np.ones(80), depth)) is None
    assert inverse_line(Sightings(x[:12], depth[:12])) is None


@pytest.mark.parametrize(
    ("count", "size", "overlap"), [(300, 48, 12), (49, 48, 12), (48, 48, 12), (7, 3, 1), (9, 4, 3)]
)
def test_windows_cover_everything_and_overlap(count: int, size: int, overlap: int) -> None:
    spans = windows(count, size, overlap)
    assert spans[0].start == 0 and spans[-1].stop == count and {len(span) for span in spans} == {min(size, count)}
    for before, after in pairwise(spans):
        assert before.stop - after.start >= overlap
    assert [i for span in windows(count, size) for i in span] == list(range(count))


def test_scale_of_centres_is_free_of_rotation_and_needs_motion(room) -> None:
    cameras = [frame.camera for frame in room.scan.frames[:6]]
    poses = np.stack([camera.world_from_camera for camera in cameras])
    poses[:, :3, 3] /= 4
    assert np.exp(log_scale_of_centres(cameras, poses)) == pytest.approx(4)
    assert np.isnan(log_scale_of_centres(cameras[:1] * 6, poses))
    assert np.isnan(log_scale_of_centres(cameras, poses[:1].repeat(6, axis=0)))


def test_a_prediction_says_what_shapes_it_wants() -> None:
    depth = np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match=r"must both be \(n, h, w\)"):
        Prediction(depth, depth[0], "metre")
    with pytest.raises(ValueError, match=r"K must have shape \(2, 3, 3\)"):
        Prediction(depth, depth, "metre", K=np.eye(3)[None])


def test_an_empty_scan_is_an_error(room) -> None:
    with pytest.raises(UserError, match="has no frames"):
        learned_depth(room.scan.with_frames(()), Teacher(room))
    none = SparsePoints(np.zeros((0, 3)), np.zeros((0, 2)))
    with pytest.raises(UserError, match="too few points"):
        learned_depth(replace(room.scan, sparse=none), Teacher(room))
