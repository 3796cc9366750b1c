"""Models beside each other: what keeps them from one table, intervals on common questions, and tests of pairs."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from compared_runs import run_of, samples_of, scores_of

from bev.errors import UserError
from gpt4scene.evaluation.comparison import Comparison, compare
from gpt4scene.evaluation.run import Run
from gpt4scene.metrics.metric import Metric, mean_metric

SAMPLES = samples_of(25, 4)
SHOWN = {"preset": "default", "marks": True}


def _run(model: str, *, share: float = 0.5, seed: int = 0, **fields) -> Run:
    samples = fields.pop("samples", SAMPLES)
    return run_of(model, samples, scores_of(samples, share=share, seed=seed), **fields)


def _p_values(found: Comparison) -> dict[tuple[str, frozenset[str]], tuple[float | None, float | None]]:
    names = [run.model for run in found.runs]
    return {(p.metric, frozenset((names[p.first], names[p.second]))): (p.p, p.p_corrected) for p in found.pairs}


def test_intervals_are_around_the_scores() -> None:
    found = compare([_run("a"), _run("b", share=0.7, seed=1)], resamples=400)
    assert found.by_scene and found.units == 25 and found.scenes == 25
    for estimates in (*found.metrics, *(groups["counting"] for groups in found.groups)):
        for one in estimates:
            assert one.interval is not None
            assert one.interval.low < one.value < one.interval.high
    assert [one.questions for one in found.groups[0]["direction"]] == [50]


def test_scores_are_those_of_the_reports() -> None:
    run = _run("a")
    (estimates,) = compare([run], resamples=100).metrics
    assert [one.value for one in estimates] == [metric.value for metric in run.report.metrics]


def test_models_that_differ_are_said_to_and_equal_ones_are_not() -> None:
    found = compare([_run("weak", share=0.2), _run("strong", share=0.9, seed=1), _run("same", share=0.9, seed=1)])
    verdicts = {(p.first, p.second): p.verdict for p in found.pairs if p.metric == "Overall"}
    assert verdicts == {(0, 1): "second is higher", (0, 2): "second is higher", (1, 2): "no difference shown"}
    same = next(p for p in found.pairs if (p.first, p.second) == (1, 2))
    assert same.p == same.p_corrected == 1.0 and same.difference == 0 and same.interval is None


def test_p_values_do_not_depend_on_the_order_of_models_or_questions() -> None:
    runs = [_run("a"), _run("b", share=0.6, seed=1), _run("c", share=0.55, seed=2)]
    found = [_p_values(compare(order, resamples=300)) for order in permutations(runs)]
    assert all(other == found[0] for other in found[1:])
    back = samples_of(25, 4)[::-1]
    values = {s.id: v for s, v in zip(SAMPLES, scores_of(SAMPLES, share=0.5, seed=0), strict=True)}
    turned = run_of("a", back, np.array([values[sample.id] for sample in back]))
    again = _p_values(compare([turned, *runs[1:]], resamples=300))
    assert again.keys() == found[0].keys()
    for pair, p in again.items():
        assert p == pytest.approx(found[0][pair])


def test_more_pairs_are_tested_with_more_resamplings() -> None:
    found = compare([_run(name, seed=seed) for seed, name in enumerate("abcd")], resamples=100)
    assert found.resamples == 100 and found.resamples_of_tests == 2400
    # so that the smallest p-value that there can be still counts
    assert all(p.p_corrected is None or p.p_corrected >= (p.p or 0) for p in found.pairs)


def test_pairs_are_tested_on_the_questions_that_both_have() -> None:
    one = _run("all")
    stopped = _run("stopped", samples=SAMPLES[:60])
    third = _run("third", samples=SAMPLES[20:], seed=3)
    found = compare([one, stopped, third], resamples=200)
    assert [p.shared for p in found.pairs if p.metric == "Overall"] == [60, 80, 40]
    assert len(found.sample_ids) == 40 and found.is_part
    assert "tables are of the 40" in found.notes[0] and "stopped 60" in found.notes[0]


def test_tables_are_of_the_common_questions_alone() -> None:
    values = np.where(np.arange(len(SAMPLES)) < 60, 100.0, 0.0)
    whole = run_of("whole", SAMPLES, values)
    stopped = run_of("stopped", SAMPLES[:60], values[:60])
    found = compare([whole, stopped], resamples=200)
    assert [estimates[0].value for estimates in found.metrics] == [100.0, 100.0]
    assert [p.difference for p in found.pairs] == [0.0, 0.0]
    assert [p.p for p in found.pairs] == [1.0, 1.0]


def test_few_scenes_are_not_resampled() -> None:
    samples = samples_of(5, 8)
    found = compare([_run("a", samples=samples), _run("b", samples=samples, seed=1)], resamples=200)
    assert not found.by_scene and found.units == 40


@pytest.mark.parametrize("samples", [samples_of(1, 1), samples_of(1, 2)])
def test_one_question_has_a_score_and_no_interval(samples) -> None:
    found = compare([_run("a", samples=samples), _run("b", samples=samples, seed=9)], resamples=100)
    assert all(not math.isnan(estimates[1].value) for estimates in found.metrics)
    if len(samples) == 1:
        assert all(one.interval is None for estimates in found.metrics for one in estimates)
        assert {p.verdict for p in found.pairs} == {"not tested"}


def test_metrics_that_are_not_known_or_cannot_be_resampled_stay_without_interval() -> None:
    extra = [mean_metric("METEOR", np.full(len(SAMPLES), np.nan)), Metric("SPICE", 40.0)]
    found = compare([_run("a", extra=extra), _run("b", seed=1, extra=extra)], resamples=100)
    meteor, spice = found.metrics[0][2:]
    assert math.isnan(meteor.value) and meteor.interval is None and meteor.questions == 0
    assert spice.value == 40.0 and spice.interval is None


def test_a_first_metric_that_is_not_known_is_not_tested() -> None:
    def without_overall(run: Run) -> Run:
        first = mean_metric("METEOR", np.full(len(SAMPLES), np.nan))
        return replace(run, report=replace(run.report, metrics=(first, *run.report.metrics[1:])))

    found = compare([without_overall(_run("a")), without_overall(_run("b", seed=1))], resamples=100)
    first, second = found.pairs
    assert (first.metric, first.verdict) == ("METEOR", "not tested")
    assert math.isnan(first.difference) and second.p is not None


def test_one_model_alone_has_no_pairs() -> None:
    found = compare([_run("a")], resamples=100)
    assert found.pairs == () and found.resamples_of_tests == 0 and not found.is_part


def test_the_same_runs_and_seed_give_the_same_numbers() -> None:
    runs = [_run("a"), _run("b", seed=1)]
    one, two, other = (compare(runs, resamples=100, seed=seed) for seed in (0, 0, 1))
    assert one.metrics == two.metrics and one.pairs == two.pairs
    assert one.metrics != other.metrics


def test_progress_is_told_to_its_end() -> None:
    told: list[float] = []
    compare([_run("a"), _run("b", seed=1)], resamples=100, on_resampled=told.append)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) >= 3


def _other_question() -> Run:
    samples = [replace(s, answers=("5",)) if s.id == "q003-01" else s for s in SAMPLES]
    return _run("b", samples=samples)


def _keys(run: Run, field: str, **changed: str) -> Run:
    ids = [sample.id for sample in run.samples]
    keys = list(getattr(run, field))
    for id, key in changed.items():
        keys[ids.index(id.replace("_", "-"))] = key
    return replace(run, **{field: tuple(keys)})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: _keys(_run("b"), "question_keys", q003_01="x", q004_00="y"),
            r"b was asked .* a on .*q003-01 and 1 more",
        ),
        (
            lambda: _keys(_run("b", showing=SHOWN), "image_keys", q003_01="x"),
            r"b was shown other images .*q003-01: the scene",
        ),
        (
            lambda: _keys(_run("b", showing={**SHOWN, "marks": False}), "image_keys", q003_01="x"),
            r"marks is True and False",
        ),
        (lambda: replace(_run("b"), prompt_version="0123"), r"b was asked with the prompt version 0123, a with "),
        (_other_question, r"question q003-01 of b is not that of a"),
        (lambda: replace(_run("b"), benchmark="vstibench"), r"b has the benchmark vstibench, a vsibench"),
        (lambda: replace(_run("b"), split="debiased"), r"split debiased"),
        (lambda: replace(_run("b"), protocol="lmms_eval"), r"protocol lmms_eval"),
        (lambda: _run("a"), r"two runs are called a"),
        (lambda: _run("b", samples=samples_of(40, 4)[120:]), r"no question in common"),
    ],
    ids=["words", "images", "marks", "version", "answers", "benchmark", "split", "protocol", "name", "disjoint"],
)
def test_what_cannot_be_compared_is_told_in_a_line(other: Callable[[], Run], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        compare([_run("a", showing=SHOWN), other()], resamples=100)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_judges_must_be_one() -> None:
    with pytest.raises(UserError, match="judge"):
        compare([_run("a", judge="gpt-4"), _run("b", judge="claude")], resamples=100)


def test_what_is_shown_is_compared_between_all_runs_that_know_it() -> None:
    unknown = [""] * len(SAMPLES)
    ready = _run("ready", image_keys=unknown, question_keys=unknown)
    found = compare([ready, _run("b"), _run("c", seed=1)], resamples=100)
    assert len(found.notes) == 1 and found.notes[0].startswith("ready: in which words it was asked and what it was")
    with pytest.raises(UserError, match="c was shown other images than b"):
        compare([ready, _run("b"), _keys(_run("c"), "image_keys", q003_01="x")], resamples=100)


def test_nothing_to_compare_and_too_few_resamplings() -> None:
    with pytest.raises(UserError, match="no answers"):
        compare([])
    with pytest.raises(UserError, match="too few"):
        compare([_run("a")], resamples=10)


def test_names_of_models_cannot_break_the_line_of_an_error() -> None:
    with pytest.raises(UserError) as error:
        compare([_run("a\n" * 300), _run("a\n" * 300)], resamples=100)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
