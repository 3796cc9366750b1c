"""Questions with images for tests of hosted models."""

import io

import numpy as np
from PIL import Image as Pillow

from gpt4scene.prompting.conversation import Conversation, Detail, Image, Message, Text
from gpt4scene.vlm.protocol import Request


def picture(seed: int, *, width: int = 160, height: int = 120, kind: str = "JPEG", quality: int = 95) -> bytes:
    """A picture that hardly compresses; another one for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    made = io.BytesIO()
    Pillow.fromarray(coarse).resize((width, height)).save(
        made, kind, **({"quality": quality} if kind == "JPEG" else {})
    )
    return made.getvalue()


def shown(
    count: int, *, first_seed: int = 0, details: tuple[Detail, ...] = ("low",), kind: str = "JPEG"
) -> list[Image]:
    """So many pictures; the details take turns."""
    return [Image(f"{i:06d}.jpg", details[i % len(details)], picture(first_seed + i, kind=kind)) for i in range(count)]


def question(text: str = "Where is the lamp?", images: list[Image] | None = None, **more: object) -> Request:
    """A system message, the images, then the text."""
    images = shown(3) if images is None else images
    asked = Message("user", (*images, Text(text)))
    return Request(Conversation((Message("system", (Text("You see a room."),)), asked)), **more)  # pyright: ignore[reportArgumentType]
