"""How large the world is: from the capture, or from what the user knows of the room.

Images alone do not tell. Until somebody does, units are "arbitrary": the world is then made about as large as a room,
because voxels, levels and storeys are looked for in metres, and whoever reads the scene must not claim any.
"""

import logging
import math

import numpy as np

from bev.errors import UserError
from bev.scan import Scan

logger = logging.getLogger(__name__)

ROUGH_DEPTH = 2.0
"""Median distance of what a person films in a room, metres: the first guess."""
USUAL_CAMERA_HEIGHT = 1.45
"""Metres above the floor at which a person holds a phone: the second guess, once there is a floor."""
_FACTOR_MAX = 3.0
"""A floor that says the first guess was farther off than this was no floor."""


def check_scale_options(scan: Scan, *, scale: float | None, camera_height_m: float | None) -> None:
    """Refuse sizes that the user gives where the capture brings its own, and numbers that make no sense.

    Raises:
        UserError: which option, and why.
    """
    given = {"--scale": scale, "--camera-height-m": camera_height_m}
    options = [f"{name} {value:g}" for name, value in given.items() if value is not None]
    if len(options) == 2:
        raise UserError(f"{' and '.join(options)}: give one of the two, each says how large the room is")
    if options and scan.units == "metre":
        raise UserError(f"{options[0]}: {scan.path} is in metres already; leave the option out")
    if scale is not None and not 0 < scale < math.inf:
        raise UserError(f"--scale {scale:g}: must be a number above 0, metres per unit of the scene without it")
    if camera_height_m is not None and not 0.1 <= camera_height_m <= 10:
        raise UserError(f"--camera-height-m {camera_height_m:g}: must be between 0.1 and 10 metres above the floor")


def roughly_room_sized(scan: Scan) -> Scan:
    """A scan of arbitrary size, made so large that what it sees is a room's distance away; others as they are."""
    distances = [] if scan.units == "metre" or scan.sparse is None else _depths_of_sparse(scan)
    if not len(distances):
        return scan
    return scan.scaled(ROUGH_DEPTH / float(np.median(distances)))


def scale_factor(scan: Scan, *, scale: float | None = None, camera_height_m: float | None = None) -> float:
    """By how much an upright scan of arbitrary size must grow.

    Args:
        scan: upright, the floor at z = 0.
        scale: metres per unit of the world as it would be without this argument.
        camera_height_m: how high above the floor the camera was held for most of the film.

    Returns:
        1 for a scan in metres. Else the factor that brings the median height of the cameras to `camera_height_m`, or
        to a usual height, and that times `scale`.
    """
    if scan.units == "metre":
        return 1.0
    height = float(np.median(scan.centers()[:, 2]))
    if camera_height_m is not None:
        if height <= 0:
            raise UserError(f"--camera-height-m {camera_height_m:g}: {scan.path} shows no floor beneath the cameras")
        return camera_height_m / height
    guess = USUAL_CAMERA_HEIGHT / height if height > 0 else math.inf
    if not 1 / _FACTOR_MAX <= guess <= _FACTOR_MAX:
        logger.info("%s: no floor at a usual distance beneath the cameras", scan.name)
        guess = 1.0
    return guess * (1.0 if scale is None else scale)


def _depths_of_sparse(scan: Scan) -> np.ndarray:
    """Depth of every observation of the sparse points, in the frame that made it; of points nobody is known to see,
    their distance from the cameras."""
    assert scan.sparse is not None
    if not len(scan.sparse.seen):
        if not len(scan.sparse.points):
            return np.zeros(0)
        middle = np.median(scan.centers(), axis=0)
        return np.linalg.norm(scan.sparse.points - middle, axis=1)
    depths = [frame.camera.points_in_camera(scan.sparse.seen_by(frame.index))[:, 2] for frame in scan.frames]
    return np.concatenate(depths)
