"""Every case of ../shared/fixtures/vstibench.json, computed with the benchmark's own code."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance import check_file, differences, is_error

from bev.errors import UserError
from gpt4scene.benchmarks import vstibench
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import Prediction

OFFICIAL_NAMES = {"MRA": "MRA:.5:.95:.05", "Accuracy": "accuracy"}


def scored(docs: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Report | None:
    """None where the questions are refused in a line."""
    try:
        samples = [vstibench.sample_of({"scene_name": "s"} | dict(doc), "the fixture") for doc in docs]
        return vstibench.score(
            samples, {sample.id: Prediction(text) for sample, text in zip(samples, predictions, strict=True)}
        )
    except UserError:
        return None


def case(case: dict[str, Any]) -> list[str]:
    report = scored([case["doc"]], [case["prediction"]])
    if is_error(case["expected"]):
        return [] if report is None or report.flags else [": has no flag where the official code stops"]
    assert report is not None, case["id"]
    (metric,) = report.groups[case["doc"]["question_type"]]
    return differences({OFFICIAL_NAMES[metric.name]: metric.value / 100}, case["expected"])


def aggregate(case: dict[str, Any]) -> list[str]:
    docs = [{"id": i, "question": "q", "options": ["A. a", "B. b"]} | item for i, item in enumerate(case["items"])]
    report = scored(docs, [item["prediction"] for item in case["items"]])
    if is_error(case["expected"]):
        return [] if report is None or report.flags else [": has no flag where the official code stops"]
    assert report is not None, case["id"]
    return differences(report.value("Mean of types"), case["expected"])


def test_every_case_of_the_fixture() -> None:
    assert check_file("vstibench", {"cases": case, "aggregates": aggregate}) > 0
