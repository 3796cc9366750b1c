"""Views at a model's size: sizes it takes, marks on their objects, labels apart, the bird's-eye view square."""

from dataclasses import replace

import numpy as np
import pytest
from box_scene import BOXES, FLOOR_RGB, box_room, box_scene

from bev.errors import UserError
from bev.render import BACKGROUND
from bev.surface import SurfaceCaster
from gpt4scene.scene.composite import compose_grid, compose_images, grid_shape
from gpt4scene.scene.scene import Scene
from gpt4scene.scene.views import Views, fit_bev_size, fit_frame_size, marked_image
from markers.draw import label_size_px

SIZES = [(512, 384, 32), (560, 420, 28), (448, 336, 28), (512, 490, 28), (210, 160, 1), (333, 222, 7), (1024, 1024, 32)]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return box_scene(frame_size=(640, 480), digit_height_px=18)


@pytest.fixture(scope="module")
def portrait() -> Scene:
    return box_scene(frame_size=(360, 480), frames=2)


def _all(views: Views):
    pictures, markers = (views.bev, *views.frames), (views.bev_markers, *views.frame_markers)
    return zip(pictures, markers, (views.bev_camera, *views.frame_cameras), strict=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("room", ["scene", "portrait"])
def test_every_mark_lies_on_its_object_and_every_label_apart(room: str, size, request) -> None:
    scene = request.getfixturevalue(room)
    surface, _ = box_room()
    caster = SurfaceCaster(surface)
    views = scene.views(*size, digit_height_px=10)
    for picture, markers, camera in _all(views):
        height, width = picture.shape[:2]
        assert (camera.width, camera.height) == (width, height)
        assert width % size[2] == 0 and height % size[2] == 0
        assert max(width, height) <= max(size[:2]) and min(width, height) <= min(size[:2])
        assert len(markers) >= 4
        uv = np.array([marker.uv for marker in markers])
        vertex_ids = caster.hits(camera, uv)[1]
        assert [scene.vertex_ids[vertex] for vertex in vertex_ids] == [marker.id for marker in markers]
        boxes = np.array([marker.label_box for marker in markers])
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            assert (x1 - x0, y1 - y0) == label_size_px(markers[i].id, 10)
            others = np.delete(boxes, i, axis=0)
            apart = (others[:, 0] >= x1) | (others[:, 2] <= x0) | (others[:, 1] >= y1) | (others[:, 3] <= y0)
            assert apart.all()


def test_all_marks_of_the_scene_reach_the_views(scene: Scene) -> None:
    views = scene.views(448, 336, 28)
    for view, markers in zip(scene.all_views, (views.bev_markers, *views.frame_markers), strict=True):
        assert [marker.id for marker in markers] == [marker.id for marker in view.markers]


@pytest.mark.parametrize("size", SIZES)
def test_the_birds_eye_view_stays_square_and_true(scene: Scene, size) -> None:
    views = scene.views(*size, marks=False)
    across, down = views.bev_camera.metres_per_pixel_xy
    assert across == down
    # every box's corners, a little inside and a little outside, by the new camera: a stretch or a shift would show
    reach = 2 * across
    for center, extent, color in BOXES[1:4]:
        for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            for step, expected in ((-reach, color), (reach, FLOOR_RGB)):
                x, y = np.array(center[:2]) + np.array(sign) * (np.array(extent[:2]) / 2 + step)
                u, v = views.bev_camera.project(np.array([[x, y, 0.0]]))[0][0]
                assert np.abs(views.bev[int(v), int(u)].astype(int) - expected).max() <= 12
    beyond = views.bev_camera.project(np.array([[4.1, 3.1, 0.0]]))[0][0]
    assert (views.bev[:, int(np.ceil(beyond[0])) + 1 :] == BACKGROUND).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_birds_eye_view_is_true_to_a_fraction_of_a_pixel(scene: Scene, size) -> None:
    image = np.full((317, 421, 3), 255, np.uint8)
    image[261:291, 341:391] = 0
    camera = replace(scene.bev.camera, width=421, height=317)
    bev = replace(scene.bev, camera=camera, pixels=image, object_pixels=np.full((317, 421), -1), markers=())
    views = replace(scene, bev=bev, frames=()).views(*size)
    dark = 255.0 - views.bev[..., 0]
    rows, columns = np.indices(dark.shape) + 0.5
    scale = camera.metres_per_pixel / views.bev_camera.metres_per_pixel
    assert abs((dark * columns).sum() / dark.sum() - 366 * scale) < 0.03
    assert abs((dark * rows).sum() / dark.sum() - 276 * scale) < 0.03


def test_frames_are_not_mirrored_or_shifted(scene: Scene) -> None:
    views = scene.views(560, 420, 28, marks=False)
    for picture, camera in zip(views.frames, views.frame_cameras, strict=True):
        for center, _, color in BOXES[1:3]:
            u, v = camera.project(np.array([center]))[0][0]
            assert np.abs(picture[int(v), int(u)].astype(int) - color).max() <= 8


@pytest.mark.parametrize(
    ("image", "limit", "multiple", "expected"),
    [
        ((640, 480), (560, 420), 28, (560, 420)),
        ((640, 480), (448, 336), 28, (448, 336)),
        ((640, 480), (512, 384), 32, (512, 384)),
        ((640, 480), (512, 490), 28, (504, 392)),
        ((480, 640), (512, 384), 32, (384, 512)),
        ((1296, 968), (512, 384), 32, (512, 384)),
        ((320, 240), (1024, 1024), 32, (320, 256)),
        ((1920, 1080), (512, 384), 32, (512, 288)),
        ((4000, 40), (512, 384), 32, (512, 32)),
        ((300, 200), (512, 384), 1, (300, 200)),
    ],
)
def test_frame_sizes(image, limit, multiple, expected) -> None:
    assert fit_frame_size(*image, *limit, multiple) == expected


@pytest.mark.parametrize(
    ("image", "limit", "multiple", "expected", "scale"),
    [
        ((1024, 566), (512, 384), 32, (512, 288), 0.5),
        ((566, 1024), (512, 384), 32, (288, 512), 0.5),
        ((1024, 512), (512, 384), 32, (512, 256), 0.5),
        ((1000, 1000), (512, 384), 32, (384, 384), 0.384),
        ((100, 60), (512, 384), 32, (128, 64), 1.0),
        ((1024, 566), (560, 420), 28, (560, 336), 560 / 1024),
    ],
)
def test_bev_sizes(image, limit, multiple, expected, scale) -> None:
    assert fit_bev_size(*image, *limit, multiple) == (expected, pytest.approx(scale))


def test_a_size_that_holds_no_multiple_is_refused(scene: Scene) -> None:
    with pytest.raises(UserError, match="multiple of 28"):
        scene.views(512, 20, 28)


def test_marks_can_be_left_out(scene: Scene) -> None:
    with_marks, without = scene.views(512, 384, 32), scene.views(512, 384, 32, marks=False)
    assert without.bev_markers == () and without.frame_markers == ((), (), ())
    dropped = scene.views(512, 384, 32, drop_marks={1, 3})
    assert [marker.id for marker in dropped.bev_markers] == [2, 4, 5]
    assert not np.array_equal(with_marks.bev, without.bev)
    nothing = scene.views(512, 384, 32, drop_marks={1, 2, 3, 4, 5})
    np.testing.assert_array_equal(nothing.frames[1], without.frames[1])


def test_marks_touch_nothing_but_their_plates_and_lines(scene: Scene) -> None:
    with_marks, without = scene.views(512, 384, 32), scene.views(512, 384, 32, marks=False)
    for (marked, markers, _), (plain, _, _) in zip(_all(with_marks), _all(without), strict=True):
        changed = (marked != plain).any(axis=2)
        assert changed.any()
        for marker in markers:
            x0, y0, x1, y1 = (round(edge) for edge in marker.label_box)
            assert changed[y0:y1, x0:x1].mean() > 0.5
            changed[y0:y1, x0:x1] = False
            u, v = marker.uv
            if not (x0 <= u <= x1 and y0 <= v <= y1):  # a leader line, from the anchor to the nearest edge
                near_u, near_v = min(max(u, x0), x1), min(max(v, y0), y1)
                low_u, high_u, low_v, high_v = min(u, near_u), max(u, near_u), min(v, near_v), max(v, near_v)
                changed[max(0, int(low_v) - 6) : int(high_v) + 6, max(0, int(low_u) - 6) : int(high_u) + 6] = False
        assert not changed.any()


def test_an_object_thinner_than_a_pixel_keeps_its_mark(scene: Scene) -> None:
    ids = np.full_like(scene.bev.ids, -1)
    ids[100:103, 201] = 4
    marker = replace(scene.bev.markers[3], uv=(201.5, 101.5))
    thin = replace(scene, bev=replace(scene.bev, object_pixels=ids, markers=(marker,)))
    for width in range(40, 200, 7):
        views = thin.views(width, width, 1, digit_height_px=8)
        assert [mark.id for mark in views.bev_markers] == [4]
        scale = 0.01 / views.bev_camera.metres_per_pixel
        assert np.abs(np.subtract(views.bev_markers[0].uv, np.multiply(marker.uv, scale))).max() <= 1


def test_people_see_the_marks_as_the_scene_lays_them_out(scene: Scene) -> None:
    marked = marked_image(scene.frames[0])
    changed = (marked != scene.frames[0].image).any(axis=2)
    for marker in scene.frames[0].markers:
        x0, y0, x1, y1 = (round(edge) for edge in marker.label_box)
        assert changed[y0:y1, x0:x1].mean() > 0.9
    np.testing.assert_array_equal(marked_image(replace(scene.bev, markers=())), scene.bev.image)


def test_separate_images_start_with_the_birds_eye_view(scene: Scene) -> None:
    views = scene.views(512, 384, 32)
    images = compose_images(views)
    assert images[0] is views.bev and all(a is b for a, b in zip(images[1:], views.frames, strict=True))


def test_a_grid_of_eight_frames_is_two_rows_of_four(scene: Scene) -> None:
    frames = tuple(np.full((64, 96, 3), 20 * i, np.uint8) for i in range(8))
    views = replace(scene.views(512, 384, 32), frames=frames)
    grid, bev = compose_images(views, "grid")
    assert grid.shape == (128, 384, 3) and bev is views.bev
    for i in range(8):
        row, column = divmod(i, 4)
        assert (grid[row * 64 : (row + 1) * 64, column * 96 : (column + 1) * 96] == 20 * i).all()


@pytest.mark.parametrize(("frames", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (1, 4)), (5, (2, 4)), (32, (8, 4))])
def test_grid_shapes(frames: int, shape: tuple[int, int]) -> None:
    assert grid_shape(frames) == shape


def test_cells_left_over_are_background() -> None:
    grid = compose_grid([np.zeros((10, 20, 3), np.uint8), np.zeros((20, 10, 3), np.uint8)], 2, 2)
    assert grid.shape == (40, 40, 3)
    assert (grid[:10, :20] == 0).all() and (grid[:20, 20:30] == 0).all()
    assert (grid[20:] == BACKGROUND).all() and (grid[10:20, :20] == BACKGROUND).all()


def test_what_no_grid_holds_is_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="holds 1 to 2 frames, got 3"):
        compose_grid([np.zeros((2, 2, 3), np.uint8)] * 3, 1, 2)
    with pytest.raises(ValueError, match="got 0"):
        compose_grid([], 1, 2)
    with pytest.raises(ValueError, match="layout"):
        compose_images(scene.views(512, 384, 32), "spiral")  # pyright: ignore[reportArgumentType]
