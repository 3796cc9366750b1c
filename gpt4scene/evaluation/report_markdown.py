"""A report of a comparison in Markdown."""

import re
from datetime import date

from gpt4scene.evaluation.comparison import Comparison
from gpt4scene.evaluation.report_blocks import Block, Heading, Paragraph, Points, Table
from gpt4scene.evaluation.report_content import report_blocks, title
from gpt4scene.evaluation.report_text import plain

_SPECIAL = re.compile(r"[\\`*<>|~$]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w)|://|(?<=www)\.")
_LINE_START = re.compile(r"^(?:[#+=-]|\d+(?=[.)]))")
_TEXT_MOST = 2000


def report_markdown(comparison: Comparison, *, on: date) -> str:
    """The whole report.

    Args:
        comparison: what it is about.
        on: the date that it bears.
    """
    parts = [f"# {escaped(title(comparison))}", *(_written(block) for block in report_blocks(comparison, on=on))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _written(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {escaped(text)}"
        case Paragraph(text):
            return _line(text)
        case Points(lines):
            return "\n".join(f"- {_line(line)}" for line in lines)
        case Table(_, rows, kind="facts"):
            return "\n".join(f"- {_line(name)}: {escaped(text)}" for name, text in rows)
        case Table():
            return _table(block)
        case _:
            return ""


def _table(table: Table) -> str:
    """A table with columns of equal width, so that it reads well as it is, too."""
    rows = [[escaped(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.head))]
    ruled = ["-" * width if column in table.texts else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    aligned = [
        [
            cell.ljust(width) if column in table.texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (rows[0], ruled, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in aligned)


def escaped(text: str) -> str:
    """A text as Markdown shows it, letter by letter; it makes no markup, no link, no HTML, and no second cell."""
    return _SPECIAL.sub(_escape, plain(text, _TEXT_MOST))


def _line(text: str) -> str:
    """The same where a line begins with it: it makes no heading and no list."""
    return _LINE_START.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", escaped(text))


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found == "://":
        return ":&#47;/"
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;", ".": "&#46;"}.get(found, f"\\{found}")
