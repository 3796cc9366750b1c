"""Input tokens counted exactly, as a server counts them that serves a model from a folder on this machine."""

import functools
import importlib.util
import logging
from pathlib import Path
from typing import Any

from gpt4scene.prompting.conversation import Conversation, Text

_log = logging.getLogger(__name__)

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def counted_tokens(conversation: Conversation, sizes: tuple[tuple[int, int], ...], model: str) -> int | None:
    """Tokens of a conversation for the model in a folder: its chat template, its tokenizer, its image processor.

    That is what `transformers serve FOLDER` reports as `usage.prompt_tokens`; a server that was started with other
    limits on the size of images counts otherwise. No weights are read. The first call loads transformers, seconds.

    Args:
        conversation: ends with the user's turn.
        sizes: width and height of each of its images, pixels.
        model: a folder, as the server names the model.

    Returns:
        None where `model` is no folder with a processor, or transformers is not installed or cannot load it.
    """
    folder = Path(model).expanduser()
    if not any((folder / name).is_file() for name in _PROCESSOR_FILES):
        return None
    if importlib.util.find_spec("transformers") is None:
        return None
    processor = _processor(str(folder.absolute()))
    if processor is None:
        return None
    return _text_tokens(processor, _templated(conversation)) + _expansion(processor, sizes)


@functools.lru_cache(maxsize=4)
def _processor(folder: str) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        said = str(error).strip().splitlines()
        _log.warning("%s: its processor cannot be loaded (%s); tokens are estimated", folder, said[0] if said else "")
        return None


def _templated(conversation: Conversation) -> list[dict[str, Any]]:
    """Turns as `transformers serve` gives them to the chat template."""
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"}
                for part in message.parts
            ],
        }
        for message in conversation.messages
    ]


def _text_tokens(processor: Any, turns: list[dict[str, Any]]) -> int:
    """Tokens of the templated text, each image a placeholder."""
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    # as processors do: a template that writes the first token itself must not get it twice
    first = processor.tokenizer.bos_token
    return len(processor.tokenizer(text, add_special_tokens=first is None or not text.startswith(first))["input_ids"])


@functools.lru_cache(maxsize=256)
def _expansion(processor: Any, sizes: tuple[tuple[int, int], ...]) -> int:
    """How many tokens images take beyond their placeholders: found by processing blank images of the same sizes."""
    if not sizes:
        return 0
    from PIL import Image

    images = [{"type": "image", "image": Image.new("RGB", size)} for size in sizes]
    processed = processor.apply_chat_template(
        [{"role": "user", "content": images}], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    placeholders: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "image"} for _ in sizes]}]
    return len(processed["input_ids"][0]) - _text_tokens(processor, placeholders)
