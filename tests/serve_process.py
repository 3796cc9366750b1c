"""A real `transformers serve` for tests, over real HTTP: one per test process, whatever models are asked for."""

import atexit
import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpt4scene.vlm.server_process import ServerProcess, free_port
from gpt4scene.vlm.serving import _transformers


@contextlib.contextmanager
def served(model: Path | str) -> Iterator[str]:
    """The base URL at which a model folder is asked for by its path: `OpenAIChat(name, str(model), base_url)`.

    The server is started by the first who asks, in five to fifteen seconds, and ends with the process; it loads a
    model at its first question, in under a second for a tiny one. It has no network and no hub cache but an empty one.
    """
    assert (Path(model) / "config.json").is_file(), f"{model} holds no model"
    server = begin()
    server.wait_until_ready(300.0)
    yield server.base_url


@functools.cache
def begin() -> ServerProcess:
    """Start the server without waiting for it, where there is something to do meanwhile."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="served-")))
    (home / "hub").mkdir()
    port = free_port()
    command = (*_transformers(), "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "OMP_NUM_THREADS": "2",
    }
    server = ServerProcess(command, base_url=f"http://127.0.0.1:{port}/v1", environment=environment)
    return stack.enter_context(server)
