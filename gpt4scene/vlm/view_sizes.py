"""At which size models take images without resampling them, by the model's name.

The sides are those of a frame of 4:3 that costs a few hundred tokens at most: 33 of them make a request. What the
patches are, and from where a larger image is cut or scaled down, is said per family beside `_SIZES`.
"""

import re

from gpt4scene.vlm.protocol import ViewSize

# patches of 14 px, merged by two (transformers' configuration_qwen2_vl)
QWEN2 = ViewSize(504, 504, 28)
# patches of 16 px, merged by two (transformers' configuration_qwen3_vl)
QWEN3 = ViewSize(512, 512, 32)
# a single tile; a frame is stretched to it before its marks are drawn, not after (transformers' processing_internvl)
INTERNVL = ViewSize(448, 448, 448)
# several images are padded to a square each, then brought to 384x384 (transformers' processing_llava_onevision)
LLAVA_ONEVISION = ViewSize(384, 384, 1)

_SIZES: tuple[tuple[str, ViewSize], ...] = (
    (r"internvl", INTERNVL),  # before the family of its text model
    (r"llava[-_.]?(one[-_.]?vision|ov)", LLAVA_ONEVISION),
    (r"qwen[-_.]?3", QWEN3),
    (r"qwen[-_.]?2|qvq", QWEN2),
    # squares of 28 px (platform.claude.com/docs/en/build-with-claude/vision)
    (r"claude", ViewSize(560, 420, 28, longest_px=1568)),
    # tiles of 768 px up to 2.5, a fixed number of tokens since (ai.google.dev/gemini-api/docs/tokens)
    (r"gemini", ViewSize(768, 576, 1)),
    # patches of 32 px; the others of OpenAI take tiles of 512 px, of which an image within 512x512 is one
    # (developers.openai.com/api/docs/guides/images-vision)
    (r"(gpt-4\.1|gpt-5)-(mini|nano)|o4-mini|gpt-5\.[2-9]|gpt-[6-9]", ViewSize(512, 384, 32, longest_px=2048)),
)
_OTHERS = ViewSize(512, 512, 1, longest_px=2048)


def view_size_of(model: str) -> ViewSize:
    """The size of views for a model that goes by this name; 512x512 px of any sides for one that is not known."""
    name = model.lower()
    return next((size for pattern, size in _SIZES if re.search(pattern, name)), _OTHERS)
