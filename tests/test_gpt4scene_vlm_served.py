"""A real server answers the real client: questions with images, and adapters that are active, light or do nothing."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from serve_process import begin, served
from tiny_vlm import tiny_adapter, tiny_vlm

from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.canary import ask_canary, compare
from gpt4scene.vlm.lora_folder import read_lora
from gpt4scene.vlm.names import open_model
from gpt4scene.vlm.protocol import VLM, Request
from gpt4scene.vlm.serving import join_folders

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model, and the same with adapters that change much, hardly anything and nothing."""
    begin()  # it gets ready while the models are made
    root = tmp_path_factory.mktemp("served")
    base = tiny_vlm(root / "base")
    found = {"base": base}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "home", lambda: root / "home")
        for name, scale in (("tuned", 1.0), ("light", 1e-6), ("zero", 0.0)):
            found[name] = join_folders(base, read_lora(tiny_adapter(root / name, base, scale=scale)))
    return found


@pytest.fixture
def model(folders: dict[str, Path]) -> VLM:
    with served(folders["base"]) as base_url:
        return open_model(f"openai:{folders['base']}@{base_url}")


def _image(value: int, width: int = 112, height: int = 84) -> Image:
    pixels = np.full((height, width, 3), value, np.uint8)
    pixels[20:60, 20:70] = 255 - value
    return Image(f"{value}.png", data=cv2.imencode(".png", pixels)[1].tobytes())


def _request(question: str, *images: Image, max_new_tokens: int = 12) -> Request:
    said = (Message("system", (Text("You see a room."),)), Message("user", (*images, Text(question))))
    return Request(Conversation(said), max_new_tokens=max_new_tokens)


def test_questions_with_images_are_answered_and_counted(model: VLM) -> None:
    images = [_image(40), _image(200), _image(120, 168, 112)]
    first, second = (model.reply([_request(q, *images)])[0] for q in ("Where is <OBJ001>?", "How many chairs?"))
    for reply in (first, second):
        # random weights do not end by themselves
        assert reply.outcome in ("answered", "truncated") and reply.text
        assert reply.usage is not None and 0 < reply.usage.output_tokens <= 12
    assert first.text != second.text
    # 28x28 px become one token: 4x3 of the first two, 6x4 of the third
    bare = model.reply([_request("Where is <OBJ001>?")])[0]
    assert first.usage and bare.usage
    marks = 2 * len(images)  # begin and end of each
    assert first.usage.input_tokens - bare.usage.input_tokens == 12 + 12 + 24 + marks


def test_the_server_sees_what_is_on_the_images(model: VLM) -> None:
    one, other = (model.reply([_request("What is it?", _image(value))])[0] for value in (40, 200))
    assert one.text != other.text


def test_the_same_question_is_answered_the_same_and_piece_by_piece(model: VLM) -> None:
    request = _request("What is left of the door?", _image(40), max_new_tokens=16)
    pieces: list[str] = []
    streamed = model.reply([request], on_text=pieces.append)[0]
    assert "".join(pieces) == streamed.text and len(pieces) > 3
    whole = model.reply([request])[0]
    assert (whole.usage, whole.outcome) == (streamed.usage, streamed.outcome)
    # a letter that was cut in two at the end is sent as such with the whole, and left out of a stream
    assert whole.text.rstrip("\ufffd") == streamed.text.rstrip("\ufffd")


def test_the_canary_tells_adapters_from_none(folders: dict[str, Path]) -> None:
    with served(folders["base"]) as base_url:
        asked = {name: ask_canary(base_url, str(folder)) for name, folder in folders.items()}
    base = asked.pop("base")
    found = {name: compare(base, answers) for name, answers in asked.items()}
    assert {name: canary.outcome for name, canary in found.items()} == {
        "tuned": "active",
        "light": "active",
        "zero": "same as base",
    }
    assert "answers differ" in found["tuned"].why
    assert "probabilities differ" in found["light"].why  # not a word of its answers does


@pytest.mark.slow
def test_the_command_serves_an_adapter_from_end_to_end(folders: dict[str, Path], tmp_path: Path) -> None:
    """Two servers, one after the other: the plain base for the canary, then the tuned model."""
    root = folders["base"].parent
    program = "import sys, tyro\nfrom gpt4scene.cli.serve import serve\ntyro.cli(serve)\n"
    arguments = (f"{root / 'base'}+{root / 'tuned'}", "--engine", "transformers", "--port", "0")
    environment = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--extra=--device cpu"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    out = ""
    while "gpt4scene ask" not in out and process.poll() is None:
        out += process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    name = shlex.split(out.splitlines()[-1])[-1]
    reply = open_model(name).reply([_request("Where is <OBJ001>?", _image(40))])[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert reply.text
    assert f"made {tmp_path / 'hf' / 'hub'}" in err
    assert "the adapter is active: 3 of 3 answers differ" in err
    assert not psutil.wait_procs(family, timeout=20)[1]


def test_a_server_that_its_owner_left_behind_ends(folders: dict[str, Path]) -> None:
    """The owner is killed outright and can end nothing itself."""
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    program = (
        "import sys, time\nsys.path.insert(0, 'tests')\nfrom gpt4scene.vlm.server_process import ServerProcess\n"
        "with ServerProcess([sys.executable, '-c', 'import time; time.sleep(600)'], base_url='') as server:\n"
        "    print(server.pid, flush=True)\n    time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert owner.stdout is not None
    server = psutil.Process(int(owner.stdout.readline()))
    # the kernel is told once the server's own program has begun; for a moment before, it has no command line at all
    _until(lambda: server.cmdline()[-1:] == ["import time; time.sleep(600)"])
    owner.kill()
    owner.wait()
    assert not psutil.wait_procs([server], timeout=20)[1]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
