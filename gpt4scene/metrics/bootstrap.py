"""How sure a metric is: paired bootstrap intervals and p-values, over scenes or over questions.

Resampled are units: whole scenes, whose questions are not independent of each other, or single questions. What is
compared shares one sequence of resamplings, so that a difference between models is that on the same questions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bev.errors import require
from gpt4scene.metrics.metric import Metric

ENOUGH_SCENES = 20
"""With so many, scenes are resampled; with fewer they are too few to stand for all others."""
_CHUNK_NUMBERS = 1_000_000
"""How many numbers of resamplings x samples are held at a time: 8 MB of float64, and a few copies."""
_UNITS_MIN = 5
"""Of fewer there is no interval: resamplings of three questions say nothing of all others."""
_DEFINED_SHARE = 0.9
"""An interval of a metric that is not defined in more resamplings than that leaves is none."""
_ALL_SIGNS = 12
"""With so many differences all ways of changing their signs are tried: 4096."""
_FLIPS = 10_000
"""With more, so many at random."""
_EQUAL = 1e-9
"""Points; smaller differences are those of adding up in another order."""


@dataclass(frozen=True)
class Interval:
    """Where a number is with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn with replacement."""

    of_sample: np.ndarray
    """(n,) int64: the unit of every sample, 0 to count - 1."""
    count: int
    are_scenes: bool

    def touched(self, positions: np.ndarray) -> int:
        """How many units some of the samples (m,) are of."""
        return len(np.unique(self.of_sample[positions]))


@dataclass(frozen=True, eq=False)
class View:
    """Some metrics of one model, on some of the samples that are drawn."""

    metrics: Sequence[Metric]
    positions: np.ndarray
    """(m,) int64: where each sample of the metrics is among those drawn."""
    counted: np.ndarray
    """(m,) bool: which of them count."""

    @property
    def members(self) -> np.ndarray:
        """(k,) int64: where those that count are among the samples drawn."""
        return self.positions[self.counted]

    @property
    def values(self) -> list[float]:
        """The metrics on what counts; NaN where that cannot be had."""
        if self.counted.all():
            return [metric.value for metric in self.metrics]
        found = [metric.resampled(self.counted[None].astype(np.float64)) for metric in self.metrics]
        return [float("nan") if one is None else float(one[0]) for one in found]


def units_of(scenes: Sequence[str]) -> Units:
    """Scenes where there are enough of them, else single samples.

    Args:
        scenes: of every sample; a sample without one ("") is a unit of its own.
    """
    if len({scene for scene in scenes if scene}) < ENOUGH_SCENES:
        return Units(np.arange(len(scenes)), len(scenes), are_scenes=False)
    numbers: dict[tuple[str, int], int] = {}
    found = [
        numbers.setdefault((scene, -1 if scene else position), len(numbers)) for position, scene in enumerate(scenes)
    ]
    return Units(np.array(found), len(numbers), are_scenes=True)


def draw(units: Units, resamples: int, *, seed: int) -> Iterator[np.ndarray]:
    """Resamplings of units in chunks; the first of many are those of few, whatever the chunks.

    Yields:
        (b, n) float64: how often each sample counts.
    """
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK_NUMBERS // max(1, len(units.of_sample)))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = random.integers(units.count, size=(size, units.count))
        cells = (drawn + units.count * np.arange(size)[:, None]).ravel()
        counts = np.bincount(cells, minlength=size * units.count).reshape(size, units.count)
        yield counts[:, units.of_sample].astype(np.float64)


def resample(views: Sequence[View], units: Units, resamples: int, *, seed: int) -> list[list[np.ndarray | None]]:
    """Metrics of each view in the same resamplings: (B,) float64, NaN where not defined; None where not to be had."""
    parts: list[list[list[np.ndarray | None]]] = [[[] for _ in view.metrics] for view in views]
    samples = [(view.positions.tobytes(), view.counted.tobytes()) for view in views]
    for counts in draw(units, resamples, seed=seed):
        of_samples: dict[tuple[bytes, bytes], np.ndarray] = {}
        for view, part, key in zip(views, parts, samples, strict=True):
            # models mostly have the same questions, in the same order
            if key not in of_samples:
                of_samples = {key: counts[:, view.positions] * view.counted}
            of_view = of_samples[key]
            for metric, chunks in zip(view.metrics, part, strict=True):
                chunks.append(metric.resampled(of_view))
    return [[_joined(chunks) for chunks in part] for part in parts]


def _joined(chunks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    there = [chunk for chunk in chunks if chunk is not None]
    return np.concatenate(there) if there and len(there) == len(chunks) else None


def interval(resampled: np.ndarray | None, units: int) -> Interval | None:
    """The 95 % interval of a metric: percentiles of its resamplings, further out the fewer units there are.

    Plain percentiles are too narrow for few units: they lack a factor sqrt(n / (n - 1)) and the tails of Student's t.
    Here the percentiles are taken where these would end (Hesterberg 2015, "expanded percentile interval").

    Args:
        resampled: (B,) as `resample` gives it.
        units: that the metric's samples are of.

    Returns:
        None where there is none: fewer than five units, nothing that varies (all right, all wrong), or a metric that
        too many resamplings leave undefined.
    """
    if resampled is None or units < _UNITS_MIN:
        return None
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < _DEFINED_SHARE * len(resampled) or np.ptp(defined) < _EQUAL:
        return None
    special = require("scipy.special")
    tail = float(special.ndtr(-np.sqrt(units / (units - 1)) * special.stdtrit(units - 1, 0.975)))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))


def p_value(differences: np.ndarray | None, units: int) -> float | None:
    """How likely a difference as large as the one found is where there is none: two-sided, paired bootstrap.

    0.05 is where the `interval` of the differences ends at 0; differences that are all 0 give 1.

    Args:
        differences: (B,) of two models' metrics in the same resamplings.
        units: that the samples are of.

    Returns:
        None where it cannot be had.
    """
    if differences is None or units < 2:
        return None
    defined = differences[~np.isnan(differences)]
    if len(defined) < _DEFINED_SHARE * len(differences):
        return None
    below, above = np.count_nonzero(defined <= _EQUAL), np.count_nonzero(defined >= -_EQUAL)
    tail = (1 + min(below, above)) / (len(defined) + 1)
    if tail >= 0.5:
        return 1.0
    special = require("scipy.special")
    return float(2 * special.stdtr(units - 1, special.ndtri(tail) * np.sqrt((units - 1) / units)))


def sign_flip_p(differences: np.ndarray, units: Units, *, seed: int) -> float | None:
    """How likely a difference of two means is where models are alike, and either might have given each answer.

    The paired randomisation test: the differences of whole units change their signs, in all ways where these are few,
    and the sum is compared. It is exact with however few questions, where the bootstrap finds too much.

    Args:
        differences: (n,) first minus second of what each drawn sample contributes; NaN where it does not count.
        units: of the samples.
        seed: of the signs, where there are too many to try all.

    Returns:
        None where fewer than two units count.
    """
    counted = ~np.isnan(differences)
    if units.touched(np.flatnonzero(counted)) < 2:
        return None
    sums = np.bincount(units.of_sample[counted], differences[counted], minlength=units.count)
    sums = sums[np.abs(sums) > _EQUAL]
    if len(sums) <= _ALL_SIGNS:
        signs = 1 - 2 * ((np.arange(1 << len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - _EQUAL))
    random = np.random.default_rng(seed)
    flipped = [
        np.abs((1 - 2 * random.integers(2, size=(_FLIPS // 20, len(sums)), dtype=np.int8)) @ sums) for _ in range(20)
    ]
    as_large = np.count_nonzero(np.concatenate(flipped) >= abs(sums.sum()) - _EQUAL)
    return (1 + as_large) / (_FLIPS + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values of several tests, so that one of them falls below 0.05 by chance in 5 % of cases only (Holm 1979)."""
    ordered = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, position) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p))
        adjusted[position] = highest
    return adjusted
