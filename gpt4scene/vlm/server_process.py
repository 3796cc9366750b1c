"""A server as a child process: started in its own group, waited for, never left behind."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from bev.errors import UserError

_POLL_S = 0.2
_TELL_EVERY_S = 15.0
_END_S = 20.0
_LAST_LINES = 12

_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Linux: asks the kernel to end this process when its parent dies (prctl(2), PR_SET_PDEATHSIG), then becomes the
command. Between fork and exec nothing of Python runs this way, as it would with `preexec_fn`."""


class ServerProcess:
    """A server that runs as long as the `with` block does.

    It is a process group of its own, so that a Ctrl-C in the terminal reaches it through `end` alone, in order. When
    this process is killed, Linux ends it too; start it from the main thread, as that is by the thread that started it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        base_url: str,
        environment: Mapping[str, str] | None = None,
        echo: Callable[[bytes], object] | None = None,
    ) -> None:
        """Describe it; it starts when the block is entered.

        Args:
            command: the program and its arguments.
            base_url: where it will answer, as in http://127.0.0.1:8000/v1.
            environment: variables added to those of this process.
            echo: gets what it writes, as it comes.
        """
        self.command = tuple(command)
        self.base_url = base_url
        self._environment = {**os.environ, **(environment or {})}
        self._echo = echo
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> "ServerProcess":
        tether = (sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid())) if sys.platform == "linux" else ()
        self._process = subprocess.Popen(
            [*tether, *self.command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._running.pid

    def wait_until_ready(self, timeout_s: float, *, tell: Callable[[str], object] | None = None) -> None:
        """Return when it lists its models.

        Args:
            timeout_s: how long to wait, seconds.
            tell: gets a line every 15 s.

        Raises:
            UserError: it ended, or did not answer in time; says what it wrote last.
        """
        began = told = time.monotonic()
        answered = "nothing"
        while time.monotonic() - began < timeout_s:
            if self._running.poll() is not None:
                raise UserError(self._death("before it was ready"))
            status, _ = exchange(f"{self.base_url}/models", timeout_s=5.0)
            if status in (200, 401):  # the latter where it was given a key to ask for
                return
            answered = f"status {status}" if status else answered
            if tell is not None and time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                tell(f"waiting for the server: {told - began:.0f} s")
            time.sleep(_POLL_S)
        raise UserError(
            f"the server was not ready after {timeout_s:.0f} s ({self.base_url}/models answered {answered}); "
            f"give it longer with --timeout-s, or see what it wrote last: {self._last_words()}"
        )

    def wait(self) -> None:
        """Return when it ends in order.

        Raises:
            UserError: it ended with an error.
        """
        if self._running.wait() != 0:
            raise UserError(self._death("while it was serving"))

    def end(self) -> None:
        """End it and all that it started: asked to first, killed after 20 s or when this is interrupted."""
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None:
                _signal_group(process, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
        finally:
            # its own children too, which outlive it where it died without ending them
            _signal_group(process, signal.SIGKILL)
            process.wait()
            if self._reader is not None:
                self._reader.join(5.0)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the server was not started; use it in a with block")
        return self._process

    def _read(self, output: IO[bytes]) -> None:
        line = b""
        while piece := os.read(output.fileno(), 4096):
            if self._echo is not None:
                self._echo(piece)
            *whole, line = re.split(rb"[\r\n]+", line + piece)
            self._said.extend(text.decode("utf-8", "replace") for text in whole if text.strip())
            line = line[-4096:]
        if line.strip():
            self._said.append(line.decode("utf-8", "replace"))

    def _death(self, when: str) -> str:
        _signal_group(self._running, signal.SIGKILL)  # what it left behind holds its output open
        if self._reader is not None:
            self._reader.join(5.0)
        code = self._running.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"the server {how} {when}; it last said: {self._last_words()}"

    def _last_words(self) -> str:
        return " | ".join(line.strip()[:300] for line in self._said) or "nothing"


def exchange(url: str, body: Any = None, *, timeout_s: float) -> tuple[int, Any]:
    """Status and JSON of a GET, or of a POST where there is a body; status 0 where nothing answers.

    No proxy is asked, whatever the environment says: the server is on this machine.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return response.status, _json(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read())
    except (OSError, ValueError):
        return 0, None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: another server there would be mistaken for ours.

    Raises:
        UserError: something listens there, or this user may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot be served on ({error.strerror}); give another --port, 0 for any that is free"
            ) from error


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
