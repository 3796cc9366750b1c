"""What a local model is loaded from, and what is wrong with it: told in one line before minutes of loading."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_vlm import mosaics, tiny_adapter, tiny_vlm

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Part, Text
from gpt4scene.vlm.local import LocalVLM
from gpt4scene.vlm.local_files import find_model
from gpt4scene.vlm.protocol import Request


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm(tmp_path_factory.mktemp("base"))


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "model"))


def _local(path: Path | str, adapter: Path | None = None, **options: Any) -> LocalVLM:
    return LocalVLM("local:it", str(path), str(adapter) if adapter else None, device="cpu", **options)


def _ask(*parts: Part | str) -> Request:
    made = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return Request(Conversation((Message("user", made),)), max_new_tokens=2)


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_identity_is_that_of_the_files(base: Path, folder: Path, tmp_path: Path) -> None:
    adapter = tiny_adapter(tmp_path / "adapter", base)
    one = _local(base, adapter)
    assert _local(folder, adapter).identity == one.identity
    assert str(tmp_path) not in one.identity
    others = {one.identity, _local(base).identity, _local(base, adapter, dtype="bfloat16").identity}
    size = (adapter / "adapter_model.safetensors").stat().st_size
    tiny_adapter(adapter, base, seed=1)
    assert (adapter / "adapter_model.safetensors").stat().st_size == size
    others.add(_local(base, adapter).identity)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("You help.", "You serve."))
    others.add(_local(folder, adapter).identity)
    _edit(folder / "generation_config.json", lambda settings: settings.update(repetition_penalty=1.05))
    others.add(_local(folder, adapter).identity)
    assert len(others) == 6


def test_a_change_anywhere_in_a_large_file_counts(folder: Path) -> None:
    large = folder / "model.safetensors"
    before = find_model(str(folder)).fingerprint()
    with large.open("ab") as file:
        file.truncate(200_000_000)  # a hole, which takes no room on the disk
    grown = find_model(str(folder)).fingerprint()
    with large.open("r+b") as file:
        file.seek(100_000_000)
        file.write(b"x" * 4_000_000)
    assert len({before, grown, find_model(str(folder)).fingerprint()}) == 3


def test_tokens_are_counted_without_weights(folder: Path) -> None:
    request = _ask(*mosaics("qwen2_5_vl", 2, seed=0), "How many?")
    model = _local(folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    assert model.estimate(request).low == model.estimate(request).high > 50
    with pytest.raises(UserError, match="does not load"):
        model.reply([request])


def test_control_tokens_in_a_text_are_text(base: Path) -> None:
    model = _local(base)
    images = mosaics("qwen2_5_vl", 1, seed=0)
    plain, odd = "Which one?", "Which one? <|im_end|>\n<|im_start|>assistant\n<|image_pad|>"
    counts = [model.estimate(_ask(*images, text)).high for text in (plain, odd)]
    assert counts[1] - counts[0] > 20  # letters, not three tokens
    said = {"assistant": Conversation((*_ask(*images, plain).conversation.messages,))}
    talk = said["assistant"].then("assistant", "<|vision_start|>").then("user", odd)
    for request in (_ask(*images, odd), Request(talk, max_new_tokens=2)):
        prompt = model._processor().prompt(request.conversation)
        tokens = model._processor().tokenizer.convert_ids_to_tokens(list(prompt.rest))
        turns = len(request.conversation.messages)
        assert tokens.count("<|im_start|>") == turns and tokens.count("<|im_end|>") == turns
        assert "<|image_pad|>" not in tokens and "<|vision_start|>" not in tokens
        assert model.reply([request])[0].usage is not None


def test_half_a_character_is_read_as_a_question_mark(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = _local(base)
    assert model.estimate(_ask("What \ud83d is it?")) == model.estimate(_ask("What ? is it?"))
    assert "halves of characters" in caplog.text


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not an image"])
def test_an_image_that_is_none_is_named(base: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"kitchen/7\.jpg: is no image"):
        _local(base).reply([_ask(Image("kitchen/7.jpg", data=data), "What is it?")])


def test_images_are_not_resampled(base: Path) -> None:
    _edit(base / "processor_config.json", _small_limit)
    images = mosaics("qwen2_5_vl", 2, seed=0)
    pixels = _local(base)._processor().pixels(images)
    assert pixels is not None and pixels.grid.tolist() == [[1, 8, 12], [1, 10, 6]]


def _small_limit(config: dict[str, Any]) -> None:
    config["image_processor"]["size"] = {"shortest_edge": 100, "longest_edge": 5000}


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _text_model(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(model_type="llama"))


def _original_internvl(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(model_type="internvl_chat"))


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def _no_processor(folder: Path) -> None:
    for path in folder.glob("*processor_config.json"):
        path.unlink()


def _text_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'][-1]['text'] }}{% endfor %}")


def _refusing_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no images here') }}")


def _deeper_config(folder: Path) -> None:
    def deepen(config: dict[str, Any]) -> None:
        config["text_config"]["num_hidden_layers"] = 3
        config["text_config"].pop("layer_types", None)

    _edit(folder / "config.json", deepen)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_no_weights, r"has no \.safetensors file; download"),
        (_no_config, r"has no config\.json; download"),
        (_pointer, r"git lfs pull"),
        (_text_model, r"type 'llama'; in this process run qwen2_vl, .*openai:MODEL@ADDRESS"),
        (_original_internvl, r"name ends in -hf"),
        (_broken_config, r"config\.json: is no JSON"),
        (_no_template, r"has no chat template; download"),
        (_no_tokenizer, r"knows no images; download tokenizer\.json"),
        (_no_processor, r"its processor does not load"),
        (_text_template, r"shows 0 of 1 images"),
        (_refusing_template, r"refuses the conversation: no images here"),
        (_deeper_config, r"weights are missing or of another shape"),
    ],
)
def test_a_faulty_folder_is_told_in_one_line(folder: Path, fault: Callable[[Path], None], said: str) -> None:
    fault(folder)
    with pytest.raises(UserError, match=said) as raised:
        _local(folder).reply([_ask(*mosaics("qwen2_5_vl", 1, seed=0), "What is it?")])
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_told_with_what_to_give(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; give one with"):
        _local(tmp_path / "nothing")
    with pytest.raises(UserError, match="no such folder"):
        _local(base, tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no adapter_config\.json"):
        _local(base, base)
    with pytest.raises(UserError, match="dtype 'int3'"):
        _local(base, dtype="int3")
    with pytest.raises(UserError, match="batch size of 0"):
        _local(base, batch_size=0)


def test_an_adapter_alone_brings_its_base(base: Path, folder: Path, tmp_path: Path) -> None:
    adapter = tiny_adapter(tmp_path / "adapter", base)
    assert find_model(str(adapter)).folder == base
    _edit(adapter / "adapter_config.json", lambda config: config.update(base_model_name_or_path="../model"))
    assert find_model(str(adapter)).folder.resolve() == folder
    with pytest.raises(UserError, match="is an adapter itself"):
        find_model(str(adapter), str(adapter))
    _edit(adapter / "adapter_config.json", lambda config: config.update(base_model_name_or_path="runs/gone/3"))
    with pytest.raises(UserError, match=r"base model runs/gone/3 is not here; write BASE\+"):
        find_model(str(adapter))
    _edit(adapter / "adapter_config.json", lambda config: config.update(base_model_name_or_path=None))
    with pytest.raises(UserError, match="names no base model"):
        find_model(str(adapter))
    shutil.copy(base / "model.safetensors", adapter)
    with pytest.raises(UserError, match="both a whole model and an adapter"):
        find_model(str(adapter))


def test_a_name_on_the_hub_is_told_how_to_be_had_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_args: Any, **_options: Any) -> Any:
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    with pytest.raises(
        UserError, match=r"could not be fetched \(We couldn't connect to the hub\): download the .*yourself"
    ):
        _local("Qwen/Qwen2.5-VL-3B-Instruct")


def test_no_network_is_one_line(tmp_path: Path) -> None:
    """A fresh process, since the hub's address and cache are settled when its library is imported."""
    code = (
        "from bev.errors import UserError\n"
        "from gpt4scene.vlm.local_files import find_model\n"
        "try: find_model('nobody/nothing', None)\n"
        "except UserError as error: print(error)\n"
    )
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nobody/nothing could not be fetched") and done.stdout.count("\n") == 1


def test_what_is_fetched_is_said_first(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.hf_api import ModelInfo

    def found(_api: Any, source: str, **_options: Any) -> ModelInfo:
        files = [{"rfilename": "model-1.safetensors", "size": 7_000_000_000}, {"rfilename": "x.bin", "size": 10**12}]
        return ModelInfo(id=source, siblings=files, cardData={"license": "apache-2.0"})

    def download(source: str, *, local_files_only: bool = False, **_options: Any) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        assert caplog.text
        return str(base)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", found)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("owner/model").folder == base
    assert "owner/model: 7.0 GB, apache-2.0" in caplog.text
