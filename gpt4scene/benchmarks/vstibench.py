"""VSTI-Bench: questions about camera and objects over time, answered with the letter of an option or with a number.

Data: `Journey9ni/vstibench` of the Hugging Face hub, whose rows are `id`, `video_path`, `question_type`, `question`,
`options`, `ground_truth` (a number, or an option's text) and `mc_answer` (an option's letter), most with `scene_name`.
Questions name frames as "k of 32", so 32 frames are to be shown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.letters_and_numbers import bare_options, frames_prompt, members, scored_pieces, truth_of
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import read_split
from gpt4scene.benchmarks.report import Report, flagged
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import Metric, macro_metric, mean_metric, within
from gpt4scene.metrics.short_answers import as_float, first_piece
from gpt4scene.prompting.questions import Question

TITLE = "VSTI-Bench"
SPLITS = ("test",)
PROTOCOLS = ("official",)
NEEDS_OBJECTS = False
FRAMES = 32
"""So many are to be shown, as questions name them by their place among so many."""

TASKS = {
    "Cam-Obj Abs Dist": ("camera_obj_abs_dist",),
    "Cam Displace": ("camera_displacement",),
    "Cam Mov Dir": ("camera_movement_direction",),
    "Obj-Obj Rel Pos": ("obj_obj_relative_pos_nf", "obj_obj_relative_pos_ud", "obj_obj_relative_pos_lr"),
    "Cam-Obj Rel Dist": ("camera_obj_rel_dist_v1", "camera_obj_rel_dist_v2", "camera_obj_rel_dist_v3"),
}
"""The five columns of published tables, and the types of question that they are the means of."""
NUMERIC_TYPES = ("camera_obj_abs_dist", "camera_displacement", "camera_obj_dist_change")
"""The last is in the official code, but in no column, and not in the released test split."""
CHOICE_TYPES = tuple(kind for kinds in TASKS.values() for kind in kinds if kind not in NUMERIC_TYPES)

_WHAT = "questions of VSTI-Bench, from Journey9ni/vstibench of the Hugging Face hub"


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split: `test` in JSON lines, JSON or parquet, in the folder or in its `data`.

    Raises:
        UserError: the files are not there or hold something else; says where.
    """
    check_choice(split, SPLITS, "split")
    return unique([sample_of(row, where) for row, where in read_split(root, ("test",), _WHAT)])


def sample_of(row: Mapping[str, Any], where: str) -> BenchmarkSample:
    """One row of the released files; where its truth is null, nothing counts as right.

    Raises:
        UserError: it lacks something, or is of no known type; says where.
    """
    kind = needed(row, "question_type", str, where)
    if kind not in NUMERIC_TYPES + CHOICE_TYPES:
        raise UserError(f"{where}: {kind!r} is no type of question of VSTI-Bench; is the file of another benchmark?")
    text = needed(row, "question", str, where)
    if kind in NUMERIC_TYPES:
        question = Question(text, style="number")
        answers = truth_of(row, "ground_truth", where, is_number=True)
    else:
        question = Question(text, style="letter", options=bare_options(needed(row, "options", list, where), where))
        answers = truth_of(row, "mc_answer", where, is_number=False)
    return BenchmarkSample(
        id=str(needed(row, "id", (int, str), where)),
        scene=_scene_of(row, where),
        question=question,
        kind=kind,
        answers=answers,
        row=row,
        where=where,
    )


def _scene_of(row: Mapping[str, Any], where: str) -> str:
    if isinstance(row.get("scene_name"), str):
        return row["scene_name"]
    if isinstance(row.get("video_path"), str):
        return PurePosixPath(row["video_path"]).stem
    raise UserError(f"{where}: has neither 'scene_name' nor 'video_path'; is it the benchmark's own file?")


def official_prompt(
    row: Mapping[str, Any], *, pre_prompt: str = "", mca_post_prompt: str = "", na_post_prompt: str = ""
) -> str:
    """The text that the official code shows with a video, as `vsibench.official_prompt`, of which it is a copy."""
    return frames_prompt(
        row,
        is_number=row["question_type"] in NUMERIC_TYPES,
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
    """Score answers: accuracy of letters, mean relative accuracy of numbers, and two means over them.

    "official": `vsibench_process_results` and `vsibench_aggregate_results` of VITA-Group/VLM-3R, commit 6dd1264,
    thinking-in-space/lmms_eval/tasks/vstibench/utils.py, which reads answers as VSI-Bench's official code does. That
    code's one number is "Mean of types", in which relative distance and position weigh three times; published tables
    have five columns, and "Overall" is the mean of these, each the mean of its types.

    A truth of 0 and a choice without `mc_answer`, on which that code stops, are flagged (see `scored_pieces`).
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    scored = scored_pieces(
        samples, aligned, numeric=NUMERIC_TYPES, read_number=lambda text: as_float(first_piece(text))
    )
    by_type = {
        kind: mean_metric("MRA" if kind in NUMERIC_TYPES else "Accuracy", within(scored.values, member))
        for kind in NUMERIC_TYPES + CHOICE_TYPES
        if (member := members(samples, kind)).any()
    }
    columns = {
        task: macro_metric(there[0].name, there)
        for task, kinds in TASKS.items()
        if (there := [by_type[kind] for kind in kinds if kind in by_type])
    }
    metrics = (
        macro_metric("Overall", list(columns.values())),
        macro_metric("Mean of types", list(by_type.values())),
    )
    groups: dict[str, tuple[Metric, ...]] = {task: (metric,) for task, metric in columns.items()}
    groups |= {kind: (metric,) for kind, metric in by_type.items()}
    outside = [sample.id for sample in samples if sample.kind == "camera_obj_dist_change"]
    return Report(
        benchmark="vstibench",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups=groups,
        unanswered=aligned.unanswered,
        unparsed=scored.unparsed,
        flags=(
            *scored.flags,
            *flagged(outside, "camera_obj_dist_change is in no column and counts in 'Mean of types' alone"),
        ),
        details=scored.details,
    )


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers as VLM-3R's copy of thinking-in-space and lmms-eval log them; None where it is neither."""
    return read_logged_samples(content, samples, lambda row: [str(row["id"])] if "id" in row else [])
