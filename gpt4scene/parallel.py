"""The same work on many things: in processes of this machine, or on a Ray cluster; one that fails stops no other."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bev.errors import UserError, require

Item = TypeVar("Item")
Result = TypeVar("Result")

_KILLED = (
    "its process was killed or crashed (the system does so where memory runs out: fewer --jobs need less); the same"
    " command again does it anew"
)
_NOT_BEGUN = (
    'no process could be begun for it; a script that starts processes does so under `if __name__ == "__main__":`, and'
    " each needs memory of its own"
)
_END_S = 5.0
"""How long a process that was asked to end may take."""
_WAKE_S = 0.5
"""How long to wait at a time, so that Ctrl-C is heard."""
_KNOCK_S = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What became of one thing."""

    name: str
    result: Result | None
    """None where it failed."""
    error: str = ""
    """Why it failed, in one line; empty where it did not."""


def run_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    names: Sequence[str],
    jobs: int = 1,
    ray: str | None = None,
    on_done: Callable[[Done[Result]], None] | None = None,
) -> list[Done[Result]]:
    """Call a function with every item, each in a process that is not this one, and say what became of each.

    An item whose function raises an error, or whose process is killed, is a `Done` with an error, and the others go on.
    Processes are started afresh (not forked), so a script that calls this does so under `if __name__ == "__main__"`.

    Args:
        function: of the top level of a module, or a `functools.partial` of one: it travels by pickle.
        items: what it is called with; they travel by pickle.
        names: of the items, for messages.
        jobs: how many processes work side by side; with Ray, how many items are under way at most, 0 for as many as
            the cluster takes.
        ray: None: processes on this machine. "local": a Ray of its own on this machine. Else the address of a
            cluster ("auto" for the one that is running here), on which this package is installed and which sees the
            same files.
        on_done: called from this thread with each as it ends, in the order in which they end.

    Returns:
        One for each item, in their order.

    Raises:
        UserError: `jobs` is out of range; no process begins; Ray is not installed, or no such cluster answers.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # a process of an outer call, which loads a script that calls this without a guard; that call says so
        raise SystemExit(1)
    if len(names) != len(items):
        raise ValueError(f"{len(items)} items have {len(names)} names")
    if jobs < (0 if ray else 1):
        raise UserError(f"--jobs {jobs}: must be 1 or more")
    ending = _on_ray(function, items, jobs, ray) if ray else _in_processes(function, items, jobs)
    found: dict[int, Done[Result]] = {}
    with closing(ending):  # at once, whatever breaks the loop
        for position, result, error in ending:
            found[position] = done = Done(names[position], result, error)
            if on_done is not None:
                on_done(done)
    return [found[position] for position in range(len(items))]


def default_jobs(ray: str | None = None) -> int:
    """How many processes to start where nobody says: one for each core of this machine that may be used; with Ray 0,
    as many as the cluster takes."""
    return 0 if ray else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(function: Callable[[Item], Result], item: Item) -> tuple[Result | None, str]:
    """The result, or the error in one line: exceptions of third parties may not travel between processes."""
    try:
        return function(item), ""
    except UserError as error:
        return None, " ".join(str(error).split())
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever is wrong with one item may not end the others
        logger.debug("%s", traceback.format_exc())
        return None, _line_of(error)


def _line_of(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said} (at {os.path.basename(last.filename)}:{last.lineno})"  # noqa: PTH119


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int
) -> Generator[tuple[int, Result | None, str], None, None]:
    lanes = min(jobs, len(items))
    if not lanes:
        return
    with _threads_shared(lanes):
        crew = _Crew(lanes)
        threads = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        waiting = {threads.submit(crew.call, function, item): at for at, item in enumerate(items)}
        try:
            yield from _as_they_end(waiting)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            crew.end()


def _as_they_end(waiting: Mapping[Future[tuple[Any, str]], int]) -> Iterator[tuple[int, Any, str]]:
    left = set(waiting)
    while left:
        ended, left = wait(left, timeout=_WAKE_S, return_when=FIRST_COMPLETED)
        for future in sorted(ended, key=lambda future: waiting[future]):
            yield waiting[future], *future.result()


class _Crew:
    """One process for each lane, so that one that dies takes nothing but its own item along."""

    def __init__(self, lanes: int) -> None:
        self._own = threading.local()
        self._all: set[ProcessPoolExecutor] = set()
        self._lock = threading.Lock()
        self._ended = False
        self._worked = False

    def call(self, function: Callable[[Item], Result], item: Item) -> tuple[Result | None, str]:
        """Call in the process of the thread's lane, which is started anew where it died."""
        lane = self._lane()
        if lane is None:
            return None, "interrupted"
        begun = False
        try:
            begun = lane.submit(os.getpid).result() > 0
            self._worked = True
            return lane.submit(_outcome, function, item).result()
        except BrokenProcessPool as error:
            self._own.lane = None
            with self._lock:
                self._all.discard(lane)
            if not begun and not self._worked:
                raise UserError(_NOT_BEGUN) from error
            return None, _KILLED if begun else _NOT_BEGUN
        except Exception as error:  # noqa: BLE001  the item or the result does not travel by pickle
            return None, _line_of(error)

    def _lane(self) -> ProcessPoolExecutor | None:
        lane = getattr(self._own, "lane", None)
        if lane is None:
            level = logging.getLogger().level
            with self._lock:
                if self._ended:
                    return None
                fresh = multiprocessing.get_context("spawn")
                lane = ProcessPoolExecutor(1, mp_context=fresh, initializer=_begin, initargs=(level,))
                self._all.add(lane)
            self._own.lane = lane
        return lane

    def end(self) -> None:
        """End all processes; only where the run broke off is any of them at work."""
        with self._lock:
            self._ended = True
            lanes, self._all = self._all, set()
        started = [lane._processes or {} for lane in lanes]
        for lane in lanes:
            lane.shutdown(wait=False, cancel_futures=True)
        # only now, when none can be added any more
        processes = [process for each in started for process in list(each.values())]
        for process in processes:
            process.terminate()
        until = time.monotonic() + _END_S
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
        for process in processes:
            if process.is_alive():  # native code may put the signal off
                process.kill()
                process.join()


def _begin(level: int) -> None:
    """What a worker does first: Ctrl-C is for the process that started it, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=max(level, logging.WARNING) if level != logging.DEBUG else level, format="%(message)s")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Else workers of a run that was killed would stay for good, and write beside those of the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _threads_shared(lanes: int) -> Iterator[None]:
    """Libraries in the workers share the cores, where the user has not said otherwise; they read this as they load."""
    unset = [name for name in _THREADS if name not in os.environ] if lanes > 1 else []
    os.environ.update({name: str(max(1, _cores() // lanes)) for name in unset})
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _on_ray(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, address: str
) -> Generator[tuple[int, Result | None, str], None, None]:
    # nothing is told to anybody; read when Ray is imported
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = require("ray", "ray")
    began = not cluster.is_initialized()
    if began:
        _connect(cluster, address, jobs)
    try:
        remote = cluster.remote(max_retries=0)(_outcome)
        coming = iter(enumerate(items))
        under_way: dict[Any, int] = {}
        while True:
            while len(under_way) < (jobs or len(items)) and (following := next(coming, None)) is not None:
                under_way[remote.remote(function, following[1])] = following[0]
            if not under_way:
                return
            ended, _ = cluster.wait(list(under_way), num_returns=1)
            for reference in ended:
                position = under_way.pop(reference)
                try:
                    result, error = cluster.get(reference)
                except cluster.exceptions.RayTaskError as fault:  # the function did not even arrive
                    result, error = None, f"Ray could not run it: {str(fault).strip().splitlines()[-1][:300]}"
                except cluster.exceptions.RayError as fault:
                    result, error = None, f"{_KILLED} ({type(fault).__name__})"
                yield position, result, error
    finally:
        if began:
            cluster.shutdown()


def _connect(cluster: Any, address: str, jobs: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            cluster.init(address="local", num_cpus=jobs or None, include_dashboard=False, **quiet)
        else:
            _knock(address)
            cluster.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(
            f"--ray {address}: no cluster answers ({line}); start one with `ray start --head`, and where one is there"
            " that asks for its token, as Ray's do by default, set RAY_AUTH_MODE=token"
        ) from error


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself tries for minutes before it says so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
