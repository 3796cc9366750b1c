"""Every case of ../shared/fixtures/scan2cap.json, read from files as those repositories write them."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import check_file, differences, fixture, is_error
from one_meteor import with_one_meteor

from gpt4scene.benchmarks import scan2cap
from gpt4scene.benchmarks.detected_captions import IOU_MINS, f1_scores, match_detections
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.benchmarks.scan2cap_files import DETECTIONS
from gpt4scene.benchmarks.scan2cap_wording import references_of
from gpt4scene.metrics.captions import tokenize
from gpt4scene.metrics.metric import Metric

OURS = {"CIDEr": "CIDEr", "METEOR": "METEOR", "ROUGE_L": "ROUGE-L"} | {f"Bleu_{n}": f"BLEU-{n}" for n in range(1, 5)}
BLEU = [f"BLEU-{n}" for n in range(1, 5)]
PLAIN = {"cider": "CIDEr", "rouge": "ROUGE-L", "meteor": "METEOR"}
BY_KEY = {"bleu": BLEU, **{key: [name] for key, name in PLAIN.items()}}


def loaded(files: Mapping[str, Any]) -> list[BenchmarkSample]:
    """The samples of a folder with these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content), encoding="utf-8")
        return scan2cap.load(Path(folder), "val")


def scored(samples: Sequence[BenchmarkSample], content: Any, protocol: str, objects: Any = None) -> Report:
    answers = scan2cap.read_predictions(content, samples)
    assert answers is not None
    return scan2cap.score(samples, answers, protocol=protocol, objects=objects)


def objects_of_fixture() -> dict[str, SceneObjects]:
    return {
        name: SceneObjects(
            {id: TrueObject("", np.array(box)) for id, box in enumerate(scene["gt_locs"])},
            {id: np.array(box) for id, box in enumerate(scene["pred_locs"])},
        )
        for name, scene in fixture("scan2cap")["scenes"].items()
    }


def rows_of(references: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """ScanRefer's rows of "scene|object" -> descriptions."""
    return [
        {
            "scene_id": key.split("|")[0],
            "object_id": key.split("|")[1],
            "object_name": "thing",
            "ann_id": str(number),
            "description": text,
            "token": text.split(),
        }
        for key, texts in references.items()
        for number, text in enumerate(texts)
    ]


def gpt4scene_set(case: dict[str, Any]) -> list[str]:
    samples = loaded({"scan2cap_val_corpus.json": case["corpus"]})
    report = scored(samples, case["items"], "gpt4scene", objects_of_fixture())
    if is_error(case["expected"]):
        return flagged_error(report)
    wrong = []
    for key, value in case["expected"].items():
        name, _, iou_min = key.removeprefix("[scan2cap] ").partition("@")
        found = report.value(f"{OURS[name]}@{float(iou_min):g}") / 100
        wrong += differences(found, value, path=f".{key}")
    return wrong


def flagged_error(report: Report) -> list[str]:
    finite = all(np.isfinite(metric.value) for metric in report.metrics)
    return [] if report.flags and finite else [": has no flag where the official code stops"]


def official_set(case: dict[str, Any]) -> list[str]:
    samples = loaded({"ScanRefer_filtered_val.json": case["raw_annotations"]})
    ids = {f"{sample.id}|{sample.row['names'][0]}": n for n, sample in enumerate(samples)}
    wrong = differences({key: references_of(samples[n], "official") for key, n in ids.items()}, case["corpus"])
    report = scored(samples, case["candidates"], "official")
    if is_error(case["expected"]):
        return wrong + flagged_error(report)
    by_name = {metric.name: metric for metric in report.metrics}
    for iou_min in ("0.5", "0.25"):
        metrics = {name: by_name[f"{name}@{iou_min}"] for name in [*BLEU, *PLAIN.values()]}
        wrong += differences(
            plain({name: m.value for name, m in metrics.items()}), without(case["expected"], "per_key")
        )
        for key, expected in case["expected"]["per_key"].items():
            values = {name: float(values_of(metric)[ids[key]]) for name, metric in metrics.items()}
            wrong += differences(plain(values), expected, path=f".per_key.{key}")
    return wrong


def values_of(metric: Metric) -> np.ndarray:
    assert metric.values is not None
    return metric.values


def without(expected: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in expected.items() if name != key}


def plain(points: Mapping[str, float]) -> dict[str, Any]:
    """Metrics by our names as the official code names and groups them, as fractions."""
    fractions = {name: value / 100 for name, value in points.items()}
    return {"bleu": [fractions[name] for name in BLEU], **{key: fractions[name] for key, name in PLAIN.items()}}


def video3dllm_set(case: dict[str, Any]) -> list[str]:
    references = {item["sample_id"]: item["gt_response"] for item in case["items"]}
    samples = loaded({"ScanRefer_filtered_val.json": rows_of(references)})
    report = scored(samples, case["items"], "video3dllm")
    if is_error(case["expected"]):
        return flagged_error(report)
    names = {"CIDER": "CIDEr", "BLEU": "BLEU-4", "METEOR": "METEOR", "Rouge": "ROUGE-L"}
    return differences({key: report.value(f"{names[key]}@0.5") for key in case["expected"]}, case["expected"])


def benchmark_set(case: dict[str, Any]) -> list[str]:
    samples = loaded({"ScanRefer_filtered_val_gt_bbox.json": case["ground_truth"]})
    report = scored(samples, case["predictions"], "benchmark")
    if is_error(case["expected"]):
        return [] if report.flags else [": has no flag where the official code stops"]
    answers = scan2cap.read_predictions(case["predictions"], samples)
    assert answers is not None
    found = {samples_scene(samples, id): one.extra[DETECTIONS] for id, one in answers.items()}
    matched = match_detections([s.scene for s in samples], [np.array(s.row["bbox"]) for s in samples], found)
    scores = f1_scores(matched, [references_of(s, "benchmark") for s in samples], [False] * len(samples))
    wrong = []
    for iou_min in IOU_MINS:
        expected = case["expected"][f"{iou_min:g}"]
        for kind, table in (("precision", scores.precision), ("recall", scores.recall), ("f1-score", scores.f1)):
            if is_error(expected) or is_error(expected[kind]):
                wrong += [] if scores.flags else [f".{iou_min:g}.{kind}: has no flag where the official code stops"]
                continue
            values = {name: table[iou_min, name].value for name in [*BLEU, *PLAIN.values()]}
            wrong += differences(plain(values), expected[kind], path=f".{iou_min:g}.{kind}")
            shown = {"precision": " precision", "recall": " recall", "f1-score": ""}[kind]
            in_report = report.value(f"CIDEr@{iou_min:g}{shown}") if iou_min else values["CIDEr"]
            wrong += differences(in_report, values["CIDEr"], path=f".{iou_min:g}.{kind}: in the report")
    return wrong


def samples_scene(samples: Sequence[BenchmarkSample], id: str) -> str:
    return next(sample.scene for sample in samples if sample.id == id)


def tokenised(item: tuple[str, list[str]]) -> list[str]:
    key, expected = item
    texts = fixture("scan2cap").get("references", {}).get(key)
    return [] if texts is None else differences(tokenize([f"sos {text} eos" for text in texts]), expected)


def capitalised(item: tuple[str, list[str]]) -> list[str]:
    """References that we make ourselves are to the tokenizer as those of the corpus file."""
    key, texts = item
    (sample,) = loaded({"ScanRefer_filtered_val.json": rows_of({key: [text.lower() for text in texts]})})
    found = tokenize(references_of(sample, "gpt4scene"))
    return differences(found, fixture("scan2cap").get("ptb_tokenized_corpus", {}).get(key, found))


def check(checks: Mapping[str, Callable[[Any], list[str]]]) -> None:
    assert check_file("scan2cap", checks, context=("scenes",)) > 0


def test_every_case_of_the_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {
        "gpt4scene_sets": gpt4scene_set,
        "official_eval_helper_sets": official_set,
        "video3dllm_sets": video3dllm_set,
        "official_benchmark_sets": benchmark_set,
        "ptb_tokenized_corpus": tokenised,
        "references": capitalised,
    }
    with_one_meteor(monkeypatch, lambda: check(checks))
