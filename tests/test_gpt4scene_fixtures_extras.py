"""Every case of ../shared/fixtures/extras.json: SPAR-Bench, MMSI-Bench, CV-Bench and OpenEQA."""

from collections.abc import Sequence
from typing import Any

from conformance import check_file, differences, fixture, is_error

from gpt4scene.benchmarks import blink, cvbench, mmsi, openeqa, sparbench
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.metrics.short_answers import leading_letter
from gpt4scene.prompting.questions import Question

SPAR_PROTOCOLS = {"official": "expected_official", "lmms_eval": "expected_lmms_eval_2026"}


def spar_scored(cases: Sequence[dict[str, Any]], protocol: str) -> Report:
    samples = [
        BenchmarkSample(str(number), "", Question("q"), case["task"], (case["answer"],))
        for number, case in enumerate(cases)
    ]
    answers = {str(number): Prediction(case["prediction"]) for number, case in enumerate(cases)}
    return sparbench.score(samples, answers, protocol=protocol)


def spar(item: tuple[str, Any]) -> list[str]:
    key, cases = item[0], listed(item[1])
    if key == "cases":
        return [line for number, case in enumerate(cases) for line in spar_case(case, number)]
    assert key == "aggregates", f"nothing checks sparbench.{key}"
    given = fixture("extras")["sparbench"]["cases"]
    return [line for case in cases for line in spar_aggregate(case, given)]


def spar_case(case: dict[str, Any], number: int) -> list[str]:
    wrong: list[str] = []
    for protocol, key in SPAR_PROTOCOLS.items():
        report = spar_scored([case], protocol)
        if is_error(case[key]):
            wrong += [] if report.flags else [f"[{number}].{key}: has no flag where the official code stops"]
            continue
        ((name, value),) = case[key].items()
        wrong += differences(report.value("Overall") / 100, value, path=f"[{number}].{key}.{name}")
    return wrong


def spar_aggregate(case: dict[str, Any], given: Sequence[dict[str, Any]]) -> list[str]:
    indices = case["case_indices"]
    if any(index >= len(given) for index in indices):
        return []
    assert len(indices) == case["n"]
    report = spar_scored([given[index] for index in indices], "official")
    return differences(report.value("Overall"), case["expected_official"], path=".aggregates")


def mmsi_case(case: dict[str, Any]) -> list[str]:
    letter = mmsi.read_letter(case["prediction"])
    found = None if letter is None else float(letter == case["answer"])
    return differences(found, case["expected"])


def listed(cases: Any) -> list[Any]:
    """Cases, of which a single one may stand alone."""
    return cases if isinstance(cases, list) else [cases]


def cv(item: tuple[str, Any]) -> list[str]:
    key, cases = item[0], listed(item[1])
    if key == "letter":
        return [line for case in cases for line in differences(leading_letter(case["text"]), case["expected"])]
    assert key == "aggregate", f"nothing checks cv_bench.{key}"
    return [line for case in cases for line in cv_aggregate(case["items"], case)]


def cv_aggregate(items: Sequence[dict[str, Any]], case: dict[str, Any]) -> list[str]:
    question = Question("q", style="letter", options=("x", "y"))
    samples = [
        BenchmarkSample(str(number), "", question, "task", ("(A)",), row={"source": item["source"]})
        for number, item in enumerate(items)
    ]
    answers = {str(number): Prediction("A" if item["is_correct"] else "B") for number, item in enumerate(items)}
    plain = cvbench.score(samples, answers, protocol="plain")
    default = cvbench.score(samples, answers, protocol="default")
    wrong = differences(plain.value("Overall") / 100, case["expected_overall"], path=".plain")
    if is_error(case["expected_default"]):
        return wrong + ([] if default.flags else [".default: has no flag where the official code stops"])
    wrong += differences(default.value("Overall") / 100, case["expected_default"], path=".default")
    found = blink.score(samples, answers).value("Accuracy") / 100
    return wrong + differences(found, case["expected_overall"], path=".blink")


def open_eqa(item: tuple[str, list[dict[str, Any]]]) -> list[str]:
    key, cases = item
    if key == "parse_score":
        expected = [None if is_error(case["expected"]) else case["expected"] for case in cases]
        return differences([openeqa.parse_score(case["output"]) for case in cases], expected)
    assert key == "final", f"nothing checks open_eqa.{key}"
    return [line for case in cases for line in differences(openeqa.final_score(case["scores"]), case["expected"])]


def test_every_case_of_the_fixture() -> None:
    assert check_file("extras", {"sparbench": spar, "mmsi": mmsi_case, "cv_bench": cv, "open_eqa": open_eqa}) > 0
