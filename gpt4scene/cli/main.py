"""The command `gpt4scene`: one subcommand per file of this folder."""

import logging
import sys
from collections.abc import Sequence

import tyro

from bev.errors import UserError
from gpt4scene.cli.demo import demo
from gpt4scene.cli.prepare import prepare
from gpt4scene.cli.view import view

DESCRIPTION = """A scan of a room goes in; a vision-language model that understands the room comes out.

Every command takes --debug, which shows the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 for what the user can mend, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"demo": demo, "prepare": prepare, "view": view},
            prog="gpt4scene",
            description=DESCRIPTION,
            args=arguments,
        )
    except UserError as error:
        if debug:
            raise
        sys.stderr.write(f"gpt4scene: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ngpt4scene: interrupted; the same command again goes on where it stopped\n")
        return 130
    return 0


def run() -> None:
    """The console script."""
    sys.exit(main())
