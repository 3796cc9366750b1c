"""The parts of a batch on disk: each a file of requests as a provider takes it, and JSON on what became of it."""

import contextlib
import hashlib
import json
import secrets
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from bev.errors import UserError
from gpt4scene.scene.atomic import fresh_file, write_bytes, write_errors
from gpt4scene.vlm.hosted import HostedVLM
from gpt4scene.vlm.protocol import Reply

SCHEMA = "gpt4scene/batch@1"

Status = Literal["written", "sending", "running", "ended", "collected"]
"""Written: on disk only. Sending: it was about to be submitted when this was noted. Running: the provider has given it
a number. Ended: the provider has done with it. Collected: its replies are in the cache."""


@dataclass(frozen=True)
class Shard:
    """One part of a batch, as large as the provider takes at once."""

    index: int
    label: str
    """The hash of its requests and a random end: by it a submission is found again whose confirmation was lost."""
    keys: tuple[str, ...]
    """Of its requests, in order; the provider knows the requests by them."""
    costs_high_usd: tuple[float, ...] | None
    """The most that each may cost in a batch; None where no price is known."""
    size: int
    """Of the file of requests, bytes."""
    status: Status = "written"
    upload: str = ""
    """The provider's number of the uploaded file, where it wants one."""
    sent_at: str = ""
    """When it was about to be submitted, ISO 8601, UTC."""
    batch: str = ""
    """The provider's number of the batch."""
    said: str = ""
    """The provider's last word on it."""
    outputs: tuple[str, ...] = ()
    """The provider's numbers of the files of results."""
    unsure: str = ""
    """In one line, why it is not known whether it was submitted."""

    def requests_path(self, folder: Path) -> Path:
        return folder / f"shard-{self.index:03d}.requests"

    def results_path(self, folder: Path) -> Path:
        return folder / f"shard-{self.index:03d}.results.jsonl"


@dataclass(frozen=True)
class Progress:
    """What a provider says of a batch."""

    said: str
    ended: bool
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What became of a submission whose confirmation was lost: a batch, nothing, or (`unsure`) it cannot be known."""

    batch: str = ""
    unsure: str = ""


class BatchAPI(ABC):
    """How a provider takes batches; errors of its SDK come through."""

    most_requests: ClassVar[int]
    most_bytes: ClassVar[int]
    frame: ClassVar[tuple[bytes, bytes, bytes]]
    """What opens a file of requests, stands between two of them, and closes it."""

    def __init__(self, model: HostedVLM) -> None:
        self._model = model

    @property
    def _client(self) -> Any:
        return self._model.client()

    @abstractmethod
    def line(self, key: str, body: Mapping[str, Any]) -> bytes:
        """One request in a file."""

    @abstractmethod
    def upload(self, path: Path, shard: Shard) -> str:
        """Send the file of requests, where that goes ahead of the submission; its number."""

    @abstractmethod
    def create(self, path: Path, shard: Shard) -> str:
        """Submit; the batch's number. Tried once, for a second attempt would be a second batch."""

    @abstractmethod
    def find(self, shard: Shard, others: frozenset[str]) -> Found:
        """Look for a submission of which no confirmation came, among batches that are not `others`."""

    @abstractmethod
    def look(self, shard: Shard) -> Progress:
        """How far a batch is."""

    @abstractmethod
    def download(self, shard: Shard, path: Path) -> None:
        """Write all results to a file, one JSON object per line."""

    @abstractmethod
    def result(self, line: Mapping[str, Any]) -> tuple[str, Reply]:
        """The key and the reply in a line of results."""


def begin(folder: Path, model: str, identity: str) -> None:
    """Make a folder that of a batch of a model's, or check that it is one.

    Raises:
        UserError: it holds something else, or a batch of another model's.
    """
    with write_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file; give a folder for the batch")
        if folder.is_dir() and any(not path.name.startswith(".half-written-") for path in folder.iterdir()):
            check(folder, identity)
            return
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / "batch.json", {"schema": SCHEMA, "model": model, "identity": identity})


def check(folder: Path, identity: str) -> None:
    """That a folder holds a batch of that model's.

    Raises:
        UserError: it does not.
    """
    header = read_header(folder)
    if header["identity"] != identity:
        raise UserError(f"{folder}: holds a batch of {header['model']}; give another folder, or that model")


def read_header(folder: Path) -> dict[str, str]:
    """Model (as the user named it) and identity of the batch in a folder.

    Raises:
        UserError: there is none.
    """
    try:
        header = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no batch; give the folder of one, or a new one to begin it in") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise UserError(f"{folder}: its batch.json is not of schema {SCHEMA}; give another folder")
    return header


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from the same batch; the lock falls when this process ends, however it does.

    Raises:
        UserError: another process is at it.
    """
    # SQLite's lock on a file, which every system has and lets go of by itself
    with write_errors(folder), closing(sqlite3.connect(folder / "lock", timeout=1.0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise UserError(f"{folder}: another process works on this batch; wait until it is done") from error
        yield


def read_shards(folder: Path) -> list[Shard]:
    """All parts of the batch in a folder, in order.

    Raises:
        UserError: the file of one is damaged.
    """
    shards = []
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shards.append(_shard(json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: is damaged ({error}); restore it, or begin in another folder") from error
    return sorted(shards, key=lambda shard: shard.index)


def save(folder: Path, shard: Shard, **changes: Any) -> Shard:
    """Write what is known of a part, whole or not at all; gives it with the changes."""
    changed = replace(shard, **changes)
    with write_errors(folder):
        _write_json(folder / f"shard-{shard.index:03d}.json", asdict(changed))
    return changed


def write_shards(
    folder: Path, first: int, api: BatchAPI, items: Iterable[tuple[str, bytes, float | None]]
) -> Iterator[Shard]:
    """Write requests to files of the size that the provider takes, one after another; each comes when it is whole.

    Args:
        folder: of the batch.
        first: index of the first part.
        api: of the provider.
        items: key, line and the most that it may cost, of every request; taken one by one, so that one is in memory.
    """
    waiting = iter(items)
    item = next(waiting, None)
    index = first
    while item is not None:
        shard = Shard(index, "", (), None, 0)
        keys: list[str] = []
        costs: list[float | None] = []
        head, between, tail = api.frame
        size, digest = len(head) + len(tail), hashlib.sha256()
        with write_errors(folder), fresh_file(shard.requests_path(folder)) as path, path.open("wb") as file:
            file.write(head)
            while item is not None and (not keys or _fits(api, len(keys), size + len(between) + len(item[1]))):
                key, line, cost = item
                written = (between if keys else b"") + line
                file.write(written)
                digest.update(written)
                size += len(written)
                keys.append(key)
                costs.append(cost)
                item = next(waiting, None)
            file.write(tail)
        known = [cost for cost in costs if cost is not None]
        yield save(
            folder,
            shard,
            label=f"{digest.hexdigest()[:24]}-{secrets.token_hex(4)}",
            keys=tuple(keys),
            costs_high_usd=tuple(known) if len(known) == len(keys) else None,
            size=size,
        )
        index += 1


def discard_requests(folder: Path, shard: Shard) -> None:
    """Delete the file of requests of a part that the provider has: a batch of thousands of images fills disks."""
    with contextlib.suppress(FileNotFoundError):
        shard.requests_path(folder).unlink()


def _fits(api: BatchAPI, count: int, size: int) -> bool:
    return count < api.most_requests and size <= api.most_bytes


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_bytes(path, json.dumps(value, indent=1).encode())


def _shard(read: dict[str, Any]) -> Shard:
    lists = {name: tuple(read[name]) for name in ("keys", "outputs")}
    costs = read["costs_high_usd"]
    return Shard(**{**read, **lists, "costs_high_usd": None if costs is None else tuple(costs)})
