"""Runs of made-up models, as comparisons and reports take them."""

from collections.abc import Mapping, Sequence

import numpy as np

from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.evaluation.run import Run, prompt_version, question_key
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.prompting.parsed import Outcome
from gpt4scene.prompting.questions import Question
from gpt4scene.vlm.protocol import Usage


def samples_of(scenes: int, each: int, kinds: Sequence[str] = ("counting", "direction")) -> list[BenchmarkSample]:
    """So many questions about each scene, of all kinds in turn."""
    return [
        BenchmarkSample(
            id=f"q{scene:03d}-{number:02d}",
            scene=f"scene{scene:04d}",
            question=Question(f"How many chairs, {number}?", style="number"),
            kind=kinds[number % len(kinds)],
            answers=("4",),
        )
        for scene in range(scenes)
        for number in range(each)
    ]


def scores_of(samples: Sequence[BenchmarkSample], *, share: float, seed: int, alike: float = 0.3) -> np.ndarray:
    """0 or 100 for each question; questions of one scene are more alike than those of others."""
    random = np.random.default_rng(seed)
    of_scene = {scene: random.normal(0, alike) for scene in sorted({sample.scene for sample in samples})}
    chance = np.clip([share + of_scene[sample.scene] for sample in samples], 0, 1)
    return 100.0 * (random.random(len(samples)) < chance)


def run_of(
    model: str,
    samples: Sequence[BenchmarkSample],
    values: np.ndarray,
    *,
    extra: Sequence[Metric] = (),
    outcomes: Mapping[str, Outcome] | None = None,
    flags: Sequence[str] = (),
    unparsed: Sequence[str] = (),
    question_keys: Sequence[str] | None = None,
    image_keys: Sequence[str] | None = None,
    **fields: object,
) -> Run:
    """A run of VSI-Bench whose overall score is the mean over kinds."""
    outcomes = outcomes or {}
    kinds = dict.fromkeys(sample.kind for sample in samples)
    by_kind = {kind: mean_metric("MRA", within(values, [sample.kind == kind for sample in samples])) for kind in kinds}
    metrics = (macro_metric("Overall", list(by_kind.values())), mean_metric("Numeric", values), *extra)
    keys = tuple(question_keys or (question_key("look", sample.question.text) for sample in samples))
    report = Report(
        benchmark="vsibench",
        protocol="official",
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups={kind: (metric,) for kind, metric in by_kind.items()},
        unanswered=tuple(id for id, outcome in outcomes.items() if outcome in ("refused", "failed")),
        unparsed=tuple(unparsed),
        flags=tuple(flags),
    )
    given: dict[str, object] = {
        "cost_usd": 1.25,
        "usage": Usage(12_000, 340, 5_000),
        "showing": {"preset": "default", "bev": True, "marks": True, "frame_detail": "auto"},
        "answered_by": (f"{model}-2026-05-01",),
    }
    return Run(
        model=model,
        benchmark="vsibench",
        split="test",
        protocol="official",
        prompt_version=prompt_version(samples, keys),
        samples=tuple(samples),
        predictions=tuple(Prediction("4", outcomes.get(sample.id, "answered")) for sample in samples),
        report=report,
        question_keys=keys,
        image_keys=tuple(image_keys or (f"seen-{sample.scene}" for sample in samples)),
        **{**given, **fields},  # pyright: ignore[reportArgumentType]
    )
