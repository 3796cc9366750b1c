"""One pass along a film: how far each frame lies along its motion, the sharpest of each stretch, where it breaks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from bev.errors import UserError
from bev.image_motion import Look, Motion, has_texture, look
from bev.sampling import sharpness
from bev.scan import Frame, Scan

_STEP = 0.02
"""Motion is measured from a picture that stays until this share of its longer side has gone by: so what trembles or
stands still adds nothing up."""
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


def encoded(image: np.ndarray) -> JpegImage:
    """An image, (H, W, 3) uint8 RGB, as JPEG of quality 95."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return JpegImage(data.tobytes())


@dataclass(frozen=True, eq=False)
class Candidate:
    frame: Frame
    place: float
    """Along the film's motion, in shares of the longer side."""
    sharpness: float
    image: np.ndarray | None = None
    """Until it is encoded, (H, W, 3) uint8 RGB."""


@dataclass(eq=False)
class Collector:
    """The sharpest candidate of each stretch of the film; the stretches grow when they become too many to keep."""

    bins_max: int
    keep_images: bool
    _width: float = _STEP
    _kept: dict[int, Candidate] = field(default_factory=dict)
    _last: Candidate | None = None
    """The best of the stretch that the film is in: encoded only when that is over."""

    def add(self, candidate: Candidate) -> None:
        last = self._last
        if last is not None and self._bin(last) != self._bin(candidate):
            self._close(last)
            last = None
        if last is None or candidate.sharpness > last.sharpness:
            self._last = candidate

    def closed(self) -> list[Candidate]:
        """All that is kept, by place."""
        if self._last is not None:
            self._close(self._last)
            self._last = None
        return sorted(self._kept.values(), key=lambda candidate: candidate.place)

    def forget_from(self, place: float) -> None:
        """Leave out all that lies at a place or behind it."""
        self._kept = {number: candidate for number, candidate in self._kept.items() if candidate.place < place}
        if self._last is not None and self._last.place >= place:
            self._last = None

    def _bin(self, candidate: Candidate) -> int:
        return int(candidate.place / self._width)

    def _close(self, candidate: Candidate) -> None:
        known = self._kept.get(self._bin(candidate))
        if known is not None and known.sharpness >= candidate.sharpness:
            return
        frame = candidate.frame
        if self.keep_images and candidate.image is not None:
            frame = replace(frame, read_color=encoded(candidate.image))
        self._kept[self._bin(candidate)] = replace(candidate, frame=frame, image=None)
        while len(self._kept) > self.bins_max:
            self._width *= 2
            kept, self._kept = self._kept.values(), {}
            for other in kept:
                rival = self._kept.get(self._bin(other))
                if rival is None or other.sharpness > rival.sharpness:
                    self._kept[self._bin(other)] = other


@dataclass(eq=False)
class Walk:
    """One pass along a scan: how far each frame lies along it, and where it breaks."""

    motion: Motion
    spacing: float
    collector: Collector
    last_s: float = float("-inf")
    is_fast: bool = False
    looked_at: int = 0
    textured: int = 0
    """How many of the looks showed any texture."""
    _place: float = 0.0
    """Of the frame that motion is measured from, and of the last one."""
    _last_place: float = 0.0
    _from: Look | None = None
    _last: Look | None = None
    _breaks: list[tuple[Look, float, Look]] = field(default_factory=list)
    """The looks before and after, and the place of the one before."""
    _faults: list[tuple[Frame, str]] = field(default_factory=list)

    def take(self, frame: Frame, skipped: Sequence[Frame] = ()) -> None:
        """Look at the next frame; those skipped before it are looked at only if without them the way is lost."""
        self.last_s = frame.timestamp_s
        self.looked_at += 1
        try:
            image = frame.read_color()
        except UserError as error:
            self._faults.append((frame, str(error)))
            return
        now = look(frame, image)
        self.textured += has_texture(now)
        place = self._place_of(now, skipped)
        self.is_fast = abs(place - self._last_place) > _CALM
        self._last, self._last_place = now, place
        self.collector.add(Candidate(frame, place, sharpness(image), image))

    def _place_of(self, now: Look, skipped: Sequence[Frame]) -> float:
        if self._from is None:
            self._from = now
            return self._place
        self._return_to_before(now)
        moved = self._motion_to(now)
        if moved is None and skipped:
            for frame in skipped:
                self.take(frame)
            moved = self._motion_to(now)
        if moved is None:
            assert self._last is not None
            self._breaks.append((self._last, self._last_place, now))
            self._place, moved = self._last_place, self.spacing
        place = self._place + moved
        if moved >= _STEP:
            self._from, self._place = now, place
        return place

    def _motion_to(self, now: Look) -> float | None:
        """From the picture that stays or, if that has gone out of sight, from the last one."""
        assert self._from is not None and self._last is not None
        moved = self.motion(self._from, now)
        if moved is None and self._from is not self._last:
            moved = self.motion(self._last, now)
            if moved is not None:
                self._from, self._place = self._last, self._last_place
        return moved

    def _return_to_before(self, now: Look) -> None:
        """A hand before the lens or a flash is no cut: what it showed is forgotten."""
        if not self._breaks:
            return
        before, place, after = self._breaks[-1]
        recent = now.frame.timestamp_s - after.frame.timestamp_s <= _RETURN_S
        if recent and self.motion(before, now) is not None:
            self._breaks.pop()
            self.collector.forget_from(place + self.spacing)
            self._from = self._last = before
            self._place = self._last_place = place

    def check(self, scan: Scan) -> None:
        """Whether there was anything to see at all."""
        if len(self._faults) * 2 > self.looked_at:
            raise UserError(f"{self._faults[0][1]} ({len(self._faults)} of {self.looked_at} frames do not decode)")
        if not self.textured and not scan.has_poses:
            raise UserError(
                f"{scan.path}: not one of {self.looked_at} frames shows more than dark or bare surfaces; "
                "switch on the light, and film furniture along with the walls"
            )

    def warnings(self, scan: Scan) -> Iterable[str]:
        """What happened on the way, one line each."""
        if self._faults:
            first = self._faults[0][0]
            yield (
                f"{len(self._faults)} of {self.looked_at} frames do not decode and are left out; "
                f"first: frame {first.index} ({first.timestamp_s:.1f} s)"
            )
        if len(self._breaks) <= _CUTS_SHARE * self.looked_at:
            for before, _, after in self._breaks:
                yield (
                    f"{scan.name}: at {after.frame.timestamp_s:.1f} s, between frames {before.frame.index} and "
                    f"{after.frame.index}, the picture jumps to another place, as at a cut"
                )
