"""Stereo depth of ../shared/data/redkitchen.mp4 against the sensor's: prints a table; run by `make bench`.

Key frames are chosen among every tenth frame of the film, those that the sensor's depth is there for. The scale of the
film's world is the median ratio of the sensor's depth to stereo's.
"""

import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import bev
from bev.camera import Camera, transform_points
from bev.scan import Frame, Scan

SHARED = Path(__file__).parents[2] / "shared" / "data"
KITCHEN, KITCHEN_FILM = SHARED / "redkitchen", SHARED / "redkitchen.mp4"


@dataclass(frozen=True)
class DepthScore:
    """Stereo depth of a scan against a sensor's, after one factor for all."""

    frames: int
    share_of_pixels: float
    """That have depth."""
    share_of_sensor: float
    """Of the pixels for which the sensor has depth."""
    median_error: float
    """Relative, over the pixels that both have."""
    within_5_percent: float
    scale: float
    """Sensor's over stereo's."""


def depth_score(scan: Scan, sensor: Scan) -> DepthScore:
    """Compare the frames of two scans that have the same index."""
    truth = {frame.index: frame for frame in sensor.frames}
    found, true = [], []
    for frame in scan.frames:
        if frame.index in truth and frame.depth_camera is not None and frame.read_depth is not None:
            found.append(frame.read_depth().ravel())
            true.append(seen_by_color(truth[frame.index], frame.depth_camera).ravel())
    stereo, measured = np.concatenate(found), np.concatenate(true)
    both = (stereo > 0) & (measured > 0)
    scale = float(np.median(measured[both] / stereo[both]))
    error = np.abs(scale * stereo[both] / measured[both] - 1)
    return DepthScore(
        frames=len(found),
        share_of_pixels=float((stereo > 0).mean()),
        share_of_sensor=float(both.sum() / (measured > 0).sum()),
        median_error=float(np.median(error)),
        within_5_percent=float((error < 0.05).mean()),
        scale=scale,
    )


def seen_by_color(sensor: Frame, camera: Camera) -> np.ndarray:
    """(H, W) float32 metres, 0 = none: a sensor's depth in the colour camera, of which `camera` has K and size."""
    assert sensor.read_depth is not None and sensor.depth_camera is not None
    depth = sensor.read_depth()
    v, u = np.nonzero(depth)
    here = replace(sensor.depth_camera, world_from_camera=np.eye(4))
    points = here.unproject(np.stack([u, v], axis=1) + 0.5, depth[v, u])
    points = transform_points(sensor.color_from_depth, points)
    uv, z = replace(camera, world_from_camera=np.eye(4)).project(points)
    column, row = np.floor(uv).astype(int).T
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    nearest = np.full((camera.height, camera.width), np.inf, np.float32)
    np.minimum.at(nearest, (row[inside], column[inside]), z[inside].astype(np.float32))
    return np.where(np.isfinite(nearest), nearest, 0)


def posed_film() -> Scan:
    """At most 80 key frames of the film, posed by structure from motion."""
    film = bev.read_scan(KITCHEN_FILM)
    from bev.keyframes import key_frames
    from bev.posing import find_poses

    measured = tuple(frame for frame in film.frames if frame.index % 10 == 0)
    return find_poses(key_frames(film.with_frames(measured), count_max=80))


def main() -> None:
    if not KITCHEN_FILM.is_file():
        sys.exit(f"{KITCHEN_FILM}: needed for the benchmark")
    from bev.stereo import stereo_depth

    posed = posed_film()
    start, cpu = time.perf_counter(), time.process_time()
    scan = stereo_depth(posed)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    score = depth_score(scan, bev.read_scan(KITCHEN))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        (f"stereo, {score.frames} frames: pixels with depth", f"{100 * score.share_of_pixels:.1f} %", ">= 45 %"),
        ("  of the pixels where the sensor has depth", f"{100 * score.share_of_sensor:.1f} %", ""),
        ("  median relative error", f"{100 * score.median_error:.2f} %", "<= 1.8 %"),
        ("  within 5 %", f"{100 * score.within_5_percent:.1f} %", ">= 85 %"),
        ("stereo: wall, processor", f"{wall:.0f} s, {cpu:.0f} s", ""),
        ("stereo: peak resident", f"{peak_mb:.0f} MB", ""),
    ]
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    main()
