"""Scenes that a vision-language model can be shown."""

from gpt4scene.scene.compose import compose
from gpt4scene.scene.composite import compose_images
from gpt4scene.scene.prepare import prepare
from gpt4scene.scene.scene import Scene, load_scene

__all__ = ["Scene", "compose", "compose_images", "load_scene", "prepare"]
