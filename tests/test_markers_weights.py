"""Weights files: fetched whole or not at all, recognised for what they are, and trusted only when known."""

import hashlib
import importlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bev.errors import UserError
from markers import known_weights, weights
from markers.known_weights import KNOWN, KnownWeights
from markers.weights import cache_folder, check_weights_file, fetch, find_checkpoint, find_weights


def _torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("model/data/0", bytes(range(256)) * 40)
    return buffer.getvalue()


WHOLE = _torch_zip()


@dataclass
class Server:
    url: str
    body: bytes = WHOLE
    announced: int | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """On loopback, and gone when the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body) if told.announced is None else told.announced))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        told = Server(f"http://127.0.0.1:{http.server_port}/")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield told
        http.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPT4SCENE_WEIGHTS", str(folder))
    return folder


def _known(server: Server, name: str = "model.pt") -> KnownWeights:
    return KnownWeights(name, f"{server.url}{name}", len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), "CC0")


@pytest.fixture
def known(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> KnownWeights:
    """`model.pt` is a known name that the loopback server has."""
    entry = _known(server)
    monkeypatch.setattr(weights, "KNOWN", {entry.name: entry})
    return entry


def test_a_known_name_is_fetched_once_after_it_was_told_what_comes(
    known: KnownWeights, server: Server, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = find_weights("model.pt")
    assert path == cache / "model.pt" and path.read_bytes() == WHOLE
    assert list(cache.iterdir()) == [path]
    told = caplog.messages[0]
    for part in (known.name, known.url, known.sha256, known.licence, str(path), "MB"):
        assert part in told
    assert find_weights("model.pt") == path and len(server.asked) == 1


def test_it_is_told_before_it_is_fetched(known: KnownWeights, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_when_told = []
    monkeypatch.setattr(weights._log, "warning", lambda *_: asked_when_told.append(len(server.asked)))
    fetch(known)
    assert asked_when_told == [0]


FETCH = """
import sys
from pathlib import Path
from markers.known_weights import KnownWeights
from markers.weights import fetch
name, url, size, sha256, licence, folder = sys.argv[1:]
fetch(KnownWeights(name, url, int(size), sha256, licence), folder=Path(folder))
"""


def test_who_set_up_no_logging_is_told_as_well(server: Server, tmp_path: Path) -> None:
    entry = _known(server)
    arguments = [entry.name, entry.url, str(entry.size_bytes), entry.sha256, entry.licence, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", FETCH, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "" and done.stderr.count("\n") == 1
    for part in (entry.name, entry.url, entry.sha256, entry.licence, str(tmp_path / entry.name)):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"body": WHOLE[:-1] + b"x"}, "sha256 is"),
        ({"body": WHOLE[: len(WHOLE) // 2]}, "bytes came"),
        ({"body": WHOLE + b"more"}, "bytes came"),
        ({"body": WHOLE[:100], "announced": len(WHOLE)}, "could not be fetched"),
        ({"body": b"not here", "status": 404}, "404|Not Found"),
        ({"body": b"oops", "status": 503}, "503|Unavailable"),
    ],
)
def test_what_comes_otherwise_than_published_leaves_nothing(
    known: KnownWeights, server: Server, cache: Path, change: dict[str, object], what: str
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(UserError, match=what) as raised:
        find_weights("model.pt")
    assert known.url in str(raised.value) and "\n" not in str(raised.value)
    assert list(cache.iterdir()) == []


def test_without_network_it_says_what_to_put_where(cache: Path, server: Server) -> None:
    entry = KnownWeights("model.pt", "http://127.0.0.1:9/model.pt", 5, "0" * 64, "CC0")
    with pytest.raises(UserError) as raised:
        fetch(entry)
    assert entry.url in str(raised.value) and str(cache / "model.pt") in str(raised.value)
    assert list(cache.iterdir()) == []


def test_a_cached_file_that_was_changed_is_told(known: KnownWeights, server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pt").write_bytes(WHOLE[:-1] + b"x")
    with pytest.raises(UserError, match=r"is not model\.pt as published"):
        find_weights("model.pt")
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be fetched"):
        fetch(_known(server), folder=tmp_path / "file" / "below")


def test_nothing_is_fetched_for_a_path(known: KnownWeights, server: Server, tmp_path: Path) -> None:
    for wanted in (tmp_path / "model.pt", "weights/model.pt", "yolo99z.pt"):
        with pytest.raises(UserError, match="no such file"):
            find_weights(wanted)
    assert server.asked == []


def test_the_folder_follows_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GPT4SCENE_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gpt4scene" / "weights"
    monkeypatch.setenv("GPT4SCENE_WEIGHTS", "~/w")
    assert cache_folder() == tmp_path / "w"


def test_a_pickle_needs_trust(tmp_path: Path, cache: Path) -> None:
    for name in ("mine.pt", "mine.torchscript", "mine.engine"):
        path = tmp_path / name
        path.write_bytes(WHOLE)
        with pytest.raises(UserError, match="--trust-weights"):
            find_weights(path)
        assert find_weights(path, trust=True) == path


def test_a_known_file_is_trusted_whatever_its_name(known: KnownWeights, tmp_path: Path) -> None:
    path = tmp_path / "renamed.pt"
    path.write_bytes(WHOLE)
    assert find_weights(path) == path
    path.write_bytes(WHOLE[:-1] + b"x")  # of the same size
    with pytest.raises(UserError, match="--trust-weights"):
        find_weights(path)


def test_a_file_is_hashed_once(
    known: KnownWeights, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    sha256_of = weights.sha256_of
    monkeypatch.setattr(weights, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    for find in (find_weights, find_checkpoint):
        (cache / "model.pt").unlink(missing_ok=True)
        find("model.pt")
        assert hashed == []  # while it came
        find("model.pt")
        assert hashed == [cache / "model.pt"]
        for name in ("model.pt", "renamed.pt"):
            (tmp_path / name).write_bytes(WHOLE)
            hashed.clear()
            find(tmp_path / name)
            assert hashed == [tmp_path / name]
        (tmp_path / "mine.pt").write_bytes(WHOLE + b"x")
        hashed.clear()
        find_weights(tmp_path / "mine.pt", trust=True)
        assert hashed == []


def test_a_known_name_with_other_bytes_is_told(known: KnownWeights, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(WHOLE[:-1] + b"x")
    for trust in (False, True):
        with pytest.raises(UserError, match=r"sha256 is not that of model\.pt.*delete it.*or give it another name"):
            find_weights(path, trust=trust)
    path.write_bytes(WHOLE + b"x")
    with pytest.raises(UserError, match=f"has {len(WHOLE) + 1} bytes"):
        find_weights(path, trust=True)
    own = path.rename(tmp_path / "mine.pt")
    assert find_weights(own, trust=True) == own


def test_graphs_without_code_need_no_trust(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07graph")
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3graph")
    (tmp_path / "m_openvino_model").mkdir()
    (tmp_path / "m_openvino_model" / "m.xml").write_text("<net/>")
    for path in sorted(tmp_path.iterdir()):
        assert find_weights(path) == path
    (tmp_path / "m_saved_model").mkdir()
    (tmp_path / "m_saved_model" / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(UserError, match=r"a folder of this format can run code.*--trust-weights"):
        find_weights(tmp_path / "m_saved_model")
    assert find_weights(tmp_path / "m_saved_model", trust=True) == tmp_path / "m_saved_model"


def test_every_folder_that_ultralytics_exports_is_one(tmp_path: Path) -> None:
    suffixes = importlib.import_module("ultralytics.engine.exporter").export_formats()["Suffix"]
    folders = [suffix for suffix in suffixes if suffix.startswith("_") and "." not in suffix]
    assert {"_openvino_model", "_ncnn_model", "_saved_model"} <= set(folders)
    for suffix in (*folders, ".mlpackage"):
        path = tmp_path / f"m{suffix}"
        path.mkdir()
        (path / "part").write_bytes(b"net")
        check_weights_file(path)


@pytest.mark.parametrize("name", ["weights", "yolo11n.pt", "model.d"])
def test_any_other_folder_is_told(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mine.pt").write_bytes(WHOLE)
    for find in (find_weights, lambda path: find_weights(path, trust=True), find_checkpoint):
        with pytest.raises(UserError, match=rf"{name}: is a folder; give the (weights|checkpoint) file") as raised:
            find(folder)
        assert "run code" not in str(raised.value)


def test_a_misspelt_name_gets_the_nearest_ones(cache: Path) -> None:
    with pytest.raises(UserError) as raised:
        find_weights("yolo11x_seg.pt")
    told = str(raised.value)
    assert "nearest are yolo11x-seg.pt, " in told and "known_weights.KNOWN" in told and len(told) < 400
    assert sum(name in told for name in KNOWN) == 3
    with pytest.raises(UserError, match=r"sam_vit_b_01ec64\.pth"):
        find_checkpoint("sam_vit_b.pth")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 6182636\n"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.pt", b"", "is empty"),
        ("a.tflite", b"", "is empty"),
        ("a.pt", b"\n<!DOCTYPE html><html><body>Not found", "web page"),
        ("a.onnx", b"<html>", "web page"),
        ("a.pth", b'{"message": "rate limit"}', "web page or an error"),
        ("a.pth", LFS, "git-lfs pointer"),
        ("a.onnx", LFS, "git-lfs pointer"),
        ("a.pt", WHOLE[: len(WHOLE) // 2], "cut short"),
        ("a.pth", WHOLE[:-30], "cut short"),
        ("a.pt", b"GIF89a", "no torch file"),
        ("a.tflite", WHOLE, "no TensorFlow Lite"),
        ("a.yaml", b"nc: 80", "without its weights"),
    ],
)
def test_a_file_that_is_no_weights_file_is_told(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for check in (lambda: check_weights_file(path), lambda: find_weights(path, trust=True)):
        with pytest.raises(UserError, match=what) as raised:
            check()
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_zip_of_something_else_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="without weights"):
        check_weights_file(tmp_path / "a.pt")
    (tmp_path / "x_openvino_model").mkdir()
    with pytest.raises(UserError, match="empty folder"):
        check_weights_file(tmp_path / "x_openvino_model")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(WHOLE)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        check_weights_file(path)


def test_a_checkpoint_of_a_known_name_and_another_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(WHOLE)
    with pytest.raises(UserError, match=r"375042383.*sam_vit_b_01ec64\.pth again"):
        find_checkpoint(path)
    other = path.rename(tmp_path / "mine.pth")
    assert find_checkpoint(other) == other


def test_a_checkpoint_of_a_known_name_and_other_bytes_is_told(known: KnownWeights, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(WHOLE)
    assert find_checkpoint(path) == path
    path.write_bytes(WHOLE[:-1] + b"x")
    with pytest.raises(UserError, match=r"sha256 is not that of model\.pt"):
        find_checkpoint(path)


def test_what_is_known_is_stated_in_full() -> None:
    digests = [known.sha256 for known in KNOWN.values()]
    digests += [encoder.sha256 for encoder in known_weights.TEXT_ENCODERS.values()]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)
    for name, known in KNOWN.items():
        assert known.url.startswith("https://") and known.url.endswith(f"/{name}")
        assert known.size_bytes > 1e6 and known.licence
