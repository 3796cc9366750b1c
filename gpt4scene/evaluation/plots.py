"""Plots of a comparison as SVG that stands in a page: metrics with their intervals, and bars for types of question."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bev.errors import require
from gpt4scene.evaluation.comparison import Comparison, Estimate
from gpt4scene.evaluation.report_text import labels, plain

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A8A86")
"""Okabe and Ito's, which people with any kind of colour vision can tell apart."""
_HATCHES = ("", "////", "....", "xxxx")
"""For the models beyond the colours."""
_INK = "#1d1d1c"
"""Stands for the page's own colour of text, and is replaced by it."""
_PANELS = 4
"""So many metrics are plotted, those that papers report first."""
_MOST_TYPES = 40
_TITLE_MOST = 24
_TYPE_MOST = 40


def metrics_svg(comparison: Comparison) -> str:
    """The first metrics of every model, each a point with its 95 % interval; a panel for each metric.

    Raises:
        UserError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(one.name for found in comparison.metrics for one in found))
    names = [name for name in names if any(_known(found, name) for found in comparison.metrics)][:_PANELS]
    models = labels([run.model for run in comparison.runs])
    if not names:
        return ""
    with _drawing() as figure_of:
        figure = figure_of(figsize=(2.9 * len(names), 0.5 + 0.34 * len(models)))
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for panel, name in zip(panels, names, strict=True):
            for row, found in enumerate(comparison.metrics):
                one = _known(found, name)
                if one is not None:
                    _point(panel, row, one, _COLOURS[row % len(_COLOURS)])
            _styled(panel, plain(name, _TITLE_MOST))
            panel.set_yticks(range(len(models)), models, parse_math=False)
            panel.set_ylim(len(models) - 0.5, -0.5)
            panel.locator_params(axis="x", nbins=5)
        figure.subplots_adjust(wspace=0.12)
        return _svg(figure, "metrics")


def types_svg(comparison: Comparison) -> str:
    """The first metric of each type of question, a bar for every model; "" where there are no types.

    Raises:
        UserError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for groups in comparison.groups for name in groups))[:_MOST_TYPES]
    models = labels([run.model for run in comparison.runs])
    if not names:
        return ""
    with _drawing() as figure_of:
        thick = 0.8 / len(models)
        figure = figure_of(figsize=(7.5, 0.4 + len(names) * (0.2 + 0.13 * len(models))))
        panel = figure.subplots()
        handles = []
        for number, (label, groups) in enumerate(zip(models, comparison.groups, strict=True)):
            offset = (number + 0.5) * thick - 0.4
            style = {"color": _COLOURS[number % len(_COLOURS)], "hatch": _HATCHES[number // len(_COLOURS) % 4]}
            found = [_first(groups, name) for name in names]
            lengths = [0.0 if one is None else round(one.value, 4) for one in found]
            handles.append(panel.barh([row + offset for row in range(len(names))], lengths, thick, **style))
            handles[-1].set_label(label)
            _whiskers(panel, found, offset)
        _styled(panel, "")
        panel.set_xlabel("points")
        panel.set_yticks(range(len(names)), [_type_label(comparison, name) for name in names], parse_math=False)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlim(left=0)
        if len(models) > 1:
            _legend(panel, handles, models)
        return _svg(figure, "types")


def _known(found: Sequence[Estimate], name: str) -> Estimate | None:
    return next((one for one in found if one.name == name and math.isfinite(one.value)), None)


def _first(groups: Mapping[str, Sequence[Estimate]], name: str) -> Estimate | None:
    one = next(iter(groups.get(name, ())), None)
    return one if one is not None and math.isfinite(one.value) else None


def _type_label(comparison: Comparison, name: str) -> str:
    metric = next((one.name for groups in comparison.groups if (one := _first(groups, name)) is not None), "")
    return f"{plain(name, _TYPE_MOST)} ({plain(metric, _TITLE_MOST)})" if metric else plain(name, _TYPE_MOST)


def _point(panel: Any, row: int, one: Estimate, colour: str) -> None:
    if one.interval is not None:
        ends = [round(one.interval.low, 4), round(one.interval.high, 4)]
        panel.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
    panel.plot([round(one.value, 4)], [row], "o", color=colour, markersize=6.5)


def _whiskers(panel: Any, found: Sequence[Estimate | None], offset: float) -> None:
    for row, one in enumerate(found):
        if one is not None and one.interval is not None:
            ends = [round(one.interval.low, 4), round(one.interval.high, 4)]
            panel.plot(ends, [row + offset] * 2, color=_INK, linewidth=0.9, solid_capstyle="butt")


def _styled(panel: Any, title: str) -> None:
    panel.set_title(title, parse_math=False, fontsize=9.5)
    panel.grid(axis="x", color=_INK, alpha=0.15, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _legend(panel: Any, handles: Sequence[Any], models: Sequence[str]) -> None:
    """Above the plot, in as many columns as the names leave room for."""
    columns = max(1, min(4, 88 // (8 + max(map(len, models)))))
    above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.3}
    legend = panel.legend(handles, models, ncols=columns, frameon=False, handlelength=1.4, **above)
    for text in legend.get_texts():
        text.set_parse_math(False)


@contextmanager
def _drawing() -> Iterator[Any]:
    """matplotlib's Figure, with settings that are the same for every user, without its windows."""
    matplotlib = require("matplotlib", "eval")
    figure_type = require("matplotlib.figure", "eval").Figure
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "gpt4scene",
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "hatch.linewidth": 0.6,
        **dict.fromkeys(("text.color", "axes.edgecolor", "xtick.color", "ytick.color", "axes.labelcolor"), _INK),
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        # letters that its font lacks are drawn by the browser
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield figure_type


def _svg(figure: Any, name: str) -> str:
    """The SVG element alone, with ids of its own, in the page's colour of text."""
    written = io.StringIO()
    figure.savefig(written, format="svg", bbox_inches="tight", pad_inches=0.05, transparent=True, metadata=_NO_METADATA)
    text = written.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", text)
    text = text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'").replace(_INK, "currentColor")
    return text.strip()


_NO_METADATA = {"Date": None, "Creator": None, "Type": None, "Format": None}
