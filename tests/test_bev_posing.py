"""Poses from images: films of synthetic rooms with known cameras, films that cannot work, and the real kitchen."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from kitchen_truth import fitted, rmse_m, true_centers

import bev
from bev.camera import Camera, invert_rigid, pixel_centers, transform_points
from bev.errors import UserError
from bev.posing import find_poses
from bev.scan import Frame, Scan
from bev.sensor_scale import sensor_scale
from bev.sfm import SfmModel, SfmResult
from bev.synthetic import film, synthetic_room

SIZE = (480, 360)
K1 = -0.12
GREY = np.full((SIZE[1], SIZE[0], 3), 130, np.uint8)


@cache
def walk(seed: int = 3, frames: int = 22) -> Scan:
    """A stretch of a walk through a room, exact, depth from a second camera."""
    made = film(
        synthetic_room(seed),
        frames=80,
        width=SIZE[0],
        height=SIZE[1],
        noise=False,
        registered=False,
        pitch_deg=(10, 30),
    )
    return made.scan.with_frames(made.scan.frames[:frames])


def unposed(scan: Scan) -> Scan:
    """The same with its colour cameras at the identity."""
    frames = tuple(frame.moved(frame.camera.camera_from_world) for frame in scan.frames)
    return replace(scan, frames=frames, has_poses=False)


def as_video(scan: Scan, k1: float = 0.0) -> Scan:
    """What a phone would have filmed: colour of a lens that distorts, its focal length a guess."""
    guess = np.array([[1.2 * SIZE[0], 0, SIZE[0] / 2], [0, 1.2 * SIZE[0], SIZE[1] / 2], [0, 0, 1]])
    frames = []
    for frame in scan.frames:
        camera = Camera(guess, *SIZE, np.eye(4))
        image = distorted(frame.read_color(), frame.camera.K, k1) if k1 else frame.read_color()
        frames.append(Frame(frame.index, frame.timestamp_s, camera, lambda image=image: image))
    return replace(scan, frames=tuple(frames), has_poses=False, has_intrinsics=False, units="arbitrary")


def distorted(image: np.ndarray, K: np.ndarray, k1: float) -> np.ndarray:
    """The pinhole image as a lens of OpenCV's model takes it."""
    at = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    pixels = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    straight = cv2.undistortPoints(pixels, at, np.array([k1, 0, 0, 0]), P=at).reshape(SIZE[1], SIZE[0], 2)
    x, y = np.moveaxis(straight.astype(np.float32), 2, 0)
    return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def true_poses(found: Scan, truth: Scan) -> np.ndarray:
    """(n, 4, 4) of the frames that were found."""
    poses = {frame.index: frame.camera.world_from_camera for frame in truth.frames}
    return np.array([poses[frame.index] for frame in found.frames])


def misfit(found: Scan, truth: Scan, *, with_scale: bool) -> tuple[float, float, float]:
    """RMSE of the centres, metres; the largest error of a turn since the first frame, degrees; the scale."""
    poses = true_poses(found, truth)
    truth_from_found = fitted(found.centers(), poses[:, :3, 3], with_scale=with_scale)
    rmse = rmse_m(transform_points(truth_from_found, found.centers()), poses[:, :3, 3])
    turns, true_turns = (r[0].T @ r for r in (rotations(found), poses[:, :3, :3]))
    cosines = ((turns * true_turns).sum(axis=(1, 2)) - 1) / 2
    return rmse, float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max()), scale_of(truth_from_found)


def rotations(scan: Scan) -> np.ndarray:
    return np.array([frame.camera.world_from_camera[:3, :3] for frame in scan.frames])


def scale_of(similarity: np.ndarray) -> float:
    return float(np.cbrt(np.linalg.det(similarity[:3, :3])))


def fitted_cameras(found: Scan, truth: Scan) -> np.ndarray:
    """The similarity that fits centres and points a metre ahead of them: a short walk alone hardly fixes a turn."""
    poses = true_poses(found, truth)
    scale = scale_of(fitted(found.centers(), poses[:, :3, 3]))
    ahead = found.centers() + rotations(found)[:, :, 2] / scale
    true_ahead = poses[:, :3, 3] + poses[:, :3, 2]
    return fitted(np.concatenate([found.centers(), ahead]), np.concatenate([poses[:, :3, 3], true_ahead]))


@pytest.fixture(scope="module")
def phone() -> Scan:
    return find_poses(as_video(walk(), K1))


def test_a_film_of_a_distorting_lens_is_placed_and_straightened(phone: Scan) -> None:
    truth = walk()
    assert phone.has_poses and phone.has_intrinsics and phone.units == "arbitrary" and not phone.warnings
    assert len(phone.frames) == len(truth.frames)
    rmse, turned, _ = misfit(phone, truth, with_scale=True)
    assert rmse < 0.015 and turned < 1.5
    # a walk as short as this leaves the focal length open by a few percent
    focal = truth.frames[0].camera.K[0, 0]
    assert phone.frames[0].camera.K[0, 0] == pytest.approx(focal, rel=0.03)
    # the found lens straightens: what is left differs from the pinhole image far less than the distorted one does
    middle = (slice(40, -40), slice(50, -50))
    first, true_first = phone.frames[0].read_color()[middle], truth.frames[0].read_color()[middle].astype(float)
    crooked = distorted(truth.frames[0].read_color(), truth.frames[0].camera.K, K1)[middle]
    assert np.abs(first - true_first).mean() < 0.4 * np.abs(crooked - true_first).mean()


def test_points_lie_on_the_room_and_say_who_saw_them(phone: Scan) -> None:
    truth = walk()
    assert phone.sparse is not None
    truth_from_found = fitted_cameras(phone, truth)
    depths, errors = [], []
    for frame, true_frame in zip(phone.frames, truth.frames, strict=True):
        points = phone.sparse.seen_by(frame.index)
        assert len(points) > 50
        depths.append(frame.camera.project(points)[1])
        assert true_frame.depth_camera is not None and true_frame.read_depth is not None
        uv, depth = true_frame.depth_camera.project(transform_points(truth_from_found, points))
        inside = ((uv > 0) & (uv < SIZE)).all(axis=1)
        column, row = uv[inside].astype(int).T
        errors.append(np.abs(true_frame.read_depth()[row, column] / depth[inside] - 1))
    assert np.median(np.concatenate(depths)) == pytest.approx(2.0)
    assert np.median(np.concatenate(errors)) < 0.03


def test_the_world_begins_at_the_first_camera(phone: Scan) -> None:
    np.testing.assert_allclose(phone.frames[0].camera.world_from_camera, np.eye(4), atol=1e-9)
    assert phone.up_hint is None


def test_the_same_film_gives_the_same_poses_to_the_bit(phone: Scan) -> None:
    again = find_poses(as_video(walk(), K1))
    np.testing.assert_array_equal(again.centers(), phone.centers())
    assert again.sparse is not None and phone.sparse is not None
    np.testing.assert_array_equal(again.sparse.points, phone.sparse.points)


def test_global_mapping_agrees() -> None:
    found = find_poses(as_video(walk()), mapper="global")
    rmse, turned, _ = misfit(found, walk(), with_scale=True)
    assert len(found.frames) == len(walk().frames) and rmse < 0.015 and turned < 1.5


def test_a_depth_camera_beside_the_colour_camera_gives_metres() -> None:
    truth = walk()
    found = find_poses(unposed(truth))
    rmse, turned, scale = misfit(found, truth, with_scale=False)
    assert found.units == "metre" and len(found.frames) == len(truth.frames)
    assert rmse < 0.01 and turned < 0.3 and scale == pytest.approx(1.0)
    assert misfit(found, truth, with_scale=True)[2] == pytest.approx(1.0, abs=0.004)
    for frame, true_frame in zip(found.frames, truth.frames, strict=True):
        np.testing.assert_allclose(frame.color_from_depth, true_frame.color_from_depth, atol=1e-9)
        np.testing.assert_array_equal(frame.camera.K, true_frame.camera.K)
        assert frame.read_depth is true_frame.read_depth and frame.depth_camera is not None


@pytest.mark.parametrize("sideways_m", [0.0, 0.4])
def test_the_scale_allows_for_a_depth_camera_that_stands_elsewhere(sideways_m: float) -> None:
    K = np.array([[200.0, 0, 100], [0, 200.0, 80], [0, 0, 1]])
    color_from_depth = np.eye(4)
    color_from_depth[:3, :3] = cv2.Rodrigues(np.array([0.05, -0.1, 0.02]))[0]
    color_from_depth[:3, 3] = sideways_m, 0.05, 0.3
    depth_camera = Camera(K, 200, 160, color_from_depth)
    # a wall on a slant: the normal in the colour camera's frame, and its distance
    normal = np.array([0.6, 0.0, 0.8])
    origins, directions = depth_camera.rays(pixel_centers(200, 160))
    depth = ((2.4 - origins @ normal) / (directions @ normal)).reshape(160, 200).astype(np.float32)
    holes = depth.copy()
    holes[:, ::7] = 0
    frame = Frame(0, 0.0, Camera(K, 200, 160, np.eye(4)), lambda: GREY, depth_camera, lambda: holes)
    across = np.random.default_rng(0).uniform(-0.35, 0.35, (500, 2))
    points = np.column_stack([across, np.ones(500)])
    points *= 2.4 / (points @ normal)[:, None]
    seen = np.column_stack([np.zeros(500, np.int64), np.arange(500)])
    model = SfmModel(np.array([0]), np.eye(4)[None], points / 0.37, seen, K, 0.0, 0.5)
    assert sensor_scale((frame,), model) == pytest.approx(0.37, rel=0.004)
    none = replace(frame, read_depth=lambda: np.zeros((160, 200), np.float32))
    assert sensor_scale((none,), model) is None


def test_a_cut_between_two_rooms_is_named_by_its_time() -> None:
    first, second = walk(frames=14), walk(seed=5, frames=10)
    later = [replace(f, index=f.index + 14, timestamp_s=f.timestamp_s + 14 / 6) for f in second.frames]
    found = find_poses(as_video(replace(first, frames=(*first.frames, *later))))
    assert [frame.index for frame in found.frames] == list(range(14))
    (warning,) = found.warnings
    # the rooms meet between 2.17 s and 2.33 s
    assert "10 of 24 frames could not be placed" in warning and "2.3-3.8 s; the film breaks at 2.2 s" in warning


def plain(image: np.ndarray, count: int = 8) -> Scan:
    """A film of pictures that are all the same."""
    camera = Camera(np.array([[576.0, 0, 240], [0, 576.0, 180], [0, 0, 1]]), *SIZE, np.eye(4))
    frames = tuple(Frame(i, i / 5, camera, lambda: image) for i in range(count))
    return Scan("bare", Path("bare.mp4"), "video", frames, units="arbitrary", has_poses=False, has_intrinsics=False)


def test_bare_walls_are_told() -> None:
    with pytest.raises(UserError, match=r"^bare\.mp4: only 0 of 8 frames .* little texture") as caught:
        find_poses(plain(GREY))
    assert "\n" not in str(caught.value)


def test_a_camera_that_only_turns_is_told() -> None:
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 255, (90, 160, 3), np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC)
    scan = plain(wall)
    K = scan.frames[0].camera.K
    big = np.array([[576.0, 0, 640], [0, 576.0, 360], [0, 0, 1]])
    frames = []
    for frame in scan.frames:
        turn = cv2.Rodrigues(np.array([0.0, np.radians(3.0 * (frame.index - 4)), 0.0]))[0]
        image = cv2.warpPerspective(wall, K @ turn @ np.linalg.inv(big), SIZE)
        frames.append(replace(frame, read_color=lambda image=image: image))
    with pytest.raises(UserError, match=r"walk (sideways )?through the room"):
        find_poses(scan.with_frames(tuple(frames)))


def test_a_still_film_and_too_few_frames_are_told() -> None:
    with pytest.raises(UserError, match="hardly moved"):
        find_poses(plain(walk().frames[0].read_color()))
    with pytest.raises(UserError, match="at least 3 frames"):
        find_poses(plain(walk().frames[0].read_color(), count=2))


def test_images_of_two_sizes_are_told() -> None:
    scan = plain(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    other = replace(scan.frames[4], camera=scan.frames[4].camera.resized(320, 240))
    with pytest.raises(UserError, match=r"frame 4 is 320x240, frame 0 is 480x360"):
        find_poses(scan.with_frames((*scan.frames[:4], other, *scan.frames[5:])))


def model_of(rows: list[int], *, focal: float = 500.0, baseline: float = 0.2, points: int = 400) -> SfmModel:
    """Cameras side by side, each seeing all points of a wall 2 ahead."""
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, 0, 3] = baseline * np.arange(len(rows))
    wall = np.column_stack([rng.uniform(-1, 1, (points, 2)), np.full(points, 2.0)])
    seen = np.array([(row, point) for row in rows for point in range(points)])
    return SfmModel(np.array(rows), poses, wall, seen, np.diag([focal, focal, 1.0]), 0.0, 0.5)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([model_of([0, 1, 2]), model_of([4, 5, 6])], r"only 3 of 8 frames .*; the film breaks at 0\.6 s: film one"),
        ([model_of([0, 2, 4]), model_of([3, 5, 7])], r"only 3 of 8 frames could be placed: film one"),
        ([model_of(list(range(8)), focal=4000.0)], "focal length of 8.33 x the longer side"),
        ([model_of(list(range(8)), baseline=0.001)], r"hardly moved \(points are seen under 0\.2 degrees\)"),
        ([model_of(list(range(8)), points=60)], "only 60 points were found in 8 frames"),
    ],
    ids=["break", "mixed", "focal", "baseline", "points"],
)
def test_what_cannot_be_right_is_refused(monkeypatch: pytest.MonkeyPatch, models: list[SfmModel], said: str) -> None:
    result = SfmResult(tuple(models), np.full(8, 900), 0.1)
    monkeypatch.setattr("bev.posing.run_sfm", lambda *_, **__: result)
    with pytest.raises(UserError, match=said):
        find_poses(plain(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)))


def test_where_images_say_too_little_depth_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bev.posing.run_sfm", lambda *_, **__: SfmResult((), np.full(10, 40), 0.0))
    truth = walk().with_frames(walk().frames[:10])
    found = find_poses(unposed(truth))
    rmse, turned, _ = misfit(found, truth, with_scale=False)
    assert len(found.frames) == 10 and rmse < 0.03 and turned < 1.5
    assert found.units == "metre" and "followed by depth" in found.warnings[0] and "texture" in found.warnings[0]


def unposed_kitchen(step: int, stop: int) -> tuple[Scan, Scan]:
    path = Path(__file__).parents[2] / "shared" / "data" / "redkitchen"
    if not path.is_dir():
        pytest.skip("../shared/data/redkitchen is not here")
    truth = bev.read_scan(path)
    truth = truth.with_frames(truth.frames[:stop:step])
    return unposed(truth), truth


def test_the_kitchen_without_its_poses_is_placed_in_metres() -> None:
    scan, truth = unposed_kitchen(1, 24)
    found = find_poses(scan)
    assert len(found.frames) == 24
    rmse, turned, _ = misfit(found, truth, with_scale=False)
    assert rmse < 0.06 and turned < 4.0


@pytest.mark.slow
def test_the_whole_kitchen_without_its_poses() -> None:
    scan, truth = unposed_kitchen(1, 100)
    found = find_poses(scan)
    assert len(found.frames) == 100
    assert misfit(found, truth, with_scale=False)[0] < 0.06


@pytest.mark.slow
def test_the_film_of_the_kitchen() -> None:
    path = Path(__file__).parents[2] / "shared" / "data" / "redkitchen.mp4"
    if not path.is_file():
        pytest.skip("../shared/data/redkitchen.mp4 is not here")
    scan = bev.read_scan(path)
    scan = scan.with_frames(scan.frames[::13])
    found = find_poses(scan)
    assert len(found.frames) >= 0.95 * len(scan.frames)
    truth = true_centers(np.array([frame.index for frame in found.frames]))
    truth_from_found = fitted(found.centers(), truth)
    assert rmse_m(transform_points(truth_from_found, found.centers()), truth) < 0.05
    assert found.frames[0].camera.K[0, 0] == pytest.approx(525, rel=0.01)
    assert invert_rigid(found.frames[0].camera.world_from_camera)[0, 3] == pytest.approx(0.0)
