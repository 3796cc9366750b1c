"""ScanRefer scores what the benchmark's own code scored: every case of ../shared/fixtures/scanrefer.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from conformance import check_file, differences, fixture, is_error

from bev.errors import UserError
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.benchmarks.scannet_classes import CLASS_OF_NAME
from gpt4scene.benchmarks.scanrefer import score, unique_multiple
from gpt4scene.metrics.boxes import box_iou
from gpt4scene.prompting.questions import Question


def scene_objects(scenes: Mapping[str, Any]) -> dict[str, SceneObjects]:
    return {
        name: SceneObjects(
            {id: TrueObject("object", np.array(box)) for id, box in enumerate(scene["gt_locs"])},
            {id: np.array(box) for id, box in enumerate(scene["pred_locs"])},
        )
        for name, scene in scenes.items()
    }


class Cases:
    def __init__(self, content: Mapping[str, Any]) -> None:
        self.objects = scene_objects(content["scenes"])
        annotations = content["scanrefer_annotations"]
        self.kinds = dict(
            zip(
                [(row["scene_id"], row["object_id"]) for row in annotations],
                unique_multiple([(row, "") for row in annotations], CLASS_OF_NAME),
                strict=True,
            )
        )
        self.items = {case["id"]: case["items"] for case in content.get("gpt4scene_sets", [])}

    def sample(self, number: int, scene: str, id: int) -> BenchmarkSample:
        # where nothing is annotated the official server rows say it themselves
        row = self.kinds.get((scene, str(id)), {"unique_multiple": 1, "others": 1, "eval_type": "multiple"})
        kind = ("unique", "multiple")[row["unique_multiple"]]
        question = Question("x", task="ground", expect="one")
        return BenchmarkSample(f"{scene}|{id}|{number}", scene, question, kind, object_ids=(id,), row=row)

    def report(self, items: Sequence[Mapping[str, Any]], protocol: str) -> Report:
        samples = [self.sample(n, item["scene_id"], int(item["gt_id"])) for n, item in enumerate(items)]
        answers = {s.id: Prediction(item["pred"]) for s, item in zip(samples, items, strict=True)}
        return score(samples, answers, protocol=protocol, objects=self.objects)

    def iou(self, case: Mapping[str, Any]) -> list[str]:
        found = float(box_iou(np.array(case["pred_center_size"]), np.array(case["gt_center_size"])))
        return differences(found, case["gpt4scene_box3d_iou"])

    def lookup(self, case: Mapping[str, Any]) -> list[str]:
        row = self.kinds[case["scene_id"], case["object_id"]]
        found = (row["unique_multiple"], row["unique_multiple"], row["eval_type"])
        expected = [case["gpt4scene"], case["official_scanrefer"], case["m3dref_eval_type"]]
        return differences(found, expected, path=f" {case['object_name']}")

    def item(self, case: Mapping[str, Any]) -> list[str]:
        if is_error(case["expected"]):
            return self.fails([case])
        report = self.report([case], "gpt4scene")
        expected = case["expected"]
        kind = self.kinds[case["scene_id"], str(case["gt_id"])]["unique_multiple"]
        found = {
            "unique_multiple": kind,
            "hit25": report.value("Acc@0.25") / 100,
            "hit50": report.value("Acc@0.5") / 100,
        }
        return differences(found, expected, path=f" {case['pred']!r}")

    def fails(self, items: Sequence[Mapping[str, Any]], protocol: str = "gpt4scene") -> list[str]:
        """What official code stops at: nothing to be scored is said in a line, all else is flagged."""
        if not items:
            with pytest.raises(UserError, match="no questions"):
                self.report(items, protocol)
            return []
        return [] if self.report(items, protocol).flags else [": nothing is flagged"]

    def gpt4scene(self, case: Mapping[str, Any]) -> list[str]:
        if is_error(case["expected"]):
            return self.fails(case["items"])
        report = self.report(case["items"], "gpt4scene")
        found = {
            f"[scanrefer] {label}Acc@{shown}": report.value(f"Acc@{iou_min}", group) / 100
            for label, group in (("", None), ("Unique ", "unique"), ("Multiple ", "multiple"))
            for iou_min, shown in ((0.25, "0.25"), (0.5, "0.50"))
        }
        return differences(found, case["expected"])

    def m3dref(self, case: Mapping[str, Any]) -> list[str]:
        if case["id"] not in self.items:  # its questions are those of another file
            return []
        if is_error(case["expected"]):
            return self.fails(self.items[case["id"]], "m3dref")
        report = self.report(self.items[case["id"]], "m3dref")
        found = {
            name: {group: report.value(name, key) / 100 for group, key in _M3DREF_GROUPS}
            for name in ("Acc@0.25", "Acc@0.5")
        }
        return differences(found, case["expected"], tolerance=1e-5)

    def official(self, case: Mapping[str, Any]) -> list[str]:
        rows = case["predictions"]
        samples = [self.sample(n, row["scene_id"], int(row["object_id"])) for n, row in enumerate(rows)]
        told = ("bbox", "unique_multiple", "others")
        answers = {
            sample.id: Prediction(extra={key: row[key] for key in told})
            for sample, row in zip(samples, rows, strict=True)
        }
        if is_error(case["expected"]) and not rows:
            with pytest.raises(UserError, match="no questions"):
                score(samples, answers, objects=self.objects)
            return []
        report = score(samples, answers, objects=self.objects)
        if is_error(case["expected"]):
            return [] if report.flags else [": nothing is flagged"]
        return differences(official_table(report), case["expected"])


_M3DREF_GROUPS = (("unique", "unique"), ("multiple", "multiple"), ("overall", None))


def official_table(report: Report) -> dict[str, float]:
    """The report under the names that the official code prints."""
    found: dict[str, float] = {}
    for kind in ("unique", "multiple", "overall"):
        for place in ("not_in_others", "in_others", "overall"):
            group = ", ".join(part for part in (kind, place) if part != "overall") or None
            metrics = report.metrics if group is None else report.groups[group]
            for metric in metrics:
                found[f"{kind}|{place}|{metric.name.lower()}iou"] = metric.value / 100
                assert metric.values is not None
                found[f"count|{kind}|{place}"] = int((~np.isnan(metric.values)).sum())
    return found


def test_every_case_scores_as_with_the_official_code() -> None:
    cases = Cases(fixture("scanrefer"))
    check_file(
        "scanrefer",
        {
            "iou": cases.iou,
            "unique_multiple_lookup": cases.lookup,
            "gpt4scene_items": cases.item,
            "gpt4scene_sets": cases.gpt4scene,
            "official_benchmark_sets": cases.official,
            "m3dref_sets": cases.m3dref,
        },
        context=("scenes", "scanrefer_annotations"),
    )
