"""The picture of named objects: they alone in colour, in the frames that show them, each with its number."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.scene import highlight
from gpt4scene.scene.highlight import choose_frames, highlight_picture
from gpt4scene.scene.scene import Scene
from markers.draw import draw_markers, id_color
from markers.instance import Marker


@pytest.fixture(scope="module")
def scene() -> Scene:
    return box_scene(frame_size=(320, 240), frames=6)


def _colored(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: what is not grey."""
    low, high = picture.min(axis=2).astype(int), picture.max(axis=2).astype(int)
    return high - low > 12


def _grown(mask: np.ndarray, px: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((px, px), np.uint8)).astype(bool)


def _has(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=2).sum())


def test_only_the_named_objects_are_in_color(scene: Scene) -> None:
    tile = highlight._highlighted(scene.bev, [2, 3], scene.bev.camera.height, "")
    inside = np.isin(scene.bev.ids, [2, 3])
    plates = _grown((tile.image == 16).all(axis=2), 9)
    assert not _colored(tile.image)[~_grown(inside | plates, 9)].any()
    core = ~_grown(~inside, 25) & ~plates
    assert core.sum() > 500 and _colored(tile.image)[core].all()
    # its own colour, hardly tinted
    assert np.abs(tile.image[core].astype(int) - scene.bev.image[core]).max() < 40
    assert tile.ids == {2, 3}
    for id in (2, 3):
        assert _has(tile.image, id_color(id)) > 60  # the outline


def test_every_named_object_carries_its_number_and_no_other_does(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def draw(image: np.ndarray, marks: Sequence[Marker], *, digit_height_px: int) -> np.ndarray:
        drawn.append([mark.id for mark in marks])
        return draw_markers(image, marks, digit_height_px=digit_height_px)

    monkeypatch.setattr(highlight, "draw_markers", draw)
    highlight_picture(scene, [5, 1, 5])
    assert len(drawn) == 5  # the bird's-eye view and four frames
    assert drawn[0] == [1, 5] and {id for ids in drawn for id in ids} == {1, 5}


def test_a_tiny_object_is_outlined_and_numbered_too(scene: Scene) -> None:
    ids = np.full_like(scene.bev.ids, -1)
    ids[100, 200] = 4
    speck = replace(scene.bev, object_pixels=ids, markers=())
    tile = highlight._highlighted(speck, [4], speck.camera.height, "")
    assert tile.ids == {4} and (tile.image == 16).all(axis=2).sum() > 100
    assert len(highlight._outlines(ids == 4)) == 1


def _frame(scene: Scene, index: int, **visible_px: int):
    marks = tuple(Marker(int(name[1:]), (5.0, 5.0), (0.0, 0.0, 1.0, 1.0), px) for name, px in visible_px.items())
    return replace(scene.frames[0], index=index, markers=marks)


def test_frames_that_show_the_most_are_taken_and_stay_in_time_order(scene: Scene) -> None:
    frames = [
        _frame(scene, 10, o1=9000, o3=400),  # the whole of 1
        _frame(scene, 11, o1=8000),  # nearly as much, but nothing new
        _frame(scene, 12, o2=30, o3=400),  # the most that there is of the small one, though less than 11 has of 1
        _frame(scene, 13, o2=3),
        _frame(scene, 14, o3=500),  # nobody asked for 3
    ]
    chosen = [frame.index for frame in choose_frames(frames, [1, 2], 2)]
    assert chosen == [10, 12]
    # both frames show all of one object; the one that adds to what the first shows is taken
    pair = [_frame(scene, 30, o1=90, o2=90), _frame(scene, 31, o1=90), _frame(scene, 32, o3=40)]
    assert [frame.index for frame in choose_frames(pair, [1, 2, 3], 2)] == [30, 32]
    assert [frame.index for frame in choose_frames(frames, [1, 2], 9)] == [10, 11, 12, 13]
    assert choose_frames(frames, [7], 4) == [] and choose_frames(frames, [], 4) == []


def test_objects_that_are_not_to_be_seen_are_listed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    wrapped = highlight._wrapped
    monkeypatch.setattr(
        highlight, "_wrapped", lambda chips, width: said.extend(chip.text for chip in chips) or wrapped(chips, width)
    )
    blind = replace(
        scene,
        bev=replace(scene.bev, object_pixels=np.where(scene.bev.ids == 2, 2, -1).astype(np.int32), markers=()),
        frames=(),
    )
    picture = highlight_picture(blind, [4, 2, 5])
    assert said == ["2  stool", "not visible in these views: 4 box, 5 cup"]
    assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_without_names_the_birds_eye_view_stands_alone_and_unfaded(scene: Scene) -> None:
    picture = highlight_picture(scene, [])
    assert _colored(picture).sum() > 0.1 * picture[..., 0].size
    assert picture.shape[1] < highlight_picture(scene, [1]).shape[1]


def test_many_and_long_labels_fit_the_width(scene: Scene) -> None:
    long = tuple(replace(each, label="a wardrobe with mirrors " * 20) for each in scene.instances)
    picture = highlight_picture(replace(scene, instances=long), [each.id for each in long])
    few = highlight_picture(scene, [1])
    assert picture.shape[0] > few.shape[0]  # more lines
    right = picture[-60:, -20:]
    assert (right == 255).all()


def test_labels_in_other_languages_are_written_and_not_boxed() -> None:
    missing = np.asarray(highlight._font(22, "ä").getmask("\ue000"))
    for letter in "äéßžЖ":
        assert not np.array_equal(np.asarray(highlight._font(22, letter).getmask(letter)), missing)


def test_an_id_that_the_scene_does_not_hold(scene: Scene) -> None:
    with pytest.raises(UserError, match="no object has the number 99"):
        highlight_picture(scene, [1, 99])
