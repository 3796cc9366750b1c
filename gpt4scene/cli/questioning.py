"""Questions about a scene on their way: planned, asked one by one or in batches, and told."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev.errors import UserError

if TYPE_CHECKING:
    from gpt4scene.asking import Showing
    from gpt4scene.prompting.question_file import FileQuestion
    from gpt4scene.scene.scene import Scene
    from gpt4scene.vlm.batch import BatchState
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM, Request


@dataclass(frozen=True)
class Questioning:
    """Questions that are about to be asked, and of whom."""

    scene: "Scene"
    folder: Path
    model: "VLM"
    cache: "AnswerCache"
    questions: "Sequence[FileQuestion]"
    requests: "Sequence[Request]"
    retry_failed: bool
    max_cost_usd: float | None


def requests_of(
    scene: "Scene",
    folder: Path,
    model: "VLM",
    showing: "Showing",
    questions: "Sequence[FileQuestion]",
    max_new_tokens: int,
    temperature: float | None,
) -> "list[Request]":
    """The requests of questions about one scene, which share its images.

    Raises:
        UserError: a question is empty, or asks for what the images do not show; says which line of a file it is.
    """
    from gpt4scene.asking import check_named, show_scene
    from gpt4scene.vlm.protocol import Request

    shown = show_scene(scene, model.view_size, showing=showing, folder=folder)
    requests = []
    for asked in questions:
        try:
            check_named(asked.question, scene)
            said = shown.conversation(asked.question.prompt(shown))
        except UserError as error:
            raise UserError(f"{asked.where}: {error}" if asked.where else str(error)) from error
        requests.append(Request(said, max_new_tokens, temperature))
    return requests


def tell_plan(run: Questioning, *, as_json: bool) -> None:
    """Print what asking would send and cost; nothing is sent."""
    from dataclasses import asdict
    from json import dumps

    from gpt4scene.cli.answer_lines import plan_lines
    from gpt4scene.vlm.answering import plan

    planned = plan(run.model, run.requests, cache=run.cache, retry_failed=run.retry_failed)
    if as_json:
        sys.stdout.write(f"{dumps({'model': run.model.name, **asdict(planned)})}\n")
    else:
        sys.stdout.write(plan_lines(planned, run.model, run.max_cost_usd))


def ask_one(run: Questioning, *, picture: Path | None, no_picture: bool, as_json: bool) -> None:
    """Ask, print the answer and the objects it names, draw them; exit code 1 unless it is an answer."""
    from json import dumps

    from gpt4scene.asking import answer_of, ids_of
    from gpt4scene.cli import answer_lines
    from gpt4scene.vlm.answering import ask_all

    asked = ask_all(
        run.model,
        run.requests,
        cache=run.cache,
        retry_failed=run.retry_failed,
        max_cost_usd=run.max_cost_usd,
        on_text=None if as_json else say,
    )
    if asked.kept[0] is None:
        raise UserError(asked.stopped)
    question = run.questions[0].question
    answer = answer_of(asked.kept[0], question, ids_of(run.scene))
    drawn = None
    if not no_picture and (answer.ids or picture is not None):
        drawn = picture or answer_lines.next_picture(run.folder, question.text or f"object {question.object_id}")
    if as_json:
        row = _row(run, 0, answer_lines.answer_row(answer))
        row |= {"objects": answer_lines.object_rows(run.scene, answer.ids), "units": run.scene.units}
        row["picture"] = None if drawn is None else str(drawn)
        sys.stdout.write(f"{dumps(row, ensure_ascii=False)}\n")
    else:
        sys.stdout.write("" if answer.text.endswith("\n") or not answer.text else "\n")
        sys.stdout.write(answer_lines.object_lines(run.scene, answer.ids, answer.unknown_ids))
        sys.stdout.write(answer_lines.took_line(answer, run.model.name, asked.money()))
    if drawn is not None:
        answer_lines.write_picture(drawn, run.scene, answer.ids)
        sys.stdout.write("" if as_json else f"look at {drawn}\n")
    if answer.outcome != "answered":
        sys.stdout.flush()
        sys.stderr.write(f"gpt4scene: {answer_lines.failure_line(answer)}\n")
        raise SystemExit(1)


def say(piece: str) -> None:
    """Print a piece of an answer at once."""
    from gpt4scene.cli.answer_lines import printable

    # a pipe that was closed may not end a reply that is being paid for; the next line to be printed complains
    with suppress(OSError):
        sys.stdout.write(printable(piece))
        sys.stdout.flush()


def _row(run: Questioning, position: int, answer: dict[str, Any]) -> dict[str, Any]:
    """A question and its answer as one JSON object."""
    asked = run.questions[position]
    question = asked.question
    row: dict[str, Any] = {"id": asked.id, "scene": run.scene.name, "task": question.task, "question": question.text}
    row |= {"situation": question.situation} if question.situation is not None else {}
    row |= {"object": question.object_id} if question.object_id is not None else {}
    return row | {"asked": run.model.name} | answer


def ask_in_batches(run: Questioning, out: Path, batch: Path) -> None:
    """Take up the batch in a folder where it stands, and say how far it is.

    Once every reply is there, the answers are written as `ask_many` writes them; until then the exit code is 1.
    """
    state = take_up_batch(
        run.model,
        run.requests,
        batch,
        run.cache,
        retry_failed=run.retry_failed,
        max_cost_usd=run.max_cost_usd,
    )
    if state.done:
        # which is to write what is there, not to pay in full for what was refused
        ask_many(replace(run, retry_failed=False), out)
        return
    sys.stdout.write("".join(f"{line}\n" for line in state.lines()))
    sys.stdout.write("the same command again takes what has come by then; batches take up to 24 hours\n")
    sys.stdout.flush()
    raise SystemExit(1)


def take_up_batch(
    model: "VLM",
    requests: "Sequence[Request]",
    batch: Path,
    cache: "AnswerCache",
    *,
    retry_failed: bool,
    max_cost_usd: float | None,
) -> "BatchState":
    """Take up the batch in a folder where it stands: collect what is there, submit what is missing.

    What is refused is asked again only by a command that finds nothing under way, or each that takes a refusal would
    pay for the next.
    """
    from gpt4scene.vlm.batch import collect, poll, submit

    if (batch / "batch.json").is_file():
        retry_failed = poll(model, batch).done and retry_failed
        collected = collect(model, batch, cache)
        for why, count in collected.failures.items():
            sys.stderr.write(f"gpt4scene: {count} failed and are submitted again: {why}\n")
    return submit(model, requests, batch, cache, retry_failed=retry_failed, max_cost_usd=max_cost_usd)


def ask_many(run: Questioning, out: Path) -> None:
    """Ask all, write a row for each that is known, print what they took; exit code 1 unless all were answered."""
    from gpt4scene.asking import answer_of, ids_of
    from gpt4scene.cli.answer_lines import answer_row, failures_line
    from gpt4scene.vlm.answering import ask_all
    from gpt4scene.vlm.asked import Kept

    known = ids_of(run.scene)
    rows: dict[int, dict[str, Any]] = {}

    def note(position: int, kept: Kept) -> None:
        answer = answer_of(kept, run.questions[position].question, known)
        rows[position] = _row(run, position, answer_row(answer))

    try:
        asked = ask_all(
            run.model,
            run.requests,
            cache=run.cache,
            retry_failed=run.retry_failed,
            max_cost_usd=run.max_cost_usd,
            progress=sys.stderr.isatty(),
            on_kept=note,
        )
    finally:
        # an interrupted run leaves what it has; the same command again takes that from the cache
        if rows:
            _write_rows(out, [rows[position] for position in sorted(rows)])
    unparsable = sum(row["outcome"] == "unparsable" for row in rows.values())
    unread = f"; {unparsable} of the answers name no object where one was asked for" if unparsable else ""
    sys.stdout.write(f"{asked.summary()}{unread}\n" + (f"answers are in {out}\n" if rows else ""))
    sys.stdout.flush()
    for outcome in ("failed", "refused", "truncated"):
        whys = Counter(row["why"] for row in rows.values() if row["outcome"] == outcome)
        if whys:
            sys.stderr.write(f"gpt4scene: {failures_line(outcome, whys)}\n")
    if asked.stopped:
        sys.stderr.write(f"gpt4scene: {asked.stopped}\n")
    if asked.stopped or any(row["outcome"] != "answered" for row in rows.values()):
        raise SystemExit(1)


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from json import dumps

    from gpt4scene.scene.atomic import write_bytes, write_errors

    text = "".join(f"{dumps(row, ensure_ascii=False)}\n" for row in rows)
    with write_errors(path.resolve().parent):
        write_bytes(path, text.encode("utf-8", "backslashreplace"))
