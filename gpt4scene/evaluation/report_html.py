"""A report of a comparison as one HTML page, with nothing to load from anywhere else."""

from collections.abc import Iterator
from datetime import date
from html import escape

from bev.errors import UserError
from gpt4scene.evaluation.comparison import Comparison
from gpt4scene.evaluation.plots import metrics_svg, types_svg
from gpt4scene.evaluation.report_blocks import Block, Figure, Heading, Paragraph, Points, Table
from gpt4scene.evaluation.report_content import report_blocks, title
from gpt4scene.evaluation.report_text import plain

_TEXT_MOST = 2000
_UNBROKEN_MOST = 36
_PLOTS = {
    "metrics": (metrics_svg, "Points: the scores. Lines: their 95 % intervals."),
    "types": (types_svg, "The first metric of each type. Thin lines: 95 % intervals."),
}


def report_html(comparison: Comparison, *, on: date) -> str:
    """The whole page. Where matplotlib is missing it says so, and has no plots.

    Args:
        comparison: what it is about.
        on: the date that it bears.
    """
    name = _text(title(comparison))
    body = "\n".join(_sections(comparison, report_blocks(comparison, on=on)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # nothing in it may run or load, whatever a model is called
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{name} · GPT4Scene</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{name}</h1></header>\n{body}\n</body>\n</html>\n"
    )


def _sections(comparison: Comparison, blocks: list[Block]) -> Iterator[str]:
    """Every heading begins a section."""
    opened = False
    for block in blocks:
        if isinstance(block, Heading):
            yield f"{'</section>' if opened else ''}<section><h2>{_text(block.text)}</h2>"
            opened = True
        else:
            yield _written(comparison, block)
    if opened:
        yield "</section>"


def _written(comparison: Comparison, block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Points(lines, warning):
            items = "".join(f"<li>{_text(line)}</li>" for line in lines)
            return f'<ul class="{"warning" if warning else "lines"}">{items}</ul>'
        case Table(_, rows, kind="facts"):
            cells = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in rows)
            return f'<dl class="facts">{cells}</dl>'
        case Table():
            return _table(block)
        case Figure(of):
            return _figure(comparison, of)
        case _:
            return ""


def _table(table: Table) -> str:
    head = "".join(_cell("th", cell, table, column, "col") for column, cell in enumerate(table.head))
    rows = []
    for row in table.rows:
        cells = (
            _cell("td" if column else "th", cell, table, column, "" if column else "row")
            for column, cell in enumerate(row)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(tag: str, text: str, table: Table, column: int, scope: str) -> str:
    """Numbers stand to the right; a text that is long may break anywhere, all else nowhere."""
    kind = "number" if column not in table.texts else "long" if len(text) > _UNBROKEN_MOST else "text"
    of = f' scope="{scope}"' if scope else ""
    return f'<{tag} class="{kind}"{of}>{_text(text)}</{tag}>'


def _figure(comparison: Comparison, of: str) -> str:
    draw, caption = _PLOTS[of]
    try:
        svg = draw(comparison)
    except UserError as error:
        return f"<p>The plot is missing: {_text(str(error))}</p>"
    return f'<figure><div class="plot">{svg}</div><figcaption>{caption}</figcaption></figure>' if svg else ""


def _text(text: str) -> str:
    return escape(plain(text, _TEXT_MOST))


_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --ink: #1d1d1b; --soft: #6b6a65; --line: #e2e0da;
  --warn: #fff3d6; --warn-ink: #6b4a00; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #20201e; --ink: #ecebe6; --soft: #9d9b94;
  --line: #363531; --warn: #3a2f14; --warn-ink: #ffdf9a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem); max-width: 84rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.15; overflow-wrap: anywhere; }
h2 { margin: 0 0 .8rem; font-size: 1.1rem; }
section { margin-top: 2.5rem; }
p, figcaption { max-width: 60rem; margin: .6rem 0 0; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 1.4rem 0 0;
  padding: 1rem 1.2rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.warning { margin: 1.4rem 0 0; padding: 1rem 1.2rem 1rem 2.4rem; border-radius: 10px; background: var(--warn);
  color: var(--warn-ink); overflow-wrap: anywhere; }
.lines { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9375rem; }
th, td { padding: .45rem .8rem; text-align: right; font-weight: normal; vertical-align: top; }
thead th { color: var(--soft); font-size: .875rem; vertical-align: bottom; min-width: 4rem; }
.number, .text { white-space: nowrap; }
thead .number { white-space: normal; overflow-wrap: break-word; min-width: 5.5rem; }
.text, .long { text-align: left; }
.long { min-width: 16rem; overflow-wrap: anywhere; }
tbody tr { border-top: 1px solid var(--line); }
figure { margin: 1.2rem 0 0; }
.plot { overflow-x: auto; }
.plot svg { display: block; max-width: 100%; min-width: 34rem; height: auto; }
"""
