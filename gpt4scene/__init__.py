"""Scenes that a vision-language model can be shown."""
