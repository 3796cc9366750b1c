"""The bird's-eye view: where things land on it, which way round, what is left out, and where its colours come from."""

from dataclasses import replace

import numpy as np
import pytest

from bev.camera import Camera
from bev.render import BACKGROUND, render_bev, top_camera
from bev.scan import Frame, Scan
from bev.surface import Surface

GREY = 128


def rectangle(
    x: tuple[float, float], y: tuple[float, float], z: float, color: tuple[int, int, int], *, up: bool = True
):
    """A horizontal rectangle of two triangles, facing up or down."""
    vertices = np.array([[x[0], y[0], z], [x[1], y[0], z], [x[1], y[1], z], [x[0], y[1], z]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    faces = faces if up else faces[:, ::-1]
    normals = np.tile([0, 0, 1.0 if up else -1.0], (4, 1))
    return Surface(vertices, faces, np.tile(np.array(color, np.uint8), (4, 1)), normals)


def together(*parts: Surface) -> Surface:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.normals for part in parts]),
    )


def looking_down(height_m: float, image: np.ndarray, *, at: tuple[float, float] = (0.0, 0.0), index: int = 0) -> Frame:
    """A frame taken from above; image right = +x, image down = -y."""
    matrix = np.diag([1.0, -1.0, -1.0, 1.0])
    matrix[:3, 3] = *at, height_m
    size = image.shape[1], image.shape[0]
    K = np.array([[size[0] / 2, 0, size[0] / 2], [0, size[0] / 2, size[1] / 2], [0, 0, 1.0]])
    return Frame(index, index / 30, Camera(K, *size, matrix), lambda: image)


def scan_of(*frames: Frame) -> Scan:
    from pathlib import Path

    return Scan("test", Path("test"), "test", frames)


FLOOR = rectangle((-2, 2), (-1.5, 1.5), 0.0, (200, 200, 200))
NOTHING = scan_of()


def test_corners_of_a_known_box_are_found_within_a_pixel():
    box = rectangle((0.31, 1.07), (-0.83, 0.42), 0.5, (255, 0, 0))
    top = render_bev(together(FLOOR, box), NOTHING, long_side_px=1000)
    red = np.argwhere((top.image == [255, 0, 0]).all(axis=2))
    found = np.array([[*red.min(axis=0)[::-1]], [*(red.max(axis=0) + 1)[::-1]]], float)
    expected, _ = top.camera.project(np.array([[0.31, 0.42, 0.5], [1.07, -0.83, 0.5]]))
    assert np.abs(found - expected).max() <= 1.0


def test_a_chiral_pattern_is_not_mirrored():
    letter_f = [rectangle((0, 0.2), (0, 1), 0.1, (0, 0, 255)), rectangle((0.2, 0.7), (0.8, 1), 0.1, (0, 0, 255))]
    letter_f.append(rectangle((0.2, 0.5), (0.4, 0.6), 0.1, (0, 0, 255)))
    top = render_bev(together(FLOOR, *letter_f), NOTHING, long_side_px=400)

    def is_blue(x: float, y: float) -> bool:
        (uv,), _ = top.camera.project(np.array([[x, y, 0.1]]))
        return bool((top.image[int(uv[1]), int(uv[0])] == [0, 0, 255]).all())

    assert is_blue(0.1, 0.1) and is_blue(0.6, 0.9) and is_blue(0.4, 0.5)
    assert not is_blue(0.6, 0.1) and not is_blue(-0.4, 0.9)
    # +x to the right and +y upwards in the image itself, whatever the camera says
    blue = np.argwhere((top.image == [0, 0, 255]).all(axis=2))
    upper, lower = blue[blue[:, 0] < blue[:, 0].mean()], blue[blue[:, 0] > blue[:, 0].mean()]
    assert upper[:, 1].max() > lower[:, 1].max()


def test_ceilings_vanish_and_the_cut_takes_what_is_above_it():
    ceiling = rectangle((-2, 2), (-1.5, 1.5), 2.5, (0, 255, 0), up=False)
    lamp = rectangle((-0.5, 0.5), (-0.5, 0.5), 2.0, (255, 0, 0))
    room = together(FLOOR, ceiling, lamp)
    whole = render_bev(room, NOTHING, long_side_px=200)
    assert (whole.image == [255, 0, 0]).all(axis=2).any() and not (whole.image == [0, 255, 0]).all(axis=2).any()
    cut = render_bev(room, NOTHING, long_side_px=200, cut_height_m=1.8)
    assert not (cut.image == [255, 0, 0]).all(axis=2).any() and (cut.image == 200).all(axis=2).any()


def test_what_no_surface_fills_is_background():
    left, right = rectangle((-2, -1), (-1, 1), 0, (9, 9, 9)), rectangle((1, 2), (-1, 1), 0, (9, 9, 9))
    top = render_bev(together(left, right), NOTHING, long_side_px=200)
    middle = top.image[top.image.shape[0] // 2, top.image.shape[1] // 2]
    assert middle.tolist() == list(BACKGROUND)
    assert (top.vertex_ids[:, 100] == -1).all()


def test_colours_come_from_the_frame_and_elsewhere_from_the_surface():
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :100] = 255, 0, 0
    image[:, 100:] = 0, 0, 255
    top = render_bev(FLOOR, scan_of(looking_down(1.0, image, index=5)), long_side_px=400)

    def at(x: float, y: float) -> tuple[list[int], int]:
        (uv,), _ = top.camera.project(np.array([[x, y, 0.0]]))
        row, column = int(uv[1]), int(uv[0])
        return top.image[row, column].tolist(), int(top.color_frames[row, column])

    assert at(-0.5, 0.0) == ([255, 0, 0], 5) and at(0.5, 0.0) == ([0, 0, 255], 5)
    assert at(1.8, 1.2) == ([200, 200, 200], -1)


def test_a_table_hides_the_floor_from_the_frame_above_it():
    table = rectangle((-0.3, 0.3), (-0.3, 0.3), 0.7, (7, 7, 7))
    image = np.full((200, 200, 3), 90, np.uint8)
    from_the_side = looking_down(2.0, image, at=(0.7, 0.0))
    surface = together(FLOOR, table)
    top = render_bev(surface, scan_of(from_the_side), long_side_px=400)
    # the ray from (0.7, 0, 2) over the table's edge (-0.3, 0, 0.7) reaches the floor at x = -0.84
    for x, seen in ((-0.45, False), (-0.7, False), (-1.0, True), (0.5, True)):
        (uv,), _ = top.camera.project(np.array([[x, 0.0, 0.0]]))
        assert (top.color_frames[int(uv[1]), int(uv[0])] >= 0) == seen, x


@pytest.mark.parametrize("long_side_px", [64, 500, 1024])
def test_the_long_side_is_as_asked(long_side_px: int):
    camera = top_camera(FLOOR, long_side_px=long_side_px)
    assert max(camera.width, camera.height) == long_side_px
    uv, _ = camera.project(FLOOR.vertices)
    assert (uv >= 0).all() and (uv <= [camera.width, camera.height]).all()


def test_a_point_cloud_is_splatted_without_holes():
    x, y = np.meshgrid(np.arange(-1, 1, 0.02), np.arange(-1, 1, 0.02))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1).astype(np.float32)
    cloud = Surface(points, np.zeros((0, 3)), np.full(points.shape, 50), np.tile([0, 0, 1.0], (len(points), 1)))
    ceiling = replace(
        cloud, vertices=points + np.float32([0, 0, 2.5]), normals=-cloud.normals, colors=cloud.colors + 99
    )
    both = Surface(
        np.concatenate([cloud.vertices, ceiling.vertices]),
        np.zeros((0, 3)),
        np.concatenate([cloud.colors, ceiling.colors]),
        np.concatenate([cloud.normals, ceiling.normals]),
    )
    top = render_bev(both, NOTHING, long_side_px=300)
    inner = top.image[20:-20, 20:-20]
    assert (inner == 50).all()
