"""Numbers that others published, from the dated data file beside this one, with where each of them comes from."""

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

Mark = Literal["paper", "repository", "second-hand"]
MARKS: dict[Mark, str] = {
    "paper": "read in the paper itself",
    "repository": "read in the method's or a leaderboard's own files",
    "second-hand": "somebody's notes, or a table of another paper",
}
"""How far a number can be trusted to be what was published."""

SCHEMA = "gpt4scene/published@1"
_FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Published:
    """One number of one method."""

    benchmark: str
    """As `names.NAMES` has it."""
    split: str
    protocol: str
    """The way of scoring, as the benchmark's `PROTOCOLS` has it; "" where it is not known."""
    metric: str
    """As the benchmark's reports name it."""
    method: str
    value: float
    """Points."""
    source: str
    as_of: str
    """The year and month in which the number was noted."""
    mark: Mark
    note: str = ""
    """What else is known: frames, tuned or not."""


def published_numbers(benchmark: str, split: str) -> list[Published]:
    """What is known of a benchmark's split, whatever the protocol; the highest of each metric first."""
    found = [number for number in all_published() if (number.benchmark, number.split) == (benchmark, split)]
    return sorted(found, key=lambda number: -number.value)


@cache
def all_published() -> tuple[Published, ...]:
    """The whole data file."""
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    names = {field.name for field in fields(Published)}
    if content["schema"] != SCHEMA:
        raise ValueError(f"{_FILE}: has the schema {content['schema']!r}, this program reads {SCHEMA!r}")
    for row in content["rows"]:
        if not names - {"note"} <= set(row) <= names or row["mark"] not in MARKS:
            raise ValueError(f"{_FILE}: a row must have {sorted(names)} and a mark of {list(MARKS)}, is {row}")
    return tuple(Published(**row) for row in content["rows"])
