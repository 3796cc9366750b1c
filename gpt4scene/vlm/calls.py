"""Calls of hosted models that can be given up."""

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from gpt4scene.vlm.protocol import Reply

OnText = Callable[[str], None]


@dataclass
class _Done(AbstractContextManager["_Done", bool]):
    """How a call ended: with a reply, or with an error for whoever asked."""

    reply: Reply | None = None
    error: BaseException | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True


class Calls:
    """Calls that end when the model is closed, whatever they wait for.

    A thread that waits for a server, or sleeps before the SDK's next attempt, cannot be woken. So every call runs in
    a daemon thread of its own, which is left to itself when the model is closed: the SDK's client, closed before,
    lets it send nothing more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[queue.SimpleQueue[str | _Done | None]] = set()
        self._closed = False

    def run(self, call: Callable[[OnText], Reply], on_text: OnText | None, model: str) -> Reply:
        """What `call` returns or raises, or a failed reply as soon as `close` is called.

        Args:
            call: takes what each piece of text is given to.
            on_text: called with the pieces, in the thread of the caller.
            model: for the failed reply.
        """
        said: queue.SimpleQueue[str | _Done | None] = queue.SimpleQueue()
        given_up = Reply("", "failed", model, why="the model was closed before it answered")
        with self._lock:
            if self._closed:
                return given_up
            self._under_way.add(said)
        threading.Thread(target=_work, args=(call, said), name="hosted-model", daemon=True).start()
        try:
            while (event := said.get()) is not None:
                if isinstance(event, _Done):
                    if event.error is not None:
                        raise event.error
                    assert event.reply is not None
                    return event.reply
                if on_text is not None:
                    on_text(event)
            return given_up
        finally:
            with self._lock:
                self._under_way.discard(said)

    def close(self) -> None:
        """Give up all calls under way; later ones fail at once."""
        with self._lock:
            self._closed = True
            for said in self._under_way:
                said.put(None)


def _work(call: Callable[[OnText], Reply], said: "queue.SimpleQueue[str | _Done | None]") -> None:
    with _Done() as done:
        done.reply = call(said.put)
    said.put(done)
