"""Images as hosted models take them: base64, encoded once for all questions about a scene, within a server's limits."""

import base64
import functools
import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bev.errors import UserError
from gpt4scene.prompting.conversation import Image
from gpt4scene.prompting.openai_messages import media_type

_log = logging.getLogger(__name__)

QUALITIES = (None, 95, 85, 75, 60, 50)
"""Of JPEG, from the best: None leaves every image as it is. Below 50 the digits of the marks blur."""
_TEXT_BYTES = 256 * 1024
"""Kept free in every request for its text, so that the quality depends on the images alone and a scene's questions
share their prefix to the byte."""
_WORTHWHILE = 0.9
"""How much smaller images must become to be sent again to a server that refused them."""
_KEPT_BYTES = 128 * 1024 * 1024
_KEPT_CHOICES = 4096

_Key = tuple[str, int, int] | bytes


@dataclass(frozen=True)
class ImageLimits:
    """What a server takes in one request; None where it states no limit."""

    images: int | None = None
    """How many."""
    image_bytes: int | None = None
    """Of one image, in base64."""
    request_bytes: int | None = None
    """Of the whole request, the images in base64."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is sent."""

    media_type: str
    """image/jpeg or image/png."""
    data: str = field(repr=False)
    """Base64, without line breaks."""

    @functools.cached_property
    def url(self) -> str:
        """As a data URL (RFC 2397)."""
        return f"data:{self.media_type};base64,{self.data}"


class ImageEncoder:
    """Encodes the images of requests to one server; may be used from many threads at once.

    An image is read and encoded once; a file is read again if its size or time changes. If the images of a request
    exceed the server's limits, their JPEG quality comes down, PNGs become JPEG, all by the same step: the choice
    depends on the images alone, is made once for all requests that show the same images, and is logged once.
    """

    def __init__(self, limits: ImageLimits, server: str, *, kept_bytes: int = _KEPT_BYTES) -> None:
        """
        Args:
            limits: of the server.
            server: what to call it in messages.
            kept_bytes: how much is kept of what was encoded; the least recently used goes first.
        """
        self._limits = limits
        self._server = server
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[_Key, int | None], EncodedImage] = OrderedDict()
        self._kept_size = 0
        self._steps: OrderedDict[tuple[_Key, ...], int] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, images: Sequence[Image]) -> tuple[EncodedImage, ...]:
        """The images of one request, in order.

        Raises:
            UserError: there are too many, they are too large even at the lowest quality, one is missing, or one is
                neither JPEG nor PNG.
        """
        if self._limits.images is not None and len(images) > self._limits.images:
            raise UserError(
                f"{self._server} takes at most {self._limits.images} images in a request, this one has {len(images)}: "
                "show fewer frames (--preset)"
            )
        keys = tuple(_key(image) for image in images)
        with self._lock:
            first = step = self._steps.get(keys, 0)
            encoded = self._at(images, keys, step)
            while excess := self._excess(encoded):
                step += 1
                if step == len(QUALITIES):
                    raise UserError(
                        f"{self._server} takes {excess}, and these images do not fit even as JPEG of quality "
                        f"{QUALITIES[-1]}: show fewer frames (--preset)"
                    )
                encoded = self._at(images, keys, step)
            if step != first:
                self._choose(keys, step, f"it takes {self._excess(self._at(images, keys, first))}")
            return encoded

    def quality(self, images: Sequence[Image]) -> int | None:
        """Which of `QUALITIES` the images are sent at, as far as known; None: as they are."""
        with self._lock:
            return QUALITIES[self._steps.get(tuple(_key(image) for image in images), 0)]

    def lower(self, images: Sequence[Image], than: int | None) -> bool:
        """Send the images at a lower quality from now on, for the server found them too large.

        Args:
            images: of one request.
            than: the quality at which they were refused; nothing changes if another thread has lowered it since.

        Returns:
            Whether there is a lower quality that makes them smaller.
        """
        keys = tuple(_key(image) for image in images)
        with self._lock:
            step = refused = QUALITIES.index(than)
            if self._steps.get(keys, 0) > refused:
                return True
            before = sum(len(image.data) for image in self._at(images, keys, refused))
            while step + 1 < len(QUALITIES):
                step += 1
                if sum(len(image.data) for image in self._at(images, keys, step)) < _WORTHWHILE * before:
                    self._choose(keys, step, "it refused the larger request")
                    return True
        return False

    def _choose(self, keys: tuple[_Key, ...], step: int, why: str) -> None:
        self._steps[keys] = step
        if len(self._steps) > _KEPT_CHOICES:
            self._steps.popitem(last=False)
        _log.warning("%d images go to %s as JPEG of quality %s: %s", len(keys), self._server, QUALITIES[step], why)

    def _excess(self, encoded: Sequence[EncodedImage]) -> str | None:
        """The limit that the images exceed, in words."""
        sizes = [len(image.data) for image in encoded]
        whole, single = self._limits.request_bytes, self._limits.image_bytes
        if whole is not None and sum(sizes) > whole - _TEXT_BYTES:
            return f"at most {whole / 1e6:.1f} MB in a request"
        if single is not None and max(sizes, default=0) > single:
            return f"at most {single / 1e6:.1f} MB in an image"
        return None

    def _at(self, images: Sequence[Image], keys: Sequence[_Key], step: int) -> tuple[EncodedImage, ...]:
        return tuple(self._one(image, key, QUALITIES[step]) for image, key in zip(images, keys, strict=True))

    def _one(self, image: Image, key: _Key, quality: int | None) -> EncodedImage:
        kept = self._kept.get((key, quality))
        if kept is not None:
            self._kept.move_to_end((key, quality))
            return kept
        made = _encode(image, quality)
        self._kept[(key, quality)] = made
        self._kept_size += len(made.data)
        while self._kept_size > self._kept_bytes and len(self._kept) > 1:
            self._kept_size -= len(self._kept.popitem(last=False)[1].data)
        return made


def _key(image: Image) -> _Key:
    """What an image's bytes depend on; of a file that is missing, its name, and reading it then says so."""
    if image.data is not None:
        return image.data
    try:
        stat = Path(image.path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return image.path, -1, -1
    return image.path, stat.st_size, stat.st_mtime_ns


def _encode(image: Image, quality: int | None) -> EncodedImage:
    data = image.read()
    kind = media_type(data, image.path)
    if quality is not None:
        smaller = _as_jpeg(data, quality, image.path)
        if kind != "image/jpeg" or len(smaller) < len(data):
            data, kind = smaller, "image/jpeg"
    return EncodedImage(kind, base64.b64encode(data).decode("ascii"))


def _as_jpeg(data: bytes, quality: int, path: str) -> bytes:
    from PIL import Image as Pillow

    made = io.BytesIO()
    try:
        with Pillow.open(io.BytesIO(data)) as opened:
            # whole colours cost a digit less than a finer quality with halved ones
            opened.convert("RGB").save(made, "JPEG", quality=quality, subsampling=0)
    except (OSError, SyntaxError, ValueError, ImportError) as error:
        raise UserError(f"{path}: this image cannot be decoded ({error}); write it anew") from error
    return made.getvalue()
