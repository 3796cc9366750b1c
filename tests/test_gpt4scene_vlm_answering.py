"""Asking many questions: what is kept, what is asked again, what it may cost, and how a run ends."""

import contextlib
import functools
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fault_server import Fault, FaultServer

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.answering import Asked, Kept, ask_all, plan
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.protocol import VLM, Price, Reply, Request, TokenRange, Usage, ViewSize
from gpt4scene.vlm.spending import Settled

ROOT = Path(__file__).parents[1]
PRICE = Price(input=2.0, output=10.0, cached_input=1.0, cache_write=2.5, as_of="2026-01-01")
USAGE = Usage(1000, 10)
COST = (1000 * 2.0 + 10 * 10.0) / 1e6


class FakeVLM:
    """Answers by the question's text with what `answers` says, and notes what it was asked."""

    view_size = ViewSize(504, 392, 28)

    def __init__(
        self,
        answers: Callable[[str], Reply | Exception] | None = None,
        *,
        price: Price | None = PRICE,
        in_flight: int = 1,
        batch_size: int = 1,
        prefix_discount: bool = False,
        tokens: TokenRange = TokenRange(1000, 1000),  # noqa: B008 (frozen)
    ) -> None:
        self.name, self.identity = "fake:m", "fake m"
        self.price, self.in_flight, self.batch_size = price, in_flight, batch_size
        self.prefix_discount, self.tokens = prefix_discount, tokens
        self.answers = answers or (lambda question: said(question))
        self.batches: list[list[str]] = []
        self.closed = False
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()

    def max_output_tokens(self, request: Request) -> int:
        return request.max_new_tokens

    def estimate(self, request: Request) -> TokenRange:
        return self.tokens

    def reply(self, requests: Sequence[Request], on_text: Callable[[str], None] | None = None) -> list[Reply]:
        questions = [request.conversation.messages[-1].text for request in requests]
        with self._lock:
            self.batches.append(questions)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            replies = []
            for question in questions:
                reply = self.answers(question)
                if isinstance(reply, Exception):
                    raise reply
                if on_text is not None:
                    on_text(reply.text)
                replies.append(reply)
            return replies
        finally:
            with self._lock:
                self.under_way -= 1

    def close(self) -> None:
        self.closed = True

    @property
    def questions(self) -> list[str]:
        return [question for batch in self.batches for question in batch]


def said(question: str, outcome: str = "answered", usage: Usage | None = USAGE) -> Reply:
    assert outcome in ("answered", "refused", "truncated", "failed")
    return Reply(f"re {question}", outcome, "m-1", usage, "" if outcome == "answered" else f"it was {outcome}")


@functools.cache
def picture(name: str) -> bytes:
    """A small PNG that looks like no other."""
    grey = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8).reshape(4, 8)
    return cv2.imencode(".png", cv2.resize(grey, (32, 28)))[1].tobytes()


def request(question: str, scene: str = "kitchen", max_new_tokens: int = 100) -> Request:
    images = tuple(Image(f"{scene}{i}.png", data=picture(f"{scene}{i}")) for i in range(3))
    messages = (Message("system", (Text("Look."),)), Message("user", (*images, Text(question))))
    return Request(Conversation(messages), max_new_tokens=max_new_tokens)


def requests(count: int, scenes: Sequence[str] = ("kitchen",)) -> list[Request]:
    return [request(f"{i}?", scenes[i % len(scenes)]) for i in range(count)]


def texts(asked: Asked) -> list[str | None]:
    return [kept and kept.reply.text for kept in asked.kept]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with AnswerCache(tmp_path / "answers.sqlite") as opened:
        yield opened


def test_the_model_of_these_tests_is_one() -> None:
    assert isinstance(FakeVLM(), VLM)


# asked once


@pytest.mark.parametrize("in_flight", [1, 5])
def test_what_was_answered_is_not_asked_again(cache: AnswerCache, in_flight: int) -> None:
    model = FakeVLM(in_flight=in_flight)
    first = ask_all(model, requests(12), cache=cache)
    assert texts(first) == [f"re {i}?" for i in range(12)]
    assert (first.sent, first.cached, first.stopped) == (12, 0, "")
    assert first.usage == Usage(12_000, 120)
    assert first.cost_usd == pytest.approx(12 * COST)
    with AnswerCache(cache.path) as later:
        second = ask_all(FakeVLM(in_flight=in_flight), requests(14), cache=later)
    assert texts(second) == [f"re {i}?" for i in range(14)]
    assert (second.sent, second.cached) == (2, 12)
    assert second.kept[0] == Kept(said("0?"), True, 0.0)
    assert second.kept[13] == Kept(said("13?"), False, COST)
    assert second.cost_usd == pytest.approx(2 * COST)
    assert second.all_runs_usd == pytest.approx(14 * COST)


def test_equal_questions_are_sent_once_and_repeats_each(cache: AnswerCache) -> None:
    same, other = request("a?"), replace(request("a?"), repeat=1)
    model = FakeVLM()
    heard: list[int] = []
    asked = ask_all(
        model, [same, other, same, same], cache=cache, on_kept=lambda position, kept: heard.append(position)
    )
    assert model.questions == ["a?", "a?"]
    assert [kept and (kept.cached, kept.cost_usd) for kept in asked.kept] == [
        (False, COST),
        (False, COST),
        (True, 0.0),
        (True, 0.0),
    ]
    assert heard == [0, 2, 3, 1]


def test_every_reply_is_kept_before_the_next_is_waited_for(cache: AnswerCache) -> None:
    keys = [request_key(FakeVLM(), one) for one in requests(4)]
    kept_before: list[int] = []

    def answers(question: str) -> Reply:
        with AnswerCache(cache.path) as other:
            kept_before.append(sum(other.get(key) is not None for key in keys))
        return said(question)

    ask_all(FakeVLM(answers), requests(4), cache=cache)
    assert kept_before == [0, 1, 2, 3]


def test_what_another_process_answers_meanwhile_is_not_asked(cache: AnswerCache) -> None:
    third = requests(4)[2]

    def answers(question: str) -> Reply:
        with AnswerCache(cache.path) as other:
            other.finished(request_key(model, third), said("elsewhere"), 0.5)
        return said(question)

    model = FakeVLM(answers)
    asked = ask_all(model, requests(4), cache=cache)
    assert model.questions == ["0?", "1?", "3?"]
    assert texts(asked) == ["re 0?", "re 1?", "re elsewhere", "re 3?"]


def test_refused_and_truncated_stay_failed_is_asked_again(cache: AnswerCache) -> None:
    outcomes = ["answered", "refused", "truncated", "failed"]

    def answers(question: str) -> Reply:
        return said(question, outcomes[int(question[0])])

    asked = ask_all(FakeVLM(answers), requests(4), cache=cache)
    assert [kept and kept.reply.outcome for kept in asked.kept] == outcomes
    assert asked.outcomes == Counter(outcomes)
    again = FakeVLM(answers)
    second = ask_all(again, requests(4), cache=cache)
    assert again.questions == ["3?"]
    assert [kept and kept.reply.outcome for kept in second.kept] == outcomes
    retried = FakeVLM()
    third = ask_all(retried, requests(4), cache=cache, retry_failed=True)
    assert retried.questions == ["1?", "2?", "3?"]
    assert third.outcomes == Counter(answered=4)
    assert ask_all(FakeVLM(), requests(4), cache=cache).sent == 0


# in which order, how many at once


def test_as_many_are_under_way_as_the_model_takes(cache: AnswerCache) -> None:
    together = threading.Barrier(6)

    def answers(question: str) -> Reply:
        together.wait(timeout=20)  # breaks, which fails the run, unless six are under way
        return said(question)

    model = FakeVLM(answers, in_flight=6)
    assert ask_all(model, requests(24), cache=cache).sent == 24
    assert model.most_under_way == 6


def test_scenes_go_out_one_after_another(cache: AnswerCache) -> None:
    model = FakeVLM()
    asked = ask_all(model, requests(9, scenes="abc"), cache=cache)
    assert model.questions == ["0?", "3?", "6?", "1?", "4?", "7?", "2?", "5?", "8?"]
    assert texts(asked) == [f"re {i}?" for i in range(9)]


def test_batches_are_of_one_scene(cache: AnswerCache) -> None:
    model = FakeVLM(batch_size=4)
    asked = ask_all(model, requests(10, scenes="ab"), cache=cache)
    assert model.batches == [["0?", "2?", "4?", "6?"], ["8?"], ["1?", "3?", "5?", "7?"], ["9?"]]
    assert texts(asked) == [f"re {i}?" for i in range(10)]


def test_with_a_discount_one_question_of_a_scene_is_answered_first(cache: AnswerCache) -> None:
    answered: list[str] = []

    def answers(question: str) -> Reply:
        if question not in ("0?", "1?"):
            first = "0?" if int(question[:-1]) % 2 == 0 else "1?"
            assert first in answered
        answered.append(question)
        return said(question)

    model = FakeVLM(answers, in_flight=4, prefix_discount=True)
    assert ask_all(model, requests(20, scenes="ab"), cache=cache).outcomes == Counter(answered=20)


# money


def test_a_limit_is_held_and_the_rest_is_asked_with_more_money(cache: AnswerCache) -> None:
    upper = (1000 * 2.5 + 100 * 10.0) / 1e6
    model = FakeVLM()
    asked = ask_all(model, requests(10), cache=cache, max_cost_usd=3 * COST + upper)
    assert (asked.sent, asked.cost_usd) == (4, pytest.approx(4 * COST))
    assert asked.kept[4:] == (None,) * 6
    assert "6 of 10 questions were not asked" in asked.stopped
    assert f"--max-cost {3 * COST + upper:g}" in asked.stopped and "\n" not in asked.stopped
    rest = ask_all(FakeVLM(), requests(10), cache=cache, max_cost_usd=1.0)
    assert (rest.sent, rest.stopped) == (6, "")


@pytest.mark.parametrize("seed", range(20))
def test_no_limit_is_ever_exceeded(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    low = chance.randint(100, 2000)
    tokens = TokenRange(low, low + chance.choice([0, 500, 3000]))
    counted = chance.randint(tokens.low, tokens.high)

    def answers(question: str) -> Reply:
        failed = random.Random(f"{seed} {question}").random() < 0.2
        return said(question, "failed", None) if failed else said(question, usage=Usage(counted, 100, counted // 2))

    model = FakeVLM(answers, in_flight=chance.choice([1, 4]), tokens=tokens, prefix_discount=chance.random() < 0.5)
    limit = chance.uniform(0.0, 0.15)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        asked = ask_all(model, requests(30, scenes="abc"), cache=cache, max_cost_usd=limit)
    assert asked.cost_usd is not None and asked.cost_usd <= limit + 1e-9
    assert bool(asked.stopped) == (asked.sent < 30)
    most = (counted * 2.5 + 100 * 10) / 1e6
    if asked.sent > 1 and asked.stopped:
        assert asked.cost_usd + most > limit - 1e-9  # nothing stopped that could have been paid


def test_the_upper_end_counts_until_the_first_usage_settles_it(cache: AnswerCache) -> None:
    dear = FakeVLM(tokens=TokenRange(1000, 100_000))
    asked = ask_all(dear, requests(10), cache=cache, max_cost_usd=0.2)
    assert (asked.sent, asked.stopped) == (0, asked.stopped) and asked.stopped
    settled = ask_all(dear, requests(10), cache=cache, max_cost_usd=0.26)
    assert (settled.sent, settled.stopped) == (10, "")


def test_counts_beyond_the_estimate_raise_the_next_ones() -> None:
    estimated = TokenRange(100, 200)
    first = Settled()
    assert first.upper(estimated) == 200
    assert first.learn(estimated, 130).upper(estimated) == 130
    assert first.learn(estimated, 130).upper(TokenRange(1000, 2000)) == 1300
    assert first.learn(estimated, 130).learn(estimated, 110).upper(estimated) == 130
    assert first.learn(estimated, 130).learn(estimated, 150).upper(estimated) == 150
    assert first.learn(estimated, 300).upper(estimated) == 300
    assert first.learn(estimated, 50).upper(estimated) == 50
    assert first.learn(estimated, 50).learn(estimated, 300).upper(TokenRange(10, 20)) == 30
    assert first.learn(TokenRange(765, 765), 765).upper(TokenRange(1105, 1105)) == 1105
    assert first.learn(estimated, 0) == first  # a refusal before anything was read


def test_a_limit_needs_a_price(cache: AnswerCache) -> None:
    model = FakeVLM(price=None)
    with pytest.raises(UserError, match="fake:m: no price is known"):
        ask_all(model, requests(2), cache=cache, max_cost_usd=1.0)
    assert model.questions == []
    asked = ask_all(model, requests(2), cache=cache)
    assert (asked.sent, asked.cost_usd, asked.all_runs_usd) == (2, None, None)
    assert asked.kept[0] == Kept(said("0?"), False, None)
    assert ask_all(model, requests(2), cache=cache, max_cost_usd=0.0).sent == 0


def test_models_that_cost_nothing_are_not_estimated(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeVLM(lambda question: said(question, usage=None), price=Price(0.0, 0.0, 0.0, 0.0, ""))
    monkeypatch.setattr(model, "estimate", None)
    asked = ask_all(model, requests(3), cache=cache, max_cost_usd=0.0)
    assert (asked.sent, asked.cost_usd, asked.unsure) == (3, 0.0, 0)


def test_lost_attempts_count_once_when_their_question_is_asked_again(cache: AnswerCache) -> None:
    keys = [request_key(FakeVLM(), one) for one in requests(3)]
    cache.started(keys[1], 0.25)
    cache.started(keys[1], None)  # when no price was known; then as much as the next
    cache.started("another question", 9.0)
    upper = (1000 * 2.5 + 100 * 10.0) / 1e6
    assert plan(FakeVLM(), requests(3), cache=cache).cost_high_usd == pytest.approx(3 * upper + 0.25 + upper)
    asked = ask_all(FakeVLM(), requests(3), cache=cache)
    assert asked.unsure == 2
    assert asked.unsure_usd == pytest.approx(0.25 + upper)
    assert asked.cost_usd == pytest.approx(3 * COST + 0.25 + upper)
    assert ask_all(FakeVLM(), requests(3), cache=cache, retry_failed=True).cost_usd == 0
    stopped = ask_all(FakeVLM(), [*requests(3), request("new?")], cache=cache)
    assert stopped.cost_usd == pytest.approx(COST)


def test_lost_attempts_count_against_the_limit(cache: AnswerCache) -> None:
    cache.started(request_key(FakeVLM(), request("0?")), 0.25)
    asked = ask_all(FakeVLM(), requests(1), cache=cache, max_cost_usd=0.2)
    assert asked.sent == 0 and "$0.2535" in asked.stopped
    assert ask_all(FakeVLM(), requests(1), cache=cache, max_cost_usd=0.26).sent == 1


def test_a_reply_without_usage_counts_with_its_upper_end(cache: AnswerCache) -> None:
    asked = ask_all(FakeVLM(lambda question: said(question, "failed", None)), requests(2), cache=cache)
    upper = (1000 * 2.5 + 100 * 10.0) / 1e6
    assert (asked.unsure, asked.cost_usd) == (2, pytest.approx(2 * upper))
    assert asked.kept[0] == Kept(said("0?", "failed", None), False, None)


def test_models_that_think_may_write_more_than_they_show(cache: AnswerCache) -> None:
    class Thinking(FakeVLM):
        def max_output_tokens(self, request: Request) -> int:
            return request.max_new_tokens + 4000

    most = (1000 * 2.5 + 4100 * 10.0) / 1e6
    assert plan(Thinking(), requests(1), cache=cache).cost_high_usd == pytest.approx(most)
    assert ask_all(Thinking(), requests(1), cache=cache, max_cost_usd=most - 1e-6).sent == 0


def test_a_plan_says_what_would_be_sent(cache: AnswerCache) -> None:
    model = FakeVLM(tokens=TokenRange(500, 1500), prefix_discount=True)
    ask_all(model, requests(3), cache=cache)
    planned = plan(model, [*requests(8), request("7?")], cache=cache)
    assert (planned.cached, planned.to_send, planned.tokens) == (4, 5, TokenRange(2500, 7500))
    assert planned.cost_low_usd == pytest.approx((500 * 2.0 + 4 * 500 * 1.0 + 5 * 10.0) / 1e6)
    assert planned.cost_high_usd == pytest.approx(5 * (1500 * 2.5 + 100 * 10.0) / 1e6)
    assert model.questions == ["0?", "1?", "2?"]
    unpriced = plan(FakeVLM(price=None), requests(8), cache=cache)
    assert (unpriced.to_send, unpriced.cost_low_usd, unpriced.cost_high_usd) == (5, None, None)


# how a run ends


def test_what_no_question_could_get_past_stops_the_run_and_loses_nothing(cache: AnswerCache) -> None:
    gate = threading.Barrier(4)

    def answers(question: str) -> Reply | Exception:
        gate.wait(timeout=20)  # four under way
        if question == "2?":
            return UserError("fake:m: the key is not accepted")
        with AnswerCache(cache.path) as other:  # the others come back when that one is journalled
            while other.spent_usd([keys[2]]) != 0:
                time.sleep(0.01)
        return said(question)

    model = FakeVLM(answers, in_flight=4)
    keys = [request_key(model, one) for one in requests(20)]
    with pytest.raises(UserError, match="the key is not accepted"):
        ask_all(model, requests(20), cache=cache)
    assert sorted(model.questions) == ["0?", "1?", "2?", "3?"]
    assert [cache.get(key) is not None for key in keys[:5]] == [True, True, False, True, False]
    assert cache.spent_usd(keys) == pytest.approx(3 * COST)
    later = FakeVLM()
    assert ask_all(later, requests(20), cache=cache).unsure == 0
    assert len(later.questions) == 17


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_bug_in_an_adapter_is_not_swallowed(cache: AnswerCache, in_flight: int) -> None:
    model = FakeVLM(lambda question: KeyError("choices") if question == "2?" else said(question), in_flight=in_flight)
    with pytest.raises(KeyError, match="choices"):
        ask_all(model, requests(20), cache=cache)
    keys = [request_key(model, one) for one in requests(20)]
    assert [cache.get(key) is not None for key in keys[:3]] == [True, True, False]
    assert len(cache.lost(keys[2])) == 1  # it was sent, and may have been paid


def test_a_caller_that_breaks_off_keeps_what_was_under_way(cache: AnswerCache) -> None:
    def on_kept(position: int, kept: Kept) -> None:
        raise RuntimeError("enough")

    gate = threading.Barrier(4)

    def answers(question: str) -> Reply:
        time.sleep(0.1 * gate.wait(timeout=20))
        return said(question)

    model = FakeVLM(answers, in_flight=4)
    with pytest.raises(RuntimeError, match="enough"):
        ask_all(model, requests(20), cache=cache, on_kept=on_kept)
    assert sum(cache.get(request_key(model, one)) is not None for one in requests(20)) >= 2


def test_ctrl_c_keeps_what_is_there_and_leaves_the_rest_open(cache: AnswerCache) -> None:
    gate, closing = threading.Barrier(4), threading.Event()

    def answers(question: str) -> Reply:
        if gate.wait(timeout=20) == 0:
            signal.raise_signal(signal.SIGINT)
        closing.wait(timeout=20)
        return said(question) if question == "1?" else said(question, "failed", None)

    class Closing(FakeVLM):
        def close(self) -> None:
            super().close()
            closing.set()

    model = Closing(answers, in_flight=4)
    with pytest.raises(KeyboardInterrupt):
        ask_all(model, requests(20), cache=cache)
    assert model.closed
    keys = [request_key(model, one) for one in requests(20)]
    assert [cache.get(key) is not None for key in keys[:4]] == [False, True, False, False]
    assert [len(cache.lost(key)) for key in keys[:5]] == [1, 0, 1, 1, 0]
    assert ask_all(FakeVLM(), requests(20), cache=cache).unsure == 3


def test_ctrl_c_ends_a_process_whose_server_hangs(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.path.insert(0, 'tests')\n"
        "from test_gpt4scene_vlm_answering import requests\n"
        "from gpt4scene.vlm.answering import ask_all\n"
        "from gpt4scene.vlm.cache import AnswerCache\n"
        "from gpt4scene.vlm.openai_chat import OpenAIChat\n"
        "model = OpenAIChat('openai:m', 'm', sys.argv[1], in_flight=8)\n"
        "try: ask_all(model, requests(20), cache=AnswerCache(sys.argv[2]))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    with FaultServer(script=["ok", "ok"], forever="hang") as server:
        command = [sys.executable, "-c", code, server.url, str(tmp_path / "answers.sqlite")]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while len(server.requests) < 10:
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=60)  # the server hangs for good
    assert (said, child.returncode) == ("interrupted\n", 0)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        later = FakeVLM()
        later.identity = OpenAIChat("openai:m", "m", server.url).identity
        asked = ask_all(later, requests(20), cache=cache)
    assert (asked.cached, asked.unsure) == (2, 8)


def test_faults_of_a_server_cost_their_own_question_only(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    script: list[str | Fault] = ["ok", Fault("rate-limit", {"retry-after-ms": "5"}), "policy", "truncated", "cut"]
    script += ["ok", "malformed", "content-filter", Fault("server-error", {"retry-after-ms": "5"}), "refusal", "drop"]
    with FaultServer(script=script) as server:
        model = OpenAIChat("openai:m", "m", server.url, in_flight=4, max_retries=1)
        first = ask_all(model, requests(12), cache=cache)
        asked_for = len(server.requests)
        assert asked_for >= 12 and first.sent == 12
        assert first.outcomes["refused"] == 3 and first.outcomes["truncated"] == 1
        failed = first.outcomes["failed"]
        second = ask_all(model, requests(12), cache=cache)
        assert (second.sent, len(server.requests) - asked_for) == (failed, failed)
        assert second.outcomes == Counter(answered=8, refused=3, truncated=1)
        third = ask_all(model, requests(12), cache=cache, retry_failed=True)
        assert (third.sent, third.outcomes) == (4, Counter(answered=12))
        model.close()


# what the user sees


def test_text_is_streamed_and_comes_whole_from_the_cache(cache: AnswerCache) -> None:
    for _ in range(2):
        heard: list[str] = []
        ask_all(FakeVLM(in_flight=16), [request("a?")], cache=cache, on_text=heard.append)
        assert heard == ["re a?"]
    with pytest.raises(ValueError, match="one request, there are 2"):
        ask_all(FakeVLM(), requests(2), cache=cache, on_text=print)


def test_the_bar_shows_money_and_what_was_no_answer(cache: AnswerCache, capsys: pytest.CaptureFixture[str]) -> None:
    def answers(question: str) -> Reply:
        time.sleep(0.15)  # the bar is drawn every tenth of a second
        return said(question, "refused" if question == "1?" else "answered")

    model = FakeVLM(answers)
    ask_all(model, requests(3), cache=cache, progress=True)
    shown = capsys.readouterr().err
    assert "fake:m" in shown and "$0.0063, 1 refused" in shown
    ask_all(model, requests(3), cache=cache)
    assert capsys.readouterr().err == ""


def test_a_run_is_summed_up_in_one_line(cache: AnswerCache) -> None:
    cache.started(request_key(FakeVLM(), request("0?")), 0.25)
    model = FakeVLM(lambda question: said(question, "refused" if question == "1?" else "answered"))
    asked = ask_all(model, requests(3), cache=cache)
    assert asked.summary() == (
        "3 questions: 0 from the cache, 3 sent; 1 refused; 3,000 tokens in, 30 out; "
        "$0.2563, of which up to $0.2500 for 1 whose usage is not known"
    )
    again = ask_all(model, requests(4), cache=cache).summary()
    assert again.startswith("4 questions: 3 from the cache, 1 sent; 1 refused; 1,000 tokens in, 10 out; $0.0021")


def test_no_key_gets_into_the_cache(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-1234567890")
    with FaultServer(script=["ok", "bad-parameter"]) as server:
        model = OpenAIChat("openai:m", "m", server.url, max_retries=0)
        with contextlib.suppress(UserError):
            ask_all(model, requests(2), cache=cache)
        model.close()
    cache.close()
    assert all(b"very-secret" not in path.read_bytes() for path in cache.path.parent.glob("answers.sqlite*"))
