"""Films as scans: frame-exact, upright, small enough, in ordinary colours, and what is wrong with broken ones."""

import re
from pathlib import Path
from typing import Any

import av.error
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from film_clips import RATE, corners, number_of, numbered, write_film, write_sound

from bev.errors import UserError
from bev.film import Film
from bev.readers import video_file
from bev.readers.options import ReadOptions
from bev.scan import Scan

KITCHEN = Path(__file__).parents[2] / "shared" / "data" / "redkitchen.mp4"


def _read(path: Path, **options: Any) -> Scan:
    return video_file.read(path, ReadOptions(**options))


def _numbers(scan: Scan, order: list[int]) -> list[int]:
    return [number_of(scan.frames[i].read_color()) for i in order]


def _shuffled(count: int) -> list[int]:
    return np.random.default_rng(1).permutation(count).tolist()


def test_a_film_is_a_scan_without_poses(tmp_path: Path) -> None:
    scan = _read(write_film(tmp_path / "room.mp4", numbered, 60))
    assert (scan.name, scan.reader, scan.units) == ("room", "video", "arbitrary")
    assert not scan.has_poses and not scan.has_intrinsics and not scan.has_depth and not scan.warnings
    assert [frame.index for frame in scan.frames] == list(range(60))
    assert np.allclose([frame.timestamp_s for frame in scan.frames], np.arange(60) / RATE, atol=1e-3)
    camera = scan.frames[0].camera
    assert np.allclose(camera.K, [[1.2 * 320, 0, 160], [0, 1.2 * 320, 120], [0, 0, 1]])
    assert np.array_equal(camera.world_from_camera, np.eye(4))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "libx264", {"g": "25", "bf": "3"}),
        ("open.mp4", "libx265", {"g": "20", "bf": "3", "x265-params": "open-gop=1:log-level=none"}),
        ("vp9.webm", "libvpx-vp9", {"g": "30", "deadline": "realtime", "cpu-used": "8"}),
        ("b.mkv", "libx264", {"g": "25", "bf": "3"}),
        ("b.ts", "libx264", {"g": "25", "bf": "3"}),
        ("b.avi", "mpeg4", {"g": "25", "bf": "2"}),
        ("intra.mov", "mjpeg", {}),
    ],
)
def test_any_order_of_reading_gives_the_same_frames(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    scan = _read(write_film(tmp_path / name, numbered, 90, codec=codec, options=options, pixels=pixels))
    forward, mixed = list(range(90)), _shuffled(90)
    assert _numbers(scan, forward) == forward
    assert _numbers(scan, mixed) == mixed
    assert _numbers(scan, forward[::7]) == forward[::7]
    assert _numbers(scan, [5, 5, 4, 89, 89, 0]) == [5, 5, 4, 89, 89, 0]


def test_a_film_without_time_stamps_is_counted(tmp_path: Path) -> None:
    path = write_film(tmp_path / "raw.h264", numbered, 60, options={"g": "20", "bf": "2"})
    path = path.rename(tmp_path / "raw.mpg")  # the ending does not matter: ffmpeg looks inside
    scan = _read(path)
    mixed = _shuffled(60)[:12]
    assert _numbers(scan, mixed) == mixed
    assert scan.frames[30].timestamp_s == pytest.approx(1, rel=0.2)


def test_frame_times_of_a_film_with_a_varying_rate(tmp_path: Path) -> None:
    pts = np.cumsum([1 + (i % 7 == 3) * 5 for i in range(60)]).tolist()
    scan = _read(write_film(tmp_path / "vfr.mp4", numbered, 60, pts=pts, options={"bf": "2"}))
    times = [frame.timestamp_s for frame in scan.frames]
    assert np.allclose(times, (np.array(pts) - pts[0]) / RATE, atol=2e-3)
    mixed = _shuffled(60)
    assert _numbers(scan, mixed) == mixed


def test_what_an_edit_cut_off_is_not_shown(tmp_path: Path) -> None:
    """Phones trim a film by an edit list: the frames stay in the file, undisplayed."""
    pts = list(range(-20, 70))
    files = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = write_film(tmp_path / "t.mp4", numbered, 90, pts=pts, options={"bf": "0", "g": "30"}, file_options=files)
    scan = _read(path)
    assert len(scan.frames) == 70 and scan.frames[0].timestamp_s == 0
    assert _numbers(scan, [0, 69, 1, 33]) == [20, 89, 21, 53]


def _turned(matrix_of: dict[str, Any]) -> Any:
    return lambda stream: stream.set_display_rotation(**matrix_of)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({"degrees": 0}, corners()),
        ({"degrees": 90}, np.rot90(corners())),
        ({"degrees": 180}, np.rot90(corners(), 2)),
        ({"degrees": 270}, np.rot90(corners(), 3)),
        ({"degrees": 0, "hflip": True}, corners()[:, ::-1]),
        ({"degrees": 90, "hflip": True}, np.rot90(corners())[:, ::-1]),
        ({"degrees": 90, "vflip": True}, np.rot90(corners())[::-1]),
    ],
)
def test_a_film_is_shown_as_its_rotation_says(tmp_path: Path, written: dict[str, Any], shown: np.ndarray) -> None:
    scan = _read(write_film(tmp_path / "r.mp4", lambda _: corners(), 30, prepare=_turned(written)))
    image = scan.frames[3].read_color()
    assert image.shape == shown.shape and image.flags["C_CONTIGUOUS"]
    assert np.abs(image.astype(int) - shown).mean() < 6
    assert (scan.frames[0].camera.width, scan.frames[0].camera.height) == (shown.shape[1], shown.shape[0])


def test_a_phone_film_with_a_quarter_turn_is_vertical_and_small(tmp_path: Path) -> None:
    film = write_film(tmp_path / "v.mov", lambda _: corners(640, 360), 30, prepare=_turned({"degrees": -90}))
    scan = _read(film, long_side_px=320, intrinsics="500,510,170,330")
    camera = scan.frames[0].camera
    assert (camera.width, camera.height) == (180, 320) and scan.has_intrinsics
    # the principal point of a calibration counts from a pixel's centre, see bev.readers.calibration
    assert np.allclose(camera.K, [[250, 0, 85.25], [0, 255, 165.25], [0, 0, 1]])
    assert scan.frames[0].read_color().shape == (320, 180, 3)


def test_a_4k_film_never_is_rgb_of_its_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"preset": "ultrafast"}
    path = write_film(tmp_path / "4k.mp4", lambda _: corners(3840, 2160), 30, options=options)
    sizes: list[tuple[int, int]] = []
    from bev.film_picture import Picture

    shown = Picture._from_ordinary

    def watched(picture: Picture, frame: Any) -> np.ndarray:
        image = shown(picture, frame)
        sizes.append(image.shape[:2])
        return image

    monkeypatch.setattr(Picture, "_from_ordinary", watched)
    image = _read(path).frames[29].read_color()
    assert image.shape == (720, 1280, 3) and sizes == [(720, 1280)]
    assert (
        np.abs(image[300:420, 600:680].astype(int) - corners(1280, 720)[300:420, 600:680]).mean() < 12
    )  # BT.601, untagged


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    from fractions import Fraction

    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    scan = _read(write_film(tmp_path / "w.mp4", lambda _: corners(240, 240), 30, prepare=wide))
    assert scan.frames[0].read_color().shape == (240, 320, 3)


@pytest.mark.parametrize("space", [Colorspace.ITU709, Colorspace.ITU601, Colorspace.BT2020])
@pytest.mark.parametrize("whole_range", [False, True])
def test_colours_follow_what_the_film_says(tmp_path: Path, space: Colorspace, whole_range: bool) -> None:
    number = {Colorspace.ITU709: 1, Colorspace.ITU601: 5, Colorspace.BT2020: 9}[space]
    reach = 2 if whole_range else 1

    def prepare(stream: Any) -> None:
        stream.codec_context.colorspace, stream.codec_context.color_range = number, reach

    def tag(image: Any) -> Any:
        frame = image.reformat(
            format="yuv444p", dst_colorspace=space, src_color_range=ColorRange.JPEG, dst_color_range=reach
        )
        frame.colorspace, frame.color_range = number, reach
        return frame

    path = write_film(
        tmp_path / "c.mp4", lambda _: corners(), 30, pixels="yuv444p", options={"crf": "5"}, prepare=prepare, tag=tag
    )
    image = _read(path).frames[0].read_color().astype(int)
    for y, x in ((60, 80), (60, 240), (180, 80), (180, 240)):
        assert np.abs(image[y, x] - corners()[y, x]).max() <= 4


_BT2020_FROM_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""ITU-R BT.2087."""


def _pq(nits: np.ndarray) -> np.ndarray:
    y = np.clip(nits / 10000, 0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def _linear(srgb: np.ndarray) -> np.ndarray:
    share = srgb / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _hlg_of_display(nits: np.ndarray) -> np.ndarray:
    """BT.2100's HLG signal that a display of 1000 cd/m2 shows as `nits`, (..., 3) in BT.2020."""
    light = nits / 1000
    luminance = np.maximum(light @ [0.2627, 0.6780, 0.0593], 1e-6)[..., None]
    scene = light * luminance ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize(("transfer", "signal"), [(16, _pq), (18, _hlg_of_display)])
def test_hdr_becomes_ordinary_colours(tmp_path: Path, transfer: int, signal: Any) -> None:
    import av

    nits = 203 * _linear(corners().astype(np.float64)) @ _BT2020_FROM_BT709.T
    encoded = (np.clip(signal(nits), 0, 1) * 65535).round().astype(np.uint16)

    def prepare(stream: Any) -> None:
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc, context.color_primaries = 9, 1, transfer, 9

    def tag(_: Any) -> Any:
        frame: Any = av.VideoFrame.from_ndarray(encoded, "rgb48le").reformat(
            format="yuv420p10le", dst_colorspace="BT2020", src_color_range=2, dst_color_range=1
        )
        frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, 1, transfer, 9
        return frame

    path = write_film(
        tmp_path / "hdr.mp4",
        lambda _: corners(),
        30,
        codec="libx265",
        pixels="yuv420p10le",
        options={"crf": "8", "preset": "ultrafast", "x265-params": "log-level=none"},
        prepare=prepare,
        tag=tag,
    )
    scan = _read(path)
    image = scan.frames[10].read_color().astype(int)
    assert image.dtype == int and not scan.warnings
    for y, x in ((60, 80), (60, 240), (180, 80), (180, 240)):
        assert np.abs(image[y, x] - corners()[y, x]).max() <= 24, image[y, x]


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    cut = path.with_name(f"cut_{path.name}")
    cut.write_bytes(data[: int(len(data) * share)])
    return cut


@pytest.mark.parametrize(("name", "files"), [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {})])
def test_of_a_film_cut_short_the_beginning_is_used(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    path = write_film(tmp_path / name, numbered, 120, options={"g": "30", "bf": "2"}, file_options=files)
    scan = _read(_cut(path, 0.6))
    found = re.search(r"cut short: of 4\.0 s only the first (\d\.\d) s can be read", scan.warnings[0])
    assert len(scan.warnings) == 1 and found
    assert 30 < len(scan.frames) < 110 and float(found[1]) == pytest.approx(len(scan.frames) / RATE, abs=0.1)
    backwards = list(range(len(scan.frames)))[::-1]
    assert _numbers(scan, backwards) == backwards


def test_frames_that_are_damaged_are_told_and_no_others(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", numbered, 120, options={"g": "30"}, file_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    path.write_bytes(bytes(data))
    scan, good = _read(path), []
    for i, frame in enumerate(scan.frames):
        try:
            assert number_of(frame.read_color()) == i
            good.append(i)
        except UserError as error:
            assert f"frame {i} " in str(error) and "does not decode" in str(error)
    assert 60 < len(good) < 120 and good[-1] == 119


def test_a_film_without_its_table_of_contents_is_told(tmp_path: Path) -> None:
    path = _cut(write_film(tmp_path / "a.mp4", numbered, 60), 0.5)
    with pytest.raises(UserError, match=r"cut_a\.mp4: the film's table of contents \(moov\) is missing"):
        _read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "the file is empty"), (b"no film at all" * 99, r"is no film that can be read \(Invalid data found")],
)
def test_what_is_no_film_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(UserError, match=message):
        _read(tmp_path / "a.mp4")


def test_a_film_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "a.mp4", numbered, 30)

    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(av, "open", refuse)  # root may read whatever its mode is
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read \(no permission\)"):
        _read(path)


def test_sound_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s\.mp4: holds sound but no pictures"):
        _read(write_sound(tmp_path / "s.mp4"))


def test_a_film_shorter_than_a_second_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lasts 0\.80 s; film the room for at least"):
        _read(write_film(tmp_path / "short.mp4", numbered, 24))
    with pytest.raises(UserError, match=r"lasts 0\.00 s"):
        _read(write_film(tmp_path / "one.mp4", numbered, 1))
    assert len(_read(write_film(tmp_path / "long.mp4", numbered, 30)).frames) == 30


@pytest.mark.parametrize("kind", [b"encv", b"xyzw"])
def test_encrypted_and_unknown_codecs_are_told(tmp_path: Path, kind: bytes) -> None:
    path = write_film(tmp_path / "e.mp4", numbered, 60)
    path.write_bytes(path.read_bytes().replace(b"avc1", kind))
    with pytest.raises(UserError, match="encrypted or of a kind that ffmpeg has no decoder for"):
        _read(path)


def test_a_film_of_which_nothing_decodes_is_told(tmp_path: Path) -> None:
    path = write_film(tmp_path / "n.mp4", numbered, 60)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="not one of its 60 frames decodes"):
        _read(path)


@pytest.mark.parametrize("options", [{"depth_scale": 1000.0}, {"axes": "opengl"}, {"surface": Path("a.ply")}])
def test_options_that_say_nothing_about_a_film_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="leave the option out"):
        _read(write_film(tmp_path / "a.mp4", numbered, 30), **options)


def test_intrinsics_of_another_size_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="principal point"):
        _read(write_film(tmp_path / "a.mp4", numbered, 30), intrinsics="1000,1000,640,360")


def test_what_looks_like_a_film(tmp_path: Path) -> None:
    for name in ("a.MOV", "b.mp4", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.mp4").mkdir()
    assert [video_file.looks_like(tmp_path / name) for name in ("a.MOV", "b.mp4", "c.txt", "d.mp4", "none.mp4")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.skipif(not KITCHEN.is_file(), reason="../shared/data/redkitchen.mp4 is not here")
def test_the_kitchen_film_in_any_order() -> None:
    import cv2

    scan = _read(KITCHEN)
    assert len(scan.frames) == 1000 and scan.frames[999].timestamp_s == pytest.approx(33.3)
    chosen = sorted(_shuffled(1000)[:8])
    forward = {i: scan.frames[i].read_color() for i in chosen}
    for i in np.random.default_rng(2).permutation(chosen).tolist():
        assert np.array_equal(scan.frames[i].read_color(), forward[i])
    for i in (0, 500, 990):
        still = cv2.imread(str(KITCHEN.with_suffix("") / f"frame-{i:06d}.color.jpg"))
        assert still is not None
        film = scan.frames[i].read_color()[:, :, ::-1].astype(int)
        assert np.abs(film - still).mean() < 4


def test_reading_forward_decodes_each_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = _read(write_film(tmp_path / "a.mp4", numbered, 90, options={"g": "30"}))
    seeks: list[int] = []
    seek = Film._seek
    monkeypatch.setattr(Film, "_seek", lambda film, i: (seeks.append(i), seek(film, i))[1])
    assert _numbers(scan, list(range(0, 90, 3))) == list(range(0, 90, 3))
    assert seeks == [0]
