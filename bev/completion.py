"""What a scan lacks on its way to a surface: fewer frames of a film, poses, depth.

Each step leaves a scan that has it already as it is, so that a caller may keep what each of them made.
"""

import logging

from bev.errors import UserError
from bev.keyframes import key_frames
from bev.learned import gives_poses, learned_depth, learned_reconstruction, parse_model
from bev.posing import find_poses
from bev.scale import roughly_room_sized
from bev.scan import Scan
from bev.stereo import stereo_depth

logger = logging.getLogger(__name__)

KEY_FRAMES_MAX = 240
STEREO = "stereo"


def check_depth(depth: str) -> None:
    """Refuse what names no source of depth, before anything slow is done.

    Raises:
        UserError: it is neither "stereo" nor a network.
    """
    if depth == STEREO:
        return
    try:
        parse_model(depth)
    except UserError as error:
        raise UserError(f"--depth: must be {STEREO} or a network; {error}") from error


def needs_thinning(scan: Scan, key_frames_max: int | None = None, *, fuse_depth: bool = False) -> bool:
    """Whether only some frames will be used: of films, of what lacks poses or depth, and where a number was asked for.

    Args:
        scan: as read.
        key_frames_max: how many at most; None is 240 where that is for us to say.
        fuse_depth: depth is wanted although the capture brings a surface.
    """
    if scan.is_film:
        return True
    if key_frames_max is None and scan.has_poses and not needs_depth(scan, fuse_depth=fuse_depth):
        return False
    return len(scan.frames) > (key_frames_max or KEY_FRAMES_MAX)


def thinned(scan: Scan, *, key_frames_max: int | None = None, fuse_depth: bool = False, progress: bool = False) -> Scan:
    """The sharp frames that lie far enough apart; see `bev.keyframes`."""
    if not needs_thinning(scan, key_frames_max, fuse_depth=fuse_depth):
        return scan
    fewer = key_frames(scan, count_max=key_frames_max or KEY_FRAMES_MAX, progress=progress)
    logger.info("%s: uses %d of %d frames", scan.name, len(fewer.frames), len(scan.frames))
    for warning in fewer.warnings[len(scan.warnings) :]:
        logger.warning("%s", warning)
    return fewer


def poses_by_network(scan: Scan, depth: str) -> bool:
    """Whether the network that `depth` names gives a scan without poses these too."""
    return not scan.has_depth and depth != STEREO and gives_poses(depth)


def posed(scan: Scan, *, depth: str = STEREO, device: str | None = None, progress: bool = False) -> Scan:
    """The scan with poses: by structure from motion, or with a network's depth where the network gives poses too."""
    if scan.has_poses:
        return scan
    if poses_by_network(scan, depth):
        logger.info("%s: no poses and no depth, takes both from %s", scan.name, depth)
        return learned_reconstruction(scan, depth, device=device, progress=progress)
    logger.info("%s: no poses, finds them by structure from motion", scan.name)
    return find_poses(scan, progress=progress)


def needs_depth(scan: Scan, *, fuse_depth: bool = False) -> bool:
    """Whether a surface can be made only of depth that is still to be found."""
    return not scan.has_depth and (scan.surface_path is None or fuse_depth)


def with_depth(
    scan: Scan, *, depth: str = STEREO, fuse_depth: bool = False, device: str | None = None, progress: bool = False
) -> Scan:
    """The scan with depth, where it needs any: by stereo, or by the network that `depth` names."""
    if not needs_depth(scan, fuse_depth=fuse_depth):
        return scan
    scan = roughly_room_sized(scan)
    if depth == STEREO:
        logger.info("%s: no depth, finds it by stereo", scan.name)
        return stereo_depth(scan, device=device, progress=progress)
    return learned_depth(scan, depth, device=device, progress=progress)


def complete(
    scan: Scan,
    *,
    key_frames_max: int | None = None,
    depth: str = STEREO,
    fuse_depth: bool = False,
    device: str | None = None,
    progress: bool = False,
) -> Scan:
    """A scan with all that a surface is made of.

    Args:
        scan: as `read_scan` returned it.
        key_frames_max: at most so many frames; None is 240 of a film, or of a capture that lacks poses or depth, and
            all of any other.
        depth: "stereo", or a network as `bev.learned` names them, such as "da3:depth-anything/DA3-BASE".
        fuse_depth: depth is wanted although the capture brings a surface.
        device: "cpu", "cuda" or "cuda:1" for stereo and networks; None takes CUDA where there is one.
        progress: show bars.

    Raises:
        UserError: too little of the film could be posed, or a package or weights are missing.
    """
    check_depth(depth)
    scan = thinned(scan, key_frames_max=key_frames_max, fuse_depth=fuse_depth, progress=progress)
    scan = posed(scan, depth=depth, device=device, progress=progress)
    return with_depth(scan, depth=depth, fuse_depth=fuse_depth, device=device, progress=progress)
