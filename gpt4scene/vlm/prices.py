"""What a model's tokens cost: from a user's own list, else from the dated tables, else not known."""

import functools
import json
import math
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bev.errors import UserError
from gpt4scene.vlm.access import is_own_server
from gpt4scene.vlm.price_tables import ANTHROPIC, GOOGLE, OPENAI, Row
from gpt4scene.vlm.protocol import Price, Usage

PRICES_VARIABLE = "GPT4SCENE_PRICES"
"""Names a file of the user's own prices."""

BATCH_SHARE = 0.5
"""Of the price, in batches: OpenAI's guide "Batch API" and Anthropic's "Batch processing"."""

_Found = TypeVar("_Found")

_FORM = '{"as_of": "2026-11-20", "prices": {"openai": {"gpt-4o": {"input": 2.5, "output": 10}}}}'
_FREE = Price(0.0, 0.0, 0.0, 0.0, "")
_HOSTS = {"openai.com": OPENAI, "openai.azure.com": OPENAI, "googleapis.com": GOOGLE, "anthropic.com": ANTHROPIC}
_VERSION = re.compile(
    r"(-(chat-)?latest|-preview|-exp|[-@](\d{4}-?\d{2}-?\d{2}|\d{2}-\d{2}|\d{2}-\d{4}|\d{3}))+", flags=re.ASCII
)
"""What may follow the name of a model without making it another: a date, a number of three digits, "latest"."""


def price_of(
    provider: str,
    model: str,
    base_url: str | None = None,
    prices_file: Path | None = None,
    *,
    today: date | None = None,
) -> Price | None:
    """Prices of a model, US dollars per million tokens.

    Args:
        provider: "openai" or "anthropic".
        model: as it is sent; "gpt-4o-2024-08-06" is found under "gpt-4o".
        base_url: of an OpenAI-compatible server; a loopback or private address, or a name without a dot, is taken for
            a server of one's own, which charges nothing. None: the provider's own.
        prices_file: the user's own list, which goes before ours; None: the file that $GPT4SCENE_PRICES names, if any.
            JSON: {"as_of": "2026-11-20", "prices": {WHO: {MODEL: {"input": 2.5, "output": 10, "cached_input": 1.25,
            "cache_write": 2.5}}}}, US dollars per million tokens; WHO is "openai", "anthropic" or the host of a
            server, with its port where it has one; "cached_input" and "cache_write" may be left out and are then as
            "input".
        today: which of several dated prices holds; None: today.

    Returns:
        None where no list knows the model, or nobody the server.

    Raises:
        UserError: the user's list is missing, or something in it is wrong.
    """
    name = model.lower().removeprefix("models/")
    own = _own_list(prices_file)
    if own is not None:
        for who in _who(provider, base_url):
            found = _find(own.get(who, {}), name)
            if found is not None:
                return found
    if base_url is None:
        table: Mapping[str, tuple[Row, ...]] | None = {"openai": OPENAI, "anthropic": ANTHROPIC}.get(provider)
    elif is_own_server(base_url):
        return _FREE
    else:
        host = urlsplit(base_url).hostname or ""
        table = next((t for known, t in _HOSTS.items() if host == known or host.endswith(f".{known}")), None)
    rows = _find(table, name) if table is not None else None
    if rows is None:
        return None
    day = (today or date.today()).isoformat()
    return [row for row in rows if row.since <= day][-1].price


def cost_usd(usage: Usage, price: Price, *, batch: bool = False) -> float:
    """What a request cost, US dollars.

    Args:
        usage: tokens as the provider counted them.
        price: of the model.
        batch: whether it went through a batch, at half the price.
    """
    at = price.at(usage.input_tokens)
    plain = max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens)
    dollars = (
        plain * at.input
        + usage.cached_input_tokens * at.cached_input
        + usage.cache_write_tokens * at.cache_write
        + usage.output_tokens * at.output
    ) / 1e6
    return dollars * BATCH_SHARE if batch else dollars


def age_warning(price: Price, *, today: date | None = None, months: int = 6) -> str | None:
    """A line for the user where a price was read longer ago than so many months; None where it is fresh or nothing."""
    if not price.as_of:
        return None
    read, now = date.fromisoformat(price.as_of), today or date.today()
    age = (now.year - read.year) * 12 + now.month - read.month - (now.day < read.day)
    if age < months:
        return None
    return (
        f"prices are of {price.as_of}, {age} months ago: compare them with the provider's list,"
        f" and give your own in the file that ${PRICES_VARIABLE} names"
    )


def _find(table: Mapping[str, _Found], name: str) -> _Found | None:
    """The entry of that name, else the longest one that the name continues with a date or a version alone."""
    if name in table:
        return table[name]
    known = [key for key in table if name.startswith(key) and _VERSION.fullmatch(name, len(key))]
    return table[max(known, key=len)] if known else None


def _who(provider: str, base_url: str | None) -> list[str]:
    """Under which names a user's list may hold a server's prices; the provider's own has no other."""
    if base_url is None:
        return [provider]
    parts = urlsplit(base_url)
    names = [parts.netloc.lower(), parts.hostname or ""]
    return names if is_own_server(base_url) or not _is_provider(provider, parts.hostname) else [*names, provider]


def _is_provider(provider: str, host: str | None) -> bool:
    return host == f"{provider}.com" or (host or "").endswith(f".{provider}.com")


def _own_list(path: Path | None) -> dict[str, dict[str, Price]] | None:
    if path is None:
        named = os.environ.get(PRICES_VARIABLE)
        if not named:
            return None
        path = Path(named)
    path = path.expanduser()
    try:
        stat = path.stat()
        return _read_list(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        said = f"no price list can be read there ({error.strerror})"
        raise UserError(f"{path}: {said}; name another file with {PRICES_VARIABLE}, or none") from error


@functools.lru_cache(maxsize=8)
def _read_list(path: Path, size: int, mtime_ns: int) -> dict[str, dict[str, Price]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}); write {_FORM}") from error
    if not isinstance(document, dict) or not isinstance(document.get("prices"), dict):
        raise UserError(f'{path}: holds no "prices"; write {_FORM}')
    as_of = str(document.get("as_of", ""))
    try:
        date.fromisoformat(as_of)
    except ValueError as error:
        raise UserError(f'{path}: "as_of" is {as_of!r}; give the day of the prices as "2026-11-20"') from error
    unknown = sorted(set(document) - {"as_of", "prices"})
    if unknown:
        raise UserError(f'{path}: {unknown[0]!r} is no field of a price list; there are "as_of" and "prices"')
    return {who.lower(): _models(path, who, models, as_of) for who, models in document["prices"].items()}


def _models(path: Path, who: str, models: Any, as_of: str) -> dict[str, Price]:
    if not isinstance(models, dict):
        raise UserError(f"{path}: prices of {who!r} are {models!r}; give an object with a model in each field")
    return {model.lower(): _row(path, f"{who}, {model}", row, as_of) for model, row in models.items()}


def _row(path: Path, where: str, row: Any, as_of: str) -> Price:
    fields = ("input", "output", "cached_input", "cache_write")
    if not isinstance(row, dict):
        raise UserError(f'{path}: {where} is {row!r}; give {{"input": 2.5, "output": 10}}')
    for name, value in row.items():
        if name not in fields:
            raise UserError(f"{path}: {where} has a field {name!r}; there are {', '.join(fields)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise UserError(f"{path}: {where}: {name} is {value!r}; give US dollars per million tokens, 0 or more")
    lost = [name for name in ("input", "output") if name not in row]
    if lost:
        raise UserError(f"{path}: {where} lacks {lost[0]!r}; give US dollars per million tokens")
    cached, written = (float(row.get(name, row["input"])) for name in ("cached_input", "cache_write"))
    return Price(float(row["input"]), float(row["output"]), cached, written, as_of)
