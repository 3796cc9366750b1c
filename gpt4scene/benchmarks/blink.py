"""BLINK: fourteen tasks of visual perception with options to choose from, three of them about space.

Data: `BLINK-Benchmark/BLINK` of the Hugging Face hub, one folder of parquet files for each subtask, whose card has the
columns `idx`, `question`, `sub_task`, `image_1` to `image_4`, `choices`, `answer` ("(A)"; "hidden" in the test split),
`prompt` and `explanation`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.letters_and_numbers import bare_options, members, scored_letters
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import Rows, find_split, read_split
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.row_images import row_images
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.prompting.questions import Question

TITLE = "BLINK"
SPLITS = ("val", "val_spatial", "test")
PROTOCOLS = ("lmms_eval",)
NEEDS_OBJECTS = False

SPATIAL_TASKS = ("Multi-view_Reasoning", "Relative_Depth", "Spatial_Relation")
TASKS = (
    "Art_Style",
    "Counting",
    "Forensic_Detection",
    "Functional_Correspondence",
    "IQ_Test",
    "Jigsaw",
    "Object_Localization",
    "Relative_Reflectance",
    "Semantic_Correspondence",
    "Visual_Correspondence",
    "Visual_Similarity",
    *SPATIAL_TASKS,
)

_WHAT = "questions of BLINK, from BLINK-Benchmark/BLINK of the Hugging Face hub"
_IMAGE = re.compile(r"image_\d+")


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of all subtasks that are there, or of the three spatial ones: SUBTASK/val-....parquet and so on.

    Raises:
        UserError: the files are not there or hold something else; says where.
    """
    check_choice(split, SPLITS, "split")
    wanted = SPATIAL_TASKS if split == "val_spatial" else TASKS
    rows = _rows(root, split.removesuffix("_spatial"), wanted)
    samples = [_sample_of(row, root, where) for row, where in rows]
    return unique([sample for sample in samples if sample.kind in wanted])


def _rows(root: Path, part: str, tasks: Sequence[str]) -> Rows:
    """Of a file or folder for each subtask; of one table of all where there are none of these."""
    stems = {task: (f"{task}/{part}", f"{task}_{part}", f"{part}/{task}", task) for task in tasks}
    there = [task for task in tasks if any(find_split(root, stem) for stem in stems[task])]
    if not there:
        return read_split(
            root, (part,), f"or folders of subtasks, as {tasks[0]}/{part}-00000-of-00001.parquet: {_WHAT}"
        )
    return [row for task in there for row in read_split(root, stems[task], _WHAT)]


def _sample_of(row: Mapping[str, Any], root: Path, where: str) -> BenchmarkSample:
    id = str(needed(row, "idx", (str, int), where))
    kind = needed(row, "sub_task", str, where).replace(" ", "_")
    if kind not in TASKS:
        raise UserError(f"{where}: {kind!r} is no subtask of BLINK; is the file of another benchmark?")
    answer = needed(row, "answer", str, where)
    columns = sorted((key for key in row if _IMAGE.fullmatch(key)), key=lambda key: int(key.removeprefix("image_")))
    images = [row[key] for key in columns if row[key] is not None]
    if not images:
        raise UserError(f"{where}: has no image in image_1 to image_4; is it the benchmark's own file?")
    return BenchmarkSample(
        id=id,
        scene="",
        question=Question(
            needed(row, "question", str, where),
            style="letter",
            options=bare_options(needed(row, "choices", list, where), where),
        ),
        kind=kind,
        answers=() if answer == "hidden" else (answer,),
        images=row_images(images, root, name=id, where=where),
        row={key: value for key, value in row.items() if key not in columns},
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

    "lmms_eval": `blink_process_results` of EvolvingLMMs-Lab/lmms-eval, commit 75571cf, lmms_eval/tasks/blink/utils.py.
    The benchmark's own code (zeyofu/BLINK_Benchmark, eval) has a language model read what does not begin with a letter
    in brackets; it reports the mean over subtasks, as "Overall" here, where lmms-eval's mean is over all questions,
    which is "Accuracy". "Spatial" is the mean over the three spatial subtasks.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    scored = scored_letters(samples, aligned)
    by_task: dict[str, Metric] = {
        task: mean_metric("Accuracy", within(scored.values, members(samples, task)))
        for task in sorted({sample.kind for sample in samples})
    }
    metrics = (
        macro_metric("Overall", list(by_task.values())),
        mean_metric("Accuracy", scored.values),
        macro_metric("Spatial", [by_task[task] for task in SPATIAL_TASKS if task in by_task]),
    )
    return Report(
        benchmark="blink",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups={task: (metric,) for task, metric in by_task.items()},
        unanswered=aligned.unanswered,
        unparsed=scored.unparsed,
        flags=scored.flags,
        details=scored.details,
    )


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers as lmms-eval logs them, or as the benchmark's own code saves them.

    The latter are {"val": [{"idx", "prediction", ...}, ...]} for each subtask, or {idx: "(A)", ...} for all (its
    eval/README.md). None where it is none of these.
    """
    if isinstance(content, Mapping):
        listed = [row for part in ("val", "test") for row in _list_or_nothing(content.get(part))]
        if listed and all(isinstance(row, Mapping) and {"idx", "prediction"} <= set(row) for row in listed):
            known = {sample.id for sample in samples}
            return {str(r["idx"]): Prediction(str(r["prediction"])) for r in listed if str(r["idx"]) in known} or None
        if content and all(key.startswith(("val_", "test_")) and isinstance(content[key], str) for key in content):
            return {id: Prediction(text) for id, text in content.items()}

    def ids_of(row: Mapping[str, Any]) -> list[str]:
        # what was scored calls the row's idx its id
        id = row.get("idx", row.get("id"))
        return [] if id is None else [str(id)]

    return read_logged_samples(content, samples, ids_of)


def _list_or_nothing(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
