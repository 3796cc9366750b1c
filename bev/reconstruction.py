"""From a scan as it was read to an upright room with a coloured surface."""

import logging
import math

from bev.agreement import check_agreement
from bev.alignment import align_to_surface
from bev.connected import check_connected
from bev.errors import UserError
from bev.fusion import fuse
from bev.orthophoto import color_surface
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
    device: str = "CPU:0",
    progress: bool = False,
) -> tuple[Scan, Surface]:
    """Bring a scan into the upright world, with the surface that its views are cast against.

    The capture's own surface is used where it has one, else its depth is fused.

    Args:
        scan: as `read_scan` returned it.
        voxel_size_m: of the fusion.
        depth_max_m: depth beyond this is not fused.
        floor: which storey of a scan of several, 1 is the lowest.
        fuse_depth: fuse the depth although the capture brings a surface.
        align: correct the colour cameras by the images' agreement, see `bev.alignment`.
        skip_check: go on where depth and poses disagree.
        device: Open3D device of the fusion, `CPU:0` or `CUDA:0`.
        progress: show bars.

    Returns:
        The scan, its cameras moved into the upright world, and the surface there; both of the chosen storey only.

    Raises:
        UserError: the depth does not fit the poses, the scan is of several storeys or of rooms that do not connect,
            or there is neither depth nor surface.
    """
    surface = find_surface(
        scan,
        voxel_size_m=voxel_size_m,
        depth_max_m=depth_max_m,
        fuse_depth=fuse_depth,
        skip_check=skip_check,
        device=device,
        progress=progress,
    )
    # one grey throughout is what a surface without colours, fused or read, is given
    has_colors = bool((surface.colors != surface.colors[:1]).any())
    scan, surface = upright(scan, surface)
    scan, surface = pick_storey(scan, surface, floor)
    check_connected(scan, surface)
    caster = SurfaceCaster(surface)
    if align:
        scan = align_to_surface(scan, surface, caster=caster, progress=progress)
    if not has_colors:
        surface = color_surface(surface, scan, caster=caster)
    return scan, surface


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
        surface = load_surface(scan.surface_path).moved(scan.source_from_surface)
        check_surface_fit(scan, surface, scan.surface_path, skip_check=skip_check)
        return surface
    if not scan.has_depth:
        raise UserError(f"{scan.path}: has no depth, and no surface of its own; give one with --surface FILE")
    return fuse(scan, voxel_size_m=voxel_size_m, depth_max_m=depth_max_m, device=device, progress=progress)
