"""METEOR for tests that score many small sets: it takes seconds to start, so one process scores the texts of all."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import pytest

from bev.errors import UserError
from gpt4scene.metrics import captions
from gpt4scene.metrics.meteor import STATISTICS, MeteorScores, find_java, meteor_of_statistics, meteor_scores


def with_one_meteor(patch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    """Do the work, which asserts, twice: once to learn what METEOR will be asked, then with all of it scored.

    A set's own METEOR follows from the statistics of its texts.
    """
    asked: dict[tuple[str, tuple[str, ...]], int] = {}

    def note(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> MeteorScores:
        for candidate, texts in zip(candidates, references, strict=True):
            asked.setdefault((candidate, tuple(texts)), len(asked))
        return MeteorScores(0.0, np.zeros(len(candidates)), np.zeros((len(candidates), STATISTICS)))

    try:
        find_java()
    except UserError:
        work()
        return
    patch.setattr(captions, "meteor_scores", note)
    with suppress(AssertionError):
        work()
    scores = meteor_scores([candidate for candidate, _ in asked], [texts for _, texts in asked])

    def look_up(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> MeteorScores:
        at = [asked[candidate, tuple(texts)] for candidate, texts in zip(candidates, references, strict=True)]
        statistics = scores.statistics[at]
        return MeteorScores(float(meteor_of_statistics(np.sum(statistics, axis=0))), scores.values[at], statistics)

    patch.setattr(captions, "meteor_scores", look_up)
    work()
