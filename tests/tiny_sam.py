"""A small segment-anything model, for tests that have no real checkpoint."""

from functools import partial
from typing import Any


def tiny_sam() -> Any:
    """A small model put together from segment-anything's classes, as a stranger would."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(1)
    encoder = ImageEncoderViT(
        img_size=128,
        patch_size=16,
        embed_dim=64,
        depth=2,
        num_heads=4,
        mlp_ratio=2,
        out_chans=64,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    )
    prompts = PromptEncoder(embed_dim=64, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16)
    decoder = MaskDecoder(
        transformer_dim=64,
        transformer=TwoWayTransformer(depth=2, embedding_dim=64, mlp_dim=96, num_heads=8),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=48,
    )
    sam = Sam(encoder, prompts, decoder, pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])
    # random weights say "all" or "nothing"; louder ones draw shapes
    with torch.no_grad():
        for parameter in sam.mask_decoder.output_hypernetworks_mlps.parameters():
            parameter.mul_(3)
    return sam.eval()
