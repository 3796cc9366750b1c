"""Conversations as OpenAI's chat messages: in requests to any server that speaks them, and in conversation files.

A message is `{"role", "content"}`; content is text, or a list of parts `{"type": "text", "text"}` and
`{"type": "image_url", "image_url": {"url", "detail"}}`; a detail that is not given is "auto" (OpenAI's API reference,
"Create chat completion", 2026). Messages with images are written as parts, all others as plain text, which also those
servers take that know no parts.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Detail, Image, Message, Part, Role, Text

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_DETAILS: tuple[Detail, ...] = get_args(Detail)
_DATA_URL = re.compile(r"data:image/[\w.+-]+((?:;[\w-]+=[^;,]*)*);base64,(.*)", re.DOTALL | re.IGNORECASE)
_URL = re.compile(r"(data|file):|([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def to_openai(conversation: Conversation, *, image_url: Callable[[Image], str] | None = None) -> list[dict[str, Any]]:
    """The conversation as chat messages.

    Args:
        conversation: what to write.
        image_url: from an image to what stands for it; None: `stored_url`, the path of a file as it is written, and a
            data URL for bytes.

    Raises:
        UserError: as `image_url`.
    """
    address = image_url or stored_url

    def part_of(part: Part) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        detail = {} if part.detail == "auto" else {"detail": part.detail}
        return {"type": "image_url", "image_url": {"url": address(part), **detail}}

    def content(message: Message) -> str | list[dict[str, Any]]:
        plain = all(isinstance(part, Text) for part in message.parts)
        return message.text if plain else [part_of(part) for part in message.parts]

    return [{"role": message.role, "content": content(message)} for message in conversation.messages]


def stored_url(image: Image) -> str:
    """The path of an image on disk, as it is written; a data URL with the name in it for bytes.

    Raises:
        UserError: the path would be read as a URL, or the bytes are neither JPEG nor PNG.
    """
    if image.data is not None:
        name = quote(image.path, safe="", errors="surrogatepass")
        return f"data:{media_type(image.data, image.path)};name={name};base64,{base64.b64encode(image.data).decode()}"
    if not image.path or _URL.match(image.path):
        raise UserError(f"image {image.path!r}: is no path of a file; give the image another name")
    return image.path


def media_type(data: bytes, name: str) -> str:
    """ "image/jpeg" or "image/png", by an image's first bytes.

    Raises:
        UserError: it is neither; `name` is for the message.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    raise UserError(f"image {name}: is neither JPEG nor PNG; convert it")


def from_openai(messages: Any, *, where: str = "messages") -> Conversation:
    """The conversation of chat messages.

    Args:
        messages: a list, as JSON has it. Contents may be text or parts; images are paths of files, `file:` URLs, or
            data URLs, which become bytes.
        where: what the messages are called in errors, such as "train.jsonl, line 3: messages".

    Raises:
        UserError: another shape, kind of part, role or order; an image on a web server. The message names the place.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise UserError(f"{where} must be a list, found {_brief(messages)}")
    read = tuple(_message(message, f"{where}[{i}]") for i, message in enumerate(messages))
    try:
        return Conversation(read)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise UserError(f"{where} must be an object, found {_brief(message)}")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise UserError(f"{where}.role must be one of {', '.join(_ROLES)}, found {_brief(role)}")
    for key, value in message.items():
        if key not in ("role", "content") and value:  # what clients add and leave empty, such as tool_calls
            raise UserError(f"{where}.{key} is not known here; messages hold text and images only")
    content = message.get("content")
    if isinstance(content, str):
        return Message(_ROLES[role], (Text(content),))
    if not isinstance(content, Sequence):
        raise UserError(f"{where}.content must be text or a list of parts, found {_brief(content)}")
    return Message(_ROLES[role], tuple(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content)))


def _part(part: Any, where: str) -> Part:
    if not isinstance(part, Mapping):
        raise UserError(f"{where} must be an object, found {_brief(part)}")
    kind = part.get("type")
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise UserError(f"{where}.text must be text, found {_brief(text)}")
        return Text(text)
    if kind != "image_url":
        raise UserError(f"{where}.type must be text or image_url, found {_brief(kind)}")
    image = part.get("image_url")
    if not isinstance(image, Mapping) or not isinstance(image.get("url"), str):
        raise UserError(f'{where}.image_url must be an object with a "url", found {_brief(image)}')
    detail = image.get("detail") or "auto"
    if detail not in _DETAILS:
        raise UserError(f"{where}.image_url.detail must be one of {', '.join(_DETAILS)}, found {_brief(detail)}")
    return _image(image["url"], cast(Detail, detail), f"{where}.image_url.url")


def _image(url: str, detail: Detail, where: str) -> Image:
    found = _URL.match(url)
    if not url:
        raise UserError(f"{where} is empty; it must be the path of an image")
    if found is None:
        return Image(url, detail)
    scheme = (found[1] or found[2]).lower()
    if scheme == "file":
        return Image(url2pathname(urlsplit(url).path), detail)
    if scheme != "data":
        raise UserError(f"{where}: {_brief(url)} is on a server; images are files here: fetch it and give its path")
    parts = _DATA_URL.fullmatch(url)
    try:
        data = base64.b64decode(parts[2], validate=True) if parts else b""
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{where}: the base64 of a data URL does not decode ({error})") from error
    if parts is None or not data:
        raise UserError(f"{where} must be a data URL of an image in base64, found {_brief(url)}")
    given = re.search(r";name=([^;]*)", parts[1], re.IGNORECASE)
    name = unquote(given[1], errors="surrogatepass") if given else f"image.{parts[0][11:].split(';')[0].lower()}"
    return Image(name, detail, data)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
