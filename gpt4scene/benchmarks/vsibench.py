"""VSI-Bench: visual-spatial questions about scans of rooms, answered with the letter of an option or with a number.

Data: `nyu-visionx/VSI-Bench` of the Hugging Face hub, whose rows are `id`, `dataset`, `scene_name`, `question_type`,
`question`, `options` (["A. ...", ...] or null) and `ground_truth` (a letter or a number, as text). The scenes are those
of ScanNet, ScanNet++ and ARKitScenes by their own names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.letters_and_numbers import bare_options, frames_prompt, members, scored_pieces, truth_of
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import read_split
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.metrics.short_answers import as_float, first_piece, number_anywhere
from gpt4scene.prompting.questions import Question

TITLE = "VSI-Bench"
SPLITS = ("test", "debiased")
PROTOCOLS = ("official", "lmms_eval", "vlm3r")
NEEDS_OBJECTS = False

NUMERIC_TASKS = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
CHOICE_TASKS = ("object_rel_distance", "object_rel_direction", "route_planning", "obj_appearance_order")
"""With `NUMERIC_TASKS` the eight columns of published tables, in their order."""
DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
"""The three types of question that make up the task "object_rel_direction"."""
CHOICE_TYPES = (*DIRECTIONS, *(task for task in CHOICE_TASKS if task != "object_rel_direction"))

_WHAT = "questions of VSI-Bench, from nyu-visionx/VSI-Bench of the Hugging Face hub"
_STEMS = {"test": ("test",), "debiased": ("test_debiased", "debiased", "debiased/test")}


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split: `test.jsonl` or parquet, in the folder or in its `data`.

    Raises:
        UserError: the files are not there or hold something else; says where.
    """
    check_choice(split, SPLITS, "split")
    return unique([sample_of(row, where) for row, where in read_split(root, _STEMS[split], _WHAT)])


def sample_of(row: Mapping[str, Any], where: str) -> BenchmarkSample:
    """One row of the released files.

    Raises:
        UserError: it lacks something, or is of no known type; says where.
    """
    kind = needed(row, "question_type", str, where)
    if kind not in NUMERIC_TASKS + CHOICE_TYPES:
        raise UserError(f"{where}: {kind!r} is no type of question of VSI-Bench; is the file of another benchmark?")
    text = needed(row, "question", str, where)
    if kind in NUMERIC_TASKS:
        question = Question(text, style="number")
    else:
        question = Question(text, style="letter", options=bare_options(needed(row, "options", list, where), where))
    return BenchmarkSample(
        id=str(needed(row, "id", (int, str), where)),
        scene=needed(row, "scene_name", str, where),
        question=question,
        kind=kind,
        answers=truth_of(row, "ground_truth", where, is_number=kind in NUMERIC_TASKS),
        row=row,
        where=where,
    )


def official_prompt(
    row: Mapping[str, Any], *, pre_prompt: str = "", mca_post_prompt: str = "", na_post_prompt: str = ""
) -> str:
    """The text that the official code shows with a video, an empty argument standing for its default.

    `vsibench_doc_to_text` of vision-x-nyu/thinking-in-space, commit 51e089c, lmms_eval/tasks/vsibench/utils.py. For
    Gemini and GPT-4V its `na_post_prompt` is "Do not response anything other than a single number!".
    """
    return frames_prompt(
        row,
        is_number=row["question_type"] in NUMERIC_TASKS,
        pre_prompt=pre_prompt,
        mca_post_prompt=mca_post_prompt,
        na_post_prompt=na_post_prompt,
    )


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers: accuracy of letters, mean relative accuracy of numbers, and their mean over the eight tasks.

    - "official": `vsibench_process_results` and `vsibench_aggregate_results` of vision-x-nyu/thinking-in-space, commit
      51e089c, lmms_eval/tasks/vsibench/utils.py. A number must be the whole first piece of the answer. The three types
      of direction are one task where the easy one is there, else each is a task of its own.
    - "lmms_eval": the file of that name in EvolvingLMMs-Lab/lmms-eval, commit 75571cf. A number may stand anywhere, in
      digits or words; the overall score is rounded to 4 decimals of a point.
    - "vlm3r": that in VITA-Group/VLM-3R, commit 6dd1264, thinking-in-space. As "official", but the directions are one
      task whichever of them are there.

    Where the first two stop with a KeyError for want of a type of direction, the mean is over those that are there, and
    a flag says so; likewise for a truth of 0 (see `mean_relative_accuracy`).
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    read_number = number_anywhere if protocol == "lmms_eval" else _number_in_first_piece
    scored = scored_pieces(samples, aligned, numeric=NUMERIC_TASKS, read_number=read_number)
    by_type = {
        kind: mean_metric("MRA" if kind in NUMERIC_TASKS else "Accuracy", within(scored.values, member))
        for kind in NUMERIC_TASKS + CHOICE_TYPES
        if (member := members(samples, kind)).any()
    }
    tasks, flags = _tasks(by_type, protocol)
    overall = macro_metric("Overall", list(tasks.values()))
    if protocol == "lmms_eval":
        overall = replace(overall, value=round(overall.value / 100, 6) * 100)
    metrics = (
        overall,
        macro_metric("Numeric", [metric for kind, metric in tasks.items() if kind in NUMERIC_TASKS]),
        macro_metric("Multiple choice", [metric for kind, metric in tasks.items() if kind not in NUMERIC_TASKS]),
    )
    order = (*NUMERIC_TASKS, *CHOICE_TASKS[:2], *DIRECTIONS, *CHOICE_TASKS[2:])
    groups = {kind: (metric,) for kind in order if (metric := tasks.get(kind) or by_type.get(kind))}
    return Report(
        benchmark="vsibench",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups=groups,
        unanswered=aligned.unanswered,
        unparsed=scored.unparsed,
        flags=(*scored.flags, *flags),
        details=scored.details,
    )


def _number_in_first_piece(text: str) -> float | None:
    return as_float(first_piece(text))


def _tasks(by_type: Mapping[str, Metric], protocol: str) -> tuple[dict[str, Metric], list[str]]:
    """What the overall score is the mean of, and flags."""
    there = [kind for kind in DIRECTIONS if kind in by_type]
    merged = DIRECTIONS[0] in there if protocol == "official" else bool(there)
    missing = [kind for kind in DIRECTIONS if kind not in there]
    flags: list[str] = []
    if missing and (protocol == "lmms_eval" or (protocol == "official" and merged)):
        flags.append(
            f"no question of {', '.join(missing)} is there, without which the protocol's own code stops (KeyError);"
            " object_rel_direction is the mean of the types that are there, or left out"
        )
    tasks = {kind: metric for kind, metric in by_type.items() if not (merged and kind in DIRECTIONS)}
    if merged:
        tasks["object_rel_direction"] = macro_metric("Accuracy", [by_type[kind] for kind in there])
    return tasks, flags


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers as thinking-in-space and lmms-eval log them, see `lmms_eval_samples`; None where it is neither."""
    return read_logged_samples(content, samples, logged_ids)


def logged_ids(row: Mapping[str, Any]) -> list[str]:
    """The id of a row in a log."""
    return [str(row["id"])] if "id" in row else []
