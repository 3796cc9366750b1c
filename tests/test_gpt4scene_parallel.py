"""Many things side by side: every one is told of, whatever becomes of the others."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bev.errors import UserError
from gpt4scene.parallel import Done, run_each


def _square(number: int, *, folder: Path | None = None) -> int:
    if number == 3:
        raise UserError("three is\nno number: take another")
    if number == 4:
        return [1, 2][number]
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if folder is not None:
        (folder / str(number)).touch()
    return number * number


class _Odd(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def _odd(number: int) -> int:
    raise _Odd(number, number)


def _ids(_: int) -> tuple[int, str]:
    time.sleep(0.3)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("ray", [None, "local"])
def test_one_that_fails_stops_no_other(ray: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # Ray's workers import this module
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 8]
    told: list[Done[int]] = []
    done = run_each(
        functools.partial(_square, folder=tmp_path),
        numbers,
        names=[f"n{number}" for number in numbers],
        jobs=2,
        ray=ray,
        on_done=told.append,
    )
    assert [one.name for one in done] == [f"n{number}" for number in numbers]
    assert [one.result for one in done] == [0, 1, 4, None, None, None, 36, 49, 64]
    assert done[3].error == "three is no number: take another"
    assert done[4].error.startswith("IndexError: list index out of range (at test_gpt4scene_parallel.py:")
    assert "killed" in done[5].error
    assert sorted(map(repr, told)) == sorted(map(repr, done))
    assert len(list(tmp_path.iterdir())) == 6


def test_errors_that_do_not_travel_are_told_all_the_same() -> None:
    assert [one.error[:14] for one in run_each(_odd, [1, 2], names=["a", "b"])] == ["_Odd: 1 and 1 ", "_Odd: 2 and 2 "]


def _strange(number: int) -> object:
    if number == 1:
        sys.exit(3)
    return (lambda: number) if number == 2 else number


def test_what_ends_a_process_or_does_not_travel_stops_no_other() -> None:
    done = run_each(_strange, [1, 2, 3], names=["a", "b", "c"])
    assert done[0].error.startswith("SystemExit: 3 (at ")
    assert "pickle" in done[1].error
    assert done[2] == Done("c", 3)
    mixed: list[Any] = [lambda: 1, 5]
    unsent = run_each(_strange, mixed, names=["a", "b"])
    assert "pickle" in unsent[0].error and unsent[1] == Done("b", 5)


def test_what_is_told_to_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Done[tuple[int, str]]) -> None:
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        run_each(_ids, range(9), names=list("abcdefghi"), jobs=2, on_done=full)
    ours = psutil.Process().children(recursive=True)
    assert not [child for child in ours if "spawn_main" in " ".join(child.cmdline())]


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "no_guard.py"
    program.write_text(
        "from gpt4scene.parallel import run_each\n"
        "try:\n    run_each(abs, [1, 2, 3], names=list('abc'), jobs=2)\n"
        "except Exception as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("no process could be begun for it; a script that starts processes")
    assert ended.stdout.count("\n") == 1 and ended.stderr == ""


def test_jobs_are_processes_that_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = [one.result or (0, "") for one in run_each(_ids, range(6), names=list("abcdef"), jobs=2)]
    assert len({pid for pid, _ in found}) == 2
    assert "OMP_NUM_THREADS" not in os.environ
    assert not any(psutil.pid_exists(pid) for pid, _ in found)


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match="--jobs 0: must be 1 or more"):
        run_each(_odd, [1], names=["a"], jobs=0)
    with pytest.raises(ValueError, match="1 items have 0 names"):
        run_each(_odd, [1], names=[])
    assert run_each(_odd, [], names=[]) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_no_cluster_is_one_line(address: str) -> None:
    with pytest.raises(UserError, match=rf"^--ray {address}: no cluster answers"):
        run_each(_odd, [1], names=["a"], ray=address)


_LONG = """
import sys, time
from pathlib import Path
from typing import Any
sys.path.insert(0, "tests")
from gpt4scene.parallel import run_each
def slow(number):
    Path(sys.argv[1], str(number)).touch()
    time.sleep(60)
"""


def test_ctrl_c_ends_everybody(tmp_path: Path) -> None:
    program = tmp_path / "long_work.py"
    call = 'if __name__ == "__main__":\n    run_each(slow, range(9), names=[str(n) for n in range(9)], jobs=2)\n'
    program.write_text(_LONG + call)
    began = tmp_path / "began"
    began.mkdir()
    process = subprocess.Popen([sys.executable, str(program), str(began)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while len(list(began.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert err.rstrip().endswith("KeyboardInterrupt") and len(family) >= 2
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert len(list(began.iterdir())) == 2


def test_workers_of_a_run_that_is_killed_end_too(tmp_path: Path) -> None:
    program = tmp_path / "long_work.py"
    call = 'if __name__ == "__main__":\n    run_each(slow, range(9), names=[str(n) for n in range(9)], jobs=2)\n'
    program.write_text(_LONG + call)
    began = tmp_path / "began"
    began.mkdir()
    process = subprocess.Popen([sys.executable, str(program), str(began)])
    until = time.monotonic() + 30
    while len(list(began.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(family) >= 2 and not psutil.wait_procs(family, timeout=10)[1]
