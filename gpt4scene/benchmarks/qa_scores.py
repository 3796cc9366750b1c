"""What ScanQA and SQA3D have in common: answers matched with references, and how that is reported."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.sample import Aligned, BenchmarkSample
from gpt4scene.metrics.captions import Captioned
from gpt4scene.metrics.exact_match import Match
from gpt4scene.metrics.metric import Metric, mean_metric, within

EM = "EM@1"
EM_REFINED = "EM@1 refined"


@dataclass(frozen=True, eq=False)
class Matches:
    """How all answers compare with their references."""

    each: tuple[Match, ...]
    """One per sample; of an unanswered one the text is empty and nothing is right."""
    exact: np.ndarray
    """(n,) float64, points."""
    refined: np.ndarray
    """(n,) float64, points."""
    unparsed: tuple[str, ...]
    """Ids of samples whose answer has no word left when the protocol compares it."""


def match_all(
    samples: Sequence[BenchmarkSample], aligned: Aligned, match: Callable[[str, Sequence[str]], Match]
) -> Matches:
    """Compare every answer with its references; what is unanswered is wrong, whatever the rule makes of an empty text.

    Raises:
        UserError: a sample has no references.
    """
    silent = set(aligned.unanswered)
    found = []
    for sample, prediction in zip(samples, aligned.predictions, strict=True):
        if not sample.answers:
            raise UserError(f"{sample.where}: question {sample.id!r} has no answers, so it cannot be scored here")
        one = match("" if sample.id in silent else prediction.text, sample.answers)
        found.append(replace(one, exact=False, refined=False, text="") if sample.id in silent else one)
    return Matches(
        tuple(found),
        np.array([100.0 * one.exact for one in found]),
        np.array([100.0 * one.refined for one in found]),
        tuple(
            sample.id
            for sample, one in zip(samples, found, strict=True)
            if sample.id not in silent and not one.text.strip()
        ),
    )


def grouped(
    samples: Sequence[BenchmarkSample], kinds: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, tuple[Metric, ...]]:
    """Means over samples, of each kind apart that there is.

    Args:
        samples: n of them.
        kinds: in the order of tables.
        metrics: means over samples, with their values.
    """
    groups = {}
    for kind in kinds:
        member = [sample.kind == kind for sample in samples]
        if any(member):
            groups[kind] = tuple(
                mean_metric(metric.name, within(metric.values, member))
                for metric in metrics
                if metric.values is not None
            )
    return groups


def details_of(
    matches: Matches, metrics: Sequence[Metric], captioned: Captioned | None = None
) -> tuple[Mapping[str, Any], ...]:
    """For each sample the texts that were compared, and its own points in each metric.

    Args:
        matches: of n samples.
        metrics: with their values, (n,) each.
        captioned: what the caption metrics saw; None where they are no part of the protocol.
    """
    details = []
    for position, one in enumerate(matches.each):
        detail: dict[str, Any] = {"text": one.text, "references": list(one.references)}
        if captioned is not None:
            detail["tokens"] = captioned.candidates[position]
            detail["reference_tokens"] = list(captioned.references[position])
        for metric in metrics:
            if metric.values is not None:
                value = float(metric.values[position])
                detail[metric.name] = None if math.isnan(value) else value
        details.append(detail)
    return tuple(details)
