"""Models on their way through a benchmark: the questions planned and asked, the answers scored and told."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gpt4scene.cli import evaluation_plan
from gpt4scene.cli.answer_lines import failures_line
from gpt4scene.cli.evaluation_plan import Evaluating
from gpt4scene.cli.running_score import running_score
from gpt4scene.cli.score_lines import compared, make_folder, score_table, write_reports

if TYPE_CHECKING:
    from gpt4scene.benchmarks.objects import SceneObjects
    from gpt4scene.evaluate import Answered, Planned
    from gpt4scene.evaluation.run import Run
    from gpt4scene.vlm.asked import Asked
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM


def evaluate_models(run: Evaluating, *, dry_run: bool) -> None:
    """Plan, ask, score, write and print; exit code 1 where questions are left that the same command would ask again."""
    from gpt4scene.evaluate import check_scoring
    from gpt4scene.vlm.cache import AnswerCache, default_cache_path

    evaluation = run.evaluation
    evaluation_plan.check_objects(run)
    objects = evaluation_plan.objects_of(evaluation, evaluation.folders, run.scans, run.attributes)
    with ExitStack() as closing:
        models = [evaluation_plan.opened(run, name, closing) for name in run.models]
        judge = None if run.judge is None else evaluation_plan.opened(run, run.judge, closing)
        if not dry_run:
            evaluation_plan.check_money(run, [*models, *([judge] if judge is not None else [])])
        cache = closing.enter_context(AnswerCache(run.cache or default_cache_path()))
        plans = [evaluation_plan.planned(run, model, cache, objects) for model in models]
        judging = None if judge is None else evaluation_plan.judge_plan(run, judge, cache)
        lines = evaluation_plan.plan_lines(run, plans, judge, judging)
        if dry_run:
            _say(*lines, "nothing was sent")
            return
        if judge is None and any(one.plan.to_send for one in plans):
            check_scoring(evaluation, objects)
        make_folder(run.out)
        _say(*lines)
        if run.batch is not None and not _batches_are_in(run, plans, cache):
            raise SystemExit(1)
        answered = _ask(run, plans, judge, cache, objects)
    whole = [one for one in answered if not one.stopped]
    if whole:
        _tell(run, whole, objects)
    if len(whole) < len(answered) or any(one.asked.outcomes["failed"] for one in answered):
        raise SystemExit(1)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _batches_are_in(run: Evaluating, plans: "Sequence[Planned]", cache: "AnswerCache") -> bool:
    """Take up every model's batch where it stands; whether all replies are in the cache."""
    from gpt4scene.cli.questioning import take_up_batch
    from gpt4scene.vlm.prices import BATCH_SHARE

    assert run.batch is not None
    done, left = True, run.max_cost_usd
    for one, name in zip(plans, file_names(run.models), strict=True):
        state = take_up_batch(
            one.model, one.requests, run.batch / name, cache, retry_failed=run.retry_failed, max_cost_usd=left
        )
        left = None if left is None else max(0.0, left - BATCH_SHARE * (one.plan.cost_high_usd or 0.0))
        if not state.done:
            done = False
            _say(*(f"{one.model.name}: {line}" for line in state.lines()))
    if not done:
        _say("the same command again takes what has come by then; batches take up to 24 hours")
    return done


def _ask(
    run: Evaluating,
    plans: "Sequence[Planned]",
    judge: "VLM | None",
    cache: "AnswerCache",
    objects: "Mapping[str, SceneObjects] | None",
) -> "list[Answered]":
    from gpt4scene.evaluate import answer_questions, judge_answers

    answered, spent = [], 0.0

    def left() -> float | None:
        return None if run.max_cost_usd is None else max(0.0, run.max_cost_usd - spent)

    for one in plans:
        with running_score(run.evaluation, one, objects) as note:
            # what a batch was refused, it has asked again itself, at half the price
            again = run.retry_failed and run.batch is None
            answers = answer_questions(one, cache, retry_failed=again, max_cost_usd=left(), on_kept=note)
        one.model.close()
        spent += answers.asked.cost_usd or 0.0
        _tell_asked(one.model.name, answers.asked)
        if judge is not None and not answers.stopped:
            shown = sys.stderr.isatty()
            answers = judge_answers(
                answers, judge, cache, retry_failed=run.retry_failed, max_cost_usd=left(), progress=shown
            )
            assert answers.judging is not None
            spent += answers.judging.cost_usd or 0.0
            _tell_asked(f"{one.model.name}, judged by {judge.name}", answers.judging)
        if answers.stopped:
            sys.stderr.write(f"gpt4scene: {one.model.name}: {answers.stopped}; it is not scored\n")
        answered.append(answers)
    return answered


def _tell_asked(name: str, asked: "Asked") -> None:
    _say(f"{name}: {asked.summary()}")
    for outcome in ("failed", "refused", "truncated"):
        whys = Counter(kept.reply.why for kept in asked.kept if kept and kept.reply.outcome == outcome)
        if whys:
            sys.stderr.write(f"gpt4scene: {name}: {failures_line(outcome, whys)}\n")


def file_names(models: Sequence[str]) -> list[str]:
    """What the files of models are called: their names, in the letters that every system allows."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", model.removesuffix(".jsonl")) for model in models]
    names = [name[-80:].strip("-.") or "model" for name in plain]
    return [
        name if names.count(name) == 1 else f"{name}-{names[:position].count(name) + 1}"
        for position, name in enumerate(names)
    ]


def _tell(run: Evaluating, answered: "Sequence[Answered]", objects: "Mapping[str, SceneObjects] | None") -> None:
    """Score, write results and report, print the tables."""
    from gpt4scene.evaluate import score_answers
    from gpt4scene.evaluation.results import result_rows, write_numbers, write_rows

    names = dict(zip(run.models, file_names(run.models), strict=True))
    by_model: list[list[Run]] = []
    for one in answered:
        runs = score_answers(run.evaluation, one, wording=run.wording, objects=objects)
        rows = result_rows(runs, run.evaluation.scope, one.answers)
        write_rows(run.out / f"{names[one.planned.model.name]}.jsonl", rows)
        by_model.append(runs)
    comparisons = [compared(of_protocol) for of_protocol in zip(*by_model, strict=True)]
    write_numbers(run.out / "scores.json", comparisons)
    pages = write_reports(comparisons, run.out)
    for comparison in comparisons:
        _say("", score_table(comparison, run.evaluation.benchmark.TITLE).rstrip())
    _say("", f"results are in {run.out}; look at {', '.join(map(str, pages))}")
