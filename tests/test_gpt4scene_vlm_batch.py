"""Batches against a server that speaks both providers' APIs: nothing lost or paid twice, wherever it is killed."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_server import ANSWER, BatchServer

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm import batch as batches
from gpt4scene.vlm.answering import ask_all
from gpt4scene.vlm.anthropic_messages import AnthropicMessages
from gpt4scene.vlm.batch import BatchState, collect, poll, submit
from gpt4scene.vlm.batch_anthropic import AnthropicBatches
from gpt4scene.vlm.batch_openai import OpenAIBatches
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.hosted import HostedVLM
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.protocol import Price, Request

_PRICE = Price(input=2.0, output=10.0, cached_input=0.2, cache_write=2.5, as_of="2026-11-20")
_COST = (600 * 2.0 + 400 * 0.2 + 100 * 10.0) / 1e6 / 2
"""Of one answer of the server's, in a batch."""
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090775"
    "3de0000000c49444154789c63b8d6ef0000046e0201a8a4d14d0000000049454e44ae426082"
)


@dataclass
class World:
    """A provider, a model of its, and where a batch and its answers go."""

    server: BatchServer
    model: HostedVLM
    folder: Path
    cache: AnswerCache

    def submit(self, requests: list[Request], **options: Any) -> BatchState:
        return submit(self.model, requests, self.folder, self.cache, settle_s=0.0, **options)

    def key(self, request: Request) -> str:
        return request_key(self.model, request)


@pytest.fixture(params=["openai", "anthropic"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GPT4SCENE_API_KEY", "GPT4SCENE_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-of-tests")
    with BatchServer() as server, AnswerCache(tmp_path / "answers.sqlite") as cache:
        model = _model(request.param, server)
        yield World(server, model, tmp_path / "batch", cache)
        model.close()


def _model(provider: str, server: BatchServer) -> HostedVLM:
    if provider == "openai":
        model: HostedVLM = OpenAIChat("openai:m", "m", server.url)
    else:
        model = AnthropicMessages("anthropic:claude-m", "claude-m", server.root)
    model.price = _PRICE
    return model


def _requests(count: int, *, picture: bytes = _PICTURE, words: str = "How many?") -> list[Request]:
    image = Image("bev.png", "high", picture)
    return [
        Request(Conversation((Message("user", (image, Text(f"Question {number}: {words}"))),)))
        for number in range(count)
    ]


def _shards_of(monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
    for api in (OpenAIBatches, AnthropicBatches):
        monkeypatch.setattr(api, "most_requests", requests)


def test_a_batch_from_end_to_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _shards_of(monkeypatch, 3)
    requests = _requests(7)
    state = world.submit([*requests, requests[0]])
    assert [len(shard.keys) for shard in state.shards] == [3, 3, 1]
    assert {shard.status for shard in state.shards} == {"running"} and state.requests == 7
    assert not list(world.folder.glob("*.requests")), "what was submitted need not stay on disk"
    assert sorted(world.server.keys()) == sorted(map(world.key, requests))
    body = world.server.batches[0]["requests"][world.key(requests[0])]
    assert body == json.loads(json.dumps(world.model.wire(requests[0])))

    assert not poll(world.model, world.folder).done
    assert not collect(world.model, world.folder, world.cache).outcomes
    world.server.finish()
    state = poll(world.model, world.folder)
    assert state.to_collect == 7
    collected = collect(world.model, world.folder, world.cache)
    assert collected.outcomes == {"answered": 7}
    assert collected.cost_usd == pytest.approx(7 * _COST)
    assert (collected.usage.input_tokens, collected.usage.cached_input_tokens) == (7000, 2800)
    assert poll(world.model, world.folder).done
    for number, request in enumerate(requests):
        reply = world.cache.get(world.key(request))
        assert reply is not None and reply.text == f"Question {number}: How many? {ANSWER}"
    assert world.cache.spent_usd(map(world.key, requests)) == pytest.approx(7 * _COST)


def test_an_ordinary_run_finds_what_a_batch_answered(world: World) -> None:
    requests = _requests(2)
    world.submit(requests)
    world.server.finish()
    poll(world.model, world.folder)
    collect(world.model, world.folder, world.cache)
    asked = ask_all(world.model, requests, cache=world.cache)
    assert asked.sent == 0 and all(kept is not None and kept.cached for kept in asked.kept)


def test_what_is_known_or_under_way_is_not_submitted(world: World) -> None:
    requests = _requests(5)
    world.submit(requests[:2])
    world.submit(requests[:3])
    assert [len(batch["requests"]) for batch in world.server.batches] == [2, 1]
    world.server.finish()
    poll(world.model, world.folder)
    collect(world.model, world.folder, world.cache)
    world.submit(requests)
    assert [len(batch["requests"]) for batch in world.server.batches] == [2, 1, 2]
    elsewhere = world.folder.with_name("other")
    submit(world.model, requests[:3], elsewhere, world.cache)
    assert len(world.server.batches) == 3


_BECOMES = {"error": "failed", "policy": "refused", "expired": "failed", "cut": "truncated", "missing": "failed"}


def test_what_failed_costs_nothing_and_is_asked_again(world: World) -> None:
    kinds = ["ok", *_BECOMES]
    world.server.outcome = lambda said: kinds[int(said.split()[1].rstrip(":"))]
    requests = _requests(len(kinds))
    world.submit(requests)
    world.server.finish()
    assert poll(world.model, world.folder).to_collect == len(kinds)
    collected = collect(world.model, world.folder, world.cache)
    assert collected.outcomes == {"answered": 1, "failed": 3, "refused": 1, "truncated": 1}
    assert len(collected.failures) == 3 and all(why and "\n" not in why for why in collected.failures)
    assert collected.cost_usd == pytest.approx(2 * _COST)
    for kind, request in zip(kinds, requests, strict=True):
        reply = world.cache.get(world.key(request))
        expected = _BECOMES.get(kind, "answered")
        assert (reply.outcome if reply else "failed") == expected, kind

    world.server.outcome = lambda _: "ok"
    assert len(world.submit(requests).shards[-1].keys) == 3
    world.server.finish()
    poll(world.model, world.folder)
    assert collect(world.model, world.folder, world.cache).outcomes == {"answered": 3}
    assert len(world.submit(requests, retry_failed=True).shards[-1].keys) == 2


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_a_whole_batch_that_came_to_nothing(world: World, status: str) -> None:
    kind = {"expired": "expired", "cancelled": "cancelled", "failed": "error"}[status]
    if world.model.provider == "anthropic":
        world.server.outcome = lambda _: kind
    elif status == "cancelled":
        world.server.outcome = lambda _: "missing"
    requests = _requests(2)
    world.submit(requests)
    world.server.finish(status)
    poll(world.model, world.folder)
    collected = collect(world.model, world.folder, world.cache)
    assert collected.outcomes == {"failed": 2} and collected.cost_usd == 0
    if world.model.provider == "openai" and status == "failed":
        assert "Enqueued token limit reached" in next(iter(collected.failures))
    assert len(world.submit(requests).shards) == 2


def test_parts_come_back_when_they_are_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _shards_of(monkeypatch, 2)
    world.submit(_requests(4))
    world.server.finish(only=1)
    assert poll(world.model, world.folder).to_collect == 2
    assert collect(world.model, world.folder, world.cache).outcomes == {"answered": 2}
    state = poll(world.model, world.folder)
    assert [shard.status for shard in state.shards] == ["running", "collected"] and not state.done
    assert len(state.lines()) == 2 and "running" in state.lines()[0]


class Killed(BaseException):
    """As if the process had ended here."""


def _killed_at(monkeypatch: pytest.MonkeyPatch, steps: Iterator[int], step: int, *, after: bool) -> None:
    """End the process before or after the step of that number, among all that change something anywhere."""

    def wrap(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def maybe(*args: Any, **kwargs: Any) -> Any:
            number = next(steps)
            if number == step and not after:
                raise Killed
            made = plain(*args, **kwargs)
            if number == step:
                raise Killed
            return made

        monkeypatch.setattr(owner, name, maybe)

    for api in (OpenAIBatches, AnthropicBatches):
        for name in ("upload", "create", "download"):
            wrap(api, name)
    for name in ("save", "discard_requests"):
        wrap(batches, name)
    for name in ("started", "finished"):
        wrap(AnswerCache, name)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_nothing_is_lost_or_submitted_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: bool
) -> None:
    requests = _requests(3)
    step = 0
    while True:
        with AnswerCache(tmp_path / f"{step}.sqlite") as cache, monkeypatch.context() as patched:
            world.server.batches.clear()
            world.folder, world.cache = tmp_path / f"batch-{step}", cache
            _shards_of(patched, 2)
            steps = itertools.count()
            _killed_at(patched, steps, step, after=after)
            killed = 0
            for act in (
                lambda: world.submit(requests),
                world.server.finish,
                lambda: poll(world.model, world.folder),
                lambda: collect(world.model, world.folder, world.cache),
            ):
                try:
                    act()
                except Killed:
                    killed += 1
                    _settle(world)
                    act()
            assert sorted(world.server.keys()) == sorted(map(world.key, requests)), step
            assert all(cache.get(world.key(request)) for request in requests), step
            spent = cache.spent_usd(map(world.key, requests))
            assert spent == pytest.approx(3 * _COST), step
            if not killed:
                break
            step += 1
    assert step > 20


def _settle(world: World) -> None:
    """End what may have been submitted, where only then it can be known."""
    if world.model.provider == "anthropic":
        world.server.finish()


@pytest.mark.parametrize("world", ["anthropic"], indirect=True)
def test_anthropic_s_lost_submission_is_known_when_it_has_ended(world: World) -> None:
    requests = _requests(2)
    world.server.faults = ["drop-after"]
    with pytest.raises(UserError, match="may or may not be submitted") as caught:
        world.submit(requests)
    assert "\n" not in str(caught.value)
    state = world.submit(requests)
    assert "not known whether this was submitted: batch_000" in state.lines()[0]
    assert "not known" in poll(world.model, world.folder).lines()[0]
    assert len(world.server.batches) == 1
    world.server.finish()
    assert poll(world.model, world.folder).to_collect == 2
    assert collect(world.model, world.folder, world.cache).outcomes == {"answered": 2}


def test_another_s_batch_of_the_same_size_is_not_taken_for_ours(world: World) -> None:
    theirs = {f"{number:064d}": {"messages": [{"content": "?"}], "model": "m"} for number in range(2)}
    world.server.faults = ["drop-before"]
    requests = _requests(2)
    with pytest.raises(UserError, match="may or may not be submitted"):
        world.submit(requests)
    world.server.add(theirs, status="completed", input_file_id="x", metadata={"gpt4scene": "another"})
    state = world.submit(requests)
    assert state.shards[0].status == "running" and state.shards[0].batch == "batch_001"
    assert len(world.server.batches) == 2


@pytest.mark.parametrize("world", ["openai"], indirect=True)
@pytest.mark.parametrize("fault", ["drop-after", "500-after"])
def test_openai_s_lost_confirmation_is_made_up_by_the_label(world: World, fault: str) -> None:
    for number in range(5):  # the server gives two to a page
        world.server.add({f"{number}": {}}, input_file_id="x", metadata={"gpt4scene": "older"})
    world.server.faults = [fault]
    with pytest.raises(UserError, match="may or may not be submitted"):
        world.submit(_requests(2))
    for number in range(5):
        world.server.add({f"{number}": {}}, input_file_id="x", metadata=None)
    assert world.submit(_requests(2)).shards[0].batch == "batch_005"
    assert len(world.server.batches) == 11 and world.server.creations == 1


def test_a_submission_that_was_refused_is_taken_up_again(world: World) -> None:
    requests = _requests(2)
    world.server.faults = ["429"]
    with pytest.raises(UserError, match="HTTP 429") as caught:
        world.submit(requests)
    assert "takes it up again" in str(caught.value) and "\n" not in str(caught.value)
    assert world.server.creations == 1, "a retry of a submission would be a second batch"
    assert world.cache.spent_usd(map(world.key, requests)) == 0
    assert world.submit(requests).shards[0].status == "running"
    assert len(world.server.batches) == 1


def test_a_broken_download_is_begun_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = _requests(3)
    world.submit(requests)
    world.server.finish()
    poll(world.model, world.folder)
    with monkeypatch.context() as patched:
        for api in (OpenAIBatches, AnthropicBatches):
            plain: Callable[..., None] = api.download

            def half(self: Any, shard: Any, path: Path, plain: Callable[..., None] = plain) -> None:
                plain(self, shard, path)
                path.write_bytes(path.read_bytes()[:200])
                raise Killed

            patched.setattr(api, "download", half)
        with pytest.raises(Killed):
            collect(world.model, world.folder, world.cache)
    assert collect(world.model, world.folder, world.cache).outcomes == {"answered": 3}


def test_money_has_a_limit(world: World) -> None:
    requests = _requests(3)
    with pytest.raises(UserError, match="nothing was submitted"):
        world.submit(requests, max_cost_usd=0.001)
    assert not world.server.batches
    most = 3 * (world.model.estimate(requests[0]).high + 10) * 2.5 / 1e6 + 3 * 5000 * 10.0 / 1e6
    assert world.submit(requests, max_cost_usd=most / 2).requests == 3
    world.model.price = None
    with pytest.raises(UserError, match="no price is known"):
        world.submit(_requests(4), max_cost_usd=1.0)


def test_a_folder_is_that_of_one_batch_of_one_model(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("not a batch")
    world.folder = tmp_path / "mine"
    with pytest.raises(UserError, match="holds no batch"):
        world.submit(_requests(1))
    with pytest.raises(UserError, match="holds no batch"):
        poll(world.model, tmp_path / "nothing")
    world.folder = tmp_path / "first"
    world.submit(_requests(1))
    other = OpenAIChat("openai:other", "other", world.server.url)
    with pytest.raises(UserError, match=r"holds a batch of (openai:m|anthropic:claude-m)"):
        poll(other, world.folder)
    from gpt4scene.vlm.batch_shards import locked

    with locked(world.folder), pytest.raises(UserError, match="another process works on this batch"):
        poll(world.model, world.folder)
    (world.folder / "shard-000.json").write_text("{")
    with pytest.raises(UserError, match=r"shard-000\.json: is damaged"):
        poll(world.model, world.folder)


def test_a_model_without_batches_is_told(tmp_path: Path) -> None:
    from gpt4scene.vlm.replay import ReplayVLM

    script = tmp_path / "replies.jsonl"
    script.write_text(json.dumps({"reply": "yes"}))
    with AnswerCache(tmp_path / "a.sqlite") as cache, pytest.raises(UserError, match="has no batches"):
        submit(ReplayVLM("replay:x", str(script)), [], tmp_path / "batch", cache)


def test_no_key_is_written_anywhere(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4SCENE_API_KEY", "sk-secret-of-tests")
    world.submit(_requests(1))
    world.server.finish()
    poll(world.model, world.folder)
    collect(world.model, world.folder, world.cache)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"sk-secret-of-tests" not in path.read_bytes(), path


_WORKER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_gpt4scene_vlm_batch import _model, _requests, _WORKED
from gpt4scene.vlm import batch, batch_anthropic, batch_openai
from gpt4scene.vlm.cache import AnswerCache
provider, url, folder = sys.argv[1:]
class Server: url = {url!r} + "/v1"; root = {url!r}
for api in (batch_openai.OpenAIBatches, batch_anthropic.AnthropicBatches):
    api.most_requests = 2
model = _model(provider, Server)
model.client()
print("begun", flush=True)
with AnswerCache(Path(folder) / "answers.sqlite") as cache:
    batch.submit(model, _requests(_WORKED), Path(folder) / "batch", cache, settle_s=0.2)
    while not batch.poll(model, Path(folder) / "batch").done:
        batch.collect(model, Path(folder) / "batch", cache)
"""
_WORKED = 12


@pytest.mark.parametrize("world", ["openai"], indirect=True)
def test_a_real_process_killed_at_random(world: World, tmp_path: Path) -> None:
    worker = _WORKER.format(tests=str(Path(__file__).parent), url=world.server.root)
    command = [sys.executable, "-c", worker, world.model.provider, "-", str(tmp_path)]
    draw = random.Random(5)
    code = 1
    for delay in (*(draw.uniform(0.0, 0.2) for _ in range(3)), None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        until = time.monotonic() + (60 if delay is None else delay)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
            world.server.finish()
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        process.stdout.close()
    assert code == 0
    keys = sorted(world.key(request) for request in _requests(_WORKED))
    assert sorted(world.server.keys()) == keys
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        assert all(cache.get(key) for key in keys)


def test_memory_holds_one_request_at_a_time(tmp_path: Path) -> None:
    """Two hundred requests of half a megabyte each; the process may grow by a fraction of the hundred."""
    code = (
        "import os, resource, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from test_gpt4scene_vlm_batch import _requests\n"
        "from gpt4scene.vlm.batch_openai import OpenAIBatches\n"
        "from gpt4scene.vlm.batch_shards import write_shards\n"
        "from gpt4scene.vlm.openai_chat import OpenAIChat\n"
        "model = OpenAIChat('openai:m', 'm', 'http://127.0.0.1:9/v1')\n"
        "requests = _requests(200, picture=bytes.fromhex('89504e470d0a1a0a') + os.urandom(400_000))\n"
        "api = OpenAIBatches(model)\n"
        "api.most_bytes = 20_000_000\n"
        "model.wire(requests[0])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "items = ((str(i), api.line(str(i), model.wire(r)), None) for i, r in enumerate(requests))\n"
        f"shards = list(write_shards(Path({str(tmp_path)!r}), 0, api, items))\n"
        "assert len(shards) > 5 and sum(shard.size for shard in shards) > 100_000_000\n"
        "assert all(shard.size <= 20_000_000 for shard in shards)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 20
