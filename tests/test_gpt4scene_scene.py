"""The scene folder: what is written comes back, what is wrong has a name, and what is not ours is left alone."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.scene.contents import SceneInstance
from gpt4scene.scene.scene import Scene, load_scene
from markers.instance import Marker


@pytest.fixture(scope="module")
def scene() -> Scene:
    return box_scene()


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    scene.save(tmp_path / "room")
    return tmp_path / "room"


def _edit(folder: Path, change) -> None:
    path = folder / "scene.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document = change(document) or document
    path.write_text(json.dumps(document), encoding="utf-8")


def test_what_is_saved_comes_back(scene: Scene, folder: Path) -> None:
    back = load_scene(folder)
    assert (back.name, back.source, back.units, back.run) == (scene.name, scene.source, scene.units, scene.run)
    np.testing.assert_array_equal(back.bev.image, scene.bev.image)
    assert back.bev.camera.metres_per_pixel_xy == scene.bev.camera.metres_per_pixel_xy
    for mine, theirs in zip(scene.all_views, back.all_views, strict=True):
        np.testing.assert_array_equal(theirs.ids, mine.ids)
        np.testing.assert_allclose(theirs.camera.world_from_camera, mine.camera.world_from_camera, atol=1e-6)
        assert [marker.id for marker in theirs.markers] == [marker.id for marker in mine.markers]
        points = np.array([[1.0, 1.0, 0.5], [3.0, 2.0, 0.1]])
        np.testing.assert_allclose(theirs.camera.project(points)[0], mine.camera.project(points)[0], atol=0.01)
    for mine, theirs in zip(scene.frames, back.frames, strict=True):
        assert (theirs.index, theirs.markers) == (mine.index, mine.markers)
        assert np.abs(theirs.image.astype(int) - mine.image).mean() < 2  # JPEG
    for name in ("indices", "timestamps_s", "world_from_camera"):
        np.testing.assert_allclose(getattr(back.trajectory, name), getattr(scene.trajectory, name), atol=1e-6)
    np.testing.assert_array_equal(back.vertex_ids, scene.vertex_ids)
    for name in ("vertices", "faces", "colors"):
        np.testing.assert_array_equal(getattr(back.surface, name), getattr(scene.surface, name))
    box = back.instance(3).box
    np.testing.assert_allclose([*box.center, *box.size, box.yaw], [2.9, 2.2, 0.5, 0.8, 0.7, 1.0, 0.0], atol=1e-6)


def test_an_unknown_number_says_which_there_are(scene: Scene) -> None:
    with pytest.raises(UserError, match=r"number 9 .*1 to 5"):
        scene.instance(9)


def test_equal_scenes_give_equal_bytes(scene: Scene, folder: Path, tmp_path: Path) -> None:
    box_scene().save(tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert {"surface.ply", "instances.npz", "report.html", "scene.json"} <= {str(path) for path in files}
    assert sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file())
    for path in files:
        assert (folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


def test_scene_json_keeps_to_the_contract(folder: Path) -> None:
    text = (folder / "scene.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert (
        " ".join(document)
        == "schema name source units world_from_source cut_height_m bev frames trajectory instances run"
    )
    assert document["schema"] == "gpt4scene/scene@1"
    assert " ".join(document["frames"][0]) == "index timestamp_s image marked width height K world_from_camera markers"
    assert " ".join(document["instances"][0]) == "id label label_share score source center size yaw frames points"
    assert list(document["bev"]["markers"][0]) == ["id", "uv", "label_box", "visible_px"]
    assert "Schränkchen" in text and "-0.0," not in text and "NaN" not in text
    for view in (document["bev"], *document["frames"]):
        assert (folder / view["image"]).is_file() and (folder / view["marked"]).is_file()
    assert document["frames"][0]["image"] == "frames/000120.jpg"
    with np.load(folder / "instances.npz") as arrays:
        assert arrays["vertex_ids"].dtype == np.int32 and arrays["vertex_ids"].ndim == 1
    assert not list(folder.rglob("*half-written*"))


def _set(*keys, to):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


def _drop(*keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("schema", to="gpt4scene/scene@2"), "schema is 'gpt4scene/scene@2'"),
        (_drop("schema"), "schema is missing"),
        (lambda document: [document], "it must be an object"),
        (_drop("bev", "width"), "bev.width is missing"),
        (_set("bev", "width", to=0), "bev.width must be above 0"),
        (_set("bev", "width", to=420.5), "bev.width must be a whole number"),
        (_set("bev", "metres_per_pixel", to=-1), "bev.metres_per_pixel must be above 0"),
        (_set("bev", "x_min", to=7.0), "bev.world_from_camera must look straight down"),
        (_set("bev", "markers", 0, "id", to=77), "bev.markers[0].id: 77 is not among instances"),
        (_set("bev", "markers", 0, "id", to=2), "bev.markers: 2 is marked twice"),
        (_set("frames", to={}), "frames must be a list"),
        (_set("frames", 1, "K", to=[[1, 0, 0], [0, 1, 0]]), "frames[1].K must be 3x3 finite numbers"),
        (_set("frames", 1, "K", to="wide"), "frames[1].K must be 3x3 finite numbers"),
        (_set("frames", 1, "K", 0, 0, to=-5), "focal lengths"),
        (_set("frames", 0, "world_from_camera", 0, 0, to=float("nan")), "frames[0].world_from_camera must be 4x4"),
        (_set("frames", 0, "world_from_camera", 0, 0, to=3), "frames[0].world_from_camera has axes"),
        (_set("frames", 0, "markers", 0, "uv", to=[900, 2]), "frames[0].markers[0].uv"),
        (_set("frames", 2, "index", to=120), "frames[2].index must be above the one before it"),
        (_set("frames", 2, "index", to=395), "frames[2].index: 395 is not in trajectory.indices"),
        (_set("frames", 0, "image", to="../../etc/passwd"), "frames[0].image must be a path within the folder"),
        (_set("frames", 0, "timestamp_s", to=True), "frames[0].timestamp_s must be a finite number"),
        (_set("trajectory", "timestamps_s", to=[1, 2]), "trajectory.timestamps_s must be 40 finite numbers"),
        (_set("trajectory", "indices", 12, to=121), "frames[0].index: 120 is not in trajectory.indices"),
        (_set("instances", 1, "id", to=1), "instances[1].id must be above the one before it"),
        (_set("instances", 4, "id", to=9), "id: 5 is not among instances"),
        (_set("instances", 4, "points", to=7), "5 says points 7, vertex_ids has 8"),
        (_set("instances", 0, "size", to=[1, -2, 3]), "instances[0].size must be 0 or more"),
        (_set("instances", 0, "yaw", to="north"), "instances[0].yaw must be a finite number"),
        (_set("instances", 0, "label", to=None), "instances[0].label must be text"),
        (_set("units", to="feet"), "units must be one of metre, arbitrary"),
        (_set("world_from_source", 0, 0, to=9), "world_from_source has axes"),
        (_set("run", "seconds", to=[1]), "run.seconds must be an object"),
    ],
)
def test_a_fault_in_scene_json_names_file_and_key(folder: Path, change, words: str) -> None:
    _edit(folder, change)
    with pytest.raises(UserError) as caught:
        load_scene(folder)
    message = str(caught.value)
    assert words in message and str(folder) in message and "\n" not in message
    assert "prepare the scene again" in message


def test_text_that_is_no_json(folder: Path) -> None:
    whole = (folder / "scene.json").read_bytes()
    (folder / "scene.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is not JSON"):
        load_scene(folder)
    (folder / "scene.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="is not UTF-8"):
        load_scene(folder)


@pytest.mark.parametrize(
    "name", ["bev.png", "bev_marked.png", "frames/000120.jpg", "marked/000140.jpg", "surface.ply", "instances.npz"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing"):
        load_scene(folder)


def test_no_scene_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_scene(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no scene\.json"):
        load_scene(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vertex_ids": np.zeros((2, 22), np.int32)}, "vertex_ids must have shape"),
        ({"vertex_ids": np.zeros(44)}, "vertex_ids must be int32"),
        ({"vertex_ids": np.full(44, 6, np.int32)}, "vertex_ids: 6 is not among instances"),
        ({"vertex_ids": np.full(44, -1, np.int32)}, "vertex_ids: holds no vertex of instance 1"),
        ({"vertex_ids": None}, "vertex_ids is missing"),
    ],
)
def test_a_fault_in_instances_is_named(folder: Path, change: dict, words: str) -> None:
    path = folder / "instances.npz"
    with np.load(path) as archive:
        arrays = {**archive, **change}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError) as caught:
        load_scene(folder)
    assert words in str(caught.value)


def test_maps_that_are_missing_are_cast_from_the_surface(scene: Scene, folder: Path) -> None:
    path = folder / "instances.npz"
    np.savez(path, vertex_ids=scene.vertex_ids)
    back = load_scene(folder)
    for mine, theirs in zip(scene.all_views, back.all_views, strict=True):
        assert theirs.ids.dtype == np.int32 and (theirs.ids == mine.ids).mean() > 0.999
        assert len(np.unique(mine.ids)) > 3
    # the bird's-eye view without what is cut off: only the stool and the box are less than 0.6 m high
    _edit(folder, _set("cut_height_m", to=0.6))
    assert np.unique(load_scene(folder).bev.ids).tolist() == [-1, 2, 4]
    (folder / "surface.ply").write_bytes(b"ply\n")
    with pytest.raises(UserError, match=r"surface\.ply"):
        _ = load_scene(folder).frames[0].ids


def test_an_archive_cut_short(folder: Path) -> None:
    path = folder / "instances.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"instances\.npz: is no \.npz archive"):
        load_scene(folder)


def test_pixels_that_do_not_decode_say_so_on_access(folder: Path) -> None:
    (folder / "frames/000130.jpg").write_bytes(b"no jpeg")
    (folder / "surface.ply").write_bytes(b"ply\n")
    scene = load_scene(folder)
    assert scene.frames[0].image.shape == (240, 320, 3)
    with pytest.raises(UserError, match=r"000130\.jpg: does not decode"):
        _ = scene.frames[1].image
    with pytest.raises(UserError, match=r"surface\.ply"):
        _ = scene.surface


def test_an_image_of_another_size_is_named(folder: Path) -> None:
    (folder / "frames/000130.jpg").write_bytes((folder / "frames/000120.jpg").read_bytes())
    _edit(folder, _set("frames", 1, "width", to=300))
    with pytest.raises(UserError, match=r"000130\.jpg.*300"):
        _ = load_scene(folder).frames[1].image
    with pytest.raises(UserError, match=r"ids_000130.*300"):
        _ = load_scene(folder).frames[1].ids


def test_a_folder_that_is_not_ours_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".cache").mkdir()
    with pytest.raises(UserError, match="not a scene"):
        scene.save(tmp_path, overwrite=True)
    (tmp_path / "scene.json").write_text('{"schema": "blender/scene@1"}')
    with pytest.raises(UserError, match="not a scene"):
        scene.save(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".cache", "scene.json", "thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        scene.save(tmp_path / "thesis.tex")


def test_a_scene_is_replaced_only_when_asked(scene: Scene, folder: Path) -> None:
    (folder / "frames/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        scene.save(folder)
    replace(scene, frames=scene.frames[1:2]).save(folder, overwrite=True)
    assert [frame.index for frame in load_scene(folder).frames] == [130]
    names = sorted(path.name for path in [*folder.glob("frames/*"), *folder.glob("marked/*")])
    assert names == ["000130.jpg", "000130.jpg", "notes.txt"]


def test_a_loaded_scene_can_replace_itself(scene: Scene, folder: Path) -> None:
    load_scene(folder).save(folder, overwrite=True)
    np.testing.assert_array_equal(load_scene(folder).frames[2].ids, scene.frames[2].ids)


@pytest.mark.parametrize("written", [0, 1, 4, 8, 9, 10, 11])
def test_a_full_disk_leaves_nothing_that_looks_whole(
    scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    write, left = Path.write_bytes, [written]

    def write_until_full(path: Path, data: bytes) -> int:
        if not left[0]:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        left[0] -= 1
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(UserError, match="the disk is full") as caught:
        scene.save(folder, overwrite=True)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not (folder / "scene.json").exists()
    assert not list(folder.rglob("*half-written*"))
    monkeypatch.undo()
    scene.save(folder)
    assert load_scene(folder).name == scene.name


def test_an_interrupted_first_save_can_be_taken_up(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gpt4scene.scene.folder.save_surface", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scene.save(tmp_path / "room")
    assert (tmp_path / "room/bev.png").exists()
    with pytest.raises(UserError, match=r"holds no scene\.json"):
        load_scene(tmp_path / "room")
    scene.save(tmp_path / "room")
    assert len(load_scene(tmp_path / "room").frames) == 3


def test_a_number_that_json_cannot_hold_is_not_written(scene: Scene, tmp_path: Path) -> None:
    bad = replace(scene.instances[1], score=float("nan"))
    broken = replace(scene, instances=(scene.instances[0], bad, *scene.instances[2:]))
    with pytest.raises(ValueError, match=r"instances\[1\]\.score is nan"):
        broken.save(tmp_path / "room")
    assert not (tmp_path / "room/scene.json").exists()


def test_a_scene_that_contradicts_itself_is_not_made(scene: Scene) -> None:
    with pytest.raises(ValueError, match="units"):
        replace(scene, units="feet")
    stranger = Marker(42, (3.0, 3.0), (0.0, 0.0, 9.0, 9.0), 10)
    with pytest.raises(ValueError, match="42 is not among instances"):
        replace(scene, bev=replace(scene.bev, markers=(stranger,)))
    with pytest.raises(ValueError, match=r"image must be \(320, 420, 3\)"):
        replace(scene.bev, pixels=scene.frames[0].image)
    with pytest.raises(ValueError, match="ids must be"):
        replace(scene.bev, object_pixels=scene.frames[0].ids)
    assert isinstance(scene.instances[0], SceneInstance)
