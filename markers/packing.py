"""The last resort of a crowded image: all plates in rows, each as near to its anchor as the rows allow."""

from collections.abc import Sequence

import numpy as np


def pack_in_rows(
    sizes: Sequence[tuple[int, int]], anchors: np.ndarray, width: int, height: int
) -> dict[int, tuple[int, int, int, int]]:
    """Disjoint boxes for as many plates as rows can hold.

    Args:
        sizes: width and height in pixels of each plate, the least important first; all of one height.
        anchors: (n, 2) uv, pixels.
        width: of the image, pixels.
        height: of the image, pixels.

    Returns:
        Position in `sizes` to x0, y0, x1, y1 in whole pixels; those left out have no entry, and they are the first
        of `sizes` apart from any that are by themselves wider or higher than the image.
    """
    wanted = [k for k, (w, h) in enumerate(sizes) if w <= width and h <= height]
    while wanted:
        rows = _assign(wanted, sizes, anchors, width, height)
        if rows is not None:
            break
        wanted = wanted[1:]
    else:
        return {}
    boxes = {}
    row_height = height // len(rows)
    for i, row in enumerate(rows):
        row = sorted(row, key=lambda k: (anchors[k][0], anchors[k][1]))
        left = 0
        remaining = sum(sizes[k][0] for k in row)
        for k in row:
            w, h = sizes[k]
            # as near to its anchor as those before and after it leave room for
            left = min(max(left, int(anchors[k][0] - w / 2)), width - remaining)
            boxes[k] = (left, i * row_height, left + w, i * row_height + h)
            left += w
            remaining -= w
    return boxes


def _assign(
    wanted: list[int], sizes: Sequence[tuple[int, int]], anchors: np.ndarray, width: int, height: int
) -> list[list[int]] | None:
    """Which plates go into which row, widest first into the nearest row with room; None when one finds no room."""
    count = height // sizes[wanted[0]][1]
    room = np.full(count, width)
    middle = (np.arange(count) + 0.5) * (height / count)
    rows: list[list[int]] = [[] for _ in range(count)]
    for k in sorted(wanted, key=lambda k: (-sizes[k][0], k)):
        distance = np.where(room >= sizes[k][0], np.abs(middle - anchors[k][1]), np.inf)
        nearest = int(np.argmin(distance))
        if not np.isfinite(distance[nearest]):
            return None
        room[nearest] -= sizes[k][0]
        rows[nearest].append(k)
    return rows
