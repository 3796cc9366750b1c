"""A few rooms of boxes as scene folders, and invented annotations of them in the benchmarks' own formats."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from box_scene import BOXES, box_scene

from bev.surface import save_surface
from gpt4scene.scene.scene import load_scene

TRAIN_SCENES = ("scene0000_00", "scene0001_00")
VAL_SCENES = ("scene0100_00",)
LAMP, RUG = 5, 6
"""Annotated objects that no numbered one overlaps: nowhere near, and too little. Before them, k is the number k + 1."""


def write_rooms(folder: Path, names: tuple[str, ...] = TRAIN_SCENES + VAL_SCENES, frames: int = 3) -> Path:
    """Scene folders, by name; alike but for the name."""
    scene = box_scene(frames=frames)
    for name in names:
        replace(scene, name=name).save(folder / name)
    return folder


def write_attributes(folder: Path, names: tuple[str, ...] = TRAIN_SCENES + VAL_SCENES) -> tuple[Path, Path]:
    """Attribute files as GPT4Scene has them: annotated objects in rows from 0, and the numbered ones in theirs."""
    import torch

    boxes = np.array([[*center, *size] for center, size, _ in BOXES])
    far = [20.0, 20.0, 1.0, 0.5, 0.5, 0.5]
    table = boxes[0] * [1, 1, 1, 1, 0.4, 1]
    files = {
        "scannet_attributes.pt": [*boxes, far, table],
        "scannet_mask3d_attributes.pt": [[40.0, 40.0, 1.0, 0.5, 0.5, 0.5], *boxes],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        locs = torch.tensor(np.array(rows), dtype=torch.float32)
        scenes = {scene: {"objects": ["thing"] * len(rows), "locs": locs} for scene in names}
        torch.save(scenes, folder / name)
    true, proposed = (folder / name for name in files)
    return true, proposed


def write_scannet(scene_folder: Path, scan: Path, *, first: int = 1) -> list[int]:
    """A scene's own mesh and objects as if ScanNet's annotators had marked them.

    Args:
        scene_folder: of the scene.
        scan: the folder to write, called as the scene is in annotations.
        first: what the annotators call the object that the scene calls 1.

    Returns:
        the annotators' numbers of all objects.
    """
    scene = load_scene(scene_folder)
    scan.mkdir(parents=True)
    save_surface(scene.surface.moved(np.linalg.inv(scene.world_from_source)), scan / f"{scan.name}_vh_clean_2.ply")
    ids = [instance.id for instance in scene.instances]
    segments = {"sceneId": scan.name, "segIndices": scene.vertex_ids.tolist()}
    groups = [{"id": id, "objectId": id + first - 1, "segments": [id], "label": "thing"} for id in ids]
    aggregation = {
        "sceneId": scan.name,
        "segmentsFile": f"{scan.name}_vh_clean_2.0.010000.segs.json",
        "segGroups": groups,
    }
    (scan / aggregation["segmentsFile"]).write_text(json.dumps(segments))
    (scan / f"{scan.name}.aggregation.json").write_text(json.dumps(aggregation))
    (scan / f"{scan.name}.txt").write_text("axisAlignment = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n")
    return [group["objectId"] for group in groups]


def write_annotations(folder: Path, train: tuple[str, ...] = TRAIN_SCENES, val: tuple[str, ...] = VAL_SCENES) -> Path:
    """The files of all five benchmarks, for both splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, scenes in (("train", train), ("val", val)):
        files = {
            f"ScanQA_v1.0_{split}.json": [row for scene in scenes for row in scanqa_rows(scene, split)],
            f"v1_balanced_questions_{split}_scannetv2.json": {
                "questions": [row for number, scene in enumerate(scenes) for row in sqa3d_questions(scene, number)]
            },
            f"v1_balanced_sqa_annotations_{split}_scannetv2.json": {
                "annotations": [row for number, scene in enumerate(scenes) for row in sqa3d_answers(scene, number)]
            },
            f"ScanRefer_filtered_{split}.json": [row for scene in scenes for row in scanrefer_rows(scene)],
            f"multi3drefer_{split}.json": [row for scene in scenes for row in multi3drefer_rows(scene)],
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def scanqa_rows(scene: str, split: str) -> list[dict]:
    rows = [
        ("What is on the table?", ["cup", "a white cup", "cup"], [4]),
        ("Which colour has the stool?", ["green"], [1]),
    ]
    return [
        {
            "scene_id": scene,
            "question_id": f"{split}-{scene}-{number}",
            "question": question,
            "answers": answers,
            "object_ids": ids,
            "object_names": ["thing"] * len(ids),
        }
        for number, (question, answers, ids) in enumerate(rows)
    ]


def sqa3d_questions(scene: str, number: int) -> list[dict]:
    return [
        {
            "scene_id": scene,
            "situation": "I am standing in front of the table.",
            "alternative_situation": ["I face the table.", "The table is right before me."],
            "question": "What is behind me?",
            "question_id": 100 + number,
        }
    ]


def sqa3d_answers(scene: str, number: int) -> list[dict]:
    return [
        {
            "scene_id": scene,
            "question_id": 100 + number,
            "question_type": "N/A",
            "answer_type": "other",
            "answers": [{"answer": "stool", "answer_confidence": "yes", "answer_id": 1}],
            "rotation": {"_x": 0.0, "_y": 0.0, "_z": 0.0, "_w": 1.0},
            "position": {"x": 0.0, "y": 0.0, "z": 0.0},
        }
    ]


def scanrefer_rows(scene: str) -> list[dict]:
    described = [
        (0, "table", "this is the red table . it is near the wall ."),
        (0, "table", "a big red table with a cup on it."),
        (1, "stool", "the green stool to the right of the table"),
        (LAMP, "lamp", "a lamp that nobody numbered."),
        (RUG, "rug", "a flat rug under the table."),
    ]
    return [
        {
            "scene_id": scene,
            "object_id": str(id),
            "object_name": name,
            "ann_id": str(number),
            "description": text,
            "token": text.split(),
        }
        for number, (id, name, text) in enumerate(described)
    ]


def multi3drefer_rows(scene: str) -> list[dict]:
    described = [
        ([], "zt_wo_d", "a bathtub"),
        ([0], "st_w_d", "the red table"),
        ([2, 0, 1], "mt", "things that stand on the floor"),
        ([0, LAMP], "mt", "the table and the lamp"),
        ([77], "st_wo_d", "something that is not there"),
    ]
    return [
        {
            "scene_id": scene,
            "object_name": "thing",
            "ann_id": number,
            "description": text,
            "object_ids": ids,
            "eval_type": kind,
            **dict.fromkeys(("spatial", "color", "texture", "shape"), False),
        }
        for number, (ids, kind, text) in enumerate(described)
    ]
