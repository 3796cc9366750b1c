"""A small room of coloured boxes as a scene in memory, for the tests of what is made of scenes."""

import numpy as np

from bev.camera import Camera, OrthoCamera
from bev.render import BACKGROUND
from bev.surface import Surface, SurfaceCaster
from gpt4scene.scene.contents import BevView, SceneFrame, SceneInstance, SceneRun, SceneSource, Trajectory
from gpt4scene.scene.scene import Scene
from markers.instance import Box, Instance, fit_box, vertex_instance_ids
from markers.placement import place_markers
from markers.visibility import instance_map

FLOOR_RGB = (150, 140, 130)
# centre, size, colour: ids 1, 2, ... in this order; nothing is symmetric, so a mirrored picture shows
BOXES = (
    ((1.0, 0.8, 0.4), (0.9, 0.6, 0.8), (200, 60, 60)),
    ((3.0, 0.7, 0.25), (0.5, 0.5, 0.5), (60, 180, 60)),
    ((2.9, 2.2, 0.5), (0.8, 0.7, 1.0), (60, 80, 200)),
    ((0.6, 2.3, 0.2), (0.3, 0.4, 0.4), (220, 200, 60)),
    ((1.0, 0.8, 0.86), (0.12, 0.1, 0.12), (240, 240, 250)),
)
LABELS = ("table", "stool", "Schränkchen <b>", "box", "cup")


def box_room() -> tuple[Surface, list[Instance]]:
    """A floor of 4 x 3 m with boxes on it."""
    floor = np.array([[0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    vertices, faces, colors, instances = [floor], [[[0, 1, 2], [0, 2, 3]]], [np.tile(FLOOR_RGB, (4, 1))], []
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    for number, (center, size, color) in enumerate(BOXES, start=1):
        start = sum(map(len, vertices))
        points = Box(np.array(center), np.array(size), 0.0).corners()
        vertices.append(points)
        faces.append(start + np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
        colors.append(np.tile(color, (8, 1)))
        rows = np.arange(start, start + 8, dtype=np.int32)
        instances.append(Instance(number, LABELS[number - 1], rows, fit_box(points), "proposals", frames=(120, 130)))
    points = np.concatenate(vertices)
    surface = Surface(points, np.concatenate(faces), np.concatenate(colors), np.tile([0.0, 0.0, 1.0], (len(points), 1)))
    return surface, instances


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float], size: tuple[int, int]) -> Camera:
    """A camera at `eye` that looks at `target`, upright; `size` is width, height."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = eye
    focal = 0.8 * max(size)
    return Camera(np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]]), *size, matrix)


def box_scene(
    *, frame_size: tuple[int, int] = (320, 240), frames: int = 3, units: str = "metre", digit_height_px: int = 10
) -> Scene:
    """The room of boxes as a scene, seen by cameras that walk along one side."""
    surface, instances = box_room()
    ids = vertex_instance_ids(instances, len(surface.vertices))
    caster = SurfaceCaster(surface)
    top = OrthoCamera(-0.1, 3.1, 1.2, (0.01, 0.01), 420, 320)

    def pictures(camera):
        view = caster.view(camera)
        image = np.where((view.vertex_ids >= 0)[..., None], surface.colors[view.vertex_ids], BACKGROUND)
        object_ids = instance_map(view, ids)
        marks = place_markers(object_ids, digit_height_px=digit_height_px, min_visible_px=8)
        return image.astype(np.uint8), object_ids, tuple(marks)

    shown = []
    for position in range(frames):
        camera = look_at((0.5 + 0.9 * position, -2.2, 2.2), (1.6 + 0.2 * position, 1.3, 0.2), frame_size)
        shown.append(SceneFrame(120 + 10 * position, 4.0 + position / 3, camera, *pictures(camera)))
    poses = np.stack([look_at((0.1 * i, -2.2, 2.2), (2, 1, 0), (4, 3)).world_from_camera for i in range(40)])
    turned = np.eye(4)
    turned[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    return Scene(
        name="Küche <1>",
        source=SceneSource("scans/küche", "7scenes", 40, "0123456789abcdef"),
        units=units,
        world_from_source=turned,
        cut_height_m=None,
        bev=BevView(top, *pictures(top)),
        frames=tuple(shown),
        trajectory=Trajectory(np.arange(40) * 10, np.arange(40) / 3, poses),
        instances=tuple(SceneInstance.of(instance) for instance in instances),
        vertex_ids=ids,
        surface_data=surface,
        run=SceneRun("0.1.0", {"frames": frames, "cut_height_m": None}, {"read": 0.01, "fuse": 1.25}),
    )
