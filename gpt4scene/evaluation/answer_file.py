"""Answers that are ready: files of our own rows, of `gpt4scene eval`, or of a benchmark's own repositories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed, read_json
from gpt4scene.benchmarks.names import Benchmark
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.evaluation.results import SCHEMA
from gpt4scene.prompting.parsed import Outcome

EXAMPLE = '{"id": "val-scene0011-0", "answer": "brown"}'
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_THEIRS = ("prediction", "pred", "pred_response", "response", "answer_top10")
"""Where benchmarks' own repositories have what was answered; "answer" beside one of these is the truth."""
_OF_RESULTS: dict[str, tuple[type, ...]] = {
    "question_key": (str,),
    "image_key": (str,),
    "showing": (dict,),
    "cost_usd": (int, float, type(None)),
    "usage": (dict, type(None)),
    "model": (str,),
    "judge": (str,),
}
"""Of a row of `gpt4scene eval` what tables are made of, where it is there."""
_ENDINGS = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True, eq=False)
class ReadyAnswers:
    """What answer files hold."""

    predictions: Mapping[str, Prediction]
    """By the id of the question."""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The rows of `gpt4scene eval` by id, with what was asked and shown, and what it cost; empty of other files."""


def answer_paths(given: Sequence[str]) -> list[Path]:
    """The files that are meant: a file, all of a folder, or what a pattern such as `predictions_chunk_*.json` matches.

    Raises:
        UserError: there is none; says where.
    """
    found: list[Path] = []
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            held = sorted(each for each in path.iterdir() if each.suffix.lower() in _ENDINGS)
            if not held:
                raise UserError(f"{path}: holds no file of answers; their names end in {', '.join(_ENDINGS)}")
        elif path.exists():
            held = [path]
        else:
            held = sorted(path.parent.glob(path.name)) if path.name else []
            if not held:
                raise UserError(f"{path}: no such file of answers")
        found += [each for each in held if each not in found]
    return found


def read_answers(paths: Sequence[Path], benchmark: Benchmark, samples: Sequence[BenchmarkSample]) -> ReadyAnswers:
    """The answers of files that belong together, such as the chunks of one run.

    Each file holds our own rows, {"id": ..., "answer" or "text": ..., "outcome": ...}, as JSON lines or a JSON list;
    what `gpt4scene eval` wrote; or a prediction format of the benchmark's own repositories. Lists of several files in
    such a format are taken as one, as those repositories do.

    Args:
        paths: of the files.
        benchmark: whose formats are known.
        samples: of its split.

    Raises:
        UserError: a file cannot be read, is of no format that is known, or two answers are to one question; says where.
    """
    own: dict[str, tuple[Prediction, str]] = {}
    rows: dict[str, Mapping[str, Any]] = {}
    foreign: list[tuple[Path, Any]] = []
    for path in paths:
        content = _content(path)
        if not _is_own(content):
            foreign.append((path, content))
            continue
        for number, row in enumerate(content, start=1):
            where = f"{path}, row {number}"
            id, prediction = _own_row(row, where)
            _claim(own, id, prediction, where)
            if row.get("schema") == SCHEMA:
                _check_result(row, where)
                rows[id] = row
    for path, content in _joined(foreign, samples):
        found = _theirs(path, content, benchmark, samples)
        if found is None:
            _check_rows(path, content)
            raise UserError(
                f"{path}: is in no format of answers to {benchmark.TITLE} that is known; write a row for each question,"
                f" such as {EXAMPLE}"
            )
        for id, prediction in found.items():
            _claim(own, id, prediction, str(path))
    return ReadyAnswers({id: prediction for id, (prediction, _) in own.items()}, rows)


def _content(path: Path) -> Any:
    try:
        empty = path.is_file() and not path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if empty:
        raise UserError(f"{path}: is empty; it must hold a row for each question, such as {EXAMPLE}")
    if path.is_file() and path.suffix.lower() not in _ENDINGS:
        raise UserError(f"{path}: its name must end in .jsonl, with a row per line, or .json")
    return read_json(path)


def _is_own(content: Any) -> bool:
    """Whether it is a list of rows of ours, rather than of a benchmark's own repositories."""
    if not isinstance(content, list) or not content or not all(isinstance(row, dict) for row in content):
        return False
    has_text = any(key in row for row in content for key in ("answer", "text"))
    return has_text and all("id" in row for row in content) and not any(key in content[0] for key in _THEIRS)


def _theirs(
    path: Path, content: Any, benchmark: Benchmark, samples: Sequence[BenchmarkSample]
) -> dict[str, Prediction] | None:
    try:
        return benchmark.read_predictions(content, samples)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_rows(path: Path, content: Any) -> None:
    """Of rows that are nearly ours, say which one is not."""
    rows = content if isinstance(content, list) else []
    if any(isinstance(row, dict) and ("id" in row or row.keys() <= {"answer", "text", "outcome"}) for row in rows):
        for number, row in enumerate(rows, start=1):
            _own_row(row if isinstance(row, dict) else {}, f"{path}, row {number}")


def _own_row(row: Mapping[str, Any], where: str) -> tuple[str, Prediction]:
    id = row.get("id")
    if not isinstance(id, str | int) or isinstance(id, bool):
        raise UserError(f"{where}: has no 'id', the question's, or it is no text; a row is such as {EXAMPLE}")
    outcome = row.get("outcome", "answered")
    if outcome not in _OUTCOMES:
        raise UserError(f"{where}: 'outcome' must be one of {', '.join(_OUTCOMES)}, is {str(outcome)[:60]!r}")
    # of `gpt4scene eval`'s rows the text is all that was said, the answer what is scored of it
    text = row.get("answer", row.get("text"))
    if text is None and outcome in ("refused", "failed"):
        text = ""
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise UserError(f'{where}: \'answer\' must be a text, is {str(text)[:60]!r}; say "outcome": "failed" for none')
    extra = row.get("extra", {})
    if not isinstance(extra, dict):
        raise UserError(f"{where}: 'extra' must be an object, is {str(extra)[:60]!r}")
    return str(id), Prediction(text, cast(Outcome, outcome), extra)


def _check_result(row: Mapping[str, Any], where: str) -> None:
    """Say which key of a row of `gpt4scene eval` is missing or damaged, before a table is made of it."""
    for key in ("benchmark", "split"):
        needed(row, key, str, where)
    scope = needed(row, "scope", dict, where)
    for key, kind in (("asked", int), ("seed", (int, type(None))), ("without_scenes", list)):
        needed(scope, key, kind, f"{where}, scope")
    for key, kinds in _OF_RESULTS.items():
        if key in row:
            needed(row, key, kinds, where)


def _claim(own: dict[str, tuple[Prediction, str]], id: str, prediction: Prediction, where: str) -> None:
    if id in own:
        raise UserError(
            f"{where}: answers question {id!r}, as {own[id][1]} does; leave one of the two out, or compare two runs as"
            " NAME=FILE OTHER=FILE"
        )
    own[id] = prediction, where


def _joined(foreign: Sequence[tuple[Path, Any]], samples: Sequence[BenchmarkSample]) -> list[tuple[Path, Any]]:
    """Lists as one, under the first one's name; files that are called as a scene and do not name it within, as one
    object by scene; all else as it is."""
    scenes = {sample.scene for sample in samples if sample.scene}
    lists: list[tuple[Path, list[Any]]] = []
    by_scene: list[tuple[Path, list[Any]]] = []
    rest: list[tuple[Path, Any]] = []
    for path, content in foreign:
        if not isinstance(content, list):
            rest.append((path, content))
        elif path.stem in scenes and not any(isinstance(row, dict) and "scene_id" in row for row in content):
            by_scene.append((path, content))
        else:
            lists.append((path, content))
    one = [(lists[0][0], [row for _, rows in lists for row in rows])] if lists else []
    named = [(by_scene[0][0].parent, {path.stem: rows for path, rows in by_scene})] if by_scene else []
    return [*one, *named, *rest]
