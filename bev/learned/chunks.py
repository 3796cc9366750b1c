"""Long scans in parts that fit memory, and parts with a world of their own joined into one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError

_SAMPLES = 20_000


@dataclass(frozen=True, eq=False)
class Part:
    """What a network says of some neighbouring frames, in a world of its own."""

    start: int
    """Position of its first frame in the scan."""
    depth: np.ndarray
    """(n, h, w) float16, NaN = none."""
    world_from_camera: np.ndarray
    """(n, 4, 4) float64."""
    K: np.ndarray
    """(n, 3, 3) float64, pixels of the grid."""

    @property
    def stop(self) -> int:
        """Position behind its last frame."""
        return self.start + len(self.depth)


@dataclass(frozen=True, eq=False)
class Similarity:
    """point -> scale * rotation @ point + shift."""

    scale: float
    rotation: np.ndarray
    """(3, 3) float64."""
    shift: np.ndarray
    """(3,) float64."""

    def after(self, first: "Similarity") -> "Similarity":
        """`first`, then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.shift + self.shift,
        )

    def pose(self, world_from_camera: np.ndarray) -> np.ndarray:
        """(4, 4) rigid: where the camera stands in the new world."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation @ world_from_camera[:3, :3]
        matrix[:3, 3] = self.scale * self.rotation @ world_from_camera[:3, 3] + self.shift
        return matrix


def windows(count: int, size: int, overlap: int = 0) -> list[range]:
    """Ranges of at most `size` positions that cover `count`, each sharing at least `overlap` with the one before.

    Those that overlap are all of one size, so that no last one is short.
    """
    if count <= size:
        return [range(count)]
    parts = -(-(count - overlap) // (size - overlap))
    starts = np.linspace(0, count - size, parts).round().astype(int) if overlap else np.arange(0, count, size)
    return [range(int(start), min(int(start) + size, count)) for start in starts]


def joined(parts: Sequence[Part]) -> tuple[list[Similarity], list[int]]:
    """Bring all parts into the first one's world.

    Returns:
        For each part the similarity into that world; for each frame the part to take it from: where two overlap, the
        one in whose middle it is rather.

    Raises:
        UserError: two neighbouring parts have no depth in common.
    """
    similarities = [Similarity(1.0, np.eye(3), np.zeros(3))]
    for before, after in pairwise(parts):
        similarities.append(similarities[-1].after(between(before, after)))
    owners = []
    for position in range(parts[-1].stop):
        holding = [k for k, part in enumerate(parts) if part.start <= position < part.stop]
        owners.append(max(holding, key=lambda k: min(position - parts[k].start, parts[k].stop - 1 - position)))
    return similarities, owners


def between(before: Part, after: Part) -> Similarity:
    """What brings `after` into the world of `before`, from the frames that both hold.

    The scale is the median ratio of depth, pixel by pixel, which needs no baseline; the rotation is the mean of what
    each shared frame says, without those that differ; the shift is the median over shared cameras. Three shared
    cameras in a row, of which centres alone leave the rotation open, do.
    """
    shared = range(after.start, before.stop)
    ratios = [_ratios(before.depth[i - before.start], after.depth[i - after.start]) for i in shared]
    logs = np.concatenate(ratios) if ratios else np.zeros(0)
    if not len(logs):
        raise UserError(
            f"frames {after.start} to {before.stop - 1} of the scan: the network found no depth in two passes by "
            "which they could be joined; film with light and texture, or give more frames at once (chunk)"
        )
    scale = float(np.exp(np.median(logs)))
    old = np.stack([before.world_from_camera[i - before.start] for i in shared])
    new = np.stack([after.world_from_camera[i - after.start] for i in shared])
    turns = old[:, :3, :3] @ new[:, :3, :3].transpose(0, 2, 1)
    rotation = _mean_rotation(turns)
    shifts = old[:, :3, 3] - scale * new[:, :3, 3] @ rotation.T
    return Similarity(scale, rotation, np.median(shifts, axis=0))


def _ratios(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Logarithms of depth over depth, some thousands of pixels."""
    both = np.flatnonzero(((before > 0) & (after > 0)).ravel())
    both = both[:: max(1, len(both) // _SAMPLES)]
    return np.log(before.ravel()[both].astype(np.float32) / after.ravel()[both].astype(np.float32))


def _mean_rotation(turns: np.ndarray) -> np.ndarray:
    """Mean of (n, 3, 3) rotations around the one that is nearest to all others."""
    cosines = (np.einsum("aij,bij->ab", turns, turns) - 1) / 2
    angles = np.arccos(np.clip(cosines, -1, 1))
    middle = angles.sum(axis=1).argmin()
    near = angles[middle] <= 3 * np.median(angles[middle]) + 1e-6
    u, _, vt = np.linalg.svd(turns[near].mean(axis=0))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def log_scale_of_centres(cameras: Sequence[Camera], world_from_camera: np.ndarray) -> float:
    """Logarithm of the cameras' distances over those of predicted poses (n, 4, 4): robust, and free of rotation.

    Returns:
        NaN where the cameras hardly move.
    """
    known = np.array([camera.center for camera in cameras])
    found = world_from_camera[:, :3, 3]
    a, b = np.triu_indices(len(known), 1)
    known, found = (np.linalg.norm(centres[a] - centres[b], axis=1) for centres in (known, found))
    if not len(known) or known.max() < 1e-6 or found.max() < 1e-6:
        return np.nan
    wide = (known > known.max() / 3) & (found > 1e-9)
    return float(np.median(np.log(known[wide] / found[wide]))) if wide.any() else np.nan


def in_first_camera(world_from_camera: np.ndarray) -> np.ndarray:
    """(n, 4, 4) poses in the world of the first camera."""
    return invert_rigid(world_from_camera[0]) @ world_from_camera
