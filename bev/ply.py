"""PLY files, read so that a damaged one is told from a whole one, and written with colours as they are.

Open3D's reader takes what it can of a file that is cut short and crashes on corners that do not exist; its writer for
meshes takes 8-bit colours for shares of 1, and misses a full disk. The format: paulbourke.net/dataformats/ply.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bev.errors import UserError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_BYTE_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MEND = "is the file damaged or cut short? Export or copy it again"


@dataclass(frozen=True, eq=False)
class Ply:
    """What a PLY file says of a mesh or point cloud."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int64; polygons are cut into fans of triangles."""
    colors: np.ndarray | None
    """(V, 3) uint8 RGB; None where the file has none."""
    normals: np.ndarray | None
    """(V, 3) float64, likewise."""


@dataclass(frozen=True, eq=False)
class _Column:
    """One property of all rows."""

    values: np.ndarray
    """(N,), or all lists one after the other."""
    counts: np.ndarray | None
    """(N,) int64 lengths of the lists; None where it is no list."""


@dataclass(frozen=True)
class _Property:
    name: str
    kind: str
    """numpy's name of the type, without byte order."""
    count_kind: str | None = None
    """Of a list: the type of its length."""


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]


def read_ply(path: Path) -> Ply:
    """Read a mesh or point cloud, its vertices in the file's order.

    Raises:
        UserError: the file is no PLY, is cut short, or has faces with corners that do not exist.
    """
    data = path.read_bytes()
    byte_order, elements, start = _header(path, data)
    if byte_order:
        body, number = memoryview(data)[start:], None
    else:
        # text becomes a binary body in which every number is a double
        body, number, byte_order = memoryview(_numbers(path, data[start:])), "f8", "="
    columns: dict[str, dict[str, _Column]] = {}
    for element in elements:
        columns[element.name], used = _element(path, body, element, byte_order, number)
        body = body[used:]
    vertex, face = columns.get("vertex", {}), columns.get("face", {})
    vertices = _side_by_side(vertex, ("x", "y", "z"))
    if vertices is None:
        raise UserError(f"{path}: has no vertices with x, y and z; give a mesh or point cloud")
    return Ply(
        vertices=vertices.astype(np.float64),
        faces=_triangles(path, face.get("vertex_indices", face.get("vertex_index")), len(vertices)),
        colors=_colors(_side_by_side(vertex, ("red", "green", "blue"))),
        normals=_side_by_side(vertex, ("nx", "ny", "nz")),
    )


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, normals: np.ndarray) -> None:
    """Write a binary .ply: vertices and normals (V, 3), colours (V, 3) uint8, faces (F, 3), F = 0 for a cloud.

    Raises:
        OSError: the disk is full, or no permission.
    """
    rows = np.empty(len(vertices), [("points", "<f4", 3), ("normals", "<f4", 3), ("colors", "u1", 3)])
    rows["points"], rows["normals"], rows["colors"] = vertices, normals, colors
    corners = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    corners["count"], corners["corners"] = 3, faces
    names = [f"float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    names += [f"uchar {name}" for name in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {name}" for name in names]
    if len(faces):
        header += [f"element face {len(corners)}", "property list uchar int vertex_indices"]
    text = "\n".join([*header, "end_header", ""])
    path.write_bytes(text.encode() + rows.tobytes() + corners.tobytes())


def _header(path: Path, data: bytes) -> tuple[str, list[_Element], int]:
    """Byte order ("" for text), what the file holds in its order, and where the body starts."""
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or start < 1:
        raise UserError(f"{path}: is no PLY file; give a mesh or point cloud (.ply, .obj, .pcd, .stl)")
    byte_order: str | None = None
    elements: list[_Element] = []
    for line in data[:end].decode("ascii", "replace").splitlines()[1:]:
        try:
            match line.split():
                case ["format", kind, _]:
                    byte_order = _BYTE_ORDERS[kind]
                case ["element", name, count]:
                    elements.append(_Element(name, int(count), ()))
                case ["property", "list", count_kind, kind, name]:
                    elements[-1] = _and(elements[-1], _Property(name, _TYPES[kind], _TYPES[count_kind]))
                case ["property", kind, name]:
                    elements[-1] = _and(elements[-1], _Property(name, _TYPES[kind]))
                case [] | ["comment" | "obj_info", *_]:
                    pass
                case _:
                    raise ValueError
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(f"{path}: its header has the line {line.strip()[:60]!r}, which no PLY file has") from error
    if byte_order is None:
        raise UserError(f"{path}: its header names no format; {_MEND}")
    return byte_order, elements, start


def _and(element: _Element, new: _Property) -> _Element:
    return _Element(element.name, element.count, (*element.properties, new))


def _numbers(path: Path, text: bytes) -> bytes:
    try:
        return np.array(text.split(), np.float64).tobytes()
    except ValueError as error:
        raise UserError(f"{path}: holds something that is no number ({error}); {_MEND}") from error


def _element(
    path: Path, body: memoryview, element: _Element, byte_order: str, number: str | None
) -> tuple[dict[str, _Column], int]:
    """An element's columns, and how many bytes it takes; `number` overrides the types as they are stored."""
    stored = [
        _Property(p.name, number or p.kind, p.count_kind and (number or p.count_kind)) for p in element.properties
    ]
    if not element.count:
        return {}, 0
    try:
        columns, used = _even_rows(body, stored, element.count, byte_order) or _uneven_rows(
            body, stored, element.count, byte_order
        )
    except ValueError as error:
        raise UserError(f"{path}: ends before its {element.count} rows of {element.name!r} do; {_MEND}") from error
    kinds = {p.name: p.kind for p in element.properties}
    return {name: _Column(c.values.astype(kinds[name]), c.counts) for name, c in columns.items()}, used


def _even_rows(
    body: memoryview, properties: list[_Property], count: int, byte_order: str
) -> tuple[dict[str, _Column], int] | None:
    """Columns of rows that are all as long as the first one; None where they are not."""
    fields, offset = [], 0
    for number, p in enumerate(properties):
        shape = ()
        if p.count_kind:
            length = int(np.frombuffer(body, byte_order + p.count_kind, 1, offset)[0])
            fields.append((f"count{number}", byte_order + p.count_kind))
            shape = (length,)
        fields.append((f"value{number}", byte_order + p.kind, shape))
        offset = np.dtype(fields).itemsize
    row = np.dtype(fields)
    if any(p.count_kind for p in properties) and len(body) < count * row.itemsize:
        return None
    rows = np.frombuffer(body, row, count)
    columns = {}
    for number, p in enumerate(properties):
        counts = rows[f"count{number}"].astype(np.int64) if p.count_kind else None
        if counts is not None and (counts != counts[0]).any():
            return None
        columns[p.name] = _Column(rows[f"value{number}"].reshape(-1), counts)
    return columns, count * row.itemsize


def _uneven_rows(
    body: memoryview, properties: list[_Property], count: int, byte_order: str
) -> tuple[dict[str, _Column], int]:
    """Columns of rows that differ in length, read one by one."""
    values: list[list[np.ndarray]] = [[] for _ in properties]
    offset = 0
    for _ in range(count):
        for p, found in zip(properties, values, strict=True):
            length = 1
            if p.count_kind:
                length = int(np.frombuffer(body, byte_order + p.count_kind, 1, offset)[0])
                offset += np.dtype(p.count_kind).itemsize
            found.append(np.frombuffer(body, byte_order + p.kind, length, offset))
            offset += length * np.dtype(p.kind).itemsize
    columns = {}
    for p, found in zip(properties, values, strict=True):
        counts = np.array([len(row) for row in found]) if p.count_kind else None
        columns[p.name] = _Column(np.concatenate(found), counts)
    return columns, offset


def _side_by_side(columns: dict[str, _Column], names: tuple[str, ...]) -> np.ndarray | None:
    if not all(name in columns for name in names):
        return None
    return np.stack([columns[name].values for name in names], axis=1)


def _colors(colors: np.ndarray | None) -> np.ndarray | None:
    if colors is None or colors.dtype == np.uint8:
        return colors
    if np.issubdtype(colors.dtype, np.floating):
        colors = np.nan_to_num(colors * 255)
    return np.clip(np.round(colors), 0, 255).astype(np.uint8)


def _triangles(path: Path, polygons: _Column | None, vertex_count: int) -> np.ndarray:
    """Polygons as (F, 3) int64: a fan of triangles from each one's first corner."""
    if polygons is None or polygons.counts is None:
        return np.zeros((0, 3), np.int64)
    corners, counts = polygons.values.astype(np.int64), polygons.counts
    wrong = corners[(corners < 0) | (corners >= vertex_count)]
    if len(wrong):
        raise UserError(f"{path}: a face has the corner {wrong[0]}, but there are {vertex_count} vertices; {_MEND}")
    fans = np.maximum(counts - 2, 0)
    polygon = np.repeat(np.arange(len(counts)), fans)
    first = (np.cumsum(counts) - counts)[polygon]
    step = np.arange(len(polygon)) - (np.cumsum(fans) - fans)[polygon]
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1)
