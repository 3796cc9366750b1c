"""`gpt4scene demo`: the main job on a synthetic room."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from bev.errors import UserError


def demo(
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo"),
    *,
    seed: int = 7,
    capture_frames: int = 80,
    frames: int = 8,
) -> None:
    """Film a synthetic room, write it as a capture, and prepare that like a user's own scan.

    Args:
        out: folder for the scene (`scene/`); the capture is kept beside it, under `.cache/`.
        seed: which room.
        capture_frames: how many frames are filmed.
        frames: how many of them the scene shows.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: must be 0 or more")
    if capture_frames < 1:
        raise UserError(f"--capture-frames {capture_frames}: must be 1 or more")
    from bev.synthetic import film, synthetic_room, write_seven_scenes
    from gpt4scene.scene.prepare import prepare
    from gpt4scene.scene.steps import Steps
    from gpt4scene.scene.summary import summary

    def write(folder: Path) -> None:
        walk = film(synthetic_room(seed), frames=capture_frames, registered=False)
        write_seven_scenes(walk, folder, progress=sys.stderr.isatty())

    with Steps(out) as steps:
        capture = steps.run(f"room-{seed:03d}", {"seed": seed, "frames": capture_frames}, write)
    scene = prepare(capture, out / "scene", frames=frames, progress=sys.stderr.isatty())
    sys.stdout.write(summary(scene, out / "scene"))
