"""The objects of prepared scenes beside those that ScanNet's annotators marked, both in ScanNet's axis-aligned world.

ScanRefer, Scan2Cap and Multi3DRefer number an object by `objectId` of ScanNet's `<scene>.aggregation.json`, which is
also the last column of the boxes that ScanRefer's preprocessing writes (ScanRefer 9d74830
data/scannet/load_scannet_data.py). Its boxes are axis-aligned where `axisAlignment` of `<scene>.txt` has been applied.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bev.errors import UserError
from bev.ply import read_ply
from bev.readers.scannet import MESH_ENDING, axis_alignment
from gpt4scene.benchmarks.annotations import as_rows, needed, read_json
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.metrics.boxes import box_around
from gpt4scene.scene.contents import SceneContents
from markers.proposals import proposal_files

_log = logging.getLogger(__name__)
_AGGREGATION, _BOXES_ALIGNED, _BOXES = ".aggregation.json", "_aligned_bbox.npy", "_bbox.npy"
_MESHES = (MESH_ENDING, "_vh_clean_2.labels.ply", "_vh_clean.ply")
_NEAR_M, _NEAR_SHARE_MIN = 0.1, 0.3
"""So many of a scene's vertices must be as near to an annotated one; else it is another room, or another world."""
_SAMPLES = 4000
_OFF_M_MAX = 0.25
"""Boxes of one object in two worlds have centres and heights that differ by less, in the median."""


@dataclass(frozen=True, eq=False)
class _Annotation:
    where: Path
    true: dict[int, TrueObject]
    points: np.ndarray | None
    """(V, 3) metres, the annotated mesh's vertices in the world of the boxes; None where there is no mesh."""
    boxes_from_scannet: np.ndarray
    """(4, 4) from ScanNet's own world into that of the boxes."""
    alignment: np.ndarray
    """(4, 4) ScanNet's axisAlignment."""


def find_scan(name: str, scans_root: Path) -> Path:
    """The folder that holds a scan's annotation.

    Raises:
        UserError: there is none.
    """
    for folder in (scans_root / name, scans_root / "scans" / name, scans_root):
        if any((folder / f"{name}{ending}").is_file() for ending in (_AGGREGATION, _BOXES_ALIGNED, _BOXES)):
            return folder
    raise UserError(
        f"scene {name}: {scans_root} holds neither {name}/{name}{_AGGREGATION} nor {name}{_BOXES_ALIGNED}; name the"
        " folder of ScanNet's scans"
    )


def objects_of_scene(scene: SceneContents, scan_folder: Path, *, name: str | None = None) -> SceneObjects:
    """A prepared scene's objects and the annotated ones of its scan, in the annotation's world.

    Proposed boxes are around each object's vertices, as ScanNet's are, not the scene's own turned ones.

    Args:
        scene: of the scan.
        scan_folder: holds `<scene>.aggregation.json` with the segments, the mesh that they count and `<scene>.txt`;
            or `<scene>_aligned_bbox.npy` of ScanRefer's preprocessing.
        name: of the scan, where the folder holds several.

    Raises:
        UserError: the scene has no metric scale, its surface does not lie on the annotated mesh, or files are missing,
            damaged or of another mesh.
    """
    if not scene.is_metric:
        raise UserError(
            f"scene {scene.name}: has no metric scale, so its boxes cannot be held against {scan_folder}; prepare it"
            " with --scale or --known-object"
        )
    annotation = _read(scan_folder, name)
    boxes_from_world = _boxes_from_source(scene, annotation) @ np.linalg.inv(scene.world_from_source)
    points = _moved(scene.surface.vertices, boxes_from_world)
    proposed = {i.id: box_around(points[scene.vertex_ids == i.id]) for i in scene.instances}
    return SceneObjects(annotation.true, proposed)


def check_numbers(scene: SceneContents, proposed: Mapping[int, np.ndarray]) -> None:
    """Complain where a scene's numbers are not those of the rows that proposed objects come from.

    The two worlds differ by a motion that nobody knows, which changes neither heights nor distances between objects. A
    scene whose objects were found otherwise, or whose rows count from another number, has others.

    Args:
        scene: whose images carry the numbers.
        proposed: by number, (6,) as `SceneObjects.proposed`.

    Raises:
        UserError: most of the scene's objects are elsewhere, or of another height, than the rows with their numbers.
    """
    own = {instance.id: instance.box for instance in scene.instances}
    both = sorted(set(own) & set(proposed))
    told = f"scene {scene.name}: its numbers are not those of the attribute file's rows"
    mend = "; prepare it from the same instances (--proposals), whose rows count from 0, or give --scans"
    if not both and own and proposed:
        raise UserError(f"{told}, which go from {min(proposed)} to {max(proposed)}{mend}")
    if not both or not scene.is_metric:
        return
    centers = np.array([own[id].center for id in both]), np.array([proposed[id][:3] for id in both])
    heights = np.array([[own[id].size[2], proposed[id][5]] for id in both])
    apart = [np.linalg.norm(each[:, None] - each[None], axis=-1) for each in centers]
    off_m = max(float(np.median(np.abs(heights[:, 0] - heights[:, 1]))), float(np.median(np.abs(apart[0] - apart[1]))))
    if off_m > _OFF_M_MAX:
        raise UserError(f"{told}: heights of objects or distances between them differ by {off_m:.2f} m{mend}")


def _boxes_from_source(scene: SceneContents, annotation: _Annotation) -> np.ndarray:
    """(4, 4) from the world of the scene's capture into that of the boxes.

    Our readers of ScanNet align a capture where they find `<scene>.txt` beside it, and a capture may have come another
    way: so both are tried, and the scene must lie on the annotated mesh.
    """
    unaligned, aligned = (
        annotation.boxes_from_scannet,
        annotation.boxes_from_scannet @ np.linalg.inv(annotation.alignment),
    )
    ours = scene.source.reader in ("scannet", "sens")
    ways = [aligned, unaligned] if ours else [unaligned, aligned]
    if annotation.points is None:
        _log.warning("%s: has no mesh to check that scene %s lies on it", annotation.where, scene.name)
        return ways[0]
    vertices = scene.surface.vertices
    sample = vertices[:: max(1, len(vertices) // _SAMPLES)]
    source_from_world = np.linalg.inv(scene.world_from_source)
    shares = [_near_share(_moved(sample, way @ source_from_world), annotation.points) for way in ways]
    if max(shares) < _NEAR_SHARE_MIN:
        raise UserError(
            f"scene {scene.name}: only {100 * max(shares):.0f} % of its surface lies within {100 * _NEAR_M:.0f} cm of"
            f" the mesh of {annotation.where}; is it the scan that the scene was made of?"
        )
    return ways[int(np.argmax(shares))]


def _read(folder: Path, name: str | None) -> _Annotation:
    prefix = name or folder.name
    if not (folder / f"{prefix}{_AGGREGATION}").is_file():
        files = sorted(folder.glob(f"*{_AGGREGATION}")) or sorted(folder.glob(f"*{_BOXES_ALIGNED}"))
        if len(files) == 1 and name is None:
            prefix = files[0].name.removesuffix(_AGGREGATION).removesuffix(_BOXES_ALIGNED)
    alignment = _alignment(folder / f"{prefix}.txt")
    if (folder / f"{prefix}{_AGGREGATION}").is_file():
        return _read_annotated(folder / f"{prefix}{_AGGREGATION}", prefix, alignment)
    for ending, boxes_from_scannet in ((_BOXES_ALIGNED, alignment), (_BOXES, np.eye(4))):
        path = folder / f"{prefix}{ending}"
        if path.is_file():
            vertices = path.with_name(path.name.replace("_bbox", "_vert"))
            points = _array(vertices)[:, :3] if vertices.is_file() else None
            return _Annotation(path, _boxes_of_file(path), points, boxes_from_scannet, alignment)
    raise UserError(
        f"{folder}: holds neither {prefix}{_AGGREGATION} nor {prefix}{_BOXES_ALIGNED}; give the folder of the scan that"
        " was annotated"
    )


def _alignment(file: Path) -> np.ndarray:
    found = axis_alignment(file) if file.is_file() else None
    if found is None:
        _log.warning("%s: holds no axisAlignment; boxes are along the axes of the scan as it is", file)
    return np.eye(4) if found is None else found


def _read_annotated(aggregation: Path, prefix: str, alignment: np.ndarray) -> _Annotation:
    """Boxes around the vertices of each object.

    An annotator may give a segment to two objects: both have it, as in Chat-Scene's attribute files; ScanRefer's
    preprocessing leaves it to the later one.
    """
    segments_path, _ = proposal_files(aggregation)
    segments = np.asarray(needed(_object(segments_path), "segIndices", list, str(segments_path)))
    if segments.ndim != 1 or not np.issubdtype(segments.dtype, np.integer):
        raise UserError(f"{segments_path}: segIndices must hold an integer for every vertex; is it ScanNet's file?")
    points = _moved(_mesh(aggregation.parent, prefix, len(segments)), alignment)
    true: dict[int, TrueObject] = {}
    groups = needed(_object(aggregation), "segGroups", list, str(aggregation))
    for group, where in as_rows(groups, f"{aggregation}, segGroups"):
        id = needed(group, "objectId", int, where)
        if id in true or id < 0:
            raise UserError(f"{where}: objectId {id} is negative or was there before; ids must be unique")
        mine = np.isin(segments, np.asarray(needed(group, "segments", list, where), np.int64))
        if mine.any():
            true[id] = TrueObject(needed(group, "label", str, where), box_around(points[mine]))
        else:
            _log.warning("%s: object %d has no vertices; it is left out", where, id)
    return _Annotation(aggregation, true, points, alignment, alignment)


def _mesh(folder: Path, prefix: str, count: int) -> np.ndarray:
    """Vertices (count, 3) of the mesh that the segments count."""
    named = [folder / f"{prefix}{ending}" for ending in _MESHES]
    there = [*(path for path in named if path.is_file()), *(p for p in sorted(folder.glob("*.ply")) if p not in named)]
    counts = {}
    for path in there:
        vertices = read_ply(path).vertices
        if len(vertices) == count:
            return vertices
        counts[path.name] = len(vertices)
    found = ", ".join(f"{name} with {number}" for name, number in counts.items()) or "no .ply at all"
    raise UserError(f"{folder}: the annotation counts {count} vertices; needs {prefix}{MESH_ENDING}, found {found}")


def _boxes_of_file(path: Path) -> dict[int, TrueObject]:
    """ScanRefer's rows: centre, size, class and objectId; all zero for an object without vertices."""
    rows = _array(path)
    if rows.shape[1] < 8:
        raise UserError(f"{path}: must have 8 columns (centre, size, class, objectId), has {rows.shape[1]}")
    return {int(row[-1]): TrueObject("object", row[:6].copy()) for row in rows if (row[3:6] > 0).any()}


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: does not read as a .npy array ({error})") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not np.issubdtype(array.dtype, np.number):
        raise UserError(f"{path}: must hold rows of numbers; is it of ScanRefer's preprocessing?")
    return array.astype(np.float64)


def _object(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold an object, holds a {type(content).__name__}; is it ScanNet's file?")
    return content


def _near_share(points: np.ndarray, others: np.ndarray) -> float:
    from scipy.spatial import KDTree

    distance, _ = KDTree(others).query(points, distance_upper_bound=_NEAR_M)
    return float(np.isfinite(distance).mean())


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
