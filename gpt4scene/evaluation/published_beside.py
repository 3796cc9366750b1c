"""Published numbers beside ours, as far as they are of the same metric."""

import math

from gpt4scene.evaluation.comparison import Comparison
from gpt4scene.evaluation.published import MARKS, Published, published_numbers
from gpt4scene.evaluation.report_blocks import Block, Heading, Paragraph, Table
from gpt4scene.evaluation.report_text import labels


def published_blocks(comparison: Comparison) -> list[Block]:
    """The section with a table of ours and theirs, those of the same protocol first; none where none is known."""
    run = comparison.runs[0]
    ours = {one.name for found in comparison.metrics for one in found}
    numbers = [number for number in published_numbers(run.benchmark, run.split) if number.metric in ours]
    if not numbers:
        return []
    metrics = [name for name in _in_order(comparison) if any(number.metric == name for number in numbers)]
    own_rows = [
        (f"{label} (this report)", *_own(comparison, position, metrics), run.protocol, "", "")
        for position, label in enumerate(labels([run.model for run in comparison.runs]))
    ]
    groups: dict[tuple[str, str, str], list[Published]] = {}
    for number in sorted(numbers, key=lambda number: _rank(number.protocol, run.protocol)):
        groups.setdefault((number.method, number.protocol, number.source), []).append(number)
    newest = max(number.as_of for number in numbers)
    rows = [_row(found, metrics, newest) for found in groups.values()]
    head = ("method", *metrics, "scored by", "source", "remarks")
    return [
        Heading("Published numbers"),
        Paragraph(_caution(comparison, numbers)),
        Table(head, (*own_rows, *rows), texts=(0, len(head) - 3, len(head) - 2, len(head) - 1)),
    ]


def _in_order(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(one.name for found in comparison.metrics for one in found))


def _own(comparison: Comparison, position: int, metrics: list[str]) -> list[str]:
    values = {one.name: one.value for one in comparison.metrics[position]}
    return ["–" if math.isnan(values.get(name, math.nan)) else f"{values[name]:.2f}" for name in metrics]


def _rank(protocol: str, ours: str) -> int:
    """This protocol, then those not known, then others."""
    return 0 if protocol == ours else 1 if not protocol else 2


def _row(found: list[Published], metrics: list[str], newest: str) -> tuple[str, ...]:
    values = {number.metric: number.value for number in found}
    first = found[0]
    cells = [f"{values[name]}" if name in values else "–" for name in metrics]
    source = first.source if first.as_of == newest else f"{first.source} (noted {first.as_of})"
    remarks = f"{first.mark}; {first.note}" if first.note else first.mark
    return (first.method, *cells, first.protocol or "not known", source, remarks)


def _caution(comparison: Comparison, numbers: list[Published]) -> str:
    protocol = comparison.runs[0].protocol
    same = sum(number.protocol == protocol for number in numbers)
    marks = ", ".join(f'"{mark}": {MARKS[mark]}' for mark in MARKS if any(number.mark == mark for number in numbers))
    said = f"As noted by {max(number.as_of for number in numbers)}; {marks}."
    if comparison.is_part:
        said += " This report is of a part of the split, so its scores are not comparable with any of these."
    elif same:
        said += f" Only numbers scored by {protocol} can be held against those of this report."
    else:
        said += f" None is known to be scored by {protocol}, so none can be held against those of this report."
    return (
        f"{said} Frames, resolution, prompts and tuning differ between methods, and protocols give one model different"
        " numbers."
    )
