"""Whether a capture's own surface lies where its frames measured depth."""

import logging
from pathlib import Path

import numpy as np

from bev.camera import pixel_centers
from bev.errors import UserError
from bev.scan import Scan
from bev.surface import Surface, SurfaceCaster

logger = logging.getLogger(__name__)

_FRAMES = 16
_LOOK_PX = 80
_SHOWN_MIN = 0.02
_FITS_MIN = 0.55
"""Right surfaces reach 0.95, one that is 15 cm off 0.75; another room on the same floor stays under 0.45."""


def surface_fit(scan: Scan, surface: Surface) -> float:
    """Of the pixels in which a frame shows the surface and measured depth, the share that agree within 5 cm and 3 %.

    Sixteen frames spread over the scan are compared, thinned out to 80 pixels across. What is missing in the surface
    does not count against it, unless next to nothing of it is in sight.

    Args:
        scan: frames with depth.
        surface: in the same world.

    Returns:
        0 to 1; 0 where under 2 % of the measured pixels show the surface; NaN where no frame has depth.
    """
    caster = SurfaceCaster(surface)
    measured_px, shown_px, fitting_px = 0, 0, 0
    for position in np.unique(np.linspace(0, len(scan.frames) - 1, _FRAMES).astype(int)):
        frame = scan.frames[position]
        if frame.read_depth is None or frame.depth_camera is None:
            continue
        full = frame.depth_camera
        small = full.resized(_LOOK_PX, max(1, round(full.height * _LOOK_PX / full.width)))
        uv = pixel_centers(small.width, small.height)
        column, row = (uv * [full.width / small.width, full.height / small.height]).astype(np.int64).T
        measured = frame.read_depth()[row, column]
        shown = caster.view(small).depth.ravel()
        both = (measured > 0) & (shown > 0)
        measured_px += int((measured > 0).sum())
        shown_px += int(both.sum())
        fitting_px += int((both & (np.abs(shown - measured) < 0.05 + 0.03 * measured)).sum())
    if not measured_px:
        return float("nan")
    return fitting_px / shown_px if shown_px > _SHOWN_MIN * measured_px else 0.0


def check_surface_fit(scan: Scan, surface: Surface, path: Path, *, skip_check: bool = False) -> None:
    """Refuse a surface of another room or in another world than the poses.

    Args:
        scan: frames with depth.
        surface: as read from `path`, in the frames' world.
        path: named in the message.
        skip_check: log what would have been raised (`--skip-check`).

    Raises:
        UserError: less than half of what frames show of the surface is where they measured it.
    """
    share = surface_fit(scan, surface)
    if np.isnan(share) or share >= _FITS_MIN:
        return
    fault = (
        f"{path}: is not where the frames measured depth ({100 * share:.0f} % of the pixels fit); is it of another "
        "scan, or aligned while the poses are not? --fuse-depth makes one of the depth, --skip-check goes on anyway"
    )
    if not skip_check:
        raise UserError(fault)
    logger.warning(fault)
