"""Masks by segment-anything: from boxes, or of everything that a frame shows.

Kirillov et al., Segment Anything, ICCV 2023; the package `segment_anything` 1.0 and its checkpoints are Apache-2.0. No
other file imports it.
"""

import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bev.device import choose_device
from bev.errors import UserError, require
from bev.progress import track
from bev.scan import Frame, Scan
from markers.ahead import decoded_ahead
from markers.detections import check_boxes, compact_masks, frames_of
from markers.sam_shape import SamShape, sam_shape
from markers.weights import find_checkpoint

if TYPE_CHECKING:
    import supervision as sv

_log = logging.getLogger(__name__)

NO_CLASS = -1
"""`class_id` of what has no class: such a detection casts no vote on a label."""

_FRAMES_AHEAD = 2
_BOXES_AT_ONCE = 64
# embedding size and depth of the image encoder, which tell the three published models apart
_PUBLISHED = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}


def segment(
    scan: Scan,
    detections: "Mapping[int, sv.Detections]",
    *,
    checkpoint: Path | str,
    model_type: str | None = None,
    device: str | None = None,
    progress: bool = False,
) -> "Iterator[tuple[int, sv.Detections]]":
    """Give every box a mask, frame by frame in time order; masks that were there are replaced.

    Each frame is embedded once, for all of its boxes; frames without boxes are not decoded. The checkpoint is loaded
    before this returns.

    Args:
        scan: its colour images are used.
        detections: frame index to boxes in pixels of that frame, perhaps read lazily from disk.
        checkpoint: a segment-anything checkpoint, or a name in `known_weights.KNOWN`, which is fetched once.
        model_type: "vit_b", "vit_l" or "vit_h"; None tells it from the checkpoint.
        device: "cpu", "cuda", "cuda:1"; None takes CUDA where there is one.
        progress: show a bar.

    Yields:
        frame index and the detections with `mask` as run lengths (`sv.CompactMask`) at the frame's full size, all else
        as it was. Boxes in which the model sees nothing are left out, and counted in the log.

    Raises:
        UserError: no usable checkpoint, a frame that the scan lacks, a box that is empty, not finite or off its image,
            or the device's memory is full.
    """
    frames = list(frames_of(detections, scan).values())
    sam = load_sam(checkpoint, model_type=model_type, device=device, progress=progress)
    return _segmented(frames, detections, sam, progress=progress)


def _segmented(
    frames: list[Frame], detections: "Mapping[int, sv.Detections]", sam: Any, *, progress: bool
) -> "Iterator[tuple[int, sv.Detections]]":
    predictor = require("segment_anything", "detect").SamPredictor(sam)
    wanted = [frame for frame in frames if len(detections[frame.index])]
    images = decoded_ahead(wanted, ahead=_FRAMES_AHEAD)
    left_out = 0
    for frame in track(frames, "Segmenting", show=progress):
        boxes = detections[frame.index]
        check_boxes(boxes.xyxy, frame.index, size=(frame.camera.width, frame.camera.height))
        masks = np.zeros((0, frame.camera.height, frame.camera.width), bool)
        if len(boxes):
            _, image = next(images)
            with _memory_told(predictor.device):
                masks = _masks_of_boxes(predictor, image, boxes.xyxy)
        held = np.any(masks, axis=(1, 2))
        left_out += int(np.count_nonzero(~held))
        yield frame.index, _with_masks(boxes, held, masks[held])
    if left_out:
        _log.warning("%d boxes got an empty mask and were left out", left_out)


def segment_everything(
    scan: Scan,
    *,
    checkpoint: Path | str,
    model_type: str | None = None,
    points_per_side: int = 32,
    quality_min: float = 0.88,
    stability_min: float = 0.95,
    device: str | None = None,
    progress: bool = False,
) -> "Iterator[tuple[int, sv.Detections]]":
    """Proposals of no class for whatever each frame shows, by segment-anything's automatic mask generator.

    Args:
        scan: its colour images are used.
        checkpoint: as in `segment`.
        model_type: as in `segment`.
        points_per_side: the generator asks for masks at a grid of so many points each way.
        quality_min: masks whose predicted overlap with the truth is less are left out, 0 to 1.
        stability_min: masks that change more with the threshold are left out, 0 to 1.
        device: as in `segment`.
        progress: show a bar.

    Yields:
        frame index and detections, the best first: `mask` as run lengths at the frame's full size, `confidence` the
        predicted overlap, `class_id` -1 and `data["class_name"]` "object": they are no votes on a label.

    Raises:
        UserError: no usable checkpoint, or the device's memory is full.
    """
    sam = load_sam(checkpoint, model_type=model_type, device=device, progress=progress)
    generator = require("segment_anything", "detect").SamAutomaticMaskGenerator(
        sam, points_per_side=points_per_side, pred_iou_thresh=quality_min, stability_score_thresh=stability_min
    )
    return _everything(scan, generator, progress=progress)


def _everything(scan: Scan, generator: Any, *, progress: bool) -> "Iterator[tuple[int, sv.Detections]]":
    images = decoded_ahead(scan.frames, ahead=_FRAMES_AHEAD)
    for frame in track(scan.frames, "Segmenting", show=progress):
        _, image = next(images)
        with _memory_told(generator.predictor.device):
            found = [mask for mask in generator.generate(image) if mask["area"] > 0]
        found.sort(key=lambda mask: (-mask["predicted_iou"], mask["area"], mask["bbox"]))
        yield frame.index, _proposals(found, (frame.camera.height, frame.camera.width))


def _proposals(found: list[dict[str, Any]], shape: tuple[int, int]) -> "sv.Detections":
    sv = require("supervision")
    masks = np.array([mask["segmentation"] for mask in found], bool).reshape(-1, *shape)
    return sv.Detections(
        xyxy=_edges(masks),
        mask=compact_masks(masks),
        confidence=np.clip([mask["predicted_iou"] for mask in found], 0.0, 1.0).astype(np.float32),
        class_id=np.full(len(found), NO_CLASS),
        data={"class_name": np.full(len(found), "object")},
    )


def _edges(masks: np.ndarray) -> np.ndarray:
    """Boxes around what (n, H, W) masks cover, up to the far edges of their last pixels: (n, 4) float32, pixels."""
    boxes = require("supervision").mask_to_xyxy(masks).astype(np.float32)
    boxes[:, 2:] += 1  # it gives the last pixels themselves
    return boxes


def _with_masks(boxes: "sv.Detections", held: np.ndarray, masks: np.ndarray) -> "sv.Detections":
    sv = require("supervision")
    bare = sv.Detections(
        xyxy=boxes.xyxy,
        confidence=boxes.confidence,
        class_id=boxes.class_id,
        tracker_id=boxes.tracker_id,
        data=boxes.data,
        metadata=boxes.metadata,
    )
    kept = bare[held] if len(bare) else bare
    kept.mask = compact_masks(masks)
    return kept


def _masks_of_boxes(predictor: Any, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n, H, W) bool: the image is embedded once, the boxes are asked for together."""
    torch = require("torch", "detect")
    with torch.inference_mode():
        predictor.set_image(image, image_format="RGB")
        prompts = torch.as_tensor(np.asarray(boxes, np.float32), device=predictor.device)
        prompts = predictor.transform.apply_boxes_torch(prompts, image.shape[:2])
        parts = [
            predictor.predict_torch(point_coords=None, point_labels=None, boxes=some, multimask_output=False)[0][:, 0]
            for some in prompts.split(_BOXES_AT_ONCE)
        ]
        return torch.cat(parts).cpu().numpy()


def load_sam(
    checkpoint: Path | str, *, model_type: str | None = None, device: str | None = None, progress: bool = False
) -> Any:
    """The model of a checkpoint, its size told from the weights themselves; no code of the file is run.

    Raises:
        UserError: the file is no segment-anything checkpoint, of another type than `model_type`, or the model does not
            fit the device's memory.
    """
    device = choose_device(device, "detect")
    path = find_checkpoint(checkpoint, progress=progress)
    state = _read_state(path)
    shape = sam_shape(state, path)
    found = _PUBLISHED.get((shape.embed_dim, shape.depth))
    if model_type is not None and model_type != found:
        what = found or f"no published type ({shape.embed_dim} wide, {shape.depth} deep)"
        raise UserError(f"{path}: is {what}, not {model_type}; leave the type out, or give the checkpoint of that type")
    package = require("segment_anything", "detect")
    sam = package.sam_model_registry[found]() if found else _build(shape)
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: does not fit segment-anything ({reason}); give one of its checkpoints") from error
    with _memory_told(device):
        return sam.eval().to(device)


@contextmanager
def _memory_told(device: object) -> Iterator[None]:
    """A device's memory that is full is the user's to mend."""
    torch = require("torch", "detect")
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"segment-anything does not fit the memory of {device}: give a smaller checkpoint such as "
            "sam_vit_b_01ec64.pth, or --device cpu"
        ) from error


def _read_state(path: Path) -> dict[str, Any]:
    torch = require("torch", "detect")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: does not load as plain weights ({reason}); give a segment-anything checkpoint"
        ) from error
    if not isinstance(state, dict) or "image_encoder.pos_embed" not in state:
        raise UserError(f"{path}: holds no segment-anything model; give a checkpoint such as sam_vit_b_01ec64.pth")
    return state


def _build(shape: SamShape) -> Any:
    """A model of another size than the published ones, with what they have in common.

    What no tensor tells (8 heads in the decoder, the pixel means) is as in `segment_anything.build_sam`.
    """
    torch = require("torch", "detect")
    modeling = require("segment_anything.modeling", "detect")
    image_px = shape.grid * shape.patch_px
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=image_px,
            patch_size=shape.patch_px,
            embed_dim=shape.embed_dim,
            depth=shape.depth,
            num_heads=shape.head_count,
            mlp_ratio=shape.mlp_ratio,
            out_chans=shape.prompt_dim,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=shape.window,
            global_attn_indexes=shape.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=shape.prompt_dim,
            image_embedding_size=(shape.grid, shape.grid),
            input_image_size=(image_px, image_px),
            mask_in_chans=shape.mask_in_channels,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=shape.prompt_dim,
            transformer=modeling.TwoWayTransformer(
                depth=shape.decoder_depth, embedding_dim=shape.prompt_dim, mlp_dim=shape.decoder_mlp_dim, num_heads=8
            ),
            num_multimask_outputs=shape.mask_count - 1,
            iou_head_depth=shape.iou_depth,
            iou_head_hidden_dim=shape.iou_hidden_dim,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
