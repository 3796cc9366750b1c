"""A part of a benchmark that is the same wherever it is drawn, and what it is called."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bev.errors import UserError
from gpt4scene.benchmarks.sample import BenchmarkSample


@dataclass(frozen=True)
class Scope:
    """Which part of a split is asked and scored."""

    total: int
    """Questions of the split."""
    asked: int
    """Of those, in this part."""
    seed: int | None = None
    """Which of them were drawn; None: none was, all that have a scene are there."""
    without_scenes: tuple[str, ...] = ()
    """Names of the scenes that were left out, ascending."""

    def text(self) -> str:
        """In words: "200 of 4,675 questions (seed 0)"; empty for all of a split."""
        if self.asked == self.total:
            return ""
        said = f"{self.asked:,} of {self.total:,} questions"
        said += f" (seed {self.seed})" if self.seed is not None else ""
        scenes = len(self.without_scenes)
        left = "" if not scenes else "1 scene that was" if scenes == 1 else f"{scenes} scenes that were"
        return said + (f", without {left} not there" if left else "")


def part_of(
    samples: Sequence[BenchmarkSample],
    *,
    limit: int | None = None,
    seed: int = 0,
    without_scenes: Collection[str] = (),
) -> tuple[list[BenchmarkSample], Scope]:
    """Some of the questions, spread over the types of question as all of them are.

    Which ones depends on the ids, the types and the seed, and not on the order of the file. A smaller part is within
    every larger one of the same seed. Scenes are left out first, so that as many questions are drawn all the same.

    Args:
        samples: of a split.
        limit: how many to draw; None, or more than there are: all.
        seed: which ones.
        without_scenes: scenes whose questions are left out.

    Returns:
        The questions in the order of `samples`, and which part they are.

    Raises:
        UserError: the limit is below 1, or no question is left.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: must be 1 or more")
    left = [sample for sample in samples if sample.images or sample.scene not in without_scenes]
    if not left:
        raise UserError("no question is left: none of their scenes is there")
    drawn = left if limit is None or limit >= len(left) else _drawn(left, limit, seed)
    scope = Scope(
        total=len(samples),
        asked=len(drawn),
        seed=seed if len(drawn) < len(left) else None,
        without_scenes=tuple(sorted({s.scene for s in samples if not s.images and s.scene in without_scenes})),
    )
    return drawn, scope


def _drawn(samples: Sequence[BenchmarkSample], limit: int, seed: int) -> list[BenchmarkSample]:
    kinds: dict[str, list[BenchmarkSample]] = {}
    for sample in samples:
        kinds.setdefault(sample.kind, []).append(sample)
    # each type's questions stand evenly between 0 and 1, from a start of chance: every beginning holds its share of
    # each, and where that is no whole number, as likely one more as one less
    places: dict[str, tuple[float, str]] = {}
    for kind, members in kinds.items():
        start = int(_hash(seed, "kind", kind)[:13], 16) / 16**13
        for position, sample in enumerate(sorted(members, key=lambda sample: _hash(seed, "id", sample.id))):
            places[sample.id] = (position + start) / len(members), _hash(seed, "id", sample.id)
    taken = set(sorted(places, key=lambda id: places[id])[:limit])
    return [sample for sample in samples if sample.id in taken]


def _hash(seed: int, what: str, name: str) -> str:
    return hashlib.sha256(f"{seed} {what} {name}".encode("utf-8", "surrogatepass")).hexdigest()
