"""From a scan to an upright room: whose surface, which storey, whose up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bev
from bev.errors import UserError
from bev.facing import face_the_cameras
from bev.gravity import estimate_up
from bev.scan import Scan
from bev.surface import Surface, save_surface
from bev.surface_fit import check_surface_fit, surface_fit
from bev.synthetic import Film, film, synthetic_room


@pytest.fixture(scope="module")
def walk() -> Film:
    return film(synthetic_room(6), frames=24, width=320, height=240, world_from_room=np.eye(4))


def moved_by(*offset: float) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, 3] = offset
    return motion


def test_the_right_surface_fits_and_others_do_not(walk: Film):
    assert surface_fit(walk.scan, walk.surface) > 0.9
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    for other in (
        walk.surface.moved(moved_by(0.7, 0.5, 0.3)),
        walk.surface.moved(turned),
        film(synthetic_room(9), frames=1, world_from_room=np.eye(4)).surface,
    ):
        assert surface_fit(walk.scan, other) < 0.5
        with pytest.raises(UserError, match=r"mesh\.ply: is not where .* --fuse-depth .* --skip-check"):
            check_surface_fit(walk.scan, other, Path("mesh.ply"))
        check_surface_fit(walk.scan, other, Path("mesh.ply"), skip_check=True)


def test_a_surface_in_another_world_is_refused_before_anything_is_made_of_it(walk: Film, tmp_path: Path):
    save_surface(walk.surface.moved(moved_by(3, 0, 0)), tmp_path / "mesh.ply")
    scan = replace(walk.scan, surface_path=tmp_path / "mesh.ply")
    with pytest.raises(UserError, match=r"mesh\.ply"):
        bev.reconstruct(scan)
    bev.reconstruct(scan, fuse_depth=True, voxel_size_m=0.05, align=False)


@pytest.fixture(scope="module")
def storeys(walk: Film) -> Scan:
    """Two rooms one above the other; the stairs between them were not filmed."""
    above = film(synthetic_room(9), frames=24, width=320, height=240, world_from_room=np.eye(4)).scan
    above = above.moved(moved_by(0, 0, 2.9))
    frames = [replace(frame, index=frame.index + 100) for frame in above.frames]
    return walk.scan.with_frames((*walk.scan.frames, *frames))


def test_a_storey_can_be_chosen_although_no_stairs_were_filmed(storeys: Scan):
    with pytest.raises(UserError, match=r"2 floors .* --floor 1 .* --floor 2"):
        bev.reconstruct(storeys, voxel_size_m=0.05, align=False)
    for floor, first in ((1, 0), (2, 100)):
        scan, surface = bev.reconstruct(storeys, floor=floor, voxel_size_m=0.05, align=False)
        assert scan.frames[0].index == first and len(scan.frames) == 24
        assert surface.vertices[:, 2].max() < 2.8
        assert 1.2 < np.median(scan.centers()[:, 2]) < 1.9


def test_a_layouts_up_is_doubted_where_everything_speaks_against_it(kitchen_path: Path, caplog):
    scan = bev.read_scan(kitchen_path)
    surface = bev.fuse(scan, voxel_size_m=0.04)
    truth = np.array([0.008, -0.892, -0.452])
    for wrong in np.vstack([np.eye(3), -np.eye(3)]):
        caplog.clear()
        up = estimate_up(replace(scan, up_hint=wrong), surface)
        assert np.degrees(np.arccos(up @ truth / np.linalg.norm(truth))) < 1.5
        assert "degrees off what the 7scenes layout defines" in caplog.text


def test_a_right_hint_is_kept(walk: Film, caplog):
    surface = bev.fuse(walk.scan, voxel_size_m=0.05)
    up = estimate_up(replace(walk.scan, up_hint=np.array([0.0, 0.03, 1.0])), surface)
    assert up[2] > np.cos(np.radians(1))
    assert not caplog.text


def test_a_clouds_ceiling_looks_down_although_no_frame_shows_it(walk: Film):
    rng = np.random.default_rng(0)
    size = np.array([4.0, 3.0])
    floor = np.column_stack([rng.uniform(0, 1, (3000, 2)) * size, np.zeros(3000)])
    ceiling = floor + [0, 0, 3.5]
    points = np.concatenate([floor, ceiling])
    signs = rng.choice([-1.0, 1.0], len(points))
    normals = np.column_stack([np.zeros((len(points), 2)), signs])
    cloud = Surface(points, np.zeros((0, 3)), np.full(points.shape, 99), normals)
    faced = face_the_cameras(cloud, walk.scan)
    assert (faced.normals[:3000, 2] > 0).mean() > 0.99
    assert (faced.normals[3000:, 2] < 0).mean() > 0.99


def test_a_surface_without_colours_gets_the_frames_and_one_with_colours_keeps_its_own(walk: Film, tmp_path: Path):
    path = tmp_path / "mesh.ply"
    scan = replace(walk.scan, surface_path=path)
    save_surface(replace(walk.surface, colors=np.full_like(walk.surface.colors, 178)), path)
    _, colored = bev.reconstruct(scan, align=False)
    assert colored.colors.std(axis=0).min() > 10
    own = np.random.default_rng(0).integers(0, 256, walk.surface.colors.shape, dtype=np.uint8)
    save_surface(replace(walk.surface, colors=own), path)
    _, kept = bev.reconstruct(scan, align=False)
    assert (kept.colors == own).all()
