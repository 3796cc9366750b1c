"""What the steps "poses" and "depth" keep of a scan, written and read back one after the other."""

from dataclasses import replace

import numpy as np
import pytest

from bev.camera import Camera
from bev.completion import needs_thinning
from bev.readers.images import Distortion, Undistorted
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints
from gpt4scene.scene import completing
from gpt4scene.scene.steps import Steps
from gpt4scene.scene.stored_scan import load_found, save_found

SIZE = 64, 48
GUESSED = Camera(np.array([[77.0, 0, 32], [0, 77, 24], [0, 0, 1]]), *SIZE, np.eye(4))
FOUND_K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
DEPTH_M = np.linspace(1, 3, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE[1], SIZE[0])


def as_read(tmp_path, count: int = 3) -> Scan:
    image = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    frames = tuple(Frame(10 * i, i / 3, GUESSED, lambda: image) for i in range(count))
    return Scan("room", tmp_path, "video", frames, has_poses=False, has_intrinsics=False, units="arbitrary")


def posed(scan: Scan) -> Scan:
    lens = Distortion(FOUND_K, (0.2, 0.0, 0.0, 0.0), *SIZE)
    frames = []
    for i, frame in enumerate(scan.frames[1:]):  # the first one has found no place
        world_from_camera = np.eye(4)
        world_from_camera[0, 3] = i
        camera = Camera(FOUND_K, *SIZE, world_from_camera)
        frames.append(replace(frame, camera=camera, read_color=Undistorted(frame.read_color, lens)))
    sparse = SparsePoints(np.array([[0.0, 0, 2], [1, 0, 2]]), np.array([[10, 0], [20, 1]]))
    warnings = ("one frame is left out",)
    return replace(scan, frames=tuple(frames), has_poses=True, has_intrinsics=True, sparse=sparse, warnings=warnings)


def with_depth(scan: Scan) -> Scan:
    return scan.with_frames(
        tuple(replace(frame, depth_camera=frame.camera, read_depth=lambda: DEPTH_M) for frame in scan.frames)
    )


def kept(tmp_path, name: str, found: Scan, scan: Scan) -> Scan:
    folder = tmp_path / name
    folder.mkdir()
    save_found(folder, found, depth=True)
    return load_found(folder, scan)


def test_cameras_points_and_depth_come_back(tmp_path):
    scan = as_read(tmp_path)
    found = with_depth(posed(scan)).scaled(2.0)
    back = kept(tmp_path, "depth", found, scan)
    assert [frame.index for frame in back.frames] == [10, 20]
    assert back.has_poses and back.has_intrinsics and back.has_depth and back.warnings == found.warnings
    assert np.allclose(back.world_from_source, np.diag([2, 2, 2, 1]))
    for mine, theirs in zip(back.frames, found.frames, strict=True):
        assert np.allclose(mine.camera.world_from_camera, theirs.camera.world_from_camera)
        assert np.allclose(mine.camera.K, FOUND_K)
        assert mine.read_depth is not None and mine.read_depth() == pytest.approx(2 * DEPTH_M, rel=1e-3)
    assert back.sparse is not None and np.allclose(back.sparse.seen_by(20), [[2, 0, 4]])


def test_a_lens_is_undone_once_however_many_steps_keep_it(tmp_path):
    scan = as_read(tmp_path)
    found = posed(scan)
    straight = found.frames[0].read_color()
    assert (straight != scan.frames[0].read_color()).any()
    after_poses = kept(tmp_path, "poses", found, scan)
    assert (after_poses.frames[0].read_color() == straight).all()
    after_depth = kept(tmp_path, "depth", with_depth(after_poses), after_poses)
    assert (after_depth.frames[0].read_color() == straight).all()


def test_another_source_of_depth_or_another_device_does_not_find_poses_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(completing, "posed", lambda scan, **_: made.append("poses") or posed(scan))
    monkeypatch.setattr(completing, "with_depth", lambda scan, **_: made.append("depth") or with_depth(scan))
    monkeypatch.setattr(completing, "choose_device", str)  # as on a machine that has it
    scan = as_read(tmp_path)

    def complete(**options):
        with Steps(tmp_path / "scene") as steps:
            return completing.completed(steps, scan, inputs={}, **options)

    first = complete()
    assert made == ["poses", "depth"] and first.has_depth
    complete(depth="transformers:apple/DepthPro-hf")
    complete(depth="da3:depth-anything/DA3METRIC-LARGE", device="cuda:1")
    assert made == ["poses", "depth", "depth", "depth"]
    complete(depth="da3:depth-anything/DA3-BASE")  # gives poses too: these are others
    assert made[4:] == ["poses", "depth"]


def test_a_long_posed_capture_is_thinned_before_its_depth_is_found_although_it_has_a_mesh(tmp_path):
    scan = replace(as_read(tmp_path, count=300), has_poses=True, surface_path=tmp_path / "mesh.ply")
    assert not needs_thinning(scan)
    assert needs_thinning(scan, fuse_depth=True) and needs_thinning(replace(scan, surface_path=None))
