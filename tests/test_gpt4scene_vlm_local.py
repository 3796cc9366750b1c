"""Models of this process: answers over a shared prefix are those of `generate` for each question alone."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from plain_generate import PlainModel
from tiny_vlm import FAMILIES, mosaics, tiny_adapter, tiny_vlm

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm import branches
from gpt4scene.vlm.local import LocalVLM
from gpt4scene.vlm.protocol import VLM, Request

QUESTIONS = (
    "How many?",
    "Which chair is nearest to the window, <OBJ003> or <OBJ012>? Answer with the id alone.",
    "Where is the lamp?",
)


def _ask(images: tuple[Image, ...], text: str, tokens: int = 8, **options: Any) -> Request:
    messages = (Message("system", (Text("You see a room."),)), Message("user", (*images, Text(text))))
    return Request(Conversation(messages), max_new_tokens=tokens, **options)


def _local(folder: Path, adapter: Path | None = None, **options: Any) -> LocalVLM:
    return LocalVLM(f"local:{folder.name}", str(folder), str(adapter) if adapter else None, device="cpu", **options)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models wait longer for a second thread than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("qwen"), seed=3)


@pytest.fixture(scope="module")
def adapter(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(tmp_path_factory.mktemp("adapter"), qwen)


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_over_several_scenes_are_answered_as_each_alone(family: str, tmp_path: Path) -> None:
    for seed in range(3 if family.startswith("qwen") else 1):
        folder = tiny_vlm(tmp_path / str(seed), family, seed=seed)
        scenes = [mosaics(family, count, seed=10 * seed + count) for count in (2, 1, 3)]
        # interleaved: question after question, each about all scenes
        requests = [_ask(images, question) for question in QUESTIONS for images in scenes]
        plain, model = PlainModel(folder), _local(folder)
        assert isinstance(model, VLM)
        wanted = [plain.text(request) for request in requests]
        assert len(set(wanted)) > 4
        replies = model.reply(requests)
        assert [reply.text for reply in replies] == wanted
        lengths = [plain.inputs(request)["input_ids"].shape[1] for request in requests[:3]]
        assert [reply.usage.input_tokens for reply in replies[:3] if reply.usage] == lengths
        assert [model.estimate(request).high for request in requests[:3]] == lengths
        alone = [model.reply([request])[0] for request in requests]
        assert [reply.text for reply in alone] == wanted
        assert all(reply.usage and reply.usage.cached_input_tokens > 0 for reply in alone)


def test_a_scene_asked_again_after_another_gets_its_own_answers(qwen: Path) -> None:
    first, second, alike = (mosaics("qwen2_5_vl", count, seed=seed) for count, seed in ((2, 1), (3, 2), (2, 3)))
    model, plain = _local(qwen), PlainModel(qwen)
    shown = (first, second, first, alike, first[::-1], first)
    texts = [model.reply([_ask(images, QUESTIONS[0])])[0].text for images in shown]
    assert texts == [plain.text(_ask(images, QUESTIONS[0])) for images in shown]
    assert len(set(texts)) == 4


@pytest.mark.parametrize(
    "settings",
    [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}, {"do_sample": True, "top_k": 5, "temperature": 0.7}],
)
def test_the_models_own_settings_hold(
    settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_vlm(tmp_path, generation=settings)
    requests = [_ask(mosaics("qwen2_5_vl", 2, seed=1), question, 24) for question in QUESTIONS]
    assert [reply.text for reply in _local(folder).reply(requests)] == [PlainModel(folder).text(r) for r in requests]
    assert not caplog.records


def test_settings_that_only_generate_follows_are_left_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_vlm(tmp_path, generation={"num_beams": 2})
    requests = [_ask(mosaics("qwen2_5_vl", count, seed=1), QUESTIONS[0]) for count in (2, 1, 2)]
    with caplog.at_level(logging.WARNING):
        replies = _local(folder).reply(requests)
    assert [reply.text for reply in replies] == [PlainModel(folder).text(request) for request in requests]
    assert "read anew for every question" in caplog.text and "num_beams=2" in caplog.text


def test_layers_that_forget_are_left_to_generate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_vlm(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
    del config["text_config"]["layer_types"]
    (folder / "config.json").write_text(json.dumps(config))
    requests = [_ask(mosaics("qwen2_5_vl", count, seed=1), QUESTIONS[1]) for count in (2, 1)]
    pieces: list[str] = []
    model = _local(folder)
    texts = [model.reply([request], pieces.append)[0].text for request in requests]
    assert texts == [PlainModel(folder).text(request) for request in requests]
    assert "".join(pieces) == "".join(texts) and len(pieces) > 2
    assert "sliding_attention" in caplog.text


def test_an_answer_ends_where_the_model_ends_it(qwen: Path, tmp_path: Path) -> None:
    requests = [_ask(mosaics("qwen2_5_vl", 2, seed=1), question, 12) for question in QUESTIONS]
    cut = _local(qwen).reply(requests)
    assert [reply.outcome for reply in cut] == ["truncated"] * 3
    assert all(reply.usage and reply.usage.output_tokens == 12 and reply.why for reply in cut)
    plain = PlainModel(qwen)
    inputs = plain.inputs(requests[0])
    written = plain.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    end = int(written[6])
    replies = _local(tiny_vlm(tmp_path, seed=3, generation={"eos_token_id": [0, end]})).reply(requests)
    stopped = written.tolist().index(end)
    assert replies[0].text == plain.processor.tokenizer.decode(written[:stopped], skip_special_tokens=True)
    assert (replies[0].outcome, replies[0].why) == ("answered", "")
    assert replies[0].usage is not None and replies[0].usage.output_tokens == stopped + 1


def test_a_chat_goes_on_as_it_does_plainly(qwen: Path) -> None:
    plain, model = PlainModel(qwen), _local(qwen)
    images = mosaics("qwen2_5_vl", 2, seed=4)
    request = _ask(images, "What stands there?")
    for turn in ("And left of it?", "More images!", "Well?"):
        reply = model.reply([request])[0]
        assert reply.text == plain.text(request)
        more = mosaics("qwen2_5_vl", 1, seed=5) if turn.startswith("More") else ()
        talk = request.conversation.then("assistant", reply.text).then("user", *more, turn)
        request = Request(talk, max_new_tokens=8)
    assert model.reply([request])[0].text == plain.text(request)


def test_text_alone_is_answered_too(qwen: Path) -> None:
    requests = [_ask((), question) for question in QUESTIONS]
    assert [reply.text for reply in _local(qwen).reply(requests)] == [PlainModel(qwen).text(r) for r in requests]


def test_rows_are_kept_short(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [_ask(mosaics("qwen2_5_vl", 2, seed=1), question) for question in (*QUESTIONS, *QUESTIONS)]
    texts = [reply.text for reply in _local(qwen).reply(requests)]
    monkeypatch.setattr(branches, "_ROW_TOKENS", 40)
    assert [reply.text for reply in _local(qwen, batch_size=5).reply(requests)] == texts


def test_scenes_beyond_the_memory_budget_are_read_again(qwen: Path) -> None:
    scenes = [mosaics("qwen2_5_vl", 2, seed=seed) for seed in (1, 2)]
    requests = [_ask(images, QUESTIONS[0]) for images in (*scenes, *scenes)]
    small, large = _local(qwen, prefix_memory_gb=0), _local(qwen, prefix_memory_gb=1)
    replies = {model: [model.reply([request])[0] for request in requests] for model in (small, large)}
    assert [reply.text for reply in replies[small]] == [reply.text for reply in replies[large]]
    read = {model: [bool(r.usage and r.usage.cached_input_tokens) for r in replies[model]] for model in replies}
    assert read == {small: [False] * 4, large: [False, False, True, True]}


def test_an_adapter_is_active(qwen: Path, adapter: Path) -> None:
    requests = [_ask(mosaics("qwen2_5_vl", 2, seed=1), question) for question in QUESTIONS]
    plain = PlainModel(qwen, adapter=adapter)
    tuned = [reply.text for reply in _local(qwen, adapter).reply(requests)]
    assert tuned == [plain.text(request) for request in requests]
    assert [reply.text for reply in _local(adapter).reply(requests)] == tuned
    assert tuned != [reply.text for reply in _local(qwen).reply(requests)]


@pytest.mark.parametrize("fault", ["other names", "half of it", "other width"])
def test_an_adapter_of_another_model_is_refused(qwen: Path, adapter: Path, tmp_path: Path, fault: str) -> None:
    from safetensors.torch import load_file, save_file

    tiny_adapter(tmp_path / "adapter", tiny_vlm(tmp_path / "wide", hidden=96) if fault == "other width" else qwen)
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    if fault == "other names":
        weights = {name.replace("language_model.layers", "decoder.layers"): value for name, value in weights.items()}
    if fault == "half of it":
        weights = dict(sorted(weights.items())[: len(weights) // 2])
    save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"tuned on another") as raised:
        _local(qwen, tmp_path / "adapter").reply([_ask((), "Hello?")])
    assert "\n" not in str(raised.value) and str(tmp_path / "adapter") in str(raised.value)


def test_sampling_is_repeatable_and_hangs_on_nothing_else(qwen: Path) -> None:
    images = mosaics("qwen2_5_vl", 2, seed=1)
    requests = [_ask(images, q, temperature=2.0, repeat=repeat) for q in QUESTIONS for repeat in (0, 1)]
    together = [reply.text for reply in _local(qwen).reply(requests)]
    assert len(set(together)) == len(together)
    assert [_local(qwen).reply([request])[0].text for request in requests[::-1]] == together[::-1]
    greedy = [reply.text for reply in _local(qwen).reply([_ask(images, QUESTIONS[0], temperature=0.0)])]
    assert greedy == [PlainModel(qwen).text(_ask(images, QUESTIONS[0]))]


def test_a_streamed_answer_comes_in_whole_characters(tmp_path: Path) -> None:
    pieces: list[str] = []
    folder = tiny_vlm(tmp_path)
    reply = _local(folder).reply([_ask(mosaics("qwen2_5_vl", 2, seed=1), QUESTIONS[1], 40)], pieces.append)[0]
    assert "".join(pieces) == reply.text and len(pieces) > 10
    broken = [piece for piece in pieces[:-1] if piece.endswith("\ufffd")]
    assert not broken and "\ufffd" in reply.text  # random bytes seldom make a character
    with pytest.raises(ValueError, match="single request"):
        _local(folder).reply([_ask((), "a"), _ask((), "b")], pieces.append)


def test_memory_that_does_not_suffice_is_told_in_one_line(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    model = _local(qwen)
    scenes = [mosaics("qwen2_5_vl", 2, seed=seed) for seed in (1, 2)]
    wanted = model.reply([_ask(scenes[0], QUESTIONS[0])])[0].text
    forward, failures = Qwen2_5_VLTextModel.forward, iter([True])

    def fails_at_first(*args: Any, **kwargs: Any) -> Any:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(*args, **kwargs)

    monkeypatch.setattr(Qwen2_5_VLTextModel, "forward", fails_at_first)
    # what is kept of another scene makes room
    assert model.reply([_ask(scenes[1], QUESTIONS[0])])[0].outcome == "truncated"
    assert model.reply([_ask(scenes[0], QUESTIONS[0])])[0].text == wanted
    failures = iter([True, True])
    with pytest.raises(UserError, match=r"out of memory on cpu with 2 images, \d+ tokens and 1 questions") as raised:
        model.reply([_ask(scenes[1], QUESTIONS[1])])
    assert "\n" not in str(raised.value)


def test_a_closed_model_answers_no_more(qwen: Path) -> None:
    model = _local(qwen)

    def close_at_first(_piece: str) -> None:
        model._closed.set()

    with pytest.raises(UserError, match="was closed"):
        model.reply([_ask(mosaics("qwen2_5_vl", 2, seed=1), QUESTIONS[0], 40)], close_at_first)
    model.close()
    with pytest.raises(UserError, match="was closed"):
        model.reply([_ask((), "Hello?")])
