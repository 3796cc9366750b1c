"""What evaluating models takes, told before anything is sent: their questions, tokens and money."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev.errors import UserError
from gpt4scene.cli.answer_lines import money
from gpt4scene.cli.running_score import counted

if TYPE_CHECKING:
    from gpt4scene.benchmarks.objects import SceneObjects
    from gpt4scene.evaluate import Planned
    from gpt4scene.evaluation.evaluation import Evaluation
    from gpt4scene.evaluation.requests import Wording
    from gpt4scene.vlm.answering import Plan
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM


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


def objects_of(
    evaluation: "Evaluation", folders: Mapping[str, Path], scans: Path | None, attributes: tuple[Path, Path] | None
) -> "Mapping[str, SceneObjects] | None":
    """The objects of scenes, where a benchmark is scored with them.

    Raises:
        UserError: they are given where they are of no use, or as `load_objects`.
    """
    from gpt4scene.evaluation.prepared_scenes import load_objects

    given = "--scans" if scans else "--attributes" if attributes else ""
    if given and not evaluation.benchmark.NEEDS_OBJECTS:
        raise UserError(f"{given}: {evaluation.benchmark.TITLE} needs no boxes of objects; leave it out")
    with counted(len(folders) if scans else 0, "objects", "scene") as move:
        return load_objects(folders, scans=scans, attributes=attributes, on_scene=move)


def check_objects(run: Evaluating) -> None:
    """Say at once that boxes are missing, which scoring needs at the end.

    Raises:
        UserError: they are.
    """
    benchmark = run.evaluation.benchmark
    if benchmark.NEEDS_OBJECTS and run.scans is None and run.attributes is None:
        raise UserError(
            f"{benchmark.TITLE} is scored with the true boxes of objects: give ScanNet's folder of scans with --scans,"
            " or attribute files with --attributes TRUE.pt PROPOSED.pt"
        )


def check_money(run: Evaluating, models: "Sequence[VLM]") -> None:
    """Complain of a limit that cannot be held before the first model is paid.

    Raises:
        UserError: a price is not known.
    """
    unknown = [model.name for model in models if model.price is None]
    if run.max_cost_usd is not None and unknown:
        raise UserError(
            f"{unknown[0]}: no price is known, so --max-cost cannot be held; give one in the file that"
            " $GPT4SCENE_PRICES names"
        )


def opened(run: Evaluating, name: str, closing: ExitStack) -> "VLM":
    """The model of a name, which is closed with the rest; a setting of another kind of model passes it by."""
    from gpt4scene.vlm.names import open_model, settings_of

    given = {key: value for key, value in run.settings.items() if value is not None}
    names = [*run.models, *([run.judge] if run.judge is not None else [])]
    meant = {key for each in names for key in settings_of(each)}
    own = {key: value for key, value in given.items() if key in settings_of(name) or key not in meant}
    model = open_model(name, **own)
    closing.callback(model.close)
    return model


def planned(
    run: Evaluating, model: "VLM", cache: "AnswerCache", objects: "Mapping[str, SceneObjects] | None"
) -> "Planned":
    """A model's questions, with a bar while scenes are drawn for it."""
    from gpt4scene.evaluate import plan_questions

    with counted(len(run.evaluation.folders), f"{model.name}: images", "scene") as move:
        return plan_questions(
            run.evaluation,
            model,
            cache,
            wording=run.wording,
            objects=objects,
            retry_failed=run.retry_failed,
            on_scene=move,
        )


def judge_plan(run: Evaluating, judge: "VLM", cache: "AnswerCache") -> "Plan":
    """What judging one model's answers takes, if they are as long as the references."""
    from gpt4scene.benchmarks import openeqa
    from gpt4scene.benchmarks.sample import Prediction
    from gpt4scene.vlm.answering import plan

    samples = run.evaluation.samples
    answers = {sample.id: Prediction(sample.answers[0]) for sample in samples}
    return plan(judge, list(openeqa.judge_requests(samples, answers).values()), cache=cache)


def plan_lines(run: Evaluating, plans: "Sequence[Planned]", judge: "VLM | None", judging: "Plan | None") -> list[str]:
    """What all of it would send and cost, a line for each model."""
    from gpt4scene.evaluation.evaluation import frames_note
    from gpt4scene.vlm.prices import age_warning

    lines = [_header(run), *filter(None, [frames_note(run.evaluation.benchmark, run.wording.showing.preset)])]
    for one in plans:
        lines.append(f"{one.model.name}: {_plan_text(one.plan)}")
        whys = Counter(re.sub(r"\d+", "N", put.why) for put in one.puts if put.request is None)
        lines += [
            f"{one.model.name}: {count:,} questions cannot be asked and count as unanswered: {why}"
            for why, count in whys.items()
        ]
    of_all = [one.plan for one in plans]
    if judge is not None and judging is not None:
        lines.append(
            f"judge {judge.name}, for each model, should answers be as long as the truth: {_plan_text(judging)}"
        )
        of_all += [judging] * len(plans)
    low, high = _sum([plan.cost_low_usd for plan in of_all]), _sum([plan.cost_high_usd for plan in of_all])
    if len(of_all) > 1:
        lines.append(f"together: {_cost(low, high)}")
    if run.batch is not None:
        lines.append("in batches, what is sent costs half of it")
    if run.max_cost_usd is not None and high is not None and high > run.max_cost_usd:
        lines.append(f"--max-cost {run.max_cost_usd:g} may stop it before all is asked")
    prices = [one.model.price for one in plans] + [None if judge is None else judge.price]
    return [*lines, *dict.fromkeys(old for price in prices if price is not None and (old := age_warning(price)))]


def _header(run: Evaluating) -> str:
    evaluation = run.evaluation
    scope = evaluation.scope.text() or f"{len(evaluation.samples):,} questions"
    scenes = len(evaluation.folders)
    about = f"; {scenes:,} scene{'s' if scenes > 1 else ''}" if scenes else ""
    return f"{evaluation.benchmark.TITLE} {evaluation.split}: {scope}{about}"


def _plan_text(plan: "Plan") -> str:
    tokens = _span(f"{plan.tokens.low:,}", f"{plan.tokens.high:,}")
    return (
        f"{plan.to_send:,} to send, {plan.cached:,} in the cache; {tokens} tokens in, at most {plan.output_tokens:,}"
        f" out; {_cost(plan.cost_low_usd, plan.cost_high_usd)}"
    )


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _cost(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "no price is known; add one with GPT4SCENE_PRICES"
    return _span(money(low), money(high))


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
