"""The step that finds detections in a capture's frames, kept on disk so that no network runs twice."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev.errors import UserError
from bev.scan import Scan
from gpt4scene.scene.steps import Steps, fingerprint
from markers.detect import iter_detections
from markers.detections import load_detections, save_detections
from markers.known_weights import KNOWN
from markers.segment import segment, segment_everything
from markers.weights import find_checkpoint, find_weights, sha256_of

if TYPE_CHECKING:
    import supervision as sv

logger = logging.getLogger(__name__)

_FRAMES, _COUNTS = "frames", "counts.json"


@dataclass(frozen=True)
class Model:
    """Weights that are there."""

    path: Path
    sha256: str
    """Of a folder, its fingerprint."""

    @classmethod
    def of(cls, path: Path) -> "Model":
        """Of weights that `markers.weights` found: those that have a known name were compared to its digest there.

        All others are read as a whole: other weights of one network differ neither in size nor at their ends.
        """
        if path.is_dir():
            return cls(path, fingerprint(path))
        known = KNOWN.get(path.name)
        return cls(path, known.sha256 if known else sha256_of(path))

    def told(self) -> str:
        """Name, size, licence and digest, for the log."""
        known = next((known for known in KNOWN.values() if known.sha256 == self.sha256), None)
        licence = known.licence if known else "not listed here (ultralytics' own weights are AGPL-3.0)"
        files = sorted(file for file in self.path.rglob("*") if file.is_file()) if self.path.is_dir() else [self.path]
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        return f"{self.path}: {megabytes:.1f} MB, licence {licence}, sha256 {self.sha256}"


@dataclass(frozen=True)
class Detected:
    """What the networks found in a capture."""

    by_frame: "Mapping[int, sv.Detections]"
    """Frame index to detections with masks, read from disk when asked for."""
    model_names: tuple[str, ...]
    sought: str
    """What the detector was asked for; empty where nothing was asked for."""
    frames: int
    """How many were looked at."""
    frames_with: int
    """How many of them show something."""
    detections: int

    def told(self) -> str:
        """One line."""
        who = " and ".join(self.model_names)
        if not self.detections:
            sought = self.sought and f" ({self.sought})"
            return f"{who} found nothing in {self.frames} frames{sought}"
        return f"{who} found {self.detections} masks in {self.frames_with} of {self.frames} frames"


def find_models(
    weights: Path | str | None, sam: Path | str | None, *, trust_weights: bool, progress: bool
) -> tuple[Model | None, Model | None]:
    """The detector's weights and segment-anything's checkpoint, where they are wanted; fetched if known by name.

    Raises:
        UserError: see `markers.weights.find_weights` and `find_checkpoint`.
    """
    detector = None if weights is None else Model.of(find_weights(weights, trust=trust_weights, progress=progress))
    return detector, None if sam is None else Model.of(find_checkpoint(sam, progress=progress))


def detect_objects(
    steps: Steps,
    scan: Scan,
    detector: Model | None,
    sam: Model | None,
    *,
    inputs: Mapping[str, Any],
    after: Sequence[str] = (),
    classes: Sequence[str] = (),
    score_min: float = 0.25,
    trust_weights: bool = False,
    device: str | None = None,
    progress: bool = False,
) -> Detected:
    """Run the networks over the images of a scan: its surface does not matter, so nobody waits for that.

    Args:
        steps: where "detections" are kept, and "masks" where segment-anything makes them of a detector's boxes.
        scan: its key frames, through the lens that was found with their poses, where there are such steps.
        detector: for `markers.detect.iter_detections`; without one, segment-anything proposes what it sees.
        sam: for `markers.segment`; without it the detector must give masks.
        inputs: fingerprint of the capture, and how its images are read, as JSON can hold them.
        after: names of the earlier steps that chose these frames, or found their lens.
        classes, score_min, trust_weights, device, progress: see `markers.detect.iter_detections`.

    Raises:
        UserError: see there and `markers.segment`; or a detector gives boxes alone and there is no `sam`.
    """

    def found_by_detector(model: Model) -> "Iterator[tuple[int, sv.Detections]]":
        pairs = iter_detections(
            scan,
            weights=model.path,
            classes=classes,
            score_min=score_min,
            device=device,
            trust_weights=trust_weights,
            progress=progress,
        )
        return pairs if sam else _with_masks(pairs, model)

    options = {"device": device, "progress": progress}
    if detector is None:
        assert sam is not None
        key = {**inputs, "sam": sam.sha256}
        everything = sam.path
        folder = steps.run(
            "detections",
            key,
            lambda to: _keep(to, sam, segment_everything(scan, checkpoint=everything, **options)),
            after=after,
        )
        return _load(folder, "", sam)
    sought = f"{', '.join(classes) or 'all classes'}, scores from {score_min:g}"
    key = {**inputs, "weights": detector.sha256, "classes": list(classes), "score_min": score_min}
    folder = steps.run("detections", key, lambda to: _keep(to, detector, found_by_detector(detector)), after=after)
    if sam is None:
        return _load(folder, sought, detector)
    boxes = load_detections(folder / _FRAMES)
    masks = steps.run(
        "masks",
        {"sam": sam.sha256},
        lambda to: _keep(to, sam, segment(scan, boxes, checkpoint=sam.path, **options)),
        after=["detections"],
    )
    return _load(masks, sought, detector, sam)


def _with_masks(pairs: "Iterator[tuple[int, sv.Detections]]", detector: Model) -> "Iterator[tuple[int, sv.Detections]]":
    for index, found in pairs:
        if found.mask is None:  # as with the first frame, so nobody waits for the others
            raise UserError(
                f"--weights {detector.path}: finds boxes without masks; give a -seg model, or a segment-anything "
                "checkpoint with --sam"
            )
        yield index, found


def _keep(folder: Path, model: Model, pairs: "Iterable[tuple[int, sv.Detections]]") -> None:
    logger.info("%s", model.told())
    per_frame: list[int] = []

    def counted() -> "Iterator[tuple[int, sv.Detections]]":
        for index, found in pairs:
            per_frame.append(len(found))
            yield index, found

    save_detections(folder / _FRAMES, counted())
    counts = {"frames": len(per_frame), "with": sum(n > 0 for n in per_frame), "detections": sum(per_frame)}
    (folder / _COUNTS).write_text(json.dumps(counts), encoding="utf-8")


def _load(folder: Path, sought: str, *models: Model) -> Detected:
    counts = json.loads((folder / _COUNTS).read_text(encoding="utf-8"))
    names = tuple(model.path.name for model in models)
    by_frame = load_detections(folder / _FRAMES)
    return Detected(by_frame, names, sought, counts["frames"], counts["with"], counts["detections"])
