"""A conversation between a person and a model about images: the one type that prompts, adapters and training share."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bev.errors import UserError

Role = Literal["system", "user", "assistant"]
Detail = Literal["auto", "low", "high"]
"""How closely a hosted model looks at an image; providers that know no such setting ignore it."""


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class Image:
    """An image file, or bytes of one that go by a name."""

    path: str
    """Where the file is, as written; `Conversation.rooted` makes relative paths absolute."""
    detail: Detail = "auto"
    data: bytes | None = field(default=None, repr=False)
    """The file's bytes where it is not on disk; `path` is then only its name."""

    def read(self) -> bytes:
        """The file's bytes, JPEG or PNG.

        Raises:
            UserError: there is no such file, or it may not be read.
        """
        if self.data is not None:
            return self.data
        try:
            return Path(self.path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise UserError(f"{self.path}: no such image; the conversation that names it needs it there") from error
        except PermissionError as error:
            raise UserError(f"{self.path}: no permission to read this image; give it to your user") from error

    def sha256(self) -> str:
        """Of the bytes, hex; a file is read once unless its size or time changes.

        Raises:
            UserError: as `read`.
        """
        if self.data is not None:
            return _sha256_of_bytes(self.data)
        path = Path(self.path)
        if not path.is_file():
            return hashlib.sha256(self.read()).hexdigest()  # which says that it is missing
        stat = path.stat()
        return _sha256_of_file(self, stat.st_size, stat.st_mtime_ns)


Part = Text | Image


@dataclass(frozen=True)
class Message:
    """What one side says in one turn.

    Texts that stand together are joined and empty ones fall away, so that a turn in which a model reads the same is
    the same turn, whichever format it came from.
    """

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _joined(self.parts))

    @property
    def text(self) -> str:
        """All of its text, joined as it stands."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True)
class Conversation:
    """Turns in order: a system message or none, then user and assistant by turns; only the user shows images.

    Raises:
        ValueError: the turns are in another order, or the images are elsewhere; says which message.
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        fault = _fault(self.messages)
        if fault:
            raise ValueError(fault)

    @property
    def images(self) -> tuple[Image, ...]:
        """All images, in the order in which they are shown."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, Image))

    @property
    def prefix(self) -> tuple[Message, ...]:
        """Everything up to the last image of the first user message: what all questions about a scene share.

        Without an image there, the system message alone.
        """
        shared: list[Message] = []
        for message in self.messages[:2]:
            if message.role == "system":
                shared.append(message)
            elif message.role == "user":
                last = max((i for i, part in enumerate(message.parts) if isinstance(part, Image)), default=-1)
                if last >= 0:
                    shared.append(Message("user", message.parts[: last + 1]))
                break
        return tuple(shared)

    def prefix_key(self) -> str:
        """A hash of the prefix: equal where a model sees the same bytes before the question."""
        digest = hashlib.sha256()
        for message in self.prefix:
            digest.update(f"\0{message.role}".encode())
            for part in message.parts:
                # with its length, so that no text can pass for the parts after it
                said = (
                    f"\1{part.detail}{part.sha256()}" if isinstance(part, Image) else f"\2{len(part.text)} {part.text}"
                )
                digest.update(said.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def then(self, role: Role, *parts: Part | str) -> "Conversation":
        """The conversation with one more message; strings become text parts."""
        made = tuple(Text(part) if isinstance(part, str) else part for part in parts)
        return Conversation((*self.messages, Message(role, made)))

    def rooted(self, folder: Path) -> "Conversation":
        """The same with every image path below `folder`; absolute paths and bytes stay as they are."""
        return Conversation(tuple(replace(m, parts=tuple(_rooted(p, folder) for p in m.parts)) for m in self.messages))


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, Image):
            joined.append(part)
        elif joined and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + part.text)
        elif part.text:
            joined.append(part)
    return tuple(joined)


def _rooted(part: Part, folder: Path) -> Part:
    if isinstance(part, Text) or part.data is not None:
        return part
    return replace(part, path=str(folder / part.path))


def _fault(messages: Sequence[Message]) -> str | None:
    expected: tuple[Role, ...] = ("system", "user")
    for position, message in enumerate(messages):
        if message.role not in expected:
            return f"message {position} is of role {message.role!r}, {' or '.join(expected)} was expected"
        if message.role != "user" and any(isinstance(part, Image) for part in message.parts):
            return f"message {position} is of role {message.role!r} and holds an image; only the user shows images"
        expected = ("assistant",) if message.role == "user" else ("user",)
    return None


@functools.lru_cache(maxsize=4096)
def _sha256_of_file(image: Image, size: int, mtime_ns: int) -> str:
    return hashlib.sha256(image.read()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _sha256_of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
