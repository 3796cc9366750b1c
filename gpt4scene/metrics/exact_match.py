"""Whether a short answer is one of the references, by the rules of each public scorer."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpt4scene.metrics.answer_text import clean_answer, squeezed, without_full_stop


@dataclass(frozen=True)
class Match:
    """How an answer compares with its references."""

    exact: bool
    refined: bool
    """By the looser rule of the same scorer; as `exact` where it has none."""
    text: str
    """The answer as it was compared."""
    references: tuple[str, ...]
    """As they were compared."""


def match_raw(text: str, references: Sequence[str]) -> Match:
    """Equal to a reference, letter by letter.

    EM@1 of ATR-DBI/ScanQA 0a9f162 scripts/score.py evals_json, and EM of LaVi-Lab/Video-3D-LLM 3ff70e8
    llava/eval/eval_scanqa.py.
    """
    exact = text in tuple(references)
    return Match(exact, exact, text, tuple(references))


def match_strict(text: str, references: Sequence[str]) -> Match:
    """Equal to the first reference, both cleaned: LaVi-Lab/Video-3D-LLM 3ff70e8 llava/eval/eval_sqa3d.py."""
    said, meant = clean_answer(text), tuple(clean_answer(reference) for reference in references)
    exact = said == meant[0]
    return Match(exact, exact, said, meant)


def match_gpt4scene(text: str, references: Sequence[str], *, clean_references: bool) -> Match:
    """Equal to a reference; refined: or one within the other, white space apart. An empty answer is neither.

    Qi-Zhangyang/GPT4Scene ac34d5f evaluate/utils/helper.py answer_match, as evaluate/utils/eval.py uses it; the same in
    ZzZZCHS/Chat-Scene 475e106.

    Args:
        text: the answer; a full stop at its end goes, then it is cleaned.
        references: as annotated.
        clean_references: calc_sqa3d_score compares with cleaned references, calc_scanqa_score with raw ones, so that
            there "2" is not "2" (it was made "two").
    """
    said = clean_answer(without_full_stop(text))
    meant = tuple(clean_answer(reference) for reference in references) if clean_references else tuple(references)
    exact = bool(said) and said in meant
    refined = exact or (bool(said) and any(_one_within_other(said, reference) for reference in meant))
    return Match(exact, refined, said, meant)


def match_leo(text: str, references: Sequence[str]) -> Match:
    """The first reference that equals the answer, or is within it, or has it within, decides; both sides cleaned.

    So "chair" is not exact for "office chair", "chair"; and an empty answer, within anything, is refined-right.
    embodied-generalist 567f2d8 evaluator/scanqa_eval.py ScanQAEvaluator.answer_match, also of sqa3d_eval.py.
    """
    said, meant = clean_answer(text), tuple(clean_answer(reference) for reference in references)
    first = next((reference for reference in meant if said == reference or _one_within_other(said, reference)), None)
    return Match(first is not None and first == said, first is not None, said, meant)


def match_lenient(text: str, references: Sequence[str]) -> Match:
    """Equal to the first reference, within it, or with a word in common; only the answer is cleaned.

    An empty answer is right. SilongYong/SQA3D a98da8f LLM/eval_sqa3d_llm.py compute_accuracy, without its GPT judge.
    """
    said, meant = clean_answer(text), references[0]
    right = said in meant or squeezed(said) in squeezed(meant) or bool(set(said.split()) & set(meant.split()))
    return Match(said == meant, right, said, tuple(references))


def _one_within_other(one: str, other: str) -> bool:
    one, other = squeezed(one), squeezed(other)
    return one in other or other in one
