"""Films and photos that nobody can make a room of, as a user meets them: one line, and nothing that looks finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from film_clips import picture, write_film, write_sound

from gpt4scene.cli.main import main


def _cut_short(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def _bare(path: Path) -> Path:
    return write_film(path / "bare.mp4", lambda _: np.full((120, 160, 3), 200, np.uint8), 60)


def _still(path: Path) -> Path:
    return write_film(path / "still.mp4", lambda _: picture(0), 60)


def _short(path: Path) -> Path:
    return write_film(path / "short.mp4", picture, 20)


def _sound(path: Path) -> Path:
    return write_sound(path / "sound.mp4")


def _truncated(path: Path) -> Path:
    return _cut_short(write_film(path / "cut.mp4", picture, 60), 0.5)


def _truncated_early(path: Path) -> Path:
    film = write_film(path / "cut.mkv", picture, 60)
    return _cut_short(film, 0.1)


def _unknown_codec(path: Path) -> Path:
    film = write_film(path / "odd.mp4", picture, 60)
    film.write_bytes(film.read_bytes().replace(b"avc1", b"xyzw"))
    return film


def _folder_of_a_film(path: Path) -> Path:
    write_film(path / "IMG_0001.MOV", picture, 60)
    return path


def _archive(path: Path) -> Path:
    (path / "scan.zip").write_bytes(b"PK\3\4")
    return path / "scan.zip"


def _screenshot(path: Path) -> Path:
    for i in range(4):
        cv2.imwrite(str(path / f"IMG_{i}.jpg"), picture(10 * i))
    cv2.imwrite(str(path / "Capture.png"), picture(0, 90, 160))
    return path


def _colmap_without_images(path: Path) -> Path:
    model = path / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 PINHOLE 320 240 300 300 160 120\n")
    (model / "images.txt").write_text("".join(f"{i} 1 0 0 0 {i} 0 0 1 IMG_{i}.jpg\n\n" for i in range(1, 5)))
    (model / "points3D.txt").write_text("")
    return path


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (_bare, "not one of 60 frames shows more than dark or bare surfaces; switch on the light"),
        (_still, "the camera hardly moves, 1 of 60 frames differ; walk around the room"),
        (_short, "lasts 0.67 s; film the room for at least ten seconds"),
        (_sound, "holds sound but no pictures; give a film of the room"),
        (_truncated, "the film's table of contents (moov) is missing"),
        (_truncated_early, "holds no whole frame, was it cut short? Copy it again"),
        (_unknown_codec, "export it as an unprotected H.264 mp4"),
        (_folder_of_a_film, "is no capture itself, but holds one: IMG_0001.MOV; give "),
        (_archive, "is an archive; unpack it"),
        (_screenshot, "4 of 5 images are 320x240, but Capture.png is 90x160; all must come from one camera"),
        (_colmap_without_images, "4 of the 4 images that "),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_no_room_can_be_made_of_is_told_in_one_line(made, said, tmp_path, capsys):
    (tmp_path / "given").mkdir()
    path = made(tmp_path / "given")
    assert main(["prepare", str(path), "-o", str(tmp_path / "scene")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"gpt4scene: {path}") or made is _colmap_without_images
    assert said in line and str(path) in line
    assert not (tmp_path / "scene" / "scene.json").exists() and not list(tmp_path.glob("scene/.cache/*/.step.json"))


@pytest.mark.parametrize("given", ["525,525,640,360", "525,525,40,30", "525,525,0,0"])
def test_intrinsics_of_another_image_size_are_told(given, tmp_path, capsys):
    film = write_film(tmp_path / "a.mp4", picture, 30)
    assert main(["prepare", str(film), "-o", str(tmp_path / "scene"), "--intrinsics", given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--intrinsics {given}" in line and "far from the centre of the 320x240 images" in line


def test_of_a_film_cut_short_in_a_room_the_beginning_is_used_and_that_is_told(tmp_path, caplog, monkeypatch):
    def stop(steps, scan, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt4scene.scene.prepare.completed", stop)  # it has been read, which is all that matters here
    film = _cut_short(write_film(tmp_path / "cut.mkv", picture, 90), 0.7)
    assert main(["prepare", str(film), "-o", str(tmp_path / "scene")]) == 130
    assert "cut.mkv is cut short: of 3.0 s only the first " in caplog.text


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read_is_told_whichever_it_is(fault, tmp_path, capsys, monkeypatch):
    path = _screenshot(tmp_path)
    fault.filename = str(path / "IMG_1.jpg")

    def refuse(*_):
        raise fault

    monkeypatch.setattr("gpt4scene.scene.prepare.fingerprint", refuse)  # root may read whatever its mode is
    (path / "Capture.png").unlink()
    assert main(["prepare", str(path), "-o", str(tmp_path / "scene")]) == 2
    assert capsys.readouterr().err == f"gpt4scene: {path}/IMG_1.jpg: cannot be read or written ({fault.strerror})\n"
    with pytest.raises(OSError, match=fault.strerror):
        main(["prepare", str(path), "-o", str(tmp_path / "scene"), "--debug"])


def test_ctrl_c_in_the_middle_of_any_step_leaves_no_child_and_keeps_what_was_done(tmp_path):
    film = write_film(tmp_path / "film.mp4", picture, 60)
    temporary, out = tmp_path / "temporary", tmp_path / "scene"
    temporary.mkdir()
    code = "from gpt4scene.cli.main import run; run()"
    command = [sys.executable, "-c", code, "prepare", str(film), "-o", str(out), "--key-frames", "12"]
    done: dict[str, int] = {}
    for step in ("frames", "poses", "depth"):
        running = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "TMPDIR": str(temporary)},
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_for(out / ".cache" / f"half-written-{step}", running)
        if step == "poses":
            _wait_for_child(temporary, running)
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130 and "Traceback" not in said
        assert "interrupted; the same command again keeps finished steps" in said.splitlines()[-1]
        _wait_until_gone(temporary)
        kept = {record.parent.name: record.stat().st_mtime_ns for record in out.glob(".cache/*/.step.json")}
        assert step not in kept and kept | done == kept  # what was done before was not done again
        assert not list(out.glob(".cache/half-written-*")) and not (out / "scene.json").exists()
        done = kept
    assert set(done) == {"frames", "poses"}


def _wait_until_gone(temporary: Path) -> None:
    """A child that was just being started when the signal came ends as soon as it sees that its parent is gone."""
    end = time.monotonic() + 10
    while _commands_with(str(temporary)) or list(temporary.glob("gpt4scene-*")):
        assert time.monotonic() < end
        time.sleep(0.05)


def _wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not path.exists():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.002)


def _wait_for_child(temporary: Path, running: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not _commands_with(str(temporary)):
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def _commands_with(text: str) -> list[str]:
    """Command lines of living processes that hold a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended since
        if text in command:
            found.append(command)
    return found
