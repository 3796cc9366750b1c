"""One measured object gives the whole room its size."""

from dataclasses import replace

import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.scene.contents import SceneRun
from gpt4scene.scene.known_object import scale_by_known_object

TABLE_LONG = 0.9


def written(folder, *, units="arbitrary", **arguments):
    replace(box_scene(units=units), run=SceneRun("0.1.0", arguments)).save(folder)
    return folder


@pytest.mark.parametrize("text", ["1=1.8", " 1 = 1.8 m", "1=1.8m"])
def test_the_longest_side_becomes_what_was_measured(tmp_path, text):
    assert scale_by_known_object(written(tmp_path / "scene"), text) == pytest.approx(1.8 / TABLE_LONG, rel=0.05)


def test_a_second_run_with_the_same_option_keeps_the_scale(tmp_path):
    scene = written(tmp_path / "scene", units="metre", known_object="1=1.8", scale=2.0)
    assert scale_by_known_object(scene, "1=1.8") == 2.0


def test_another_object_corrects_the_scale_that_was_given(tmp_path):
    scene = written(tmp_path / "scene", units="metre", scale=2.0)
    assert scale_by_known_object(scene, "1=1.8") == pytest.approx(2.0 * 1.8 / TABLE_LONG, rel=0.05)


@pytest.mark.parametrize("text", ["1", "table=0.9", "1=0", "1=-2", "1=nan", "1=0.9=3", "=0.9"])
def test_what_is_no_number_and_length_is_told_how_to_write_it(tmp_path, text):
    with pytest.raises(UserError, match=r"must be NUMBER=METRES, such as 12=0\.75"):
        scale_by_known_object(written(tmp_path / "scene"), text)


def test_what_contradicts_itself_is_refused(tmp_path):
    scene = written(tmp_path / "scene")
    with pytest.raises(UserError, match="leave out --scale"):
        scale_by_known_object(scene, "1=0.9", camera_height_m=1.5)
    with pytest.raises(UserError, match="has no object 77"):
        scale_by_known_object(scene, "77=0.9")
    with pytest.raises(UserError, match="prepare without it first"):
        scale_by_known_object(tmp_path / "nothing", "1=0.9")
    with pytest.raises(UserError, match="is in metres already"):
        scale_by_known_object(written(tmp_path / "metric", units="metre"), "1=0.9")
    by_height = written(tmp_path / "height", units="metre", camera_height_m=1.5)
    with pytest.raises(UserError, match="is in metres already"):
        scale_by_known_object(by_height, "1=0.9")
