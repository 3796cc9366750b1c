"""METEOR's process: texts that would break its protocol, Java that is missing or dies, and that it always ends."""

import os
import shutil
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from bev.errors import UserError
from gpt4scene.metrics import meteor
from gpt4scene.metrics.captions import caption_metrics
from gpt4scene.metrics.meteor import MeteorScores, find_java, meteor_of_statistics, meteor_scores

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here")


@pytest.fixture(scope="module")
def scores() -> MeteorScores:
    """Of plain pairs, then of the same with all that means something to the protocol."""
    plain = [("a brown chair", ["the brown chair", "a chair"]), ("the door", ["a window near it"]), ("", ["a bed"])]
    broken = [
        ("a\nbrown\r\nchair", ["the\u2028brown\u0085chair", "a\rchair"]),
        ("the door", ["a window|||near it"]),
        ("", ["a bed"]),
        ("|||", ["SCORE ||| a ||| b\nEVAL ||| 1 2", ""]),
        ("\ud800 \x00 \x0b", ["||||", "\n"]),
        ("a brown ||| chair", ["the brown chair", "a chair"]),
        ("a brown chair", ["a brown chair"]),
    ]
    pairs = plain + broken
    return meteor_scores([one for one, _ in pairs], [texts for _, texts in pairs])


@needs_java
def test_no_text_puts_another_out_of_step(scores: MeteorScores) -> None:
    assert np.isfinite(scores.values).all() and len(scores.values) == 10
    assert scores.values[3:6] == pytest.approx(scores.values[:3])
    assert scores.values[2] == 0 and scores.values[0] > 0.4
    assert scores.values[-2] == pytest.approx(scores.values[0])
    assert scores.values[-1] == 1


@needs_java
def test_the_formula_is_the_programs(scores: MeteorScores) -> None:
    assert meteor_of_statistics(scores.statistics) == pytest.approx(scores.values, abs=1e-12)
    whole = float(meteor_of_statistics(scores.statistics.sum(axis=0)))
    assert whole == pytest.approx(scores.value, abs=1e-12)
    assert scores.value != pytest.approx(scores.values.mean(), abs=1e-3)  # the set's is no mean


def test_the_formula_without_java() -> None:
    nothing, perfect = np.zeros(23), np.zeros(23)
    perfect[[0, 1, 4, 5, 21, 22]] = 3
    assert meteor_of_statistics(np.stack([nothing, perfect])) == pytest.approx([0, 1])
    half = perfect.copy()
    half[[0, 1]], half[20] = 6, 1
    # three of six words match in one chunk: F is 1/2, the penalty 0.6 (1/3)^0.2
    assert meteor_of_statistics(half) == pytest.approx(0.5 * (1 - 0.6 * (1 / 3) ** 0.2))


def test_an_empty_set_needs_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    found = meteor_scores([], [])
    assert np.isnan(found.value) and found.values.shape == (0,)


def pretend_java(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A `java` that is a Python script, which notes its process id."""
    program = folder / "java"
    noted = folder / "pid"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time, signal\nopen({str(noted)!r}, 'w').write(str(os.getpid()))\n{script}"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return noted


def ended(noted: Path) -> bool:
    return not psutil.pid_exists(int(noted.read_text()))


COUNTS = "print(' '.join(['1.0'] * 23), flush=True)\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sys.exit('Error: JVM 1.6 is too old')", "too old"),
        ("sys.exit(0)", "no reason given"),
        ("sys.stdin.readline()\n" + COUNTS + "os.kill(os.getpid(), signal.SIGKILL)", "no reason given"),
        ("print('Usage: nonsense', flush=True)\ntime.sleep(60)", "no reason given"),
        ("sys.stdin.readline()\nprint('1.0 2.0', flush=True)\ntime.sleep(60)", "no reason given"),
        (
            "for _ in range(2):\n  sys.stdin.readline()\n  " + COUNTS + "sys.exit('java.lang.OutOfMemoryError')",
            "OutOfMem",
        ),
    ],
)
def test_a_java_that_fails_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    noted = pretend_java(tmp_path, monkeypatch, script)
    with pytest.raises(UserError, match=f"METEOR ended early.*{said}.*install Java 8") as told:
        meteor_scores(["a"] * 3, [["b"]] * 3)
    assert "\n" not in str(told.value) and ended(noted)


def test_the_rest_is_scored_when_java_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_java(tmp_path, monkeypatch, "sys.exit('Error: no memory')")
    found = caption_metrics(["a chair", "a bed"], [["a chair"], ["the bed"]])
    by_name = {metric.name: metric.value for metric in found.metrics}
    assert np.isnan(by_name["METEOR"]) and by_name["ROUGE-L"] > 50
    assert any("METEOR is missing: METEOR ended early (Error: no memory)" in flag for flag in found.flags)


def test_the_process_ends_with_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = pretend_java(tmp_path, monkeypatch, "time.sleep(60)")

    def press() -> None:
        deadline = time.monotonic() + 20
        while not (noted.is_file() and noted.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        meteor_scores(["a chair"], [["a bed"]])
    assert ended(noted) and time.monotonic() - start < 30


def test_a_java_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").write_text("not a program")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="does not start"):
        meteor_scores(["a"], [["b"]])


def test_java_home_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == str(tmp_path / "bin" / "java")


def test_a_jar_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor, "require", lambda *_: type("package", (), {"__path__": [str(tmp_path)]}))
    with pytest.raises(UserError, match=r"meteor-1\.5\.jar is missing: run `pip install --force-reinstall"):
        meteor_scores(["a"], [["b"]])
