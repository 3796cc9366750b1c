"""ScanQA's F-value: which words two short answers share, plurals and singulars being the same word by WordNet."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bev.errors import require

HOW_TO_GET_WORDNET = (
    "run `python -m nltk.downloader wordnet`, or install WordNet 3.0 itself (Debian: `apt install wordnet-base`) and"
    " name its folder in WNSEARCHDIR where it is not /usr/share/wordnet"
)
_FOLDER = "/usr/share/wordnet"
_PLURALS = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)
"""How a noun's ending in the plural changes: WordNet's rules of detachment, morphy(7WN)."""


@dataclass(frozen=True, eq=False)
class Nouns:
    """WordNet's nouns."""

    lemmas: frozenset[str]
    exceptions: Mapping[str, tuple[str, ...]]
    """Irregular plurals, each with its singulars."""

    def lemma(self, word: str) -> str:
        """The shortest noun that a word may be a form of; the word itself where it is none.

        As `WordNetLemmatizer().lemmatize(word)` of nltk 3.10: "chairs" is "chair", and "was" is "wa".
        """
        singulars = self.exceptions.get(word)
        if singulars is None:
            singulars = tuple(word[: -len(old)] + new for old, new in _PLURALS if word.endswith(old))
        return min((form for form in (word, *singulars) if form in self.lemmas), key=len, default=word)


@cache
def wordnet_nouns() -> Nouns | None:
    """The nouns of WordNet 3.0 where this machine has it: in WNSEARCHDIR, in nltk's data, or in /usr/share/wordnet."""
    return _from_folder(os.environ.get("WNSEARCHDIR", "")) or _from_nltk() or _from_folder(_FOLDER)


def f_value(text: str, references: Sequence[str], nouns: Nouns) -> float:
    """The best F1 of an answer's words against a reference's; 1 where it equals one.

    Words are what stands between white space, each by its lemma; a word counts as often as it is said, and is shared
    where the other side has it at all. ATR-DBI/ScanQA 0a9f162 scripts/score.py evals_json and tokens_unigram_f_value;
    where these fail (`f_value_fails`), the two share nothing.

    Returns:
        0 to 1.
    """
    if text in references:
        return 1.0
    said = [nouns.lemma(word) for word in text.split()]
    return max(_f1(said, [nouns.lemma(word) for word in reference.split()]) for reference in references)


def f_value_fails(text: str, references: Sequence[str]) -> bool:
    """Whether the official code ends with a ZeroDivisionError: the text, or one it is compared with, has no word."""
    return text not in references and not all(each.split() for each in (text, *references))


def _f1(said: list[str], meant: list[str]) -> float:
    if not said or not meant:
        return 0.0
    recall = sum(word in said for word in meant) / len(meant)
    precision = sum(word in meant for word in said) / len(said)
    return 2 * (recall * precision) / (recall + precision) if recall + precision else 0.0


def _from_folder(folder: str) -> Nouns | None:
    files = [Path(folder) / name for name in ("index.noun", "noun.exc")]
    if not folder or not all(file.is_file() for file in files):
        return None
    return _parsed(*(file.read_text(encoding="utf-8") for file in files))


def _from_nltk() -> Nouns | None:
    """Out of nltk's folders, where the data lies as it was downloaded, in a zip file, or unpacked."""
    data = require("nltk.data", "eval")
    texts = []
    for name in ("index.noun", "noun.exc"):
        try:
            texts.append(data.find(f"corpora/wordnet/{name}").open().read().decode("utf-8"))
        except LookupError:
            return None
    return _parsed(*texts)


def _parsed(index: str, exceptions: str) -> Nouns:
    # the licence at the top of an index stands in lines that begin with a space
    lemmas = frozenset(line.split(" ", 1)[0] for line in index.splitlines() if line and not line.startswith(" "))
    irregular = [line.split() for line in exceptions.splitlines() if line.strip()]
    return Nouns(lemmas, {word: tuple(singulars) for word, *singulars in irregular})
