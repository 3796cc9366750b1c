"""Scans, cameras, surfaces and the bird's-eye view."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bev.camera import Camera, OrthoCamera
    from bev.errors import UserError
    from bev.fusion import fuse
    from bev.readers import read_scan
    from bev.reconstruction import reconstruct
    from bev.render import Bev, render_bev
    from bev.sampling import coverage_sample, uniform_sample
    from bev.scan import Frame, Scan
    from bev.surface import Surface, SurfaceCaster, load_surface, save_surface

# imported on first use, so that `gpt4scene --help` does not wait for them
_HOMES = {
    "Bev": "bev.render",
    "Camera": "bev.camera",
    "Frame": "bev.scan",
    "OrthoCamera": "bev.camera",
    "Scan": "bev.scan",
    "Surface": "bev.surface",
    "SurfaceCaster": "bev.surface",
    "UserError": "bev.errors",
    "coverage_sample": "bev.sampling",
    "fuse": "bev.fusion",
    "load_surface": "bev.surface",
    "read_scan": "bev.readers",
    "reconstruct": "bev.reconstruction",
    "render_bev": "bev.render",
    "save_surface": "bev.surface",
    "uniform_sample": "bev.sampling",
}

__all__ = [
    "Bev",
    "Camera",
    "Frame",
    "OrthoCamera",
    "Scan",
    "Surface",
    "SurfaceCaster",
    "UserError",
    "coverage_sample",
    "fuse",
    "load_surface",
    "read_scan",
    "reconstruct",
    "render_bev",
    "save_surface",
    "uniform_sample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bev' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
