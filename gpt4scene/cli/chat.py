"""`gpt4scene chat`: a conversation about a scene, in the terminal or from a pipe."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bev.errors import UserError
from gpt4scene.cli.ask import check_numbers, opened
from gpt4scene.cli.questioning import say

if TYPE_CHECKING:
    from gpt4scene.asking import Answer
    from gpt4scene.prompting.conversation import Conversation
    from gpt4scene.prompting.shown import Shown
    from gpt4scene.scene.scene import Scene
    from gpt4scene.vlm.cache import AnswerCache
    from gpt4scene.vlm.protocol import VLM

_HELP = "say anything; /picture [FILE] draws the objects that the last answer named, /quit ends\n"


def chat(
    scene: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")],
    /,
    *,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "openai:gpt-4o",
    preset: Literal["default", "paper", "paper-32"] = "default",
    bev: bool = True,
    marks: bool = True,
    frame_detail: Literal["auto", "low", "high"] = "auto",
    max_new_tokens: int = 512,
    temperature: float | None = None,
    max_cost: float | None = None,
    cache: Path | None = None,
    retry_failed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    timeout_s: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Talk with a model about a scene; after each answer, the objects that it names are listed with their 3D boxes.

    Lines are read from the terminal or a pipe; empty ones are passed over. /picture [FILE] writes a picture of the
    objects that the last answer named, /quit, Ctrl-D or Ctrl-C ends. A message that is not answered is forgotten, and
    the conversation goes on where it was; the exit code is then 1.

    Args:
        scene: a scene folder that `gpt4scene prepare` wrote.
        model: openai:MODEL[@BASE_URL], anthropic:MODEL, local:PATH_OR_ID[+ADAPTER] or replay:FILE.
        preset: which frames in which layout; "paper" is 8 frames in a grid, "paper-32" 32 frames.
        bev: show the bird's-eye view.
        marks: draw the objects' numbers.
        frame_detail: how closely a hosted model looks at frames; at the bird's-eye view it looks closely.
        max_new_tokens: at most so many tokens of an answer.
        temperature: 0 and above; as deterministic as the model can be when left out.
        max_cost: send nothing that might lead beyond so many US dollars for the whole conversation.
        cache: the file that keeps the answers; the user's own when left out.
        retry_failed: ask again what was refused or cut short before.
        timeout_s: how long to wait for an answer, seconds; hosted models.
        device: cuda or cpu; local models.
        dtype: bfloat16 or float32; local models.
    """
    from gpt4scene.asking import Showing, show_scene

    check_numbers(max_new_tokens, temperature, max_cost)
    showing = Showing(preset, bev, marks, frame_detail=frame_detail)
    with opened(scene, model, cache, timeout_s=timeout_s, device=device, dtype=dtype) as (loaded, vlm, answers):
        talk = _Talk(
            loaded,
            scene,
            vlm,
            answers,
            shown=show_scene(loaded, vlm.view_size, showing=showing, folder=scene),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            max_cost_usd=max_cost,
            retry_failed=retry_failed,
        )
        try:
            for line in _lines():
                if line == "/quit":
                    break
                talk.take(line)
        except KeyboardInterrupt:
            sys.stdout.write("\n")
        talk.end()


def _lines() -> Iterator[str]:
    """What the user says, line by line, without what is empty; with editing where somebody types."""
    if not sys.stdin.isatty():
        yield from (said for line in sys.stdin if (said := line.strip()))
        return
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys in input(); not on Windows)
    sys.stdout.write(_HELP)
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        if said:
            yield said


class _Talk:
    """A conversation as far as it has come, and what it has cost."""

    def __init__(
        self,
        scene: "Scene",
        folder: Path,
        model: "VLM",
        cache: "AnswerCache",
        *,
        shown: "Shown",
        max_new_tokens: int,
        temperature: float | None,
        max_cost_usd: float | None,
        retry_failed: bool,
    ) -> None:
        self.scene, self.folder, self.model, self.cache, self.shown = scene, folder, model, cache, shown
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.max_cost_usd, self.retry_failed = max_cost_usd, retry_failed
        self.conversation: Conversation | None = None
        self.named: tuple[str, tuple[int, ...]] = "", ()
        """The last answered message, and the objects that its answer names."""
        self.turns, self.failed = 0, 0
        self.cost_usd: float | None = 0.0

    def take(self, line: str) -> None:
        """Do what a line says: a command, or a message to the model."""
        try:
            if line.split()[0] == "/picture":
                self._draw(line.removeprefix("/picture").strip())
            elif line.startswith("/"):
                raise UserError(f"{line.split()[0]}: there are /picture [FILE] and /quit")
            else:
                self.failed += 1
                self._say(line)
        except UserError as error:
            # neither a server that is away nor a slip of the hand ends a conversation
            _complain(str(error))

    def end(self) -> None:
        """Print the total; exit code 1 where something was not answered."""
        from gpt4scene.cli.answer_lines import money

        sys.stdout.write(f"{self.turns} answered; {money(self.cost_usd)} in total\n")
        if self.failed:
            sys.stdout.flush()
            raise SystemExit(1)

    def _say(self, line: str) -> None:
        from gpt4scene.asking import answer_of, ids_of
        from gpt4scene.prompting.questions import Question
        from gpt4scene.vlm.answering import ask_all
        from gpt4scene.vlm.protocol import Request

        question = Question(line, "chat")
        text = question.prompt(self.shown)
        so_far = self.shown.conversation(text) if self.conversation is None else self.conversation.then("user", text)
        asked = ask_all(
            self.model,
            [Request(so_far, self.max_new_tokens, self.temperature)],
            cache=self.cache,
            retry_failed=self.retry_failed,
            max_cost_usd=self._left_usd(),
            on_text=say,
        )
        if asked.kept[0] is None:
            raise UserError(asked.stopped)
        # of the run and not of the reply: one that broke off may have cost as much as it could
        known = self.cost_usd is not None and asked.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (asked.cost_usd or 0.0) if known else None
        answer = answer_of(asked.kept[0], question, ids_of(self.scene))
        self._tell(line, answer)
        # what a truncated answer says, the model may go on from
        if answer.outcome in ("answered", "truncated") and answer.text:
            self.conversation = so_far.then("assistant", answer.text)

    def _left_usd(self) -> float | None:
        return None if self.max_cost_usd is None else max(0.0, self.max_cost_usd - (self.cost_usd or 0.0))

    def _tell(self, line: str, answer: "Answer") -> None:
        from gpt4scene.cli.answer_lines import failure_line, object_lines

        sys.stdout.write("" if answer.text.endswith("\n") or not answer.text else "\n")
        sys.stdout.write(object_lines(self.scene, answer.ids, answer.unknown_ids))
        self.named = line, answer.ids
        if answer.outcome == "answered":
            self.turns += 1
            self.failed -= 1
        else:
            _complain(failure_line(answer))
        sys.stdout.flush()

    def _draw(self, file: str) -> None:
        from gpt4scene.cli.answer_lines import check_picture, next_picture, write_picture

        said, ids = self.named
        if not ids:
            raise UserError("/picture: the last answer names no object of the scene")
        path = Path(file).expanduser() if file else next_picture(self.folder, said)
        if file:
            check_picture(path)
        write_picture(path, self.scene, ids)
        sys.stdout.write(f"look at {path}\n")
        sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"gpt4scene: {' '.join(line.splitlines())}\n")
    sys.stderr.flush()
