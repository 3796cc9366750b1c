"""`gpt4scene ask`: questions about a scene, and answers that lead back to its objects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bev.errors import UserError
from gpt4scene.cli.questioning import Questioning, ask_in_batches, ask_many, ask_one, requests_of, tell_plan

if TYPE_CHECKING:
    from gpt4scene.prompting.prompts import Expect, Style
    from gpt4scene.prompting.question_file import FileQuestion
    from gpt4scene.prompting.questions import Task
    from gpt4scene.scene.scene import Scene
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM


def ask(
    scene: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")],
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")] = "",
    /,
    *,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "openai:gpt-4o",
    task: Literal["qa", "situated", "ground", "caption", "chat"] | None = None,
    situation: str | None = None,
    object: int | None = None,
    expect: Literal["one", "any"] = "any",
    style: Literal["free", "short"] = "free",
    preset: Literal["default", "paper", "paper-32"] = "default",
    bev: bool = True,
    marks: bool = True,
    drop_marks: float = 0.0,
    seed: int = 0,
    frame_detail: Literal["auto", "low", "high"] = "auto",
    max_new_tokens: int = 512,
    temperature: float | None = None,
    questions: Path | None = None,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    batch: Path | None = None,
    picture: Path | None = None,
    no_picture: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    max_cost: float | None = None,
    cache: Path | None = None,
    retry_failed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    in_flight: int | None = None,
    timeout_s: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Ask a model about a scene: the answer, each object it names with its 3D box, and a picture of just those.

    Keys come from the environment: OPENAI_API_KEY, ANTHROPIC_API_KEY. What was answered once is not asked and not
    paid again: answers are kept in the user's cache, or in --cache.

    The exit code is 0 only if every question was answered: 1 says that an answer was refused, cut short, never came,
    or names no object where one was asked for; 2 that something is to be mended before anything can be asked.

    Args:
        scene: a scene folder that `gpt4scene prepare` wrote.
        question: in words; with --task ground, the description of what is looked for. None with --questions.
        model: openai:MODEL[@BASE_URL], anthropic:MODEL, local:PATH_OR_ID[+ADAPTER] or replay:FILE.
        task: what kind of answer is wanted; qa when left out, or what --situation and --object tell.
        situation: where the asker stands and looks, in words.
        object: number of the object to describe.
        expect: how many objects fit a description: exactly one, or any number and none.
        style: how an answer is worded: in a sentence or two, or "short", as benchmarks score it.
        preset: which frames in which layout; "paper" is 8 frames in a grid, "paper-32" 32 frames.
        bev: show the bird's-eye view.
        marks: draw the objects' numbers.
        drop_marks: share of the objects that lose their number, 0 to 1.
        seed: which of them.
        frame_detail: how closely a hosted model looks at frames; at the bird's-eye view it looks closely.
        max_new_tokens: at most so many tokens of an answer.
        temperature: 0 and above; as deterministic as the model can be when left out.
        questions: a file of many: one per line, or .jsonl with {"question", "id", "task", "situation", "object",
            "expect", "style"} per line.
        out: where the answers to --questions go, one JSON object per line (.jsonl).
        batch: a folder: the questions go to the provider's batches, at half the price and within a day; the same
            command again takes what has come, until all is there (exit code 0).
        picture: where the picture goes; SCENE/answers/NUMBER-QUESTION.png when left out.
        no_picture: write none.
        json: print the answer as one JSON object.
        dry_run: print tokens and money, and send nothing; needs no key.
        max_cost: send nothing that might lead beyond so many US dollars.
        cache: the file that keeps the answers; the user's own when left out.
        retry_failed: ask again what was refused or cut short before.
        in_flight: how many questions are under way at once; hosted models.
        timeout_s: how long to wait for an answer, seconds; hosted models.
        device: cuda or cpu; local models.
        dtype: bfloat16 or float32; local models.
    """
    from gpt4scene.asking import Showing
    from gpt4scene.cli.answer_lines import check_picture
    from gpt4scene.prompting.question_file import read_questions

    check_numbers(max_new_tokens, temperature, max_cost)
    given = {
        "a question": bool(question),
        "--situation": situation is not None,
        "--object": object is not None,
        "--picture": picture is not None,
        "--json": json and not dry_run,
    }
    _check_many(questions, out, batch, [name for name, is_given in given.items() if is_given], dry_run=dry_run)
    if picture is not None:
        check_picture(picture)
    if questions is None:
        asked = [_single(question, task, situation, object, expect, style)]
    else:
        asked = read_questions(questions, task=task, expect=expect, style=style)
    showing = Showing(preset, bev, marks, drop_marks, seed, frame_detail)
    how = {"in_flight": in_flight, "timeout_s": timeout_s, "device": device, "dtype": dtype}
    with opened(scene, model, cache, **how) as (loaded, vlm, answers):
        run = Questioning(
            scene=loaded,
            folder=scene,
            model=vlm,
            cache=answers,
            questions=asked,
            requests=requests_of(loaded, scene, vlm, showing, asked, max_new_tokens, temperature),
            retry_failed=retry_failed,
            max_cost_usd=max_cost,
        )
        if dry_run:
            tell_plan(run, as_json=json)
        elif questions is None:
            ask_one(run, picture=picture, no_picture=no_picture, as_json=json)
        else:
            assert out is not None
            if batch is None:
                ask_many(run, out)
            else:
                ask_in_batches(run, out, batch)


@contextmanager
def opened(scene: Path, model: str, cache: Path | None, **how: Any) -> "Iterator[tuple[Scene, VLM, AnswerCache]]":
    """A scene, a model and the cache of answers, which are closed when the block ends."""
    from gpt4scene.scene.scene import load_scene
    from gpt4scene.vlm.cache import AnswerCache, default_cache_path
    from gpt4scene.vlm.names import open_model

    loaded = load_scene(scene)
    vlm = open_model(model, **how)
    try:
        with AnswerCache(cache or default_cache_path()) as answers:
            yield loaded, vlm, answers
    finally:
        vlm.close()


def check_numbers(max_new_tokens: int, temperature: float | None, max_cost: float | None) -> None:
    """Complain of options that no model takes.

    Raises:
        UserError: one is out of range.
    """
    if max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {max_new_tokens}: must be 1 or more")
    for option, value in (("--temperature", temperature), ("--max-cost", max_cost)):
        if value is not None and not 0 <= value < float("inf"):
            raise UserError(f"{option} {value}: must be 0 or more")


def _check_many(
    questions: Path | None, out: Path | None, batch: Path | None, given: Sequence[str], *, dry_run: bool
) -> None:
    """Say which options do not go together; `given` are those that a single question takes."""
    if questions is None:
        if batch is not None:
            raise UserError(f"--batch {batch}: is for many questions; give them with --questions")
        if out is not None:
            raise UserError(f"--out {out}: is for many questions; give them with --questions, or take --json")
        return
    if given:
        raise UserError(f"--questions {questions}: leave out {given[0]}, which goes with a single question")
    if out is None:
        if not dry_run:
            raise UserError(f"--questions {questions}: say where the answers go with --out FILE.jsonl")
    elif out.suffix.lower() != ".jsonl":
        raise UserError(f"--out {out}: its name must end in .jsonl; one JSON object per line is written")
    elif not out.resolve().parent.is_dir():
        raise UserError(f"--out {out}: its folder is not there; make it first")


def _single(
    text: str,
    task: "Task | None",
    situation: str | None,
    object_id: int | None,
    expect: "Expect",
    style: "Style",
) -> "FileQuestion":
    from gpt4scene.prompting.question_file import FileQuestion, check_not_empty, task_of
    from gpt4scene.prompting.questions import Question

    named = task_of(task, situation=situation, object_id=object_id)
    if named == "situated" and situation is None:
        raise UserError('--task situated: say where the asker is, as in --situation "I sit on the sofa"')
    if named == "caption" and object_id is None:
        raise UserError("--task caption: say which object, as in --object 12")
    if named != "caption" and not text:
        raise UserError('no question is given: gpt4scene ask SCENE "QUESTION", or --questions FILE for many')
    question = Question(text, named, situation=situation, object_id=object_id, expect=expect, style=style)
    check_not_empty(question)
    return FileQuestion("1", question)
