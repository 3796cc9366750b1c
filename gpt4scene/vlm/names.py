"""Models by name: "openai:gpt-4o", "local:PATH+ADAPTER"; each kind is one adapter, imported when it is named."""

import difflib
import re
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.vlm.access import check_address
from gpt4scene.vlm.protocol import VLM

_FORMS = {
    "openai": "openai:MODEL[@BASE_URL]",
    "anthropic": "anthropic:MODEL",
    "local": "local:PATH_OR_ID[+ADAPTER]",
    "replay": "replay:FILE",
}
_OPTIONS = {
    "openai": ("in_flight", "timeout_s"),
    "anthropic": ("in_flight", "timeout_s"),
    "local": ("device", "dtype", "batch_size"),
    "replay": ("in_flight",),
}
"""Which settings mean something to which kind."""
_BARE_ADDRESS = re.compile(r"@(?:localhost\b|\d+(?:\.\d+){3}\b|[\w.-]+:\d{2,5}(?:/|$))")


def open_model(
    name: str,
    *,
    in_flight: int | None = None,
    timeout_s: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
) -> VLM:
    """The model of that name, ready to be asked.

    Args:
        name: "openai:MODEL" is OpenAI's own, "openai:MODEL@BASE_URL" that of any server that speaks its protocol, such
            as "openai:tuned@http://127.0.0.1:8000/v1"; "anthropic:MODEL"; "local:PATH_OR_ID", a model in this process,
            with "+ADAPTER" for a LoRA folder; "replay:FILE", scripted replies.
        in_flight: how many questions are under way at once; hosted models.
        timeout_s: how long to wait for an answer, seconds; hosted models.
        device: "cuda", "cpu"; local models.
        dtype: "bfloat16", "float32"; local models.
        batch_size: how many questions of one scene are answered at once; local models.

    Raises:
        UserError: there is no such kind, the name is not whole, a setting means nothing to this kind, or what the
            adapter says: no key, no such model.
    """
    kind, rest = _kind(name)
    given = {
        "in_flight": in_flight,
        "timeout_s": timeout_s,
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
    }
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    lost = [key for key in options if key not in _OPTIONS[kind]]
    if lost:
        raise UserError(f"{name}: {lost[0]} means nothing to a model of kind {kind!r}; leave it out")
    if kind == "openai":
        model, base_url = split_base_url(rest)
        from gpt4scene.vlm.openai_chat import OpenAIChat

        return OpenAIChat(name, model, base_url, **options)
    if kind == "anthropic":
        from gpt4scene.vlm.anthropic_messages import AnthropicMessages

        return AnthropicMessages(name, rest, **options)
    if kind == "local":
        path, adapter = split_adapter(rest)
        from gpt4scene.vlm.local import LocalVLM

        return LocalVLM(name, path, adapter, **options)
    from gpt4scene.vlm.replay import ReplayVLM

    return ReplayVLM(name, rest, **options)


def settings_of(name: str) -> tuple[str, ...]:
    """Which settings of `open_model` mean something to the model of that name.

    Raises:
        UserError: there is no such kind of model, or the name is not whole.
    """
    return _OPTIONS[_kind(name)[0]]


def split_base_url(name: str) -> tuple[str, str | None]:
    """MODEL and BASE_URL of "MODEL@BASE_URL"; MODEL may hold slashes, colons and @ itself.

    Raises:
        UserError: MODEL is missing, or the address is not one of the form http://HOST[:PORT]/PATH.
    """
    found = re.search(r"@(?=https?://)", name, flags=re.IGNORECASE)
    if found is None:
        if name.endswith("@"):  # a variable that is not set; the scene would go to OpenAI's own server
            raise UserError(
                f"openai:{name}: the address after the @ is missing; write openai:{name}http://HOST:PORT/v1"
            )
        bare = _BARE_ADDRESS.search(name)
        if bare:
            address = name[bare.start() + 1 :]
            raise UserError(f"openai:{name}: an address starts with http:// or https://, as in @http://{address}")
        return name, None
    model, base_url = name[: found.start()], name[found.end() :]
    check_address(base_url)
    if not model:
        raise UserError(f"openai:{name}: the model is missing before the @; write openai:MODEL@{base_url}")
    return model, base_url


def split_adapter(name: str) -> tuple[str, str | None]:
    """PATH_OR_ID and ADAPTER of "PATH_OR_ID[+ADAPTER]"; what exists as it stands is not split, else at the last "+".

    Raises:
        UserError: one of the two is missing.
    """
    if "+" not in name or Path(name).expanduser().exists():
        return name, None
    model, adapter = name.rsplit("+", 1)
    if not model or not adapter:
        raise UserError(f"{name}: {'the adapter' if model else 'the model'} is missing; write MODEL+ADAPTER")
    return model, adapter


def _kind(name: str) -> tuple[str, str]:
    kind, colon, rest = name.strip().partition(":")
    if not colon:
        raise UserError(f"{name!r}: a model is named with its kind, one of {_forms()}{_guess(name)}")
    if kind not in _FORMS:
        raise UserError(f"{name!r}: no kind of model is called {kind!r}; known are {_forms()}{_guess(name)}")
    if not rest.strip() or rest.startswith("@"):
        raise UserError(f"{name!r}: names no model; write {_FORMS[kind]}")
    return kind, rest.strip()


def _forms() -> str:
    return ", ".join(_FORMS.values())


def _guess(name: str) -> str:
    """What was probably meant, as the end of a sentence; empty where nothing comes to mind."""
    kind, _, rest = name.strip().partition(":")
    near = difflib.get_close_matches(kind.lower(), _FORMS, n=1)
    if near and rest:
        return f"; did you mean {near[0]}:{rest}?"
    if near:
        return f"; did you mean {_FORMS[near[0]]}?"
    if kind.lower() in ("http", "https"):
        return f"; did you mean openai:MODEL@{name.strip()}?"
    if Path(name.strip()).expanduser().is_dir():
        return f"; did you mean local:{name.strip()}?"
    vendor = {"gpt": "openai", "claude": "anthropic"}.get(kind.lower().split("-")[0])
    return f"; did you mean {vendor}:{name.strip()}?" if vendor else ""
