"""The parts of stereo one by one: warping, correlation, smoothing, and what confirms what."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from textured_quads import Shot, shoot, sideways, textured

from bev.camera import Camera, pixel_centers
from bev.consistency import InverseDepth, confirmed, without_speckles
from bev.errors import require
from bev.neighbours import neighbours
from bev.plane_sweep import GreyView, Reprojection, agreement, box_mean, pixel_grid
from bev.semi_global import aggregate, lowest
from bev.sparse import SparsePoints
from bev.triangulation import triangulated

torch = require("torch", "video")

WALL = textured((-2.2, 0.0, -0.6), (4.4, 0, 0), (0, 0, 3.2), seed=1)
FLOOR = textured((-2.2, -2.4, 0.1), (4.4, 0, 0), (0, 2.4, 0), seed=2)


@cache
def room() -> Shot:
    return shoot((WALL, FLOOR), sideways(5))


def grey(shot: Shot, position: int) -> GreyView:
    frame = shot.scan.frames[position]
    return GreyView(torch.from_numpy(frame.read_color()[..., 0].astype(np.float32)), frame.camera)


def inverse(shot: Shot, position: int) -> InverseDepth:
    depth = torch.from_numpy(shot.depth[position])
    return InverseDepth(torch.where(depth > 0, 1 / depth, 0.0), shot.scan.frames[position].camera)


def test_reprojection_is_unproject_and_project() -> None:
    camera, other = (replace(c, K=np.diag([0.9, 1, 1]) @ c.K) for c in sideways(3)[:2])
    other = other.resized(120, 100)
    inverse_depths = torch.tensor([0.3, 1.7])
    grid, inside = Reprojection.between(camera, other, pixel_grid(torch.zeros(120, 160))).grid(
        inverse_depths[:, None, None]
    )
    uv = pixel_centers(160, 120)
    for value, at, within in zip(inverse_depths.tolist(), grid, inside, strict=True):
        expected, _ = other.project(camera.unproject(uv, np.full(len(uv), 1 / value)))
        found = (at.reshape(-1, 2).numpy() + 1) / 2 * (120, 100)
        assert np.abs(found - expected).max() < 1e-2
        assert ((expected > 0) & (expected < (120, 100))).all(axis=1).mean() == pytest.approx(
            within.float().mean().item(), abs=1e-3
        )


def test_what_is_behind_the_other_camera_is_not_inside() -> None:
    camera = sideways(1)[0]
    turned = replace(camera, world_from_camera=camera.world_from_camera @ np.diag([-1.0, 1, -1, 1]))
    _, inside = Reprojection.between(camera, turned, pixel_grid(torch.zeros(120, 160))).grid(torch.ones(1, 1, 1))
    assert not inside.any()


def test_box_mean_is_the_mean_of_the_window() -> None:
    images = torch.rand(2, 9, 11)
    means = box_mean(images, 2)
    assert means.shape == images.shape
    assert means[1, 4, 5].item() == pytest.approx(images[1, 2:7, 3:8].mean().item(), abs=1e-6)
    corner = images[0, [0, 0, 0, 1, 2]][:, [0, 0, 0, 1, 2]].mean()
    assert means[0, 0, 0].item() == pytest.approx(corner.item(), abs=1e-6)


def test_views_agree_at_the_true_depth_and_nowhere_else() -> None:
    own, others = inverse(room(), 2).values, [grey(room(), position) for position in (0, 4)]
    scores = agreement(grey(room(), 2), others, torch.stack([own, own * 0.6, own * 1.6]))
    inner = scores[:, 12:-12, 24:-24]
    assert inner[0].median() > 0.9
    assert inner[1:].median() < 0.3
    assert scores.abs().max() <= 1 + 1e-4


def test_brightness_and_contrast_do_not_matter() -> None:
    own, view = inverse(room(), 2).values[None], grey(room(), 2)
    brighter = GreyView(grey(room(), 3).image * 0.5 + 60, room().scan.frames[3].camera)
    before, after = agreement(view, [grey(room(), 3)], own), agreement(view, [brighter], own)
    assert (before - after).abs().median() < 0.01


def test_where_no_other_view_looks_the_agreement_is_zero() -> None:
    camera = room().scan.frames[2].camera
    away = replace(camera, world_from_camera=camera.world_from_camera @ np.diag([-1.0, 1, -1, 1]))
    assert not agreement(grey(room(), 2), [GreyView(grey(room(), 2).image, away)], torch.ones(3, 1, 1)).any()
    assert not agreement(grey(room(), 2), [], torch.ones(3, 1, 1)).any()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = torch.linspace(0.3, 1.5, 7)[:, None, None]
    whole = agreement(grey(room(), 2), [grey(room(), 1)], planes)
    monkeypatch.setattr("bev.plane_sweep._CHUNK_VALUES_CPU", 1)
    assert torch.equal(agreement(grey(room(), 2), [grey(room(), 1)], planes), whole)


def test_the_lowest_lies_between_the_samples() -> None:
    at = torch.tensor([[2.3, 0.0, 4.0, 1.5]])
    cost = (torch.arange(5.0)[:, None, None] - at) ** 2
    position, within = lowest(cost)
    assert torch.allclose(position, at, atol=1e-5)
    assert within.tolist() == [[True, False, False, True]]
    flat, _ = lowest(torch.zeros(5, 1, 1))
    assert torch.isfinite(flat).all()


def test_smoothing_fills_what_says_nothing_and_keeps_edges() -> None:
    height, width, edge = 24, 40, 22
    true = torch.where(torch.arange(width) < edge, 3, 11).expand(height, width)
    cost = 0.5 + 0.05 * torch.rand(16, height, width, generator=torch.Generator().manual_seed(0))
    texture = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) < 0.2
    cost.scatter_(0, true[None], torch.where(texture, 0.0, cost.gather(0, true[None])[0])[None])
    image = torch.where(true == 3, 50.0, 150.0)
    found = aggregate(cost, image).argmin(dim=0)
    assert (cost.argmin(dim=0) == true).float().mean() < 0.4
    assert (found == true).float().mean() > 0.97


def test_smoothing_treats_all_sides_alike() -> None:
    cost, image = torch.rand(6, 9, 13), 255 * torch.rand(9, 13)
    plain = aggregate(cost, image)
    assert torch.allclose(aggregate(cost.flip(1), image.flip(0)).flip(1), plain, atol=1e-5)
    assert torch.allclose(aggregate(cost.flip(2), image.flip(1)).flip(2), plain, atol=1e-5)
    turned = aggregate(cost.transpose(1, 2), image.t().contiguous()).transpose(1, 2)
    assert torch.allclose(turned, plain, atol=1e-5)


def test_a_line_of_costs_by_hand() -> None:
    cost = torch.tensor([[[0.0, 5, 5]], [[5.0, 5, 0]], [[5.0, 0, 5]]])  # D = 3, one row of 3 pixels
    found = aggregate(cost, torch.zeros(1, 3), step_penalty=1.0, jump_penalty=3.0) * 4
    # up and down each end at once: twice the costs; then the path from the left, and the one from the right
    first = np.array([0, 5, 5]) * 2 + [0, 5, 5] + [3, 6, 5]
    last = np.array([5, 0, 5]) * 2 + [7, 1, 5] + [5, 0, 5]
    assert found[:, 0, 0].tolist() == first.tolist()
    assert found[:, 0, 2].tolist() == last.tolist()


def test_true_depth_confirms_itself_and_wrong_depth_is_dropped() -> None:
    others = [inverse(room(), position) for position in (0, 1, 3, 4)]
    own = inverse(room(), 2)
    kept = confirmed(own, others)
    assert (kept > 0).float().mean() > 0.95
    assert ((kept - own.values).abs() / own.values)[kept > 0].max() < 0.02
    for wrong in (0.9, 1.1):
        assert (confirmed(replace(own, values=own.values * wrong), others) > 0).float().mean() < 0.02


def test_as_many_views_as_wanted_must_confirm() -> None:
    own, other = inverse(room(), 2), inverse(room(), 3)
    nothing = replace(other, values=torch.zeros_like(other.values))
    assert not confirmed(own, [other, nothing], count_min=2).any()
    assert (confirmed(own, [other, nothing], count_min=1) > 0).float().mean() > 0.8


def test_a_view_confirms_nothing_that_lies_beside_its_image() -> None:
    camera = replace(sideways(1)[0], world_from_camera=np.eye(4))
    aside = camera.moved(np.array([[1, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    even = torch.full((120, 160), 0.5)
    kept = confirmed(InverseDepth(even, camera), [InverseDepth(even, aside)], count_min=1)
    # a metre aside is 64 pixels at a depth of two
    assert not kept[:, :64].any() and kept[:, 64:].all()


def test_confirmed_depth_is_the_mean_of_what_views_found() -> None:
    own, others = inverse(room(), 2), [inverse(room(), position) for position in (1, 3)]
    off = [replace(other, values=other.values * factor) for other, factor in zip(others, (1.01, 1.004), strict=True)]
    kept = confirmed(own, off)
    ratio = (kept / own.values)[kept > 0]
    assert ratio.median().item() == pytest.approx(1 + (0.01 + 0.004) / 3, abs=1e-3)


def test_speckles_go_and_surfaces_stay() -> None:
    values = np.zeros((40, 60), np.float32)
    values[5:35, 5:40] = np.linspace(0.5, 1.0, 35)
    values[10:13, 50:53] = 0.7
    values[20:23, 20:23] = 1.6  # in the midst of the surface, and nearer
    kept = without_speckles(values, area_px=20)
    assert not kept[10:13, 50:53].any() and not kept[20:23, 20:23].any()
    assert (kept[5:35, 5:40] > 0).mean() == pytest.approx(1 - 9 / (30 * 35))
    assert np.array_equal(without_speckles(values * 1e-3, area_px=20) > 0, kept > 0)


def test_neighbours_see_the_same_from_about_the_angle_that_is_asked_for() -> None:
    cameras = sideways(21, step_m=0.06)
    away = replace(cameras[0], world_from_camera=cameras[0].world_from_camera @ np.diag([-1.0, 1, -1, 1]))
    shot = shoot((WALL,), [*cameras, away])
    sparse = shot.scan.sparse
    assert sparse is not None
    for angle_deg in (2.0, 5.0, 10.0):
        found = neighbours(shot.scan, sparse, count=2, angle_deg=angle_deg)
        apart = np.linalg.norm(shot.scan.centers()[list(found[10])] - shot.scan.centers()[10], axis=1)
        assert np.allclose(np.degrees(apart / 2), angle_deg, rtol=0.45)
    everything = neighbours(shot.scan, sparse, count=99, angle_deg=5)
    assert len(everything[21]) == 0
    assert all(21 not in others and at not in others for at, others in enumerate(everything))
    assert len(everything[10]) > 10


def test_a_camera_that_only_turns_has_no_neighbours() -> None:
    camera = sideways(1)[0]
    turns = [
        replace(camera, world_from_camera=camera.world_from_camera @ _turned_about_y(angle))
        for angle in np.radians([-4, 0, 4])
    ]
    shot = shoot((WALL,), turns)
    assert shot.scan.sparse is not None
    assert neighbours(shot.scan, shot.scan.sparse, count=3, angle_deg=5) == [(), (), ()]


def _turned_about_y(angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    return turn


def test_triangulated_points_lie_on_the_walls() -> None:
    shot = shoot((WALL, FLOOR), sideways(4, size=(240, 180), step_m=0.15), sparse=False)
    sparse = triangulated(shot.scan)
    off = np.minimum(np.abs(sparse.points[:, 1]), np.abs(sparse.points[:, 2] - 0.1))
    assert len(sparse.points) > 100 and np.median(off) < 0.01 and (off < 0.05).mean() > 0.98
    assert all(len(sparse.seen_by(frame.index)) > 30 for frame in shot.scan.frames)
    counts = np.bincount(sparse.seen[:, 1], minlength=len(sparse.points))
    assert (counts == 2).all()


def test_features_whose_rays_pass_each_other_make_no_points() -> None:
    shot = shoot((WALL, FLOOR), sideways(2, size=(240, 180), step_m=0.15), sparse=False)
    first, second = shot.scan.frames
    up = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.1], [0, 0, 0, 1]])
    higher = replace(second, camera=second.camera.moved(up))
    assert len(triangulated(shot.scan).points) > 100
    assert len(triangulated(shot.scan.with_frames((first, higher))).points) < 5


def test_all_that_is_made_is_made_on_the_images_device() -> None:
    # a device without values, on which any tensor of the CPU is refused
    camera = sideways(1)[0]

    def view(shown: Camera) -> GreyView:
        return GreyView(torch.empty((120, 160), device="meta"), shown)

    scores = agreement(view(camera), [view(camera)], torch.empty((5, 1, 1), device="meta"))
    position, within = lowest(aggregate(1 - scores, view(camera).image))
    kept = confirmed(InverseDepth(position, camera), [InverseDepth(position, camera)])
    assert {each.device.type for each in (scores, position, within, kept)} == {"meta"}


def test_sparse_points_of_other_frames_are_not_taken() -> None:
    shot = room()
    assert shot.scan.sparse is not None
    lone = SparsePoints(shot.scan.sparse.points, shot.scan.sparse.seen[:0])
    assert neighbours(shot.scan, lone, count=3, angle_deg=5) == [()] * 5
