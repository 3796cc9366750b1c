"""Objects in a scan's frames, found by any model that ultralytics runs.

ultralytics and the weights it publishes are licensed under AGPL-3.0 (or a paid licence from Ultralytics): whoever
passes on a program that uses them, or offers one over a network, owes its users the source. Nothing else in this
project needs it, and no other file imports it.
"""

import atexit
import difflib
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from bev.device import choose_device
from bev.errors import UserError, require
from bev.progress import track
from bev.scan import Frame, Scan
from markers.ahead import decoded_ahead
from markers.detections import check_boxes, compact_masks, empty_boxes
from markers.known_weights import TEXT_ENCODERS
from markers.weights import cache_folder, find_weights, sha256_of

if TYPE_CHECKING:
    import supervision as sv

_log = logging.getLogger(__name__)

MOST_PER_FRAME = 300
"""What ultralytics keeps of one frame, the best first."""

_TASKS = ("detect", "segment")
# ultralytics' own 0.7 leaves two boxes on one cup or chair; this is the usual value of the COCO detectors
_OVERLAP_MAX = 0.5
# what ultralytics' loaders raise for files that are not what they say
_LOAD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OSError,
    EOFError,
)
# most formats do not tell a file that was cut short from one of another kind
_MEND = "if it may be cut short, fetch or export it again, else give another model"


def detect(
    scan: Scan,
    *,
    weights: Path | str,
    classes: Sequence[str] = (),
    score_min: float = 0.25,
    batch_size: int = 8,
    device: str | None = None,
    trust_weights: bool = False,
    progress: bool = False,
) -> "dict[int, sv.Detections]":
    """What `iter_detections` finds, of all frames: frame index to detections."""
    found = iter_detections(
        scan,
        weights=weights,
        classes=classes,
        score_min=score_min,
        batch_size=batch_size,
        device=device,
        trust_weights=trust_weights,
        progress=progress,
    )
    return dict(found)


def iter_detections(
    scan: Scan,
    *,
    weights: Path | str,
    classes: Sequence[str] = (),
    score_min: float = 0.25,
    batch_size: int = 8,
    device: str | None = None,
    trust_weights: bool = False,
    progress: bool = False,
) -> "Iterator[tuple[int, sv.Detections]]":
    """Run an ultralytics model over a scan, frame by frame in time order.

    Weights are found and loaded before this returns; frames are decoded ahead in a thread and detected in batches while
    the result is iterated, so a long scan never lies in memory.

    Args:
        scan: its colour images are used.
        weights: a file that ultralytics loads (`.pt`, `.onnx`, `.tflite` …), or a name in `known_weights.KNOWN`,
            which is fetched once.
        classes: for an open-vocabulary model (YOLO-World, YOLOE) what to look for; for any other, which of its classes
            to keep. Empty: all that the model knows.
        score_min: detections that score less are left out, 0 to 1.
        batch_size: frames per call; models that were exported for fewer get fewer.
        device: "cpu", "cuda", "cuda:1"; None takes CUDA where there is one.
        trust_weights: run code that the weights file carries; see `markers.weights.find_weights`.
        progress: show a bar.

    Yields:
        frame index and detections: `xyxy` in pixels of the frame's colour image, `confidence`, `class_id` (place in the
        model's list of classes), `data["class_name"]`, and from models that segment, `mask` as run lengths
        (`sv.CompactMask`) at the frame's full size. Detections whose mask would be empty are left out by ultralytics,
        those whose box is empty here, and counted in the log.

    Raises:
        UserError: no usable weights, an unknown class or device, a package is missing that the format needs, or the
            model returns boxes that are not finite.
    """
    if batch_size < 1 or not 0 <= score_min <= 1:
        raise UserError(
            f"batch_size {batch_size}, score_min {score_min}: give 1 frame or more, and a score from 0 to 1"
        )
    device = choose_device(device, "detect")
    path = find_weights(weights, trust=trust_weights, progress=progress)
    model = _load(path)
    options = {"conf": score_min, "device": device, "max_det": MOST_PER_FRAME, "iou": _OVERLAP_MAX}
    options |= {"retina_masks": True, "verbose": False, "save": False, "show": False}
    limit = _batch_limit(model, path, options)
    options["classes"] = _choose_classes(model, path, classes)
    return _run(scan, model, min(batch_size, limit or batch_size), options, progress=progress)


def _run(
    scan: Scan, model: Any, batch_size: int, options: dict[str, Any], *, progress: bool
) -> "Iterator[tuple[int, sv.Detections]]":
    full: list[int] = []
    left_out = 0
    pairs = _batches(scan, model, batch_size, options)
    for frame in track(scan.frames, "Detecting", show=progress):
        result = next(pairs)
        if len(result.boxes) >= MOST_PER_FRAME:
            full.append(frame.index)
        found = _detections(result, frame, masks=model.task == "segment")
        held = ~empty_boxes(found.xyxy)
        left_out += int(np.count_nonzero(~held))
        yield frame.index, cast("sv.Detections", found[held])
    if left_out:
        _log.warning("%d boxes were empty, as boxes in the margin around an image are, and were left out", left_out)
    if full:
        _log.warning("%d frames hold %d detections or more, of which the best were kept", len(full), MOST_PER_FRAME)


def _batches(scan: Scan, model: Any, batch_size: int, options: dict[str, Any]) -> Iterator[Any]:
    """One ultralytics result per frame."""
    batch: list[np.ndarray] = []
    for _, image in decoded_ahead(scan.frames, ahead=2 * batch_size):
        # ultralytics pads a mixed batch differently, so results would depend on a frame's neighbours
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield from _predict(model, batch, options)
            batch = []
        batch.append(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))  # ultralytics takes arrays as OpenCV's
    if batch:
        yield from _predict(model, batch, options)


def _predict(model: Any, images: list[np.ndarray], options: dict[str, Any]) -> list[Any]:
    torch = require("torch", "detect")
    try:
        return model.predict(images, batch=len(images), **options)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{len(images)} frames at once do not fit the memory of {options['device']}: lower the batch size, "
            "or give --device cpu"
        ) from error


def _detections(result: Any, frame: Frame, *, masks: bool) -> "sv.Detections":
    sv = require("supervision")
    boxes = result.boxes.cpu().numpy()
    xyxy = boxes.xyxy.reshape(-1, 4)
    check_boxes(xyxy, frame.index)  # before supervision says it without the frame
    class_id = boxes.cls.astype(int)
    mask = None
    if masks:
        size = (frame.camera.height, frame.camera.width)
        dense = np.zeros((0, *size), bool) if result.masks is None else result.masks.data.cpu().numpy().astype(bool)
        mask = compact_masks(dense)
    return sv.Detections(
        xyxy=xyxy,
        mask=mask,
        confidence=boxes.conf,
        class_id=class_id,
        data={"class_name": np.array([result.names[k] for k in class_id], dtype=str)},
    )


def _load(path: Path) -> Any:
    """The model, by a library that neither installs, downloads, reports nor writes anything by itself."""
    ultralytics = _quiet_ultralytics()
    try:
        model = ultralytics.YOLO(str(path.absolute()))
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: needs the package {error.name}, which is not installed; install it") from error
    except _LOAD_ERRORS as error:
        raise UserError(f"{path}: ultralytics cannot load it ({_first_line(error)}); {_MEND}") from error
    if model.task not in _TASKS:
        raise UserError(f"{path}: is a model for {model.task}; give one that detects or segments objects")
    return model


def _quiet_ultralytics() -> Any:
    """Import ultralytics with its settings in a folder of ours, and undo what importing it does to the process."""
    if "ultralytics" not in sys.modules:
        require("torch", "detect")  # before ultralytics bids OpenMP use one thread
        folder = Path(tempfile.mkdtemp(prefix="gpt4scene-ultralytics-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "Ultralytics").mkdir()
        settings = {"sync": False, "weights_dir": str(cache_folder()), "runs_dir": str(folder / "runs")}
        (folder / "Ultralytics" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
        os.environ.setdefault("YOLO_VERBOSE", "false")
    image, torch = require("PIL.Image", "detect"), require("torch", "detect")
    omp_threads, cv_threads = os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()
    image_open, torch_save = image.open, torch.save
    with np.printoptions():
        ultralytics = require("ultralytics", "detect")
        events = require("ultralytics.utils.events", "detect")
    if omp_threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    cv2.setNumThreads(cv_threads)
    image.open, torch.save = image_open, torch_save  # it puts functions of its own in their place
    # where somebody else imported it first, with other settings
    require("ultralytics.utils.checks", "detect").AUTOINSTALL = False
    events.events.enabled = False
    return ultralytics


def _choose_classes(model: Any, path: Path, classes: Sequence[str]) -> list[int] | None:
    """Tell an open-vocabulary model what to look for, or find the classes' places in any other model's list."""
    wanted = list(dict.fromkeys(name.strip() for name in classes if name.strip()))
    known = dict(enumerate(model.names)) if isinstance(model.names, list) else dict(model.names)
    places = {name: k for k, name in known.items()}
    unknown = [name for name in wanted if name not in places]
    ultralytics = _quiet_ultralytics()
    open_vocabulary = isinstance(model, ultralytics.YOLOWorld | ultralytics.YOLOE)
    prompt_free = open_vocabulary and hasattr(model.model.model[-1], "lrpc")
    # a YOLOE model that was never told its classes runs, on zeros
    untold = isinstance(model, ultralytics.YOLOE) and not prompt_free and not hasattr(model.model, "pe")
    if untold and not wanted:
        raise UserError(f"{path}: finds only what it is told to look for; give --classes, such as 'chair, trash can'")
    if open_vocabulary and not prompt_free and (unknown or untold):
        _tell_classes(model, path, wanted)
        return None
    if unknown:
        near = difflib.get_close_matches(unknown[0], places, n=3)
        offer = f"did you mean {', '.join(near)}" if near else f"it knows {', '.join(list(places)[:100])}"
        raise UserError(f"{path}: does not know the class {unknown[0]!r}; {offer}")
    return sorted(places[name] for name in wanted) or None


def _tell_classes(model: Any, path: Path, wanted: list[str]) -> None:
    """Turn names into a model's classes, by a text encoder that must be here: ultralytics would download it unasked."""
    world = isinstance(model, _quiet_ultralytics().YOLOWorld)
    name = "clip:ViT-B/32" if world else getattr(model.model, "text_model", "mobileclip:blt")
    encoder = TEXT_ENCODERS.get(name)
    if encoder is None:
        raise UserError(f"{path}: its text encoder {name} is not known here; give a model with its classes set")
    # ultralytics takes one from the working directory first
    beside = Path(encoder.place)
    file = beside if not world and beside.is_file() else cache_folder() / encoder.place
    if importlib.util.find_spec("clip") is None:
        raise UserError(
            f"{path}: to look for {wanted[0]!r} it needs the package clip: run "
            "`pip install git+https://github.com/ultralytics/CLIP.git` (or give a model with its classes set)"
        )
    if not file.is_file():
        raise UserError(
            f"{path}: to look for {wanted[0]!r} it needs a text encoder: download {encoder.url} "
            f"({encoder.licence}) and put it at {file}"
        )
    if sha256_of(file) != encoder.sha256:
        raise UserError(f"{file}: its sha256 is not {encoder.sha256} as published; download {encoder.url} again")
    settings = require("ultralytics.utils", "detect").SETTINGS
    dict.update(settings, weights_dir=str(cache_folder()))  # not its own update, which would write a user's file
    require("ultralytics.nn.text_model", "detect").WEIGHTS_DIR = cache_folder()
    model.set_classes(wanted)


def _batch_limit(model: Any, path: Path, options: dict[str, Any]) -> int | None:
    """Run the model once on nothing: whether it runs at all, and how many images it takes; None for any number."""
    try:
        model.predict([np.zeros((64, 64, 3), np.uint8)], batch=1, **options)
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: needs the package {error.name}, which is not installed; install it") from error
    except _LOAD_ERRORS as error:
        raise UserError(f"{path}: ultralytics cannot run it ({_first_line(error)}); {_MEND}") from error
    backend = model.predictor.model
    free = getattr(backend, "format", "") == "pt" or getattr(backend, "dynamic", False)
    return None if free else max(int(getattr(backend, "batch", 1)), 1)


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
