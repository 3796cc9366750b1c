"""What one scene adds to a dataset: written by one process, whole or not at all, and put together with others later.

`OUT/images/SCENE/` holds its images, `OUT/.parts/SCENE/` the lines that it adds to each file of the dataset, and
`part.json`, which comes last: only with it, and with files of the sizes that it names, does a part count as done.
"""

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.scannet_objects import check_numbers, find_scan, objects_of_scene
from gpt4scene.datasets.dropped import dropped_rows
from gpt4scene.datasets.training_samples import Asked, SceneSamples, needs_objects, scene_samples
from gpt4scene.prompting.conversation import Conversation, Image, Text
from gpt4scene.prompting.conversation_file import Sample, sample_lines, sharegpt_lines
from gpt4scene.prompting.presets import PRESETS
from gpt4scene.prompting.shown import Shown, show
from gpt4scene.scene.atomic import write_bytes, write_errors
from gpt4scene.scene.scene import load_scene
from gpt4scene.vlm.image_tokens import image_rule
from gpt4scene.vlm.protocol import ViewSize
from gpt4scene.vlm.text_tokens import text_tokens

Format = Literal["jsonl", "sharegpt"]
FORMATS: tuple[Format, ...] = ("jsonl", "sharegpt")
PARTS, IMAGES = ".parts", "images"
_RECORD = "part.json"
_PART = 2
"""Raise it when parts are made otherwise: those that are there then count no more."""
_ANNOTATION_ENDINGS = (".json", ".txt", ".ply", ".npy")
_LINES = {"jsonl": sample_lines, "sharegpt": sharegpt_lines}


@dataclass(frozen=True)
class Drawn:
    """At which size images are drawn."""

    size: ViewSize
    model: str
    """Whose size it is, which also tells how many tokens they take; "" where it was given in pixels."""


@dataclass(frozen=True)
class SceneWork:
    """One scene's part of a dataset, to be made."""

    name: str
    """As annotations have it."""
    folder: Path
    out: Path
    asked: tuple[Asked, ...]
    """In the order in which they are written."""
    preset: str
    drawn: Drawn
    formats: tuple[Format, ...]
    iou_min: float
    seed: int
    objects: SceneObjects | None = None
    """None: read from `scans`, where a question needs them."""
    scans: Path | None = None

    @property
    def needs_objects(self) -> bool:
        """Whether any question is about objects by number."""
        return any(needs_objects(sample) for each in self.asked for sample in each.samples)

    def key(self) -> str:
        """A hash of all that the part depends on.

        Raises:
            UserError: the annotated scan is missing.
        """
        document = (self.folder / "scene.json").read_bytes()
        files = [self.folder / name for name in ("bev.png", "instances.npz", "surface.ply")]
        inputs = [_state(files), _state((self.folder / "frames").glob("*.jpg"))]
        if self.needs_objects and self.objects is None:
            assert self.scans is not None
            annotated = find_scan(self.name, self.scans).glob(f"{glob.escape(self.name)}*")
            inputs.append(_state(path for path in annotated if path.suffix in _ANNOTATION_ENDINGS))
        asked = [[each.task, each.split, *(replace(one, where="") for one in each.samples)] for each in self.asked]
        parts = [_PART, version("gpt4scene"), hashlib.sha256(document).hexdigest(), inputs, repr(asked)]
        parts += [_boxes(self.objects), self.preset, repr(self.drawn), self.formats, self.iou_min, self.seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class ScenePart:
    """One scene's part of a dataset, done."""

    name: str
    folder: Path
    key: str
    images: Mapping[str, int]
    """Path from the dataset's folder to bytes."""
    counts: Sequence[Mapping[str, Any]]
    """For each task and split: how many samples, and tokens from the least to the most."""
    prefix_tokens: tuple[int, int]
    """Of what all its conversations begin with."""
    dropped: Sequence[Mapping[str, Any]]
    """As `dropped_rows` gives them."""

    def lines(self, split: str, format: Format) -> Path:
        """The file of lines that it adds to a split, each with its end; there is none for a split it has no part in."""
        return _lines_file(self.folder, split, format)


def make_part(work: SceneWork, key: str) -> None:
    """Draw a scene's images and write its conversations.

    Raises:
        UserError: the scene or its annotation is damaged, the scene has too few frames, or the disk is full.
    """
    scene = load_scene(work.folder)
    objects = work.objects
    if objects is None and work.needs_objects:
        assert work.scans is not None
        objects = objects_of_scene(scene, find_scan(work.name, work.scans), name=work.name)
    elif objects is not None and work.needs_objects:
        check_numbers(scene, objects.proposed)
    shown = show(scene, size=work.drawn.size, preset=PRESETS[work.preset], folder=work.folder)
    folder = work.out / PARTS / work.name
    with write_errors(work.out):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _RECORD).unlink(missing_ok=True)
        shown = _placed_images(shown, work.out / IMAGES / work.name)
        made = scene_samples(work.asked, shown, objects, iou_min=work.iou_min, seed=work.seed)
        files = _write_lines(work, made, folder)
        record = {
            "key": key,
            "images": {_relative(image, work.out): Path(image.path).stat().st_size for image in shown.images},
            "files": {path.name: path.stat().st_size for path in files},
            "counts": _counts(work, made),
            "prefix_tokens": _tokens([Text(shown.system_prompt), *shown.images], shown, work.drawn.model),
            "dropped": dropped_rows(made.dropped),
        }
        write_bytes(folder / _RECORD, json.dumps(record).encode())


def read_part(out: Path, name: str, key: str | None = None) -> ScenePart | None:
    """A scene's part; None where it is not done, lost files, or has another key than the given one."""
    folder = out / PARTS / name
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        sizes = {folder / file: size for file, size in record["files"].items()}
        sizes |= {out / image: size for image, size in record["images"].items()}
        part = ScenePart(
            name=name,
            folder=folder,
            key=record["key"],
            images=record["images"],
            counts=record["counts"],
            prefix_tokens=(record["prefix_tokens"][0], record["prefix_tokens"][1]),
            dropped=record["dropped"],
        )
        whole = all(path.stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None  # not there, or damaged: made again
    return part if whole and key in (None, part.key) else None


def remove_others(out: Path, names: Iterable[str]) -> None:
    """Remove the parts and images of scenes that are no longer in the dataset, and of no others."""
    kept = set(names)
    for folder in (out / PARTS).iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(out / IMAGES / folder.name, ignore_errors=True)
            shutil.rmtree(folder)


def _placed_images(shown: Shown, folder: Path) -> Shown:
    """The same images as files of the dataset; what else is in the folder goes."""
    folder.mkdir(parents=True, exist_ok=True)
    images = tuple(Image(str(folder / Path(image.path).name), image.detail) for image in shown.images)
    for image, placed in zip(shown.images, images, strict=True):
        write_bytes(Path(placed.path), image.read())
    names = {Path(image.path).name for image in images}
    for old in folder.iterdir():
        if old.name not in names:
            old.unlink()
    return replace(shown, images=images)


def _write_lines(work: SceneWork, made: SceneSamples, folder: Path) -> list[Path]:
    files = []
    for split, samples in made.by_split.items():
        for format in work.formats:
            path = _lines_file(folder, split, format)
            lines = _LINES[format](samples, work.out)
            write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
            files.append(path)
    for old in folder.iterdir():
        if old not in files:
            old.unlink()
    return files


def _lines_file(folder: Path, split: str, format: Format) -> Path:
    return folder / f"{split}.{format}.lines"


def _counts(work: SceneWork, made: SceneSamples) -> list[dict[str, Any]]:
    """For each task and split how many samples, and how many tokens besides those that all of the scene's share."""
    counts = []
    for each in work.asked:
        samples = [one for one in made.by_split[each.split] if one.meta["benchmark"] == each.task]
        own = [_own_tokens(sample) for sample in samples]
        counts.append(
            {
                "task": each.task,
                "split": each.split,
                "samples": len(samples),
                "own_tokens": [sum(low for low, _ in own), sum(high for _, high in own)],
            }
        )
    return counts


def _own_tokens(sample: Sample) -> tuple[int, int]:
    """Of what a conversation says after the images."""
    shared = Conversation(sample.conversation.prefix)
    texts = [part.text for m in sample.conversation.messages for part in m.parts if isinstance(part, Text)]
    ranges = [text_tokens(text) for text in texts[sum(isinstance(p, Text) for m in shared.messages for p in m.parts) :]]
    return sum(each.low for each in ranges), sum(each.high for each in ranges)


def _tokens(parts: Iterable[Text | Image], shown: Shown, model: str) -> tuple[int, int]:
    """Of texts, and of images of the sizes in `shown`."""
    # a model that is trained runs on one's own machine
    rule, sizes = image_rule("openai", model, own_server=True), iter(shown.sizes)
    ranges = [text_tokens(part.text) if isinstance(part, Text) else rule(*next(sizes), part.detail) for part in parts]
    return sum(each.low for each in ranges), sum(each.high for each in ranges)


def _relative(image: Image, out: Path) -> str:
    return Path(image.path).relative_to(out).as_posix()


def _state(paths: Iterable[Path]) -> list[list[Any]]:
    """Name, size and time of files, without reading gigabytes."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(paths) if path.is_file()]


def _boxes(objects: SceneObjects | None) -> str:
    if objects is None:
        return ""
    true = sorted((id, each.label, each.box.tolist()) for id, each in objects.true.items())
    return repr([true, sorted((id, box.tolist()) for id, box in objects.proposed.items())])
