"""What a run of questions may cost before they are sent, what it did cost, and what the first answers teach of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bev.errors import UserError
from gpt4scene.vlm.cache import AnswerCache
from gpt4scene.vlm.prices import PRICES_VARIABLE, cost_usd
from gpt4scene.vlm.protocol import VLM, Price, Reply, Request, TokenRange, Usage

_ROUNDING_USD = 1e-9
"""By how much a sum of fractions of cents may be off."""


@dataclass(frozen=True, order=True)
class Settled:
    """Where within the ranges of estimates a provider's own counts lie: at their upper end until the first is known.

    Of several counts the highest stands, relative to its range.
    """

    scale: float = 1.0
    """Other than 1 where a count lay outside its range: then how far, as a factor of the end that it is beyond."""
    position: float = 1.0
    """0 at the lower end of the range, 1 at the upper."""
    known: bool = False
    """Whether a provider has counted yet."""

    def learn(self, estimated: TokenRange, counted: int) -> "Settled":
        """With one more request's input tokens as the provider counted them."""
        if counted <= 0 or estimated.low <= 0:
            return self  # nothing was read, or nothing is charged
        if counted > estimated.high:
            found = Settled(counted / estimated.high, 1.0, True)
        elif counted < estimated.low:
            found = Settled(counted / estimated.low, 0.0, True)
        else:
            width = estimated.high - estimated.low
            found = Settled(1.0, (counted - estimated.low) / width if width else 0.0, True)
        return max(self, found) if self.known else found

    def upper(self, estimated: TokenRange) -> int:
        """The most input tokens that a request takes, as far as is known."""
        width = estimated.high - estimated.low
        # rounded first, so that what was learnt of a range gives that very count again
        return math.ceil(round((estimated.low + self.position * width) * self.scale, 3))


@dataclass(frozen=True)
class Outlay:
    """What sending one request may come to."""

    tokens: TokenRange | None
    """Of its input; None where no money depends on them."""
    upper_usd: float
    """The most that it costs; 0 where no price is known."""
    lost: int
    """How many attempts at it were sent and never ended."""
    lost_usd: float
    """What those may have cost."""


class Spending:
    """The money of one run, held within a limit.

    Raises:
        UserError: there is a limit, and no price is known.
    """

    def __init__(self, model: VLM, cache: AnswerCache, max_usd: float | None) -> None:
        if max_usd is not None and model.price is None:
            raise UserError(
                f"{model.name}: no price is known, so --max-cost cannot be held; give one in the file that"
                f" ${PRICES_VARIABLE} names"
            )
        self.usage = Usage(0, 0)
        """Of all replies that brought one."""
        self.known_usd = 0.0
        self.unsure_usd = 0.0
        """The upper ends of requests whose usage is not known: lost ones that are sent again, and replies without."""
        self.unsure = 0
        """How many those are."""
        self.max_usd = max_usd
        self._model, self._cache = model, cache
        self._reserved_usd = 0.0
        self._settled = Settled()
        self._tokens: dict[str, TokenRange] = {}

    @property
    def total_usd(self) -> float:
        """At most, and without what is under way."""
        return self.known_usd + self.unsure_usd

    def outlay(self, key: str, request: Request) -> Outlay:
        """What a request may cost by what is known now."""
        price, tokens, upper = self._model.price, None, 0.0
        if price is not None and not is_free(price):
            tokens = self._tokens[key] = self._tokens.get(key) or self._model.estimate(request)
            upper = upper_usd(price, self._settled.upper(tokens), self._model.max_output_tokens(request))
        lost = self._cache.lost(key)
        return Outlay(tokens, upper, len(lost), sum_of(lost, upper))

    def room_for(self, outlays: Iterable[Outlay]) -> bool:
        """Whether they may be sent, should everything under way cost as much as it can."""
        if self.max_usd is None:
            return True
        most = sum(outlay.upper_usd + outlay.lost_usd for outlay in outlays)
        return self.total_usd + self._reserved_usd + most <= self.max_usd + _ROUNDING_USD

    def reserve(self, outlay: Outlay) -> None:
        """Note that a request goes out; what was lost of it is counted now."""
        self._reserved_usd += outlay.upper_usd
        self.unsure += outlay.lost
        self.unsure_usd += outlay.lost_usd

    def release(self, outlay: Outlay) -> None:
        """Note that a request was turned away and cost nothing."""
        self._reserved_usd -= outlay.upper_usd

    def settle(self, outlay: Outlay, reply: Reply) -> float | None:
        """What a reply cost; None where the provider told no usage or no price is known."""
        self.release(outlay)
        price = self._model.price
        if reply.usage is None:
            if price is not None and is_free(price):
                return 0.0
            self.unsure += 1
            self.unsure_usd += outlay.upper_usd
            return None
        self.usage = _added(self.usage, reply.usage)
        if outlay.tokens is not None:
            self._settled = self._settled.learn(outlay.tokens, reply.usage.input_tokens)
        if price is None:
            return None
        cost = cost_usd(reply.usage, price)
        self.known_usd += cost
        return cost


def is_free(price: Price) -> bool:
    """Whether nothing is charged, as for models in this process."""
    return not any((price.input, price.output, price.cached_input, price.cache_write))


def upper_usd(price: Price, input_tokens: int, output_tokens: int) -> float:
    """The most that one attempt at a request costs: its longest answer, and no discount on its input."""
    at = price.at(input_tokens)
    return (input_tokens * max(at.input, at.cache_write) + output_tokens * at.output) / 1e6


def lower_usd(price: Price, input_tokens: int, *, discount: bool) -> float:
    """The least that it costs: an answer of one token, and all input at the provider's discount where there is one."""
    at = price.at(input_tokens)
    return (input_tokens * (min(at.input, at.cached_input) if discount else at.input) + at.output) / 1e6


def sum_of(lost: Sequence[float | None], stand_in_usd: float) -> float:
    """What lost attempts may have cost; as much as the next would, where no price was known then."""
    return sum(stand_in_usd if cost is None else cost for cost in lost)


def _added(first: Usage, second: Usage) -> Usage:
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cached_input_tokens=first.cached_input_tokens + second.cached_input_tokens,
        cache_write_tokens=first.cache_write_tokens + second.cache_write_tokens,
    )
