"""Captions of boxes that a model found by itself, matched with annotated objects: Scan2Cap's online benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bev.errors import UserError, require
from gpt4scene.metrics.boxes import bounds_of_corners
from gpt4scene.metrics.captions import caption_metrics
from gpt4scene.metrics.metric import Metric, mean_metric

NO_CAPTION = "sos eos"
"""Stands where an annotated object has no caption."""
IOU_MINS = (0.5, 0.25, 0.0)
_EPSILON, _SIDE_MIN = 1e-8, 1e-6


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one scene."""

    captions: tuple[str, ...]
    """With "sos" and "eos"."""
    corners: np.ndarray
    """(P, 8, 3) float64, metres: the boxes, corners in the order of ScanRefer's files (see `boxes.corners_of`)."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Annotated objects with what was found of them."""

    captions: tuple[str, ...]
    ious: np.ndarray
    """(n,) float64; NaN of an object without a partner, which scores nothing."""
    detected: int
    """How many boxes were found in all scenes of these objects."""


@dataclass(frozen=True, eq=False)
class F1:
    """The caption metrics as precision, recall and F1, each by IoU and name of the metric."""

    precision: Mapping[tuple[float, str], Metric]
    recall: Mapping[tuple[float, str], Metric]
    f1: Mapping[tuple[float, str], Metric]
    flags: tuple[str, ...]


def match_detections(
    scenes: Sequence[str], corners: Sequence[np.ndarray | None], found: Mapping[str, Detections]
) -> Matched:
    """Give every annotated object the caption of the box that is its partner, scene by scene.

    daveredrum/Scan2Cap b9e9610 benchmark/eval.py assign_pred_to_gt: Hungarian on `official_giou`. Where there are more
    objects than boxes, those without a partner get the first box, so that at an IoU of 0 its caption counts for them.

    Args:
        scenes: (n,) the scene of each annotated object.
        corners: (8, 3) of each, as `Detections.corners`; None of one whose box is not known, which has no partner.
        found: by scene.
    """
    optimize = require("scipy.optimize")
    captions = [NO_CAPTION] * len(scenes)
    ious = np.full(len(scenes), np.nan)
    detected = 0
    for scene in dict.fromkeys(scenes):
        boxes = found.get(scene)
        if boxes is None or not boxes.captions:
            continue
        detected += len(boxes.captions)
        known = {at: box for at, box in enumerate(corners) if scenes[at] == scene and box is not None}
        if not known:
            continue
        objects, true = list(known), np.stack(list(known.values()))
        partner = np.zeros(len(objects), np.int64)
        rows, columns = optimize.linear_sum_assignment(-official_giou(boxes.corners, true))
        partner[columns] = rows
        ious[objects] = _iou_float32(boxes.corners[partner], true)
        for position, box in zip(objects, partner, strict=True):
            captions[position] = boxes.captions[box]
    return Matched(tuple(captions), ious, detected)


def official_giou(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(P, G) what Scan2Cap's benchmark/box_util.py generalized_box3d_iou gives without rotation.

    It cuts rectangles out of the upper faces along x and z, as for boxes whose up is y. With corners in ScanRefer's
    order these are flat, so the boxes never overlap in it, and it is how little room is left around the two.

    Args:
        corners: (P, 8, 3), the first four on top; in another order they give what the official code gives.
        others: (G, 8, 3) likewise.
    """
    one, other = corners[:, None], others[None]
    across = np.minimum(one[..., 0, [0, 2]], other[..., 0, [0, 2]]) - np.maximum(
        one[..., 2, [0, 2]], other[..., 2, [0, 2]]
    )
    height = np.minimum(one[..., 0, 2], other[..., 0, 2]) - np.maximum(one[..., 4, 2], other[..., 4, 2])
    shared = np.maximum(across, 0).prod(axis=-1) * np.maximum(height, 0)
    low = np.minimum(one.min(axis=-2), other.min(axis=-2))
    high = np.maximum(one.max(axis=-2), other.max(axis=-2))
    around = (high - low).prod(axis=-1)
    both = np.maximum(_volume(one), _EPSILON) + np.maximum(_volume(other), _EPSILON)
    union = np.maximum(both - shared, _EPSILON)
    good = (around > 2 * _EPSILON) & (both > 4 * _EPSILON)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(good, shared / union - (1 - union / around), 0.0)


def f1_scores(matched: Matched, references: Sequence[Sequence[str]], unanswered: Sequence[bool]) -> F1:
    """Caption scores summed over the objects found well enough, over all boxes, all objects, and both.

    benchmark/eval.py evaluate_captioning. Where nothing scores, F1 is NaN as there, and a flag says so; in resamplings
    and for single objects it is 0.

    Args:
        matched: n objects.
        references: of each, with "sos" and "eos".
        unanswered: (n,) objects that score 0 whatever their partner is.
    """
    captioned = caption_metrics(matched.captions, references, tokenizer="none")
    flags, count = list(captioned.flags), len(references)
    precision: dict[tuple[float, str], Metric] = {}
    recall: dict[tuple[float, str], Metric] = {}
    f1: dict[tuple[float, str], Metric] = {}
    undefined: list[str] = []
    for iou_min in IOU_MINS:
        with np.errstate(invalid="ignore"):
            counts = (matched.ious >= iou_min) & ~np.asarray(unanswered, bool)
        for metric in captioned.metrics:
            assert metric.values is not None
            # what could not be computed is NaN throughout
            key, kept = (iou_min, metric.name), np.where(counts | np.isnan(metric.values), metric.values, 0.0)
            recall[key] = mean_metric(metric.name, kept)
            precision[key] = _scaled(metric.name, kept, count, matched.detected)
            # 2PR / (P + R) of one sum over two numbers
            f1[key] = _scaled(metric.name, kept, 2 * count, matched.detected + count)
            if np.isfinite(metric.values).all() and kept.sum() == 0:
                f1[key] = Metric(metric.name, float("nan"), f1[key].values)
                undefined.append(f"{metric.name}@{iou_min:g}")
    if undefined:
        flags.append(f"F1 of {', '.join(undefined)} is not defined (NaN, as officially): precision and recall are 0")
    return F1(precision, recall, f1, tuple(flags))


def read_detections(rows: Sequence[Any], where: str) -> Detections:
    """One scene of a submission: [{"caption", "box": 8x3, ...}].

    Raises:
        UserError: a row is damaged.
    """
    captions, corners = [], []
    for number, row in enumerate(rows, start=1):
        try:
            box = np.asarray(row["box"], np.float64)
            captions.append(str(row["caption"]))
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(f"{where}, detection {number}: must have a 'caption' and a 'box' of 8 corners") from error
        if box.shape != (8, 3) or not np.isfinite(box).all():
            raise UserError(f"{where}, detection {number}: 'box' must be 8 corners of 3 numbers, is {box.shape}")
        corners.append(box)
    return Detections(tuple(captions), np.array(corners).reshape(-1, 8, 3))


def _scaled(name: str, kept: np.ndarray, times: float, over: float) -> Metric:
    return mean_metric(name, kept * (times / over)) if over else Metric(name, float("nan"))


def _volume(corners: np.ndarray) -> np.ndarray:
    edges = (corners[..., [0, 1, 0], :] - corners[..., [1, 2, 4], :]) ** 2
    return np.sqrt(np.maximum(edges.sum(axis=-1), _SIDE_MIN)).prod(axis=-1)


def _iou_float32(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap in single precision, in which exactly half passes 0.5: box_util.py box3d_iou_batch_tensor."""
    one, other = (bounds_of_corners(each).astype(np.float32) for each in (corners, others))
    shared = np.maximum(np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0]), 0).prod(axis=-1)
    volumes = (one[:, 1] - one[:, 0]).prod(axis=-1) + (other[:, 1] - other[:, 0]).prod(axis=-1)
    return (shared / (volumes - shared + np.float32(_EPSILON))).astype(np.float64)
