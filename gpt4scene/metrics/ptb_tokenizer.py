"""Caption text as Stanford's PTBTokenizer 3.4.1 splits it, punctuation left out: in Python, and by Java."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from bev.errors import UserError, require
from gpt4scene.metrics.meteor import find_jar, find_java
from gpt4scene.metrics.ptb_units import GAP, read_unit

_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
"""All that may end a line; the official code replaces line feeds alone, and gives wrong lines for the others."""

DROPPED = frozenset(["", "''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;-", "--", "..."])
"""What pycocoevalcap leaves out after the tokenizer; brackets come out in lower case there, and so stay."""

_LOOKS_ON = re.compile(rf"\.{GAP}*$")
"""Of a line: what its last token is may depend on the next line."""
_GAPS = re.compile(rf"{GAP}+")
_PLAIN = re.compile(rf"([A-Za-z]{{2,}}(?:(?<=[^nN])n't|'(?:s|m|d|re|ve|ll))?)([,;:!?]?)(?={GAP}|\n)")
"""What NLTK splits as the Java program does: a word, a contraction, and one mark behind it."""


def ptb_tokenize(texts: Iterable[str]) -> list[str]:
    """Every text in lower case, its tokens apart by one space, without punctuation.

    As pycocoevalcap 1.2 (tokenizer/ptbtokenizer.py) does with the Java program, which reads all texts as the lines of
    one: whether the full stop of "shaped like an L." belongs to the letter depends on how the next text begins. A
    fraction or phone number with a space in it comes out with a no-break space, as there. Other differences were only
    found in letters that Unicode got after the program was written, and in vowel signs of South Asian scripts.

    Raises:
        UserError: NLTK is missing.
    """
    split = cache(require("nltk.tokenize", "eval").NLTKWordTokenizer().tokenize)
    return list(_tokenised(texts, split))


def _tokenised(texts: Iterable[str], split: Callable[[str], list[str]]) -> Iterator[str]:
    lines = [f"{_BREAK.sub(' ', text)}\n" for text in texts]
    following, then = [""] * len(lines), ""
    for at in range(len(lines) - 1, -1, -1):
        following[at] = then
        # empty lines are looked over, but not by every rule
        then = f" {then}" if then and not lines[at].strip() else lines[at]
    # many texts of a benchmark come several times
    known: dict[tuple[str, str], str] = {}
    for line, then in zip(lines, following, strict=True):
        pair = (line, then if _LOOKS_ON.search(line) else "")
        if pair not in known:
            known[pair] = " ".join(_tokens(line, split, before=pair[1]))
        yield known[pair]


def _tokens(line: str, split_plain: Callable[[str], list[str]], *, before: str) -> Iterator[str]:
    """The tokens of a line that stands before another one, or before nothing that matters."""
    # between words of one line the program decides as it does from line to line
    text = f"{line[:-1]} {before}" if before else line
    at, end = 0, len(line) - 1
    while at < end:
        if gap := _GAPS.match(text, at):
            at = gap.end()
        elif plain := _PLAIN.match(text, at):
            at = plain.end()
            yield from map(str.lower, split_plain(plain[1]))
        else:
            token, at = read_unit(text, at)
            if token.lower() not in DROPPED:
                yield token.lower()


def ptb_tokenize_by_java(texts: Sequence[str]) -> list[str]:
    """The same by Stanford's own program, in one process for all texts.

    Raises:
        UserError: Java or the program is missing, or it failed.
    """
    jar = find_jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    program = ["-Duser.language=en", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    lines = [_BREAK.sub(" ", text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "captions.txt")
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace", newline="")
        done = subprocess.run(
            [find_java(), *program, "-preserveLines", "-lowerCase", str(path)], capture_output=True, check=False
        )
    tokens = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(tokens) != len(lines):
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise UserError(f"Stanford's tokenizer gave {len(tokens)} lines for {len(lines)} texts: {said[:200]}")
    return [" ".join(token for token in line.rstrip().split(" ") if token not in DROPPED) for line in tokens]
