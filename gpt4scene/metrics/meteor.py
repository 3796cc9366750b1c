"""METEOR 1.5, which is a Java program: one process for one set of captions, that always ends."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bev.errors import UserError, require

GET_JAVA = "install Java 8 or later, `apt-get install default-jre-headless` (macOS: `brew install openjdk`)"
"""How to get what METEOR needs."""

STATISTICS, _CHUNKS = 23, 20
"""Numbers in the line that METEOR gives for one caption, and which of them says into how many parts a match falls."""

_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGE_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""METEOR 1.5's own for English: exact, stem, synonym and paraphrase matches."""


@dataclass(frozen=True, eq=False)
class MeteorScores:
    """What METEOR says of a set of captions, as fractions."""

    value: float
    """Of the set: from its summed statistics, which is not the mean over captions."""
    values: np.ndarray
    """(n,) float64: of each caption alone."""
    statistics: np.ndarray
    """(n, 23) float64: what METEOR counted in each caption; no chunks where all of it matches in one."""


def find_java() -> str:
    """The `java` of the search path, or else of $JAVA_HOME.

    Raises:
        UserError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java") or (shutil.which("java", path=str(Path(home, "bin"))) if home else None)
    if found is None:
        raise UserError(f"there is no Java here: {GET_JAVA}")
    return found


def find_jar(package: str, name: str) -> Path:
    """A Java program that pycocoevalcap brings along.

    Args:
        package: of pycocoevalcap, `meteor` or `tokenizer`.
        name: of the file.

    Raises:
        UserError: pycocoevalcap, or the file in it, is missing.
    """
    folders = [Path(folder, package) for folder in require("pycocoevalcap", "eval").__path__]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    where = folders[0] / name if folders else name
    raise UserError(f"{where} is missing: run `pip install --force-reinstall pycocoevalcap`")


def meteor_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> MeteorScores:
    """Score captions as pycocoevalcap does (its meteor/meteor.py), through METEOR's own line protocol.

    A line break of any kind counts as a space: in the official code it ends the evaluation or shifts the scores of all
    that follow. `|||` is taken out of a candidate, as there, and counts as a space in a reference, which would fall
    into two.

    Args:
        candidates: one text per sample.
        references: one or more texts per sample.

    Raises:
        UserError: Java or the program is missing, or the program ended early.
    """
    if len(candidates) != len(references):
        raise ValueError(f"expected as many lists of references as candidates, {len(candidates)}: {len(references)}")
    if not candidates:
        return MeteorScores(float("nan"), np.zeros(0), np.zeros((0, STATISTICS)))
    jar = find_jar("meteor", "meteor-1.5.jar")
    command = [find_java(), "-Xmx2G", "-Duser.language=en", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as told:
        try:
            process = subprocess.Popen(
                command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told
            )
        except OSError as error:
            raise UserError(f"{command[0]} does not start ({error.strerror}): {GET_JAVA}") from error
        assert process.stdin is not None and process.stdout is not None
        try:
            return _converse(process.stdin, process.stdout, candidates, references)
        except (BrokenPipeError, EOFError, ValueError) as error:
            raise UserError(_why_it_ended(told)) from error
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):  # what was not yet sent has nobody to read it
                process.stdin.close()


def _converse(
    asks: IO[bytes], tells: IO[bytes], candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> MeteorScores:
    lines: list[str] = []
    statistics = np.zeros((len(candidates), STATISTICS))
    for row, candidate, texts in zip(statistics, candidates, references, strict=True):
        hypothesis = _one_line(candidate).replace("|||", "").replace("  ", " ")
        truths = [re.sub(r"\|{3,}", " ", _one_line(text)) for text in texts]
        asks.write(" ||| ".join(["SCORE", *truths, hypothesis]).encode() + b"\n")
        asks.flush()
        lines.append(_next_line(tells))
        row[:] = lines[-1].split()
    asks.write(" ||| ".join(["EVAL", *lines]).encode() + b"\n")
    asks.flush()
    scores = np.array([float(_next_line(tells)) for _ in range(len(lines) + 1)])
    statistics[_is_whole(statistics), _CHUNKS] = 0
    return MeteorScores(float(scores[-1]), scores[:-1], statistics)


def _is_whole(statistics: np.ndarray) -> np.ndarray:
    """Whether a caption and its reference match from end to end, so that METEOR sees no break in the match."""
    return (statistics[:, _CHUNKS] == 1) & (statistics[:, _CHUNKS + 1 :] == statistics[:, :2]).all(axis=1)


_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


def _one_line(text: str) -> str:
    """A text in one line, in characters that can be sent."""
    return _BREAK.sub(" ", text).encode("utf-8", "replace").decode()


def _next_line(tells: IO[bytes]) -> str:
    line = tells.readline().decode("utf-8", "replace").strip()
    if not line:
        raise EOFError
    return line


def _why_it_ended(told: IO[bytes]) -> str:
    told.seek(0)
    lines = told.read().decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in lines if re.search("error|exception|java", line, re.IGNORECASE)), "")
    return f"METEOR ended early ({said[:200] or 'no reason given'}); it takes 2 GB of memory and Java: {GET_JAVA}"


def meteor_of_statistics(statistics: np.ndarray) -> np.ndarray:
    """METEOR of sums of what it counts, by its formula for English.

    Args:
        statistics: (..., 23) float64, summed over captions.

    Returns:
        (...) float64, fractions.
    """
    test_length, reference_length, test_function, reference_function = np.moveaxis(statistics[..., :4], -1, 0)
    stages = statistics[..., 4:_CHUNKS].reshape(*statistics.shape[:-1], 4, 4)
    weights = np.array(_STAGE_WEIGHTS)[:, None] * np.array([_DELTA, _DELTA, 1 - _DELTA, 1 - _DELTA])
    matched = (stages * weights).sum(axis=-2)
    chunks, test_matches, reference_matches = np.moveaxis(statistics[..., _CHUNKS:], -1, 0)

    def share(matches: np.ndarray, length: np.ndarray, function: np.ndarray) -> np.ndarray:
        weight = _DELTA * (length - function) + (1 - _DELTA) * function
        return np.divide(matches, weight, out=np.zeros_like(weight), where=weight > 0)

    precision = share(matched[..., 0] + matched[..., 2], test_length, test_function)
    recall = share(matched[..., 1] + matched[..., 3], reference_length, reference_function)
    with np.errstate(divide="ignore", invalid="ignore"):
        f_mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        penalty = _GAMMA * (chunks / ((test_matches + reference_matches) / 2)) ** _BETA
        return np.where((precision > 0) & (recall > 0), f_mean * (1 - penalty), 0.0)
