"""The conformance cases of ../shared/fixtures, and how found values are held against them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"


def fixture(name: str) -> dict[str, Any]:
    """The content of NAME.json; the test is skipped where the shared folder is absent."""
    if not FIXTURES.is_dir():
        pytest.skip("the shared fixtures are not here")
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


def is_error(expected: Any) -> bool:
    """Whether the official code raises an error there."""
    return isinstance(expected, dict) and "error" in expected


def differences(found: Any, expected: Any, *, tolerance: float = 1e-6, path: str = "") -> list[str]:
    """What is found and not as expected, one line each: numbers within the tolerance, all else equal."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return [f"{path}: found {found!r}, expected an object"]
        missing = [f"{path}.{key}: not found" for key in expected if key not in found]
        return missing + [
            line
            for key in expected
            if key in found
            for line in differences(found[key], expected[key], tolerance=tolerance, path=f"{path}.{key}")
        ]
    if isinstance(expected, list):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return [f"{path}: found {found!r}, expected {expected!r}"]
        return [
            line
            for position, (one, other) in enumerate(zip(found, expected, strict=True))
            for line in differences(one, other, tolerance=tolerance, path=f"{path}[{position}]")
        ]
    if expected in ("nan", "inf", "-inf") and isinstance(found, float):
        expected = float(expected)
    if isinstance(expected, float) or (isinstance(found, float) and isinstance(expected, int)):
        if not isinstance(found, int | float):
            return [f"{path}: found {found!r}, expected {expected!r}"]
        same = (math.isnan(found) and math.isnan(expected)) or found == expected
        return [] if same or abs(found - expected) <= tolerance else [f"{path}: found {found!r}, expected {expected!r}"]
    return [] if found == expected else [f"{path}: found {found!r}, expected {expected!r}"]


def check_file(name: str, checks: Mapping[str, Callable[[Any], list[str]]], *, context: tuple[str, ...] = ()) -> int:
    """Run a check on every case of every key of a fixture file; says what differs, and how many cases there were.

    A file may have no cases of a key, but must have some, and no key that nothing checks.

    Args:
        name: of the file.
        checks: by key: from one case to what differs. Of a key that holds an object, the cases are its items as
            (key, value).
        context: keys that hold what cases refer to, and no cases.
    """
    content = fixture(name)
    unknown = set(content) - set(checks) - set(context) - {"meta"}
    assert not unknown, f"{name}.json: nothing checks {sorted(unknown)}"
    wrong: list[str] = []
    count = 0
    for key, check in checks.items():
        cases = content.get(key, [])
        for position, case in enumerate(cases.items() if isinstance(cases, dict) else cases):
            label = case.get("id", position) if isinstance(case, dict) else position
            wrong += [f"{key}[{label}]{line}" for line in check(case)]
            count += 1
    assert count > 0 and not wrong, f"{len(wrong)} of {count} cases differ:\n" + "\n".join(wrong[:40])
    return count
