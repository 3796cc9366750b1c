"""Detection: real weights on real frames, and ultralytics' own models with random weights for the rest."""

import gc
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import supervision as sv
from conftest import SHARED
from image_scan import image_scan, noise

import bev
from bev.errors import UserError
from bev.scan import Scan
from markers import weights as weights_module
from markers.detect import detect, iter_detections
from markers.known_weights import KnownWeights, TextEncoder

FRAMES = 6
module = importlib.import_module("markers.detect")  # the package may give the function by that name


@pytest.fixture(scope="module")
def kitchen_scan(kitchen_path: Path) -> Scan:
    scan = bev.read_scan(kitchen_path)
    return scan.with_frames(scan.frames[: FRAMES * 10 : 10])


@pytest.fixture(scope="module")
def seg_weights() -> Path:
    return _shared("yolov8n-seg_int8.tflite")


def _shared(name: str) -> Path:
    path = SHARED / "weights" / name
    if not path.is_file():
        pytest.skip(f"../shared/weights/{name} is not here")
    return path


@pytest.fixture(scope="module")
def found(kitchen_scan: Scan, seg_weights: Path) -> dict[int, sv.Detections]:
    return detect(kitchen_scan, weights=seg_weights)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ultralytics' smallest architectures with seeded random weights, saved as it saves them."""
    import torch

    ultralytics = module._quiet_ultralytics()
    folder = tmp_path_factory.mktemp("models")
    for name in ("yolov8n-seg", "yolov8n-cls", "yolov8n-world", "yoloe-v8n-seg"):
        torch.manual_seed(0)
        # not under the name of a published file, which no other file may have
        ultralytics.YOLO(f"{name}.yaml").save(folder / f"{name.replace('yolov8n-seg', 'tiny-seg')}.pt")
    yield folder
    shutil.rmtree(folder)


def test_the_table_and_the_chairs_are_seen(found: dict[int, sv.Detections], kitchen_scan: Scan) -> None:
    assert list(found) == [frame.index for frame in kitchen_scan.frames]
    names = np.concatenate([d.data["class_name"] for d in found.values()])
    assert {"dining table", "chair", "cup"} <= set(names.tolist())
    for frame in kitchen_scan.frames:
        each = found[frame.index]
        assert isinstance(each.mask, sv.CompactMask)
        assert each.mask.shape == (len(each), frame.camera.height, frame.camera.width)
        assert (each.mask.area > 0).all() and (each.confidence >= 0.25).all()
        assert len(each.class_id) == len(each.data["class_name"]) == len(each)


def test_masks_lie_in_their_boxes_and_fill_them(found: dict[int, sv.Detections]) -> None:
    """A mask that letterboxing had shifted or stretched would leave its box, or touch only some of its sides."""
    gaps = []
    for each in found.values():
        inner = sv.mask_to_xyxy(each.mask.to_dense()).astype(float)
        inner[:, 2:] += 1
        gaps.append(inner - each.xyxy)
    gaps = np.concatenate(gaps)
    assert np.median(np.abs(gaps), axis=0).max() <= 2.0
    assert (gaps[:, :2] >= -1).all() and (gaps[:, 2:] <= 1).all()


def test_masks_follow_a_cut_image(found: dict[int, sv.Detections], kitchen_scan: Scan, seg_weights: Path) -> None:
    """Cut to another shape, the image is padded on other sides: the masks must not care."""
    left, top, width, height = 61, 37, 579, 443
    cut = image_scan([f.read_color()[top : top + height, left : left + width].copy() for f in kitchen_scan.frames])
    again = detect(cut, weights=seg_weights)
    shifts = []
    for whole, part in zip(found.values(), again.values(), strict=True):
        for mask in whole.mask:
            inside = mask[top : top + height, left : left + width]
            if inside.sum() < mask.sum() or mask.sum() < 1000 or not len(part):
                continue
            overlaps = [np.sum(inside & other) / np.sum(inside | other) for other in part.mask]
            if max(overlaps) > 0.8:
                other = part.mask[int(np.argmax(overlaps))]
                shifts.append(np.argwhere(inside).mean(axis=0) - np.argwhere(other).mean(axis=0))
    assert len(shifts) >= 4 and np.abs(np.median(shifts, axis=0)).max() < 1.5


def test_the_same_input_gives_the_same_output(
    found: dict[int, sv.Detections], kitchen_scan: Scan, seg_weights: Path
) -> None:
    for batch_size in (8, 1):
        again = detect(kitchen_scan, weights=str(seg_weights), batch_size=batch_size)
        assert list(again) == list(found) and all(again[k] == found[k] for k in found)


def test_a_model_of_boxes_gives_no_masks(kitchen_scan: Scan) -> None:
    boxes = detect(kitchen_scan, weights=_shared("yolov8n_int8.tflite"), classes=["chair"])
    assert all(each.mask is None for each in boxes.values())
    assert {name for each in boxes.values() for name in each.data["class_name"]} == {"chair"}


def test_classes_are_kept_by_name(kitchen_scan: Scan, seg_weights: Path, found: dict[int, sv.Detections]) -> None:
    chairs = detect(kitchen_scan, weights=seg_weights, classes=(" chair", "cup", "chair", ""))
    for k, each in chairs.items():
        expected = [name for name in found[k].data["class_name"] if name in ("chair", "cup")]
        assert sorted(each.data["class_name"]) == sorted(expected)


@pytest.mark.parametrize(("name", "told"), [("chiar", "did you mean chair"), ("qqqq", "it knows person, bicycle")])
def test_an_unknown_class_is_told(kitchen_scan: Scan, seg_weights: Path, name: str, told: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{told}"):
        iter_detections(kitchen_scan, weights=seg_weights, classes=["chair", name])


def test_nothing_found_is_legal(kitchen_scan: Scan, seg_weights: Path) -> None:
    nothing = detect(kitchen_scan, weights=seg_weights, score_min=1.0)
    assert [len(each) for each in nothing.values()] == [0] * FRAMES
    assert all(each.mask is not None and each.mask.shape == (0, 480, 640) for each in nothing.values())
    assert all(each.data["class_name"].shape == (0,) for each in nothing.values())
    assert detect(kitchen_scan.with_frames(()), weights=seg_weights) == {}


def test_the_model_gets_bgr_in_batches_and_few_images_wait(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [noise(96, 128, seed) for seed in range(20)]
    decoded, batches = [], []
    scan = image_scan(images)
    frames = tuple(replace(f, read_color=lambda f=f: decoded.append(f.index) or images[f.index]) for f in scan.frames)
    predict = module._predict

    def spy(model: Any, batch: list[np.ndarray], options: dict[str, Any]) -> list[Any]:
        batches.append(batch)
        return predict(model, batch, options)

    monkeypatch.setattr(module, "_predict", spy)
    stream = iter_detections(
        scan.with_frames(frames), weights=tiny_models / "tiny-seg.pt", trust_weights=True, batch_size=4
    )
    assert decoded == [] and batches == []
    next(stream)
    assert len(batches) == 1 and len(decoded) <= 4 + 1 + 2 * 4
    assert threading.active_count() > 1
    assert [k for k, _ in stream] == list(range(1, 20))
    assert [len(batch) for batch in batches] == [4] * 5 and decoded == list(range(20))
    assert all(np.array_equal(b[..., ::-1], i) for b, i in zip(chain.from_iterable(batches), images, strict=True))


def test_the_thread_ends_with_the_stream(tiny_models: Path) -> None:
    scan = image_scan([noise(96, 128, seed) for seed in range(30)])
    stream = iter_detections(scan, weights=tiny_models / "tiny-seg.pt", trust_weights=True, batch_size=2)
    next(stream)
    del stream
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_frame_that_does_not_decode_is_told(tiny_models: Path) -> None:
    scan = image_scan([noise(96, 128)] * 3)

    def broken() -> np.ndarray:
        raise UserError("frame 1: broken.jpg does not decode")

    frames = (scan.frames[0], replace(scan.frames[1], read_color=broken), scan.frames[2])
    with pytest.raises(UserError, match=r"broken\.jpg"):
        detect(scan.with_frames(frames), weights=tiny_models / "tiny-seg.pt", trust_weights=True)
    wrong = replace(scan.frames[1], read_color=lambda: noise(50, 60))
    with pytest.raises(UserError, match="frame 1: its colour image is 60x50 px, its camera 128x96"):
        detect(scan.with_frames((wrong,)), weights=tiny_models / "tiny-seg.pt", trust_weights=True)


def test_it_says_when_a_frame_held_more_than_is_kept(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_PER_FRAME", 5)
    scan = image_scan([noise(96, 128, seed) for seed in range(2)])
    found = detect(scan, weights=tiny_models / "tiny-seg.pt", trust_weights=True, score_min=0.0)
    assert [len(each) for each in found.values()] == [5, 5]
    assert "2 frames hold 5 detections or more" in caplog.text


def test_frames_of_two_sizes_do_not_change_each_other(tiny_models: Path) -> None:
    options = {"weights": tiny_models / "tiny-seg.pt", "trust_weights": True, "score_min": 0.0}
    images = [noise(96, 128), noise(120, 90), noise(96, 128, 1)]
    mixed = detect(image_scan(images), **options)
    for k, image in enumerate(images):
        alone = detect(image_scan([image]), **options)[0]
        assert len(alone) > 10 and alone == mixed[k]
        assert mixed[k].mask.shape[1:] == image.shape[:2]


def test_a_pickle_is_loaded_only_when_trusted(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scan = tiny_models / "tiny-seg.pt", image_scan([noise(96, 128)])
    with pytest.raises(UserError, match="--trust-weights"):
        detect(scan, weights=path)
    content = path.read_bytes()
    known = KnownWeights("any.pt", "", len(content), hashlib.sha256(content).hexdigest(), "")
    monkeypatch.setattr(weights_module, "KNOWN", {"any.pt": known})
    assert len(detect(scan, weights=path)) == 1


def test_other_kinds_of_models_and_broken_ones_are_told(tiny_models: Path, tmp_path: Path) -> None:
    scan = image_scan([noise(96, 128)])
    with pytest.raises(UserError, match="is a model for classify"):
        detect(scan, weights=tiny_models / "yolov8n-cls.pt", trust_weights=True)
    import torch

    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: ultralytics cannot load it"):
        detect(scan, weights=tmp_path / "other.pt", trust_weights=True)
    (tmp_path / "cut.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(1000))
    with pytest.raises(UserError, match=r"cut\.tflite: ultralytics cannot"):
        detect(scan, weights=tmp_path / "cut.tflite")
    whole = _shared("yolov8n-seg_int8.tflite").read_bytes()
    for part in (len(whole) // 10, len(whole) // 2, len(whole) - 2000):
        (tmp_path / "half.tflite").write_bytes(whole[:part])
        with pytest.raises(UserError, match=r"half\.tflite: .*cut short, fetch or export it again") as raised:
            detect(scan, weights=tmp_path / "half.tflite")
        assert "\n" not in str(raised.value)
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07" + bytes(100))
    with pytest.raises(UserError, match=r"net\.onnx: (needs the package onnx|ultralytics cannot)"):
        detect(scan, weights=tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"device": "cuda:7"}, "cuda:7.*CUDA devices"),
        ({"device": "gpu"}, "does not know it"),
        ({"batch_size": 0}, "1 frame or more"),
        ({"score_min": 25}, "0 to 1"),
    ],
)
def test_arguments_that_cannot_be_are_told(seg_weights: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        iter_detections(image_scan([noise(96, 128)]), weights=seg_weights, **options)


def test_a_box_that_is_not_finite_is_told() -> None:
    frame = image_scan([noise(96, 128)], [42]).frames[0]
    boxes = SimpleNamespace(
        xyxy=np.array([[1.0, 1, 9, 9], [np.nan, 1, 9, 9]]), cls=np.zeros(2), conf=np.ones(2, np.float32)
    )
    boxes.cpu = lambda: SimpleNamespace(numpy=lambda: boxes)
    with pytest.raises(UserError, match="frame 42: box 1 of 2 is not finite"):
        module._detections(SimpleNamespace(boxes=boxes, masks=None, names={0: "cup"}), frame, masks=True)


def test_boxes_in_the_margin_around_an_image_are_left_out_and_counted(
    kitchen_scan: Scan, caplog: pytest.LogCaptureFixture
) -> None:
    """At this threshold ultralytics also returns boxes in its padding, cut to no height at the image's edge."""
    scan = kitchen_scan.with_frames(kitchen_scan.frames[:2])
    found = detect(scan, weights=_shared("yolov8n_int8.tflite"), score_min=0.0)
    assert all(len(each) > 100 and (each.xyxy[:, 2:] > each.xyxy[:, :2]).all() for each in found.values())
    assert re.search(r"^\d+ boxes were empty", caplog.messages[-2])


def test_what_is_left_out_takes_its_mask_and_name_along(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module._quiet_ultralytics()
    mask = np.zeros((3, 96, 128), bool)
    for k in range(3):
        mask[k, k, 5:9] = True
    import torch

    rows = torch.tensor([[1.0, 1, 9, 9, 0.9, 0], [3, 96, 9, 96, 0.8, 1], [2, 2, 9, 9, 0.7, 2]])
    boxes = importlib.import_module("ultralytics.engine.results").Boxes(rows, (96, 128))
    masks = SimpleNamespace(data=torch.from_numpy(mask))
    result = SimpleNamespace(boxes=boxes, masks=masks, names={0: "cup", 1: "chair", 2: "table"})
    monkeypatch.setattr(module, "_batches", lambda *_: iter([result]))
    model: Any = SimpleNamespace(task="segment")
    ((_, found),) = module._run(image_scan([noise(96, 128)]), model, 1, {}, progress=False)
    assert found.data["class_name"].tolist() == ["cup", "table"] and found.class_id.tolist() == [0, 2]
    assert np.array_equal(found.mask.to_dense(), mask[[0, 2]])
    assert "1 boxes were empty" in caplog.text


def test_an_open_vocabulary_filters_what_it_knows(tiny_models: Path) -> None:
    scan = image_scan([noise(96, 128)])
    options = {"weights": tiny_models / "yolov8n-world.pt", "trust_weights": True, "score_min": 0.0}
    assert set(detect(scan, classes=["2", "5"], **options)[0].data["class_name"].tolist()) <= {"2", "5"}


def test_a_text_encoder_is_asked_for_not_fetched(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPT4SCENE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    scan = image_scan([noise(96, 128)])
    world = {"weights": tiny_models / "yolov8n-world.pt", "trust_weights": True, "classes": ["trash can"]}
    with pytest.raises(UserError, match=r"'trash can'.*ultralytics/CLIP\.git"):
        detect(scan, **world)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match=rf"openaipublic.*MIT.*put it at {tmp_path}/clip/ViT-B-32\.pt"):
        detect(scan, **world)
    with pytest.raises(UserError, match=rf"mobileclip_blt\.ts.*put it at {tmp_path}/mobileclip_blt\.ts"):
        detect(scan, **world | {"weights": tiny_models / "yoloe-v8n-seg.pt"})
    (tmp_path / "mobileclip_blt.ts").write_bytes(b"half")
    with pytest.raises(UserError, match="sha256 is not"):
        detect(scan, **world | {"weights": tiny_models / "yoloe-v8n-seg.pt"})
    with pytest.raises(UserError, match="give --classes"):
        detect(scan, weights=tiny_models / "yoloe-v8n-seg.pt", trust_weights=True)


def _stand_in_for_clip(loaded: list[str]) -> types.ModuleType:
    """The package's two functions that ultralytics calls: the real encoders are too large for tests."""
    import torch

    class Encoder(torch.nn.Module):
        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(tokens[:, 0] % 512, 512).float()

    def load(size: str, device: Any, download_root: str) -> tuple[torch.nn.Module, None]:
        loaded.append(download_root)
        return Encoder(), None

    clip = types.ModuleType("clip")
    clip.__spec__ = ModuleSpec("clip", None)
    clip.load = load
    clip.tokenize = lambda texts, truncate: torch.tensor([[sum(map(ord, text))] for text in texts])
    clip.clip = clip
    return clip


def _write_text_encoder(path: Path) -> str:
    import torch

    def encode(tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(tokens[:, 0] % 512, 512).float()

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.trace(encode, torch.zeros(2, 1, dtype=torch.long)).save(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("model", "encoder", "place"),
    [
        ("yolov8n-world.pt", "clip:ViT-B/32", "clip/ViT-B-32.pt"),
        ("yoloe-v8n-seg.pt", "mobileclip:blt", "mobileclip_blt.ts"),
    ],
)
def test_words_reach_the_model(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, encoder: str, place: str
) -> None:
    """ultralytics' own way from words to classes, the encoder read from the folder of weights and verified."""
    loaded: list[str] = []
    monkeypatch.setitem(sys.modules, "clip", _stand_in_for_clip(loaded))
    monkeypatch.setitem(sys.modules, "clip.clip", sys.modules["clip"])
    monkeypatch.delitem(sys.modules, "ultralytics.nn.text_model", raising=False)
    monkeypatch.setenv("GPT4SCENE_WEIGHTS", str(tmp_path))
    digest = _write_text_encoder(tmp_path / place)
    monkeypatch.setattr(module, "TEXT_ENCODERS", {encoder: TextEncoder(place, "", digest, "")})
    options = {"weights": tiny_models / model, "trust_weights": True, "score_min": 0.0}
    each = detect(image_scan([noise(96, 128)]), classes=["trash can", "sofa"], **options)[0]
    assert len(each) and set(each.data["class_name"].tolist()) <= {"trash can", "sofa"}
    assert loaded == ([str(tmp_path / "clip")] if place.startswith("clip") else [])


@pytest.mark.gpu
def test_cuda_sees_what_the_cpu_sees(tiny_models: Path) -> None:
    scan = image_scan([noise(96, 128, seed) for seed in range(3)])
    options = {"weights": tiny_models / "tiny-seg.pt", "trust_weights": True, "score_min": 0.0}
    cpu, cuda = detect(scan, device="cpu", **options), detect(scan, device="cuda", **options)
    for k in cpu:
        assert abs(len(cpu[k]) - len(cuda[k])) <= 3
        assert np.allclose(cpu[k].confidence[:20], cuda[k].confidence[:20], atol=1e-3)


QUIET = """
import json, socket, sys
asked = []
def refuse(*args, **options):
    asked.append(repr(args[-1]))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import os, cv2, numpy as np
threads, options = cv2.getNumThreads(), np.get_printoptions()
from image_scan import image_scan, noise
from markers.detect import detect
found = detect(image_scan([noise(96, 128)]), weights=sys.argv[1], trust_weights=True, score_min=0.0)
kept = cv2.getNumThreads() == threads and np.get_printoptions() == options and "OMP_NUM_THREADS" not in os.environ
import ultralytics.utils as u, ultralytics.utils.checks as c, ultralytics.utils.events as e
off = not (u.SETTINGS["sync"] or u.AUTOINSTALL or c.AUTOINSTALL or e.events.enabled or u.ONLINE)
print(json.dumps({"asked": asked, "found": len(found[0]), "kept": kept, "off": off, "folder": str(u.USER_CONFIG_DIR)}))
"""


def test_nothing_is_reported_installed_or_left_behind(tiny_models: Path, tmp_path: Path) -> None:
    """In a fresh process: no network, no line of ultralytics', no file in the home or working folder."""
    home, here, temporary = tmp_path / "home", tmp_path / "here", tmp_path / "tmp"
    for folder in (home, here, temporary):
        folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "XDG_", "PYTEST", "OMP_"))}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1]))),
    }
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tiny_models / "tiny-seg.pt")],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # and nothing else was printed
    assert told["asked"] == [] and told["kept"] and told["off"] and told["found"] > 0
    assert Path(told["folder"]).is_relative_to(temporary)
    assert [str(path) for folder in (home, here) for path in folder.rglob("*")] == []
    assert [path.name for path in temporary.iterdir() if "ltralytics" in path.name] == []


def test_importing_ultralytics_leaves_pillow_and_torch_as_they_were():
    """In a process of its own: it replaces their functions, and readers of broken images then asked for plugins."""
    script = """
import torch
from PIL import Image
before = Image.open, torch.save
from importlib import import_module
import_module("markers.detect")._quiet_ultralytics()
assert (Image.open, torch.save) == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)
