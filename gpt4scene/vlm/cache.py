"""Answers that were paid for, kept on disk, and a journal of all attempts, so that nothing is paid twice unseen."""

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image, Part, Text
from gpt4scene.vlm.protocol import VLM, Reply, Request, Usage

KEPT_OUTCOMES = ("answered", "refused", "truncated")
"""What a model did say; a failure is only journalled, so that the next run asks again by itself."""

_KEY_VERSION = 1
_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x34534341
"""Marks an SQLite file as ours: "4SCA"."""
_BUSY_S = 30.0
"""How long to wait for another process that writes; its transactions take milliseconds."""

_TABLES = (
    """CREATE TABLE answers (
        key TEXT PRIMARY KEY,        -- see `request_key`
        outcome TEXT NOT NULL,       -- answered, refused, truncated
        reply TEXT NOT NULL,         -- JSON: text, outcome, model, usage, why
        cost_usd REAL,               -- NULL: no price was known
        answered_at TEXT NOT NULL,   -- ISO 8601, UTC
        request TEXT                 -- JSON: question, images (sha256); for people
    )""",
    """CREATE TABLE attempts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        started_at TEXT NOT NULL,
        cost_high_usd REAL,          -- the most that it can cost; NULL: no price was known
        finished_at TEXT,            -- NULL: under way, or its process was killed
        outcome TEXT,                -- as in answers, or failed
        why TEXT,
        cost_usd REAL                -- NULL: not known, then cost_high_usd stands for it
    )""",
    "CREATE INDEX attempts_by_key ON attempts (key, id)",
)

_ADVICE = {
    sqlite3.SQLITE_NOTADB: "is no cache of answers; give another file, or move it away",
    sqlite3.SQLITE_CORRUPT: "the cache of answers is damaged; move it away, a new one is begun then",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, or keep answers elsewhere with --cache or GPT4SCENE_CACHE",
    sqlite3.SQLITE_READONLY: "may not be written; keep answers elsewhere with --cache or GPT4SCENE_CACHE",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; keep answers elsewhere with --cache or GPT4SCENE_CACHE",
    sqlite3.SQLITE_PERM: "may not be opened; keep answers elsewhere with --cache or GPT4SCENE_CACHE",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; keep answers elsewhere with --cache or GPT4SCENE_CACHE",
    sqlite3.SQLITE_BUSY: f"another process has held it for over {_BUSY_S:.0f} s; end that one first",
    sqlite3.SQLITE_LOCKED: f"another process has held it for over {_BUSY_S:.0f} s; end that one first",
}


def request_key(model: VLM, request: Request) -> str:
    """What an answer is kept under: sha256, 64 hex digits, over all that it depends on.

    That is the model's identity, the parameters, every message (images by the sha256 of their bytes and their detail,
    wherever they lie) and the repeat index. A JSON schema counts with the order of its properties, in which models
    write them.

    Raises:
        UserError: an image is missing.
    """
    hashed = {
        "version": _KEY_VERSION,
        "model": model.identity,
        "parameters": parameters_key(request),
        "messages": [[m.role, [_part(part) for part in m.parts]] for m in request.conversation.messages],
        "repeat": request.repeat,
    }
    # in ASCII, so that half a surrogate pair, which has no UTF-8, is hashed as well
    return sha256(json.dumps(hashed, separators=(",", ":")).encode()).hexdigest()


def parameters_key(request: Request) -> str:
    """How an answer is to be made, messages apart: equal for requests that one batch may hold."""
    temperature = None if request.temperature is None else float(request.temperature)
    return json.dumps([request.max_new_tokens, temperature, request.json_schema], default=_plain)


def default_cache_path() -> Path:
    """Where a user's answers are: the file $GPT4SCENE_CACHE, else `gpt4scene/answers.sqlite` where caches are kept.

    That is $XDG_CACHE_HOME or ~/.cache (XDG Base Directory Specification), ~/Library/Caches on macOS, %LOCALAPPDATA%
    on Windows.

    Raises:
        UserError: this user has no home folder.
    """
    given = os.environ.get("GPT4SCENE_CACHE")
    return Path(given) if given else default_cache_folder() / "answers.sqlite"


def default_cache_folder() -> Path:
    """This user's folder for what may be deleted at any time; see `default_cache_path`.

    Raises:
        UserError: this user has no home folder.
    """
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UserError("there is no home folder to keep answers in; set HOME, or GPT4SCENE_CACHE to a file") from error
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Caches"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
        if not folder.is_absolute():
            folder = home / ".cache"  # as the specification has it
    return folder / "gpt4scene"


class AnswerCache:
    """Answers by `request_key`, and a journal of attempts; for many threads and processes at once.

    A new file can be read by its owner alone. A killed process loses nothing of what was written; a power cut may lose
    the last seconds. Write-ahead logging wants a disk of this machine, not one that several machines share
    (sqlite.org/wal.html). Two processes that ask the same question at the same moment both pay for it.

    Raises:
        UserError: `path` is no cache of ours, of another version, or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        with _told(self.path):
            _make_file(self.path)
            self._connection = _connect(self.path)

    def get(self, key: str) -> Reply | None:
        """The answer that was kept, as it was given; refused and truncated ones too."""
        rows = self._read("SELECT reply FROM answers WHERE key = ?", key)
        return _reply(json.loads(rows[0][0])) if rows else None

    def started(self, key: str, cost_high_usd: float | None) -> int:
        """Note that a request is about to be sent, and the most that it can cost; gives the attempt's number."""
        with self._writing() as connection:
            insert = "INSERT INTO attempts (key, started_at, cost_high_usd) VALUES (?, ?, ?)"
            attempt = connection.execute(insert, (key, _now(), cost_high_usd)).lastrowid
        assert attempt is not None
        return attempt

    def finished(
        self,
        key: str,
        reply: Reply,
        cost_usd: float | None,
        *,
        attempt: int | None = None,
        request: Request | None = None,
    ) -> None:
        """Keep an answer and close its attempt, both or neither.

        What answered once stays; a refused or truncated answer gives way to a later one. Failures are not kept.

        Args:
            key: of the request.
            reply: what came back.
            cost_usd: None: not known, the attempt's upper end stands for it.
            attempt: what `started` gave; None: the key's last one that is open, or a new one.
            request: whose question is noted beside the answer, for people.
        """
        with self._writing() as connection:
            if attempt is None:
                attempt = _open_attempt(connection, key)
            connection.execute(
                "UPDATE attempts SET finished_at = ?, outcome = ?, why = ?, cost_usd = ? WHERE id = ?",
                (_now(), reply.outcome, reply.why.encode("utf-8", "backslashreplace").decode(), cost_usd, attempt),
            )
            if reply.outcome in KEPT_OUTCOMES:
                connection.execute(
                    "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " outcome = excluded.outcome, reply = excluded.reply, cost_usd = excluded.cost_usd,"
                    " answered_at = excluded.answered_at, request = excluded.request"
                    " WHERE answers.outcome <> 'answered'",
                    (key, reply.outcome, json.dumps(asdict(reply)), cost_usd, _now(), request and _noted(request)),
                )

    def lost(self, key: str) -> list[float | None]:
        """What each attempt may have cost that never ended, since one last did: its process was killed, or is at work.

        None where no price was known.
        """
        return [row[0] for row in self._read(_LOST, key, key)]

    def spent_usd(self, keys: Iterable[str]) -> float | None:
        """What all attempts at these requests have cost at most, in this run and those before; None: not all known."""
        total = 0.0
        for key in keys:
            for (cost,) in self._read("SELECT COALESCE(cost_usd, cost_high_usd) FROM attempts WHERE key = ?", key):
                if cost is None:
                    return None
                total += cost
        return total

    def close(self) -> None:
        """End the connection; what was written stays."""
        with self._lock, _told(self.path):
            self._connection.close()

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._lock, _told(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(self.path), _transaction(self._connection):
            yield self._connection


_LOST = (
    "SELECT cost_high_usd FROM attempts WHERE key = ? AND id >"
    " (SELECT COALESCE(MAX(id), 0) FROM attempts WHERE key = ? AND finished_at IS NOT NULL)"
)


def _part(part: Part) -> list[str]:
    return ["text", part.text] if isinstance(part, Text) else ["image", part.sha256(), part.detail]


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a JSON schema holds a {type(value).__name__}, which is not JSON")


def _noted(request: Request) -> str:
    last = request.conversation.messages[-1]
    images = [part.sha256() for m in request.conversation.messages for part in m.parts if isinstance(part, Image)]
    return json.dumps({"question": last.text, "images": images})


def _reply(kept: dict[str, Any]) -> Reply:
    usage = kept.pop("usage")
    return Reply(**kept, usage=Usage(**usage) if usage else None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _open_attempt(connection: sqlite3.Connection, key: str) -> int | None:
    last = "SELECT MAX(id) FROM attempts WHERE key = ? AND finished_at IS NULL"
    found = connection.execute(last, (key,)).fetchone()[0]
    if found is not None:
        return found
    return connection.execute("INSERT INTO attempts (key, started_at) VALUES (?, ?)", (key, _now())).lastrowid


def _make_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # answers tell of people's homes; the files that SQLite adds beside it take its permissions
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    with ExitStack() as opened:
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        opened.callback(connection.close)
        with _transaction(connection, "DEFERRED"):
            _is_new(connection, path)  # before anything is changed of a file that is not ours
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = NORMAL")
        with _transaction(connection):  # which also shows whether the file may be written
            if _is_new(connection, path):
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        opened.pop_all()
    return connection


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a database is still empty.

    Raises:
        UserError: it is neither empty nor ours.
    """
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application == _APPLICATION_ID and version == _SCHEMA_VERSION:
        return False
    if application == _APPLICATION_ID:
        raise UserError(
            f"{path}: a cache of answers of version {version}, this program reads {_SCHEMA_VERSION};"
            " name another with --cache or GPT4SCENE_CACHE"
        )
    if application or version or connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        raise UserError(f"{path}: a database of something else; keep answers elsewhere with --cache or GPT4SCENE_CACHE")
    return True


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Everything within, or nothing, whatever ends it; what is read within is of one moment."""
    with connection:
        connection.execute(f"BEGIN {kind}")
        yield


def _patiently(step: Callable[[], object]) -> None:
    """Repeat what SQLite refuses at once, without waiting as it does elsewhere, while another process is at it."""
    give_up = time.monotonic() + _BUSY_S
    while True:
        try:
            step()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite or the system says of the file into a line for the user."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if advice is None:
            raise  # an error of ours
        raise UserError(f"{path}: {advice} (SQLite: {error})") from error
    except OSError as error:
        raise UserError(
            f"{path}: no cache of answers can be kept there ({error.strerror});"
            " name another file with --cache or GPT4SCENE_CACHE"
        ) from error
