"""`gpt4scene eval-instances`: a scene's objects against the true ones."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bev.errors import UserError

if TYPE_CHECKING:
    from gpt4scene.scene.truth import SceneScores
    from markers.scoring import ClassScore, InstanceScores


def eval_instances(
    scene: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    truth: Path,
    truth_surface: Path | None = None,
    ignore: tuple[str, ...] = ("wall", "floor", "ceiling"),
    min_region: int = 100,
    min_px: int = 64,
    reach_m: float = 0.05,
    json: Path | None = None,
) -> None:
    """Score a scene's objects: ScanNet's average precision, and whether every object has one number.

    Labels are compared as they are spelt. ScanNet's benchmark maps its labels to 18 classes first; map yours the same
    way before you compare with its tables.

    Args:
        scene: a scene folder.
        truth: the true objects: one id per vertex (.npy), ScanNet's .aggregation.json or Mask3D's .txt. They count
            the vertices of the scene's own surface.ply, or those of --truth-surface.
        truth_surface: the mesh that the truth counts where that is another one, in the world of the capture's poses.
        ignore: labels that are no objects.
        min_region: true objects of fewer vertices are not asked for.
        min_px: nor are they in frames that show fewer pixels of them.
        reach_m: how far from the scene the mesh of --truth-surface may be, metres.
        json: write the numbers to this file.
    """
    for option, value in (("--min-region", min_region), ("--min-px", min_px)):
        if value < 1:
            raise UserError(f"{option} {value}: must be 1 or more")
    if not 0 < reach_m < 10:
        raise UserError(f"--reach-m {reach_m}: must be above 0 and below 10 metres")
    if json is not None and not json.resolve().parent.is_dir():
        raise UserError(f"--json {json}: its folder is not there; make it first")
    from gpt4scene.scene.scene import load_scene
    from gpt4scene.scene.truth import load_truth, score_scene

    loaded = load_scene(scene)
    true = load_truth(truth, loaded, truth_surface=truth_surface, ignore=ignore, reach_m=reach_m)
    scores = score_scene(loaded, true, min_region=min_region, min_px=min_px)
    if json is not None:
        made_with = {"min_region": min_region, "min_px": min_px, "ignore": list(ignore), "reach_m": reach_m}
        _write(json, {"scene": str(scene), "truth": str(truth), "arguments": made_with} | _numbers(scores))
    sys.stdout.write(_table(scores))


def _table(scores: "SceneScores") -> str:
    lines = [f"{'':24}{'AP':>8}{'AP50':>8}{'AP25':>8}{'objects':>9}{'found':>8}"]
    lines.append(_row("any class", next(iter(scores.any_class.classes.values()))))
    if scores.by_class is not None:
        lines.append(_mean_row(scores.by_class))
        lines += [_row(f"  {name}", score) for name, score in scores.by_class.classes.items()]
    surface, frames = scores.surface, scores.frames
    lines += [
        "",
        f"{'objects with one id':24}{surface.one_id} of {surface.objects} ({_percent(surface.one_id_share)}), "
        f"{surface.no_id} with none",
        f"{'spurious ids':24}{surface.spurious} of {surface.ids} ({_percent(surface.spurious_share)})",
        f"{'purity of ids':24}{_number(surface.purity)}",
        "",
        f"over {frames.frames} frames: IDF1 {_number(frames.idf1)} (precision {_number(frames.id_precision)}, recall "
        f"{_number(frames.id_recall)}), {frames.switches} switches, {frames.fragments} fragments, "
        f"purity {_number(frames.purity)}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _row(name: str, score: "ClassScore") -> str:
    numbers = "".join(f"{_number(value):>8}" for value in (score.ap, score.ap50, score.ap25))
    return f"{name[:23]:24}{numbers}{score.objects:>9}{score.found:>8}"


def _mean_row(scores: "InstanceScores") -> str:
    numbers = "".join(f"{_number(value):>8}" for value in (scores.ap, scores.ap50, scores.ap25))
    counts = [sum(getattr(score, name) for score in scores.classes.values()) for name in ("objects", "found")]
    return f"{'mean of classes':24}{numbers}{counts[0]:>9}{counts[1]:>8}"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f} %"


def _numbers(scores: "SceneScores") -> dict[str, Any]:
    """As the table, by name; null where a number is not defined."""
    from dataclasses import asdict

    return _defined(asdict(scores))


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _defined(item) for name, item in value.items()}
    return None if value != value else value


def _write(path: Path, numbers: dict[str, Any]) -> None:
    from json import dumps

    from gpt4scene.scene.atomic import write_bytes, write_errors

    with write_errors(path.resolve().parent):
        write_bytes(path, f"{dumps(numbers, indent=1, ensure_ascii=False)}\n".encode())
