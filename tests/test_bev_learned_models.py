"""Names of networks, licences, and where their files come from."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bev.errors import UserError
from bev.learned import gives_poses, is_metric, load_model, parse_model
from bev.learned.hub import model_folder, read_config
from bev.learned.known_models import KNOWN, licence_of
from bev.learned.models import ModelName
from bev.learned.network_input import grid_size, resized


def test_a_model_is_its_kind_and_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_model("da3:depth-anything/DA3-BASE") == ModelName("da3", "depth-anything/DA3-BASE")
    assert parse_model(f" transformers:{tmp_path} ") == ModelName("transformers", str(tmp_path))
    (tmp_path / "models" / "pro").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_model("transformers:models/pro").source == "models/pro"
    assert parse_model("transformers:./models/pro").source == "./models/pro"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "named by its kind"),
        ("depth-anything/DA3-BASE", "named by its kind"),
        ("moge:Ruicheng/moge", "da3:, vggt:, transformers:"),
        ("da3:", "lacks the weights"),
        ("da3:DA3-BASE", "no such folder"),
        ("da3:./not/here", "no such folder"),
        (f"da3:{__file__}", "is a file"),
        ("da3:https://huggingface.co/depth-anything/DA3-BASE", "no such folder"),
    ],
)
def test_other_names_are_told_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_model(text)
    assert "\n" not in str(caught.value)


def test_what_published_networks_give_is_known_without_a_download() -> None:
    assert gives_poses("da3:depth-anything/DA3-BASE") and not is_metric("da3:depth-anything/DA3-BASE")
    assert gives_poses("da3:depth-anything/DA3NESTED-GIANT-LARGE-1.1")
    assert is_metric("da3:depth-anything/DA3NESTED-GIANT-LARGE-1.1")
    assert is_metric("da3:depth-anything/DA3METRIC-LARGE") and not gives_poses("da3:depth-anything/DA3METRIC-LARGE")
    assert gives_poses("vggt:facebook/VGGT-1B") and not is_metric("vggt:facebook/VGGT-1B")
    assert is_metric("transformers:apple/DepthPro-hf") and not gives_poses("transformers:apple/DepthPro-hf")
    assert not is_metric("transformers:depth-anything/Depth-Anything-V2-Small-hf")


def test_presets_follow_from_published_names() -> None:
    from bev.learned.depth_anything_3 import preset_depth, preset_gives_poses, preset_of

    for source, known in KNOWN.items():
        if "/DA3" in source:
            preset = preset_of(source)
            assert (preset_gives_poses(preset), preset_depth(preset)) == (known.gives_poses, known.depth), source
    registry = pytest.importorskip("depth_anything_3.registry")
    assert {preset_of(source) for source in KNOWN if "/DA3" in source} == set(registry.MODEL_REGISTRY)


def test_licences_that_forbid_commerce_say_so() -> None:
    for source in ("depth-anything/DA3-LARGE", "depth-anything/DA3NESTED-GIANT-LARGE-1.1", "facebook/VGGT-1B"):
        assert "NC" in licence_of(source)
    assert licence_of("depth-anything/DA3-BASE") == licence_of("depth-anything/DA3METRIC-LARGE") == "Apache-2.0"
    assert "research" in licence_of("apple/DepthPro-hf")
    assert licence_of("somebody/else") == "licence unknown: read the model card"


def _hub(folder: Path, calls: list[str], *, cached: bool, reason: str | None = None) -> SimpleNamespace:
    """A stand-in for huggingface_hub: nothing may leave this machine."""

    def snapshot_download(source: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        assert "*.safetensors" in allow_patterns and not any("bin" in p or "pt" in p for p in allow_patterns)
        calls.append("look" if local_files_only else "fetch")
        if local_files_only and not cached:
            raise FileNotFoundError("not cached")
        return str(folder)

    def model_info(source: str, *, files_metadata: bool) -> SimpleNamespace:
        calls.append("ask")
        if reason:
            raise OSError(reason)
        files = [("model.safetensors", 500_000_000), ("config.json", 100), ("model.pt", 900_000_000)]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in files])

    return SimpleNamespace(
        snapshot_download=snapshot_download,
        hf_hub_download=lambda source, name: str(folder / name),
        HfApi=lambda: SimpleNamespace(model_info=model_info),
        constants=SimpleNamespace(HF_HUB_CACHE="the/cache"),
        errors=SimpleNamespace(HTTPError=OSError),
    )


def test_nothing_is_downloaded_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-base"}))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", _hub(tmp_path, calls, cached=False))
    with caplog.at_level(logging.WARNING):
        assert model_folder("depth-anything/DA3-LARGE") == tmp_path
    assert calls == ["look", "ask", "fetch"]
    assert "depth-anything/DA3-LARGE: 500 MB, CC BY-NC 4.0" in caplog.text and "the/cache" in caplog.text
    caplog.clear()
    calls.clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", _hub(tmp_path, calls, cached=True))
    assert model_folder("depth-anything/DA3-LARGE") == tmp_path
    assert calls == ["look"] and not caplog.text
    assert read_config("depth-anything/DA3-LARGE") == {"model_name": "da3-base"}


def test_without_network_the_way_by_hand_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", _hub(tmp_path, [], cached=False, reason="no route\nto host"))
    with pytest.raises(UserError, match=r"could not be fetched \(no route\): download config.json") as caught:
        model_folder("depth-anything/DA3-LARGE")
    assert "\n" not in str(caught.value)


def test_the_real_hub_library_offline(tmp_path: Path) -> None:
    """In a process of its own, because the library reads its settings once."""
    code = (
        "from bev.errors import UserError\nfrom bev.learned.hub import model_folder, read_config\n"
        "for ask in (model_folder, read_config):\n"
        "    try: ask('depth-anything/DA3-BASE')\n"
        "    except UserError as error: assert 'could not be fetched' in str(error) and '\\n' not in str(error)\n"
        "    else: raise AssertionError\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no config.json"),
        ({"config.json": "{}"}, "has no model.safetensors"),
        ({"config.json": "{}", "model.bin": "x"}, "has no model.safetensors"),
        ({"config.json": "{}", "model.safetensors": "version https://git-lfs.github.com/spec/v1"}, "git-lfs pointer"),
    ],
)
def test_a_folder_that_is_not_whole_is_told(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_model(f"da3:{tmp_path}", device="cpu")


def test_a_config_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        gives_poses(f"da3:{tmp_path}")
    for text, message in (("<html>", "is no JSON"), ("[1]", "must hold a JSON object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            gives_poses(f"da3:{tmp_path}")


def test_the_licence_is_shown_even_when_nothing_is_fetched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError):
        load_model(f"da3:{tmp_path}", device="cpu")
    assert "licence unknown: read the model card" in caplog.text


def test_sizes_are_multiples_and_images_keep_what_they_show() -> None:
    assert grid_size(640, 480, longest_px=504, multiple_of=14) == (504, 378)
    assert grid_size(480, 640, longest_px=504, multiple_of=14) == (378, 504)
    assert grid_size(1920, 1080, longest_px=518, multiple_of=14) == (518, 294)
    assert grid_size(2000, 10, longest_px=504, multiple_of=14) == (504, 14)
    ramp = np.broadcast_to(np.arange(160, dtype=np.uint8)[None, :, None], (118, 160, 3))
    small = resized([ramp, ramp], 98, 70)
    assert small.shape == (2, 70, 98, 3)
    expected = (np.arange(98) + 0.5) * 160 / 98 - 0.5  # values are positions minus half a pixel
    np.testing.assert_allclose(small[0, 5, :, 0], expected, atol=0.6)
