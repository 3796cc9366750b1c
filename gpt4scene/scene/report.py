"""report.html: one page that shows a scene to people, with nothing to load from anywhere else."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from gpt4scene.scene.contents import SceneContents, SceneFrame, SceneInstance
from gpt4scene.scene.views import marked_image
from markers.draw import id_color

_LONG_SIDE_PX = 1280
_JPEG_QUALITY = 88


def report_html(scene: SceneContents, *, warnings: Sequence[str] = ()) -> str:
    """The report of a scene: one self-contained HTML page.

    Args:
        scene: what to show.
        warnings: what the reader left out and the like, one line each.
    """
    name = escape(scene.name)
    body = "\n".join(
        [
            f"<header><h1>{name}</h1><p>{_subtitle(scene)}</p></header>",
            _facts(scene),
            _warnings(warnings),
            _bev(scene),
            _frames(scene.frames),
            _objects(scene),
            f'<div class="columns">{_timings(scene.run.seconds)}{_settings(scene)}</div>',
            f"<footer>Made by gpt4scene {escape(scene.run.version)}</footer>",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} · GPT4Scene</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _subtitle(scene: SceneContents) -> str:
    source = scene.source
    return f"{escape(source.reader)} capture at <code>{escape(source.path)}</code>"


def _facts(scene: SceneContents) -> str:
    camera, posed = scene.bev.camera, len(scene.trajectory.indices)
    across, down = camera.width * camera.metres_per_pixel, camera.height * camera.metres_per_pixel
    per_pixel = f"{camera.metres_per_pixel * 1000:.1f} mm per pixel" if scene.is_metric else "no metric scale"
    seen = {marker.id for view in scene.all_views for marker in view.markers}
    facts = [
        ("objects", str(len(scene.instances)), f"{len(seen)} carry a mark"),
        ("frames shown", str(len(scene.frames)), f"of {posed} posed, {scene.source.frames} read"),
        ("area shown", f"{across:.1f} × {down:.1f}{' m' if scene.is_metric else ''}", per_pixel),
        ("time", f"{sum(scene.run.seconds.values()):.1f} s", f"in {len(scene.run.seconds)} steps"),
    ]
    cells = (f"<div><dt>{title}</dt><dd>{value}<small>{note}</small></dd></div>" for title, value, note in facts)
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{lines}</ul></section>'


def _bev(scene: SceneContents) -> str:
    cut = "" if scene.cut_height_m is None else f" Cut at {_length(scene, scene.cut_height_m)}."
    caption = f"Seen from straight above, {_count(len(scene.bev.markers), 'mark')}.{cut}"
    image = _image(marked_image(scene.bev), f"Bird's-eye view of {scene.name} with numbered objects")
    figure = f'<figure class="above">{image}<figcaption>{caption}</figcaption></figure>'
    return f"<section><h2>From above</h2>{figure}</section>"


def _frames(frames: Sequence[SceneFrame]) -> str:
    figures = []
    for frame in frames:
        image = _image(marked_image(frame), f"Frame {frame.index} with numbered objects")
        caption = f"<b>{frame.index}</b> {frame.timestamp_s:.2f} s · {_count(len(frame.markers), 'mark')}"
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<section><h2>Frames</h2><div class="frames">{"".join(figures)}</div></section>'


def _objects(scene: SceneContents) -> str:
    told = "".join(f"<p>{escape(note)}</p>" for note in scene.run.notes)
    if not scene.instances:
        return f"<section><h2>Objects</h2>{told}<p>The scene has no objects, so nothing is marked.</p></section>"
    unit = "m" if scene.is_metric else "units"
    titles = ["No.", "Label", f"Size, {unit}", f"Centre, {unit}", "Yaw", "Share", "Score", "Source", "Frames", "Points"]
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_object_row(instance) for instance in scene.instances)
    note = (
        "Size is along the box's own axes; yaw turns the first of them, counter-clockwise from +x. "
        "The floor is at height 0. Share is that of the label's votes."
    )
    return (
        f'<section><h2>Objects</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{note}</p>{told}</section>"
    )


def _object_row(instance: SceneInstance) -> str:
    red, green, blue = id_color(instance.id)
    box = instance.box
    cells = [
        " × ".join(f"{side:.2f}" for side in box.size),
        ", ".join(f"{_plus_zero(value):.2f}" for value in box.center),
        f"{_plus_zero(np.degrees(box.yaw), 0):.0f}°",
        f"{instance.label_share:.0%}" if instance.label_share > 0 else "–",
        f"{instance.score:.2f}",
        escape(instance.source),
        str(len(instance.frames)),
        f"{instance.points:,}",
    ]
    plate = f'<span class="plate" style="--id:rgb({red} {green} {blue})">{instance.id}</span>'
    rest = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{plate}</th><td class="label">{escape(instance.label)}</td>{rest}</tr>'


def _timings(seconds: Mapping[str, float]) -> str:
    longest = max(seconds.values(), default=0.0) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escape(step)}</th><td>{value:.2f} s</td>'
        f'<td class="bar"><i style="width:{100 * value / longest:.1f}%"></i></td></tr>'
        for step, value in seconds.items()
    )
    return f'<section><h2>Time per step</h2><table class="plain">{rows}</table></section>'


def _settings(scene: SceneContents) -> str:
    settings: dict[str, Any] = dict(scene.run.arguments)
    settings["fingerprint of the capture"] = scene.source.fingerprint
    return (
        f'<section><h2>Settings</h2><table class="plain">{"".join(_setting_rows(settings.items()))}</table></section>'
    )


def _setting_rows(settings: Iterable[tuple[str, Any]]) -> Iterable[str]:
    for name, value in settings:
        shown = "–" if value is None else escape(str(value))
        yield f'<tr><th scope="row">{escape(name)}</th><td><code>{shown}</code></td></tr>'


def _image(image: np.ndarray, text: str) -> str:
    scale = min(1.0, _LONG_SIDE_PX / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return f'<img src="{uri}" width="{image.shape[1]}" height="{image.shape[0]}" alt="{escape(text)}">'


def _length(scene: SceneContents, value: float) -> str:
    return f"{value:.2f} m" if scene.is_metric else f"{value:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plus_zero(value: float, decimals: int = 2) -> float:
    """The rounded value without a minus sign before zero."""
    return round(float(value), decimals) + 0.0


_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --ink: #1d1d1b; --soft: #6b6a65; --line: #e2e0da;
  --bar: #4a7d8c; --warn: #fff3d6; --warn-ink: #6b4a00; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #20201e; --ink: #ecebe6; --soft: #9d9b94;
  --line: #363531; --bar: #6fb0c2; --warn: #3a2f14; --warn-ink: #ffdf9a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem); max-width: 84rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.15; overflow-wrap: anywhere; }
h2 { margin: 0 0 .8rem; font-size: 1.1rem; }
header p, section > p, figcaption, footer, small { color: var(--soft); font-size: .875rem; }
header p { margin: .3rem 0 0; }
section { margin-top: 2.5rem; }
code { font: .875em ui-monospace, monospace; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); margin: 1.6rem 0 0;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.facts > div { padding: .9rem 1.1rem; }
.facts dt { color: var(--soft); font-size: .875rem; }
.facts dd { margin: 0; font-size: 1.4rem; line-height: 1.35; white-space: nowrap; }
.facts small { white-space: normal; }
.facts small { display: block; }
.warnings { padding: 1rem 1.2rem; border-radius: 10px; background: var(--warn); color: var(--warn-ink); }
.warnings h2 { margin-bottom: .3rem; }
.warnings ul { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
figcaption { margin-top: .35rem; }
figcaption b { color: var(--ink); }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.2rem; }
.frames img, .above img { width: 100%; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.scroll table { width: 100%; }
th, td { padding: .45rem .8rem; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { color: var(--soft); font-size: .875rem; }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:hover { background: color-mix(in srgb, var(--bar) 12%, transparent); }
th:first-child, td.label, th:nth-child(2) { text-align: left; }
td.label { white-space: normal; min-width: 8rem; overflow-wrap: anywhere; }
.plate { display: inline-block; min-width: 2.2em; padding: 0 .4em; text-align: center; border: 2px solid var(--id);
  border-radius: 3px; background: #101010; color: #fff; font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 3rem; }
.plain { width: 100%; font-size: .9375rem; }
.plain tr:first-child { border-top: 0; }
.plain th { color: var(--soft); padding-left: 0; }
.plain td { white-space: normal; overflow-wrap: anywhere; }
.plain td.bar { width: 45%; padding-right: 0; }
.bar i { display: block; height: .6rem; border-radius: 3px; background: var(--bar); min-width: 2px; }
footer { margin-top: 3rem; }
"""
