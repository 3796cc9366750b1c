"""Small films for tests, written with PyAV: what they show is known for every frame."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

RATE = 30


def picture(i: float, width: int = 320, height: int = 240, *, step_px: float = 4.0, seed: int = 0) -> np.ndarray:
    """A textured wall that the camera passes at `step_px` pixels per frame, (height, width, 3) uint8 RGB."""
    wall = _wall(width, height, seed)
    shift = np.array([[1, 0, -(i * step_px) % (2 * width) - 2 * width], [0, 1, 0]], np.float64)
    return cv2.warpAffine(wall, shift, (width, height))


def numbered(i: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A grey picture with `i` as ten black or white fields, which survive any codec."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(10):
        left = width * bit // 10
        image[height // 4 : height * 3 // 4, left : left + width // 10] = 235 if i >> bit & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    """The number in a picture that `numbered` made."""
    height, width = image.shape[:2]
    return sum(int(image[height // 2, width * bit // 10 + width // 20].mean() > 128) << bit for bit in range(10))


def corners(width: int = 320, height: int = 240) -> np.ndarray:
    """A picture whose upper left is red, upper right green, lower left blue and lower right grey."""
    image = np.full((height, width, 3), 120, np.uint8)
    image[: height // 2, : width // 2] = 200, 30, 30
    image[: height // 2, width // 2 :] = 30, 200, 30
    image[height // 2 :, : width // 2] = 30, 30, 200
    return image


def write_film(
    path: Path,
    show: Callable[[int], np.ndarray],
    count: int = RATE * 2,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    file_options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] | None = None,
    tag: Callable[[Any], Any] | None = None,
) -> Path:
    """Write frames `show(0)`, `show(1)`, ... as a film.

    Args:
        path: its ending names the container.
        show: (H, W, 3) uint8 RGB of a frame.
        count: how many.
        codec: of ffmpeg.
        pixels: format that is encoded.
        pts: time stamps in thirtieths of a second, ascending; None: every one.
        options: of the encoder.
        file_options: of the container.
        prepare: is handed the stream before the first frame.
        tag: turns the frame, in RGB, into what is encoded.
    """
    height, width = show(0).shape[:2]
    with av.open(str(path), "w", options=file_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if prepare is not None:
            prepare(stream)
        for i in range(count):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(show(i)), "rgb24")
            frame = image if tag is None else tag(image)
            frame.pts = i if pts is None else pts[i]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, seconds: float = 2.0) -> Path:
    """Write a file with sound and no pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        stream.layout = "mono"
        wave = np.sin(np.arange(int(44100 * seconds)) * 0.05).astype(np.float32)
        for start in range(0, len(wave) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@cache
def _wall(width: int, height: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wall = np.zeros((height, width * 2, 3), np.float32)
    for cells, strength in ((6, 90), (24, 60), (80, 40)):
        coarse = rng.normal(0, strength, (max(2, height * cells // width), cells * 2, 3)).astype(np.float32)
        wall += cv2.resize(coarse, (width * 2, height), interpolation=cv2.INTER_CUBIC)
    return np.tile(np.clip(wall + 128, 0, 255).astype(np.uint8), (1, 3, 1))
