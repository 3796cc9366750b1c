"""The answers of one model to a benchmark, a row each: what was asked, said, read and scored, and what it took."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.evaluation.comparison import Comparison, Estimate, Pair
from gpt4scene.evaluation.run import Run
from gpt4scene.evaluation.subset import Scope
from gpt4scene.metrics.metric import Metric
from gpt4scene.scene.atomic import write_bytes, write_errors
from gpt4scene.vlm.protocol import Usage

SCHEMA = "gpt4scene/result@1"


def result_rows(runs: Sequence[Run], scope: Scope, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each question, as JSON holds it.

    Args:
        runs: of one model and the same answers, one for each protocol.
        scope: which part of the split that is.
        answers: for each question what is known of its answer: text, outcome, ids, usage, cost, ...
    """
    run = runs[0]
    scores = [scores_of(each.report) for each in runs]
    rows = []
    for position, (sample, answer) in enumerate(zip(run.samples, answers, strict=True)):
        row: dict[str, Any] = {
            "schema": SCHEMA,
            "id": sample.id,
            "benchmark": run.benchmark,
            "split": run.split,
            "scope": asdict(scope),
            "asked": run.model,
            **_asked(sample),
            "answers": list(sample.answers),
            "prompt_version": run.prompt_version,
            "question_key": run.question_keys[position],
            "image_key": run.image_keys[position],
            "showing": dict(run.showing),
            **answer,
            "scores": {each.protocol: found[position] for each, found in zip(runs, scores, strict=True)},
        }
        rows.append(row)
    return rows


def scores_of(report: Report) -> list[dict[str, Any]]:
    """For each question what the scorer found: the metrics that it has a value of, and what was read of its answer."""
    metrics = {metric.name: metric.values for metric in report.metrics if metric.values is not None}
    for group in report.groups.values():
        for metric in group:
            if metric.values is not None:
                held = metrics.get(metric.name)
                values = metric.values
                metrics[metric.name] = values if held is None else np.where(np.isnan(held), values, held)
    unparsed = set(report.unparsed)
    found = []
    for position, id in enumerate(report.sample_ids):
        row: dict[str, Any] = {
            name: float(values[position]) for name, values in metrics.items() if np.isfinite(values[position])
        }
        if report.details:
            row["read"] = _without_nan(dict(report.details[position]))
        if id in unparsed:
            row["unparsed"] = True
        found.append(row)
    return found


def run_numbers(run: Run) -> dict[str, Any]:
    """A run's scores and what they are of, as JSON holds it; NaN as null."""
    return {
        "model": run.model,
        "answered_by": list(run.answered_by),
        "benchmark": run.benchmark,
        "split": run.split,
        "protocol": run.protocol,
        "scope": run.scope,
        "prompt_version": run.prompt_version,
        "judge": run.judge,
        "showing": dict(run.showing),
        "questions": len(run.samples),
        "metrics": _values(run.report.metrics),
        "groups": {name: _values(metrics) for name, metrics in run.report.groups.items()},
        "outcomes": dict(Counter(prediction.outcome for prediction in run.predictions)),
        "unanswered": list(run.report.unanswered),
        "unparsed": list(run.report.unparsed),
        "flags": list(run.report.flags),
        "cost_usd": run.cost_usd,
        "usage": asdict(run.usage) if run.usage else None,
    }


def write_numbers(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write scores, their intervals and the tests between models, with the version of this program, as a JSON object.

    Intervals and tests are of the questions that all models of a protocol have; scores are of each model's own.

    Raises:
        UserError: the disk is full, or may not be written.
    """
    content = {
        "version": version("gpt4scene"),
        "runs": [
            run_numbers(run) | {"intervals": _intervals(found)}
            for each in comparisons
            for run, found in zip(each.runs, each.metrics, strict=True)
        ],
        "pairs": [_pair(each, pair) for each in comparisons for pair in each.pairs],
    }
    text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False, default=plain, allow_nan=False)
    with write_errors(path.resolve().parent):
        write_bytes(path, f"{text}\n".encode("utf-8", "backslashreplace"))


def _intervals(estimates: Sequence[Estimate]) -> dict[str, list[float] | None]:
    return {each.name: None if each.interval is None else [each.interval.low, each.interval.high] for each in estimates}


def _pair(comparison: Comparison, pair: Pair) -> dict[str, Any]:
    runs = comparison.runs
    return {
        "protocol": runs[0].protocol,
        "metric": pair.metric,
        "first": runs[pair.first].model,
        "second": runs[pair.second].model,
        "questions": pair.shared,
        "difference": pair.difference,
        "interval": None if pair.interval is None else [pair.interval.low, pair.interval.high],
        "p": pair.p,
        "p_corrected": pair.p_corrected,
    }


def sum_of_usage(rows: Iterable[Mapping[str, Any]]) -> Usage | None:
    """The tokens of all rows that tell theirs; None where none does."""
    told = [row["usage"] for row in rows if row.get("usage")]
    names = tuple(Usage.__dataclass_fields__)
    return Usage(**{name: sum(usage[name] for usage in told) for name in names}) if told else None


def _values(metrics: Sequence[Metric]) -> dict[str, float | None]:
    return {metric.name: metric.value if math.isfinite(metric.value) else None for metric in metrics}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows or none, one JSON object per line.

    Raises:
        UserError: the disk is full, or may not be written.
    """
    text = "".join(f"{json.dumps(row, ensure_ascii=False, default=plain)}\n" for row in rows)
    with write_errors(path.resolve().parent):
        # half a surrogate pair, which a model may write, has no UTF-8
        write_bytes(path, text.encode("utf-8", "backslashreplace"))


def plain(value: object) -> Any:
    """What JSON has no word for and scorers find: numbers and lists of numpy's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _without_nan(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _asked(sample: BenchmarkSample) -> dict[str, Any]:
    question = sample.question
    row: dict[str, Any] = {"scene": sample.scene, "kind": sample.kind, "task": question.task, "question": question.text}
    row |= {"situation": question.situation} if question.situation is not None else {}
    row |= {"options": list(question.options)} if question.options else {}
    return row | ({"object": question.object_id} if question.object_id is not None else {})
