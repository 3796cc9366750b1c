"""From a plain film to a scene folder, the real way: key frames, structure from motion, stereo, fusion, marks."""

import re

import numpy as np
import pytest
from kitchen_truth import fitted, moved, rmse_m
from room_film import write_room_film

import gpt4scene
from bev.camera import scale_of
from bev.errors import UserError
from gpt4scene.cli.main import main
from gpt4scene.scene.summary import summary

KEY_FRAMES = 24


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    return write_room_film(tmp_path_factory.mktemp("film") / "room.mp4", shown=32)


@pytest.fixture(scope="module")
def folder(filmed, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "scene"
    gpt4scene.prepare(filmed.path, out, key_frames=KEY_FRAMES)
    return out


def walk_from_world(filmed, scene) -> np.ndarray:
    """The similarity that brings a scene's world to that of the walk."""
    found = scene.trajectory
    return fitted(found.world_from_camera[:, :3, 3], filmed.true_centers(found.indices))


def up_error_deg(filmed, scene) -> float:
    up = walk_from_world(filmed, scene)[:3, 2]
    return float(np.degrees(np.arccos(np.clip(up @ filmed.true_up / np.linalg.norm(up), -1, 1))))


def test_a_film_becomes_an_upright_scene_with_cameras_where_they_were(filmed, folder):
    scene = gpt4scene.load_scene(folder)
    found = scene.trajectory
    assert scene.source.reader == "video" and scene.units == "arbitrary"
    assert 0.9 * KEY_FRAMES <= len(found.indices) <= KEY_FRAMES
    centers = moved(walk_from_world(filmed, scene), found.world_from_camera[:, :3, 3])
    assert rmse_m(centers, filmed.true_centers(found.indices)) < 0.02
    assert up_error_deg(filmed, scene) < 2


def test_its_surface_is_that_of_the_room(filmed, folder):
    from scipy.spatial import KDTree

    scene = gpt4scene.load_scene(folder)
    points = moved(walk_from_world(filmed, scene), scene.surface.vertices)
    away_m, _ = KDTree(filmed.walk.surface.vertices).query(points)
    # the true surface's own vertices stand up to some centimetres apart
    assert np.mean(away_m < 0.10) > 0.9


def test_nothing_claims_metres_until_somebody_gives_a_size(folder):
    scene = gpt4scene.load_scene(folder)
    report = (folder / "report.html").read_text(encoding="utf-8")
    told = summary(scene, folder)
    assert "--camera-height-m" in told and "arbitrary" in told
    assert not re.search(r"\d m\b", told.replace("is 0.75 m along", ""))
    assert "no metric scale" in report and "Size, m<" not in report


def test_the_height_of_the_camera_gives_metres_and_the_slow_steps_are_not_done_again(filmed, folder, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("was done already")

    for place in ("thinned", "posed", "with_depth"):
        monkeypatch.setattr(f"gpt4scene.scene.completing.{place}", fail)
    before = gpt4scene.load_scene(folder)
    true_m = float(np.median(filmed.walk.scan.moved(np.linalg.inv(filmed.walk.world_from_room)).centers()[:32, 2]))
    scene = gpt4scene.prepare(filmed.path, folder, key_frames=KEY_FRAMES, camera_height_m=true_m)
    assert scene.is_metric and before.units == "arbitrary"
    assert scale_of(walk_from_world(filmed, scene)) == pytest.approx(1, abs=0.05)
    assert scale_of(scene.world_from_source) == pytest.approx(
        scale_of(before.world_from_source) * scale_of(walk_from_world(filmed, before)), rel=0.05
    )


def test_a_known_object_gives_the_size_too(filmed, folder, tmp_path):
    gpt4scene.prepare(filmed.path, folder, key_frames=KEY_FRAMES)
    scene = gpt4scene.load_scene(folder)
    largest = max(scene.instances, key=lambda instance: max(instance.box.size))
    true_m = float(max(largest.box.size)) * scale_of(walk_from_world(filmed, scene))
    known = f"{largest.id}={true_m:.3f}"
    sized = gpt4scene.prepare(filmed.path, folder, key_frames=KEY_FRAMES, known_object=known)
    assert sized.is_metric and scale_of(walk_from_world(filmed, sized)) == pytest.approx(1, abs=0.02)
    again = gpt4scene.prepare(filmed.path, folder, key_frames=KEY_FRAMES, known_object=known)
    assert again.run.arguments["scale"] == sized.run.arguments["scale"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "2", "--camera-height-m", "1.5"], "give one of the two"),
        (["--camera-height-m", "200"], "between 0.1 and 10 metres"),
        (["--depth", "magic"], "--depth: must be stereo or a network; 'magic'"),
        (["--key-frames", "1"], "--key-frames 1: must be between 3"),
        (["--poses", "camera_from_world"], "--poses"),
        (["--units", "metre"], "--units metre"),
        pytest.param(["--device", "cuda:97"], "cuda:97", id="no such device"),
    ],
)
def test_options_that_make_no_sense_for_a_film_are_refused_at_once(filmed, tmp_path, capsys, options, message):
    assert main(["prepare", str(filmed.path), "-o", str(tmp_path / "scene"), *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert not (tmp_path / "scene" / "scene.json").exists()


def test_a_metric_capture_needs_no_size(kitchen_path, tmp_path):
    with pytest.raises(UserError, match="is in metres already"):
        gpt4scene.prepare(kitchen_path, tmp_path / "scene", camera_height_m=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"portrait": True}, {"upside_down": True}], ids=["portrait", "upside_down"])
def test_however_the_phone_was_held_the_room_stands_upright(tmp_path, how):
    filmed = write_room_film(tmp_path / "room.mp4", shown=60, **how)
    scene = gpt4scene.prepare(filmed.path, tmp_path / "scene", key_frames=30)
    assert up_error_deg(filmed, scene) < 2
