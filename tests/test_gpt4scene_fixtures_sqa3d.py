"""Every case of ../shared/fixtures/sqa3d.json, computed with SQA3D's own code and three others."""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from conformance import check_file, differences, is_error
from one_meteor import with_one_meteor

from gpt4scene.benchmarks import sqa3d
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.metrics.answer_text import clean_answer
from gpt4scene.metrics.exact_match import match_gpt4scene, match_lenient, match_leo, match_strict
from gpt4scene.metrics.localization import localization_metrics
from gpt4scene.prompting.questions import Question

GPT4SCENE = {
    "EM1": "EM@1",
    "EM1_refined": "EM@1 refined",
    "Bleu_1": "BLEU-1",
    "Bleu_2": "BLEU-2",
    "Bleu_3": "BLEU-3",
    "Bleu_4": "BLEU-4",
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
}
"""Names there and here."""
LEO = {
    "target_metric": "EM@1 refined",
    "em_overall": "EM@1",
    "em_refined_overall": "EM@1 refined",
    "cider_overall": "CIDEr",
    "bleu_overall": "BLEU-4",
    "meteor_overall": "METEOR",
    "rouge_overall": "ROUGE-L",
}


def cleaned(case: dict[str, Any]) -> list[str]:
    return differences(clean_answer(case["input"]), case["expected"])


def matched(case: dict[str, Any]) -> list[str]:
    said, meant = case["prediction"], case["answers"]
    gpt4scene, leo = match_gpt4scene(said, meant, clean_references=True), match_leo(said, meant)
    found = {
        "prediction": said,
        "answers": meant,
        "cleaned_pred": leo.text,
        "cleaned_refs": leo.references,
        "gpt4scene_em_emr": [int(gpt4scene.exact), int(gpt4scene.refined)],
        "leo_em_emr": [int(leo.exact), int(leo.refined)],
        "video3dllm_em": int(match_strict(said, meant).exact),
        "official_llm_lenient": int(match_lenient(said, meant).refined),
    }
    assert set(case) <= set(found)
    return differences(found, case)


def kind(case: dict[str, Any]) -> list[str]:
    return differences(sqa3d.KINDS.index(sqa3d.question_kind(case["question"])), case["expected"])


def scored(case: dict[str, Any]) -> list[str]:
    samples = [
        BenchmarkSample(
            id=str(item["question_id"]),
            scene=item["scene_id"],
            question=Question(item["question"], task="situated", situation=item["situation"], style="short"),
            kind=sqa3d.question_kind(item["question"]),
            answers=tuple(item["answers"]),
        )
        for item in case["items"]
    ]
    answers = {str(item["question_id"]): Prediction(item["prediction"]) for item in case["items"]}
    found = {protocol: sqa3d.score(samples, answers, protocol=protocol) for protocol in sqa3d.PROTOCOLS}
    types = [sqa3d.KINDS.index(sample.kind) for sample in samples]
    wrong = differences(types, [item["sqa_type"] for item in case["items"]], path=".sqa_type")
    return wrong + corpus(found, case["corpus_expected"])


def corpus(found: Mapping[str, Report], expected: Mapping[str, Any]) -> list[str]:
    theirs = {name.removeprefix("[sqa3d] "): value for name, value in expected["gpt4scene_calc_sqa3d_score"].items()}
    count = len(found["lenient"].sample_ids)
    right = found["lenient"].value("Accuracy") * count / 100
    strict = {"all": found["strict"].value("EM@1")} | {
        str(sqa3d.KINDS.index(kind)): metrics[0].value for kind, metrics in found["strict"].groups.items()
    }
    return [
        *fractions(found["gpt4scene"], GPT4SCENE, "EM_", theirs),
        *fractions(found["leo"], LEO, "em_", expected["leo_SQA3DEvaluator"]),
        *differences(strict, expected["video3dllm_eval_sqa3d_stdout"], path=".strict"),
        *differences([right, float(count)], expected["official_llm_lenient_correct_total"], path=".lenient"),
    ]


def fractions(report: Report, names: Mapping[str, str], prefix: str, expected: Mapping[str, float]) -> list[str]:
    """What differs of a table with an EM and a refined EM for each type, 0 where there is no question of it."""
    if is_error(expected):
        return [] if report.flags else [f".{report.protocol}: has no flag where the official code stops"]
    found = {theirs: report.value(ours) / 100 for theirs, ours in names.items()}
    for number, kind in enumerate(sqa3d.KINDS):
        there = kind in report.groups
        found[f"{prefix}type{number}"] = report.value("EM@1", kind) / 100 if there else 0.0
        found[f"{prefix}refined_type{number}"] = report.value("EM@1 refined", kind) / 100 if there else 0.0
    assert set(expected) <= set(found)
    no_java = shutil.which("java") is None
    kept = {name: value for name, value in expected.items() if not (no_java and "meteor" in name.lower())}
    return differences(found, kept, path=f".{report.protocol}")


def localized(case: dict[str, Any]) -> list[str]:
    metrics = localization_metrics(
        np.array(case["gt_pos"]), np.array(case["gt_rot_xyzw"]), case["pred_pos"], case["pred_rot_xyzw"]
    )
    return differences({metric.name: metric.value / 100 for metric in metrics}, case["expected"])


def check(checks: Mapping[str, Callable[[Any], list[str]]]) -> None:
    assert check_file("sqa3d", checks) > 0


def test_every_case_of_the_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {
        "clean_answer": cleaned,
        "answer_match": matched,
        "question_type": kind,
        "sets": scored,
        "localization": localized,
    }
    with_one_meteor(monkeypatch, lambda: check(checks))
