"""Whether a scan is one place: two rooms that no walk and no view joins have no common bird's-eye view.

Surface belongs together where its gaps are narrower than a door leaf; farther apart, where one frame shows both sides
or the camera walked from one to the other.
"""

import numpy as np

from bev.camera import pixel_centers
from bev.errors import UserError
from bev.facets import facets_of
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster

_CELL_M = 0.25
_BRIDGED_CELLS = 3
_STEP_MAX_M = 1.5
_PART_MIN = 0.2
_SEEN_MIN = 0.03
_LOOK_PX = 64
_FRAMES_MAX = 400


def check_connected(scan: Scan, surface: Surface) -> None:
    """Refuse a scan whose second part, a fifth of the main part's area or more, is joined to it by nothing.

    Args:
        scan: posed frames, in metres.
        surface: what they show, in the same world.

    Raises:
        UserError: naming the parts' sizes and the frame at which the walk breaks.
    """
    facets = facets_of(surface)
    if not len(facets.areas):
        return
    cells, cell_of_facet = np.unique(np.floor(facets.centers / _CELL_M), axis=0, return_inverse=True)
    part_of_cell = _parts(cells)
    areas = np.bincount(part_of_cell[cell_of_facet.reshape(-1)], facets.areas)
    if _second_share(areas) < _PART_MIN and areas.max() > 0.5 * areas.sum():
        return  # one part and crumbs, which even together are no second room
    runs = _runs(scan.centers())
    sees = _seen_parts(scan, surface, cells, part_of_cell)
    group_of_part, group_of_run = _joined(sees, runs)
    group_areas = np.bincount(group_of_part, areas, minlength=group_of_run.max() + 1)
    if _second_share(group_areas) >= _PART_MIN:
        raise UserError(_message(scan, group_areas, group_of_run[runs]))


def _parts(cells: np.ndarray) -> np.ndarray:
    """(C,) int: the part to which each occupied cell, (C, 3), belongs; gaps of two empty cells are bridged."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    pairs = KDTree(cells).query_pairs(_BRIDGED_CELLS + 0.1, p=np.inf, output_type="ndarray")
    near = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    return connected_components(near, directed=False)[1]


def _second_share(areas: np.ndarray) -> float:
    largest = np.sort(areas)[::-1]
    return float(largest[1] / largest[0]) if len(largest) > 1 else 0.0


def _runs(centers: np.ndarray) -> np.ndarray:
    """(n,) int: which stretch of the walk each frame belongs to; a new one begins where the camera jumps."""
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    return np.concatenate([[0], np.cumsum(steps > _STEP_MAX_M)])


def _seen_parts(scan: Scan, surface: Surface, cells: np.ndarray, part_of_cell: np.ndarray) -> np.ndarray:
    """(n, P) bool: the parts that fill more than 3 % of a frame; at most 400 frames, evenly spaced, are looked at."""
    from scipy.spatial import KDTree

    tree = KDTree((cells + 0.5) * _CELL_M)
    caster = None if scan.has_depth else SurfaceCaster(surface)
    count = int(part_of_cell.max()) + 1
    sees = np.zeros((len(scan.frames), count), bool)
    for i in np.unique(np.linspace(0, len(scan.frames) - 1, _FRAMES_MAX).astype(int)).tolist():
        points, pixels = _look(scan.frames[i], caster)
        away, nearest = tree.query(points, distance_upper_bound=_CELL_M)
        parts = part_of_cell[np.asarray(nearest)[np.isfinite(away)]]
        sees[i] = np.bincount(parts, minlength=count) > _SEEN_MIN * pixels
    return sees


def _look(frame: Frame, caster: SurfaceCaster | None) -> tuple[np.ndarray, int]:
    """World points (N, 3) that a frame shows on a coarse grid of pixels, and how many pixels the grid has."""
    if caster is None and frame.read_depth is not None and frame.depth_camera is not None:
        depth = frame.read_depth()
        step = max(1, depth.shape[1] // _LOOK_PX)
        camera = frame.depth_camera
        row, column = (index.ravel() for index in np.mgrid[: depth.shape[0] : step, : depth.shape[1] : step])
        uv, values = np.stack([column, row], axis=1) + 0.5, depth[row, column]
    elif caster is not None:
        camera = frame.camera.resized(_LOOK_PX, max(1, round(_LOOK_PX * frame.camera.height / frame.camera.width)))
        uv, values = pixel_centers(camera.width, camera.height), caster.view(camera).depth.ravel()
    else:
        return np.zeros((0, 3)), 1
    return camera.unproject(uv[values > 0], values[values > 0]), len(values)


def _joined(sees: np.ndarray, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups of parts (P,) and of stretches of the walk (R,): a stretch joins all parts that its frames see."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    frames, parts = np.nonzero(sees)
    part_count, run_count = sees.shape[1], int(runs.max(initial=0)) + 1
    total = part_count + run_count
    links = coo_array((np.ones(len(parts), bool), (parts, part_count + runs[frames])), shape=(total, total))
    groups = connected_components(links, directed=False)[1]
    return groups[:part_count], groups[part_count:]


def _message(scan: Scan, group_areas: np.ndarray, group_of_frame: np.ndarray) -> str:
    two = np.argsort(-group_areas, kind="stable")[:2]
    sizes = f"parts of {group_areas[two[0]]:.1f} and {group_areas[two[1]]:.1f} m2 of surface that do not connect"
    ours = np.flatnonzero(np.isin(group_of_frame, two))
    changes = np.flatnonzero(np.diff(group_of_frame[ours]) != 0)
    if not len(changes):
        return f"{scan.path}: the scan holds {sizes}, and no frame shows the second: give a surface of one place"
    at = int(changes[0])
    before, after = scan.frames[int(ours[at])], scan.frames[int(ours[at + 1])]
    jump = np.linalg.norm(after.camera.center - before.camera.center)
    return (
        f"{scan.path}: the scan holds {sizes}: the walk breaks before frame {after.index:06d}, {jump:.1f} m from frame "
        f"{before.index:06d}; scan again in one walk, or prepare the two parts on their own"
    )
