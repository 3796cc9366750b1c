"""Which reader a folder gets, and what a path that fits none is told."""

import numpy as np
import pytest
from bev_readers_world import images, walk, write_color, write_depth, write_matrix

from bev.camera import Camera
from bev.errors import UserError
from bev.readers import read_scan

K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "kitchen"
    color, depth = images(Camera(K, 160, 120, walk(1)[0]))
    write_matrix(path / "camera-intrinsics.txt", K)
    write_color(path / "frame-000000.color.jpg", color)
    write_depth(path / "frame-000000.depth.png", depth, 1000)
    write_matrix(path / "frame-000000.pose.txt", walk(1)[0])
    return path


def test_a_folder_that_fits_nothing_is_told_what_was_looked_for(tmp_path):
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(UserError) as caught:
        read_scan(tmp_path)
    for word in (str(tmp_path), "frame-000000.color.jpg", "color/0.jpg", "groundtruth.txt", "traj.txt", "replica"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_folder_of_files(capture, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="the folder is empty"):
        read_scan(tmp_path / "nothing")
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_scan(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"is a file of no kind that is read.*give the folder"):
        read_scan(capture / "camera-intrinsics.txt")


def test_what_holds_a_capture_says_which_to_give(capture, tmp_path):
    with pytest.raises(UserError, match=f"is no capture itself, but holds one: kitchen; give {capture}$"):
        read_scan(tmp_path)
    (capture / "frame-000000.color.jpg").unlink()
    (tmp_path / "films").mkdir()
    for name in ("IMG_2.MOV", "IMG_1.MOV", "._IMG_1.MOV"):
        (tmp_path / "films" / name).write_bytes(b"film")
    with pytest.raises(UserError, match=r"holds 2 of them, such as IMG_1\.MOV; give .*films/IMG_1\.MOV$"):
        read_scan(tmp_path / "films")


def test_an_archive_must_be_unpacked(tmp_path):
    (tmp_path / "scan.ZIP").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"scan\.ZIP: is an archive; unpack it"):
        read_scan(tmp_path / "scan.ZIP")


def test_a_folder_that_fits_two_formats_needs_the_option(capture):
    for name in ("rgb.txt", "depth.txt"):
        (capture / name).write_text("")
    with pytest.raises(UserError, match="fits several capture formats, 7scenes and tum; say which with --format"):
        read_scan(capture)
    assert read_scan(capture, format="7scenes").reader == "7scenes"


@pytest.mark.parametrize("format", ["scannet", "tum", "replica"])
def test_a_format_that_the_folder_does_not_fit_says_what_is_missing(capture, format):
    with pytest.raises(UserError, match=r"missing|holds no frames"):
        read_scan(capture, format=format)


@pytest.mark.parametrize(
    ("option", "value"),
    [("format", "kitti"), ("poses", "inverse"), ("axes", "blender"), ("depth_scale", 0.0), ("depth_scale", np.nan)],
)
def test_options_that_mean_nothing_are_named(capture, option, value):
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')} {value}: must be"):
        read_scan(capture, **{option: value})


def test_a_surface_given_by_hand_must_be_there(capture, tmp_path):
    with pytest.raises(UserError, match=r"--surface .*mesh\.ply: there is no such file"):
        read_scan(capture, surface=tmp_path / "mesh.ply")
    (tmp_path / "mesh.ply").write_text("ply")
    assert read_scan(capture, surface=tmp_path / "mesh.ply").surface_path == tmp_path / "mesh.ply"


def test_the_working_directory_has_a_name_too(capture, monkeypatch):
    monkeypatch.chdir(capture)
    scan = read_scan(".")
    assert scan.name == "kitchen" and scan.path.is_absolute() and scan.path.samefile(capture)


def test_a_format_of_files_is_not_tried_on_a_folder_nor_the_other_way_round(capture):
    with pytest.raises(UserError, match="--format video wants a file, this is a folder"):
        read_scan(capture, format="video")
    with pytest.raises(UserError, match="--format 7scenes wants a folder, this is a file"):
        read_scan(capture / "camera-intrinsics.txt", format="7scenes")


def test_frames_of_a_known_layout_are_not_taken_for_loose_photos(tmp_path):
    for name in ("a1.jpg", "a2.jpg", "a10.jpg"):
        write_color(tmp_path / name, images(Camera(K, 160, 120, walk(1)[0]))[0])
    assert read_scan(tmp_path).reader == "images"
    (tmp_path / "camera-intrinsics.txt").write_text("150 0 80\n0 150 60\n0 0 1\n")
    for i, pose in enumerate(walk(3)):
        color, depth = images(Camera(K, 160, 120, pose))
        write_color(tmp_path / f"frame-{i:06d}.color.jpg", color)
        write_depth(tmp_path / f"frame-{i:06d}.depth.png", depth, 1000)
    assert read_scan(tmp_path).reader == "7scenes"
