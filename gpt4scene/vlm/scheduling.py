"""In which order questions go out: scene after scene, so that a provider's discount on a common prefix applies."""

from bisect import insort
from collections import deque
from collections.abc import Sequence

from gpt4scene.vlm.cache import parameters_key
from gpt4scene.vlm.protocol import Request

WAVES_WAITING = 2
"""Another scene is begun while fewer than so many rounds of questions wait in those begun: enough that no slot is
idle, few enough that a scene's prefix is still in the provider's cache, minutes later, when its turn comes."""


def grouped(requests: Sequence[Request]) -> list[list[int]]:
    """Positions of requests that share their image prefix and their parameters.

    Prefixes in the order in which they first appear; the groups of one prefix, which differ in their parameters, next
    to each other; within a group the order is kept.
    """
    of_prefix: dict[str, dict[str, list[int]]] = {}
    for position, request in enumerate(requests):
        groups = of_prefix.setdefault(request.conversation.prefix_key(), {})
        groups.setdefault(parameters_key(request), []).append(position)
    return [group for groups in of_prefix.values() for group in groups.values()]


class Schedule:
    """Which batch goes out next; it knows neither time nor threads.

    Every batch is of one group, and the groups come one after another. Where a discount on the prefix is to be had, one
    question of a group goes ahead and its others wait until that one is `ended`; the next groups' first questions fill
    the slots meanwhile.

    Args:
        groups: as `grouped` gives them.
        batch_size: how many questions a batch holds at most.
        in_flight: how many batches are out at once at most.
        prefix_discount: whether one question goes ahead.
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], *, batch_size: int = 1, in_flight: int = 1, prefix_discount: bool = False
    ) -> None:
        self._batch_size = batch_size
        self._in_flight = in_flight
        # with a single slot, whatever comes first is back before the others go
        self._ahead = prefix_discount and in_flight > 1
        self._groups = [deque(group) for group in groups if group]
        self._new = 0
        """The first group of which nothing went out."""
        self._begun: list[int] = []
        """Groups of which questions may go out at once, in order."""
        self._waiting: dict[int, int] = {}
        """By the question that went ahead: its group, of which the others wait."""
        self._out: set[tuple[int, ...]] = set()

    def next(self) -> tuple[int, ...] | None:
        """The batch to send now; None while all slots are taken, others are waited for, or nothing is left."""
        if len(self._out) >= self._in_flight:
            return None
        batch = self._first_of_another() if self._ahead else None
        batch = batch or self._ready()
        if batch:
            self._out.add(batch)
        return batch

    def ended(self, batch: tuple[int, ...]) -> None:
        """Note that a batch is back, whatever came of it."""
        self._out.remove(batch)
        group = self._waiting.pop(batch[0], None)
        if group is not None and self._groups[group]:
            insort(self._begun, group)

    def _first_of_another(self) -> tuple[int, ...] | None:
        unsent = sum(len(self._groups[group]) for group in (*self._begun, *self._waiting.values()))
        if self._new == len(self._groups) or unsent >= WAVES_WAITING * self._in_flight * self._batch_size:
            return None
        first = self._groups[self._new].popleft()
        self._waiting[first] = self._new
        self._new += 1
        return (first,)

    def _ready(self) -> tuple[int, ...] | None:
        if not self._ahead and not self._begun and self._new < len(self._groups):
            self._begun.append(self._new)
            self._new += 1
        if not self._begun:
            return None
        group = self._groups[self._begun[0]]
        batch = tuple(group.popleft() for _ in range(min(self._batch_size, len(group))))
        if not group:
            del self._begun[0]
        return batch
