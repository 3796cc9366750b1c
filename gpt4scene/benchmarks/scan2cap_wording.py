"""How Scan2Cap's protocols word captions and references before they are compared."""

import re

from bev.errors import UserError
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.benchmarks.scan2cap_files import CORPUS, TOKENS

_TOKENS_MOST = 30
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
"""About what ScanRefer's tokens are: "it's" and "l-shaped" are one, punctuation stands alone."""


def references_of(sample: BenchmarkSample, protocol: str) -> list[str]:
    """The references of an object as a protocol words them.

    Raises:
        UserError: the annotation that was loaded has none for it.
    """
    if protocol in ("official", "benchmark"):
        if not sample.row.get(TOKENS):
            raise UserError(
                f"{sample.where}: has no 'token' lists, which --protocol {protocol} takes; load ScanRefer's"
            )
        most = _TOKENS_MOST if protocol == "official" else None
        return [" ".join(("sos", *tokens[:most], "eos")) for tokens in sample.row[TOKENS]]
    if protocol == "gpt4scene":
        return list(sample.row.get(CORPUS) or [f"sos {_capitalised(text)} eos" for text in sample.answers])
    return [_spaced(text) for text in sample.answers]


def caption_of(text: str, protocol: str) -> str:
    """A caption as a protocol words it."""
    if protocol == "gpt4scene":
        return f"sos {text} eos".replace("\n", " ")
    if protocol == "video3dllm":
        return _spaced(text)
    words = text.split()
    if words[:1] == ["sos"] and words[-1:] == ["eos"]:
        return text
    return " ".join(("sos", *_WORD.findall(text.lower()), "eos"))


def _spaced(text: str) -> str:
    return f"sos {text.replace('.', ' . ').replace(',', ' , ').lower()} eos"


def _capitalised(text: str) -> str:
    """Chat-Scene's preprocess/prepare_scan2cap_annos.py capitalises sentences as NLTK finds them; the tokenizer that
    follows makes all of it small again."""
    return " ".join(sentence.capitalize() for sentence in re.split(r"(?<=[.!?])\s+", text.strip()))
