"""64 questions interleaved over 4 scenes: one local model asked by `LocalVLM` and plainly; run by `make bench`.

The model is a Qwen2.5-VL of 50 million random weights, an image 504x476 px of a synthetic room, an answer 8 tokens. A
shared machine makes seconds doubtful, so the ratio of processor time stands beside them.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plain_generate import PlainModel
from tiny_vlm import parameter_count, tiny_vlm

from bev.synthetic import film, synthetic_room
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.prompting.prompts import question, system_prompt
from gpt4scene.vlm.local import LocalVLM
from gpt4scene.vlm.protocol import Request

IMAGES = (7, 8, 9, 12)
"""Of each scene."""
QUESTIONS = 16
"""About each scene."""
BFLOAT16_QUESTIONS = 16
"""Of all: this arithmetic is slow on most processors."""
THINGS = ("chair", "table", "lamp", "sofa", "shelf", "bed", "plant", "monitor")
ASKED = ("How many of them: {}s?", "Which object is nearest to the {} by the window, and how far is it?")


def room_images(seed: int, count: int) -> tuple[Image, ...]:
    """Pictures of a synthetic room, as PNG."""
    import cv2

    frames = film(synthetic_room(seed), frames=count, width=504, height=476, noise=False).scan.frames
    pictures = [cv2.imencode(".png", frame.read_color()[..., ::-1])[1].tobytes() for frame in frames]
    return tuple(Image(f"{seed}-{index}.png", data=data) for index, data in enumerate(pictures))


def interleaved_requests() -> list[Request]:
    """Each question about the first scene, the second, and so on; then the next question."""
    scenes = [room_images(seed, count) for seed, count in enumerate(IMAGES)]
    texts = [question(asked.format(thing)) for thing in THINGS for asked in ASKED][:QUESTIONS]
    return [
        Request(
            Conversation(
                (
                    Message("system", (Text(system_prompt(layout="separate", frames=len(images), bev=False)),)),
                    Message("user", (*images, Text(text))),
                )
            ),
            max_new_tokens=8,
        )
        for text in texts
        for images in scenes
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, its seconds, and its seconds of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - wall, time.process_time() - cpu


def compare(folder: Path, requests: Sequence[Request], dtype: str) -> None:
    """Print one row for each way to ask."""
    plain = PlainModel(folder, dtype=dtype)
    wanted, plain_s, plain_cpu_s = timed(lambda: [plain.text(request) for request in requests])
    print(f"{dtype:9} {'generate, one by one':28} {plain_s:8.1f} {plain_cpu_s:8.1f}")
    for way in ("together", "one by one"):
        model = LocalVLM("local:bench", str(folder), device="cpu", dtype=dtype)
        model.reply([Request(Conversation((Message("user", (Text("Hello"),)),)), max_new_tokens=1)])  # loads it
        parts = [list(requests)] if way == "together" else [[request] for request in requests]
        replies, seconds, cpu_s = timed(lambda: [reply for part in parts for reply in model.reply(part)])  # noqa: B023
        same = sum(reply.text == text for reply, text in zip(replies, wanted, strict=True))
        ratios = f"{plain_s / seconds:8.1f} {plain_cpu_s / cpu_s:6.1f}"
        said = f"LocalVLM, {way}"
        print(f"{dtype:9} {said:28} {seconds:8.1f} {cpu_s:8.1f} {ratios} {same:4} of {len(requests)}", flush=True)
    print(f"{dtype:9} {len(set(wanted))} different texts", flush=True)


def main() -> None:
    """Print the table."""
    requests = interleaved_requests()
    with tempfile.TemporaryDirectory() as made:
        folder = tiny_vlm(Path(made) / "model", hidden=512, layers=12, vision_hidden=384, vision_layers=6)
        print(f"{parameter_count(folder) / 1e6:.1f} M parameters, {len(requests)} questions, {IMAGES} images")
        print("dtype     way                           seconds    cpu s   x wall  x cpu same text")
        compare(folder, requests, "float32")
        compare(folder, requests[:BFLOAT16_QUESTIONS], "bfloat16")


if __name__ == "__main__":
    main()
