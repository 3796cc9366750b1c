"""What a person reads in the terminal when a scene is made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt4scene.scene.contents import SceneContents, SceneInstance

_LABELS_MAX = 12


def summary(scene: SceneContents, folder: Path) -> str:
    """A few lines: how much is in the scene, how long it took, and where to look."""
    marked = {marker.id for view in scene.all_views for marker in view.markers}
    camera = scene.bev.camera
    size = f"{camera.width}x{camera.height} px"
    if scene.is_metric:
        across, along = camera.width * camera.metres_per_pixel, camera.height * camera.metres_per_pixel
        size += f", {across:.1f} x {along:.1f} m"
    seconds = ", ".join(f"{step} {duration:.1f} s" for step, duration in scene.run.seconds.items())
    lines = [
        f"{scene.name}: {len(scene.instances)} objects, {len(marked)} of them marked; "
        f"{len(scene.frames)} of {len(scene.trajectory.indices)} frames; bird's-eye view {size}",
        *_labels(scene.instances),
        *scene.run.notes,
        f"took {seconds}",
        f"look at {folder / 'report.html'}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _labels(instances: Sequence[SceneInstance]) -> Iterator[str]:
    """One line per label that somebody voted for, the most frequent first, with the ids that have it."""
    named: dict[str, list[SceneInstance]] = {}
    for instance in instances:
        if instance.label_share > 0:
            named.setdefault(instance.label, []).append(instance)
    ordered = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
    for label, those in ordered[:_LABELS_MAX]:
        each = ", ".join(f"{i.id} ({i.label_share:.0%} of votes, score {i.score:.2f})" for i in those[:_LABELS_MAX])
        more = f" and {len(those) - _LABELS_MAX} more" if len(those) > _LABELS_MAX else ""
        yield f"  {label}: {each}{more}"
    if len(ordered) > _LABELS_MAX:
        yield f"  and {len(ordered) - _LABELS_MAX} labels more, see the report"
