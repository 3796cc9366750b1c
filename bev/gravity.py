"""Which way is up in a scan, from its surface and from how it was filmed.

Candidates are the directions that much of the surface faces, both ways, and the axis about which the cameras mostly
turned; the evidence for each is weighed and the best one levelled on the surface's own horizontals. No single clue
would do: the largest plane may be a cabinet front, the phone may be held in portrait or upside down, a table may hide
the floor.
"""

import logging
from dataclasses import replace

import numpy as np

from bev.facets import Facets, facets_of, levels_along
from bev.scan import Scan
from bev.surface import Surface

logger = logging.getLogger(__name__)

_HINT_TRUSTED_DEG = 5.0
_CONES_DEG = (15.0, 11.0, 8.0, 6.0)
_SCORED_FACETS = 20_000
_SURE_SCORE = 3.5
"""The right up scores 4.8 to 6.5 on filmed rooms and the kitchen, others 3.1 at most."""


def estimate_up(scan: Scan, surface: Surface) -> np.ndarray:
    """The direction against gravity in the scan's world.

    Args:
        scan: posed frames; with `up_hint` that is only refined, by 5 degrees at most.
        surface: the same room, normals towards the free side.

    Returns:
        (3,) float64, unit length.
    """
    facets = facets_of(surface)
    if scan.up_hint is not None:
        hint = scan.up_hint / np.linalg.norm(scan.up_hint)
        refined = flat_up(facets, level_up(facets, hint))
        refined = refined if refined @ hint > np.cos(np.radians(_HINT_TRUSTED_DEG)) else hint
        if up_score(scan, facets.thinned(_SCORED_FACETS), refined) >= _SURE_SCORE:
            return refined
        found = estimate_up(replace(scan, up_hint=None), surface)
        return found if _speaks_against(scan, facets, hint=refined, found=found) else refined
    few = facets.thinned(_SCORED_FACETS)
    candidates = [*turning_axis(scan), *_facing_modes(few)]
    levelled = [level_up(few, candidate) for candidate in candidates]
    scores = [up_score(scan, few, up) for up in levelled]
    return flat_up(facets, level_up(facets, levelled[int(np.argmax(scores))]))


def _speaks_against(scan: Scan, facets: Facets, *, hint: np.ndarray, found: np.ndarray) -> bool:
    """Whether a format's up is clearly not the recording's: tools write its layout with other worlds in it."""
    few = facets.thinned(_SCORED_FACETS)
    clearly = up_score(scan, few, found) >= _SURE_SCORE
    if clearly:
        angle_deg = np.degrees(np.arccos(np.clip(found @ hint, -1, 1)))
        logger.warning("%s: up is %.0f degrees off what the %s layout defines", scan.path, angle_deg, scan.reader)
    return clearly


def turning_axis(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The axis about which the cameras mostly turned, both ways: (3,) and (3,), unit length.

    A person who films turns about the vertical and keeps the phone's tilt, whatever that tilt is. So up, seen from the
    camera, stays where it is: it is the direction u for which the mean of `camera_from_world @ u` is longest.
    """
    mean = np.mean([frame.camera.world_from_camera[:3, :3] for frame in scan.frames], axis=0)
    axis = np.linalg.svd(mean)[0][:, 0]
    return axis, -axis


def level_up(facets: Facets, up: np.ndarray) -> np.ndarray:
    """`up`, (3,), moved onto the horizontals near it: mean normal by area within ever narrower cones, both ways."""
    for cone_deg in (*_CONES_DEG, *(4.0,) * 8):
        cosine = facets.normals @ up
        near = np.abs(cosine) > np.cos(np.radians(cone_deg))
        weights = facets.areas[near] * np.sign(cosine[near])
        if weights @ cosine[near] < 0.02 * facets.areas.sum():
            return up  # no horizontals to speak of: better the start than noise
        total = weights @ facets.normals[near]
        up = total / np.linalg.norm(total)
    return up


def flat_up(facets: Facets, up: np.ndarray) -> np.ndarray:
    """`up`, (3,), moved to where floor and table tops, each about its own height, are flattest together.

    A plane metres wide tells its direction better than the normals of its rough pieces do. Where level surface is too
    narrow for that, or would turn `up` by over 3 degrees, it stays.
    """
    for _ in range(4):
        level = facets.where(facets.normals @ up > np.cos(np.radians(20.0)))
        spread = np.zeros((3, 3))
        for height in levels_along(facets, up)[0]:
            near = np.abs(level.centers @ up - height) < 0.04
            if level.areas[near].sum() > 0:
                offset = level.centers[near] - np.average(level.centers[near], axis=0, weights=level.areas[near])
                spread += (offset * level.areas[near, None]).T @ offset
        (thin, narrow, _), axes = np.linalg.eigh(spread)
        flattest = axes[:, 0] * np.sign(axes[:, 0] @ up)
        if narrow <= 20 * thin or flattest @ up < np.cos(np.radians(3.0)):
            return up
        up = flattest
    return up


def up_score(scan: Scan, facets: Facets, up: np.ndarray) -> float:
    """How much speaks for `up`, (3,): a sum of clues, each worth at most about two."""
    return _filming_score(scan, up) + _surface_score(scan.centers() @ up, facets, up)


def _filming_score(scan: Scan, up: np.ndarray) -> float:
    rotations = np.array([frame.camera.world_from_camera[:3, :3] for frame in scan.frames])
    up_in_camera = np.einsum("nij,i->nj", rotations, up)
    steady = np.linalg.norm(up_in_camera.mean(axis=0))
    looks_down = -up_in_camera[:, 2].mean()
    image_up = -up_in_camera[:, 1].mean()
    drift_m = np.std(scan.centers() @ up)
    score = -min((1 - steady) / 0.1, 2.5)
    score += 2 * float(np.clip(looks_down / 0.25, -1, 1)) - max(0.0, looks_down - 0.75) * 10
    score += image_up
    return score - min((drift_m / 0.3) ** 2, 1.5)


def _surface_score(camera_heights: np.ndarray, facets: Facets, up: np.ndarray) -> float:
    cosine = facets.normals @ up
    near_deg = np.cos(np.radians(15.0))
    up_area, down_area = facets.areas[cosine > near_deg].sum(), facets.areas[cosine < -near_deg].sum()
    score = 2 * (up_area - down_area) / max(up_area + down_area, 1e-9)
    score += min((up_area + down_area) / (0.1 * facets.areas.sum()), 1.0)
    levels = levels_along(facets, up)[0]
    heights = facets.centers @ up
    if not len(levels):
        return score - 2
    above = camera_heights[:, None] - levels
    score += 2 * float(((above > 0.7) & (above < 2.3)).any(axis=1).mean()) - 1
    beneath = facets.areas[heights < levels[0] - 0.15].sum() / facets.areas.sum()
    return score - min(6 * beneath, 1.5)


def _facing_modes(
    facets: Facets, *, cone_deg: float = 10.0, apart_deg: float = 25.0, count: int = 8
) -> list[np.ndarray]:
    """The axes that most of the surface faces or turns its back to, each both ways."""
    directions = _half_sphere(600)
    within = np.abs(facets.normals.astype(np.float32) @ directions.T.astype(np.float32)) > np.cos(np.radians(cone_deg))
    weights = facets.areas @ within
    modes: list[np.ndarray] = []
    for _ in range(count):
        best = int(np.argmax(weights))
        if weights[best] <= 0:
            break
        modes += [directions[best], -directions[best]]
        weights[np.abs(directions @ directions[best]) > np.cos(np.radians(apart_deg))] = 0
    return modes


def _half_sphere(count: int) -> np.ndarray:
    """(count, 3) unit directions spread evenly, one of each opposite pair: a Fibonacci lattice."""
    height = (np.arange(count) + 0.5) / count
    angle = np.arange(count) * np.pi * (3 - 5**0.5)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
