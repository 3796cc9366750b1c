"""Small vision-language models with random weights, saved whole: what runs where no real checkpoint is.

Weights are drawn wider than transformers does by itself: then pictures move the logits, and different pictures bring
different texts. Layout of tokens and templates follows the published models of each family; widths and depths do not.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from gpt4scene.prompting.conversation import Image

FAMILIES = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "internvl", "llava_onevision")

_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = (*_CHATML, "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_SPECIALS = {
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "internvl": (*_CHATML, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
    "llava_onevision": (*_CHATML, "<image>", "<video>"),
}
_EXTRA_TOKENS = {
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    "llava_onevision": {"image_token": "<image>", "video_token": "<video>"},
}

_TURN_END = "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_QWEN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}" + _TURN_END
)
_INTERN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}" + _TURN_END
)
# images of a turn go before its texts, whatever their order
_LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_CORPUS = (
    "The chair <OBJ012> stands beside the table <OBJ003>, 1.25 m from the window; the lamp is left of the bed.",
    "How many chairs are in the room? Which object is nearest to the door? Answer with the ids of the objects.",
    "This is a bird's-eye view of a room, then frames of a film in which every object carries the same number.",
    '{"ids": [1, 2, 3], "answer": "yes"} no, unknown, Größe, naïve, 0 1 2 3 4 5 6 7 8 9, sofa, shelf, sink, monitor.',
)


def tiny_vlm(
    folder: Path | str,
    family: str = "qwen2_5_vl",
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    vision_hidden: int = 64,
    vision_layers: int = 2,
    generation: dict[str, Any] | None = None,
) -> Path:
    """Build a random model of a family and save it with processor, tokenizer and chat template; no network.

    Args:
        folder: where it goes; made if it is not there.
        family: one of `FAMILIES`.
        seed: of the weights.
        hidden: width of the language model, a multiple of 32; its heads are 16 wide, from 512 on 64.
        layers: depth of the language model.
        vision_hidden: width of the vision tower, a multiple of 64.
        vision_layers: depth of the vision tower, 2 or more.
        generation: fields of generation_config.json, such as `{"repetition_penalty": 1.05}`.
    """
    import torch
    from transformers import AutoModelForImageTextToText, GenerationConfig

    folder = Path(folder)
    tokenizer = _tokenizer(family)
    config = _config(family, tokenizer, hidden, layers, vision_hidden, vision_layers)
    torch.manual_seed(seed)
    model: Any = AutoModelForImageTextToText.from_config(config)
    _widen(model, seed)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    settings = {"eos_token_id": ends, "pad_token_id": ends[1]} | (generation or {})
    model.generation_config = GenerationConfig(**settings)
    model.save_pretrained(folder)
    _processor(family, tokenizer).save_pretrained(folder)
    return folder


def tiny_adapter(folder: Path | str, base: Path | str, *, seed: int = 0, rank: int = 4, scale: float = 1.0) -> Path:
    """Save a LoRA of random, non-zero weights for the language model of a model saved at `base`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    wanted = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    tuned: Any = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=wanted))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) / rank)
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(str(folder))
    return Path(folder)


_SIZES = {"qwen3_vl": (256, 256), "internvl": (448, 448), "llava_onevision": (384, 288)}


def mosaics(family: str, count: int, seed: int) -> tuple[Image, ...]:
    """Pictures of random tiles, PNG, of a size that the family takes as it is; two sizes by turns where it may be."""
    from PIL import Image as Picture

    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        width, height = _SIZES.get(family, ((168, 112), (84, 140))[index % 2])
        tiles = rng.integers(0, 256, (height // 14 + 1, width // 14 + 1, 3), dtype=np.uint8)
        pixels = tiles.repeat(14, 0).repeat(14, 1)[:height, :width]
        file = io.BytesIO()
        Picture.fromarray(pixels).save(file, "png")
        made.append(Image(f"{seed}-{index}.png", data=file.getvalue()))
    return tuple(made)


def parameter_count(folder: Path | str) -> int:
    """How many parameters a saved model has, read from the headers of its files."""
    count = 0
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            size = 1
            for length in tensor["shape"] if name != "__metadata__" else [0]:
                size *= length
            count += size
    return count


def _tokenizer(family: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(_SPECIALS[family]),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=32768,
        extra_special_tokens=_EXTRA_TOKENS.get(family, [t for t in _SPECIALS[family] if t not in _CHATML]),
    )


def _config(family: str, tokenizer: Any, hidden: int, layers: int, vision_hidden: int, vision_layers: int) -> Any:
    from transformers import AutoConfig

    head = 64 if hidden >= 512 else 16
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // head,
        "num_key_value_heads": hidden // head // 2,
        "max_position_embeddings": 32768,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision: dict[str, Any] = {"num_hidden_layers": vision_layers, "hidden_size": vision_hidden}
    ids = tokenizer.convert_tokens_to_ids
    if family.startswith("qwen"):
        sections = {16: [2, 3, 3], 64: [16, 8, 8]}[head]
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}
        vision = {"depth": vision_layers, "hidden_size": vision_hidden, "num_heads": 4, "out_hidden_size": hidden}
        if family == "qwen2_vl":
            vision |= {"embed_dim": vision_hidden, "hidden_size": hidden, "mlp_ratio": 2}
            del vision["out_hidden_size"]
        else:
            vision["intermediate_size"] = 2 * vision_hidden
        if family == "qwen2_5_vl":
            vision["fullatt_block_indexes"] = [vision_layers - 1]
        if family == "qwen3_vl":
            text |= {"head_dim": head}
            vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 256}
        marks = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
        marks |= {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
        placed = {f"{name}_token_id": ids(token) for name, token in marks.items()}
        return AutoConfig.for_model(family, text_config=text, vision_config=vision, **placed)
    vision |= {"num_attention_heads": 4, "intermediate_size": 2 * vision_hidden, "patch_size": 14}
    text |= {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    if family == "internvl":
        vision |= {"model_type": "internvl_vision", "image_size": [448, 448], "patch_size": [14, 14]}
        image_id = ids("<IMG_CONTEXT>")
        return AutoConfig.for_model(
            family, text_config=text, vision_config=vision, image_token_id=image_id, tie_word_embeddings=False
        )
    vision |= {"model_type": "siglip_vision_model", "image_size": 384, "vision_use_head": False}
    image_ids = {"image_token_index": ids("<image>"), "video_token_index": ids("<video>")}
    return AutoConfig.for_model(family, text_config=text, vision_config=vision, **image_ids)


def _widen(model: Any, seed: int) -> None:
    """Draw every matrix at unit gain, queries and keys louder: texts then hang on pictures and questions alike."""
    import torch

    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                continue
            fan_in = parameter[0].numel()
            gain = 1.0 if "embed" in name and "patch" not in name else fan_in**-0.5
            if "language_model" in name and ("q_proj" in name or "k_proj" in name):
                gain *= 2.0
            parameter.copy_(gain * torch.randn(parameter.shape, generator=generator))


def _processor(family: str, tokenizer: Any) -> Any:
    import transformers as t

    clip = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    half = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    if family in ("qwen2_vl", "qwen2_5_vl"):
        images = t.Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12845056}, **clip)
        kind = t.Qwen2VLProcessor if family == "qwen2_vl" else t.Qwen2_5_VLProcessor
        return kind(images, tokenizer, t.Qwen2VLVideoProcessor(**clip), chat_template=_QWEN_TEMPLATE)
    if family == "qwen3_vl":
        size = {"shortest_edge": 65536, "longest_edge": 16777216}
        images = t.Qwen2VLImageProcessor(size=size, patch_size=16, **half)
        return t.Qwen3VLProcessor(images, tokenizer, t.Qwen3VLVideoProcessor(), chat_template=_QWEN_TEMPLATE)
    if family == "internvl":
        images = t.GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True)
        videos = t.InternVLVideoProcessor(size={"height": 448, "width": 448})
        return t.InternVLProcessor(images, tokenizer, videos, image_seq_length=256, chat_template=_INTERN_TEMPLATE)
    images = t.LlavaOnevisionImageProcessor(size={"height": 384, "width": 384}, **half)
    videos = t.LlavaOnevisionVideoProcessor(size={"height": 384, "width": 384}, **half)
    options = {"num_image_tokens": 729, "vision_feature_select_strategy": "full", "chat_template": _LLAVA_TEMPLATE}
    return t.LlavaOnevisionProcessor(images, tokenizer, videos, **options)
