"""CV-Bench: counting, relations, depth and distance in single images, with options to choose from.

Data: `nyu-visionx/CV-Bench` of the Hugging Face hub: test_2d.parquet and test_3d.parquet, in older releases
test.parquet, with `idx`, `type`, `task`, `image`, `question`, `choices`, `answer` ("(A)"), `prompt`, `filename` and
`source` (ADE20K, COCO or Omni3D); or the same in JSON lines, with the images in the files that `filename` names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.letters_and_numbers import bare_options, members, scored_letters
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import Rows, find_split, read_split, row_ids
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.row_images import row_images
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.prompting.questions import Question

TITLE = "CV-Bench"
SPLITS = ("test", "2d", "3d")
PROTOCOLS = ("default", "plain")
NEEDS_OBJECTS = False

SOURCES_2D = ("ADE20K", "COCO")
SOURCES_3D = ("Omni3D",)

_WHAT = "questions of CV-Bench, from nyu-visionx/CV-Bench of the Hugging Face hub"


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split: both files, or the one for "2d" or "3d".

    Raises:
        UserError: the files are not there or hold something else; says where.
    """
    check_choice(split, SPLITS, "split")
    rows = _rows(root, split)
    ids = row_ids(rows, "idx", "type")
    return unique([_sample_of(row, root, id, where) for (row, where), id in zip(rows, ids, strict=True)])


def _rows(root: Path, split: str) -> Rows:
    if split != "test":
        return read_split(root, (f"test_{split}",), _WHAT)
    if find_split(root, "test_2d") or find_split(root, "test_3d"):
        return [row for part in ("test_2d", "test_3d") for row in read_split(root, (part,), _WHAT)]
    return read_split(root, ("test",), _WHAT)


def _sample_of(row: Mapping[str, Any], root: Path, id: str, where: str) -> BenchmarkSample:
    options = bare_options(needed(row, "choices", list, where), where)
    image = row["image"] if row.get("image") is not None else needed(row, "filename", str, where)
    needed(row, "source", str, where)
    return BenchmarkSample(
        id=id,
        scene="",
        question=Question(needed(row, "question", str, where), style="letter", options=options),
        kind=needed(row, "task", str, where),
        answers=(needed(row, "answer", str, where),),
        images=row_images([image], root, name=f"cvbench_{id}", where=where),
        row={key: value for key, value in row.items() if key != "image"},
        where=where,
    )


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers by their first letter (see `leading_letter`, also for what it makes of words).

    - "default": the benchmark's own mean, 1/2 x ((ADE20K + COCO) / 2 + Omni3D), as
      `cv_bench_default_aggregate_results` of EvolvingLMMs-Lab/lmms-eval, commit 75571cf,
      lmms_eval/tasks/cv_bench/utils.py. Where a source is absent, on which that code stops with a KeyError, the mean is
      over what is there, and a flag says so.
    - "plain": the accuracy over all questions, `cv_bench_aggregate_results` of the same file.

    Either reports both; the protocol's own is "Overall" and comes first.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    scored = scored_letters(samples, aligned)
    of_source = [str(sample.row.get("source")) for sample in samples]
    by_source = {
        source: mean_metric("Accuracy", within(scored.values, [one == source for one in of_source]))
        for source in sorted(set(of_source))
    }
    flat = macro_metric("2D", [by_source[source] for source in SOURCES_2D if source in by_source])
    deep = macro_metric("3D", [by_source[source] for source in SOURCES_3D if source in by_source])
    missing = [source for source in SOURCES_2D + SOURCES_3D if source not in by_source]
    flags = list(scored.flags)
    if missing:
        flags.append(
            f"no question of {', '.join(missing)} is there, without which the benchmark's own mean is not defined"
            " (KeyError); it is the mean over what is there"
        )
    balanced = [flat, deep]
    if protocol == "default":
        first = (macro_metric("Overall", balanced), flat, deep, mean_metric("Accuracy", scored.values))
    else:
        first = (mean_metric("Overall", scored.values), flat, deep, macro_metric("Mean of 2D and 3D", balanced))
    tasks = sorted({sample.kind for sample in samples})
    groups: dict[str, tuple[Metric, ...]] = {
        task: (mean_metric("Accuracy", within(scored.values, members(samples, task))),) for task in tasks
    }
    groups |= {source: (metric,) for source, metric in by_source.items()}
    return Report(
        benchmark="cvbench",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=first,
        groups=groups,
        unanswered=aligned.unanswered,
        unparsed=scored.unparsed,
        flags=tuple(flags),
        details=scored.details,
    )


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers as lmms-eval logs them, see `lmms_eval_samples`; None where it is no such log."""

    def ids_of(row: Mapping[str, Any]) -> list[str]:
        # what was scored calls the row's idx its id
        number = row.get("idx", row.get("id"))
        return [] if number is None else [f"{row.get('type')}-{number}", str(number)]

    return read_logged_samples(content, samples, ids_of)
