"""A scene in the rerun viewer: the surface, the boxes with their numbers, the cameras with what they saw."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bev.errors import UserError, require
from gpt4scene.scene.atomic import write_bytes, write_errors
from gpt4scene.scene.contents import SceneContents, SceneFrame, SceneInstance
from gpt4scene.scene.document import frame_name
from gpt4scene.scene.views import marked_image
from markers.draw import id_color

_JPEG_QUALITY = 90
_CAMERA_SHARE = 0.05  # of the room's longer side: how large a camera's picture stands in it


def view_scene(scene: SceneContents, *, save: Path | None = None) -> None:
    """Show a scene in rerun, or save it for later.

    Args:
        scene: what to show.
        save: a .rrd file to write; None opens the viewer.

    Raises:
        UserError: rerun is not installed, or the file cannot be written.
    """
    rr = require("rerun", "view")
    recording = rr.RecordingStream("gpt4scene", recording_id=f"gpt4scene-{scene.name}")
    if save is None:
        # the viewer's program lies beside Python's, which is not in PATH unless the environment is activated
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        try:
            recording.spawn()
        except RuntimeError as error:
            raise UserError(f"the rerun viewer does not start: {error}; --save FILE.rrd writes a recording") from error
        _log_scene(rr, recording, scene)
        recording.flush()
        return
    if not save.parent.is_dir():
        raise UserError(f"{save}: the folder {save.parent} does not exist; make it, or give another place")
    stream = recording.binary_stream()  # rerun's own writing to a file only logs that the disk is full
    _log_scene(rr, recording, scene)
    data = stream.read()
    if not data:
        raise RuntimeError("rerun gave no data for the recording")
    with write_errors(save.parent):
        write_bytes(save, data)


def _log_scene(rr: Any, recording: Any, scene: SceneContents) -> None:
    recording.send_blueprint(_blueprint(scene))
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    _log_surface(rr, recording, scene)
    if scene.instances:
        recording.log("world/objects", _boxes(rr, scene.instances), static=True)
    path = scene.trajectory.world_from_camera[:, :3, 3]
    if len(path) > 1:
        recording.log("world/trajectory", rr.LineStrips3D([path], colors=[(255, 160, 40)]), static=True)
    camera = scene.bev.camera
    room = max(camera.width, camera.height) * camera.metres_per_pixel
    for frame in scene.frames:
        _log_frame(rr, recording, frame, image_plane_distance=room * _CAMERA_SHARE)
    recording.log("bev", _encoded(rr, marked_image(scene.bev)), static=True)


def _log_surface(rr: Any, recording: Any, scene: SceneContents) -> None:
    surface = scene.surface
    if surface.is_mesh:
        shape = rr.Mesh3D(
            vertex_positions=surface.vertices,
            triangle_indices=surface.faces,
            vertex_normals=surface.normals,
            vertex_colors=surface.colors,
        )
    else:
        shape = rr.Points3D(surface.vertices, colors=surface.colors)
    recording.log("world/surface", shape, static=True)


def _boxes(rr: Any, instances: Sequence[SceneInstance]) -> Any:
    return rr.Boxes3D(
        centers=[instance.box.center for instance in instances],
        half_sizes=[instance.box.size / 2 for instance in instances],
        # a turn about z as x, y, z, w
        quaternions=[(0, 0, np.sin(i.box.yaw / 2), np.cos(i.box.yaw / 2)) for i in instances],
        colors=[id_color(instance.id) for instance in instances],
        labels=[f"{instance.id} {instance.label}" for instance in instances],
        show_labels=True,
    )


def _log_frame(rr: Any, recording: Any, frame: SceneFrame, *, image_plane_distance: float) -> None:
    entity = f"world/cameras/{frame_name(frame.index)}"
    camera = frame.camera
    pose = camera.world_from_camera
    recording.log(entity, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]), static=True)
    pinhole = rr.Pinhole(
        image_from_camera=camera.K,
        resolution=[camera.width, camera.height],
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=image_plane_distance,
    )
    recording.log(entity, pinhole, static=True)
    recording.log(entity, _encoded(rr, marked_image(frame)), static=True)


def _encoded(rr: Any, image: np.ndarray) -> Any:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg")


def _blueprint(scene: SceneContents) -> Any:
    """The room on the left, the view from above and the first frames on the right."""
    rrb = require("rerun.blueprint", "view")
    pictures = [rrb.Spatial2DView(origin="bev", name="From above")]
    for frame in scene.frames[:3]:
        name = frame_name(frame.index)
        pictures.append(rrb.Spatial2DView(origin=f"world/cameras/{name}", name=f"Frame {name}"))
    room = rrb.Spatial3DView(origin="world", name="Room")
    return rrb.Blueprint(rrb.Horizontal(room, rrb.Vertical(*pictures), column_shares=[2, 1]))
