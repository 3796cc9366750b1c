"""Every file of conformance cases has a test that runs all of them, and all of them are counted."""

from pathlib import Path

import pytest
from conformance import FIXTURES, fixture


def test_no_file_of_cases_is_left_out() -> None:
    if not FIXTURES.is_dir():
        pytest.skip("the shared fixtures are not here")
    names = sorted(path.stem for path in FIXTURES.glob("*.json"))
    assert names
    for name in names:
        test = Path(__file__).with_name(f"test_gpt4scene_fixtures_{name}.py")
        assert test.is_file() and f'"{name}"' in test.read_text(encoding="utf-8"), f"nothing runs {name}.json"
        cases = {key: len(content) for key, content in fixture(name).items() if key != "meta"}
        assert any(cases.values()), f"{name}.json: {cases}"
