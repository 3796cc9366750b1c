"""Ready-made 3D instances that index a capture's own mesh: per-vertex ids, ScanNet's annotation, Mask3D's output."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bev.errors import UserError
from bev.surface import Surface
from markers.instance import Instance, fit_box

_log = logging.getLogger(__name__)
_UNLABELLED = "object"
_ID_MAX = np.iinfo(np.int32).max
_SEGMENTS, _AGGREGATION = ".segs.json", ".aggregation.json"

Proposal = tuple[int, str, float, np.ndarray]
"""id, label, score, and the rows of the mesh's vertices."""


def load_proposals(
    path: Path, surface: Surface, *, score_min: float = 0.0, label_names: dict[int, str] | None = None
) -> list[Instance]:
    """Read instances that somebody else's 3D segmenter, or an annotator, made for a capture's own mesh.

    Three formats, told apart by name:
    - `X.npy`: (V,) integers, the instance of every vertex, 0 included; negative = none.
    - ScanNet: `<scene>*.segs.json` with `<scene>*.aggregation.json` beside it; either file, or their folder.
    - Mask3D: `<scene>.txt` with rows `pred_mask/xxx.txt label_id score`, and those mask files, one 0 or 1 per vertex
      and line; the file, or a folder that holds one such file. Ids are row numbers from 0. Where masks overlap, a
      vertex goes to the higher score, then to the earlier row.

    Ids are kept as they are. The files count vertices in the order of the mesh *file*: load against the mesh as
    `bev.surface.load_surface` reads it, before it is cropped or put in canonical order, and carry `vertices` over.

    Args:
        path: file or folder.
        surface: the capture's own mesh, in file order.
        score_min: Mask3D rows that score less are left out.
        label_names: names of Mask3D's label ids; without it a label is the number as text.

    Raises:
        UserError: a file is missing, does not parse, or counts other vertices than the mesh has.
    """
    read = _reader(path)
    proposals = read(path, len(surface.vertices))
    if read is _read_mask3d:
        names = label_names or {}
        proposals = [(i, names.get(int(label), label), s, v) for i, label, s, v in proposals if s >= score_min]
        proposals = _without_overlap(proposals, len(surface.vertices))
    kept = [p for p in proposals if len(p[3])]
    if len(kept) < len(proposals):
        _log.warning("%s: %d of %d instances have no vertices", path, len(proposals) - len(kept), len(proposals))
    if not kept:
        raise UserError(f"{path}: holds no instance with vertices; is it the file for this scene?")
    instances = []
    for number, label, score, vertices in kept:
        label_share = 0.0 if label == _UNLABELLED else 1.0  # the file's word is all the votes there are
        box = fit_box(surface.vertices[vertices])
        instances.append(Instance(number, label, vertices, box, "proposals", label_share, score))
    return instances


def _reader(path: Path) -> Callable[[Path, int], list[Proposal]]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of instances")
    if path.suffix == ".npy":
        return _read_ids
    if path.is_dir():
        return _read_scannet if any(path.glob(f"*{_AGGREGATION}")) else _read_mask3d
    if path.name.endswith((_SEGMENTS, _AGGREGATION)):
        return _read_scannet
    if path.suffix == ".txt":
        return _read_mask3d
    raise UserError(
        f"{path}: not a format of instances: give per-vertex ids (.npy), ScanNet's {_AGGREGATION}, or Mask3D's .txt"
    )


def _read_ids(path: Path, vertex_count: int) -> list[Proposal]:
    try:
        ids = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: does not read as a .npy array ({error})") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        kind = f"{ids.dtype} of shape {ids.shape}" if isinstance(ids, np.ndarray) else "an archive"
        raise UserError(f"{path}: holds {kind}; needed are (V,) integers, one id per vertex, -1 = none")
    _check_count(path, len(ids), vertex_count)
    if ids.max(initial=0) > _ID_MAX:
        raise UserError(f"{path}: holds the id {ids.max()}; ids go up to {_ID_MAX} (was -1 saved as unsigned?)")
    return [(int(i), _UNLABELLED, 1.0, _rows(ids == i)) for i in np.unique(ids[ids >= 0])]


def _read_scannet(path: Path, vertex_count: int) -> list[Proposal]:
    segments_path, aggregation_path = _scannet_pair(path)
    segments = _field(segments_path, "segIndices", list)
    try:
        segments = np.array(segments, np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{segments_path}: segIndices holds something that is no integer ({error})") from error
    _check_count(segments_path, len(segments), vertex_count)
    proposals: list[Proposal] = []
    for number, group in enumerate(_field(aggregation_path, "segGroups", list)):
        where = f"{aggregation_path}: segGroups[{number}]"
        try:
            instance_id, label = int(group["objectId"]), str(group["label"])
            members = np.array(group["segments"], np.int64).reshape(-1)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{where} needs objectId, label and segments ({error!r})") from error
        if instance_id < 0 or instance_id in {p[0] for p in proposals}:
            raise UserError(f"{where}: objectId {instance_id} is negative or was there before; ids must be unique")
        proposals.append((instance_id, label, 1.0, _rows(np.isin(segments, members))))
    # an annotator may give one segment to two objects; the first keeps it
    return _without_overlap(proposals, vertex_count)


def _scannet_pair(path: Path) -> tuple[Path, Path]:
    """The segments and the aggregation file of one scene; the coarse mesh's where both meshes' are there."""
    folder = path if path.is_dir() else path.parent
    scene = "" if path.is_dir() else path.name.split(".")[0].removesuffix("_vh_clean_2").removesuffix("_vh_clean")
    pair = []
    for ending, wanted in ((_SEGMENTS, f"{scene}_vh_clean_2.0.010000{_SEGMENTS}"), (_AGGREGATION, "")):
        if path.name.endswith(ending):
            pair.append(path)
            continue
        found = [p for p in sorted(folder.glob(f"*{ending}")) if p.name.startswith(scene)]
        found = [p for p in found if p.name == wanted or "_vh_clean_2." in p.name] or found
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "none"
            raise UserError(f"{folder}: needs one {scene}*{ending} beside {path.name}, found {names}; name the other")
        pair.append(found[0])
    return pair[0], pair[1]


def _field(path: Path, name: str, kind: type) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno} is not JSON ({error.msg}); is the file complete?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: does not read as text ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get(name), kind):
        raise UserError(f"{path}: has no {kind.__name__} {name!r}; is it ScanNet's file?")
    return content[name]


def _read_mask3d(path: Path, vertex_count: int) -> list[Proposal]:
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
        if len(files) != 1:
            names = ", ".join(f.name for f in files[:3]) or "none"
            raise UserError(f"{path}: needs one scene's .txt, found {len(files)} ({names}); name the file itself")
        path = files[0]
    proposals: list[Proposal] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        fields = line.split()
        if len(fields) != 3:
            raise UserError(f"{where} is {line.strip()[:60]!r}, not 'mask_file label_id score'")
        try:
            label, score = int(fields[1]), float(fields[2])
        except ValueError as error:
            raise UserError(f"{where}: label id or score is not a number ({error})") from error
        if not np.isfinite(score):
            raise UserError(f"{where}: the score is {fields[2]}, not a finite number")
        mask_path = path.parent / fields[0]
        if not mask_path.is_file():
            raise UserError(f"{where}: its mask file {mask_path} is missing")
        proposals.append((len(proposals), str(label), score, _rows(_mask(mask_path, vertex_count))))
    return proposals


def _mask(path: Path, vertex_count: int) -> np.ndarray:
    lines = [line.strip() for line in _lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    _check_count(path, len(lines), vertex_count)
    values = np.array(lines, str)
    wrong = np.flatnonzero((values != "0") & (values != "1"))
    if len(wrong):
        raise UserError(f"{path}: line {wrong[0] + 1} is {lines[wrong[0]][:20]!r}, not 0 or 1")
    return values == "1"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: does not read as text ({error})") from error


def _check_count(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise UserError(
            f"{path}: has {found} entries, the mesh has {expected} vertices; the ids index the capture's own mesh, "
            "give that one with --surface"
        )


def _without_overlap(proposals: list[Proposal], vertex_count: int) -> list[Proposal]:
    """Every vertex to the proposal of the highest score, the earlier one on a tie."""
    owner = np.full(vertex_count, -1, np.int64)
    for number in sorted(range(len(proposals)), key=lambda n: (-proposals[n][2], n)):
        rows = proposals[number][3]
        owner[rows[owner[rows] < 0]] = number
    return [(i, label, score, _rows(owner == n)) for n, (i, label, score, _) in enumerate(proposals)]


def _rows(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask).astype(np.int32)
