"""Ready-made 3D instances that index a capture's own mesh: per-vertex ids, ScanNet's annotation, Mask3D's output."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bev.errors import UserError
from bev.surface import Surface
from markers.instance import Instance, fit_box

_log = logging.getLogger(__name__)
_ID_MAX = np.iinfo(np.int32).max
_SEGMENTS, _AGGREGATION = ".segs.json", ".aggregation.json"


@dataclass(frozen=True, eq=False)
class _Proposal:
    id: int
    label: str
    label_share: float
    score: float
    rows: np.ndarray
    """(n,) int32 ascending: rows of the mesh file's vertices."""


def load_proposals(
    path: Path | str, surface: Surface, *, score_min: float = 0.0, label_names: dict[int, str] | None = None
) -> list[Instance]:
    """Read instances that somebody else's 3D segmenter, or an annotator, made for a capture's own mesh.

    Three formats, told apart by name:
    - `X.npy`: (V,) integers, the instance of every vertex, 0 included; negative = none.
    - ScanNet: `<scene>*.segs.json` with `<scene>*.aggregation.json` beside it; either file, or their folder.
    - Mask3D: `<scene>.txt` with rows `pred_mask/xxx.txt label_id score`, and those mask files, one 0 or 1 per vertex
      and line; the file, or a folder that holds one such file. Ids are row numbers from 0. Where masks overlap, a
      vertex goes to the higher score, then to the earlier row.

    Ids are kept as they are. The files count vertices in the order of the mesh *file*; `Surface.rows` carries them over
    to a surface that was cropped since. What was cropped away whole is left out. A surface in canonical order is no
    longer the file's: the ids would fall on other vertices.

    Args:
        path: file or folder.
        surface: the capture's own mesh as `bev.reconstruct` or `bev.surface.load_surface` returned it; boxes are
            upright where it is.
        score_min: Mask3D rows that score less are left out.
        label_names: names of Mask3D's label ids. An id that it does not name, 7 say, gives the label "class 7" with
            `label_share` 0: nobody named it. Per-vertex ids give "object", likewise.

    Returns:
        instances whose `vertices` count those of `surface`.

    Raises:
        UserError: a file is missing, does not parse, or counts other vertices than the mesh has.
    """
    path = Path(path)
    row_count = len(surface.vertices) if surface.row_count is None else surface.row_count
    proposals = _read(path, row_count, score_min, label_names or {})
    kept = [p for p in proposals if len(p.rows)]
    if len(kept) < len(proposals):
        _log.warning("%s: %d of %d instances have no vertices", path, len(proposals) - len(kept), len(proposals))
    if not kept:
        raise UserError(f"{path}: holds no instance with vertices; is it the file for this scene?")
    vertex_of_row = np.arange(row_count, dtype=np.int32)
    if surface.rows is not None:
        vertex_of_row = np.full(row_count, -1, np.int32)
        vertex_of_row[surface.rows] = np.arange(len(surface.rows))
    instances = []
    for proposal in kept:
        vertices = vertex_of_row[proposal.rows]
        vertices = np.sort(vertices[vertices >= 0])
        if len(vertices):
            box = fit_box(surface.vertices[vertices])
            instances.append(
                Instance(proposal.id, proposal.label, vertices, box, "proposals", proposal.label_share, proposal.score)
            )
    if len(instances) < len(kept):
        _log.info("%s: %d of %d instances are on other storeys", path, len(kept) - len(instances), len(kept))
    return instances


def proposal_files(path: Path | str) -> tuple[Path, ...]:
    """All files that `load_proposals` reads for `path`: the per-vertex ids, ScanNet's two, Mask3D's list and masks.

    Raises:
        UserError: one of them is missing, or a list of masks does not parse.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "ids":
        return (path,)
    if kind == "scannet":
        return _scannet_pair(path)
    path = _mask3d_list(path)
    return (path, *(mask for mask, _, _ in _mask3d_rows(path)))


def _kind(path: Path) -> Literal["ids", "scannet", "mask3d"]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of instances")
    if path.suffix == ".npy":
        return "ids"
    if path.is_dir():
        return "scannet" if any(path.glob(f"*{_AGGREGATION}")) else "mask3d"
    if path.name.endswith((_SEGMENTS, _AGGREGATION)):
        return "scannet"
    if path.suffix == ".txt":
        return "mask3d"
    raise UserError(
        f"{path}: not a format of instances: give per-vertex ids (.npy), ScanNet's {_AGGREGATION}, or Mask3D's .txt"
    )


def _read(path: Path, vertex_count: int, score_min: float, label_names: dict[int, str]) -> list[_Proposal]:
    kind = _kind(path)
    if kind == "ids":
        return _read_ids(path, vertex_count)
    if kind == "scannet":
        return _read_scannet(path, vertex_count)
    return _read_mask3d(path, vertex_count, score_min, label_names)


def _read_ids(path: Path, vertex_count: int) -> list[_Proposal]:
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
    return [_Proposal(int(i), "object", 0.0, 1.0, _rows(ids == i)) for i in np.unique(ids[ids >= 0])]


def _read_scannet(path: Path, vertex_count: int) -> list[_Proposal]:
    segments_path, aggregation_path = _scannet_pair(path)
    segments = _field(segments_path, "segIndices", list)
    try:
        segments = np.array(segments, np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{segments_path}: segIndices holds something that is no integer ({error})") from error
    _check_count(segments_path, len(segments), vertex_count)
    proposals: list[_Proposal] = []
    for number, group in enumerate(_field(aggregation_path, "segGroups", list)):
        where = f"{aggregation_path}: segGroups[{number}]"
        try:
            instance_id, label = int(group["objectId"]), str(group["label"])
            members = np.array(group["segments"], np.int64).reshape(-1)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{where} needs objectId, label and segments ({error!r})") from error
        if instance_id < 0 or instance_id in {p.id for p in proposals}:
            raise UserError(f"{where}: objectId {instance_id} is negative or was there before; ids must be unique")
        label_share = 0.0 if label == "object" else 1.0  # the annotator's word is all the votes there are
        proposals.append(_Proposal(instance_id, label, label_share, 1.0, _rows(np.isin(segments, members))))
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


def _read_mask3d(path: Path, vertex_count: int, score_min: float, label_names: dict[int, str]) -> list[_Proposal]:
    proposals: list[_Proposal] = []
    for number, (mask, label_id, score) in enumerate(_mask3d_rows(_mask3d_list(path))):
        rows = _rows(_mask(mask, vertex_count))
        if score >= score_min:
            label = label_names.get(label_id, f"class {label_id}")
            proposals.append(_Proposal(number, label, float(label_id in label_names), score, rows))
    return _without_overlap(proposals, vertex_count)


def _mask3d_list(path: Path) -> Path:
    """The one list of masks in a folder, or the file itself."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.txt"))
    if len(files) != 1:
        names = ", ".join(f.name for f in files[:3]) or "none"
        raise UserError(f"{path}: needs one scene's .txt, found {len(files)} ({names}); name the file itself")
    return files[0]


def _mask3d_rows(path: Path) -> list[tuple[Path, int, float]]:
    """Mask file, label id and score of every row."""
    rows: list[tuple[Path, int, float]] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        fields = line.split()
        if len(fields) != 3:
            raise UserError(f"{where} is {line.strip()[:60]!r}, not 'mask_file label_id score'")
        try:
            label_id, score = int(fields[1]), float(fields[2])
        except ValueError as error:
            raise UserError(f"{where}: label id or score is not a number ({error})") from error
        if not np.isfinite(score):
            raise UserError(f"{where}: the score is {fields[2]}, not a finite number")
        mask_path = path.parent / fields[0]
        if not mask_path.is_file():
            raise UserError(f"{where}: its mask file {mask_path} is missing")
        rows.append((mask_path, label_id, score))
    return rows


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


def _without_overlap(proposals: list[_Proposal], vertex_count: int) -> list[_Proposal]:
    """Every vertex to the proposal of the highest score, the earlier one on a tie."""
    owner = np.full(vertex_count, -1, np.int64)
    for number in sorted(range(len(proposals)), key=lambda n: (-proposals[n].score, n)):
        rows = proposals[number].rows
        owner[rows[owner[rows] < 0]] = number
    return [replace(proposal, rows=_rows(owner == n)) for n, proposal in enumerate(proposals)]


def _rows(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask).astype(np.int32)
