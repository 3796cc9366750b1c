"""Models beside each other: metrics with 95 % intervals on the same questions, and which of them differ."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from bev.errors import UserError
from gpt4scene.evaluation.comparable import check_comparable
from gpt4scene.evaluation.run import Run
from gpt4scene.metrics.bootstrap import Interval, Units, View, holm, interval, p_value, resample, sign_flip_p, units_of
from gpt4scene.metrics.metric import Metric

RESAMPLES = 2000
_RESAMPLES_PER_PAIR = 400
"""So many more are drawn for tests, else the smallest p-value that can be seen would not survive the correction."""
_TESTED = 2
"""Of a report's metrics so many are tested, those that papers report first."""
SIGNIFICANT = 0.05

Verdict = Literal["first is higher", "second is higher", "no difference shown", "not tested"]


@dataclass(frozen=True)
class Estimate:
    """A metric of one model on the questions that all models have."""

    name: str
    value: float
    """Points; NaN where it could not be computed."""
    interval: Interval | None
    """None where there is none, see `bootstrap.interval`."""
    questions: int | None = None
    """That count; None where the metric does not say."""


@dataclass(frozen=True)
class Pair:
    """Two models on one metric, on the questions that both have."""

    metric: str
    first: int
    """Position of the model among the runs."""
    second: int
    shared: int
    """Questions that both have."""
    difference: float
    """Points, first minus second; NaN where it is not known."""
    interval: Interval | None
    p: float | None
    """Two-sided; None: not tested."""
    p_corrected: float | None
    """By Holm's method, over all pairs of the comparison and this metric."""

    @property
    def verdict(self) -> Verdict:
        """The test in words."""
        if self.p_corrected is None:
            return "not tested"
        if self.p_corrected >= SIGNIFICANT:
            return "no difference shown"
        return "first is higher" if self.difference > 0 else "second is higher"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What runs by one protocol say of their models."""

    runs: tuple[Run, ...]
    sample_ids: tuple[str, ...]
    """Of the questions that all runs have, ascending; all tables are of these."""
    scenes: int
    """That these are about."""
    metrics: tuple[tuple[Estimate, ...], ...]
    """For each run."""
    groups: tuple[Mapping[str, tuple[Estimate, ...]], ...]
    """For each run, by type of question."""
    pairs: tuple[Pair, ...]
    by_scene: bool
    """Scenes were resampled; else questions."""
    units: int
    """How many of these there are."""
    resamples: int
    resamples_of_tests: int
    seed: int
    notes: tuple[str, ...]
    """What could not be checked, and which questions are missing where; a line each."""

    @property
    def is_part(self) -> bool:
        """Whether the tables are of fewer questions than the split has."""
        return any(run.scope for run in self.runs) or any(len(r.samples) > len(self.sample_ids) for r in self.runs)


def compare(
    runs: Sequence[Run],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_resampled: Callable[[float], None] | None = None,
) -> Comparison:
    """Put models beside each other.

    Args:
        runs: of the same benchmark, split and protocol.
        resamples: how often is resampled for intervals; for tests of many pairs more often.
        seed: of the resampling.
        on_resampled: called with the share of the work that is done, 0 to 1.

    Raises:
        UserError: the runs cannot be compared: other questions, words or images; or no question is in all of them.
    """
    if resamples < 100:
        raise UserError(f"{resamples} resamplings are too few for an interval of 95 %: take 100 or more")
    notes = check_comparable(runs)
    world = _World.of(runs)
    notes += _sets_differ(runs, world)
    told = on_resampled or (lambda share: None)
    metrics, groups = _estimates(runs, world, resamples, seed, told)
    pairs_count = len(runs) * (len(runs) - 1) // 2
    of_tests = max(resamples, _RESAMPLES_PER_PAIR * pairs_count)
    pairs = _pairs(runs, world, of_tests, seed) if pairs_count else []
    told(1.0)
    return Comparison(
        runs=tuple(runs),
        sample_ids=tuple(id for id, common in zip(world.ids, world.common, strict=True) if common),
        scenes=len({sample.scene for sample in runs[0].samples if world.is_common(sample.id) and sample.scene}),
        metrics=tuple(metrics),
        groups=tuple(groups),
        pairs=tuple(pairs),
        by_scene=world.units.are_scenes,
        units=world.units.touched(np.flatnonzero(world.common)),
        resamples=resamples,
        resamples_of_tests=of_tests if pairs_count else 0,
        seed=seed,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _World:
    """All questions of all runs, in an order that does not depend on that of the runs."""

    ids: tuple[str, ...]
    places: Mapping[str, int]
    members: tuple[np.ndarray, ...]
    """For each run (n,) bool: which questions it has."""
    common: np.ndarray
    """(n,) bool: which questions all have."""
    units: Units

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "_World":
        scenes = {sample.id: sample.scene for run in runs for sample in run.samples}
        ids = tuple(sorted(scenes))
        own = [{sample.id for sample in run.samples} for run in runs]
        members = tuple(np.array([id in ids_of_run for id in ids], bool) for ids_of_run in own)
        common = np.logical_and.reduce(members)
        if not common.any():
            raise UserError(
                "the runs have no question in common: compare runs over the same part (--limit and --seed) of the split"
            )
        units = units_of([scenes[id] for id in ids])
        return cls(ids, {id: place for place, id in enumerate(ids)}, members, common, units)

    def is_common(self, id: str) -> bool:
        return bool(self.common[self.places[id]])

    def view(self, run: Run, metrics: Sequence[Metric], counted: np.ndarray) -> View:
        """Metrics of a run on some of all questions, (n,) bool."""
        positions = np.array([self.places[sample.id] for sample in run.samples], np.int64)
        return View(metrics, positions, counted[positions])


def _sets_differ(runs: Sequence[Run], world: _World) -> list[str]:
    count = int(world.common.sum())
    if all(len(run.samples) == count for run in runs):
        return []
    own = ", ".join(f"{run.model} {len(run.samples):,}" for run in runs)
    return [
        f"the models do not have the same questions ({own}): tables are of the {count:,} that all of them have, and"
        " each pair is tested on those that both have"
    ]


def _estimates(
    runs: Sequence[Run], world: _World, resamples: int, seed: int, told: Callable[[float], None]
) -> tuple[list[tuple[Estimate, ...]], list[dict[str, tuple[Estimate, ...]]]]:
    metrics, groups = [], []
    for done, run in enumerate(runs):
        held = {"": run.report.metrics, **{f"g{name}": found for name, found in run.report.groups.items()}}
        view = world.view(run, [metric for found in held.values() for metric in found], world.common)
        values = view.values
        (drawn,) = resample([view], world.units, resamples, seed=seed)
        estimates = iter(
            [
                _estimate(world, view, metric, value, found)
                for metric, value, found in zip(view.metrics, values, drawn, strict=True)
            ]
        )
        by_name = {name: tuple(next(estimates) for _ in found) for name, found in held.items()}
        metrics.append(by_name.pop(""))
        groups.append({name[1:]: found for name, found in by_name.items()})
        told((done + 1) / (len(runs) + 1))
    return metrics, groups


def _estimate(world: _World, view: View, metric: Metric, value: float, drawn: np.ndarray | None) -> Estimate:
    counted = view.counted if metric.values is None else view.counted & ~np.isnan(metric.values)
    found = interval(drawn, world.units.touched(view.positions[counted])) if _is(value) else None
    return Estimate(metric.name, value, found, None if metric.values is None else int(counted.sum()))


def _is(value: float) -> bool:
    return not math.isnan(value)


def _pairs(runs: Sequence[Run], world: _World, resamples: int, seed: int) -> list[Pair]:
    tested = list(dict.fromkeys(metric.name for run in runs for metric in run.report.metrics[:_TESTED]))[:_TESTED]
    shared = {pair: world.members[pair[0]] & world.members[pair[1]] for pair in combinations(range(len(runs)), 2)}
    # a run is resampled once on every set of questions that it shares with others, which is mostly the one
    views: dict[tuple[int, bytes], View] = {}
    for pair, both in shared.items():
        for position in pair:
            run = runs[position]
            metrics = [_named(run, name) for name in tested]
            views.setdefault((position, both.tobytes()), world.view(run, metrics, both))
    drawn = dict(zip(views, resample(list(views.values()), world.units, resamples, seed=seed), strict=True))
    found: list[Pair] = []
    for index, name in enumerate(tested):
        of_metric = []
        for (first, second), both in shared.items():
            keys = (first, both.tobytes()), (second, both.tobytes())
            one, other = (drawn[key][index] for key in keys)
            difference = views[keys[0]].values[index] - views[keys[1]].values[index]
            differences = None if one is None or other is None or not _is(difference) else one - other
            units = world.units.touched(np.flatnonzero(both))
            of_metric.append(
                Pair(
                    metric=name,
                    first=first,
                    second=second,
                    shared=int(both.sum()),
                    difference=difference,
                    interval=interval(differences, units),
                    p=_p(world, views[keys[0]], views[keys[1]], index, differences, seed),
                    p_corrected=None,
                )
            )
        corrected = holm([pair.p for pair in of_metric])
        found += [replace(pair, p_corrected=p) for pair, p in zip(of_metric, corrected, strict=True)]
    return found


def _p(world: _World, first: View, second: View, index: int, drawn: np.ndarray | None, seed: int) -> float | None:
    """By changing signs where the metric is a mean over the same questions, else by the bootstrap."""
    values = [_on_all(world, view, index) for view in (first, second)]
    one, other = values
    if one is None or other is None or (np.isnan(one) != np.isnan(other)).any():
        units = world.units.touched(first.members)
        return p_value(drawn, units)
    return sign_flip_p(one - other, world.units, seed=seed)


def _on_all(world: _World, view: View, index: int) -> np.ndarray | None:
    """(n,) what each of all questions contributes to a metric that is a mean; NaN for those that do not count."""
    metric = view.metrics[index]
    if metric.values is None or metric.statistic is not None:
        return None
    found = np.full(len(world.ids), np.nan)
    found[view.members] = metric.values[view.counted]
    return found


def _named(run: Run, name: str) -> Metric:
    return next((metric for metric in run.report.metrics if metric.name == name), Metric(name, float("nan")))
