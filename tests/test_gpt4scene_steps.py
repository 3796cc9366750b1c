"""Resumable steps: done once, done again when anything they depend on changes, never taken for done half-way."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bev.errors import UserError
from gpt4scene.scene import steps as steps_module
from gpt4scene.scene.atomic import claim_folder
from gpt4scene.scene.steps import Steps, fingerprint


class _Writer:
    """Writes a text and counts how often it was asked to."""

    def __init__(self, text: str = "result"):
        self.text, self.calls = text, 0

    def __call__(self, folder: Path) -> None:
        assert folder.is_dir() and not list(folder.iterdir())
        self.calls += 1
        (folder / "result.txt").write_text(self.text)


def _run(folder: Path, make, key=None, *, overwrite: bool = False) -> Path:
    with Steps(folder, overwrite=overwrite) as steps:
        return steps.run("fuse", key or {"voxel_size_m": 0.02}, make)


def test_a_step_is_done_once(tmp_path: Path) -> None:
    first, second = _Writer(), _Writer("never")
    output = _run(tmp_path / "room", first)
    assert output == tmp_path / "room/.cache/fuse" and (output / "result.txt").read_text() == "result"
    assert _run(tmp_path / "room", second) == output
    assert (first.calls, second.calls) == (1, 0)


def test_seconds_and_what_was_reused_are_known(tmp_path: Path) -> None:
    with Steps(tmp_path) as steps:
        steps.run("read", {}, _Writer())
        steps.run("fuse", {}, _Writer())
        assert list(steps.seconds) == ["read", "fuse"] and steps.reused == []
    with Steps(tmp_path) as again:
        again.run("read", {}, _Writer())
        assert again.reused == ["read"] and again.seconds["read"] == steps.seconds["read"]


def test_another_key_version_or_overwrite_does_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = _Writer()
    _run(tmp_path, writer, {"frames": [1, 2], "cut": None})
    _run(tmp_path, writer, {"cut": None, "frames": (1, 2)})
    assert writer.calls == 1
    writer.text = "new"
    output = _run(tmp_path, writer, {"frames": [1, 3], "cut": None})
    assert writer.calls == 2 and (output / "result.txt").read_text() == "new"
    _run(tmp_path, writer, {"frames": [1, 3], "cut": None}, overwrite=True)
    assert writer.calls == 3
    monkeypatch.setattr(steps_module, "version", lambda _: "99.0")
    _run(tmp_path, writer, {"frames": [1, 3], "cut": None})
    assert writer.calls == 4


def test_a_change_reaches_all_later_steps(tmp_path: Path) -> None:
    def chain(voxel_size_m: float) -> list[str]:
        with Steps(tmp_path) as steps:
            steps.run("fuse", {"voxel_size_m": voxel_size_m}, _Writer())
            steps.run("cluster", {}, _Writer(), after=["fuse"])
            steps.run("mark", {}, _Writer(), after=["cluster"])
            steps.run("beside", {}, _Writer())
            return steps.reused

    assert chain(0.02) == []
    assert chain(0.02) == ["fuse", "cluster", "mark", "beside"]
    assert chain(0.03) == ["beside"]


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, fail)
    assert sorted(path.name for path in (tmp_path / ".cache").iterdir()) == ["CACHEDIR.TAG", "lock"]
    writer = _Writer()
    _run(tmp_path, writer)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, fail, {"voxel_size_m": 0.5})
    _run(tmp_path, writer)
    assert writer.calls == 1  # the older output is still good


def test_a_killed_step_is_done_again(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom gpt4scene.scene.steps import Steps\n"
        "def make(folder):\n (folder / 'half.txt').write_text('half')\n os.kill(os.getpid(), signal.SIGKILL)\n"
        "Steps(Path(sys.argv[1])).run('fuse', {'voxel_size_m': 0.02}, make)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "room")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "room/.cache").glob("half-written-*/half.txt"))
    writer = _Writer()
    output = _run(tmp_path / "room", writer)
    assert writer.calls == 1 and sorted(path.name for path in output.iterdir()) == [".step.json", "result.txt"]
    assert not list((tmp_path / "room/.cache").glob("half-written-*"))


@pytest.mark.parametrize("record", ["", "{", "[]", '{"key": 1}', '{"seconds": 1}'])
def test_a_damaged_record_counts_as_not_done(tmp_path: Path, record: str) -> None:
    writer = _Writer()
    output = _run(tmp_path, writer)
    (output / ".step.json").write_text(record)
    _run(tmp_path, writer)
    assert writer.calls == 2


def _cut_short(output: Path) -> None:
    (output / "result.txt").write_text("res")


def _removed(output: Path) -> None:
    (output / "result.txt").unlink()


def _added(output: Path) -> None:
    (output / "deep").mkdir()
    (output / "deep/more.txt").write_text("")


@pytest.mark.parametrize("damage", [_cut_short, _removed, _added])
def test_damaged_output_is_made_again(tmp_path: Path, damage) -> None:
    writer = _Writer()
    damage(_run(tmp_path, writer))
    output = _run(tmp_path, writer)
    assert writer.calls == 2 and [path.name for path in _visible(output)] == ["result.txt"]
    assert (output / "result.txt").read_text() == "result"
    _run(tmp_path, writer)
    assert writer.calls == 2


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def test_the_time_that_a_step_took_is_no_part_of_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _run(tmp_path / "one", _Writer())
    clock = iter([0.0, 77.0])
    monkeypatch.setattr(steps_module.time, "perf_counter", lambda: next(clock))
    other = _run(tmp_path / "other", _Writer())
    assert fingerprint(one) == fingerprint(other)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with Steps(tmp_path), pytest.raises(UserError, match="another run"):
        Steps(tmp_path)
    with Steps(tmp_path) as steps:
        steps.run("fuse", {}, _Writer())


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(UserError, match="not a scene"):
        Steps(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="the disk is full") as caught:
        _run(tmp_path, fill)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / ".cache/fuse").exists()


def test_a_missing_permission_is_told_from_an_unreadable_input(tmp_path: Path) -> None:
    def forbid(path: Path):
        def make(folder: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        return make

    with pytest.raises(UserError, match="no permission to write"):
        _run(tmp_path / "room", forbid(tmp_path / "room/.cache/fuse/mesh.ply"))
    with pytest.raises(PermissionError, match=r"depth\.png"):
        _run(tmp_path / "room", forbid(tmp_path / "scan/depth.png"))


def _capture(folder: Path) -> Path:
    (folder / "color").mkdir(parents=True)
    for i in range(5):
        (folder / f"color/{i}.jpg").write_bytes(bytes(range(256)) * 20)
    (folder / "pose.txt").write_text("1 0 0 0")
    return folder


def test_a_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    here, there = _capture(tmp_path / "a/scan"), _capture(tmp_path / "b/other")
    os.utime(there / "pose.txt", (1, 1))
    (there / ".DS_Store").write_text("noise")
    (there / ".git").mkdir()
    (there / ".git/HEAD").write_text("noise")
    claim_folder(there / "out")
    (there / "out/bev.png").write_text("ours")
    assert fingerprint(here) == fingerprint(there)
    assert len(fingerprint(here)) == 32


def _replace_byte(position: int):
    def change(folder: Path) -> None:
        path = folder / "color/3.jpg"
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _replace_byte(0),
        _replace_byte(-1),
        lambda folder: (folder / "color/3.jpg").rename(folder / "color/7.jpg"),
        lambda folder: (folder / "color/3.jpg").unlink(),
        lambda folder: (folder / "color/3.jpg").write_bytes((folder / "color/3.jpg").read_bytes() * 2),
        lambda folder: (folder / "pose.txt").write_text("1 0 0 1"),
        lambda folder: (folder / "extra.txt").write_text(""),
    ],
)
def test_a_fingerprint_sees_changes(tmp_path: Path, change) -> None:
    folder = _capture(tmp_path / "scan")
    before = fingerprint(folder)
    change(folder)
    assert fingerprint(folder) != before


def test_a_fingerprint_takes_files_beside_the_capture(tmp_path: Path) -> None:
    folder = _capture(tmp_path / "scan")
    (tmp_path / "cam_params.json").write_text("1")
    before = fingerprint(folder, tmp_path / "cam_params.json")
    assert before != fingerprint(folder)
    (tmp_path / "cam_params.json").write_text("2")
    assert fingerprint(folder, tmp_path / "cam_params.json") != before


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    folder = _capture(tmp_path / "scan")
    before = fingerprint(folder)
    (folder / "color/loop").symlink_to(folder)
    assert fingerprint(folder) == before


def test_a_capture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        fingerprint(tmp_path / "nowhere")
