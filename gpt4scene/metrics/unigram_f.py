"""ScanQA's F-value: which words two short answers share, plurals and singulars being the same word by WordNet."""

import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("wordnet_nouns.txt.xz")
"""Its licence stands beside it."""
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
def wordnet_nouns() -> Nouns:
    """The nouns of one word of WordNet 3.0: other words stand between white space nowhere."""
    lemmas, irregular = lzma.decompress(_FILE.read_bytes()).decode().split("\n\n")
    return Nouns(
        frozenset(lemmas.split("\n")),
        {word: tuple(singulars) for word, *singulars in map(str.split, irregular.splitlines())},
    )


def f_value(text: str, references: Sequence[str], nouns: Nouns | None = None) -> float:
    """The best F1 of an answer's words against a reference's; 1 where it equals one.

    Words are what stands between white space, each by its lemma; a word counts as often as it is said, and is shared
    where the other side has it at all. ATR-DBI/ScanQA 0a9f162 scripts/score.py evals_json and tokens_unigram_f_value;
    where these fail (`f_value_fails`), the two share nothing.

    Args:
        text: the answer.
        references: what it is compared with.
        nouns: WordNet's when None.

    Returns:
        0 to 1.
    """
    if text in references:
        return 1.0
    nouns = nouns or wordnet_nouns()
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
