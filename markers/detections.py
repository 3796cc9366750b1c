"""Detections of a whole scan on disk: one small file per frame, read only when asked for."""

import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bev.errors import UserError, require
from bev.scan import Frame, Scan

if TYPE_CHECKING:
    import supervision as sv

_SCHEMA = "gpt4scene/detections@1"
_INDEX_NAME = "detections.json"
_HALF = ".half-written-"
_HALF_INDEX_NAME = _HALF + _INDEX_NAME
"""Lies in a folder from before the first frame is written until the list of frames takes its place."""
_FRAME_NAME = re.compile(r"(-?\d+)\.npz")
_OPTIONAL = ("confidence", "class_id", "tracker_id")
_DATA = "data."
"""What names an entry of `Detections.data` in a frame's file."""


def frames_of(detections: Mapping[int, "sv.Detections"], scan: Scan) -> dict[int, Frame]:
    """The frame of the scan that each detections are of, in the order of the scan.

    Raises:
        UserError: the scan lacks a frame; names the first such.
    """
    strange = sorted(set(detections) - {frame.index for frame in scan.frames})
    if strange:
        held = sorted(frame.index for frame in scan.frames)
        span = f", from {held[0]} to {held[-1]}" if held else ""
        raise UserError(
            f"detections of frame {strange[0]}{' and others' * (len(strange) > 1)}: {scan.name} has no such frame "
            f"(it has {len(held)}{span}); give the scan that they are of"
        )
    return {frame.index: frame for frame in scan.frames if frame.index in detections}


def check_boxes(xyxy: np.ndarray, frame_index: int, *, size: tuple[int, int] | None = None) -> None:
    """Boxes must be finite; where the size of the image is given, they must hold something and lie partly in it.

    Args:
        xyxy: (n, 4) boxes in pixels of that frame.
        frame_index: what the error names.
        size: the image's width and height, pixels; None where it is not known.

    Raises:
        UserError: a box is not so; names the frame and the first such box.
    """
    boxes = np.asarray(xyxy, np.float64)
    wrong = {"is not finite": ~np.all(np.isfinite(boxes), axis=1)}
    if size is not None:
        wrong["is empty"] = empty_boxes(boxes)
        wrong["lies outside its image"] = np.any((boxes[:, 2:] <= 0) | (boxes[:, :2] >= size), axis=1)
    for what, rows in wrong.items():
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            raise UserError(
                f"frame {frame_index}: box {first} of {len(boxes)} {what} ({_told(boxes[first])}); "
                "leave it out, or mend the detector that made it"
            )


def empty_boxes(xyxy: np.ndarray) -> np.ndarray:
    """Which of (n, 4) boxes hold nothing, (n,) bool: detectors clip to that what they see beyond an image's edge."""
    return ~np.all(xyxy[:, 2:] > xyxy[:, :2], axis=1)


def _told(box: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in box)


def save_detections(folder: Path | str, pairs: Iterable[tuple[int, "sv.Detections"]]) -> None:
    """Write detections frame by frame, so that only one frame's are in memory.

    Masks are kept as supervision's run lengths; dense masks are turned into them first, without loss. The list of
    frames is written last: a folder without it is not whole.

    Args:
        folder: new or empty, or one that this function wrote; what it held is replaced.
        pairs: frame index and that frame's detections, each frame once.

    Raises:
        UserError: the folder holds something else, a frame comes twice, or a box is not finite.
    """
    folder = Path(folder)
    _claim(folder)
    seen: list[int] = []
    known: set[int] = set()
    for frame_index, detections in pairs:
        if frame_index in known:
            raise UserError(f"{folder}: frame {frame_index} comes twice; give each frame's detections once")
        check_boxes(detections.xyxy, frame_index)
        known.add(frame_index)
        seen.append(int(frame_index))
        _write_whole(_file(folder, frame_index), _arrays(detections, frame_index))
    temporary = folder / _HALF_INDEX_NAME
    _write_index(temporary, sorted(seen))
    temporary.replace(folder / _INDEX_NAME)


def load_detections(folder: Path | str) -> Mapping[int, "sv.Detections"]:
    """Detections that `save_detections` wrote: frame index to detections, each read from disk when asked for.

    Raises:
        UserError: the folder is not one of these or is not whole; on access, a frame's file is damaged.
    """
    folder = Path(folder)
    path = folder / _INDEX_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}: holds no {_INDEX_NAME}, no whole detections; run the detector again") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: does not parse; run the detector again") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA or not isinstance(frames, list):
        raise UserError(f"{path}: is not of schema {_SCHEMA}; run the detector again")
    if not all(type(index) is int for index in frames):
        raise UserError(f"{path}: its frames are not whole numbers; run the detector again")
    return _Stored(folder, tuple(sorted(frames)))


@dataclass(frozen=True, eq=False)
class _Stored(Mapping[int, "sv.Detections"]):
    """A folder of detections seen as a mapping."""

    folder: Path
    frames: tuple[int, ...]

    def __getitem__(self, frame_index: int) -> "sv.Detections":
        if frame_index not in self.frames:
            raise KeyError(frame_index)
        return _read(_file(self.folder, frame_index))

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)


def _file(folder: Path, frame_index: int) -> Path:
    return folder / f"{frame_index:06d}.npz"


def _claim(folder: Path) -> None:
    """Empty a folder that carries our list of frames, whole or half-written; refuse any other that holds something."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder to write detections to")
    held = sorted(folder.iterdir()) if folder.is_dir() else []
    frames = [path for path in held if _FRAME_NAME.fullmatch(path.name.removeprefix(_HALF))]
    lists = [path for path in held if path.name in (_INDEX_NAME, _HALF_INDEX_NAME)]
    if held and not (len(frames) + len(lists) == len(held) and any(_is_ours(path) for path in lists)):
        raise UserError(f"{folder}: holds something that is no detections; give a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    _write_index(folder / _HALF_INDEX_NAME, [])
    (folder / _INDEX_NAME).unlink(missing_ok=True)  # first: from then on the folder is not whole
    for path in frames:
        path.unlink()


def _is_ours(path: Path) -> bool:
    if path.name == _HALF_INDEX_NAME:  # perhaps cut short
        return True
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("schema") == _SCHEMA


def _write_index(path: Path, frames: list[int]) -> None:
    path.write_text(json.dumps({"schema": _SCHEMA, "frames": frames}) + "\n", encoding="utf-8")


def _write_whole(path: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(_HALF + path.name)
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def _arrays(detections: "sv.Detections", frame_index: int) -> dict[str, np.ndarray]:
    """All that a frame's detections hold, as arrays without objects."""
    if detections.metadata:
        raise ValueError(f"frame {frame_index}: detections with metadata cannot be stored")
    arrays = {"xyxy": detections.xyxy}
    for name in _OPTIONAL:
        value = getattr(detections, name)
        if value is not None:
            arrays[name] = value
    for name, value in detections.data.items():
        arrays[_DATA + name] = np.asarray(value)
    for name, value in arrays.items():
        if value.dtype.hasobject:
            if not all(isinstance(entry, str) for entry in value.flat):
                raise ValueError(f"frame {frame_index}: {name} holds Python objects, not numbers or text")
            arrays[name] = value.astype(str)
    if detections.mask is not None:
        arrays |= _packed(compact_masks(detections.mask))
    return arrays


def compact_masks(mask: "np.ndarray | sv.CompactMask") -> "sv.CompactMask":
    """Dense (n, H, W) masks as supervision's run lengths, cropped to what each mask covers; run lengths unchanged."""
    sv = require("supervision")
    if not isinstance(mask, np.ndarray):
        return mask
    dense = np.asarray(mask, bool)
    # a detector's box may cut its mask: the crop is the mask's own
    boxes = sv.mask_to_xyxy(dense) if len(dense) else np.zeros((0, 4))
    return sv.CompactMask.from_dense(dense, boxes, image_shape=dense.shape[1:])


def _packed(masks: "sv.CompactMask") -> dict[str, np.ndarray]:
    """Run lengths end to end, and how many each mask has.

    They are made from the decoded crops: supervision does not promise to keep the order of its own.
    """
    runs = [_run_lengths(masks.crop(k)) for k in range(len(masks))]
    boxes = masks.bbox_xyxy
    return {
        "mask_runs": np.concatenate([np.zeros(0, np.int32), *runs]),
        "mask_run_counts": np.array([len(run) for run in runs], np.int32),
        "mask_boxes": boxes.astype(np.int32),
        "mask_shape": np.array(masks.shape[1:], np.int32),
    }


def _run_lengths(crop: np.ndarray) -> np.ndarray:
    """Lengths of the runs of a (h, w) mask, column by column, int32; the first, possibly 0, is outside the mask."""
    flat = np.concatenate([[False], crop.ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], starts, [crop.size]])).astype(np.int32)


def _read(path: Path) -> "sv.Detections":
    sv = require("supervision")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        masks = _unpacked(arrays) if "mask_runs" in arrays else None
        return sv.Detections(
            xyxy=arrays["xyxy"],
            mask=masks,
            **{name: arrays[name] for name in _OPTIONAL if name in arrays},
            data={name.removeprefix(_DATA): value for name, value in arrays.items() if name.startswith(_DATA)},
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing from these detections; run the detector again") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged or no frame of detections; run the detector again") from error


def _unpacked(arrays: dict[str, np.ndarray]) -> "sv.CompactMask":
    """The masks of a file; ValueError where its numbers do not fit each other."""
    sv = require("supervision")
    boxes, counts, runs = arrays["mask_boxes"], arrays["mask_run_counts"], arrays["mask_runs"]
    height, width = (int(size) for size in arrays["mask_shape"])
    if boxes.shape != (len(arrays["xyxy"]), 4) or counts.shape != (len(boxes),) or counts.sum() != len(runs):
        raise ValueError("masks and boxes are not of one number")
    crops = boxes[:, 2:] - boxes[:, :2] + 1
    ends = np.cumsum(counts)
    split = np.split(runs.astype(np.int32), ends[:-1]) if len(boxes) else []
    fits = (boxes >= 0).all() and (boxes[:, 2] < width).all() and (boxes[:, 3] < height).all() and (crops > 0).all()
    if not fits or (runs < 0).any() or [int(run.sum()) for run in split] != crops.prod(axis=1).tolist():
        raise ValueError("runs do not fill their masks")
    return sv.CompactMask(split, crops[:, ::-1].astype(np.int32), boxes[:, :2].astype(np.int32), (height, width))
