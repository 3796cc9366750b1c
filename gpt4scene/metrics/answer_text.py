"""How short answers are made alike before they are compared: spelling, number words, articles."""

import re

_KEPT = r"a-zA-Z0-9,'\s\-:"
_UNKEPT = re.compile(f"[^{_KEPT}]+")
_WORD = re.compile(r"\w+")
_SPELLINGS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
}
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_UP_TO_TWENTY = {str(number): word for number, word in enumerate((*_ONES, *_TEENS, "twenty"))}
_WORDS = _SPELLINGS | _UP_TO_TWENTY | {"none": "zero", "23": "twenty-three"}
_SPLIT_OCLOCK = re.compile(r"\bo' +clock\b")
_ONE_DIGIT_AFTER_LETTERS = re.compile(r"\b([a-zA-Z]+)[0-9]\b")
_ARTICLES = tuple(re.compile(rf"\b{article} ([a-zA-Z]+)") for article in ("a", "an", "the"))
_BACKWARDS = re.compile(r"\bbackwards\b")


def clean_answer(text: str) -> str:
    """An answer in the form in which five repositories compare them.

    Lower case; only ASCII letters, digits, white space and , ' - : stay; known misspellings are mended, "tv" is "TV",
    numbers to twenty (and 23) and "none" are words, a single digit after letters goes, and so does an article before a
    word. All of it happens once and in this order, with its oddities: "3.5" is "35", "a a chair" is "a chair", and what
    is left may hold several spaces in a row.

    `clean_answer` of SilongYong/SQA3D a98da8f LLM/eval_sqa3d_llm.py, which embodied-generalist 567f2d8
    data/data_utils.py, Qi-Zhangyang/GPT4Scene ac34d5f evaluate/utils/helper.py, ZzZZCHS/Chat-Scene 475e106 and
    LaVi-Lab/Video-3D-LLM 3ff70e8 llava/eval/eval_sqa3d.py repeat.
    """
    text = re.sub(" +$", "", text.lower())  # $ also stands before a line break at the end
    text = re.sub(" {2,}", " ", text.lstrip(" "))
    text = _UNKEPT.sub("", text)
    # the original replaces each word in a pass of its own; no word becomes another of them, so one pass is the same
    text = _WORD.sub(lambda match: _WORDS.get(match[0], match[0]), text)
    text = _SPLIT_OCLOCK.sub("o'clock", text)
    text = _ONE_DIGIT_AFTER_LETTERS.sub(r"\1", text)
    for article in _ARTICLES:
        text = article.sub(r"\1", text)
    return _BACKWARDS.sub("backward", text)


def without_full_stop(text: str) -> str:
    """A text of more than one character without one full stop at its end.

    `calc_scanqa_score` of GPT4Scene does so before it cleans a prediction, and so lets go of a space before the stop.
    It also makes the first character small, which cleaning does anyway.
    """
    return text[:-1] if len(text) > 1 and text.endswith(".") else text


def squeezed(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())
