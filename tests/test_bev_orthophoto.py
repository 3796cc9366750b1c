"""Colours from the frames that see a point best: exposure, choice, and sharpness on the real kitchen."""

import cv2
import numpy as np
import pytest

import bev
from bev.camera import invert_rigid, pixel_centers
from bev.errors import require
from bev.orthophoto import RankedViews, exposure_gains, rank_views, smooth_choice
from bev.render import Bev, render_bev
from bev.surface import SurfaceCaster


def test_exposure_gains_are_recovered_up_to_a_common_factor():
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.7, 1.4, (12, 3))
    choice = np.array([rng.permutation(12)[:3] for _ in range(3000)]).T
    truth = rng.uniform(60, 120, (3000, 3))
    colors = (truth[None] / gains[choice] + rng.normal(0, 2, (3, 3000, 3))).astype(np.float32)
    found = exposure_gains(colors, choice, 12)
    ratio = found / gains
    assert np.abs(ratio / ratio.mean(axis=0) - 1).max() < 0.03


def test_exposure_gains_ignore_what_is_saturated_and_stay_one_without_overlap():
    choice = np.array([[0], [1]]).repeat(50, axis=1)
    colors = np.full((2, 50, 3), 250, np.float32)
    colors[1] = 100
    assert exposure_gains(colors, choice, 2) == pytest.approx(1.0)
    alone = np.where(np.arange(2)[:, None] == 0, choice, -1)
    assert exposure_gains(colors, alone, 3) == pytest.approx(1.0)


def test_a_lone_pixel_follows_its_neighbours_where_it_can():
    frames = np.zeros((2, 15, 15), np.int16)
    frames[1] = 1
    frames[:, 7, 7] = 1, 0  # the middle prefers another frame by a hair
    frames[:, 7, 12] = 5, -1  # and this one has no other frame
    scores = np.stack([np.full((15, 15), 1.0), np.full((15, 15), 0.98)]).astype(np.float32)
    row = smooth_choice(RankedViews(frames.reshape(2, -1), scores.reshape(2, -1)), (15, 15), np.arange(225))
    chosen = np.take_along_axis(frames.reshape(2, -1), row[None], axis=0)[0].reshape(15, 15)
    assert chosen[7, 7] == 0 and chosen[7, 12] == 5


def test_views_are_ranked_by_resolution_and_only_where_they_see(kitchen: tuple[bev.Scan, bev.Surface]):
    scan, surface = kitchen
    some = scan.with_frames(scan.frames[::10])
    caster = SurfaceCaster(surface)
    ranked = rank_views(surface.vertices, surface.normals, some, caster, candidates=3)
    assert (np.diff(ranked.scores, axis=0) <= 0).all() and ((ranked.frames >= 0) == (ranked.scores > 0)).all()
    for position, frame in enumerate(some.frames):
        taken = np.flatnonzero(ranked.frames[0] == position)
        uv, depth = frame.camera.project(surface.vertices[taken])
        assert (depth > 0).all() and (uv > 0).all() and (uv < [frame.camera.width, frame.camera.height]).all()
        seen_depth, _, _ = caster.hits(frame.camera, uv)
        in_front = (seen_depth > 0) & (seen_depth < depth - 0.1)
        assert np.mean(in_front) < 0.02


@pytest.fixture(scope="module")
def without_ten(kitchen: tuple[bev.Scan, bev.Surface]) -> tuple[Bev, list[bev.Frame], SurfaceCaster]:
    """RedKitchen's bird's-eye view from 90 frames, and the ten that gave it no colour."""
    scan, surface = kitchen
    caster = SurfaceCaster(surface)
    kept = tuple(frame for i, frame in enumerate(scan.frames) if i % 10 != 4)
    return render_bev(surface, scan.with_frames(kept), caster=caster), list(scan.frames[4::10]), caster


def test_the_orthophoto_is_sharper_than_voxel_colours(kitchen, without_ten):
    """Re-projected into frames that gave it no colour, its gradients fit theirs at least 1.3 times as well."""
    _, surface = kitchen
    top, held, caster = without_ten
    blurred = voxel_colors(kitchen[0], surface.vertices)
    fits = np.array([gradient_fits(frame, top, surface, blurred, caster) for frame in held])
    orthophoto, voxels = fits.mean(axis=0)
    assert orthophoto > 0.25  # not the better of two bad ones
    assert orthophoto >= 1.3 * voxels


def test_isolated_speckle_is_rare(without_ten):
    top, _, _ = without_ten
    grey = cv2.cvtColor(top.image, cv2.COLOR_RGB2GRAY).astype(np.int32)
    colored = top.color_frames >= 0
    alone = colored.copy()
    neighbours = np.zeros(grey.shape, np.int32)
    for dy, dx in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]:
        beside = np.roll(grey, (dy, dx), (0, 1))
        is_colored = np.roll(colored, (dy, dx), (0, 1))
        neighbours += is_colored
        alone &= ~is_colored | (np.abs(grey - beside) > 25)
    alone &= neighbours > 0
    assert alone.sum() <= 0.01 * colored.sum()


def voxel_colors(scan: bev.Scan, vertices: np.ndarray) -> np.ndarray:
    """What the voxel grid itself makes of the colours: each voxel the mean of all that it was seen as."""
    from scipy.spatial import KDTree

    o3d = require("open3d")
    tensor, image = o3d.core.Tensor, o3d.t.geometry.Image
    dtypes, shapes = (o3d.core.float32,) * 3, ((1,), (1,), (3,))
    grid = o3d.t.geometry.VoxelBlockGrid(("tsdf", "weight", "color"), dtypes, shapes, 0.02, 8, 10_000)
    for frame in scan.frames:
        depth, color = image(frame.read_depth()), image(frame.read_color().astype(np.float32))
        depth_K, color_K = tensor(frame.depth_camera.K), tensor(frame.camera.K)
        camera_from_world = tensor(invert_rigid(frame.depth_camera.world_from_camera))
        blocks = grid.compute_unique_block_coordinates(depth, depth_K, camera_from_world, 1.0, 4.0)
        grid.integrate(blocks, depth, color, depth_K, color_K, camera_from_world, 1.0, 4.0)
    mesh = grid.extract_triangle_mesh(3.0)
    colors = mesh.vertex.colors.numpy()
    colors = colors * 255 if colors.max() < 2 else colors
    return colors[KDTree(mesh.vertex.positions.numpy()).query(vertices)[1]]


def gradient_fits(frame, top: Bev, surface, vertex_colors: np.ndarray, caster: SurfaceCaster) -> tuple[float, float]:
    """Correlation of image gradients with a frame's: of the orthophoto and of vertex colours, both seen from there."""
    camera = frame.camera
    uv = pixel_centers(camera.width, camera.height)
    depth, _, face_ids = caster.hits(camera, uv)
    points = camera.unproject(uv, depth)
    top_uv, top_depth = top.camera.project(points)
    at = (top_uv - 0.5).astype(np.float32).reshape(camera.height, camera.width, 2)
    ortho = cv2.remap(top.image, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    column, row = np.floor(top_uv).astype(int).clip(0, [top.camera.width - 1, top.camera.height - 1]).T
    shown_depth, _, _ = top.caster.hits(top.camera, top_uv)
    same = (depth > 0) & (top.color_frames[row, column] >= 0) & (np.abs(shown_depth - top_depth) < 0.03)
    corners = surface.faces[np.maximum(face_ids, 0)]
    a, b, c = (surface.vertices[corners[:, i]].astype(float) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    weights = [np.linalg.norm(np.cross(q - points, r - points), axis=1) for q, r in ((b, c), (c, a), (a, b))]
    weights = np.stack(weights, axis=1) / np.maximum(area, 1e-12)[:, None]
    smooth = (vertex_colors[corners] * weights[..., None]).sum(axis=1).reshape(ortho.shape)
    mask = cv2.erode(same.reshape(ortho.shape[:2]).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    truth = gradients(frame.read_color())[:, mask]
    return tuple(np.corrcoef(gradients(image)[:, mask].ravel(), truth.ravel())[0, 1] for image in (ortho, smooth))


def gradients(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)])
