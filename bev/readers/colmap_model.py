"""COLMAP's sparse models, text and binary, parsed without COLMAP: pycolmap and torch must not share a process.

The files: https://colmap.github.io/format.html. Newer models have rigs and frames beside; images hold their own pose
all the same. Of images, the key points are skipped: the tracks of the points say who saw what.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bev.errors import UserError
from bev.readers.lenses import Lens, checked
from bev.readers.poses import parse_numbers
from bev.readers.recording import matrices_from_quaternions

_MODELS = {
    0: ("SIMPLE_PINHOLE", "f cx cy"),
    1: ("PINHOLE", "fx fy cx cy"),
    2: ("SIMPLE_RADIAL", "f cx cy k1"),
    3: ("RADIAL", "f cx cy k1 k2"),
    4: ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    5: ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
    6: ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    7: ("FOV", "fx fy cx cy omega"),
    8: ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"),
    9: ("RADIAL_FISHEYE", "f cx cy k1 k2"),
    10: ("THIN_PRISM_FISHEYE", "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1"),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", "fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3"),
    12: ("SIMPLE_DIVISION", "f cx cy k"),
    13: ("DIVISION", "fx fy cx cy k"),
    14: ("SIMPLE_FISHEYE", "f cx cy"),
    15: ("FISHEYE", "fx fy cx cy"),
    16: ("EUCM", "fx fy cx cy alpha beta"),
    17: ("EQUIRECTANGULAR", "w h"),
}
"""Numbers of the camera models in binary files, their names, and their parameters in order (sensor/models.h)."""

_WITH_OPENCV = {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"}
_WITH_OPENCV_FISHEYE = {"OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE"}


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse model of n posed images and N points."""

    names: list[str]
    """n: the images' paths below the folder of images, with `/`."""
    image_ids: list[int]
    lenses: list[Lens]
    """n: each image's."""
    camera_from_world: np.ndarray
    """(n, 4, 4) float64; NaN where the quaternion is none."""
    points: np.ndarray
    """(N, 3) float64."""
    tracks: np.ndarray
    """(M, 2) int64: image id, row of `points`; one row per observation."""


@dataclass(frozen=True)
class _Image:
    id: int
    wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


def model_ending(folder: Path) -> str | None:
    """Which files of a model a folder has: ".bin", which COLMAP prefers too, ".txt", or None."""
    for ending in (".bin", ".txt"):
        if (folder / f"cameras{ending}").is_file() and (folder / f"images{ending}").is_file():
            return ending
    return None


def image_count(folder: Path) -> int:
    """How many images the model in a folder has, without reading all of it."""
    if model_ending(folder) == ".bin":
        return _Binary(folder / "images.bin").count
    return sum(1 for _ in _text_images(folder / "images.txt"))


def read_model(folder: Path) -> ColmapModel:
    """Read the model whose files lie in a folder; points may be missing.

    Raises:
        UserError: a file is cut short or malformed, a camera's model is not supported, there are no images.
    """
    if model_ending(folder) == ".bin":
        cameras = dict(_binary_cameras(folder / "cameras.bin"))
        images = list(_binary_images(folder / "images.bin"))
        points, tracks = _binary_points(folder / "points3D.bin")
    else:
        cameras = dict(_text_cameras(folder / "cameras.txt"))
        images = list(_text_images(folder / "images.txt"))
        points, tracks = _text_points(folder / "points3D.txt")
    if not images:
        raise UserError(f"{folder}: the model is empty, it has no posed image; reconstruct again, or give the images")
    for image in images:
        if image.camera_id not in cameras:
            raise UserError(f"{folder}: image {image.name} is of camera {image.camera_id}, which is not in cameras.*")
    wxyz = np.array([image.wxyz for image in images], np.float64)
    return ColmapModel(
        names=[image.name.replace("\\", "/") for image in images],
        image_ids=[image.id for image in images],
        lenses=[cameras[image.camera_id] for image in images],
        camera_from_world=matrices_from_quaternions(
            wxyz[:, [1, 2, 3, 0]], np.array([image.translation for image in images], np.float64)
        ),
        points=points,
        tracks=tracks,
    )


def _lens(where: str, model: str, width: int, height: int, parameters: list[float]) -> Lens:
    names = next((names.split() for name, names in _MODELS.values() if name == model), None)
    if names is None or model not in _WITH_OPENCV | _WITH_OPENCV_FISHEYE:
        known = ", ".join(name for name, _ in _MODELS.values() if name in _WITH_OPENCV | _WITH_OPENCV_FISHEYE)
        raise UserError(
            f"{where}: the camera model {model} is none of {known}; undo the lens with `colmap image_undistorter` and "
            "give the folder that it writes"
        )
    if len(parameters) != len(names):
        raise UserError(f"{where}: {model} has {len(names)} parameters ({' '.join(names)}), found {len(parameters)}")
    of = dict(zip(names, parameters, strict=True))
    fisheye = model in _WITH_OPENCV_FISHEYE
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    coefficients = tuple(of.get(name, 0.0) for name in order)
    return checked(
        Lens(
            where,
            of.get("fx", of.get("f", 0.0)),
            of.get("fy", of.get("f", 0.0)),
            of["cx"],
            of["cy"],
            width,
            height,
            coefficients if fisheye or any(coefficients) else (),
            fisheye,
        )
    )


class _Binary:
    """A binary file, read from its start to its end; every file begins with the count of its rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path.read_bytes()
        self._at = 0
        (self.count,) = self.take("<Q")
        self._row = 0

    def rows(self) -> Iterator[int]:
        """Counts the rows, and checks at the end that nothing is left over."""
        for row in range(self.count):
            self._row = row
            yield row
        if self._at != len(self._data):
            left = len(self._data) - self._at
            raise UserError(f"{self.path}: has {left} bytes more than its {self.count} rows take; is it damaged?")

    def take(self, layout: str) -> tuple:
        start = self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)

    def take_text(self) -> str:
        """Text up to the next zero."""
        end = self._data.find(b"\0", self._at)
        start = self.skip((end if end >= 0 else len(self._data)) + 1 - self._at)
        return self._data[start:end].decode("utf-8", "replace")

    def take_bytes(self, count: int) -> bytes:
        start = self.skip(count)
        return self._data[start : start + count]

    def skip(self, count: int) -> int:
        """Where the skipped bytes start."""
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            rows = f", in row {self._row + 1} of {self.count}" if start else ""
            raise UserError(f"{self.path}: is cut short after {len(self._data)} bytes{rows}; copy or export it again")
        return start


def _binary_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    file = _Binary(path)
    for _ in file.rows():
        camera_id, number, width, height = file.take("<IiQQ")
        where = f"{path} camera {camera_id}"
        if number not in _MODELS:
            raise UserError(
                f"{where}: camera model {number} is unknown; is the file damaged, or COLMAP newer than 4.2?"
            )
        model, names = _MODELS[number]
        yield camera_id, _lens(where, model, width, height, list(file.take(f"<{len(names.split())}d")))


def _binary_images(path: Path) -> Iterator[_Image]:
    file = _Binary(path)
    for _ in file.rows():
        image_id, *pose, camera_id = file.take("<I7dI")
        yield _Image(image_id, tuple(pose[:4]), tuple(pose[4:]), camera_id, file.take_text())
        file.skip(24 * file.take("<Q")[0])  # x, y and the point's id


def _binary_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) and tracks (M, 2) as in `ColmapModel`; both empty where there is no such file."""
    if not path.is_file():
        return np.zeros((0, 3)), np.zeros((0, 2), np.int64)
    file = _Binary(path)
    points, lengths, tracks = [], [], []
    for _ in file.rows():
        _, x, y, z, *_, length = file.take("<Q3d3BdQ")
        points.append((x, y, z))
        lengths.append(length)
        tracks.append(file.take_bytes(8 * length))
    image_ids = np.frombuffer(b"".join(tracks), "<u4").reshape(-1, 2)[:, 0].astype(np.int64)
    return _points(points), np.stack([image_ids, np.repeat(np.arange(len(points)), lengths)], axis=1)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are no comments, empty ones included: where each stands, and its text."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.startswith("#"):
                yield f"{path} line {number}", line.strip()


def _text_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    for where, line in _lines(path):
        if not line:
            continue
        words = line.split()
        if len(words) < 5 or not all(word.isdecimal() for word in (words[0], words[2], words[3])):
            raise UserError(f"{where}: must hold a camera's id, model, width, height and parameters, holds {line[:80]}")
        parameters = parse_numbers(" ".join(words[4:]), len(words) - 4, where)
        yield int(words[0]), _lens(where, words[1], int(words[2]), int(words[3]), parameters)


def _text_images(path: Path) -> Iterator[_Image]:
    lines = _lines(path)
    for where, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)
        if len(words) != 10:
            raise UserError(f"{where}: must hold an image's id, quaternion, translation, camera and name: {line[:80]}")
        image_id, *pose, camera_id = parse_numbers(" ".join(words[:9]), 9, where)
        next(lines, None)  # its key points, an empty line where it has none
        yield _Image(int(image_id), tuple(pose[:4]), tuple(pose[4:]), int(camera_id), words[9])


def _text_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """As `_binary_points`."""
    points, tracks = [], []
    for where, line in _lines(path) if path.is_file() else ():
        words = line.split()
        if not words:
            continue
        if len(words) < 8 or len(words) % 2:
            raise UserError(f"{where}: must hold a point's id, position, colour, error and track, holds {line[:80]}")
        numbers = parse_numbers(" ".join(words), len(words), where)
        tracks += [(int(image_id), len(points)) for image_id in numbers[8::2]]
        points.append(numbers[1:4])
    return _points(points), np.array(tracks, np.int64).reshape(-1, 2)


def _points(rows: list) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, 3)
