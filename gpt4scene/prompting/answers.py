"""What a model's text answers: objects, a number, an option's letter, yes or no, JSON; never a silent zero.

Every reader takes the text as the model wrote it, leaves reasoning out, raises at no text, and gives a value or says
why there is none. A reply that was refused, cut short or never came is no text to be read: `read_reply` sees to that.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from gpt4scene.prompting.named_ids import NamedIds, read_ids
from gpt4scene.prompting.numbers import read_number
from gpt4scene.prompting.parsed import Outcome, Parsed, answer_part, shortened, unread
from gpt4scene.vlm.protocol import Reply

__all__ = [
    "NamedIds",
    "Outcome",
    "Parsed",
    "answer_part",
    "read_ids",
    "read_json",
    "read_number",
    "read_option",
    "read_reply",
    "read_yes_no",
]

T = TypeVar("T")


def read_reply(reply: Reply, read: Callable[[str], Parsed[T]]) -> Parsed[T]:
    """What `read` makes of a reply's text; of a reply that is none, what became of it."""
    if reply.outcome != "answered":
        return Parsed(None, reply.outcome, reply.why)
    return read(reply.text)


def read_option(text: str, options: int | Sequence[str] = 4) -> Parsed[str]:
    """The letter of the option that a reply chooses, "A" to "Z".

    In this order: the reply is a letter; the last "the answer is B"; the last line is a letter; the reply begins with
    "B.", "(B)" or "B "; it is or holds the words of just one option; it holds just one letter that cannot be the
    article "a". Two letters in one breath ("B or C") choose none, nor do options that are gone through line by line.

    Args:
        text: as the model wrote it.
        options: what the options say, in order, or how many there are.

    Raises:
        ValueError: there are fewer than 1 or more than 26 options.
    """
    texts = () if isinstance(options, int) else tuple(options)
    count = options if isinstance(options, int) else len(texts)
    if not 1 <= count <= 26:
        raise ValueError(f"there must be 1 to 26 options, got {count}")
    said = answer_part(text, boxed=True).replace("**", "").replace("`", "")
    for candidates in (
        _whole(said),
        _after_cue(said),
        _whole(said.rpartition("\n")[2]),
        _at_start(said),
        {chr(ord("A") + i) for i in _texts_in(said, texts)},
        _anywhere(said),
    ):
        if len(candidates) > 1:
            return Parsed(None, "unparsable", f"several options, {', '.join(sorted(candidates))}: {shortened(said)}")
        for letter in candidates:
            if ord(letter) - ord("A") >= count:
                last = chr(ord("A") + count - 1)
                return Parsed(None, "unparsable", f"{letter} is none of the options A to {last}: {shortened(said)}")
            return Parsed(letter, "answered")
    return unread(text, "no option")


_LETTER = r"(?:[\"'(\[{]\s*)?([A-Za-z])"
_ENDS = r"(?=\s*(?:[.,:;!?)\]}\"'\n]|$|[-–—]\s|(?:because|since|as|for|due|given|based|which|is)\b))"
"""What follows a letter that stands for itself; an article is followed by its noun."""
_NOT_WRONG = r"(?!\W+(?:is|can|does)(?:\s+(?:wrong|incorrect|excluded|ruled out|not)\b|n't\b|not\b))"
_CUE = re.compile(
    r"\b(?:answer|option|choice|choose|select|pick|correct one)s?\b(?:\s+(?:is|was|would be|should be|are))?\W{0,4}?"
    rf"(?:(?:option|choice|letter)\s+)?\s*(?:{_LETTER}{_NOT_WRONG}{_ENDS}|([B-HJ-Z])\b(?!'){_NOT_WRONG})",
    re.IGNORECASE,
)
_ALSO = re.compile(
    r"[\s.)\"'\]]*(?:,|/|&|\bn?or\b|\band\b)\s*(?:\bor\b|\band\b)?\s*(?:option\s+)?[\"'(\[]?([A-Z])\b(?!')"
)
_START = re.compile(
    rf"\W*(?:{_LETTER}\s*(?:[).:\],;]|\s[-–—]\s|$)|(A)(?=\s+is\b){_NOT_WRONG}|([B-HJ-Z])\b(?!['-]){_NOT_WRONG})"
)
_LINE = re.compile(r"^\W*([A-Z])\s*[).:]", re.MULTILINE)
_ALONE = re.compile(
    rf"(?<![\w'-])(?<!not )(?<!nor )(?<![Nn]either )(?:([B-HJ-Z])(?![\w'-]){_NOT_WRONG}|[(\[\"']([A-Z])[)\]\"']"
    r"|([AI])(?=\s*(?:,|/|or\b|and\b)\s*[A-Z]\b))"
)


def _with_others(said: str, found: re.Match[str]) -> set[str]:
    """The letter of a match and those that go on from it: "B or C"."""
    group = found.lastindex or 0
    letters = {found[group].upper()}
    end = found.end(group)
    while more := _ALSO.match(said, end):
        letters.add(more[1])
        end = more.end(1)
    return letters


def _whole(said: str) -> set[str]:
    found = re.fullmatch(r"\W*([A-Za-z])\W*", said)
    return {found[1].upper()} if found else set()


def _after_cue(said: str) -> set[str]:
    # "choose a" and "option c" are no cue for a letter that goes on as a word, which the ends see to
    found = [match for match in _CUE.finditer(said) if match[1] or match[2].isupper()]
    return _with_others(said, found[-1]) if found else set()


def _at_start(said: str) -> set[str]:
    found = _START.match(said)
    return _with_others(said, found) | set(_LINE.findall(said)) if found else set()


def _anywhere(said: str) -> set[str]:
    """Letters that stand alone; A and I only where brackets, quotation marks or another letter make them no words."""
    return {a or b or c for a, b, c in _ALONE.findall(said)}


def _texts_in(said: str, texts: Sequence[str]) -> list[int]:
    """Which options a reply is, or else holds in whole words; an option within a longer one that is held is not."""
    line, wanted = _words(said), [_words(text) for text in texts]
    same = [i for i, text in enumerate(wanted) if text and text == line]
    if same:
        return same
    held = [i for i, text in enumerate(wanted) if text and f" {text} " in f" {line} "]
    rest = f" {line} "
    for i in sorted(held, key=lambda i: -len(wanted[i])):
        if f" {wanted[i]} " not in rest:
            held.remove(i)
        rest = rest.replace(f" {wanted[i]} ", "  ")
    return held


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:[.'][^\W_]+)*", text.casefold()))


_YES = r"(?:yes|yeah|yep|yup|true|correct|certainly|indeed|absolutely|definitely)"
_NO = r"(?:(?:absolutely|certainly|definitely|indeed) not|not (?:really|at all)|no|nope|nah|false|incorrect)"
_SAID = rf"({_NO}|{_YES})\b"
_YES_NO_CUE = re.compile(rf"\banswer\b\W{{0,4}}(?:is|would be|:|=|\n)\W*{_SAID}|\bso {_SAID}\W*$", re.IGNORECASE)
_YES_NO_START = re.compile(
    rf"\W*{_SAID}(?!\s+(?:idea|clue|way to|information|one knows|doubt|problem|answer)\b)"
    r"(?!\W+(?:and|or)\s+(?:yes|no)\b)",
    re.IGNORECASE,
)
_YES_NO_CLAUSE = re.compile(rf",\s*{_SAID}(?=\W*$|[,.])", re.IGNORECASE)
_THERE_IS_NONE = re.compile(r"\W*there (?:is|are)(?:n't| not| no| none)\b(?!\s+(?:enough|way|doubt|information))", re.I)


def read_yes_no(text: str) -> Parsed[bool]:
    """Whether a reply says yes: by the last "the answer is yes", by how it begins, by a clause of its own.

    "As I see it, yes" has such a clause; "there is no ..." is a no.
    """
    said = answer_part(text, boxed=True)
    cues = list(_YES_NO_CUE.finditer(said))
    found = cues[-1] if cues else _YES_NO_START.match(said) or _YES_NO_CLAUSE.search(said)
    if found:
        return Parsed(re.fullmatch(_YES, found[found.lastindex or 0], re.IGNORECASE) is not None, "answered")
    if _THERE_IS_NONE.match(said):
        return Parsed(False, "answered")
    return unread(text, "neither yes nor no")


_FENCE = re.compile(r"```[\w-]*[ \t]*\r?\n?(.*?)(?:```|\Z)", re.DOTALL)


def read_json(text: str) -> Parsed[Any]:
    """The JSON value of a reply: all of it, its last fenced block that is JSON, or the longest value amid its prose.

    What is not quite JSON (single quotes, a comma too many, brackets that never close) is mended by `json_repair`,
    which the reason then says; where that would have to make up a value, there is none.
    """
    said = answer_part(text)
    found, value = _strict(said)
    if found:
        return Parsed(value, "answered")
    for candidate in (*reversed(_FENCE.findall(said)), *_values_in(said)):
        found, value = _strict(candidate)
        if found:
            return Parsed(value, "answered")
        found, value = _repaired(candidate.strip())
        if found:
            return Parsed(value, "answered", "the JSON was malformed and has been mended")
    return unread(text, "no JSON")


def _values_in(said: str) -> list[str]:
    """Pieces of a text in brackets, the longest first; a piece within a piece, be that malformed or not, is none."""
    pieces, end = [], 0
    for start in (match.start() for match in re.finditer(r"[{\[]", said)):
        if start >= end:
            try:
                _, end = json.JSONDecoder().raw_decode(said, start)
            except (ValueError, RecursionError):
                end = _bracket_end(said, start)
            pieces.append(said[start:end])
    return sorted(pieces, key=len, reverse=True)


def _bracket_end(said: str, start: int) -> int:
    """Where a bracket that begins no JSON closes: at the end of the text where it never does."""
    depth = 0
    for bracket in re.finditer(r"[{\[\]}]", said[start:]):
        depth += 1 if bracket[0] in "{[" else -1
        if not depth:
            return start + bracket.end()
    return len(said)


def _strict(said: str) -> tuple[bool, Any]:
    try:
        return True, json.loads(said, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return False, None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _repaired(said: str) -> tuple[bool, Any]:
    """What `json_repair` makes of an object or a list that is malformed, unless it made up some of it."""
    if not said.startswith(("{", "[")):
        return False, None
    import json_repair

    try:
        value = json_repair.loads(said)
        leaves = list(_leaves(value))
    except (ValueError, RecursionError):
        return False, None
    # an empty text stands where it found nothing, and where there is none in the text it is made up
    made_up = sum(leaf == "" or leaf != leaf for leaf in leaves) > len(re.findall(r"\"\"|''", said))
    if made_up or not leaves or not isinstance(value, dict if said[0] == "{" else list):
        return False, None
    # prose in brackets becomes a list of its words
    prose = isinstance(value, list) and any(isinstance(leaf, str) for leaf in leaves) and not re.search(r"[\"']", said)
    return (False, None) if prose else (True, value)


def _leaves(value: Any) -> Iterator[Any]:
    """The keys and the plain values of a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
