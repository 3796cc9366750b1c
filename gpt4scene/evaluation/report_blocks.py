"""What a report is made of, in whatever format it is written. All texts are plain: who writes them escapes them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of lines."""

    lines: tuple[str, ...]
    warning: bool = False
    """To be read before anything else."""


@dataclass(frozen=True)
class Table:
    """Rows of cells."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: Literal["numbers", "facts"] = "numbers"
    """Facts are names and texts in two columns, without a head."""
    texts: tuple[int, ...] = (0,)
    """Which columns hold texts; the others hold numbers."""


@dataclass(frozen=True)
class Figure:
    """A plot, where the format has plots."""

    of: Literal["metrics", "types"]


Block = Heading | Paragraph | Points | Table | Figure
