"""The report as a page that stands alone, and the scene as a rerun recording."""

import base64
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.scene.report import report_html
from gpt4scene.scene.rerun_view import view_scene
from gpt4scene.scene.scene import Scene
from gpt4scene.scene.views import marked_image


class _Page(HTMLParser):
    """Rows of the tables, images and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.images: list[dict] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.addresses: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.addresses += [attributes[name] for name in ("src", "href", "data", "action") if name in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def scene() -> Scene:
    return box_scene()


def _page(scene: Scene, tmp_path: Path, **options) -> _Page:
    (tmp_path / "report.html").write_text(report_html(scene, **options), encoding="utf-8")
    return _Page(report_html(scene, **options))


def test_the_page_loads_nothing_from_elsewhere(scene: Scene, tmp_path: Path) -> None:
    page = _page(scene, tmp_path)
    assert page.addresses and all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert text.startswith("<!doctype html>") and 'charset="utf-8"' in text and "width=device-width" in text


def test_the_page_shows_the_marked_views(scene: Scene, tmp_path: Path) -> None:
    page = _page(scene, tmp_path)
    assert len(page.images) == 4
    for view, image in zip(scene.all_views, page.images, strict=True):
        data = np.frombuffer(base64.b64decode(image["src"].split(",")[1]), np.uint8)
        shown = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.abs(shown.astype(int) - marked_image(view)).mean() < 4
        assert image["alt"]


def test_every_object_has_its_row(scene: Scene, tmp_path: Path) -> None:
    labelled = replace(scene.instances[1], label_share=0.876, score=0.5)
    turned = replace(labelled, box=replace(labelled.box, yaw=np.radians(-30)))
    page = _page(replace(scene, instances=(scene.instances[0], turned, *scene.instances[2:])), tmp_path)
    head = next(row for row in page.rows if "Label" in row)
    rows = {row[0]: dict(zip(head, row, strict=True)) for row in page.rows if len(row) == len(head)}
    assert [rows[str(number)]["Label"] for number in range(1, 6)] == [
        "table", "stool", "Schränkchen <b>", "box", "cup",
    ]  # fmt: skip
    assert rows["2"] == {
        "No.": "2", "Label": "stool", "Share": "88%", "Score": "0.50", "Source": "proposals", "Frames": "2",
        "Size, m": "0.50 × 0.50 × 0.50", "Centre, m": "3.00, 0.70, 0.25", "Yaw": "-30°", "Points": "8",
    }  # fmt: skip


def test_names_cannot_break_the_page(scene: Scene, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&amp;'
    instance = replace(scene.instances[0], label=evil, source=evil)
    run = replace(scene.run, arguments={evil: evil}, seconds={evil: 1.0}, version=evil)
    source = replace(scene.source, path=evil, reader=evil, fingerprint=evil)
    hostile = replace(scene, name=evil, source=source, run=run, instances=(instance, *scene.instances[1:]))
    page = _page(hostile, tmp_path, warnings=[evil])
    assert "script" not in page.tags
    assert page.text.count(evil) >= 9


def test_warnings_settings_and_times_are_there(scene: Scene, tmp_path: Path) -> None:
    page = _page(scene, tmp_path, warnings=["frame 7: no pose"])
    assert "frame 7: no pose" in page.text and "Warnings" in page.text
    assert ["cut_height_m", "–"] in page.rows and ["frames", "3"] in page.rows
    assert ["fuse", "1.25 s", ""] in page.rows
    assert "of 40 posed, 40 read" in page.text
    assert "Warnings" not in _page(scene, tmp_path).text


def test_a_scene_without_scale_prints_no_metres(tmp_path: Path) -> None:
    scene = replace(box_scene(units="arbitrary"), cut_height_m=2.0)
    text = _page(scene, tmp_path).text
    assert "Size, units" in text and "Cut at 2.00." in text
    for unit in (" m ", " m.", ", m", "mm", "metre"):
        assert unit not in text.replace("no metric scale", ""), unit
    metric = _page(replace(scene, units="metre"), tmp_path).text
    assert "Cut at 2.00 m." in metric and "Size, m" in metric


def test_a_scene_of_nothing_has_a_page(scene: Scene, tmp_path: Path) -> None:
    empty = replace(
        scene,
        frames=(),
        instances=(),
        bev=replace(scene.bev, markers=()),
        vertex_ids=np.full(len(scene.vertex_ids), -1),
        run=replace(scene.run, seconds={}),
    )
    assert len(_page(empty, tmp_path).images) == 1


def test_a_recording_holds_the_scene(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    view_scene(scene, save=tmp_path / "room.rrd")
    view_scene(replace(scene, frames=()), save=tmp_path / "bare.rrd")
    whole, bare = (tmp_path / "room.rrd").read_bytes(), (tmp_path / "bare.rrd").read_bytes()
    assert whole.startswith(b"RRF") and bare.startswith(b"RRF")
    for word in (b"world/surface", b"world/objects", b"world/trajectory"):
        assert word in whole
    assert b"world/cameras/000130" in whole and b"world/cameras" not in bare
    assert len(whole) > len(bare) + 10_000
    assert not list(tmp_path.glob("*half-written*"))


def test_a_recording_needs_a_folder(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    with pytest.raises(UserError, match="does not exist"):
        view_scene(scene, save=tmp_path / "nowhere/room.rrd")


def test_without_rerun_the_extra_is_named(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"gpt4scene\[view\]"):
        view_scene(scene, save=tmp_path / "room.rrd")
    assert not (tmp_path / "room.rrd").exists()
