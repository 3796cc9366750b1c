"""Intervals and p-values: how often they hold what they promise, and what they make of the smallest sets."""

import tracemalloc

import numpy as np
import pytest

from gpt4scene.metrics import bootstrap
from gpt4scene.metrics.bootstrap import Units, View, draw, holm, interval, p_value, resample, sign_flip_p, units_of
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within

SCENES, EACH, WORLDS = 25, 6, 250


def _all(*metrics: Metric, n: int) -> View:
    return View(metrics, np.arange(n), np.ones(n, bool))


@pytest.fixture(scope="module")
def worlds() -> dict[str, float]:
    """Of made-up models that are right half of the time, more so in some scenes: how often intervals hold that half,
    and how often two of them are said to differ."""
    random = np.random.default_rng(7)
    of_scene = np.repeat(np.arange(SCENES), EACH)
    by_scene = units_of([f"s{scene}" for scene in of_scene])
    by_question = units_of([""] * len(of_scene))
    held = {"scenes": 0, "questions": 0, "differ": 0}
    for world in range(WORLDS):
        chance = random.beta(1.5, 1.5, size=SCENES)[of_scene]
        one, other = (100.0 * (random.random(len(of_scene)) < chance) for _ in range(2))
        view = _all(mean_metric("one", one), mean_metric("other", other), n=len(of_scene))
        for name, units in (("scenes", by_scene), ("questions", by_question)):
            ((first, second),) = resample([view], units, 300, seed=world)
            assert first is not None and second is not None
            found = interval(first, units.count)
            assert found is not None
            held[name] += found.low <= 50 <= found.high
            if name == "scenes":
                p = p_value(first - second, units.count)
                held["differ"] += p is not None and p < 0.05
    return {name: count / WORLDS for name, count in held.items()}


def test_intervals_over_scenes_hold_the_truth_as_often_as_they_say(worlds: dict[str, float]) -> None:
    assert 0.915 <= worlds["scenes"] <= 0.985


def test_intervals_over_questions_would_be_too_narrow_where_scenes_are_alike(worlds: dict[str, float]) -> None:
    assert worlds["questions"] < 0.9


def test_equal_models_are_seldom_said_to_differ(worlds: dict[str, float]) -> None:
    assert worlds["differ"] <= 0.09


def test_a_real_difference_is_seen() -> None:
    random = np.random.default_rng(0)
    one, other = (100.0 * (random.random(400) < share) for share in (0.6, 0.45))
    ((first, second),) = resample(
        [_all(mean_metric("a", one), mean_metric("b", other), n=400)], units_of([""] * 400), 2000, seed=0
    )
    assert first is not None and second is not None
    p = p_value(first - second, 400)
    assert p is not None and p < 0.01


def test_interval_and_p_value_agree() -> None:
    random = np.random.default_rng(3)
    for shift in np.linspace(0, 4, 60):
        drawn = random.normal(shift, 1, 4000)
        found, p = interval(drawn, 12), p_value(drawn, 12)
        assert found is not None and p is not None
        if abs(p - 0.05) > 0.005:
            assert (p < 0.05) == (found.low > 0)


def test_few_units_make_wider_intervals() -> None:
    drawn = np.random.default_rng(0).normal(50, 5, 4000)
    widths = []
    for units in (5, 10, 30, 10_000):
        found = interval(drawn, units)
        assert found is not None
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(2 * 1.96 * 5, rel=0.05)


@pytest.mark.parametrize(
    ("drawn", "units"),
    [
        (None, 10),
        (np.random.default_rng(0).normal(50, 5, 400), 4),
        (np.full(500, 100.0), 10),
        (np.random.default_rng(0).random(500), 1),
        (np.full(500, np.nan), 10),
        (np.where(np.arange(500) % 4 == 0, np.nan, np.arange(500)), 10),
    ],
    ids=["cannot be resampled", "too few", "all right", "one question", "not defined", "often not defined"],
)
def test_what_has_no_interval(drawn: np.ndarray | None, units: int) -> None:
    assert interval(drawn, units) is None


def test_no_difference_at_all_has_p_1() -> None:
    assert p_value(np.zeros(2000), 50) == 1.0
    # what adding up in another order leaves is no difference
    assert p_value(np.full(2000, 1e-13), 50) == 1.0


def test_the_sign_of_a_difference_does_not_matter() -> None:
    drawn = np.random.default_rng(1).normal(1.3, 1, 2000)
    assert p_value(drawn, 40) == p_value(-drawn, 40)


def test_two_questions_prove_nothing() -> None:
    p = p_value(np.full(2000, 100.0), 2)
    assert p is not None and p > 0.1


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([None]) == [None]


def test_twenty_scenes_are_resampled_and_nineteen_are_not() -> None:
    many = units_of([f"s{number % 20}" for number in range(60)])
    assert (many.count, many.are_scenes) == (20, True)
    few = units_of([f"s{number % 19}" for number in range(60)])
    assert (few.count, few.are_scenes) == (60, False)


def test_samples_without_a_scene_are_units_of_their_own() -> None:
    units = units_of(["", *(f"s{number}" for number in range(20)), "", "s3"])
    assert units.count == 22 and units.are_scenes
    assert units.of_sample[22] == units.of_sample[4]


def test_questions_of_a_scene_are_drawn_together() -> None:
    units = units_of([f"s{number // 3}" for number in range(75)])
    counts = np.concatenate(list(draw(units, 50, seed=0)))
    assert counts.shape == (50, 75) and (counts.sum(axis=1) == 75).all()
    assert (counts.reshape(50, 25, 3) == counts.reshape(50, 25, 3)[..., :1]).all()


def test_resamplings_do_not_depend_on_the_size_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    units = units_of([f"s{number % 31}" for number in range(100)])
    whole = np.concatenate(list(draw(units, 64, seed=5)))
    monkeypatch.setattr(bootstrap, "_CHUNK_NUMBERS", 700)
    chunks = list(draw(units, 40, seed=5))
    assert len(chunks) > 4
    assert np.array_equal(np.concatenate(chunks), whole[:40])


def test_metrics_are_resampled_in_the_same_resamplings() -> None:
    values = np.random.default_rng(0).random(40)
    back = np.arange(40)[::-1]
    units = units_of([""] * 40)
    (one,), (other,) = resample(
        [_all(mean_metric("a", values), n=40), View([mean_metric("a", values[back])], back, np.ones(40, bool))],
        units,
        100,
        seed=0,
    )
    assert one is not None and other is not None
    assert np.allclose(one, other, atol=1e-12)


def test_samples_that_do_not_count_do_not() -> None:
    values = np.array([100.0, 0, 100, 0])
    counted = np.array([True, False, True, False])
    view = View([mean_metric("a", values), Metric("b", 7.0)], np.arange(4), counted)
    assert view.values[0] == 100.0 and np.isnan(view.values[1])
    ((drawn, nothing),) = resample([view], units_of([""] * 4), 200, seed=0)
    assert nothing is None and drawn is not None
    assert set(drawn[~np.isnan(drawn)]) == {100.0}


def test_five_thousand_questions_fit_into_little_memory() -> None:
    n = 5130
    values = np.random.default_rng(0).random(n) * 100
    parts = [mean_metric("part", within(values, np.arange(n) % 8 == part)) for part in range(8)]
    units = Units(np.arange(n) % 288, 288, are_scenes=True)
    tracemalloc.start()
    resample([_all(macro_metric("all", parts), n=n)], units, 2000, seed=0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 60_000_000


def test_few_answers_that_differ_are_tested_exactly() -> None:
    alone = units_of([""] * 9)
    one_way = np.array([100.0] * 6 + [0.0] * 3)
    assert sign_flip_p(one_way, alone, seed=0) == sign_flip_p(-one_way, alone, seed=0) == 2 / 64  # the sign test's
    assert sign_flip_p(np.zeros(9), alone, seed=0) == 1.0
    assert sign_flip_p(np.array([100.0, -100.0, *[0.0] * 7]), alone, seed=0) == 1.0
    assert sign_flip_p(np.array([100.0]), units_of([""]), seed=0) is None
    assert sign_flip_p(np.full(9, np.nan), alone, seed=0) is None


def test_all_of_a_scene_change_their_signs_together() -> None:
    scenes = units_of([f"s{number // 10}" for number in range(200)])
    assert scenes.are_scenes
    differences = np.zeros(200)
    differences[:40] = 100.0
    assert sign_flip_p(differences, scenes, seed=0) == 2 / 16


def test_many_answers_are_tested_at_random_signs_and_the_test_keeps_its_level() -> None:
    random = np.random.default_rng(5)
    alone = units_of([""] * 60)
    found = [sign_flip_p(100.0 * random.integers(-1, 2, size=60), alone, seed=0) for _ in range(150)]
    share = np.mean([p is not None and p < 0.05 for p in found])
    assert 0.01 <= share <= 0.11
    clear = sign_flip_p(np.array([100.0] * 30 + [0.0] * 30), alone, seed=0)
    assert clear is not None and clear < 0.001
