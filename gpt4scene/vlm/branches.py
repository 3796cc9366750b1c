"""Several questions about one scene, answered in a single row of tokens after the prefix that they share.

Each question, and its answer as it grows, sees the prefix and itself, by a mask; positions begin anew for each. So no
question is padded, and the prefix is held and read once, not once per question.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bev.errors import require
from gpt4scene.vlm.families import Family, core_of
from gpt4scene.vlm.next_token import Choose
from gpt4scene.vlm.prefix import Prefix, text_positions

_ROW_TOKENS = 4096
"""How many tokens of questions a row holds at most: the mask grows with their square."""


@dataclass(frozen=True)
class Branch:
    """A question after the prefix."""

    prompt: tuple[int, ...]
    """All token ids, the prefix's included."""
    choose: Choose
    max_new_tokens: int
    on_token: Callable[[int], None] | None = None
    """Called with each token of the answer, the one that ends it not included."""


@dataclass(frozen=True)
class Continuation:
    """What a model wrote."""

    ids: tuple[int, ...]
    """The token that ends it not included."""
    ended: bool
    """False where it was cut."""


def continue_branches(
    model: Any, family: Family, prefix: Prefix, branches: Sequence[Branch], ends: frozenset[int]
) -> Iterator[tuple[int, Continuation]]:
    """Answer each question; yields position and answer as soon as each is done.

    Args:
        model: of that family.
        family: of the model.
        prefix: what all begin with.
        branches: the questions.
        ends: tokens that end an answer.
    """
    row: list[int] = []
    held = 0
    for position, branch in enumerate(branches):
        length = len(branch.prompt) - prefix.length
        if row and held + length > _ROW_TOKENS:
            yield from _continue_row(model, family, prefix, {p: branches[p] for p in row}, ends)
            row, held = [], 0
        row.append(position)
        held += length
    yield from _continue_row(model, family, prefix, {p: branches[p] for p in row}, ends)


class _Row:
    """The tokens after the prefix, and the cache of all."""

    def __init__(self, model: Any, family: Family, prefix: Prefix) -> None:
        self._model, self._family, self._prefix = model, family, prefix
        self._core = core_of(model)
        self._cache = prefix.cache()
        self._owner: list[int] = []
        """Of each token after the prefix, the branch that it belongs to."""

    def read(self, ids: Sequence[int], owner: Sequence[int], depth: Sequence[int], wanted: Sequence[int]) -> Any:
        """Append tokens.

        Args:
            ids: of the tokens.
            owner: the branch of each.
            depth: how many tokens of its branch come before each, those of the prefix not counted.
            wanted: positions among `ids` of those whose successor is wanted.

        Returns:
            (wanted, V) logits.
        """
        torch = require("torch", "local")
        device = self._core.device
        before = len(self._owner)
        self._owner += owner
        deep = torch.tensor(depth, device=device)
        with torch.no_grad():
            hidden = self._core(
                input_ids=torch.tensor([list(ids)], device=device),
                position_ids=text_positions(
                    self._family, self._prefix.length + deep, self._prefix.next_position + deep
                ),
                attention_mask=self._mask(before),
                past_key_values=self._cache,
                use_cache=True,
            ).last_hidden_state
            return self._model.get_output_embeddings()(hidden[0, torch.tensor(wanted, device=device)])

    def _mask(self, before: int) -> Any:
        """(1, 1, new, all) bool: which tokens the new ones see; None where a single new one sees all."""
        torch = require("torch", "local")
        if len(self._owner) == before + 1 and len(set(self._owner)) == 1:
            return None
        owner = torch.tensor(self._owner, device=self._core.device)
        new = torch.arange(before, len(owner), device=owner.device)[:, None]
        own = (owner[new] == owner) & (torch.arange(len(owner), device=owner.device) <= new)
        return torch.nn.functional.pad(own, (self._prefix.length, 0), value=True)[None, None]


def _continue_row(
    model: Any, family: Family, prefix: Prefix, branches: dict[int, Branch], ends: frozenset[int]
) -> Iterator[tuple[int, Continuation]]:
    torch = require("torch", "local")
    row = _Row(model, family, prefix)
    said = {p: _Said(branch, core_of(model).device) for p, branch in branches.items()}
    rest = {p: branch.prompt[prefix.length :] for p, branch in branches.items()}
    last, total = [], 0
    for ids in rest.values():
        total += len(ids)
        last.append(total - 1)
    logits = row.read(
        [token for ids in rest.values() for token in ids],
        [p for p, ids in rest.items() for _ in ids],
        [depth for ids in rest.values() for depth in range(len(ids))],
        last,
    )
    going = list(branches)
    while going:
        chosen = {p: said[p].take(scores, ends) for p, scores in zip(going, torch.unbind(logits), strict=True)}
        for p, token in chosen.items():
            if token is None:
                yield p, said[p].done
        fed = {p: token for p, token in chosen.items() if token is not None}
        going = list(fed)
        if going:
            depth = [len(rest[p]) + said[p].count - 1 for p in going]
            logits = row.read(list(fed.values()), going, depth, range(len(going)))


class _Said:
    """An answer as it grows."""

    def __init__(self, branch: Branch, device: str) -> None:
        torch = require("torch", "local")
        self._branch = branch
        self._start = len(branch.prompt)
        self._ids = torch.empty(self._start + branch.max_new_tokens, dtype=torch.int64, device=device)
        self._ids[: self._start] = torch.tensor(branch.prompt, device=device)
        self.count = 0
        self._ended = False

    @property
    def done(self) -> Continuation:
        return Continuation(tuple(self._ids[self._start : self._start + self.count].tolist()), self._ended)

    def take(self, logits: Any, ends: frozenset[int]) -> int | None:
        """Choose the next token; None where the answer is over with it."""
        so_far = self._start + self.count
        token = self._branch.choose(self._ids[:so_far], logits)
        if token in ends:
            self._ended = True
            return None
        self._ids[so_far] = token
        self.count += 1
        if self._branch.on_token is not None:
            self._branch.on_token(token)
        return token if self.count < self._branch.max_new_tokens else None
