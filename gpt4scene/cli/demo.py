"""`gpt4scene demo`: the main job on a synthetic room."""

import sys
from pathlib import Path
from typing import Annotated

import tyro


def demo(
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo"),
    *,
    seed: int = 7,
    capture_frames: int = 80,
    frames: int = 8,
) -> None:
    """Film a synthetic room, write it as a capture, and prepare that like a user's own scan.

    Args:
        out: folder for the capture (`capture/`) and the scene (`scene/`).
        seed: which room.
        capture_frames: how many frames are filmed.
        frames: how many of them the scene shows.
    """
    from bev.filming import film, write_seven_scenes
    from bev.synthetic import synthetic_room
    from gpt4scene.scene.prepare import prepare
    from gpt4scene.scene.steps import Steps
    from gpt4scene.scene.summary import summary

    def write(folder: Path) -> None:
        write_seven_scenes(film(synthetic_room(seed), frames=capture_frames, registered=False), folder)

    with Steps(out) as steps:
        capture = steps.run("capture", {"seed": seed, "frames": capture_frames}, write)
    scene = prepare(capture, out / "scene", frames=frames, progress=sys.stderr.isatty())
    sys.stdout.write(summary(scene, out / "scene"))
