"""How many input tokens an image takes, by the rules that providers publish: pure functions of its size in pixels.

Where a rule is ambiguous, or was changed without a date, both readings are counted and a range comes out.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from gpt4scene.prompting.conversation import Detail
from gpt4scene.vlm.protocol import TokenRange

Rule = Callable[[int, int, Detail], TokenRange]
"""Width and height in pixels and the detail asked for, to tokens."""


@dataclass(frozen=True)
class Tiles:
    """OpenAI's rule of 512 px tiles: within 2048 px, the short side brought to 768 px, a base and so much per tile.

    Source: developers.openai.com/api/docs/guides/images-vision, "Calculating costs": 1024x1024 is 765 tokens,
    2048x4096 is 1105, low detail is the base alone. The page says "scaled such that the shortest side is 768 px",
    which reads as enlarging smaller images too; bills of 2025 show that they are not (community.openai.com 1262691
    and 1281361: 128x64 takes one tile, 2049x513 eight, 2050x513 four). So the low end reduces only, the high end
    enlarges too.
    """

    base: int
    tile: int

    def __call__(self, width: int, height: int, detail: Detail) -> TokenRange:
        if detail == "low":
            return TokenRange(self.base, self.base)
        reduced = self.base + self.tile * _tiles(width, height, enlarge=False)
        enlarged = self.base + self.tile * _tiles(width, height, enlarge=True)
        low, high = min(reduced, enlarged), max(reduced, enlarged)
        return TokenRange(self.base if detail == "auto" else low, high)


@dataclass(frozen=True)
class Patches:
    """OpenAI's rule of 32 px patches: as many as cover the image, up to a budget, times a factor of the model.

    Source: the same page; its examples: 1800x2400 within 1,536 patches is 1452, and for gpt-6-astra 1024x1024 is
    1229 and 4096x512 is 2458. Budgets were raised in 2026 (from 1,536 to 6,144 for the small models); an image over
    the budget has been billed for the whole of it (community.openai.com 1281361), which is the high end. What low
    detail does is documented for tiles only (openai/openai-python#2851): here from that rule's price to no effect.
    """

    factor: tuple[float, float]
    """Tokens per patch; two values where the documented factor and the billed one differ (1.0 and 1.2)."""
    budget: tuple[int, int]
    """Patches at high detail, before and since the change."""
    auto_budget: tuple[int, int]
    """Likewise at detail "auto", which keeps the original size for the newest models."""

    def __call__(self, width: int, height: int, detail: Detail) -> TokenRange:
        budget = self.auto_budget if detail == "auto" else self.budget
        high = _patches(width, height, budget[1])[1]
        low = _patches(*_fit(width, height, 2048 if budget[0] < _UNREDUCED else max(width, height)), budget[0])[0]
        if detail == "low":
            low = min(85, _patches(*_fit(width, height, 512), self.budget[0])[0])
        return TokenRange(math.ceil(low * self.factor[0]), math.ceil(high * self.factor[1]))


@dataclass(frozen=True)
class Squares:
    """Claude's rule: one token per 28 px square that the image covers after it was brought within two limits.

    Source: platform.claude.com/docs/en/build-with-claude/vision and .../vision-coordinates (read August 2026):
    1000x1000 is 1296 tokens, 1920x1080 is 2691 on the newer models, 3840x2160 is 4784 there and 1560 on the older.
    Pages before 2026 said width * height / 750; the range holds both.
    """

    max_edge: tuple[int, int]
    max_tokens: tuple[int, int]
    """Of the older models and of those since Claude 4.7; equal where the model is known."""

    def __call__(self, width: int, height: int, detail: Detail) -> TokenRange:
        counts = []
        for max_edge, max_tokens in zip(self.max_edge, self.max_tokens, strict=True):
            fitted = _fit_squares(width, height, max_edge, max_tokens)
            counts += [_cover(*fitted, 28), min(max_tokens, math.ceil(fitted[0] * fitted[1] / 750))]
        return TokenRange(max(1, min(counts)), max(counts))


def gemini_tiles(width: int, height: int, detail: Detail) -> TokenRange:
    """Gemini up to 2.5: 258 tokens, or 258 for each of the tiles into which a larger image may be cut.

    Source: ai.google.dev/gemini-api/docs/tokens and .../media-resolution: up to 384 px on both sides 258 tokens;
    beyond, tiles with sides of two thirds of the short side, between 256 and 768 px; 64 at low resolution.
    """
    low = 64 if detail == "low" else 258
    if max(width, height) <= 384:
        return TokenRange(low, 258)
    side = min(768, max(256, int(min(width, height) / 1.5)))
    return TokenRange(low, 258 * math.ceil(width / side) * math.ceil(height / side))


def gemini_budget(width: int, height: int, detail: Detail) -> TokenRange:
    """Gemini 3 and 4: at most 1120 tokens by default, 280 at low resolution, whatever the image's size.

    Source: ai.google.dev/gemini-api/docs/media-resolution (280, 560, 1120, 2240 for low to ultra high; read October
    2026). It does not say which of them the OpenAI-compatible endpoint chooses for "low".
    """
    return TokenRange(280, 1120)


@dataclass(frozen=True)
class Merged:
    """The Qwen family's rule: sides rounded to multiples of a factor, one token per square of it, and two around.

    Source: `smart_resize` of transformers' `image_processing_qwen2_vl`. The limits on the number of pixels are a
    setting of the server; the range is between transformers' default and that of the released checkpoints.
    """

    factor: int
    min_pixels: tuple[int, int]
    max_pixels: tuple[int, int]

    def __call__(self, width: int, height: int, detail: Detail) -> TokenRange:
        counts = [
            _merged(width, height, self.factor, *limits) + 2
            for limits in zip(self.min_pixels, self.max_pixels, strict=True)
        ]
        return TokenRange(min(counts), max(counts))


def internvl(width: int, height: int, detail: Detail) -> TokenRange:
    """InternVL: 256 tokens per tile of 448 px and two around; one tile, or up to twelve and a thumbnail.

    Source: transformers' `processing_internvl`. Servers differ in whether they cut images when there are several.
    """
    return TokenRange(256 + 2, 13 * 256 + 2)


def llava_onevision(width: int, height: int, detail: Detail) -> TokenRange:
    """LLaVA-OneVision: 27x27 tokens, alone or with up to nine times as many for details, and line breaks.

    Source: transformers' `processing_llava_onevision` (`anyres_max_9`); several images in a prompt take the 27x27 only.
    """
    return TokenRange(27 * 27, 10 * 27 * 27 + 3 * 27 + 1)


_UNREDUCED = 30_000
"""A budget in patches above which an image is refused, not reduced."""

_SMALL = {"budget": (1536, 6144), "auto_budget": (1536, 6144)}
_OPENAI: dict[str, Rule] = {
    "gpt-4o-mini": Tiles(2833, 5667),
    "gpt-4o": Tiles(85, 170),
    "chatgpt-4o": Tiles(85, 170),
    "gpt-4-turbo": Tiles(85, 170),
    "gpt-4.5": Tiles(85, 170),
    "gpt-4.1": Tiles(85, 170),
    "gpt-4.1-mini": Patches((1.62, 1.62), **_SMALL),
    "gpt-4.1-nano": Patches((2.46, 2.46), **_SMALL),
    "o1": Tiles(75, 150),
    "o3": Tiles(75, 150),
    "o4-mini": Patches((1.72, 1.72), **_SMALL),
    "gpt-5": Tiles(70, 140),
    "gpt-5-mini": Patches((1.62, 1.62), **_SMALL),
    "gpt-5-nano": Patches((2.46, 2.46), **_SMALL),
    "gpt-5.1": Tiles(70, 140),
    "gpt-5.2": Patches((1.0, 1.2), **_SMALL),
    "gpt-5.3": Patches((1.0, 1.2), **_SMALL),
    "gpt-5.4": Patches((1.0, 1.2), (2500, 2500), (2500, 10_000)),
    "gpt-5.4-mini": Patches((1.62, 1.62), **_SMALL),
    "gpt-5.4-nano": Patches((2.46, 2.46), **_SMALL),
    "gpt-5.5": Patches((1.0, 1.2), (2500, 2500), (2500, 10_000)),
    "gpt-5.6": Patches((1.2, 1.2), (2500, 2500), (_UNREDUCED, _UNREDUCED)),
    "gpt-6": Patches((1.2, 1.2), (2500, 2500), (_UNREDUCED, _UNREDUCED)),
}
_CLAUDE_OLD = Squares((1568, 1568), (1568, 1568))
_CLAUDE_NEW = Squares((2576, 2576), (4784, 4784))
_CLAUDE_ANY = Squares((1568, 2576), (1568, 4784))
_QWEN2 = Merged(28, (56 * 56, 56 * 56), (1280 * 28 * 28, 16384 * 28 * 28))
_QWEN3 = Merged(32, (56 * 56, 256 * 256), (1280 * 28 * 28, 4096 * 4096))
_OPEN: tuple[tuple[str, Rule], ...] = (
    (r"internvl", internvl),  # before the family of which its text model is, which some names give as well
    (r"llava[-_.]?(one[-_.]?vision|ov)", llava_onevision),
    (r"qwen[-_.]?3", _QWEN3),
    (r"qwen[-_.]?2|qvq", _QWEN2),
)


def image_rule(provider: str, model: str, *, own_server: bool) -> Rule:
    """The rule for images of a model by its name.

    Args:
        provider: "openai" or "anthropic".
        model: as the provider or the server names it; a dated name follows the rule of the model.
        own_server: an OpenAI-compatible server other than OpenAI's, which may serve anything.

    Returns:
        The rule; for a name that none knows, one that spans all of the provider's current rules but gpt-4o-mini's,
        whose counts are twenty times those of the others.
    """
    name = model.lower().removeprefix("models/")
    if provider == "anthropic" or "claude" in name:
        return _claude_rule(name)
    if "gemini" in name:
        return gemini_tiles if re.search(r"gemini-(1|2)\b", name) else gemini_budget
    known = [key for key in _OPENAI if re.search(rf"(^|[/:]){re.escape(key)}(?![\w.])", name)]
    if known:
        return _OPENAI[max(known, key=len)]
    if not own_server:
        return _span([rule for key, rule in _OPENAI.items() if key != "gpt-4o-mini"])
    for pattern, rule in _OPEN:
        if re.search(pattern, name):
            return rule
    return _span([rule for _, rule in _OPEN])


def _claude_rule(name: str) -> Rule:
    """Claude 4.7 and later see more; names are "claude-opus-4-7", formerly "claude-3-5-sonnet-20241022"."""
    found = re.search(r"claude-(?:[a-z]+-)?(\d)(?:[-.](\d)(?!\d))?", name)
    if found is None:
        return _CLAUDE_ANY
    return _CLAUDE_NEW if (int(found[1]), int(found[2] or 0)) >= (4, 7) else _CLAUDE_OLD


def _span(rules: list[Rule]) -> Rule:
    def spanned(width: int, height: int, detail: Detail) -> TokenRange:
        ranges = [rule(width, height, detail) for rule in rules]
        return TokenRange(min(r.low for r in ranges), max(r.high for r in ranges))

    return spanned


def _fit(width: int, height: int, limit: int) -> tuple[int, int]:
    scale = min(1.0, limit / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _cover(width: float, height: float, side: int) -> int:
    """How many squares of `side` cover an image; the millionth forgives rounding just above a multiple."""
    return math.ceil(width / side - 1e-6) * math.ceil(height / side - 1e-6)


def _tiles(width: int, height: int, *, enlarge: bool) -> int:
    width, height = _fit(width, height, 2048)
    scale = 768 / min(width, height)
    if scale < 1 or enlarge:
        width, height = round(width * scale), round(height * scale)
    return _cover(width, height, 512)


def _patches(width: int, height: int, budget: int) -> tuple[int, int]:
    """By the documented reduction, and by what is billed."""
    count = _cover(width, height, 32)
    if count <= budget:
        return count, count
    scale = math.sqrt(32 * 32 * budget / (width * height))
    across, down = width * scale / 32, height * scale / 32
    scale *= min(max(1, math.floor(side)) / side for side in (across, down))
    return min(budget, _cover(max(1, width * scale), max(1, height * scale), 32)), budget


def _fit_squares(width: int, height: int, max_edge: int, max_tokens: int) -> tuple[int, int]:
    """The largest size of the same shape whose padded sides and whose squares keep the limits."""

    def at(edge: int) -> tuple[int, int]:
        scale = edge / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def keeps(edge: int) -> bool:
        size = at(edge)
        return max(math.ceil(side / 28) * 28 for side in size) <= max_edge and _cover(*size, 28) <= max_tokens

    low, high = 1, max(width, height)
    if keeps(high):
        return width, height
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return at(low)


def _merged(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> int:
    across, down = (max(1, round(side / factor)) for side in (width, height))
    pixels = across * down * factor * factor
    if pixels > max_pixels:
        scale = math.sqrt(width * height / max_pixels)
        across, down = (max(1, math.floor(side / scale / factor)) for side in (width, height))
    elif pixels < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        across, down = (math.ceil(side * scale / factor) for side in (width, height))
    return across * down
