"""The scene folders that a benchmark's questions are about, and the objects in them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bev.errors import UserError
from gpt4scene.benchmarks.objects import SceneObjects, objects_from_attributes
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.benchmarks.scannet_objects import check_numbers, find_scan, objects_of_scene
from gpt4scene.scene.scene import load_scene

_NAMED_MOST = 40
"""So many missing scenes are named in a line, then only counted."""


@dataclass(frozen=True)
class PreparedScenes:
    """Where the scenes of questions are."""

    folders: Mapping[str, Path]
    """By the scene's name."""
    missing: Mapping[str, int]
    """Names of scenes that are not there, and how many questions are about each."""


def find_scenes(samples: Sequence[BenchmarkSample], scenes: Path | None) -> PreparedScenes:
    """Find the scene folders of questions: SCENES/NAME, or SCENES/DATASET/NAME where questions name their dataset.

    Args:
        samples: those with images of their own need no scene.
        scenes: the folder of scene folders.

    Raises:
        UserError: scenes are needed, and the folder is not given or not there.
    """
    about = [sample for sample in samples if not sample.images]
    if not about:
        return PreparedScenes({}, {})
    if scenes is None:
        raise UserError("the questions are about scenes: say with --scenes where their folders are")
    if not scenes.is_dir():
        raise UserError(f"--scenes {scenes}: no such folder; it holds what `gpt4scene prepare SCAN --out` wrote")
    folders: dict[str, Path] = {}
    missing: Counter[str] = Counter()
    for sample in about:
        if sample.scene not in folders and sample.scene not in missing:
            found = _folder(sample, scenes)
            if found is not None:
                folders[sample.scene] = found
        if sample.scene not in folders:
            missing[sample.scene] += 1
    return PreparedScenes(folders, missing)


def missing_line(found: PreparedScenes, scenes: Path | None) -> str:
    """Which scenes are missing, and what to do about it, in one line."""
    names = sorted(found.missing)
    named = ", ".join(names[:_NAMED_MOST])
    named += f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
    return (
        f"--scenes {scenes}: {len(names)} of {len(names) + len(found.folders)} scenes are not there: {named}; prepare"
        f" their scans with `gpt4scene prepare SCAN --out {scenes}/NAME`, or leave their"
        f" {sum(found.missing.values()):,} questions out with --skip-missing-scenes"
    )


def load_objects(
    folders: Mapping[str, Path],
    *,
    scans: Path | None = None,
    attributes: tuple[Path, Path] | None = None,
    on_scene: Callable[[], None] | None = None,
) -> Mapping[str, SceneObjects] | None:
    """The annotated objects of scenes and those that a model can name; None where neither source is given.

    Args:
        folders: of the scenes, by name.
        scans: ScanNet's folders of the same scenes, with their annotation.
        attributes: or GPT4Scene's attribute files, of the annotated objects and of the proposed ones that the scenes
            were prepared with.
        on_scene: called after each scene.

    Raises:
        UserError: both are given, a file is missing or not as it should be, or a scene's numbers are not those of the
            attribute files.
    """
    if scans is not None and attributes is not None:
        raise UserError("--scans and --attributes both say where the objects are; give one of them")
    if attributes is not None:
        objects = objects_from_attributes(*attributes)
        for name, folder in folders.items():
            if name in objects:
                check_numbers(load_scene(folder), objects[name].proposed)
        return objects
    if scans is None:
        return None
    found = {}
    for name, folder in folders.items():
        plain = name.rpartition("/")[2]
        found[name] = objects_of_scene(load_scene(folder), find_scan(plain, scans), name=plain)
        if on_scene is not None:
            on_scene()
    return found


def _folder(sample: BenchmarkSample, scenes: Path) -> Path | None:
    name, dataset = sample.scene, sample.row.get("dataset")
    # a name that leads elsewhere is that of no scene
    if not name or any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name:
        return None
    tried = [scenes / name, *([scenes / dataset / name] if isinstance(dataset, str) and dataset.isidentifier() else [])]
    return next((folder for folder in tried if (folder / "scene.json").is_file()), None)
