"""Posed depth to one surface: truncated signed distances fused on Open3D's tensor `VoxelBlockGrid`."""

import numpy as np

from bev.camera import invert_rigid
from bev.errors import UserError, require
from bev.progress import track
from bev.scan import Frame, Scan
from bev.surface import Surface, canonical_order

_BLOCK_RESOLUTION = 8
_FIRST_BLOCK_COUNT = 10_000
_UNCOLORED = 128
_TRUNCATION_VOXELS = 6.0
"""Wider rims grow around objects (of a synthetic room's vertices 3.5 % lie over 5 cm off the true surface at Open3D's
8 voxels, 1.1 % at 6, 0.4 % at 5); narrower, thin and noisy things fall apart into more pieces."""


def fuse(
    scan: Scan,
    *,
    voxel_size_m: float = 0.02,
    depth_max_m: float = 4.0,
    weight_min: int = 4,
    device: str = "CPU:0",
    progress: bool = False,
) -> Surface:
    """Fuse all depth of a scan into a mesh, grey until `bev.orthophoto` colours it.

    Args:
        scan: frames with depth, in any world frame.
        voxel_size_m: edge of a voxel, metres.
        depth_max_m: depth beyond this is left out: sensors' noise grows with its square.
        weight_min: frames that must have seen a place, but no more than a third of those with depth.
        device: Open3D device, `CPU:0` or `CUDA:0`.
        progress: show a bar.

    Returns:
        A mesh in the scan's world, in canonical order.

    Raises:
        UserError: no frame has depth within `depth_max_m`, or there is no such device.
    """
    o3d = require("open3d")
    _check_device(device)
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (o3d.core.float32, o3d.core.float32),
        ((1,), (1,)),
        voxel_size=voxel_size_m,
        block_resolution=_BLOCK_RESOLUTION,
        block_count=_FIRST_BLOCK_COUNT,
        device=o3d.core.Device(device),
    )
    fused = 0
    for frame in track(scan.frames, "fuse depth", show=progress):
        fused += _integrate(grid, frame, depth_max_m, device)
    if not fused:
        raise UserError(
            f"{scan.path}: no depth within {depth_max_m} m in any of {len(scan.frames)} frames; "
            "is --depth-scale right, or the room larger than --depth-max-m?"
        )
    mesh = _extracted(grid, max(1, min(weight_min, round(fused / 3))))
    if mesh is None:
        raise UserError(f"{scan.path}: the depth of {fused} frames does not meet in a surface; are the poses right?")
    return _oriented(mesh)


def _check_device(name: str) -> None:
    o3d = require("open3d")
    cuda = o3d.core.Device.DeviceType.CUDA
    try:
        device = o3d.core.Device(name)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _wrong_device(name) from error
    if device.get_type() not in (cuda, o3d.core.Device.DeviceType.CPU) or device.get_id() < 0:
        raise _wrong_device(name)
    if device.get_type() == cuda and device.get_id() >= o3d.core.cuda.device_count():
        raise UserError(f"--device {name}: Open3D finds {o3d.core.cuda.device_count()} CUDA devices here; use CPU:0")


def _wrong_device(name: str) -> UserError:
    return UserError(f"--device {name}: must be CPU:0 or CUDA:0, or another number for another GPU")


def _integrate(grid, frame: Frame, depth_max_m: float, device: str) -> bool:
    o3d = require("open3d")
    if frame.read_depth is None or frame.depth_camera is None:
        return False
    depth = frame.read_depth()
    if not ((depth > 0) & (depth < depth_max_m)).any():
        return False
    image = o3d.t.geometry.Image(np.ascontiguousarray(depth)).to(o3d.core.Device(device))
    K = o3d.core.Tensor(frame.depth_camera.K)
    camera_from_world = o3d.core.Tensor(invert_rigid(frame.depth_camera.world_from_camera))
    blocks = grid.compute_unique_block_coordinates(image, K, camera_from_world, 1.0, depth_max_m, _TRUNCATION_VOXELS)
    grid.integrate(blocks, image, K, camera_from_world, 1.0, depth_max_m, _TRUNCATION_VOXELS)
    return True


def _extracted(grid, weight_min: int):
    """The mesh where at least `weight_min` frames measured; None where there is none."""
    try:
        # Open3D keeps what has more than the threshold
        mesh = grid.extract_triangle_mesh(weight_min - 0.5).cpu()
    except RuntimeError as error:
        if "SetVertexColors" in str(error):  # how it fails over an empty mesh
            return None
        raise
    return mesh if len(mesh.vertex.positions) else None


def _oriented(mesh) -> Surface:
    """Open3D's mesh as a `Surface`: its faces already run counter-clockwise seen from the free side."""
    vertices = mesh.vertex.positions.numpy()
    grey = np.full(vertices.shape, _UNCOLORED, np.uint8)
    faces = mesh.triangle.indices.numpy()
    return canonical_order(Surface(vertices, faces, grey, mesh.vertex.normals.numpy()))
