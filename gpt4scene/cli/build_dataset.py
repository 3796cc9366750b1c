"""`gpt4scene build-dataset`: scenes and annotation files become training conversations."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from gpt4scene.datasets.build import Built
    from gpt4scene.parallel import Done

_SHOWN_FAILURES = 20


def build_dataset(
    *,
    scenes: Path,
    annotations: Path,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    tasks: tuple[Literal["scanqa", "sqa3d", "scanrefer", "multi3drefer", "scan2cap"], ...] = (
        "scanqa",
        "sqa3d",
        "scanrefer",
        "multi3drefer",
        "scan2cap",
    ),
    splits: tuple[str, ...] = ("train", "val"),
    scans: Path | None = None,
    attributes: tuple[Path, ...] = (),
    iou_min: float = 0.5,
    preset: Literal["default", "paper", "paper-32"] = "paper-32",
    size: str = "qwen2.5-vl",
    format: tuple[Literal["jsonl", "sharegpt"], ...] = ("jsonl", "sharegpt"),
    shard_mb: float = 0.0,
    seed: int = 0,
    without: tuple[str, ...] = (),
    strict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    jobs: int | None = None,
    ray: str | None = None,
) -> None:
    """Build a training set: marked images, and conversations about them in the wordings of five benchmarks.

    OUT gets images/SCENE/, SPLIT.jsonl (conversation files), SPLIT.sharegpt.json with dataset_info.json
    (LLaMA-Factory: dataset_dir and media_dir are both OUT), report.md and report.json. Image paths are relative to
    OUT. Objects are named by the number of the scene's object that overlaps the annotated one most.

    Scenes are made side by side; the same command again makes only what is missing, and the files do not depend on
    how often it was interrupted. They appear once every scene is done: while one fails, the exit code is 1 and there
    are none; mend it, or leave it out with --without.

    Args:
        scenes: holds a scene folder for each scene, as `gpt4scene prepare` writes them, by the scene's name.
        annotations: holds the benchmarks' own files, or a folder for each benchmark: scanqa, sqa3d, ...
        out: the dataset's folder.
        tasks: which benchmarks.
        splits: which of their splits; no scene may be in two of them.
        scans: ScanNet's folder of scans, with the annotated objects; for scanrefer, multi3drefer and scan2cap.
        attributes: instead of --scans, attribute files of GPT4Scene in pairs: of the annotated objects, and of the
            instances that the scenes were prepared with (--proposals), whose rows are the scenes' numbers.
        iou_min: how much the boxes of an annotated object and of the scene's must overlap, 0 to 1.
        preset: which frames of a scene in which layout; "paper-32" is the bird's-eye view and 32 frames.
        size: of images: WIDTHxHEIGHT in pixels, WIDTHxHEIGHT/MULTIPLE, or the model that is to be trained, such as
            qwen2.5-vl, qwen3-vl or internvl.
        format: jsonl is what `gpt4scene-train` reads, sharegpt what LLaMA-Factory reads.
        shard_mb: write tar files of about so many megabytes too, in WebDataset's layout, with an index in
            SPLIT.index.json; 0 writes none.
        seed: chooses the wording of each question.
        without: names of scenes to leave out.
        strict: annotations that name a scene or an object that is not there are an error; else they are counted.
        jobs: how many scenes are made side by side; one for each core when left out.
        ray: "local" for a Ray of its own, or the address of a cluster that sees the same files. Extra: ray.
    """
    from gpt4scene.datasets.build import Recipe
    from gpt4scene.datasets.build import build_dataset as build

    recipe = Recipe(
        scenes=scenes,
        annotations=annotations,
        tasks=tasks,
        splits=splits,
        scans=scans,
        attributes=attributes,
        iou_min=iou_min,
        preset=preset,
        size=size,
        formats=format,
        shard_mb=shard_mb,
        seed=seed,
        without=without,
        strict=strict,
    )
    progress = _Progress()
    try:
        built = build(recipe, out, jobs=jobs, ray=ray, on_start=progress.start, on_done=progress.done)
    finally:
        progress.end()
    if built.report is None:
        sys.stderr.write(_failures(built, out))
        raise SystemExit(1)
    sys.stdout.write(_summary(built, built.report, out))


class _Progress:
    """A bar on stderr, where that is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, scenes: int) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=scenes, desc="scenes", unit="scene", leave=False)

    def done(self, _: "Done[None]") -> None:
        if self._bar is not None:
            self._bar.update()

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _failures(built: "Built", out: Path) -> str:
    """Which scenes failed and why; those of one cause in one line."""
    causes: dict[str, list[str]] = {}
    for scene, error in built.failed.items():
        causes.setdefault(error, []).append(scene)
    lines = []
    for error, names in list(causes.items())[:_SHOWN_FAILURES]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {error}")
    if len(causes) > _SHOWN_FAILURES:
        lines.append(f"... and {len(causes) - _SHOWN_FAILURES} more")
    return "".join(f"failed: {line}\n" for line in lines) + (
        f"{len(built.failed)} of {built.scenes} scenes failed, so {out} is not a dataset yet; the same command again "
        "does only these, and --without leaves scenes out\n"
    )


def _summary(built: "Built", report: Mapping[str, Any], out: Path) -> str:
    from gpt4scene.datasets.dropped import told
    from gpt4scene.datasets.report import range_text

    lines = [
        f"{row['split']}: {row['samples']:,} samples about {row['scenes']:,} scenes, {row['images']:,} images, "
        f"{range_text(row['tokens'])} tokens ({range_text(row['shared_tokens'])} with each scene's images once)"
        for row in report["splits"]
    ]
    lines += [
        f"  {row['task']} {row['split']}: {row['samples']:,} samples from {row['questions']:,} questions"
        for row in report["tasks"]
    ]
    lines += [f"  dropped of {row['task']} {row['split']}: {told(row, 3)}" for row in report["dropped"]]
    reused = f" ({built.reused:,} of {built.scenes:,} scenes were there already)" if built.reused else ""
    return "".join(f"{line}\n" for line in [*lines, f"the dataset is in {out}{reused}; look at {out / 'report.md'}"])
