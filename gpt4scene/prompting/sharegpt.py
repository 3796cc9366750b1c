"""Conversations as ShareGPT records, the format of GPT4Scene's released data, which LLaMA-Factory trains on.

A record is `{"conversations": [{"from", "value"}], "images": [paths]}`: turns are from system, human and gpt; `<image>`
in a value is where the next image is shown. LLaMA-Factory (src/llamafactory/data/converter.py and mm_plugin.py at
02e2fb3) takes the system message as the first turn, as it is written here, or from a key "system"; it counts `<image>`,
`<video>` and `<audio>` in every turn and refuses a record whose files are not as many.

So text of a person or a model that reads like a placeholder is written with a backslash, `<\\image>`, and one that has
backslashes already with one more; reading takes it off. Details other than "auto" stand in "details", one for each
image, which LLaMA-Factory ignores. A conversation that is written and read again is equal to itself.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Detail, Image, Message, Part, Role, Text

KEYS = ("conversations", "messages", "system", "images", "details")
"""What `from_sharegpt` reads of a record; a file keeps all else of it."""

_FROM: dict[Role, str] = {"system": "system", "user": "human", "assistant": "gpt"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_PLACEHOLDER = re.compile(r"<(\\*)(image|video|audio)>")
_DETAILS: tuple[Detail, ...] = get_args(Detail)


def to_sharegpt(conversation: Conversation) -> dict[str, Any]:
    """The conversation as a record.

    Raises:
        UserError: an image is in memory only; ShareGPT names files.
    """
    images = conversation.images
    for image in images:
        if image.data is not None:
            raise UserError(f"image {image.path}: is in memory only, and ShareGPT names files; write it to one first")
    turns = [{"from": _FROM[message.role], "value": _value(message)} for message in conversation.messages]
    details = [image.detail for image in images]
    record: dict[str, Any] = {"conversations": turns, "images": [image.path for image in images]}
    return record | ({"details": details} if any(detail != "auto" for detail in details) else {})


def from_sharegpt(record: Mapping[str, Any], *, where: str = "record") -> Conversation:
    """The conversation of a record.

    Args:
        record: as JSON has it. Its turns are under "conversations", from and value, or under "messages", role and
            content, as LLaMA-Factory's own examples with images have them.
        where: what the record is called in errors, such as "train.json, record 3".

    Raises:
        UserError: another shape, role or order, or not as many images as placeholders; the message names the place.
    """
    for kind in ("videos", "audios"):
        if record.get(kind):
            raise UserError(f"{where}: {kind} are not known here; conversations show images only")
    images = iter(_images(record, where))
    messages: list[Message] = []
    system = record.get("system")
    if system:
        messages.append(Message("system", (Text(_text(system, f"{where}: system")),)))
    name, role_key, value_key = ("conversations", "from", "value")
    if "conversations" not in record:
        name, role_key, value_key = ("messages", "role", "content")
    turns = record.get(name)
    if not isinstance(turns, list):
        raise UserError(f"{where}: conversations must be a list of turns")
    for position, turn in enumerate(turns):
        place = f"{where}: {name}[{position}]"
        tag = turn.get(role_key) if isinstance(turn, Mapping) else None
        if not isinstance(tag, str) or tag not in _ROLES:
            raise UserError(f"{place}.{role_key} must be one of {', '.join(_ROLES)}")
        role, value = _ROLES[tag], _text(turn.get(value_key), f"{place}.{value_key}")
        # LLaMA-Factory looks for placeholders in the turns after the system message only
        parts = (Text(value),) if role == "system" else _parts(value, images, f"{place}.{value_key}")
        messages.append(Message(role, parts))
    left = len(list(images))
    if left:
        raise UserError(f"{where}: images holds {left} more than there are <image> in its turns")
    try:
        return Conversation(tuple(messages))
    except ValueError as error:
        raise UserError(f"{where}: {name}: {error}") from error


def _value(message: Message) -> str:
    if message.role == "system":
        return message.text
    return "".join("<image>" if isinstance(part, Image) else _escaped(part.text) for part in message.parts)


def _escaped(text: str) -> str:
    return _PLACEHOLDER.sub(r"<\\\1\2>", text)


def _unescaped(text: str) -> str:
    return re.sub(r"<\\(\\*)(image|video|audio)>", r"<\1\2>", text)


def _parts(value: str, images: Iterator[Image], where: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    start = 0
    for found in _PLACEHOLDER.finditer(value):
        if found[1]:
            continue
        if found[2] != "image":
            raise UserError(f"{where}: shows a {found[2]}; conversations show images only")
        image = next(images, None)
        if image is None:
            raise UserError(f"{where}: has an <image> for which images holds no path")
        parts += [Text(_unescaped(value[start : found.start()])), image]
        start = found.end()
    return (*parts, Text(_unescaped(value[start:])))


def _images(record: Mapping[str, Any], where: str) -> list[Image]:
    paths = record.get("images") or []
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise UserError(f"{where}: images must be a list of paths")
    details = record.get("details") or ["auto"] * len(paths)
    fits = isinstance(details, list) and len(details) == len(paths) and all(each in _DETAILS for each in details)
    if not fits:
        raise UserError(f"{where}: details must hold one of {', '.join(_DETAILS)} for each of {len(paths)} images")
    return [Image(path, cast(Detail, detail)) for path, detail in zip(paths, details, strict=True)]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} must be text, found {type(value).__name__}")
    return value
