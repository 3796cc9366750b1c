"""Answers to ScanQA and SQA3D as GPT4Scene, Chat-Scene, LEO, Video-3D-LLM and SQA3D write them to files.

Most of these rows do not name the question that they answer. They are matched by scene, prompt, situation and
references; a row that fits no question, or several that differ, is an error.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import as_rows, needed
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SECOND_PERSON = {"i": "you", "me": "you", "my": "your", "mine": "yours", "am": "are"}
"""LEO and Chat-Scene turn questions into the second person so; both sides are turned before they are compared."""


@dataclass(frozen=True)
class _Format:
    """A kind of rows."""

    keys: frozenset[str]
    """All of these make it."""
    text: str
    """The key of the answer."""
    id: str | None = None
    """The key of the question's id, where rows have one."""
    prompts: tuple[str, ...] = ()
    """Keys of the texts in which the question, and its situation, are said."""
    references: str | None = None


_FORMATS = (
    # GPT4Scene ac34d5f evaluate/infer.py and Chat-Scene 475e106; the id is 0 where the annotation had none
    _Format(frozenset(("scene_id", "prompt", "pred")), "pred", "qid", ("prompt",), "ref_captions"),
    # embodied-generalist 567f2d8 evaluator/scanqa_eval.py, sqa3d_eval.py: results.json
    _Format(
        frozenset(("scene_id", "instruction", "response_pred")),
        "response_pred",
        None,
        ("situation", "instruction"),
        "response_gt",
    ),
    # Video-3D-LLM 3ff70e8 llava/eval/model_scanqa.py, model_sqa3d.py: JSON lines
    _Format(frozenset(("sample_id", "pred_response")), "pred_response", "sample_id"),
    # SQA3D a98da8f LLM/eval_sqa3d_llm.py inference_llm
    _Format(frozenset(("scene_id", "situation", "question", "answer")), "answer", None, ("situation", "question")),
)


def read_qa_rows(
    content: Any, samples: Sequence[BenchmarkSample], *, bare_id: Callable[[str], str] = str
) -> dict[str, Prediction] | None:
    """The answers of such rows by the id of the question; None where the content is no list of them.

    Args:
        content: of a JSON file, or of its lines.
        samples: of the split.
        bare_id: makes the benchmark's id of one that Video-3D-LLM writes.

    Raises:
        UserError: a row is of another format than the first, its answer is no text, or it fits no question or several;
            or two answer the same.
    """
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return None
    format = next((each for each in _FORMATS if each.keys <= content[0].keys()), None)
    if format is None:
        return None
    finder = _Finder(samples)
    for row, where in as_rows(content, "answers"):
        text = needed(row, format.text, str, where)
        finder.claim(finder.found(row, format, bare_id, where), Prediction(text), where)
    return finder.predictions


class _Finder:
    """Which question a row answers, and which are answered already."""

    def __init__(self, samples: Sequence[BenchmarkSample]) -> None:
        self.predictions: dict[str, Prediction] = {}
        self._by_id = {sample.id: sample for sample in samples}
        self._by_scene: dict[str, list[tuple[BenchmarkSample, str]]] = {}
        self._where: dict[str, str] = {}
        for sample in samples:
            self._by_scene.setdefault(sample.scene, []).append((sample, _said(sample.question.text)))

    def found(
        self, row: Mapping[str, Any], format: _Format, bare_id: Callable[[str], str], where: str
    ) -> list[BenchmarkSample]:
        """The question that a row answers; several only where they are asked, or answered, alike."""
        named = None if format.id is None or format.id not in row else str(row[format.id])
        if named is not None:
            sample = self._by_id.get(named) or (None if format.prompts else self._by_id.get(bare_id(named)))
            if sample is not None and row.get("scene_id", sample.scene) != sample.scene:
                raise UserError(
                    f"{where}: answers question {sample.id!r} in scene {str(row['scene_id'])[:60]!r}, but that is about"
                    f" {sample.scene!r}; are these the answers of another benchmark or split?"
                )
            if sample is not None:
                return [sample]
        if not format.prompts:
            raise UserError(
                f"{where}: {format.id} {str(named)[:60]!r} is none of the questions of this split; are these the"
                " answers of another benchmark or split?"
            )
        return self._asked(row, format, where)

    def claim(self, fitting: Sequence[BenchmarkSample], prediction: Prediction, where: str) -> None:
        """Give the answer to the first fitting question that has none yet."""
        for sample in fitting:
            if sample.id not in self.predictions:
                self.predictions[sample.id] = prediction
                self._where[sample.id] = where
                return
        raise UserError(
            f"{where}: answers question {fitting[0].id!r}, as {self._where[fitting[0].id]} does; leave one of the two"
            " out"
        )

    def _asked(self, row: Mapping[str, Any], format: _Format, where: str) -> list[BenchmarkSample]:
        scene = needed(row, "scene_id", str, where)
        # LEO's rows have a situation only of SQA3D
        prompt = " ".join(needed(row, key, str, where) for key in format.prompts if key in row or key != "situation")
        said = _said(prompt)
        if row.get("situation") and not any(s.question.situation for s, _ in self._by_scene.get(scene, [])):
            raise UserError(
                f"{where}: tells a situation, and no question of this split about {scene[:60]!r} has one; are these the"
                " answers of another benchmark?"
            )
        asking = [(sample, asked) for sample, asked in self._by_scene.get(scene, []) if asked in said]
        # "is it red?" is also said by who asks "what is it, is it red?"; so with situations
        lengths = [(len(asked), _told(sample, said)) for sample, asked in asking]
        longest = max((each for each in lengths if each[1] is not None), default=None)
        left = [sample for (sample, _), each in zip(asking, lengths, strict=True) if each == longest]
        if not left:
            raise UserError(
                f"{where}: no question of this split about {scene[:60]!r} is in its prompt {prompt[:120]!r}; are these"
                " the answers of another benchmark or split?"
            )
        references = row.get(format.references) if format.references else None
        if isinstance(references, list):
            stripped = [str(reference).strip() for reference in references]
            left = [s for s in left if [answer.strip() for answer in s.answers] == stripped] or left
        if "gt_id" in row:
            left = [sample for sample in left if row["gt_id"] in sample.object_ids[:1]] or left
        if "agent_pos" in row and "agent_rot" in row:
            stands = (row["agent_pos"], row["agent_rot"])
            left = [s for s in left if (s.row.get("position"), s.row.get("rotation")) == stands] or left
        # SQA3D's test split asks three questions twice, of which the answers differ; they are taken in their order
        if any(sample.answers != left[0].answers and sample.question != left[0].question for sample in left):
            names = ", ".join(sample.id for sample in left[:4])
            raise UserError(f"{where}: may answer {names}, which are different questions; give rows the questions' ids")
        return left


def _said(text: str) -> str:
    """A text's words and signs, made small and turned into the second person, between spaces."""
    tokens: list[str] = _TOKEN.findall(text.lower())
    return " ".join(["", *(_SECOND_PERSON.get(token, token) for token in tokens), ""])


def _told(sample: BenchmarkSample, said: str) -> int | None:
    """The length of the longest of the sample's situations that is told; 0 if it has none, None if none is told."""
    if sample.question.situation is None:
        return 0
    situations = [_said(each) for each in (sample.question.situation, *sample.row.get("alternative_situation", ()))]
    return max((len(each) for each in situations if each in said), default=None)
