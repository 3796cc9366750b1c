"""Depth with weights: networks that see depth, and cameras too, in images alone."""

from bev.learned.depth import learned_depth
from bev.learned.models import gives_poses, is_metric, load_model, parse_model
from bev.learned.protocol import DepthModel, Prediction
from bev.learned.reconstruction import learned_reconstruction

__all__ = [
    "DepthModel",
    "Prediction",
    "gives_poses",
    "is_metric",
    "learned_depth",
    "learned_reconstruction",
    "load_model",
    "parse_model",
]
