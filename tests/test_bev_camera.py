"""Cameras: the conventions of the whole house, held to for pinholes in any pose and for the view from above."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bev.camera import Camera, OrthoCamera, View, invert_rigid, pixel_centers, rigid_fault, transform_points

seeds = st.integers(0, 2**32 - 1)


def _pose(rng: np.random.Generator) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(rng=rng).as_matrix()
    matrix[:3, 3] = rng.uniform(-100, 100, 3)
    return matrix


def _pinhole(rng: np.random.Generator) -> Camera:
    width, height = (int(side) for side in rng.integers(16, 4000, 2))
    focal = rng.uniform(0.3, 3, 2) * width
    center = rng.uniform(-0.2, 1.2, 2) * (width, height)
    skew = rng.uniform(-0.2, 0.2) * width
    K = np.array([[focal[0], skew, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
    return Camera(K, width, height, _pose(rng))


def _ortho(rng: np.random.Generator) -> OrthoCamera:
    x_min, y_max, z = rng.uniform(-50, 50, 3).tolist()
    across, down = rng.uniform(0.002, 0.1, 2).tolist()
    width, height = (int(side) for side in rng.integers(16, 4000, 2))
    return OrthoCamera(x_min, y_max, z, (across, down), width, height)


def _uv(rng: np.random.Generator, view: View) -> np.ndarray:
    return rng.uniform(-0.5, 1.5, (200, 2)) * (view.width, view.height)


@pytest.mark.parametrize("make", [_pinhole, _ortho])
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_project_undoes_unproject(make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    view, depth = make(rng), rng.uniform(0.05, 50, 200)
    uv = _uv(rng, view)
    found_uv, found_depth = view.project(view.unproject(uv, depth))
    assert np.abs(found_uv - uv).max() <= 0.01
    assert np.abs(found_depth - depth).max() <= 1e-6


@pytest.mark.parametrize("make", [_pinhole, _ortho])
@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_rays_are_what_unproject_goes_along(make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = make(rng)
    uv = _uv(rng, view)
    origins, directions = view.rays(uv)
    # a direction is one metre of depth long, so that ray casting's distance is depth along z
    z_axis = view.world_from_camera[:3, 2]
    assert directions @ z_axis == pytest.approx(1.0)
    assert (origins - view.world_from_camera[:3, 3]) @ z_axis == pytest.approx(0.0, abs=1e-9)
    assert origins + 2.5 * directions == pytest.approx(view.unproject(uv, np.full(len(uv), 2.5)))


@pytest.mark.parametrize("make", [_pinhole, _ortho])
@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_resized_scales_pixels_and_keeps_rays(make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = make(rng)
    width, height = (int(side) for side in rng.integers(8, 3000, 2))
    other = view.resized(width, height)
    assert (other.width, other.height) == (width, height)
    uv = _uv(rng, view)
    for ours, theirs in zip(view.rays(uv), other.rays(uv * [width / view.width, height / view.height]), strict=True):
        assert theirs == pytest.approx(ours, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_camera_moved_with_its_world_sees_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera, world_from_old = _pinhole(rng), _pose(rng)
    points = camera.unproject(_uv(rng, camera), rng.uniform(0.5, 10, 200))
    uv, depth = camera.project(points)
    moved_uv, moved_depth = camera.moved(world_from_old).project(transform_points(world_from_old, points))
    assert moved_uv == pytest.approx(uv, abs=0.01)
    assert moved_depth == pytest.approx(depth)


def test_opencv_axes_and_the_half_pixel() -> None:
    camera = Camera(np.array([[100, 0, 32], [0, 50, 24], [0, 0, 1]]), 64, 48, np.eye(4))
    points = np.array([[0, 0, 1.0], [0.1, 0, 1], [0, 0.1, 1], [0.2, 0.4, 2]])  # forward, right, down, farther
    uv, depth = camera.project(points)
    assert uv.tolist() == [[32, 24], [42, 24], [32, 29], [42, 34]]
    assert depth.tolist() == [1, 1, 1, 2]
    # the top-left pixel's centre, not its corner
    assert camera.unproject(np.array([[0.5, 0.5]]), np.ones(1))[0] == pytest.approx([-0.315, -0.47, 1])


def test_skew_shifts_x_by_y() -> None:
    camera = Camera(np.array([[100, 20, 32], [0, 100, 24], [0, 0, 1]]), 64, 48, np.eye(4))
    assert camera.project(np.array([[0, 0.1, 1.0]]))[0].tolist() == [[34, 34]]


def test_what_is_not_in_front_has_no_pixel() -> None:
    camera = Camera(np.array([[100, 0, 32], [0, 100, 24], [0, 0, 1]]), 64, 48, np.eye(4))
    uv, depth = camera.project(np.array([[0.1, 0.1, -1.0], [0, 0, 0], [0.1, 0, 1e-12], [0, 0, 1]]))
    assert np.isnan(uv[:3]).all() and np.isfinite(uv[3]).all()
    assert depth.tolist() == [-1, 0, 1e-12, 1]


def test_no_points_are_no_pixels() -> None:
    rng = np.random.default_rng(0)
    for view in (_pinhole(rng), _ortho(rng)):
        uv, depth = view.project(np.zeros((0, 3)))
        assert uv.shape == (0, 2) and depth.shape == (0,)
        assert view.unproject(uv, depth).shape == (0, 3)


def test_center_and_inverse_follow_from_the_pose() -> None:
    camera = _pinhole(np.random.default_rng(4))
    assert camera.center.tolist() == camera.world_from_camera[:3, 3].tolist()
    assert transform_points(camera.camera_from_world, camera.center[None]) == pytest.approx(np.zeros((1, 3)), abs=1e-9)


def test_the_view_from_above_has_image_up_at_plus_y() -> None:
    top = OrthoCamera(x_min=-1.0, y_max=3.0, z=2.5, metres_per_pixel_xy=(0.01, 0.01), width=400, height=300)
    points = np.array([[-1, 3, 2.5], [0, 3, 0], [-1, 2, 1], [0.5, 1.25, 3]])
    uv, depth = top.project(points)
    # uv = ((x - x_min), (y_max - y)) / metres_per_pixel
    assert uv == pytest.approx(np.array([[0, 0], [100, 0], [0, 100], [150, 175]]))
    assert depth.tolist() == [0, 2.5, 1.5, -0.5]
    assert top.metres_per_pixel == 0.01
    expected = [[1, 0, 0, -1], [0, -1, 0, 3], [0, 0, -1, 2.5], [0, 0, 0, 1]]
    assert top.world_from_camera.tolist() == expected
    assert rigid_fault(top.world_from_camera) is None


def test_the_view_from_above_agrees_with_its_matrix() -> None:
    rng = np.random.default_rng(5)
    top, points = _ortho(rng), rng.uniform(-5, 5, (50, 3))
    in_camera = transform_points(invert_rigid(top.world_from_camera), points)
    uv, depth = top.project(points)
    assert uv == pytest.approx(in_camera[:, :2] / top.metres_per_pixel_xy, abs=1e-6)
    assert depth == pytest.approx(in_camera[:, 2])


def test_pixel_centers_are_row_major_at_one_half() -> None:
    centers = pixel_centers(3, 2)
    assert centers.tolist() == [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5]]
    image = np.arange(6).reshape(2, 3)
    column, row = np.floor(centers).astype(int).T
    assert image[row, column].tolist() == image.ravel().tolist()


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_invert_rigid_is_the_inverse(seed: int) -> None:
    matrix = _pose(np.random.default_rng(seed))
    assert invert_rigid(matrix) @ matrix == pytest.approx(np.eye(4), abs=1e-9)
    assert invert_rigid(matrix) == pytest.approx(np.linalg.inv(matrix), abs=1e-9)


def _with(value: float, row: int, column: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(3), "shape (3, 3)"),
        (_with(np.nan, 1, 3), "NaN"),
        (_with(np.inf, 0, 0), "infinity"),
        (_with(0.5, 3, 3), "last row"),
        (_with(1.0, 3, 0), "last row"),
        (np.diag([2.0, 2.0, 2.0, 1.0]), "scale"),
        (_with(0.3, 0, 1), "shear"),
        (np.zeros((4, 4)), "last row"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "mirror"),
    ],
)
def test_what_is_no_rigid_motion_is_named(matrix: np.ndarray, words: str) -> None:
    assert words in (rigid_fault(matrix) or "")


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_rigid_motions_have_no_fault_even_rounded_as_text(seed: int) -> None:
    matrix = _pose(np.random.default_rng(seed))
    assert rigid_fault(matrix) is None
    assert rigid_fault(np.round(matrix, 4)) is None


@pytest.mark.parametrize(
    ("K", "size", "pose"),
    [
        (np.eye(4), (4, 3), np.eye(4)),
        (np.eye(3), (4, 3), np.eye(3)),
        (np.eye(3), (0, 3), np.eye(4)),
        (np.diag([-1.0, 1, 1]), (4, 3), np.eye(4)),
        (np.diag([1.0, 0, 1]), (4, 3), np.eye(4)),
    ],
)
def test_impossible_cameras_are_refused(K: np.ndarray, size: tuple[int, int], pose: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must"):
        Camera(K, *size, pose)
