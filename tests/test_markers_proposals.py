"""Ready-made instances: three formats read, and faults named by file and line."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from bev.errors import UserError
from bev.surface import Surface
from markers.instance import vertex_instance_ids
from markers.proposals import load_proposals, proposal_files

COUNT = 12


@pytest.fixture
def surface() -> Surface:
    vertices = np.random.default_rng(0).uniform(0, 1, (COUNT, 3))
    up = np.tile([0, 0, 1.0], (COUNT, 1))
    return Surface(vertices, np.zeros((0, 3)), np.full((COUNT, 3), 90), up)


def _save_ids(path: Path, ids) -> Path:
    np.save(path, np.array(ids))
    return path


def _scannet(folder: Path, segments=None, groups=None, name="scene0000_00") -> Path:
    segments = [0, 0, 0, 5, 5, 5, 9, 9, 9, 7, 7, 7] if segments is None else segments
    default = [
        {"id": 0, "objectId": 0, "segments": [0, 5], "label": "kitchen table"},
        {"id": 1, "objectId": 1, "segments": [9], "label": "chair"},
    ]
    groups = default if groups is None else groups
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    aggregation = folder / f"{name}.aggregation.json"
    aggregation.write_text(json.dumps({"segGroups": groups}))
    return aggregation


def _mask3d(folder: Path, rows) -> Path:
    """rows: (vertices of the mask, label id, score)."""
    (folder / "pred_mask").mkdir()
    lines = []
    for number, (vertices, label, score) in enumerate(rows):
        mask = np.isin(np.arange(COUNT), vertices).astype(int)
        np.savetxt(folder / "pred_mask" / f"scene_{number:03d}.txt", mask, fmt="%d")
        lines.append(f"pred_mask/scene_{number:03d}.txt {label} {score}\n")
    path = folder / "scene.txt"
    path.write_text("".join(lines))
    return path


def test_ids_per_vertex_are_kept_as_they_are(tmp_path, surface):
    ids = [0, 0, 0, -1, 41, 41, 41, 3, 3, 3, -1, -100]
    found = load_proposals(_save_ids(tmp_path / "ids.npy", ids), surface)
    assert [i.id for i in found] == [0, 3, 41]
    assert np.array_equal(vertex_instance_ids(found, COUNT), np.maximum(ids, -1))
    assert {(i.source, i.label, i.label_share) for i in found} == {("proposals", "object", 0.0)}
    points = surface.vertices[:3]
    assert found[0].box.size[2] == pytest.approx(np.ptp(points[:, 2]), abs=1e-6)
    assert found[0].vertices.dtype == np.int32


@pytest.mark.parametrize("give", ["aggregation", "segments", "folder"])
def test_scannet_annotation_from_either_file_or_the_folder(tmp_path, surface, give):
    aggregation = _scannet(tmp_path)
    segments = next(tmp_path.glob("*.segs.json"))
    found = load_proposals({"aggregation": aggregation, "segments": segments, "folder": tmp_path}[give], surface)
    assert [(i.id, i.label, i.vertices.tolist()) for i in found] == [
        (0, "kitchen table", [0, 1, 2, 3, 4, 5]),
        (1, "chair", [6, 7, 8]),
    ]


def test_of_several_scenes_in_a_folder_the_named_one_is_read(tmp_path, surface):
    _scannet(tmp_path, name="scene0001_00", groups=[{"objectId": 5, "segments": [7], "label": "sofa"}])
    named = _scannet(tmp_path)
    assert [i.label for i in load_proposals(named, surface)] == ["kitchen table", "chair"]
    with pytest.raises(UserError, match="needs one"):
        load_proposals(tmp_path, surface)


def test_the_fine_mesh_segments_beside_the_coarse_ones_are_left_alone(tmp_path, surface):
    aggregation = _scannet(tmp_path)
    (tmp_path / "scene0000_00_vh_clean.segs.json").write_text(json.dumps({"segIndices": [0] * 99}))
    assert len(load_proposals(aggregation, surface)) == 2


@pytest.mark.parametrize("as_folder", [False, True])
def test_mask3d_overlap_goes_to_the_higher_score(tmp_path, surface, as_folder):
    path = _mask3d(tmp_path, [([0, 1, 2, 3], 5, 0.4), ([2, 3, 4], 2, 0.9), ([8, 9], 34, 0.7)])
    found = load_proposals(tmp_path if as_folder else path, surface)
    assert [(i.id, i.label, i.score, i.vertices.tolist()) for i in found] == [
        (0, "class 5", 0.4, [0, 1]),
        (1, "class 2", 0.9, [2, 3, 4]),
        (2, "class 34", 0.7, [8, 9]),
    ]


def test_mask3d_labels_and_least_score(tmp_path, surface):
    path = _mask3d(tmp_path, [([0, 1], 5, 0.2), ([2, 3], 5, 0.9), ([4], 6, 0.9)])
    found = load_proposals(path, surface, score_min=0.5, label_names={5: "chair"})
    # nobody named class 6
    assert [(i.id, i.label, i.label_share) for i in found] == [(1, "chair", 1.0), (2, "class 6", 0.0)]


def test_a_proposal_that_ends_empty_is_dropped_and_counted(tmp_path, surface, caplog):
    path = _mask3d(tmp_path, [([2, 3], 5, 0.2), ([2, 3, 4], 5, 0.9), ([], 6, 0.9)])
    with caplog.at_level(logging.WARNING):
        found = load_proposals(path, surface)
    assert [i.id for i in found] == [1]
    assert "2 of 3" in caplog.text


@pytest.mark.parametrize("kind", ["ids", "scannet", "mask3d"])
def test_ids_for_another_mesh_are_refused(tmp_path, surface, kind):
    if kind == "ids":
        path = culprit = _save_ids(tmp_path / "ids.npy", [0] * 7)
    elif kind == "scannet":
        path = _scannet(tmp_path, segments=[0] * 7)
        culprit = next(tmp_path.glob("*.segs.json"))
    else:
        path = _mask3d(tmp_path, [([0], 5, 0.2)])
        culprit = tmp_path / "pred_mask" / "scene_000.txt"
        culprit.write_text("1\n" * 7)
    with pytest.raises(UserError) as fault:
        load_proposals(path, surface)
    message = str(fault.value)
    assert str(culprit) in message and "7 entries" in message and f"{COUNT} vertices" in message
    assert "--surface" in message and "\n" not in message


@pytest.mark.parametrize(
    "content, wanted",
    [
        (np.zeros(COUNT), "float64"),
        (np.zeros((COUNT, 2), int), "shape"),
        (np.full(COUNT, 2**64 - 1, np.uint64), "unsigned"),
        (np.full(COUNT, -1), "no instance"),
        (np.array([{"a": 1}] * COUNT, dtype=object), "does not read"),
    ],
    ids=["floats", "two columns", "minus one as unsigned", "nothing", "pickled"],
)
def test_faulty_id_arrays(tmp_path, surface, content, wanted):
    np.save(tmp_path / "ids.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=wanted):
        load_proposals(tmp_path / "ids.npy", surface)


def test_a_text_file_called_npy(tmp_path, surface):
    (tmp_path / "ids.npy").write_text("0 1 2")
    with pytest.raises(UserError, match=r"ids\.npy"):
        load_proposals(tmp_path / "ids.npy", surface)


@pytest.mark.parametrize(
    "groups, wanted",
    [
        ([{"objectId": 0, "label": "chair"}], r"segGroups\[0\].*segments"),
        ([{"objectId": "x", "segments": [0], "label": "chair"}], r"segGroups\[0\]"),
        ([{"objectId": 0, "segments": [0], "label": "a"}] * 2, r"segGroups\[1\].*unique"),
        ([{"objectId": -2, "segments": [0], "label": "a"}], "negative"),
        ([7], r"segGroups\[0\]"),
        ("none", "segGroups"),
    ],
)
def test_faulty_aggregations(tmp_path, surface, groups, wanted):
    path = _scannet(tmp_path, groups=groups)
    with pytest.raises(UserError, match=wanted) as fault:
        load_proposals(path, surface)
    assert str(path) in str(fault.value)


def test_json_cut_off_in_the_middle(tmp_path, surface):
    path = _scannet(tmp_path)
    path.write_text('{"segGroups":\n[{"objectId": 0,')
    with pytest.raises(UserError, match=r"aggregation\.json: line 2"):
        load_proposals(path, surface)


def test_segments_without_their_partner(tmp_path, surface):
    path = _scannet(tmp_path)
    next(tmp_path.glob("*.segs.json")).unlink()
    with pytest.raises(UserError, match=r"segs\.json.*found none"):
        load_proposals(path, surface)


@pytest.mark.parametrize(
    "row, wanted",
    [
        ("pred_mask/scene_000.txt 5 high", "line 2.*not a number"),
        ("pred_mask/scene_000.txt chair 0.5", "line 2.*not a number"),
        ("pred_mask/scene_000.txt 5 nan", "line 2.*finite"),
        ("pred_mask/scene_000.txt 5", "line 2"),
        ("pred_mask/missing.txt 5 0.5", r"line 2.*missing\.txt"),
    ],
)
def test_faulty_mask3d_rows(tmp_path, surface, row, wanted):
    path = _mask3d(tmp_path, [([0, 1], 5, 0.2)])
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(UserError, match=wanted) as fault:
        load_proposals(path, surface)
    assert str(path) in str(fault.value)


def test_a_mask_that_is_not_zeros_and_ones(tmp_path, surface):
    path = _mask3d(tmp_path, [([0, 1], 5, 0.2)])
    (tmp_path / "pred_mask" / "scene_000.txt").write_text("0\n" * 4 + "0.5\n" + "1\n" * (COUNT - 5))
    with pytest.raises(UserError, match=r"scene_000\.txt: line 5"):
        load_proposals(path, surface)


@pytest.mark.parametrize("name", ["absent.npy", "absent"])
def test_what_is_not_there(tmp_path, surface, name):
    with pytest.raises(UserError, match="no such"):
        load_proposals(tmp_path / name, surface)


def test_an_unknown_kind_of_file(tmp_path, surface):
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(UserError, match="not a format"):
        load_proposals(tmp_path / "a.csv", surface)


def test_an_empty_folder(tmp_path, surface):
    with pytest.raises(UserError, match=r"needs one scene's \.txt"):
        load_proposals(tmp_path, surface)


@pytest.mark.parametrize("kind", ["ids", "scannet", "mask3d"])
def test_a_cropped_and_moved_surface_gets_its_own_vertices_and_upright_boxes(tmp_path, surface, kind):
    if kind == "ids":
        path = _save_ids(tmp_path / "ids.npy", [4, 4, 4, -1, -1, -1, 2, 2, 2, 7, 7, -1])
    elif kind == "scannet":
        groups = [{"objectId": id, "segments": [segment], "label": "a"} for id, segment in ((4, 0), (2, 9), (7, 7))]
        path = _scannet(tmp_path, groups=groups)
    else:
        path = _mask3d(tmp_path, [([0, 1, 2], 1, 0.5), ([6, 7, 8], 1, 0.5), ([9, 10], 1, 0.5)])
    keep = np.isin(np.arange(COUNT), [1, 2, 3, 7, 8])
    world_from_file = np.array([[0, 0, 1, 5], [1, 0, 0, 6], [0, 1, 0, 7], [0, 0, 0, 1.0]])
    room = surface.moved(world_from_file).cropped(keep)
    found = load_proposals(path, room)
    # the third object was cropped away
    assert sorted(i.vertices.tolist() for i in found) == [[0, 1], [3, 4]]
    assert all(i.vertices.dtype == np.int32 for i in found)
    first = next(i for i in found if i.vertices[0] == 0)
    points = surface.moved(world_from_file).vertices[[1, 2]]
    assert first.box.center[2] == pytest.approx(points[:, 2].mean(), abs=1e-6)
    assert first.box.size[2] == pytest.approx(np.ptp(points[:, 2]), abs=1e-6)


@pytest.mark.parametrize("count", [5, 11, 13])
def test_ids_that_do_not_count_the_files_rows_are_refused_for_a_cropped_surface_too(tmp_path, surface, count):
    room = surface.cropped(np.isin(np.arange(COUNT), [1, 2, 3, 7, 8]))
    with pytest.raises(UserError, match=f"has {count} entries, the mesh has {COUNT} vertices"):
        load_proposals(_save_ids(tmp_path / "ids.npy", [1] * count), room)


def test_all_files_that_are_read_are_named(tmp_path):
    ids = _save_ids(tmp_path / "ids.npy", [0])
    assert proposal_files(ids) == (ids,)
    aggregation = _scannet(tmp_path)
    segments = next(tmp_path.glob("*.segs.json"))
    assert set(proposal_files(aggregation)) == set(proposal_files(segments)) == {segments, aggregation}
    (tmp_path / "mask3d").mkdir()
    path = _mask3d(tmp_path / "mask3d", [([0, 1], 5, 0.2), ([4], 6, 0.9)])
    masks = tuple(sorted((path.parent / "pred_mask").glob("*.txt")))
    assert proposal_files(path) == proposal_files(path.parent) == (path, *masks)
    masks[1].unlink()
    with pytest.raises(UserError, match=r"line 2: its mask file .* is missing"):
        proposal_files(path)
