"""Frame after frame with torch: side by side on a CPU's cores, one by one on a GPU."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bev.errors import require
from bev.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORKERS_MAX = 16


def each_in_torch(
    function: Callable[[Item], Result], items: Sequence[Item], description: str, *, device: str, show: bool
) -> list[Result]:
    """What `function` makes of every item, in their order, without gradients.

    On a CPU every worker is a thread in which torch uses one core. torch's own threads split each operation instead and
    wait for each other at its end: for volumes as small as those of a frame that takes several times as long, and where
    other programs use the cores too, ten times.

    Args:
        function: called from several threads at a time.
        items: what it is called with.
        description: of the progress bar.
        device: torch device on which `function` works.
        show: whether there is a bar.
    """
    torch = require("torch", "video")

    def work(item: Item) -> Result:
        with torch.inference_mode():
            return function(item)

    if not device.startswith("cpu"):
        return [work(item) for item in track(items, description, show=show)]
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(min(_cores(), _WORKERS_MAX))
    try:
        waiting = [workers.submit(work, item) for item in items]
        return [future.result() for future in track(waiting, description, show=show)]
    finally:
        workers.shutdown(cancel_futures=True)  # whoever interrupts waits for the frames at work only
        torch.set_num_threads(torch_threads)


def _cores() -> int:
    """Cores that this process may use, which containers limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
