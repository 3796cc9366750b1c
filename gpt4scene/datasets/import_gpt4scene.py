"""GPT4Scene's released data as conversation files: ids, images and words as they are."""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.benchmarks.annotations import needed, read_json, read_rows
from gpt4scene.datasets.dataset_info import dataset_info
from gpt4scene.datasets.image_places import ImagePlaces
from gpt4scene.datasets.parts import FORMATS, IMAGES, Format
from gpt4scene.datasets.publish import claim_dataset, json_writer, unpublish, write_together
from gpt4scene.datasets.recognise import BENCHMARK_TASKS, benchmark_of, task_of
from gpt4scene.prompting.conversation import Conversation, Image, Message, Part, Text
from gpt4scene.prompting.conversation_file import Sample, read_conversations, write_samples, write_sharegpt
from gpt4scene.prompting.object_ids import parse_ids
from gpt4scene.scene.atomic import write_errors

SCHEMA = "gpt4scene/import-report@1"
_FOLDERS = (".", "annotation", "annotations", "data/annotation", "data", "evaluate/annotation")
"""Where in what was downloaded the files lie: its README and its download.py (ac34d5f) disagree."""
_TRAIN = "sharegpt*.json"
_SCENE_IMAGES = "selected_images*_val*.json"
_EVALUATION = {"multi3dref": "multi3drefer"} | {name: name for name in BENCHMARK_TASKS if name != "multi3drefer"}
"""How the names of evaluation files begin, before an underscore, and the benchmark that they are of."""
_SCANNET = re.compile(r"scene\d{4}_\d{2}")


@dataclass(frozen=True)
class Imported:
    """What came out of an import."""

    report: Mapping[str, Any]
    """As report.json holds it."""
    missing: Sequence[str]
    """Paths of images that are not there; their conversations were left out."""


def import_gpt4scene(
    root: Path,
    out: Path,
    *,
    copy_images: bool = False,
    skip_missing_images: bool = False,
    strip: str = "",
    formats: Sequence[Format] = FORMATS,
) -> Imported:
    """Import the data that GPT4Scene released, as it was downloaded and unpacked.

    The ShareGPT file becomes `train`; the evaluation files, with the list of each scene's images, become `val`, whose
    conversations end with the question and hold the references in `answers`.

    Args:
        root: holds the files and the folders of images, or links to them; no path may lead out of it.
        out: the dataset's folder.
        copy_images: into `out`; else they are named where they are.
        skip_missing_images: leave out what shows images that are not there.
        strip: what image paths begin with that is only their maker's own folder.
        formats: of the dataset's files.

    Raises:
        UserError: nothing to import is found; a file is damaged or no UTF-8; an image is missing, or lies outside of
            `root`; the disk is full.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the one that GPT4Scene's data was unpacked to")
    folders = [folder for name in _FOLDERS if (folder := root / name).is_dir()]
    trained, evaluated = _train_files(folders), _evaluation_files(folders)
    if not trained and not evaluated:
        raise UserError(
            f"{root}: holds neither {_TRAIN} nor evaluation files such as scanqa_val.json, there or in annotation/,"
            " data/annotation/ or evaluate/annotation/"
        )
    bases = list(dict.fromkeys([*(path.parent for path in trained), root, *folders]))
    places = ImagePlaces(root, bases, strip)
    splits: dict[str, list[_Read]] = {}
    if trained:
        splits["train"] = [each for path in trained for each in _trained(path, root)]
    if evaluated:
        splits["val"] = list(_evaluated(evaluated, _scene_images(folders)))
    for read in splits.values():
        for each in read:
            _ = each.files(places)
    if places.missing and not skip_missing_images:
        raise UserError(_missing_line(root, places))
    with claim_dataset(out):
        unpublish(out)
        with write_errors(out):
            moved = places.copy(out / IMAGES) if copy_images else {}
        made = {split: _placed(read, places, moved) for split, read in splits.items()}
        report = _report(splits, made, places)
        write_together(out, _writers(made, formats, report), key="")
    return Imported(report, places.missing)


@dataclass(frozen=True)
class _Read:
    """A conversation as it was read."""

    sample: Sample
    where: str
    written: Callable[[str], str] = str
    """From the path of one of its images to what the file says."""

    def files(self, places: ImagePlaces) -> dict[str, Path | None]:
        """By the path of each image, the file; None where there is none."""
        paths = {image.path for image in self.sample.conversation.images}
        return {path: places.find(self.written(path), self.where) for path in sorted(paths)}


def _train_files(folders: Sequence[Path]) -> list[Path]:
    found = [path for folder in folders for path in sorted(folder.glob(_TRAIN))]
    if len({path.name for path in found}) > 1:
        names = ", ".join(str(path) for path in found)
        raise UserError(f"several files could be what is trained on: {names}; leave one of them there")
    return found[:1]


def _evaluation_files(folders: Sequence[Path]) -> dict[Path, str]:
    """Each evaluation file and its benchmark; one of a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*_val.json")):
            if path.name.split("_")[0] in _EVALUATION:
                found.setdefault(path.name, path)
    return {path: _EVALUATION[name.split("_")[0]] for name, path in sorted(found.items())}


def _scene_images(folders: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """The file with each scene's images, and its content."""
    found = [path for folder in folders for path in sorted(folder.glob(_SCENE_IMAGES))]
    if not found:
        raise UserError(f"{folders[0]}: holds evaluation files, but no {_SCENE_IMAGES} with the images of each scene")
    content = read_json(found[0])
    if not isinstance(content, dict):
        raise UserError(f"{found[0]}: must hold an object of scenes and their image paths")
    for scene, paths in content.items():
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            raise UserError(f"{found[0]}: {scene} must hold a list of image paths")
    return found[0], content


def _trained(path: Path, root: Path) -> Iterator[_Read]:
    written = functools.cache(lambda file: _written(file, path.parent, root))
    for position, sample in enumerate(read_conversations(path)):
        question, answer = _last_turns(sample.conversation)
        benchmark = benchmark_of(question, answer)
        made = replace(
            sample,
            id=f"gpt4scene/train/{position + 1:06d}",
            scene=_scene_of(sample.conversation),
            task=task_of(benchmark),
            answers=(answer,) if answer else (),
            meta={**sample.meta, "split": "train"} | ({"benchmark": benchmark} if benchmark else {}),
        )
        yield _Read(made, f"{path}, record {position}", written)


def _written(file: str, folder: Path, root: Path) -> str:
    """A path as the file has it, which reading has put a folder before; whole where it leads out of the root."""
    whole = os.path.normpath(Path(file).absolute())
    if Path(whole).is_relative_to(os.path.normpath(root.absolute())):
        return Path(os.path.relpath(file, folder)).as_posix()
    return whole


def _evaluated(files: Mapping[Path, str], scene_images: tuple[Path, Mapping[str, Any]]) -> Iterator[_Read]:
    listed, images = scene_images
    for path, benchmark in files.items():
        for position, (row, where) in enumerate(read_rows(path), start=1):
            scene, prompt = needed(row, "scene_id", str, where), needed(row, "prompt", str, where)
            if scene not in images:
                raise UserError(f"{where}: is about scene {scene!r}, of which {listed} lists no images")
            shown = tuple(Image(each) for each in images[scene])
            conversation = Conversation((Message("user", (*shown, Text(prompt))),))
            rest = {key: value for key, value in row.items() if key not in ("scene_id", "prompt", "ref_captions")}
            meta = {"split": "val", "benchmark": benchmark, "annotation": rest}
            answers = row.get("ref_captions")
            if not isinstance(answers, list | None):
                raise UserError(f"{where}: ref_captions must be a list, found {str(answers)[:60]!r}")
            id = f"gpt4scene/{path.stem}/{position:06d}"
            yield _Read(Sample(id, conversation, scene, task_of(benchmark), tuple(answers or ()), meta=meta), where)


def _missing_line(root: Path, places: ImagePlaces) -> str:
    named = ", ".join(places.missing[:3])
    total = len(places.missing) + len(places.files)
    return (
        f"{root}: {len(places.missing)} of {total} images are not there, such as {named}; unpack all archives, name"
        " what the paths begin with in vain with --strip, or leave their conversations out with --skip-missing-images"
    )


def _placed(read: Sequence[_Read], places: ImagePlaces, moved: Mapping[Path, Path]) -> list[Sample]:
    """The conversations all of whose images are there, with the files' own paths; equal images are one object."""
    images: dict[Image, Image] = {}

    def placed(part: Part, files: Mapping[str, Path | None]) -> Part:
        if isinstance(part, Text):
            return part
        if part not in images:
            file = files[part.path]
            assert file is not None
            images[part] = replace(part, path=str(moved.get(file, file)))
        return images[part]

    made = []
    for each in read:
        files = each.files(places)
        if None not in files.values():
            turns = each.sample.conversation.messages
            turns = tuple(Message(turn.role, tuple(placed(part, files) for part in turn.parts)) for turn in turns)
            made.append(replace(each.sample, conversation=Conversation(turns)))
    return made


def _last_turns(conversation: Conversation) -> tuple[str, str]:
    """The last question and its answer, which is empty where there is none."""
    turns = {message.role: message.text for message in conversation.messages}
    return turns.get("user", "").strip(), turns.get("assistant", "").strip()


def _scene_of(conversation: Conversation) -> str:
    """ScanNet's name of the scene in the paths of the images, else their folder's; empty where they disagree."""
    paths = [image.path for image in conversation.images]
    named = {match[0] for path in paths if (match := _SCANNET.search(path))}
    folders = named or {Path(path).parent.name for path in paths}
    return folders.pop() if len(folders) == 1 else ""


def _report(
    splits: Mapping[str, Sequence[_Read]], made: Mapping[str, Sequence[Sample]], places: ImagePlaces
) -> dict[str, Any]:
    missing = places.missing
    report: dict[str, Any] = {"schema": SCHEMA, "splits": []}
    for split, samples in made.items():
        ids = Counter(id for sample in samples for id in set(_ids(sample)))
        tasks = Counter((sample.task, str(sample.meta.get("benchmark", ""))) for sample in samples)
        report["splits"].append(
            {
                "split": split,
                "samples": len(samples),
                "left_out": len(splits[split]) - len(samples),
                "scenes": len({sample.scene for sample in samples if sample.scene}),
                "without_scene": sum(not sample.scene for sample in samples),
                "images": len({image.path for sample in samples for image in sample.conversation.images}),
                "tasks": [{"task": t, "benchmark": b, "samples": count} for (t, b), count in sorted(tasks.items())],
                "different_ids": len(ids),
                "lowest_id": min(ids, default=None),
                "highest_id": max(ids, default=None),
            }
        )
    of_splits = [{sample.scene for sample in samples if sample.scene} for samples in made.values()]
    shared = sorted(set.intersection(*of_splits)) if len(of_splits) > 1 else []
    return report | {"scenes_in_both": shared, "missing_images": {"count": len(missing), "paths": missing}}


def _ids(sample: Sample) -> list[int]:
    texts = [message.text for message in sample.conversation.messages]
    return [id for text in (*texts, *(a for a in sample.answers if isinstance(a, str))) for id in parse_ids(text)]


def _writers(
    made: Mapping[str, Sequence[Sample]], formats: Sequence[Format], report: Mapping[str, Any]
) -> dict[str, Callable[[Path], object]]:
    writers: dict[str, Callable[[Path], object]] = {}
    for split, samples in made.items():
        if "jsonl" in formats:
            writers[f"{split}.jsonl"] = lambda path, samples=samples: write_samples(path, samples)
        if "sharegpt" in formats:
            writers[f"{split}.sharegpt.json"] = lambda path, samples=samples: write_sharegpt(path, samples)
    answered = [split for split in made if split == "train"]  # LLaMA-Factory takes no question without an answer
    if "sharegpt" in formats and answered:
        writers["dataset_info.json"] = json_writer(dataset_info(answered))
    return writers | {"report.json": json_writer(report)}
