"""report.md and report.html: what models made of a benchmark, written to a folder."""

from datetime import date
from pathlib import Path

from gpt4scene.evaluation.comparison import Comparison
from gpt4scene.evaluation.report_html import report_html
from gpt4scene.evaluation.report_markdown import report_markdown
from gpt4scene.scene.atomic import write_bytes, write_errors


def write_report(
    comparison: Comparison, folder: Path, *, name: str = "report", on: date | None = None
) -> tuple[Path, Path]:
    """Write a comparison as Markdown and as a page; the same comparison and date give the same bytes.

    Args:
        comparison: what to tell.
        folder: is there already.
        name: of the files, without their endings: reports by several protocols need several names.
        on: the date that they bear; None: today.

    Returns:
        The Markdown and the page.

    Raises:
        UserError: the disk is full, or may not be written.
    """
    day = on or date.today()
    paths = folder / f"{name}.md", folder / f"{name}.html"
    with write_errors(folder):
        for path, text in zip(
            paths, (report_markdown(comparison, on=day), report_html(comparison, on=day)), strict=True
        ):
            write_bytes(path, text.encode("utf-8", "backslashreplace"))
    return paths
