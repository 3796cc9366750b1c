"""How many input tokens a request takes, told before it is sent and without network."""

import functools
import io
import json
from pathlib import Path
from urllib.parse import urlsplit

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Detail, Image, Text
from gpt4scene.vlm.image_tokens import Rule, image_rule
from gpt4scene.vlm.processor_tokens import counted_tokens
from gpt4scene.vlm.protocol import Request, TokenRange
from gpt4scene.vlm.text_tokens import text_tokens

_OFFICIAL_HOSTS = ("openai.com", "openai.azure.com")
"""Where the tables for OpenAI's models hold as they stand, subdomains too."""

_PER_MESSAGE = TokenRange(3, 8)
"""What marks a turn: 3 at OpenAI (cookbook, "How to count tokens with tiktoken"), 5 in Qwen's templates."""
_PER_REQUEST = TokenRange(3, 24)
"""What opens the answer, and a system message that a template adds where there is none."""
_SCHEMA_EXTRA = 400
"""What a provider may say about a JSON schema besides the schema itself."""


def estimate_tokens(request: Request, *, provider: str, model: str, base_url: str | None = None) -> TokenRange:
    """Input tokens of a request: exact where the rules leave no doubt, else from the least to the most.

    Images follow the rule of the model's name (see `image_tokens`), text the range of `text_tokens`. A model behind an
    OpenAI-compatible server that is named by a folder of this machine is counted by its own processor, exactly as
    `transformers serve` counts. A name that tells nothing spans the open families Qwen-VL, InternVL, LLaVA-OneVision.

    Args:
        request: with images on disk or in memory; only their headers are read, once for each.
        provider: "openai" or "anthropic".
        model: as it is sent.
        base_url: of the server; None: the provider's own.

    Raises:
        UserError: an image is missing, or is none.
    """
    own_server = provider == "openai" and not _is_official(base_url)
    sizes = tuple(image_size(image) for image in request.conversation.images)
    if own_server:
        counted = counted_tokens(request.conversation, sizes, model)
        if counted is not None:
            return TokenRange(counted, counted)
    rule = _rule(provider, model, own_server)
    ranges = [_image(rule, *size, image.detail) for size, image in zip(sizes, request.conversation.images, strict=True)]
    ranges += _texts(request.conversation)
    if request.json_schema is not None:
        schema = text_tokens(json.dumps(request.json_schema, default=dict))
        ranges.append(TokenRange(0, schema.high + _SCHEMA_EXTRA))
    return TokenRange(sum(r.low for r in ranges), sum(r.high for r in ranges))


def image_size(image: Image) -> tuple[int, int]:
    """Width and height in pixels, from the file's header; read again only when the file changes.

    Raises:
        UserError: there is no such file, or it is no image.
    """
    if image.data is not None:
        return _size_of_bytes(image.path, image.data)
    try:
        stat = Path(image.path).stat()
    except OSError:
        return _size_of_bytes(image.path, image.read())  # which says what is wrong with it
    return _size_of_file(image.path, stat.st_size, stat.st_mtime_ns)


def _is_official(base_url: str | None) -> bool:
    if base_url is None:
        return True
    host = urlsplit(base_url).hostname or ""
    return any(host == known or host.endswith(f".{known}") for known in _OFFICIAL_HOSTS)


def _texts(conversation: Conversation) -> list[TokenRange]:
    said = [text_tokens(p.text) for m in conversation.messages for p in m.parts if isinstance(p, Text)]
    turns = len(conversation.messages)
    framing = TokenRange(turns * _PER_MESSAGE.low, turns * _PER_MESSAGE.high)
    return [*said, framing, _PER_REQUEST]


@functools.lru_cache(maxsize=64)
def _rule(provider: str, model: str, own_server: bool) -> Rule:
    return image_rule(provider, model, own_server=own_server)


@functools.lru_cache(maxsize=4096)
def _image(rule: Rule, width: int, height: int, detail: Detail) -> TokenRange:
    return rule(width, height, detail)


@functools.lru_cache(maxsize=4096)
def _size_of_file(path: str, size: int, mtime_ns: int) -> tuple[int, int]:
    return _header_size(path, Path(path))


@functools.lru_cache(maxsize=256)
def _size_of_bytes(name: str, data: bytes) -> tuple[int, int]:
    return _header_size(name, io.BytesIO(data))


def _header_size(name: str, source: Path | io.BytesIO) -> tuple[int, int]:
    from PIL import Image as Pictures

    try:
        with Pictures.open(source) as picture:  # reads the header alone
            return picture.size
    # the last of ultralytics, which patches `open`
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError, ImportError) as error:
        raise UserError(f"{name}: is no image that can be read; give a JPEG or PNG file") from error
