"""Every case of ../shared/fixtures/vsibench.json, computed with the benchmark's own code and two others."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance import check_file, differences, is_error

from bev.errors import UserError
from gpt4scene.benchmarks import vsibench
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import Prediction
from gpt4scene.metrics.relative_accuracy import mean_relative_accuracy
from gpt4scene.metrics.short_answers import as_float, first_piece, number_anywhere

EXPECTED_BY_PROTOCOL = {
    "official": "expected",
    "vlm3r": "expected_vlm3r_fork",
    "lmms_eval": "expected_lmms_eval_2026",
}
OFFICIAL_NAMES = {"MRA": "MRA:.5:.95:.05", "Accuracy": "accuracy"}
IN_TABLE = (*vsibench.NUMERIC_TASKS, *vsibench.CHOICE_TASKS)


def scored(docs: Sequence[Mapping[str, Any]], predictions: Sequence[str], protocol: str) -> Report | None:
    """None where the questions are refused in a line."""
    try:
        samples = [vsibench.sample_of({"scene_name": "s"} | dict(doc), "the fixture") for doc in docs]
        answers = {sample.id: Prediction(text) for sample, text in zip(samples, predictions, strict=True)}
        return vsibench.score(samples, answers, protocol=protocol)
    except UserError:
        return None


def refused_or_flagged(report: Report | None, protocol: str) -> list[str]:
    return [] if report is None or report.flags else [f".{protocol}: has no flag where the official code stops"]


def case(case: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    for protocol, key in EXPECTED_BY_PROTOCOL.items():
        report = scored([case["doc"]], [case["prediction"]], protocol)
        if is_error(case[key]):
            wrong += refused_or_flagged(report, protocol)
            continue
        assert report is not None, case["id"]
        (metric,) = report.groups[case["doc"]["question_type"]]
        found = {OFFICIAL_NAMES[metric.name]: metric.value / 100}
        wrong += differences(found, case[key], path=f".{key}")
    return wrong


def text(case: dict[str, Any]) -> list[str]:
    said = case["prediction"]
    found = {
        "fuzzy_matching": first_piece(said),
        "to_float": as_float(first_piece(said)),
        "lmms_eval_extract_number": number_anywhere(said),
    }
    return differences(found, {key: case[key] for key in found})


def relative_accuracy(case: dict[str, Any]) -> list[str]:
    found = mean_relative_accuracy(float(case["pred"]), float(case["target"]))
    return differences(float(found), case["mra"])


def aggregate(case: dict[str, Any]) -> list[str]:
    docs = [{"id": i, "question": "q", "options": ["A. a", "B. b"]} | item for i, item in enumerate(case["items"])]
    predictions = [item["prediction"] for item in case["items"]]
    wrong: list[str] = []
    for protocol, key in EXPECTED_BY_PROTOCOL.items():
        report = scored(docs, predictions, protocol)
        if is_error(case[key]):
            wrong += refused_or_flagged(report, protocol)
            continue
        assert report is not None, case["id"]
        if protocol == "official":
            wrong += differences(official_table(report), case[key], path=f".{key}")
        else:
            found = report.value("Overall") / (100 if protocol == "lmms_eval" else 1)
            wrong += differences(found, case[key], path=f".{key}")
    return wrong


def official_table(report: Report) -> dict[str, Any]:
    """As the official code returns it."""
    merged = vsibench.DIRECTIONS[0] in report.groups
    table = {"overall": report.value("Overall")}
    for task in IN_TABLE:
        if task in report.groups and (task != "object_rel_direction" or merged):
            (metric,) = report.groups[task]
            table[f"{task}_{OFFICIAL_NAMES[metric.name]}"] = metric.value
    texts = {"tabulated_keys": ", ".join(table), "tabulated_results": ", ".join(f"{v:.3f}" for v in table.values())}
    return table | texts


def prompt(case: dict[str, Any]) -> list[str]:
    return differences(vsibench.official_prompt(case["doc"], **case["kwargs"]), case["expected"])


def test_every_case_of_the_fixture() -> None:
    checks = {
        "cases": case,
        "text_normalisation": text,
        "mra_grid": relative_accuracy,
        "aggregates": aggregate,
        "prompts": prompt,
    }
    assert check_file("vsibench", checks) > 0
