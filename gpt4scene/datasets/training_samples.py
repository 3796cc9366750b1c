"""Annotated questions about one scene become conversations about its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bev.errors import UserError
from gpt4scene.benchmarks.objects import Overlap, SceneObjects, claims, overlaps
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.datasets import dropped as why
from gpt4scene.datasets.dropped import Dropped
from gpt4scene.datasets.templates import answer_text, description_text, pick, wordings
from gpt4scene.prompting.conversation_file import Sample
from gpt4scene.prompting.prompts import grounding_answer
from gpt4scene.prompting.questions import Question
from gpt4scene.prompting.shown import Shown

TRAIN = "train"
"""The split in which every reference is a conversation; in others each question is one."""


@dataclass(frozen=True)
class Asked:
    """What a benchmark's split asks about one scene."""

    task: str
    """The benchmark's name."""
    split: str
    samples: tuple[BenchmarkSample, ...]


@dataclass(frozen=True)
class SceneSamples:
    """What became of the questions about one scene."""

    by_split: Mapping[str, tuple[Sample, ...]]
    dropped: tuple[Dropped, ...]


def scene_samples(
    asked: Sequence[Asked], shown: Shown, objects: SceneObjects | None, *, iou_min: float = 0.5, seed: int = 0
) -> SceneSamples:
    """The conversations about one scene, all of which begin with the same system message and images.

    An object is called by the number of the scene's object whose box overlaps its own most, if by `iou_min` or more;
    in descriptions of one object, that number must not stand for another described object (Chat-Scene 475e106
    preprocess/prepare_{scanrefer,multi3dref,scan2cap}_annos.py, which so filter what is trained on). Other splits are
    filtered alike: a question whose answer names the wrong object measures nothing.

    Args:
        asked: of one scene.
        shown: the scene's images.
        objects: of the scene; None where nothing asks for objects.
        iou_min: of boxes, 0 to 1.
        seed: chooses wordings, and situations where there are several; a question's own id does the rest.
    """
    made: dict[str, list[Sample]] = {}
    dropped: list[Dropped] = []
    numbers = _Numbers(objects, shown, iou_min, asked) if objects is not None else None
    for each in asked:
        made.setdefault(each.split, [])
        for sample in each.samples:
            try:
                made[each.split] += _conversations(sample, each, shown, numbers, seed)
            except _Dropped as cause:
                dropped.append(Dropped(each.task, each.split, cause.reason, cause.what))
    return SceneSamples({split: tuple(samples) for split, samples in made.items()}, tuple(dropped))


def needs_objects(sample: BenchmarkSample) -> bool:
    """Whether the answer or the question names objects by number."""
    return sample.question.task in ("ground", "caption")


class _Dropped(Exception):
    """A question becomes no conversation."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(reason)
        self.reason, self.what = reason, what


class _Numbers:
    """Which number on the images stands for which annotated object."""

    def __init__(self, objects: SceneObjects, shown: Shown, iou_min: float, asked: Sequence[Asked]) -> None:
        self._shown, self._iou_min = frozenset(shown.ids), iou_min
        self._best = overlaps(objects)
        # of one split: what another describes does not change it
        self._claims = {
            (each.task, each.split): claims(objects, _described(each.samples)) for each in asked if each.samples
        }

    def of_all(self, sample: BenchmarkSample) -> list[Overlap]:
        """For each object that is asked for."""
        found = [self._number(self._best.get(id), id, sample) for id in dict.fromkeys(sample.object_ids)]
        if len({each.id for each in found}) < len(found):
            raise _Dropped(why.SHARED, sample.id)
        return found

    def of_described(self, sample: BenchmarkSample, asked: Asked) -> Overlap:
        """For the object that is to be described."""
        id = sample.question.object_id
        assert id is not None
        best = self._number(self._best.get(id), id, sample)
        own = self._claims[asked.task, asked.split].get(id)
        if own is None or own.id != best.id:
            raise _Dropped(why.TAKEN, _named(sample, id))
        return best

    def _number(self, found: Overlap | None, id: int, sample: BenchmarkSample) -> Overlap:
        if found is None:
            raise _Dropped(why.NO_OBJECT, _named(sample, id))
        if found.id < 0 or found.iou < self._iou_min:
            raise _Dropped(why.NO_OVERLAP, _named(sample, id))
        if found.id not in self._shown:
            raise _Dropped(why.NOT_SHOWN, _named(sample, id))
        return found


def _described(samples: Sequence[BenchmarkSample]) -> set[int]:
    return {sample.question.object_id for sample in samples if sample.question.object_id is not None}


def _named(sample: BenchmarkSample, id: int) -> str:
    return f"{sample.scene} object {id}"


def _conversations(
    sample: BenchmarkSample, asked: Asked, shown: Shown, numbers: _Numbers | None, seed: int
) -> list[Sample]:
    """One for each reference of the split that is trained on, else one."""
    question, found = sample.question, []
    if needs_objects(sample):
        if numbers is None:
            raise ValueError(f"{sample.id} asks for objects, and none are given")
        if question.task == "caption":
            found = [numbers.of_described(sample, asked)]
            question = replace(question, object_id=found[0].id)
        else:
            found = numbers.of_all(sample)
    ids = sorted(each.id for each in found)
    targets = _targets(sample, ids)
    if not targets:
        raise _Dropped(why.NO_ANSWER, sample.id)
    by_reference = asked.split == TRAIN and question.task != "ground"
    made = []
    for position, target in enumerate(targets if by_reference else targets[:1], start=1):
        id = f"{asked.task}/{asked.split}/{sample.id}" + (f"/{position}" if by_reference else "")
        said = _situated(sample, question, seed, id) if asked.split == TRAIN else question
        try:
            choices = wordings(said, shown)
        except UserError as error:
            raise _Dropped(why.NO_TEXT, f"{sample.id}: {error}") from error
        wording = pick(len(choices), seed, id)
        made.append(
            Sample(
                id=id,
                conversation=shown.conversation(choices[wording]).then("assistant", target),
                scene=sample.scene,
                task=question.task,
                answers=tuple(ids) if question.task == "ground" else sample.answers,
                meta=_meta(sample, asked, wording, found),
            )
        )
    return made


def _targets(sample: BenchmarkSample, ids: Sequence[int]) -> list[str]:
    """What the model is to answer: for each different reference one."""
    if sample.question.task == "ground":
        return [grounding_answer(ids, expect=sample.question.expect)] if ids or sample.question.expect == "any" else []
    for answer in sample.answers:
        # no tokenizer takes it, and other readers of JSON leave the letter out
        if not _is_utf8(answer):
            raise _Dropped(why.NO_TEXT, f"{sample.id}: the answer is no UTF-8 text ({answer!a})")
    worded = description_text if sample.question.task == "caption" else answer_text
    return list(dict.fromkeys(text for answer in sample.answers if (text := worded(answer))))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _situated(sample: BenchmarkSample, question: Question, seed: int, id: str) -> Question:
    """The question from one of the ways in which SQA3D says where the asker is: its own, or an alternative."""
    if question.situation is None:
        return question
    others = sample.row.get("alternative_situation")
    known = [each for each in others if isinstance(each, str) and each.strip()] if isinstance(others, list) else []
    situations = list(dict.fromkeys([question.situation, *known]))
    return replace(question, situation=situations[pick(len(situations), seed, id, "situation")])


def _meta(sample: BenchmarkSample, asked: Asked, wording: int, found: Sequence[Overlap]) -> dict[str, object]:
    meta: dict[str, object] = {"benchmark": asked.task, "split": asked.split, "question": sample.id}
    meta |= {"kind": sample.kind, "wording": wording, "annotated_ids": list(sample.object_ids)}
    return meta | ({"iou": [round(each.iou, 4) for each in found]} if found else {})
