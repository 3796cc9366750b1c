"""ScanQA: questions about ScanNet scenes with one or several short answers, asked by people.

Data: `ScanQA_v1.0_{split}.json` of the folder that docs/dataset.md of ATR-DBI/ScanQA names. The answers of the two test
splits are hidden; `write_submission` writes what EvalAI scores.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import as_rows, find_file, needed, read_rows
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.qa_prediction_files import read_qa_rows
from gpt4scene.benchmarks.qa_scores import EM, EM_REFINED, Matches, details_of, grouped, match_all
from gpt4scene.benchmarks.report import Report, flagged
from gpt4scene.benchmarks.sample import Aligned, BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.captions import caption_metrics
from gpt4scene.metrics.exact_match import match_gpt4scene, match_leo, match_raw
from gpt4scene.metrics.metric import Metric, mean_metric
from gpt4scene.metrics.unigram_f import f_value, f_value_fails
from gpt4scene.prompting.questions import Question
from gpt4scene.scene.atomic import write_bytes

TITLE = "ScanQA"
SPLITS = ("val", "train", "test_w_obj", "test_wo_obj")
PROTOCOLS = ("official", "gpt4scene", "leo", "video3dllm")
"""First the benchmark's own, which its server runs too; its EM@1 is also that of Video-3D-LLM and what builds on it."""
NEEDS_OBJECTS = False

KINDS = ("Place", "Number", "Color", "Object nature", "Object", "Other")
TOP10 = "answer_top10"
"""Key of `Prediction.extra`: ten answers, the best first."""
BBOX = "bbox"
"""Key of `Prediction.extra`: (8, 3) corners of the object that the answer is about, for EvalAI."""

_STARTS = (
    (("Where",), "Place"),
    (("How many",), "Number"),
    (("What color", "What is the color"), "Color"),
    (("What shape", "What type", "What kind"), "Object nature"),
    (("What is",), "Object"),
)
_NO_ANSWER = "(no answer)"
_WHAT = "the questions of ScanQA, from the folder that docs/dataset.md of github.com/ATR-DBI/ScanQA names"


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of a split, from `ScanQA_v1.0_{split}.json`.

    Raises:
        UserError: there is no such split or file, or it holds something else.
    """
    check_choice(split, SPLITS, "split")
    rows = read_rows(find_file(root, [f"ScanQA_v1.0_{split}.json"], _WHAT))
    return unique([_sample(row, where, hidden=split.startswith("test")) for row, where in rows])


def _sample(row: Mapping[str, Any], where: str, *, hidden: bool) -> BenchmarkSample:
    text = needed(row, "question", str, where)
    answers = row.get("answers", []) if hidden else needed(row, "answers", list, where)
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers) or not (answers or hidden):
        raise UserError(f"{where}: 'answers' must be one or several texts, are {str(answers)[:60]}")
    ids = row.get("object_ids", [])
    if not isinstance(ids, list) or not all(isinstance(id, int) and not isinstance(id, bool) for id in ids):
        raise UserError(f"{where}: 'object_ids' must be a list of numbers, is {str(ids)[:60]}")
    return BenchmarkSample(
        id=needed(row, "question_id", str, where),
        scene=needed(row, "scene_id", str, where),
        question=Question(text, task="qa", style="short"),
        kind=question_kind(text),
        answers=tuple(answers),
        object_ids=tuple(ids),
        row=row,
        where=where,
    )


def question_kind(question: str) -> str:
    """The type of a question by words in it, anywhere, capitals as here: qclass1 of scripts/score.py."""
    for starts, kind in _STARTS:
        if any(start in question for start in starts):
            return kind
    return KINDS[-1]


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Score answers: EM@1 first, then what else the protocol's tables have.

    official: ATR-DBI/ScanQA 0a9f162 scripts/score.py evals_json and eval_pycoco. An answer is compared as it is;
        EM@10 takes `Prediction.extra["answer_top10"]`.
    gpt4scene: Qi-Zhangyang/GPT4Scene ac34d5f evaluate/utils/eval.py calc_scanqa_score (ZzZZCHS/Chat-Scene 475e106 is
        the same). Answers are cleaned, references are not.
    leo: embodied-generalist 567f2d8 evaluator/scanqa_eval.py ScanQAEvaluator. Both are cleaned; no tokenizer.
    video3dllm: LaVi-Lab/Video-3D-LLM 3ff70e8 llava/eval/eval_scanqa.py. An answer is compared as it is; the caption
        metrics see it without full stops at its end; no tokenizer.

    Raises:
        UserError: there is no such protocol; the split's answers are hidden; an answer is to none of the samples.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    hidden = [sample for sample in samples if not sample.answers]
    if hidden:
        raise UserError(
            f"{hidden[0].where}: question {hidden[0].id!r} has no answers: those of ScanQA's test splits are hidden, so"
            " it cannot be scored here; `gpt4scene.benchmarks.scanqa.write_submission` writes a file for EvalAI"
        )
    if protocol == "gpt4scene":
        matches = match_all(samples, aligned, lambda text, meant: match_gpt4scene(text, meant, clean_references=False))
    else:
        matches = match_all(samples, aligned, match_leo if protocol == "leo" else match_raw)
    texts = [one.text.rstrip(".") if protocol == "video3dllm" else one.text for one in matches.each]
    tokenizer = "ptb" if protocol in ("official", "gpt4scene") else "none"
    captioned = caption_metrics(texts, [one.references for one in matches.each], tokenizer=tokenizer)
    means, flags = [mean_metric(EM, matches.exact)], []
    last: list[Metric] = []
    if protocol == "official":
        (at10, shared), flags = _official(samples, aligned, matches)
        # only ScanQA's own model gives ten answers
        means, last = [*means, shared], [at10]
    elif protocol != "video3dllm":
        means.append(mean_metric(EM_REFINED, matches.refined))
    else:
        flags = _breaks_meteor(samples, matches)
    if protocol in ("official", "video3dllm"):
        flags = [*flags, *_nearly(samples, aligned, matches)]
    return Report(
        benchmark="scanqa",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=(*_cider_second(means, captioned.metrics), *last),
        groups=grouped(samples, KINDS, means),
        unanswered=aligned.unanswered,
        unparsed=matches.unparsed,
        flags=(*flags, *captioned.flags),
        details=details_of(matches, [*means, *captioned.metrics, *last], captioned),
    )


def _official(samples: Sequence[BenchmarkSample], aligned: Aligned, matches: Matches) -> tuple[list[Metric], list[str]]:
    """EM@10 and the F-value, with what is to be said of them."""
    silent, flags = set(aligned.unanswered), []
    best = [_top10(prediction) for prediction in aligned.predictions]
    at10 = np.full(len(samples), np.nan)
    if any(best):
        for i, (sample, ten) in enumerate(zip(samples, best, strict=True)):
            if ten or sample.id in silent:
                at10[i] = 100.0 * any(one in sample.answers for one in ten) * (sample.id not in silent)
    without = [sample.id for sample, value in zip(samples, at10, strict=True) if np.isnan(value)]
    flags += flagged(without, "EM@10 leaves out an answer that does not come with ten (`answer_top10`)")
    values = [f_value(one.text, one.references) for one in matches.each]
    shared = np.array([0.0 if s.id in silent else 100 * value for s, value in zip(samples, values, strict=True)])
    wordless = [
        sample.id
        for sample, one in zip(samples, matches.each, strict=True)
        if sample.id not in silent and f_value_fails(one.text, one.references)
    ]
    flags += flagged(
        wordless,
        "an answer or a reference without a word, for which the official code ends with a ZeroDivisionError; here its"
        " F-value with the other is 0",
    )
    return [mean_metric("EM@10", at10), mean_metric("F-value", shared)], flags


def _nearly(samples: Sequence[BenchmarkSample], aligned: Aligned, matches: Matches) -> list[str]:
    """Answers in GPT4Scene's form, "Brown." for "brown", which a comparison of raw texts has as wrong."""
    silent = set(aligned.unanswered)
    near = [
        sample.id
        for sample, one in zip(samples, matches.each, strict=True)
        if sample.id not in silent
        and not one.exact
        and _bare(one.text) in {_bare(reference) for reference in sample.answers}
    ]
    return flagged(
        near,
        "wrong by EM@1 for nothing but capitals, a full stop or spaces around, as texts are compared as they are;"
        " other protocols take these away",
    )


def _bare(text: str) -> str:
    return text.strip().removesuffix(".").strip().lower()


def _cider_second(means: Sequence[Metric], captioned: Sequence[Metric]) -> list[Metric]:
    """What papers report first comes first: exact match and CIDEr."""
    cider = [metric for metric in captioned if metric.name == "CIDEr"]
    return [means[0], *cider, *means[1:], *(metric for metric in captioned if metric.name != "CIDEr")]


def _breaks_meteor(samples: Sequence[BenchmarkSample], matches: Matches) -> list[str]:
    broken = [
        sample.id
        for sample, one in zip(samples, matches.each, strict=True)
        if any(sign in text for text in (one.text, *one.references) for sign in ("\n", "\r", "|||"))
    ]
    return flagged(
        broken,
        "a line break or ||| in a text, at which the official code ends with a ValueError out of METEOR; here it counts"
        " as a space there",
    )


def _top10(prediction: Prediction) -> list[str]:
    ten = prediction.extra.get(TOP10, [])
    if not isinstance(ten, list | tuple) or not all(isinstance(one, str) for one in ten):
        raise UserError(f"{TOP10!r} of an answer must be a list of texts, is {str(ten)[:60]}")
    return list(ten)


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers of EvalAI's rows {scene_id, question_id, answer_top10, bbox}, or as `read_qa_rows` knows them.

    Raises:
        UserError: a row is damaged, fits no question, or answers one that another does.
    """
    is_evalai = isinstance(content, list) and bool(content) and isinstance(content[0], dict) and TOP10 in content[0]
    if not is_evalai:
        return read_qa_rows(content, samples, bare_id=_bare_id)
    known = {sample.id for sample in samples}
    found: dict[str, Prediction] = {}
    for row, where in as_rows(content, "answers"):
        id = needed(row, "question_id", str, where)
        ten = needed(row, TOP10, list, where)
        if not ten or not all(isinstance(one, str) for one in ten):
            raise UserError(f"{where}: {TOP10!r} must be a list of texts, the best first, is {str(ten)[:60]}")
        if id not in known or id in found:
            why = "is answered twice" if id in found else "is none of this split's; is the file of another?"
            raise UserError(f"{where}: question {id!r} {why}")
        found[id] = Prediction(ten[0], "answered", {key: row[key] for key in (TOP10, BBOX) if key in row})
    return found


def _bare_id(sample_id: str) -> str:
    """ "val-scene0011-0" of "scanqa_val-scene0011-0_2", the last number being that of a reference."""
    return sample_id.removeprefix("scanqa_").rpartition("_")[0]


def write_submission(samples: Sequence[BenchmarkSample], answers: Mapping[str, Prediction], path: Path) -> None:
    """Write answers as EvalAI's ScanQA challenge takes them: a row for each question, in JSON.

    An answer without `answer_top10` stands there ten times, one without a `bbox` (8 corners) has a box of zeros, and
    what is unanswered or blank is "(no answer)", since the official code fails on texts without words.

    Raises:
        UserError: an answer is to none of the samples, or the file cannot be written.
    """
    rows = []
    for sample, prediction in zip(samples, align(samples, answers).predictions, strict=True):
        is_silent = prediction.outcome in ("refused", "failed")
        ten = _top10(prediction) or [prediction.text] * 10
        said = [_NO_ANSWER if is_silent or not one.strip() else one for one in ten]
        bbox = prediction.extra.get(BBOX, [[0.0, 0.0, 0.0]] * 8)
        rows.append({"scene_id": sample.scene, "question_id": sample.id, TOP10: said, BBOX: bbox})
    write_bytes(path, (json.dumps(rows, indent=1) + "\n").encode())
