"""Work done ahead in threads: images decoded before a network asks for them, frames lifted side by side."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from bev.errors import UserError
from bev.scan import Frame

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def done_ahead(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int, threads: int = 1
) -> Iterator[_Result]:
    """What the work makes of each item, in the order of the items.

    Never more than `ahead` results wait in memory. The threads end when the caller stops asking.

    Args:
        work: called in the threads.
        items: iterated by the caller's own thread.
        ahead: how many items may be begun before they are asked for, at least 1.
        threads: how many are worked on at a time.

    Raises:
        whatever the work raises, when that item's turn comes.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= max(ahead, 1):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def decoded_ahead(frames: Sequence[Frame], *, ahead: int) -> Iterator[tuple[Frame, np.ndarray]]:
    """Each frame with its (H, W, 3) uint8 RGB image, in the order given; decoded in one thread, see `done_ahead`.

    Args:
        frames: whose images are wanted.
        ahead: how many images may be decoded before they are asked for, at least 1.

    Raises:
        UserError: an image does not decode, or is not of its camera's size.
    """
    return done_ahead(_decoded, frames, ahead=ahead)


def _decoded(frame: Frame) -> tuple[Frame, np.ndarray]:
    image = frame.read_color()
    expected = (frame.camera.height, frame.camera.width, 3)
    if image.shape != expected:
        raise UserError(
            f"frame {frame.index}: its colour image is {image.shape[1]}x{image.shape[0]} px, its camera "
            f"{expected[1]}x{expected[0]}; give the calibration of these images"
        )
    return frame, image
