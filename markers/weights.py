"""Weights files: which are known, where they lie, how one is fetched, and what a file must be to be loaded."""

import difflib
import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from bev.errors import UserError
from bev.progress import track
from markers.known_weights import KNOWN, KnownWeights

_log = logging.getLogger(__name__)

_RELEASE = "https://github.com/ultralytics/assets/releases"
_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30.0

# formats that hold numbers and a graph of fixed operations; a TorchScript program can write files, a TensorFlow graph
# and a TensorRT engine are programs too
_HARMLESS_FILES = (".onnx", ".tflite")
_HARMLESS_FOLDERS = ("_openvino_model", "_ncnn_model")
# endings by which ultralytics tells a folder that is a model (its `export_formats`)
_FOLDERS = ("_model", ".mlpackage", ".aimodel")
_TORCH_FILES = (".pt", ".pth", ".torchscript", ".ts")


def cache_folder() -> Path:
    """Where fetched weights lie: GPT4SCENE_WEIGHTS, or ~/.cache/gpt4scene/weights."""
    named = os.environ.get("GPT4SCENE_WEIGHTS")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "gpt4scene" / "weights"


def find_weights(weights: Path | str, *, trust: bool = False, progress: bool = False) -> Path:
    """A detector's weights file, fetched if it is a known name that is not here yet.

    A `.pt` file is a Python pickle: loading it runs whatever code it holds. Such a file is accepted when its sha256 is
    that of a known file, or with `trust`. `.onnx` and `.tflite` files and folders of OpenVINO and NCNN need no trust.
    A file that has a known file's name and not its sha256 is never accepted.

    Raises:
        UserError: nothing is there, it cannot be fetched, it is no weights file, not the file that its name promises,
            or it is not trusted.
    """
    path, published = _found(weights, progress=progress)
    if trust or published or _is_harmless(path):
        return path
    kind = "folder" if path.is_dir() else path.suffix or "file"
    raise UserError(
        f"{path}: a {kind} of this format can run code when it is loaded; if you trust where it comes from, give "
        "--trust-weights (trust_weights=True), or use an .onnx export"
    )


def find_checkpoint(checkpoint: Path | str, *, progress: bool = False) -> Path:
    """A segment-anything checkpoint, fetched if it is a known name that is not here yet; it is loaded without code.

    Raises:
        UserError: nothing is there, it cannot be fetched, is no weights file, or not the file that its name promises.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the checkpoint file")
    return _found(checkpoint, progress=progress)[0]


def _found(weights: Path | str, *, progress: bool) -> tuple[Path, KnownWeights | None]:
    """The file, and which published one it is by its sha256; all of its bytes are read once at most."""
    path, name = Path(weights).expanduser(), str(weights)
    if path.exists():
        check_weights_file(path)
        return path, _published(path)
    if name in KNOWN:
        return fetch(KNOWN[name], progress=progress), KNOWN[name]
    if name != path.name:
        raise UserError(f"{weights}: no such file; give the path of a weights file")
    near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.0)
    raise UserError(
        f"{weights}: no such file, and none of the {len(KNOWN)} names that are fetched: the nearest are "
        f"{', '.join(near)}, all are in markers.known_weights.KNOWN; other models of {_RELEASE} are downloaded by hand "
        "and given by their path"
    )


def fetch(known: KnownWeights, *, folder: Path | None = None, progress: bool = False) -> Path:
    """Download a file once, after saying what it is; it appears whole and verified or not at all.

    Args:
        known: what to fetch.
        folder: where to keep it; None is `cache_folder()`.
        progress: show a bar.

    Raises:
        UserError: no network, another size or sha256 than published, or no room; says what to do by hand.
    """
    folder = folder or cache_folder()
    path = folder / known.name
    if path.is_file():
        if path.stat().st_size != known.size_bytes or sha256_of(path) != known.sha256:
            raise UserError(f"{path}: is not {known.name} as published (sha256 {known.sha256}); delete it")
        return path
    _log.warning(  # seen also where nobody set up logging
        "Fetching %s: %.0f MB, licence %s, from %s to %s, sha256 %s",
        *(known.name, known.size_bytes / 1e6, known.licence, known.url, path, known.sha256),
    )
    temporary = folder / f".fetching-{os.getpid()}-{known.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _download(known, temporary, progress=progress)
        if found != known.sha256:
            raise UserError(f"{known.url}: sha256 is {found}, not {known.sha256} as published; nothing was kept")
        temporary.replace(path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{known.name} could not be fetched ({reason}): download {known.url} yourself and put it at {path}"
        ) from error
    finally:
        if folder.is_dir():
            temporary.unlink(missing_ok=True)
    return path


def _download(known: KnownWeights, path: Path, *, progress: bool) -> str:
    """Write the file and return its sha256; OSError when it is not as long as published."""
    digest = hashlib.sha256()
    written = 0
    blocks = range(-(-known.size_bytes // _BLOCK_BYTES) + 1)  # one more, which must be empty
    with urllib.request.urlopen(known.url, timeout=_TIMEOUT_S) as response, path.open("wb") as file:
        for _ in track(blocks, known.name, show=progress, unit="MB"):
            block = response.read(_BLOCK_BYTES)
            written += len(block)
            digest.update(block)
            file.write(block)
    if written != known.size_bytes:
        raise OSError(f"{written} bytes came, {known.size_bytes} were published")
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights_file(path: Path) -> None:
    """What lies at `path` must look like weights: not an error page, a git-lfs pointer, or half a download.

    Raises:
        UserError: it does not; says what it is.
    """
    if path.is_dir():
        if not any(path.iterdir()):
            raise UserError(f"{path}: is an empty folder; give a weights file")
        if not path.name.lower().endswith(_FOLDERS):
            raise UserError(
                f"{path}: is a folder; give the weights file in it, or a folder that ultralytics exported, whose name "
                "ends as in yolo11n_openvino_model"
            )
        return
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a weights file") from error
    if not head:
        raise UserError(f"{path}: is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: is a git-lfs pointer, not the file; run `git lfs pull` where it comes from")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"{")):
        raise UserError(f"{path}: is a web page or an error message, not weights; download it again")
    _check_format(path, head)


def _check_format(path: Path, head: bytes) -> None:
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        raise UserError(f"{path}: describes a model without its weights; give the weights file")
    if suffix == ".tflite" and head[4:8] != b"TFL3":
        raise UserError(f"{path}: is no TensorFlow Lite model; download or export it again")
    if suffix not in _TORCH_FILES or head.startswith(b"\x80\x02"):  # pickles as torch wrote them before 1.6
        return
    if not head.startswith(b"PK\x03\x04"):
        raise UserError(f"{path}: is no torch file; download it again, or give the file's right ending")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        size = path.stat().st_size
        raise UserError(f"{path}: is cut short or damaged ({size} bytes); download it again") from error
    if not any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        raise UserError(f"{path}: is a zip archive without weights; unpack it and give the weights file")


def _is_harmless(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(_HARMLESS_FOLDERS if path.is_dir() else _HARMLESS_FILES)


def _published(path: Path) -> KnownWeights | None:
    """Which published file a file or folder is, if any; a file with the name of a published one must be that one."""
    if not path.is_file():
        return None
    named, size = KNOWN.get(path.name), path.stat().st_size
    alike = [known for known in KNOWN.values() if known.size_bytes == size]
    sha256 = sha256_of(path) if alike else ""
    if named is None or (named in alike and named.sha256 == sha256):
        return next((known for known in alike if known.sha256 == sha256), None)
    if named in alike:
        why = f"its sha256 is not that of {named.name} as published ({named.sha256})"
    else:
        why = f"has {size} bytes, {named.name} as published has {named.size_bytes}"
    raise UserError(f"{path}: {why}; delete it and fetch {named.url} again, or give it another name")
