"""What became of questions: the replies, how they were come by, and what they cost."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from gpt4scene.vlm.protocol import Reply, Usage


@dataclass(frozen=True)
class Kept:
    """A reply, and what it took."""

    reply: Reply
    cached: bool
    """It was there already, or another of the same questions brought it."""
    cost_usd: float | None
    """Of this run: 0 where `cached`; None where the provider told no usage or no price is known."""


@dataclass(frozen=True)
class Asked:
    """What became of a list of requests."""

    kept: tuple[Kept | None, ...]
    """One for each request, in their order; None where it was not asked, see `stopped`."""
    sent: int
    """How many requests went out."""
    usage: Usage
    """Of those, as far as the provider told."""
    cost_usd: float | None
    """What this run cost at most, `unsure_usd` included; None where no price is known."""
    unsure_usd: float
    """Of that, the upper ends of requests whose usage is not known: those of killed runs that were asked again now,
    and those that brought no usage."""
    unsure: int
    """How many such requests."""
    all_runs_usd: float | None
    """What the same questions have cost at most, in this and all earlier runs; None where not all prices were known."""
    stopped: str
    """Why not all was asked, in one line; empty when all was."""

    @property
    def outcomes(self) -> Counter[str]:
        """How many replies there are of each outcome."""
        return Counter(kept.reply.outcome for kept in self.kept if kept is not None)

    @property
    def cached(self) -> int:
        """How many replies took no request."""
        return sum(kept is not None and kept.cached for kept in self.kept)

    def summary(self) -> str:
        """One line for the end of a run."""
        others = _others(self.outcomes)
        tokens = f"{self.usage.input_tokens:,} tokens in"
        if self.usage.cached_input_tokens:
            tokens += f" ({self.usage.cached_input_tokens:,} at a discount)"
        return (
            f"{len(self.kept)} questions: {self.cached} from the cache, {self.sent} sent{others and f'; {others}'};"
            f" {tokens}, {self.usage.output_tokens:,} out; {self.money()}"
        )

    def money(self) -> str:
        """What it cost, in words."""
        if self.cost_usd is None:
            return "no price is known"
        said = f"${self.cost_usd:.4f}"
        if self.unsure:
            said += f", of which up to ${self.unsure_usd:.4f} for {self.unsure} whose usage is not known"
        if self.all_runs_usd is not None and self.all_runs_usd - self.cost_usd >= 5e-5:
            said += f"; with earlier runs ${self.all_runs_usd:.4f}"
        return said


@contextmanager
def shown_progress(
    questions: int, name: str, spent: Callable[[], str], *, show: bool
) -> Iterator[Callable[[int, Kept], None]]:
    """A bar on stderr, where `show` holds, and the function that moves it by one reply.

    Args:
        questions: how many there are.
        name: what the bar is called.
        spent: the money spent so far, to stand beside the bar.
        show: whether there is a bar.
    """
    if not show:
        yield lambda position, kept: None
        return
    from tqdm import tqdm

    outcomes: Counter[str] = Counter()
    with tqdm(total=questions, desc=name, unit="question", leave=False) as bar:

        def move(position: int, kept: Kept) -> None:
            outcomes[kept.reply.outcome] += 1
            bar.set_postfix_str(", ".join(filter(None, (spent(), _others(outcomes)))), refresh=False)
            bar.update()

        yield move


def _others(outcomes: Mapping[str, int]) -> str:
    """How many replies were no answers: "2 refused, 1 truncated"."""
    return ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()) if outcome != "answered")
