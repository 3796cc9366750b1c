"""BLEU, METEOR, ROUGE-L and CIDEr of captions and short answers, by pycocoevalcap's own scorers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bev.errors import UserError, require
from gpt4scene.metrics.meteor import meteor_of_statistics, meteor_scores
from gpt4scene.metrics.metric import Metric, mean_metric
from gpt4scene.metrics.ptb_tokenizer import ptb_tokenize, ptb_tokenize_by_java

Tokenizer = Literal["ptb", "ptb-java", "none"]
"""In Python as Stanford's tokenizer does, by that program itself, which needs Java, or at spaces alone."""

BLEU_NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
NAMES = (*BLEU_NAMES, "METEOR", "ROUGE-L", "CIDEr")
"""Of all metrics, in the order in which papers print them."""


@dataclass(frozen=True, eq=False)
class Captioned:
    """What the caption metrics say of a set of texts."""

    metrics: tuple[Metric, ...]
    """In the order of NAMES; METEOR is left out where it was not asked for."""
    flags: tuple[str, ...]
    """One line on every number that is not what the official code gives, or that could not be had."""
    candidates: tuple[str, ...]
    """As they were scored: tokenised."""
    references: tuple[tuple[str, ...], ...]
    """As they were scored: tokenised."""


def tokenize(texts: Sequence[str], *, tokenizer: Tokenizer = "ptb") -> list[str]:
    """Texts as the metrics read them: tokens apart by spaces.

    Raises:
        UserError: `ptb-java` without Java.
    """
    if tokenizer == "none":
        return list(texts)
    return ptb_tokenize(texts) if tokenizer == "ptb" else ptb_tokenize_by_java(texts)


def caption_metrics(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenizer: Tokenizer = "ptb",
    meteor: bool = True,
) -> Captioned:
    """Score one text per sample against its references, in points.

    BLEU 1 to 4 (closest reference length), ROUGE-L (beta 1.2) and CIDEr (n = 4, sigma 6; document frequencies from the
    references of this very set) are pycocoevalcap 1.2's classes, METEOR is the program that comes with it. Each metric
    holds every sample's own score; those of BLEU and METEOR do not average to the metric, which follows from summed
    counts. In resamplings CIDEr keeps the document frequencies of the whole set.

    Args:
        candidates: one text per sample; an empty one is scored like any other.
        references: one or more per sample.
        tokenizer: what splits the texts first.
        meteor: whether to compute METEOR. Where Java is missing it is NaN, and a flag says so.

    Raises:
        UserError: a sample has no reference, or `ptb-java` finds no Java.
    """
    if len(candidates) != len(references):
        raise ValueError(f"expected as many lists of references as candidates, {len(candidates)}: {len(references)}")
    for position, texts in enumerate(references):
        if not texts:
            raise UserError(f"sample {position + 1} of {len(references)} has no reference text to be scored against")
    hypotheses, truths = _tokenised(candidates, references, tokenizer)
    if not hypotheses:
        names = [name for name in NAMES if meteor or name != "METEOR"]
        return Captioned(tuple(mean_metric(name, []) for name in names), ("there are no captions to score",), (), ())
    flags = _broken_lines([*candidates, *(text for texts in references for text in texts)], tokenizer, meteor)
    metrics = list(_bleu(hypotheses, truths))
    if meteor:
        metrics.append(_meteor(hypotheses, truths, flags))
    metrics += [_rouge(hypotheses, truths), _cider(hypotheses, truths, flags)]
    return Captioned(tuple(metrics), tuple(flags), hypotheses, truths)


def _tokenised(
    candidates: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The candidates in one pass and all references in another, as pycocoevalcap does: texts may hang on the next."""
    flat = iter(tokenize([text for texts in references for text in texts], tokenizer=tokenizer))
    truths = tuple(tuple(next(flat) for _ in texts) for texts in references)
    return tuple(tokenize(candidates, tokenizer=tokenizer)), truths


def _broken_lines(texts: Sequence[str], tokenizer: Tokenizer, meteor: bool) -> list[str]:
    """A flag where texts hold line breaks on which the official code loses its place."""
    pattern = r"[\r\n]" if tokenizer == "none" else r"[\r\v\f\x85\u2028\u2029]"
    count = sum(1 for text in texts if re.search(pattern, text))
    if not count or (tokenizer == "none" and not meteor):
        return []
    where = "METEOR" if tokenizer == "none" else "the tokenizer"
    return [f"line breaks in {count} texts count as spaces (the official code gives errors or other scores: {where})"]


def _by_sample(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates as pycocoevalcap wants them."""
    return {i: list(texts) for i, texts in enumerate(references)}, {i: [text] for i, text in enumerate(candidates)}


def _bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[Metric]:
    scorer: Any = require("pycocoevalcap.bleu.bleu_scorer", "eval").BleuScorer(n=4)
    for candidate, texts in zip(candidates, references, strict=True):
        scorer += (candidate, texts)
    values, per_sample = scorer.compute_score(option="closest", verbose=0)
    lengths = np.array(
        [
            (one["testlen"], min((abs(length - one["testlen"]), length) for length in one["reflen"])[1])
            for one in scorer.ctest
        ],
        np.float64,
    )
    correct = np.array([one["correct"] for one in scorer.ctest], np.float64)
    guessed = np.array([one["guess"] for one in scorer.ctest], np.float64)

    def statistic_of(order: int) -> Any:
        def statistic(counts: np.ndarray) -> np.ndarray:
            return 100 * bleu_of_counts(counts @ correct, counts @ guessed, counts @ lengths)[:, order]

        return statistic

    return [
        Metric(name, 100 * float(value), 100 * np.array(own, np.float64), statistic_of(order))
        for order, (name, value, own) in enumerate(zip(BLEU_NAMES, values, per_sample, strict=True))
    ]


def bleu_of_counts(correct: np.ndarray, guessed: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """BLEU 1 to 4 of summed counts, with pycocoevalcap's guards against a division by zero.

    Args:
        correct: (B, 4) n-grams of the candidates that references have too, by n.
        guessed: (B, 4) n-grams of the candidates.
        lengths: (B, 2) words of the candidates, and of the references that are nearest in length.

    Returns:
        (B, 4) fractions.
    """
    small, tiny = 1e-9, 1e-15
    precision = np.cumprod((correct + tiny) / (guessed + small), axis=1) ** (1 / np.arange(1, 5))
    ratio = (lengths[:, 0] + tiny) / (lengths[:, 1] + small)
    return precision * np.exp(np.minimum(0.0, 1 - 1 / ratio))[:, None]


def _meteor(candidates: Sequence[str], references: Sequence[Sequence[str]], flags: list[str]) -> Metric:
    try:
        scores = meteor_scores(candidates, references)
    except UserError as error:
        flags.append(f"METEOR is missing: {error}")
        return mean_metric("METEOR", np.full(len(candidates), np.nan))

    def statistic(counts: np.ndarray) -> np.ndarray:
        return 100 * meteor_of_statistics(counts @ scores.statistics)

    return Metric("METEOR", 100 * scores.value, 100 * scores.values, statistic)


def _rouge(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    scorer = require("pycocoevalcap.rouge.rouge", "eval").Rouge()
    _, values = scorer.compute_score(*_by_sample(candidates, references))
    return mean_metric("ROUGE-L", 100 * np.asarray(values, np.float64))


def _cider(candidates: Sequence[str], references: Sequence[Sequence[str]], flags: list[str]) -> Metric:
    if not any(text.split() for texts in references for text in texts):
        flags.append("CIDEr is 0: no reference has a word (the official code ends with an error there)")
        return mean_metric("CIDEr", np.zeros(len(candidates)))
    scorer = require("pycocoevalcap.cider.cider", "eval").Cider()
    _, values = scorer.compute_score(*_by_sample(candidates, references))
    return mean_metric("CIDEr", 100 * np.asarray(values, np.float64))
