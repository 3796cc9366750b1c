"""Masks lifted onto the surface: which cells every frame sees, and in which mask each of them lies."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bev.camera import Camera, transform_points
from bev.errors import UserError
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster
from markers.ahead import done_ahead
from markers.cells import Cells
from markers.detections import check_boxes, frames_of
from markers.layers import DEPTH_WIDTH_PX, mask_layers

if TYPE_CHECKING:
    import supervision as sv

_DEPTH_TOLERANCE_M, _DEPTH_TOLERANCE_SHARE = 0.02, 0.02
"""Metres, and of the distance: how far a cell may lie from the depth that is measured and still be what is seen."""
_EDGES_PX = (3, 6, 9, 14)
"""At `DEPTH_WIDTH_PX`: how finely the distance to the edge of something nearer is told."""
_EDGE_M, _EDGE_SHARE = 0.05, 0.05
"""Metres, and of the distance: so much nearer is much nearer."""
_PARALLAX_PER_M = 0.5
"""1 / near - 1 / far of what commonly hides each other, e.g. 1 m and 2 m."""
_CAST_WIDTH_PX = 320
"""How wide the depth is that is cast where a scan has none."""
_FACING_AWAY = 0.1
"""Cosine past a right angle, at which a cell turns its back."""
_NEAREST_M = 0.05


@dataclass(frozen=True, eq=False)
class Sighting:
    """The cells that one frame sees for sure, ascending, with their masks."""

    frame: int
    """Frame index."""
    cells: np.ndarray
    """(n,) int32."""
    rows: np.ndarray
    """(n,) int32: row of the frame's detections, -1 = no mask."""
    depth_px: np.ndarray
    """(n,) uint8: pixels to the mask's edge, see `markers.layers`."""
    edge_px: np.ndarray
    """(n,) uint8: pixels, at `DEPTH_WIDTH_PX`, to something much nearer that hides what is behind; 255 = far."""
    thickness_px: np.ndarray
    """(rows,) uint8: the greatest of these depths of every mask."""
    same_as: np.ndarray
    """(rows,) int64: the row that stands for each row of the detections."""
    labels: tuple[str, ...]
    """One per row; "" where the mask does not say."""
    confidence: np.ndarray
    """(rows,) float64."""


def sightings(
    scan: Scan, surface: Surface, detections: "Mapping[int, sv.Detections]", cells: Cells
) -> Iterator[Sighting]:
    """Lift the masks of every frame that has any, in the order of the frames, a few frames in memory at a time.

    What a frame sees is decided by its own depth; where the scan has none, by casting rays at the surface. Cells that
    depth contradicts are not seen: something stood there that is not in the surface. Nor are those behind the edge of
    something nearer, where masks bleed, and where a depth camera beside the colour camera looks past.

    Raises:
        UserError: detections of a frame that the scan lacks, or without masks, or of another size than the frame.
    """
    frames = frames_of(detections, scan)
    if not frames:
        return
    caster = None if all(frame.read_depth for frame in frames.values()) else SurfaceCaster(surface)

    def lift(of_frame: "tuple[Frame, sv.Detections]") -> Sighting | None:
        frame, each = of_frame
        check_masks(each, frame)
        return _lifted(frame, each, cells, caster) if len(each) else None

    # a mapping that reads from disk is asked by this thread alone
    pairs = ((frames[index], detections[index]) for index in sorted(frames))
    threads = min(4, os.cpu_count() or 1)
    for sighting in done_ahead(lift, pairs, ahead=2 * threads + 1, threads=threads):
        if sighting is not None:
            yield sighting


def check_masks(detections: "sv.Detections", frame: Frame) -> None:
    """See that a frame's detections can be lifted.

    Raises:
        UserError: masks are missing or of another size than the frame, or a box or a confidence is not finite.
    """
    if not len(detections):
        return
    camera, where = frame.camera, f"detections of frame {frame.index}"
    if detections.mask is None:
        raise UserError(f"{where}: boxes without masks; use a -seg model or have them segmented (--sam)")
    height, width = detections.mask.shape[1:]
    if (width, height) != (camera.width, camera.height):
        raise UserError(
            f"{where}: masks are {width}x{height} px, the frame is {camera.width}x{camera.height}; detect on the "
            "images as the scan reads them"
        )
    check_boxes(detections.xyxy, frame.index)
    if detections.confidence is not None and not np.isfinite(np.asarray(detections.confidence, np.float64)).all():
        raise UserError(f"{where}: a confidence is not a number; leave that detection out, or mend the detector")


def _lifted(frame: Frame, detections: "sv.Detections", cells: Cells, caster: SurfaceCaster | None) -> Sighting:
    camera = frame.camera
    if frame.read_depth is not None:
        depth_camera, depth = frame.depth_camera or camera, frame.read_depth()
        if depth.shape != (depth_camera.height, depth_camera.width):
            raise UserError(
                f"frame {frame.index}: depth is {depth.shape[1]}x{depth.shape[0]} px, its camera "
                f"{depth_camera.width}x{depth_camera.height}; give the depth camera's own size and intrinsics"
            )
    else:
        assert caster is not None
        depth_camera = camera.resized(_CAST_WIDTH_PX, max(1, round(camera.height * _CAST_WIDTH_PX / camera.width)))
        depth = caster.view(depth_camera).depth
    seen, edge_px = _seen(cells, camera, depth_camera, depth)
    inside, pixel, _ = _projected(cells.points.take(seen, axis=0), camera)
    layers = mask_layers(detections, camera.width, camera.height)
    confidence = np.ones(len(detections)) if detections.confidence is None else np.asarray(detections.confidence, float)
    return Sighting(
        frame=frame.index,
        cells=seen[inside],
        edge_px=edge_px[inside],
        rows=layers.rows.take(pixel),
        depth_px=layers.depth_px.take(pixel),
        thickness_px=layers.thickness_px,
        same_as=layers.same_as,
        labels=_labels(detections),
        confidence=confidence,
    )


def _labels(detections: "sv.Detections") -> tuple[str, ...]:
    """What every mask is called; "" where it has no class, as masks of segment-anything have none."""
    names, classes = detections.data.get("class_name"), detections.class_id
    if names is None:
        names = ("",) * len(detections) if classes is None else tuple(f"class {number}" for number in classes)
    return tuple("" if classes is not None and classes[row] < 0 else str(name) for row, name in enumerate(names))


def _seen(cells: Cells, camera: Camera, depth_camera: Camera, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells that are where depth is measured, (n,) int32, and how near to an edge, see `_px_behind_edge`."""
    near = cells.near_view(depth_camera)
    inside, pixel, z = _projected(cells.points.take(near, axis=0), depth_camera)
    measured = depth.take(pixel)
    there = np.abs(measured - z) <= _DEPTH_TOLERANCE_M + _DEPTH_TOLERANCE_SHARE * z
    # no depth means that it is not in a surface made of such depth: what lies behind may be, and is not what is seen
    there &= measured > 0
    seen, pixel, z = near[inside[there]], pixel[there], z[there]
    # the depth of a thin thing's front would pass for that of its back
    facing = np.flatnonzero(_facing(cells, seen, camera))
    parallax_px = _parallax_px(camera, depth_camera)
    return seen[facing], _px_behind_edge(depth, depth_camera, parallax_px, pixel[facing], z[facing])


def _facing(cells: Cells, chosen: np.ndarray, camera: Camera) -> np.ndarray:
    """(n,) bool: which of the chosen cells do not turn their back to a camera."""
    x, y, z = (camera.center.astype(np.float32) - cells.points.take(chosen, axis=0)).T
    normal_x, normal_y, normal_z = cells.normals.take(chosen, axis=0).T
    towards = normal_x * x + normal_y * y + normal_z * z
    return towards >= -_FACING_AWAY * np.sqrt(x * x + y * y + z * z)


def _projected(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the points lie in the image, with their pixel, counted row by row, and their depth in metres."""
    x, y, z = np.ascontiguousarray(transform_points(camera.camera_from_world, points).T)
    K = camera.K.astype(np.float32)
    scale = 1 / np.maximum(z, _NEAREST_M)
    u = (K[0, 0] * x + K[0, 1] * y) * scale + K[0, 2]
    v = K[1, 1] * y * scale + K[1, 2]
    inside = np.flatnonzero((z > _NEAREST_M) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height))
    return inside, v[inside].astype(np.int32) * camera.width + u[inside].astype(np.int32), z[inside]


def _parallax_px(camera: Camera, depth_camera: Camera) -> float:
    """How many pixels of the depth image a depth camera beside the colour camera sees past an edge."""
    baseline_m = float(np.linalg.norm(camera.center - depth_camera.center))
    return depth_camera.K[0, 0] * baseline_m * _PARALLAX_PER_M


def _px_behind_edge(
    depth: np.ndarray, camera: Camera, parallax_px: float, pixel: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """(n,) uint8: how near in the image every point, z metres away, is to something that is much nearer; 255 = far."""
    nearest = np.where(depth > 0, depth, np.float32(1e9))
    unit = camera.width / DEPTH_WIDTH_PX
    around, reach_px = [], 0
    for edge_px in _EDGES_PX:
        radius_px = round(edge_px * unit + parallax_px) - reach_px
        reach_px += radius_px
        nearest = cv2.erode(nearest, np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8))
        around.append(nearest)
    result, left = np.full(len(z), 255, np.uint8), np.arange(len(z))
    # few points are behind anything, and what is near an edge is also within the wider reaches
    for edge_px, nearest in zip(_EDGES_PX[::-1], around[::-1], strict=True):
        near = nearest.take(pixel[left])
        left = left[z[left] > near + _EDGE_M + _EDGE_SHARE * near]
        result[left] = edge_px
    return result
