"""Many questions to a model: what is known already is not asked, what comes back is kept at once, money has a limit."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from bev.errors import UserError
from gpt4scene.vlm.asked import Asked, Kept, shown_progress
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.protocol import VLM, Reply, Request, TokenRange, Usage
from gpt4scene.vlm.scheduling import Schedule, grouped
from gpt4scene.vlm.spending import Outlay, Spending, lower_usd, sum_of, upper_usd

_WAKE_S = 0.5
"""How long to wait at a time: some systems hold Ctrl-C back while a thread waits."""
_FAREWELL_S = 2.0
"""How long an interrupted run waits for answers that are under way."""


@dataclass(frozen=True)
class Plan:
    """What asking would take, before anything is sent."""

    cached: int
    """Questions that take no request."""
    to_send: int
    tokens: TokenRange
    """Input tokens of all that would be sent."""
    output_tokens: int
    """At most, hidden reasoning included."""
    cost_low_usd: float | None
    """With the provider's discounts and answers of one token; None where no price is known."""
    cost_high_usd: float | None
    """Without discounts, every answer as long as it may be, and what killed runs may have paid for the same."""


def ask_all(
    model: VLM,
    requests: Sequence[Request],
    *,
    cache: AnswerCache,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    progress: bool = False,
    on_kept: Callable[[int, Kept], None] | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Asked:
    """Ask what the cache does not hold, scene after scene, and keep every reply as soon as it is there.

    Equal requests are sent once. A model that answers one call at a time is called from this thread, others from
    several. When interrupted, the model is closed and what arrives within two seconds is kept.

    Args:
        model: to be asked.
        requests: in any order.
        cache: of answers.
        retry_failed: ask again what was refused or truncated. What failed is always asked again.
        max_cost_usd: send nothing that might lead beyond so many US dollars; what is under way is still kept.
        progress: show a bar.
        on_kept: called from this thread with the position of a request and what became of it, in the order in which
            that is known.
        on_text: called with each piece of text as it arrives, all at once where it is in the cache; for one request.

    Raises:
        UserError: what the model says would fail for every question, after those under way were kept; the cache cannot
            be written; or a limit is given and no price is known.
    """
    if on_text is not None and len(requests) != 1:
        raise ValueError(f"on_text is for one request, there are {len(requests)}")
    run = _Run(model, requests, cache, retry_failed=retry_failed)
    run.on_text = on_text
    with shown_progress(len(requests), model.name, run.spent, show=progress) as move:
        run.told = [move, *([on_kept] if on_kept else [])]
        for key, positions in run.positions.items():
            reply = run.in_cache(key)
            if reply is not None:
                run.keep(positions, reply, cached=True)
        if any(kept is None for kept in run.kept):
            run.ask(max_cost_usd)
    return run.asked()


def plan(model: VLM, requests: Sequence[Request], *, cache: AnswerCache, retry_failed: bool = False) -> Plan:
    """What `ask_all` would send and at most spend, without sending anything.

    Raises:
        UserError: an image is missing.
    """
    run = _Run(model, requests, cache, retry_failed=retry_failed)
    missing = {key: at[0] for key, at in run.positions.items() if run.in_cache(key) is None}
    ranges = {key: model.estimate(requests[at]) for key, at in missing.items()}
    tokens = TokenRange(sum(r.low for r in ranges.values()), sum(r.high for r in ranges.values()))
    most = {key: model.max_output_tokens(requests[at]) for key, at in missing.items()}
    low = high = None
    if model.price is not None:
        heads = {group[0] for group in grouped([requests[at] for at in missing.values()])}
        price, discounts = model.price, [model.prefix_discount and i not in heads for i in range(len(missing))]
        low = sum(
            lower_usd(price, r.low, discount=discount) for r, discount in zip(ranges.values(), discounts, strict=True)
        )
        own = {key: upper_usd(price, ranges[key].high, most[key]) for key in missing}
        high = sum(cost + sum_of(cache.lost(key), cost) for key, cost in own.items())
    return Plan(len(requests) - len(missing), len(missing), tokens, sum(most.values()), low, high)


@dataclass(frozen=True)
class _Sent:
    """One question of a batch that is out."""

    key: str
    position: int
    attempt: int
    outlay: Outlay


class _Run:
    """One call of `ask_all`: everything but the model's calls happens in the caller's thread."""

    def __init__(self, model: VLM, requests: Sequence[Request], cache: AnswerCache, *, retry_failed: bool) -> None:
        self.model, self.requests, self.cache, self.retry_failed = model, requests, cache, retry_failed
        self.told: list[Callable[[int, Kept], None]] = []
        self.on_text: Callable[[str], None] | None = None
        self.kept: list[Kept | None] = [None] * len(requests)
        self.positions: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            self.positions.setdefault(request_key(model, request), []).append(position)
        self.sent = 0
        self.stopped = ""
        self.spending = Spending(model, cache, None)
        self._fault: BaseException | None = None
        self._leaving = False
        self._out: dict[Future[list[Reply]], tuple[tuple[int, ...], list[_Sent]]] = {}

    def in_cache(self, key: str) -> Reply | None:
        """The kept reply, if it is one to be content with."""
        reply = self.cache.get(key)
        return None if reply is not None and self.retry_failed and reply.outcome != "answered" else reply

    def keep(self, positions: Sequence[int], reply: Reply, *, cached: bool, cost: float | None = 0.0) -> None:
        """Note a reply for all requests that are the same; the first of them has paid unless it was `cached`."""
        if cached and self.on_text is not None:
            self.on_text(reply.text)
        for nth, position in enumerate(positions):
            kept = Kept(reply, cached, cost) if nth == 0 else Kept(reply, True, 0.0)
            self.kept[position] = kept
            for told in self.told:
                told(position, kept)

    def spent(self) -> str:
        """What stands beside the progress bar."""
        return "" if self.model.price is None else f"${self.spending.total_usd:.4f}"

    def asked(self) -> Asked:
        money = self.spending
        return Asked(
            kept=tuple(self.kept),
            sent=self.sent,
            usage=money.usage,
            cost_usd=None if self.model.price is None and self.sent else money.total_usd,
            unsure_usd=money.unsure_usd,
            unsure=money.unsure,
            all_runs_usd=self.cache.spent_usd(self.positions),
            stopped=self.stopped,
        )

    def ask(self, max_cost_usd: float | None) -> None:
        """Send whatever is not kept yet, until it is done, too dear, or futile."""
        self.spending = Spending(self.model, self.cache, max_cost_usd)
        self._keys = [key for key, positions in self.positions.items() if self.kept[positions[0]] is None]
        firsts = [self.requests[self.positions[key][0]] for key in self._keys]
        in_flight = min(self.model.in_flight, len(firsts))
        self._schedule = Schedule(
            grouped(firsts),
            batch_size=self.model.batch_size,
            in_flight=in_flight,
            prefix_discount=self.model.prefix_discount,
        )
        threads = ThreadPoolExecutor(in_flight, thread_name_prefix="asking") if in_flight > 1 else None
        try:
            self._send_and_take_in(threads)
        except KeyboardInterrupt:
            self.model.close()
            raise
        finally:
            self._take_in_last()
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)
        if self._fault is not None:
            raise self._fault

    def _send_and_take_in(self, threads: ThreadPoolExecutor | None) -> None:
        waiting: tuple[int, ...] | None = None
        while True:
            while self._fault is None and not self.stopped:
                waiting = waiting or self._schedule.next()
                if waiting is None or not self._may_send(waiting):
                    break
                self._send(waiting, threads)
                waiting = None
            if not self._out:
                return
            self._take_in()

    def _may_send(self, batch: tuple[int, ...]) -> bool:
        """Whether a batch is within the limit; if not, and nothing is under way that may turn out cheaper, stop."""
        if self.spending.max_usd is None:
            return True
        outlays = [self._outlay(number) for number in batch]
        if self.spending.room_for(outlays):
            return True
        if not self._out:
            left = sum(kept is None for kept in self.kept)
            most = sum(outlay.upper_usd + outlay.lost_usd for outlay in outlays)
            self.stopped = (
                f"{left} of {len(self.kept)} questions were not asked: the next may cost up to ${most:.4f}, which after"
                f" ${self.spending.total_usd:.4f} is beyond --max-cost {self.spending.max_usd:g}"
            )
        return False

    def _send(self, batch: tuple[int, ...], threads: ThreadPoolExecutor | None) -> None:
        sent = [one for one in map(self._start, batch) if one is not None]
        if not sent:
            self._schedule.ended(batch)
            return
        self.sent += len(sent)
        requests = [self.requests[one.position] for one in sent]
        if threads is not None:
            future = threads.submit(self.model.reply, requests, self.on_text)
        else:
            future = _done_now(self.model, requests, self.on_text)
        self._out[future] = batch, sent

    def _start(self, number: int) -> _Sent | None:
        """Note an attempt in the journal; None where another process has brought the answer by now."""
        key = self._keys[number]
        reply = self.in_cache(key)
        if reply is not None:
            self.keep(self.positions[key], reply, cached=True)
            return None
        outlay = self._outlay(number)
        self.spending.reserve(outlay)
        attempt = self.cache.started(key, None if self.model.price is None else outlay.upper_usd)
        return _Sent(key, self.positions[key][0], attempt, outlay)

    def _outlay(self, number: int) -> Outlay:
        key = self._keys[number]
        return self.spending.outlay(key, self.requests[self.positions[key][0]])

    def _take_in(self, timeout_s: float = math.inf) -> None:
        """Wait for at least one batch, and keep what has come."""
        done: set[Future[list[Reply]]] = set()
        until = time.monotonic() + timeout_s
        while not done and time.monotonic() < until:
            done, _ = wait(self._out, timeout=_WAKE_S, return_when=FIRST_COMPLETED)
        for future in done:
            batch, sent = self._out.pop(future)
            self._schedule.ended(batch)
            fault = future.exception()
            if fault is None:
                for one, reply in zip(sent, future.result(), strict=True):
                    self._store(one, reply)
            else:
                self._turned_away(sent, fault)

    def _take_in_last(self) -> None:
        """Where the run broke off, keep what still comes soon."""
        self._leaving = True
        until = time.monotonic() + _FAREWELL_S
        while self._out and time.monotonic() < until:
            self._take_in(timeout_s=until - time.monotonic())

    def _store(self, one: _Sent, reply: Reply) -> None:
        if self._leaving and reply.outcome == "failed":
            return  # it was we who hung up: the attempt stays open, and counts in the next run
        cost = self.spending.settle(one.outlay, reply)
        self.cache.finished(one.key, reply, cost, attempt=one.attempt, request=self.requests[one.position])
        self.keep(self.positions[one.key], reply, cached=False, cost=cost)

    def _turned_away(self, sent: Sequence[_Sent], fault: BaseException) -> None:
        self._fault = self._fault or fault
        if isinstance(fault, UserError) and not self._leaving:
            for one in sent:
                self.spending.release(one.outlay)
                failed = Reply("", "failed", self.model.name, Usage(0, 0), str(fault))
                self.cache.finished(one.key, failed, 0.0, attempt=one.attempt)


def _done_now(model: VLM, requests: Sequence[Request], on_text: Callable[[str], None] | None) -> Future[list[Reply]]:
    """A call in this thread, which Ctrl-C ends where it stands."""
    done: Future[list[Reply]] = Future()
    try:
        done.set_result(model.reply(requests, on_text))
    except UserError as error:
        done.set_exception(error)
    return done
