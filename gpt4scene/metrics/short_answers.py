"""What scorers read in a short answer: its first piece, a number, or the letter of an option.

Each function is one public scorer's rule with all its quirks, and is named for what it does; which benchmark reads by
which rule is said in the benchmarks' modules. Only where a text is compared or parsed by Python itself (`float`,
`str.lower`) is it done here too, so that other digits than 0 to 9 count as they do there.
"""

import re
from itertools import takewhile

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_UNSIGNED = re.compile(r"(?<!\^)\d+(?:\.\d+)?")
_WORD = re.compile(r"[a-z]+")
# ignoring case over all of Unicode, as the original does, these also match the long s and the dotless i
_LEADING_LETTER = re.compile(r"[(\s]*([A-Z])", re.IGNORECASE)
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORTH = (
    {word: number for number, word in enumerate(_ONES + _TEENS)}
    | {word: 10 * number for number, word in enumerate(_TENS, start=2)}
    | {"hundred": 100, "thousand": 1000}
)


def first_piece(text: str) -> str:
    """What stands before the first space, without full stops at its end, then without white space around it.

    In this order: " A" gives nothing, and "A." before a line break keeps its full stop. `fuzzy_matching` of
    vision-x-nyu/thinking-in-space, commit 51e089c, lmms_eval/tasks/vsibench/utils.py.
    """
    return text.split(" ")[0].rstrip(".").strip()


def as_float(text: str) -> float | None:
    """What Python makes of a text: "1_000", "1e1", "nan" and digits of any script are numbers, "4.5m" is none.

    `to_float` of the same file.
    """
    try:
        return float(text)
    except ValueError:
        return None


def number_anywhere(text: str) -> float | None:
    """The first number in a text, in digits or in English words: "There are 4", "4.5m", "twenty-one"; "1,000" is 1.

    Words count from the first that is a number to the first that is neither a number nor "and". `extract_number` of
    EvolvingLMMs-Lab/lmms-eval, commit 75571cf, lmms_eval/tasks/vsibench/utils.py.
    """
    said = text.strip().lower()
    digits = _NUMBER.search(said)
    words = list(_WORD.finditer(said))
    first = next((position for position, word in enumerate(words) if word[0] in _WORTH), None)
    if digits and (first is None or digits.start() < words[first].start()):
        return float(digits[0])
    if first is None:
        return None
    run = takewhile(lambda word: word == "and" or word in _WORTH, (word[0] for word in words[first:]))
    return _spoken([_WORTH[word] for word in run if word != "and"])


def _spoken(worths: list[int]) -> float:
    thousands = below = 0
    for worth in worths:
        if worth == 1000:
            thousands, below = thousands + 1000 * max(below, 1), 0
        elif worth == 100:
            below = 100 * max(below, 1)
        else:
            below += worth
    return float(thousands + below)


def unsigned_number(text: str, *, last: bool = False) -> float | None:
    """The first number in a text, or the last; a minus sign is lost, and a digit right after ^ is none.

    Where there is none at all, the last is -1. `process_na` of fudan-zvg/spar, commit 1679885,
    lmms-eval/lmms_eval/tasks/sparbench/utils.py; it fails, and so scores 0, on integers of more digits than Python
    reads (4,300) and on those beyond the range of a float.
    """
    found = _UNSIGNED.findall(text)
    try:
        numbers: list[float] = [float(number) if "." in number else int(number) for number in found]
        if last:
            return float(numbers[-1]) if numbers else -1.0
        return float(numbers[0]) if numbers else None
    except (ValueError, OverflowError):
        return None


def resembles(text: str, answer: str) -> bool:
    """Whether a text is the answer, is part of it (as an empty one is), or begins with the one letter that it is.

    Ignoring case: "apple" resembles "A", "." resembles "C. x". `exact_match` of the same file.
    """
    said, meant = text.lower(), answer.lower()
    return said in meant or said[0] == meant


def leading_letter(text: str) -> str:
    """The first letter of a text that begins with one, after brackets and space, as a capital; else "".

    So "The answer is A" gives "T". `_extract_answer_letter` of EvolvingLMMs-Lab/lmms-eval, commit 75571cf,
    lmms_eval/tasks/cv_bench/utils.py and lmms_eval/tasks/blink/utils.py.
    """
    found = _LEADING_LETTER.match(text.strip())
    return found[1].upper() if found else ""
