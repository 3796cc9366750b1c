"""What of annotations does not become a conversation, counted by why and named."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NO_SCENE = "scene missing"
LEFT_OUT = "scene left out by --without"
NO_OBJECT = "object not annotated in its scene"
NO_OVERLAP = "no object of the scene overlaps it enough"
TAKEN = "its number stands for another object"
NOT_SHOWN = "its number is on none of the images"
SHARED = "two objects that are asked for share one number"
NO_ANSWER = "no answer"
NO_TEXT = "its words cannot be used"
REASONS = (NO_SCENE, LEFT_OUT, NO_OBJECT, NO_OVERLAP, TAKEN, NOT_SHOWN, SHARED, NO_ANSWER, NO_TEXT)
BAD_ANNOTATIONS = (NO_SCENE, NO_OBJECT)
"""Annotations that name what is not there: with --strict they are errors."""


@dataclass(frozen=True)
class Dropped:
    """One annotated question, or a part of it, that becomes no conversation."""

    task: str
    """The benchmark's name."""
    split: str
    reason: str
    """One of `REASONS`."""
    what: str
    """Names it: a scene, an object of a scene, or a question."""


def dropped_rows(dropped: Iterable[Dropped]) -> list[dict[str, Any]]:
    """By task, split and reason: how many, and what they name with how many of each; in a fixed order."""
    return merged_rows(
        {"task": each.task, "split": each.split, "reason": each.reason, "named": {each.what: 1}} for each in dropped
    )


def merged_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `dropped_rows`, those of one task, split and reason as one."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for row in rows:
        found.setdefault((row["task"], row["split"], row["reason"]), Counter()).update(row["named"])
    return [
        {"task": task, "split": split, "reason": reason, "count": named.total(), "named": dict(sorted(named.items()))}
        for (task, split, reason), named in sorted(found.items(), key=lambda i: (*i[0][:2], REASONS.index(i[0][2])))
    ]


def told(row: Mapping[str, Any], most: int = 5) -> str:
    """A row in words: "12: scene missing (scene0001_00, scene0002_00 and 3 more)"."""
    names = list(row["named"])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{row['count']}: {row['reason']} ({', '.join(names[:most])}{more})"
