"""What a report of a comparison says, as headings, paragraphs and tables that Markdown and HTML both write."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any, Literal

from gpt4scene.benchmarks.names import benchmark_named
from gpt4scene.evaluation.comparison import SIGNIFICANT, Comparison, Estimate, Pair
from gpt4scene.evaluation.evaluation import frames_note
from gpt4scene.evaluation.protocol_meanings import protocol_meaning
from gpt4scene.evaluation.published_beside import published_blocks
from gpt4scene.evaluation.report_blocks import Block, Figure, Heading, Paragraph, Points, Table
from gpt4scene.evaluation.report_text import labels, plain
from gpt4scene.evaluation.run import Run
from gpt4scene.metrics.bootstrap import ENOUGH_SCENES, Interval

_COLUMNS = 6
_NAME_MOST = 120
_OF_GROUP = 2
"""So many metrics of each type of question are in the table; files have all."""


def title(comparison: Comparison) -> str:
    """The benchmark as papers write it, and the split."""
    run = comparison.runs[0]
    return f"{benchmark_named(run.benchmark).TITLE}, {run.split}"


def report_blocks(comparison: Comparison, *, on: date) -> list[Block]:
    """All of a report but its title.

    Args:
        comparison: what it is about.
        on: the date that it bears.
    """
    blocks: list[Block] = [_facts(comparison, on), *_warnings(comparison)]
    blocks += [Heading("Scores"), scores_table(comparison), *_scores_notes(comparison), Figure("metrics")]
    blocks += _by_type(comparison)
    blocks += _pairs(comparison)
    blocks += [Heading("Answers"), _answers(comparison), Paragraph(_ALL_COUNT)]
    blocks += [Heading("Cost"), _cost(comparison)]
    blocks += published_blocks(comparison)
    blocks += _flags(comparison)
    return [*blocks, Heading("How sure the numbers are"), Paragraph(_how_sure(comparison))]


def scores_table(comparison: Comparison) -> Table:
    """A row for each model, a column for each metric; the other way round where that makes too many columns."""
    names = list(dict.fromkeys(one.name for found in comparison.metrics for one in found))
    rows = []
    for label, found in zip(labels_of(comparison), comparison.metrics, strict=True):
        by_name = {one.name: one for one in found}
        rows.append((label, *(shown(by_name.get(name)) for name in names)))
    if len(names) > _COLUMNS:
        return Table(("metric", *(row[0] for row in rows)), tuple(zip(names, *(row[1:] for row in rows), strict=True)))
    return Table(("model", *names), tuple(rows))


def labels_of(comparison: Comparison) -> list[str]:
    """Short names of the models."""
    return labels([run.model for run in comparison.runs])


def shown(estimate: Estimate | None) -> str:
    """A metric with its interval; a dash where it is not known."""
    if estimate is None or math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:.2f}{_bracketed(estimate.interval)}"


def _bracketed(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low + 0.0:.1f}, {interval.high + 0.0:.1f}]"


def _facts(comparison: Comparison, on: date) -> Table:
    run = comparison.runs[0]
    meaning = protocol_meaning(run.benchmark, run.protocol)
    questions = f"{len(comparison.sample_ids):,}"
    scopes = list(dict.fromkeys(run.scope or "all of the split" for run in comparison.runs))
    if scopes != ["all of the split"]:
        whole = len(scopes) == 1 and len(comparison.sample_ids) == len(comparison.runs[0].samples)
        questions = scopes[0] if whole else f"{questions}, of runs over {'; '.join(scopes)}"
    versions = list(dict.fromkeys(run.prompt_version or "not known" for run in comparison.runs))
    judges = list(dict.fromkeys(run.judge for run in comparison.runs if run.judge))
    facts = [
        ("benchmark", f"{title(comparison)} split"),
        ("protocol", run.protocol),
        *([("which is", meaning)] if meaning else []),
        ("questions", questions),
        ("scenes", f"{comparison.scenes:,}" if comparison.scenes else "none: the questions have images of their own"),
        ("shown", _was_shown(comparison)),
        ("prompt version", ", ".join(versions)),
        *[("judge", judge) for judge in judges],
        *[
            (f"model {position}" if len(comparison.runs) > 1 else "model", _model(run, label))
            for position, (run, label) in enumerate(zip(comparison.runs, labels_of(comparison), strict=True), start=1)
        ],
        ("date", on.isoformat()),
        ("made by", f"gpt4scene {version('gpt4scene')}"),
    ]
    return Table(("", ""), tuple(facts), kind="facts")


def _model(run: Run, label: str) -> str:
    full = "" if label == run.model else f"{plain(run.model, _NAME_MOST)}; in tables {label}"
    dated = [plain(name, _NAME_MOST) for name in run.answered_by if name != run.model]
    answered = f"answered by {', '.join(dated)}" if dated else ""
    return "; ".join(part for part in (full or run.model, answered) if part)


def _was_shown(comparison: Comparison) -> str:
    if all(sample.images for sample in comparison.runs[0].samples):
        return "the questions' own images"
    known = [run.showing for run in comparison.runs if run.showing]
    return _showing(known[0]) if known else "not known"


def _showing(showing: Mapping[str, Any]) -> str:
    """The fields of `asking.Showing` in words."""
    said = [f"preset {showing.get('preset', 'not known')}"]
    said.append("with the bird's-eye view" if showing.get("bev", True) else "without the bird's-eye view")
    said.append("with marks" if showing.get("marks", True) else "without marks")
    share = showing.get("drop_marks_share") or 0
    if share:
        said.append(f"{share:.0%} of the marks left out (seed {showing.get('seed', 0)})")
    said.append(f"frame detail {showing.get('frame_detail', 'auto')}")
    return ", ".join(said)


def _warnings(comparison: Comparison) -> list[Block]:
    first = comparison.runs[0]
    frames = frames_note(benchmark_named(first.benchmark), first.showing.get("preset"))
    lines = [*comparison.notes, *([frames] if frames else [])]
    if comparison.is_part:
        lines.insert(0, "This is a part of the split: the scores are not comparable with published ones of all of it.")
    return [Points(tuple(lines), warning=True)] if lines else []


def _scores_notes(comparison: Comparison) -> list[Block]:
    said = "In points, with 95 % intervals in brackets."
    if any(math.isnan(one.value) for found in comparison.metrics for one in found):
        said += " A dash: it could not be computed; the notes say why."
    return [Paragraph(said), *_bare_notes([one for found in comparison.metrics for one in found])]


def _bare_notes(estimates: Sequence[Estimate]) -> list[Block]:
    """What it means that a value stands without an interval, where one does."""
    if all(math.isnan(one.value) or one.interval is not None for one in estimates):
        return []
    return [
        Paragraph(
            "No bracket: there is no interval, as too few questions count, all of them score alike, or the metric"
            " cannot be resampled; the value is no surer for that."
        )
    ]


def _all_of(groups: Sequence[Mapping[str, Sequence[Estimate]]]) -> list[Estimate]:
    return [one for of_run in groups for found in of_run.values() for one in found[:_OF_GROUP]]


def _by_type(comparison: Comparison) -> list[Block]:
    names = list(dict.fromkeys(name for groups in comparison.groups for name in groups))
    rows = []
    for name in names:
        held = [groups.get(name, ()) for groups in comparison.groups]
        for metric in list(dict.fromkeys(one.name for found in held for one in found))[:_OF_GROUP]:
            estimates = [next((one for one in found if one.name == metric), None) for found in held]
            counts = [one.questions for one in estimates if one is not None and one.questions is not None]
            rows.append((name, metric, f"{counts[0]:,}" if counts else "–", *(shown(one) for one in estimates)))
    if not rows:
        return []
    table = Table(("type", "metric", "questions", *labels_of(comparison)), tuple(rows), texts=(0, 1))
    return [Heading("By type of question"), table, *_bare_notes(_all_of(comparison.groups)), Figure("types")]


def _pairs_table(comparison: Comparison) -> Table:
    """A row for each pair of models and metric that is tested."""
    names = labels_of(comparison)
    rows = tuple(_pair_row(pair, names) for pair in comparison.pairs)
    head = ("metric", "first", "second", "result", "difference", "p", "p, corrected", "shared questions")
    return Table(head, rows, texts=(0, 1, 2, 3))


def _pairs(comparison: Comparison) -> list[Block]:
    if not comparison.pairs:
        return []
    note = (
        "The difference is the first model's score minus the second's, with its 95 % interval, on the questions that"
        " both have. Two-sided p-values, of a sign-flip test where a metric is a mean over questions and of a paired"
        " bootstrap where it is not, corrected by Holm's method over all pairs of one metric;"
        f" models are said to differ where the corrected one is below {SIGNIFICANT}. That no difference is shown does"
        " not mean that there is none."
    )
    return [Heading("Models against each other"), _pairs_table(comparison), Paragraph(note)]


def _pair_row(pair: Pair, names: Sequence[str]) -> tuple[str, ...]:
    known = not math.isnan(pair.difference)
    return (
        pair.metric,
        names[pair.first],
        names[pair.second],
        f"differ: {pair.verdict}" if pair.verdict.endswith("higher") else pair.verdict,
        f"{pair.difference + 0.0:+.2f}{_bracketed(pair.interval)}" if known else "–",
        _p(pair.p),
        _p(pair.p_corrected),
        f"{pair.shared:,}",
    )


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


_ALL_COUNT = (
    "All of them count in the scores: what is refused, failed or missing as wrong, and an answer that was cut or could"
    " not be read as the protocol has it."
)


def _answers(comparison: Comparison) -> Table:
    """Of the questions that the scores are of."""
    rows, common = [], set(comparison.sample_ids)
    for label, run in zip(labels_of(comparison), comparison.runs, strict=True):
        outcomes = [p.outcome for s, p in zip(run.samples, run.predictions, strict=True) if s.id in common]
        counts = (
            len(common.intersection(run.report.unparsed)),
            outcomes.count("truncated"),
            outcomes.count("refused"),
            outcomes.count("failed"),
            len(common.intersection(run.report.unanswered)),
        )
        rows.append((label, f"{len(outcomes):,}", *(_share(count, len(outcomes)) for count in counts)))
    head = ("model", "questions", "not read", "truncated", "refused", "failed or missing", "unanswered in all")
    return Table(head, tuple(rows))


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.1f} %)" if count and total else "0"


def _cost(comparison: Comparison) -> Table:
    rows = []
    for label, run in zip(labels_of(comparison), comparison.runs, strict=True):
        usage, cost = run.usage, run.cost_usd
        tokens = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) if usage else (None,) * 3
        each = "not known" if cost is None or not run.samples else f"{1000 * cost / len(run.samples):.2f}"
        rows.append(
            (
                label,
                "not known" if cost is None else f"{cost:.2f}",
                each,
                *("not known" if count is None else f"{count:,}" for count in tokens),
            )
        )
    head = ("model", "US dollars, at most", "per 1,000 questions", "tokens in", "of these cached", "tokens out")
    return Table(head, tuple(rows))


def _flags(comparison: Comparison) -> list[Block]:
    """What scorers decided, each line once, with the models that it is about where these are not all."""
    whose: dict[str, list[str]] = {}
    for label, run in zip(labels_of(comparison), comparison.runs, strict=True):
        for flag in run.report.flags:
            whose.setdefault(flag, []).append(label)
    lines = [flag if len(of) == len(comparison.runs) else f"{', '.join(of)}: {flag}" for flag, of in whose.items()]
    return [Heading("Notes of the scorer"), Points(tuple(lines))] if lines else []


def _how_sure(comparison: Comparison) -> str:
    unit: Literal["scenes", "questions"] = "scenes" if comparison.by_scene else "questions"
    said = (
        f"Intervals come from {comparison.resamples:,} resamplings of the {comparison.units:,} {unit} (seed"
        f" {comparison.seed}), the same ones for all models: percentiles, widened as Student's t is for so many {unit}."
    )
    if comparison.by_scene:
        said += " Questions of one scene are not independent of each other, so scenes are drawn whole."
    elif comparison.scenes:
        said += (
            f" There are fewer than {ENOUGH_SCENES} scenes, too few to draw whole ones; where questions of one scene"
            " are alike, intervals are too narrow and p-values too small."
        )
    if comparison.resamples_of_tests > comparison.resamples:
        said += f" Tests use {comparison.resamples_of_tests:,} resamplings, as there are many pairs."
    return said
