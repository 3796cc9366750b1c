"""Models by name: how names are taken apart, which adapter they open, and what a wrong one says."""

from pathlib import Path

import pytest

from bev.errors import UserError
from gpt4scene.vlm.anthropic_messages import AnthropicMessages
from gpt4scene.vlm.names import open_model, split_adapter, split_base_url
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.replay import ReplayVLM


@pytest.mark.parametrize(
    ("name", "model", "base_url"),
    [
        ("gpt-4o", "gpt-4o", None),
        ("ft:gpt-4o:me::a1", "ft:gpt-4o:me::a1", None),
        ("tuned@http://127.0.0.1:8000/v1", "tuned", "http://127.0.0.1:8000/v1"),
        ("Qwen/Qwen2.5-VL-7B@https://x.org/v1", "Qwen/Qwen2.5-VL-7B", "https://x.org/v1"),
        ("/models/a@b:c@http://[::1]:80/v1", "/models/a@b:c", "http://[::1]:80/v1"),
        ("model@20260520", "model@20260520", None),
        ("m@HTTP://x/v1", "m", "HTTP://x/v1"),
    ],
)
def test_addresses_are_split_off(name: str, model: str, base_url: str | None) -> None:
    assert split_base_url(name) == (model, base_url)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m@localhost:8000/v1", "as in @http://localhost:8000/v1"),
        ("m@127.0.0.1:8000/v1", "as in @http://127.0.0.1:8000/v1"),
        ("m@box.lan:8000/v1", "as in @http://box.lan:8000/v1"),
        ("m@http:///v1", "names no host"),
        ("m@http://x:port/v1", "is no address"),
    ],
)
def test_faulty_addresses_say_how_they_are_written(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        split_base_url(name)
    assert said in str(caught.value)


def test_a_secret_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError) as caught:
        open_model("openai:m@http://me:hunter2@x.org/v1")
    assert "environment" in str(caught.value) and "hunter2" not in str(caught.value)


def test_adapters_are_split_off_at_the_last_plus(tmp_path: Path) -> None:
    assert split_adapter("Qwen/Qwen2.5-VL-7B") == ("Qwen/Qwen2.5-VL-7B", None)
    assert split_adapter("Qwen/Qwen2.5-VL-7B+out/run") == ("Qwen/Qwen2.5-VL-7B", "out/run")
    whole = tmp_path / "a+b"
    whole.mkdir()
    assert split_adapter(str(whole)) == (str(whole), None)
    assert split_adapter(f"{whole}+run") == (str(whole), "run")
    for name, missing in (("model+", "the adapter is missing"), ("+run", "the model is missing")):
        with pytest.raises(UserError, match=missing):
            split_adapter(name)


def test_a_script_is_opened_with_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text('{"reply": "x"}\n', encoding="utf-8")
    model = open_model(f" replay:{path} ", in_flight=3)
    assert isinstance(model, ReplayVLM)
    assert (model.in_flight, model.path) == (3, path)


def test_each_kind_opens_its_adapter_with_the_settings_given() -> None:
    """Nothing is sent by opening: neither model has a key here."""
    server = open_model("openai:Qwen/a@b@http://127.0.0.1:1/v1", in_flight=3, timeout_s=5.0)
    assert isinstance(server, OpenAIChat)
    assert (server.model, server.base_url, server.in_flight) == ("Qwen/a@b", "http://127.0.0.1:1/v1", 3)
    claude = open_model("anthropic:claude-sonnet-5", in_flight=2)
    assert isinstance(claude, AnthropicMessages)
    assert (claude.model, claude.name, claude.in_flight) == ("claude-sonnet-5", "anthropic:claude-sonnet-5", 2)
    with pytest.raises(UserError, match="no-such-folder"):
        open_model("local:./no-such-folder", batch_size=2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("opnai:gpt-4o", "did you mean openai:gpt-4o?"),
        ("OpenAI:gpt-4o", "did you mean openai:gpt-4o?"),
        ("gpt-4o", "did you mean openai:gpt-4o?"),
        ("claude-sonnet-5", "did you mean anthropic:claude-sonnet-5?"),
        ("http://127.0.0.1:8000/v1", "did you mean openai:MODEL@http://127.0.0.1:8000/v1?"),
        ("replay", "did you mean replay:FILE?"),
        ("ollama:llava", "no kind of model is called 'ollama'"),
        ("", "is named with its kind"),
    ],
)
def test_an_unknown_kind_lists_the_kinds(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        open_model(name)
    for form in ("openai:MODEL[@BASE_URL]", "anthropic:MODEL", "local:PATH_OR_ID[+ADAPTER]", "replay:FILE", said):
        assert form in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_kind_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"did you mean local:{tmp_path}"):
        open_model(str(tmp_path))


@pytest.mark.parametrize("name", ["openai:", "anthropic: ", "local:", "replay:", "openai:@http://x/v1"])
def test_an_empty_model_says_what_to_write(name: str) -> None:
    with pytest.raises(UserError, match="names no model; write "):
        open_model(name)


def test_a_setting_of_another_kind_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device means nothing to a model of kind 'openai'"):
        open_model("openai:gpt-4o", device="cuda")
    with pytest.raises(UserError, match="in_flight means nothing to a model of kind 'local'"):
        open_model("local:x", in_flight=4)


@pytest.mark.parametrize(("name", "variable"), [("openai:m", "OPENAI_BASE_URL"), ("anthropic:m", "ANTHROPIC_BASE_URL")])
@pytest.mark.parametrize("address", ["localhost:8000/v1", "http://me:hunter2@x.org/v1", "http://[x/v1", "ftp://x.org"])
def test_an_address_in_the_environment_is_checked_too(
    name: str, variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(UserError) as caught:
        open_model(name)
    assert variable in str(caught.value) and "hunter2" not in str(caught.value)


def test_an_address_that_is_empty_is_not_openais_own() -> None:
    with pytest.raises(UserError, match="the address after the @ is missing"):
        split_base_url("tuned@")
    assert split_base_url("model@v1") == ("model@v1", None)
