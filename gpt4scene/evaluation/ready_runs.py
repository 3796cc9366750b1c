"""Answers that are ready as runs: which part of a split they are to, and their score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.sample import UNANSWERED, BenchmarkSample, Prediction
from gpt4scene.evaluation.answer_file import ReadyAnswers
from gpt4scene.evaluation.evaluation import Evaluation
from gpt4scene.evaluation.results import sum_of_usage
from gpt4scene.evaluation.run import Run, prompt_version
from gpt4scene.evaluation.subset import Scope, part_of


@dataclass(frozen=True, eq=False)
class ReadyPart:
    """Answers with the questions that they are to."""

    name: str
    samples: tuple[BenchmarkSample, ...]
    scope: Scope
    predictions: Mapping[str, Prediction]
    rows: Mapping[str, Mapping[str, Any]]
    left_out: int
    """How many answers are to questions of the split that are not in the part."""
    judge: str = ""
    """The model that marked them; empty where none did."""


def part_answered(
    name: str,
    ready: ReadyAnswers,
    opened: Evaluation,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> ReadyPart:
    """Which questions answers are to: those that a limit draws, that `gpt4scene eval` asked, or all.

    Args:
        name: of the run.
        ready: its answers.
        opened: all questions of the split.
        limit: the answers are to so many questions; None: what their rows say, else all.
        seed: which ones.

    Raises:
        UserError: rows of `gpt4scene eval` are of something else, of several parts, or of questions that the
            annotation files have in other words.
    """
    for id, row in ready.rows.items():
        if (row["benchmark"], row["split"]) != (opened.name, opened.split):
            raise UserError(
                f"{name}: the answer to {id!r} is to {row['benchmark']}, split {row['split']}, and not to"
                f" {opened.name}, split {opened.split}; score answers as what they are"
            )
    first: Mapping[str, Any] = next(iter(ready.rows.values()), {})
    if any(row["scope"] != first["scope"] for row in ready.rows.values()):
        raise UserError(f"{name}: the rows are of runs over different parts of the split; give one run's rows alone")
    if limit is not None or not first:
        part, scope = part_of(opened.samples, limit=limit, seed=seed)
    else:
        told = first["scope"]
        part, scope = part_of(
            opened.samples, limit=told["asked"], seed=told["seed"] or 0, without_scenes=told["without_scenes"]
        )
    within, known = {sample.id for sample in part}, {sample.id for sample in opened.samples}
    _check_asked(name, part, ready)
    # what is of no question at all stays, for the scorer to complain of
    kept = {id: prediction for id, prediction in ready.predictions.items() if id in within or id not in known}
    return ReadyPart(
        name=name,
        samples=tuple(part),
        scope=scope,
        predictions=kept,
        rows=ready.rows,
        left_out=len(ready.predictions) - len(kept),
        judge=first.get("judge", ""),
    )


def _check_asked(name: str, samples: Sequence[BenchmarkSample], ready: ReadyAnswers) -> None:
    for sample in samples:
        row = ready.rows.get(sample.id, {})
        question = sample.question
        told = {"question": question.text, "situation": question.situation, "options": list(question.options)}
        differing = [key for key, now in told.items() if key in row and row[key] != now]
        if differing:
            then, now = str(row[differing[0]])[:60], str(told[differing[0]])[:60]
            raise UserError(
                f"{name}: question {sample.id!r} was asked with the {differing[0]} {then!r}, and the annotation files"
                f" now have {now!r}; score answers with the files that they were asked from"
            )


def ready_run(
    part: ReadyPart, opened: Evaluation, protocol: str, *, objects: Mapping[str, SceneObjects] | None = None
) -> Run:
    """The answers' score by one protocol.

    Args:
        part: the answers and their questions.
        opened: the split that they are of.
        protocol: of the benchmark.
        objects: of the scenes, where scoring needs them.

    Raises:
        UserError: answers are to questions that the split does not hold, or as the benchmark's scorer.
    """
    report = opened.benchmark.score(part.samples, part.predictions, protocol=protocol, objects=objects)
    rows = [part.rows.get(sample.id, {}) for sample in part.samples]
    keys = tuple(row.get("question_key", "") for row in rows)
    costs = [row.get("cost_usd") for row in rows]
    return Run(
        model=part.name,
        benchmark=opened.name,
        split=opened.split,
        protocol=protocol,
        prompt_version=prompt_version(part.samples, keys),
        samples=part.samples,
        predictions=tuple(part.predictions.get(sample.id, UNANSWERED) for sample in part.samples),
        report=report,
        question_keys=keys,
        image_keys=tuple(row.get("image_key", "") for row in rows),
        cost_usd=sum(cost for cost in costs if cost is not None) if None not in costs else None,
        usage=sum_of_usage(rows),
        showing=next((row["showing"] for row in rows if "showing" in row), {}),
        scope=part.scope.text(),
        answered_by=tuple(sorted({row["model"] for row in rows if row.get("model")})),
        judge=part.judge,
    )
