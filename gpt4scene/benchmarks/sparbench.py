"""SPAR-Bench: spatial questions about one image or several, in twenty tasks from depth to imagined viewpoints.

Data: `jasonzhango/SPAR-Bench` of the Hugging Face hub (and SPAR-Bench-Tiny), whose card has the columns `id`,
`img_type`, `format_type`, `task`, `source`, `image` (a list of embedded images), `question` and `answer`. Questions
with options have these in their text.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.letters_and_numbers import details_of, members
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import read_split, row_ids
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.row_images import row_images
from gpt4scene.benchmarks.sample import Aligned, BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.metrics.relative_accuracy import mean_relative_accuracy_spar
from gpt4scene.metrics.short_answers import as_float, resembles, unsigned_number
from gpt4scene.prompting.questions import Question

TITLE = "SPAR-Bench"
SPLITS = ("test",)
PROTOCOLS = ("official", "lmms_eval")
NEEDS_OBJECTS = False

LAST_NUMBER_TASKS = (
    "depth_prediction_oc_mv",
    "depth_prediction_oo_mv",
    "distance_prediction_oc_mv",
    "distance_prediction_oo_mv",
)
"""Of an answer to these the last number counts, of one to the other numeric tasks the first."""
NUMERIC_TASKS = (
    "depth_prediction_oc",
    "depth_prediction_oo",
    "distance_prediction_oc",
    "distance_prediction_oo",
    *LAST_NUMBER_TASKS,
)
VIEW_CHANGE = "view_change_infer"
MIDDLE_CHOICE_TASKS = ("position_matching", "camera_motion_infer")
HIGH_TASKS = (
    "distance_infer_center_oo",
    "distance_infer_center_oo_mv",
    "obj_spatial_relation_oc_mv",
    "obj_spatial_relation_oo",
    "obj_spatial_relation_oo_mv",
    "spatial_imagination_oc",
    "spatial_imagination_oc_mv",
    "spatial_imagination_oo",
    "spatial_imagination_oo_mv",
)
TASKS = (*NUMERIC_TASKS, VIEW_CHANGE, *MIDDLE_CHOICE_TASKS, *HIGH_TASKS)

_AXES = (
    ("move_right", "move_left"),
    ("move_up", "move_down"),
    ("move_forward", "move_backward"),
    ("rotate_right", "rotate_left"),
    ("rotate_up", "rotate_down"),
)
_MOVES_FORM = "Write it as name:number, with commas between and no spaces."
_COORDINATES = "Coordinates go from 0 to 1000 over the width and the height of an image, from its upper left corner."
_WHAT = "questions of SPAR-Bench, from jasonzhango/SPAR-Bench of the Hugging Face hub"
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):]\s+(\S.*?)\s*(?=$|\s\(?[A-Z][.):]\s)", re.DOTALL)
_LETTER = re.compile(r"\s*\(?[A-Za-z](?![A-Za-z])")


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split: `test` in parquet or JSON lines, in the folder or in its `data`.

    Raises:
        UserError: the files are not there or hold something else; says where.
    """
    check_choice(split, SPLITS, "split")
    rows = read_split(root, ("test",), _WHAT)
    ids = row_ids(rows, "id", "task")
    return unique([_sample_of(row, root, id, where) for (row, where), id in zip(rows, ids, strict=True)])


def _sample_of(row: Mapping[str, Any], root: Path, id: str, where: str) -> BenchmarkSample:
    kind = needed(row, "task", str, where)
    if kind not in TASKS:
        raise UserError(f"{where}: {kind!r} is no task of SPAR-Bench; is the file of another benchmark?")
    return BenchmarkSample(
        id=id,
        scene="",
        question=_question(needed(row, "question", str, where), kind),
        kind=kind,
        answers=(needed(row, "answer", str, where),),
        images=row_images(needed(row, "image", list, where), root, name=f"{kind}-{id}", where=where),
        row={key: value for key, value in row.items() if key != "image"},
        where=where,
    )


def _question(text: str, kind: str) -> Question:
    if kind in NUMERIC_TASKS:
        return Question(text, style="number")
    if kind == VIEW_CHANGE:
        return Question(f"{text}\n{_MOVES_FORM}", style="form")
    found = list(_OPTION.finditer(text))
    letters = "".join(match[1] for match in found)
    before = text[: found[0].start()].strip() if found else ""
    if kind in MIDDLE_CHOICE_TASKS:
        # the official code says so after every such question, as these do not
        before, text = (f"{each}\n{_COORDINATES}" if each else "" for each in (before, text))
    if before and len(found) > 1 and "ABCDEFGHIJ".startswith(letters):
        return Question(before, style="letter", options=tuple(match[2] for match in found))
    return Question(text, style="short")


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers: the mean over tasks of accuracy, mean relative accuracy, and agreement on a change of view.

    - "official": `sparbench_process_results` and `sparbench_aggregate_results` of fudan-zvg/spar, commit 1679885,
      lmms-eval/lmms_eval/tasks/sparbench/utils.py. An option counts as right where the answer `resembles` it, so that
      an empty text always does; a number is an `unsigned_number`.
    - "lmms_eval": the file of that name in EvolvingLMMs-Lab/lmms-eval, commit 75571cf, which scores alike; but a level
      without any task is 0 there, where the mean of nothing is no number in the first.

    By a slip in either code view_change_infer is in no level, as the name that is looked up is cut short. "Middle" is
    theirs, "Middle, view change included" what was meant.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    values, read, unparsed = _scored(samples, aligned)
    by_task = {
        task: mean_metric(_metric_name(task), within(values, member))
        for task in TASKS
        if (member := members(samples, task)).any()
    }

    def level(name: str, tasks: Sequence[str]) -> Metric:
        there = [by_task[task] for task in tasks if task in by_task]
        return macro_metric(name, there) if there or protocol == "official" else Metric(name, 0.0)

    metrics = (
        macro_metric("Overall", list(by_task.values())),
        level("Low", NUMERIC_TASKS),
        level("Middle", MIDDLE_CHOICE_TASKS),
        level("High", HIGH_TASKS),
        level("Middle, view change included", (VIEW_CHANGE, *MIDDLE_CHOICE_TASKS)),
    )
    return Report(
        benchmark="sparbench",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups={task: (metric,) for task, metric in by_task.items()},
        unanswered=aligned.unanswered,
        unparsed=tuple(unparsed),
        flags=tuple(
            f"no task of the level {metric.name} is there, so it has no score"
            for metric in metrics[1:4]
            if math.isnan(metric.value)
        ),
        details=details_of(samples, read, values),
    )


def _metric_name(task: str) -> str:
    return "Accuracy" if task in MIDDLE_CHOICE_TASKS + HIGH_TASKS else "MRA"


def _scored(
    samples: Sequence[BenchmarkSample], aligned: Aligned
) -> tuple[np.ndarray, list[str | float | None], list[str]]:
    """(n,) points, what was read in each answer, and the ids of those in which nothing could be."""
    silent = set(aligned.unanswered)
    found, true = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    others = np.zeros(len(samples))
    read: list[str | float | None] = [None] * len(samples)
    unparsed: list[str] = []
    for i, (sample, prediction) in enumerate(zip(samples, aligned.predictions, strict=True)):
        if sample.id in silent:
            continue
        text, answer = prediction.text, sample.answers[0]
        read[i] = text
        if sample.kind in NUMERIC_TASKS:
            number = read[i] = unsigned_number(text, last=sample.kind in LAST_NUMBER_TASKS)
            true_number = as_float(answer)
            if number is not None and true_number is not None:
                found[i], true[i] = number, true_number
            is_read = any(character.isdecimal() for character in text) and number is not None
        elif sample.kind == VIEW_CHANGE:
            agreement = view_change_agreement(text, answer)
            others[i] = agreement or 0.0
            is_read = agreement is not None
        else:
            others[i] = resembles(text, answer)
            is_read = bool(_LETTER.match(text))
        if not is_read:
            unparsed.append(sample.id)
    is_number = np.array([sample.kind in NUMERIC_TASKS for sample in samples])
    return 100 * np.where(is_number, mean_relative_accuracy_spar(found, true), others), read, unparsed


def view_change_agreement(text: str, answer: str) -> float | None:
    """How well two changes of view agree: the mean over five axes of the mean relative accuracy.

    `compute_vci_metric` of fudan-zvg/spar, in which the error is relative to what the model says, not to the truth; a
    name with a space before it ("move_right:1, move_up:2") is another name, and is ignored.

    Returns:
        0 to 1; None where one of the texts is no list of "name:number".
    """
    try:
        found, true = _moves(text), _moves(answer)
    except ValueError:
        return None
    return float(np.mean(mean_relative_accuracy_spar(np.array(true), np.array(found))))


def _moves(text: str) -> list[float]:
    """Along each axis, one way less the other way.

    Raises:
        ValueError: the text is no such list.
    """
    moves: dict[str, float] = {}
    for part in text.split(","):
        name, amount = part.split(":")
        moves[name] = float(amount)
    return [moves.get(one_way, 0.0) - moves.get(other_way, 0.0) for one_way, other_way in _AXES]


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers as lmms-eval logs them, see `lmms_eval_samples`; None where it is no such log."""

    def ids_of(row: Mapping[str, Any]) -> list[str]:
        return [f"{row['task']}-{row['id']}", str(row["id"])] if "id" in row and "task" in row else []

    return read_logged_samples(content, samples, ids_of)
