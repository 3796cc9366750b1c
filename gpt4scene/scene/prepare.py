"""From a capture to a scene folder, in steps that are kept and not done twice."""

import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bev.completion import check_depth
from bev.errors import UserError
from bev.readers import Format, read_scan
from bev.reconstruction import reconstruct
from bev.render import Bev, render_bev
from bev.scale import check_scale_options
from bev.scan import Axes, Poses, Scan, Units
from bev.surface import Surface, SurfaceCaster
from gpt4scene.scene import stored
from gpt4scene.scene.completing import COMPLETING, completed
from gpt4scene.scene.compose import Sampling, compose
from gpt4scene.scene.contents import SceneRun, SceneSource
from gpt4scene.scene.detecting import Detected, Model, detect_objects, find_models
from gpt4scene.scene.known_object import scale_by_known_object
from gpt4scene.scene.objects import ObjectSource, choose_source, find_instances, notes_on
from gpt4scene.scene.scene import Scene, load_scene
from gpt4scene.scene.steps import Steps, fingerprint
from markers.proposals import proposal_files

logger = logging.getLogger(__name__)


def prepare(
    path: Path | str,
    out: Path | str,
    *,
    format: Format | None = None,
    depth_scale: float | None = None,
    poses: Poses | None = None,
    axes: Axes | None = None,
    intrinsics: str | None = None,
    surface: Path | None = None,
    long_side_px: int = 1280,
    ignore_poses: bool = False,
    units: Units | None = None,
    key_frames: int | None = None,
    depth: str = "stereo",
    scale: float | None = None,
    camera_height_m: float | None = None,
    known_object: str | None = None,
    fuse_depth: bool = False,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    floor: int | None = None,
    align: bool = True,
    skip_check: bool = False,
    cut_height_m: float | None = None,
    bev_size: int = 1024,
    instances: ObjectSource | None = None,
    weights: Path | str | None = None,
    classes: Sequence[str] = (),
    sam: Path | str | None = None,
    score_min: float = 0.25,
    min_views: int = 3,
    trust_weights: bool = False,
    proposals: Path | None = None,
    frames: int = 8,
    sampling: Sampling = "coverage",
    device: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Scene:
    """Make a scene folder of a film or another capture, or bring one that is there up to date.

    Args:
        path: the capture's folder, or the file that it is.
        out: the scene folder; new, empty, or one of ours.
        format, depth_scale, poses, axes, intrinsics, surface, long_side_px, ignore_poses, units: see `bev.read_scan`.
        key_frames: how many frames of a film are used at most; see `bev.completion.complete`.
        depth: "stereo" or a network, where the capture brings none; see `bev.completion.complete`.
        scale, camera_height_m: how large the room is where the capture does not tell; see `bev.scale.scale_factor`.
        known_object: the same by an object of the scene that is there, see `scale_by_known_object`.
        fuse_depth, voxel_size_m, depth_max_m, floor, align, skip_check: see `bev.reconstruct`.
        cut_height_m: nothing above this height is in the bird's-eye view; None draws all that does not look down.
        bev_size: long side of the bird's-eye view in pixels.
        instances: where objects come from: "detect", "geometry", "proposals", or "both", which adds to the detected
            objects those that only geometry finds; None is what the options below imply, else "geometry".
        weights, classes, score_min, trust_weights: see `markers.detect`.
        sam: segment-anything's checkpoint: it draws the masks of the detector's boxes; without `weights` it proposes
            objects without names.
        min_views: see `markers.associate`.
        proposals: ready-made instances of the capture's own mesh, see `markers.load_proposals`.
        frames: how many frames the scene shows.
        sampling: "coverage" or "uniform", see `compose`.
        device: "cpu", "cuda" or "cuda:1", for fusion, stereo and networks; None fuses on the CPU and runs the others
            on CUDA where there is one.
        overwrite: do every step again.
        progress: show bars.

    Returns:
        The scene, as it is read from the folder.

    Raises:
        UserError: something about the capture, the options or the folder that the user can mend.
    """
    given = dict(locals())
    path, out = Path(path), Path(out)
    _check(given)
    if known_object is not None:
        given["scale"] = scale_by_known_object(out, known_object, scale=scale, camera_height_m=camera_height_m)
    fusion_device, network_device = _devices(device)
    source = choose_source(
        instances, weights=weights, sam=sam, classes=classes, trust_weights=trust_weights, proposals=proposals
    )
    check_depth(depth)
    scan = read_scan(path, **{name: given[name] for name in _READING})
    check_scale_options(scan, scale=given["scale"], camera_height_m=camera_height_m)
    for warning in scan.warnings:
        logger.warning("%s", warning)
    inputs = fingerprint(path, *scan.files_beside, *([scan.surface_path] if scan.surface_path else []))
    proposals_digest = None if proposals is None else _digest(proposals, scan, fuse_depth=fuse_depth)
    models = find_models(weights, sam, trust_weights=trust_weights, progress=progress)
    digests = [proposals_digest, *(model and model.sha256 for model in models)]
    arguments = _arguments(given) | {"instances": source}
    made_from = SceneSource(str(path), scan.reader, len(scan.frames), _joined(inputs, digests))
    with Steps(out, overwrite=overwrite) as steps:
        whole = completed(
            steps,
            scan,
            inputs={"inputs": inputs, **{name: arguments[name] for name in _READING}},
            key_frames=key_frames,
            depth=depth,
            fuse_depth=fuse_depth,
            device=network_device,
            progress=progress,
        )
        detected = None
        if source in ("detect", "both"):  # first: the networks need no room, and what is wrong with them shows at once
            detected = _detected(steps, whole, models, given, inputs=inputs, device=network_device)
        room_scan, room = _room(steps, whole, arguments, inputs=inputs, device=fusion_device, progress=progress)
        caster = SurfaceCaster(room)
        top = _top(steps, room_scan, room, caster, given)
        find = partial(find_instances, source, proposals=proposals, detected=detected, min_views=min_views)
        key = {"source": source, "proposals": proposals_digest, "min_views": None if detected is None else min_views}
        after = ["room", *(step for step in ("detections", "masks") if step in steps.seconds)]
        kept = steps.run("instances", key, lambda to: stored.save_instances(to, find(room_scan, room)), after=after)
        found = stored.load_instances(kept)
        made = _made(out, arguments, made_from) if len(steps.reused) == len(steps.seconds) else None
        if made is not None:
            return made
        start = time.perf_counter()
        scene = compose(top, room_scan, room, found, frames=frames, sampling=sampling, source=made_from, caster=caster)
        seconds = {**steps.seconds, "compose": round(time.perf_counter() - start, 3)}
        notes = notes_on(source, found, detected=detected, min_views=min_views) + _size_notes(room_scan)
        scene = replace(scene, run=SceneRun(version("gpt4scene"), arguments, seconds, notes))
        scene.save(out, overwrite=True, warnings=whole.warnings)
    return load_scene(out)


_READING = ("format", "depth_scale", "poses", "axes", "intrinsics", "surface", "long_side_px", "ignore_poses", "units")
_REBUILDING = (
    "fuse_depth",
    "voxel_size_m",
    "depth_max_m",
    "floor",
    "align",
    "skip_check",
    "scale",
    "camera_height_m",
)


def _detected(
    steps: Steps,
    scan: Scan,
    models: tuple[Model | None, Model | None],
    given: Mapping[str, Any],
    *,
    inputs: str,
    device: str | None,
) -> Detected:
    return detect_objects(
        steps,
        scan,
        *models,
        inputs={"inputs": inputs, **{name: given[name] for name in ("format", "intrinsics", "long_side_px")}},
        after=[step for step in COMPLETING if step != "depth" and step in steps.seconds],
        classes=given["classes"],
        score_min=given["score_min"],
        trust_weights=given["trust_weights"],
        device=device,
        progress=given["progress"],
    )


def _room(
    steps: Steps, scan: Scan, arguments: Mapping[str, Any], *, inputs: str, device: str, progress: bool
) -> tuple[Scan, Surface]:
    """The reconstructed room, and the frames that belong to it."""
    rebuild = partial(
        reconstruct, scan, device=device, progress=progress, **{name: arguments[name] for name in _REBUILDING}
    )
    key = {name: arguments[name] for name in (*_READING, *_REBUILDING)} | {"device": device}
    kept = steps.run(
        "room",
        {"inputs": inputs, "arguments": key},
        lambda folder: stored.save_room(folder, *rebuild()),
        after=[step for step in COMPLETING if step in steps.seconds],
    )
    return stored.load_room(kept, scan)


def _top(steps: Steps, scan: Scan, room: Surface, caster: SurfaceCaster, given: Mapping[str, Any]) -> Bev:
    """The room from above."""
    size, cut = given["bev_size"], given["cut_height_m"]
    look = partial(render_bev, long_side_px=size, cut_height_m=cut, caster=caster, progress=given["progress"])
    key = {"bev_size": size, "cut_height_m": cut}
    kept = steps.run("bev", key, lambda to: stored.save_top(to, look(room, scan)), after=["room"])
    return stored.load_top(kept, room, cut)


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the scene, as JSON can hold it."""
    plain = {name: value for name, value in given.items() if name not in ("out", "overwrite", "progress")}
    plain["classes"] = list(plain["classes"])
    return {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}


def _devices(device: str | None) -> tuple[str, str | None]:
    """What Open3D and torch call a device; None leaves the choice to torch and fusion on the CPU."""
    if device is None:
        return "CPU:0", None
    name = re.fullmatch(r"cpu(:0)?|cuda(:[0-9]+)?", device.lower())
    if name is None:
        raise UserError(f"--device {device}: must be cpu, cuda, or cuda:1 for another GPU")
    kind, _, number = name[0].partition(":")
    return f"{kind.upper()}:{number or 0}", "cpu" if kind == "cpu" else f"cuda:{number or 0}"


def _check(given: Mapping[str, Any]) -> None:
    """Numbers within what makes sense; where None stands for a choice of ours, any."""
    for option, least, most in (
        ("frames", 1, 1000),
        ("bev_size", 64, 8192),
        ("voxel_size_m", 0.002, 0.5),
        ("depth_max_m", 0.1, 100),
        ("cut_height_m", 0.05, 100),
        ("score_min", 0, 1),
        ("min_views", 1, 1000),
        ("key_frames", 3, 10_000),
        ("long_side_px", 64, 8192),
    ):
        value = given[option]
        if value is not None and not least <= value <= most:
            raise UserError(f"--{option.replace('_', '-')} {value}: must be between {least} and {most}")


def _size_notes(scan: Scan) -> tuple[str, ...]:
    """What to do about a size that nobody knows."""
    if scan.units == "metre":
        return ()
    return (
        "the room's size is unknown, so lengths are in arbitrary units; for metres give --camera-height-m 1.5 (how "
        "high the camera was held), --known-object 12=0.75 (object 12 is 0.75 m along its longest side), or --scale",
    )


def _digest(proposals: Path, scan: Scan, *, fuse_depth: bool) -> str:
    """A hash of all that the instances are read from, whole: one vertex more in a mask changes neither size nor ends.

    Raises:
        UserError: the room is not made of the capture's own mesh, or a file is missing or cannot be read.
    """
    if scan.surface_path is None or fuse_depth:
        raise UserError(f"--proposals {proposals}: index a capture's own mesh; give that mesh with --surface FILE")
    digest = hashlib.sha256()
    for file in proposal_files(proposals):
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror})") from error
        digest.update(f"{file.name}\0".encode("utf-8", "surrogateescape") + content.digest())
    return digest.hexdigest()[:32]


def _joined(inputs: str, digests: Sequence[str | None]) -> str:
    """One fingerprint of capture, instances and weights."""
    if not any(digests):
        return inputs
    return hashlib.sha256(" ".join([inputs, *(digest or "-" for digest in digests)]).encode()).hexdigest()[:32]


def _made(out: Path, arguments: dict[str, Any], source: SceneSource) -> Scene | None:
    """The scene that is there, if it is whole and made of the same: a run may have ended between steps and scene."""
    try:
        scene = load_scene(out)
    except UserError:
        return None
    made_so = (dict(scene.run.arguments), scene.run.version, scene.source.fingerprint)
    return scene if made_so == (arguments, version("gpt4scene"), source.fingerprint) else None
