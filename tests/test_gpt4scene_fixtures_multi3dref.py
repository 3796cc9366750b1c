"""Multi3DRefer scores what the benchmark's own code scored: every case of ../shared/fixtures/multi3dref.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from conformance import check_file, differences, fixture, is_error

from bev.errors import UserError
from gpt4scene.benchmarks.grounding import named_objects
from gpt4scene.benchmarks.multi3drefer import KINDS, score
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.prompting.questions import Question


class Cases:
    def __init__(self, scenes: Mapping[str, Any]) -> None:
        self.objects = {
            name: SceneObjects(
                {id: TrueObject("object", np.array(box)) for id, box in enumerate(scene["gt_locs"])},
                {id: np.array(box) for id, box in enumerate(scene["pred_locs"])},
            )
            for name, scene in scenes.items()
        }

    def report(self, items: Sequence[Mapping[str, Any]], protocol: str) -> Report:
        samples = [
            BenchmarkSample(
                id=f"{item['scene_id']}|{number}",
                scene=item["scene_id"],
                question=Question("x", task="ground"),
                kind=item["type_info"],
                object_ids=tuple(item["ref_captions"]),
            )
            for number, item in enumerate(items)
        ]
        answers = {sample.id: Prediction(item["pred"]) for sample, item in zip(samples, items, strict=True)}
        return score(samples, answers, protocol=protocol, objects=self.objects)

    def item(self, case: Mapping[str, Any]) -> list[str]:
        known = self.objects[case["scene_id"]].proposed
        lines = differences(named_objects(case["pred"], known), case["parsed_pred_ids"])
        for protocol, expected in case["expected"].items():
            report = self.report([case], protocol)
            if is_error(expected):
                lines += [] if report.flags else [f" {protocol}: nothing is flagged"]
                continue
            found = [report.value("F1@0.25") / 100, report.value("F1@0.5") / 100]
            tolerance = 1e-5 if protocol == "m3dref" else 1e-6
            lines += differences(found, [float(value) for value in expected], tolerance=tolerance, path=f" {protocol}")
        return lines

    def base_model(self, case: Mapping[str, Any]) -> list[str]:
        return self.gpt4scene([case], case["expected"], "base_model")

    def gpt4scene(self, items: Sequence[Mapping[str, Any]], expected: Any, protocol: str) -> list[str]:
        if not items:
            with pytest.raises(UserError, match="no questions"):
                self.report(items, protocol)
            return []
        report = self.report(items, protocol)
        if is_error(expected):
            return [] if report.flags else [": nothing is flagged"]
        parts = {"all": report.metrics, **report.groups}
        shown = {"F1@0.25": "F1@0.25", "F1@0.5": "F1@0.50"}
        found = {f"[multi3dref] {kind} {shown[m.name]}": m.value / 100 for kind in parts for m in parts[kind]}
        unexpected = [f": {name} is not expected" for name in found if name not in expected]
        return unexpected + differences(found, expected, path=f" {protocol}")

    def set(self, case: Mapping[str, Any]) -> list[str]:
        protocol = "base_model" if case.get("config_base_model") else "gpt4scene"
        lines = self.gpt4scene(case["items"], case["expected_gpt4scene"], protocol)
        if "expected_m3dref" in case:
            report = self.report(case["items"], "m3dref")
            found = {
                name: {
                    kind: report.value(name, None if kind == "overall" else kind) / 100 for kind in (*KINDS, "overall")
                }
                for name in ("F1@0.25", "F1@0.5")
            }
            lines += differences(found, case["expected_m3dref"], tolerance=1e-5, path=" m3dref")
        return lines


def test_every_case_scores_as_with_the_official_code() -> None:
    cases = Cases(fixture("multi3dref")["scenes"])
    checks = {"items": cases.item, "base_model_items": cases.base_model, "sets": cases.set}
    check_file("multi3dref", checks, context=("scenes",))
