"""Networks that know the answer: a filmed room whose images are flat colours that name the frame."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.learned import Prediction
from bev.scan import Frame, Scan
from bev.sparse import SparsePoints
from bev.surface import Surface, SurfaceCaster
from bev.synthetic import film, synthetic_room

SIZE = (160, 118)
"""No multiple of 14, and rounded unevenly to one."""
GRID = (98, 70)
STRIDE = 11
"""Every how manieth pixel is compared."""


@dataclass(frozen=True, eq=False)
class FilmedRoom:
    """A film without pictures, its true surface, and depth of it at any size."""

    scan: Scan
    """Posed, with intrinsics and without depth, in metres; the frame's index can be read off its image."""
    surface: Surface
    caster: SurfaceCaster

    def true_depth(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """(h, w) float32 metres over the whole image of a frame."""
        return self.caster.view(self.camera(index).resized(*size)).depth

    def camera(self, index: int) -> Camera:
        return self.scan.frames[index].camera


@cache
def filmed_room(frames: int = 20) -> FilmedRoom:
    made = film(synthetic_room(3), frames=frames, width=SIZE[0], height=SIZE[1], noise=False)
    # an off-centre principal point, so that forgetting it shows
    K = made.scan.frames[0].camera.K + [[0, 0, 5.5], [0, 0, -4.0], [0, 0, 0]]
    numbered = tuple(
        Frame(frame.index, frame.timestamp_s, replace(frame.camera, K=K), lambda index=frame.index: flat(index))
        for frame in made.scan.frames
    )
    return FilmedRoom(made.scan.with_frames(numbered), made.surface, SurfaceCaster(made.surface))


def flat(index: int) -> np.ndarray:
    """An image that says which frame it is of, in colours that differ so that swapped channels show."""
    return np.broadcast_to(np.array([200, 100, 2 * index + 10], np.uint8), (SIZE[1], SIZE[0], 3))


def index_of(rgb: np.ndarray) -> int:
    """The frame of which (3,) float colours, 0..255, come."""
    assert abs(rgb[0] - 200) < 0.5 and abs(rgb[1] - 100) < 0.5, f"colours came out as {rgb}"
    return round((float(rgb[2]) - 10) / 2)


def with_sparse(room: FilmedRoom, *, per_frame: int = 60, wrong: float = 0.0, seed: int = 0) -> Scan:
    """The scan with points of the true surface, of which a share lies anywhere."""
    rng = np.random.default_rng(seed)
    points, seen = [], []
    for frame in room.scan.frames:
        uv = rng.uniform([0, 0], SIZE, (per_frame, 2))
        depth = room.caster.hits(frame.camera, uv)[0].astype(np.float64)
        depth[: round(wrong * per_frame)] *= rng.uniform(0.3, 3, round(wrong * per_frame))
        there = depth > 0
        points.append(frame.camera.unproject(uv[there], depth[there]))
        seen += [frame.index] * int(there.sum())
    rows = np.column_stack([seen, np.arange(len(seen))])
    return replace(room.scan, sparse=SparsePoints(np.concatenate(points), rows))


class Teacher:
    """A network by our own protocol that returns exact depth, off by what the test wants to see mended."""

    name = "teacher"
    licence = "none needed"

    def __init__(
        self, room: FilmedRoom, kind="scaled", *, gives_poses=False, factors=None, frames_at_once=6, loses_way=False
    ):
        self.room, self.kind, self.gives_poses = room, kind, gives_poses
        self.factors = np.ones(len(room.scan.frames)) if factors is None else factors
        self.frames_at_once = frames_at_once
        self.calls: list[list[int]] = []
        self._loses_way = loses_way

    def predict(self, images, K, world_from_camera) -> Prediction:
        indices = [index_of(image[0, 0].astype(float)) for image in images]
        number = len(self.calls)
        self.calls.append(indices)
        depth = np.stack([self.room.true_depth(i, GRID) * self.factors[i] for i in indices])
        confidence = np.where(depth > 0, 1.0, 0.0).astype(np.float32)
        if self.kind == "inverse":
            with np.errstate(divide="ignore"):
                depth = np.where(depth > 0, (1 / depth - 0.05) / 0.3, 0)
        if not self.gives_poses:
            return Prediction(depth, confidence, self.kind)
        # every pass has a world and, unless it is metric, a size of its own
        scale = 1.0 if self.kind == "metre" else 1.5 / (number + 1)
        poses = np.stack([self.room.camera(i).world_from_camera for i in indices])
        poses = moved_world(number) @ poses
        poses[:, :3, 3] *= scale
        if self._loses_way:
            poses[0] = moved_world(77) @ poses[0]
        grid_K = np.stack([self.room.camera(i).resized(*GRID).K for i in indices])
        return Prediction((depth * scale).astype(np.float32), confidence, self.kind, poses, grid_K)


def moved_world(seed: int) -> np.ndarray:
    """(4, 4): some rigid motion."""
    rng = np.random.default_rng([seed, 5])
    matrix = np.eye(4)
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    matrix[:3, :3] = q * np.sign(np.linalg.det(q))
    matrix[:3, 3] = rng.uniform(-3, 3, 3)
    return matrix


def as_first_camera_sees_it(room: FilmedRoom) -> np.ndarray:
    """(4, 4): brings the film's world into that of its first camera."""
    return invert_rigid(room.camera(0).world_from_camera)


def off_surface(scan: Scan, surface: Surface) -> np.ndarray:
    """Distances in the scan's units of unprojected depth, of all frames in one array, to the true surface."""
    import bev.errors
    from bev.camera import pixel_centers

    o3d = bev.errors.require("open3d")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor(surface.vertices.astype(np.float32)), o3d.core.Tensor(surface.faces.astype(np.uint32))
    )
    found = []
    for frame in scan.frames:
        assert frame.read_depth and frame.depth_camera
        depth = frame.read_depth()
        assert depth.dtype == np.float32
        assert depth.shape == (frame.depth_camera.height, frame.depth_camera.width)
        there = depth.ravel() > 0
        uv = pixel_centers(frame.depth_camera.width, frame.depth_camera.height)[there]
        points = frame.depth_camera.unproject(uv[::STRIDE], depth.ravel()[there][::STRIDE]).astype(np.float32)
        found.append(scene.compute_distance(o3d.core.Tensor(points)).numpy())
    return np.concatenate(found)


def covered(scan: Scan) -> float:
    """Share of pixels with depth."""
    return float(np.mean([(frame.read_depth() > 0).mean() for frame in scan.frames if frame.read_depth]))
