"""Relative accuracy of numbers, and what is read in short answers; each quirk of the benchmarks' own code is a case."""

import math

import numpy as np
import pytest

from gpt4scene.metrics.relative_accuracy import mean_relative_accuracy, mean_relative_accuracy_spar
from gpt4scene.metrics.short_answers import (
    as_float,
    first_piece,
    leading_letter,
    number_anywhere,
    resembles,
    unsigned_number,
)


@pytest.mark.parametrize(
    ("found", "true", "share"),
    [
        (4, 4, 1.0),
        (2, 4, 0.1),  # an error of just 0.5 is tolerated: <=, not <
        (1.35, 1, 0.3),
        (0.65, 1, 0.4),  # the same error, but not in float64
        (1.05, 1, 1.0),  # 1 - 0.95 is a little more than 0.05, as is 1.05 - 1
        (1.06, 1, 0.9),
        (2.75, 2.5, 0.9),
        (99, -0.5, 1.0),
        (math.nan, 1, 0.0),
        (math.inf, 1, 0.0),
        (math.inf, math.inf, 0.0),
        (1, math.nan, 0.0),
        (0, 0, 1.0),
        (-0.0, 0, 1.0),
        (1e-9, 0, 0.0),
        (math.nan, 0, 0.0),
    ],
)
def test_relative_accuracy(found: float, true: float, share: float) -> None:
    assert mean_relative_accuracy(found, true) == pytest.approx(share, abs=1e-12)


def test_relative_accuracy_of_many_is_that_of_each() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(-5, 50, 500).round(1)
    found = (true * random.choice([0.5, 0.65, 0.9, 0.95, 1, 1.05, 1.35], 500)).round(3)
    for rule in (mean_relative_accuracy, mean_relative_accuracy_spar):
        assert np.array_equal(rule(found, true), [rule(p, t) for p, t in zip(found, true, strict=True)])


@pytest.mark.parametrize(
    ("found", "true", "share"),
    [(2, -2, 0.0), (-2, -2, 1.0), (99, -0.5, 0.0), (0.05, 0, 1.0), (0.3, 0, 0.5), (1, 0, 0.0), (-0.05, 0, 1.0)],
)
def test_relative_accuracy_of_spar_takes_absolute_values(found: float, true: float, share: float) -> None:
    assert mean_relative_accuracy_spar(found, true) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (" A", ""),
        ("A.\n", "A."),
        ("A\n", "A"),
        ("A...", "A"),
        ("A chair", "A"),
        ("(A)", "(A)"),
        ("", ""),
        ("\tB. x", "B"),
    ],
)
def test_the_first_piece(text: str, piece: str) -> None:
    assert first_piece(text) == piece


@pytest.mark.parametrize(
    ("text", "number"),
    [("1_000", 1000), ("1e1", 10), ("٤", 4), (".5", 0.5), ("+4", 4), ("4.5m", None), ("1,000", None), ("four", None)],
)
def test_what_python_reads_as_a_number(text: str, number: float | None) -> None:
    assert as_float(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("There are 4", 4),
        ("4.5m", 4.5),
        ("1,000", 1),
        ("4-5", 4),
        ("chair-5", -5),
        ("twenty-one", 21),
        ("one apple, room 2", 1),
        ("room 2, one apple", 2),
        ("three hundred and twenty-one", 321),
        ("two thousand one hundred", 2100),
        ("hundred", 100),
        ("one 7 two", 3),  # digits do not end a run of words
        ("two, then three", 2),
        ("someone", None),
        ("and", None),
        ("", None),
    ],
)
def test_a_number_anywhere(text: str, number: float | None) -> None:
    assert number_anywhere(text) == number


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("about 2.5m", 2.5, 2.5),
        ("10 12", 10, 12),
        ("3 m^2", 3, 3),
        ("^25", 5, 5),  # only the digit right after ^ is left out
        ("-2", 2, 2),
        ("none", None, -1),
        ("9" * 5000, None, None),
        ("9" * 400, None, None),
        ("9" * 400 + " 3", None, 3),
        ("٣.٥", 3.5, 3.5),
    ],
)
def test_an_unsigned_number(text: str, first: float | None, last: float | None) -> None:
    assert unsigned_number(text) == first
    assert unsigned_number(text, last=True) == last


@pytest.mark.parametrize(
    ("text", "answer", "is_it"),
    [
        ("", "A", True),
        ("apple", "A", True),
        (".", "C. x", True),
        ("c", "C. x", True),
        ("A.", "A", True),
        ("The answer is A", "A", False),
        ("B", "A", False),
        ("x", "", False),
    ],
)
def test_what_resembles_an_answer(text: str, answer: str, is_it: bool) -> None:
    assert resembles(text, answer) is is_it


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("(A) chair", "A"),
        ("  ( c )", "C"),
        ("The answer is A", "T"),
        ("chair", "C"),
        ("**A**", ""),
        ("", ""),
        ("4", ""),
        ("\N{LATIN SMALL LETTER LONG S}", "S"),
    ],
)
def test_a_leading_letter(text: str, letter: str) -> None:
    assert leading_letter(text) == letter
