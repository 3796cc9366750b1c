"""The command line, as a user meets it: a scene out of a capture, and one clear line for everything that is wrong."""

import inspect
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import cv2
import numpy as np
import pytest

from bev.camera import invert_rigid
from bev.errors import UserError
from bev.surface import load_surface, save_surface
from bev.synthetic import Film, film, synthetic_room, write_seven_scenes
from gpt4scene.cli.main import main
from gpt4scene.cli.prepare import prepare as prepare_command
from gpt4scene.scene import prepare as prepare_module
from gpt4scene.scene.scene import load_scene

FRAMES = 12
FEW = ("--frames", "3", "--bev-size", "320")


def _film(seed: int = 3, frames: int = FRAMES) -> Film:
    return film(synthetic_room(seed), frames=frames, width=160, height=120, world_from_room=np.eye(4))


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture that is all right; never written to."""
    return write_seven_scenes(_film(), tmp_path_factory.mktemp("captured") / "room")


@pytest.fixture(scope="module")
def prepared(captured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene folder made of it; never written to."""
    out = tmp_path_factory.mktemp("prepared") / "scene"
    assert main(["prepare", str(captured), "-o", str(out), *FEW]) == 0
    return out


@pytest.fixture
def capture(captured: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(captured, tmp_path / "room"))


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that ends with code 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gpt4scene: ") and printed.err.endswith("\n") and printed.err.count("\n") == 1
    return printed.err.removeprefix("gpt4scene: ").strip()


def _choices(function: Callable[..., object]) -> dict[str, set[str]]:
    """By parameter, the words that it may be."""
    return {
        name: set().union(*(get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is Literal))
        for name, hint in get_type_hints(function).items()
    }


def test_the_command_offers_all_that_the_function_does():
    command, function = (inspect.signature(each).parameters for each in (prepare_command, prepare_module.prepare))
    defaults = {name: parameter.default for name, parameter in command.items()}
    own = {"out": None, "classes": None, "jobs": None, "ray": None}  # some are of several captures, and of words
    assert defaults | {"progress": False} == {name: p.default for name, p in function.items()} | own
    offered, taken = _choices(prepare_command), _choices(prepare_module.prepare)
    assert "polycam" in offered["format"] and offered == {"jobs": set(), "ray": set()} | {
        name: taken[name] for name in offered if name in taken
    }


def _refused(capsys: pytest.CaptureFixture[str], capture: Path, *options: object) -> str:
    """As `_fails`, of `prepare`, which must leave nothing that looks finished."""
    out = capture.parent / "scene"
    line = _fails(capsys, "prepare", capture, "-o", out, *FEW, *options)
    _nothing_finished(out)
    return line


def _nothing_finished(out: Path) -> None:
    assert not (out / "scene.json").exists()
    assert not list(out.glob(".cache/half-written-*")) and not list(out.rglob(".half-written-*"))


def _accepted(capture: Path, *options: object) -> Path:
    out = capture.parent / "scene"
    assert main(["prepare", str(capture), "-o", str(out), *FEW, *(str(option) for option in options)]) == 0
    return out


def _poses(capture: Path) -> dict[Path, np.ndarray]:
    return {path: np.loadtxt(path) for path in sorted(capture.glob("*.pose.txt"))}


# ---------------------------------------------------------------- a capture that is all right


def test_prepare_makes_a_scene_folder(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((prepared / "scene.json").read_text(encoding="utf-8"))
    assert document["schema"] == "gpt4scene/scene@1" and len(document["frames"]) == 3
    for name in ("bev.png", "bev_marked.png", "surface.ply", "instances.npz", "report.html"):
        assert (prepared / name).stat().st_size > 0
    for frame in document["frames"]:
        assert (prepared / frame["image"]).is_file() and (prepared / frame["marked"]).is_file()
    assert max(document["bev"]["width"], document["bev"]["height"]) == 320
    scene = load_scene(prepared)
    assert scene.instances and len(scene.trajectory.indices) == FRAMES


def test_the_same_command_again_does_nothing_again(
    prepared: Path, captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "scene"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    for name in ("reconstruct", "render_bev", "find_instances", "compose"):
        monkeypatch.setattr(prepare_module, name, lambda *_, **__: pytest.fail("done again"))
    assert main(["prepare", str(captured), "-o", str(out), *FEW]) == 0
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    lock = out / ".cache" / "lock"
    assert {p: v for p, v in after.items() if p != lock} == {p: v for p, v in before.items() if p != lock}
    printed = capsys.readouterr().out
    assert f"look at {out / 'report.html'}" in printed and f"3 of {FRAMES} frames" in printed


def test_only_what_an_option_changes_is_done_again(
    prepared: Path, captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "scene"))
    for name in ("reconstruct", "render_bev", "find_instances"):
        monkeypatch.setattr(prepare_module, name, lambda *_, **__: pytest.fail("done again"))
    assert main(["prepare", str(captured), "-o", str(out), *FEW, "--frames", "2", "--sampling", "uniform"]) == 0
    scene = load_scene(out)
    assert [frame.index for frame in scene.frames] == [0, FRAMES // 2]
    assert len(list((out / "frames").iterdir())) == 2
    monkeypatch.undo()
    monkeypatch.setattr(prepare_module, "reconstruct", lambda *_, **__: pytest.fail("done again"))
    assert main(["prepare", str(captured), "-o", str(out), *FEW, "--cut-height-m", "1.2"]) == 0
    assert load_scene(out).cut_height_m == 1.2


def test_a_capture_that_changed_is_prepared_again(prepared: Path, capture: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "scene"))
    for path in capture.glob("frame-000011.*"):
        path.unlink()
    assert _accepted(capture) == out
    assert len(load_scene(out).trajectory.indices) == FRAMES - 1


def test_the_scene_folder_is_named_after_the_capture(
    captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(prepare_module, "prepare", lambda path, out, **_: seen.append(out))
    monkeypatch.setattr("gpt4scene.scene.summary.summary", lambda scene, out: "")
    monkeypatch.chdir(captured)
    assert main(["prepare", "."]) == 0
    assert seen == [Path("out/room")]


def test_a_frame_whose_depth_is_all_zero_is_legal(capture: Path) -> None:
    for index in (0, 5):
        path = capture / f"frame-{index:06d}.depth.png"
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    out = _accepted(capture)
    assert len(load_scene(out).trajectory.indices) == FRAMES


# ---------------------------------------------------------------- captures that are not


def test_missing_intrinsics(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (capture / "camera-intrinsics.txt").unlink()
    line = _refused(capsys, capture)
    assert str(capture / "camera-intrinsics.txt") in line and "--intrinsics" in line


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda pose: np.diag([1.1, 1.1, 1.1, 1]) @ pose, "orthonormal"),
        (lambda pose: np.diag([1.0, 1, -1, 1]) @ pose, "mirror"),
        (lambda pose: np.where(np.eye(4) > 0, np.nan, pose), "NaN"),
        (lambda pose: np.full((4, 4), -np.inf), "infinity"),
    ],
)
def test_more_than_half_of_the_poses_are_no_rigid_motion(
    capture: Path, capsys: pytest.CaptureFixture[str], damage, words: str
) -> None:
    poses = list(_poses(capture).items())
    for path, pose in poses[: FRAMES // 2 + 1]:
        np.savetxt(path, damage(pose))
    line = _refused(capsys, capture)
    assert str(poses[0][0]) in line and words in line and f"7 of {FRAMES} poses" in line


def test_a_single_pose_that_is_no_rigid_motion_is_skipped_with_a_warning(
    capture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, pose = list(_poses(capture).items())[4]
    np.savetxt(path, np.diag([1.0, 2.0, 1.0, 1.0]) @ pose)
    out = _accepted(capture)
    warnings = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert any(f"1 of {FRAMES} frames skipped" in warning and str(path) in warning for warning in warnings)
    assert 4 not in load_scene(out).trajectory.indices
    assert f"1 of {FRAMES} frames skipped" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("removed", "words"),
    [("depth.png", "no depth image"), ("color.jpg", "no colour image"), ("pose.txt", "no pose")],
)
def test_a_frame_that_is_not_whole(capture: Path, capsys: pytest.CaptureFixture[str], removed: str, words: str) -> None:
    (capture / f"frame-000007.{removed}").unlink()
    line = _refused(capsys, capture)
    assert "frame 7 has" in line and words in line and str(capture) in line


@pytest.mark.parametrize("name", ["frame-000006.color.jpg", "frame-000006.depth.png"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_image_that_does_not_decode(
    capture: Path, capsys: pytest.CaptureFixture[str], name: str, share: float
) -> None:
    path = capture / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)] if share else b"\0" * len(data))
    line = _refused(capsys, capture)
    assert str(path) in line and "does not decode" in line and "Copy it again or remove its frame" in line
    path.write_bytes(data)
    assert load_scene(_accepted(capture)).instances


def test_images_of_another_size(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = capture / "frame-000003.color.jpg"
    cv2.imwrite(str(path), np.zeros((60, 80, 3), np.uint8))
    assert f"{path}: is 80x60, the first frame's is 160x120" in _refused(capsys, capture)


def test_folders_without_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: the folder is empty" in _refused(capsys, tmp_path / "empty")
    assert f"{tmp_path / 'none'}: there is no such file or folder" in _refused(capsys, tmp_path / "none")
    (tmp_path / "film.mp4").write_text("")
    assert f"{tmp_path / 'film.mp4'}: the file is empty" in _refused(capsys, tmp_path / "film.mp4")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    line = _refused(capsys, tmp_path / "notes")
    assert "fits no capture format" in line and "frame-000000.color.jpg" in line
    assert not (tmp_path / "scene").exists()


def test_a_folder_that_is_not_ours_is_left_as_it_is(
    captured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "beach.jpg").write_bytes(b"sand")
    line = _fails(capsys, "prepare", captured, "-o", out, *FEW)
    assert str(out) in line and "new or empty folder" in line
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"beach.jpg": b"sand"}
    # nor the capture itself
    names = sorted(path.name for path in captured.iterdir())
    assert "new or empty folder" in _fails(capsys, "prepare", captured, "-o", captured)
    assert sorted(path.name for path in captured.iterdir()) == names
    assert "is a file" in _fails(capsys, "prepare", captured, "-o", out / "beach.jpg")


# ---------------------------------------------------------------- scans of more than one place


def _two_rooms(folder: Path, shift_m: tuple[float, float, float], *, frames: int, stairs: int = 0) -> Path:
    """A capture of the room, and of it again elsewhere; on the stairs between the two no frame has depth."""
    first = _film(frames=frames)
    move = np.eye(4)
    move[:3, 3] = shift_m
    walk = list(first.scan.frames)
    last, after = walk[-1], walk[0].moved(move)
    for step in range(1, stairs + 1):
        between = np.eye(4)
        between[:3, 3] = (after.camera.center - last.camera.center) * step / (stairs + 1)
        assert last.read_depth is not None
        nothing = np.zeros_like(last.read_depth())
        walk.append(replace(last.moved(between), read_depth=lambda nothing=nothing: nothing))
    walk += [frame.moved(move) for frame in first.scan.frames]
    walk = [replace(frame, index=index, timestamp_s=index / 6) for index, frame in enumerate(walk)]
    return write_seven_scenes(replace(first, scan=first.scan.with_frames(tuple(walk))), folder)


def test_two_rooms_that_do_not_connect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = _two_rooms(tmp_path / "flat", (14.0, 3.0, 0.0), frames=FRAMES)
    line = _refused(capsys, capture)
    assert str(capture) in line and "do not connect" in line and f"breaks before frame {FRAMES:06d}" in line
    assert "on their own" in line


def test_several_storeys_want_one_to_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = _two_rooms(tmp_path / "house", (0.0, 0.0, 2.9), frames=24, stairs=8)
    line = _refused(capsys, capture)
    assert str(capture) in line and "scan holds 2 floors" in line and "--floor 1 (lowest) or --floor 2" in line
    assert "there is no floor 3" in _refused(capsys, capture, "--floor", 3)
    scene = load_scene(_accepted(capture, "--floor", 2))
    assert -0.3 < scene.surface.vertices[:, 2].min() < 0.1
    indices = set(scene.trajectory.indices.tolist())
    assert set(range(32, 56)) <= indices <= set(range(24, 56))


# ---------------------------------------------------------------- misread numbers: depth unit, pose direction, axes


def _in_other_units(capture: Path) -> str:
    for path in capture.glob("*.depth.png"):
        millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert millimetres is not None
        cv2.imwrite(str(path), millimetres.astype(np.uint16) * 5)
    return "--depth-scale 5000"


def _inverted(capture: Path) -> str:
    for path, pose in _poses(capture).items():
        np.savetxt(path, invert_rigid(pose))
    return "--poses camera_from_world"


def _in_opengl_axes(capture: Path) -> str:
    for path, pose in _poses(capture).items():
        np.savetxt(path, pose @ np.diag([1.0, -1, -1, 1]))
    return "--axes opengl"


@pytest.mark.parametrize("misread", [_in_other_units, _inverted, _in_opengl_axes])
def test_what_was_misread_is_named_with_the_option_to_add(
    capture: Path, capsys: pytest.CaptureFixture[str], misread
) -> None:
    option = misread(capture)
    line = _refused(capsys, capture)
    assert str(capture) in line and line.endswith(f"add {option}")
    assert load_scene(_accepted(capture, *option.split())).instances


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames", "0"], "--frames 0: must be between 1 and"),
        (["--frames", "1.5"], "--frames"),
        (["--bev-size", "9"], "--bev-size 9: must be between 64 and"),
        (["--voxel-size-m", "0"], "--voxel-size-m 0.0: must be between"),
        (["--voxel-size-m", "nan"], "--voxel-size-m nan: must be between"),
        (["--depth-max-m", "-1"], "--depth-max-m -1.0: must be between"),
        (["--depth-scale", "0"], "--depth-scale 0.0: must be stored units per metre"),
        (["--format", "kitti"], "'kitti' for argument '--format'"),
        (["--sampling", "best"], "'best' for argument '--sampling'"),
        (["--axes", "unity"], "'unity' for argument '--axes'"),
        (["--formt", "tum"], "perhaps you meant --format"),
        (["--cut-height-m", "high"], "--cut-height-m"),
        (["--cut-height-m", "-4"], "--cut-height-m -4.0"),
        (["--cut-height-m", "nan"], "--cut-height-m nan"),
        (["--intrinsics", "525,525"], "--intrinsics 525,525"),
        (["--floor", "2"], "there is no floor 2"),
        (["--device", "TPU:0"], "--device TPU:0: must be"),
        (["--device", "CUDA:x"], "--device CUDA:x: must be"),
        (["--device", "CUDA:99999999999999"], "--device CUDA:99999999999999: must be"),
        (["--device", "CUDA:-1"], "--device CUDA:-1: must be"),
        (["--device", "SYCL:0"], "--device SYCL:0: must be"),
        (["--device", "CUDA:77"], "--device CUDA:77: Open3D finds"),
        (["--surface", "no/such.ply"], "--surface no/such.ply: there is no such file"),
        (["--proposals", "no/such.npy"], "no/such.npy"),
        (["another"], "another"),
    ],
)
def test_options_that_make_no_sense(
    captured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    line = _fails(capsys, "prepare", captured, "-o", tmp_path / "scene", "--no-align", *options)
    assert words in line
    _nothing_finished(tmp_path / "scene")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "{ask, build-dataset, chat, demo, eval, eval-instances, import-gpt4scene, prepare, score, serve, view}"),
        (["prepar"], "prepar"),
        (["prepare"], "PATH"),
        (["view"], "PATH"),
    ],
)
def test_commands_that_are_none(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    line = _fails(capsys, *arguments)
    assert words in line and "--help`" in line


def test_proposals_need_the_mesh_that_they_index(
    captured: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    surface, ids = tmp_path / "mesh.ply", tmp_path / "ids.npy"
    source_from_world = invert_rigid(load_scene(prepared).world_from_source)
    save_surface(load_surface(prepared / "surface.ply").moved(source_from_world), surface)
    count = len(load_surface(surface).vertices)
    np.save(ids, np.arange(count) % 5)
    command = ("prepare", captured, "-o", tmp_path / "scene", *FEW, "--no-align", "--proposals", ids)
    line = _fails(capsys, *command)
    assert str(ids) in line and "--surface" in line
    np.save(ids, np.arange(count - 1) % 5)
    line = _fails(capsys, *command, "--surface", surface)
    assert f"{ids}: has {count - 1} entries, the mesh has {count} vertices" in line
    _nothing_finished(tmp_path / "scene")
    (tmp_path / "cut.ply").write_bytes(surface.read_bytes()[:-7])
    assert f"{tmp_path / 'cut.ply'}: ends before" in _fails(capsys, *command, "--surface", tmp_path / "cut.ply")
    np.save(ids, np.arange(count) % 5)
    assert main([str(word) for word in (*command, "--surface", surface)]) == 0
    assert [instance.id for instance in load_scene(tmp_path / "scene").instances] == [0, 1, 2, 3, 4]
    # other ids in the same file, and none any more, are another scene
    np.save(ids, np.arange(count) % 4)
    assert main([str(word) for word in (*command, "--surface", surface)]) == 0
    assert [instance.id for instance in load_scene(tmp_path / "scene").instances] == [0, 1, 2, 3]
    assert main([str(word) for word in (*command[:-2], "--surface", surface)]) == 0
    assert {instance.source for instance in load_scene(tmp_path / "scene").instances} == {"cluster"}


# ---------------------------------------------------------------- a disk that is full


@contextmanager
def _files_up_to(limit_bytes: int) -> Iterator[None]:
    """Every file that grows beyond the limit fails as on a full disk, below Python: nothing is patched."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit_bytes", [10, 1000, 100_000])
def test_a_disk_that_is_full_during_a_step(
    captured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit_bytes: int
) -> None:
    out = tmp_path / "scene"
    with _files_up_to(limit_bytes):
        line = _fails(capsys, "prepare", captured, "-o", out, *FEW, "--no-align")
    assert line.startswith(f"{out}: the disk is full")
    _nothing_finished(out)
    assert not (out / ".cache" / "room").exists()


@pytest.mark.parametrize("limit_bytes", [1000, 30_000, 100_000])
def test_a_disk_that_is_full_when_the_scene_is_saved(
    captured: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit_bytes: int
) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "scene"))
    with _files_up_to(limit_bytes):
        line = _fails(capsys, "prepare", captured, "-o", out, *FEW, "--frames", "4")
    assert line.startswith(f"{out}: the disk is full")
    _nothing_finished(out)
    assert "run `gpt4scene prepare`" in _fails(capsys, "view", out)
    # with space again, the steps are still there
    assert main(["prepare", str(captured), "-o", str(out), *FEW, "--frames", "4"]) == 0
    assert len(load_scene(out).frames) == 4


@pytest.mark.parametrize("limit_bytes", [1000, 40_000])
def test_a_disk_that_is_full_when_the_demo_is_filmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit_bytes: int
) -> None:
    command = ["demo", "-o", str(tmp_path / "demo"), "--capture-frames", "6", "--frames", "2"]
    with _files_up_to(limit_bytes):
        assert _fails(capsys, *command).startswith(f"{tmp_path / 'demo'}: the disk is full")
    assert not (tmp_path / "demo" / ".cache" / "capture").exists()


# ---------------------------------------------------------------- interruptions and tracebacks


def _run(*arguments: object) -> subprocess.Popen[str]:
    code = "from gpt4scene.cli.main import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *(str(argument) for argument in arguments)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("step", ["room", "bev"])
def test_an_interrupted_run_keeps_the_steps_that_were_finished(
    captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    out = tmp_path / "scene"
    running = _run("prepare", captured, "-o", out, "--frames", "3", "--bev-size", "1024")
    end = time.monotonic() + 60
    while not (out / ".cache" / f"half-written-{step}").exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    told = "interrupted; the same command again keeps finished steps and begins this one anew"
    assert said.splitlines()[-1] == f"gpt4scene: {told}"
    assert "Traceback" not in said
    _nothing_finished(out)
    if step == "bev":  # what was done is not done again
        monkeypatch.setattr(prepare_module, "reconstruct", lambda *_, **__: pytest.fail("done again"))
    assert main(["prepare", str(captured), "-o", str(out), "--frames", "3", "--bev-size", "1024"]) == 0
    assert load_scene(out).instances


def test_a_traceback_is_shown_with_debug_only(tmp_path: Path) -> None:
    for options, tracebacks in (((), 0), (("--debug",), 1)):
        running = _run("prepare", tmp_path / "none", *options)
        _, said = running.communicate(timeout=60)
        assert said.count("Traceback") == tracebacks
        assert "there is no such file or folder" in said.splitlines()[-1]
        assert running.returncode == (1 if options else 2)
    with pytest.raises(UserError, match="no such file or folder"):
        main(["--debug", "prepare", str(tmp_path / "none")])


def test_a_bug_of_ours_is_no_user_error(captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it taken by the parser for a value that does not parse."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(prepare_module, "reconstruct", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["prepare", str(captured), "-o", str(tmp_path / "scene")])
    _nothing_finished(tmp_path / "scene")


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["prepare", "--help"], ["demo", "-h"], ["view", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code
        printed = capsys.readouterr()
        assert printed.err == "" and "usage: gpt4scene" in printed.out
    assert "metres" in _help_of("prepare", capsys) and "(default: 0.02)" in _help_of("prepare", capsys)


def _help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out


# ---------------------------------------------------------------- the other commands


def test_view_saves_a_recording(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rerun")
    assert main(["view", str(prepared), "--save", str(tmp_path / "scene.rrd")]) == 0
    assert (tmp_path / "scene.rrd").stat().st_size > 10_000
    assert "no such folder" in _fails(capsys, "view", tmp_path / "none")


@pytest.mark.parametrize("option", [["--capture-frames", "0"], ["--capture-frames", "-2"], ["--seed", "-1"]])
def test_a_demo_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    assert _fails(capsys, "demo", "-o", tmp_path / "demo", *option).startswith(f"{' '.join(option)}: must be")
    assert not (tmp_path / "demo").exists()


def test_demo_makes_a_capture_and_a_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["demo", "-o", str(tmp_path / "demo"), "--capture-frames", "6", "--frames", "2"]
    assert main(command) == 0
    assert str(tmp_path / "demo" / "scene" / "report.html") in capsys.readouterr().out
    scene = load_scene(tmp_path / "demo" / "scene")
    assert scene.instances and len(scene.frames) == 2
    made = (tmp_path / "demo" / "scene" / "scene.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (tmp_path / "demo" / "scene" / "scene.json").stat().st_mtime_ns == made
