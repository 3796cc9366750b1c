"""MMSI-Bench (arXiv 2505.23764): questions across several images with lettered options, scored as lmms-eval does."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed
from gpt4scene.benchmarks.lmms_eval_samples import read_logged_samples
from gpt4scene.benchmarks.names import check_choice
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.released_files import read_split
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.row_images import row_images
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import mean_metric, within
from gpt4scene.prompting.questions import Question

TITLE = "MMSI-Bench"
SPLITS = ("test",)
PROTOCOLS = ("lmms_eval",)
NEEDS_OBJECTS = False

_WHAT = "the questions of MMSI-Bench, from RunsenXu/MMSI-Bench of the Hugging Face hub"
_STEMS = ("MMSI_bench", "MMSI_Bench", "mmsi_bench", "test")
_QUOTED = (re.compile(r"``([^`]*)``"), re.compile(r"`([^`]*)`"), re.compile(r"\{([^}]*)\}"))
_LETTER = re.compile(r"\b[A-F]\b(?!\s[a-zA-Z])", re.IGNORECASE)
_OPTIONS = re.compile(r"\s*Options?:\s*(?=A\s*:)")
_OFFICIAL_REQUEST = (
    "\nAnswer with the option's letter from the given choices directly. Enclose the option's letter within ``."
)


def load(root: Path, split: str) -> list[BenchmarkSample]:
    """The questions, from the released parquet file or from JSON rows of the same fields.

    A row has `id`, `images`, `question_type`, `question`, `answer` and maybe `thought`; for images see `row_image`. The
    options that stand in a question ("Options: A: left, B: right") become those of the sample, so that they are listed
    in our way; where they do not read as such, the question is asked as it stands.

    Args:
        root: holds MMSI_bench.parquet, .json or .jsonl, or a single parquet file of another name.
        split: "test", the only one.

    Raises:
        UserError: a file or image is missing, lies outside of `root`, or a row is not what it should be.
    """
    check_choice(split, SPLITS, "split")
    parquet = list(root.glob("*.parquet"))
    stems = (*_STEMS, parquet[0].stem) if len(parquet) == 1 else _STEMS
    return unique([_sample(row, where, root) for row, where in read_split(root, stems, _WHAT)])


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str = PROTOCOLS[0],
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    """Accuracy over all questions and by type, in points.

    lmms_eval: EvolvingLMMs-Lab/lmms-eval 75571cf lmms_eval/tasks/mmsi_bench/utils.py,
    extract_single_choice_with_word_boundary and msr_aggregate_results: the mean over questions, not over types. Every
    question is asked once, with its options as they are (EASI's "non-circular"). Answers without a letter are wrong.

    Args:
        samples: the questions.
        answers: by sample id.
        protocol: one of `PROTOCOLS`.
        objects: not used.
    """
    check_choice(protocol, PROTOCOLS, "protocol")
    aligned = align(samples, answers)
    missing = set(aligned.unanswered)
    letters = [
        None if sample.id in missing else read_letter(prediction.text)
        for sample, prediction in zip(samples, aligned.predictions, strict=True)
    ]
    correct = 100.0 * np.array([letter == _truth(s) for s, letter in zip(samples, letters, strict=True)], float)
    kinds = dict.fromkeys(sample.kind for sample in samples)
    return Report(
        benchmark="mmsi",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=(mean_metric("Accuracy", correct),),
        groups={
            kind: (mean_metric("Accuracy", within(correct, [sample.kind == kind for sample in samples])),)
            for kind in kinds
        },
        unanswered=aligned.unanswered,
        unparsed=tuple(
            sample.id
            for sample, letter in zip(samples, letters, strict=True)
            if letter is None and sample.id not in missing
        ),
        details=tuple({"letter": letter} for letter in letters),
    )


def read_letter(text: str) -> str | None:
    """The letter A to F that lmms-eval reads, or None.

    What stands first in double back-ticks, in single ones or in braces is looked at alone, each narrowing what the one
    before has found. There the first lone letter counts that no word follows: "A chair" has none.
    """
    for quoted in _QUOTED:
        found = quoted.search(text)
        text = text if found is None else found[1]
    letter = _LETTER.search(text)
    return None if letter is None else letter[0].upper()


def official_prompt(row: Mapping[str, Any]) -> str:
    """What lmms-eval says after the images (msr_doc_to_text with the default arguments of msr_bench.yaml)."""
    return f"{str(row['question']).strip()}{_OFFICIAL_REQUEST}"


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    """Answers that lmms-eval logged, or rows of "id" or "index" and "prediction" as VLMEvalKit writes them."""
    logged = read_logged_samples(content, samples, _ids_of)
    if logged is not None or not isinstance(content, list) or not content:
        return logged
    predictions: dict[str, Prediction] = {}
    for row in content:
        id, said = (row.get("id", row.get("index")), row.get("prediction")) if isinstance(row, dict) else (None, None)
        if not isinstance(id, int | str) or not isinstance(said, str):
            return None
        if str(id) in predictions:
            raise UserError(f"answers: two are to the question {str(id)!r}; keep one of the two")
        predictions[str(id)] = Prediction(said)
    return predictions


def _sample(row: Mapping[str, Any], where: str, root: Path) -> BenchmarkSample:
    id = str(needed(row, "id", (int, str), where))
    text = needed(row, "question", str, where)
    answer = needed(row, "answer", str, where).strip()
    if re.fullmatch("[A-Za-z]", answer) is None:
        raise UserError(f"{where}: 'answer' must be the letter of an option, is {answer[:40]!r}")
    given = needed(row, "images", list, where)
    if not given:
        raise UserError(f"{where}: 'images' is empty; every question of MMSI-Bench is about images")
    asked, options = split_options(text)
    lettered = len(options) > ord(answer.upper()) - ord("A")
    return BenchmarkSample(
        id=id,
        scene="",
        question=Question(asked, style="letter", options=options) if lettered else Question(text, style="short"),
        kind=_kind(needed(row, "question_type", str, where)),
        answers=(answer,),
        images=row_images(given, root, name=f"mmsi_{id}", where=where),
        row={key: value for key, value in row.items() if key != "images"},
        where=where,
    )


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """A question and its options, which stand in it as "Options: A: left, B: right"; no options where they do not."""
    heads = list(_OPTIONS.finditer(text))
    if not heads:
        return text, ()
    listed = text[heads[-1].end() :]
    starts: list[tuple[int, int]] = []
    for letter in "ABCDEF":
        # an option may hold a comma or a colon, but hardly the next letter after the one and before the other
        found = re.compile(rf"(?:^|[,;.\s])\s*{letter}\s*:\s*").search(listed, starts[-1][1] if starts else 0)
        if found is None:
            break
        starts.append(found.span())
    ends = [start for start, _ in starts[1:]] + [len(listed)]
    options = tuple(listed[begin:end].strip(" \t\n,;") for (_, begin), end in zip(starts, ends, strict=True))
    if len(options) < 2 or not all(options) or not text[: heads[-1].start()].strip():
        return text, ()
    return text[: heads[-1].start()].strip(), options


def _kind(name: str) -> str:
    """A type of question with the dash that the data set's own table has: "Positional Relationship (Cam.–Obj.)"."""
    return re.sub(r"(?<=\.)-(?=[A-Z])", "–", name.strip())


def _truth(sample: BenchmarkSample) -> str:
    return sample.answers[0].upper()


def _ids_of(row: Mapping[str, Any]) -> list[str]:
    return [str(row[key]) for key in ("id", "question_id") if isinstance(row.get(key), int | str)]
