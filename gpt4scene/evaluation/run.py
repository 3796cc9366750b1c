"""What one model made of a benchmark: questions, answers and score, and what two runs must share to be compared."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.vlm.protocol import Usage


@dataclass(frozen=True, eq=False)
class Run:
    """One model's answers to a benchmark, and their score by one protocol."""

    model: str
    """As the user names it, or as answers that are ready are called."""
    benchmark: str
    """Its name, as in `names.NAMES`."""
    split: str
    protocol: str
    prompt_version: str
    """Over all questions' texts, see `prompt_version`; "" of answers of which the questions are not known."""
    samples: tuple[BenchmarkSample, ...]
    """In the order of all that follows."""
    predictions: tuple[Prediction, ...]
    report: Report
    question_keys: tuple[str, ...]
    """For each sample a hash of what the model was told, see `question_key`; "" where that is not known."""
    image_keys: tuple[str, ...]
    """For each sample a hash of what it was shown; "" where that is not known.

    Models take images of other sizes, so these are not the pixels: of a scene it is what its document says, which
    frames are shown, and with which marks; of images of a question's own, their bytes.
    """
    cost_usd: float | None = None
    """What all of these answers cost at most, in this and earlier runs; None where that is not known."""
    usage: Usage | None = None
    """Of all answers whose tokens the provider told, those from the cache included; None where none did."""
    showing: Mapping[str, Any] = field(default_factory=dict)
    """How scenes were shown: the fields of `asking.Showing`; empty where that is not known."""
    scope: str = ""
    """Which part of the split this is, in words: "200 of 4,675 questions (seed 0)"; empty where it is all of it."""
    answered_by: tuple[str, ...] = ()
    """The dated models that answered, as their provider names them."""
    judge: str = ""
    """The model that judged the answers; empty where none did."""


def question_key(*texts: str) -> str:
    """A hash of what a model is told about one question: the system message, and what follows the images."""
    # with their lengths, so that no text can pass for the one after it
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def prompt_version(samples: Sequence[BenchmarkSample], question_keys: Sequence[str]) -> str:
    """A short name for the texts of all questions, equal where each was put in the same words; 12 hex digits.

    It does not depend on the order of the questions; "" where one of the texts is not known.
    """
    if not all(question_keys):
        return ""
    pairs = sorted(zip((sample.id for sample in samples), question_keys, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:12]
