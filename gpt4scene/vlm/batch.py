"""Questions at half the price, answered within a day: providers' batches, submitted, watched and collected.

Every step is noted in the batch's folder before it is taken and may be repeated: a process killed anywhere loses
nothing, and submits nothing twice that the provider can be asked about. Replies go into the cache of answers, where
the next ordinary run finds them.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bev.errors import UserError, require
from gpt4scene.scene.atomic import fresh_file, write_errors
from gpt4scene.vlm.batch_anthropic import AnthropicBatches
from gpt4scene.vlm.batch_openai import OpenAIBatches
from gpt4scene.vlm.batch_shards import (
    BatchAPI,
    Shard,
    begin,
    check,
    discard_requests,
    locked,
    read_shards,
    save,
    write_shards,
)
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.hosted import HostedVLM
from gpt4scene.vlm.prices import BATCH_SHARE, cost_usd
from gpt4scene.vlm.protocol import VLM, Reply, Request, Usage
from gpt4scene.vlm.spending import upper_usd

_SETTLE_S = 30.0
"""After so long, a submission that the provider does not list has not reached it."""


@dataclass(frozen=True)
class BatchState:
    """How far a batch is."""

    shards: tuple[Shard, ...]

    @property
    def requests(self) -> int:
        """How many requests it holds; those that were asked again count again."""
        return sum(len(shard.keys) for shard in self.shards)

    @property
    def to_collect(self) -> int:
        """Requests with which the provider has done and whose replies are not in the cache yet."""
        return sum(len(shard.keys) for shard in self.shards if shard.status == "ended")

    @property
    def done(self) -> bool:
        """Whether everything is in the cache."""
        return all(shard.status == "collected" for shard in self.shards)

    def lines(self) -> list[str]:
        """What to tell the user, a line for each part."""
        return [
            f"part {shard.index}: {len(shard.keys)} requests, {shard.status}"
            + (f" ({shard.unsure or shard.said})" if shard.unsure or shard.said else "")
            for shard in self.shards
        ]


@dataclass(frozen=True)
class Collected:
    """What came out of a batch in one call."""

    outcomes: Mapping[str, int]
    """How many replies of each outcome; those that failed are not in the cache, and `submit` asks them again."""
    failures: Mapping[str, int]
    """Why they failed, and how many."""
    usage: Usage
    cost_usd: float | None
    """None where no price is known."""


def submit(
    model: VLM,
    requests: Sequence[Request],
    folder: Path,
    cache: AnswerCache,
    *,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    settle_s: float = _SETTLE_S,
) -> BatchState:
    """Submit what is neither in the cache nor already in the folder's batch; what a former call left is finished first.

    Requests are written to disk and sent part by part, so that neither memory nor disk ever holds more than one part.

    Args:
        model: of a provider that has batches.
        requests: in any order; equal ones are sent once.
        folder: of the batch; new or empty, or that of a former call.
        cache: of answers.
        retry_failed: ask again what was refused or truncated.
        max_cost_usd: submit nothing if all of it might cost more, US dollars.
        settle_s: how long after a broken submission to look for it.

    Raises:
        UserError: the folder is not for this model, it may cost too much, or the provider does not take it; what was
            submitted by then is noted.
    """
    hosted, api = _api(model)
    begin(folder, model.name, model.identity)
    with locked(folder):
        for shard in read_shards(folder):
            if shard.status == "sending":
                shard = _settled(api, hosted, folder, shard, settle_s)
            if shard.status == "written":
                _send(api, hosted, folder, shard, cache)
        known = read_shards(folder)
        waiting = {key for shard in known if shard.status != "collected" for key in shard.keys}
        wanted: dict[str, Request] = {}
        for request in requests:
            key = request_key(model, request)
            if key not in waiting and not _kept(cache, key, retry_failed):
                wanted.setdefault(key, request)
        costs = {key: _cost_high(model, request) for key, request in wanted.items()}
        _check_cost(model, costs, max_cost_usd)
        items = ((key, api.line(key, hosted.wire(request)), costs[key]) for key, request in wanted.items())
        for shard in write_shards(folder, len(known), api, items):
            _send(api, hosted, folder, shard, cache)
        return BatchState(tuple(read_shards(folder)))


def poll(model: VLM, folder: Path) -> BatchState:
    """Ask the provider how far it is, and note it.

    Raises:
        UserError: the folder holds no batch of this model's, or the provider cannot be asked.
    """
    hosted, api = _api(model)
    check(folder, model.identity)
    with locked(folder):
        for shard in read_shards(folder):
            if shard.status == "sending":
                shard = _settled(api, hosted, folder, shard, 0.0, give_up=False)
            if shard.status == "running":
                with _told(hosted, f"{folder}: nothing is lost, ask again later"):
                    progress = api.look(shard)
                status = "ended" if progress.ended else "running"
                save(folder, shard, status=status, said=progress.said, outputs=progress.outputs)
        return BatchState(tuple(read_shards(folder)))


def collect(model: VLM, folder: Path, cache: AnswerCache) -> Collected:
    """Put the replies of all parts that have ended into the cache, at the price of batches.

    What expired, was cancelled or failed counts as failed, at no cost, and is asked again by `submit`.

    Raises:
        UserError: the folder holds no batch of this model's, or the results cannot be fetched.
    """
    hosted, api = _api(model)
    check(folder, model.identity)
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    usages, cost = [], 0.0
    with locked(folder):
        for shard in read_shards(folder):
            if shard.status != "ended":
                continue
            for reply in _collected(api, hosted, folder, shard, cache):
                counts[reply.outcome] += 1
                if reply.outcome == "failed":
                    failures[reply.why] += 1
                if reply.usage is not None:
                    usages.append(reply.usage)
                    cost += cost_usd(reply.usage, model.price, batch=True) if model.price is not None else 0.0
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens")
    usage = Usage(**{name: sum(getattr(used, name) for used in usages) for name in names})
    return Collected(counts, failures, usage, None if model.price is None else cost)


def _api(model: VLM) -> tuple[HostedVLM, BatchAPI]:
    apis = {"openai": OpenAIBatches, "anthropic": AnthropicBatches}
    if not isinstance(model, HostedVLM) or model.provider not in apis:
        raise UserError(f"{model.name}: has no batches; they are for models of OpenAI's and Anthropic's")
    return model, apis[model.provider](model)


def _kept(cache: AnswerCache, key: str, retry_failed: bool) -> bool:
    reply = cache.get(key)
    return reply is not None and (reply.outcome == "answered" or not retry_failed)


def _cost_high(model: VLM, request: Request) -> float | None:
    if model.price is None:
        return None
    return BATCH_SHARE * upper_usd(model.price, model.estimate(request).high, model.max_output_tokens(request))


def _check_cost(model: VLM, costs: Mapping[str, float | None], most: float | None) -> None:
    if most is None or not costs:
        return
    known = [cost for cost in costs.values() if cost is not None]
    if len(known) < len(costs):
        raise UserError(f"{model.name}: no price is known, so --max-cost cannot be held; leave it out")
    if sum(known) > most:
        raise UserError(
            f"{model.name}: {len(known)} requests in a batch may cost up to ${sum(known):.4f}, which is beyond"
            f" --max-cost {most:g}; nothing was submitted"
        )


def _send(api: BatchAPI, model: HostedVLM, folder: Path, shard: Shard, cache: AnswerCache) -> Shard:
    """Submit a part that lies on disk."""
    path = shard.requests_path(folder)
    if not path.is_file():
        raise UserError(f"{path}: is gone, so this part cannot be submitted; delete shard-{shard.index:03d}.json")
    again = f"{folder}: part {shard.index} is not submitted; the same command takes it up again"
    if not shard.upload:
        with _told(model, again):
            shard = save(folder, shard, upload=api.upload(path, shard))
    for position, key in enumerate(shard.keys):
        if not cache.lost(key):  # else a former call has noted it
            cache.started(key, shard.costs_high_usd[position] if shard.costs_high_usd else None)
    shard = save(folder, shard, status="sending", sent_at=datetime.now(UTC).isoformat(), unsure="")
    sdk = require(model.provider, model.provider)
    try:
        batch = api.create(path, shard)
    except sdk.APIError as error:
        if 400 <= getattr(error, "status_code", 500) < 500:  # it was not taken, and that is certain
            _give_up(cache, shard, model)
            save(folder, shard, status="written")
        else:
            again = f"{folder}: part {shard.index} may or may not be submitted; the same command finds out"
        with _told(model, again):
            raise
    shard = save(folder, shard, status="running", batch=batch)
    discard_requests(folder, shard)
    return shard


@contextmanager
def _told(model: HostedVLM, then: str) -> Iterator[None]:
    """Turn what the SDK says into a line for the user: why, and what then."""
    import httpx2

    sdk = require(model.provider, model.provider)
    try:
        yield
    except sdk.NotFoundError:
        raise UserError(
            f"{model.name}: {model.base_url} has no such thing (HTTP 404): servers of one's own rarely offer batches; "
            f"ask without --batch; {then}"
        ) from None
    except (sdk.APIStatusError, sdk.APIConnectionError, httpx2.RequestError) as error:
        raise UserError(f"{model.name}: {model.why(error)}; {then}") from None  # as in HostedVLM._reply_to


def _give_up(cache: AnswerCache, shard: Shard, model: HostedVLM) -> None:
    for key in shard.keys:
        cache.finished(key, Reply("", "failed", model.model, Usage(0, 0), "the batch was not taken"), 0.0)


def _settled(
    api: BatchAPI, model: HostedVLM, folder: Path, shard: Shard, settle_s: float, *, give_up: bool = True
) -> Shard:
    """What became of a part that was about to be submitted when a process ended.

    Args:
        api: of the provider.
        model: of the batch.
        folder: of the batch.
        shard: of status "sending".
        settle_s: how long after the submission to look for it.
        give_up: whether a part that is not found then counts as not submitted.
    """
    others = frozenset(other.batch for other in read_shards(folder) if other.batch)
    until = datetime.fromisoformat(shard.sent_at).timestamp() + settle_s
    while True:
        with _told(model, f"{folder}: it is not known yet whether part {shard.index} was submitted; try again later"):
            found = api.find(shard, others)
        if found.batch:
            shard = save(folder, shard, status="running", batch=found.batch, unsure="")
            discard_requests(folder, shard)
            return shard
        if found.unsure:
            return save(folder, shard, unsure=f"it is not known whether this was submitted: {found.unsure}")
        wait = until - time.time()
        if wait <= 0:
            break
        time.sleep(min(wait, 5.0))
    return save(folder, shard, status="written", unsure="") if give_up else shard


def _collected(api: BatchAPI, model: HostedVLM, folder: Path, shard: Shard, cache: AnswerCache) -> Iterator[Reply]:
    """Keep the replies of a part; yields those that a former call had not kept."""
    path = shard.results_path(folder)
    if not path.is_file():
        with (
            _told(model, f"{folder}: the results of part {shard.index} are not fetched; try again later"),
            write_errors(folder),
            fresh_file(path) as fresh,
        ):
            api.download(shard, fresh)
    left = set(shard.keys)
    for key, reply in _results(api, path):
        if key not in left:
            continue  # told twice, or of another batch
        left.remove(key)
        yield from _keep(cache, key, reply, model)
    for key in shard.keys:
        if key in left:
            why = f"the batch ended without an answer ({shard.said})"
            yield from _keep(cache, key, Reply("", "failed", model.model, Usage(0, 0), why), model)
    save(folder, shard, status="collected")


def _results(api: BatchAPI, path: Path) -> Iterator[tuple[str, Reply]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                read = json.loads(line)
                yield api.result(read)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path}: line {number} is no result ({error!r}); delete the file, it is fetched again"
                ) from error


def _keep(cache: AnswerCache, key: str, reply: Reply, model: HostedVLM) -> Iterator[Reply]:
    if not cache.lost(key) and (reply.outcome == "failed" or cache.get(key) is not None):
        return  # a former call kept it and was ended before it could note that for the whole part
    price, usage = model.price, reply.usage
    cost = cost_usd(usage, price, batch=True) if price is not None and usage is not None else None
    cache.finished(key, reply, cost)
    yield reply
