"""The child process: what it tells, how it may fail, and that it never lives on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bev.camera import Camera
from bev.errors import UserError
from bev.sfm import run_sfm
from bev.sfm_process import image_pairs

CAMERA = Camera(np.array([[80.0, 0, 40], [0, 80.0, 30], [0, 0, 1]]), 80, 60, np.eye(4))
GREY = np.full((60, 80, 3), 128, np.uint8)
SLEEPS = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
CHILD = Path(__file__).parents[1] / "bev" / "sfm_process.py"
ENDS_WITH_ITS_PARENT = f"""
import runpy, threading
child = runpy.run_path({str(CHILD)!r})
threading.Thread(target=child["_end_with_the_parent"], daemon=True).start()
{SLEEPS}
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


def pid_in(file: Path) -> int:
    assert soon(lambda: file.exists() and file.read_text() != "")
    return int(file.read_text())


def test_a_crash_of_native_code_is_told_with_its_last_words() -> None:
    words = "first\nCheck failed: x > 0\n    @ 0x7f abort\n"
    code = f"import os, sys; sys.stderr.write({words!r}); sys.stderr.flush(); os.abort()"
    with pytest.raises(UserError, match=r"crashed \(SIGABRT\): first \| Check failed: x > 0;") as caught:
        run_sfm([GREY], CAMERA, known=True, command=python(code))
    assert "\n" not in str(caught.value)


def test_a_failure_and_a_missing_result_are_told() -> None:
    with pytest.raises(UserError, match=r"exit code 3\): it said nothing"):
        run_sfm([GREY], CAMERA, known=True, command=python("raise SystemExit(3)"))
    with pytest.raises(UserError, match="without a result"):
        run_sfm([GREY], CAMERA, known=True, command=python("pass"))


def test_a_child_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not done after 1\.5 s"):
        run_sfm([GREY], CAMERA, known=True, timeout_s=1.5, command=python(SLEEPS, str(tmp_path / "pid")))
    assert not alive(pid_in(tmp_path / "pid"))


def test_a_child_that_closes_its_output_and_hangs_is_killed(tmp_path: Path) -> None:
    code = "import os; os.close(1); " + SLEEPS
    with pytest.raises(UserError, match=r"not done after 1\.5 s"):
        run_sfm([GREY], CAMERA, known=True, timeout_s=1.5, command=python(code, str(tmp_path / "pid")))
    assert not alive(pid_in(tmp_path / "pid"))


@pytest.mark.parametrize(
    ("code", "sent"), [(SLEEPS, signal.SIGINT), (ENDS_WITH_ITS_PARENT, signal.SIGKILL)], ids=["ctrl-c", "killed"]
)
def test_the_child_does_not_outlive_its_parent(tmp_path: Path, code: str, sent: signal.Signals) -> None:
    file = tmp_path / "pid"
    parent = (
        "import sys, test_bev_sfm as t\n"
        "try: t.run_sfm([t.GREY], t.CAMERA, known=True, command=sys.argv[1:])\n"
        "except KeyboardInterrupt: raise SystemExit(130)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    started = subprocess.Popen(
        python(parent, *python(code, str(file))), cwd=Path(__file__).parent, env=environment, start_new_session=True
    )
    try:
        child = pid_in(file)
        assert alive(child)
        os.kill(started.pid, sent)
        assert started.wait(20) == (130 if sent == signal.SIGINT else -signal.SIGKILL)
        assert soon(lambda: not alive(child))
    finally:
        started.kill()
        started.wait()
    if sent == signal.SIGINT:
        assert not list(tmp_path.glob("gpt4scene-sfm-*"))


def test_bars_show_what_the_child_reports(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        'print("{\\"stage\\": \\"features\\", \\"done\\": 3, \\"of\\": 7}"); print("native noise");'
        'print("{\\"stage\\": \\"cameras\\", \\"done\\": 5, \\"of\\": 7}")'
    )
    for progress in (True, False):
        with pytest.raises(UserError, match="without a result"):
            run_sfm([GREY], CAMERA, known=True, progress=progress, command=python(code))
        shown = capsys.readouterr().err
        assert ("find features" in shown) == progress and ("5/7" in shown) == progress


def test_without_pycolmap_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gpt4scene\[video\]'"):
        run_sfm([GREY], CAMERA, known=True)


def test_the_parent_never_imports_pycolmap() -> None:
    code = "import sys, bev.posing, bev.sfm; assert 'pycolmap' not in sys.modules"
    subprocess.run(python(code), check=True, timeout=60)


def walk_of_places(places: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Descriptors of images; those of one place are alike, whenever they were taken."""
    pools = {place: rng.integers(0, 120, (60, 128)) for place in sorted(set(places))}
    return [(pools[place] + rng.integers(0, 12, (60, 128))).astype(np.uint8) for place in places]


def test_images_of_a_place_that_is_visited_again_are_matched() -> None:
    places = [*range(30), *range(30)]
    pairs = set(image_pairs(walk_of_places(places, np.random.default_rng(0))))
    assert all((k, k + 30) in pairs for k in range(30))
    assert all((k, k + 1) in pairs for k in range(59))
    assert len(pairs) < 60 * 59 / 2 * 0.7
    assert all(a < b for a, b in pairs)


def test_few_images_are_all_matched_and_images_without_features_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    assert len(image_pairs(walk_of_places(list(range(12)), rng))) == 66
    bare = [np.empty((0, 128), np.uint8)] * 60
    assert (0, 1) in image_pairs(bare)
    assert (0, 1) in image_pairs(walk_of_places(list(range(50)), rng) + bare)


RECHECKS = f"""
import json, pathlib, runpy, sys
import numpy as np, pycolmap

pycolmap.set_random_seed(0)
pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
child = runpy.run_path({str(CHILD)!r})
database = pathlib.Path(sys.argv[1]) / "features.db"
how = pycolmap.SyntheticDatasetOptions()
how.num_rigs, how.num_cameras_per_rig, how.num_frames_per_rig, how.num_points3D = 1, 1, 12, 200
with pycolmap.Database.open(database) as opened:
    model = pycolmap.synthesize_dataset(how, opened)
wrong = [int(name) for name in sys.argv[2:]]
for image_id in wrong:
    frame = model.frame(model.images[image_id].frame_id)
    pose = frame.rig_from_world
    frame.rig_from_world = pycolmap.Rigid3d(pose.rotation, pose.translation + np.array([1.5, 0.5, 0.0]))
names = [model.images[i].name for i in sorted(model.images)]
model = child["_rechecked"](pycolmap, model, database, names, False)
print(json.dumps(sorted(set(range(1, 13)) - set(model.reg_image_ids()))))
"""


@pytest.mark.parametrize("wrong", [[], [5]])
def test_images_whose_matches_contradict_their_place_are_taken_out(tmp_path: Path, wrong: list[int]) -> None:
    command = python(RECHECKS, str(tmp_path), *map(str, wrong))
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == str(wrong)


def test_a_full_disk_of_temporary_files_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left on device.*TMPDIR"):
        run_sfm([GREY] * 3, CAMERA, known=False)
