"""Several floors in one scan: one is asked for, furniture is none of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev.camera import Camera
from bev.errors import UserError
from bev.scan import Frame, Scan
from bev.storeys import floor_heights_m, pick_storey
from bev.surface import Surface

K = np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]])


def level(height_m: float, x: tuple[float, float], y: tuple[float, float], faces_up: bool = True) -> Surface:
    """A flat rectangle in 10 cm squares."""
    nx, ny = (round((hi - lo) / 0.1) + 1 for lo, hi in (x, y))
    xs, ys = np.meshgrid(np.linspace(*x, nx), np.linspace(*y, ny), indexing="ij")
    vertices = np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, height_m)], axis=1)
    i = (np.arange(nx - 1)[:, None] * ny + np.arange(ny - 1)).ravel()
    faces = np.concatenate([np.stack([i, i + ny, i + 1], axis=1), np.stack([i + 1, i + ny, i + ny + 1], axis=1)])
    normal = [0.0, 0.0, 1.0 if faces_up else -1.0]
    return Surface(
        vertices,
        faces if faces_up else faces[:, ::-1],
        np.full(vertices.shape, 128),
        np.broadcast_to(normal, vertices.shape),
    )


def joined(*parts: Surface) -> Surface:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.normals for part in parts]),
    )


def standing(centers: np.ndarray) -> Scan:
    """Frames at these places, looking along +y and 30 degrees down."""
    forward, down = np.array([0, np.cos(0.52), -np.sin(0.52)]), np.array([0, -np.sin(0.52), -np.cos(0.52)])
    frames = []
    for index, center in enumerate(centers):
        world_from_camera = np.eye(4)
        world_from_camera[:3, :3] = np.stack([np.cross(down, forward), down, forward], axis=1)
        world_from_camera[:3, 3] = center
        camera = Camera(K, 160, 120, world_from_camera)
        frames.append(Frame(index, index / 30, camera, lambda: np.zeros((120, 160, 3), np.uint8)))
    return Scan("house", Path("house"), "test", tuple(frames))


def walk(floor_m: float, count: int = 30, camera_above_m: float = 1.5) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count)
    return np.stack([2.5 + 1.5 * np.cos(angle), 2 + np.sin(angle), np.full(count, floor_m + camera_above_m)], axis=1)


def house() -> Surface:
    """Two storeys of 5 x 4 m, the upper floor at 2.81 m with a stairwell, a table on each, a cabinet, a gallery bed."""
    return joined(
        level(0.0, (0, 5), (0, 4)),
        level(2.6, (0, 5), (0, 3), faces_up=False),
        level(2.81, (0, 5), (0, 3)),
        level(0.74, (1, 3), (1, 2)),
        level(2.81 + 0.74, (2, 3.5), (1, 2)),
        level(2.0, (4.4, 5), (0, 2)),
    )


def stairs(count: int = 9) -> np.ndarray:
    share = np.linspace(0, 1, count)[1:-1]
    return np.stack([4 - 3 * share, np.full(len(share), 3.6), 1.5 + 2.81 * share], axis=1)


def whole_walk() -> Scan:
    return standing(np.concatenate([walk(0.0), stairs(), walk(2.81)]))


def test_several_floors_must_be_chosen_from():
    with pytest.raises(UserError, match=r"holds 2 floors \(at 0\.00 and 2\.81 m\).*--floor 1 \(lowest\) or --floor 2"):
        pick_storey(whole_walk(), house(), None)


@pytest.mark.parametrize("floor", [0, 3, -1])
def test_a_floor_that_is_not_there_is_refused(floor):
    with pytest.raises(UserError, match=f"no floor {floor}.*2 floors"):
        pick_storey(whole_walk(), house(), floor)


@pytest.mark.parametrize(("floor", "floor_m"), [(1, 0.0), (2, 2.81)])
def test_the_chosen_storey_lies_at_zero_with_its_own_frames(floor, floor_m):
    scan, surface = pick_storey(whole_walk(), house(), floor)
    up = surface.normals[:, 2] > 0.5
    assert surface.vertices[up, 2].min() == pytest.approx(0, abs=0.01)
    assert surface.vertices[:, 2].max() < 2.7
    assert (np.abs(surface.vertices[up, 2] - 0.74) < 0.01).any(), "its table came along"
    heights = scan.centers()[:, 2]
    assert ((heights > 0) & (heights < 1.5 + 2.81 / 2 + 1e-6)).all()
    indices = [frame.index for frame in scan.frames]
    on_foot = range(30) if floor == 1 else range(37, 67)
    assert set(on_foot) <= set(indices)
    assert not set(range(67)) - set(indices) <= set(range(30, 37)), "the other storey's frames are gone"
    np.testing.assert_allclose(scan.world_from_source[2, 3], -floor_m, atol=0.01)


def test_every_stairs_frame_belongs_to_one_storey():
    counts = [len(pick_storey(whole_walk(), house(), floor)[0].frames) for floor in (1, 2)]
    assert sum(counts) == len(whole_walk().frames)


def test_one_storey_is_returned_as_it_is():
    scan, surface = standing(walk(0.0)), level(0, (0, 5), (0, 4))
    for floor in (None, 1):
        same = pick_storey(scan, surface, floor)
        assert same[0] is scan and same[1] is surface
    with pytest.raises(UserError, match="holds 1 floor"):
        pick_storey(scan, surface, 2)


@pytest.mark.parametrize(
    "furniture",
    [
        level(1.95, (0, 2), (0, 1.4)),  # gallery bed
        level(2.1, (4, 5), (0, 4)),  # tops of a wall of cabinets
        level(0.74, (0.5, 4.5), (0.5, 3.5)),  # a table larger than what is seen of the floor
    ],
)
@pytest.mark.parametrize("camera_above_m", [1.2, 1.7, 2.1])
def test_furniture_is_no_storey(furniture, camera_above_m):
    surface = joined(level(0, (0, 5), (0, 4)), furniture)
    scan = standing(walk(0.0, camera_above_m=camera_above_m))
    assert pick_storey(scan, surface, None)[0] is scan


@pytest.mark.parametrize(
    ("top", "high"),
    [
        (level(2.0, (4, 5), (0, 1.2)), [[4.0, 0.5, 2.9]] * 5),  # a small cabinet, from a ladder
        (level(2.0, (4, 5), (0, 4)), [[1.5, 2, 2.9]] * 5),  # a wall of cabinets, from a mast in the middle
        (level(1.95, (0, 2), (0, 2)), [[1, 1, 3.0]]),  # a gallery bed, once over its rail
    ],
)
def test_a_look_from_high_up_makes_no_storey(top, high):
    surface = joined(level(0, (0, 5), (0, 4)), top)
    scan = standing(np.concatenate([walk(0.0), np.array(high)]))
    assert pick_storey(scan, surface, None)[0] is scan


def test_an_upper_floor_that_a_table_hides_is_still_found_at_its_own_height():
    surface = joined(level(0, (0, 5), (0, 4)), level(2.81, (0, 5), (0, 1)), level(2.81 + 0.74, (0.5, 4.5), (1, 3.5)))
    scan = standing(np.concatenate([walk(0.0), walk(2.81, camera_above_m=1.7)]))
    np.testing.assert_allclose(floor_heights_m(scan, surface), [0, 2.81], atol=0.01)


def test_three_storeys():
    surface = joined(*(level(height, (0, 5), (0, 4)) for height in (0.0, 2.7, 5.4)))
    scan = standing(np.concatenate([walk(height) for height in (0.0, 2.7, 5.4)]))
    np.testing.assert_allclose(floor_heights_m(scan, surface), [0, 2.7, 5.4], atol=0.01)
    with pytest.raises(
        UserError, match=r"3 floors \(at 0\.00, 2\.70 and 5\.40 m\): .*--floor 1 \(lowest\), --floor 2 or"
    ):
        pick_storey(scan, surface, None)
    middle, cut = pick_storey(scan, surface, 2)
    assert len(middle.frames) == 30
    np.testing.assert_allclose(np.unique(cut.vertices[:, 2]), [0], atol=0.01)


def test_a_point_cloud_has_storeys_too():
    cloud = replace(house(), faces=np.zeros((0, 3)))
    assert len(floor_heights_m(whole_walk(), cloud)) == 2
