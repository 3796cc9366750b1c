"""ScanRefer: one object for a description, scored by how much boxes overlap (Chen et al., ECCV 2020)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import as_rows, find_file, needed, read_rows
from gpt4scene.benchmarks.grounding import (
    Row,
    box_rows,
    claim,
    corner_bounds,
    match_texts,
    no_boxes,
    objects_of_all,
    written_ids,
)
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.report import Report, flagged
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.benchmarks.scannet_classes import OTHERS, STRUCTURE, class_of_name
from gpt4scene.metrics.boxes import bounds_iou, bounds_iou_float32, bounds_of
from gpt4scene.metrics.metric import Metric, mean_metric, within
from gpt4scene.prompting.questions import Question

TITLE = "ScanRefer"
SPLITS = ("val", "train", "test")
PROTOCOLS = ("official", "gpt4scene", "m3dref")
NEEDS_OBJECTS = True

IOU_MINS = (0.25, 0.5)
_KINDS = ("unique", "multiple")
"""By 0 and 1, as the benchmark's own files have them."""
_PLACES = ("not_in_others", "in_others")
"""Likewise."""


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The descriptions of `ScanRefer_filtered_{split}.json`, each with its kind: "unique" or "multiple".

    An object is unique where no other object of the scene that ScanRefer describes is of its class: ScanRefer 9d74830
    lib/dataset.py `_get_unique_multiple_lookup`, by the classes of `scannet_classes` or, where it lies beside, of
    `scannetv2-labels.combined.tsv`. `row` gets what scoring needs: `unique_multiple`, `others`, and `eval_type`, which
    is the same by M3DRef-CLIP's classes.

    Raises:
        UserError: the file is missing or damaged, or two descriptions have one id.
    """
    check_choice(split, SPLITS, "split")
    name = f"ScanRefer_filtered_{split}.json"
    path = find_file(
        root, [name, f"scanrefer/{name}", f"ScanRefer/{name}"], "the annotation of github.com/daveredrum/ScanRefer"
    )
    rows = read_rows(path)
    kinds = unique_multiple(rows, class_of_name(path.parent))
    return unique([_sample({**row, **kind}, where) for (row, where), kind in zip(rows, kinds, strict=True)])


def unique_multiple(rows: Sequence[Row], class_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """For every annotation `unique_multiple` and `others` (0 or 1), and `eval_type` ("unique" or "multiple").

    Args:
        rows: all annotations of their scenes: objects count that are described.
        class_of: the class of an object's name; see `scannet_classes`.
    """
    classes: list[tuple[str, str]] = []
    described: dict[tuple[str, str], tuple[str, str]] = {}
    for row, where in rows:
        scene, object_id = needed(row, "scene_id", str, where), str(needed(row, "object_id", (str, int), where))
        wide = class_of.get(" ".join(needed(row, "object_name", str, where).split("_")), OTHERS)
        classes.append((OTHERS if wide in STRUCTURE else wide, wide))
        described.setdefault((scene, object_id), classes[-1])
    counts = Counter((scene, kind) for (scene, _), (kind, _) in described.items())
    wide_counts = Counter((scene, wide) for (scene, _), (_, wide) in described.items())
    return [
        {
            "unique_multiple": int(counts[row["scene_id"], kind] != 1),
            "others": int(kind == OTHERS),
            "eval_type": row.get("eval_type", _KINDS[wide_counts[row["scene_id"], wide] != 1]),
        }
        for (row, _), (kind, wide) in zip(rows, classes, strict=True)
    ]


def _sample(row: Mapping[str, Any], where: str) -> BenchmarkSample:
    scene, description = row["scene_id"], needed(row, "description", str, where)
    if row["eval_type"] not in _KINDS:
        raise UserError(f"{where}: 'eval_type' must be {' or '.join(_KINDS)}, is {str(row['eval_type'])[:40]!r}")
    object_id, ann_id = _whole(row, "object_id", where), _whole(row, "ann_id", where)
    return BenchmarkSample(
        id=f"{scene}|{object_id}|{ann_id}",
        scene=scene,
        question=Question(description, task="ground", expect="one"),
        kind=_KINDS[row["unique_multiple"]],
        object_ids=(object_id,),
        row=row,
        where=where,
    )


def _whole(row: Mapping[str, Any], key: str, where: str) -> int:
    """A number that the files hold as a text."""
    value = str(needed(row, key, (str, int), where))
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise UserError(f"{where}: {key!r} must be a whole number, is {value[:40]!r}")
    return int(value)


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers: how many boxes overlap the true one by 0.25 and by 0.5 or more.

    - "official": `evaluate` of daveredrum/ScanRefer, commit 9d74830, benchmark/eval.py. It scores boxes
      (`Prediction.extra["bbox"]`, 8 x 3 corners); a text stands for the box of the first object that it names, and for
      no box where that is none of the scene's. `extra["unique_multiple"]` and `extra["others"]`, 0 or 1, are believed
      where an answer brings them. A part without any question scores 0. That code leaves out questions without an
      answer and counts second answers again; here the first are wrong, and the second are refused when they are read.
    - "gpt4scene": `calc_scanrefer_score` of Qi-Zhangyang/GPT4Scene, commit ac34d5f, evaluate/utils/eval.py, which is
      Chat-Scene's. Of a text the first object counts that the scene has; where there is none, object 0, or whichever
      number is the lowest. Boxes are rounded to float32.
    - "m3dref": `ScanReferEvaluator` of 3dlg-hcvc/M3DRef-CLIP, commit babfcc4, m3drefclip/evaluation. Boxes, or the
      first object that a text names, object 0 where that is none of the scene's. Overlaps are in float32; unique and
      multiple are by its own classes.

    Where a part is empty, "gpt4scene" divides by zero: it is not defined then, as for "m3dref", and a flag says so.
    Where the annotation's object is not among the scene's, the official code has 0 and the others stop with an
    IndexError; here it counts as wrong, and a flag says so.

    Raises:
        UserError: objects are missing, or answers are none that the protocol scores.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    known = objects_of_all(samples, objects)
    if protocol == "gpt4scene":
        no_boxes(answers, "bbox", protocol, "official or m3dref")
    aligned = align(samples, answers)
    silent = set(aligned.unanswered)
    ious = np.zeros(len(samples))
    unparsed: list[str] = []
    lost: list[str] = []
    details: list[Mapping[str, Any]] = []
    for i, (sample, prediction) in enumerate(zip(samples, aligned.predictions, strict=True)):
        read: int | str | None = None
        true = known[sample.scene].true.get(sample.object_ids[0])
        if true is None:
            lost.append(sample.id)
        if sample.id not in silent:
            read, bounds = _read(sample, prediction, known[sample.scene], protocol)
            if read is None:
                unparsed.append(sample.id)
            if true is not None and bounds is not None:
                ious[i] = _overlap(bounds, bounds_of(_rounded(true.box, protocol)), protocol)
        details.append({"read": read, "true": sample.object_ids[0], "iou": float(ious[i])})
    # an empty box overlaps nothing, and an unanswered question is wrong: both are below any threshold
    hits = {f"Acc@{iou_min}": 100.0 * (ious >= iou_min) for iou_min in IOU_MINS}
    groups, flags = _groups(samples, aligned.predictions, hits, protocol)
    flags += flagged(lost, "the object that is asked for is not among those of the scene; it counts as wrong")
    return Report(
        benchmark="scanrefer",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=tuple(mean_metric(name, values) for name, values in hits.items()),
        groups=groups,
        unanswered=aligned.unanswered,
        unparsed=tuple(unparsed),
        flags=tuple(flags),
        details=tuple(details),
    )


def _read(
    sample: BenchmarkSample, prediction: Prediction, objects: SceneObjects, protocol: str
) -> tuple[int | str | None, np.ndarray | None]:
    """The object that an answer names, "box" where it is one, None for neither; and the bounds (2, 3) that it has."""
    if "bbox" in prediction.extra:
        return "box", corner_bounds([prediction.extra["bbox"]], f"answer to {sample.id}")[0]
    written = written_ids(prediction.text)
    if protocol == "gpt4scene":
        written = [id for id in written if id in objects.proposed]
    if written and written[0] in objects.proposed:
        return written[0], bounds_of(_rounded(objects.proposed[written[0]], protocol))
    if protocol == "official" or not objects.proposed:
        return None, None
    return None, bounds_of(_rounded(objects.proposed[min(objects.proposed)], protocol))


def _rounded(box: np.ndarray, protocol: str) -> np.ndarray:
    """A box as a protocol's files hold it."""
    return box.astype(np.float32) if protocol == "gpt4scene" else box


def _overlap(bounds: np.ndarray, true: np.ndarray, protocol: str) -> float:
    return float((bounds_iou_float32 if protocol == "m3dref" else bounds_iou)(bounds, true))


def _groups(
    samples: Sequence[BenchmarkSample],
    predictions: Sequence[Prediction],
    hits: Mapping[str, np.ndarray],
    protocol: str,
) -> tuple[dict[str, tuple[Metric, ...]], list[str]]:
    """The metrics of parts, and flags."""
    flags: list[str] = []
    if protocol == "m3dref":
        kinds = np.array([_KINDS.index(sample.row["eval_type"]) for sample in samples])
    else:
        kinds = np.array([_KINDS.index(sample.kind) for sample in samples])
    members = {name: kinds == number for number, name in enumerate(_KINDS)}
    if protocol == "official":
        others = np.array([sample.row["others"] for sample in samples])
        kinds, others = _told(predictions, "unique_multiple", kinds), _told(predictions, "others", others)
        changed = int((kinds != np.array([_KINDS.index(sample.kind) for sample in samples])).sum())
        if changed:
            flags.append(f"{changed} answers say unique_multiple otherwise than the annotation; they are believed")
        places = {name: others == number for number, name in enumerate(_PLACES)}
        members = {name: kinds == number for number, name in enumerate(_KINDS)}
        within_kinds = {f"{kind}, {place}": members[kind] & places[place] for kind in _KINDS for place in _PLACES}
        members = members | within_kinds | places
    groups = {}
    for name, member in members.items():
        parts = tuple(mean_metric(metric, within(values, member)) for metric, values in hits.items())
        if not member.any():
            if protocol == "official":
                parts = tuple(Metric(part.name, 0.0, part.values) for part in parts)
            what = {"official": "0, as the official code has it", "gpt4scene": "not defined; its code divides by zero"}
            flags.append(f"no question is {name}: {what.get(protocol, 'not defined')}")
        groups[name] = parts
    return groups, flags


def _told(predictions: Sequence[Prediction], key: str, ours: np.ndarray) -> np.ndarray:
    """What answers say of themselves, and where they do not, what the annotation says."""
    told = [prediction.extra.get(key, own) for prediction, own in zip(predictions, ours.tolist(), strict=True)]
    return np.array([value if isinstance(value, int | float) else -1 for value in told], np.float64)


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers of `predictions_chunk_0.json` (GPT4Scene, Chat-Scene), `pred.json` (ScanRefer) or M3DRef-CLIP's scenes.

    Raises:
        UserError: an answer is to none of the questions, or a second one to the same.
    """
    boxes = box_rows(content, samples)
    if boxes is not None:
        return _with_boxes([({"scene_id": scene, **row}, where) for scene, (row, where) in boxes])
    if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
        return None
    rows = as_rows(content, "predictions")
    if all(key in rows[0][0] for key in ("scene_id", "object_id", "ann_id", "bbox")):
        return _with_boxes(rows)
    if all(key in rows[0][0] for key in ("scene_id", "gt_id", "pred")):
        return match_texts(rows, samples, _row_key, lambda sample: f"{sample.scene}|{sample.object_ids[0]}")
    return None


def _row_key(row: Mapping[str, Any], where: str) -> str:
    needed(row, "pred", str, where)
    return f"{needed(row, 'scene_id', str, where)}|{_whole(row, 'gt_id', where)}"


def _with_boxes(rows: Sequence[Row]) -> dict[str, Prediction]:
    found: dict[str, Prediction] = {}
    for row, where in rows:
        scene = needed(row, "scene_id", str, where)
        id = f"{scene}|{_whole(row, 'object_id', where)}|{_whole(row, 'ann_id', where)}"
        box = needed(row, "bbox", list, where) if "bbox" in row else next(iter(needed(row, "aabb", list, where)), None)
        told = {key: row[key] for key in ("unique_multiple", "others") if key in row}
        answer = Prediction(outcome="failed") if box is None else Prediction(extra={"bbox": box, **told})
        claim(found, id, answer, where)
    return found
