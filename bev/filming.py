"""Filming a synthetic room: a scan whose frames render when they are read, with exact ids and poses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from bev.camera import Camera, pixel_centers
from bev.scan import Frame, Scan
from bev.sensor import photographed, sensed_depth
from bev.surface import SurfaceCaster
from bev.synthetic import Room
from bev.walk import camera_walk

FRAME_RATE = 6.0
BASELINE_M = 0.025


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

    def instance_ids(self, index: int) -> np.ndarray:
        """(H, W) int32: the object behind every pixel of frame `index`'s colour camera, -1 = none."""
        return self.read_ids(index)

    @property
    def surface(self):
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
    """Casts each camera's rays once and shades what they hit; the last few views are kept."""

    def __init__(self, room: Room, cameras: list[Camera], depth_cameras: list[Camera], *, noise: bool, seed: int):
        self._room, self._cameras, self._depth_cameras = room, cameras, depth_cameras
        self._noise, self._seed = noise, seed
        self._view = lru_cache(maxsize=2)(self._cast)
        self._shader = lru_cache(maxsize=1)(lambda: _Shader(room))

    def color(self, index: int) -> np.ndarray:
        camera = self._cameras[index]
        depth, faces = self._view(index, False)
        image = self._shader().shade(camera, depth, faces)
        image = cv2.GaussianBlur(image, (0, 0), 0.55)  # a lens is not sharper than a pixel
        if self._noise:
            rng = np.random.default_rng([self._seed, 2, index])
            phase = float(np.random.default_rng([self._seed, 3]).random())
            image = photographed(image, time=index / len(self._cameras), phase=phase, rng=rng)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def depth(self, index: int) -> np.ndarray:
        camera = self._depth_cameras[index]
        depth, faces = self._view(index, camera is not self._cameras[index])
        if not self._noise:
            return depth.copy()
        shader = self._shader()
        rng = np.random.default_rng([self._seed, 4, index])
        return sensed_depth(depth, shader.cosine(camera, faces), shader.returns(faces), rng=rng)

    def ids(self, index: int) -> np.ndarray:
        _, faces = self._view(index, False)
        return np.where(faces >= 0, self._shader().face_ids[faces], -1).astype(np.int32)

    def _cast(self, index: int, of_depth: bool) -> tuple[np.ndarray, np.ndarray]:
        camera = (self._depth_cameras if of_depth else self._cameras)[index]
        view = self._shader().caster.view(camera)
        return view.depth, view.face_ids


class _Shader:
    """What a face looks like, as functions that are linear in the point that is hit."""

    def __init__(self, room: Room):
        surface, skin = room.surface, room.skin
        self.caster, self.face_ids, self._skin = SurfaceCaster(surface), room.face_ids, skin
        self._materials = skin.materials
        values = np.column_stack([skin.texture_uv, skin.light]).astype(np.float64)
        a, b, c = (surface.vertices[surface.faces[:, i]].astype(np.float64) for i in range(3))
        va, vb, vc = (values[surface.faces[:, i]] for i in range(3))
        normals, areas = surface.face_normals()
        # the gradient of a corner's weight lies in the face, across the opposite edge
        double = np.maximum(2 * areas, 1e-12)[:, None]
        of_b, of_c = np.cross(normals, a - c) / double, np.cross(normals, b - a) / double
        slopes = of_b[:, None] * (vb - va)[..., None] + of_c[:, None] * (vc - va)[..., None]
        offsets = va - (slopes * a[:, None]).sum(axis=2)
        self._linear = np.concatenate([slopes, offsets[..., None]], axis=2).astype(np.float32)
        self._scale = np.linalg.norm(slopes[:, :2], axis=2).mean(axis=1).astype(np.float32)
        self._normals = normals.astype(np.float32)

    def cosine(self, camera: Camera, faces: np.ndarray) -> np.ndarray:
        """(H, W) float32: how squarely each pixel meets its face."""
        rays = camera.rays(pixel_centers(camera.width, camera.height))[1].astype(np.float32)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        return np.abs(np.einsum("ij,ij->i", rays, self._normals[faces.ravel()])).reshape(faces.shape)

    def returns(self, faces: np.ndarray) -> np.ndarray:
        """(H, W) float32: share of a depth sensor's light that comes back."""
        return np.where(faces >= 0, self._skin.atlas.returns[self._materials[faces]], 0).astype(np.float32)

    def shade(self, camera: Camera, depth: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32, 0..255."""
        origins, rays = camera.rays(pixel_centers(camera.width, camera.height))
        z, hit = depth.ravel(), faces.ravel()
        points = (origins + rays * z[:, None]).astype(np.float32)
        linear = self._linear[hit]
        values = np.einsum("nij,nj->ni", linear[:, :, :3], points) + linear[:, :, 3]
        slant = np.sqrt(np.maximum(self.cosine(camera, faces).ravel(), 0.1))
        footprint = z / camera.K[0, 0] / slant * self._scale[hit]
        colors = self._skin.atlas.sample(self._materials[hit], values[:, :2], footprint)
        colors *= np.clip(values[:, 2:], 0, 1.1)
        colors[hit < 0] = 0
        return colors.reshape(*depth.shape, 3)


def write_seven_scenes(film: Film, folder: Path) -> Path:
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
    for frame in film.scan.frames:
        assert frame.depth_camera is not None and frame.read_depth is not None
        stem = folder / f"frame-{frame.index:06d}"
        color = cv2.cvtColor(frame.read_color(), cv2.COLOR_RGB2BGR)
        cv2.imwrite(f"{stem}.color.jpg", color, [cv2.IMWRITE_JPEG_QUALITY, 95])
        millimetres = np.rint(frame.read_depth() * 1000).astype(np.uint16)
        cv2.imwrite(f"{stem}.depth.png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        np.savetxt(f"{stem}.pose.txt", frame.depth_camera.world_from_camera, fmt="%.9f")
    return folder


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
