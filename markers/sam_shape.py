"""How large a segment-anything model is, told from its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev.errors import UserError


@dataclass(frozen=True)
class SamShape:
    """What a checkpoint's tensors say of the model that they belong to."""

    embed_dim: int
    depth: int
    head_count: int
    patch_px: int
    grid: int
    """Patches along one side of the square input image."""
    mlp_ratio: float
    window: int
    global_blocks: tuple[int, ...]
    prompt_dim: int
    mask_in_channels: int
    decoder_depth: int
    decoder_mlp_dim: int
    mask_count: int
    iou_depth: int
    iou_hidden_dim: int


def sam_shape(state: dict[str, Any], path: Path) -> SamShape:
    """The sizes that `segment_anything.build_sam` takes as numbers, from the tensors' names and shapes.

    Args:
        state: tensor name to tensor.
        path: what the error names.

    Raises:
        UserError: tensors are missing.
    """
    encoder, decoder = "image_encoder.", "mask_decoder."
    try:
        _, grid, _, embed_dim = state[f"{encoder}pos_embed"].shape
        depth = _count(state, f"{encoder}blocks.")
        tables = [tuple(state[f"{encoder}blocks.{k}.attn.rel_pos_h"].shape) for k in range(depth)]
        # a block that attends to the whole image has as many relative positions as the grid allows
        everywhere = tuple(k for k, (positions, _) in enumerate(tables) if positions == 2 * grid - 1)
        windows = {(positions + 1) // 2 for positions, _ in tables if positions != 2 * grid - 1}
        iou = f"{decoder}iou_prediction_head.layers."
        return SamShape(
            embed_dim=embed_dim,
            depth=depth,
            head_count=embed_dim // tables[0][1],
            patch_px=state[f"{encoder}patch_embed.proj.weight"].shape[-1],
            grid=grid,
            mlp_ratio=state[f"{encoder}blocks.0.mlp.lin1.weight"].shape[0] / embed_dim,
            window=max(windows, default=0),
            global_blocks=everywhere,
            prompt_dim=state["prompt_encoder.no_mask_embed.weight"].shape[1],
            mask_in_channels=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
            decoder_depth=_count(state, f"{decoder}transformer.layers."),
            decoder_mlp_dim=state[f"{decoder}transformer.layers.0.mlp.lin1.weight"].shape[0],
            mask_count=state[f"{decoder}mask_tokens.weight"].shape[0],
            iou_depth=_count(state, iou),
            iou_hidden_dim=state[f"{iou}0.weight"].shape[0],
        )
    except (KeyError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"{path}: lacks parts of a segment-anything model ({error}); download it again") from error


def _count(state: dict[str, Any], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})
