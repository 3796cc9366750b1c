"""`gpt4scene view`: the scene in 3D."""

import sys
from pathlib import Path
from typing import Annotated

import tyro


def view(scene: Annotated[Path, tyro.conf.Positional], /, *, save: Path | None = None) -> None:
    """Show a scene folder in the rerun viewer: surface, boxes with their numbers, cameras and marked frames.

    Args:
        scene: a scene folder.
        save: write a recording (.rrd) instead of opening the viewer.
    """
    from gpt4scene.scene.rerun_view import view_scene
    from gpt4scene.scene.scene import load_scene

    view_scene(load_scene(scene), save=save)
    if save is not None:
        sys.stdout.write(f"look at it with `rerun {save}`\n")
