"""The vision tower and its projector apart: the model's own values, hooks in their places, gradients where wanted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from plain_generate import PlainModel
from tiny_vlm import FAMILIES, mosaics, tiny_adapter, tiny_vlm

from gpt4scene.prompting.conversation import Conversation, Message, Text
from gpt4scene.vlm.encode import Geometry, VisionTokens, encode_images
from gpt4scene.vlm.families import FAMILIES as KNOWN
from gpt4scene.vlm.protocol import Request


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models wait longer for a second thread than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=FAMILIES)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlainModel:
    return PlainModel(tiny_vlm(tmp_path_factory.mktemp(request.param), request.param))


def _inputs(plain: PlainModel, images: int) -> Any:
    shown = mosaics(plain.model.config.model_type, images, seed=1)
    return plain.inputs(Request(Conversation((Message("user", (*shown, Text("Where is it?"))),))))


def _grid(plain: PlainModel, inputs: Any) -> Any:
    name = KNOWN[plain.model.config.model_type].grid
    return inputs[name] if name else None


def _rows(features: Any) -> torch.Tensor:
    return torch.cat([tokens.reshape(-1, tokens.shape[-1]) for tokens in features.pooler_output])


@pytest.mark.parametrize("images", [1, 3])
def test_features_give_the_models_own_logits(plain: PlainModel, images: int) -> None:
    inputs = _inputs(plain, images)
    features = encode_images(plain.model, inputs["pixel_values"], _grid(plain, inputs))
    without_pixels = {name: value for name, value in inputs.items() if name != "pixel_values"}
    own = plain.model(**inputs).logits
    assert torch.equal(own, plain.model(**without_pixels, mm_encoder_outputs={"image": features}).logits)
    assert not _rows(features).requires_grad


def test_hooks_see_every_image_apart_and_what_they_return_is_used(plain: PlainModel) -> None:
    inputs = _inputs(plain, 3)
    pixels, grid = inputs["pixel_values"], _grid(plain, inputs)
    seen: list[VisionTokens] = []

    def untouched(tokens: VisionTokens) -> Any:
        seen.append(tokens)
        return tokens.tokens

    features = _rows(encode_images(plain.model, pixels, grid))
    assert torch.equal(features, _rows(encode_images(plain.model, pixels, grid, Geometry(untouched, untouched))))
    assert len(seen) == 2
    for tokens in seen:
        assert len(tokens.counts) == 3 and sum(tokens.counts) == len(tokens.tokens)

    def second_image_louder(tokens: VisionTokens) -> Any:
        start, count = tokens.counts[0], tokens.counts[1]
        changed = tokens.tokens.clone()
        changed[start : start + count] *= 2
        return changed

    own = encode_images(plain.model, pixels, grid).pooler_output
    per_image = [tokens.numel() // tokens.shape[-1] for tokens in own]
    for geometry in (Geometry(before_projector=second_image_louder), Geometry(after_projector=second_image_louder)):
        changed = _rows(encode_images(plain.model, pixels, grid, geometry))
        parts = zip(features.split(per_image), changed.split(per_image), strict=True)
        assert [torch.equal(one, other) for one, other in parts] == [True, False, True]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_tokens_lie_in_rows_whatever_order_the_tower_holds_them_in(family: str, tmp_path: Path) -> None:
    # 12x8 blocks: several windows in each direction, which Qwen2.5-VL's tower works through one after another
    plain = PlainModel(tiny_vlm(tmp_path, family))
    patch = plain.model.config.vision_config.patch_size
    grid = torch.tensor([[1, 24, 16]])
    pixels = torch.randn(24 * 16, 3 * 2 * patch * patch, generator=torch.Generator().manual_seed(0))
    features = _rows(encode_images(plain.model, pixels, grid))
    for place in (0, 11, 50, 95):

        def block_changed(tokens: VisionTokens, place: int = place) -> Any:
            changed = tokens.tokens.clone()
            per_block = len(changed) // 96
            changed[place * per_block : (place + 1) * per_block] += 1
            return changed

        for geometry in (Geometry(before_projector=block_changed), Geometry(after_projector=block_changed)):
            changed = _rows(encode_images(plain.model, pixels, grid, geometry))
            assert (changed != features).any(1).nonzero().flatten().tolist() == [place]


def test_a_graph_begins_at_the_projector_even_where_checkpointing_asks_for_more(plain: PlainModel) -> None:
    inputs = _inputs(plain, 2)
    pixels, grid = inputs["pixel_values"], _grid(plain, inputs)
    plain.model.enable_input_require_grads()
    try:
        assert not _rows(encode_images(plain.model, pixels, grid)).requires_grad
        _rows(encode_images(plain.model, pixels, grid, projector_grad=True)).sum().backward()
        names = [name for name, parameter in plain.model.named_parameters() if parameter.grad is not None]
        assert torch.is_grad_enabled()
    finally:
        plain.model.disable_input_require_grads()
        plain.model.zero_grad()
    projector = ("visual.merger.", "multi_modal_projector.", "image_newline")
    assert names and all(any(part in name for part in projector) for name in names)


def test_an_adapter_around_the_model_is_no_hindrance(tmp_path: Path) -> None:
    base = tiny_vlm(tmp_path / "base")
    tuned = PlainModel(base, adapter=tiny_adapter(tmp_path / "adapter", base))
    bare = PlainModel(base)
    inputs = _inputs(bare, 2)
    one, other = (encode_images(p.model, inputs["pixel_values"], inputs["image_grid_thw"]) for p in (bare, tuned))
    assert torch.equal(_rows(one), _rows(other))
