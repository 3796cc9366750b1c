"""Structure from motion in a child process: images go out as files, cameras come back as a file.

pycolmap and torch in one process corrupt the heap, and native code can crash or hang: so nothing here imports
pycolmap. The method is COLMAP's (Schoenberger and Frahm, "Structure-from-Motion Revisited", CVPR 2016) or, as the
global mapper, GLOMAP's (Pan et al., "Global Structure-from-Motion Revisited", ECCV 2024).
"""

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from bev.camera import Camera, invert_rigid
from bev.errors import UserError

Mapper = Literal["incremental", "global"]

_LONGER_SIDE_MAX_PX = 1024
"""Larger images are made smaller: more features cost time and move cameras by less than they err."""
_STAGES = {"features": ("find features", "frame"), "pairs": ("match", "pair"), "cameras": ("place cameras", "frame")}


@dataclass(frozen=True, eq=False)
class SfmModel:
    """Cameras and points that hang together; its world and its size are its own."""

    rows: np.ndarray
    """(n,) int64, ascending: which of the images have a camera."""
    world_from_camera: np.ndarray
    """(n, 4, 4) float64."""
    points: np.ndarray
    """(N, 3) float64."""
    seen: np.ndarray
    """(M, 2) int64: row of an image, row of a point it sees."""
    K: np.ndarray
    """(3, 3) float64 pixels of the images as they were given."""
    k1: float
    """Radial distortion, the first coefficient of OpenCV's model; 0 where the camera was known."""
    error_px: float
    """Mean distance of the points from their features, in pixels of the images as they were matched."""

    def depths(self) -> np.ndarray:
        """(M,) float64: along z from the camera to the point, for each row of `seen`."""
        camera_from_world = np.stack([invert_rigid(pose) for pose in self.world_from_camera])
        chosen = camera_from_world[np.searchsorted(self.rows, self.seen[:, 0]), 2]
        return (chosen[:, :3] * self.points[self.seen[:, 1]]).sum(axis=1) + chosen[:, 3]


@dataclass(frozen=True, eq=False)
class SfmResult:
    """All that structure from motion says about some images."""

    models: tuple[SfmModel, ...]
    """From large to small; several where the images fall apart, none where nothing fits."""
    features: np.ndarray
    """(n,) int64: how many features each image has."""
    turned_share: float
    """Of the pairs of images that match, how many show a turn, or a plane, and no depth."""


def run_sfm(
    images: Iterable[np.ndarray],
    camera: Camera,
    *,
    known: bool,
    mapper: Mapper = "incremental",
    timeout_s: float = 1800.0,
    progress: bool = False,
    command: Sequence[str] | None = None,
) -> SfmResult:
    """Cameras of images that one lens took. The same images give the same cameras, to the bit on one machine.

    Args:
        images: (H, W, 3) uint8 RGB, in the order of time if they have one; written to files one by one.
        camera: the lens; its pose does not matter.
        known: the camera is calibrated and its images are pinhole: nothing of it is refined. Otherwise its K is a
            first guess, and focal length and distortion are found.
        mapper: "incremental" adds one image after the other; "global" places all at once.
        timeout_s: after so many seconds the child is killed.
        progress: show bars.
        command: what to run in place of the child, given the folder as its last argument.

    Raises:
        UserError: pycolmap is missing, or the child crashed or took too long.
    """
    if command is None:
        if importlib.util.find_spec("pycolmap") is None:
            raise UserError("pycolmap is not installed: run `pip install 'gpt4scene[video]'`")
        # -P: files that lie beside the child must not pass for modules of other packages
        command = [sys.executable, "-P", str(Path(__file__).with_name("sfm_process.py"))]
    with tempfile.TemporaryDirectory(prefix="gpt4scene-sfm-") as name:
        folder = Path(name)
        size = _matched_size(camera)
        names = _write_images(folder, images, size)
        request = {"names": names, "camera": _lens(camera.resized(*size), known), "mapper": mapper, "threads": _cpus()}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run([*command, str(folder)], folder / "log.txt", timeout_s, progress)
        return _read_result(folder / "models.npz", camera, size)


def _matched_size(camera: Camera) -> tuple[int, int]:
    factor = min(1.0, _LONGER_SIDE_MAX_PX / max(camera.width, camera.height))
    return round(camera.width * factor), round(camera.height * factor)


def _write_images(folder: Path, images: Iterable[np.ndarray], size: tuple[int, int]) -> list[str]:
    names = []
    for row, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if (grey.shape[1], grey.shape[0]) != size:
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        names.append(f"{row:06d}.png")
        # OpenCV's own writing to a file says on the terminal alone that the disk is full
        done, data = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        try:
            (folder / names[-1]).write_bytes(data.tobytes())
        except OSError as error:
            raise UserError(
                f"{folder}: images for structure from motion cannot be written ({error.strerror}); make room there, or "
                "name another folder for temporary files in the environment variable TMPDIR"
            ) from error
    return names


def _lens(camera: Camera, known: bool) -> dict[str, Any]:
    """A camera as COLMAP takes it; its pixels count from the same corner as ours."""
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    model, parameters = ("PINHOLE", [fx, fy, cx, cy]) if known else ("SIMPLE_RADIAL", [(fx + fy) / 2, cx, cy, 0.0])
    size = {"width": camera.width, "height": camera.height}
    return {"model": model, "parameters": [float(value) for value in parameters], "known": known, **size}


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(command: Sequence[str], log: Path, timeout_s: float, progress: bool) -> None:
    """Run the child to its end; whatever happens here, it does not live on."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # its own threads do the work, each on its own images
    deadline = time.monotonic() + timeout_s
    with log.open("wb") as errors:
        # in a session of its own, Ctrl-C reaches this process only, which then ends the child
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    try:
        with contextlib.closing(_Bars(progress)) as bars:
            for line in _lines(child, deadline):
                bars.show(line)
        code = child.wait(max(deadline - time.monotonic(), 0.0))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"structure from motion was not done after {timeout_s:g} s and was stopped; "
            "give it fewer key frames or more time"
        ) from error
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
    if code:
        raise UserError(f"structure from motion {_ended(code)}: {_last_lines(log)}; try other or fewer key frames")


def _lines(child: "subprocess.Popen[bytes]", deadline: float) -> Iterator[bytes]:
    """What the child prints, until it closes its output."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def listen() -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError):  # closed, because nobody waits for it any more
            for line in child.stdout:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty as error:
            raise TimeoutError from error
        if line is None:
            return
        yield line


class _Bars:
    """One bar for each stage that the child reports."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._stage = ""
        self._bar: Any = None

    def show(self, line: bytes) -> None:
        """Move the bar as a line of the child says; native code prints other lines too."""
        if not self._shown or not line.startswith(b'{"stage"'):
            return
        from tqdm import tqdm

        report = json.loads(line)
        if report["stage"] != self._stage:
            self.close()
            self._stage = report["stage"]
            description, unit = _STAGES[self._stage]
            self._bar = tqdm(total=report["of"], desc=description, unit=unit, leave=False)
        self._bar.n = report["done"]
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def _ended(code: int) -> str:
    if code > 0:
        return f"failed (exit code {code})"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"


def _last_lines(log: Path) -> str:
    lines = [" ".join(line.split()) for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line and "@ 0x" not in line]  # the rest is addresses of native code
    return " | ".join(said[-3:]) or "it said nothing"


def _read_result(path: Path, camera: Camera, size: tuple[int, int]) -> SfmResult:
    if not path.is_file():
        raise UserError("structure from motion ended without a result; try other or fewer key frames")
    with np.load(path) as stored:
        arrays = dict(stored)
    count = sum(key.startswith("rows_") for key in arrays)
    turned, matched = arrays["turned_only"].tolist()
    models = (_model({key: arrays[f"{key}_{m}"] for key in _MODEL_KEYS}, camera, size) for m in range(count))
    return SfmResult(tuple(models), arrays["keypoints"], turned / max(matched, 1))


_MODEL_KEYS = ("rows", "camera_from_world", "points", "seen", "K", "k1", "error_px")


def _model(arrays: dict[str, np.ndarray], camera: Camera, size: tuple[int, int]) -> SfmModel:
    camera_from_world = np.tile(np.eye(4), (len(arrays["rows"]), 1, 1))
    camera_from_world[:, :3] = arrays["camera_from_world"]
    return SfmModel(
        rows=arrays["rows"],
        world_from_camera=np.stack([invert_rigid(pose) for pose in camera_from_world]),
        points=arrays["points"],
        seen=arrays["seen"],
        K=Camera(arrays["K"], *size, np.eye(4)).resized(camera.width, camera.height).K,
        k1=float(arrays["k1"]),
        error_px=float(arrays["error_px"]),
    )
