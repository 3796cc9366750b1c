"""Whether models may stand in one table: the same benchmark, questions, words and images, or an error that says what
differs."""

from collections.abc import Callable, Sequence
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.evaluation.run import Run


def check_comparable(runs: Sequence[Run]) -> list[str]:
    """Say what keeps runs from being compared.

    Returns:
        Lines on what is not known, and so could not be checked.

    Raises:
        UserError: something differs; names the models, and the question where it is about one.
    """
    if not runs:
        raise UserError("there are no answers to compare")
    names = [run.model for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two runs are called {_short(twice)}: give each a name of its own")
    for what in ("benchmark", "split", "protocol"):
        _check_alike(runs, what, lambda run, what=what: getattr(run, what))
    _check_alike([run for run in runs if run.judge], "judge", lambda run: run.judge)
    _check_samples(runs)
    _check_keys(runs, "question_keys", "asked in other words than", _asked_again)
    _check_keys(runs, "image_keys", "shown other images than", _shown_again)
    _check_versions(runs)
    return _unknown(runs)


def _check_alike(runs: Sequence[Run], what: str, of: Callable[[Run], str]) -> None:
    for run in runs[1:]:
        if of(run) != of(runs[0]):
            raise UserError(
                f"{_short(run.model)} has the {what} {_short(of(run))}, {_short(runs[0].model)} {_short(of(runs[0]))}:"
                f" runs of one {what} can be compared"
            )


def _check_samples(runs: Sequence[Run]) -> None:
    first: dict[str, tuple[Run, BenchmarkSample]] = {}
    for run in runs:
        for sample in run.samples:
            other, same = first.setdefault(sample.id, (run, sample))
            if _content(sample) != _content(same):
                raise UserError(
                    f"question {_short(sample.id)} of {_short(run.model)} is not that of {_short(other.model)}: score"
                    " both with the same annotation files"
                )


def _content(sample: BenchmarkSample) -> tuple[Any, ...]:
    return sample.scene, sample.kind, sample.question, sample.answers, sample.object_ids


def _check_keys(runs: Sequence[Run], field: str, differs: str, remedy: Callable[[Run, Run], str]) -> None:
    """Keys of one question are equal wherever they are known."""
    first: dict[str, tuple[Run, str]] = {}
    for run in runs:
        differing: list[tuple[str, Run]] = []
        for sample, key in zip(run.samples, getattr(run, field), strict=True):
            if key:
                other, same = first.setdefault(sample.id, (run, key))
                if key != same:
                    differing.append((sample.id, other))
        if differing:
            id, other = differing[0]
            many = f" and {len(differing) - 1:,} more" if len(differing) > 1 else ""
            raise UserError(
                f"{_short(run.model)} was {differs} {_short(other.model)} on question {_short(id)}{many}:"
                f" {remedy(other, run)}"
            )


def _asked_again(one: Run, other: Run) -> str:
    versions = [run.prompt_version or "not known" for run in (one, other)]
    said = f" (prompt versions {versions[0]} and {versions[1]})" if versions[0] != versions[1] else ""
    return f"ask both by the same version and --prompts{said}"


def _shown_again(one: Run, other: Run) -> str:
    keys = dict.fromkeys([*one.showing, *other.showing])
    differing = [key for key in keys if one.showing.get(key) != other.showing.get(key)]
    if one.showing and other.showing and differing:
        key = differing[0]
        return f"{key} is {_short(str(one.showing.get(key)))} and {_short(str(other.showing.get(key)))}; ask both alike"
    return "the scene folders or the images have changed in between; ask both again"


def _check_versions(runs: Sequence[Run]) -> None:
    """The words of all questions at once, where the questions are the same."""
    known = [run for run in runs if run.prompt_version]
    for run in known[1:]:
        same = {sample.id for sample in run.samples} == {sample.id for sample in known[0].samples}
        if same and run.prompt_version != known[0].prompt_version:
            raise UserError(
                f"{_short(run.model)} was asked with the prompt version {run.prompt_version}, {_short(known[0].model)}"
                f" with {known[0].prompt_version}: ask both with one"
            )


def _unknown(runs: Sequence[Run]) -> list[str]:
    lines = []
    for run in runs:
        missing = [
            what
            for what, keys in (
                ("in which words it was asked", run.question_keys),
                ("what it was shown", run.image_keys),
            )
            if not all(keys)
        ]
        if missing and len(runs) > 1:
            lines.append(f"{run.model}: {' and '.join(missing)} is not known for all questions, so it was not checked")
    return lines


def _short(text: str, most: int = 60) -> str:
    line = repr(text)[1:-1]
    return line if len(line) <= most else f"{line[: most // 2 - 1]}…{line[-most // 2 :]}"
