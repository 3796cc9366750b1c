"""Filming a synthetic room: a scan whose frames render when they are read, with exact ids and poses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from bev.camera import Camera, pixel_centers
from bev.errors import require
from bev.progress import track
from bev.scan import Frame, Scan
from bev.surface import Surface
from bev.synthetic.room import Room
from bev.synthetic.sensor import photographed, sensed_depth
from bev.synthetic.walk import camera_walk

FRAME_RATE = 6.0
BASELINE_M = 0.025
KEPT_FRAMES = 100
"""about 210 MB of 640x480 frames."""


@dataclass(frozen=True, eq=False)
class Film:
    """A room seen by a walking camera."""

    scan: Scan
    """Posed frames in a tilted world, reader "synthetic"."""
    room: Room
    """In its own upright world."""
    world_from_room: np.ndarray
    """(4, 4) float64: brings the room into the scan's world."""
    read_ids: Callable[[int], np.ndarray]
    """What `instance_ids` calls."""

    def instance_ids(self, index: int) -> np.ndarray:
        """(H, W) int32: the object behind every pixel of frame `index`'s colour camera, -1 = none."""
        return self.read_ids(index)

    @property
    def surface(self) -> Surface:
        """The room's true surface in the scan's world."""
        return self.room.surface.moved(self.world_from_room)


def film(
    room: Room,
    *,
    frames: int = 60,
    width: int = 640,
    height: int = 480,
    fov_deg: float = 58.0,
    pitch_deg: tuple[float, float] = (20.0, 50.0),
    roll_deg: tuple[float, float] = (-5.0, 5.0),
    portrait: bool = False,
    upside_down: bool = False,
    noise: bool = True,
    registered: bool = True,
    world_from_room: np.ndarray | None = None,
    seed: int | None = None,
) -> Film:
    """Walk through a room with a camera and a depth sensor.

    Args:
        room: from `synthetic_room`.
        frames: how many.
        width: of the images, pixels, before `portrait` swaps the two.
        height: of the images, pixels.
        fov_deg: horizontal field of view of the unswapped image, degrees.
        pitch_deg: range of the camera's angle below the horizon, degrees.
        roll_deg: range of its roll, degrees.
        portrait: the camera is rolled by 90 degrees and its image is `height` x `width`.
        upside_down: the camera is rolled by 180 degrees.
        noise: depth noise and holes, exposure drift, vignetting and image noise; without it all is exact.
        registered: depth comes from the colour camera itself; else from a second one 2.5 cm beside it.
        world_from_room: (4, 4) rigid motion; by default an arbitrary tilted world that follows from the seed.
        seed: of the walk, the noise and the tilt; by default the room's.
    """
    seed = room.seed if seed is None else seed
    rng = np.random.default_rng([seed, 1])
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    size = (height, width) if portrait else (width, height)
    tilt = _tilted_world(rng)
    world_from_room = tilt if world_from_room is None else np.asarray(world_from_room, np.float64)
    poses = camera_walk(room, rng, frames=frames, pitch_deg=pitch_deg, roll_deg=roll_deg)
    poses = poses @ _rolled(90.0 * portrait + 180.0 * upside_down)
    cameras = [Camera(_intrinsics(focal, size), *size, pose) for pose in poses]
    depth_cameras = cameras
    if not registered:
        color_from_depth = np.eye(4)
        color_from_depth[0, 3] = BASELINE_M
        depth_K = _intrinsics(focal * 1.08, size)
        depth_cameras = [Camera(depth_K, *size, pose @ color_from_depth) for pose in poses]
    render = _Renderer(room, cameras, depth_cameras, noise=noise, seed=seed)
    made = tuple(
        Frame(
            index=index,
            timestamp_s=index / FRAME_RATE,
            camera=cameras[index].moved(world_from_room),
            read_color=lambda index=index: render.color(index),
            depth_camera=depth_cameras[index].moved(world_from_room),
            read_depth=lambda index=index: render.depth(index),
        )
        for index in range(frames)
    )
    name = f"room-{room.seed:03d}"
    return Film(Scan(name, Path(name), "synthetic", made), room, world_from_room, render.ids)


class _Renderer:
    """Renders a film's frames when they are asked for, and keeps them: every step of a pipeline reads them again."""

    def __init__(self, room: Room, cameras: list[Camera], depth_cameras: list[Camera], *, noise: bool, seed: int):
        self._cameras, self._depth_cameras = cameras, depth_cameras
        self._noise, self._seed = noise, seed
        self._shader = cache(lambda: _Shader(room))
        self._hits = lru_cache(maxsize=2)(lambda camera: self._shader().cast(camera))
        self._frame = lru_cache(maxsize=KEPT_FRAMES)(
            lambda index: (self._render_color(index), self._render_depth(index))
        )

    def color(self, index: int) -> np.ndarray:
        return self._frame(index)[0].copy()

    def depth(self, index: int) -> np.ndarray:
        return self._frame(index)[1].copy()

    def ids(self, index: int) -> np.ndarray:
        return self._shader().ids(self._hits(self._cameras[index]))

    def _render_color(self, index: int) -> np.ndarray:
        camera = self._cameras[index]
        image = self._shader().shade(camera, self._hits(camera))
        image = cv2.GaussianBlur(image, (0, 0), 0.55)  # a lens is not sharper than a pixel
        if self._noise:
            rng = np.random.default_rng([self._seed, 2, index])
            phase = float(np.random.default_rng([self._seed, 3]).random())
            image = photographed(image, time=index / len(self._cameras), phase=phase, rng=rng)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _render_depth(self, index: int) -> np.ndarray:
        hits = self._hits(self._depth_cameras[index])
        if not self._noise:
            return hits.depth
        rng = np.random.default_rng([self._seed, 4, index])
        cosine = hits.cosine.reshape(hits.depth.shape)
        return sensed_depth(hits.depth, cosine, self._shader().returns(hits), rng=rng)


@dataclass(frozen=True, eq=False)
class _Hits:
    """What the rays through a camera's pixels meet; all but depth have nonsense where depth is 0."""

    depth: np.ndarray
    """(H, W) float32 metres along z, 0 = none."""
    faces: np.ndarray
    """(H * W,) int64."""
    weights: np.ndarray
    """(H * W, 3) float32: of the face's corners."""
    cosine: np.ndarray
    """(H * W,) float32: how squarely the ray meets the face."""


class _Shader:
    """Casts rays at a room and colours what they hit."""

    def __init__(self, room: Room):
        o3d = require("open3d")
        self._room, surface = room, room.surface
        self._tensor = o3d.core.Tensor
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(self._tensor(surface.vertices), self._tensor(surface.faces.astype(np.uint32)))
        self._corner_values = np.column_stack([room.skin.texture_uv, room.skin.light])[surface.faces]
        normals, areas = surface.face_normals()
        self._normals = normals.astype(np.float32)
        # texture units per metre: pictures span their face whatever its size
        edges = np.diff(self._corner_values[:, [0, 1, 2], :2], axis=1)
        flat = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
        self._units_per_m = np.sqrt(flat / np.maximum(areas, 1e-12)).astype(np.float32)
        self.face_ids = room.face_ids

    def cast(self, camera: Camera) -> _Hits:
        """What `camera` sees; `SurfaceCaster` would do, but forgets where on the face a ray ended."""
        in_camera = _camera_rays(camera.K.tobytes(), camera.width, camera.height)
        rays = np.empty((len(in_camera), 6), np.float32)
        rays[:, :3] = camera.center
        rays[:, 3:] = in_camera @ camera.world_from_camera[:3, :3].T.astype(np.float32)
        answer = self._scene.cast_rays(self._tensor(rays))
        depth = answer["t_hit"].numpy()
        hit = np.isfinite(depth)
        faces = np.where(hit, answer["primitive_ids"].numpy(), 0).astype(np.int64)
        second, third = answer["primitive_uvs"].numpy().T
        weights = np.stack([1 - second - third, second, third], axis=1)
        cosine = np.abs(np.einsum("ij,ij->i", rays[:, 3:], self._normals[faces]))
        cosine /= np.sqrt(np.einsum("ij,ij->i", in_camera, in_camera))
        depth = np.where(hit, depth, 0).reshape(camera.height, camera.width)
        return _Hits(depth, faces, weights, cosine)

    def ids(self, hits: _Hits) -> np.ndarray:
        """(H, W) int32, -1 = none."""
        return np.where(hits.depth > 0, self.face_ids[hits.faces].reshape(hits.depth.shape), -1).astype(np.int32)

    def returns(self, hits: _Hits) -> np.ndarray:
        """(H, W) float32: share of a depth sensor's light that comes back."""
        skin = self._room.skin
        return skin.atlas.returns[skin.materials[hits.faces]].reshape(hits.depth.shape)

    def shade(self, camera: Camera, hits: _Hits) -> np.ndarray:
        """(H, W, 3) float32, 0..255."""
        values = np.einsum("nc,ncv->nv", hits.weights, self._corner_values[hits.faces])
        # a pixel's footprint is long and narrow on a slant; the mean of the two is a fair compromise
        footprint = hits.depth.ravel() / (camera.K[0, 0] * np.sqrt(np.maximum(hits.cosine, 0.1)))
        skin = self._room.skin
        colors = skin.atlas.sample(skin.materials[hits.faces], values[:, :2], footprint * self._units_per_m[hits.faces])
        colors *= np.where(hits.depth.ravel() > 0, values[:, 2], 0)[:, None]
        return colors.reshape(*hits.depth.shape, 3)


@lru_cache(maxsize=4)
def _camera_rays(K: bytes, width: int, height: int) -> np.ndarray:
    """(height * width, 3) float32: directions in the camera's own frame, one metre of depth long."""
    camera = Camera(np.frombuffer(K).reshape(3, 3), width, height, np.eye(4))
    return camera.rays(pixel_centers(width, height))[1].astype(np.float32)


def write_seven_scenes(film: Film, folder: Path, *, progress: bool = False) -> Path:
    """Write a film in the 7-Scenes layout: colour, depth (millimetres), poses of the depth camera, calibration.

    Calibrations of that layout count integer pixel centres, so half a pixel is taken off the principal points.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = film.scan.frames[0]
    assert first.depth_camera is not None
    for name, camera in (("camera-intrinsics", first.depth_camera), ("camera-intrinsics-color", first.camera)):
        K = camera.K.copy()
        K[:2, 2] -= 0.5
        np.savetxt(folder / f"{name}.txt", K, fmt="%.9g")
    np.savetxt(folder / "color_from_depth.txt", first.color_from_depth, fmt="%.9f")
    for frame in track(film.scan.frames, "film the room", show=progress):
        assert frame.depth_camera is not None and frame.read_depth is not None
        stem = folder / f"frame-{frame.index:06d}"
        color = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2BGR)
        _write_image(Path(f"{stem}.color.jpg"), color, [cv2.IMWRITE_JPEG_QUALITY, 95])
        millimetres = np.rint(frame.read_depth() * 1000).astype(np.uint16)
        _write_image(Path(f"{stem}.depth.png"), millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        np.savetxt(f"{stem}.pose.txt", frame.depth_camera.world_from_camera, fmt="%.9f")
    return folder


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    """Unlike `cv2.imwrite`, which says nothing of a full disk."""
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())


def _intrinsics(focal: float, size: tuple[int, int]) -> np.ndarray:
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]])


def _rolled(degrees: float) -> np.ndarray:
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def _tilted_world(rng: np.random.Generator) -> np.ndarray:
    """(4, 4): a world like that of a scan which began anywhere, its up 20 to 70 degrees off any axis it claims."""
    axis = np.append(rng.standard_normal(2), 0.0)
    axis /= np.linalg.norm(axis)
    tilt, turn = np.radians(rng.uniform(20, 70)), rng.uniform(-np.pi, np.pi)
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(axis * tilt)[0] @ cv2.Rodrigues(np.array([0, 0, turn]))[0]
    matrix[:3, 3] = rng.uniform(-2, 2, 3)
    return matrix
