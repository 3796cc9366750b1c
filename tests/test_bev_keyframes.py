"""Key frames: sharp, evenly apart in motion, few enough; what stands still, is cut or does not decode."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from film_clips import RATE, picture, write_film

from bev.camera import Camera
from bev.errors import UserError
from bev.film import Film
from bev.film_walk import Candidate, Collector, JpegImage
from bev.image_motion import FlowMotion, look
from bev.keyframes import key_frames, load_frames, save_frames
from bev.readers import image_folder, video_file
from bev.readers.options import ReadOptions
from bev.scan import Frame, Scan

KITCHEN = Path(__file__).parents[2] / "shared" / "data" / "redkitchen.mp4"
CAMERA = Camera(np.array([[384.0, 0, 160], [0, 384, 120], [0, 0, 1]]), 320, 240, np.eye(4))


def _film(show: Callable[[int], np.ndarray], count: int, **about: object) -> Scan:
    """A scan whose frames come from a function, as a film's would."""
    frames = tuple(Frame(i, i / RATE, CAMERA, partial(show, i)) for i in range(count))
    scan = Scan("clip", Path("clip.mp4"), "video", frames, units="arbitrary", has_poses=False, is_film=True)
    return replace(scan, **about)


def _indices(scan: Scan) -> np.ndarray:
    return np.array([frame.index for frame in scan.frames])


def _noisy(image: np.ndarray, i: int, sigma: float = 3.0) -> np.ndarray:
    noise = np.zeros_like(image, np.int16)
    cv2.setRNGSeed(i)
    cv2.randn(noise, np.zeros(3), np.full(3, sigma))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_a_steady_pan_gives_frames_at_even_distances() -> None:
    # 4 px of 320 per frame: 8 % go by in 6.4 frames
    chosen = key_frames(_film(picture, 200))
    apart = np.diff(_indices(chosen))
    assert apart.mean() == pytest.approx(6.4, abs=0.6) and apart.min() >= 3 and apart.max() <= 10
    assert all(frame.timestamp_s == frame.index / RATE for frame in chosen.frames)
    assert not chosen.is_film and not chosen.warnings


def test_images_are_kept_and_the_film_is_read_once_in_order() -> None:
    read: list[int] = []

    def show(i: int) -> np.ndarray:
        read.append(i)
        return picture(i)

    chosen = key_frames(_film(show, 300))
    assert read == sorted(set(read))
    for frame in chosen.frames[::7]:
        assert isinstance(frame.read_color, JpegImage)
        assert np.abs(frame.read_color().astype(int) - picture(frame.index)).mean() < 6
    assert read[-1] >= 297 and len(read) <= 300


def test_a_slow_film_is_looked_at_ten_times_a_second() -> None:
    read: list[int] = []

    def show(i: int) -> np.ndarray:
        read.append(i)
        return picture(i, step_px=1)

    key_frames(_film(show, 300))
    assert len(read) == 100


def test_still_stretches_drop_out() -> None:
    def place(i: int) -> int:
        return i if i < 60 else 60 if i < 160 else i - 100

    chosen = _indices(key_frames(_film(lambda i: _noisy(picture(place(i)), i), 260)))
    assert np.sum((chosen >= 62) & (chosen < 160)) <= 1
    assert np.diff(chosen[chosen < 60]).max() <= 10 and np.diff(chosen[chosen > 162]).max() <= 10


def test_sharp_frames_are_taken_among_blurred_ones() -> None:
    def show(i: int) -> np.ndarray:
        return picture(i) if i % 6 == 5 else cv2.GaussianBlur(picture(i), (0, 0), 3)

    chosen = _indices(key_frames(_film(show, 120)))
    assert len(chosen) >= 15 and (chosen[1:] % 6 == 5).all()


def test_one_spacing_of_blur_is_stepped_over() -> None:
    def show(i: int) -> np.ndarray:
        return cv2.GaussianBlur(picture(i), (0, 0), 6) if 60 <= i < 67 else picture(i)

    chosen = _indices(key_frames(_film(show, 120)))
    assert not np.isin(chosen, range(60, 67)).any() and np.diff(chosen).max() <= 14


@pytest.mark.parametrize("count_max", [10, 20])
def test_if_there_are_too_many_the_spacing_grows_evenly(count_max: int) -> None:
    chosen = key_frames(_film(picture, 240), count_max=count_max)
    apart = np.diff(_indices(chosen))
    assert count_max - 2 <= len(chosen.frames) <= count_max
    assert apart.min() >= 0.4 * apart.mean() and apart.max() <= 1.7 * apart.mean()


def test_what_is_kept_of_a_long_film_is_bounded() -> None:
    collector = Collector(bins_max=40, keep_images=False)
    frames = [Frame(i, i / RATE, CAMERA, partial(picture, i)) for i in range(3000)]
    rng = np.random.default_rng(0)
    for i, frame in enumerate(frames):
        collector.add(Candidate(frame, i * 0.03, float(rng.uniform(1, 2))))
    kept = collector.closed()
    places = np.array([candidate.place for candidate in kept])
    assert 20 <= len(kept) <= 40 and np.diff(places).max() < 10
    assert np.mean([candidate.sharpness for candidate in kept]) > 1.9


@pytest.mark.parametrize("show", [lambda i: _noisy(picture(0), i), lambda i: picture(10 + np.sin(i * 0.7))])
def test_a_camera_that_hardly_moves_is_told(show: Callable[[int], np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"clip\.mp4: the camera hardly moves, 1 of 150 frames differ; walk around"):
        key_frames(_film(show, 150))


@pytest.mark.parametrize("grey", [3, 210])
def test_a_film_without_texture_is_told(grey: int) -> None:
    bare = np.full((240, 320, 3), grey, np.uint8)
    with pytest.raises(UserError, match=r"not one of 90 frames shows more than dark or bare surfaces; switch on"):
        key_frames(_film(lambda i: _noisy(bare, i, 1.5), 90))


def test_a_cut_is_told_and_both_sides_are_used() -> None:
    chosen = key_frames(_film(lambda i: picture(i, seed=0 if i < 75 else 5), 150))
    assert chosen.warnings == (
        "clip: at 2.5 s, between frames 74 and 75, the picture jumps to another place, as at a cut",
    )
    assert np.diff(_indices(chosen)).max() <= 10


def test_a_cut_between_looks_is_found_to_the_frame() -> None:
    shown = _film(lambda i: picture(i, step_px=1, seed=0 if i < 157 else 5), 300)
    assert "between frames 156 and 157," in key_frames(shown).warnings[0]


def test_what_covers_the_lens_for_a_moment_is_no_cut_and_not_chosen() -> None:
    def show(i: int) -> np.ndarray:
        return picture(i, step_px=0, seed=9) if 70 <= i < 80 else picture(i, step_px=2)

    chosen = key_frames(_film(show, 150))
    assert not chosen.warnings and not np.isin(_indices(chosen), range(70, 80)).any()


def test_a_pan_too_fast_for_rare_looks_is_no_cut() -> None:
    def place(i: int) -> float:
        return i * 0.5 if i < 150 else 75 + (i - 150) * 11

    assert not key_frames(_film(lambda i: picture(place(i)), 300)).warnings


@pytest.mark.parametrize("step_px", [2, 16, 48, 96])
def test_flow_follows_what_moves_far_and_loses_what_is_another_place(step_px: int) -> None:
    motion, frame = FlowMotion(), _film(picture, 1).frames[0]
    here, there, elsewhere = (look(frame, picture(x, seed=seed)) for x, seed in ((0, 0), (step_px / 4, 0), (1, 5)))
    assert motion(here, there) == pytest.approx(step_px / 320, abs=2 / 320)
    assert motion(here, elsewhere) is None


def test_frames_that_do_not_decode_are_counted() -> None:
    def show(i: int) -> np.ndarray:
        if 40 <= i < 46:
            raise UserError(f"clip.mp4: frame {i} does not decode")
        return picture(i)

    chosen = key_frames(_film(show, 120))
    assert chosen.warnings == ("6 of 120 frames do not decode and are left out; first: frame 40 (1.3 s)",)
    with pytest.raises(UserError, match=r"frame 40 does not decode \(6 of 8 frames do not decode\)"):
        key_frames(_film(show, 120).with_frames(_film(show, 120).frames[38:46]))


def test_warnings_of_the_reader_stay_first() -> None:
    chosen = key_frames(_film(lambda i: picture(i, seed=i // 75), 150, warnings=("cut short",)))
    assert chosen.warnings[0] == "cut short" and len(chosen.warnings) == 2


def test_photos_are_all_used_but_for_duplicates(tmp_path: Path) -> None:
    views = [0, 40, 80, 80, 120, 300, 340]
    for i, view in enumerate(views):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), picture(view, seed=int(view >= 300)))
    scan = image_folder.read(tmp_path, ReadOptions())
    chosen = key_frames(scan)
    assert sorted({views[i] for i in _indices(chosen)}) == sorted(set(views)) and len(chosen.frames) == 6
    assert not isinstance(chosen.frames[0].read_color, JpegImage) and not chosen.warnings


def test_known_cameras_tell_motion_in_place_of_pictures() -> None:
    """A camera that stands, turns and then walks by a bare wall."""
    bare = np.full((240, 320, 3), 200, np.uint8)
    poses = []
    for i in range(90):
        turn, way = np.deg2rad(min(max(i - 30, 0), 30)), max(i - 60, 0) * 0.04
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(np.array([0.0, turn, 0.0]))[0]
        pose[0, 3] = way
        poses.append(pose)
    frames = tuple(Frame(i, i / RATE, CAMERA.moved(poses[i]), lambda: bare) for i in range(90))
    scan = Scan("posed", Path("posed"), "7scenes", frames)
    chosen = _indices(key_frames(scan))
    # 8 % of the longer side are 3.8 degrees, or 13 cm two metres away
    assert np.sum(chosen < 30) <= 1
    assert np.sum((chosen >= 30) & (chosen <= 60)) == pytest.approx(8, abs=1)
    assert np.sum(chosen > 60) == pytest.approx(9, abs=1)
    assert len(key_frames(scan.with_frames(frames[:20])).frames) == 1


def test_what_is_saved_is_loaded_as_the_same_scan(tmp_path: Path) -> None:
    scan = _film(lambda i: picture(i, seed=i // 75), 150)
    chosen = key_frames(scan)
    save_frames(tmp_path / "frames", chosen)
    loaded = load_frames(tmp_path / "frames", scan)
    assert loaded.warnings == chosen.warnings and not loaded.is_film
    for kept, again in zip(chosen.frames, loaded.frames, strict=True):
        assert (kept.index, kept.timestamp_s) == (again.index, again.timestamp_s)
        assert np.array_equal(kept.read_color(), again.read_color())
    assert sorted(path.suffix for path in (tmp_path / "frames").iterdir()) == [".jpg"] * len(chosen.frames) + [".json"]


def test_saved_frames_of_another_scan_are_told(tmp_path: Path) -> None:
    scan = _film(picture, 60)
    with pytest.raises(UserError, match=r"keyframes\.json: cannot be read"):
        load_frames(tmp_path, scan)
    save_frames(tmp_path, key_frames(scan))
    with pytest.raises(UserError, match=r"frame \d+ is not of clip\.mp4; choose the frames again"):
        load_frames(tmp_path, scan.with_frames(scan.frames[:10]))
    (tmp_path / "keyframes.json").write_text(json.dumps({"schema": "other"}))
    with pytest.raises(UserError, match="is not of schema"):
        load_frames(tmp_path, scan)


def test_a_real_film_is_decoded_forward_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "pan.mp4", picture, 150, options={"preset": "veryfast", "g": "30"})
    seeks: list[int] = []
    seek = Film._seek
    monkeypatch.setattr(Film, "_seek", lambda film, i: (seeks.append(i), seek(film, i))[1])
    chosen = key_frames(video_file.read(path, ReadOptions()))
    assert seeks == [0] and 20 <= len(chosen.frames) <= 27
    chosen.frames[0].read_color()
    assert seeks == [0]


@pytest.mark.skipif(not KITCHEN.is_file(), reason="../shared/data/redkitchen.mp4 is not here")
def test_the_kitchen_has_seventy_to_eighty_key_frames() -> None:
    chosen = key_frames(video_file.read(KITCHEN, ReadOptions()))
    assert 70 <= len(chosen.frames) <= 80 and not chosen.warnings
    assert np.diff(_indices(chosen)).max() <= 45
    assert chosen.frames[0].camera.width == 640
