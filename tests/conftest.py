"""What several test files need: the real kitchen, read and reconstructed once."""

from pathlib import Path

import pytest
from hypothesis import settings

import bev

# machines are busy at times: how long one example takes says nothing
settings.register_profile("house", deadline=None)
settings.load_profile("house")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def kitchen_path() -> Path:
    """The 7-Scenes RedKitchen frames; tests that need them are skipped only where ../shared is absent."""
    path = SHARED / "data" / "redkitchen"
    if not path.is_dir():
        pytest.skip("../shared/data/redkitchen is not here")
    return path


@pytest.fixture(scope="session")
def kitchen(kitchen_path: Path) -> tuple[bev.Scan, bev.Surface]:
    """RedKitchen upright, its cameras aligned, with its coloured surface."""
    return bev.reconstruct(bev.read_scan(kitchen_path))
