"""The vendors' own code with random weights, and stand-ins with its interface that know the true answer."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from depth_teacher import SIZE, filmed_room, index_of, moved_world, off_surface, with_sparse
from test_bev_learned_reconstruction import unposed

from bev.camera import invert_rigid, rigid_fault
from bev.errors import UserError
from bev.learned import gives_poses, is_metric, learned_depth, learned_reconstruction, load_model

torch = pytest.importorskip("torch")
WIDE = (126, 98)
"""What 160x118 becomes when the longest side is 126, in multiples of 14."""
IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])

TINY_MANY = """
__object__: {path: depth_anything_3.model.da3, name: DepthAnything3Net, args: as_params}
net:
  __object__: {path: depth_anything_3.model.dinov2.dinov2, name: DinoV2, args: as_params}
  name: vits
  out_layers: [0, 1, 2, 3]
  alt_start: 2
  qknorm_start: 2
  rope_start: 2
  cat_token: True
head:
  __object__: {path: depth_anything_3.model.dualdpt, name: DualDPT, args: as_params}
  dim_in: 768
  output_dim: 2
  features: 16
  out_channels: [8, 8, 16, 16]
cam_enc:
  __object__: {path: depth_anything_3.model.cam_enc, name: CameraEnc, args: as_params}
  dim_out: 384
cam_dec:
  __object__: {path: depth_anything_3.model.cam_dec, name: CameraDec, args: as_params}
  dim_in: 768
"""
TINY_METRIC = """
__object__: {path: depth_anything_3.model.da3, name: DepthAnything3Net, args: as_params}
net:
  __object__: {path: depth_anything_3.model.dinov2.dinov2, name: DinoV2, args: as_params}
  name: vits
  out_layers: [0, 1, 2, 3]
  alt_start: -1
  qknorm_start: -1
  rope_start: -1
  cat_token: False
head:
  __object__: {path: depth_anything_3.model.dpt, name: DPT, args: as_params}
  dim_in: 384
  output_dim: 1
  features: 16
  out_channels: [8, 8, 16, 16]
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these lose more to waiting threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def room():
    return filmed_room()


@pytest.fixture
def tiny_da3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function: preset name to the folder of a tiny network of it with random weights, as the hub would have it."""
    cfg = pytest.importorskip("depth_anything_3.cfg")
    from depth_anything_3 import registry
    from depth_anything_3.model.dinov2 import dinov2
    from safetensors.torch import save_model

    monkeypatch.setattr(dinov2, "vit_small", partial(dinov2.vit_small, depth=4))
    presets = dict(registry.MODEL_REGISTRY)
    for name, text in (("da3-tiny", TINY_MANY), ("da3metric-tiny", TINY_METRIC), ("da3mono-tiny", TINY_METRIC)):
        presets[name] = str(tmp_path / f"{name}.yaml")
        Path(presets[name]).write_text(text)
    nested = f"""
__object__: {{path: depth_anything_3.model.da3, name: NestedDepthAnything3Net, args: as_params}}
anyview: {{__inherit__: {presets["da3-tiny"]}}}
metric: {{__inherit__: {presets["da3metric-tiny"]}}}
"""
    presets["da3nested-tiny"] = str(tmp_path / "da3nested-tiny.yaml")
    Path(presets["da3nested-tiny"]).write_text(nested)
    monkeypatch.setattr(registry, "MODEL_REGISTRY", presets)
    monkeypatch.setattr("bev.learned.depth_anything_3.LONGEST_PX", WIDE[0])

    def make(preset: str) -> Path:
        torch.manual_seed(0)
        net = cfg.create_object(cfg.load_config(presets[preset]))
        with torch.no_grad():  # many layers start close to 0, by which a mix-up would not show
            for name, parameter in net.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.05)
                elif name.endswith(("gamma", "fc_fov.0.bias")):
                    parameter.fill_(1.0)
                if name.endswith("fc_fov.0.weight"):
                    parameter.fill_(0.0)  # else half of all fields of view would be 0
        folder = tmp_path / preset
        folder.mkdir()
        published = torch.nn.Module()
        published.model = net
        save_model(published, str(folder / "model.safetensors"))
        (folder / "config.json").write_text(json.dumps({"model_name": preset}))
        return folder

    return make


def test_depth_anything_3_reconstructs_in_chunks(tiny_da3, room) -> None:
    model = f"da3:{tiny_da3('da3-tiny')}"
    assert gives_poses(model) and not is_metric(model)
    network = load_model(model, device="cpu")
    assert network.gives_poses and "licence unknown" in network.licence
    images = [frame.read_color() for frame in room.scan.frames[:4]]
    alone = network.predict(images, None, None)
    assert alone.depth.shape == (4, 98, 126) and alone.depth.dtype == np.float32
    assert (alone.depth > 0).all() and (alone.confidence >= 0).all()
    assert alone.world_from_camera is not None and alone.K is not None
    assert not any(rigid_fault(matrix, 1e-9) for matrix in alone.world_from_camera)
    np.testing.assert_allclose(alone.K[:, :2, 2], [[63, 49]] * 4)  # the centre, pixels counted as we do
    leaning = network.predict(images, *_cameras(room, 4))
    assert leaning.world_from_camera is not None  # known cameras reach the network
    assert np.abs(leaning.world_from_camera - alone.world_from_camera).max() > 1e-3

    plain = unposed(room.scan.with_frames(room.scan.frames[:7]))
    scan = learned_reconstruction(plain, model, device="cpu", chunk=4, overlap=2, min_confidence=0)
    assert scan.units == "arbitrary" and len(scan.frames) == 7
    for frame in scan.frames:
        assert frame.read_depth and frame.depth_camera
        assert frame.read_depth().shape == (98, 126)
        np.testing.assert_allclose(frame.depth_camera.K, frame.camera.resized(*WIDE).K)


def _cameras(room, count: int) -> tuple[np.ndarray, np.ndarray]:
    cameras = [frame.camera for frame in room.scan.frames[:count]]
    return np.stack([camera.K for camera in cameras]), np.stack([camera.world_from_camera for camera in cameras])


def test_depth_anything_3_metric_follows_the_focal_length_and_drops_sky(tiny_da3, room) -> None:
    model = f"da3:{tiny_da3('da3metric-tiny')}"
    assert not gives_poses(model) and is_metric(model)
    network = load_model(model, device="cpu")
    images = [frame.read_color() for frame in room.scan.frames[:2]]
    K, poses = _cameras(room, 2)
    once = network.predict(images, K, poses)
    twice = network.predict(images, K * [[2], [2], [1]], poses)
    assert once.kind == "metre" and once.world_from_camera is None and once.depth.shape == (2, 98, 126)
    np.testing.assert_allclose(twice.depth, 2 * once.depth, rtol=1e-5)
    with torch.inference_mode():
        pixels = _normalised(images[:1], *WIDE)
        raw = network._net(pixels)  # type: ignore[attr-defined]
    focal = (K[0, 0, 0] * WIDE[0] / SIZE[0] + K[0, 1, 1] * WIDE[1] / SIZE[1]) / 2
    np.testing.assert_allclose(once.depth[0], raw["depth"][0, 0].numpy() * focal / 300, rtol=1e-4)
    np.testing.assert_array_equal(once.confidence[0] > 0, raw["sky"][0, 0].numpy() < 0.3)
    with pytest.raises(UserError, match="focal length"):
        network.predict(images, None, None)
    assert not is_metric(f"da3:{tiny_da3('da3mono-tiny')}")


def _normalised(images: list[np.ndarray], width: int, height: int):
    values = torch.from_numpy(np.stack(images).astype(np.float32) / 255).permute(0, 3, 1, 2)
    mean, std = (torch.from_numpy(each.astype(np.float32))[:, None, None] for each in IMAGENET)
    return torch.nn.functional.interpolate((values - mean) / std, (height, width))[None]


def test_depth_anything_3_nested_gives_metres_and_poses(tiny_da3, room) -> None:
    model = f"da3:{tiny_da3('da3nested-tiny')}"
    assert gives_poses(model) and is_metric(model)
    scan = unposed(room.scan.with_frames(room.scan.frames[:3]))
    result = learned_reconstruction(scan, model, device="cpu", min_confidence=0)
    assert result.units == "metre" and result.has_depth


def test_depth_anything_3_that_does_not_fit_is_told_in_one_line(tiny_da3, tmp_path: Path) -> None:
    folder = tiny_da3("da3-tiny")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3metric-tiny"}))
    with pytest.raises(UserError, match="check model_name"):
        load_model(f"da3:{folder}", device="cpu")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3-vast"}))
    with pytest.raises(UserError, match="the package knows da3-base"):
        load_model(f"da3:{folder}", device="cpu")
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet"}))
    with pytest.raises(UserError, match="no model_name of Depth Anything 3"):
        load_model(f"da3:{folder}", device="cpu")
    (folder / "config.json").write_text(json.dumps({"model_name": "da3-tiny"}))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cut short"):
        load_model(f"da3:{folder}", device="cpu")


def test_a_missing_package_is_told_with_the_commands_that_bring_it(tiny_da3, monkeypatch) -> None:
    folder = tiny_da3("da3-tiny")
    monkeypatch.setitem(sys.modules, "depth_anything_3.cfg", None)
    with pytest.raises(UserError, match=r"gpt4scene\[da3\].*--no-deps depth-anything-3==0.1.1"):
        load_model(f"da3:{folder}", device="cpu")
    with pytest.raises(UserError, match=r"vggt.* is not installed: .*git clone"):
        load_model(f"vggt:{folder}", device="cpu")


class TrueNet(torch.nn.Module):
    """Answers as Depth Anything 3 and VGGT do, with the truth about the frame whose colour it sees."""

    def __init__(self, room, *, imagenet: bool):
        super().__init__()
        self.room, self.imagenet = room, imagenet
        self.point_head = self.track_head = torch.nn.Identity()
        self.given: list[tuple[torch.Tensor, ...]] = []

    def forward(self, images, *cameras):
        self.given.append(cameras)
        batch, count, channels, height, width = images.shape
        assert (batch, channels) == (1, 3) and height % 14 == width % 14 == 0
        colours = images[0, :, :, height // 2, width // 2].numpy()
        colours = colours * IMAGENET[1] + IMAGENET[0] if self.imagenet else colours
        indices = [index_of(colour * 255) for colour in colours]
        self.depth = np.stack([self.room.true_depth(i, (width, height)) for i in indices])
        world = moved_world(indices[0])
        poses = np.stack([world @ self.room.camera(i).world_from_camera for i in indices])
        camera_from_world = np.stack([invert_rigid(pose)[:3] for pose in poses])
        K = np.stack([self.room.camera(i).resized(width, height).K for i in indices])
        depth = torch.from_numpy(self.depth)[None]
        return {
            "depth": depth if self.imagenet else depth[..., None],
            "depth_conf": 1 + (depth > 0).float(),
            "extrinsics": torch.from_numpy(camera_from_world)[None],
            "intrinsics": torch.from_numpy(K)[None],
            "pose_enc": torch.from_numpy(
                np.concatenate([camera_from_world.reshape(count, 12), K.reshape(count, 9)], 1)
            )[None],
        }


def _on_true_surface(scan, room) -> None:
    """The scan, brought back into the film's world by its first camera, has its depth on the true surface."""
    true = np.linalg.norm(room.scan.centers()[-1] - room.scan.centers()[0])
    scan = scan.scaled(true / np.linalg.norm(scan.centers()[-1] - scan.centers()[0]))
    start = scan.frames[0].camera.world_from_camera
    scan = scan.moved(room.camera(0).world_from_camera @ invert_rigid(start))
    np.testing.assert_allclose(scan.centers(), room.scan.centers(), atol=0.01)
    # half a pixel of this grid would be 4 mm sideways
    assert np.percentile(off_surface(scan, room.surface), 95) < 0.006


def test_depth_anything_3s_cameras_and_pixels_are_understood(room, monkeypatch: pytest.MonkeyPatch) -> None:
    from bev.learned.depth_anything_3 import DepthAnything3

    monkeypatch.setattr("bev.learned.depth_anything_3.LONGEST_PX", 252)
    net = TrueNet(room, imagenet=True)
    network = DepthAnything3("stand-in", device="cpu", net=net, preset="da3-base")
    scan = learned_reconstruction(unposed(room.scan), network, chunk=8)
    _on_true_surface(scan, room)
    np.testing.assert_allclose(scan.frames[0].camera.K, room.camera(0).K, rtol=1e-5)
    posed = learned_depth(with_sparse(room), network, chunk=5)
    assert np.percentile(off_surface(posed, room.surface), 95) < 0.006
    camera_from_first, K = (each[0].numpy() for each in net.given[-1])
    np.testing.assert_allclose(camera_from_first[0], np.eye(4), atol=1e-6)
    first, second = (room.camera(i) for i in (15, 16))
    relative = second.camera_from_world @ first.world_from_camera
    np.testing.assert_allclose(camera_from_first[1][:3, :3], relative[:3, :3], atol=1e-5)
    cosine = camera_from_first[1][:3, 3] @ relative[:3, 3]
    assert cosine == pytest.approx(np.linalg.norm(camera_from_first[1][:3, 3]) * np.linalg.norm(relative[:3, 3]))
    np.testing.assert_allclose(K[0], first.resized(252, 182).K, rtol=1e-5)


def test_vggts_cameras_and_pixels_are_understood(room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: it cannot be installed here, and was never run."""
    net = TrueNet(room, imagenet=False)
    loaded: list[str] = []

    class VGGT:
        @staticmethod
        def from_pretrained(folder: str):
            loaded.append(folder)
            return net

    def pose_encoding_to_extri_intri(pose_enc, image_size_hw):
        assert image_size_hw == net.depth.shape[1:]
        return pose_enc[..., :12].reshape(1, -1, 3, 4), pose_enc[..., 12:].reshape(1, -1, 3, 3)

    for name, attributes in {
        "vggt": {},
        "vggt.models": {},
        "vggt.models.vggt": {"VGGT": VGGT},
        "vggt.utils": {},
        "vggt.utils.pose_enc": {"pose_encoding_to_extri_intri": pose_encoding_to_extri_intri},
    }.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    monkeypatch.setattr("bev.learned.vggt.LONGEST_PX", 252)
    scan = learned_reconstruction(unposed(room.scan), f"vggt:{tmp_path}", device="cpu", chunk=8)
    assert loaded == [str(tmp_path)] and net.point_head is None and net.track_head is None
    _on_true_surface(scan, room)
    assert scan.frames[0].depth_camera is not None and scan.frames[0].depth_camera.width == 252
    assert gives_poses(f"vggt:{tmp_path}") and not is_metric(f"vggt:{tmp_path}")


@pytest.fixture(scope="module")
def tiny_monocular(tmp_path_factory):
    """Kind to the folder of a tiny depth model of transformers with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    folders = {}
    for kind in ("metric", "relative"):
        backbone = transformers.Dinov2Config(
            **{**vision, "num_hidden_layers": 4},
            image_size=56,
            patch_size=14,
            out_indices=[1, 2, 3, 4],
            reshape_hidden_states=False,
        )
        config = transformers.DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=16,
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
            head_hidden_size=8,
            depth_estimation_type=kind,
            max_depth=20,
        )
        processor = transformers.DPTImageProcessor(
            size={"height": 56, "width": 56},
            keep_aspect_ratio=True,
            ensure_multiple_of=14,
            image_mean=IMAGENET[0].tolist(),
            image_std=IMAGENET[1].tolist(),
        )
        folders[kind] = tmp_path_factory.mktemp(kind)
        transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folders[kind])
        processor.save_pretrained(folders[kind])
    vit = {"model_type": "dinov2", "image_size": 32, "patch_size": 8, "use_mask_token": False, **vision}
    config = transformers.DepthProConfig(
        fusion_hidden_size=8,
        patch_size=32,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.2],
        scaled_images_feature_dims=[8, 8],
        image_model_config=vit,
        patch_model_config=vit,
        fov_model_config=vit,
        use_fov_model=True,
        num_fov_head_layers=2,
    )
    folders["pro"] = tmp_path_factory.mktemp("pro")
    transformers.DepthProForDepthEstimation(config).save_pretrained(folders["pro"])
    transformers.DepthProImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folders["pro"])
    return folders


@pytest.mark.parametrize(("kind", "meaning"), [("metric", "metre"), ("relative", "inverse"), ("pro", "metre")])
def test_single_image_networks_run_and_say_what_they_mean(tiny_monocular, room, kind: str, meaning: str) -> None:
    model = f"transformers:{tiny_monocular[kind]}"
    assert not gives_poses(model) and is_metric(model) == (meaning == "metre")
    network = load_model(model, device="cpu")
    images = [frame.read_color() for frame in room.scan.frames[:2]]
    found = network.predict(images, *_cameras(room, 2))
    assert found.kind == meaning and found.world_from_camera is None
    assert found.depth.shape == (2, SIZE[1], SIZE[0]) and found.depth.dtype == np.float32
    assert np.isfinite(found.depth).all() and (found.confidence == 1).all()


def test_single_image_networks_answers_are_aligned_at_the_images_borders(tiny_monocular, monkeypatch) -> None:
    """A ramp over the network's own grid is the same ramp over ours: x / width at pixel centres."""
    for kind in ("metric", "pro"):
        network = load_model(f"transformers:{tiny_monocular[kind]}", device="cpu")

        def ramp(pixel_values, kind=kind, **_):
            from transformers.modeling_outputs import DepthEstimatorOutput
            from transformers.models.depth_pro.modeling_depth_pro import DepthProDepthEstimatorOutput

            count, _, height, width = pixel_values.shape
            values = (torch.arange(width) + 0.5)[None, None].expand(count, height, -1) / width + 1
            if kind == "pro":  # inverse depth times focal length over width
                return DepthProDepthEstimatorOutput(predicted_depth=values, field_of_view=torch.full((count,), 10.0))
            return DepthEstimatorOutput(predicted_depth=values)

        monkeypatch.setattr(network, "_net", ramp)
        images = [np.zeros((118, 160, 3), np.uint8)]
        focal = 200.0
        K = np.array([[[focal, 0, 80], [0, focal, 59], [0, 0, 1]]])
        found = network.predict(images, K, None).depth[0]
        expected = (np.arange(160) + 0.5) / 160 + 1
        expected = focal / 160 / expected if kind == "pro" else expected
        np.testing.assert_allclose(found[:, 10:-10], np.tile(expected[10:-10], (118, 1)), rtol=2e-3)


def test_depth_pro_takes_the_known_focal_length_before_its_own_guess(tiny_monocular, room) -> None:
    network = load_model(f"transformers:{tiny_monocular['pro']}", device="cpu")
    images = [frame.read_color() for frame in room.scan.frames[:2]]
    K, poses = _cameras(room, 2)
    once, twice = network.predict(images, K, poses).depth, network.predict(images, K * [[2], [2], [1]], poses).depth
    inside = (once < 5e3) & (once > 2e-4) & (twice < 5e3)
    assert inside.any()
    np.testing.assert_allclose(twice[inside], 2 * once[inside], rtol=1e-4)
    assert network.predict(images, None, None).depth.shape == once.shape


def test_a_single_image_network_gives_a_scan_depth(tiny_monocular, room) -> None:
    """Random weights agree with nothing: a metric scan then keeps what a metric network says."""
    scan = room.scan.with_frames(room.scan.frames[:5])
    result = learned_depth(
        replace(scan, sparse=None), f"transformers:{tiny_monocular['metric']}", device="cpu", chunk=2
    )
    assert result.has_depth and result.units == "metre"
    assert all(frame.read_depth and frame.read_depth().shape == (SIZE[1], SIZE[0]) for frame in result.frames)


def test_models_of_other_kinds_are_told(tiny_monocular, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model_name of Depth Anything 3"):
        load_model(f"da3:{tiny_monocular['metric']}", device="cpu")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="transformers cannot load it as a depth model"):
        load_model(f"transformers:{tmp_path}", device="cpu")
    with pytest.raises(UserError, match=r"'bert'.*are supported"):
        is_metric(f"transformers:{tmp_path}")
