"""What every benchmark is made of: a question with its truth, and what a model answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image
from gpt4scene.prompting.parsed import Outcome
from gpt4scene.prompting.questions import Question


@dataclass(frozen=True)
class BenchmarkSample:
    """One question of a benchmark, as its annotation has it."""

    id: str
    """Unique in its split."""
    scene: str
    """The name of the scene that it is about; "" where it brings its own images."""
    question: Question
    """What a model is asked. Objects in it (`Question.object_id`) have the annotation's numbers; who asks about a scene
    puts the scene's own in their place."""
    kind: str
    """The type of question, as the benchmark's own tables name it."""
    answers: tuple[str, ...] = ()
    """The references, as annotated; empty where the split has none."""
    object_ids: tuple[int, ...] = ()
    """The annotation's numbers of the objects that are asked for, described, or that the question is about."""
    images: tuple[Image, ...] = ()
    """Its own images, of benchmarks that are not about scenes."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The annotation's row, with whatever else its scorers need."""
    where: str = ""
    """File and row, for errors."""


@dataclass(frozen=True)
class Prediction:
    """What a model answered to a sample."""

    text: str = ""
    """As the model wrote it."""
    outcome: Outcome = "answered"
    """Of "refused" and "failed" the text is no answer: they count as unanswered."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What some protocols score besides the text, as a benchmark's own prediction files have it: boxes, a list of
    ten answers; each benchmark's module names its keys."""


UNANSWERED = Prediction("", "failed")
"""Stands where an answers file lacks a question."""


def unique(samples: Sequence[BenchmarkSample]) -> list[BenchmarkSample]:
    """The samples, whose ids must differ: the reference code skips duplicates silently.

    Raises:
        UserError: two have one id; says which rows.
    """
    seen: dict[str, BenchmarkSample] = {}
    for sample in samples:
        first = seen.setdefault(sample.id, sample)
        if first is not sample:
            raise UserError(
                f"{sample.where}: has the id {sample.id!r}, as {first.where} has; ids must differ: give one of them"
                " another, or take it out"
            )
    return list(seen.values())


@dataclass(frozen=True)
class Aligned:
    """Answers in the order of their samples."""

    predictions: tuple[Prediction, ...]
    """One for each sample."""
    unanswered: tuple[str, ...]
    """Ids of samples without an answer: missing, refused or failed. They are scored as wrong, whatever a protocol
    makes of an empty text."""


def align(samples: Sequence[BenchmarkSample], answers: Mapping[str, Prediction]) -> Aligned:
    """The answers in the order of the samples; what is missing is `UNANSWERED`.

    Raises:
        UserError: there are no samples, or answers to questions that are none of them.
    """
    if not samples:
        raise UserError("there are no questions to be scored")
    known = {sample.id for sample in samples}
    foreign = [id for id in answers if id not in known]
    if foreign:
        raise UserError(
            f"{len(foreign)} of {len(answers)} answers are to questions that this benchmark's split does not hold, the"
            f" first to {foreign[0]!r}; are they of another benchmark or split?"
        )
    predictions = tuple(answers.get(sample.id, UNANSWERED) for sample in samples)
    unanswered = tuple(
        sample.id
        for sample, prediction in zip(samples, predictions, strict=True)
        if prediction.outcome in ("refused", "failed")
    )
    return Aligned(predictions, unanswered)
