"""The frames of a film that are worth using: sharp, far enough apart, not too many; one pass decodes it once."""

import json
import logging
from bisect import bisect_left, bisect_right
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bev.errors import UserError
from bev.film_walk import Collector, JpegImage, Walk, encoded
from bev.image_motion import motion_for
from bev.progress import track
from bev.readers.images import read_color
from bev.scan import Frame, Scan

_log = logging.getLogger(__name__)

_SCHEMA = "gpt4scene/keyframes@1"
_NEAR, _FAR, _VERY_FAR = 0.6, 1.4, 2.0
"""Where the next frame may lie, in spacings; very far only if all that is nearer is blurred."""
_BLURRED = 0.5
"""Times the sharpness of the better frames around it."""
_EVEN = 0.25
"""Share of its sharpness that a frame must have in advance of another, a spacing nearer to where one is wanted."""
_BINS_PER_FRAME = 4


def key_frames(
    scan: Scan,
    *,
    count_max: int = 240,
    spacing: float = 0.08,
    looks_per_second: float = 10.0,
    progress: bool = False,
) -> Scan:
    """Choose sharp frames with enough motion between them; duplicates and still stretches drop out.

    Motion is that of the picture, as a share of its longer side; where the scan has poses in metres, that of things
    two metres away. A film is read once from its beginning to its end, and the images chosen are kept in memory as
    JPEG of quality 95, about 0.1 to 0.3 MB each, so that reading them again does not decode the film again; frames of
    other scans keep their files. Depth stays with its own reader.

    Args:
        scan: with or without poses, in time order.
        count_max: if more frames are worth using, the spacing grows evenly.
        spacing: wanted between two frames, a share of the picture's longer side.
        looks_per_second: of a film, while it moves slowly; the frames in between are decoded and left out.
        progress: show a bar on stderr.

    Returns:
        The scan with fewer frames, indices and timestamps as they were. Its warnings say where the film seems to be
        cut, and how many frames did not decode.

    Raises:
        UserError: the camera of a scan without poses hardly moves, or most frames do not decode.
    """
    if count_max < 3 or not spacing > 0 or not looks_per_second > 0:
        raise ValueError(f"count_max {count_max}, spacing {spacing}, looks_per_second {looks_per_second}: too small")
    collector = Collector(count_max * _BINS_PER_FRAME, keep_images=scan.is_film)
    gap_s = 1 / looks_per_second if scan.is_film and len(scan.frames) > count_max else 0.0
    walk = Walk(motion_for(scan), spacing, collector)
    skipped: list[Frame] = []
    for frame in track(scan.frames, "choosing frames", show=progress):
        if frame.timestamp_s < walk.last_s + gap_s - 1e-6 and not walk.is_fast:
            skipped.append(frame)
        else:
            walk.take(frame, skipped)
            skipped = []
    walk.check(scan)
    seen = collector.closed()
    chosen = _spread([c.place for c in seen], np.array([c.sharpness for c in seen]), count_max, spacing)
    if len(chosen) < 3 and not scan.has_poses:
        raise UserError(
            f"{scan.path}: the camera hardly moves, {len(chosen)} of {len(scan.frames)} frames differ; "
            "walk around the room while filming, and let neighbouring views overlap"
        )
    _log.info("%d of %d frames chosen, %d looked at", len(chosen), len(scan.frames), walk.looked_at)
    frames = tuple(sorted((seen[i].frame for i in chosen), key=lambda frame: frame.index))
    return replace(scan, frames=frames, is_film=False, warnings=scan.warnings + tuple(walk.warnings(scan)))


def save_frames(folder: Path, scan: Scan) -> None:
    """Write a scan's colour images as JPEGs, and what `load_frames` needs; JPEGs in memory stay as they are.

    Args:
        folder: made where it is missing; its `keyframes.json` is written last.
        scan: as `key_frames` returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for frame in scan.frames:
        name = f"{frame.index:06d}.jpg"
        kept = frame.read_color if isinstance(frame.read_color, JpegImage) else encoded(frame.read_color())
        (folder / name).write_bytes(kept.data)
        rows.append({"index": frame.index, "image": name, "size": [frame.camera.width, frame.camera.height]})
    told = {"schema": _SCHEMA, "frames": rows, "warnings": list(scan.warnings)}
    unfinished = folder / "keyframes.json.part"
    unfinished.write_text(json.dumps(told, indent=1), encoding="utf-8")
    unfinished.replace(folder / "keyframes.json")


def load_frames(folder: Path, scan: Scan) -> Scan:
    """The scan that `save_frames` wrote, from the scan whose frames were chosen: as the reader returns it.

    Raises:
        UserError: the folder was not written whole, or from another scan.
    """
    path = folder / "keyframes.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); choose the frames again") from error
    if not isinstance(told, dict) or told.get("schema") != _SCHEMA:
        raise UserError(f"{path}: is not of schema {_SCHEMA}; choose the frames again")
    all_frames = {frame.index: frame for frame in scan.frames}
    frames = []
    for row in told["frames"]:
        frame = all_frames.get(row["index"])
        if frame is None or [frame.camera.width, frame.camera.height] != row["size"]:
            raise UserError(f"{path}: frame {row['index']} is not of {scan.path}; choose the frames again")
        size = frame.camera.width, frame.camera.height
        frames.append(replace(frame, read_color=partial(read_color, str(folder / row["image"]), size)))
    return replace(scan, frames=tuple(frames), is_film=False, warnings=tuple(told["warnings"]))


def _spread(places: list[float], sharp: np.ndarray, count_max: int, spacing: float) -> list[int]:
    """Which of n candidates to use, at most `count_max`; the spacing grows until they are few enough.

    Args:
        places: (n,) ascending.
        sharp: (n,) comparable between neighbours.
        count_max: at least 1.
        spacing: wanted between places.
    """
    chosen = _at_spacing(places, sharp, spacing)
    if len(chosen) <= count_max:
        return chosen
    enough, too_little = places[-1] - places[0] + spacing, spacing
    chosen = [int(sharp.argmax())]
    for _ in range(20):
        middle = (enough + too_little) / 2
        fewer = _at_spacing(places, sharp, middle)
        if len(fewer) > count_max:
            too_little = middle
        else:
            enough, chosen = middle, max(chosen, fewer, key=len)
    return chosen


def _at_spacing(places: list[float], sharp: np.ndarray, spacing: float) -> list[int]:
    """The sharpest candidate about every `spacing`; where all are blurred, one from further on."""
    reach = 2 * spacing
    best_around = np.array([np.quantile(sharp[_span(places, p - reach, p + reach)], 0.9) for p in places])
    relative = sharp / np.maximum(best_around, 1e-9)
    along = np.array(places)

    def sharpest(span: slice, wanted: float) -> int:
        off = np.abs(along[span] - wanted) / spacing
        return span.start + int(((sharp[span] + 1e-9) * (1 - _EVEN * np.minimum(off, 1))).argmax())

    chosen: list[int] = []
    span = _span(places, -np.inf, places[0] + (_FAR - 1) * spacing) if places else slice(0, 0)
    while span.start < len(places):
        wanted = places[chosen[-1]] + spacing if chosen else places[0]
        if span.start == span.stop:
            best = span.start  # the film jumps here: nothing lies as near as it should
        else:
            best = sharpest(span, wanted)
            if relative[best] < _BLURRED and chosen:
                best = sharpest(slice(span.start, bisect_right(places, wanted + (_VERY_FAR - 1) * spacing)), wanted)
        chosen.append(best)
        span = _span(places, places[best] + _NEAR * spacing, places[best] + _FAR * spacing)
    return chosen


def _span(places: list[float], low: float, high: float) -> slice:
    return slice(bisect_left(places, low), bisect_right(places, high))
