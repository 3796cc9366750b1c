"""Many captures, each made a scene folder in a process of its own; one that fails stops no other."""

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.parallel import Done, run_each

_OF_ONE = ("known_object",)
"""Options that mean something in one scene only."""
_BESIDE = ("proposals", "surface")
"""Options that name a file of each capture."""


@dataclass(frozen=True)
class _Work:
    capture: Path
    out: Path
    start: Path
    """What relative paths are relative to: a worker of a cluster stands in another folder."""


def capture_name(path: Path) -> str:
    """What a capture's scene is called: the folder's name, or the file's without its ending."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.stem


def prepare_many(
    captures: Sequence[Path],
    out: Path,
    *,
    options: Mapping[str, Any],
    jobs: int = 1,
    ray: str | None = None,
    on_done: Callable[[Done[str]], None] | None = None,
) -> list[Done[str]]:
    """Make a scene folder out/NAME of each capture, or bring those that are there up to date.

    Args:
        captures: folders or files.
        out: the folder of the scene folders; made when missing.
        options: as `prepare` takes them. In the paths of `proposals` and `surface`, "{name}" stands for the capture's
            name and "{capture}" for its path.
        jobs, ray, on_done: see `run_each`.

    Returns:
        For each capture, in their order, a line on its scene, or why there is none.

    Raises:
        UserError: two captures have one name; an option is of use in one scene only; the folder cannot be made.
    """
    places: dict[str, Path] = {}
    for path in captures:
        name = capture_name(path)
        if name in places:
            raise UserError(f"{path}: {places[name]} has the name {name} too; scenes go by it: prepare one by itself")
        places[name] = path
    for key in _OF_ONE:
        if options.get(key) is not None:
            raise UserError(f"--{key.replace('_', '-')}: means an object of one scene; give one capture at a time")
    for key in _BESIDE:
        if options.get(key) is not None and "{" not in str(options[key]):
            raise UserError(
                f"--{key} {options[key]}: is one file for {len(places)} captures; write {{name}} for a capture's name,"
                f" or {{capture}} for its path, as in --{key} masks/{{name}}.txt"
            )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder for the scene folders")
    if (out / "scene.json").exists():
        raise UserError(f"{out}: is a scene folder itself; give a folder for the scene folders")
    work = [_Work(path, out.absolute() / name, Path.cwd()) for name, path in places.items()]
    one = functools.partial(_prepare_one, options=dict(options))
    return run_each(one, work, names=list(places), jobs=jobs, ray=ray, on_done=on_done)


def _prepare_one(work: _Work, *, options: dict[str, Any]) -> str:
    from gpt4scene.scene.prepare import prepare

    # not made absolute: what was given is what scenes say of themselves, and equal on all machines
    with contextlib.suppress(FileNotFoundError):
        os.chdir(work.start)
    own: dict[str, Any] = {key: _filled(options[key], work) for key in _BESIDE if options.get(key) is not None}
    scene = prepare(work.capture, work.out, **{**options, **own})
    marked = {marker.id for view in scene.all_views for marker in view.markers}
    return f"{len(scene.instances)} objects, {len(marked)} of them marked; {len(scene.frames)} frames"


def _filled(path: Path, work: _Work) -> Path:
    return Path(str(path).replace("{name}", capture_name(work.capture)).replace("{capture}", str(work.capture)))
