"""Every case of ../shared/fixtures/scanqa.json, computed with ScanQA's own code and three others."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from conformance import check_file, differences, fixture, is_error
from one_meteor import with_one_meteor

from gpt4scene.benchmarks import scanqa
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.metrics.captions import tokenize
from gpt4scene.prompting.questions import Question

CAPTIONS = {
    "Bleu_1": "BLEU-1",
    "Bleu_2": "BLEU-2",
    "Bleu_3": "BLEU-3",
    "Bleu_4": "BLEU-4",
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
}
"""Names there and here."""
GPT4SCENE = {f"[scanqa] {theirs}": ours for theirs, ours in CAPTIONS.items()} | {
    "[scanqa] EM1": "EM@1",
    "[scanqa] EM1_refined": "EM@1 refined",
}
OFFICIAL = CAPTIONS | {"Top1 (EM)": "EM@1", "Top10 (EM)": "EM@10", "Top1 (F-value)": "F-value"}
LEO = {
    "target_metric": "EM@1 refined",
    "em": "EM@1",
    "em_refined": "EM@1 refined",
    "cider": "CIDEr",
    "bleu": "BLEU-4",
    "meteor": "METEOR",
    "rouge": "ROUGE-L",
}


def missing() -> set[str]:
    """Metrics that this machine cannot compute, by our names."""
    return {"METEOR"} if shutil.which("java") is None else set()


def reports(items: Sequence[Mapping[str, Any]]) -> dict[str, Report]:
    """By protocol."""
    distractors = fixture("scanqa")["meta"]["top10_distractors"]
    samples = [
        BenchmarkSample(
            id=item["question_id"],
            scene=item["scene_id"],
            question=Question(item["question"], style="short"),
            kind=scanqa.question_kind(item["question"]),
            answers=tuple(item["answers"]),
        )
        for item in items
    ]
    answers = {
        item["question_id"]: Prediction(item["prediction"], extra={"answer_top10": [item["prediction"], *distractors]})
        for item in items
    }
    return {protocol: scanqa.score(samples, answers, protocol=protocol) for protocol in scanqa.PROTOCOLS}


def named(report: Report, names: Mapping[str, str], expected: Mapping[str, Any], *, scale: float) -> list[str]:
    """What differs of the expected values that this machine can compute."""
    if is_error(expected):
        return [] if report.flags else [f".{report.protocol}: has no flag where the official code stops"]
    computed = {
        theirs: expected[theirs] for theirs, ours in names.items() if theirs in expected and ours not in missing()
    }
    found = {theirs: report.value(names[theirs]) / scale for theirs in computed}
    return differences(found, computed, path=f".{report.protocol}")


def corpus(found: Mapping[str, Report], expected: Mapping[str, Any]) -> list[str]:
    official = expected["official_scanqa_score_py"]
    wrong = named(found["official"], OFFICIAL, official, scale=1)
    if "evals_json_error" in official and not any("ZeroDivisionError" in flag for flag in found["official"].flags):
        wrong.append(".official: has no flag where the official code stops")
    wrong += named(found["gpt4scene"], GPT4SCENE, expected["gpt4scene_calc_scanqa_score"], scale=100)
    wrong += named(found["leo"], LEO, expected["leo_ScanQAEvaluator"], scale=100)
    return wrong + printed(found["video3dllm"], expected["video3dllm_eval_scanqa_stdout"])


def printed(report: Report, expected: Mapping[str, Any]) -> list[str]:
    if is_error(expected):
        return [] if any("ValueError" in flag for flag in report.flags) else [".video3dllm: has no flag"]
    found = {
        "count": float(len(report.sample_ids)),
        "CIDER": report.value("CIDEr"),
        "BLEU": [report.value(f"BLEU-{order}") for order in (1, 2, 3, 4)],
        "METEOR": report.value("METEOR"),
        "Rouge": report.value("ROUGE-L"),
        "EM": report.value("EM@1") / 100,
    }
    kept = {key: value for key, value in expected.items() if key not in missing()}
    assert set(kept) <= set(found)
    return differences(found, kept, path=".video3dllm")


def items_of_a_set(case: dict[str, Any]) -> list[str]:
    found = reports(case["items"])
    wrong = corpus(found, case["corpus_expected"])
    by_protocol = {protocol: dict(zip(r.sample_ids, r.details, strict=True)) for protocol, r in found.items()}
    for item, expected in zip(case["items"], case["per_item_expected"], strict=True):
        wrong += one_item(item, expected, {name: d[item["question_id"]] for name, d in by_protocol.items()})
    return wrong


def one_item(
    item: Mapping[str, Any], expected: Mapping[str, Any], details: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    theirs, official = details["gpt4scene"], details["official"]
    found = {
        "question_id": item["question_id"],
        "gpt4scene_cleaned_pred": theirs["text"],
        "gpt4scene_em_emr": [theirs["EM@1"] / 100, theirs["EM@1 refined"] / 100],
        "leo_em_emr": [details["leo"]["EM@1"] / 100, details["leo"]["EM@1 refined"] / 100],
        "scanqa_em": official["EM@1"] / 100,
        "video3dllm_em": details["video3dllm"]["EM@1"] / 100,
        "gpt4scene_per_item": {"tok_pred": theirs["tokens"], "tok_refs": theirs["reference_tokens"]}
        | {name: theirs[ours] / 100 for name, ours in CAPTIONS.items() if ours not in missing()},
    }
    expected = dict(expected) | {
        "gpt4scene_per_item": {
            name: value for name, value in expected["gpt4scene_per_item"].items() if CAPTIONS.get(name) not in missing()
        }
    }
    value = expected.pop("scanqa_f_value")
    found["scanqa_f_value"] = official["F-value"] / 100
    expected["scanqa_f_value"] = 0.0 if is_error(value) else value
    assert set(expected) <= set(found), set(expected) - set(found)
    return differences(found, expected, path=f".{item['question_id']}")


def probe(case: dict[str, Any]) -> list[str]:
    return corpus(reports(case["items"]), case["corpus_expected"])


def tokens(case: dict[str, Any]) -> list[str]:
    return differences(tokenize([case["text"]]), [case["tokens"]])


def kind(case: dict[str, Any]) -> list[str]:
    return differences(scanqa.question_kind(case["question"]), case["expected"])


def check(checks: Mapping[str, Callable[[Any], list[str]]]) -> None:
    assert check_file("scanqa", checks) > 0


def test_every_case_of_the_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {
        "sets": items_of_a_set,
        "empty_prediction_probes": probe,
        "ptb_tokenizer": tokens,
        "question_class": kind,
    }
    with_one_meteor(monkeypatch, lambda: check(checks))
