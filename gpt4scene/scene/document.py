"""scene.json: what it says of a scene, written readably and read with suspicion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bev.camera import Camera, OrthoCamera
from bev.errors import UserError
from gpt4scene.scene.atomic import SCHEMA_NAME
from gpt4scene.scene.contents import (
    BevView,
    SceneContents,
    SceneFrame,
    SceneInstance,
    SceneRun,
    SceneSource,
    Trajectory,
)
from gpt4scene.scene.piece import MEND, Piece
from markers.instance import Box, Marker

SCHEMA = f"{SCHEMA_NAME}@1"


class Files(NamedTuple):
    """How `read_document` gets at what scene.json only names."""

    image: Callable[[str, tuple[int, int]], Callable[[], np.ndarray]]
    """From a path in scene.json and a (width, height) to what decodes it; raises UserError when it is missing."""
    marked: Callable[[str], object]
    """Raises UserError when that path is missing."""
    ids: Callable[[str, tuple[int, int]], Callable[[], np.ndarray]]
    """From "bev" or a six-digit frame index and a (width, height) to what decodes its map of objects, likewise."""
    vertex_ids: np.ndarray
    surface: Callable[[], Any]


def frame_name(index: int) -> str:
    """What a frame's files are called, without ending."""
    return f"{index:06d}"


def document_text(scene: SceneContents) -> str:
    """scene.json of a scene; a list's items stand on lines of their own, floats have six decimals.

    Raises:
        ValueError: a number is NaN or infinite; the message names its key.
    """
    lines = []
    for key, value in _document(scene).items():
        plain = _plain(value, key)
        if isinstance(plain, list) and plain and isinstance(plain[0], dict):
            lines.append(f'"{key}": [\n' + ",\n".join(f"  {_text(item)}" for item in plain) + "\n ]")
        elif isinstance(plain, dict):
            lines.append(f'"{key}": {{\n' + ",\n".join(f'  "{k}": {_text(v)}' for k, v in plain.items()) + "\n }")
        else:
            lines.append(f'"{key}": {_text(plain)}')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def read_document(text: str, path: Path, files: Files) -> SceneContents:
    """The scene that a scene.json describes.

    Args:
        text: of the file.
        path: of the file, for messages.
        files: where to get pixels, objects and surface.

    Raises:
        UserError: not JSON, another schema, a key missing or of the wrong kind or shape, or contradicting another.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); {MEND}") from error
    top = Piece(value, "", path)
    schema = top["schema"].text()
    if schema != SCHEMA:
        raise UserError(f"{path}: schema is {schema!r}, this version reads {SCHEMA!r}; {MEND}")
    cut_height = top["cut_height_m"]
    try:
        return SceneContents(
            name=top["name"].text(),
            source=_read_source(top["source"]),
            units=top["units"].text(),
            world_from_source=top["world_from_source"].array(4, 4),
            cut_height_m=None if cut_height.value is None else cut_height.number(),
            bev=_read_bev(top["bev"], files),
            frames=tuple(_read_frame(piece, files) for piece in top["frames"].items()),
            trajectory=_read_trajectory(top["trajectory"]),
            instances=tuple(_read_instance(piece) for piece in top["instances"].items()),
            vertex_ids=files.vertex_ids,
            surface_data=files.surface,
            run=_read_run(top["run"]),
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}; {MEND}") from error


def _document(scene: SceneContents) -> dict[str, Any]:
    camera = scene.bev.camera
    source, run = scene.source, scene.run
    return {
        "schema": SCHEMA,
        "name": scene.name,
        "source": {
            "path": source.path,
            "reader": source.reader,
            "frames": source.frames,
            "fingerprint": source.fingerprint,
        },
        "units": scene.units,
        "world_from_source": scene.world_from_source,
        "cut_height_m": scene.cut_height_m,
        "bev": {
            "image": "bev.png",
            "marked": "bev_marked.png",
            "width": camera.width,
            "height": camera.height,
            "metres_per_pixel": camera.metres_per_pixel,
            "x_min": camera.x_min,
            "y_max": camera.y_max,
            "world_from_camera": camera.world_from_camera,
            "markers": [_marker(marker) for marker in scene.bev.markers],
        },
        "frames": [_frame(frame) for frame in scene.frames],
        "trajectory": {
            "indices": scene.trajectory.indices,
            "timestamps_s": scene.trajectory.timestamps_s,
            "world_from_camera": scene.trajectory.world_from_camera,
        },
        "instances": [_instance(instance) for instance in scene.instances],
        "run": {
            "version": run.version,
            "arguments": dict(run.arguments),
            "seconds": dict(run.seconds),
            "notes": list(run.notes),
        },
    }


def _frame(frame: SceneFrame) -> dict[str, Any]:
    name = frame_name(frame.index)
    return {
        "index": frame.index,
        "timestamp_s": frame.timestamp_s,
        "image": f"frames/{name}.jpg",
        "marked": f"marked/{name}.jpg",
        "width": frame.camera.width,
        "height": frame.camera.height,
        "K": frame.camera.K,
        "world_from_camera": frame.camera.world_from_camera,
        "markers": [_marker(marker) for marker in frame.markers],
    }


def _marker(marker: Marker) -> dict[str, Any]:
    return {"id": marker.id, "uv": marker.uv, "label_box": marker.label_box, "visible_px": marker.visible_px}


def _instance(instance: SceneInstance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "label": instance.label,
        "label_share": instance.label_share,
        "score": instance.score,
        "source": instance.source,
        "center": instance.box.center,
        "size": instance.box.size,
        "yaw": instance.box.yaw,
        "frames": instance.frames,
        "points": instance.points,
    }


def _plain(value: Any, key: str) -> Any:
    """The value as json knows it; metres per pixel keeps more decimals, since a thousand pixels multiply its error."""
    if isinstance(value, dict):
        return {str(name): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item, f"{key}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            raise ValueError(f"{key} is {value}")
        return round(float(value), 12 if key == "bev.metres_per_pixel" else 6) + 0.0  # + 0.0 turns -0.0 into 0.0
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return value.as_posix()
    raise ValueError(f"{key} is a {type(value).__name__}, which scene.json cannot hold")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _read_source(piece: Piece) -> SceneSource:
    return SceneSource(
        piece["path"].text(), piece["reader"].text(), piece["frames"].integer(), piece["fingerprint"].text()
    )


def _read_bev(piece: Piece, files: Files) -> BevView:
    per_pixel = piece["metres_per_pixel"].number()
    if per_pixel <= 0:
        raise piece["metres_per_pixel"].fault("be above 0")
    matrix = piece["world_from_camera"].array(4, 4)
    camera = OrthoCamera(
        x_min=piece["x_min"].number(),
        y_max=piece["y_max"].number(),
        z=float(matrix[2, 3]),
        metres_per_pixel_xy=(per_pixel, per_pixel),
        width=piece["width"].size(),
        height=piece["height"].size(),
    )
    if np.abs(camera.world_from_camera - matrix).max() > 1e-5:
        raise piece["world_from_camera"].fault("look straight down from x_min, y_max")
    files.marked(piece["marked"].file())
    size = camera.width, camera.height
    image = files.image(piece["image"].file(), size)
    return BevView(camera, image, files.ids("bev", size), _read_markers(piece["markers"]))


def _read_frame(piece: Piece, files: Files) -> SceneFrame:
    camera = Camera(
        piece["K"].array(3, 3), piece["width"].size(), piece["height"].size(), piece["world_from_camera"].array(4, 4)
    )
    index, size = piece["index"].integer(), (camera.width, camera.height)
    files.marked(piece["marked"].file())
    return SceneFrame(
        index=index,
        timestamp_s=piece["timestamp_s"].number(),
        camera=camera,
        pixels=files.image(piece["image"].file(), size),
        object_pixels=files.ids(frame_name(index), size),
        markers=_read_markers(piece["markers"]),
    )


def _read_markers(piece: Piece) -> tuple[Marker, ...]:
    markers = []
    for item in piece.items():
        u, v = item["uv"].array(2).tolist()
        x0, y0, x1, y1 = item["label_box"].array(4).tolist()
        markers.append(Marker(item["id"].integer(), (u, v), (x0, y0, x1, y1), item["visible_px"].integer()))
    return tuple(markers)


def _read_trajectory(piece: Piece) -> Trajectory:
    indices = piece["indices"].integers()
    n = len(indices)
    poses = piece["world_from_camera"].array(n, 4, 4)
    return Trajectory(np.array(indices, np.int64), piece["timestamps_s"].array(n), poses)


def _read_instance(piece: Piece) -> SceneInstance:
    size = piece["size"].array(3)
    if (size < 0).any():
        raise piece["size"].fault("be 0 or more")
    return SceneInstance(
        id=piece["id"].integer(),
        label=piece["label"].text(),
        label_share=piece["label_share"].number(),
        score=piece["score"].number(),
        source=piece["source"].text(),
        box=Box(piece["center"].array(3), size, piece["yaw"].number()),
        frames=tuple(piece["frames"].integers()),
        points=piece["points"].integer(),
    )


def _read_run(piece: Piece) -> SceneRun:
    seconds = piece["seconds"]
    return SceneRun(
        version=piece["version"].text(),
        arguments=dict(piece["arguments"].mapping()),
        seconds={name: seconds[name].number() for name in seconds.mapping()},
        # scenes that were written before there were notes stay readable
        notes=tuple(note.text() for note in piece["notes"].items()) if "notes" in piece.mapping() else (),
    )
