"""From a capture to a scene folder, in steps that are kept and not done twice."""

import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from markers.instance import Instance
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
    job = _planned(dict(locals()))
    with Steps(job.out, overwrite=overwrite) as steps:
        whole = _completed(steps, job)
        detected = None
        if job.source in ("detect", "both"):
            # before the room: the networks do not need it, and what is wrong with them shows at once
            detected = _detected(steps, whole, job)
        room_scan, room = _room(steps, whole, job)
        caster = SurfaceCaster(room)
        top = _top(steps, room_scan, room, caster, job)
        found = _instances(steps, room_scan, room, detected, job)
        made = _made(job) if len(steps.reused) == len(steps.seconds) else None
        if made is not None:
            return made
        start = time.perf_counter()
        scene = compose(
            top, room_scan, room, found, frames=frames, sampling=sampling, source=job.made_from, caster=caster
        )
        seconds = {**steps.seconds, "compose": round(time.perf_counter() - start, 3)}
        notes = notes_on(job.source, found, detected=detected, min_views=min_views) + _size_notes(room_scan)
        scene = replace(scene, run=SceneRun(version("gpt4scene"), job.arguments, seconds, notes))
        scene.save(job.out, overwrite=True, warnings=whole.warnings)
    return load_scene(job.out)


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


@dataclass(frozen=True, eq=False)
class _Job:
    """What is to be made of what: all that is known, and checked, before anything slow is done."""

    given: Mapping[str, Any]
    """The arguments of `prepare`."""
    out: Path
    scan: Scan
    """As it was read."""
    inputs: str
    """Fingerprint of the capture."""
    source: ObjectSource
    proposals_digest: str | None
    models: tuple[Model | None, Model | None]
    arguments: dict[str, Any]
    """Those that decide the scene, as JSON can hold them; the scale is known in them."""
    made_from: SceneSource
    fusion_device: str
    network_device: str | None


def _planned(given: Mapping[str, Any]) -> _Job:
    _check(given)
    path, out = Path(given["path"]), Path(given["out"])
    sizes = {name: given[name] for name in ("scale", "camera_height_m")}
    if given["known_object"] is not None:
        sizes["scale"] = scale_by_known_object(out, given["known_object"], **sizes)
    fusion_device, network_device = _devices(given["device"])
    source = choose_source(
        given["instances"],
        **{name: given[name] for name in ("weights", "sam", "classes", "trust_weights", "proposals")},
    )
    check_depth(given["depth"])
    scan = read_scan(path, **{name: given[name] for name in _READING})
    check_scale_options(scan, **sizes)
    for warning in scan.warnings:
        logger.warning("%s", warning)
    inputs = fingerprint(path, *scan.files_beside, *([scan.surface_path] if scan.surface_path else []))
    proposals = given["proposals"]
    proposals_digest = None if proposals is None else _digest(proposals, scan, fuse_depth=given["fuse_depth"])
    models = find_models(
        given["weights"], given["sam"], trust_weights=given["trust_weights"], progress=given["progress"]
    )
    digests = [proposals_digest, *(model and model.sha256 for model in models)]
    return _Job(
        given=given,
        out=out,
        scan=scan,
        inputs=inputs,
        source=source,
        proposals_digest=proposals_digest,
        models=models,
        arguments=_arguments(given) | sizes | {"instances": source},
        made_from=SceneSource(str(path), scan.reader, len(scan.frames), _joined(inputs, digests)),
        fusion_device=fusion_device,
        network_device=network_device,
    )


def _completed(steps: Steps, job: _Job) -> Scan:
    """The capture with the poses and the depth that it lacked."""
    return completed(
        steps,
        job.scan,
        inputs={"inputs": job.inputs, **{name: job.arguments[name] for name in _READING}},
        device=job.network_device,
        **{name: job.given[name] for name in ("key_frames", "depth", "fuse_depth", "progress")},
    )


def _detected(steps: Steps, scan: Scan, job: _Job) -> Detected:
    reading = {name: job.given[name] for name in ("format", "intrinsics", "long_side_px")}
    return detect_objects(
        steps,
        scan,
        *job.models,
        inputs={"inputs": job.inputs, **reading},
        after=[step for step in COMPLETING if step != "depth" and step in steps.seconds],
        device=job.network_device,
        **{name: job.given[name] for name in ("classes", "score_min", "trust_weights", "progress")},
    )


def _room(steps: Steps, scan: Scan, job: _Job) -> tuple[Scan, Surface]:
    """The reconstructed room, and the frames that belong to it."""
    options = {name: job.arguments[name] for name in _REBUILDING}
    rebuild = partial(reconstruct, scan, device=job.fusion_device, progress=job.given["progress"], **options)
    key = {**{name: job.arguments[name] for name in _READING}, **options, "device": job.fusion_device}
    kept = steps.run(
        "room",
        {"inputs": job.inputs, "arguments": key},
        lambda folder: stored.save_room(folder, *rebuild()),
        after=[step for step in COMPLETING if step in steps.seconds],
    )
    return stored.load_room(kept, scan)


def _top(steps: Steps, scan: Scan, room: Surface, caster: SurfaceCaster, job: _Job) -> Bev:
    """The room from above."""
    size, cut = job.given["bev_size"], job.given["cut_height_m"]
    look = partial(render_bev, long_side_px=size, cut_height_m=cut, caster=caster, progress=job.given["progress"])
    key = {"bev_size": size, "cut_height_m": cut}
    kept = steps.run("bev", key, lambda to: stored.save_top(to, look(room, scan)), after=["room"])
    return stored.load_top(kept, room, cut)


def _instances(steps: Steps, scan: Scan, room: Surface, detected: Detected | None, job: _Job) -> list[Instance]:
    proposals, min_views = job.given["proposals"], job.given["min_views"]
    find = partial(find_instances, job.source, proposals=proposals, detected=detected, min_views=min_views)
    seen_in = None if detected is None else min_views
    key = {"source": job.source, "proposals": job.proposals_digest, "min_views": seen_in}
    after = ["room", *(step for step in ("detections", "masks") if step in steps.seconds)]
    kept = steps.run("instances", key, lambda to: stored.save_instances(to, find(scan, room)), after=after)
    return stored.load_instances(kept)


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


def _made(job: _Job) -> Scene | None:
    """The scene that is there, if it is whole and made of the same: a run may have ended between steps and scene."""
    try:
        scene = load_scene(job.out)
    except UserError:
        return None
    made_so = (dict(scene.run.arguments), scene.run.version, scene.source.fingerprint)
    return scene if made_so == (job.arguments, version("gpt4scene"), job.made_from.fingerprint) else None
