"""The command `gpt4scene`: one subcommand per file of this folder."""

import errno
import functools
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from typing import Any

import tyro

from bev.errors import UserError
from gpt4scene.cli.ask import ask
from gpt4scene.cli.build_dataset import build_dataset
from gpt4scene.cli.chat import chat
from gpt4scene.cli.demo import demo
from gpt4scene.cli.eval_instances import eval_instances
from gpt4scene.cli.evaluate import evaluate
from gpt4scene.cli.import_gpt4scene import import_gpt4scene
from gpt4scene.cli.prepare import prepare
from gpt4scene.cli.score import score
from gpt4scene.cli.serve import serve
from gpt4scene.cli.view import view

DESCRIPTION = """A scan of a room goes in; a vision-language model that understands the room comes out.

Every command takes --debug, which shows the traceback of an error; --version alone prints the version."""

_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN)
"""What a disk, a phone that was unplugged, or missing rights say of any of a capture's many files."""
CLOSED = 141
"""Exit code of a command whose output was closed by the program that read it."""
INTERRUPTED = 130
"""Exit code: 128 and the number of the signal, as shells have it."""

_KEPT_STEPS = "keeps finished steps and begins this one anew"
_KEPT_ANSWERS = "takes what was answered from the cache and asks only the rest"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 for what the user can mend, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("matplotlib", "PIL", "httpx2", "httpcore2", "openai", "anthropic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if arguments == ["--version"]:
        sys.stdout.write(f"gpt4scene {version('gpt4scene')}\n")
        return 0
    try:
        _parsed(arguments)()
    except UserError as error:
        if debug:
            raise
        line = " ".join(str(error).splitlines())
        sys.stderr.write(f"gpt4scene: {line}\n")
        return 2
    except OSError as error:
        if debug or error.errno not in _OF_THE_DISK or error.filename is None:
            raise
        sys.stderr.write(f"gpt4scene: {error.filename}: cannot be read or written ({error.strerror})\n")
        return 2
    except KeyboardInterrupt:
        told = _KEPT_ANSWERS if arguments[:1] in (["ask"], ["chat"], ["eval"]) else _KEPT_STEPS
        sys.stderr.write(f"\ngpt4scene: interrupted; the same command again {told}\n")
        return INTERRUPTED
    return 0


def run() -> None:
    """The console script."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output has had enough; what is still unwritten must not complain at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED
    if code == INTERRUPTED:
        # a compiled module that was half loaded would end the process with a code of its own
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _parsed(arguments: list[str]) -> Callable[[], None]:
    """The command with its arguments, to be called: so that tyro's errors are those of parsing and no others."""
    named = arguments[:1]
    commands = {
        name: _later(command, brief=named != [name])
        for name, command in (
            ("ask", ask),
            ("build-dataset", build_dataset),
            ("chat", chat),
            ("demo", demo),
            ("eval", evaluate),
            ("eval-instances", eval_instances),
            ("import-gpt4scene", import_gpt4scene),
            ("prepare", prepare),
            ("score", score),
            ("serve", serve),
            ("view", view),
        )
    }
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                commands, prog="gpt4scene", description=DESCRIPTION, args=arguments
            )
    except SystemExit as end:
        if not end.code:
            raise  # help was asked for
        helped = "".join(f"{name} " for name in arguments[:1] if name in commands)
        raise UserError(f"{_one_line(complaint.getvalue())}; see `gpt4scene {helped}--help`") from None


def _later(command: Callable[..., None], *, brief: bool) -> Callable[..., Any]:
    @functools.wraps(command)
    def bound(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **options)

    if brief:  # one of the list that `gpt4scene --help` prints
        bound.__doc__ = (command.__doc__ or "").split("\n\n")[0]
    return bound


def _one_line(box: str) -> str:
    """What the frame that tyro draws around a complaint says, up to its first line or gap."""
    # the frame is of other characters where the terminal speaks no UTF-8
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [row.strip("│| ") for row in plain.splitlines()[1:-1]]
    sections = [section.strip().split("\n") for section in re.split(r"\n(?:[─-]+|)\n", "\n".join(rows))]
    said = " ".join(sections[0]).rstrip(".")
    if len(sections) > 1 and sections[1][0].startswith("Perhaps"):
        said += f"; perhaps you meant {sections[1][1].split()[0]}"
    return said
