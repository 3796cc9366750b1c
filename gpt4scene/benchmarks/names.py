"""The benchmarks by name, each imported when it is asked for."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from bev.errors import UserError
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction

NAMES = (
    "scanqa",
    "sqa3d",
    "scan2cap",
    "scanrefer",
    "multi3drefer",
    "vsibench",
    "vstibench",
    "sparbench",
    "mmsi",
    "cvbench",
    "blink",
    "openeqa",
)


class Benchmark(Protocol):
    """What the file of each benchmark offers."""

    TITLE: str
    """As papers write it."""
    SPLITS: tuple[str, ...]
    """The one that most papers report first."""
    PROTOCOLS: tuple[str, ...]
    """Ways of scoring, the one that most papers report first."""
    NEEDS_OBJECTS: bool
    """Whether scoring needs the boxes of objects."""

    def load(self, root: Path, split: str) -> list[BenchmarkSample]:
        """The questions of a split, from the benchmark's own files."""
        ...

    def score(
        self,
        samples: Sequence[BenchmarkSample],
        answers: Mapping[str, Prediction],
        *,
        protocol: str,
        objects: Mapping[str, SceneObjects] | None = None,
    ) -> Report:
        """Score answers by sample id."""
        ...

    def read_predictions(self, content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
        """Answers in a prediction format of the benchmark's own repositories; None where it is none of them."""
        ...


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        UserError: there is none; says which there are.
    """
    if name not in NAMES:
        raise UserError(f"benchmark {name!r}: there are {', '.join(NAMES)}")
    return cast(Benchmark, import_module(f"gpt4scene.benchmarks.{name}"))


def check_choice(value: str, choices: Sequence[str], option: str) -> None:
    """Say which protocols or splits there are.

    Raises:
        UserError: the value is none of the choices.
    """
    if value not in choices:
        raise UserError(f"--{option} {value}: there are {', '.join(choices)}")
