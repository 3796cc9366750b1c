"""A value of a JSON file that knows its key, so that what is wrong with it can be said."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bev.errors import UserError

MEND = "prepare the scene again"


class Piece:
    """A value, the key that leads to it, and the file that it is from; every method raises UserError at a fault."""

    def __init__(self, value: Any, key: str, path: Path):
        self.value, self.key, self.path = value, key, path

    def fault(self, must: str) -> UserError:
        """What to raise when the value is not what it must be."""
        text = json.dumps(self.value)
        found = text if len(text) <= 60 else f"{text[:57]}..."
        return UserError(f"{self.path}: {self.key or 'it'} must {must}, found {found}; {MEND}")

    def __getitem__(self, name: str) -> "Piece":
        key = f"{self.key}.{name}" if self.key else name
        if name not in self.mapping():
            raise UserError(f"{self.path}: {key} is missing; {MEND}")
        return Piece(self.value[name], key, self.path)

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.fault("be an object")
        return self.value

    def items(self) -> "Iterator[Piece]":
        if not isinstance(self.value, list):
            raise self.fault("be a list")
        return (Piece(item, f"{self.key}[{position}]", self.path) for position, item in enumerate(self.value))

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault("be text")
        return self.value

    def file(self) -> str:
        """A path within the scene folder."""
        parts = PurePosixPath(self.text())
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise self.fault("be a path within the folder")
        return self.text()

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not np.isfinite(self.value):
            raise self.fault("be a finite number")
        return float(self.value)

    def integer(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fault("be a whole number")
        return self.value

    def integers(self) -> list[int]:
        return [piece.integer() for piece in self.items()]

    def size(self) -> int:
        if self.integer() <= 0:
            raise self.fault("be above 0")
        return self.integer()

    def array(self, *shape: int) -> np.ndarray:
        """float64 of this shape."""
        must = f"be {'x'.join(map(str, shape))} finite numbers"
        try:
            array = np.array(self.value, np.float64)
        except (TypeError, ValueError) as error:
            raise self.fault(must) from error
        if array.shape != shape or not np.isfinite(array).all():
            raise self.fault(must)
        return array
