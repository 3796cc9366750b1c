"""`gpt4scene prepare`: a film or another capture becomes a scene folder."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bev.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpt4scene.parallel import Done


def prepare(
    path: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    *,
    jobs: int | None = None,
    ray: str | None = None,
    format: Literal[
        "7scenes",
        "scannet",
        "sens",
        "tum",
        "replica",
        "arkitscenes",
        "stray",
        "record3d",
        "polycam",
        "colmap",
        "transforms",
        "video",
        "images",
    ]
    | None = None,
    frames: int = 8,
    sampling: Literal["coverage", "uniform"] = "coverage",
    instances: Literal["detect", "geometry", "proposals", "both"] | None = None,
    weights: Path | None = None,
    classes: str | None = None,
    sam: Path | None = None,
    score_min: float = 0.25,
    min_views: int = 3,
    trust_weights: bool = False,
    proposals: Path | None = None,
    surface: Path | None = None,
    key_frames: int | None = None,
    depth: str = "stereo",
    scale: float | None = None,
    camera_height_m: float | None = None,
    known_object: str | None = None,
    long_side_px: int = 1280,
    ignore_poses: bool = False,
    units: Literal["metre", "arbitrary"] | None = None,
    fuse_depth: bool = False,
    bev_size: int = 1024,
    cut_height_m: float | None = None,
    floor: int | None = None,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    depth_scale: float | None = None,
    poses: Literal["world_from_camera", "camera_from_world"] | None = None,
    axes: Literal["opencv", "opengl"] | None = None,
    intrinsics: str | None = None,
    align: bool = True,
    skip_check: bool = False,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn a film, photos or an RGB-D capture into a scene folder: marked bird's-eye view and frames, objects, report.

    What a capture lacks is found: poses by structure from motion; depth by stereo without any weights, or by the
    network that --depth names. That needs the extra: pip install 'gpt4scene[video]'. A plain film tells no size:
    lengths then are in arbitrary units unless you give --camera-height-m, --known-object or --scale.

    Steps that an interrupted command had finished, and steps whose inputs did not change, are not done again.

    Objects are found from geometry alone, without names; or in the frames, by a detector (--weights) or by
    segment-anything (--sam), and then each gets one number for all frames. Detectors run in ultralytics: the package
    and the weights that it publishes are under the licence AGPL-3.0, which reaches to what you build with them and
    offer to others. segment-anything and its checkpoints are Apache-2.0. Both need the extra:
    pip install 'gpt4scene[detect]'. Nothing is downloaded unless you name it.

    Several captures become several scene folders, side by side. One that fails stops no other: it is listed with its
    error, the exit code is then 1, and the same command again does only what is missing.

    Args:
        path: a film, or the folder or file of a capture; the README lists the formats. Of several, each becomes a
            scene folder of its own name in --out, and --proposals and --surface name the file of each with {name}, as
            in --proposals masks/{name}.txt, or with {capture}, its path.
        out: the scene folder, out/NAME of the capture when left out; of several captures the folder of all scene
            folders, out when left out.
        jobs: of several captures, how many are prepared side by side, each in a process of its own; one for each core
            when left out, or as many as a Ray cluster takes.
        ray: prepare several captures on a Ray cluster that sees the same files: its address, "auto" for the one that
            is running here, "local" to start one on this machine. Needs the extra: pip install 'gpt4scene[ray]'.
        format: the capture's layout; recognised by looking when left out.
        frames: how many frames the scene shows.
        sampling: "coverage" takes the frames that together show the most, "uniform" the paper's even spacing.
        instances: where objects come from; "both" adds to the detected objects those that geometry alone finds.
            When left out: detect with --weights or --sam, proposals with --proposals, else geometry.
        weights: a detector's file that ultralytics loads (.pt, .onnx, .tflite ...), or the name of a published one,
            such as yolo11x-seg.pt, which is fetched once. Licence AGPL-3.0.
        classes: what to look for, such as "chair, trash can": open-vocabulary detectors (YOLO-World, YOLOE) look for
            any words, others keep those of their classes. All that it knows when left out.
        sam: a segment-anything checkpoint, or the name of a published one (sam_vit_b_01ec64.pth): draws masks where
            the detector gives boxes only; without --weights it proposes objects that have no names.
        score_min: what the detector is less sure of does not count, 0 to 1.
        min_views: an object must be seen in so many frames.
        trust_weights: load weights although the file can hold code that then runs: only where you trust its maker.
        proposals: ready-made 3D instances of the capture's own mesh (.npy, ScanNet's .segs.json, Mask3D's .txt).
        surface: mesh or point cloud to use, in the world of the stored poses; the capture's own when left out.
        key_frames: at most so many frames are used, the sharp ones that lie apart. When left out: 240 of a film, or
            of a capture without poses or depth; all of any other.
        depth: where the capture brings none: stereo, or a network as KIND:MODEL with an id or a folder, such as
            da3:depth-anything/DA3-BASE, transformers:apple/DepthPro-hf, vggt:facebook/VGGT-1B. Its licence is shown.
        scale: metres per unit of the scene as it is without this option.
        camera_height_m: how high above the floor the camera was held for most of the film, in metres.
        known_object: "12=0.75": the object with number 12 of the scene that is in the folder already is 0.75 metres
            long, along its longest side.
        long_side_px: films and photos that are larger are made this large when they are decoded.
        ignore_poses: find the poses anew although the capture brings some; its mesh is then not used.
        units: of the capture's own poses, where its format (COLMAP, transforms.json) leaves that open.
        fuse_depth: fuse the depth although the capture brings a mesh of its own.
        bev_size: long side of the bird's-eye view, pixels.
        cut_height_m: nothing above this height, in metres, is in the bird's-eye view; all that does not look down
            when left out.
        floor: which storey of a scan of several; 1 is the lowest.
        voxel_size_m: voxel edge of the fusion, metres.
        depth_max_m: depth beyond this, in metres, is not fused.
        depth_scale: stored depth units per metre: 1000 for millimetres; the format's own when left out.
        poses: what the stored pose matrices map; the format's own when left out.
        axes: camera axes of the stored poses, opencv (x right, y down, z forward) or opengl (y up, z back); the
            format's own when left out.
        intrinsics: a 3x3 text file or "fx,fy,cx,cy", in place of the capture's own or of a guess; in pixels of the
            images at their full size, films and photos upright. The lens then counts as free of distortion.
        align: correct the colour cameras by centimetres until their images agree.
        skip_check: go on although depth and poses do not agree.
        device: cpu, cuda or cuda:1. When left out, stereo and networks take a GPU where there is one, and fusion the
            CPU.
        overwrite: do every step again.
    """
    given: dict[str, Any] = locals()
    options = {key: value for key, value in given.items() if key not in ("path", "out", "jobs", "ray")}
    names = () if classes is None else tuple(name for part in classes.split(",") if (name := part.strip()))
    if classes is not None and not names:
        raise UserError('--classes: names nothing; give words with commas between them, such as "chair, trash can"')
    options["classes"] = names
    if not path:
        raise UserError("PATH is missing: give a film or a capture's folder; see `gpt4scene prepare --help`")
    first, *others = path
    if others:
        _many(path, out or Path("out"), options, jobs, ray)
        return
    if jobs is not None or ray is not None:
        raise UserError(f"{'--jobs' if jobs is not None else '--ray'}: is for several captures; there is one")
    from gpt4scene.scene.prepare import prepare as prepare_scene
    from gpt4scene.scene.prepare_many import capture_name
    from gpt4scene.scene.summary import summary

    out = out or Path("out") / capture_name(first)
    scene = prepare_scene(first, out, **options, progress=sys.stderr.isatty())
    sys.stdout.write(summary(scene, out))


def _many(
    captures: "Sequence[Path]", out: Path, options: "Mapping[str, Any]", jobs: int | None, ray: str | None
) -> None:
    """Prepare each, tell as they end, then in sum; exit code 1 unless all are there."""
    from gpt4scene.parallel import default_jobs
    from gpt4scene.scene.prepare_many import prepare_many

    told = 0

    def tell(done: "Done[str]") -> None:
        nonlocal told
        told += 1
        line = f"failed: {done.error}" if done.error else done.result
        sys.stdout.write(f"[{told}/{len(captures)}] {done.name}: {line}\n")
        sys.stdout.flush()

    each = prepare_many(
        captures, out, options=options, jobs=default_jobs(ray) if jobs is None else jobs, ray=ray, on_done=tell
    )
    failed = [done for done in each if done.error]
    sys.stdout.write(f"{len(each) - len(failed)} of {len(each)} scenes are in {out}\n")
    if failed:
        sys.stdout.flush()
        sys.stderr.write(
            f"gpt4scene: {len(failed)} of {len(each)} captures failed; the same command tries them again:\n"
        )
        sys.stderr.writelines(f"  {done.name}: {done.error}\n" for done in failed)
        raise SystemExit(1)
