"""From what frames say of cells to objects, on sheets where every frame's word is written by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from small_room import box_faces

from bev.surface import Surface
from markers.cells import Cells, surface_cells
from markers.consensus import consensus_objects, rejoin
from markers.evidence import Evidence, gather
from markers.growth import BACKGROUND, OPEN, REACH_M, grown
from markers.layers import DEPTH_MAX_PX
from markers.lifting import Sighting
from markers.votes import find_support, settle, vote_on_label

FAR = 255


def _sheet(length_m: float = 1.0) -> Cells:
    """A level strip 20 cm wide along x, of cells of 2 cm."""
    vertices, faces = box_faces((length_m / 2, 0.1, -0.5), (length_m, 0.2, 1.0), 0.02, sides=((2, 1),))
    up = np.tile([0.0, 0.0, 1.0], (len(vertices), 1))
    return surface_cells(Surface(vertices, faces, np.zeros_like(vertices), up), 0.02)


def _sight(
    frame: int,
    cells: Cells,
    masks: Sequence[tuple[float, float]],
    *,
    view: tuple[float, float] = (0.0, 9.0),
    labels: Sequence[str] | None = None,
    confidence: float = 0.9,
    same_as: Sequence[int] | None = None,
) -> Sighting:
    """A frame that sees the strip between two places along x, with masks between others, deep inside everywhere."""
    x = cells.points[:, 0]
    seen = np.flatnonzero((x >= view[0]) & (x <= view[1])).astype(np.int32)
    rows = np.full(len(seen), -1, np.int32)
    for row, (low, high) in enumerate(masks):
        rows[(x[seen] >= low) & (x[seen] <= high)] = row
    count = len(masks)
    return Sighting(
        frame=frame,
        cells=seen,
        rows=rows,
        depth_px=np.where(rows >= 0, DEPTH_MAX_PX, 0).astype(np.uint8),
        edge_px=np.full(len(seen), FAR, np.uint8),
        thickness_px=np.full(count, DEPTH_MAX_PX, np.uint8),
        same_as=np.arange(count) if same_as is None else np.array(same_as),
        labels=tuple(labels or ["thing"] * count),
        confidence=np.full(count, confidence),
    )


def _along(cells: Cells, objects: np.ndarray) -> list[tuple[float, float]]:
    """Where along x each object begins and ends, in that order."""
    x = cells.points[:, 0]
    return sorted(
        (round(float(x[objects == n].min()), 2), round(float(x[objects == n].max()), 2))
        for n in range(int(objects.max(initial=-1)) + 1)
    )


def _found(cells: Cells, sightings: Sequence[Sighting], **options: int) -> list[tuple[float, float]]:
    evidence = gather(sightings, len(cells.points))
    return _along(cells, consensus_objects(evidence, cells, **options))


# --- evidence ---


def test_evidence_says_which_mask_holds_what_each_frame_sees():
    cells = _sheet()
    sightings = [
        _sight(4, cells, [(0.0, 0.3), (0.5, 0.7)], labels=["a", "b"]),
        _sight(9, cells, [(0.0, 0.3)], view=(0.1, 0.6), labels=[""]),
    ]
    evidence = gather(sightings, len(cells.points))
    x = cells.points[:, 0]
    assert evidence.frames.tolist() == [4, 9] and evidence.frame_rows.tolist() == [0, 0, 1]
    assert evidence.bleed_px == 0
    expected = [x <= 0.3, (x >= 0.5) & (x <= 0.7), (x >= 0.1) & (x <= 0.3)]
    assert np.array_equal(evidence.masks.toarray() > 0, expected)
    assert np.array_equal(evidence.seen.toarray() > 0, [x >= 0, (x >= 0.1) & (x <= 0.6)])
    assert evidence.votes == ((("a", 0.9),), (("b", 0.9),), ())
    seen, core = evidence.cores[1]
    assert set(core[x[seen] <= 0.3].tolist()) == {2} and set(core[x[seen] > 0.31].tolist()) == {-1}


def test_a_mask_that_stands_for_others_has_their_votes():
    cells = _sheet()
    sight = _sight(0, cells, [(0.0, 0.3), (2.0, 2.0)], labels=["stool", "chair"], same_as=[0, 0])
    sight = replace(sight, confidence=np.array([0.5, 0.8]))
    evidence = gather([sight], len(cells.points))
    assert evidence.votes == ((("chair", 0.8), ("stool", 0.5)), ())
    assert evidence.confidence.tolist() == [0.8, 0.0]


def _bled(cells: Cells, bleed_px: int, depths: Callable[[int], int] = lambda depth: depth) -> list[Sighting]:
    """Masks whose outermost pixels are elsewhere in every frame, and within are always on the left half."""
    x, sightings = cells.points[:, 0], []
    for frame in range(12):
        sight = _sight(frame, cells, [(0.0, 0.5)])
        rows, depth = sight.rows.copy(), sight.depth_px.copy()
        inside = np.flatnonzero(rows >= 0)
        depth[inside] = [depths(max(bleed_px + 1 + k % (DEPTH_MAX_PX - bleed_px), 1)) for k in range(len(inside))]
        behind = np.flatnonzero((x > 0.52 + 0.035 * frame) & (x < 0.555 + 0.035 * frame))
        if bleed_px:
            rows[behind] = 0
            depth[behind] = [depths(1 + k % bleed_px) for k in range(len(behind))]
        sightings.append(replace(sight, rows=rows, depth_px=depth))
    return sightings


@pytest.mark.parametrize("bleed_px", [0, 3, 9])
def test_how_far_masks_bleed_is_measured(bleed_px: int):
    cells = _sheet()
    assert gather(_bled(cells, bleed_px), len(cells.points)).bleed_px == bleed_px


@pytest.mark.parametrize("bleed_px", [0, 4, 8])
def test_bleeding_is_measured_in_narrow_images_too(bleed_px: int):
    """In an image 320 wide every depth is even: that depth 1 does not occur is no sign of a clean edge."""
    cells = _sheet()
    sightings = _bled(cells, bleed_px, lambda depth: min(depth + depth % 2, DEPTH_MAX_PX))
    assert gather(sightings, len(cells.points)).bleed_px in (bleed_px, bleed_px + 1)


def test_what_bleeds_says_nothing():
    cells = _sheet()
    evidence = gather(_bled(cells, 9), len(cells.points))
    assert cells.points[evidence.masks.indices, 0].max() <= 0.5 + 1e-6


def test_nothing_is_clear_just_behind_an_edge():
    cells = _sheet()
    sight = _sight(0, cells, [(0.0, 0.5)])
    near = cells.points[:, 0] < 0.1
    hidden = replace(sight, edge_px=np.where(near, 3, FAR).astype(np.uint8))
    evidence = gather([hidden] * 3, len(cells.points))
    assert not evidence.seen.toarray()[:, near].any() and not evidence.masks.toarray()[:, near].any()
    assert evidence.seen.toarray()[:, ~near].all()


def test_no_sightings_are_no_evidence():
    cells = _sheet()
    evidence = gather([], len(cells.points))
    assert (evidence.masks.shape[0], evidence.seen.shape[0], evidence.votes) == (0, 0, ())
    assert set(consensus_objects(evidence, cells).tolist()) == {-1}


# --- consensus ---


def test_masks_that_agree_are_one_object():
    cells = _sheet()
    assert _found(cells, [_sight(k, cells, [(0.0, 0.3), (0.5, 0.7)]) for k in range(4)]) == [(0, 0.3), (0.5, 0.7)]


@pytest.mark.parametrize(("joined", "expected"), [(1, 2), (3, 2), (7, 1), (9, 1)])
def test_most_frames_decide_whether_neighbours_are_one_object(joined: int, expected: int):
    cells = _sheet()
    sightings = [_sight(k, cells, [(0.1, 0.8)] if k < joined else [(0.1, 0.44), (0.45, 0.8)]) for k in range(10)]
    assert len(_found(cells, sightings)) == expected


def test_parts_that_some_frame_shows_together_are_one_object():
    """A pillar hides the middle: no mask reaches from one side to the other without a gap."""
    cells = _sheet()
    sightings = []
    for k in range(6):
        sight = _sight(k, cells, [(0.0, 0.8)])
        free = (cells.points[sight.cells, 0] < 0.3) | (cells.points[sight.cells, 0] > 0.5)
        sightings.append(
            replace(
                sight,
                cells=sight.cells[free],
                rows=sight.rows[free],
                depth_px=sight.depth_px[free],
                edge_px=sight.edge_px[free],
            )
        )
    assert _found(cells, sightings) == [(0, 0.8)]


def test_partial_views_make_one_object():
    """A walk along something long: each frame sees a third of it."""
    cells = _sheet(2.0)
    sightings = [_sight(k, cells, [(0.0, 1.8)], view=(0.15 * k - 0.3, 0.15 * k + 0.3)) for k in range(14)]
    assert _found(cells, sightings) == [(0, 1.8)]


def test_a_single_frame_links_nothing():
    cells = _sheet()
    assert _found(cells, [_sight(0, cells, [(0.0, 0.5)])]) == []
    assert _found(cells, [_sight(0, cells, [(0.0, 0.5)])], min_views=1) == [(0, 0.5)]


def test_the_order_of_sightings_makes_no_difference():
    cells = _sheet(2.0)
    rng = np.random.default_rng(1)
    sightings = []
    for k in range(15):
        ends = np.sort(rng.choice([0.0, 0.42, 0.9, 1.5, 1.9], 3, replace=False)) + rng.normal(0, 0.02, 3)
        low = float(rng.uniform(0, 0.8))
        sightings.append(_sight(k, cells, list(pairwise(ends.tolist())), view=(low, low + 1.2)))
    straight = gather(sightings, len(cells.points))
    objects, support = settle(straight, consensus_objects(straight, cells), cells)
    assert objects.max() >= 1
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(sightings))
        shuffled = gather([sightings[k] for k in order], len(cells.points))
        again, votes = settle(shuffled, consensus_objects(shuffled, cells), cells)
        assert np.array_equal(again, objects)
        assert sorted(votes.precision.round(5)) == sorted(support.precision.round(5))


# --- pieces that no frame sees together ---


def _two_ends(cells: Cells, gap_m: float) -> tuple[Evidence, np.ndarray]:
    """Two pieces, each seen by frames of its own."""
    left, right = (0.0, 0.5), (0.5 + gap_m, 1.2)
    sightings = [_sight(k, cells, [left], view=left) for k in range(4)]
    sightings += [_sight(4 + k, cells, [right], view=right) for k in range(4)]
    evidence = gather(sightings, len(cells.points))
    objects = consensus_objects(evidence, cells)
    assert len(_along(cells, objects)) == 2
    return evidence, objects


@pytest.mark.parametrize(
    ("gap_m", "labels", "count"),
    [(0.06, ["desk", "desk"], 1), (0.06, ["desk", "shelf"], 2), (0.06, ["", ""], 2), (0.4, ["desk", "desk"], 2)],
)
def test_near_pieces_of_one_label_are_joined(gap_m: float, labels: list[str], count: int):
    cells = _sheet(1.4)
    evidence, objects = _two_ends(cells, gap_m)
    joined = rejoin(evidence, objects, cells, labels)
    assert len(_along(cells, joined)) == count
    assert np.array_equal(joined >= 0, objects >= 0)


def test_pieces_that_a_frame_saw_apart_stay_apart():
    cells = _sheet(1.4)
    sightings = [_sight(k, cells, [(0.0, 0.5), (0.56, 1.2)]) for k in range(4)]
    evidence = gather(sightings, len(cells.points))
    objects = consensus_objects(evidence, cells)
    assert len(_along(cells, rejoin(evidence, objects, cells, ["chair", "chair"]))) == 2


# --- votes ---


def test_support_measures_masks_against_objects():
    cells = _sheet()
    x = cells.points[:, 0]
    objects = np.where(x <= 0.4, 0, np.where(x >= 0.6, 1, -1)).astype(np.int32)
    masks = [(0.0, 0.2), (0.0, 0.401), (0.3, 0.71), (0.45, 0.55)]
    support = find_support(gather([_sight(k, cells, [mask]) for k, mask in enumerate(masks)], len(x)), objects)
    assert support.object_of.tolist() == [0, 0, 1, -1] or support.object_of.tolist() == [0, 0, 0, -1]
    assert support.precision[:2].tolist() == [1.0, 1.0]
    assert support.recall[0] == pytest.approx(11 / 21, abs=0.03) and support.recall[1] == 1.0
    assert support.precision[2] == pytest.approx(0.5, abs=0.05)


def test_a_leak_is_outvoted():
    cells = _sheet()
    sightings = [_sight(k, cells, [(0.0, 0.3 if k > 2 else 0.9)]) for k in range(10)]
    evidence = gather(sightings, len(cells.points))
    x = cells.points[:, 0]
    start = np.where(x <= 0.3, 0, -1).astype(np.int32)
    settled, _ = settle(evidence, start, cells)
    assert _along(cells, settled) == [(0, 0.3)]
    leaking = np.where(x <= 0.9, 0, -1).astype(np.int32)  # even where the leak got in at first
    assert _along(cells, settle(evidence, leaking, cells)[0]) == [(0, 0.3)]


def test_what_most_masks_hold_is_won():
    cells = _sheet()
    evidence = gather([_sight(k, cells, [(0.0, 0.6)]) for k in range(8)], len(cells.points))
    start = np.where(cells.points[:, 0] <= 0.4, 0, -1).astype(np.int32)
    assert _along(cells, settle(evidence, start, cells)[0]) == [(0, 0.6)]


def test_votes_on_labels_count_by_confidence_and_fit():
    cells = _sheet()
    objects = np.where(cells.points[:, 0] <= 0.3, 0, -1).astype(np.int32)
    sightings = [_sight(k, cells, [(0.0, 0.3)], labels=["chair"], confidence=0.2) for k in range(3)]
    sightings += [_sight(3, cells, [(0.0, 0.3)], labels=["stool"], confidence=0.9)]
    evidence = gather(sightings, len(cells.points))
    assert vote_on_label(evidence, find_support(evidence, objects), 0) == ("stool", 0.6)
    # a mask of a third of it says a third as much
    sightings[3] = _sight(3, cells, [(0.0, 0.1)], labels=["stool"], confidence=0.9)
    evidence = gather(sightings, len(cells.points))
    label, share = vote_on_label(evidence, find_support(evidence, objects), 0)
    assert label == "chair" and share == pytest.approx(0.6 / (0.6 + 0.9 * 6 / 16), abs=0.02)


def test_a_tie_goes_to_the_first_name_and_no_vote_to_none():
    cells = _sheet()
    objects = np.where(cells.points[:, 0] <= 0.3, 0, -1).astype(np.int32)
    for names in (["b", "a"], ["a", "b"]):
        evidence = gather([_sight(k, cells, [(0.0, 0.3)], labels=[n]) for k, n in enumerate(names)], len(objects))
        assert vote_on_label(evidence, find_support(evidence, objects), 0) == ("a", 0.5)
    evidence = gather([_sight(k, cells, [(0.0, 0.3)], labels=[""]) for k in range(3)], len(objects))
    assert vote_on_label(evidence, find_support(evidence, objects), 0) == ("", 0.0)


# --- growth ---


def test_open_cells_go_to_what_is_nearer():
    cells = _sheet(0.4)
    x = cells.points[:, 0]
    result = grown(np.where(x < 0.15, 3, np.where(x > 0.211, BACKGROUND, OPEN)).astype(np.int32), cells)
    assert set(result[x < 0.175].tolist()) == {3} and set(result[x > 0.19].tolist()) == {BACKGROUND}


def test_growth_ends_at_its_reach():
    cells = _sheet(0.4)
    x = cells.points[:, 0]
    result = grown(np.where(x < 0.1, 0, OPEN).astype(np.int32), cells)
    edge = x[x < 0.1].max()
    assert set(result[x <= edge + REACH_M - 0.005].tolist()) == {0}
    assert set(result[x >= edge + REACH_M + 0.02].tolist()) == {OPEN}


def test_growth_does_not_go_around_a_crease():
    """A wall on a floor: what is open on either side goes to that side, though the other is as near."""
    floor, floor_faces = box_faces((0.2, 0.1, -0.5), (0.4, 0.2, 1.0), 0.01, sides=((2, 1),))
    wall, wall_faces = box_faces((-0.5, 0.1, 0.2), (1.0, 0.2, 0.4), 0.01, sides=((0, 1),))
    normals = np.repeat([[0, 0, 1.0], [1.0, 0, 0]], [len(floor), len(wall)], axis=0)
    vertices = np.concatenate([floor, wall])
    surface = Surface(vertices, np.concatenate([floor_faces, wall_faces + len(floor)]), vertices * 0, normals)
    cells = surface_cells(surface, 0.01)
    x, z = cells.points[:, 0], cells.points[:, 2]
    on_wall = cells.normals[:, 0] > 0.9
    flat = cells.normals[:, 2] > 0.9
    start = np.where(on_wall & (z > 0.015), 7, np.where(flat & (x > 0.045), BACKGROUND, OPEN)).astype(np.int32)
    result = grown(start, cells)
    assert set(result[flat & (x > 0.005)].tolist()) == {BACKGROUND}
    assert set(result[on_wall & (z > 0.012)].tolist()) == {7}


def test_decided_cells_stay_and_without_any_nothing_grows():
    cells = _sheet(0.2)
    assert set(grown(np.full(len(cells.points), OPEN, np.int32), cells).tolist()) == {OPEN}
    decided = np.arange(len(cells.points), dtype=np.int32) % 3 - 1
    assert np.array_equal(grown(decided, cells), decided)
