"""From a plain video to a scene, on ../shared/data/redkitchen.mp4: prints a table; run by `make bench`.

Every row runs in a process of its own, so that its peak memory is its own; structure from motion's child counts.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kitchen_truth import (
    KITCHEN,
    KITCHEN_FILM,
    fitted,
    moved,
    occupied_iou,
    rmse_m,
    true_centers,
    true_scan,
    up_error_deg,
)


def peak_mb() -> float:
    """Of this process and of the largest of its children, which do not run at the same time as its own peak."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def measure_prepare(capture: str, out: str) -> dict[str, float]:
    import gpt4scene

    start = time.perf_counter()
    scene = gpt4scene.prepare(capture, out, key_frames=80)
    wall = time.perf_counter() - start
    found = scene.trajectory
    truth_from_world = fitted(found.world_from_camera[:, :3, 3], true_centers(found.indices))
    chosen = len(list((Path(out) / ".cache" / "frames").glob("*.jpg")))
    return {
        "wall_s": wall,
        "peak_mb": peak_mb(),
        "key_frames": chosen,
        "registered": len(found.indices) / chosen,
        "rmse_m": rmse_m(moved(truth_from_world, found.world_from_camera[:, :3, 3]), true_centers(found.indices)),
        "up_deg": up_error_deg(truth_from_world),
        **{f"{step}_s": seconds for step, seconds in scene.run.seconds.items()},
    }


def measure_iou(video_scene: str, sensor_scene: str) -> dict[str, float]:
    import numpy as np

    import gpt4scene

    video, sensor = gpt4scene.load_scene(video_scene), gpt4scene.load_scene(sensor_scene)
    source_from_video = fitted(video.trajectory.world_from_camera[:, :3, 3], true_centers(video.trajectory.indices))
    sensor_from_video = sensor.world_from_source @ source_from_video
    shown = [_shown_from_above(scene) for scene in (video, sensor)]
    height = float(np.median(np.abs(moved(sensor_from_video, shown[0])[:, 2])))
    return {"iou": occupied_iou(moved(sensor_from_video, shown[0]), shown[1]), "height": height}


def _shown_from_above(scene):
    """World points (N, 3) that the pixels of a scene's bird's-eye view show."""
    from bev.camera import pixel_centers
    from bev.render import caster_from_above

    camera = scene.bev.camera
    depth = caster_from_above(scene.surface, scene.cut_height_m).view(camera).depth.ravel()
    seen = depth > 0
    return camera.unproject(pixel_centers(camera.width, camera.height)[seen], depth[seen])


def measure_unposed(capture: str, _: str) -> dict[str, float]:
    import numpy as np

    import bev
    from bev.posing import find_poses

    scan = bev.read_scan(capture, ignore_poses=True)
    start = time.perf_counter()
    posed = find_poses(scan)
    wall = time.perf_counter() - start
    truth = true_centers(np.array([frame.index for frame in posed.frames]))
    rigid = fitted(posed.centers(), truth, with_scale=False)
    return {
        "wall_s": wall,
        "registered": len(posed.frames) / len(scan.frames),
        "rmse_m": rmse_m(moved(rigid, posed.centers()), truth),
        "scale": float(np.cbrt(np.linalg.det(fitted(posed.centers(), truth)[:3, :3]))),
    }


def measure_sensor(capture: str, out: str) -> dict[str, float]:
    import gpt4scene

    gpt4scene.prepare(capture, out)
    return {"frames": len(true_scan().frames)}


def in_own_process(what: str, *arguments: Path) -> dict[str, float]:
    command = [sys.executable, __file__, what, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if not KITCHEN_FILM.is_file():
        sys.exit(f"{KITCHEN_FILM}: needed for the benchmark")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        video = in_own_process("prepare", KITCHEN_FILM, work / "video")
        in_own_process("sensor", KITCHEN, work / "sensor")
        shared = in_own_process("iou", work / "video", work / "sensor")
        unposed = in_own_process("unposed", KITCHEN, work)
    steps = {k.removesuffix("_s"): v for k, v in video.items() if k.endswith("_s") and k != "wall_s"}
    rows = [
        (f"key frames registered, of {video['key_frames']:.0f}", f"{100 * video['registered']:.0f} %", ">= 95 %"),
        ("colour camera centres, RMSE", f"{100 * video['rmse_m']:.1f} cm", "<= 5 cm"),
        ("video to scene folder: wall", f"{video['wall_s']:.0f} s", "<= 180 s"),
        ("  of which " + ", ".join(f"{k} {v:.1f}" for k, v in steps.items()), "", ""),
        ("video to scene folder: peak resident", f"{video['peak_mb']:.0f} MB", "<= 3000 MB"),
        ("up", f"{video['up_deg']:.1f} deg", "<= 2 deg"),
        ("bird's-eye view against RGB-D's, cells of 5 cm", f"IoU {shared['iou']:.2f}", ">= 0.5"),
        ("RGB-D without poses: centres, RMSE", f"{100 * unposed['rmse_m']:.1f} cm", "<= 6 cm"),
        (f"  registered {100 * unposed['registered']:.0f} %, scale off by", f"{unposed['scale'] - 1:+.3f}", ""),
        ("RGB-D without poses: wall", f"{unposed['wall_s']:.0f} s", "<= 60 s"),
    ]
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(globals()[f"measure_{sys.argv[1]}"](*sys.argv[2:])))
    else:
        main()
