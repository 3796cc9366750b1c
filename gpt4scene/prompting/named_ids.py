"""Which objects a model's text names: `<OBJ012>`, or what models write that were never trained to write that.

Forms, from the strictest on; the first kind that a text holds is the only one that is read:

1. `<OBJ012>` counts wherever it stands, and so does "<OBJ12>" or "<obj_12>", which models write beside `<OBJ104>`.
2. With a word or sign that makes a number an object's: "object 12", "objects 3, 5 and 7", "OBJ012", "id: 12",
   "marked 12", "numbered 12", "#12", "<12>", "[12]".
3. A reply that is nothing but numbers: "12.", "**12**", "3 and 5", "[3, 5]", "- 3\\n- 5", "1. 4\\n2. 19".
4. Numbers of the scene that stand where an answer does: at the end of a sentence, "the best match is 12.", "Chairs: 4,
   7", or before what says what they are, "12: the brown chair", "- 12 (brown)".

All else is no object: counts ("2 chairs"), lengths ("4.5 m"), ranges ("3-5"), ordinals, years, pictures ("image 4").
What a text denies ("not object 12") it names all the same.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from gpt4scene.prompting.object_ids import parse_ids
from gpt4scene.prompting.parsed import Parsed, answer_part, unread


@dataclass(frozen=True)
class NamedIds:
    """Objects that a text names."""

    ids: tuple[int, ...]
    """Those of the scene, in order, each once."""
    unknown_ids: tuple[int, ...]
    """Those that the scene does not hold, in order, each once."""
    mentions: tuple[int, ...] = ()
    """All of them with their repeats, which Multi3DRefer's scorers count."""


def read_ids(text: str, known: Collection[int], *, loose: bool = True, bare: bool = True) -> Parsed[NamedIds]:
    """The objects that a reply names; a reply that says that there is none names none, and that is an answer.

    Args:
        text: as the model wrote it.
        known: the numbers of the scene's objects.
        loose: read all of these forms; otherwise `<OBJ012>` alone.
        bare: read the third and fourth kind, and only what follows the last "the answer is" where that is an answer;
            for questions that ask for objects, since "4." may be a count.
    """
    said = _FENCE.sub("", answer_part(text, boxed=True))
    readers: list[Callable[[str, Collection[int]], list[int]]] = [_strict]
    if loose:
        readers = [_in_angles, _with_a_word, _with_a_sign]
        readers += [_bare, _in_the_place_of_an_answer] if bare else []
    cues = list(_CUE.finditer(said)) if loose and bare else []
    for part in (*(said[cue.end() :] for cue in cues[-1:]), said):
        mentions = next((found for read in readers if (found := read(part, known))), [])
        if mentions or _says_none(part):
            return Parsed(_named(mentions, known), "answered")
    return unread(text, "no object's number")


_CUE = re.compile(r"\banswer\b\W{0,4}(?:is\b|:|=)", re.IGNORECASE)
_FENCE = re.compile(r"```(?:json|text|plaintext)?[ \t]*$", re.MULTILINE | re.IGNORECASE)


def _named(mentions: list[int], known: Collection[int]) -> NamedIds:
    once = dict.fromkeys(mentions)
    return NamedIds(
        ids=tuple(id for id in once if id in known),
        unknown_ids=tuple(id for id in once if id not in known),
        mentions=tuple(mentions),
    )


def _strict(said: str, known: Collection[int]) -> list[int]:
    return parse_ids(said)


_ANGLES = re.compile(r"<\s?OBJ[\s_-]?(\d{1,18})\s?>", re.IGNORECASE)


def _in_angles(said: str, known: Collection[int]) -> list[int]:
    return [int(digits) for digits in _ANGLES.findall(said)]


_UNIT = (
    r"(?:[mck]?m|meters?|metres?|centi\w+|milli\w+|ft|feet|foot|in(?:ch(?:es)?)|yards?|units?|seconds?|minutes?|hours?|"
    r"days?|years?|degrees?|deg|times?|percent|pixels?|px|kg|of)\b"
)
_NUMBER = re.compile(rf"(\d{{1,6}})(?!\d|\.\d|[^\W\d_]|\s?[-–—]\s?\d|:\d|\s?[%°]|[\s-]{{0,2}}{_UNIT})", re.IGNORECASE)
_WORD = re.compile(
    r"(?<![^\W_])(?P<word>obj(?:ect)?(?:s|\(s\))?|instances?|items?|ids?|mark(?:er|ed)?s?|label(?:l?ed)?s?|tag(?:ged)?s?|"
    r"number(?:ed|s)?)"
    r"(?P<more>[\s_-]*(?:ids?|numbers?|no\.|num|marker|labels?)(?![^\W_]))?"
    r"(?P<as>\s+(?:with|by|as)(?:\s+the)?(?:\s+(?:numbers?|ids?|labels?))?)?"
    r"(?P<link>[\s\"'`*_]*(?:(?<=\W)(?:is|are)(?=\W)|[:=])?[\s\"'`*_#<\[({-]*)(?=\d)",
    re.IGNORECASE,
)
_NEXT = re.compile(
    r"[\"'`*_\])>}]*\s*(?:,|;|/|&|\+|\band\b|\bor\b)\s*(?:(?:and|or)\b)?\s*(?:the\s+)?"
    r"(?:(?:obj(?:ect)?s?|ids?|numbers?)(?![^\W_]))?[\s\"'`*_#<\[({-]*(?=\d)",
    re.IGNORECASE,
)
_NO_NOUN = re.compile(
    r"[\"'`*_\])>}]*\s*(?:$|[.,;:!?()\[\]{}|/&+]|[-–—]+\s|(?:and|or|is|are|was|were|in|on|at|near|next|by|both|because|"
    r"since|which|that|as|with|from|also|to|match\w*|fit\w*|have|has|looks?|appears?|seems?|stands?)\b)",
    re.IGNORECASE,
)
"""What follows a number that stands for itself; in "2 chairs" it counts what follows."""
_COUNTING = re.compile(r"\b(?:number|count|amount|total|sum)s?\s+of\b|\bhow many\b|\bin total\b", re.IGNORECASE)


def _with_a_word(said: str, known: Collection[int]) -> list[int]:
    mentions: list[int] = []
    end = 0
    for found in _WORD.finditer(said):
        if found.start() >= end and not _counts(said, found):
            first = _NUMBER.match(said, found.end())
            states = re.search(r"[:=]|is|are", found["link"], re.IGNORECASE)
            if first and (not states or _NO_NOUN.match(said, first.end())):
                mentions.append(int(first[1]))
                more, end = _list_after(said, first.end())
                mentions += more
    return mentions


def _counts(said: str, found: re.Match[str]) -> bool:
    """Whether it is how many objects there are: "the number of objects is 3", "objects (3)", "number: 3"."""
    word = found["word"].lower()
    if "(" in found["link"] and (word.endswith("s") or found["more"]):
        return True
    if not re.search(r"[:=]|is|are", found["link"], re.IGNORECASE):
        return False
    if word.startswith(("number", "mark", "label", "tag")) and not found["more"]:
        return True
    sentence = re.split(r"[.!?;\n]", said[max(0, found.start() - 200) : found.start()])[-1]
    return _COUNTING.search(sentence) is not None


def _list_after(said: str, end: int) -> tuple[list[int], int]:
    """The numbers that go on a list, and where it ends."""
    more = []
    while (gap := _NEXT.match(said, end)) and (number := _NUMBER.match(said, gap.end())):
        if not _NO_NOUN.match(said, number.end()):
            break  # "object 3 and 2 chairs"
        more.append(int(number[1]))
        end = number.end()
    return more, end


_SIGN = re.compile(
    r"(?<![\w#&])#(?P<hash>\d{1,4})(?![\w-]|\.\d)"
    r"|<\s*(?P<angle>\d{1,4})\s*>"
    r"|(?<![\w\]])\[(?P<square>\s*#?\d{1,4}(?:\s*[,;]\s*#?\d{1,4}){0,500}\s*)\]"
)


_PLACE = re.compile(
    r"(?:box(?:es)?|points?|coord\w*|cent(?:er|re)|position|size)(?:_2d)?[\"'*\s:=(\[]*$", re.IGNORECASE
)
"""What stands before several numbers in brackets that are a place in the picture."""


def _with_a_sign(said: str, known: Collection[int]) -> list[int]:
    mentions: list[int] = []
    for found in _SIGN.finditer(said):
        ids = [int(digits) for digits in re.findall(r"\d+", found[0])]
        # several numbers in brackets may as well be a place or a box in the picture
        place = len(ids) > 1 and _PLACE.search(said[max(0, found.start() - 40) : found.start()])
        if found["square"] is None or (not place and all(id in known for id in ids)):
            mentions += ids
    return mentions


_NUMBERED_LINE = re.compile(r"\s*(\d{1,4})[.)]\s+\W*(\d{1,6})\W*")
_BULLET = re.compile(r"^\s*[-*•]\s+", re.MULTILINE)
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?|[^\w\s]|_")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")
_FILLING = {
    "yes",
    "sure",
    "and",
    "or",
    "the",
    "final",
    "answer",
    "answers",
    "is",
    "are",
    "it",
    "it's",
    "they",
    "they're",
}
_NEUTRAL = set(".,;:!*_`'\"#[](){}<>&|")


def _bare(said: str, known: Collection[int]) -> list[int]:
    """The numbers of a reply that holds nothing else; large ones only where the scene has them."""
    lines = [line for line in said.splitlines() if line.strip()]
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    matches = [match for match in numbered if match]
    if matches and len(matches) == len(lines) and all(int(m[1]) == i for i, m in enumerate(matches, start=1)):
        return [int(match[2]) for match in matches]
    ids = list(_numbers_alone(_BULLET.sub("", said)))
    if ids == [0] and 0 not in known:
        return []  # how many there are: none
    if None in ids or not all(id in known or id < 1000 for id in ids if id is not None):
        return []
    return [id for id in ids if id is not None]


def _numbers_alone(said: str) -> Iterator[int | None]:
    """The whole numbers of a text; None for each word or sign that says something else."""
    for token in _TOKEN.findall(said):
        digits = token.split(",") if "," in token and len(token) > 1 else [token]
        if _THOUSANDS.fullmatch(token):
            yield None
        elif all(part.isdecimal() and len(part) <= 6 for part in digits):
            yield from (int(part) for part in digits)
        elif token.lower() not in _FILLING and token not in _NEUTRAL:
            yield None


_EMPHASIS = re.compile(r"[*`\"_]")
_LIST = r"\d{1,6}(?:\s*(?:,|;|&|,?\s*\b(?:and|or)\b)\s*\d{1,6})*"
_ENDS_IN = re.compile(rf"(?:\b(?:is|are|be|it's)|:)\s+({_LIST})(?=\s*(?:[;\n]|\.(?!\d)|$))", re.IGNORECASE)
_BEGINS_WITH = re.compile(
    rf"^\s*(?:[-•]\s+)?(?:\d{{1,2}}[.)]\s+)?({_LIST})(?=\s*(?::(?!\d)|\(|[-–—]\s+(?!\d)|,\s+(?:the|an?)\s))",
    re.MULTILINE | re.IGNORECASE,
)
_NO_OBJECT = re.compile(
    r"\b(?:numbers?\s+of|counts?|amount|total|sum|how many|distance|height|width|length|size|area|confidence|score|"
    r"(?:images?|frames?|steps?|there)(?:\s+(?:is|are))?$)",
    re.IGNORECASE,
)
"""What a sentence says before the number that it ends in, where that is no object's."""


def _in_the_place_of_an_answer(said: str, known: Collection[int]) -> list[int]:
    """The numbers that lines begin with or sentences end in; none that the scene does not hold."""
    plain = _EMPHASIS.sub("", said)
    begun = [found[1] for found in _BEGINS_WITH.finditer(plain)]
    mentions = [int(digits) for digits in re.findall(r"\d+", " ".join(begun))]
    if len(mentions) > 1 and mentions == list(range(1, len(mentions) + 1)):
        return []  # lines that are counted
    for found in () if begun else _ENDS_IN.finditer(plain):
        sentence = re.split(r"[.!?;\n]", plain[max(0, found.start() - 200) : found.start(1)].rstrip(": "))[-1]
        if not _NO_OBJECT.search(sentence):
            mentions += [int(digits) for digits in re.findall(r"\d+", found[1])]
    return mentions if all(id in known for id in mentions) else []


_SIGHT = r"(?:images?|pictures?|photos?|frames?|numbers?|marks?|labels?|way)"
_NOT_NONE = rf"(?!\s+(?:idea|clue|problem|doubt|worries|answer|comment|one knows|{_SIGHT})\b)"
_THING = r"(?:object|item|thing|instance|match|one|such)"
_ANSWER_IS = r"(?:answer|ids?|objects?)\s*(?:is|are|:|=)\s*"
_CANNOT = r"(?:can't|cannot|could not|couldn't|did not|didn't|do not|don't)"
_NONE = (
    # the whole reply, or how it begins
    re.compile(rf"\W*(?:(?:the\s+)?{_ANSWER_IS})?(?:no|none|nothing|null|n/a)\b(?!\W{{0,3}}[1-9]){_NOT_NONE}", re.I),
    re.compile(r"\W*(?:yes\W+)?(?:0|zero)(?:\s+objects?)?\W*$", re.I),
    re.compile(r"(?:[\w\"' {]{0,30}[:=])?\s*(?:\[\s*\]|\{\s*\})\W*$", re.I),
    # or what it says somewhere
    re.compile(r"[\"'](?:\w*ids?|objects?|answers?)[\"']\s*:\s*(?:\[\s*\]|null|none)", re.I),
    re.compile(rf"\bthere(?:'s| is| are| were| was)\s+(?:no|not any|none|nothing)\b{_NOT_NONE}", re.I),
    re.compile(r"\bthere (?:isn't|aren't|is not|are not) (?:any|an?|such)\b(?!\s+(?:image|picture|photo|way))", re.I),
    re.compile(r"\bthere (?:does not|doesn't|do not|don't) (?:appear|seem) to be\b", re.I),
    re.compile(rf"\b(?:no|not any)\s+(?:(?:such|matching|suitable|other|numbered)\s+)?{_THING}", re.I),
    re.compile(r"\bnone\s+(?:of\s+(?:the|these|those|them)|fits?|match(?:es)?|appl(?:y|ies))\b", re.I),
    re.compile(r"\b(?:does not|doesn't|do not|don't)\s+(?:appear to\s+|seem to\s+)?exist\b", re.I),
    re.compile(r"\b(?:is|are)(?: not|n't) (?:present|in the (?:room|scene))\b", re.I),
    re.compile(rf"\b{_CANNOT} (?:find|see|locate|identify) (?:any |an? |such |that )?{_THING}", re.I),
    re.compile(rf"\b{_CANNOT} (?:find|see|locate) (?:any|an?)\s+(?!{_SIGHT}\b)\w", re.I),
)


def _says_none(said: str) -> bool:
    """Whether a reply that names no object says that there is none, and not merely nothing of use."""
    return any(pattern.match(said) for pattern in _NONE[:3]) or any(pattern.search(said) for pattern in _NONE[3:])
