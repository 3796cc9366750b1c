"""From a scan as it was read to an upright room with a coloured surface."""

import logging
import math
from collections.abc import Callable
from functools import partial

from bev.agreement import check_agreement
from bev.alignment import align_to_surface
from bev.completion import STEREO, complete
from bev.connected import check_connected
from bev.errors import UserError
from bev.fusion import fuse
from bev.orthophoto import color_surface
from bev.scale import check_scale_options, roughly_room_sized, scale_factor
from bev.scan import Scan
from bev.storeys import pick_storey
from bev.surface import Surface, SurfaceCaster, load_surface
from bev.surface_fit import check_surface_fit
from bev.upright import upright

logger = logging.getLogger(__name__)


def reconstruct(
    scan: Scan,
    *,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    floor: int | None = None,
    fuse_depth: bool = False,
    align: bool = True,
    skip_check: bool = False,
    key_frames_max: int | None = None,
    depth: str = STEREO,
    scale: float | None = None,
    camera_height_m: float | None = None,
    device: str = "CPU:0",
    network_device: str | None = None,
    progress: bool = False,
) -> tuple[Scan, Surface]:
    """Bring a scan into the upright world, with the surface that its views are cast against.

    What the scan lacks is found first: poses by structure from motion, depth by stereo or a network. The capture's own
    surface is used where it has one, else depth is fused. What is used is logged.

    Args:
        scan: as `read_scan` returned it.
        voxel_size_m: of the fusion.
        depth_max_m: depth beyond this is not fused.
        floor: which storey of a scan of several, 1 is the lowest.
        fuse_depth: fuse the depth although the capture brings a surface.
        align: correct the colour cameras by the images' agreement, see `bev.alignment`.
        skip_check: go on where depth and poses disagree.
        key_frames_max, depth: see `bev.completion.complete`.
        scale, camera_height_m: see `bev.scale.scale_factor`; without one of them a scan of arbitrary size stays so.
        device: Open3D device of the fusion, `CPU:0` or `CUDA:0`.
        network_device: torch's device for stereo and networks; None takes CUDA where there is one.
        progress: show bars.

    Returns:
        The scan, its cameras moved into the upright world, and the surface there; both of the chosen storey only.

    Raises:
        UserError: the depth does not fit the poses, the scan is of several storeys or of rooms that do not connect,
            too little of a film can be posed, or a size is given to a scan that has one.
    """
    check_scale_options(scan, scale=scale, camera_height_m=camera_height_m)
    scan = complete(
        scan,
        key_frames_max=key_frames_max,
        depth=depth,
        fuse_depth=fuse_depth,
        device=network_device,
        progress=progress,
    )
    surfaced = partial(
        find_surface,
        voxel_size_m=voxel_size_m,
        depth_max_m=depth_max_m,
        fuse_depth=fuse_depth,
        skip_check=skip_check,
        device=device,
        progress=progress,
    )
    scan, surface = _sized(scan, surfaced, scale=scale, camera_height_m=camera_height_m)
    # one grey throughout is what a surface without colours, fused or read, is given
    has_colors = bool((surface.colors != surface.colors[:1]).any())
    scan, surface = pick_storey(scan, surface, floor)
    check_connected(scan, surface)
    caster = SurfaceCaster(surface)
    if align:
        scan = align_to_surface(scan, surface, caster=caster, progress=progress)
    if not has_colors:
        surface = color_surface(surface, scan, caster=caster)
    return scan, surface


def _sized(
    scan: Scan, surfaced: Callable[[Scan], Surface], *, scale: float | None, camera_height_m: float | None
) -> tuple[Scan, Surface]:
    """Scan and surface upright, in metres or, where nobody knows them, about as large as a room."""
    check_scale_options(scan, scale=scale, camera_height_m=camera_height_m)  # a network may have given it metres
    scan = roughly_room_sized(scan)
    standing = upright(scan, surfaced(scan))
    factor = scale_factor(standing[0], scale=scale, camera_height_m=camera_height_m)
    if factor == 1:
        return standing
    known = scale is not None or camera_height_m is not None
    scan = scan.scaled(factor, units="metre" if known else "arbitrary")
    return upright(scan, surfaced(scan))


def find_surface(
    scan: Scan,
    *,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    fuse_depth: bool = False,
    skip_check: bool = False,
    device: str = "CPU:0",
    progress: bool = False,
) -> Surface:
    """The surface of a scan in the scan's own world: the capture's file in its order, else fused from depth.

    Raises:
        UserError: as `reconstruct`.
    """
    if scan.has_depth:
        share = check_agreement(scan, skip_check=skip_check)
        if not math.isnan(share):  # a single frame, or a camera that hardly moves
            logger.info("%s: depth and poses agree on %.0f %% of the pixels", scan.name, 100 * share)
    if scan.surface_path is not None and not fuse_depth:
        logger.info("%s: uses the capture's own surface %s", scan.name, scan.surface_path.name)
        surface = load_surface(scan.surface_path).moved(scan.world_from_source @ scan.source_from_surface)
        check_surface_fit(scan, surface, scan.surface_path, skip_check=skip_check)
        return surface
    if not scan.has_depth:
        raise UserError(f"{scan.path}: has no depth to fuse, and no surface of its own; see `bev.completion.complete`")
    return fuse(scan, voxel_size_m=voxel_size_m, depth_max_m=depth_max_m, device=device, progress=progress)
