"""The objects of scenes that grounding is scored with, in the annotation's own world, and which of them are one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from bev.errors import UserError, require
from gpt4scene.metrics.boxes import box_iou


@dataclass(frozen=True, eq=False)
class TrueObject:
    """An annotated object."""

    label: str
    box: np.ndarray
    """(6,) float64, metres: centre and size of its axis-aligned box, in the annotation's axis-aligned world."""


@dataclass(frozen=True, eq=False)
class SceneObjects:
    """One scene's annotated objects, and those that a model can name by the numbers on the images."""

    true: Mapping[int, TrueObject]
    """By the annotation's number (ScanNet's objectId)."""
    proposed: Mapping[int, np.ndarray]
    """By the number that a model sees: (6,) float64 as `TrueObject.box`, in the same world. In the reference's files
    these are 0 to n - 1."""


@dataclass(frozen=True)
class Overlap:
    """How well one object stands for another."""

    id: int
    """Of the one that overlaps most; -1 where there is none at all."""
    iou: float
    """0 where the boxes do not meet."""


def best_overlap(box: np.ndarray, others: Mapping[int, np.ndarray]) -> Overlap:
    """The box that overlaps another most, the lowest number of equal ones, as Chat-Scene rounds it.

    Args:
        box: (6,) as `TrueObject.box`.
        others: likewise, by number.
    """
    if not others:
        return Overlap(-1, 0.0)
    ids = sorted(others)
    ious = box_iou(box, np.stack([others[id] for id in ids]))
    return Overlap(ids[int(ious.argmax())], float(ious.max()))


def overlaps(objects: SceneObjects) -> dict[int, Overlap]:
    """For every annotated object the proposed one that overlaps it most, however little.

    So are numbers put in the place of annotated objects by Chat-Scene 475e106 preprocess/prepare_scanrefer_annos.py,
    which trains on those that overlap by 0.5 or more (run_prepare.sh). Two annotated objects may have one number.
    """
    return {id: best_overlap(true.box, objects.proposed) for id, true in objects.true.items()}


def claims(objects: SceneObjects, asked: Collection[int]) -> dict[int, Overlap]:
    """For every annotated object the best of the proposed ones that overlap no other annotated object more.

    So is Scan2Cap asked and scored on ready-made instances: Chat-Scene 475e106 preprocess/prepare_scan2cap_annos.py.
    An annotated object that no proposed one prefers is not among them.

    Args:
        objects: of one scene.
        asked: the annotated objects that there are descriptions of; no others count.
    """
    true = {id: objects.true[id].box for id in asked if id in objects.true}
    found: dict[int, Overlap] = {}
    for proposed_id in sorted(objects.proposed):
        preferred = best_overlap(objects.proposed[proposed_id], true)
        if preferred.id >= 0 and (preferred.id not in found or preferred.iou > found[preferred.id].iou):
            found[preferred.id] = Overlap(proposed_id, preferred.iou)
    return found


def objects_from_attributes(true_path: Path, proposed_path: Path) -> dict[str, SceneObjects]:
    """The objects of GPT4Scene's and Chat-Scene's attribute files, by scene.

    A scene that the second file lacks has no proposed objects.

    Args:
        true_path: `scannet_val_attributes.pt`.
        proposed_path: `scannet_mask3d_val_attributes.pt`.

    Raises:
        UserError: a file is missing, or holds something else.
    """
    true, proposed = _attributes(true_path), _attributes(proposed_path)
    strangers = sorted(set(proposed) - set(true))
    if strangers and len(strangers) == len(proposed):
        raise UserError(
            f"{proposed_path}: none of its {len(proposed)} scenes, the first {strangers[0]}, is in {true_path}; are"
            " they of one split?"
        )
    none: tuple[list[str], np.ndarray] = ([], np.zeros((0, 6)))
    return {
        scene: SceneObjects(
            {id: TrueObject(label, box) for id, (label, box) in enumerate(zip(labels, boxes, strict=True))},
            dict(enumerate(proposed.get(scene, none)[1])),
        )
        for scene, (labels, boxes) in true.items()
    }


def _attributes(path: Path) -> dict[str, tuple[list[str], np.ndarray]]:
    """Labels and boxes (n, 6) float64 of every scene; the files hold float32, which float64 holds as it is."""
    torch = require("torch", "local")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        line = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: does not read as an attribute file of tensors ({line}); is it whole?") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: must hold scenes by name, holds {type(content).__name__}; is it an attribute file?")
    return {str(scene): _labels_and_boxes(f"{path}, scene {scene}", value) for scene, value in content.items()}


def _labels_and_boxes(where: str, value: Any) -> tuple[list[str], np.ndarray]:
    if not isinstance(value, dict) or "locs" not in value:
        raise UserError(f"{where}: has no 'locs'; is it one of GPT4Scene's attribute files?")
    try:
        boxes = np.asarray(value["locs"], np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: 'locs' holds no numbers ({error})") from error
    if boxes.ndim != 2 or boxes.shape[1] != 6 or not np.isfinite(boxes).all():
        raise UserError(f"{where}: 'locs' must be (n, 6) finite numbers, centre and size; is {boxes.shape}")
    labels = [str(label) for label in value.get("objects", ["object"] * len(boxes))]
    # the proposed objects' labels are not cut where the boxes are (max_inst_num), and nobody reads those beyond
    if len(labels) < len(boxes):
        raise UserError(f"{where}: has {len(boxes)} boxes and {len(labels)} labels")
    return labels[: len(boxes)], boxes
