"""Folders of photos as scans: order, orientation, size, focal length, and what is wrong with others."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from film_clips import corners
from PIL import Image, ImageOps

from bev.errors import UserError
from bev.exif import read_photo
from bev.readers import image_folder
from bev.readers.options import ReadOptions
from bev.scan import Scan


def _read(path: Path, **options: Any) -> Scan:
    return image_folder.read(path, ReadOptions(**options))


def _exif(orientation: int = 1, **focal: Any) -> Image.Exif:
    tags = {"focal_35mm": 0xA405, "focal_mm": 0x920A, "per_unit": 0xA20E, "unit": 0xA210, "across": 0xA002}
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({tags[name]: value for name, value in focal.items()})
    return exif


def _write(folder: Path, names: list[str], image: np.ndarray | None = None, exif: Image.Exif | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(corners() if image is None else image).save(folder / name, quality=95, exif=exif or _exif())
    return folder


def test_photos_are_a_scan_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["img10.jpg", "img2.jpg", "IMG1.JPG", "img2b.png"]
    for i, name in enumerate(sorted(names)):
        _write(tmp_path / "p", [name], np.full((60, 80, 3), 10 + 50 * i, np.uint8))
    (tmp_path / "p" / "._img2.jpg").write_bytes(b"beside every file on some disks")
    (tmp_path / "p" / "notes.txt").write_text("no image")
    scan = _read(tmp_path / "p")
    assert [round(frame.read_color().mean()) for frame in scan.frames] == [10, 110, 160, 60]
    assert [frame.index for frame in scan.frames] == [0, 1, 2, 3]
    assert [frame.timestamp_s for frame in scan.frames] == [0, 1 / 30, 2 / 30, 0.1]
    assert (scan.name, scan.reader, scan.units) == ("p", "images", "arbitrary")
    assert not scan.has_poses and not scan.has_intrinsics and not scan.warnings


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("long_side_px", [1280, 160, 100])
def test_photos_are_shown_upright(tmp_path: Path, orientation: int, long_side_px: int) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], exif=_exif(orientation))
    scan = _read(folder, long_side_px=long_side_px)
    with Image.open(folder / "2.jpg") as photo:
        wanted = np.asarray(ImageOps.exif_transpose(photo))
    share = min(1, long_side_px / 320)
    size = round(wanted.shape[1] * share), round(wanted.shape[0] * share)
    image = scan.frames[1].read_color()
    assert (scan.frames[1].camera.width, scan.frames[1].camera.height) == size == image.shape[1::-1]
    assert np.abs(image.astype(int) - cv2.resize(wanted, size, interpolation=cv2.INTER_AREA)).mean() < 3


def test_large_photos_are_smaller_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], np.ascontiguousarray(corners(1600, 1200)))
    sizes: list[tuple[int, ...]] = []
    imdecode = cv2.imdecode

    def watched(*arguments: Any) -> Any:
        image: Any = imdecode(*arguments)
        sizes.append(image.shape[:2])
        return image

    monkeypatch.setattr(cv2, "imdecode", watched)
    image = _read(folder, long_side_px=400).frames[0].read_color()
    assert sizes == [(300, 400)] == [image.shape[:2]]
    assert np.abs(image.astype(int) - corners(400, 300)).mean() < 3


def test_the_focal_length_comes_from_exif(tmp_path: Path) -> None:
    _write(tmp_path / "a", ["1.jpg", "2.jpg", "3.jpg"], exif=_exif(focal_35mm=26))
    camera = _read(tmp_path / "a", long_side_px=160).frames[0].camera
    # 26 mm on a diagonal of 43.27 mm, here 400 px, half of them after decoding
    assert camera.K[0, 0] == camera.K[1, 1] == pytest.approx(26 / 43.267 * 400 / 2, rel=1e-4)
    assert camera.K[:2, 2].tolist() == [80, 60]
    # 5 mm with 100 pixels per mm; the file is a copy at a tenth of the size
    _write(
        tmp_path / "b",
        ["1.jpg", "2.jpg", "3.jpg"],
        exif=_exif(focal_mm=5.0, per_unit=2540.0, unit=2, across=3200),
    )
    assert _read(tmp_path / "b").frames[0].camera.K[0, 0] == pytest.approx(50)
    _write(tmp_path / "c", ["1.jpg", "2.jpg", "3.jpg"])
    assert _read(tmp_path / "c").frames[0].camera.K[0, 0] == pytest.approx(1.2 * 320)


def test_exif_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    _write(tmp_path, ["1.jpg"], exif=_exif(6, focal_35mm=26))
    data = bytearray((tmp_path / "1.jpg").read_bytes())
    start = data.index(b"Exif") + 6
    data[start : start + 8] = b"\xff" * 8
    (tmp_path / "1.jpg").write_bytes(bytes(data))
    photo = read_photo(str(tmp_path / "1.jpg"))
    assert (photo.orientation, photo.focal_px, photo.width) == (1, None, 320)


def test_intrinsics_are_of_the_photos_as_they_are_shown(tmp_path: Path) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], exif=_exif(6))
    scan = _read(folder, intrinsics="300,310,120,160", long_side_px=160)
    assert scan.has_intrinsics
    assert scan.frames[0].camera.K.tolist() == [[150, 0, 60], [0, 155, 80], [0, 0, 1]]


def test_photos_through_several_lenses_are_warned_of(tmp_path: Path) -> None:
    _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], exif=_exif(focal_35mm=26))
    _write(tmp_path, ["4.jpg"], exif=_exif(focal_35mm=77))
    assert _read(tmp_path).warnings == (
        f"{tmp_path.name}: 4.jpg was taken with 3.0 times the focal length of 1.jpg, but one camera is assumed; "
        "leave out what was zoomed or taken with another lens",
    )


def test_photos_of_several_sizes_are_told(tmp_path: Path) -> None:
    _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    _write(tmp_path, ["0.jpg"], exif=_exif(8))
    with pytest.raises(UserError, match=r"3 of 4 images are 320x240, but 0\.jpg is 240x320; all must come from one"):
        _read(tmp_path)


def test_too_few_photos_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 2 images; a room needs at least 3"):
        _read(_write(tmp_path, ["1.jpg", "2.png"]))


def test_heic_is_told_until_it_is_converted(tmp_path: Path) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    (folder / "IMG_4.HEIC").write_bytes(b"no JPEG")
    assert image_folder.looks_like(folder)
    with pytest.raises(UserError, match=r"IMG_4\.HEIC: 1 of the photos are HEIC, which is not read; convert them"):
        _read(folder)
    _write(folder, ["IMG_4.jpg"])
    assert len(_read(folder).frames) == 4


def test_a_file_that_is_no_image_is_told(tmp_path: Path) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    (folder / "2.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2\.jpg: does not decode as an image"):
        _read(folder)


def test_a_photo_cut_short_is_told_when_it_is_read(tmp_path: Path) -> None:
    folder = _write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    data = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"2\.jpg: does not decode as an image"):
        _read(folder).frames[1].read_color()


def test_grey_and_transparent_images_are_rgb(tmp_path: Path) -> None:
    Image.new("L", (80, 60), 100).save(tmp_path / "1.png")
    Image.new("RGBA", (80, 60), (10, 20, 30, 255)).save(tmp_path / "2.png")
    Image.new("I;16", (80, 60), 40000).save(tmp_path / "3.png")
    images = [frame.read_color() for frame in _read(tmp_path).frames]
    assert [image.shape for image in images] == [(60, 80, 3)] * 3
    assert images[0][5, 5].tolist() == [100] * 3 and images[1][5, 5].tolist() == [10, 20, 30]
    assert images[2][5, 5].tolist() == [156] * 3


@pytest.mark.parametrize("long_side_px", [1280, 160])
def test_other_kinds_of_images_are_not_passed_over(tmp_path: Path, long_side_px: int) -> None:
    names = ["1.jpg", "2.webp", "3.tif", "4.TIFF", "5.bmp"]
    first, *others = (frame.read_color() for frame in _read(_write(tmp_path, names), long_side_px=long_side_px).frames)
    assert len(others) == 4
    for image in others:
        assert image.shape == first.shape and np.abs(image.astype(int) - first).mean() < 3


@pytest.mark.parametrize("options", [{"depth_scale": 1000.0}, {"poses": "camera_from_world"}])
def test_options_that_say_nothing_about_photos_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="leave the option out"):
        _read(_write(tmp_path, ["1.jpg", "2.jpg", "3.jpg"]), **options)


def test_only_images_directly_in_the_folder_look_like_photos(tmp_path: Path) -> None:
    _write(tmp_path / "color", ["1.jpg", "2.jpg", "3.jpg"])
    assert image_folder.looks_like(tmp_path / "color") and not image_folder.looks_like(tmp_path)
    assert not image_folder.looks_like(tmp_path / "color" / "1.jpg")
