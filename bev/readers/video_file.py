"""A film from a phone or a camera: mp4, mov, mkv, webm and whatever else ffmpeg decodes."""

from functools import partial
from pathlib import Path
from typing import Any

from bev.errors import UserError, require
from bev.film import Film, Listing, decoded, listed, opened
from bev.film_picture import Picture
from bev.readers.options import ReadOptions
from bev.readers.single_camera import refuse_what_needs_more, single_camera
from bev.scan import Frame, Scan

LOOKED_FOR = "a film: .mp4 .mov .m4v .mkv .webm .avi .ts .mts .3gp"

ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".3gp", ".mpg", ".mpeg", ".wmv")
SECONDS_MIN = 1.0

_SLACK_S = 0.5
"""Films claim up to this much more than their frames last; sound and rounding do that."""
_SLACK_WITH_SOUND_S = 2.0
"""Likewise where the claim is the whole file's, whose sound may outlast the picture."""


def looks_like(path: Path) -> bool:
    """Whether the path is a file with a film's ending."""
    return path.is_file() and path.suffix.lower() in ENDINGS


def read(path: Path, options: ReadOptions) -> Scan:
    """List the frames of a film; each decodes when it is asked for, upright and at most `long_side_px` long.

    A frame's index is its position among the frames that the film shows, from 0; its timestamp is in seconds since
    the first. There are no poses; the camera is a guess unless intrinsics are given, in pixels of the upright film.

    Raises:
        UserError: no film, none that decodes, without pictures, or shorter than a second.
    """
    refuse_what_needs_more(options, path)
    film, span, warnings = open_film(path, long_side_px=options.long_side_px)
    camera = single_camera(film.picture.full_size, film.picture.size, options)
    stamps = film.listing.timestamps_s.tolist()
    frames = tuple(Frame(i, stamps[i], camera, partial(film.read, i)) for i in span)
    return Scan(
        name=path.stem,
        path=path,
        reader="video",
        frames=frames,
        has_poses=False,
        has_intrinsics=options.intrinsics is not None,
        units="arbitrary",
        is_film=True,
        warnings=warnings,
    )


def open_film(path: Path, *, long_side_px: int = 1280, upright: bool = True) -> tuple[Film, range, tuple[str, ...]]:
    """Open a film: the film, the positions of its frames that can be used, and warnings about the others.

    Args:
        path: of the file.
        long_side_px: larger films are made smaller as they are decoded.
        upright: turn the pictures as the film says, or leave them as the sensor saw them.

    Raises:
        UserError: as `read` says.
    """
    with opened(path) as container:
        stream = _stream(container, path)
        number = stream.index  # a stream must not be asked anything once its container is closed
        listing = listed(container, number)
        claimed_s, slack_s = _claimed_seconds(container, stream)
        aspect = stream.codec_context.sample_aspect_ratio
    first, frame = _first_frame(path, number, listing)
    film = Film(path, number, listing, Picture(frame, aspect, long_side_px, upright=upright))
    warnings: list[str] = []
    if first:
        warnings.append(f"the first {first} frames of {path.name} do not decode and are left out")
    end = len(listing.timestamps_s)
    if listing.last_is_cut or claimed_s > listing.seconds + slack_s:
        end = film.last_that_decodes() + 1
        readable_s = listing.seconds_until(end)
        said = f"of {claimed_s:.1f} s only " if claimed_s > readable_s + _SLACK_S else ""
        warnings.append(
            f"{path.name} is cut short: {said}the first {readable_s:.1f} s can be read (frames up to {end - 1})"
        )
    _check_length(path, listing, first, end)
    return film, range(first, end), tuple(warnings)


def _stream(container: Any, path: Path) -> Any:
    """The film's largest video stream; a cover picture is none."""
    attached = require("av.stream", "video").Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & attached]
    if not streams:
        what = "holds sound but no pictures" if container.streams.audio else "holds no pictures"
        raise UserError(f"{path}: {what}; give a film of the room")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise UserError(
            f"{path}: its video is encrypted or of a kind that ffmpeg has no decoder for; "
            "export it as an unprotected H.264 mp4"
        )
    return max(decodable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)


def _claimed_seconds(container: Any, stream: Any) -> tuple[float, float]:
    """How long the film says it is, 0 where it does not, and how much more that may be than its frames last."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base), _SLACK_S
    return (container.duration or 0) / 1e6, _SLACK_WITH_SOUND_S if container.streams.audio else _SLACK_S


def _first_frame(path: Path, stream: int, listing: Listing) -> tuple[int, Any]:
    with opened(path) as container:
        for place, frame in decoded(container, stream, listing):
            return place, frame
    count = len(listing.timestamps_s)
    if not count:
        raise UserError(f"{path}: holds no whole frame, was it cut short? Copy it again")
    raise UserError(f"{path}: not one of its {count} frames decodes; export the film again")


def _check_length(path: Path, listing: Listing, first: int, end: int) -> None:
    seconds = listing.seconds_until(end) - float(listing.timestamps_s[first])
    # a film of exactly a second may be a rounding error short of it
    if seconds < SECONDS_MIN - 0.01:
        raise UserError(
            f"{path}: lasts {seconds:.2f} s; film the room for at least ten seconds, walking slowly around it"
        )
