"""A question about a scene as a user or a benchmark has it, before it becomes a prompt."""

from dataclasses import dataclass
from typing import Literal, get_args

from bev.errors import UserError
from gpt4scene.prompting import prompts
from gpt4scene.prompting.prompts import Expect, Style
from gpt4scene.prompting.shown import Shown

Task = Literal["qa", "situated", "ground", "caption", "chat"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class Question:
    """What is asked, and what kind of answer is wanted.

    Raises:
        UserError: the task lacks what it needs, or has what is of no use to it.
    """

    text: str = ""
    """The question; of grounding, the description; empty for captions."""
    task: Task = "qa"
    situation: str | None = None
    """Where the asker stands and looks, for "situated"."""
    object_id: int | None = None
    """Which object to describe, for "caption"."""
    expect: Expect = "any"
    """How many objects fit a description, for "ground": exactly one, or any number and none."""
    style: Style = "free"
    """How an answer to "qa" or "situated" is worded: in a sentence or two, or "short", "number", "letter" or "form",
    as benchmarks score it."""
    options: tuple[str, ...] = ()
    """What there is to choose from, for a "qa" of the style "letter"; without letters."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"task {self.task!r}: there are {', '.join(TASKS)}")
        if (self.situation is None) == (self.task == "situated"):
            needs = "needs a situation" if self.situation is None else f"task {self.task!r} takes no situation"
            raise UserError(f"question {self.text!r}: {needs}; a situation goes with the task situated")
        if (self.object_id is None) == (self.task == "caption"):
            needs = "needs an object" if self.object_id is None else f"task {self.task!r} takes no object"
            raise UserError(f"question {self.text!r}: {needs}; an object's number goes with the task caption")
        if self.task == "caption" and self.text.strip():
            raise UserError(f"question {self.text!r}: a caption takes no question, only an object's number")
        if bool(self.options) != (self.task == "qa" and self.style == "letter"):
            raise UserError(f"question {self.text!r}: options go with the task qa and the style letter")

    def prompt(self, shown: Shown) -> str:
        """What is said to the model after the images.

        Raises:
            UserError: the question is empty, or needs numbers that the images do not carry.
        """
        style, marks = self.style, shown.has_marks
        if self.task == "qa":
            return prompts.question(self.text, style=style, marks=marks, options=self.options)
        if self.task == "situated":
            assert self.situation is not None
            return prompts.situated_question(self.situation, self.text, style=style, marks=marks)
        if self.task == "ground":
            return prompts.grounding(self.text, expect=self.expect, marks=marks)
        if self.task == "caption":
            assert self.object_id is not None
            return prompts.caption(self.object_id, shown_ids=shown.ids)
        return prompts.chat(self.text)
