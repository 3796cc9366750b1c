"""Asking a model about a scene: the scene is shown, the question is put, the answer leads back to objects."""

import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bev.errors import UserError
from gpt4scene.prompting.answers import Outcome, read_ids
from gpt4scene.prompting.conversation import Detail
from gpt4scene.prompting.object_ids import format_id, parse_ids
from gpt4scene.prompting.presets import PRESETS, Preset
from gpt4scene.prompting.questions import Question, Task
from gpt4scene.prompting.shown import Shown, show
from gpt4scene.scene.scene import Scene, load_scene
from gpt4scene.vlm.answering import Kept, ask_all
from gpt4scene.vlm.cache import AnswerCache, default_cache_path
from gpt4scene.vlm.names import open_model
from gpt4scene.vlm.protocol import VLM, Request, Usage, ViewSize

MAX_NEW_TOKENS = 512

_LAST_NUMBER = re.compile(r"\S*\d$")
"""With which a text breaks off: "<OBJ01" may have been the beginning of <OBJ012>."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Showing:
    """How a scene is shown: which preset, and what is left out of it."""

    preset: str = "default"
    bev: bool = True
    """Show the bird's-eye view."""
    marks: bool = True
    """Draw the numbers."""
    drop_marks_share: float = 0.0
    """Of the objects, how many lose their number, 0 to 1."""
    seed: int = 0
    """Which of them."""
    frame_detail: Detail = "auto"
    """How closely a hosted model looks at frames; at the bird's-eye view it looks closely."""


@dataclass(frozen=True)
class Answer:
    """What a model answered to one question about a scene."""

    text: str
    """As the model wrote it."""
    ids: tuple[int, ...]
    """Objects of the scene that the text names, in order, each once."""
    unknown_ids: tuple[int, ...]
    """Numbers that the text gives as objects and the scene does not hold."""
    outcome: Outcome
    """"answered", "unparsable", "refused", "truncated" or "failed"."""
    usage: Usage | None
    """Tokens; None where the provider did not say."""
    cost_usd: float | None
    """Of this call: 0 where it was in the cache; None where no price is known or the provider told no tokens."""
    model: str
    """The dated model that answered, as its provider names it."""
    cached: bool
    """Whether it came from the cache, without a request."""
    why: str = ""
    """One line on what went wrong; empty when answered."""


def ask(
    model: str | VLM,
    scene: Scene | Path | str,
    question: str | Question,
    *,
    task: Task = "qa",
    showing: Showing = Showing(),
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float | None = None,
    cache: AnswerCache | Path | str | None = None,
    retry_failed: bool = False,
    max_cost_usd: float | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Ask one question about a scene.

    Args:
        model: "openai:gpt-4o", "anthropic:MODEL", "local:FOLDER", or a model that is open already.
        scene: a scene or the folder of one.
        question: in words, for `task`; or a `Question` with what its own task needs.
        task: "qa", "ground" or "chat".
        showing: how the scene is shown.
        max_new_tokens: at most so much of an answer.
        temperature: None: as deterministic as the model can be.
        cache: of answers, or where it lies; None: the user's own.
        retry_failed: ask again what was refused or cut short before.
        max_cost_usd: stop rather than spend more US dollars.
        on_text: called with each piece of the answer as it arrives.

    Raises:
        UserError: no key, no such model or scene, an empty question, too expensive.
    """
    wanted = question if isinstance(question, Question) else Question(question, task)
    vlm = open_model(model) if isinstance(model, str) else model
    opened = None if isinstance(cache, AnswerCache) else AnswerCache(Path(cache or default_cache_path()))
    try:
        loaded, folder = open_scene(scene)
        check_named(wanted, loaded)
        shown = show_scene(loaded, vlm.view_size, showing=showing, folder=folder)
        said = shown.conversation(wanted.prompt(shown))
        request = Request(said, max_new_tokens=max_new_tokens, temperature=temperature)
        answers = opened or cache
        assert isinstance(answers, AnswerCache)
        asked = ask_all(
            vlm, [request], cache=answers, retry_failed=retry_failed, max_cost_usd=max_cost_usd, on_text=on_text
        )
        kept = asked.kept[0]
        if kept is None:
            raise UserError(asked.stopped)
        return answer_of(kept, wanted, ids_of(loaded))
    finally:
        if opened is not None:
            opened.close()
        if isinstance(model, str):
            vlm.close()


def open_scene(scene: Scene | Path | str) -> tuple[Scene, Path | None]:
    """A scene, and the folder that it was read from, where there is one."""
    if isinstance(scene, Scene):
        return scene, None
    return load_scene(scene), Path(scene)


def show_scene(scene: Scene, size: ViewSize, *, showing: Showing, folder: Path | None) -> Shown:
    """The scene's images and the system message that goes with them.

    Raises:
        UserError: no such preset, or the scene has too few frames for it.
    """
    return show(
        scene,
        preset=preset_named(showing.preset),
        size=size,
        bev=showing.bev,
        marks=showing.marks,
        drop_marks_share=showing.drop_marks_share,
        seed=showing.seed,
        frame_detail=showing.frame_detail,
        folder=folder,
    )


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UserError: there is none; says which there are.
    """
    if name not in PRESETS:
        raise UserError(f"--preset {name}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def ids_of(scene: Scene) -> frozenset[int]:
    """The numbers of all its objects."""
    return frozenset(instance.id for instance in scene.instances)


def answer_of(kept: Kept, question: Question, known: Collection[int]) -> Answer:
    """What a reply says about a scene whose objects have the numbers `known`."""
    reply = kept.reply
    # "4." names an object only where objects were asked for
    text = reply.text if reply.outcome == "answered" else _LAST_NUMBER.sub("", reply.text)
    found = read_ids(text, known, bare=question.task == "ground")
    outcome, why = reply.outcome, reply.why
    if outcome == "answered" and question.task == "ground":
        outcome, why = found.outcome, found.why
    ids, unknown_ids = (found.value.ids, found.value.unknown_ids) if found.value else ((), ())
    return Answer(
        text=reply.text,
        ids=ids,
        unknown_ids=unknown_ids,
        outcome=outcome,
        usage=reply.usage,
        cost_usd=kept.cost_usd,
        model=reply.model,
        cached=kept.cached,
        why=why,
    )


def check_named(question: Question, scene: Scene) -> None:
    """Say which numbers a question gives as objects that the scene does not hold.

    Raises:
        UserError: the object to be described is one of them.
    """
    if question.object_id is not None:
        scene.instance(question.object_id)
    named = {*parse_ids(f"{question.situation or ''} {question.text}")} - ids_of(scene)
    if named:
        named_ids = ", ".join(format_id(id) for id in sorted(named))
        logger.warning("%s: the question names %s, which the scene does not hold", scene.name, named_ids)
