"""The frames of a film that are worth using: sharp, far enough apart, not too many; one pass decodes it once."""

import json
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bev.errors import UserError
from bev.image_motion import LOST, Look, Motion, look, motion_for
from bev.progress import track
from bev.readers.images import read_color
from bev.sampling import sharpness
from bev.scan import Frame, Scan

_log = logging.getLogger(__name__)

_SCHEMA = "gpt4scene/keyframes@1"
_STEP = 0.02
"""Motion is measured from a picture that stays until this share of its longer side has gone by: so what trembles or
stands still adds nothing up."""
_NEAR, _FAR, _VERY_FAR = 0.6, 1.4, 2.0
"""Where the next frame may lie, in spacings; very far only if all that is nearer is blurred."""
_BLURRED = 0.5
"""Times the usual sharpness around it."""
_BINS_PER_FRAME = 4
_CALM = 0.04
"""A film is looked at more rarely while less than this share of the picture goes by from look to look."""
_RETURN_S = 1.0
"""What is back to the picture before within this time was covered for a moment, and not cut."""
_CUTS_SHARE = 0.1
"""Where more of the steps than these are lost, the images are no film: photos may show what they like."""
_QUALITY = 95


@dataclass(frozen=True)
class JpegImage:
    """An image held encoded; called, it decodes: (H, W, 3) uint8 RGB."""

    data: bytes

    def __call__(self) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None  # we encoded it ourselves
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
    collector = _Collector(count_max * _BINS_PER_FRAME, keep_images=scan.is_film)
    gap_s = 1 / looks_per_second if scan.is_film and len(scan.frames) > count_max else 0.0
    walk = _Walk(motion_for(scan), spacing, collector)
    for frame in track(scan.frames, "choosing frames", show=progress):
        if frame.timestamp_s >= walk.last_s + gap_s - 1e-6 or walk.is_fast:
            walk.take(frame)
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
        kept = frame.read_color if isinstance(frame.read_color, JpegImage) else _encoded(frame.read_color())
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


@dataclass(frozen=True, eq=False)
class _Candidate:
    frame: Frame
    place: float
    """Along the film's motion, in shares of the longer side."""
    sharpness: float
    image: np.ndarray | None = None
    """Until it is encoded, (H, W, 3) uint8 RGB."""


@dataclass(eq=False)
class _Collector:
    """The sharpest candidate of each stretch of the film; the stretches grow when they become too many to keep."""

    bins_max: int
    keep_images: bool
    _width: float = _STEP
    _kept: dict[int, _Candidate] = field(default_factory=dict)
    _last: _Candidate | None = None
    """The best of the stretch that the film is in: encoded only when that is over."""

    def add(self, candidate: _Candidate) -> None:
        last = self._last
        if last is not None and self._bin(last) != self._bin(candidate):
            self._close(last)
            last = None
        if last is None or candidate.sharpness > last.sharpness:
            self._last = candidate

    def closed(self) -> list[_Candidate]:
        """All that is kept, by place."""
        if self._last is not None:
            self._close(self._last)
            self._last = None
        return sorted(self._kept.values(), key=lambda candidate: candidate.place)

    def _bin(self, candidate: _Candidate) -> int:
        return int(candidate.place / self._width)

    def _close(self, candidate: _Candidate) -> None:
        known = self._kept.get(self._bin(candidate))
        if known is not None and known.sharpness >= candidate.sharpness:
            return
        frame = candidate.frame
        if self.keep_images and candidate.image is not None:
            frame = replace(frame, read_color=_encoded(candidate.image))
        self._kept[self._bin(candidate)] = replace(candidate, frame=frame, image=None)
        while len(self._kept) > self.bins_max:
            self._width *= 2
            kept, self._kept = self._kept.values(), {}
            for other in kept:
                rival = self._kept.get(self._bin(other))
                if rival is None or other.sharpness > rival.sharpness:
                    self._kept[self._bin(other)] = other


@dataclass(eq=False)
class _Walk:
    """One pass along a scan: how far each frame lies along it, and where it breaks."""

    motion: Motion
    spacing: float
    collector: _Collector
    last_s: float = float("-inf")
    is_fast: bool = False
    looked_at: int = 0
    _place: float = 0.0
    """Of the frame that motion is measured from, and of the last one."""
    _last_place: float = 0.0
    _from: Look | None = None
    _last: Look | None = None
    _breaks: list[tuple[Look, Look]] = field(default_factory=list)
    _faults: list[tuple[Frame, str]] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        """Look at the next frame."""
        self.last_s = frame.timestamp_s
        self.looked_at += 1
        try:
            image = frame.read_color()
        except UserError as error:
            self._faults.append((frame, str(error)))
            return
        now = look(frame, image)
        place = self._place_of(now)
        self.is_fast = abs(place - self._last_place) > _CALM
        self._last, self._last_place = now, place
        self.collector.add(_Candidate(frame, place, sharpness(image), image))

    def _place_of(self, now: Look) -> float:
        if self._from is None or self._last is None:
            self._from = now
            return self._place
        self._forget_what_came_back(now)
        moved = self.motion(self._from, now)
        if moved == LOST and self._from is not self._last:
            self._from, self._place = self._last, self._last_place
            moved = self.motion(self._from, now)
        if moved == LOST:
            self._breaks.append((self._last, now))
            moved = self.spacing
        place = self._place + moved
        if moved >= _STEP:
            self._from, self._place = now, place
        return place

    def _forget_what_came_back(self, now: Look) -> None:
        """A hand before the lens or a flash is no cut."""
        if self._breaks:
            before, after = self._breaks[-1]
            recent = now.frame.timestamp_s - after.frame.timestamp_s <= _RETURN_S
            if recent and self.motion(before, now) != LOST:
                self._breaks.pop()

    def warnings(self, scan: Scan) -> Iterable[str]:
        """What happened on the way, one line each."""
        if len(self._faults) * 2 > self.looked_at:
            raise UserError(f"{self._faults[0][1]} ({len(self._faults)} of {self.looked_at} frames do not decode)")
        if self._faults:
            first = self._faults[0][0]
            yield (
                f"{len(self._faults)} of {self.looked_at} frames do not decode and are left out; "
                f"first: frame {first.index} ({first.timestamp_s:.1f} s)"
            )
        if len(self._breaks) <= _CUTS_SHARE * self.looked_at:
            for before, after in self._breaks:
                yield (
                    f"{scan.name}: at {after.frame.timestamp_s:.1f} s, between frames {before.frame.index} and "
                    f"{after.frame.index}, the picture jumps to another place, as at a cut"
                )


def _encoded(image: np.ndarray) -> JpegImage:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return JpegImage(data.tobytes())


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
    usual = np.array([np.median(sharp[_span(places, p - 2 * spacing, p + 2 * spacing)]) for p in places])
    relative = sharp / np.maximum(usual, 1e-9)
    chosen: list[int] = []
    span = _span(places, -np.inf, places[0] + (_FAR - 1) * spacing) if places else slice(0, 0)
    while span.start < len(places):
        if span.start == span.stop:
            best = span.start  # the film jumps here: nothing lies as near as it should
        else:
            best = span.start + int(sharp[span].argmax())
            if relative[best] < _BLURRED and chosen:
                wider = slice(span.start, bisect_right(places, places[chosen[-1]] + _VERY_FAR * spacing))
                best = wider.start + int(sharp[wider].argmax())
        chosen.append(best)
        span = _span(places, places[best] + _NEAR * spacing, places[best] + _FAR * spacing)
    return chosen


def _span(places: list[float], low: float, high: float) -> slice:
    return slice(bisect_left(places, low), bisect_right(places, high))
