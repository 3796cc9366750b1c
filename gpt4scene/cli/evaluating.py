"""Models on their way through a benchmark: what it will cost, the questions asked, the answers scored and told."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev.errors import UserError
from gpt4scene.cli.answer_lines import failures_line, money
from gpt4scene.cli.score_lines import score_table

if TYPE_CHECKING:
    from gpt4scene.benchmarks.objects import SceneObjects
    from gpt4scene.benchmarks.requests import Wording
    from gpt4scene.benchmarks.run import Run
    from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
    from gpt4scene.evaluate import Answered, Evaluation, Planned
    from gpt4scene.vlm.asked import Kept
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM

_PATIENCE = 20.0
"""A running score is computed anew only after so many times the time that the last one took: it costs 5 % at most."""
_PAUSE_S = 2.0


@dataclass(frozen=True)
class Evaluating:
    """An evaluation that is about to run."""

    evaluation: "Evaluation"
    wording: "Wording"
    models: Sequence[str]
    settings: Mapping[str, Any]
    """Of models; each model gets those that mean something to it."""
    out: Path
    cache: Path | None
    scans: Path | None
    attributes: tuple[Path, Path] | None
    judge: str | None
    batch: Path | None
    max_cost_usd: float | None
    retry_failed: bool


def evaluate_models(run: Evaluating, *, dry_run: bool) -> None:
    """Plan, ask, score, write and print; exit code 1 where questions are left that the same command would ask again."""
    from gpt4scene.evaluate import check_scoring
    from gpt4scene.vlm.cache import AnswerCache, default_cache_path

    _say(_header(run))
    objects = _objects(run)
    with ExitStack() as closing:
        models = [_opened(run, name, closing) for name in run.models]
        cache = closing.enter_context(AnswerCache(run.cache or default_cache_path()))
        planned = [_planned(run, model, cache, objects) for model in models]
        if len(planned) > 1:
            _say(_total_line(planned))
        if dry_run:
            _say("nothing was sent")
            return
        _check_money(run, planned)
        check_scoring(run.evaluation, objects)
        _make_folder(run.out)
        if run.batch is not None and not _batches_are_in(run, planned, cache):
            raise SystemExit(1)
        answered = _ask(run, planned, cache, objects)
    whole = [one for one in answered if not one.asked.stopped]
    if whole:
        _tell(run, whole, objects)
    if len(whole) < len(answered) or any(one.asked.outcomes["failed"] for one in answered):
        raise SystemExit(1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _header(run: Evaluating) -> str:
    evaluation = run.evaluation
    scope = evaluation.scope.text() or f"{len(evaluation.samples):,} questions"
    scenes = len(evaluation.folders)
    about = f"; {scenes:,} scene{'s' if scenes > 1 else ''}" if scenes else ""
    return f"{evaluation.benchmark.TITLE} {evaluation.split}: {scope}{about}"


def _objects(run: Evaluating) -> "Mapping[str, SceneObjects] | None":
    from gpt4scene.benchmarks.prepared_scenes import load_objects

    evaluation = run.evaluation
    if not evaluation.benchmark.NEEDS_OBJECTS:
        given = "--scans" if run.scans else "--attributes" if run.attributes else ""
        if given:
            raise UserError(f"{given}: {evaluation.benchmark.TITLE} needs no boxes of objects; leave it out")
        return None
    if run.scans is None and run.attributes is None:
        raise UserError(
            f"{evaluation.benchmark.TITLE} is scored with the true boxes of objects: give ScanNet's folder of scans"
            " with --scans, or attribute files with --attributes TRUE.pt PROPOSED.pt"
        )
    with counted(len(evaluation.folders), "true objects", "scene") as move:
        return load_objects(evaluation.folders, scans=run.scans, attributes=run.attributes, on_scene=move)


@contextmanager
def counted(total: int, what: str, unit: str) -> Iterator[Callable[[], None]]:
    """A bar on stderr where somebody looks at it, and what moves it by one."""
    if not sys.stderr.isatty() or not total:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit, leave=False) as bar:
        yield lambda: _move(bar)


def _move(bar: Any) -> None:
    bar.update()


def _opened(run: Evaluating, name: str, closing: ExitStack) -> "VLM":
    from gpt4scene.vlm.names import open_model, settings_of

    given = {key: value for key, value in run.settings.items() if value is not None}
    meant = {key for each in run.models for key in settings_of(each)}
    # a setting that means something to one of the models passes by the others
    own = {key: value for key, value in given.items() if key in settings_of(name) or key not in meant}
    model = open_model(name, **own)
    closing.callback(model.close)
    return model


def _planned(
    run: Evaluating, model: "VLM", cache: "AnswerCache", objects: "Mapping[str, SceneObjects] | None"
) -> "Planned":
    from gpt4scene.evaluate import plan_questions
    from gpt4scene.vlm.prices import age_warning

    with counted(len(run.evaluation.folders), f"{model.name}: images", "scene") as move:
        planned = plan_questions(
            run.evaluation,
            model,
            cache,
            wording=run.wording,
            objects=objects,
            retry_failed=run.retry_failed,
            on_scene=move,
        )
    _say(_plan_line(planned))
    old = age_warning(model.price) if model.price else None
    if old:
        _say(old)
    for why, count in Counter(re.sub(r"\d+", "N", put.why) for put in planned.puts if put.request is None).items():
        _say(f"{model.name}: {count} questions cannot be asked and count as unanswered: {why}")
    return planned


def _plan_line(planned: "Planned") -> str:
    plan = planned.plan
    tokens = _span(f"{plan.tokens.low:,}", f"{plan.tokens.high:,}")
    return (
        f"{planned.model.name}: {plan.to_send:,} to send, {plan.cached:,} in the cache; {tokens} tokens in, at most"
        f" {plan.output_tokens:,} out; {_cost(plan.cost_low_usd, plan.cost_high_usd)}"
    )


def _total_line(planned: "Sequence[Planned]") -> str:
    lows, highs = zip(*((one.plan.cost_low_usd, one.plan.cost_high_usd) for one in planned), strict=True)
    return f"all models: {sum(one.plan.to_send for one in planned):,} to send; {_cost(_sum(lows), _sum(highs))}"


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _cost(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "no price is known; add one with GPT4SCENE_PRICES"
    return _span(money(low), money(high))


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _check_money(run: Evaluating, planned: "Sequence[Planned]") -> None:
    """Complain of a limit that cannot be held before the first model is paid."""
    unknown = [one.model.name for one in planned if one.model.price is None]
    if run.max_cost_usd is not None and unknown:
        raise UserError(
            f"{unknown[0]}: no price is known, so --max-cost cannot be held; give one in the file that"
            " $GPT4SCENE_PRICES names"
        )


def _make_folder(path: Path) -> None:
    from gpt4scene.scene.atomic import write_errors

    with write_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"--out {path}: no folder can be made there ({error.strerror}); give another one"
            ) from error


def _batches_are_in(run: Evaluating, planned: "Sequence[Planned]", cache: "AnswerCache") -> bool:
    """Take up every model's batch where it stands; whether all replies are in the cache."""
    from gpt4scene.cli.questioning import take_up_batch
    from gpt4scene.vlm.prices import BATCH_SHARE

    assert run.batch is not None
    done, left = True, run.max_cost_usd
    for one, name in zip(planned, file_names(run.models), strict=True):
        state = take_up_batch(
            one.model, one.requests, run.batch / name, cache, retry_failed=run.retry_failed, max_cost_usd=left
        )
        left = None if left is None else max(0.0, left - BATCH_SHARE * (one.plan.cost_high_usd or 0.0))
        if not state.done:
            done = False
            _say("".join(f"{one.model.name}: {line}\n" for line in state.lines()).rstrip())
    if not done:
        _say("the same command again takes what has come by then; batches take up to 24 hours")
    return done


def _ask(
    run: Evaluating,
    planned: "Sequence[Planned]",
    cache: "AnswerCache",
    objects: "Mapping[str, SceneObjects] | None",
) -> "list[Answered]":
    from gpt4scene.evaluate import answer_questions

    answered, spent = [], 0.0
    for one in planned:
        with _running(run, one, objects) as note:
            answered.append(
                answer_questions(
                    one,
                    cache,
                    # what a batch has refused was asked again by it, at half the price
                    retry_failed=run.retry_failed and run.batch is None,
                    max_cost_usd=None if run.max_cost_usd is None else max(0.0, run.max_cost_usd - spent),
                    on_kept=note,
                )
            )
        one.model.close()
        asked = answered[-1].asked
        spent += asked.cost_usd or 0.0
        _say(f"{one.model.name}: {asked.summary()}")
        for outcome in ("failed", "refused", "truncated"):
            whys = Counter(kept.reply.why for kept in asked.kept if kept and kept.reply.outcome == outcome)
            if whys:
                sys.stderr.write(f"gpt4scene: {one.model.name}: {failures_line(outcome, whys)}\n")
        if asked.stopped:
            sys.stderr.write(f"gpt4scene: {one.model.name}: {asked.stopped}; it is not scored\n")
    return answered


@contextmanager
def _running(
    run: Evaluating, planned: "Planned", objects: "Mapping[str, SceneObjects] | None"
) -> "Iterator[Callable[[BenchmarkSample, Prediction, Kept], None]]":
    """A bar with the score so far beside it."""
    if not sys.stderr.isatty():
        yield lambda sample, prediction, kept: None
        return
    from tqdm import tqdm

    samples: list[BenchmarkSample] = []
    answers: dict[str, Prediction] = {}
    outcomes: Counter[str] = Counter()
    spent, said, next_s = 0.0, "", time.monotonic() + _PAUSE_S
    with tqdm(total=len(planned.requests), desc=planned.model.name, unit="question", leave=False) as bar:

        def note(sample: "BenchmarkSample", prediction: "Prediction", kept: "Kept") -> None:
            nonlocal spent, said, next_s
            samples.append(sample)
            answers[sample.id] = prediction
            outcomes[kept.reply.outcome] += 1
            spent += kept.cost_usd or 0.0
            begun = time.monotonic()
            if begun >= next_s:
                said = _score_so_far(run, samples, answers, objects)
                now = time.monotonic()
                next_s = now + max(_PAUSE_S, _PATIENCE * (now - begun))
            others = [f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome != "answered"]
            bar.set_postfix_str(", ".join(filter(None, (f"${spent:.4f}", said, *others))), refresh=False)
            bar.update()

        yield note


def _score_so_far(
    run: Evaluating,
    samples: "Sequence[BenchmarkSample]",
    answers: "Mapping[str, Prediction]",
    objects: "Mapping[str, SceneObjects] | None",
) -> str:
    evaluation = run.evaluation
    try:
        report = evaluation.benchmark.score(samples, answers, protocol=evaluation.protocols[0], objects=objects)
    except UserError:
        return ""  # what is wrong is told when all is scored; until then answers are still to be had
    first = report.metrics[0]
    return f"{first.name} {first.value:.1f}"


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
    from gpt4scene.benchmarks.results import result_rows, write_numbers, write_rows
    from gpt4scene.evaluate import score_answers

    names = dict(zip(run.models, file_names(run.models), strict=True))
    by_model: list[list[Run]] = []
    for one in answered:
        runs = score_answers(run.evaluation, one, wording=run.wording, objects=objects)
        write_rows(
            run.out / f"{names[one.planned.model.name]}.jsonl", result_rows(runs, run.evaluation.scope, one.answers)
        )
        by_model.append(runs)
    write_numbers(run.out / "scores.json", [one for runs in by_model for one in runs])
    for of_protocol in zip(*by_model, strict=True):
        _say("\n" + score_table(of_protocol, run.evaluation.benchmark.TITLE).rstrip())
    _say(f"\nresults are in {run.out}")
