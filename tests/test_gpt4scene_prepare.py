"""Bringing a scene folder up to date: what changed is noticed, what is damaged is made again."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import gpt4scene
from bev.errors import UserError
from bev.readers import read_scan
from bev.surface import Surface, save_surface
from bev.synthetic import Film, film, synthetic_room, write_seven_scenes
from gpt4scene.scene import stored
from gpt4scene.scene.prepare import prepare
from gpt4scene.scene.stored import load_room, save_room


@pytest.fixture(scope="module")
def walk() -> Film:
    return film(synthetic_room(3), frames=6, width=320, height=240)


class Room:
    """A capture with its calibration one folder above, a mesh beside it, and Mask3D's instances."""

    def __init__(self, walk: Film, folder: Path):
        self.sequence = write_seven_scenes(walk, folder / "room" / "seq-01")
        self.calibration = folder / "room" / "camera-intrinsics-color.txt"
        (self.sequence / "camera-intrinsics-color.txt").rename(self.calibration)
        self.mesh = folder / "mesh.ply"
        save_surface(walk.surface, self.mesh)
        ids = walk.room.vertex_ids
        masks = [ids == id for id in np.unique(ids[ids >= 0])[:3]]
        (folder / "pred_mask").mkdir()
        for number, mask in enumerate(masks):
            np.savetxt(folder / "pred_mask" / f"{number}.txt", mask, fmt="%d")
        self.masks = folder / "pred_mask"
        self.proposals = folder / "room.txt"
        self.proposals.write_text("".join(f"pred_mask/{number}.txt {number} 0.9\n" for number in range(len(masks))))
        self.out = folder / "scene"

    def prepare(self, **arguments) -> gpt4scene.Scene:
        given = {"surface": self.mesh, "proposals": self.proposals, "frames": 2, "bev_size": 256, "align": False}
        return prepare(self.sequence, self.out, **(given | arguments))

    def stamps(self) -> dict[Path, int]:
        files = [file for file in self.out.glob("**/*") if file.is_file() and file.name != "lock"]
        return {file.relative_to(self.out): file.stat().st_mtime_ns for file in files}


@pytest.fixture
def room(walk: Film, tmp_path: Path) -> Room:
    made = Room(walk, tmp_path)
    made.prepare()
    return made


def _changed(before: dict[Path, int], after: dict[Path, int]) -> set[str]:
    return {path.as_posix() for path, stamp in after.items() if before.get(path) != stamp}


def test_nothing_is_done_again_where_nothing_changed(room: Room):
    before = room.stamps()
    room.prepare()
    assert room.stamps() == before


def test_a_mask_that_changed_in_its_middle_makes_other_instances_of_the_same_room(room: Room):
    before, scene = room.stamps(), room.prepare()
    mask = room.masks / "0.txt"
    values = mask.read_text().split()
    ones = [row for row, value in enumerate(values) if value == "1"]
    values[ones[len(ones) // 2]] = "0"
    mask.write_text("\n".join(values) + "\n")  # of the same size, with the same first and last lines
    again = room.prepare()
    assert (again.vertex_ids == 0).sum() == (scene.vertex_ids == 0).sum() - 1
    assert again.source.fingerprint != scene.source.fingerprint
    changed = _changed(before, room.stamps())
    assert "scene.json" in changed and not any(name.startswith((".cache/room", ".cache/bev")) for name in changed)


@pytest.mark.parametrize("part", ["segments", "aggregation"])
def test_scannets_partner_file_counts(walk: Film, room: Room, part: str):
    folder = room.mesh.parent
    segments, aggregation = folder / "scene.segs.json", folder / "scene.aggregation.json"
    segments.write_text(json.dumps({"segIndices": [0, 1, *[2] * (len(walk.surface.vertices) - 2)]}))
    groups = [{"objectId": id, "segments": [id], "label": "thing"} for id in range(3)]
    aggregation.write_text(json.dumps({"segGroups": groups}))
    named, changed = (segments, aggregation) if part == "aggregation" else (aggregation, segments)
    assert {instance.label for instance in room.prepare(proposals=named).instances} == {"thing"}
    before = room.stamps()
    text = changed.read_text()
    changed.write_text(text.replace("thing", "chair") if part == "aggregation" else text.replace("0, 1, 2", "0, 0, 2"))
    room.prepare(proposals=named)
    assert ".cache/instances/instances.json" in _changed(before, room.stamps())


def test_a_calibration_outside_the_folder_counts(room: Room):
    scene = room.prepare()
    K = np.loadtxt(room.calibration)
    K[0, 0] += 3
    np.savetxt(room.calibration, K)
    assert room.prepare().frames[0].camera.K[0, 0] == pytest.approx(scene.frames[0].camera.K[0, 0] + 3)


def test_a_file_of_intrinsics_counts(room: Room):
    given = room.mesh.with_name("K.txt")
    given.write_text(room.calibration.read_text())
    room.prepare(intrinsics=str(given))
    before = room.stamps()
    K = np.loadtxt(given)
    K[0, 0] += 3
    np.savetxt(given, K)
    room.prepare(intrinsics=str(given))
    assert {".cache/room/cameras.npz", "scene.json"} <= _changed(before, room.stamps())


@pytest.mark.parametrize("damage", ["cut off", "no image", "no arrays", "another version"])
def test_a_damaged_scene_is_made_again(room: Room, damage: str):
    document = room.out / "scene.json"
    whole = document.read_bytes()
    if damage == "cut off":
        document.write_bytes(whole[: len(whole) // 2])
    elif damage == "another version":
        document.write_text(json.dumps({"schema_version": 999}))
    else:
        next(room.out.glob("frames/*.jpg" if damage == "no image" else "instances.npz")).unlink()
    with pytest.raises(UserError):
        gpt4scene.load_scene(room.out)
    before = room.stamps()
    scene = room.prepare()
    assert len(scene.frames) == 2 and len(scene.frames[0].image)
    assert not any(name.startswith(".cache") for name in _changed(before, room.stamps()))


def test_a_run_that_ended_between_the_instances_and_the_scene_does_not_pass_off_the_old_scene(
    room: Room, monkeypatch: pytest.MonkeyPatch
):
    mask = room.masks / "1.txt"
    values = mask.read_text().split()
    values[values.index("1")] = "0"
    mask.write_text("\n".join(values) + "\n")
    before = room.stamps()
    load_instances = stored.load_instances

    def interrupted(folder: Path):
        raise KeyboardInterrupt

    monkeypatch.setattr(stored, "load_instances", interrupted)
    with pytest.raises(KeyboardInterrupt):
        room.prepare()
    monkeypatch.setattr(stored, "load_instances", load_instances)
    assert ".cache/instances/instances.json" in _changed(before, room.stamps())
    room.prepare()
    assert "scene.json" in _changed(before, room.stamps())


def test_a_warning_about_poses_is_logged_once(room: Room, caplog: pytest.LogCaptureFixture):
    pose = sorted(room.sequence.glob("*.pose.txt"))[2]
    np.savetxt(pose, np.full((4, 4), np.nan))
    with caplog.at_level(logging.WARNING):
        room.prepare()
    assert caplog.text.count("1 of 6 frames skipped") == 1


def test_instances_without_a_mesh_are_refused_before_anything_is_reconstructed(room: Room, tmp_path: Path):
    with pytest.raises(UserError, match="--surface FILE"):
        prepare(room.sequence, tmp_path / "new", proposals=room.proposals)
    with pytest.raises(UserError, match="--surface FILE"):
        prepare(room.sequence, tmp_path / "new", proposals=room.proposals, surface=room.mesh, fuse_depth=True)
    assert not (tmp_path / "new").exists()


def test_which_rows_a_cropped_room_was_is_kept(walk: Film, room: Room, tmp_path: Path):
    scan = read_scan(room.sequence)
    keep = walk.surface.vertices[:, 2] < 1
    (tmp_path / "kept").mkdir()
    save_room(tmp_path / "kept", scan, walk.surface.cropped(keep))
    _, surface = load_room(tmp_path / "kept", scan)
    assert isinstance(surface, Surface) and surface.rows is not None
    assert np.array_equal(surface.rows, np.flatnonzero(keep)) and surface.row_count == len(keep)
