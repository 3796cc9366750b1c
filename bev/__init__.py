"""Scans, cameras, surfaces and the bird's-eye view."""

from bev.camera import Camera, OrthoCamera
from bev.errors import UserError
from bev.fusion import fuse
from bev.readers import read_scan
from bev.reconstruct import reconstruct
from bev.render import Bev, render_bev
from bev.sampling import coverage_sample, uniform_sample
from bev.scan import Frame, Scan
from bev.surface import Surface, SurfaceCaster, load_surface, save_surface

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
