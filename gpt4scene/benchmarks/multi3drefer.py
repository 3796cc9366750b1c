"""Multi3DRefer: all objects that fit a description, or none, scored by the F1 of boxes (Zhang et al., ICCV 2023)."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import as_rows, needed
from gpt4scene.benchmarks.grounding import (
    box_rows,
    claim,
    corner_bounds,
    match_texts,
    named_objects,
    no_boxes,
    objects_of_all,
)
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import read_split
from gpt4scene.benchmarks.report import Report, flagged
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.boxes import bounds_iou, bounds_iou_float32, bounds_of
from gpt4scene.metrics.matching import matched_f1
from gpt4scene.metrics.metric import mean_metric, within
from gpt4scene.prompting.answers import read_ids
from gpt4scene.prompting.questions import Question

TITLE = "Multi3DRefer"
SPLITS = ("val", "train", "test")
PROTOCOLS = ("m3dref", "gpt4scene", "base_model", "video3dllm")
NEEDS_OBJECTS = True

KINDS = ("zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt")
"""Zero, a single or multiple targets, with or without distractors of the same class."""
IOU_MINS = (0.25, 0.5)


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The descriptions of `multi3drefer_{split}.json`, or of the parquet files on Hugging Face.

    An `ann_id` is one scene's own.

    Raises:
        UserError: the file is missing or damaged, or two descriptions have one id.
    """
    check_choice(split, SPLITS, "split")
    released = "validation" if split == "val" else split
    stems = [f"multi3drefer_{split}", f"multi3drefer/multi3drefer_{split}", released]
    rows = read_split(root, stems, "the annotation of 3dlg-hcvc.github.io/multi3drefer")
    return unique([_sample(row, where) for row, where in rows])


def _sample(row: Mapping[str, Any], where: str) -> BenchmarkSample:
    scene, kind = needed(row, "scene_id", str, where), needed(row, "eval_type", str, where)
    if kind not in (*KINDS, "zt"):
        raise UserError(f"{where}: {kind!r} is no eval_type; there are {', '.join(KINDS)}")
    object_ids = needed(row, "object_ids", list, where)
    if any(not isinstance(id, int) or isinstance(id, bool) or id < 0 for id in object_ids):
        raise UserError(f"{where}: 'object_ids' must be whole numbers from 0, is {str(object_ids)[:60]}")
    return BenchmarkSample(
        id=f"{scene}|{needed(row, 'ann_id', int, where)}",
        scene=scene,
        question=Question(needed(row, "description", str, where), task="ground", expect="any"),
        kind=kind,
        object_ids=tuple(object_ids),
        row=row,
        where=where,
    )


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers: F1 of boxes that overlap the true ones by 0.25 and by 0.5 or more, in the mean over questions.

    Where nothing is to be found, any object is wrong and none is right.

    - "m3dref": `Multi3DReferEvaluator` of 3dlg-hcvc/M3DRef-CLIP, commit babfcc4, m3drefclip/evaluation. Boxes
      (`Prediction.extra["boxes"]`, n times 8 x 3 corners) or texts, as "gpt4scene" reads them; overlaps in float32. A
      type without any question is not defined.
    - "gpt4scene": `calc_multi3dref_score` of Qi-Zhangyang/GPT4Scene, commit ac34d5f, evaluate/utils/eval.py, which is
      Chat-Scene's. Objects are those written `<OBJ012>`, repeats included, each of which is one more to be wrong; boxes
      are rounded to float32.
    - "base_model": the same with its `config.base_model`, for models that were not tuned: all whole numbers of a text
      are objects, each once, but for its last character, "Image 3", "Img_3" and "3.".
    - "video3dllm": `evaluate_one_query` of LaVi-Lab/Video-3D-LLM, commit 3ff70e8, llava/eval/eval_multi3drefer.py.
      Boxes or, as "gpt4scene" reads them, texts. What counts as nothing to be found are the objects, not the type.

    Where an annotation's object is not among the scene's, GPT4Scene's code stops with an IndexError and M3DRef-CLIP's
    leaves it out; here it is one that no box can find, and a flag says so. A description of the type "zt", which is
    none of M3DRef-CLIP's, and one of another type without any object are such where nothing is to be found.

    Raises:
        UserError: objects are missing, or answers are none that the protocol scores.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    known = objects_of_all(samples, objects)
    if protocol in ("gpt4scene", "base_model"):
        no_boxes(answers, "boxes", protocol, "m3dref or video3dllm")
    aligned = align(samples, answers)
    silent = set(aligned.unanswered)
    found = np.zeros((len(samples), len(IOU_MINS)))
    unparsed: list[str] = []
    details: list[Mapping[str, Any]] = []
    for i, (sample, prediction) in enumerate(zip(samples, aligned.predictions, strict=True)):
        here = known[sample.scene]
        ids: list[int] | None = None
        if sample.id not in silent:
            ids, bounds = _read(sample, prediction, here, protocol)
            if ids == [] and _says_nothing(prediction.text, here.proposed):
                unparsed.append(sample.id)
            found[i] = _f1(sample, bounds, here, protocol)
        true = list(sample.object_ids)
        details.append({"read": ids, "true": true, **dict(zip(map(_name, IOU_MINS), found[i].tolist(), strict=True))})
    values = {_name(iou_min): 100 * found[:, column] for column, iou_min in enumerate(IOU_MINS)}
    groups = {}
    flags = _flags(samples, known)
    for kind in (*KINDS, "zt"):
        member = np.array([sample.kind == kind for sample in samples], bool)
        if member.any() or (protocol == "m3dref" and kind in KINDS):
            groups[kind] = tuple(mean_metric(name, within(each, member)) for name, each in values.items())
        if protocol == "m3dref" and kind in KINDS and not member.any():
            flags.append(f"no question is of the type {kind}, which is not defined")
    return Report(
        benchmark="multi3drefer",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=tuple(mean_metric(name, each) for name, each in values.items()),
        groups=groups,
        unanswered=aligned.unanswered,
        unparsed=tuple(unparsed),
        flags=tuple(flags),
        details=tuple(details),
    )


def _read(
    sample: BenchmarkSample, prediction: Prediction, objects: SceneObjects, protocol: str
) -> tuple[list[int] | None, np.ndarray]:
    """The objects that an answer names, None where it gives boxes; and the bounds (n, 2, 3) of either."""
    if "boxes" in prediction.extra:
        return None, corner_bounds(prediction.extra["boxes"], f"answer to {sample.id}")
    ids = _named(prediction.text, objects.proposed, protocol)
    return ids, _bounds([objects.proposed[id] for id in ids], protocol)


def _name(iou_min: float) -> str:
    return f"F1@{iou_min}"


def _f1(sample: BenchmarkSample, bounds: np.ndarray, objects: SceneObjects, protocol: str) -> tuple[float, ...]:
    """Of one answer, for each threshold."""
    targets = sample.object_ids
    nothing = not targets if protocol == "video3dllm" else sample.kind.startswith("zt")
    if nothing or not targets:
        return tuple(float(not len(bounds)) for _ in IOU_MINS)
    none = np.full(6, np.nan)  # overlaps nothing
    boxes = [objects.true[id].box if id in objects.true else none for id in targets]
    overlap = bounds_iou_float32 if protocol == "m3dref" else bounds_iou
    return matched_f1(overlap(bounds[:, None], _bounds(boxes, protocol)[None]), IOU_MINS)


def _bounds(boxes: Sequence[np.ndarray], protocol: str) -> np.ndarray:
    """Bounds (n, 2, 3) of boxes as a protocol's files hold them."""
    stacked = np.asarray(boxes, np.float64).reshape(-1, 6)
    return bounds_of(stacked.astype(np.float32) if protocol in ("gpt4scene", "base_model") else stacked)


_PICTURES = re.compile(r"Img_\d+")
_IMAGES = re.compile(r"Image \d+")
_COUNTED = re.compile(r"\d+\.")


def _named(text: str, known: Collection[int], protocol: str) -> list[int]:
    """The objects that an answer names, by a protocol's reading."""
    if protocol != "base_model":
        return named_objects(text, known)
    said = text[:-1]
    for taken in (_PICTURES, _IMAGES, _COUNTED):
        said = taken.sub("", said)
    # python does not read numbers of thousands of digits, and no scene has as many objects
    numbers = [int(digits) for digits in re.findall(r"\d+", said) if len(digits) <= 18]
    # the order of a set is that of the official code, and decides between equal sums of overlaps
    return list({number for number in numbers if number in known})


def _says_nothing(text: str, known: Collection[int]) -> bool:
    """Whether a text without any object of the scene does not say either that there is none."""
    parsed = read_ids(text, known, loose=False)
    return parsed.value is None or bool(parsed.value.unknown_ids)


def _flags(samples: Sequence[BenchmarkSample], objects: Mapping[str, SceneObjects]) -> list[str]:
    lost = [s.id for s in samples if any(id not in objects[s.scene].true for id in s.object_ids)]
    empty = [s.id for s in samples if not s.object_ids and not s.kind.startswith("zt")]
    plain = [s.id for s in samples if s.kind == "zt"]
    return [
        *flagged(lost, "an object that is asked for is not among those of the scene, and no box finds it"),
        *flagged(empty, "no object is asked for, though the type is not zt; that none is named is right"),
        *flagged(plain, "the type is zt, which the official code does not know; scored as zt_w_d and zt_wo_d are"),
    ]


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers of `predictions_chunk_0.json` (GPT4Scene, Chat-Scene) or of M3DRef-CLIP's scenes.

    Raises:
        UserError: an answer is to none of the questions, or a second one to the same.
    """
    boxes = box_rows(content, samples)
    if boxes is not None:
        found: dict[str, Prediction] = {}
        for scene, (row, where) in boxes:
            id = f"{scene}|{needed(row, 'ann_id', int, where)}"
            claim(found, id, Prediction(extra={"boxes": needed(row, "aabb", list, where)}), where)
        return found
    if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
        return None
    if not all(key in content[0] for key in ("scene_id", "ref_captions", "type_info", "pred")):
        return None
    return match_texts(
        as_rows(content, "predictions"), samples, _row_key, lambda s: _key(s.scene, s.kind, s.object_ids)
    )


def _row_key(row: Mapping[str, Any], where: str) -> str:
    needed(row, "pred", str, where)
    ids = needed(row, "ref_captions", list, where)
    if any(not isinstance(id, int) for id in ids):
        raise UserError(f"{where}: 'ref_captions' must be the objects' numbers, is {str(ids)[:60]}")
    return _key(needed(row, "scene_id", str, where), needed(row, "type_info", str, where), ids)


def _key(scene: str, kind: str, ids: Sequence[int]) -> str:
    return f"{scene}, {kind}, objects {', '.join(map(str, sorted(ids))) or 'none'}"
