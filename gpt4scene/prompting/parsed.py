"""What comes of reading a model's text: a value or a kind of failure; and which part of a text is the answer."""

import re
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

Outcome = Literal["answered", "unparsable", "refused", "truncated", "failed"]
"""Kept apart from right and wrong: only an "answered" question has a value to be scored."""

T = TypeVar("T")


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A value read from a model's text, or why there is none."""

    value: T | None
    """None unless answered; an answer of JSON may be null itself."""
    outcome: Outcome
    why: str = ""
    """One line on why there is no value, or on what had to be mended to read it."""


_REASONING_TAG = re.compile(r"<(/?)(?:think|thinking|reasoning)\s*>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<(/?)answer\s*>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_DECLINES = re.compile(
    r"\bI(?: am|'m)?(?: really)?\s+(?:can't|cannot|can not|won't|will not|unable to|not able to|not allowed to)\s+"
    r"(?:help|assist|comply|engage|fulfil|discuss|do (?:that|this)|process (?:that|this))",
    re.IGNORECASE,
)


def answer_part(text: str, *, boxed: bool = False) -> str:
    r"""A reply without its reasoning, with plain quotation marks, stripped.

    `<think>...</think>` is dropped, also where the opening tag was part of the prompt, and where the closing one never
    came; of a reply with `<answer>...</answer>` the last such part is the answer.

    Args:
        text: as the model wrote it.
        boxed: take the last LaTeX `\boxed{...}` for the answer where there is one.
    """
    said = _without_reasoning(text).translate(_PLAIN)
    tags = list(_ANSWER_TAG.finditer(said))
    opened = next((tag for tag in reversed(tags) if not tag[1]), None)
    if opened is not None:
        end = next((tag.start() for tag in tags if tag[1] and tag.start() > opened.start()), len(said))
        said = said[opened.end() : end]
    if boxed:
        said = _LATEX_TEXT.sub(r"\1", said)
        found = _BOXED.findall(said)
        said = found[-1] if found else said
    return said.strip()


_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " "})


def _without_reasoning(text: str) -> str:
    kept: list[str] = []
    start, inside = 0, False
    for tag in _REASONING_TAG.finditer(text):
        if tag[1]:
            if not inside:
                kept.clear()  # the prompt had opened the reasoning, so all of it so far is that
            start, inside = tag.end(), False
        elif not inside:
            kept.append(text[start : tag.start()])
            inside = True
    if not inside:
        kept.append(text[start:])
    return "".join(kept)


def declines(text: str, *, within: int = 300) -> bool:
    """Whether a reply begins by declining to answer, as providers' models do where nothing marks the reply as refused.

    Args:
        text: as the model wrote it.
        within: so many of its first characters are looked at, reasoning left out.
    """
    return bool(_DECLINES.search(answer_part(text)[:within]))


def unread(text: str, wanted: str) -> Parsed[Any]:
    """What to say of a reply in which nothing of what was wanted is found.

    Args:
        text: as the model wrote it.
        wanted: "no number", "no object"; how the reason begins.
    """
    said = answer_part(text)
    if not said:
        return Parsed(None, "unparsable", "the reply is reasoning alone" if text.strip() else "the reply is empty")
    if declines(text):
        return Parsed(None, "refused", f"the reply declines: {shortened(said)}")
    return Parsed(None, "unparsable", f"{wanted} in the reply: {shortened(said)}")


def shortened(text: str, most: int = 80) -> str:
    """A text in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
