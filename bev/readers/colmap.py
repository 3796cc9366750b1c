"""COLMAP: a sparse model, text or binary, in `sparse/0/`, `sparse/`, `colmap/sparse/0/` or the folder itself.

Images lie in `images/` beside it, under the names that the model has, subfolders included. Structure from motion does
not know how large the world is, nor where up is: units are arbitrary, and there is no up hint. Its points come as
`Scan.sparse`; a mesh of COLMAP's dense reconstruction, where there is one, as the scan's surface.

A folder that `colmap image_undistorter` wrote (`dense/`, with `images/` and `sparse/` in it) is read likewise.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bev.errors import UserError
from bev.readers.colmap_model import ColmapModel, image_count, model_ending, read_model
from bev.readers.lenses import Picture, frame_numbers, gone, lenses_checked, moments_of, natural_key
from bev.readers.options import ReadOptions
from bev.readers.recording import Recording, scan_from_recording
from bev.scan import Scan
from bev.sparse import SparsePoints

LOOKED_FOR = "cameras and images, .txt or .bin, in sparse/0, sparse, colmap/sparse/0 or the folder itself"

_MODEL_FOLDERS = (".", "sparse", "colmap/sparse", "colmap", "dense/sparse", "dense/0/sparse", "colmap_text")
"""Each, or its numbered subfolders."""
_IMAGE_FOLDERS = ("images", "input", ".")
_MESHES = ("meshed-poisson.ply", "meshed-delaunay.ply")
_SEEN_MIN = 2


@dataclass(frozen=True)
class _Found:
    """Where a model and its images are."""

    folder: Path
    warnings: tuple[str, ...] = ()


def looks_like(path: Path) -> bool:
    """Whether a model is in one of the usual places."""
    return path.is_dir() and bool(_models(path))


def read(path: Path, options: ReadOptions) -> Scan:
    """Match the images of a model with the files in the folder of images.

    A frame's number is the one that its name ends in where those are unique and ascending, else its place among the
    names.

    Args:
        path: the folder that holds model and images, or the model's own.
        options: `intrinsics` are of the images as they lie in the folder, without distortion.

    Raises:
        UserError: no model, or a malformed or empty one; more than half of the images are gone; images of another size
            than the model's cameras; a camera model that is not supported.
    """
    found = _largest_model(path)
    model = read_model(found.folder)
    order = sorted(range(len(model.names)), key=lambda row: natural_key(model.names[row]))
    files, looked_in = _image_files(path, found.folder, model.names)
    missing = [model.names[row] for row in order if row not in files]
    warnings = found.warnings + gone(model.names, missing, str(found.folder), looked_in)
    rows = [row for row in order if row in files]
    pictures = [Picture(model.names[row], str(files[row]), model.lenses[row]) for row in rows]
    pictures = lenses_checked(pictures, options.intrinsics)
    indices = frame_numbers([picture.name for picture in pictures])
    scan = scan_from_recording(
        Recording(
            name=path.name,
            path=path,
            reader="colmap",
            moments=moments_of(pictures, indices, long_side_px=options.long_side_px),
            stored_poses=model.camera_from_world[rows],
            pose_names=[f"{found.folder} image {picture.name}" for picture in pictures],
            depth_units_per_m=1.0,
            poses="camera_from_world",
            surface_path=_mesh(path, found.folder),
            files_beside=tuple(file for file in files.values() if not file.is_relative_to(path)),
            warnings=warnings + _depth_elsewhere(path),
        ),
        options,
    )
    sparse = _sparse(model, dict(zip((model.image_ids[row] for row in rows), indices, strict=True)), scan)
    return replace(scan, units="arbitrary", sparse=sparse, reading=None)


def _models(path: Path) -> list[Path]:
    """The folders of the first usual place that has a model."""
    for place in _MODEL_FOLDERS:
        folder = path / place
        if model_ending(folder) is not None:
            return [folder]
        if folder.is_dir():
            numbered = [entry for entry in folder.iterdir() if entry.name.isdecimal() and model_ending(entry)]
            if numbered:
                return sorted(numbered, key=lambda entry: int(entry.name))
    return []


def _largest_model(path: Path) -> _Found:
    folders = _models(path)
    if not folders:
        raise UserError(f"{path}: holds no COLMAP model; looked for {LOOKED_FOR}")
    if len(folders) == 1:
        return _Found(folders[0])
    counts = [image_count(folder) for folder in folders]
    best = int(np.argmax(counts))
    share = counts[best] / max(1, sum(counts))
    return _Found(
        folders[best],
        (
            f"{folders[best].parent} holds {len(folders)} models, each in a world of its own; the largest, "
            f"{folders[best].name}, has {counts[best]} of their {sum(counts)} images ({share:.0%}), the others are "
            "left out",
        ),
    )


def _image_files(path: Path, model: Path, names: list[str]) -> tuple[dict[int, Path], str]:
    """Rows of `names` to files, of the folder that has most of them; and where was looked, for messages."""
    bases = [folder for folder in (model, *model.parents) if folder.is_relative_to(path)]
    if path in (model, model.parent):
        bases += [path.parent, path.parent.parent]  # what was given is the model, or `sparse`
    folders = [base / name for base in bases for name in _IMAGE_FOLDERS]
    best: dict[int, Path] = {}
    for folder in folders:
        there = {row: folder / name for row, name in enumerate(names) if (folder / name).is_file()}
        if len(there) > len(best):
            best = there
        if len(best) == len(names):
            break
    return best, " or ".join(str(folder) for folder in folders)


def _mesh(path: Path, model: Path) -> Path | None:
    """A mesh of COLMAP's dense reconstruction."""
    places = dict.fromkeys((path, path / "dense", path / "dense" / "0", model.parent))
    return next((place / name for place in places for name in _MESHES if (place / name).is_file()), None)


def _depth_elsewhere(path: Path) -> tuple[str, ...]:
    """A note where a `transforms.json` beside knows depth, which a model does not."""
    file = path / "transforms.json"
    if not file.is_file() or '"depth_file_path"' not in file.read_text(encoding="utf-8", errors="replace"):
        return ()
    return (f"{file} names depth images, which are left aside: --format transforms reads them",)


def _sparse(model: ColmapModel, index_of: dict[int, int], scan: Scan) -> SparsePoints | None:
    """The points that at least two frames of the scan saw; None where there are none, or no world to have them in."""
    if not scan.has_poses or not len(model.tracks):
        return None
    frames = {frame.index for frame in scan.frames}
    image_ids, back = np.unique(model.tracks[:, 0], return_inverse=True)
    indices = np.array([index_of.get(image_id, -1) for image_id in image_ids.tolist()], np.int64)
    indices[~np.isin(indices, list(frames))] = -1
    seen = np.stack([indices[back], model.tracks[:, 1]], axis=1)
    seen = np.unique(seen[seen[:, 0] >= 0], axis=0)
    times = np.bincount(seen[:, 1], minlength=len(model.points))
    kept = (times >= _SEEN_MIN) & np.isfinite(model.points).all(axis=1)
    if not kept.any():
        return None
    new_row = np.cumsum(kept) - 1
    seen = seen[kept[seen[:, 1]]]
    return SparsePoints(model.points[kept], np.stack([seen[:, 0], new_row[seen[:, 1]]], axis=1))
