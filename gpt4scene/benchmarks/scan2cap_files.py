"""Scan2Cap's files: the annotation that descriptions are taken from, and the prediction files of four repositories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import find_file, needed, read_json, read_rows
from gpt4scene.benchmarks.detected_captions import read_detections
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.prompting.questions import Question

TOKENS, CORPUS, BBOX, NAMES, FIRST_ROW = "tokens", "corpus", "bbox", "names", "first_row"
"""Keys of `BenchmarkSample.row`: ScanRefer's tokens of each description; GPT4Scene's references; (8, 3) corners of the
box; the names of the object; the place of its first description in ScanRefer's file, from 0."""
IOU, GATED, DETECTIONS, ROWS = "iou", "gated", "detections", "rows"
"""Keys of `Prediction.extra`, which `scan2cap.score` explains; the last says how many answers there were."""
_PROPOSED = ("proposed_id", "pred_id")

_WHAT = "the annotation of Scan2Cap: that of ScanRefer (github.com/daveredrum/ScanRefer, on request)"
_FOLDERS = ("", "annotations/", "annotation/")


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The annotated objects of a split, in the order of their first description.

    Taken from `ScanRefer_filtered_{split}_gt_bbox.json`, which holds boxes too, or `ScanRefer_filtered_{split}.json`.
    `scan2cap_{split}_corpus.json`, where it is there, says how GPT4Scene's protocol words the references, and where
    neither of the former is, which objects there are. `scan2cap_mask3d_{split}.json` says which of Mask3D's objects is
    asked about.

    Args:
        root: holds the files, itself or in `annotations`.
        split: "val" or "train".

    Raises:
        UserError: a file is missing, damaged, or names objects that the others do not know.
    """
    if split not in ("val", "train"):
        raise UserError(f"--split {split}: there are val, train")
    corpus_path = _find(root, f"scan2cap_{split}_corpus.json")
    names = [f"{folder}ScanRefer_filtered_{split}{end}.json" for folder in _FOLDERS for end in ("_gt_bbox", "")]
    if corpus_path is not None and not any((root / name).is_file() for name in names):
        samples = _of_corpus(corpus_path)
    else:
        samples = _of_scanrefer(find_file(root, names, _WHAT))
        if corpus_path is not None:
            _add_corpus(samples, corpus_path)
    rows_path = _find(root, f"scan2cap_mask3d_{split}.json")
    if rows_path is not None:
        _add_assigned(samples, rows_path)
    return list(samples.values())


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers in one of four formats.

    - GPT4Scene, Chat-Scene: [{"scene_id", "gt_id", "pred_id", "pred"}]; of several for one object the last counts;
    - Video-3D-LLM: [{"sample_id", "pred_response"}], by place in ScanRefer's file, or by "scene|object";
    - Scan2Cap's eval_cap: {"scene|object|name": ["sos ... eos"]}, captions of poor overlap already left out;
    - Scan2Cap's benchmark: {"scene": [{"caption", "box": 8x3, ...}]}.

    Raises:
        UserError: a row of a known format is damaged, or nothing in it is of this split.
    """
    if isinstance(content, dict) and content:
        if all(isinstance(value, list) and _all(value, str) and value for value in content.values()):
            return _of_eval_cap(content, samples)
        if all(isinstance(value, list) and _all(value, dict) for value in content.values()) and any(content.values()):
            return _of_benchmark(content, samples)
        return None
    if not isinstance(content, list) or not content or not _all(content, dict):
        return None
    if all({"scene_id", "gt_id", "pred"} <= set(row) for row in content):
        return _of_gpt4scene(content)
    if all({"sample_id", "pred_response"} <= set(row) for row in content):
        return _of_video3dllm(content, samples)
    return None


def proposed_id(extra: Mapping[str, Any], row: Mapping[str, Any]) -> int | None:
    """The proposed object that was described, as the answer says, or else the annotation."""
    for source in (extra, row):
        for key in _PROPOSED:
            if isinstance(source.get(key), int):
                return source[key]
    return None


def _find(root: Path, name: str) -> Path | None:
    return next((root / folder / name for folder in _FOLDERS if (root / folder / name).is_file()), None)


def _all(values: Sequence[Any], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


def _sample(scene: str, object_id: int, name: str, where: str) -> BenchmarkSample:
    return BenchmarkSample(
        id=f"{scene}|{object_id}",
        scene=scene,
        question=Question(task="caption", object_id=object_id),
        kind=name.replace("_", " "),
        object_ids=(object_id,),
        where=where,
    )


def _with(sample: BenchmarkSample, held: Mapping[str, Any]) -> BenchmarkSample:
    return replace(sample, row={**sample.row, **held})


def _of_scanrefer(path: Path) -> dict[str, BenchmarkSample]:
    samples: dict[str, BenchmarkSample] = {}
    described: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
    places: dict[str, int] = {}
    for place, (row, where) in enumerate(read_rows(path)):
        object_id = _number(needed(row, "object_id", (str, int), where), "object_id", where)
        name = needed(row, "object_name", str, where)
        sample = _sample(needed(row, "scene_id", str, where), object_id, name, where)
        samples.setdefault(sample.id, sample)
        places.setdefault(sample.id, place)
        described.setdefault(sample.id, []).append((row, where))
    return {id: _described(sample, described[id], places[id]) for id, sample in samples.items()}


def _described(
    sample: BenchmarkSample, rows: Sequence[tuple[Mapping[str, Any], str]], first_row: int
) -> BenchmarkSample:
    """An object with all its descriptions."""
    numbers: dict[str, str] = {}
    for row, where in rows:
        if row.get("ann_id") is not None and numbers.setdefault(str(row["ann_id"]), where) is not where:
            first = numbers[str(row["ann_id"])]
            raise UserError(f"{where}: has the 'ann_id' {row['ann_id']!r} of its object, as {first} has; take one out")
    tokens = [_tokens(row, where) for row, where in rows]
    held = {
        FIRST_ROW: first_row,
        NAMES: [row["object_name"] for row, _ in rows],
        # of a description without tokens it is not known how ScanRefer would split it
        TOKENS: tokens if all(tokens) else None,
        BBOX: _box(*rows[0]),
    }
    return replace(sample, answers=tuple(needed(row, "description", str, where) for row, where in rows), row=held)


def _of_corpus(path: Path) -> dict[str, BenchmarkSample]:
    samples = {}
    for key, texts in _corpus(path).items():
        where = f"{path}, {key!r}"
        scene, _, number = key.rpartition("|")
        sample = _sample(scene, _number(number, "object", where), "object", where)
        bare = tuple(text.removeprefix("sos ").removesuffix(" eos") for text in texts)
        samples[sample.id] = replace(sample, answers=bare, row={CORPUS: texts})
    return samples


def _add_corpus(samples: dict[str, BenchmarkSample], path: Path) -> None:
    corpus = _corpus(path)
    unlike = sorted(set(corpus) ^ set(samples))
    if unlike:
        raise UserError(
            f"{path}: it and ScanRefer's file differ in {len(unlike)} of the objects that they describe, the first"
            f" {unlike[0]!r}; are they of one split? Without it, references are taken from ScanRefer's file"
        )
    for key, texts in corpus.items():
        samples[key] = _with(samples[key], {CORPUS: texts})


def _add_assigned(samples: dict[str, BenchmarkSample], path: Path) -> None:
    for row, where in read_rows(path):
        id = _object_of(row, "obj_id", where)
        if id not in samples:
            raise UserError(f"{where}: object {id!r} has no description; is the file of another split?")
        held: dict[str, Any] = {"pred_id": needed(row, "pred_id", int, where)}
        if isinstance(row.get(IOU), int | float):
            held[IOU] = row[IOU]
        samples[id] = _with(samples[id], held)


def _object_of(row: Mapping[str, Any], key: str, where: str) -> str:
    return f"{needed(row, 'scene_id', str, where)}|{_number(needed(row, key, (int, str), where), key, where)}"


def _corpus(path: Path) -> dict[str, list[str]]:
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: must hold references by 'scene|object', holds a {type(content).__name__}")
    for key, texts in content.items():
        if not isinstance(texts, list) or not texts or not _all(texts, str) or "|" not in key:
            raise UserError(
                f"{path}: {key!r} must be 'scene|object' with one or several references, has {str(texts)[:60]}"
            )
    return content


def _number(value: str | int, key: str, where: str) -> int:
    if not str(value).isdecimal():
        raise UserError(f"{where}: {key!r} must be the number of an object, is {value!r}")
    return int(value)


def _tokens(row: Mapping[str, Any], where: str) -> list[str]:
    tokens = row.get("token") or []
    if not isinstance(tokens, list) or not _all(tokens, str):
        raise UserError(f"{where}: 'token' must be a list of words, is {str(tokens)[:60]}")
    return tokens


def _box(row: Mapping[str, Any], where: str) -> list[list[float]] | None:
    if row.get("bbox") is None:
        return None
    try:
        box = np.asarray(row["bbox"], np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: 'bbox' holds no numbers ({error})") from error
    if box.shape != (8, 3) or not np.isfinite(box).all():
        raise UserError(f"{where}: 'bbox' must be 8 corners of 3 numbers, is {box.shape}")
    return box.tolist()


def _of_gpt4scene(rows: Sequence[Mapping[str, Any]]) -> dict[str, Prediction]:
    found: dict[str, Prediction] = {}
    for number, row in enumerate(rows, start=1):
        where = f"answers, row {number}"
        id = _object_of(row, "gt_id", where)
        extra: dict[str, Any] = {ROWS: _rows_of(found, id) + 1}
        if row.get("pred_id") is not None:
            extra["pred_id"] = _number(needed(row, "pred_id", (int, str), where), "pred_id", where)
        found[id] = Prediction(needed(row, "pred", str, where), extra=extra)
    return found


def _rows_of(found: Mapping[str, Prediction], id: str) -> int:
    return found[id].extra[ROWS] if id in found else 0


def _of_video3dllm(rows: Sequence[Mapping[str, Any]], samples: Sequence[BenchmarkSample]) -> dict[str, Prediction]:
    by_place = {sample.row.get(FIRST_ROW): sample for sample in samples}
    found: dict[str, Prediction] = {}
    for number, row in enumerate(rows, start=1):
        where = f"answers, row {number}"
        key = needed(row, "sample_id", (int, str), where)
        sample = by_place.get(key)
        id = sample.id if sample is not None else "|".join(str(key).split("|")[:2])
        meant = row.get("gt_response")
        if sample is not None and isinstance(meant, list) and sorted(map(str, meant)) != sorted(sample.answers):
            raise UserError(f"{where}: its 'gt_response' is not what {sample.where} has; is it of another split?")
        extra = {GATED: True, ROWS: _rows_of(found, id) + 1}
        found[id] = Prediction(needed(row, "pred_response", str, where), extra=extra)
    return found


def _of_eval_cap(content: Mapping[str, list[str]], samples: Sequence[BenchmarkSample]) -> dict[str, Prediction]:
    names = {sample.id: sample.row.get(NAMES, ()) for sample in samples}
    found = {}
    for key, texts in content.items():
        id, _, name = key.rpartition("|")
        # a key with another name is to that code another object
        is_known = id in names and (name in names[id] or not names[id])
        found[id if is_known else key] = Prediction(texts[0], extra={GATED: True})
    return found


def _of_benchmark(content: Mapping[str, list[Any]], samples: Sequence[BenchmarkSample]) -> dict[str, Prediction]:
    found = {scene: read_detections(rows, f"answers, scene {scene}") for scene, rows in content.items() if rows}
    answers = {s.id: Prediction(extra={DETECTIONS: found[s.scene]}) for s in samples if s.scene in found}
    if not answers:
        raise UserError(f"answers: none of their {len(content)} scenes is in this split; are they of another?")
    return answers
