"""What the steps of `prepare` leave under `.cache/`, written and read back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from bev.camera import OrthoCamera, scale_of, without_scale
from bev.render import Bev, caster_from_above
from bev.scan import Frame, Scan
from bev.surface import Surface
from markers.instance import Box, Instance

_SURFACE_ARRAYS = ("vertices", "faces", "colors", "normals", "rows", "row_count")


def save_room(folder: Path, scan: Scan, surface: Surface) -> None:
    """Keep a reconstructed room: its surface, and the cameras of the frames that belong to it."""
    names = ("vertices", "faces", "colors", "normals") if surface.rows is None else _SURFACE_ARRAYS
    np.savez(folder / "surface.npz", allow_pickle=False, **{name: getattr(surface, name) for name in names})
    np.savez(
        folder / "cameras.npz",
        indices=np.array([frame.index for frame in scan.frames]),
        color=np.array([frame.camera.world_from_camera for frame in scan.frames]),
        depth=np.array([_depth_pose(frame) for frame in scan.frames]),
        world_from_source=scan.world_from_source,
        units=scan.units,
    )


def load_room(folder: Path, scan: Scan) -> tuple[Scan, Surface]:
    """The room that `save_room` kept of `scan`, as it was read again."""
    with np.load(folder / "surface.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    if "row_count" in stored:
        stored["row_count"] = int(stored["row_count"])
    surface = Surface(**stored)
    with np.load(folder / "cameras.npz") as cameras:
        by_index = {frame.index: frame for frame in scan.frames}
        frames = [
            _posed(by_index[int(index)], color, depth)
            for index, color, depth in zip(cameras["indices"], cameras["color"], cameras["depth"], strict=True)
        ]
        world_from_source = cameras["world_from_source"]
        # the capture may have been scaled already when it was posed
        world_from_read = world_from_source @ np.linalg.inv(scan.world_from_source)
        scaled = scan.scaled(scale_of(world_from_read), units="metre" if cameras["units"] == "metre" else "arbitrary")
        moved = scaled.moved(without_scale(world_from_read))
    return moved.with_frames(tuple(frames)), surface


def save_top(folder: Path, top: Bev) -> None:
    """Keep a bird's-eye view."""
    camera = top.camera
    numbers = [camera.x_min, camera.y_max, camera.z, *camera.metres_per_pixel_xy, camera.width, camera.height]
    np.savez(
        folder / "bev.npz",
        camera=np.array(numbers, np.float64),
        image=top.image,
        vertex_ids=top.vertex_ids,
        color_frames=top.color_frames,
    )


def load_top(folder: Path, surface: Surface, cut_height_m: float | None) -> Bev:
    """The bird's-eye view that `save_top` kept of a surface."""
    with np.load(folder / "bev.npz") as arrays:
        x_min, y_max, z, across, down, width, height = arrays["camera"].tolist()
        camera = OrthoCamera(x_min, y_max, z, (across, down), int(width), int(height))
        image, vertex_ids, color_frames = arrays["image"], arrays["vertex_ids"], arrays["color_frames"]
    return Bev(camera, image, vertex_ids, color_frames, cut_height_m, caster_from_above(surface, cut_height_m))


def save_instances(folder: Path, instances: list[Instance]) -> None:
    """Keep instances."""
    np.savez(
        folder / "vertices.npz", allow_pickle=False, **{str(instance.id): instance.vertices for instance in instances}
    )
    rows = [
        {
            "id": instance.id,
            "label": instance.label,
            "label_share": instance.label_share,
            "score": instance.score,
            "source": instance.source,
            "frames": list(instance.frames),
            "center": np.asarray(instance.box.center).tolist(),
            "size": np.asarray(instance.box.size).tolist(),
            "yaw": float(instance.box.yaw),
        }
        for instance in instances
    ]
    (folder / "instances.json").write_text(json.dumps(rows), encoding="utf-8")


def load_instances(folder: Path) -> list[Instance]:
    """The instances that `save_instances` kept."""
    rows = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    with np.load(folder / "vertices.npz") as vertices:
        return [
            Instance(
                id=row["id"],
                label=row["label"],
                vertices=vertices[str(row["id"])],
                box=Box(np.array(row["center"]), np.array(row["size"]), row["yaw"]),
                source=row["source"],
                label_share=row["label_share"],
                score=row["score"],
                frames=tuple(row["frames"]),
            )
            for row in rows
        ]


def _depth_pose(frame: Frame) -> np.ndarray:
    camera = frame.depth_camera or frame.camera
    return camera.world_from_camera


def _posed(frame: Frame, color: np.ndarray, depth: np.ndarray) -> Frame:
    depth_camera = frame.depth_camera and replace(frame.depth_camera, world_from_camera=depth)
    return replace(frame, camera=replace(frame.camera, world_from_camera=color), depth_camera=depth_camera)
