"""From a capture to a scene folder, in steps that are kept and not done twice."""

import hashlib
import logging
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bev.errors import UserError
from bev.readers import Format, read_scan
from bev.reconstruction import reconstruct
from bev.render import render_bev
from bev.scan import Axes, Poses, Scan
from bev.surface import SurfaceCaster
from gpt4scene.scene import stored
from gpt4scene.scene.compose import Sampling, compose
from gpt4scene.scene.contents import SceneRun, SceneSource
from gpt4scene.scene.scene import Scene, load_scene
from gpt4scene.scene.steps import Steps, fingerprint
from markers.cluster import cluster
from markers.proposals import load_proposals, proposal_files

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
    fuse_depth: bool = False,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    floor: int | None = None,
    align: bool = True,
    skip_check: bool = False,
    cut_height_m: float | None = None,
    bev_size: int = 1024,
    proposals: Path | None = None,
    frames: int = 8,
    sampling: Sampling = "coverage",
    device: str = "CPU:0",
    overwrite: bool = False,
    progress: bool = False,
) -> Scene:
    """Make a scene folder of a posed RGB-D capture, or bring one that is there up to date.

    Args:
        path: the capture's folder.
        out: the scene folder; new, empty, or one of ours.
        format, depth_scale, poses, axes, intrinsics, surface: see `bev.read_scan`.
        fuse_depth, voxel_size_m, depth_max_m, floor, align, skip_check, device: see `bev.reconstruct`.
        cut_height_m: nothing above this height is in the bird's-eye view; None draws all that does not look down.
        bev_size: long side of the bird's-eye view in pixels.
        proposals: ready-made instances of the capture's own mesh, see `markers.load_proposals`; None clusters.
        frames: how many frames the scene shows.
        sampling: "coverage" or "uniform", see `compose`.
        overwrite: do every step again.
        progress: show bars.

    Returns:
        The scene, as it is read from the folder.

    Raises:
        UserError: something about the capture, the options or the folder that the user can mend.
    """
    given = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    arguments = {name: value for name, value in given.items() if name not in ("out", "overwrite", "progress")}
    path, out = Path(path), Path(out)
    _check(frames, bev_size, voxel_size_m, depth_max_m, cut_height_m)
    scan = read_scan(
        path,
        format=format,
        depth_scale=depth_scale,
        poses=poses,
        axes=axes,
        intrinsics=intrinsics,
        surface=surface,
    )
    for warning in scan.warnings:
        logger.warning("%s", warning)
    inputs = fingerprint(path, *scan.files_beside, *([scan.surface_path] if scan.surface_path else []))
    proposals_digest = None if proposals is None else _digest(proposals, scan, fuse_depth=fuse_depth)
    with Steps(out, overwrite=overwrite) as steps:
        rebuild = partial(
            reconstruct,
            scan,
            voxel_size_m=voxel_size_m,
            depth_max_m=depth_max_m,
            floor=floor,
            fuse_depth=fuse_depth,
            align=align,
            skip_check=skip_check,
            device=device,
            progress=progress,
        )
        room_key = {"inputs": inputs, "arguments": {name: arguments[name] for name in _ROOM_ARGUMENTS}}
        kept = steps.run("room", room_key, lambda folder: stored.save_room(folder, *rebuild()))
        room_scan, room = stored.load_room(kept, scan)
        caster = SurfaceCaster(room)
        look = partial(render_bev, long_side_px=bev_size, cut_height_m=cut_height_m, caster=caster, progress=progress)
        top_key = {"bev_size": bev_size, "cut_height_m": cut_height_m}
        kept = steps.run("bev", top_key, lambda to: stored.save_top(to, look(room, room_scan)), after=["room"])
        top = stored.load_top(kept, room, cut_height_m)
        find = cluster if proposals is None else partial(load_proposals, proposals)
        instances_key = {"proposals": proposals_digest}
        kept = steps.run("instances", instances_key, lambda to: stored.save_instances(to, find(room)), after=["room"])
        instances = stored.load_instances(kept)
        source = SceneSource(str(path), scan.reader, len(scan.frames), _joined(inputs, proposals_digest))
        made = _made(out, arguments, source) if len(steps.reused) == 3 else None
        if made is not None:
            return made
        start = time.perf_counter()
        scene = compose(top, room_scan, room, instances, frames=frames, sampling=sampling, source=source, caster=caster)
        seconds = {**steps.seconds, "compose": round(time.perf_counter() - start, 3)}
        scene = replace(scene, run=SceneRun(version("gpt4scene"), arguments, seconds))
        scene.save(out, overwrite=True, warnings=scan.warnings)
    return load_scene(out)


_ROOM_ARGUMENTS = (
    "format",
    "depth_scale",
    "poses",
    "axes",
    "intrinsics",
    "surface",
    "fuse_depth",
    "voxel_size_m",
    "depth_max_m",
    "floor",
    "align",
    "skip_check",
    "device",
)


def _check(frames: int, bev_size: int, voxel_size_m: float, depth_max_m: float, cut_height_m: float | None) -> None:
    for option, value, least, most in (
        ("--frames", frames, 1, 1000),
        ("--bev-size", bev_size, 64, 8192),
        ("--voxel-size-m", voxel_size_m, 0.002, 0.5),
        ("--depth-max-m", depth_max_m, 0.1, 100),
        ("--cut-height-m", 1.0 if cut_height_m is None else cut_height_m, 0.05, 100),
    ):
        if not least <= value <= most:
            raise UserError(f"{option} {value}: must be between {least} and {most}")


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


def _joined(inputs: str, proposals_digest: str | None) -> str:
    """One fingerprint of capture and instances."""
    if proposals_digest is None:
        return inputs
    return hashlib.sha256(f"{inputs} {proposals_digest}".encode()).hexdigest()[:32]


def _made(out: Path, arguments: dict[str, Any], source: SceneSource) -> Scene | None:
    """The scene that is there, if it is whole and made of the same: a run may have ended between steps and scene."""
    try:
        scene = load_scene(out)
    except UserError:
        return None
    made_so = (dict(scene.run.arguments), scene.run.version, scene.source.fingerprint)
    return scene if made_so == (arguments, version("gpt4scene"), source.fingerprint) else None
