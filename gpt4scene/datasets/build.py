"""A dataset of training conversations, made of prepared scenes and annotation files, one scene at a time."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bev.errors import UserError
from gpt4scene.benchmarks.names import benchmark_named
from gpt4scene.benchmarks.objects import SceneObjects, objects_from_attributes
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.datasets import dropped as why
from gpt4scene.datasets.dropped import Dropped, dropped_rows, merged_rows, told
from gpt4scene.datasets.parts import FORMATS, PARTS, Drawn, Format, ScenePart, SceneWork, make_part, read_part
from gpt4scene.datasets.publish import claim_dataset, is_published, publish, unpublish
from gpt4scene.datasets.report import report_of
from gpt4scene.datasets.training_samples import Asked
from gpt4scene.evaluation.prepared_scenes import find_scenes, missing_line
from gpt4scene.parallel import Done, default_jobs, run_each
from gpt4scene.prompting.presets import PRESETS
from gpt4scene.vlm.protocol import ViewSize
from gpt4scene.vlm.view_sizes import view_size_of

TASKS = ("scanqa", "sqa3d", "scanrefer", "multi3drefer", "scan2cap")
"""Benchmarks that are about scenes and have a split to train on, in the order in which they are written."""
_PIXELS = re.compile(r"(\d+)x(\d+)(?:/(\d+))?")


@dataclass(frozen=True)
class Recipe:
    """What a dataset is made of, and how."""

    scenes: Path
    """Holds a scene folder for each scene, by its name."""
    annotations: Path
    """Holds the benchmarks' own files, or a folder of each benchmark's name with them."""
    tasks: tuple[str, ...] = TASKS
    splits: tuple[str, ...] = ("train", "val")
    scans: Path | None = None
    """ScanNet's annotated scans, which say where the objects are that annotations number; or `attributes` do."""
    attributes: tuple[Path, ...] = ()
    """Attribute files of GPT4Scene, in pairs: of the annotated objects, and of the ready-made instances whose numbers
    the scenes have."""
    iou_min: float = 0.5
    preset: str = "paper-32"
    size: str = "qwen2.5-vl"
    """Of images: WIDTHxHEIGHT, WIDTHxHEIGHT/MULTIPLE, or a model's name."""
    formats: tuple[Format, ...] = FORMATS
    shard_mb: float = 0.0
    """Tar files of about so many megabytes are written besides; 0: none."""
    seed: int = 0
    without: tuple[str, ...] = ()
    """Names of scenes that are left out."""
    strict: bool = False
    """Annotations that name what is not there are an error."""

    def __post_init__(self) -> None:
        for option, given, known in (("tasks", self.tasks, TASKS), ("format", self.formats, FORMATS)):
            strange = [each for each in given if each not in known]
            if strange or not given:
                raise UserError(f"--{option} {' '.join(strange)}: there are {', '.join(known)}")
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise UserError(f"--splits {' '.join(self.splits)}: name each split once, such as train val")
        if self.preset not in PRESETS:
            raise UserError(f"--preset {self.preset}: there are {', '.join(PRESETS)}")
        if not (0 <= self.shard_mb < 1e9):
            raise UserError(f"--shard-mb {self.shard_mb}: must be 0, for none, or more")
        if self.shard_mb and "jsonl" not in self.formats:
            raise UserError("--shard-mb: shards hold conversation files; add jsonl to --format")
        if not 0 <= self.iou_min <= 1:
            raise UserError(f"--iou-min {self.iou_min}: must be 0 to 1")
        if self.scans is not None and self.attributes:
            raise UserError("--scans and --attributes both say where annotated objects are: give one of them")
        if len(self.attributes) % 2:
            raise UserError("--attributes: give pairs of files, of the annotated objects and of the instances")


@dataclass(frozen=True)
class Built:
    """What became of a dataset."""

    scenes: int
    """How many scenes are asked about and there."""
    reused: int
    """Of these, how many were done before."""
    failed: Mapping[str, str]
    """Scene to why it could not be done; where there is any, the dataset's files are not written."""
    report: Mapping[str, object] | None
    """None where the dataset's files are not written."""


def build_dataset(
    recipe: Recipe,
    out: Path,
    *,
    jobs: int | None = None,
    ray: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[Done[None]], None] | None = None,
) -> Built:
    """Build a dataset, or what is missing of it.

    The files of `out` do not depend on how many processes make them, nor on what an interrupted run left. They appear
    once every scene is done: until then, and while some fail, there are none.

    Args:
        recipe: what it is made of.
        out: the dataset's folder: new, empty, or of an earlier run.
        jobs: how many scenes are made side by side; None: one for each core, with Ray as many as the cluster takes.
        ray: as `run_each` takes it.
        on_start: called with how many scenes are to be made.
        on_done: called as each of them ends.

    Raises:
        UserError: annotations or scenes are missing, splits share scenes, a task would be empty, with `strict` an
            annotation names what is not there, or the disk is full.
    """
    drawn = drawn_at(recipe.size)
    loaded = load_annotations(recipe)
    check_splits(loaded, recipe.without)
    with claim_dataset(out):
        works, dropped = plan(recipe, loaded, drawn, out)
        keys, failed = _keys(works)
        done = {name: part for name, key in keys.items() if (part := read_part(out, name, key)) is not None}
        todo = [work for work in works if work.name in keys and work.name not in done]
        if not todo and not failed and (report := is_published(out, _key(recipe, keys, dropped))):
            return Built(len(works), len(done), {}, report)
        unpublish(out)
        if on_start is not None:
            on_start(len(todo))
        ended = run_each(
            _make, [(work, keys[work.name]) for work in todo], names=[w.name for w in todo],
            jobs=default_jobs(ray) if jobs is None else jobs, ray=ray, on_done=on_done,
        )  # fmt: skip
        failed |= {each.name: each.error for each in ended if each.error}
        if failed:
            return Built(len(works), len(done), failed, None)
        parts = [_finished(out, name, keys[name]) for name in sorted(keys)]
        _check_dropped(recipe, loaded, parts, dropped)
        report = report_of(recipe_text(recipe), loaded, parts, dropped_rows(dropped))
        publish(
            out,
            parts,
            recipe.splits,
            recipe.formats,
            report,
            _key(recipe, keys, dropped),
            shard_bytes=round(recipe.shard_mb * 1e6),
        )
    return Built(len(works), len(done), {}, report)


def drawn_at(size: str) -> Drawn:
    """The size that `--size` names.

    Raises:
        UserError: it is neither pixels nor a model of a family whose size is known.
    """
    pixels = _PIXELS.fullmatch(size)
    if pixels:
        width, height, multiple_of = (int(each or 1) for each in pixels.groups())
        if min(width, height, multiple_of) < 1 or multiple_of > min(width, height):
            raise UserError(f"--size {size}: has no side that is a multiple of {multiple_of}")
        return Drawn(ViewSize(width, height, multiple_of), "")
    known = view_size_of(size)
    if known == view_size_of(""):
        raise UserError(f"--size {size}: give WIDTHxHEIGHT, WIDTHxHEIGHT/MULTIPLE, or a model such as qwen2.5-vl")
    return Drawn(known, size)


def load_annotations(recipe: Recipe) -> list[Asked]:
    """The questions of every task and split, by the loaders of the benchmarks.

    Raises:
        UserError: files are missing or damaged.
    """
    loaded = []
    for task in (each for each in TASKS if each in recipe.tasks):
        own = recipe.annotations / task
        root = own if own.is_dir() else recipe.annotations
        for split in recipe.splits:
            loaded.append(Asked(task, split, tuple(benchmark_named(task).load(root, split))))
    return loaded


def check_splits(loaded: Sequence[Asked], without: Collection[str] = ()) -> None:
    """Make sure that no scene is in two splits, but for those that are left out.

    Raises:
        UserError: one is; names it, and where it is asked about.
    """
    first: dict[str, Asked] = {}
    shared: dict[str, tuple[Asked, Asked]] = {}
    for asked in loaded:
        for scene in dict.fromkeys(sample.scene for sample in asked.samples):
            if scene not in without and first.setdefault(scene, asked).split != asked.split:
                shared.setdefault(scene, (first[scene], asked))
    if shared:
        told = [f"{scene} ({a.task} {a.split}, {b.task} {b.split})" for scene, (a, b) in sorted(shared.items())]
        more = f" and {len(told) - 5} more" if len(told) > 5 else ""
        raise UserError(
            f"{len(told)} scenes are in two splits, so that a model would be tested on what it was trained on:"
            f" {', '.join(told[:5])}{more}; take them out of one, or leave them out with --without"
        )


def plan(recipe: Recipe, loaded: Sequence[Asked], drawn: Drawn, out: Path) -> tuple[list[SceneWork], list[Dropped]]:
    """One scene's work each, by name, and the questions about scenes that are not there.

    Raises:
        UserError: no scene is there; with `strict`, one is missing; objects are asked for and nothing says where they
            are.
    """
    found = find_scenes([sample for asked in loaded for sample in asked.samples], recipe.scenes)
    strange = sorted(set(recipe.without) - set(found.folders) - set(found.missing))
    if strange:
        raise UserError(f"--without {strange[0]}: no question is about a scene of this name")
    if found.missing and (recipe.strict or not found.folders):
        raise UserError(missing_line(found, recipe.scenes).replace(" with --skip-missing-scenes", " without --strict"))
    dropped: list[Dropped] = []
    by_scene: dict[str, list[Asked]] = {}
    for asked in loaded:
        of_scene: dict[str, list[BenchmarkSample]] = {}
        for sample in asked.samples:
            if sample.scene in recipe.without:
                dropped.append(Dropped(asked.task, asked.split, why.LEFT_OUT, sample.scene))
            elif sample.scene not in found.folders or "/" in sample.scene:
                dropped.append(Dropped(asked.task, asked.split, why.NO_SCENE, sample.scene))
            else:
                of_scene.setdefault(sample.scene, []).append(sample)
        for scene, samples in of_scene.items():
            by_scene.setdefault(scene, []).append(replace(asked, samples=tuple(samples)))
    objects = _attributes(recipe.attributes)
    works = [
        SceneWork(
            name=name,
            # a worker may stand in another folder
            folder=found.folders[name].absolute(),
            out=out.absolute(),
            asked=tuple(by_scene[name]),
            preset=recipe.preset,
            drawn=drawn,
            formats=recipe.formats,
            iou_min=recipe.iou_min,
            seed=recipe.seed,
            objects=objects.get(name, SceneObjects({}, {})) if recipe.attributes else None,
            scans=None if recipe.scans is None else recipe.scans.absolute(),
        )
        for name in sorted(by_scene)
    ]
    if recipe.scans is None and not recipe.attributes and any(work.needs_objects for work in works):
        asking = [task for task in ("scanrefer", "multi3drefer", "scan2cap") if task in recipe.tasks]
        raise UserError(f"{', '.join(asking)}: ask for objects; say with --scans or --attributes where these are")
    return works, dropped


def recipe_text(recipe: Recipe) -> dict[str, object]:
    """The recipe as a report shows it."""
    paths = {"scenes": recipe.scenes, "annotations": recipe.annotations, "scans": recipe.scans}
    return {
        **{name: None if path is None else path.as_posix() for name, path in paths.items()},
        "attributes": [path.as_posix() for path in recipe.attributes],
        "tasks": [task for task in TASKS if task in recipe.tasks],
        "splits": list(recipe.splits),
        "iou_min": recipe.iou_min,
        "preset": recipe.preset,
        "size": recipe.size,
        "shard_mb": recipe.shard_mb,
        "seed": recipe.seed,
        "without": sorted(recipe.without),
    }


def _attributes(paths: Sequence[Path]) -> dict[str, SceneObjects]:
    objects: dict[str, SceneObjects] = {}
    for true, proposed in zip(paths[::2], paths[1::2], strict=True):
        objects |= objects_from_attributes(true, proposed)
    return objects


def _keys(works: Sequence[SceneWork]) -> tuple[dict[str, str], dict[str, str]]:
    """By scene the key of its part, and why there is none."""
    keys: dict[str, str] = {}
    failed: dict[str, str] = {}
    for work in works:
        try:
            keys[work.name] = work.key()
        except UserError as error:
            failed[work.name] = str(error)
        except OSError as error:
            failed[work.name] = f"{error.filename}: cannot be read ({error.strerror}); it is an input of this scene"
    return keys, failed


def _make(work_and_key: tuple[SceneWork, str]) -> None:
    make_part(*work_and_key)


def _finished(out: Path, name: str, key: str) -> ScenePart:
    part = read_part(out, name, key)
    if part is None:
        raise UserError(f"{out / PARTS / name}: changed while the dataset was built; is another run at work in {out}?")
    return part


def _check_dropped(
    recipe: Recipe, loaded: Sequence[Asked], parts: Sequence[ScenePart], dropped: Sequence[Dropped]
) -> None:
    """Complain where nothing is left of a task or of a split, and with `strict` of what is not there."""
    rows = merged_rows([*dropped_rows(dropped), *(row for part in parts for row in part.dropped)])
    if recipe.strict:
        bad = [row for row in rows if row["reason"] in why.BAD_ANNOTATIONS]
        if bad:
            count = sum(row["count"] for row in bad)
            first = f"{bad[0]['task']} {bad[0]['split']} {told(bad[0])}"
            raise UserError(f"--strict: {count} annotations name what is not there: {first}")
    for what in ("task", "split"):
        made = {count[what]: 0 for part in parts for count in part.counts}
        for part in parts:
            for count in part.counts:
                made[count[what]] += count["samples"]
        for name in dict.fromkeys(getattr(asked, what) for asked in loaded):
            if not made.get(name):
                lost = [row for row in rows if row[what] == name]
                reasons = ", ".join(told(row, 2) for row in sorted(lost, key=lambda row: -row["count"])[:3])
                raise UserError(
                    f"{name}: nothing is left of this {what} ({reasons or 'its files hold no question'}); mend that, or"
                    f" leave it out of --{what}s"
                )


def _key(recipe: Recipe, keys: Mapping[str, str], dropped: Sequence[Dropped]) -> str:
    """A hash of what the dataset's files depend on."""
    text = json.dumps([recipe_text(recipe), recipe.strict, recipe.formats, sorted(keys.items()), dropped_rows(dropped)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
