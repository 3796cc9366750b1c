"""A scene as a model is shown it: the right images in order, the same prefix for all tasks, nothing drawn twice."""

import json
import logging
import re
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.prompting import prompts, shown
from gpt4scene.prompting.presets import PRESETS, Preset, choose_frames
from gpt4scene.prompting.shown import Shown, dropped_ids, show
from gpt4scene.scene.composite import compose_images
from gpt4scene.scene.scene import Scene, load_scene
from gpt4scene.vlm.protocol import ViewSize

SIZE = ViewSize(224, 168, 28)
GRID = Preset("grid", "grid", 3, "all three in one")
FEW = Preset("few", "separate", 2, "two of three")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return box_scene()


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    scene.save(tmp_path / "room")
    return tmp_path / "room"


def _pixels(shown_scene: Shown) -> list[np.ndarray]:
    decoded = [cv2.imdecode(np.frombuffer(image.read(), np.uint8), cv2.IMREAD_COLOR) for image in shown_scene.images]
    assert all(image is not None for image in decoded)
    return [cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2RGB) for image in decoded]


def _names(shown_scene: Shown) -> list[str]:
    return [Path(image.path).name for image in shown_scene.images]


@pytest.mark.parametrize("preset", [PRESETS["default"], GRID])
def test_the_images_are_those_of_the_scenes_views(scene: Scene, preset: Preset) -> None:
    made = show(scene, size=SIZE, preset=preset)
    expected = compose_images(scene.views(224, 168, 28), preset.layout)
    assert [image.shape for image in _pixels(made)] == [image.shape for image in expected]
    assert made.sizes == tuple((image.shape[1], image.shape[0]) for image in expected)
    for image, truth in zip(_pixels(made), expected, strict=True):
        assert np.abs(image.astype(int) - truth).mean() < 2  # another frame, or none of the marks, differs by far more


def test_the_digits_survive_the_file(scene: Scene) -> None:
    views = scene.views(224, 168, 28)
    drawn = _pixels(show(scene, size=SIZE))[1].astype(int)
    boxes = np.concatenate(
        [
            np.abs(drawn - views.frames[0])[int(y0) : int(y1), int(x0) : int(x1)].reshape(-1)
            for x0, y0, x1, y1 in (marker.label_box for marker in views.frame_markers[0])
        ]
    )
    assert boxes.mean() < 4  # 10 with the colours at half resolution


@pytest.mark.parametrize("longest_px", [500, 300])
def test_a_grid_stays_within_what_the_model_takes_without_scaling_it_down(scene: Scene, longest_px: int) -> None:
    free = show(scene, size=SIZE, preset=GRID)
    held = show(scene, size=replace(SIZE, longest_px=longest_px), preset=GRID)
    assert max(free.sizes[0]) > longest_px >= max(held.sizes[0]) > longest_px - 3 * SIZE.multiple_of
    assert held.sizes[0] == _pixels(held)[0].shape[1::-1]
    assert (held.sizes[1], held.bev_metres) == (free.sizes[1], free.bev_metres)  # the grid alone gets smaller
    assert held.ids == free.ids
    assert show(scene, size=replace(SIZE, longest_px=longest_px)).sizes == show(scene, size=SIZE).sizes


def test_images_come_in_order_and_the_birds_eye_view_is_looked_at_closely(scene: Scene) -> None:
    separate = show(scene, size=SIZE, frame_detail="low")
    assert _names(separate) == ["bev.jpg", "000120.jpg", "000130.jpg", "000140.jpg"]
    assert [image.detail for image in separate.images] == ["high", "low", "low", "low"]
    grid = show(scene, size=SIZE, preset=GRID, frame_detail="low")
    assert _names(grid) == ["grid.jpg", "bev.jpg"]
    assert [image.detail for image in grid.images] == ["high", "high"]
    assert separate.frames == grid.frames == (120, 130, 140)


@pytest.mark.parametrize("preset", [PRESETS["default"], GRID])
def test_what_is_switched_off_is_neither_shown_nor_told(scene: Scene, preset: Preset) -> None:
    without_bev = show(scene, size=SIZE, preset=preset, bev=False)
    assert "bev.jpg" not in _names(without_bev) and len(without_bev.images) == (1 if preset == GRID else 3)
    assert not re.search(r"bird|above|\d m\b", without_bev.system_prompt)
    assert without_bev.bev_metres is None and without_bev.ids
    without_marks = show(scene, size=SIZE, preset=preset, marks=False)
    assert without_marks.ids == () and not without_marks.has_marks
    assert not re.search(r"number|<OBJ", without_marks.system_prompt)
    plain = compose_images(scene.views(224, 168, 28, marks=False), preset.layout)
    for image, truth in zip(_pixels(without_marks), plain, strict=True):
        assert np.abs(image.astype(int) - truth).max() < 60


def test_the_ids_are_those_on_the_images(scene: Scene) -> None:
    views = scene.views(224, 168, 28)
    on_bev = {marker.id for marker in views.bev_markers}
    on_frames = {marker.id for markers in views.frame_markers for marker in markers}
    assert show(scene, size=SIZE).ids == tuple(sorted(on_bev | on_frames))
    hidden = replace(scene, frames=tuple(replace(frame, markers=()) for frame in scene.frames))
    assert show(hidden, size=SIZE, bev=False).ids == ()


def test_a_share_of_the_marks_is_dropped_on_all_images_alike(scene: Scene) -> None:
    everything = show(scene, size=SIZE)
    dropped = dropped_ids(scene, scene.frames, 0.4, 3)
    assert len(dropped) == 2
    made = show(scene, size=SIZE, drop_marks_share=0.4, seed=3)
    assert set(made.ids) == set(everything.ids) - dropped
    expected = compose_images(scene.views(224, 168, 28, drop_marks=dropped))
    for image, truth in zip(_pixels(made), expected, strict=True):
        assert np.abs(image.astype(int) - truth).mean() < 2
    assert dropped < dropped_ids(scene, scene.frames, 0.8, 3)
    assert len({dropped_ids(scene, scene.frames, 0.4, seed) for seed in range(20)}) > 4
    assert show(scene, size=SIZE, drop_marks_share=1.0).has_marks is False
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="must be 0 to 1"):
            show(scene, size=SIZE, drop_marks_share=share)


def test_everything_before_the_question_is_the_same_for_all_tasks(scene: Scene) -> None:
    made = show(scene, size=SIZE)
    texts = [
        prompts.question("Where is the cup?"),
        prompts.question("Where is the cup?", style="short"),
        prompts.situated_question("I stand at the table.", "What is behind me?"),
        prompts.grounding("a red box", expect="one"),
        prompts.grounding("a red box"),
        prompts.caption(3, shown_ids=made.ids),
        prompts.chat("Hello"),
    ]
    conversations = [made.conversation(text) for text in texts]
    conversations.append(conversations[-1].then("assistant", "Hello.").then("user", "Where is the cup?"))
    assert len({conversation.prefix_key() for conversation in conversations}) == 1
    assert [conversation.messages[1].parts[-1] for conversation in conversations[:-1]] == [
        shown.Text(text) for text in texts
    ]
    assert conversations[0].images == made.images
    assert [message.role for message in conversations[0].messages] == ["system", "user"]


def test_what_is_shown_otherwise_has_another_prefix(scene: Scene) -> None:
    keys = {
        show(each, size=size, **options).conversation("?").prefix_key()
        for each, size, options in [
            (scene, SIZE, {}),
            (box_scene(units="arbitrary"), SIZE, {}),
            (box_scene(frames=2), SIZE, {}),
            (scene, ViewSize(196, 140, 28), {}),
            (scene, SIZE, {"preset": GRID}),
            (scene, SIZE, {"bev": False}),
            (scene, SIZE, {"marks": False}),
            (scene, SIZE, {"drop_marks_share": 0.4}),
        ]
    }
    assert len(keys) == 8
    assert show(scene, size=SIZE).conversation("?").prefix_key() in keys


def _renumbered(scene: Scene, new: dict[int, int]) -> Scene:
    table = np.array([-1, *(new[id] for id in range(1, 6))])

    def view(old):
        ids = table[np.where(old.ids > 0, old.ids, 0)].astype(np.int32)
        markers = tuple(replace(marker, id=new[marker.id]) for marker in old.markers)
        return replace(old, object_pixels=ids, markers=markers)

    instances = tuple(sorted((replace(i, id=new[i.id]) for i in scene.instances), key=lambda instance: instance.id))
    vertex_ids = table[np.where(scene.vertex_ids > 0, scene.vertex_ids, 0)]
    frames = tuple(view(frame) for frame in scene.frames)
    return replace(scene, bev=view(scene.bev), frames=frames, instances=instances, vertex_ids=vertex_ids)


def test_other_numbers_change_the_numbers_and_nothing_else(scene: Scene) -> None:
    new = {1: 4, 2: 5, 3: 1, 4: 2, 5: 3}
    hidden = dropped_ids(scene, scene.frames, 0.4, 0)
    some = replace(scene, bev=replace(scene.bev, markers=[m for m in scene.bev.markers if m.id not in hidden]))
    some = replace(
        some, frames=tuple(replace(f, markers=[m for m in f.markers if m.id not in hidden]) for f in some.frames)
    )
    before, after = show(some, size=SIZE), show(_renumbered(some, new), size=SIZE)
    assert after.ids == tuple(sorted(new[id] for id in before.ids)) != before.ids
    assert after.system_prompt == before.system_prompt and _names(after) == _names(before)
    assert after.conversation("?").prefix_key() != before.conversation("?").prefix_key()


def test_only_a_metric_scene_is_told_in_metres(scene: Scene) -> None:
    camera = scene.views(224, 168, 28).bev_camera
    made = show(scene, size=SIZE)
    assert made.bev_metres is not None
    assert made.bev_metres == (
        pytest.approx(camera.width * camera.metres_per_pixel),
        pytest.approx(camera.height * camera.metres_per_pixel),
    )
    assert made.bev_metres[0] > 4.19 and made.bev_metres[1] > 3.19  # the room, and the margin that fills the image up
    assert f"{made.bev_metres[0]:.2f} m" in made.system_prompt
    for preset in (PRESETS["default"], GRID):
        arbitrary = show(box_scene(units="arbitrary"), size=SIZE, preset=preset)
        assert arbitrary.bev_metres is None
        texts = [arbitrary.system_prompt, prompts.question("How large is it?"), prompts.grounding("a box")]
        assert not re.search(r"\d\s*m\b|metre|meter|\bcm\b", " ".join(texts))


def test_a_scene_without_frames_is_its_birds_eye_view() -> None:
    scene = box_scene(frames=1)
    empty = replace(scene, frames=())
    made = show(empty, size=SIZE)
    assert _names(made) == ["bev.jpg"] and "frame" not in made.system_prompt
    with pytest.raises(UserError, match="nothing would be shown"):
        show(empty, size=SIZE, bev=False)


def test_frames_are_chosen_evenly_as_the_paper_does() -> None:
    scene = box_scene(frames=10)
    chosen = choose_frames(scene, PRESETS["paper"])
    # s_i = floor((i - 1) * N / n) + 1 for N = 10, n = 8
    assert [frame.index for frame in chosen] == [scene.frames[i].index for i in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert choose_frames(scene, PRESETS["default"]) == scene.frames
    made = show(scene, size=SIZE, preset=PRESETS["paper"])
    assert "2 rows of 4" in made.system_prompt and made.sizes[0] == (4 * 224, 2 * 168)


def test_a_preset_that_needs_more_frames_says_which_command_gives_them(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        show(scene, size=SIZE, preset=PRESETS["paper-32"], folder=tmp_path)
    assert f"gpt4scene prepare scans/küche --out {tmp_path} --frames 32" in str(error.value)
    assert "shows 32 frames, the scene has 3" in str(error.value)
    short = Preset("long", "separate", 41, "more than were filmed")
    with pytest.raises(UserError, match="its capture no more than 40; take the preset default"):
        show(scene, size=SIZE, preset=short)


def test_the_command_that_gives_more_frames_exists() -> None:
    from inspect import signature

    from gpt4scene.cli.prepare import prepare

    assert {"path", "out", "frames"} <= set(signature(prepare).parameters)


def test_a_scene_that_is_older_than_its_folder_leaves_nothing_to_the_newer_one(scene: Scene, folder: Path) -> None:
    older = load_scene(folder)
    bare = replace(scene, bev=replace(scene.bev, markers=()))
    bare.save(folder, overwrite=True)
    newer = load_scene(folder)
    show(older, size=SIZE, folder=folder)
    kept, drawn = show(newer, size=SIZE, folder=folder), show(newer, size=SIZE)
    assert [image.read() for image in kept.images] == [image.read() for image in drawn.images]
    assert len(list((folder / ".cache" / "shown").iterdir())) == 2


def test_the_presets_are_the_documented_ones() -> None:
    assert {name: (preset.layout, preset.frames) for name, preset in PRESETS.items()} == {
        "default": ("separate", None),
        "paper": ("grid", 8),
        "paper-32": ("separate", 32),
    }
    with pytest.raises(ValueError, match="1 or more"):
        Preset("none", "separate", 0, "")


def _never(*args: object, **kwargs: object) -> None:
    raise AssertionError("drawn again")


@pytest.mark.parametrize("preset", [PRESETS["default"], GRID])
def test_a_second_showing_draws_and_decodes_nothing(folder: Path, preset: Preset, monkeypatch) -> None:
    first = show(load_scene(folder), size=SIZE, preset=preset, folder=folder)
    in_memory = show(load_scene(folder), size=SIZE, preset=preset)
    assert [image.sha256() for image in first.images] == [image.sha256() for image in in_memory.images]
    assert replace(first, images=()) == replace(in_memory, images=())
    assert all(image.data is None and Path(image.path).is_relative_to(folder / ".cache") for image in first.images)
    monkeypatch.setattr(shown, "views_at", _never)
    for name in ("bev.png", "surface.ply", "frames/000120.jpg"):  # what only drawing would look at
        (folder / name).write_bytes(b"no picture")
    assert show(load_scene(folder), size=SIZE, preset=preset, folder=folder) == first


def test_images_are_shared_by_presets_that_show_the_same(folder: Path, monkeypatch) -> None:
    scene = load_scene(folder)
    first = show(scene, size=SIZE, folder=folder, frame_detail="high")
    monkeypatch.setattr(shown, "views_at", _never)
    again = show(scene, size=SIZE, folder=folder, preset=Preset("same", "separate", 3, ""), frame_detail="low")
    assert [image.path for image in again.images] == [image.path for image in first.images]
    assert [image.detail for image in again.images] == ["high", "low", "low", "low"]


def test_other_arguments_draw_other_images(folder: Path) -> None:
    scene = load_scene(folder)
    options = [
        {},
        {"preset": GRID},
        {"preset": FEW},
        {"bev": False},
        {"marks": False},
        {"drop_marks_share": 0.4},
        {"drop_marks_share": 0.8},
        {"size": ViewSize(196, 140, 28)},
        {"size": ViewSize(224, 168, 56)},
    ]
    made = [show(scene, folder=folder, **{"size": SIZE, **option}) for option in options]
    assert len({Path(each.images[0].path).parent for each in made}) == len(options)
    for each, option in zip(made, options, strict=True):
        fresh = show(scene, **{"size": SIZE, **option})
        assert [image.sha256() for image in each.images] == [image.sha256() for image in fresh.images]
        assert each.ids == fresh.ids and each.sizes == fresh.sizes and each.bev_metres == fresh.bev_metres


def test_a_scene_that_was_prepared_again_is_drawn_again(folder: Path) -> None:
    first = show(load_scene(folder), size=SIZE, folder=folder)
    box_scene(digit_height_px=12).save(folder, overwrite=True)  # as many frames of the same numbers
    second = show(load_scene(folder), size=SIZE, folder=folder)
    assert len(second.images) == 4 and Path(second.images[0].path).parent != Path(first.images[0].path).parent


@pytest.mark.parametrize("damage", ["missing", "shorter", "index", "keys", "half"])
def test_images_that_were_damaged_are_drawn_again(folder: Path, damage: str) -> None:
    scene = load_scene(folder)
    first = show(scene, size=SIZE, folder=folder)
    hashes = [image.sha256() for image in first.images]
    path = Path(first.images[2].path)
    index = path.with_name("index.json")
    if damage == "missing":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "index":
        index.unlink()
    elif damage == "keys":
        index.write_text(json.dumps({"images": []}))
    else:
        index.write_bytes(index.read_bytes()[:40])
    again = show(scene, size=SIZE, folder=folder)
    assert again == first
    assert [image.sha256() for image in again.images] == hashes


def test_a_folder_that_cannot_be_written_costs_a_line_and_no_answer(folder: Path, caplog) -> None:
    scene = load_scene(folder)
    # even root cannot make a folder below a file
    (folder / ".cache" / "shown").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        made = show(scene, size=SIZE, folder=folder)
    assert made == show(scene, size=SIZE)
    assert len(caplog.records) == 1 and "drawn anew every time" in caplog.text


def test_a_folder_without_a_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no scene\.json"):
        show(scene, size=SIZE, folder=tmp_path)


def test_two_that_draw_at_once_agree(folder: Path, monkeypatch) -> None:
    scene, made = load_scene(folder), []
    together, write = threading.Barrier(6, timeout=60), shown._write
    monkeypatch.setattr(shown, "_write", lambda *args: (together.wait(), write(*args)))
    threads = [threading.Thread(target=lambda: made.append(show(scene, size=SIZE, folder=folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6 and all(each == made[0] for each in made)
    place = Path(made[0].images[0].path).parent
    assert sorted(path.name for path in place.iterdir()) == sorted([*_names(made[0]), "index.json"])
