"""Scan2Cap: describe an object of a ScanNet scene so that it can be told from others; scored on captions of objects
that were found well enough.

Data: `ScanRefer_filtered_{split}.json` of ScanRefer, whose descriptions of one object are its references; and, where
they are there, `scan2cap_{split}_corpus.json` and `scan2cap_mask3d_{split}.json` of GPT4Scene and Chat-Scene.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.detected_captions import (
    NO_CAPTION,
    Detections,
    Matched,
    f1_scores,
    match_detections,
)
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects, best_overlap
from gpt4scene.benchmarks.report import Report, flagged
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align
from gpt4scene.benchmarks.scan2cap_files import BBOX, DETECTIONS, GATED, IOU, ROWS, proposed_id
from gpt4scene.benchmarks.scan2cap_files import load as load
from gpt4scene.benchmarks.scan2cap_files import read_predictions as read_predictions
from gpt4scene.benchmarks.scan2cap_wording import caption_of, references_of
from gpt4scene.metrics.boxes import box_iou, corners_of
from gpt4scene.metrics.captions import Captioned, caption_metrics
from gpt4scene.metrics.metric import Metric, within

TITLE = "Scan2Cap"
SPLITS = ("val", "train")
PROTOCOLS = ("gpt4scene", "official", "benchmark", "video3dllm")
"""First that of Chat-Scene and GPT4Scene, which most language models on scans are scored with."""
NEEDS_OBJECTS = True

REPORTED = ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L")
"""What tables show, in their order."""
_NAMES = (*REPORTED, "BLEU-1", "BLEU-2", "BLEU-3")
_COMMON_SHARE = 0.01
_OTHERS = "other classes"
_BREAKS_METEOR = ("\n", "\r", "|||")
_UNKNOWN = "an object that the scene's annotation does not hold, so that nothing overlaps it"
_BREAK = "a line break or ||| in a text, which is a space here; the official code ends with a ValueError out of METEOR"


@dataclass(frozen=True)
class Seen:
    """Which of the proposed objects was described, and how well it overlaps the annotated one."""

    id: int | None
    """None where answers do not say, and no boxes are known."""
    iou: float | None
    """None where it is not known."""
    fault: str = ""
    """"unknown": the annotation holds no such object; "unproposed": no such proposed object."""


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score captions by CIDEr, BLEU, METEOR and ROUGE-L "@0.5" and "@0.25": of objects overlapped less, none counts.

    An object without an answer, or described through one that overlaps it too little, has the caption "sos eos", which
    is not worth nothing: its references begin and end with the same words.

    gpt4scene: Qi-Zhangyang/GPT4Scene ac34d5f evaluate/utils/eval.py calc_scan2cap_score (ZzZZCHS/Chat-Scene 475e106 is
        the same). IoU >= 0.5; the PTB tokenizer.
    official: daveredrum/Scan2Cap b9e9610 lib/eval_helper.py eval_cap. IoU > 0.5; references are the first 30 of
        ScanRefer's tokens; no tokenizer. A caption that is not given as "sos ... eos" is split as those were.
    benchmark: the same, benchmark/eval.py evaluate_captioning; see `detected_captions`. The metrics are F1; precision
        and recall follow. Answers about proposed objects count as detections of these.
    video3dllm: LaVi-Lab/Video-3D-LLM 3ff70e8 llava/eval/eval_scan2cap.py. No tokenizer; @0.5 alone, by whoever asked.

    Where official code stops: an answer to an object without references (gpt4scene) is left out; an object or a scene
    without any detection (benchmark) scores 0; a line break (official, video3dllm) is a space. Each is flagged.

    Args:
        samples: the objects.
        answers: by sample id. Keys of `extra`: "proposed_id" or "pred_id", the object that was described (otherwise it
            is the one that overlaps most); "iou" with the annotated one, where `objects` is None; "gated": captions
            are already left out where that is too little; "detections" of the whole scene.
        protocol: one of `PROTOCOLS`.
        objects: of the scenes.

    Raises:
        UserError: how well objects overlap is not known, or the annotation lacks what the protocol needs.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    known = {sample.id for sample in samples}
    strangers = [id for id in answers if id not in known]
    if len(strangers) < len(answers):
        answers = {id: prediction for id, prediction in answers.items() if id in known}
    aligned = align(samples, answers)
    silent = set(aligned.unanswered)
    told: list[Prediction | None] = [
        None if sample.id in silent else prediction
        for sample, prediction in zip(samples, aligned.predictions, strict=True)
    ]
    repeated = [s.id for s, one in zip(samples, told, strict=True) if one is not None and one.extra.get(ROWS, 1) > 1]
    flags = [
        *flagged(strangers, "answers to none of the objects, left out here; the official code ends with a KeyError"),
        *flagged(repeated, "several answers, of which the last counts, as in the official code"),
    ]
    scored = _benchmark if protocol == "benchmark" else _gated
    return scored(samples, told, protocol, objects, aligned.unanswered, flags)


def _gated(
    samples: Sequence[BenchmarkSample],
    told: Sequence[Prediction | None],
    protocol: str,
    objects: Mapping[str, SceneObjects] | None,
    unanswered: tuple[str, ...],
    flags: list[str],
) -> Report:
    """The protocols that leave out captions of objects overlapped too little, and score all that there are."""
    _check_no_detections(samples, told, protocol)
    seen = [_seen(sample, one, objects) for sample, one in zip(samples, told, strict=True)]
    flags += _faults(samples, seen)
    unsure = [s.id for s, at, one in zip(samples, seen, told, strict=True) if one is not None and at.iou is None]
    gated = [s.id for s, one in zip(samples, told, strict=True) if one is not None and one.extra.get(GATED) is True]
    if protocol == "video3dllm":
        flags += flagged(
            sorted(set(unsure) - set(gated)),
            "scored however little they overlap the annotated object, as no boxes are known",
        )
    elif set(unsure) - set(gated):
        raise UserError(
            f"{TITLE} scores captions of objects that overlap the annotated ones well: give their boxes with --scans or"
            " --attributes, or answers with 'iou' in their 'extra'"
        )
    else:
        flags += flagged(
            gated, "from a file that leaves out poor overlaps by itself, so that @0.25 and @0.5 are the same"
        )
    references = [references_of(sample, protocol) for sample in samples]
    texts = [NO_CAPTION if one is None else caption_of(one.text, protocol) for one in told]
    if protocol != "gpt4scene":
        flags += _breaks_meteor(samples, texts, references)
    by_texts: dict[tuple[str, ...], Captioned] = {}
    by_min: dict[float, Captioned] = {}
    for iou_min in (0.5,) if protocol == "video3dllm" else (0.5, 0.25):
        shown = tuple(
            text if one is None or at.iou is None or _passes(at.iou, iou_min, protocol) else NO_CAPTION
            for text, one, at in zip(texts, told, seen, strict=True)
        )
        if shown not in by_texts:
            tokenizer = "ptb" if protocol == "gpt4scene" else "none"
            by_texts[shown] = caption_metrics(shown, references, tokenizer=tokenizer)
        by_min[iou_min] = by_texts[shown]
    metrics = tuple(_named(m, f"{m.name}@{k:g}") for k, found in by_min.items() for m in _ordered(found.metrics))
    return Report(
        benchmark="scan2cap",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=metrics,
        groups=_groups(samples, [m for m in metrics if m.name.split("@")[0] in REPORTED]),
        unanswered=unanswered,
        flags=(*flags, *dict.fromkeys(flag for found in by_min.values() for flag in found.flags)),
        details=tuple({"object": at.id, "iou": at.iou, "caption": t} for at, t in zip(seen, texts, strict=True)),
    )


def _benchmark(
    samples: Sequence[BenchmarkSample],
    told: Sequence[Prediction | None],
    protocol: str,
    objects: Mapping[str, SceneObjects] | None,
    unanswered: tuple[str, ...],
    flags: list[str],
) -> Report:
    """The protocol that finds out by itself which caption is of which object."""
    found = _detections(samples, told, objects)
    corners = [_true_corners(sample, objects) for sample in samples]
    flags += flagged([s.id for s, box in zip(samples, corners, strict=True) if box is None], _UNKNOWN)
    matched = match_detections([sample.scene for sample in samples], corners, found)
    references = [references_of(sample, protocol) for sample in samples]
    empty = [sample.id for sample in samples if sample.scene not in found]
    flags += flagged(
        empty, "no detection in the scene, where the official code ends with a ValueError; the object scores 0"
    )
    flags += _breaks_meteor(samples, matched.captions, references)
    scores = f1_scores(matched, references, [one is None for one in told])
    metrics = [
        _named(table[iou_min, name], f"{name}@{iou_min:g}{suffix}")
        for suffix, table, names in (
            ("", scores.f1, _NAMES),
            (" precision", scores.precision, REPORTED),
            (" recall", scores.recall, REPORTED),
        )
        for iou_min in (0.5, 0.25)
        for name in names
    ]
    return Report(
        benchmark="scan2cap",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=tuple(metrics),
        groups={},
        unanswered=unanswered,
        flags=(*flags, *scores.flags),
        details=_matched_details(matched),
    )


def _seen(sample: BenchmarkSample, one: Prediction | None, objects: Mapping[str, SceneObjects] | None) -> Seen:
    if one is None or one.extra.get(GATED) is True:
        return Seen(None, None)
    asked = proposed_id(one.extra, sample.row)
    if objects is None:
        iou = one.extra.get(IOU, sample.row.get(IOU) if asked == proposed_id({}, sample.row) else None)
        return Seen(asked, float(iou) if isinstance(iou, int | float) else None)
    scene = _scene(sample, objects)
    true = scene.true.get(sample.object_ids[0])
    if true is None:
        return Seen(asked, 0.0, "unknown")
    if asked is None:
        best = best_overlap(true.box, scene.proposed)
        return Seen(best.id, best.iou)
    if asked not in scene.proposed:
        return Seen(asked, 0.0, "unproposed")
    return Seen(asked, float(box_iou(scene.proposed[asked], true.box)))


def _passes(iou: float, iou_min: float, protocol: str) -> bool:
    return iou > iou_min if protocol == "official" else iou >= iou_min


def _scene(sample: BenchmarkSample, objects: Mapping[str, SceneObjects]) -> SceneObjects:
    if sample.scene not in objects:
        raise UserError(f"{sample.where}: the boxes that were given are not of scene {sample.scene}; give its own too")
    return objects[sample.scene]


def _detections(
    samples: Sequence[BenchmarkSample], told: Sequence[Prediction | None], objects: Mapping[str, SceneObjects] | None
) -> dict[str, Detections]:
    """What was found in each scene: a submission's own boxes, or the proposed objects that were described."""
    found: dict[str, Detections] = {}
    described: dict[str, dict[int, str]] = {}
    for sample, one in zip(samples, told, strict=True):
        if one is not None and isinstance(one.extra.get(DETECTIONS), Detections):
            found[sample.scene] = one.extra[DETECTIONS]
        elif one is not None and objects is None:
            raise UserError(f"{sample.where}: --protocol benchmark needs boxes: give --scans or --attributes")
        elif one is not None:
            seen = _seen(sample, one, objects)
            if seen.id is not None and seen.id in _scene(sample, objects or {}).proposed:
                described.setdefault(sample.scene, {}).setdefault(seen.id, caption_of(one.text, "benchmark"))
    for scene, captions in described.items():
        boxes = (objects or {})[scene].proposed
        found[scene] = Detections(tuple(captions.values()), np.stack([corners_of(boxes[id]) for id in captions]))
    return found


def _true_corners(sample: BenchmarkSample, objects: Mapping[str, SceneObjects] | None) -> np.ndarray | None:
    if sample.row.get(BBOX) is not None:
        return np.asarray(sample.row[BBOX], np.float64)
    if objects is None:
        raise UserError(f"{sample.where}: the box of object {sample.id!r} is not known; give --scans or --attributes")
    true = _scene(sample, objects).true.get(sample.object_ids[0])
    return None if true is None else corners_of(true.box)


def _check_no_detections(samples: Sequence[BenchmarkSample], told: Sequence[Prediction | None], protocol: str) -> None:
    if any(one is not None and DETECTIONS in one.extra for one in told):
        raise UserError(
            f"the answers are detections in scenes, which --protocol benchmark scores and {protocol} does not"
        )


def _faults(samples: Sequence[BenchmarkSample], seen: Sequence[Seen]) -> list[str]:
    unknown = [sample.id for sample, at in zip(samples, seen, strict=True) if at.fault == "unknown"]
    unproposed = [sample.id for sample, at in zip(samples, seen, strict=True) if at.fault == "unproposed"]
    return [
        *flagged(unknown, _UNKNOWN),
        *flagged(unproposed, "the answer is about none of the proposed objects, so that it overlaps nothing"),
    ]


def _breaks_meteor(
    samples: Sequence[BenchmarkSample], texts: Sequence[str], references: Sequence[Sequence[str]]
) -> list[str]:
    broken = [
        sample.id
        for sample, text, others in zip(samples, texts, references, strict=True)
        if any(sign in each for each in (text, *others) for sign in _BREAKS_METEOR)
    ]
    return flagged(broken, _BREAK)


def _ordered(metrics: Sequence[Metric]) -> list[Metric]:
    return sorted(metrics, key=lambda metric: _NAMES.index(metric.name))


def _named(metric: Metric, name: str) -> Metric:
    return Metric(name, metric.value, metric.values, metric.statistic)


def _groups(samples: Sequence[BenchmarkSample], metrics: Sequence[Metric]) -> dict[str, tuple[Metric, ...]]:
    """The metrics of classes with one in a hundred of all objects, and of all others together."""
    kinds = [sample.kind for sample in samples]
    common = [kind for kind in dict.fromkeys(kinds) if kinds.count(kind) >= _COMMON_SHARE * len(kinds)]
    of_kind = {kind: np.array([kind == one for one in kinds]) for kind in common}
    of_kind[_OTHERS] = np.array([one not in common for one in kinds])
    return {
        kind: tuple(_restricted(metric, member) for metric in metrics)
        for kind, member in of_kind.items()
        if member.any()
    }


def _restricted(metric: Metric, member: np.ndarray) -> Metric:
    """A metric of some of the samples alone; CIDEr's document frequencies are those of all."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        found = metric.resampled(counts * member)
        return np.full(len(counts), np.nan) if found is None else found

    value = float(statistic(np.ones((1, len(member))))[0])
    return Metric(metric.name, value, None if metric.values is None else within(metric.values, member), statistic)


def _matched_details(matched: Matched) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"caption": caption, "iou": None if np.isnan(iou) else float(iou)}
        for caption, iou in zip(matched.captions, matched.ious, strict=True)
    )
