"""Answers as lmms-eval and its forks log them: its own JSON lines, and the one JSON file of thinking-in-space.

A line of `*_samples_TASK.jsonl` (EvolvingLMMs-Lab/lmms-eval, commit 75571cf, `save_results_samples`) has `doc_id`,
`target`, `filtered_resps`, `resps` where that is another text, and under the name of each metric what was scored, which
holds the question's own id. The older file (vision-x-nyu/thinking-in-space, commit 51e089c, lmms_eval/__main__.py) is
one object, which has such lines under `logs`, with the row under `doc`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction

IdsOf = Callable[[Mapping[str, Any]], Sequence[str]]
"""Which ids a logged row may go by here, the likeliest first; none where it has no id."""


def read_logged_samples(
    content: Any, samples: Sequence[BenchmarkSample], ids_of: IdsOf
) -> dict[str, Prediction] | None:
    """The answers by sample id; None where the content is no such log.

    Args:
        content: of the file.
        samples: of the split.
        ids_of: finds a logged row's id.

    Raises:
        UserError: a line names no question, or one that an earlier line has answered, or holds no text; or most lines
            tell other truths than the questions of their ids have, since benchmarks number their questions alike.
    """
    lines = content.get("logs") if isinstance(content, Mapping) else content
    if not isinstance(lines, list) or not lines or not all(_is_logged(line) for line in lines):
        return None
    known = {sample.id: sample for sample in samples}
    others: list[str] = []
    answers: dict[str, Prediction] = {}
    for number, line in enumerate(lines, start=1):
        id = _id_in(line, samples, known, ids_of, number)
        if id in answers:
            raise UserError(f"answers, entry {number}: answers the question {id!r} once more; keep one of the two")
        answers[id] = Prediction(_text_in(line, number))
        if id in known and not _has_truth(line, known[id]):
            others.append(f"entry {number} has {str(line['target'])[:40]!r} for {id!r}")
    if 2 * len(others) > len(lines):
        raise UserError(
            f"answers: {len(others)} of {len(lines)} entries tell other truths than this benchmark's questions of these"
            f" ids have ({others[0]}); are they of another benchmark or split?"
        )
    return answers


def _is_logged(line: Any) -> bool:
    return isinstance(line, Mapping) and "doc_id" in line and ("filtered_resps" in line or "resps" in line)


def _has_truth(line: Mapping[str, Any], sample: BenchmarkSample) -> bool:
    """Whether the truth that a line tells, if it does, is the question's: its letter, or what the row has for it."""
    told = line.get("target")
    truths = [*sample.answers, *(str(sample.row[key]) for key in ("ground_truth", "answer") if key in sample.row)]
    return not isinstance(told, str | int | float) or not truths or str(told) in truths


def _text_in(line: Mapping[str, Any], number: int) -> str:
    said = line["filtered_resps"] if "filtered_resps" in line else line["resps"]
    while isinstance(said, list) and said:
        said = said[0]  # the scorers take the first one, too
    if not isinstance(said, str):
        raise UserError(f"answers, entry {number}: its response is no text, but {str(said)[:60]!r}; take the entry out")
    return said


def _id_in(
    line: Mapping[str, Any],
    samples: Sequence[BenchmarkSample],
    known: Mapping[str, BenchmarkSample],
    ids_of: IdsOf,
    number: int,
) -> str:
    logged = [id for row in _rows_in(line) for id in ids_of(row)]
    if logged:
        return next((id for id in logged if id in known), logged[0])
    position = line["doc_id"]
    if isinstance(position, int) and 0 <= position < len(samples):
        sample = samples[position]
        # a number alone says nothing where the log is of another split or part; the truth beside it does
        if "target" in line and sample.answers and str(line["target"]) == sample.answers[0]:
            return sample.id
    raise UserError(
        f"answers, entry {number}: does not say which question it answers, and its doc_id {position!r} with its target"
        " fits none of this split; log the rows, too"
    )


def _rows_in(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(line.get("doc"), Mapping):
        yield line["doc"]
    yield from (value for key, value in line.items() if key != "doc" and isinstance(value, Mapping))
