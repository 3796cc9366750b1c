"""Detections on disk: nothing is lost, one frame is read at a time, and damage is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bev.errors import UserError
from markers.detections import check_boxes, compact_masks, load_detections, save_detections

HEIGHT, WIDTH = 37, 53


@st.composite
def detections(draw: st.DrawFn) -> sv.Detections:
    count = draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = rng.uniform(-5, 30, (count, 2))
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    for mask in masks:
        kind = rng.integers(4)
        if kind == 0:
            mask[:] = rng.random(mask.shape) < 0.3
        elif kind == 1:
            mask[:] = True
        elif kind == 2:
            mask[rng.integers(HEIGHT), rng.integers(WIDTH)] = True
    optional = draw(st.booleans())
    return sv.Detections(
        xyxy=np.hstack([low, low + rng.uniform(0.5, 20, (count, 2))]).astype(draw(st.sampled_from(["f4", "f8"]))),
        mask=draw(st.sampled_from([masks, compact_masks(masks), None])),
        confidence=rng.random(count).astype(np.float32) if optional else None,
        class_id=rng.integers(-1, 80, count) if optional else None,
        tracker_id=rng.integers(0, 9, count) if draw(st.booleans()) else None,
        data={"class_name": np.array([f"тип {k}" for k in range(count)], dtype=str)} if optional else {},
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.dictionaries(st.integers(0, 10**7), detections(), max_size=3))
def test_what_was_saved_is_what_is_loaded(tmp_path: Path, frames: dict[int, sv.Detections]) -> None:
    save_detections(tmp_path / "kept", frames.items())
    loaded = load_detections(tmp_path / "kept")
    assert list(loaded) == sorted(frames) and len(loaded) == len(frames)
    for index, before in frames.items():
        after = loaded[index]
        for name in ("xyxy", "confidence", "class_id", "tracker_id"):
            left, right = getattr(before, name), getattr(after, name)
            assert (left is None) == (right is None)
            if left is not None:
                assert left.dtype == right.dtype and np.array_equal(left, right)
        assert sorted(before.data) == sorted(after.data)
        for name, values in before.data.items():
            assert np.asarray(values).tolist() == after.data[name].tolist()
        assert (before.mask is None) == (after.mask is None)
        if before.mask is not None:
            assert isinstance(after.mask, sv.CompactMask) and after.mask.shape == (len(before), HEIGHT, WIDTH)
            assert np.array_equal(np.asarray(before.mask), after.mask.to_dense())


def test_a_mask_that_leaves_its_box_is_not_cut() -> None:
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, 3:30, 4:40] = True
    assert np.array_equal(compact_masks(mask).to_dense(), mask)


def test_one_frame_is_read_at_a_time(tmp_path: Path) -> None:
    save_detections(tmp_path, [(k, _one_box()) for k in (7, 3)])
    loaded = load_detections(tmp_path)
    (tmp_path / "000003.npz").unlink()
    assert len(loaded[7]) == 1  # the other one was not touched
    with pytest.raises(UserError, match=r"000003\.npz.*missing"):
        loaded[3]
    with pytest.raises(KeyError):
        loaded[4]


def test_the_same_detections_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_detections(tmp_path / name, [(5, _one_box())])
    assert (tmp_path / "a" / "000005.npz").read_bytes() == (tmp_path / "b" / "000005.npz").read_bytes()


def test_what_was_not_finished_is_not_whole(tmp_path: Path) -> None:
    save_detections(tmp_path, [(1, _one_box())])

    def interrupted():
        yield 1, _one_box()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        save_detections(tmp_path, interrupted())
    with pytest.raises(UserError, match="no whole detections"):
        load_detections(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something"):
        save_detections(tmp_path, [(1, _one_box())])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        save_detections(tmp_path / "thesis.txt", [])


@pytest.mark.parametrize("text", [None, "[]", '{"schema": "other@1", "frames": [0]}'])
def test_arrays_of_someone_else_are_left_alone(tmp_path: Path, text: str | None) -> None:
    """Their names alone do not make frames of detections of them."""
    np.savez(tmp_path / "000000.npz", poses=np.eye(4))
    if text is not None:
        (tmp_path / "detections.json").write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="holds something"):
        save_detections(tmp_path, [(1, _one_box())])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_interrupted_is_written_again(tmp_path: Path) -> None:
    def interrupted():
        yield 5, _one_box()
        raise RuntimeError

    for _ in range(2):  # into a new folder, and into the half of one
        with pytest.raises(RuntimeError):
            save_detections(tmp_path / "d", interrupted())
    (tmp_path / "d" / ".half-written-000006.npz").write_bytes(b"PK")
    save_detections(tmp_path / "d", [(9, _one_box())])
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["000009.npz", "detections.json"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    save_detections(tmp_path, [(k, _one_box()) for k in range(4)])
    save_detections(tmp_path, [(9, _one_box())])
    assert list(load_detections(tmp_path)) == [9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000009.npz", "detections.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other@1", "frames": []}', '{"frames": [1]}', "\xff"])
def test_a_list_that_is_none_of_ours_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "detections.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"detections\.json"):
        load_detections(tmp_path)


def test_frames_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    (tmp_path / "detections.json").write_text(json.dumps({"schema": "gpt4scene/detections@1", "frames": ["../x"]}))
    with pytest.raises(UserError, match="whole numbers"):
        load_detections(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "bits"])
def test_a_damaged_frame_is_told(tmp_path: Path, damage: str) -> None:
    save_detections(tmp_path, [(1, _one_box())])
    path = tmp_path / "000001.npz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = bytes(255 - byte for byte in whole[60:middle])
    path.write_bytes(
        {"cut": whole[:middle], "empty": b"", "text": b"hello", "bits": whole[:60] + flipped + whole[middle:]}[damage]
    )
    with pytest.raises(UserError, match=r"000001\.npz.*damaged"):
        load_detections(tmp_path)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"mask_runs": np.array([1, 2], np.int32)},
        {"mask_boxes": np.array([[40, 2, 99, 6]], np.int32)},
        {"mask_run_counts": np.array([1], np.int32)},
        {"mask_shape": np.array([3, 3], np.int32)},
        {"confidence": np.zeros(4, np.float32)},
    ],
)
def test_numbers_that_do_not_fit_each_other_are_told(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    save_detections(tmp_path, [(1, _one_box())])
    path = tmp_path / "000001.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | change))
    with pytest.raises(UserError, match="damaged"):
        load_detections(tmp_path)[1]


def test_no_pickle_is_read(tmp_path: Path) -> None:
    save_detections(tmp_path, [(1, _one_box())])
    np.savez(tmp_path / "000001.npz", xyxy=np.array([[object()]], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        load_detections(tmp_path)[1]


def test_a_frame_that_comes_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="frame 1 comes twice"):
        save_detections(tmp_path, [(1, _one_box()), (1, _one_box())])


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([np.nan, 0, 5, 5], "is not finite"),
        ([0, 0, np.inf, 5], "is not finite"),
        ([5, 5, 5, 9], "is empty"),
        ([9, 5, 5, 9], "is empty"),
        ([-9, 5, -2, 9], "lies outside"),
        ([60, 5, 70, 9], "lies outside"),
    ],
)
def test_a_box_that_is_none_is_named(box: list[float], what: str) -> None:
    boxes = np.array([[1.0, 1, 4, 4], box])
    with pytest.raises(UserError, match=rf"frame 12: box 1 of 2 {what}"):
        check_boxes(boxes, 12, size=(WIDTH, HEIGHT))


def test_empty_boxes_are_kept_as_they_came(tmp_path: Path) -> None:
    boxes = np.array([[5.0, 5, 5, 9], [1, 2, 3, 4], [9, 7, 12, 7]])
    save_detections(tmp_path, [(3, sv.Detections(xyxy=boxes))])
    assert np.array_equal(load_detections(tmp_path)[3].xyxy, boxes)
    broken = _one_box()
    broken.xyxy[0, 0] = np.nan
    with pytest.raises(UserError, match="frame 4: box 0 of 1 is not finite"):
        save_detections(tmp_path, [(4, broken)])


def test_boxes_that_leave_their_image_a_little_are_boxes() -> None:
    check_boxes(np.array([[-3.0, -3, WIDTH + 2, HEIGHT + 9]]), 0, size=(WIDTH, HEIGHT))


def _one_box() -> sv.Detections:
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, 2:6, 40:45] = True
    mask[0, 3, 42] = False
    return sv.Detections(
        xyxy=np.array([[40.0, 2, 45, 6]]),
        mask=mask,
        confidence=np.array([0.5], np.float32),
        data={"class_name": np.array(["cup"])},
    )
