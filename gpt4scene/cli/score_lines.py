"""What a person reads of scores: a table of metrics with a column for each run, and what was decided on the way."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt4scene.cli.answer_lines import printable

if TYPE_CHECKING:
    from gpt4scene.benchmarks.run import Run
    from gpt4scene.metrics.metric import Metric

_NAME_MOST = 24
"""Longer names of runs stand below a number."""
_OF_GROUP = 2
"""So many metrics of each group are printed; files have all."""


def score_table(runs: "Sequence[Run]", title: str) -> str:
    """The scores of runs by one protocol.

    Args:
        runs: of the same benchmark, split and protocol.
        title: of the benchmark, as papers write it.
    """
    first = runs[0]
    scopes = list(dict.fromkeys(run.scope for run in runs))
    scope = scopes[0] or f"{len(first.samples):,} questions" if len(scopes) == 1 else "questions that differ"
    lines = [f"{title} {first.split}, protocol {first.protocol}: {scope}"]
    names = [printable(run.model) for run in runs]
    numbered = len(runs) > 1 and max(map(len, names)) > _NAME_MOST
    if numbered:
        lines += [f"  [{number}] {name}" for number, name in enumerate(names, start=1)]
        names = [f"[{number}]" for number in range(1, len(names) + 1)]
    rows = _rows(runs)
    width = max(len(name) for name, _ in rows) + 2
    columns = [max(10, len(name) + 2 if len(runs) > 1 else 0) for name in names]
    lines.append(_line("", names, width, columns) if len(runs) > 1 else f"  {names[0]}")
    lines += [_line(name, cells, width, columns) for name, cells in rows]
    whose: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        for flag in run.report.flags:
            whose.setdefault(flag, []).append(name)
    for flag, of in whose.items():
        lines.append(f"note: {'' if len(of) == len(runs) else ', '.join(of) + ': '}{printable(flag)}")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _rows(runs: "Sequence[Run]") -> list[tuple[str, list[str]]]:
    rows = []
    for name in dict.fromkeys(metric.name for run in runs for metric in run.report.metrics):
        rows.append((name, [_value(run.report.metrics, name) for run in runs]))
    for group in dict.fromkeys(group for run in runs for group in run.report.groups):
        held = [run.report.groups.get(group, ()) for run in runs]
        names = list(dict.fromkeys(metric.name for metrics in held for metric in metrics))[:_OF_GROUP]
        for name in names:
            rows.append((f"  {group}, {name}", [_value(metrics, name) for metrics in held]))
    for name, count in (
        ("unanswered", lambda run: len(run.report.unanswered)),
        ("  of these refused", lambda run: sum(p.outcome == "refused" for p in run.predictions)),
        ("answers not read", lambda run: len(run.report.unparsed)),
    ):
        rows.append((name, [f"{count(run):,}" for run in runs]))
    return rows


def _value(metrics: "Sequence[Metric]", name: str) -> str:
    value = next((metric.value for metric in metrics if metric.name == name), math.nan)
    return "-" if math.isnan(value) else f"{value:.2f}"


def _line(name: str, cells: Sequence[str], width: int, columns: Sequence[int]) -> str:
    return f"{name:{width}}" + "".join(f"{cell:>{column}}" for cell, column in zip(cells, columns, strict=True))
