"""What a person reads in the terminal when a scene is made."""

from pathlib import Path

from gpt4scene.scene.contents import SceneContents


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
        f"took {seconds}",
        f"look at {folder / 'report.html'}",
    ]
    return "".join(f"{line}\n" for line in lines)
