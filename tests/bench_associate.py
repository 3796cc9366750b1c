"""Speed and memory of `markers.associate`: prints a table; run by `make bench`.

Every row runs in a process of its own, so that its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

SHARED = Path(__file__).parents[2] / "shared"
KITCHEN = SHARED / "data" / "redkitchen"
WEIGHTS = SHARED / "weights" / "yolov8n-seg_int8.tflite"
LONG_FRAMES, MASKS = 1000, 15


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def detect_kitchen(work: Path) -> dict[str, float]:
    import bev
    import markers

    scan = bev.read_scan(KITCHEN)
    warm = scan.with_frames(scan.frames[:2])
    markers.detect(warm, weights=WEIGHTS)  # imports and the model's own start
    start = time.perf_counter()
    detections = markers.detect(scan, weights=WEIGHTS)
    wall = time.perf_counter() - start
    markers.save_detections(work / "kitchen", detections.items())
    return {"wall_s": wall, "count": sum(map(len, detections.values()))}


def associate_kitchen(work: Path) -> dict[str, float]:
    import bev
    import markers

    scan, surface = bev.reconstruct(bev.read_scan(KITCHEN))
    detections = markers.load_detections(work / "kitchen")
    start = time.perf_counter()
    instances = markers.associate(scan, surface, detections)
    return {"wall_s": time.perf_counter() - start, "ids": len(instances)}


def film_long(work: Path) -> dict[str, float]:
    """A synthetic room's walk of 1,000 frames: depth as files, and the masks of the 15 largest things in each."""
    from mask_noise import as_detections

    import bev
    import markers
    from bev.surface import SurfaceCaster, save_surface
    from bev.synthetic import film, synthetic_room

    walk = film(synthetic_room(3), frames=LONG_FRAMES, noise=False)
    surface = bev.fuse(walk.scan.with_frames(walk.scan.frames[::10]))
    caster = SurfaceCaster(surface)
    near = _nearest(walk, surface)
    save_surface(surface, work / "long.ply")
    (work / "depth").mkdir()

    def frames() -> Iterator[tuple[int, object]]:
        for frame in walk.scan.frames:
            view = caster.view(frame.camera)
            np.save(work / "depth" / f"{frame.index}.npy", np.rint(view.depth * 1000).astype(np.uint16))
            ids = markers.instance_map(view, near)
            found, px = np.unique(ids[ids >= 0], return_counts=True)
            largest = np.sort(found[np.argsort(-px)[:MASKS]])
            yield frame.index, as_detections(ids[None] == largest[:, None, None], [str(i) for i in largest])

    markers.save_detections(work / "long", frames())
    return {}


def _nearest(walk, surface) -> np.ndarray:
    """The object of every vertex; structure is cut into squares that count as objects, to have enough."""
    from scipy.spatial import KDTree

    true = walk.surface
    ids = walk.room.vertex_ids[KDTree(true.vertices).query(surface.vertices)[1]]
    squares = np.unique(np.floor(surface.vertices / 1.5), axis=0, return_inverse=True)[1].ravel()
    return np.where(ids >= 0, ids, 100 + squares).astype(np.int32)


def associate_long(work: Path) -> dict[str, float]:
    import markers
    from bev.surface import load_surface
    from bev.synthetic import film, synthetic_room

    walk = film(synthetic_room(3), frames=LONG_FRAMES, noise=False)

    def read(index: int) -> Callable[[], np.ndarray]:
        return lambda: np.load(work / "depth" / f"{index}.npy").astype(np.float32) / 1000

    frames = tuple(replace(f, depth_camera=f.camera, read_depth=read(f.index)) for f in walk.scan.frames)
    scan, surface = walk.scan.with_frames(frames), load_surface(work / "long.ply")
    detections = markers.load_detections(work / "long")
    before = peak_mb()
    start = time.perf_counter()
    instances = markers.associate(scan, surface, detections)
    wall = time.perf_counter() - start
    masks = sum(len(detections[index]) for index in detections)
    return {"wall_s": wall, "peak_mb": peak_mb(), "before_mb": before, "ids": len(instances), "masks": masks}


MEASURES: dict[str, Callable[[Path], dict[str, float]]] = {
    "detect": detect_kitchen,
    "kitchen": associate_kitchen,
    "film": film_long,
    "long": associate_long,
}


def in_own_process(name: str, work: Path) -> dict[str, float]:
    command = [sys.executable, __file__, name, str(work)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    if not KITCHEN.is_dir():
        sys.exit(f"{KITCHEN}: needed for the benchmark")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        found = in_own_process("detect", work)
        kitchen = in_own_process("kitchen", work)
        in_own_process("film", work)
        long = in_own_process("long", work)
    rows = [
        (f"detection, 100 frames, {found['count']} objects", f"{found['wall_s']:.1f} s", ""),
        (f"association of these, {kitchen['ids']} ids", f"{kitchen['wall_s']:.2f} s", "<= 1.5 s"),
        (f"association, {LONG_FRAMES} frames, {long['masks']} masks", f"{long['wall_s']:.1f} s", "<= 20 s"),
        ("  peak resident", f"{long['peak_mb']:.0f} MB", "<= 3000 MB"),
    ]
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(MEASURES[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
