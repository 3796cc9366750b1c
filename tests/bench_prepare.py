"""Speed and memory of `gpt4scene prepare` on ../shared/data/redkitchen: prints a table; run by `make bench`.

Every row runs in a process of its own, so that its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

KITCHEN = Path(__file__).parents[2] / "shared" / "data" / "redkitchen"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_prepare(capture: str, out: str) -> dict[str, float]:
    import gpt4scene
    from bev.errors import require

    for module in ("open3d", "supervision", "scipy.spatial", "scipy.sparse.linalg", "PIL.Image"):
        require(module)
    start = time.perf_counter()
    scene = gpt4scene.prepare(capture, out)
    wall = time.perf_counter() - start
    return {"wall_s": wall, "peak_mb": peak_mb(), **{f"{k}_s": v for k, v in scene.run.seconds.items()}}


def measure_fusion(capture: str, _: str) -> dict[str, float]:
    import bev
    from bev.errors import require

    require("open3d")
    scan = bev.read_scan(capture)
    start = time.perf_counter()
    bev.fuse(scan)
    return {"frames_per_s": len(scan.frames) / (time.perf_counter() - start)}


def measure_bev(capture: str, _: str) -> dict[str, float]:
    import bev
    from bev.surface import SurfaceCaster

    scan, surface = bev.reconstruct(bev.read_scan(capture))
    caster = SurfaceCaster(surface)
    start = time.perf_counter()
    top = bev.render_bev(surface, scan, long_side_px=1000, caster=caster)
    return {"wall_s": time.perf_counter() - start, "width": top.camera.width, "height": top.camera.height}


MEASURES: dict[str, Callable[[str, str], dict[str, float]]] = {
    "prepare": measure_prepare,
    "fusion": measure_fusion,
    "bev": measure_bev,
}


def in_own_process(name: str, capture: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, name, str(capture), str(out)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def repeated(capture: Path, folder: Path, times: int) -> Path:
    """The capture `times` over, forth and back, as links."""
    folder.mkdir()
    for file in capture.glob("c*.txt"):
        (folder / file.name).symlink_to(file)
    poses = sorted(capture.glob("*.pose.txt"))
    for repeat in range(times):
        for position, pose in enumerate(poses if repeat % 2 == 0 else poses[::-1]):
            source = pose.name.split(".")[0]
            for ending in ("pose.txt", "depth.png", "color.jpg"):
                link = folder / f"frame-{repeat * len(poses) + position:06d}.{ending}"
                link.symlink_to(capture / f"{source}.{ending}")
    return folder


def help_seconds() -> float:
    command = [str(Path(sys.executable).parent / "gpt4scene"), "--help"]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    if not KITCHEN.is_dir():
        sys.exit(f"{KITCHEN}: needed for the benchmark")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        prepared = in_own_process("prepare", KITCHEN, work / "scene")
        fused = in_own_process("fusion", KITCHEN, work)
        seen = in_own_process("bev", KITCHEN, work)
        long = repeated(KITCHEN, work / "long", 10)
        prepared_long = in_own_process("prepare", long, work / "scene-long")
    steps = {k.removesuffix("_s"): v for k, v in prepared.items() if k not in ("wall_s", "peak_mb")}
    rows = [
        ("prepare, 100 frames: wall", f"{prepared['wall_s']:.1f} s", "<= 12 s"),
        ("  of which " + ", ".join(f"{k} {v:.1f}" for k, v in steps.items()), "", ""),
        ("prepare, 100 frames: peak resident", f"{prepared['peak_mb']:.0f} MB", "<= 1000 MB"),
        ("fusion, decode included", f"{fused['frames_per_s']:.0f} frames/s", ">= 50"),
        (f"bird's-eye view {seen['width']:.0f}x{seen['height']:.0f}", f"{seen['wall_s']:.2f} s", "<= 2.5 s"),
        ("1000 frames / 100: peak memory", f"{prepared_long['peak_mb'] / prepared['peak_mb']:.2f}x", "<= 1.2x"),
        ("1000 frames / 100: wall", f"{prepared_long['wall_s'] / prepared['wall_s']:.1f}x", "<= 10x"),
        ("gpt4scene --help", f"{help_seconds():.2f} s", "<= 0.5 s"),
    ]
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(MEASURES[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
