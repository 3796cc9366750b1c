"""From pixels to what the language model reads: the one place where the vision tower and its projector are split.

Here three methods put geometry into a model. All feed the model through `mm_encoder_outputs={"image": features}`.

- VLM-3R attends from the vision tower's tokens to those of a 3D model, before the projector:
  `Geometry.before_projector`.
- VG LLM adds geometry tokens of the same grid to the merged ones: `Geometry.after_projector`.
- GeoVR leaves these features alone. It gives each frame one more token, and taps hidden states of the language model
  while training. Those tokens are one more row of each image's `pooler_output` in what is returned here (zeros in
  Qwen3-VL's deepstack features), and one more placeholder in the prompt, at the position of the image's last token;
  the taps are `output_hidden_states=[indices]` of the forward call. Both are for whoever builds the rows, which is
  training: at question answering that method has no geometry at all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bev.errors import require
from gpt4scene.vlm.families import core_of, family_of_model


@dataclass(frozen=True, eq=False)
class VisionTokens:
    """Tokens of all images of a call, one image after another."""

    tokens: Any
    """(N, C) tensor in the model's dtype. Within an image rows go from top to bottom, tokens from left to right;
    before Qwen's merger the four patches of a 2x2 block follow each other, and blocks lie so."""
    counts: tuple[int, ...]
    """How many tokens each image has, or each tile where the family cuts images into tiles; they add up to N."""


Hook = Callable[[VisionTokens], Any]
"""Returns the (N, C) tensor that takes the tokens' place."""


@dataclass(frozen=True)
class Geometry:
    """What a method that knows geometry does on the way; it holds its own features, of the same images in order.

    Geometry features depend on the ordered set of frames: whoever keeps what comes out here, as tensors or as a
    key-value cache, needs that set and the geometry encoder in the key.
    """

    before_projector: Hook | None = None
    after_projector: Hook | None = None


def encode_images(
    model: Any, pixels: Any, grid: Any, geometry: Geometry | None = None, *, projector_grad: bool = False
) -> Any:
    """What the language model reads of images: the same values as the model's own, bit for bit, without geometry.

    The vision tower runs under no_grad whatever the caller's mode, since a frozen tower otherwise builds a graph as
    soon as checkpointing asks for gradients of inputs. Deepstack mergers (Qwen3-VL) count as part of the tower.

    Args:
        model: of one of `families.FAMILIES`, an adapter around it or not.
        pixels: `pixel_values` of the processor.
        grid: the processor's output that `Family.grid` names, None where that is None. With LLaVA-OneVision, images of
            one conversation, since its tiles depend on how many there are.
        geometry: what else happens on the way.
        projector_grad: build a graph from the projector on; for training it, or a hook.

    Returns:
        What the model's forward takes as `mm_encoder_outputs["image"]`.
    """
    torch = require("torch", "local")
    family = family_of_model(model)
    core = core_of(model)
    projector = core
    for name in family.projector:
        projector = getattr(projector, name)
    arguments = {"pixel_values": pixels, "return_dict": True}
    if family.grid is not None:
        arguments[family.grid] = grid
    if family.grid == "image_sizes":  # a single image comes in tiles, several do not
        arguments["batch_num_images"] = [1] if pixels.shape[1] > 1 else [len(pixels)]
    order = _block_order(core, grid) if geometry is not None else None
    with torch.no_grad(), _hooked(projector, geometry or Geometry(), order, projector_grad):
        return core.get_image_features(**arguments)


@contextmanager
def _hooked(projector: Any, geometry: Geometry, order: "_Order | None", projector_grad: bool) -> Iterator[None]:
    """While this lasts, the hooks are called around `projector`, from which on a graph is built if one is wanted."""
    torch = require("torch", "local")

    def before(_module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        torch.set_grad_enabled(projector_grad)  # the caller's no_grad ends with its block, and with it this
        tokens = arguments[0].detach()
        return (_applied(geometry.before_projector, tokens, order), *arguments[1:])

    def after(_module: Any, _arguments: tuple[Any, ...], tokens: Any) -> Any:
        return _applied(geometry.after_projector, tokens, order)

    handles = [projector.register_forward_pre_hook(before), projector.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _applied(hook: Hook | None, tokens: Any, order: "_Order | None") -> Any:
    if hook is None:
        return tokens
    if order is None:  # (tiles, tokens, C)
        flat = VisionTokens(tokens.flatten(0, 1), (tokens.shape[1],) * tokens.shape[0])
        return hook(flat).reshape(tokens.shape)
    blocks = tokens.reshape(len(order.to_raster), -1, tokens.shape[-1])
    per_block = blocks.shape[1]
    counts = tuple(count * per_block for count in order.blocks)
    made = hook(VisionTokens(blocks[order.to_raster].flatten(0, 1), counts))
    return made.reshape(blocks.shape)[order.from_raster].reshape(tokens.shape)


@dataclass(frozen=True, eq=False)
class _Order:
    """How the blocks of patches that become one token lie at Qwen's merger."""

    blocks: tuple[int, ...]
    """Of each image."""
    to_raster: Any
    """(blocks,) int64: from the order in which the tower holds them, by windows in Qwen2.5-VL, to rows and columns."""
    from_raster: Any


def _block_order(core: Any, grid: Any) -> "_Order | None":
    if not hasattr(core, "visual"):
        return None
    torch = require("torch", "local")
    tower = core.visual
    blocks = tuple(int(count) for count in (grid.prod(-1) // tower.spatial_merge_size**2).tolist())
    if not hasattr(tower, "window_size"):
        same = torch.arange(sum(blocks), device=grid.device)
        return _Order(blocks, same, same)
    vision = require("transformers.vision_utils", "local")
    from_raster, _ = vision.get_vision_window_index(
        grid,
        spatial_merge_size=tower.spatial_merge_size,
        window_size=tower.window_size,
        patch_size=tower.patch_size,
    )
    return _Order(blocks, torch.argsort(from_raster), from_raster)
