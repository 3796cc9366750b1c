"""Bars on stderr for what takes long, with the score so far beside the questions that are asked."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bev.errors import UserError

if TYPE_CHECKING:
    from gpt4scene.benchmarks.objects import SceneObjects
    from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
    from gpt4scene.evaluate import Planned
    from gpt4scene.evaluation.evaluation import Evaluation
    from gpt4scene.vlm.asked import Kept

_PATIENCE = 20.0
"""A score is computed anew only after so many times the time that the last one took: it costs 5 % at most."""
_PAUSE_S = 2.0


@contextmanager
def counted(total: int, what: str, unit: str) -> Iterator[Callable[[], None]]:
    """A bar where somebody looks at it, and what moves it by one."""
    if not sys.stderr.isatty() or not total:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit, leave=False) as bar:

        def move() -> None:
            bar.update()

        yield move


@contextmanager
def running_score(
    evaluation: "Evaluation", planned: "Planned", objects: "Mapping[str, SceneObjects] | None"
) -> "Iterator[Callable[[BenchmarkSample, Prediction, Kept], None]]":
    """A bar with money, score and refusals beside it, and what moves it by one answer."""
    if not sys.stderr.isatty():
        yield lambda sample, prediction, kept: None
        return
    from tqdm import tqdm

    samples: list[BenchmarkSample] = []
    answers: dict[str, Prediction] = {}
    outcomes: Counter[str] = Counter()
    spent, said, next_s = 0.0, "", time.monotonic() + _PAUSE_S
    with tqdm(total=len(planned.requests), desc=planned.model.name, unit="question", leave=False) as bar:

        def note(sample: "BenchmarkSample", prediction: "Prediction", kept: "Kept") -> None:
            nonlocal spent, said, next_s
            samples.append(sample)
            answers[sample.id] = prediction
            outcomes[kept.reply.outcome] += 1
            spent += kept.cost_usd or 0.0
            begun = time.monotonic()
            if begun >= next_s:
                said = _score_so_far(evaluation, samples, answers, objects)
                now = time.monotonic()
                next_s = now + max(_PAUSE_S, _PATIENCE * (now - begun))
            others = [f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome != "answered"]
            money = f"${spent:.4f}" if planned.model.price is not None else ""
            bar.set_postfix_str(", ".join(filter(None, (money, said, *others))), refresh=False)
            bar.update()

        yield note


def _score_so_far(
    evaluation: "Evaluation",
    samples: "Sequence[BenchmarkSample]",
    answers: "Mapping[str, Prediction]",
    objects: "Mapping[str, SceneObjects] | None",
) -> str:
    try:
        report = evaluation.benchmark.score(samples, answers, protocol=evaluation.protocols[0], objects=objects)
    except UserError:
        return ""  # what is wrong is told when all is scored; until then answers are still to be had
    first = report.metrics[0]
    return f"{first.name} {first.value:.1f}"
