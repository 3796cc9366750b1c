"""Which frames of a scan a model gets to see."""

import cv2
import numpy as np

from bev.camera import pixel_centers
from bev.scan import Scan
from bev.surface import SurfaceCaster

_CELL_M = 0.3
_LOOK_PX = 64
_SHARP_REACH = 3
_SHARP_COVERAGE = 0.98


def uniform_sample(frame_count: int, wanted: int) -> list[int]:
    """Positions of `wanted` frames evenly spaced over a scan of `frame_count`, all of them where there are fewer.

    The paper's formula, s_i = floor((i - 1) * N / n) + 1 for i = 1..n counted from 1 (arXiv 2501.01428, section 3).
    """
    _check(wanted)
    wanted = min(wanted, frame_count)
    return [i * frame_count // wanted for i in range(wanted)]


def coverage_sample(shares: np.ndarray, weights: np.ndarray, wanted: int) -> list[int]:
    """Positions of the frames that together show the most, in ascending order.

    Each thing counts by the frame that shows it best. The choice is greedy, which reaches at least 63 % of the best
    possible sum (Nemhauser, Wolsey and Fisher 1978); of equal frames the earlier is taken. Once nothing is gained any
    more, frames that are far from those chosen already fill up.

    Args:
        shares: (n, things) in 0..1, how well each frame shows each thing.
        weights: (things,) what each thing is worth.
        wanted: how many frames; all where there are fewer.
    """
    _check(wanted)
    shares = np.asarray(shares, np.float32)
    best = np.zeros(shares.shape[1], np.float32)
    total = float(np.abs(weights).sum())
    chosen: list[int] = []
    for _ in range(min(wanted, len(shares))):
        gain = np.maximum(shares - best, 0) @ weights
        gain[chosen] = -1
        # sums of the same numbers in another order differ in their last bits, which must not decide
        position = int((gain >= gain.max() - 1e-9 * total).argmax())
        if gain[position] <= 0:
            position = _farthest(chosen, len(shares))
        chosen.append(position)
        best = np.maximum(best, shares[position])
    return sorted(chosen)


def prefer_sharp(scan: Scan, chosen: list[int], shares: np.ndarray, weights: np.ndarray) -> list[int]:
    """Exchange chosen frames for sharper ones close by that show as much; motion blur hides what a frame covers.

    Only frames up to three places away are looked at, and only where all frames together then still show at least
    98 % of what they did. Sharpness is the variance of the image's Laplacian, which is comparable between frames of
    nearly the same view.

    Args:
        scan: the images of the candidates are read.
        chosen: positions, as `coverage_sample` returns them.
        shares: (n, things) and `weights` (things,), as `coverage_sample` takes them.
    """
    chosen = list(chosen)
    least = _SHARP_COVERAGE * _worth(shares, weights, chosen)
    for place, position in enumerate(chosen):
        nearby = range(max(0, position - _SHARP_REACH), min(len(shares), position + _SHARP_REACH + 1))
        others = chosen[:place] + chosen[place + 1 :]
        fitting = [other for other in nearby if other not in others]
        fitting = [other for other in fitting if _worth(shares, weights, [*others, other]) >= least]
        sharp = {other: sharpness(scan.frames[other].read_color()) for other in fitting}
        chosen[place] = max(fitting, key=lambda other: (sharp[other], other == position), default=position)
    return sorted(chosen)


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of an image, (H, W, 3) uint8 RGB, at half its size, where sensor noise is gone."""
    grey = cv2.pyrDown(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _worth(shares: np.ndarray, weights: np.ndarray, positions: list[int]) -> float:
    return float(shares[positions].max(axis=0) @ weights)


def surface_shares(caster: SurfaceCaster, scan: Scan) -> np.ndarray:
    """Which pieces of the surface, cubes of 0.3 m, each frame shows: (n, cells) float32, 1 where it is seen well.

    Args:
        caster: of the surface in the scan's world.
        scan: its colour cameras look, at low resolution; no image is read.
    """
    keys: dict[tuple[int, int, int], int] = {}
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for frame in scan.frames:
        camera = frame.camera
        camera = camera.resized(_LOOK_PX, max(1, round(camera.height * _LOOK_PX / camera.width)))
        depth = caster.view(camera).depth.ravel()
        hit = depth > 0
        points = camera.unproject(pixel_centers(camera.width, camera.height)[hit], depth[hit])
        cells, counts = np.unique(np.floor(points / _CELL_M).astype(np.int64), axis=0, return_counts=True)
        columns = [keys.setdefault((x, y, z), len(keys)) for x, y, z in cells.tolist()]
        rows.append((np.array(columns, np.int64), counts))
    shares = np.zeros((len(scan.frames), len(keys)), np.float32)
    for row, (columns, counts) in enumerate(rows):
        shares[row, columns] = np.minimum(counts / 8, 1)
    return shares


def _farthest(chosen: list[int], count: int) -> int:
    """The position farthest in time from all those chosen; `chosen` does not hold all of them."""
    distance = np.abs(np.arange(count)[:, None] - np.array(chosen, np.int64)[None]).min(axis=1, initial=count)
    return int(distance.argmax())


def _check(wanted: int) -> None:
    if wanted < 1:
        raise ValueError(f"at least one frame must be wanted, got {wanted}")
