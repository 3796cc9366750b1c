"""The size of a room from one object in it that somebody measured."""

import re
from pathlib import Path

from bev.errors import UserError
from gpt4scene.scene.scene import load_scene


def scale_by_known_object(
    out: Path, known_object: str, *, scale: float | None = None, camera_height_m: float | None = None
) -> float:
    """What `--scale` must be, so that an object of the scene that is there has the length it really has.

    A scene that was made with this very option keeps its scale: the number may since be another object's.

    Args:
        out: the scene folder, with a scene from an earlier run.
        known_object: "12=0.75": object number 12 is 0.75 metres long, along its longest side.
        scale, camera_height_m: must be None, since the object says the same.

    Returns:
        metres per unit of the scene as it would be without any size.

    Raises:
        UserError: the text is none, there is no such scene or object, or the scene has metres of its own.
    """
    option = f"--known-object {known_object}"
    match = re.fullmatch(r"\s*(\d+)\s*=\s*([0-9]*\.?[0-9]+)\s*m?\s*", known_object)
    if match is None or not 0 < float(match[2]) < 100:
        raise UserError(f"{option}: must be NUMBER=METRES, such as 12=0.75 for an object 12 that is 0.75 m long")
    if scale is not None or camera_height_m is not None:
        raise UserError(f"{option}: says how large the room is; leave out --scale and --camera-height-m")
    try:
        scene = load_scene(out)
    except UserError as error:
        raise UserError(f"{option}: prepare without it first, to see the objects' numbers: {error}") from error
    arguments = scene.run.arguments
    before = arguments.get("scale")
    if arguments.get("known_object") == known_object and isinstance(before, int | float):
        return float(before)
    if arguments.get("camera_height_m") is not None or (scene.is_metric and before is None):
        raise UserError(
            f"{option}: {out} is in metres already; prepare into another folder, without a size, to compare"
        )
    number = int(match[1])
    instance = next((each for each in scene.instances if each.id == number), None)
    if instance is None:
        raise UserError(f"{option}: {out} has no object {number}; its report shows the numbers")
    longest = float(max(instance.box.size))
    if longest <= 0:
        raise UserError(f"{option}: object {number} has no size; take another one")
    return float(match[2]) / longest * (float(before) if isinstance(before, int | float) else 1.0)
