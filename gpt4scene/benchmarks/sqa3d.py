"""SQA3D: questions that somebody asks who stands in a ScanNet scene, with one short answer each.

Data: Zenodo 7792397, `sqa_task/balanced/` (CC-BY-4.0): a file of questions and one of annotations per split; those of
the test split are also in the folder LLM of SilongYong/SQA3D.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import as_rows, find_file, needed, read_json
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.qa_prediction_files import read_qa_rows
from gpt4scene.benchmarks.qa_scores import EM, EM_REFINED, details_of, grouped, match_all
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align
from gpt4scene.metrics.captions import caption_metrics
from gpt4scene.metrics.exact_match import match_gpt4scene, match_lenient, match_leo, match_strict
from gpt4scene.metrics.metric import mean_metric
from gpt4scene.prompting.questions import Question

TITLE = "SQA3D"
SPLITS = ("test", "val", "train")
PROTOCOLS = ("strict", "gpt4scene", "leo", "lenient")
"""First the plain EM@1 of cleaned texts, which is also the first number of all the others but the last."""
NEEDS_OBJECTS = False

KINDS = ("what", "is", "how", "can", "which", "other")
"""In the order of the numbers that the reference code gives them, 0 to 5."""

_FOLDERS = ("", "balanced/", "sqa_task/balanced/")
_WHAT = "the {} of SQA3D, from Zenodo record 7792397"

Row = tuple[Mapping[str, Any], str]
"""With where it is from."""


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split, each with its annotation; in the order of the annotations.

    Raises:
        UserError: there is no such split or file, it holds something else, or a question lacks its annotation or the
            other way round.
    """
    check_choice(split, SPLITS, "split")
    questions = _by_id(_rows(root, f"v1_balanced_questions_{split}_scannetv2.json", "questions"))
    annotations = _by_id(_rows(root, f"v1_balanced_sqa_annotations_{split}_scannetv2.json", "annotations"))
    for rows, others, lacks in ((annotations, questions, "question"), (questions, annotations, "annotation")):
        lonely = [id for id in rows if id not in others]
        if lonely:
            raise UserError(
                f"{rows[lonely[0]][1]}: question_id {lonely[0]} has no {lacks} in the other file; are both of one split"
                " and release?"
            )
    return [_sample(id, questions[id], annotations[id]) for id in annotations]


def _rows(root: Path, name: str, key: str) -> list[Row]:
    path = find_file(root, [f"{folder}{name}" for folder in _FOLDERS], _WHAT.format(key))
    content = read_json(path)
    if not isinstance(content, dict) or key not in content:
        raise UserError(f"{path}: must hold an object with {key!r}; is it the benchmark's own file?")
    return as_rows(content[key], f"{path}, {key}")


def _by_id(rows: Sequence[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row, where in rows:
        id = str(needed(row, "question_id", (int, str), where))
        if id in found:
            raise UserError(f"{where}: has the question_id {id}, as {found[id][1]} has; take one of them out")
        found[id] = row, where
    return found


def _sample(id: str, asked: Row, annotated: Row) -> BenchmarkSample:
    (question, where_asked), (annotation, where) = asked, annotated
    scene = needed(annotation, "scene_id", str, where)
    if needed(question, "scene_id", str, where_asked) != scene:
        raise UserError(f"{where}: question {id} is about {scene}, but {where_asked} says {question['scene_id']}")
    others = question.get("alternative_situation", [])
    if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
        raise UserError(f"{where_asked}: 'alternative_situation' must be a list of texts, is {str(others)[:60]}")
    answers = [
        needed(answer, "answer", str, of) for answer, of in as_rows(needed(annotation, "answers", list, where), where)
    ]
    if not answers:
        raise UserError(f"{where}: question {id} has no answer")
    text = needed(question, "question", str, where_asked)
    situation = needed(question, "situation", str, where_asked)
    return BenchmarkSample(
        id=id,
        scene=scene,
        question=Question(text, task="situated", situation=situation, style="short"),
        kind=question_kind(text),
        answers=tuple(answers),
        row={**question, **annotation},
        where=where,
    )


def question_kind(question: str) -> str:
    """The type of a question by what it begins with, be it only the beginning of a word: "Island" is of "is".

    get_sqa_question_type of ZzZZCHS/Chat-Scene 475e106 preprocess/prepare_sqa3d_annos.py and of embodied-generalist.
    """
    start = question.lstrip()
    # of so many characters made small, not of a small text's: they can differ in number
    return next((kind for kind in KINDS[:-1] if start[: len(kind)].lower() == kind), KINDS[-1])


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers; EM@1 first, but "Accuracy" alone by lenient.

    strict: LaVi-Lab/Video-3D-LLM 3ff70e8 llava/eval/eval_sqa3d.py: equality after cleaning.
    gpt4scene: Qi-Zhangyang/GPT4Scene ac34d5f evaluate/utils/eval.py calc_sqa3d_score (ZzZZCHS/Chat-Scene 475e106 is the
        same), with EM@1 refined and the caption metrics through the PTB tokenizer.
    leo: embodied-generalist 567f2d8 evaluator/sqa3d_eval.py SQA3DEvaluator, the same without a tokenizer; refined-right
        is also what is empty.
    lenient: SilongYong/SQA3D a98da8f LLM/eval_sqa3d_llm.py compute_accuracy without its GPT judge: one word in common
        is enough, and what is empty is right.

    Raises:
        UserError: there is no such protocol, or an answer is to none of the samples.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    rules = {
        "strict": match_strict,
        "gpt4scene": partial(match_gpt4scene, clean_references=True),
        "leo": match_leo,
        "lenient": match_lenient,
    }
    matches = match_all(samples, aligned, rules[protocol])
    if protocol == "lenient":
        means = [mean_metric("Accuracy", matches.refined)]
    else:
        means = [mean_metric(EM, matches.exact)]
    captioned = None
    if protocol in ("gpt4scene", "leo"):
        means.append(mean_metric(EM_REFINED, matches.refined))
        captioned = caption_metrics(
            [one.text for one in matches.each],
            [one.references for one in matches.each],
            tokenizer="ptb" if protocol == "gpt4scene" else "none",
        )
    metrics = (*means, *(captioned.metrics if captioned else ()))
    return Report(
        benchmark="sqa3d",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups=grouped(samples, KINDS, means),
        unanswered=aligned.unanswered,
        unparsed=matches.unparsed,
        flags=captioned.flags if captioned else (),
        details=details_of(matches, metrics, captioned),
    )


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers in rows as `read_qa_rows` knows them.

    Raises:
        UserError: a row is damaged, fits no question, or answers one that another does.
    """
    return read_qa_rows(content, samples)
