"""Scenes that a vision-language model is shown, and asked about."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt4scene.asking import Answer, ask
    from gpt4scene.scene.compose import compose
    from gpt4scene.scene.composite import compose_images
    from gpt4scene.scene.prepare import prepare
    from gpt4scene.scene.scene import Scene, load_scene

# imported on first use, so that `gpt4scene --help` does not wait for them
_HOMES = {
    "Answer": "gpt4scene.asking",
    "Scene": "gpt4scene.scene.scene",
    "ask": "gpt4scene.asking",
    "compose": "gpt4scene.scene.compose",
    "compose_images": "gpt4scene.scene.composite",
    "load_scene": "gpt4scene.scene.scene",
    "prepare": "gpt4scene.scene.prepare",
}

__all__ = ["Answer", "Scene", "ask", "compose", "compose_images", "load_scene", "prepare"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpt4scene' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
