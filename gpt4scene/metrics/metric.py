"""Metrics that can be resampled: one number each, and how it follows from what every sample contributes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""From (B, n) float64, how often each of n samples counts in each of B resamplings, to (B,) float64: the metric."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One number of a report, in points: 100 is perfect, but for CIDEr, which may be more."""

    name: str
    value: float
    """NaN where it is not defined, or could not be computed; a flag of the report then says why."""
    values: np.ndarray | None = None
    """(n,) float64, points: what each sample contributes; NaN where it does not count. None: it is no sum of these."""
    statistic: Statistic | None = None
    """How the metric follows from samples that count several times; None: it is the mean of `values`."""

    def resampled(self, counts: np.ndarray) -> np.ndarray | None:
        """The metric when samples count several times or not at all; None where that cannot be had.

        Args:
            counts: (B, n) float64.

        Returns:
            (B,) float64, NaN where it is not defined.
        """
        if self.statistic is not None:
            return self.statistic(counts)
        return None if self.values is None else weighted_mean(self.values, counts)


def weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The means of values (n,) that count as (B, n) says, NaN left out; (B,), NaN where nothing counts."""
    total = counts @ (~np.isnan(values)).astype(np.float64)
    return np.where(total > 0, counts @ np.nan_to_num(values), np.nan) / np.where(total > 0, total, np.nan)


def mean_metric(name: str, values: np.ndarray | Sequence[float]) -> Metric:
    """A mean over samples.

    Args:
        name: of the metric.
        values: (n,) points, NaN where a sample does not count.
    """
    array = np.asarray(values, np.float64)
    counted = array[~np.isnan(array)]
    return Metric(name, float(counted.mean()) if len(counted) else float("nan"), array)


def macro_metric(name: str, parts: Sequence[Metric]) -> Metric:
    """The unweighted mean of metrics that are defined, as benchmarks average over types of question.

    In a resampling that leaves a part without any sample, the mean is over the others.
    """
    defined = [part for part in parts if not np.isnan(part.value)]

    def statistic(counts: np.ndarray) -> np.ndarray:
        resampled = [part.resampled(counts) for part in defined]
        stacked = np.stack([one for one in resampled if one is not None])
        there = ~np.isnan(stacked)
        total = there.sum(axis=0)
        return np.where(total > 0, np.nan_to_num(stacked).sum(axis=0), np.nan) / np.where(total > 0, total, np.nan)

    if not defined:
        return Metric(name, float("nan"))
    can_resample = all(part.values is not None or part.statistic is not None for part in defined)
    value = float(np.mean([part.value for part in defined]))
    return Metric(name, value, None, statistic if can_resample else None)


def within(values: np.ndarray | Sequence[float], member: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Values (n,) with NaN for the samples that are no members of a group."""
    return np.where(np.asarray(member, bool), np.asarray(values, np.float64), np.nan)
