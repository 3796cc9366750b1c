"""The questions of a benchmark that are to be asked or scored: all of a split or part of it, and their scenes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.names import Benchmark, benchmark_named, check_choice
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.evaluation.prepared_scenes import find_scenes, missing_line
from gpt4scene.evaluation.requests import OfficialPrompt
from gpt4scene.evaluation.subset import Scope, part_of
from gpt4scene.prompting.presets import PRESETS


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The questions of a benchmark that models are to be asked, and how they are scored."""

    name: str
    """Of the benchmark, as in `names.NAMES`."""
    benchmark: Benchmark
    split: str
    protocols: tuple[str, ...]
    samples: tuple[BenchmarkSample, ...]
    scope: Scope
    folders: Mapping[str, Path]
    """Of the scenes that the questions are about, by name."""


def open_split(name: str, root: Path, *, split: str | None = None, protocols: Sequence[str] = ()) -> Evaluation:
    """All questions of a benchmark's split; scenes are not looked for.

    Args:
        name: of the benchmark.
        root: the folder of its files.
        split: None: the one that most papers report.
        protocols: ways of scoring; none: the one that most papers report.

    Raises:
        UserError: there is no such benchmark, split or protocol, or the files are not as they should be.
    """
    benchmark = benchmark_named(name)
    split = split or benchmark.SPLITS[0]
    check_choice(split, benchmark.SPLITS, "split")
    chosen = tuple(dict.fromkeys(protocols)) or benchmark.PROTOCOLS[:1]
    for protocol in chosen:
        check_choice(protocol, benchmark.PROTOCOLS, "protocol")
    samples = tuple(benchmark.load(root, split))
    if not samples:
        raise UserError(f"{root}: {benchmark.TITLE}'s split {split} holds no questions")
    return Evaluation(name, benchmark, split, chosen, samples, Scope(len(samples), len(samples)), {})


def with_scenes(
    opened: Evaluation,
    scenes: Path | None,
    *,
    limit: int | None = None,
    seed: int = 0,
    skip_missing_scenes: bool = False,
) -> Evaluation:
    """The questions, or part of them, and the folders of their scenes.

    Args:
        opened: all questions of a split.
        scenes: holds the scene folders; not needed where all questions have images of their own.
        limit: take so many questions; None: all.
        seed: which ones.
        skip_missing_scenes: leave out questions about scenes that are not there, rather than ask none at all.

    Raises:
        UserError: a scene is not there.
    """
    without = find_scenes(opened.samples, scenes).missing if skip_missing_scenes else {}
    part, scope = part_of(opened.samples, limit=limit, seed=seed, without_scenes=without)
    found = find_scenes(part, scenes)
    if found.missing:
        raise UserError(missing_line(found, scenes))
    return replace(opened, samples=tuple(part), scope=scope, folders=found.folders)


def frames_note(benchmark: Benchmark, preset: str | None) -> str:
    """That questions speak of so many frames and a preset may show others, in one line; empty where all is well."""
    meant: int | None = getattr(benchmark, "FRAMES", None)
    if meant is None or preset is None or preset not in PRESETS or PRESETS[preset].frames == meant:
        return ""
    shown = PRESETS[preset].frames or "as many as each scene was prepared with"
    fitting = next((name for name, each in PRESETS.items() if each.frames == meant), "")
    return (
        f"{benchmark.TITLE}'s questions name frames by their place among {meant}; the preset {preset} shows {shown},"
        f" --preset {fitting} shows {meant}"
    )


def official_words(evaluation: Evaluation) -> OfficialPrompt:
    """The words in which the benchmark's own code puts its questions.

    Raises:
        UserError: they are not known here.
    """
    found: Callable[[Mapping[str, Any]], str] | None = getattr(evaluation.benchmark, "official_prompt", None)
    if found is None:
        raise UserError(f"--prompts official: those of {evaluation.benchmark.TITLE} are not known here; leave it out")
    return lambda sample: found(sample.row)
