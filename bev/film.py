"""A film on disk: frames by number, decoded when they are asked for, never all in memory."""

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError, require
from bev.film_picture import Picture

_SEEK_BEYOND = 12
"""Frames that a seek must save: it empties the decoder's threads, which then start anew."""
_NOWHERE = (-1, None)


@dataclass(frozen=True, eq=False)
class Listing:
    """The n frames of a film in the order in which they are shown, from its packets; nothing is decoded for it."""

    timestamps_s: np.ndarray
    """(n,) float64, ascending; the first frame is at 0."""
    ticks: tuple[int, ...] | None
    """(n,) time stamps as the decoder gives them; None where the file has none and frames can only be counted."""
    keys: tuple[int, ...]
    """Positions, ascending, at which decoding can start; (0,) for what can only be counted."""
    key_ticks: tuple[int, ...]
    """What to seek for each of them: the time at which it is decoded, before it is shown."""
    last_is_cut: bool
    """The file ends within a frame's data."""

    @property
    def seconds(self) -> float:
        """How long all the frames last."""
        return self.seconds_until(len(self.timestamps_s))

    def seconds_until(self, end: int) -> float:
        """When the frame before position `end` is over, if it lasts as long as is usual in this film."""
        stamps = self.timestamps_s
        usual = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
        return float(stamps[end - 1]) + usual if end > 0 else 0.0


class Film:
    """The pictures of a film by their position in it, from one open file; reading is guarded by a lock.

    Reading forward decodes each frame once. Reading elsewhere seeks the key frame before and decodes from there.
    """

    def __init__(self, path: Path, stream: int, listing: Listing, picture: Picture) -> None:
        self.path = path
        self.listing = listing
        self.picture = picture
        self._stream = stream
        self._lock = threading.Lock()
        self._container: Any = None
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._at: tuple[int, Any] = _NOWHERE
        """Position and frame that were decoded last."""
        self._missing: set[int] = set()

    def read(self, position: int) -> np.ndarray:
        """The frame at a position: (H, W, 3) uint8 RGB, upright, of the size of `picture`.

        Raises:
            UserError: the frame does not decode.
        """
        with self._lock:
            return self.picture.rgb(self._frame(position))

    def last_that_decodes(self) -> int:
        """The position of the last frame that decodes, -1 where none does: what a film cut short ends with."""
        with self._lock:
            for key in reversed(self.listing.keys):
                self._seek(key)
                reached = self._at[0]
                for place, _ in self._frames:
                    reached = max(reached, place)
                self._at = _NOWHERE
                if reached >= key:
                    return reached
        return -1

    def _frame(self, position: int) -> Any:
        if position not in self._missing:
            behind = self._at[0] > position or self._at[1] is None
            if behind or self._key_before(position) > self._at[0] + _SEEK_BEYOND:
                self._seek(position)
            while self._at[1] is not None and self._at[0] < position:
                self._at = next(self._frames, _NOWHERE)
            if self._at[0] == position:
                return self._at[1]
            ends = len(self.listing.timestamps_s) if self._at[1] is None else self._at[0]
            self._missing.update(range(position, ends))
        raise UserError(
            f"{self.path}: frame {position} ({self.listing.timestamps_s[position]:.1f} s) does not decode, "
            "the file is damaged there; export the film again or leave this part out"
        )

    def _key_before(self, position: int) -> int:
        keys = self.listing.keys
        return keys[max(0, bisect_right(keys, position) - 1)]

    def _seek(self, position: int) -> None:
        """Go to a place from where the wanted frame comes; the first frame from there is decoded."""
        key = self._key_before(position)
        for _ in range(3 if self.listing.ticks is not None else 0):
            if self._starts_at(key) and self._at[0] <= position:
                return
            key = self._key_before(key - 1)  # what comes after this key frame needs what lies before it
        self._container = opened(self.path)
        self._start()

    def _starts_at(self, key: int) -> bool:
        av = require("av", "video")
        tick = self.listing.key_ticks[bisect_right(self.listing.keys, key) - 1]
        try:
            if self._container is None:
                self._container = opened(self.path)
            self._container.seek(tick, stream=self._container.streams[self._stream])
        except av.error.FFmpegError:
            return False
        self._start()
        return self._at[1] is not None

    def _start(self) -> None:
        self._frames = decoded(self._container, self._stream, self.listing)
        self._at = next(self._frames, _NOWHERE)


def opened(path: Path) -> Any:
    """The PyAV container of a file.

    Raises:
        UserError: it is no film that can be opened.
    """
    av = require("av", "video")
    try:
        return av.open(str(path))
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: {_why_not_open(path, error)}") from error


def listed(container: Any, stream: int) -> Listing:
    """List the frames of a container's stream from its packets, which are read once, and not decoded."""
    av = require("av", "video")
    source = container.streams[stream]
    rows: list[tuple[int | None, int | None, bool]] = []
    cut = False
    try:
        for packet in container.demux(source):
            # packets to discard lie outside of what an edit of the film has left of it
            if packet.size and not packet.is_discard:
                rows.append((packet.pts, packet.dts, packet.is_keyframe))
                cut = packet.is_corrupt
    except av.error.FFmpegError:
        cut = True
    shown = [(pts, dts, key) for pts, dts, key in rows if pts is not None]
    if not rows or len({pts for pts, _, _ in shown}) < len(rows):
        rate = float(source.guessed_rate or source.average_rate or 30)
        return Listing(np.arange(len(rows)) / rate, None, (0,), (0,), cut)
    shown.sort()
    ticks = tuple(pts for pts, _, _ in shown)
    stamps = np.array(ticks, np.float64) * float(source.time_base or 0)
    keys = tuple(i for i, row in enumerate(shown) if row[2]) or (0,)
    key_ticks = tuple(pts if dts is None else min(pts, dts) for pts, dts, _ in (shown[key] for key in keys))
    return Listing(stamps - stamps[:1], ticks, keys, key_ticks, cut)


def decoded(container: Any, stream: int, listing: Listing) -> Iterator[tuple[int, Any]]:
    """Position and frame, ascending, from where the container stands to its end.

    After data that does not decode nothing comes until the next key frame: what decoders make up in between is no
    picture of the room.
    """
    av = require("av", "video")
    source = container.streams[stream]
    if not source.codec_context.is_open:
        source.thread_type = "AUTO"
    places = None if listing.ticks is None else {tick: i for i, tick in enumerate(listing.ticks)}
    count, whole = 0, True
    packets = container.demux(source)
    while (packet := _next_packet(packets)) is not None:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            whole = False
            continue
        for frame in frames:
            whole = not frame.is_corrupt and (whole or bool(frame.key_frame))
            place = count if places is None else places.get(frame.pts)
            count += 1
            if whole and place is not None and place < len(listing.timestamps_s):
                yield place, frame


def _next_packet(packets: Iterator[Any]) -> Any:
    """The last packet of all is an empty one, which empties the decoder; then, or where the file breaks, None."""
    av = require("av", "video")
    try:
        return next(packets, None)
    except av.error.FFmpegError:
        return None


def _why_not_open(path: Path, error: Any) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read (no permission); make it readable, or copy it"
    if path.stat().st_size == 0:
        return "the file is empty; copy it again"
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"moov"):
        return (
            "the film's table of contents (moov) is missing, so nothing of it can be decoded: was it cut short while "
            "it was recorded or copied? Copy it again from the phone"
        )
    return f"is no film that can be read ({error.strerror}); give an mp4, mov, mkv or webm file"
