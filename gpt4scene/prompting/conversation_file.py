"""The conversation file: the only contract between data sets and training.

JSONL, one conversation a line:
`{schema: "gpt4scene/conversation@1", id, scene, task, images: [paths], messages, answers, weight, meta}`. `messages`
are OpenAI's, their images paths relative to the file's folder; `images` repeats these paths in order. A text after the
images is the first branch: all before it is the same for all questions about a scene.
"""

import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Part
from gpt4scene.prompting.json_records import (
    as_object,
    json_text,
    line_records,
    opened,
    parsed_json,
    records,
    write_lines,
)
from gpt4scene.prompting.openai_messages import from_openai, to_openai
from gpt4scene.prompting.sharegpt import KEYS, from_sharegpt, to_sharegpt

SCHEMA_NAME = "gpt4scene/conversation"
SCHEMA = f"{SCHEMA_NAME}@1"

_FOREIGN = "sharegpt"
"""The key of `meta` for what a ShareGPT record held besides its conversation."""
_OWN = "sample"
"""The key of a ShareGPT record for the sample's own fields, as JSON text: loaders that give a column one type, as
Hugging Face's do, could not read answers that are now texts and now numbers."""


@dataclass(frozen=True)
class Sample:
    """A conversation with what training and scoring need to know of it.

    Raises:
        ValueError: the id is empty, or the weight is no finite number of 0 or more.
    """

    id: str
    """Unique in its file."""
    conversation: Conversation
    """Image paths are as usual, from the working directory; only in files they are relative to the file."""
    scene: str = ""
    """The name of the scene that it is about."""
    task: str = ""
    """Such as "qa", "situated", "ground", "caption", "chat", or a benchmark's name."""
    answers: tuple[Any, ...] = ()
    """What a scorer compares a model's answer with: texts, object ids, or whatever the task has, as JSON holds it."""
    weight: float = 1.0
    """How much its loss counts."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Anything else, as JSON holds it."""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id must not be empty")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight must be a finite number of 0 or more, got {self.weight}")


def write_samples(path: Path | str, samples: Iterable[Sample]) -> None:
    """Write a conversation file, whole or not at all.

    Raises:
        UserError: an image is in memory only; two samples have one id; something is not JSON; the disk is full.
    """
    lines = sample_lines(_unique(samples, path), Path(path).parent)
    write_lines(Path(path), (f"{line}\n" for line in lines))


def sample_lines(samples: Iterable[Sample], folder: Path) -> Iterator[str]:
    """The lines of a conversation file in `folder`, each without its end.

    Raises:
        UserError: an image is in memory only; something is not JSON.
    """
    place = _Placed(folder)
    return (_line(sample, _record(sample, place)) for sample in samples)


def read_samples(path: Path | str, *, root: Path | None = None) -> list[Sample]:
    """The conversations of a file; equal images are one object, since millions of parts show thousands of images.

    Args:
        path: of a conversation file.
        root: the folder that all images must lie in; None: they may lie anywhere.

    Raises:
        UserError: no such file; a line is not JSON, not of this schema, or has a key missing or of the wrong kind; an
            image lies outside of `root`. The message names file, line and key.
    """
    path = Path(path)
    place = _Placed(path.parent, root)
    with opened(path) as stream:
        samples = [_sample(record, where, place) for record, where in line_records(stream, path)]
    return list(_unique(samples, path))


def read_sample(line: bytes, where: str, folder: Path) -> Sample:
    """The conversation of one line of a conversation file.

    Args:
        line: as the file has it.
        where: it is from, for errors.
        folder: that its image paths are relative to; they must lie below it.

    Raises:
        UserError: as `read_samples`.
    """
    return _sample(as_object(parsed_json(line, where), where), where, _Placed(folder, folder))


def write_sharegpt(path: Path | str, samples: Iterable[Sample]) -> None:
    """Write samples as a JSON list of ShareGPT records, which `read_conversations` reads without loss.

    Raises:
        UserError: as `write_samples`.
    """
    records = sharegpt_lines(_unique(samples, path), Path(path).parent)
    starts = itertools.chain(["[\n"], itertools.repeat(",\n"))
    lines = (start + record for start, record in zip(starts, records, strict=False))
    first = next(lines, "[")
    write_lines(Path(path), itertools.chain([first], lines, ["\n]\n"]))


def sharegpt_lines(samples: Iterable[Sample], folder: Path) -> Iterator[str]:
    """The records of a ShareGPT file in `folder`, each on a line without its end.

    Raises:
        UserError: an image is in memory only; something is not JSON.
    """
    place = _Placed(folder)
    return (_line(sample, _sharegpt_record(sample, place)) for sample in samples)


def read_conversations(path: Path | str, *, root: Path | None = None) -> list[Sample]:
    """The conversations of a file in any of the formats that training takes, recognised by looking at each record.

    These are conversation files, JSONL of OpenAI messages, and ShareGPT as a JSON list or as JSONL. What a ShareGPT
    record of others holds besides its conversation is in `meta["sharegpt"]`, and of OpenAI messages in `meta`; their
    ids are made of the file's name and their place in it.

    Args:
        path: of the file.
        root: the folder that all images must lie in; None: they may lie anywhere.

    Raises:
        UserError: no such file, another format, or a record with a fault; the message names file, line and key.
    """
    path = Path(path)
    place = _Placed(path.parent, root)
    with opened(path) as stream:
        samples = [
            _any_sample(record, where, place, f"{path.stem}-{number:06d}")
            for number, (record, where) in enumerate(records(stream, path), 1)
        ]
    if not samples:
        raise UserError(f"{path}: holds no conversations; it must be JSONL or a JSON list")
    return list(_unique(samples, path))


def _any_sample(record: Mapping[str, Any], where: str, place: "_Placed", fallback_id: str) -> Sample:
    if str(record.get("schema", "")).startswith(f"{SCHEMA_NAME}@"):
        return _sample(record, where, place)
    messages = record.get("messages")
    if "conversations" in record or ("images" in record and not _has_parts(messages)):
        return _sharegpt_sample(record, where, place, fallback_id)
    if messages is None:
        raise UserError(f'{where}: is no conversation: it has neither "messages" nor "conversations"')
    conversation = place.rooted(from_openai(messages, where=f"{where}: messages"), where)
    return Sample(fallback_id, conversation, meta={key: value for key, value in record.items() if key != "messages"})


def _has_parts(messages: Any) -> bool:
    """Whether any of OpenAI's messages holds parts; images are then there, and not beside them."""
    turns = messages if isinstance(messages, list) else []
    return any(isinstance(turn, dict) and isinstance(turn.get("content"), list) for turn in turns)


class _Placed:
    """Images of a file, with paths from the working directory or from the file's folder, each made once."""

    def __init__(self, folder: Path, root: Path | None = None):
        self._folder = folder
        self._root = None if root is None else _plain(root)
        self._rooted: dict[Image, Image] = {}
        self._relative: dict[Image, Image] = {}

    def rooted(self, conversation: Conversation, where: str) -> Conversation:
        """From the file's folder to the working directory.

        Raises:
            UserError: a path leads out of the root.
        """

        def path_of(image: Image) -> str:
            path = self._folder / image.path
            # by what is written: a folder of images may well be a link to another disk
            if self._root is not None and not _plain(path).is_relative_to(self._root):
                raise UserError(f"{where}: image {image.path} lies outside of {self._root}; images must be below it")
            return os.path.normpath(path)

        return _with_images(conversation, self._rooted, path_of)

    def relative(self, conversation: Conversation) -> Conversation:
        """From the working directory to the file's folder, with slashes."""
        return _with_images(
            conversation, self._relative, lambda image: Path(os.path.relpath(image.path, self._folder)).as_posix()
        )


def _plain(path: Path) -> Path:
    """From the root of the disk, without the ".." in it."""
    return Path(os.path.normpath(path.absolute()))


def _with_images(conversation: Conversation, made: dict[Image, Image], path_of: Callable[[Image], str]) -> Conversation:
    """The conversation with other paths of its files; those that were `made` before are taken from there."""

    def placed(part: Part) -> Part:
        if not isinstance(part, Image) or part.data is not None:
            return part
        if part not in made:
            made[part] = replace(part, path=path_of(part))
        return made[part]

    return Conversation(tuple(Message(m.role, tuple(placed(part) for part in m.parts)) for m in conversation.messages))


def _record(sample: Sample, place: _Placed) -> dict[str, Any]:
    conversation = place.relative(sample.conversation)
    fields = _fields(sample)
    return {
        "schema": SCHEMA,
        **{key: fields[key] for key in ("id", "scene", "task")},
        "images": [image.path for image in conversation.images],
        "messages": to_openai(conversation),
        **{key: fields[key] for key in ("answers", "weight", "meta")},
    }


def _fields(sample: Sample) -> dict[str, Any]:
    """All of a sample but its conversation, whose images must be files."""
    for image in sample.conversation.images:
        if image.data is not None:
            raise UserError(f"conversation {sample.id}: image {image.path} is in memory only; write it to a file first")
    return {
        "id": sample.id,
        "scene": sample.scene,
        "task": sample.task,
        "answers": list(sample.answers),
        "weight": sample.weight,
        "meta": dict(sample.meta),
    }


def _sample(record: Mapping[str, Any], where: str, place: _Placed) -> Sample:
    schema = record.get("schema")
    if schema != SCHEMA:
        raise UserError(f"{where}: schema is {schema!r}, this version reads {SCHEMA!r}; build the file again")
    missing = [key for key in ("id", "images", "messages") if key not in record]
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing")
    conversation = from_openai(record["messages"], where=f"{where}: messages")
    if record["images"] != [image.path for image in conversation.images]:
        raise UserError(f"{where}: images must list the images of messages, in order")
    return _with_fields(record, where, place.rooted(conversation, where))


def _with_fields(fields: Mapping[str, Any], where: str, conversation: Conversation) -> Sample:
    """The sample with a conversation and the plain fields of a record."""

    def value(key: str, kind: type | tuple[type, ...], must: str, default: Any) -> Any:
        given = fields.get(key, default)
        if not isinstance(given, kind) or isinstance(given, bool):
            raise UserError(f"{where}: {key} must be {must}, found {json_text(given)[:60]}")
        return given

    try:
        return Sample(
            id=value("id", str, "text", None),
            conversation=conversation,
            scene=value("scene", str, "text", ""),
            task=value("task", str, "text", ""),
            answers=tuple(value("answers", list, "a list", [])),
            weight=float(value("weight", (int, float), "a number", 1.0)),
            meta=value("meta", dict, "an object", {}),
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _sharegpt_record(sample: Sample, place: _Placed) -> dict[str, Any]:
    fields = _fields(sample)
    foreign = fields["meta"].pop(_FOREIGN, {})
    return {**foreign, **to_sharegpt(place.relative(sample.conversation)), _OWN: _line(sample, fields)}


def _sharegpt_sample(record: Mapping[str, Any], where: str, place: _Placed, fallback: str) -> Sample:
    conversation = place.rooted(from_sharegpt(record, where=where), where)
    foreign = {key: value for key, value in record.items() if key not in (*KEYS, _OWN)}
    kept = {_FOREIGN: foreign} if foreign else {}
    if _OWN not in record:
        return Sample(fallback, conversation, meta=kept)
    try:
        fields = json.loads(record[_OWN])
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: {_OWN} must be JSON as text ({error})") from error
    if not isinstance(fields, dict):
        raise UserError(f"{where}: {_OWN} must be the JSON text of an object")
    sample = _with_fields(fields, f"{where}: {_OWN}", conversation)
    return replace(sample, meta={**sample.meta, **kept})


def _unique(samples: Iterable[Sample], path: Path | str) -> Iterator[Sample]:
    """The samples; what has the id of an earlier one would be taken for done already when a run goes on."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise UserError(f"{path}: two conversations have the id {sample.id!r}; ids must be unique in a file")
        seen.add(sample.id)
        yield sample


def _line(sample: Sample, value: Mapping[str, Any]) -> str:
    try:
        return json_text(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"conversation {sample.id}: answers and meta must be JSON ({error})") from error
