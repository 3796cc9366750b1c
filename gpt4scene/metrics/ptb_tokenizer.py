"""Caption text as Stanford's PTBTokenizer 3.4.1 splits it, punctuation left out: in Python."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bev.errors import UserError, require
from gpt4scene.metrics.meteor import find_jar, find_java

_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
"""All that may end a line; the official code replaces line feeds alone, and gives wrong lines for the others."""

DROPPED = frozenset(["", "''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;-", "--", "..."])
"""What pycocoevalcap leaves out after the tokenizer; brackets come out in lower case there, and so stay."""


def ptb_tokenize(texts: Iterable[str]) -> list[str]:
    """Every text in lower case, its tokens apart by one space, without punctuation."""
    splitter = require("nltk.tokenize", "eval").NLTKWordTokenizer()
    return [" ".join(t for t in map(str.lower, splitter.tokenize(text)) if t not in DROPPED) for text in texts]


def ptb_tokenize_by_java(texts: Sequence[str]) -> list[str]:
    """The same by Stanford's own program, in one process.

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
