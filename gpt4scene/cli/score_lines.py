"""What a person reads of scores: a table of metrics with a column for each model, and what is to be known of it."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bev.errors import UserError
from gpt4scene.cli.answer_lines import printable

if TYPE_CHECKING:
    from gpt4scene.evaluation.comparison import Comparison, Estimate
    from gpt4scene.evaluation.run import Run

_NAME_MOST = 24
"""Longer names of models stand above the table, under a number."""
_OF_GROUP = 2
"""So many metrics of each type of question are printed; files have all."""


def compared(runs: "Sequence[Run]") -> "Comparison":
    """Runs by one protocol beside each other, with a bar where that takes long.

    Raises:
        UserError: they were not asked the same about the same.
    """
    from gpt4scene.evaluation.comparison import compare

    if not sys.stderr.isatty():
        return compare(runs)
    from tqdm import tqdm

    with tqdm(total=1.0, desc="intervals", bar_format="{l_bar}{bar}| [{elapsed}]", leave=False, delay=1.0) as bar:
        return compare(runs, on_resampled=lambda share: _move_to(bar, share))


def _move_to(bar: "object", share: float) -> None:
    bar.update(share - bar.n)  # type: ignore[attr-defined]


def write_reports(comparisons: "Sequence[Comparison]", folder: Path) -> list[Path]:
    """A report for each protocol, as Markdown and as a page; the pages.

    Raises:
        UserError: the folder cannot be made or written.
    """
    from gpt4scene.evaluation.report_files import write_report

    make_folder(folder)
    pages = []
    for comparison in comparisons:
        protocol = comparison.runs[0].protocol
        _, page = write_report(comparison, folder, name="report" if len(comparisons) == 1 else f"report-{protocol}")
        pages.append(page)
    return pages


def make_folder(path: Path) -> None:
    """Make a folder for results.

    Raises:
        UserError: it cannot be.
    """
    from gpt4scene.scene.atomic import write_errors

    with write_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{path}: no folder can be made there ({error.strerror}); give another one") from error


def score_table(comparison: "Comparison", title: str) -> str:
    """Values with their 95 % intervals, what was not answered or read, and notes.

    Args:
        comparison: of one or more models.
        title: of the benchmark, as papers write it.
    """
    runs, first = comparison.runs, comparison.runs[0]
    lines = [f"{title} {first.split}, protocol {first.protocol}: {_scope(comparison)}; in brackets 95 % intervals"]
    names = [printable(run.model) for run in runs]
    if len(runs) == 1:
        lines.append(f"  {names[0]}")
        names = [""]
    elif max(map(len, names)) > _NAME_MOST:
        lines += [f"  [{number}] {name}" for number, name in enumerate(names, start=1)]
        names = [f"[{number}]" for number in range(1, len(names) + 1)]
    rows = [*_metric_rows(comparison), *_count_rows(comparison)]
    width = max(len(name) for name, _ in rows)
    columns = [max(24, len(name) + 2) for name in names]
    lines += [_line("", names, width, columns)] if len(runs) > 1 else []
    lines += [_line(name, cells, width, columns) for name, cells in rows]
    lines += _pair_lines(comparison, names)
    lines += [f"note: {line}" for line in dict.fromkeys(map(printable, [*comparison.notes, *_flags(runs, names)]))]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _scope(comparison: "Comparison") -> str:
    scopes = {run.scope for run in comparison.runs}
    scope = scopes.pop() if len(scopes) == 1 else ""
    count = len(comparison.sample_ids)
    return scope or f"{count:,} question{'' if count == 1 else 's'}"


def _metric_rows(comparison: "Comparison") -> list[tuple[str, list[str]]]:
    rows = []
    for name in dict.fromkeys(estimate.name for held in comparison.metrics for estimate in held):
        rows.append((name, [_cell(held, name) for held in comparison.metrics]))
    for group in dict.fromkeys(group for held in comparison.groups for group in held):
        of_group = [held.get(group, ()) for held in comparison.groups]
        names = list(dict.fromkeys(estimate.name for held in of_group for estimate in held))
        rows += [(f"  {group}, {name}", [_cell(held, name) for held in of_group]) for name in names[:_OF_GROUP]]
    return rows


def _count_rows(comparison: "Comparison") -> list[tuple[str, list[str]]]:
    """Of the questions that the scores are of."""
    common = set(comparison.sample_ids)
    unanswered, refused, unread = [], [], []
    for run in comparison.runs:
        outcomes = [p.outcome for s, p in zip(run.samples, run.predictions, strict=True) if s.id in common]
        unanswered.append(f"{len(common.intersection(run.report.unanswered)):,}")
        refused.append(f"{outcomes.count('refused'):,}")
        unread.append(f"{len(common.intersection(run.report.unparsed)):,}")
    return [("unanswered", unanswered), ("  of these refused", refused), ("answers not read", unread)]


def _cell(estimates: "Sequence[Estimate]", name: str) -> str:
    found = next((estimate for estimate in estimates if estimate.name == name), None)
    if found is None or math.isnan(found.value):
        return "-"
    between = "" if found.interval is None else f" [{found.interval.low:.1f}, {found.interval.high:.1f}]"
    return f"{found.value:.2f}{between}"


def _pair_lines(comparison: "Comparison", names: Sequence[str]) -> list[str]:
    lines = []
    for pair in comparison.pairs:
        between = "" if pair.interval is None else f" [{pair.interval.low:.1f}, {pair.interval.high:.1f}]"
        p = "" if pair.p_corrected is None else f", p = {pair.p_corrected:.3f}"
        lines.append(
            f"{pair.metric}: {names[pair.first]} minus {names[pair.second]}: {pair.difference:+.2f}{between}{p},"
            f" {pair.verdict}"
        )
    return lines


def _flags(runs: "Sequence[Run]", names: Sequence[str]) -> list[str]:
    """What scorers decided, once where it is the same for all models."""
    whose: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        for flag in run.report.flags:
            whose.setdefault(flag, []).append(name)
    return [flag if len(of) == len(runs) else f"{', '.join(of)}: {flag}" for flag, of in whose.items()]


def _line(name: str, cells: Sequence[str], width: int, columns: Sequence[int]) -> str:
    return f"{name:{width}}" + "".join(f"{cell:>{column}}" for cell, column in zip(cells, columns, strict=True))
