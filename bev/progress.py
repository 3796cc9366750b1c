"""A progress bar for whatever takes longer than two seconds."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Sequence[Item], description: str, *, show: bool, unit: str = "frame") -> Iterable[Item]:
    """The items one by one, with a bar on stderr when `show` holds."""
    if not show:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=description, unit=unit, leave=False)
