"""Many captures in one command: side by side, one bad one among them, and what is there already."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bev.errors import UserError
from bev.surface import save_surface
from bev.synthetic import film, synthetic_room, write_seven_scenes
from gpt4scene.cli.main import main
from gpt4scene.scene.prepare_many import prepare_many
from gpt4scene.scene.scene import load_scene

FEW = ("--frames", "2", "--bev-size", "256", "--no-align")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms with a mesh and the objects of each beside them, and a folder that holds no capture."""
    folder = tmp_path_factory.mktemp("captures")
    for seed in (3, 4):
        walk = film(synthetic_room(seed), frames=4, width=320, height=240)
        write_seven_scenes(walk, folder / f"room{seed}")
        save_surface(walk.surface, folder / f"room{seed}.ply")
        np.save(folder / f"room{seed}.npy", walk.room.vertex_ids)
    (folder / "broken").mkdir()
    return folder


def _paths(captures: Path) -> list[str]:
    return [str(captures / name) for name in ("room3", "broken", "room4")]


def _options(captures: Path, out: Path) -> list[str]:
    return ["--out", str(out), *FEW, "--surface", f"{captures}/{{name}}.ply", "--proposals", "{capture}.npy"]


def _stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_bad_capture_stops_no_other(captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scenes"
    command = ["prepare", *_paths(captures), *_options(captures, out), "--jobs", "2"]
    with pytest.raises(SystemExit) as end:
        main(command)
    said = capsys.readouterr()
    assert end.value.code == 1
    assert "2 of 3 scenes are in" in said.out
    assert "broken: failed: " in said.out
    assert "1 of 3 captures failed" in said.err and f"  broken: {captures / 'broken'}" in said.err
    assert not (out / "broken" / "scene.json").exists()
    for seed in (3, 4):
        scene = load_scene(out / f"room{seed}")
        true = np.load(captures / f"room{seed}.npy")
        assert {i.id for i in scene.instances} == set(np.unique(true[true >= 0]).tolist())
        assert scene.name == f"room{seed}"
    before = _stamps(out / "room3")
    with pytest.raises(SystemExit):
        main(command)
    assert _stamps(out / "room3") == before


def test_without_a_bad_one_the_exit_code_is_0(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = _paths(captures)[::2]
    assert main(["prepare", *paths, *_options(captures, tmp_path / "scenes"), "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "[2/2] room4: " in said.out and "failed" not in said.out and said.err == ""
    document = json.loads((tmp_path / "scenes" / "room4" / "scene.json").read_text())
    assert document["run"]["arguments"]["frames"] == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"known_object": "3=0.7"}, "--known-object: means an object of one scene"),
        ({"proposals": Path("masks.npy")}, "--proposals masks.npy: is one file for 2 captures; write {name}"),
    ],
)
def test_what_is_of_one_capture_is_refused_for_several(options: dict, fault: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepare_many([tmp_path / "a", tmp_path / "b"], tmp_path / "out", options=options)
    assert str(caught.value).startswith(fault)


def test_a_worker_may_stand_elsewhere(captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(function: Callable, items: list, **_: Any) -> list:
        (tmp_path / "far").mkdir()
        os.chdir(tmp_path / "far")
        return [function(item) for item in items]

    monkeypatch.chdir(captures)
    monkeypatch.setattr("gpt4scene.scene.prepare_many.run_each", elsewhere)
    options = {"frames": 2, "bev_size": 256, "align": False, "surface": Path("{name}.ply")}
    out = Path(os.path.relpath(tmp_path / "scenes"))
    prepare_many([Path("room3")], out, options=options)
    scene = load_scene(tmp_path / "scenes" / "room3")
    assert scene.source.path == "room3"
    assert not list((tmp_path / "far").iterdir())


def test_scenes_need_names_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has the name kitchen too"):
        prepare_many([tmp_path / "a" / "kitchen", tmp_path / "b" / "kitchen.mp4"], tmp_path / "out", options={})


def test_the_folder_of_scenes_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_text("{}")
    with pytest.raises(UserError, match="is a scene folder itself"):
        prepare_many([tmp_path / "a", tmp_path / "b"], tmp_path, options={})


def test_jobs_are_for_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tmp_path), "--jobs", "2"]) == 2
    assert capsys.readouterr().err == "gpt4scene: --jobs: is for several captures; there is one\n"
    assert main(["prepare"]) == 2
    assert "PATH is missing: give a film" in capsys.readouterr().err
