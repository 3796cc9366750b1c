"""segment-anything: its real code with small models of its own classes, saved and loaded as checkpoints."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from image_scan import image_scan, noise
from tiny_sam import tiny_sam

from bev.errors import UserError
from markers.detections import load_detections, save_detections
from markers.sam_shape import SamShape, sam_shape
from markers.segment import _build, load_sam, segment, segment_everything

TINY = SamShape(
    embed_dim=64,
    depth=2,
    head_count=4,
    patch_px=16,
    grid=8,
    mlp_ratio=2.0,
    window=3,
    global_blocks=(1,),
    prompt_dim=64,
    mask_in_channels=16,
    decoder_depth=2,
    decoder_mlp_dim=96,
    mask_count=4,
    iou_depth=3,
    iou_hidden_dim=48,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("sam") / "tiny_sam.pth"
    torch.save(tiny_sam().state_dict(), path)
    return path


def _boxes(*boxes: list[float]) -> sv.Detections:
    return sv.Detections(
        xyxy=np.array(boxes, float).reshape(-1, 4),
        confidence=np.linspace(0.9, 0.5, len(boxes)).astype(np.float32),
        class_id=np.arange(len(boxes)),
        data={"class_name": np.array([f"thing {k}" for k in range(len(boxes))], dtype=str)},
    )


def test_a_model_is_told_from_its_weights(checkpoint: Path) -> None:
    import torch

    state = torch.load(checkpoint, weights_only=True)
    assert sam_shape(state, checkpoint) == TINY
    loaded = load_sam(checkpoint, device="cpu")
    assert loaded.image_encoder.img_size == 128 and not loaded.training
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(("name", "size"), [("vit_b", (768, 12)), ("vit_l", (1024, 24)), ("vit_h", (1280, 32))])
def test_the_published_sizes_are_told_as_well(name: str, size: tuple[int, int]) -> None:
    import torch
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        official = sam_model_registry[name]()
        shape = sam_shape(official.state_dict(), Path(name))
        ours = _build(shape)
    assert (shape.embed_dim, shape.depth) == size
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in official.state_dict().items()}
    for left, right in zip(ours.image_encoder.blocks, official.image_encoder.blocks, strict=True):
        assert (left.window_size, left.attn.num_heads) == (right.window_size, right.attn.num_heads)


def test_boxes_get_the_masks_that_segment_anything_gives(checkpoint: Path) -> None:
    """All boxes of a frame at once, at full size, as its own predictor answers them one by one."""
    from segment_anything import SamPredictor

    image = noise(90, 121)
    boxes = _boxes([5, 5, 60, 60], [40.5, 20.25, 110, 80], [0, 0, 121, 90])
    ((index, each),) = segment(image_scan([image], [30]), {30: boxes}, checkpoint=checkpoint)
    assert index == 30 and isinstance(each.mask, sv.CompactMask) and each.mask.shape == (3, 90, 121)
    predictor = SamPredictor(load_sam(checkpoint, device="cpu"))
    predictor.set_image(image)
    for k, box in enumerate(boxes.xyxy):
        expected = predictor.predict(box=box, multimask_output=False)[0][0]
        assert 0 < expected.sum() < expected.size
        assert np.mean(each.mask[k] != expected) < 0.001
    assert np.array_equal(each.xyxy, boxes.xyxy) and np.array_equal(each.confidence, boxes.confidence)
    assert each.data["class_name"].tolist() == ["thing 0", "thing 1", "thing 2"]


def test_each_frame_is_embedded_once_and_only_with_boxes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segment_anything import SamPredictor

    seen, decoded = [], []
    set_image = SamPredictor.set_image
    monkeypatch.setattr(SamPredictor, "set_image", lambda *a, **k: seen.append(a[1].shape) or set_image(*a, **k))
    scan = image_scan([noise(60, 80, k) for k in range(4)])
    frames = tuple(replace(f, read_color=lambda f=f: decoded.append(f.index) or noise(60, 80)) for f in scan.frames)
    many = _boxes(*([k % 40, k % 30, k % 40 + 20.0, k % 30 + 20.0] for k in range(130)))
    given = {2: many, 0: _boxes([1, 1, 30, 30]), 3: _boxes()}
    found = dict(segment(scan.with_frames(frames), given, checkpoint=checkpoint))
    assert list(found) == [0, 2, 3] and decoded == [0, 2] and len(seen) == 2
    assert found[3].mask is not None and found[3].mask.shape == (0, 60, 80)
    assert 0 < len(found[2]) <= 130


@pytest.mark.gpu
def test_cuda_draws_what_the_cpu_draws(checkpoint: Path) -> None:
    scan, boxes = image_scan([noise(90, 121)]), {0: _boxes([5, 5, 60, 60], [40.5, 20.25, 110, 80])}
    cpu, cuda = (dict(segment(scan, boxes, checkpoint=checkpoint, device=device))[0] for device in ("cpu", "cuda"))
    assert np.mean(cpu.mask.to_dense() != cuda.mask.to_dense()) < 0.01


def test_it_streams_and_repeats(checkpoint: Path, tmp_path: Path) -> None:
    scan = image_scan([noise(60, 80, k) for k in range(3)])
    given = [(k, _boxes([4, 4, 50, 50], [20, 9, 70, 55])) for k in range(3)]
    save_detections(tmp_path / "boxes", given)
    for name in ("a", "b"):
        save_detections(
            tmp_path / name, segment(scan, load_detections(tmp_path / "boxes"), checkpoint=checkpoint, device="cpu")
        )
    a, b = load_detections(tmp_path / "a"), load_detections(tmp_path / "b")
    assert list(a) == [0, 1, 2] and all(a[k] == b[k] and a[k].mask is not None for k in a)


def test_empty_masks_are_left_out_and_counted(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    state = torch.load(checkpoint, weights_only=True)
    for name in state:
        if name.startswith("mask_decoder.output_hypernetworks_mlps"):
            state[name].zero_()  # every pixel at 0, which is not above the threshold
    torch.save(state, tmp_path / "blind.pth")
    boxes = _boxes([5, 5, 60, 50], [9, 9, 40, 40])
    ((_, each),) = segment(image_scan([noise(60, 80)]), {0: boxes}, checkpoint=tmp_path / "blind.pth")
    assert len(each) == 0 and each.mask is not None
    assert "2 boxes got an empty mask" in caplog.text


@pytest.mark.parametrize(
    ("box", "what"),
    [([5, 5, 5, 9], "is empty"), ([200, 5, 300, 9], "lies outside"), ([np.nan, 5, 9, 9], "is not finite")],
)
def test_boxes_that_are_none_are_told(checkpoint: Path, box: list[float], what: str) -> None:
    boxes = _boxes([1, 1, 9, 9], [2, 2, 9, 9])
    boxes.xyxy[1] = box
    with pytest.raises(UserError, match=f"frame 0: box 1 of 2 {what}"):
        dict(segment(image_scan([noise(60, 80)]), {0: boxes}, checkpoint=checkpoint))


def test_a_frame_that_the_scan_lacks_is_told(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"frame 7: images has no such frame \(it has 1, from 0 to 0\); give the scan"):
        segment(image_scan([noise(60, 80)]), {0: _boxes(), 7: _boxes()}, checkpoint=checkpoint)


@pytest.mark.parametrize("place", ["SamPredictor.set_image", "SamPredictor.predict_torch", "modeling.Sam.to"])
def test_a_full_device_is_told_in_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """As CUDA raises it, wherever it happens: embedding, decoding, or moving the model there."""
    import torch

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    monkeypatch.setattr(f"segment_anything.{place}", full)
    scan, boxes = image_scan([noise(60, 80)]), {0: _boxes([5, 5, 60, 50])}
    runs = [lambda: segment(scan, boxes, checkpoint=checkpoint, device="cpu")]
    if place != "SamPredictor.predict_torch":  # the generator decodes by itself
        runs.append(lambda: segment_everything(scan, checkpoint=checkpoint, points_per_side=2, device="cpu"))
    for run in runs:
        with pytest.raises(UserError, match="does not fit the memory of cpu: give a smaller checkpoint") as raised:
            dict(run())
        assert "\n" not in str(raised.value)


def test_everything_is_proposed_without_a_class(checkpoint: Path) -> None:
    scan = image_scan([noise(60, 80, k) for k in range(2)])
    options = {"checkpoint": checkpoint, "points_per_side": 4, "quality_min": -9.0, "stability_min": 0.0}
    found = dict(segment_everything(scan, **options))
    assert list(found) == [0, 1]
    for each in found.values():
        assert len(each) >= 1 and set(each.class_id) == {-1} and set(each.data["class_name"]) == {"object"}
        assert isinstance(each.mask, sv.CompactMask) and each.mask.shape[1:] == (60, 80)
        assert (each.mask.area > 0).all() and (np.diff(each.confidence) <= 0).all()
        dense = each.mask.to_dense()
        for mask, (x0, y0, x1, y1) in zip(dense, each.xyxy.astype(int), strict=True):
            inside = mask[y0:y1, x0:x1]
            assert inside.sum() == mask.sum() and inside[0].any() and inside[:, -1].any()
    again = dict(segment_everything(scan, **options))
    assert all(again[k] == found[k] for k in found)
    nothing = dict(segment_everything(scan, **options | {"quality_min": 0.999}))
    assert [len(each) for each in nothing.values()] == [0, 0]
    assert all(each.mask is not None for each in nothing.values())


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("code of the file was run",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    torch.save({"image_encoder.pos_embed": _Evil()}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(_Evil(), protocol=2))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(UserError, match="does not load as plain weights"):
            load_sam(tmp_path / name)
    assert "code of the file" not in capsys.readouterr().out


def test_checkpoints_of_something_else_are_told(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    whole = torch.load(checkpoint, weights_only=True)
    wrong = {
        "holds no segment-anything": {"weight": torch.zeros(3)},
        "holds no segment-anything model": [torch.zeros(3)],
        "lacks parts": {name: value for name, value in whole.items() if "iou_prediction" not in name},
        "does not fit": {name: value for name, value in whole.items() if "neck" not in name},
    }
    for k, (what, state) in enumerate(wrong.items()):
        torch.save(state, tmp_path / f"{k}.pth")
        with pytest.raises(UserError, match=rf"{k}\.pth.*{what}") as raised:
            load_sam(tmp_path / f"{k}.pth")
        assert "\n" not in str(raised.value)
    content = checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short"):
        load_sam(tmp_path / "cut.pth")
    with pytest.raises(UserError, match="no such file"):
        load_sam(tmp_path / "none.pth")


def test_a_type_that_the_checkpoint_is_not_is_told(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"no published type \(64 wide, 2 deep\), not vit_b"):
        load_sam(checkpoint, model_type="vit_b")
