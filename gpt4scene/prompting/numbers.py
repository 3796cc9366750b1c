"""The number that a model's text gives: digits first, number words where there are no digits.

Which number counts, of several: the one that the text begins with where it has a line of its own; else the first after
the last "the answer is", "=" or "total of", or the last one "in total"; without such words the first of the text
("3 chairs and 2 tables"). A range is no number, nor is a length in two units. Units are not converted, and "50 %" is
50: what unit is wanted is the prompt's to say.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gpt4scene.prompting.parsed import Parsed, answer_part, shortened, unread


@dataclass(frozen=True)
class _Found:
    """A number in a text."""

    start: int
    end: int
    value: float | None
    """None: it is there and cannot be had."""
    why: str = ""


def read_number(text: str, *, which: Literal["first", "last"] = "first") -> Parsed[float]:
    """The number that a reply gives.

    Reads "2.5m", "1,200", "-3", "1/2", "2 1/2", "1.2e-3", "2.5 x 10^3", "50%", "three", "two and a half", "none".

    Args:
        text: as the model wrote it.
        which: of several numbers without a word on which is the answer.
    """
    said = _plain(answer_part(text, boxed=True))
    digits, words = _without_ranges(said, list(_in_digits(said))), list(_in_words(said))
    found = digits or words or _nothing_at_all(said)
    if not found:
        return unread(text, "no number")
    chosen = _stated(said, sorted((*digits, *words), key=lambda number: number.start), opening=which == "first")
    chosen = chosen or found[0 if which == "first" else -1]
    if chosen.value is None:
        return Parsed(None, "unparsable", shortened(chosen.why))
    return Parsed(chosen.value, "answered")


_CUE = re.compile(
    r"\banswer\b\W{0,4}(?:is\b|:|=)|[=≈]|(?<!in )\btotal\b(?:\s+number)?\W{0,4}(?:of\b|is\b|:)", re.IGNORECASE
)
_IN_TOTAL = re.compile(r"(?:\s+[^\W\d][\w'-]*){0,4}\s+(?:in total|altogether)\b", re.IGNORECASE)
_OPENING = re.compile(r"[\W_]*\S+(?:[^\S\n]+\S+){0,2}[^\S\n]*\n")


def _stated(said: str, numbers: list[_Found], *, opening: bool) -> _Found | None:
    """The number of which the text says that it is the answer."""
    line = _OPENING.match(said) if opening else None
    within = [number for number in numbers if line and number.end <= line.end()]
    if len(within) == 1 and not re.search(r"[^\W_]", said[: within[0].start]):
        return within[0]
    cue = max((cue.end() for cue in _CUE.finditer(said)), default=None)
    total = next((number for number in reversed(numbers) if _IN_TOTAL.match(said, number.end)), None)
    if cue is None or (total and total.start >= cue):
        return total
    return next((number for number in numbers if number.start >= cue), None)


_OBJECT = re.compile(
    r"<obj[^>\s]{0,20}>|\b(?:images|frames)\s+\d+(?:\s?[-–—]\s?|\s+(?:to|through)\s+)\d+"
    r"|\b(?:based on|looking at|across|from|in|over|through)\s+(?:all\s+)?(?:of\s+)?(?:the\s+|these\s+)?\d+\s+"
    r"(?:provided\s+|given\s+|video\s+)?(?:images?|frames?)\b"
    r"|\b(?:obj(?:ect)?|marker|frame|image|figure|option|labell?ed|numbered|marked)s?[\s_#:-]{0,3}\d+"
    r"(?:(?:\s*,\s*|\s*,?\s+and\s+)\d+(?!\s+(?!(?:and|is|are)\b)[a-z]|[.,]?\d))*|(?<!\w)#\d+",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"^\s*\d{1,2}[.)]\s+(?=\S)", re.MULTILINE)
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁻]+")
_FRAC = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def _plain(said: str) -> str:
    """Without marks of emphasis, the numbers of objects, and those of a list; with plain signs."""
    said = _FRAC.sub(r"\1/\2", _RAISED.sub(r"^\g<0>", _VULGAR.sub(" ", said)))
    said = unicodedata.normalize("NFKC", said).translate(_SIGNS).replace("\\times", "x").replace("**", "")
    said = _OBJECT.sub(" ", said)
    return _LIST_NUMBER.sub("", said) if len(_LIST_NUMBER.findall(said)) > 1 else said


_SIGNS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{FRACTION SLASH}": "/", "×": "x", "`": None, "$": None, "\\": None})

_UNIT = (
    r"(?:[mcdk]?m|meters?|metres?|ft|feet|foot|in(?:ch(?:es)?)?|yd|yards?|sq|kg|g|lbs?|s|sec|seconds?|min|minutes?|h|"
    r"hours?|deg|degrees?|units?|percent|years?)(?![a-z])"
)
_DIGITS = re.compile(
    r"(?<![\w/^])(?<!\^[-+])(?<!\d[.,:'])(?P<sign>[-+])?"
    r"(?:(?:(?P<whole>\d{1,6})\s+)?(?P<over>\d{1,9})\s?/\s?(?P<under>\d{1,9})"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\d+|\.\d+)(?:e(?P<e>[-+]?\d{1,4})|\s?[x*]\s?10\s?\^\s?\{?(?P<ten>[-+]?\d{1,4})\}?)?)"
    rf"(?!\d|[.,:']\d|\s?[/^]|-?(?!{_UNIT})[a-z])"
    r"(?:\s+(?P<times>hundred|thousand|million|dozen)\b)?",
    re.IGNORECASE,
)  # fmt: skip
_TIMES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12}


def _in_digits(said: str) -> Iterator[_Found]:
    for found in _DIGITS.finditer(said):
        value, why = _value(found)
        yield _Found(found.start(), found.end(), value, why)


def _value(found: re.Match[str]) -> tuple[float | None, str]:
    if found["under"]:
        if not int(found["under"]):
            return None, f"a fraction over zero: {found[0]}"
        value = float(found["whole"] or 0) + int(found["over"]) / int(found["under"])
    else:
        value = float(f"{found['number'].replace(',', '')}e{found['e'] or found['ten'] or 0}")
    value *= _TIMES.get((found["times"] or "").lower(), 1)
    if value == float("inf"):
        return None, "a number that is too large"
    return (-value if found["sign"] == "-" else value), ""


_BETWEEN = re.compile(rf"\s*(?:{_UNIT})?\s*(?:[-–—~]|to|or|x|by)\s*|(?!\s*in\s)(?:\s*{_UNIT})?\s+", re.IGNORECASE)


def _without_ranges(said: str, numbers: list[_Found]) -> list[_Found]:
    """The numbers with two that are one range, or the sides of one thing, made one that cannot be had."""
    merged: list[_Found] = []
    for number in numbers:
        before = merged[-1] if merged else None
        gap = said[before.end : number.start] if before else ""
        spoken = (
            before is not None and gap.strip() == "and" and bool(re.search(r"between\s*$", said[: before.start], re.I))
        )
        if before and (spoken or _BETWEEN.fullmatch(gap)):
            why = f"a range or several numbers, {said[before.start : number.end]}, not one"
            merged[-1] = _Found(before.start, number.end, None, why)
        else:
            merged.append(number)
    return merged


# fmt: off
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
# fmt: on
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: i for i, word in enumerate(_ONES)} | {word: 10 * i for i, word in enumerate(_TENS, start=2)}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "tenth": 10, "tenths": 10}
_WORD = "|".join(sorted((*_WORDS, *_TIMES), key=len, reverse=True))
_SPOKEN = re.compile(
    rf"\b(?P<minus>minus\s+|negative\s+)?(?P<words>(?:a\s+(?=hundred|thousand|million|dozen)|(?:{'|'.join(_WORDS)})\b)"
    rf"(?:[\s-]*(?:and\s+(?!a\s+half))?\b(?:{_WORD})\b){{0,8}})"
    rf"(?:\s+point(?P<point>(?:\s+(?:{'|'.join(_ONES[:10])})\b){{1,6}}))?"
    rf"(?:[\s-]+(?P<parts>{'|'.join(_PARTS)})\b)?(?P<half>\s+and\s+a\s+half\b)?"
    r"|\b(?P<lone_half>half)\s+(?:an?\b|$)",
    re.IGNORECASE,
)
_ONE_COUNTS_AFTER = re.compile(
    r"(?:^|\b(?:is|are|was|only|just|exactly|has|have|there's|contains?|about|around|roughly|approximately|see|total)|[:=])\W*$",
    re.IGNORECASE,
)  # fmt: skip
_ONE_IS_NO_NUMBER = re.compile(
    r"\s+(?:of|on|in|at|by|near|next|with|that|which|who|to|closest|nearest)\b", re.IGNORECASE
)


def _in_words(said: str) -> Iterator[_Found]:
    """Number words; "one" only where it counts ("there is one chair"), not "the one near the door"."""
    for found in _SPOKEN.finditer(said):
        lone = found[0].lower() == "one"
        if lone and (
            _ONE_IS_NO_NUMBER.match(said, found.end()) or not _ONE_COUNTS_AFTER.search(said[: found.start()][-40:])
        ):
            continue
        value = 0.5 if found["lone_half"] else _spoken_value(found)
        why = "" if value is not None else f"no one number: {found[0]}"
        yield _Found(found.start(), found.end(), value, why)


def _spoken_value(found: re.Match[str]) -> float | None:
    value = _sum_of(re.findall(rf"\b(?:a|{_WORD})\b", found["words"].lower()))
    if value is None:
        return None
    digits = [str(_WORDS[word]) for word in (found["point"] or "").lower().split()]
    value += float(f"0.{''.join(digits)}") if digits else 0.0
    value /= _PARTS.get((found["parts"] or "").lower(), 1)
    value += 0.5 if found["half"] else 0.0
    return -value if found["minus"] else value


def _sum_of(words: list[str]) -> float | None:
    """What number words amount to; None where they are several numbers, as "two three"."""
    total, group, most = 0.0, None, float("inf")
    for word in words:
        if word == "a":
            group = 1.0
        elif word in _TIMES:
            if group is None:
                return None
            group *= _TIMES[word]
            most = _TIMES[word]
            if _TIMES[word] >= 1000:
                total, group, most = total + group, 0.0, float("inf")
        else:
            value = _WORDS[word]
            if group is not None and (value >= most or value == 0):
                return None
            group = (group or 0.0) + value
            most = 10 if value >= 20 else 1
    return total + (group or 0.0)


def _nothing_at_all(said: str) -> list[_Found]:
    """None: "None.", "There are no chairs": a zero that is said, not one that is made up."""
    found = re.fullmatch(r"\W*none\W*", said, re.I) or re.search(
        r"\bthere (?:is|are)(?:n't any| not any| no| none)\b(?!\s+(?:way|image|picture|information|doubt|answer))",
        said,
        re.I,
    )
    return [_Found(found.start(), found.end(), 0.0)] if found else []
