"""Ways of showing a scene that have a name: how many frames, and in which layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bev.errors import UserError
from bev.sampling import uniform_sample
from gpt4scene.scene.composite import Layout
from gpt4scene.scene.contents import SceneContents, SceneFrame


@dataclass(frozen=True)
class Preset:
    """How a scene is shown."""

    name: str
    layout: Layout
    """"separate": the bird's-eye view, then each frame; "grid": all frames in one image, then the bird's-eye view."""
    frames: int | None
    """How many frames are shown; None: all that the scene has."""
    description: str
    """One line for `--help`."""

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"preset {self.name}: frames must be 1 or more, got {self.frames}")


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("default", "separate", None, "the bird's-eye view, then every frame of the scene"),
            # arXiv 2501.01428: zero-shot prompts stitch 8 frames to one image, tuned models see 32
            Preset("paper", "grid", 8, "8 frames in a grid of 2 rows of 4, then the bird's-eye view"),
            Preset("paper-32", "separate", 32, "the bird's-eye view, then 32 frames"),
        )
    }
)


def choose_frames(scene: SceneContents, preset: Preset, *, folder: Path | None = None) -> tuple[SceneFrame, ...]:
    """The frames that a preset shows of a scene, in time order, evenly spaced where the scene has more.

    Args:
        scene: a scene.
        preset: how it is shown.
        folder: where the scene lies, for the message.

    Raises:
        UserError: the scene has fewer frames; says how to get more.
    """
    if preset.frames is None or preset.frames == len(scene.frames):
        return scene.frames
    if preset.frames < len(scene.frames):
        return tuple(scene.frames[position] for position in uniform_sample(len(scene.frames), preset.frames))
    fault = f"scene {scene.name}: preset {preset.name} shows {preset.frames} frames, the scene has {len(scene.frames)}"
    captured = len(scene.trajectory.indices)
    if captured < preset.frames:
        raise UserError(f"{fault} and its capture no more than {captured}; take the preset default")
    place = folder or "FOLDER"
    command = f"gpt4scene prepare {scene.source.path} --out {place} --frames {preset.frames}"
    raise UserError(f"{fault}: run `{command}`, with the other options as before, or take the preset default")
