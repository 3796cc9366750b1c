"""Runs that are killed in their midst, and two runs at once: nothing is lost, nothing is paid twice unseen."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.answering import ask_all
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.prices import cost_usd
from gpt4scene.vlm.protocol import Price, Request, TokenRange, Usage

ROOT = Path(__file__).parents[1]
SCENES, IN_FLIGHT = 4, 16
PRICE = Price(input=2.0, output=10.0, cached_input=1.0, cache_write=2.0, as_of="2026-01-01")


class PricedChat(OpenAIChat):
    """A model behind a loopback server that costs something, as those far away do."""

    price: Price | None

    def __init__(self, url: str) -> None:
        super().__init__("openai:m", "m", url, in_flight=IN_FLIGHT, max_retries=0)
        self.price = PRICE
        self.identity = "priced m"  # the same at whichever port

    def max_output_tokens(self, request: Request) -> int:
        return request.max_new_tokens

    def estimate(self, request: Request) -> TokenRange:
        """By the rule of the server, of which one end of the range is true."""
        letters = sum(len(message.text) for message in request.conversation.messages)
        tokens = 85 * len(request.conversation.images) + letters // 4
        return TokenRange(tokens, 3 * tokens)


def all_requests(count: int) -> list[Request]:
    """Questions over several scenes, all mixed."""
    pixel = b"\xff\xd8\xff\xe0 no picture, but a server that looks at none does not mind "
    shown = [tuple(Image(f"{s}-{i}.jpg", data=pixel + b"%d %d" % (s, i)) for i in range(3)) for s in range(SCENES)]
    system = Message("system", (Text("Look."),))
    return [
        Request(
            Conversation((system, Message("user", (*shown[n % SCENES], Text(f"Question {n}."))))), max_new_tokens=64
        )
        for n in range(count)
    ]


def question_of(body: Mapping[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def answer(body: Mapping[str, Any]) -> str:
    return f"Answer to {question_of(body)}"


def start(server: FaultServer, path: Path, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, server.url, str(path), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def paid_usd(server: FaultServer) -> float:
    """What the server would charge for everything that reached it."""
    usd = 0.0
    for received in server.requests:
        said = answer(received.body)
        letters = len("Look.") + len(question_of(received.body))
        usd += cost_usd(Usage(85 * 3 + letters // 4, max(1, len(said) // 4), 85 * 2), PRICE)
    return usd


def kept_questions(path: Path, count: int) -> set[str]:
    with AnswerCache(path) as cache:
        model = PricedChat("http://127.0.0.1:9/v1")
        requests = [one for one in all_requests(count) if cache.get(request_key(model, one)) is not None]
    return {one.conversation.messages[-1].text for one in requests}


def kill_and_restart(path: Path, kills: int, seed: int) -> None:
    """Kill a run at so many random moments of its life, restart it after each, let the last one finish, and check."""
    chance, count, amid = random.Random(seed), 20 * kills, 0
    kept: set[str] = set()
    with FaultServer(latency_s=0.15, answer=answer) as server:
        for _ in range(kills):
            asked_before = len(server.requests)
            child = start(server, path, count)
            # whole lives: before the first request, amid the requests, at the edges of writing an answer
            wanted = asked_before + chance.choice([0, 1, IN_FLIGHT, chance.randint(1, 2 * IN_FLIGHT)])
            while len(server.requests) < wanted and child.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.3))
            amid += child.poll() is None and len(server.requests) > asked_before
            child.kill()
            child.wait()
            asked = {question_of(received.body) for received in server.requests[asked_before:]}
            assert not asked & kept, "a stored answer was asked again"
            assert kept <= kept_questions(path, count), "a stored answer was lost"
            kept = kept_questions(path, count)
            assert len(asked - kept) <= IN_FLIGHT, "more than those in flight are lost"
        assert amid >= kills / 2
        child = start(server, path, count)
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        last = json.loads(said)
        assert last["texts"] == [f"Answer to Question {n}." for n in range(count)]
        times = Counter(question_of(received.body) for received in server.requests)
        assert set(times) == {f"Question {n}." for n in range(count)}
        assert sum(times.values()) - count <= IN_FLIGHT * kills
        assert last["all_runs_usd"] >= paid_usd(server) - 1e-9
    assert run_again(path, count) == {"sent": 0, "cost_usd": 0.0}


def run_again(path: Path, count: int) -> dict[str, float | None]:
    with AnswerCache(path) as cache:
        asked = ask_all(PricedChat("http://127.0.0.1:9/v1"), all_requests(count), cache=cache)  # nobody listens there
    return {"sent": asked.sent, "cost_usd": asked.cost_usd}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    kill_and_restart(tmp_path / "answers.sqlite", kills=4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_twenty_times_loses_nothing(tmp_path: Path, seed: int) -> None:
    kill_and_restart(tmp_path / "answers.sqlite", kills=20, seed=seed)


def test_the_run_after_a_kill_counts_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with FaultServer(forever="hang", answer=answer) as silent:
        child = start(silent, path, 40)
        while len(silent.requests) < IN_FLIGHT and child.poll() is None:
            time.sleep(0.002)
        child.kill()
        child.wait()
        lost = [question_of(received.body) for received in silent.requests]
        lost_usd = paid_usd(silent)
    assert len(lost) == len(set(lost)) == IN_FLIGHT
    with FaultServer(answer=answer) as server, AnswerCache(path) as cache:
        model = PricedChat(server.url)
        asked = ask_all(model, all_requests(40), cache=cache)
        model.close()
        assert (asked.sent, asked.unsure) == (40, IN_FLIGHT)
        assert asked.cost_usd is not None and asked.cost_usd >= paid_usd(server) + lost_usd
    assert run_again(path, 40) == {"sent": 0, "cost_usd": 0.0}


def test_two_runs_at_once_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with FaultServer(latency_s=0.1, answer=answer) as server:
        runs = [start(server, path, 60) for _ in range(2)]
        told = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
        assert [run.returncode for run in runs] == [0, 0]
        for one in told:
            assert one["texts"] == [f"Answer to Question {n}." for n in range(60)]
        assert sum(one["sent"] for one in told) == len(server.requests) <= 2 * 60
        assert sum(one["cost_usd"] for one in told) >= paid_usd(server) - 1e-9
    assert len(kept_questions(path, 60)) == 60


def main(url: str, path: str, count: str) -> None:
    """A run of its own, to be killed."""
    model = PricedChat(url)
    with AnswerCache(path) as cache:
        asked = ask_all(model, all_requests(int(count)), cache=cache)
    model.close()
    texts = [kept and kept.reply.text for kept in asked.kept]
    told = {"texts": texts, "sent": asked.sent, "cost_usd": asked.cost_usd, "all_runs_usd": asked.all_runs_usd}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(*sys.argv[1:])
