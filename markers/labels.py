"""Lays out the plates of a view's markers: each on its anchor, or beside it where there it would hide something.

Small objects go first, because a large one has room elsewhere. A plate on its anchor "hides" an object when it covers
that object's anchor, or more than `COVER_SHARE` of the visible pixels of a smaller one, or more than `OWN_SHARE` of
its own. A plate beside its anchor takes the cheapest place around it: cost is the length of the leader line in pixels,
plus so many pixels for everything that it hides or crosses.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from markers.draw import DOT_RADIUS_PX, label_size_px, leader_line
from markers.instance import Marker
from markers.packing import pack_in_rows
from markers.visibility import regions

COVER_SHARE = 0.1
OWN_SHARE = 0.4
GAP_PX = 2
"""Kept free between two plates as long as there is room."""

# the prices of a place beside the anchor, in pixels of leader line
_HIDDEN_OBJECT = 200.0
_FOREIGN_GROUND = 6.0
_HIDDEN_ANCHOR = 400.0
_CROSSED_LEADER = 40.0
_CROSSED_PLATE = 80.0
_FAR = 150.0
"""A place dearer than this near the anchor sends the search over the whole image."""

_SPECK = 0.5
"""An object smaller than this, in areas of a plate, counts for as little as it is: a speck is not worth a detour."""
_LARGE = 4.0
"""An object larger than this, in areas of a plate, hardly misses what a plate covers."""

_MILLION = 1e6
"""Prices are summed as whole millionths, so that no order of summing can change the last bit and with it the choice."""
_LATTICE_PX = 3
_LINES_TRIED = 200
_Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class _View:
    """What the layout needs to know of a view; markers are in the order in which they are placed."""

    markers: list[Marker]
    sizes: list[tuple[int, int]]
    owner: np.ndarray
    """(H, W) int32: rows of `px`, the last row for no instance."""
    px: np.ndarray
    """(n + 1,) float64: visible pixels of every instance, marked or not; the last entry is infinite."""
    own: list[int]
    """Per marker its row of `px`."""
    price: np.ndarray
    """(H, W) float64: what hiding a pixel costs a plate beside its anchor, in millionths of a pixel of leader line."""
    anchors: np.ndarray
    """(m, 2) float64 uv, pixels."""


def lay_out_labels(markers: Sequence[Marker], ids_map: np.ndarray, *, digit_height_px: int) -> list[Marker]:
    """Give every marker its label box; the boxes that they have are ignored.

    Boxes have whole-pixel corners, lie inside the image and never overlap, however crowded it is: when places near
    the anchors run out the whole image is searched, and when that fails all plates are packed in rows. Only where
    not even that holds them (many numbers on a tiny image) the markers with the fewest visible pixels are left out,
    with a warning in the log; the caller sees it by the length of the result.

    Args:
        markers: at most one per id, each with an anchor inside the image.
        ids_map: (H, W) int32, which instance each pixel shows, -1 = none.
        digit_height_px: height of the digits in this image.

    Returns:
        Ascending by id.

    Raises:
        ValueError: a marker's instance has no pixel in `ids_map`.
    """
    view = _view_of(markers, ids_map, digit_height_px)
    boxes: dict[int, _Box] = {}
    for k in range(len(view.markers)):
        box = _box_on_anchor(view, k)
        if box is not None and not _hides(view, k, box) and not _overlaps_any(box, boxes.values()):
            boxes[k] = box
    height, width = ids_map.shape
    for k in range(len(view.markers)):
        if k in boxes:
            continue
        box = _box_beside(view, k, boxes)
        if box is None:
            boxes = pack_in_rows(view.sizes, view.anchors, width, height)
            break
        boxes[k] = box
    if len(boxes) < len(view.markers):
        logging.getLogger(__name__).warning(
            "%d of %d numbers do not fit into %dx%d px at digits of %d px: the least visible are left out",
            *(len(view.markers) - len(boxes), len(view.markers), width, height, digit_height_px),
        )
    placed = [
        replace(view.markers[k], label_box=tuple(float(edge) for edge in box))
        for k, box in _uncrossed(view, boxes).items()
    ]
    return sorted(placed, key=lambda marker: marker.id)


def _view_of(markers: Sequence[Marker], ids_map: np.ndarray, digit_height_px: int) -> _View:
    # never by id: another numbering of the same objects must give the same picture
    ordered = sorted(markers, key=lambda marker: (marker.visible_px, marker.uv[1], marker.uv[0]))
    sizes = [label_size_px(marker.id, digit_height_px) for marker in ordered]
    seen = regions(ids_map)
    row = {region.id: i for i, region in enumerate(seen)}
    missing = [marker.id for marker in ordered if marker.id not in row]
    if missing:
        raise ValueError(f"markers {missing} have no pixel in ids_map")
    ids = np.array([region.id for region in seen], np.int32)
    owner = np.searchsorted(ids, ids_map).astype(np.int32)
    owner[ids_map < 0] = len(ids)
    px = np.array([region.px for region in seen] + [np.inf], np.float64)
    plate_px = float(min((width * height for width, height in sizes), default=1))
    price = _HIDDEN_OBJECT / np.maximum(px, _SPECK * plate_px) * np.minimum(1, _LARGE * plate_px / px)
    anchors = np.array([marker.uv for marker in ordered], np.float64).reshape(-1, 2)
    own = [row[marker.id] for marker in ordered]
    return _View(ordered, sizes, owner, px, own, np.rint(price * _MILLION)[owner], anchors)


def _box_on_anchor(view: _View, k: int) -> _Box | None:
    """Centred on the anchor, moved inwards at the image's border; None where the plate is larger than the image."""
    height, width = view.owner.shape
    w, h = view.sizes[k]
    if w > width or h > height:
        return None
    x0 = min(max(int(np.floor(view.anchors[k, 0] - w / 2)), 0), width - w)
    y0 = min(max(int(np.floor(view.anchors[k, 1] - h / 2)), 0), height - h)
    return x0, y0, x0 + w, y0 + h


def _hides(view: _View, k: int, box: _Box) -> bool:
    """Whether a plate on its anchor hides another object's anchor, a smaller object, or too much of its own."""
    x0, y0, x1, y1 = box
    low, high = np.array([x0, y0]) - DOT_RADIUS_PX, np.array([x1, y1]) + DOT_RADIUS_PX
    covered = ((view.anchors > low) & (view.anchors < high)).all(axis=1)
    if covered.sum() > 1:
        return True
    own = view.own[k]
    crop = (slice(y0, y1), slice(x0, x1))
    owner = view.owner[crop].ravel()
    if (owner == own).sum() > OWN_SHARE * view.px[own]:
        return True
    share = np.bincount(owner, minlength=len(view.px)) / np.maximum(view.px, _SPECK * len(owner))
    smaller = view.px <= view.px[own]
    smaller[own] = False
    return bool((share[smaller] > COVER_SHARE).any())


def _overlaps_any(box: _Box, others: Iterable[_Box]) -> bool:
    return any(
        box[0] < x1 + GAP_PX and x0 < box[2] + GAP_PX and box[1] < y1 + GAP_PX and y0 < box[3] + GAP_PX
        for x0, y0, x1, y1 in others
    )


def _box_beside(view: _View, k: int, boxes: dict[int, _Box]) -> _Box | None:
    """The cheapest free place near the anchor, else in the whole image; None where no place is free."""
    height, width = view.owner.shape
    nearby = 4 * view.sizes[k][1]
    best: tuple[float, _Box] | None = None
    for reach, step in ((nearby, _LATTICE_PX), (max(width, height), _LATTICE_PX), (max(width, height), 1)):
        found = _cheapest(view, k, boxes, reach, step)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
        # the finest search is for want of any place, not for a cheaper one
        if best is not None and (best[0] < _FAR or reach > nearby):
            break
    return best[1] if best else None


def _cheapest(view: _View, k: int, boxes: dict[int, _Box], reach: int, step: int) -> tuple[float, _Box] | None:
    height, width = view.owner.shape
    w, h = view.sizes[k]
    u, v = view.anchors[k]
    left = np.arange(max(0, int(u) - reach - w), min(width - w, int(u) + reach) + 1, step)
    top = np.arange(max(0, int(v) - reach - h), min(height - h, int(v) + reach) + 1, step)
    if not len(left) or not len(top):
        return None
    cost = _place_costs(view, k, left, top)
    placed = np.array(list(boxes.values()), np.float64).reshape(-1, 4)
    cost[_overlap_counts(placed, left, top, (w, h), GAP_PX) > 0] = np.inf
    free = np.flatnonzero(np.isfinite(cost))
    if not len(free):
        return None
    # lines are dear to test, so only the cheapest places take the test
    ranked = free[np.argsort(cost.ravel()[free], kind="stable")[:_LINES_TRIED]]
    x0, y0 = left[ranked % len(left)], top[ranked // len(left)]
    candidates = np.stack([x0, y0, x0 + w, y0 + h], axis=1)
    total = cost.ravel()[ranked] + _line_costs(view, k, candidates, boxes)
    best = int(np.argmin(total))
    return float(total[best]), (int(x0[best]), int(y0[best]), int(x0[best]) + w, int(y0[best]) + h)


def _place_costs(view: _View, k: int, left: np.ndarray, top: np.ndarray) -> np.ndarray:
    """What each place costs by itself, (len(top), len(left)) float64 pixels."""
    w, h = view.sizes[k]
    u, v = view.anchors[k]
    x0, y0 = int(left[0]), int(top[0])
    crop = (slice(y0, int(top[-1]) + h), slice(x0, int(left[-1]) + w))
    owner = view.owner[crop]
    foreign = (owner != view.own[k]) & (owner != len(view.px) - 1)
    price = view.price[crop] + np.rint(_FOREIGN_GROUND / (w * h) * _MILLION) * foreign
    total = cv2.integral(price, sdepth=cv2.CV_64F)
    columns, rows = left - x0, top - y0
    after, before = total[rows + h], total[rows]
    hidden = after[:, columns + w] - after[:, columns] - before[:, columns + w] + before[:, columns]
    across = np.maximum(np.maximum(left - u, u - left - w), 0)
    down = np.maximum(np.maximum(top - v, v - top - h), 0)
    cost = hidden / _MILLION + np.hypot(across, down[:, None])
    cost[np.ix_(down < 2 * DOT_RADIUS_PX, across < 2 * DOT_RADIUS_PX)] = np.inf  # its own dot stays in sight
    others = np.delete(view.anchors, k, axis=0)
    dots = np.concatenate([others, others], axis=1)
    return cost + _HIDDEN_ANCHOR * _overlap_counts(dots, left, top, (w, h), DOT_RADIUS_PX)


def _overlap_counts(
    boxes: np.ndarray, left: np.ndarray, top: np.ndarray, size: tuple[int, int], margin: float
) -> np.ndarray:
    """How many of the boxes, (n, 4), a plate would touch at each place, (len(top), len(left)) float64."""
    x0, y0, x1, y1 = (boxes[:, i, None] for i in range(4))
    across = (left < x1 + margin) & (left + size[0] > x0 - margin)
    down = (top < y1 + margin) & (top + size[1] > y0 - margin)
    return down.T.astype(np.float64) @ across.astype(np.float64)


def _line_costs(view: _View, k: int, candidates: np.ndarray, boxes: dict[int, _Box]) -> np.ndarray:
    """What the leader lines to candidate boxes, (n, 4), cross, and which lines these boxes hide; (n,) pixels."""
    u, v = view.anchors[k]
    x0, y0, x1, y1 = candidates.T
    start = np.broadcast_to([u, v], (len(candidates), 2))
    lines = np.concatenate([start, np.stack([np.clip(u, x0, x1), np.clip(v, y0, y1)], axis=1)], axis=1)
    placed = np.array(list(boxes.values()), np.float64).reshape(-1, 4)
    others = np.delete(view.anchors, k, axis=0)
    dots = np.concatenate([others - DOT_RADIUS_PX, others + DOT_RADIUS_PX], axis=1)
    earlier = [leader_line(view.markers[j].uv, box) for j, box in boxes.items()]
    drawn = np.array([(*line[0], *line[1]) for line in earlier if line], np.float64).reshape(-1, 4)
    return (
        _CROSSED_LEADER * _lines_cross(lines, drawn).sum(axis=1)
        + _CROSSED_LEADER * _lines_enter(lines, dots).sum(axis=1)
        + _CROSSED_PLATE * _lines_enter(lines, placed).sum(axis=1)
        + _CROSSED_PLATE * _lines_enter(drawn, candidates.astype(np.float64)).sum(axis=0)
    )


def _uncrossed(view: _View, boxes: dict[int, _Box]) -> dict[int, _Box]:
    """Swap plates of one size whose leader lines cross; each swap shortens the two together, so there is an end."""
    boxes = dict(boxes)
    while True:
        lines = {k: leader_line(view.markers[k].uv, box) for k, box in boxes.items()}
        drawn = {k: (*line[0], *line[1]) for k, line in lines.items() if line}
        ends = np.array(list(drawn.values()), np.float64).reshape(-1, 4)
        width = np.array([view.sizes[k][0] for k in drawn])
        crossed = np.argwhere(np.triu(_lines_cross(ends, ends)) & (width == width[:, None]))
        if not len(crossed):
            return boxes
        one, other = (list(drawn)[i] for i in crossed[0])
        boxes[one], boxes[other] = boxes[other], boxes[one]


def _lines_cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which of the lines a (n, 4) and b (m, 4), x y x y, cross: (n, m) bool."""

    def side(line: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (line[..., 2] - line[..., 0]) * (y - line[..., 1]) - (line[..., 3] - line[..., 1]) * (x - line[..., 0])

    a, b = a[:, None], b[None]
    apart_b = side(a, b[..., 0], b[..., 1]) * side(a, b[..., 2], b[..., 3])
    apart_a = side(b, a[..., 0], a[..., 1]) * side(b, a[..., 2], a[..., 3])
    return (apart_a < 0) & (apart_b < 0)


def _lines_enter(lines: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which lines (n, 4) touch which boxes (m, 4): (n, m) bool; each box side clips the line (Liang-Barsky)."""
    first, last = np.zeros((len(lines), len(boxes))), np.ones((len(lines), len(boxes)))
    for axis in (0, 1):
        start, way = lines[:, axis, None], lines[:, axis + 2, None] - lines[:, axis, None]
        step = np.where(np.abs(way) < 1e-9, 1e-9, way)
        enter, leave = (boxes[:, axis] - start) / step, (boxes[:, axis + 2] - start) / step
        first, last = np.maximum(first, np.minimum(enter, leave)), np.minimum(last, np.maximum(enter, leave))
    return first <= last
