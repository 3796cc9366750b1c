"""Colour images decoded ahead in a thread, so that a network never waits for the disk."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bev.errors import UserError
from bev.scan import Frame


def decoded_ahead(frames: Sequence[Frame], *, ahead: int) -> Iterator[tuple[Frame, np.ndarray]]:
    """Each frame with its (H, W, 3) uint8 RGB image, in the order given.

    Never more than `ahead` images wait in memory. The thread ends when the caller stops asking.

    Args:
        frames: whose images are wanted.
        ahead: how many images may be decoded before they are asked for, at least 1.

    Raises:
        UserError: an image does not decode, or is not of its camera's size.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[Frame, Future[np.ndarray]]] = deque()
        remaining = iter(frames)
        try:
            for frame in remaining:
                waiting.append((frame, pool.submit(_decode, frame)))
                if len(waiting) >= max(ahead, 1):
                    first, image = waiting.popleft()
                    yield first, image.result()
            while waiting:
                first, image = waiting.popleft()
                yield first, image.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode(frame: Frame) -> np.ndarray:
    image = frame.read_color()
    expected = (frame.camera.height, frame.camera.width, 3)
    if image.shape != expected:
        raise UserError(
            f"frame {frame.index}: its colour image is {image.shape[1]}x{image.shape[0]} px, its camera "
            f"{expected[1]}x{expected[0]}; give the calibration of these images"
        )
    return image
