"""Models on a benchmark: the same questions about the same images, asked through the cache and scored alike."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gpt4scene.asking import answer_of
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.evaluation.evaluation import Evaluation
from gpt4scene.evaluation.requests import Put, Wording, put_questions
from gpt4scene.evaluation.results import sum_of_usage
from gpt4scene.evaluation.run import Run, prompt_version
from gpt4scene.prompting.parsed import answer_part, declines, shortened
from gpt4scene.vlm.answering import Plan, ask_all, plan
from gpt4scene.vlm.asked import Asked, Kept
from gpt4scene.vlm.cache import AnswerCache, request_key
from gpt4scene.vlm.protocol import VLM, Request

REHEARSED = 20
"""On so many questions, answered with their references, scoring is tried before anything is asked."""
_REASONING = re.compile(r"</?\s*(?:think|thinking|reasoning|answer)\s*>", re.IGNORECASE)
_DECLINES_WITHIN = 80
"""A reply that declines in so many of its first characters is a refusal; what an answer says later is its own."""


@dataclass(frozen=True, eq=False)
class Planned:
    """The questions as one model is to be asked them."""

    model: VLM
    puts: tuple[Put, ...]
    plan: Plan
    """What asking would send and cost."""

    @property
    def requests(self) -> list[Request]:
        """Of those that can be asked."""
        return [put.request for put in self.puts if put.request is not None]


@dataclass(frozen=True, eq=False)
class Answered:
    """What one model answered."""

    planned: Planned
    asked: Asked
    predictions: tuple[Prediction, ...]
    """For each question."""
    answers: tuple[dict[str, Any], ...]
    """For each question what is known of its answer, as JSON holds it."""
    judge: str = ""
    """The model that marked them; empty where none did."""
    judging: Asked | None = None
    """What that took."""

    @property
    def stopped(self) -> str:
        """Why not all was asked or judged, in one line; empty when all was."""
        unjudged = 0 if self.judging is None else self.judging.outcomes["failed"]
        return (
            self.asked.stopped
            or (self.judging.stopped if self.judging is not None else "")
            or (f"{self.judge} has not marked {unjudged} of the answers" if unjudged else "")
        )


def plan_questions(
    evaluation: Evaluation,
    model: VLM,
    cache: AnswerCache,
    *,
    wording: Wording,
    objects: Mapping[str, SceneObjects] | None = None,
    retry_failed: bool = False,
    on_scene: Callable[[], None] | None = None,
) -> Planned:
    """Show every scene at the model's size and find out what asking would cost; nothing is sent.

    Args:
        evaluation: the questions.
        model: to be asked.
        cache: of answers.
        wording: how the questions are put.
        objects: of the scenes, which captions need.
        retry_failed: as `ask_all` takes it.
        on_scene: called after each scene.

    Raises:
        UserError: a question cannot be put, or a scene cannot be shown so.
    """
    puts = put_questions(
        evaluation.samples, evaluation.folders, model.view_size, wording=wording, objects=objects, on_scene=on_scene
    )
    requests = [put.request for put in puts if put.request is not None]
    return Planned(model, tuple(puts), plan(model, requests, cache=cache, retry_failed=retry_failed))


def check_scoring(evaluation: Evaluation, objects: Mapping[str, SceneObjects] | None = None) -> None:
    """Score a few questions as if answered with their references: what is not installed shows before money is spent.

    Raises:
        UserError: as the benchmark's scorer.
    """
    few = evaluation.samples[:REHEARSED]
    answers = {sample.id: Prediction(sample.answers[0] if sample.answers else "") for sample in few}
    for protocol in evaluation.protocols:
        evaluation.benchmark.score(few, answers, protocol=protocol, objects=objects)


def answer_questions(
    planned: Planned,
    cache: AnswerCache,
    *,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    on_kept: Callable[[BenchmarkSample, Prediction, Kept], None] | None = None,
) -> Answered:
    """Ask what the cache does not hold.

    Args:
        planned: the questions.
        cache: of answers.
        retry_failed: ask again what was refused or truncated.
        max_cost_usd: send nothing that might lead beyond so many US dollars.
        on_kept: called with each question and its answer as soon as that is known.

    Raises:
        UserError: as `ask_all`.
    """
    puts, requests = [put for put in planned.puts if put.request is not None], planned.requests
    found: dict[str, tuple[Prediction, dict[str, Any]]] = {}
    paid: set[str] = set()

    def note(position: int, kept: Kept) -> None:
        put, key = puts[position], request_key(planned.model, requests[position])
        # equal questions are paid once
        cost = 0.0 if key in paid else cache.spent_usd([key])
        paid.add(key)
        found[put.sample.id] = _read(put, kept, cost)
        if on_kept is not None:
            on_kept(put.sample, found[put.sample.id][0], kept)

    asked = ask_all(
        planned.model,
        requests,
        cache=cache,
        retry_failed=retry_failed,
        max_cost_usd=max_cost_usd,
        on_kept=note,
    )
    told = [found.get(put.sample.id) or _unasked(put, asked.stopped) for put in planned.puts]
    return Answered(planned, asked, tuple(p for p, _ in told), tuple(answer for _, answer in told))


def judge_answers(
    answered: Answered,
    judge: VLM,
    cache: AnswerCache,
    *,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    progress: bool = False,
) -> Answered:
    """Have a model mark the answers, as OpenEQA does.

    Args:
        answered: what a model answered.
        judge: the model that marks it.
        cache: of the judge's replies.
        retry_failed, max_cost_usd, progress: as `ask_all` takes them.

    Raises:
        UserError: the judge cannot be asked at all.
    """
    from gpt4scene.benchmarks import openeqa

    samples = [put.sample for put in answered.planned.puts]
    given = {sample.id: prediction for sample, prediction in zip(samples, answered.predictions, strict=True)}
    judged = openeqa.judge(
        samples, given, judge, cache, retry_failed=retry_failed, max_cost_usd=max_cost_usd, progress=progress
    )
    predictions = tuple(judged.answers[sample.id] for sample in samples)
    rows = zip(answered.answers, predictions, strict=True)
    return replace(
        answered,
        predictions=predictions,
        answers=tuple(row | {"extra": dict(prediction.extra), "judge": judge.name} for row, prediction in rows),
        judge=judge.name,
        judging=judged.asked,
    )


def score_answers(
    evaluation: Evaluation,
    answered: Answered,
    *,
    wording: Wording,
    objects: Mapping[str, SceneObjects] | None = None,
) -> list[Run]:
    """One model's run by each of the protocols.

    Raises:
        UserError: as the benchmark's scorer.
    """
    puts = answered.planned.puts
    answers = {put.sample.id: prediction for put, prediction in zip(puts, answered.predictions, strict=True)}
    keys = tuple(put.question_key for put in puts)
    run = Run(
        model=answered.planned.model.name,
        benchmark=evaluation.name,
        split=evaluation.split,
        protocol="",
        prompt_version=prompt_version(evaluation.samples, keys),
        samples=evaluation.samples,
        predictions=answered.predictions,
        report=Report("", "", (), (), {}),
        question_keys=keys,
        image_keys=tuple(put.image_key for put in puts),
        cost_usd=answered.asked.all_runs_usd,
        usage=sum_of_usage(answered.answers),
        showing=asdict(wording.showing),
        scope=evaluation.scope.text(),
        answered_by=tuple(sorted({str(answer["model"]) for answer in answered.answers if answer["model"]})),
        judge=answered.judge,
    )
    return [
        replace(
            run,
            protocol=protocol,
            report=evaluation.benchmark.score(evaluation.samples, answers, protocol=protocol, objects=objects),
        )
        for protocol in evaluation.protocols
    ]


def scored_text(text: str) -> str:
    """What is scored of a reply: all of it, or the answer alone where reasoning or answer are marked with tags."""
    return answer_part(text) if _REASONING.search(text) else text


def _read(put: Put, kept: Kept, cost_usd: float | None) -> tuple[Prediction, dict[str, Any]]:
    answer = answer_of(kept, put.question, put.known_ids)
    if answer.outcome == "answered" and declines(answer.text, within=_DECLINES_WITHIN):
        answer = replace(answer, outcome="refused", why=f"the reply declines: {shortened(answer.text)}")
    text = scored_text(answer.text)
    row = asdict(replace(answer, cost_usd=cost_usd)) | {
        "ids": list(answer.ids),
        "unknown_ids": list(answer.unknown_ids),
    }
    row |= {"answer": text} if text != answer.text else {}
    return Prediction(text, answer.outcome, _extra(put)), row | _extra_row(put)


def _unasked(put: Put, stopped: str) -> tuple[Prediction, dict[str, Any]]:
    row = {
        "text": "",
        "ids": [],
        "unknown_ids": [],
        "outcome": "failed",
        "usage": None,
        "cost_usd": 0.0,
        "model": "",
        "cached": False,
        "why": put.why or f"not asked: {stopped}",
    }
    return Prediction("", "failed", _extra(put)), row | _extra_row(put)


def _extra(put: Put) -> dict[str, Any]:
    """What Scan2Cap's scorer must know: which object was described."""
    return {} if put.proposed_id is None else {"proposed_id": put.proposed_id}


def _extra_row(put: Put) -> dict[str, Any]:
    extra = _extra(put)
    return {"extra": extra} if extra else {}
