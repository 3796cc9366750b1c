"""The objects of scenes that grounding is scored with, in the annotation's own world."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TrueObject:
    """An annotated object."""

    label: str
    box: np.ndarray
    """(6,) float64, metres: centre and size of its axis-aligned box, in the annotation's axis-aligned world."""


@dataclass(frozen=True, eq=False)
class SceneObjects:
    """One scene's annotated objects, and those that a model can name by the numbers on the images."""

    true: Mapping[int, TrueObject]
    """By the annotation's number (ScanNet's objectId)."""
    proposed: Mapping[int, np.ndarray]
    """By the number that a model sees: (6,) float64 as `TrueObject.box`, in the same world. In the reference's files
    these are 0 to n - 1."""
