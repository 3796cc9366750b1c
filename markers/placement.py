"""Where on an image each instance gets its number: an anchor on its visible pixels, and a plate on or beside that.

An anchor lies where its instance's visible region is widest, so that it stays on the object when the id map is a
little wrong (after the marks of Set-of-Mark prompting, arXiv 2310.11441, which also take the maximum of the distance
transform).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from markers.instance import Marker
from markers.labels import lay_out_labels
from markers.visibility import Region, regions

SLACK_PX = 10.0
"""How much farther than its object's visible centre an anchor may move between consecutive frames."""


@dataclass(frozen=True)
class Anchor:
    """The place of one number in one view, before its plate is laid out; a sequence's next frame starts from it."""

    id: int
    uv: tuple[float, float]
    """pixels: the centre of a pixel that shows the instance."""
    center: tuple[float, float]
    """uv, pixels: the mean of the instance's visible pixels."""
    visible_px: int


def find_anchors(
    ids_map: np.ndarray, *, min_visible_px: int, previous: Sequence[Anchor] = (), slack_px: float = SLACK_PX
) -> list[Anchor]:
    """One anchor for every instance with enough visible pixels, on the pixel that is farthest from its edge.

    The image's border counts as edge. Among equally far pixels the one nearest to the instance's visible centre is
    taken. An instance that has an anchor in `previous` keeps within a disc around that: as wide as its visible centre
    moved, plus `slack_px`. Where nothing of it is visible inside the disc, its visible pixel nearest to the previous
    anchor is taken, the only case in which an anchor moves farther.

    Args:
        ids_map: (H, W) int32, which instance each pixel shows, -1 = none.
        min_visible_px: instances with fewer pixels get no anchor.
        previous: the anchors of the frame before, at the same image size; () for a single image.
        slack_px: see above.

    Returns:
        Ascending by id.
    """
    before = {anchor.id: anchor for anchor in previous}
    found = []
    for region in regions(ids_map):
        if region.px < max(min_visible_px, 1):
            continue
        last = before.get(region.id)
        uv = _widest_place(ids_map, region) if last is None else _steady_place(ids_map, region, last, slack_px)
        found.append(Anchor(region.id, uv, region.center, region.px))
    return found


def place_markers(
    ids_map: np.ndarray, *, digit_height_px: int, min_visible_px: int, previous: Sequence[Anchor] = ()
) -> list[Marker]:
    """Anchors and plates of one view: `find_anchors`, then `lay_out_labels`.

    For a sequence call the two yourself and hand each frame's anchors to the next.

    Args:
        ids_map: (H, W) int32, which instance each pixel shows, -1 = none.
        digit_height_px: height of the digits in this image.
        min_visible_px: instances with fewer pixels get no marker.
        previous: the anchors of the frame before.

    Returns:
        Ascending by id; one for every anchor unless the plates cannot all be fitted into the image.
    """
    anchors = find_anchors(ids_map, min_visible_px=min_visible_px, previous=previous)
    return label_anchors(anchors, ids_map, digit_height_px=digit_height_px)


def label_anchors(anchors: Sequence[Anchor], ids_map: np.ndarray, *, digit_height_px: int) -> list[Marker]:
    """Plates for anchors whose places are settled; arguments and result as those of `place_markers`."""
    bare = [Marker(anchor.id, anchor.uv, (*anchor.uv, *anchor.uv), anchor.visible_px) for anchor in anchors]
    return lay_out_labels(bare, ids_map, digit_height_px=digit_height_px)


def relabel(markers: Sequence[Marker], ids_map: np.ndarray, *, digit_height_px: int) -> list[Marker]:
    """The same marks on the same view at another size: plates laid out anew.

    Args:
        markers: their `uv` scaled to the new size; their label boxes do not matter.
        ids_map: (H, W) int32 at the new size.
        digit_height_px: height of the digits at the new size.

    Returns:
        Ascending by id, with pixel counts of the new size. An anchor that scaling moved off its object goes to the
        object's nearest pixel; an object without a pixel at the new size has no marker.
    """
    at = {region.id: region for region in regions(ids_map)}
    moved = []
    for marker in sorted(markers, key=lambda marker: marker.id):
        region = at.get(marker.id)
        if region is None:
            continue
        uv = _nearest_pixel(ids_map, region, marker.uv)
        moved.append(Anchor(region.id, uv, region.center, region.px))
    return label_anchors(moved, ids_map, digit_height_px=digit_height_px)


def _widest_place(ids_map: np.ndarray, region: Region) -> tuple[float, float]:
    distance = _edge_distance_squared(ids_map, region)
    row, column = np.nonzero(distance == distance.max())
    return _nearest_of(row, column, region, region.center)


def _steady_place(ids_map: np.ndarray, region: Region, last: Anchor, slack_px: float) -> tuple[float, float]:
    radius = float(np.hypot(region.center[0] - last.center[0], region.center[1] - last.center[1])) + slack_px
    distance = _edge_distance_squared(ids_map, region)
    u, v = np.arange(distance.shape[1]) + region.box[0] + 0.5, np.arange(distance.shape[0]) + region.box[1] + 0.5
    near = (u - last.uv[0]) ** 2 + (v[:, None] - last.uv[1]) ** 2 <= radius**2
    distance = np.where(near, distance, 0)
    if not distance.any():
        return _nearest_pixel(ids_map, region, last.uv)
    row, column = np.nonzero(distance == distance.max())
    return _nearest_of(row, column, region, last.uv)


def _edge_distance_squared(ids_map: np.ndarray, region: Region) -> np.ndarray:
    """Squared distance from each of the region's pixels to the nearest that is not its own; 0 for the others.

    Over the region's box, int32, pixels squared.
    """
    x0, y0, x1, y1 = region.box
    # whatever lies around the box, other pixels or the image's border, is edge
    padded = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
    padded[1:-1, 1:-1] = ids_map[y0:y1, x0:x1] == region.id
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # OpenCV's last bits differ from call to call, and would break ties; true squares are whole numbers
    return np.rint(distance.astype(np.float64) ** 2).astype(np.int32)


def _nearest_pixel(ids_map: np.ndarray, region: Region, uv: tuple[float, float]) -> tuple[float, float]:
    """The centre of the region's pixel that holds uv, else of the one nearest to it."""
    height, width = ids_map.shape
    x, y = int(np.floor(uv[0])), int(np.floor(uv[1]))
    if 0 <= x < width and 0 <= y < height and ids_map[y, x] == region.id:
        return x + 0.5, y + 0.5
    x0, y0, x1, y1 = region.box
    row, column = np.nonzero(ids_map[y0:y1, x0:x1] == region.id)
    return _nearest_of(row, column, region, uv)


def _nearest_of(row: np.ndarray, column: np.ndarray, region: Region, uv: tuple[float, float]) -> tuple[float, float]:
    """Of pixels given by row and column of the region's box the centre of that nearest to uv; the topmost of equals."""
    u, v = column + region.box[0] + 0.5, row + region.box[1] + 0.5
    # rounding makes equals equal: a centre is a quotient, and its last bit must not choose
    best = int(np.argmin(np.round((u - uv[0]) ** 2 + (v - uv[1]) ** 2, 6)))
    return float(u[best]), float(v[best])
