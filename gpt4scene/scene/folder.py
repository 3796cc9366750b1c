"""The scene folder: written so that scene.json comes last, read so that every fault has a name."""

import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from bev.errors import UserError
from bev.render import caster_from_above
from bev.surface import Surface, SurfaceCaster, load_surface, save_surface
from gpt4scene.scene.atomic import claim_folder, fresh_file, write_bytes, write_errors
from gpt4scene.scene.contents import SceneContents
from gpt4scene.scene.document import Files, document_text, frame_name, read_document
from gpt4scene.scene.piece import MEND
from gpt4scene.scene.report import report_html
from gpt4scene.scene.views import marked_image
from markers.visibility import instance_map

_JPEG_QUALITY = 95
_OLD_IMAGE = re.compile(r"\d{6,}\.jpg")


def write_folder(scene: SceneContents, path: Path, *, overwrite: bool = False, warnings: Sequence[str] = ()) -> None:
    """Write a scene folder; its scene.json appears last, so that its presence means that the folder is whole.

    Args:
        scene: what to write.
        path: new, empty, or a folder of ours.
        overwrite: replace a scene that is there.
        warnings: lines for the report.

    Raises:
        UserError: the folder is not ours or holds a scene already, the disk is full, no permission.
    """
    claim_folder(path)
    done = path / "scene.json"
    if done.exists() and not overwrite:
        raise UserError(f"{path}: holds a scene already; overwrite it with --overwrite, or give another folder")
    text = document_text(scene)
    with write_errors(path):
        arrays = _arrays(scene)
        surface = scene.surface
        done.unlink(missing_ok=True)
        _write_images(scene, path)
        with fresh_file(path / "surface.ply") as temporary:
            save_surface(surface, temporary)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_bytes(path / "instances.npz", buffer.getvalue())
        write_bytes(path / "report.html", report_html(scene, warnings=warnings).encode())
        write_bytes(done, text.encode())


def read_folder(path: Path) -> SceneContents:
    """The scene of a folder; images, maps of objects and the surface are decoded on access.

    Maps that instances.npz lacks are cast from the surface on access: `vertex_ids` is all that it must hold.

    Raises:
        UserError: the folder holds no whole scene of this version; the message names file and key. Pixels and surface
            that do not decode say so on access.
    """
    document = path / "scene.json"
    if not document.is_file():
        why = "holds no scene.json (an interrupted run?)" if path.is_dir() else "no such folder"
        raise UserError(f"{path}: {why}; run `gpt4scene prepare` to make a scene folder")
    try:
        text = document.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{document}: is not UTF-8 text; {MEND}") from error
    archive = _existing(path / "instances.npz")
    surface = _existing(path / "surface.ply")
    names = _array_names(archive)
    vertex_ids = _read_array(archive, "vertex_ids")
    if vertex_ids.ndim != 1:
        raise UserError(f"{archive}: vertex_ids must have shape (V,), found {vertex_ids.shape}; {MEND}")

    def ids_of(view: str, size: tuple[int, int]) -> Callable[[], np.ndarray]:
        name = f"ids_{view}"
        if name not in names:
            return lambda: cast_ids(view)
        return lambda: _sized(_read_array(archive, name), size, f"{archive}: {name}")

    def image_of(name: str, size: tuple[int, int]) -> Callable[[], np.ndarray]:
        image = _existing(path / name)
        return lambda: _sized(_read_image(image), size, str(image))

    files = Files(
        image=image_of,
        marked=lambda name: _existing(path / name),
        ids=ids_of,
        vertex_ids=vertex_ids,
        surface=lambda: _read_surface(surface, len(vertex_ids)),
    )
    scene = read_document(text, document, files)
    cast_ids = _ids_caster(scene)
    return scene


def _ids_caster(scene: SceneContents) -> Callable[[str], np.ndarray]:
    """From "bev" or a six-digit frame index to that view's (H, W) int32 map of objects, cast from the surface."""
    cameras = {frame_name(frame.index): frame.camera for frame in scene.frames}

    @functools.cache
    def caster(from_above: bool) -> SurfaceCaster:
        return caster_from_above(scene.surface, scene.cut_height_m) if from_above else SurfaceCaster(scene.surface)

    def cast(view: str) -> np.ndarray:
        camera = scene.bev.camera if view == "bev" else cameras[view]
        return instance_map(caster(view == "bev").view(camera), scene.vertex_ids)

    return cast


def _arrays(scene: SceneContents) -> dict[str, np.ndarray]:
    """What instances.npz holds: the object of every vertex and of every pixel."""
    arrays = {"vertex_ids": scene.vertex_ids.astype(np.int32), "ids_bev": scene.bev.ids}
    return arrays | {f"ids_{frame_name(frame.index)}": frame.ids for frame in scene.frames}


def _write_images(scene: SceneContents, path: Path) -> None:
    write_bytes(path / "bev.png", _encode(scene.bev.image, ".png"))
    write_bytes(path / "bev_marked.png", _encode(marked_image(scene.bev), ".png"))
    names = {f"{frame_name(frame.index)}.jpg" for frame in scene.frames}
    for folder in (path / "frames", path / "marked"):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            if _OLD_IMAGE.fullmatch(old.name) and old.name not in names:
                old.unlink()  # of the scene that this one replaces
    for frame in scene.frames:
        name = f"{frame_name(frame.index)}.jpg"
        image, marked = frame.image, marked_image(frame)
        write_bytes(path / "frames" / name, _encode(image, ".jpg"))
        write_bytes(path / "marked" / name, _encode(marked, ".jpg"))


def _encode(image: np.ndarray, ending: str) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(ending, bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if ending == ".jpg" else [])
    return data.tobytes()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: is missing, though scene.json needs it; {MEND}")
    return path


def _read_image(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(_existing(path), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: does not decode; {MEND}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _sized(array: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    if array.shape[:2] != size[::-1]:
        found = "x".join(map(str, array.shape[1::-1]))
        raise UserError(f"{name} is {found}, scene.json says {size[0]}x{size[1]}; {MEND}")
    return array


def _array_names(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except (ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise UserError(f"{path}: is no .npz archive; {MEND}") from error


def _read_array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive[name]
    except KeyError as error:
        raise UserError(f"{path}: {name} is missing; {MEND}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: {name} does not decode; {MEND}") from error
    if array.dtype != np.int32:
        raise UserError(f"{path}: {name} must be int32, found {array.dtype}; {MEND}")
    return array


def _read_surface(path: Path, vertex_count: int) -> Surface:
    surface = load_surface(path)
    if len(surface.vertices) != vertex_count:
        raise UserError(f"{path}: has {len(surface.vertices)} vertices, instances.npz {vertex_count}; {MEND}")
    return surface
