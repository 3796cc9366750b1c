"""What a benchmark's scorer finds: its metrics, and everything that was decided on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt4scene.metrics.metric import Metric


@dataclass(frozen=True, eq=False)
class Report:
    """What a scorer finds."""

    benchmark: str
    protocol: str
    sample_ids: tuple[str, ...]
    """In the order of all arrays."""
    metrics: tuple[Metric, ...]
    """Of all samples, the one that papers report first."""
    groups: Mapping[str, tuple[Metric, ...]]
    """By type of question; metrics are of the length of all samples, NaN outside of the group."""
    unanswered: tuple[str, ...] = ()
    """Ids of samples without an answer, which count as wrong."""
    unparsed: tuple[str, ...] = ()
    """Ids of samples whose answer the protocol could not read; they count as it says."""
    flags: tuple[str, ...] = ()
    """One line each: what was decided where the official code raises an error, and what could not be computed."""
    details: tuple[Mapping[str, Any], ...] = ()
    """For each sample what the scorer read and found, as JSON holds it."""

    def value(self, name: str, group: str | None = None) -> float:
        """A metric by its name.

        Raises:
            KeyError: there is none.
        """
        metrics = self.metrics if group is None else self.groups[group]
        return {metric.name: metric.value for metric in metrics}[name]


def flagged(ids: Sequence[str], what: str) -> list[str]:
    """A line for a report's flags on questions that share something; none where there are none.

    Args:
        ids: of the questions.
        what: they share, and what is made of it.
    """
    if not ids:
        return []
    return [f"{what}: {f'{len(ids)} questions, the first ' if len(ids) > 1 else ''}{ids[0]}"]
