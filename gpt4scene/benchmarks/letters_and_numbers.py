"""Short answers scored one by one, for the benchmarks whose answers are option letters and numbers."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.report import flagged
from gpt4scene.benchmarks.sample import Aligned, BenchmarkSample
from gpt4scene.metrics.relative_accuracy import mean_relative_accuracy
from gpt4scene.metrics.short_answers import as_float, first_piece, leading_letter

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERED = re.compile(r"\s*\(?([A-Z])[.):]\s*(.*)", re.DOTALL)

ReadNumber = Callable[[str], float | None]


@dataclass(frozen=True, eq=False)
class Scored:
    """What each answer scores, as a `Report` takes it."""

    values: np.ndarray
    """(n,) float64, points."""
    unparsed: tuple[str, ...]
    flags: tuple[str, ...]
    details: tuple[Mapping[str, Any], ...]


def scored_pieces(
    samples: Sequence[BenchmarkSample], aligned: Aligned, *, numeric: Collection[str], read_number: ReadNumber
) -> Scored:
    """Score letters and numbers as VSI-Bench and its descendants do.

    A letter is right where the answer's `first_piece` is it, ignoring case; a number is read by `read_number` and
    scored by `mean_relative_accuracy`. What cannot be read scores 0.

    Args:
        samples: with their truth as the one entry of `answers`.
        aligned: the answers.
        numeric: the kinds of question of which the answer is a number.
        read_number: finds it in a text; None where there is none.
    """
    is_number = np.array([sample.kind in numeric for sample in samples])
    silent = set(aligned.unanswered)
    found, true = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    right = np.zeros(len(samples))
    read: list[str | float | None] = [None] * len(samples)
    unparsed: list[str] = []
    truthless: list[str] = []
    for i, (sample, prediction) in enumerate(zip(samples, aligned.predictions, strict=True)):
        truth = sample.answers[0] if sample.answers else None
        true_number = as_float(truth) if truth is not None and is_number[i] else None
        if truth is None or (is_number[i] and true_number is None):
            truthless.append(sample.id)
        if sample.id in silent:
            continue
        if is_number[i]:
            number = read_number(prediction.text)
            found[i], true[i] = _or_nan(number), _or_nan(true_number)
            read[i] = number
            is_read = number is not None
        else:
            piece = first_piece(prediction.text)
            right[i] = truth is not None and piece.lower() == truth.lower()
            read[i] = piece
            is_read = len(piece) == 1 and piece.upper() in _LETTERS
        if not is_read:
            unparsed.append(sample.id)
    values = 100 * np.where(is_number, mean_relative_accuracy(found, true), right)
    readable = is_number & np.array([reading is not None for reading in read])
    flags = [
        *flagged([s.id for s, zero in zip(samples, readable & (true == 0), strict=True) if zero], _ZERO),
        *flagged([s.id for s, below in zip(samples, readable & (true < 0), strict=True) if below], _NEGATIVE),
        *flagged(truthless, "no truth that an answer can be compared with; it counts as wrong"),
    ]
    return Scored(values, tuple(unparsed), tuple(flags), details_of(samples, read, values))


_ZERO = (
    "a truth of 0, which the official code divides by and stops (ZeroDivisionError); here an answer of exactly 0 is"
    " right, any other wrong"
)
_NEGATIVE = "a truth below 0, for which any number gets full marks, as in the official code"


def scored_letters(samples: Sequence[BenchmarkSample], aligned: Aligned) -> Scored:
    """Score letters as lmms-eval does for CV-Bench and BLINK: an answer's `leading_letter` is that of the truth.

    Args:
        samples: with their truth, "(A)" or "A", as the one entry of `answers`; where there is none, as in a split of
            which the answers are hidden, nothing counts.
        aligned: the answers.
    """
    silent = set(aligned.unanswered)
    letters = [leading_letter(prediction.text) for prediction in aligned.predictions]
    values = [
        100.0 * (letter == sample.answers[0].strip("()") and sample.id not in silent) if sample.answers else math.nan
        for sample, letter in zip(samples, letters, strict=True)
    ]
    unparsed = [
        sample.id
        for sample, letter in zip(samples, letters, strict=True)
        if sample.id not in silent and letter not in tuple(_LETTERS[: len(sample.question.options) or None])
    ]
    hidden = [sample.id for sample in samples if not sample.answers]
    flags = flagged(hidden, "the answer is hidden; it counts neither as right nor as wrong")
    read = [None if s.id in silent else letter for s, letter in zip(samples, letters, strict=True)]
    return Scored(np.array(values), tuple(unparsed), tuple(flags), details_of(samples, read, values))


def details_of(
    samples: Sequence[BenchmarkSample], read: Sequence[str | float | None], values: Sequence[float] | np.ndarray
) -> tuple[Mapping[str, Any], ...]:
    """For each sample what was read in its answer, its truth and its points, as JSON holds them.

    Args:
        samples: n of them.
        read: (n,) a text or a number; None where there is nothing.
        values: (n,) points, NaN where a sample does not count.
    """
    return tuple(
        {
            "read": str(what) if isinstance(what, float) and not math.isfinite(what) else what,
            "true": sample.answers[0] if sample.answers else None,
            "score": None if math.isnan(value) else float(value),
        }
        for sample, what, value in zip(samples, read, values, strict=True)
    )


def members(samples: Sequence[BenchmarkSample], kind: str) -> np.ndarray:
    """(n,) bool: which samples are of a kind."""
    return np.array([sample.kind == kind for sample in samples], bool)


def bare_options(options: Sequence[Any], where: str) -> tuple[str, ...]:
    """Options without the letters that a benchmark writes before them; prompts write letters of their own.

    Args:
        options: "A. chair", "B. table" and so on, or none of them with a letter.
        where: file and row.

    Raises:
        UserError: one is no text, or the letters are not A, B, C and so on: ours would then mean other options.
    """
    texts = [option for option in options if isinstance(option, str) and option.strip()]
    if not texts or len(texts) != len(options) or len(texts) > len(_LETTERS):
        raise UserError(f"{where}: its options must be 1 to {len(_LETTERS)} texts, are {str(list(options))[:60]}")
    matches = [_LETTERED.fullmatch(text) for text in texts]
    letters = [match[1] for match in matches if match]
    if letters == list(_LETTERS[: len(texts)]):
        return tuple(match[2].strip() or match[1] for match in matches if match)
    if len(letters) == len(texts):
        raise UserError(f"{where}: its options have the letters {', '.join(letters)}; they must be A, B, C and so on")
    return tuple(texts)


def truth_of(row: Mapping[str, Any], key: str, where: str, *, is_number: bool) -> tuple[str, ...]:
    """The one answer of a row, a letter or a number; none where it is null.

    Raises:
        UserError: it is missing, or something else.
    """
    kinds = (str, int, float, bool, type(None)) if is_number else (str, type(None))
    truth = needed(row, key, kinds, where)
    if isinstance(truth, bool):
        truth = float(truth)  # as the official code takes it
    return () if truth is None else (str(truth),)


def frames_prompt(
    row: Mapping[str, Any], *, is_number: bool, pre_prompt: str, mca_post_prompt: str, na_post_prompt: str
) -> str:
    """The prompt of VSI-Bench's own code for a row, as `vsibench.official_prompt` says."""
    before = pre_prompt or "These are frames of a video."
    if is_number:
        return f"{before}\n{row['question']}\n{na_post_prompt or _NA_POST}"
    return "\n".join([before, row["question"], "Options:", *row["options"], mca_post_prompt or _MCA_POST])


_NA_POST = "Please answer the question using a single word or phrase."
_MCA_POST = "Answer with the option's letter from the given choices directly."


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
