"""Speed of asking many questions of a server that takes a second for each: prints a table; run by `make bench`.

The server and every run are processes of their own. The images are those of a prepared synthetic room, shown four times
with other marks left out, so that they are four scenes to the model, the server and the cache.
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCENES, QUESTIONS, IN_FLIGHT, LATENCY_S = 4, 200, 16, 1.0
ROUNDS = math.ceil(QUESTIONS / IN_FLIGHT)
FRAMES = 32


def cpu_s() -> float:
    """Of this process, all threads, in user and system mode."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ask(url: str, folder: str, cache: str, images: str) -> dict[str, float]:
    """Load, show and ask, as a command would, in this process."""
    from gpt4scene.prompting.presets import Preset
    from gpt4scene.prompting.questions import Question
    from gpt4scene.prompting.shown import show
    from gpt4scene.scene.scene import load_scene
    from gpt4scene.vlm.answering import ask_all
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.names import open_model
    from gpt4scene.vlm.protocol import Request

    model = open_model(f"openai:m@{url}", in_flight=IN_FLIGHT)
    scene, preset = load_scene(folder), Preset("bench", "separate", int(images) - 1, "")
    shown = [
        show(scene, size=model.view_size, preset=preset, drop_marks_share=0.3, seed=seed, folder=Path(folder))
        for seed in range(SCENES)
    ]
    requests = [
        Request(
            shown[n % SCENES].conversation(Question(f"Question {n}: what is left of it?").prompt(shown[n % SCENES]))
        )
        for n in range(QUESTIONS)
    ]
    start, start_cpu = time.perf_counter(), cpu_s()
    with AnswerCache(cache) as answers:
        asked = ask_all(model, requests, cache=answers)
    told = {"wall_s": time.perf_counter() - start, "cpu_s": cpu_s() - start_cpu, "sent": asked.sent}
    model.close()
    assert asked.outcomes == {"answered": QUESTIONS}, asked.outcomes
    data = [image.read() for one in shown for image in one.images]
    width, height = shown[0].sizes[1]
    return {**told, "images": len(shown[0].images), "width": width, "height": height, "bytes": len(b"".join(data))}


def in_own_process(*arguments: object) -> dict[str, float]:
    """What `ask` tells, and the whole life of its process."""
    start = time.perf_counter()
    command = [sys.executable, __file__, *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {**json.loads(told.splitlines()[-1]), "life_s": time.perf_counter() - start}


@contextmanager
def served(latency_s: float) -> Iterator[str]:
    """The address of a server in another process."""
    command = [sys.executable, str(Path(__file__).with_name("fault_server.py")), "--latency", str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def counted(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/count") as response:
        return json.load(response)


def prepared(work: Path) -> Path:
    """A scene folder with as many frames as any run shows."""
    from bev.synthetic import film, synthetic_room, write_seven_scenes
    from gpt4scene.scene.prepare import prepare

    write_seven_scenes(film(synthetic_room(1), frames=FRAMES + 8, registered=False), work / "capture")
    prepare(work / "capture", work / "scene", frames=FRAMES)
    return work / "scene"


def main() -> None:
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = prepared(work)
        for images in (9, FRAMES + 1):
            with served(LATENCY_S) as url:
                in_own_process(url, folder, work / f"warm-{images}", images)  # draws the images
                before = counted(url)["requests"]
                first = in_own_process(url, folder, work / f"cache-{images}", images)
                sent = counted(url)["requests"] - before
                second = in_own_process(url, folder, work / f"cache-{images}", images)
                again = counted(url)["requests"] - before - sent
            ideal = ROUNDS * LATENCY_S
            what = f"{images} images of {first['width']:.0f}x{first['height']:.0f}"
            rows += [
                (f"{QUESTIONS} questions, {SCENES} scenes, {what}: wall", f"{first['wall_s']:.2f} s", ""),
                (
                    f"  of the ideal, {ROUNDS} rounds of {IN_FLIGHT}: {ideal:.0f} s",
                    f"{ideal / first['wall_s']:.1%}",
                    ">= 90 %",
                ),
                (
                    f"  of {IN_FLIGHT} a second, which no whole rounds reach",
                    f"{QUESTIONS / IN_FLIGHT * LATENCY_S / first['wall_s']:.1%}",
                    "",
                ),
                (
                    "  processor time of the client for each request, imports included",
                    f"{first['cpu_s'] / QUESTIONS * 1e3:.1f} ms",
                    "<= 20 ms" if images == FRAMES + 1 else "",
                ),
                ("  requests at the server", f"{sent}", f"{QUESTIONS}"),
                ("  the same again, in a process of its own: requests", f"{again}", "0"),
                ("  from its start to its end", f"{second['life_s']:.2f} s", "<= 2 s"),
            ]
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(ask(*sys.argv[1:])))
    else:
        main()
