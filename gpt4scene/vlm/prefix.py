"""The key-value cache of what a scene's questions share, computed once and then only read.

`generate(past_key_values=...)` of transformers is not used for this: it appends to the cache it is given, and takes
the m-RoPE positions that its last call left in the model, so that a second scene is answered about the first. Here
positions are always given, and each row of questions gets a cache of its own whose first part is shared.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bev.errors import require
from gpt4scene.vlm.encode import encode_images
from gpt4scene.vlm.families import Family, core_of
from gpt4scene.vlm.local_prompts import Pixels


@dataclass(frozen=True, eq=False)
class Prefix:
    """What the language model knows after reading the images."""

    length: int
    """Tokens."""
    layers: tuple[tuple[Any, Any], ...]
    """Keys and values of each layer, (1, heads, length, width) each."""
    next_position: int
    """Where the text goes on; with m-RoPE less than `length`, since an image counts as its longer side."""

    @property
    def size_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def cache(self) -> Any:
        """A cache that begins with these keys and values; it grows by copying, so they stay as they are."""
        cache = require("transformers", "local").DynamicCache
        return cache(ddp_cache_data=self.layers) if self.layers else cache()


def reuse_fault(model: Any) -> str | None:
    """Why the cache of a prefix cannot be reused with this model, None where it can."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"layers of kind {', '.join(sorted(kinds - {'full_attention'}))} forget part of it"
    if getattr(text, "_attn_implementation", None) != "sdpa":
        return f"attention {text._attn_implementation!r} takes no mask of ours"
    return None


def read_prefix(model: Any, family: Family, ids: Sequence[int], is_image: Any, pixels: Pixels | None) -> Prefix:
    """Let the model read a prefix.

    Args:
        model: of that family.
        family: of the model.
        ids: the token ids.
        is_image: function of a tensor of ids, which of them stand for images.
        pixels: the images; None without any.
    """
    torch = require("torch", "local")
    if not ids:
        return Prefix(0, (), 0)
    core = core_of(model)
    row = torch.tensor([list(ids)], device=core.device)
    cache = require("transformers", "local").DynamicCache()
    with torch.no_grad():
        positions = _positions(core, family, row, is_image(row), pixels)
        features = {}
        if pixels is not None:
            grid = pixels.grid.to(core.device) if pixels.grid is not None else None
            features = {"mm_encoder_outputs": {"image": encode_images(model, pixels.values.to(core.device), grid)}}
        core(input_ids=row, position_ids=positions, past_key_values=cache, use_cache=True, **features)
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    placed = positions[1:] if family.multimodal_positions else positions
    return Prefix(len(ids), layers, int(placed.max()) + 1)


def text_positions(family: Family, column: Any, position: Any) -> Any:
    """`position_ids` of text that follows a prefix.

    Args:
        family: of the model.
        column: (N,) int64, how many tokens come before each.
        position: (N,) int64, which position each has.

    Returns:
        (1, N), or (4, 1, N) where positions have a time, a row and a column, after one that masks are made of.
    """
    torch = require("torch", "local")
    if not family.multimodal_positions:
        return position[None]
    return torch.stack([column, position, position, position])[:, None]


def _positions(core: Any, family: Family, row: Any, is_image: Any, pixels: Pixels | None) -> Any:
    torch = require("torch", "local")
    column = torch.arange(row.shape[1], device=row.device)
    if not family.multimodal_positions or pixels is None:
        return text_positions(family, column, column)
    grid = pixels.grid.to(row.device)
    placed, _ = core.get_rope_index(row, mm_token_type_ids=is_image.int(), image_grid_thw=grid)
    return torch.cat([column[None, None], placed])


class Prefixes:
    """The prefixes last used, as many as fit into a memory budget, one at least."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[str, Prefix] = OrderedDict()

    def get(self, key: str, read: Callable[[], Prefix]) -> tuple[Prefix, bool]:
        """The prefix of a key, read now if it is not kept; and whether it was kept."""
        kept = key in self._kept
        if not kept:
            self._kept[key] = read()
        self._kept.move_to_end(key)
        self._shrink()
        return self._kept[key], kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def _shrink(self) -> None:
        while len(self._kept) > 1 and sum(prefix.size_bytes for prefix in self._kept.values()) > self._budget_bytes:
            self._kept.popitem(last=False)
