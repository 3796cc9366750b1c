"""How much faster two processes build a dataset of 20 synthetic scans than one; `make bench` runs it."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from dataset_rooms import write_scannet

SCANS, ROOMS = 20, 5
"""Filming and preparing takes longest: each room is there four times, under other names."""
FRAMES = 32
QUESTIONS = 40
"""About each scene, of each of three benchmarks."""


def prepared(work: Path, seed: int) -> list[Path]:
    """The scene folders of a synthetic room, filmed and prepared."""
    import shutil

    import gpt4scene
    from bev.synthetic import film, synthetic_room, write_seven_scenes

    walk = film(synthetic_room(seed), frames=FRAMES + 8, width=640, height=480, world_from_room=np.eye(4))
    scan = write_seven_scenes(walk, work / "scans" / f"scene{seed:04d}_00")
    scene = work / "scenes" / scan.name
    gpt4scene.prepare(scan, scene, frames=FRAMES)
    copies = [scene.with_name(f"scene{seed:04d}_{number:02d}") for number in range(1, SCANS // ROOMS)]
    return [scene, *(Path(shutil.copytree(scene, copy)) for copy in copies)]


def annotate(work: Path, scenes: list[Path]) -> list[str]:
    """Annotation files about the scenes' own objects, and the options that name them."""
    (work / "annotations").mkdir()
    questions, descriptions, several = [], [], []
    for folder in scenes:
        ids = write_scannet(folder, work / "annotated" / folder.name)
        for number in range(QUESTIONS):
            about, id = f"thing {number} beside the wall", ids[number % len(ids)]
            common = {"scene_id": folder.name, "object_name": "thing", "description": about}
            questions.append(
                {"scene_id": folder.name, "question_id": f"{folder.name}-{number}", "question": f"Where is {about}?",
                 "answers": ["by the door"], "object_ids": [id], "object_names": ["thing"]}
            )  # fmt: skip
            descriptions.append(common | {"object_id": str(id), "ann_id": str(number), "token": about.split()})
            several.append(common | {"object_ids": [id], "ann_id": number, "eval_type": "st_w_d"})
    for name, rows in (("ScanQA_v1.0", questions), ("ScanRefer_filtered", descriptions), ("multi3drefer", several)):
        (work / "annotations" / f"{name}_train.json").write_text(json.dumps(rows))
    return ["--annotations", str(work / "annotations"), "--scans", str(work / "annotated"), "--splits", "train",
            "--tasks", "scanqa", "scanrefer", "multi3drefer"]  # fmt: skip


def build_seconds(work: Path, options: list[str], *how: str) -> float:
    """Wall time of the command, from its start, with nothing drawn before."""
    import shutil

    for cache in (work / "scenes").glob("*/.cache/shown"):
        shutil.rmtree(cache)
    command = [str(Path(sys.executable).with_name("gpt4scene")), "build-dataset", "--scenes", str(work / "scenes")]
    out = work / "dataset"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run([*command, *options, "--out", str(out), *how], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        start = time.perf_counter()
        options = annotate(work, [scene for seed in range(ROOMS) for scene in prepared(work, seed)])
        print(f"{SCANS} scans filmed and prepared in {time.perf_counter() - start:.0f} s")
        # three times each, by turns: the best tells least of what else the machine does
        times = [[build_seconds(work, options, "--jobs", jobs) for jobs in ("1", "2")] for _ in range(3)]
        one, two = np.min(times, axis=0)
        report = json.loads((work / "dataset" / "report.json").read_text())["splits"][0]
        print(f"build-dataset, {SCANS} scans: {report['samples']} samples, {report['images']} images")
        print(f"{'  1 process':<75} {one:>12.1f} s")
        print(f"{'  2 processes':<75} {two:>12.1f} s")
        print(f"{'  2 processes / 1':<75} {one / two:>13.2f}x   >= 1.7x")


if __name__ == "__main__":
    main()
