"""Cleaning and matching short answers, the F-value's lemmas, and poses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bev.errors import UserError
from gpt4scene.metrics.answer_text import clean_answer, without_full_stop
from gpt4scene.metrics.exact_match import match_gpt4scene, match_lenient, match_leo, match_raw, match_strict
from gpt4scene.metrics.localization import localization_metrics
from gpt4scene.metrics.unigram_f import f_value, f_value_fails, wordnet_nouns


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  The   Brown chair. ", "brown chair"),
        ("a", "a"),  # an article without a word after it
        ("a a chair", "a chair"),  # one pass
        ("the a chair", "chair"),  # each article has its own
        ("an a an x", "an x"),  # "a" before "an"
        ("a 2", "two"),
        ("21 none 23", "21 zero twenty-three"),
        ("chair2 chair12 2x", "chair chair12 2x"),
        ("It’s a café", "its caf"),
        ("3.5", "35"),
        ("o' clock, oclock", "o'clock, o'clock"),
        ("tv on the rigth", "TV on right"),
        ("one .  two", "one  two"),  # spaces that meet later stay
        ("left\n", "left\n"),
        ("left  \n", "left\n"),
        ("backwards", "backward"),
        ("…", ""),
    ],
)
def test_answers_are_cleaned(text: str, cleaned: str) -> None:
    assert clean_answer(text) == cleaned


@given(st.text())
def test_any_text_is_cleaned(text: str) -> None:
    assert all(sign.isascii() or sign.isspace() for sign in clean_answer(text))


def test_one_full_stop_goes_but_not_the_only_character() -> None:
    assert [without_full_stop(text) for text in ("a.", "a..", ".", "")] == ["a", "a.", ".", ""]


def test_gpt4scene_compares_with_raw_or_with_cleaned_references() -> None:
    assert not match_gpt4scene("2", ["2"], clean_references=False).exact
    assert match_gpt4scene("2", ["2"], clean_references=True).exact
    assert match_gpt4scene("chair .", ["chair"], clean_references=False).exact
    refined = match_gpt4scene("white board", ["blue", "whiteboard"], clean_references=True)
    assert (refined.exact, refined.refined, refined.text) == (False, True, "white board")


def test_what_an_empty_answer_is() -> None:
    assert not match_gpt4scene("", ["chair"], clean_references=True).refined
    assert not match_gpt4scene("", [""], clean_references=True).exact
    assert match_leo("", ["chair"]).refined and not match_leo("", ["chair"]).exact
    assert match_lenient("", ["chair"]).refined
    assert not match_strict("", ["chair"]).exact


def test_leos_first_fitting_reference_decides() -> None:
    assert not match_leo("chair", ["office chair", "chair"]).exact
    assert match_leo("chair", ["office chair", "chair"]).refined
    assert match_leo("chair", ["chair", "office chair"]).exact


def test_strict_and_lenient_know_the_first_reference_only() -> None:
    assert not match_strict("chair", ["table", "chair"]).exact
    assert match_strict("The Table", ["a table"]).exact
    assert match_lenient("brown table", ["table brown"]).refined
    assert not match_lenient("two", ["2"]).refined  # references are taken to be clean


def test_a_raw_match_knows_no_mercy() -> None:
    assert [match_raw(text, ["brown"]).exact for text in ("brown", "Brown", "brown.")] == [True, False, False]


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("chairs", "chair"),
        ("boxes", "box"),
        ("glasses", "glass"),  # the shorter of two that WordNet has
        ("women", "woman"),
        ("bodies", "body"),
        ("mice", "mouse"),
        ("stemmata", "stemma"),
        ("was", "wa"),
        ("bedsides", "bedside"),
        ("brighter", "brighter"),  # no noun
        ("Chairs", "Chairs"),  # nothing is made small
    ],
)
def test_lemmas(word: str, lemma: str) -> None:
    assert wordnet_nouns().lemma(word) == lemma


def test_f_values() -> None:
    assert f_value("", [""]) == 1
    assert f_value("two chairs", ["table", "a chair"]) == 0.5
    assert f_value("chair chairs x y", ["chair"]) == pytest.approx(2 * 0.5 / 1.5)
    assert f_value(" ", ["chair"]) == 0 and f_value_fails(" ", ["chair"])
    assert f_value("chair", ["", "chairs"]) == 1 and f_value_fails("chair", ["", "chairs"])
    assert not f_value_fails("", [""])


def turned(degrees: float) -> list[float]:
    half = np.radians(degrees) / 2
    return [0.0, 0.0, float(np.sin(half)), float(np.cos(half))]


def test_the_best_of_three_poses_counts_and_the_bound_does_not() -> None:
    true_positions = np.array([[0.0, 0.0, 5.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    true_rotations = np.array([turned(170), turned(0), turned(0)])
    positions = [[[0.0, 0.5, 0.0], [0.25, 0.0, 0.0]], [[1.0, 1.5, 0.0]], []]
    rotations = [[turned(-170)], [turned(90), turned(10), turned(50)], []]
    found = localization_metrics(true_positions, true_rotations, positions, rotations)
    assert {metric.name: metric.value for metric in found} == pytest.approx(
        {"acc@0.5m": 100 / 3, "acc@1.0m": 200 / 3, "acc@15°": 100 / 3, "acc@30°": 200 / 3}
    )


@pytest.mark.parametrize(
    ("positions", "rotations", "said"),
    [
        ([], [[turned(0)]], "candidates for 0"),
        ([[[0.0, 0.0, 0.0]] * 4], [[turned(0)]], "pose 1: must be at most 3"),
        ([[[0.0, 0.0]]], [[turned(0)]], "lists of 3 numbers"),
        ([[[0.0, 0.0, float("nan")]]], [[turned(0)]], "must be finite"),
        ([[[0.0, 0.0, 0.0]]], [[[0.0, 0.0, 0.0, 0.0]]], "is no rotation"),
    ],
)
def test_poses_that_are_none(positions: list, rotations: list, said: str) -> None:
    with pytest.raises(UserError, match=said):
        localization_metrics(np.zeros((1, 3)), np.array([turned(0)]), positions, rotations)
