"""A scene: what `gpt4scene prepare` makes of a scan, and every later step reads."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path

from bev.errors import UserError
from gpt4scene.scene.contents import SceneContents, SceneInstance
from gpt4scene.scene.folder import read_folder, write_folder
from gpt4scene.scene.views import Views, views_at
from markers.draw import DIGIT_HEIGHT_PX


class Scene(SceneContents):
    """A room as a model can be shown it: marked views, and the objects that the numbers on them lead back to."""

    def instance(self, id: int) -> SceneInstance:
        """The object with a number.

        Raises:
            UserError: no object has it.
        """
        for instance in self.instances:
            if instance.id == id:
                return instance
        known = f"{self.instances[0].id} to {self.instances[-1].id}" if self.instances else "none"
        raise UserError(f"scene {self.name}: no object has the number {id} (there are {known})")

    def views(
        self,
        width: int,
        height: int,
        multiple_of: int,
        *,
        marks: bool = True,
        digit_height_px: int = DIGIT_HEIGHT_PX,
        drop_marks: Collection[int] = frozenset(),
    ) -> Views:
        """The pictures at a model's size with the marks drawn at that size; see `views_at`."""
        return views_at(
            self.bev,
            self.frames,
            width,
            height,
            multiple_of,
            marks=marks,
            digit_height_px=digit_height_px,
            drop_marks=drop_marks,
        )

    def save(self, path: Path | str, *, overwrite: bool = False, warnings: Sequence[str] = ()) -> None:
        """Write the scene folder; see `write_folder`."""
        write_folder(self, Path(path), overwrite=overwrite, warnings=warnings)


def load_scene(path: Path | str) -> Scene:
    """Read a scene folder; see `read_folder`."""
    contents = read_folder(Path(path))
    return Scene(**{field.name: getattr(contents, field.name) for field in fields(contents)})
