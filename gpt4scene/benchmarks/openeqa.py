"""OpenEQA (CVPR 2024): open questions about scans, whose answers a language model marks from 1 to 5 (LLM-Match)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import find_file, needed, read_rows
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import mean_metric, within
from gpt4scene.prompting import prompts
from gpt4scene.prompting.conversation import Conversation, Message, Text
from gpt4scene.prompting.parsed import answer_part
from gpt4scene.prompting.questions import Question
from gpt4scene.vlm.answering import ask_all
from gpt4scene.vlm.asked import Asked, Kept
from gpt4scene.vlm.cache import AnswerCache
from gpt4scene.vlm.protocol import VLM, Request

TITLE = "OpenEQA"
SPLITS = ("all", "scannet", "hm3d")
PROTOCOLS = ("llm-match",)
NEEDS_OBJECTS = False

JUDGE_PROMPT = hashlib.sha256(prompts.judge_answer("Q", "R", ("E",), "A").encode()).hexdigest()[:12]
"""Names the words in which a judge is asked: they are ours, so marks are not those that the paper's prompt gives."""

_WHAT = "the questions of OpenEQA, data/open-eqa-v0.json of github.com/facebookresearch/open-eqa"
_FILES = ("open-eqa-v0.json", "data/open-eqa-v0.json")
_TAG = "Your mark:"
_MARKS = (1, 5)


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers with a judge's marks, as `score` takes them."""

    answers: Mapping[str, Prediction]
    """All that were given. `extra` of those that the judge replied to holds "judge_score" (None where the reply cannot
    be read), "judge_reply", "judge" (the dated model) and "judge_prompt"; others are as before."""
    asked: Asked
    """What it took; `stopped` says why not all were judged."""


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions of open-eqa-v0.json, all or those about scans of one data set.

    The scene is that of the row's `episode_history`: of "scannet-v0/002-scannet-scene0709_00" ScanNet's own name,
    scene0709_00, under which other benchmarks know it; of "hm3d-v0/000-hm3d-BFRyYbPCCPE" the name of the folder of
    frames, 000-hm3d-BFRyYbPCCPE.

    Args:
        root: holds open-eqa-v0.json, itself or in its folder `data`.
        split: "all", "scannet" or "hm3d".

    Raises:
        UserError: the file is missing, or a row is not what it should be.
    """
    check_choice(split, SPLITS, "split")
    rows = read_rows(find_file(root, _FILES, _WHAT))
    samples = unique([_sample(row, where) for row, where in rows])
    return [sample for sample in samples if split in ("all", sample.row["dataset"])]


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """The mean of the judge's marks, in points: 5 is 100, 1 is 0; over all, by category and by data set.

    llm-match: facebookresearch/open-eqa (2024-09-20) evaluate-predictions.py main. Marks beyond 1 to 5 count as the
    nearer end, no answer as 0. So does a mark that cannot be read, where the official code stops.

    Args:
        samples: the questions.
        answers: by sample id, with "judge_score" in their `extra`, as `judge` or a file of marks gives it.
        protocol: one of `PROTOCOLS`.
        objects: not used.

    Raises:
        UserError: answers have not been judged.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    missing = set(aligned.unanswered)
    judged = [
        None if sample.id in missing else prediction
        for sample, prediction in zip(samples, aligned.predictions, strict=True)
    ]
    _check_judged(samples, judged)
    marks = [None if prediction is None else prediction.extra["judge_score"] for prediction in judged]
    points = _points([0 if mark is None else mark for mark in marks])
    kinds = {kind: [sample.kind == kind for sample in samples] for kind in dict.fromkeys(s.kind for s in samples)}
    datasets = dict.fromkeys(sample.row.get("dataset", "") for sample in samples)
    if len(datasets) > 1:
        kinds |= {name: [sample.row.get("dataset", "") == name for sample in samples] for name in datasets}
    unread = tuple(
        sample.id
        for sample, prediction, mark in zip(samples, judged, marks, strict=True)
        if prediction is not None and mark is None
    )
    return Report(
        benchmark="openeqa",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=(mean_metric("LLM-Match", points),),
        groups={kind: (mean_metric("LLM-Match", within(points, member)),) for kind, member in kinds.items()},
        unanswered=aligned.unanswered,
        unparsed=unread,
        flags=_flags([one for one in judged if one is not None], len(unread)),
        details=tuple(_detail(prediction) for prediction in judged),
    )


def judge(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    model: VLM,
    cache: AnswerCache,
    *,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    progress: bool = False,
) -> Judged:
    """Have a model mark all answers; what it has marked before comes from the cache.

    Args:
        samples: the questions.
        answers: by sample id.
        model: the judge; sees no images.
        cache: of its replies.
        retry_failed, max_cost_usd, progress: as `ask_all` takes them.

    Raises:
        UserError: the model cannot be asked at all.
    """
    requests = judge_requests(samples, answers)
    asked = ask_all(
        model,
        list(requests.values()),
        cache=cache,
        retry_failed=retry_failed,
        max_cost_usd=max_cost_usd,
        progress=progress,
    )
    marked = {
        id: _marked(answers[id], kept)
        for id, kept in zip(requests, asked.kept, strict=True)
        if kept is not None and kept.reply.outcome != "failed"
    }
    return Judged({**answers, **marked}, asked)


def judge_requests(samples: Sequence[BenchmarkSample], answers: Mapping[str, Prediction]) -> dict[str, Request]:
    """What a judge is asked, by sample id; nothing about questions without an answer."""
    aligned = align(samples, answers)
    missing = set(aligned.unanswered)
    return {
        sample.id: Request(Conversation((Message("user", (Text(_judge_text(sample, prediction.text)),)),)))
        for sample, prediction in zip(samples, aligned.predictions, strict=True)
        if sample.id not in missing
    }


def parse_score(text: str) -> int | None:
    """The mark in a judge's reply as open-eqa reads it (openeqa/evaluation/llm_match.py parse_score).

    The reply is digits alone, or has a line with "Your mark:" before a whole number. None where the official code
    raises an error: " 5" has none, "7" has a mark of 7.
    """
    if text.isdigit():
        return _whole_number(text)
    start = text.find(_TAG)
    line = text[start:].split("\n", 1)[0]
    return None if start < 0 else _whole_number(line.replace(_TAG, ""))


def final_score(scores: Sequence[float]) -> float:
    """The score of marks in points, as evaluate-predictions.py computes it; NaN of no marks at all."""
    return float(_points(scores).mean()) if scores else float("nan")


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """open-eqa's files of answers, [{"question_id", "answer"}], and of marks, {question_id: mark}.

    An answer of null is none. Marks alone are scored as they are, by whichever judge they are.
    """
    if isinstance(content, dict) and content:
        numbers = all(isinstance(mark, int | float) and not isinstance(mark, bool) for mark in content.values())
        return {id: Prediction(extra={"judge_score": mark}) for id, mark in content.items()} if numbers else None
    if not isinstance(content, list) or not content or not all(_is_answer(row) for row in content):
        return None
    found: dict[str, Prediction] = {}
    for row in content:
        if row["question_id"] in found:
            raise UserError(f"answers: two are to question {row['question_id']!r}; take one of them out")
        said = row["answer"]
        found[row["question_id"]] = Prediction("", "failed") if said is None else Prediction(said)
    return found


def _is_answer(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("question_id"), str)
        and isinstance(row.get("answer", 0), str | None)
    )


def _sample(row: Mapping[str, Any], where: str) -> BenchmarkSample:
    episode = needed(row, "episode_history", str, where)
    name = episode.rstrip("/").rsplit("/", 1)[-1]
    dataset = next((known for known in SPLITS[1:] if known in episode), "")
    if not dataset:
        raise UserError(f"{where}: 'episode_history' names neither ScanNet nor HM3D: {episode[:60]!r}")
    extra = row.get("extra_answers") or []
    if not isinstance(extra, list) or not all(isinstance(one, str) for one in extra):
        raise UserError(f"{where}: 'extra_answers' must be a list of texts, is {str(extra)[:60]!r}")
    answer = needed(row, "answer", str, where)
    text = needed(row, "question", str, where)
    if not answer.strip() or not text.strip():
        raise UserError(f"{where}: question and answer must not be empty")
    return BenchmarkSample(
        id=needed(row, "question_id", str, where),
        scene=name.split("-scannet-", 1)[-1] if dataset == "scannet" else name,
        question=Question(text, style="short"),
        kind=needed(row, "category", str, where),
        answers=(answer, *(one for one in extra if one.strip())),
        row={**row, "dataset": dataset},
        where=where,
    )


def _judge_text(sample: BenchmarkSample, text: str) -> str:
    reference, *extra = sample.answers
    # half a surrogate pair, which a model may write, cannot be sent
    said = _to_last_period(text).encode("utf-8", "backslashreplace").decode()
    return prompts.judge_answer(sample.question.text, reference, extra, said)


def _to_last_period(text: str) -> str:
    """An answer without what follows its last period, which may be half a sentence; the official code does so."""
    end = text.rfind(".")
    return text[: end + 1] if end >= 0 else text


def _marked(prediction: Prediction, kept: Kept) -> Prediction:
    said = kept.reply.text
    mark = parse_score(said)
    mark = parse_score(answer_part(said)) if mark is None else mark
    told = {"judge_score": mark, "judge_reply": said, "judge": kept.reply.model, "judge_prompt": JUDGE_PROMPT}
    return replace(prediction, extra={**prediction.extra, **told})


def _check_judged(samples: Sequence[BenchmarkSample], judged: Sequence[Prediction | None]) -> None:
    unjudged: list[str] = []
    for sample, prediction in zip(samples, judged, strict=True):
        if prediction is None:
            continue
        mark = prediction.extra.get("judge_score", "")
        if mark == "":
            unjudged.append(sample.id)
        elif mark is not None and (
            isinstance(mark, bool) or not isinstance(mark, int | float) or not np.isfinite(mark)
        ):
            raise UserError(f"answer to {sample.id!r}: its 'judge_score' must be a number from 1 to 5, is {mark!r}")
    if unjudged:
        raise UserError(
            f"{len(unjudged)} of {len(samples)} answers have no judge's mark, the first to {unjudged[0]!r}; OpenEQA's"
            " answers are marked by a language model: name one with --judge MODEL, or score a file of marks"
        )


def _flags(judged: Sequence[Prediction], unread: int) -> tuple[str, ...]:
    if not judged:
        return ()
    judges = sorted({str(one.extra.get("judge", "")) for one in judged})
    versions = sorted({str(one.extra.get("judge_prompt", "")) for one in judged})
    named = ", ".join(name or "a judge that the file does not name" for name in judges)
    asked = ", ".join(version or "an unknown prompt" for version in versions)
    flags = [f"marked by {named}; judge's prompt: {asked} (ours is {JUDGE_PROMPT}; the paper's has other words)"]
    if len(judges) > 1 or len(versions) > 1:
        flags.append("answers were marked by several judges or prompts: judge all of them again with one")
    if unread:
        flags.append(
            f"{unread} of {len(judged)} replies of the judge hold no mark that can be read; they count as the lowest,"
            " where the official code stops"
        )
    beyond = sum(m is not None and not _MARKS[0] <= m <= _MARKS[1] for m in (o.extra["judge_score"] for o in judged))
    if beyond:
        flags.append(f"{beyond} marks are not from 1 to 5; they count as the nearer end, as in the official code")
    return tuple(flags)


def _detail(prediction: Prediction | None) -> dict[str, Any]:
    keys = ("judge_score", "judge_reply", "judge", "judge_prompt")
    return {} if prediction is None else {key: prediction.extra[key] for key in keys if key in prediction.extra}


def _points(scores: Sequence[float]) -> np.ndarray:
    low, high = _MARKS
    return 100.0 * (np.clip(np.asarray(scores, np.float64), low, high) - low) / (high - low)


def _whole_number(text: str) -> int | None:
    try:
        return int(text.strip())
    except ValueError:
        return None
