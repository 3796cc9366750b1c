"""`gpt4scene score`: answers that are ready, scored as a benchmark does."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bev.errors import UserError
from gpt4scene.cli.ask import check_numbers

if TYPE_CHECKING:
    from gpt4scene.benchmarks.objects import SceneObjects
    from gpt4scene.benchmarks.sample import BenchmarkSample
    from gpt4scene.evaluation.evaluation import Evaluation
    from gpt4scene.evaluation.ready_runs import ReadyPart


def score(
    benchmark: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BENCHMARK")],
    /,
    *,
    root: Path,
    answers: tuple[str, ...],
    split: str | None = None,
    protocol: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    limit: int | None = None,
    seed: int = 0,
    scenes: Path | None = None,
    scans: Path | None = None,
    attributes: tuple[Path, Path] | None = None,
    judge: str | None = None,
    max_cost: float | None = None,
    cache: Path | None = None,
    json: Path | None = None,
    report: Path | None = None,
) -> None:
    """Score answers that are ready: rows of one's own, of `gpt4scene eval`, or of a benchmark's own repositories.

    A row of one's own is {"id": ..., "answer": ...}, one per line (.jsonl) or in a list (.json); with "outcome":
    "refused" or "failed" it is none. Questions without an answer count as wrong, and are counted.

    Args:
        benchmark: scanqa, sqa3d, scan2cap, scanrefer, multi3drefer, vsibench, vstibench, sparbench, mmsi, cvbench,
            blink or openeqa.
        root: the folder of the benchmark's own files.
        answers: a file, a folder of files, or the chunks of one run; or several runs as NAME=FILE, which are compared.
        split: the one that most papers report when left out.
        protocol: way of scoring; the one that most papers report when left out; once for each.
        limit: the answers are to so many questions, drawn as `gpt4scene eval` draws them.
        seed: which ones.
        scenes: holds the scene folders in whose numbers objects are named, for grounding and captions.
        scans: ScanNet's folders of scans, with their annotation: true boxes.
        attributes: or two attribute files of GPT4Scene: of the true objects and of the proposed ones.
        judge: the model that marks answers, for openeqa; named as --model of `gpt4scene eval` is.
        max_cost: send the judge nothing that might lead beyond so many US dollars.
        cache: the file that keeps the judge's replies; the user's own when left out.
        json: write all numbers to this file.
        report: write a report, as `gpt4scene eval` does, to this folder.
    """
    if json is not None and not json.resolve().parent.is_dir():
        raise UserError(f"--json {json}: its folder is not there; make it first")
    check_numbers(1, None, max_cost)
    if judge is not None and benchmark != "openeqa":
        raise UserError(f"--judge {judge}: only openeqa is judged by a model; leave it out")
    named = _named(answers)
    from gpt4scene.cli.score_lines import compared, score_table, write_reports
    from gpt4scene.evaluation.answer_file import answer_paths, read_answers
    from gpt4scene.evaluation.evaluation import open_split
    from gpt4scene.evaluation.ready_runs import part_answered, ready_run
    from gpt4scene.evaluation.results import write_numbers

    opened = open_split(benchmark, root, split=split, protocols=protocol)
    parts = [
        part_answered(
            name, read_answers(answer_paths(files), opened.benchmark, opened.samples), opened, limit=limit, seed=seed
        )
        for name, files in named.items()
    ]
    if judge is not None:
        parts = _judged(parts, judge, cache, max_cost)
    objects = _objects(opened, [sample for part in parts for sample in part.samples], scenes, scans, attributes)
    tables = [
        compared([ready_run(part, opened, protocol, objects=objects) for part in parts])
        for protocol in opened.protocols
    ]
    for part in parts:
        if part.left_out:
            said = f"{part.left_out:,} answers are to questions that are not among the {part.scope.text()}"
            sys.stdout.write(f"{part.name}: {said}; they are not scored\n")
    if json is not None:
        write_numbers(json, tables)
    pages = [] if report is None else write_reports(tables, report)
    sys.stdout.write("\n".join(score_table(comparison, opened.benchmark.TITLE) for comparison in tables))
    if pages:
        sys.stdout.write(f"\nlook at {', '.join(map(str, pages))}\n")


def _judged(
    parts: "Sequence[ReadyPart]", judge: str, cache: Path | None, max_cost_usd: float | None
) -> "list[ReadyPart]":
    """The answers with a judge's marks; exit code 1 where not all of them came."""
    from gpt4scene.benchmarks import openeqa
    from gpt4scene.vlm.cache import AnswerCache, default_cache_path
    from gpt4scene.vlm.names import open_model

    model = open_model(judge)
    left, found = max_cost_usd, []
    try:
        with AnswerCache(cache or default_cache_path()) as kept:
            for part in parts:
                shown = sys.stderr.isatty()
                judged = openeqa.judge(part.samples, part.predictions, model, kept, max_cost_usd=left, progress=shown)
                sys.stdout.write(f"{part.name}, judged by {model.name}: {judged.asked.summary()}\n")
                failed = judged.asked.outcomes["failed"]
                if judged.asked.stopped or failed:
                    why = judged.asked.stopped or f"{failed} answers were not marked; the same command asks again"
                    sys.stderr.write(f"gpt4scene: {part.name}: {why}\n")
                    raise SystemExit(1)
                left = None if left is None else max(0.0, left - (judged.asked.cost_usd or 0.0))
                found.append(replace(part, predictions=judged.answers, judge=model.name))
    finally:
        model.close()
    return found


def _objects(
    opened: "Evaluation",
    samples: "Sequence[BenchmarkSample]",
    scenes: Path | None,
    scans: Path | None,
    attributes: tuple[Path, Path] | None,
) -> "Mapping[str, SceneObjects] | None":
    from gpt4scene.cli.evaluation_plan import objects_of
    from gpt4scene.evaluation.prepared_scenes import find_scenes, missing_line

    found = find_scenes(samples if scans and opened.benchmark.NEEDS_OBJECTS else [], scenes)
    if found.missing:
        raise UserError(missing_line(found, scenes))
    return objects_of(opened, found.folders, scans, attributes)


def _named(answers: Sequence[str]) -> dict[str, list[str]]:
    """Files by the name of their run; of a single run without one, its first file's.

    Raises:
        UserError: some have a name and others have none.
    """
    found: dict[str, list[str]] = {}
    bare: list[str] = []
    for given in answers:
        name, equals, file = given.partition("=")
        if equals and name and "/" not in name and not Path(given).exists():
            found.setdefault(name, []).append(file)
        else:
            bare.append(given)
    if found and bare:
        raise UserError(f"--answers {bare[0]}: name all runs or none, as in --answers NAME={bare[0]}")
    if not found and not bare:
        raise UserError("--answers: no file is given")
    return found or {Path(bare[0]).stem: bare}
