"""A conversation as a local model reads it: token ids, and the images as its processor makes them."""

import hashlib
import io
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bev.errors import UserError, require
from gpt4scene.prompting.conversation import Conversation, Image
from gpt4scene.vlm.families import Family

logger = logging.getLogger(__name__)

_KEPT_SIZES = 1024
"""Of how many sets of images it is remembered how many tokens they take: some kilobytes each."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images as the vision tower takes them."""

    values: Any
    """`pixel_values`."""
    grid: Any
    """The processor's output that `Family.grid` names; None where that is None."""


@dataclass(frozen=True)
class Prompt:
    """A conversation up to where the model's answer begins."""

    ids: tuple[int, ...]
    prefix_length: int
    """How many of `ids` go up to the last token of the last image; 0 without images."""
    images: tuple[Image, ...]

    @property
    def prefix(self) -> tuple[int, ...]:
        """Token ids up to the last image."""
        return self.ids[: self.prefix_length]

    @property
    def rest(self) -> tuple[int, ...]:
        """Token ids after the last image; never empty, since the turn of the model begins there."""
        return self.ids[self.prefix_length :]

    def prefix_key(self) -> str:
        """Equal where the model reads the same before and in the images."""
        said = (self.prefix, tuple(image.sha256() for image in self.images))
        return hashlib.sha256(repr(said).encode()).hexdigest()


class Prompts:
    """Turns conversations into prompts, with the processor of a model.

    What a person wrote is never read as a control token: `<|im_end|>` in a question is seven characters of text.
    Images are made into pixels once for all questions in a row that show the same.
    """

    def __init__(self, processor: Any, family: Family) -> None:
        self._processor = processor
        self._family = family
        self._image_id: int = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        self._tokens_of: OrderedDict[tuple[str, ...], tuple[tuple[int, ...], ...]] = OrderedDict()
        self._last: tuple[tuple[str, ...], Pixels] | None = None

    @property
    def tokenizer(self) -> Any:
        """Of the model."""
        return self._processor.tokenizer

    def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation as token ids.

        Raises:
            UserError: an image is missing or is none, or the model's chat template refuses the conversation.
        """
        images = conversation.images
        ids = self._with_placeholders(conversation)
        if ids.count(self._image_id) != len(images):
            raise UserError(
                f"the model's chat template shows {ids.count(self._image_id)} of {len(images)} images: "
                "its chat_template.jinja is for text alone; take the one that was published with the model"
            )
        tokens = iter(self._image_tokens(images))
        expanded: list[int] = []
        prefix_length = 0
        for token in ids:
            if token != self._image_id:
                expanded.append(token)
                continue
            expanded += next(tokens)
            prefix_length = len(expanded)
        return Prompt(tuple(expanded), prefix_length, images)

    def pixels(self, images: Sequence[Image]) -> Pixels | None:
        """The images, one or more, as the vision tower takes them; None without images."""
        if not images:
            return None
        key = tuple(image.sha256() for image in images)
        if self._last is None or self._last[0] != key:
            self._process(key, images)
        assert self._last is not None
        return self._last[1]

    def is_image(self, ids: Any) -> Any:
        """Which of the token ids, a tensor, stand for a piece of an image."""
        return ids == self._image_id

    def _with_placeholders(self, conversation: Conversation) -> list[int]:
        """Token ids with one placeholder for each image."""
        turns = [
            {
                "role": message.role,
                "content": [
                    {"type": "image"} if isinstance(part, Image) else {"type": "text", "text": _whole(part.text)}
                    for part in message.parts
                ],
            }
            for message in conversation.messages
        ]
        try:
            return self._processor.tokenizer.apply_chat_template(
                turns,
                chat_template=self._processor.chat_template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=True,
            )
        except require("jinja2", "local").TemplateError as error:
            raise UserError(f"the model's chat template refuses the conversation: {error}") from error

    def _image_tokens(self, images: Sequence[Image]) -> tuple[tuple[int, ...], ...]:
        """The tokens that stand for each image."""
        if not images:
            return ()
        key = tuple(image.sha256() for image in images)
        if key not in self._tokens_of:
            self._process(key, images)
        self._tokens_of.move_to_end(key)
        return self._tokens_of[key]

    def _process(self, key: tuple[str, ...], images: Sequence[Image]) -> None:
        pictures = [_decoded(image) for image in images]
        options = dict(self._family.image_options)
        if self._family.grid == "image_grid_thw":
            options["size"] = _bounds(self._processor.image_processor.size, [p.width * p.height for p in pictures])
        # a list in a list is several images of one conversation, where a family makes a difference
        shown = [pictures] if self._family.grid == "image_sizes" else pictures
        try:
            made = self._processor.image_processor(shown, return_tensors="pt", **options)
        except ValueError as error:
            raise UserError(f"{images[0].path} and {len(images) - 1} others: {' '.join(str(error).split())}") from error
        encode = self._processor.tokenizer.encode
        self._tokens_of[key] = tuple(
            tuple(encode(self._processor.replace_image_token(made, image_idx=index), add_special_tokens=False))
            for index in range(len(images))
        )
        while len(self._tokens_of) > _KEPT_SIZES:
            self._tokens_of.popitem(last=False)
        self._last = key, Pixels(made["pixel_values"], made[self._family.grid] if self._family.grid else None)


def _whole(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no tokenizer takes."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    if whole != text:
        logger.warning("%r: halves of characters are read as '?'", whole)
    return whole


def _decoded(image: Image) -> Any:
    pil = require("PIL.Image")
    turned = require("PIL.ImageOps").exif_transpose
    try:
        with pil.open(io.BytesIO(image.read())) as opened:
            return turned(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, ImportError) as error:  # the last of ultralytics, which patches `open`
        raise UserError(f"{image.path}: is no image that can be read ({error}); write it anew") from error


def _bounds(size: Any, areas: Sequence[int]) -> dict[str, int]:
    """Limits, in pixels, of the processor, moved so far that no image is resampled to keep to them."""
    return {
        "shortest_edge": min(size["shortest_edge"], *areas),
        "longest_edge": max(size["longest_edge"], *areas),
    }
