"""Files of questions: one per line of a text file, or one JSON object per line of a .jsonl file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.prompts import Expect, Style
from gpt4scene.prompting.questions import Question, Task

KEYS = ("id", "question", "task", "situation", "object", "expect", "style")
_CHOICES = {"expect": ("one", "any"), "style": ("free", "short")}
_EXAMPLE = '{"question": "Which chair is nearest the window?"}'


@dataclass(frozen=True)
class FileQuestion:
    """A question of a file, and what it goes by."""

    id: str
    """The file's own, or the number of its line."""
    question: Question
    where: str = ""
    """The line it is from, for errors."""


def read_questions(
    path: Path, *, task: Task | None = None, expect: Expect = "any", style: Style = "free"
) -> list[FileQuestion]:
    """The questions of a file, in its order.

    A .jsonl file holds {"question": text} per line, with "id", "task", "situation", "object", "expect" and "style"
    where they are needed; a .txt file holds one question per line. Empty lines are passed over.

    Args:
        path: of the file, UTF-8.
        task: of the lines that name none; None: what they hold tells: "situated" with a situation, "caption" with an
            object, else "qa".
        expect: of the lines that ask for objects and do not say how many there are.
        style: of the lines that do not say how their answer is to be worded.

    Raises:
        UserError: there is no such file, of another kind, it holds no question, or a line is none; says which.
    """
    of_objects = path.suffix.lower() in (".jsonl", ".ndjson")
    if not of_objects and path.suffix.lower() != ".txt":
        raise UserError(
            f"{path}: its name must end in .txt, with one question per line, or .jsonl, with an object each"
        )
    lines = [(number, line) for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: holds no question; write one per line")
    found: dict[str, FileQuestion] = {}
    for number, line in lines:
        where = f"{path}, line {number}"
        row = _row(line, where) if of_objects else {"question": line.strip()}
        name = str(row.get("id", number))
        if name in found:
            raise UserError(f"{where}: another line has the id {name!r} already; ids must differ")
        try:
            found[name] = FileQuestion(name, _question(row, task, expect, style), where)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return list(found.values())


def task_of(task: Task | None, *, situation: str | None, object_id: int | None) -> Task:
    """The task that is named, or that what is given with a question tells."""
    if task is not None:
        return task
    return "situated" if situation is not None else "caption" if object_id is not None else "qa"


def check_not_empty(question: Question) -> None:
    """Complain of a question without words, before anything is drawn or opened for it.

    Raises:
        UserError: it asks nothing.
    """
    if question.task != "caption" and not question.text.strip():
        raise UserError(f"the {'description' if question.task == 'ground' else 'question'} is empty; say it in words")


def _question(row: dict[str, Any], task: Task | None, expect: Expect, style: Style) -> Question:
    situation, object_id = row.get("situation"), row.get("object")
    question = Question(
        row.get("question", ""),
        task_of(row.get("task", task), situation=situation, object_id=object_id),
        situation=situation,
        object_id=object_id,
        expect=row.get("expect", expect),
        style=row.get("style", style),
    )
    check_not_empty(question)
    return question


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON ({error}); write {_EXAMPLE}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be an object such as {_EXAMPLE}, found {line.strip()[:60]}")
    unknown = [key for key in row if key not in KEYS]
    if unknown:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
    for key, kinds in (("question", str), ("task", str), ("situation", str), ("object", int), ("id", str | int)):
        if key in row and (not isinstance(row[key], kinds) or isinstance(row[key], bool)):
            kind = "a whole number" if kinds is int else "a text"
            raise UserError(f"{where}: {key!r} must be {kind}, found {json.dumps(row[key])[:60]}")
    for key, choices in _CHOICES.items():
        if key in row and row[key] not in choices:
            raise UserError(f"{where}: {key!r} must be one of {', '.join(choices)}, found {json.dumps(row[key])[:60]}")
    return row


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file of questions") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; give a file with one question per line") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
