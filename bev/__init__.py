"""Scans, cameras, surfaces and the bird's-eye view."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bev.camera import Camera, OrthoCamera
    from bev.errors import UserError
    from bev.fusion import fuse
    from bev.keyframes import key_frames
    from bev.learned import learned_depth, learned_reconstruction
    from bev.posing import find_poses
    from bev.readers import read_scan
    from bev.reconstruction import reconstruct
    from bev.render import Bev, render_bev
    from bev.sampling import coverage_sample, uniform_sample
    from bev.scan import Frame, Scan
    from bev.sparse import SparsePoints
    from bev.stereo import stereo_depth
    from bev.surface import Surface, SurfaceCaster, load_surface, save_surface

# imported on first use, so that `gpt4scene --help` does not wait for them
_HOMES = {
    "Bev": "bev.render",
    "Camera": "bev.camera",
    "Frame": "bev.scan",
    "OrthoCamera": "bev.camera",
    "Scan": "bev.scan",
    "SparsePoints": "bev.sparse",
    "Surface": "bev.surface",
    "SurfaceCaster": "bev.surface",
    "UserError": "bev.errors",
    "coverage_sample": "bev.sampling",
    "find_poses": "bev.posing",
    "fuse": "bev.fusion",
    "key_frames": "bev.keyframes",
    "learned_depth": "bev.learned",
    "learned_reconstruction": "bev.learned",
    "load_surface": "bev.surface",
    "read_scan": "bev.readers",
    "reconstruct": "bev.reconstruction",
    "render_bev": "bev.render",
    "save_surface": "bev.surface",
    "stereo_depth": "bev.stereo",
    "uniform_sample": "bev.sampling",
}

__all__ = [
    "Bev",
    "Camera",
    "Frame",
    "OrthoCamera",
    "Scan",
    "SparsePoints",
    "Surface",
    "SurfaceCaster",
    "UserError",
    "coverage_sample",
    "find_poses",
    "fuse",
    "key_frames",
    "learned_depth",
    "learned_reconstruction",
    "load_surface",
    "read_scan",
    "reconstruct",
    "render_bev",
    "save_surface",
    "stereo_depth",
    "uniform_sample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bev' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
