"""What a user may say about a capture, for all readers alike."""

from dataclasses import dataclass
from pathlib import Path

from bev.scan import Axes, Poses


@dataclass(frozen=True)
class ReadOptions:
    """The arguments of `bev.read_scan`, which explains them; None stands for what the format itself defines."""

    depth_scale: float | None = None
    """Stored depth units per metre."""
    poses: Poses | None = None
    axes: Axes | None = None
    intrinsics: str | None = None
    surface: Path | None = None
    long_side_px: int = 1280
    """Larger images are made smaller when they are decoded, never afterwards."""
    ignore_poses: bool = False
    """Leave out the poses that the capture brings, as if it had none."""
