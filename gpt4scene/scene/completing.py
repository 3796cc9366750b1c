"""Key frames, poses and depth of a capture that lacks them: steps of `prepare`, each kept and not done twice."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from bev.completion import needs_depth, needs_thinning, posed, poses_by_network, thinned, with_depth
from bev.device import choose_device
from bev.keyframes import load_frames, save_frames
from bev.scan import Scan
from gpt4scene.scene.steps import Steps
from gpt4scene.scene.stored_scan import load_found, save_found

COMPLETING = ("frames", "poses", "depth")
"""The steps, in their order; a capture that lacks nothing has none of them."""


def completed(
    steps: Steps,
    scan: Scan,
    *,
    inputs: Mapping[str, Any],
    key_frames: int | None = None,
    depth: str = "stereo",
    fuse_depth: bool = False,
    device: str | None = None,
    progress: bool = False,
) -> Scan:
    """The capture with all that a surface is made of, see `bev.completion.complete`.

    Args:
        steps: where "frames", "poses" and "depth" are kept, as far as they are needed.
        scan: as its reader gives it.
        inputs: fingerprint of the capture, and how it is read, as JSON can hold them.
        key_frames, depth, fuse_depth, device, progress: see `bev.completion.complete`.
    """
    if device is not None and needs_depth(scan, fuse_depth=fuse_depth):
        choose_device(device)  # a device that is not there shows before minutes of work, not after
    done: list[str] = []
    if needs_thinning(scan, key_frames, fuse_depth=fuse_depth):
        thin = partial(thinned, scan, key_frames_max=key_frames, fuse_depth=fuse_depth, progress=progress)
        kept = steps.run("frames", {**inputs, "key_frames": key_frames}, lambda to: save_frames(to, thin()))
        scan = load_frames(kept, scan)
        done.append("frames")
    if not scan.has_poses:
        pose = partial(posed, scan, depth=depth, device=device, progress=progress)
        # structure from motion is the same wherever depth then comes from, and no other device's
        network = {"depth": depth, "device": device} if poses_by_network(scan, depth) else {}
        kept = steps.run(
            "poses", {**inputs, **network}, lambda to: save_found(to, pose(), depth=not scan.has_depth), after=done
        )
        scan = load_found(kept, scan)
        done.append("poses")
    if needs_depth(scan, fuse_depth=fuse_depth):
        see = partial(with_depth, scan, depth=depth, fuse_depth=fuse_depth, device=device, progress=progress)
        key = {**inputs, "depth": depth, "device": device}
        scan = load_found(steps.run("depth", key, lambda to: save_found(to, see(), depth=True), after=done), scan)
    return scan
