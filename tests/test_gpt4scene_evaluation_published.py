"""The data file of published numbers: rows that name benchmarks, splits, protocols and metrics of ours."""

import importlib.util
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from gpt4scene.benchmarks.names import NAMES, benchmark_named
from gpt4scene.evaluation.protocol_meanings import MEANINGS, protocol_meaning
from gpt4scene.evaluation.published import MARKS, all_published, published_numbers

ROOT = Path(__file__).parents[1]
THERE = [name for name in NAMES if importlib.util.find_spec(f"gpt4scene.benchmarks.{name}") is not None]


def test_rows_are_dated_and_say_where_they_are_from() -> None:
    numbers = all_published()
    assert len(numbers) > 100
    for number in numbers:
        assert number.benchmark in NAMES and number.mark in MARKS
        assert number.method and number.source and number.split
        assert len(number.as_of) == 7 and number.as_of.startswith("20")
        assert 0 < number.value < 120


def test_no_number_is_there_twice() -> None:
    keys = Counter((n.benchmark, n.split, n.protocol, n.metric, n.method, n.source) for n in all_published())
    assert max(keys.values()) == 1


@pytest.mark.parametrize("name", THERE)
def test_splits_and_protocols_are_the_benchmarks_own(name: str) -> None:
    benchmark = benchmark_named(name)
    for number in all_published():
        if number.benchmark == name:
            assert number.split in benchmark.SPLITS
            assert number.protocol in ("", *benchmark.PROTOCOLS)


@pytest.mark.parametrize("name", THERE)
def test_every_protocol_has_a_meaning(name: str) -> None:
    for protocol in benchmark_named(name).PROTOCOLS:
        assert protocol_meaning(name, protocol), protocol


def test_meanings_are_of_benchmarks_that_there_are() -> None:
    assert {benchmark for benchmark, _ in MEANINGS} <= set(NAMES)
    assert protocol_meaning("vsibench", "nonsense") == ""


def test_what_is_repeated_is_not_taken_for_the_paper() -> None:
    gpt4scene = [number for number in published_numbers("scanqa", "val") if number.method.startswith("GPT4Scene")]
    assert gpt4scene and {number.mark for number in gpt4scene} == {"second-hand"}
    assert {number.protocol for number in gpt4scene} == {"gpt4scene"}


def test_the_highest_comes_first() -> None:
    values = [number.value for number in published_numbers("vsibench", "test")]
    assert values == sorted(values, reverse=True) and values
    assert published_numbers("vsibench", "no such split") == []


def test_the_file_is_in_the_distribution() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "published.json" in data["gpt4scene.evaluation"]
