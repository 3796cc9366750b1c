"""Colours for points of the surface, each taken from the frames that see it best.

The voxel grid's own colours average every view of a voxel and blur what is finer than it. Here a first pass, without
decoding a single image, ranks for each point the frames in which it is visible, near and frontal; a second pass reads
each chosen frame once and samples it. Between the two, `smooth_choice` makes neighbours agree, so that the picture is
made of patches rather than of speckle. The steps are those of image-based texturing of meshes (Waechter et al.,
"Let There Be Color!", ECCV 2014), in their simplest form.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from bev.camera import Camera
from bev.progress import track
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster, point_spacing_m

_CELL_M = 0.3
_OCCLUSION_WIDTH_PX = 192
_BORDER_PX = 4
_MIN_COSINE = 0.1
_EDGE_TRUST = 0.02


@dataclass(frozen=True, eq=False)
class RankedViews:
    """For each point the frames that see it, best first."""

    frames: np.ndarray
    """(K, N) int32: position in `scan.frames`, -1 = no such frame."""
    scores: np.ndarray
    """(K, N) float32, descending along axis 0: image pixels per square metre of surface, 0 = none."""


def rank_views(
    points: np.ndarray,
    normals: np.ndarray,
    scan: Scan,
    caster: SurfaceCaster,
    *,
    candidates: int = 4,
    progress: bool = False,
) -> RankedViews:
    """Rank the frames that see each point by how finely their image resolves the surface there.

    Args:
        points: (N, 3) float32, metres, on the caster's surface.
        normals: (N, 3) float32, unit length.
        scan: its frames' colour cameras are used, no image is read.
        caster: decides what hides what.
        candidates: K, how many frames to keep per point.
        progress: show a bar.
    """
    order, cells = _sort_into_cells(points)
    points, normals = np.ascontiguousarray(points[order]), np.ascontiguousarray(normals[order])
    best = np.full((candidates, len(points)), -1, np.int32)
    scores = np.zeros((candidates, len(points)), np.float32)
    for position, frame in enumerate(track(scan.frames, "rank views", show=progress)):
        near = cells.seen_by(frame.camera)
        if len(near):
            seen, score = _visible(points, normals, near, frame.camera, caster)
            _insert(best, scores, seen, np.int32(position), score)
    unsorted_best, unsorted_scores = np.empty_like(best), np.empty_like(scores)
    unsorted_best[:, order], unsorted_scores[:, order] = best, scores
    return RankedViews(unsorted_best, unsorted_scores)


def smooth_choice(ranked: RankedViews, shape: tuple[int, int], pixels: np.ndarray, *, rounds: int = 3) -> np.ndarray:
    """Choose a frame per pixel so that neighbours mostly agree.

    Args:
        ranked: views of the N points behind `pixels`.
        shape: (H, W) of the picture.
        pixels: (N,) flat indices of the points' pixels.
        rounds: how often the neighbourhood votes again.

    Returns:
        (N,) int64: the row of `ranked` that each point takes, 0 where it has none.
    """
    count = len(ranked.frames)
    options = np.full((count, shape[0] * shape[1]), -1, np.int32)
    options[:, pixels] = ranked.frames
    options = options.reshape(count, *shape)
    own = np.zeros_like(ranked.scores)
    np.divide(ranked.scores, ranked.scores[0], out=own, where=ranked.scores[0] > 0)
    chosen = np.zeros(len(pixels), np.int64)
    for _ in range(rounds):
        label = np.full(shape, -1, np.int32)
        label.ravel()[pixels] = np.take_along_axis(ranked.frames, chosen[None], axis=0)[0]
        support = _support(label, options).reshape(count, -1)[:, pixels]
        value = np.where(ranked.frames >= 0, own + 2 * support, -1)
        chosen = value.argmax(axis=0)
    return chosen


def sample_colors(points: np.ndarray, choice: np.ndarray, scan: Scan, *, spacing_m: float) -> np.ndarray:
    """Read the chosen frames, each once, and sample their colours.

    Args:
        points: (N, 3), metres.
        choice: (R, N) int: for each point R positions in `scan.frames`, -1 = none.
        scan: its images are read.
        spacing_m: distance between neighbouring points; images that resolve more are smoothed to it first.

    Returns:
        (R, N, 3) float32 in 0..255, NaN where `choice` is -1.
    """
    colors = np.full((*choice.shape, 3), np.nan, np.float32)
    order = np.argsort(choice, axis=None, kind="stable")
    flat = choice.ravel()[order]
    starts = np.searchsorted(flat, np.arange(len(scan.frames) + 1))
    rows, columns = np.unravel_index(order, choice.shape)
    for position, frame in enumerate(scan.frames):
        mine = slice(starts[position], starts[position + 1])
        if mine.start < mine.stop:
            colors[rows[mine], columns[mine]] = _sample(frame, points[columns[mine]], spacing_m)
    return colors


def exposure_gains(colors: np.ndarray, choice: np.ndarray, frame_count: int, *, stiffness: float = 0.05) -> np.ndarray:
    """Per-frame, per-channel factors that make frames agree where they show the same points.

    Minimises the differences of log colours over all pairs of samples of a point, with a pull of `stiffness` towards
    1 (Brown and Lowe, IJCV 2007, section 6, in logarithms and per channel).

    Args:
        colors: (R, N, 3) float32, NaN = none: R samples of each point.
        choice: (R, N) int: the frames they come from, -1 = none.
        frame_count: n.
        stiffness: weight of the pull, relative to the samples of an average frame.

    Returns:
        (n, 3) float32 factors.
    """
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import spsolve

    usable = (choice >= 0) & ((colors > 8) & (colors < 247)).all(axis=2)
    usable &= usable.sum(axis=0) > 1
    row, point = np.nonzero(usable)
    if not len(row):
        return np.ones((frame_count, 3), np.float32)
    frame = choice[row, point]
    ones = np.ones(len(row))
    incidence = csr_matrix((ones, (point, frame)), shape=(choice.shape[1], frame_count))
    per_point = np.maximum(np.asarray(incidence.sum(axis=1)).ravel(), 1)
    seen = np.asarray(incidence.sum(axis=0)).ravel()
    pull = stiffness * max(seen.mean(), 1.0)
    # normal equations of: log colour minus the point's mean log colour, summed over its samples
    system = diags(seen + pull) - incidence.T @ diags(1 / per_point) @ incidence
    logs = np.log(colors[row, point].astype(np.float64))
    gains = np.empty((frame_count, 3), np.float32)
    for channel in range(3):
        mean = np.bincount(point, logs[:, channel], choice.shape[1]) / per_point
        right = np.bincount(frame, mean[point] - logs[:, channel], frame_count)
        gains[:, channel] = np.exp(np.asarray(spsolve(system.tocsc(), right)))
    return np.clip(gains, 0.4, 2.5)


def color_surface(
    surface: Surface, scan: Scan, *, frames_max: int = 60, caster: SurfaceCaster | None = None
) -> Surface:
    """Colour a surface's vertices from the frames that see them best.

    Args:
        surface: a fused surface, in the scan's world; its own colours are replaced.
        scan: its images are read, at most `frames_max` of them, evenly spaced.
        frames_max: vertices are coarse, so a part of a long scan says as much as the whole.
        caster: of the surface, where there is one already.

    Returns:
        The surface with colours; a vertex that no frame sees takes those of the nearest one that is seen.
    """
    keep = np.unique(np.linspace(0, len(scan.frames) - 1, min(frames_max, len(scan.frames))).round().astype(int))
    some = scan.with_frames(tuple(scan.frames[position] for position in keep))
    ranked = rank_views(surface.vertices, surface.normals, some, caster or SurfaceCaster(surface), candidates=3)
    choice = ranked.frames.astype(np.int64)
    samples = sample_colors(surface.vertices, choice, some, spacing_m=point_spacing_m(surface.vertices))
    gains = exposure_gains(samples, choice, len(some.frames))
    weights = ranked.scores * (choice >= 0)
    total = weights.sum(axis=0)
    colors = (np.nan_to_num(samples) * gains[choice] * weights[..., None]).sum(axis=0) / np.maximum(total, 1e-9)[
        :, None
    ]
    seen = total > 0
    if seen.any() and not seen.all():
        from scipy.spatial import KDTree

        colors[~seen] = colors[seen][KDTree(surface.vertices[seen]).query(surface.vertices[~seen])[1]]
    return replace(surface, colors=np.clip(np.round(colors), 0, 255))


@dataclass(frozen=True, eq=False)
class _Cells:
    centers: np.ndarray
    starts: np.ndarray
    """(C + 1,): where each cell's points begin."""

    def seen_by(self, camera: Camera) -> np.ndarray:
        """Indices of the points in cells that the camera's frustum touches."""
        in_camera = (self.centers - camera.center) @ camera.world_from_camera[:3, :3]
        radius = _CELL_M * np.sqrt(3) / 2
        keep = in_camera[:, 2] > -radius
        for low, focal, centre, size in ((0, 0, 2, camera.width), (1, 1, 2, camera.height)):
            f, c = camera.K[low, focal], camera.K[low, centre]
            for edge, sign in ((0.0, 1.0), (float(size), -1.0)):
                slope = (edge - c) / f  # the image's edge is the plane x = slope * z
                distance = sign * (in_camera[:, low] - slope * in_camera[:, 2]) / np.hypot(1, slope)
                keep &= distance > -radius
        kept = np.flatnonzero(keep)
        if not len(kept):
            return kept
        lengths = self.starts[kept + 1] - self.starts[kept]
        offsets = np.repeat(self.starts[kept] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        return np.arange(lengths.sum()) + offsets


def _sort_into_cells(points: np.ndarray) -> tuple[np.ndarray, _Cells]:
    cell = np.floor(points / _CELL_M).astype(np.int64)
    cell -= cell.min(axis=0, initial=0)
    extent = cell.max(axis=0, initial=0) + 1
    key = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    centers = (np.floor(points[order[starts]] / _CELL_M) + 0.5) * _CELL_M
    return order, _Cells(centers, np.append(starts, len(points)))


def _visible(
    points: np.ndarray, normals: np.ndarray, near: np.ndarray, camera: Camera, caster: SurfaceCaster
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the points `near`, (n,) rows, the camera sees, and their (m,) scores: image pixels per square metre."""
    in_camera = camera.points_in_camera(np.take(points, near, axis=0))
    depth = in_camera[:, 2]
    safe = np.maximum(depth, 1e-3)
    K = camera.K.astype(np.float32)
    u = in_camera[:, 0] / safe * K[0, 0] + K[0, 2]
    v = in_camera[:, 1] / safe * K[1, 1] + K[1, 2]
    inside = (depth > 0.05) & (u > _BORDER_PX) & (u < camera.width - _BORDER_PX)
    inside = np.flatnonzero(inside & (v > _BORDER_PX) & (v < camera.height - _BORDER_PX))
    scale = _OCCLUSION_WIDTH_PX / camera.width
    small = camera.resized(_OCCLUSION_WIDTH_PX, max(1, round(camera.height * scale)))
    surface_depth, tolerance, trust = _occlusion(caster, small)
    column = np.minimum((u[inside] * scale).astype(np.int32), small.width - 1)
    row = np.minimum((v[inside] * (small.height / camera.height)).astype(np.int32), small.height - 1)
    pixel = row * small.width + column
    in_sight = np.abs(depth[inside] - surface_depth.ravel()[pixel]) < tolerance.ravel()[pixel]
    inside, pixel = inside[in_sight], pixel[in_sight]
    offset = in_camera[inside]
    distance = np.maximum(np.sqrt(np.einsum("ij,ij->i", offset, offset)), 0.1)
    towards = np.take(points, near[inside], axis=0) - camera.center.astype(np.float32)
    cosine = -np.einsum("ij,ij->i", towards, np.take(normals, near[inside], axis=0)) / distance
    facing = cosine > _MIN_COSINE
    score = K[0, 0] * K[1, 1] * cosine / distance**2 * trust.ravel()[pixel]
    return near[inside[facing]], score[facing].astype(np.float32)


def _occlusion(caster: SurfaceCaster, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of the surface, how far a point may be from it to count as visible, and how far to trust its colour.

    Near depth edges, where the colour of what is in front bleeds over, a frame is a last resort. An edge is where
    depth bends, not where it slopes: a table seen at a grazing angle has none.
    """
    depth = caster.view(camera).depth
    filled = np.where(depth > 0, depth, 30).astype(np.float32)
    bend_x = np.abs(cv2.filter2D(filled, cv2.CV_32F, np.array([[1.0, -2, 1]])))
    bend_y = np.abs(cv2.filter2D(filled, cv2.CV_32F, np.array([[1.0], [-2], [1]])))
    edge = np.maximum(bend_x, bend_y) > 0.05 + 0.02 * filled
    near_edge = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    slope = cv2.dilate(filled, np.ones((3, 3))) - cv2.erode(filled, np.ones((3, 3)))
    tolerance = 0.03 + 0.01 * filled + np.where(near_edge, 0, 0.5 * slope)
    return depth, tolerance.astype(np.float32), np.where(near_edge, _EDGE_TRUST, 1).astype(np.float32)


def _insert(best: np.ndarray, scores: np.ndarray, index: np.ndarray, position: np.int32, score: np.ndarray) -> None:
    """Put a frame into the ranking of the points that see it better than what they have; earlier frames win ties."""
    last = scores[-1, index]
    index, score = index[score > last], score[score > last]
    frame = np.full(len(index), position)
    for row in range(len(best)):
        held_score, held_frame = scores[row, index], best[row, index]
        better = score > held_score
        scores[row, index], best[row, index] = np.where(better, score, held_score), np.where(better, frame, held_frame)
        score, frame = np.where(better, held_score, score), np.where(better, held_frame, frame)


def _support(label: np.ndarray, options: np.ndarray, radius: int = 3) -> np.ndarray:
    """(K, H, W) float32: the share of a pixel's neighbourhood that has chosen each of its options."""
    support = np.zeros(options.shape, np.float32)
    padded = np.pad(label, radius, constant_values=-2)
    height, width = label.shape
    offsets = [
        (dy, dx) for dy in range(-radius, radius + 1, 1) for dx in range(-radius, radius + 1, 1) if (dy + dx) % 2
    ]
    for dy, dx in offsets:
        support += options == padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
    return support / len(offsets)


def _sample(frame: Frame, points: np.ndarray, spacing_m: float) -> np.ndarray:
    """(N, 3) float32 colours of points that the frame sees."""
    image = frame.read_color()
    uv, depth = frame.camera.project(points)
    # half a pyramid level early: a little smoothing hides the half-pixel errors of real poses
    pixels_per_point = float(np.median(spacing_m * frame.camera.K[0, 0] / depth))
    scale = 1.0
    while pixels_per_point * scale > 2 and min(image.shape[:2]) > 64:
        image, scale = cv2.pyrDown(image), scale / 2
    columns = 1024  # remap takes no more than 32767 along a side
    count = -(-len(uv) // columns) * columns
    at = np.zeros((count, 2), np.float32)
    at[: len(uv)] = uv * scale - 0.5
    at = at.reshape(-1, columns, 2)
    colors = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return colors.reshape(-1, 3)[: len(uv)].astype(np.float32)
