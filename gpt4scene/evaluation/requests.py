"""A benchmark's questions as a model is asked them, and what of them must be alike for two models to be compared."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bev.errors import UserError
from gpt4scene.asking import MAX_NEW_TOKENS, Showing, ids_of, show_scene
from gpt4scene.benchmarks.objects import SceneObjects, best_overlap
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.evaluation.run import question_key
from gpt4scene.prompting import prompts
from gpt4scene.prompting.conversation import Conversation, Message, Text
from gpt4scene.prompting.questions import Question
from gpt4scene.prompting.shown import Shown
from gpt4scene.scene.document import document_text
from gpt4scene.scene.scene import Scene, load_scene
from gpt4scene.vlm.protocol import Request, ViewSize

OfficialPrompt = Callable[[BenchmarkSample], str]
"""The words in which a benchmark's own code puts a question."""


@dataclass(frozen=True, eq=False)
class Put:
    """One question as a model is asked it."""

    sample: BenchmarkSample
    question: Question
    """The sample's; the object to be described by the number that the scene gives it."""
    request: Request | None
    """None: it cannot be asked."""
    question_key: str
    image_key: str
    known_ids: frozenset[int] = frozenset()
    """The numbers of the scene's objects."""
    why: str = ""
    """Why it cannot be asked, in one line."""
    proposed_id: int | None = None
    """The scene's own number of the object to be described; None where there is none."""


@dataclass(frozen=True)
class Wording:
    """How all questions of a run are put."""

    showing: Showing = field(default_factory=Showing)
    max_new_tokens: int = MAX_NEW_TOKENS
    official: OfficialPrompt | None = None
    """The words of the questions where they are not to be ours; what the images are is told in ours all the same."""


def put_questions(
    samples: Sequence[BenchmarkSample],
    folders: Mapping[str, Path],
    size: ViewSize,
    *,
    wording: Wording,
    objects: Mapping[str, SceneObjects] | None = None,
    on_scene: Callable[[], None] | None = None,
) -> list[Put]:
    """Make the requests of questions, in their order; each scene is shown once.

    Args:
        samples: of a benchmark.
        folders: of their scenes, by name.
        size: at which the model takes images.
        wording: how they are put.
        objects: of the scenes, which captions need: they ask for an object by the number that it has on the images.
        on_scene: called after each scene.

    Raises:
        UserError: a scene cannot be shown so, or a question cannot be put; says which.
    """
    of_scene: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        of_scene.setdefault("" if sample.images else sample.scene, []).append(position)
    put: dict[int, Put] = {}
    for name, positions in of_scene.items():
        wanted = [samples[position] for position in positions]
        if name:
            made = _about_scene(wanted, folders[name], size, wording, objects.get(name) if objects else None)
        else:
            made = (_with_own_images(sample, wording) for sample in wanted)
        put.update(zip(positions, made, strict=True))
        if name and on_scene is not None:
            on_scene()
    return [put[position] for position in range(len(samples))]


def image_key(scene: Scene, shown: Shown, showing: Showing) -> str:
    """A hash of what is shown of a scene, the same for models that take images of other sizes.

    It is over what scene.json says, but for how and when the folder was made, and over what `showing` picks of it.
    """
    document = json.loads(document_text(scene))
    del document["run"]
    document["source"] = document["source"]["fingerprint"]
    chosen = [shown.preset.layout, shown.frames, showing.bev, showing.marks, showing.frame_detail]
    dropped = [showing.drop_marks_share, showing.seed] if showing.marks and showing.drop_marks_share else []
    return hashlib.sha256(json.dumps([document, chosen, dropped], sort_keys=True).encode()).hexdigest()


def comparable_system_prompt(shown: Shown) -> str:
    """The system message with a stand-in for the metres that the bird's-eye view covers.

    Those depend on how its sides are rounded up to what a model takes, and are as true for one model as for another.
    """
    return prompts.system_prompt(
        layout=shown.preset.layout,
        frames=len(shown.frames),
        bev=shown.has_bev,
        marks=shown.has_marks,
        bev_metres=None if shown.bev_metres is None else (0.0, 0.0),
    )


def _with_own_images(sample: BenchmarkSample, wording: Wording) -> Put:
    asked = sample.question
    with _told_where(sample):
        if asked.task != "qa":
            raise UserError(f"a question with images of its own must be of the task qa, is {asked.task!r}")
        if wording.official is not None:
            said = wording.official(sample)
        else:
            said = prompts.question(asked.text, style=asked.style, marks=False, options=asked.options)
    images = tuple(replace(image, detail=wording.showing.frame_detail) for image in sample.images)
    conversation = Conversation((Message("user", (*images, Text(said))),))
    seen = json.dumps([[image.sha256(), image.detail] for image in images])
    return Put(
        sample=sample,
        question=asked,
        request=Request(conversation, wording.max_new_tokens),
        question_key=question_key("", said),
        image_key=hashlib.sha256(seen.encode()).hexdigest(),
    )


def _about_scene(
    samples: Sequence[BenchmarkSample], folder: Path, size: ViewSize, wording: Wording, objects: SceneObjects | None
) -> Iterator[Put]:
    scene = load_scene(folder)
    shown = show_scene(scene, size, showing=wording.showing, folder=folder)
    seen, system, known = image_key(scene, shown, wording.showing), comparable_system_prompt(shown), ids_of(scene)
    for sample in samples:
        with _told_where(sample):
            asked, own_id, why = _own_object(sample, objects, shown)
            # of an object without a number on these images, what would be said with one: the same for every model
            said = prompts.caption(asked.object_id or 0) if why else _said(sample, asked, shown, wording)
        request = None if why else Request(shown.conversation(said), wording.max_new_tokens)
        yield Put(sample, asked, request, question_key(system, said), seen, known, why, own_id)


def _said(sample: BenchmarkSample, asked: Question, shown: Shown, wording: Wording) -> str:
    return wording.official(sample) if wording.official is not None else asked.prompt(shown)


def _own_object(
    sample: BenchmarkSample, objects: SceneObjects | None, shown: Shown
) -> tuple[Question, int | None, str]:
    """A question in the scene's own number, that number, and why it cannot be asked; empty where it can."""
    asked = sample.question
    if asked.object_id is None:
        return asked, None, ""
    if objects is None:
        raise UserError("asks for an object, which needs the boxes of all: give --scans or --attributes")
    true = objects.true.get(asked.object_id)
    if true is None:
        return asked, None, f"the scene's annotation holds no object {asked.object_id}"
    found = best_overlap(true.box, objects.proposed)
    if found.iou <= 0:
        return asked, None, f"no object of the scene overlaps the annotated object {asked.object_id}"
    own = replace(asked, object_id=found.id)
    if shown.has_marks and found.id not in shown.ids:
        return own, found.id, f"none of the images shows the number of object {found.id}"
    return own, found.id, ""


@contextmanager
def _told_where(sample: BenchmarkSample) -> Iterator[None]:
    """Put file and row before what is wrong with a question."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{sample.where}: {error}" if sample.where else str(error)) from error
