"""Reports of a comparison: what they say, that they are whole and the same each time, and that no name breaks them."""

import re
import sys
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from compared_runs import run_of, samples_of, scores_of

from bev.errors import UserError
from gpt4scene.cli.score_lines import score_table
from gpt4scene.evaluation import report_files
from gpt4scene.evaluation.comparison import Comparison, compare
from gpt4scene.evaluation.plots import metrics_svg, types_svg
from gpt4scene.evaluation.report_files import write_report
from gpt4scene.evaluation.report_html import report_html
from gpt4scene.evaluation.report_markdown import escaped, report_markdown
from gpt4scene.evaluation.report_text import LABEL_MOST, labels, plain
from gpt4scene.metrics.metric import Metric, mean_metric
from gpt4scene.prompting.parsed import Outcome

DAY = date(2026, 11, 20)
SAMPLES = samples_of(22, 6, ("object_counting", "route_planning", "room_size_estimation"))
EVIL = "x<script>alert(1)</script>|*_$a$`&amp;[a](http://b)\n# \x1b[31m\u202e" + "W" * 400
LONG = [f"local:/data/checkpoints/qwen2.5-vl-7b-gpt4scene-hdm/checkpoint-{number}000" for number in (12, 16)]


def _compared(names=("openai:gpt-4o", "local:tuned"), *, samples=SAMPLES, **fields) -> Comparison:
    runs = [
        run_of(name, samples, scores_of(samples, share=0.3 + 0.2 * seed, seed=seed), **fields)
        for seed, name in enumerate(names)
    ]
    return compare(runs, resamples=200)


@pytest.fixture(scope="module")
def evil() -> Comparison:
    samples = samples_of(22, 2, (EVIL, "b|c"))
    extra = [mean_metric("METEOR", np.full(len(samples), np.nan)), Metric("a|<b>", 3.0)]
    return _compared([EVIL, *LONG], samples=samples, extra=extra, flags=[f"{EVIL} flagged"], judge=EVIL, scope=EVIL)


class _Page(HTMLParser):
    """Which tags a page has, and whether each that is opened is closed."""

    VOID = frozenset({"meta", "path", "use", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _rows(markdown: str) -> list[list[str]]:
    """Cells of all tables."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_report_says_what_it_is_of() -> None:
    text = report_markdown(_compared(), on=DAY)
    for said in ("# VSI-Bench, test", "protocol: official", "which is: the benchmark's own code", "questions: 132"):
        assert said in text
    for said in (
        "scenes: 22",
        "date: 2026-11-20",
        "made by: gpt4scene ",
        "with the bird's-eye view",
        "prompt version: ",
    ):
        assert said in text
    assert "answered by openai:gpt-4o-2026-05-01" in text
    assert "resamplings of the 22 scenes (seed 0)" in text


def test_scores_stand_with_their_intervals_in_all_tables() -> None:
    found = _compared()
    one = found.metrics[0][0]
    assert one.interval is not None
    said = f"{one.value:.2f} [{one.interval.low:.1f}, {one.interval.high:.1f}]"
    page = _Page(report_html(found, on=DAY))
    assert said in report_markdown(found, on=DAY) and said in page.text
    rows = _rows(report_markdown(found, on=DAY))
    assert ["type", "metric", "questions", "openai:gpt-4o", "local:tuned"] in rows
    assert [row[:3] for row in rows if row[0] == "route_planning"] == [["route_planning", "MRA", "44"]]


def test_refused_failed_truncated_and_unread_answers_are_told_apart() -> None:
    ids = [sample.id for sample in SAMPLES]
    outcomes = {ids[0]: "refused", ids[1]: "failed", ids[2]: "failed", ids[3]: "truncated"}
    found = _compared(["a"], outcomes=outcomes, unparsed=ids[5:9])
    row = next(row for row in _rows(report_markdown(found, on=DAY)) if row[:2] == ["a", "132"])
    assert row[2:] == ["4 (3.0 %)", "1 (0.8 %)", "1 (0.8 %)", "2 (1.5 %)", "3 (2.3 %)"]
    assert "All of them count in the scores" in report_markdown(found, on=DAY)


def test_answers_are_counted_on_the_questions_that_the_scores_are_of() -> None:
    ids = [sample.id for sample in SAMPLES]
    scores = scores_of(SAMPLES, share=0.5, seed=0)
    outcomes: dict[str, Outcome] = {ids[0]: "refused", ids[1]: "failed", ids[-1]: "refused"}
    whole = run_of("whole", SAMPLES, scores, outcomes=outcomes, unparsed=[ids[2], ids[-2]])
    part = run_of("part", SAMPLES[66:], scores[66:])
    found = compare([whole, part], resamples=200)
    row = next(row for row in _rows(report_markdown(found, on=DAY)) if row[:2] == ["whole", "66"])
    assert row[2:] == ["1 (1.5 %)", "0", "1 (1.5 %)", "0", "1 (1.5 %)"]
    printed = {line[:20].strip(): line[20:].split() for line in score_table(found, "VSI-Bench").splitlines()}
    assert [printed[name][0] for name in ("unanswered", "of these refused", "answers not read")] == ["1"] * 3


def test_no_sentence_of_ours_is_cut() -> None:
    found = _compared()
    assert "…" not in report_markdown(found, on=DAY) and "…" not in _Page(report_html(found, on=DAY)).text


def test_a_value_without_an_interval_is_not_taken_for_a_sure_one() -> None:
    said = "No bracket: there is no interval"
    assert said not in report_markdown(_compared(), on=DAY)
    alike = run_of("a", SAMPLES, np.where([sample.kind == SAMPLES[0].kind for sample in SAMPLES], 0.0, 50.0))
    text = report_markdown(compare([alike], resamples=200), on=DAY)
    assert said in text.partition("By type of question")[2]


def test_cost_and_tokens_are_told_or_said_to_be_unknown() -> None:
    rows = _rows(report_markdown(_compared(["a"]), on=DAY))
    assert ["a", "1.25", "9.47", "12,000", "5,000", "340"] in rows
    unknown = report_markdown(_compared(["a"], cost_usd=None, usage=None, showing={}), on=DAY)
    assert ["a", *["not known"] * 5] in _rows(unknown)
    assert "shown: not known" in unknown


def test_pairs_are_told_in_words() -> None:
    runs = [
        run_of(name, SAMPLES, scores_of(SAMPLES, share=share, seed=1))
        for name, share in (("low", 0.1), ("high", 0.9), ("same", 0.9))
    ]
    text = report_markdown(compare(runs, resamples=200), on=DAY)
    pairs = {tuple(row[1:3]): row[3] for row in _rows(text) if row[0] == "Overall"}
    assert pairs[("low", "high")] == "differ: second is higher"
    assert pairs[("high", "same")] == "no difference shown"
    assert "no difference is shown does not mean that there is none" in text


def test_published_numbers_stand_below_ours_with_their_protocol_and_mark() -> None:
    text = report_markdown(_compared(), on=DAY)
    rows = _rows(text[text.index("## Published") :])
    assert rows[2][0] == "openai:gpt-4o (this report)" and rows[2][2] == "official"
    protocols = [row[2] for row in rows[4:] if len(row) == 5]
    assert protocols == sorted(protocols, key=["official", "not known", "lmms_eval"].index)
    assert ["GPT-5", "55.03", "not known", "EASI leaderboard file", "repository"] in rows
    assert "second-hand" in text and "Only numbers scored by official" in text


def test_a_part_of_a_split_is_not_comparable() -> None:
    text = report_markdown(_compared(scope="132 of 5,130 questions (seed 0)"), on=DAY)
    assert "questions: 132 of 5,130 questions (seed 0)" in text
    assert text.count("not comparable with") == 2
    assert "not comparable" not in report_markdown(_compared(), on=DAY)


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths = write_report(_compared(LONG), tmp_path / name, on=DAY)
        assert [path.name for path in paths] == ["report.md", "report.html"]
        found.append([path.read_bytes() for path in paths])
    assert found[0] == found[1]


def test_a_report_has_a_name_and_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    markdown, page = write_report(_compared(["a"]), tmp_path, name="report-official")
    assert {markdown, page} == set(tmp_path.iterdir())
    assert f"date: {date.today().isoformat()}" in markdown.read_text()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(report_files, "write_bytes", full)
    with pytest.raises(UserError, match="disk is full"):
        write_report(_compared(["a"]), tmp_path)


def test_a_page_is_whole_and_loads_nothing(evil: Comparison) -> None:
    page = report_html(evil, on=DAY)
    read = _Page(page)
    assert not read.open and read.tags.count("svg") == 2
    assert len(set(read.ids)) == len(read.ids)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(read.tags)
    assert "default-src 'none'" in page
    assert "alert(1)" in read.text
    assert re.search(r"url\((?!#)|@import|src=", page) is None


def test_plots_are_svg_with_every_name_in_it(evil: Comparison) -> None:
    for svg in (metrics_svg(evil), types_svg(evil)):
        texts = [
            "".join(element.itertext())
            for element in ElementTree.fromstring(svg).iter()
            if element.tag.endswith("text")
        ]
        for label in labels([run.model for run in evil.runs]):
            assert label in texts
        assert "currentColor" in svg


def test_texts_of_plots_do_not_lie_on_each_other() -> None:
    kinds = [f"object_rel_direction_with_a_long_name_{number}" for number in range(12)]
    found = _compared([f"{name}{number}" for name in LONG for number in range(3)], samples=samples_of(20, 12, kinds))
    for svg in (metrics_svg(found), types_svg(found)):
        boxes = _text_boxes(svg)
        assert len(boxes) > 12
        for position, (text, left, top, right, bottom) in enumerate(boxes):
            for other, left2, top2, right2, bottom2 in boxes[position + 1 :]:
                apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
                assert apart, (text, other)


def _text_boxes(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Every text of a plot with its box, at 0.62 of its size for each letter."""
    found = []
    for element in ElementTree.fromstring(svg).iter():
        if element.tag.endswith("text"):
            said, style = "".join(element.itertext()), element.get("style", "")
            size = float(re.search(r"([\d.]+)px", style)[1])  # pyright: ignore[reportOptionalSubscript]
            place = re.search(r"translate\(([-\d.]+)[ ,]([-\d.]+)\)", element.get("transform", ""))
            x, y = (
                (float(place[1]), float(place[2]))
                if place
                else (float(element.get("x", 0)), float(element.get("y", 0)))
            )
            width = 0.62 * size * len(said)
            left = x - width if "end" in style else x - width / 2 if "middle" in style else x
            found.append((said, left, y - 0.75 * size, left + width, y + 0.2 * size))
    return found


def test_many_models_can_be_told_apart_in_plots() -> None:
    svg = types_svg(_compared([f"model-{number}" for number in range(9)]))
    assert "url(#types-" in svg  # hatched bars


def test_without_matplotlib_a_page_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = _Page(report_html(_compared(["a"]), on=DAY))
    assert "svg" not in page.tags and "pip install 'gpt4scene[eval]'" in page.text


def test_names_cannot_break_markdown(evil: Comparison) -> None:
    text = report_markdown(evil, on=DAY)
    assert not set(text) & {"\x1b", "\u202e", "\x00"}
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1
            table = []
    assert "<" not in text and "](" not in text.replace(r"\](", "") and "http://" not in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", r"a\|b"),
        ("object_rel_direction", "object_rel_direction"),
        ("_a_ __b__", r"\_a\_ \_\_b\_\_"),
        ("<b>", "&lt;b&gt;"),
        ("&lt; & c", "&amp;lt; & c"),
        ("50.0 [40.1, 60.2]", "50.0 [40.1, 60.2]"),
        ("[a](b) [a][b]", r"[a\](b) [a\][b]"),
        ("`a` *b* ~~c~~ $d$", r"\`a\` \*b\* \~\~c\~\~ \$d\$"),
        ("a\nb\tc\x1b[0m", "a b c[0m"),
    ],
)
def test_markdown_is_escaped(text: str, written: str) -> None:
    assert escaped(text) == written


def test_labels_are_short_and_differ() -> None:
    names = ["openai:gpt-4o", *(f"local:{'x' * 60}/{letter}{'y' * 60}" for letter in "ab"), "", "\x1b"]
    found = labels(names)
    assert found[0] == "openai:gpt-4o" and len(set(found)) == len(names)
    assert all(0 < len(label) <= LABEL_MOST + 3 for label in found)
    long = ["local:/models/qwen2.5-vl-7b+/runs/of/march/scanqa", "replay:/data/of/a/long/path/said.jsonl"]
    assert labels(long) == ["local:qwen2.5-vl-7b+scanqa", "replay:said.jsonl"]
    assert plain("a\u202eb\ud800\n\n c", 10) == "ab c"
    assert len(plain("z" * 500, 100)) == 100


def test_the_smallest_comparison_has_a_report() -> None:
    samples = samples_of(1, 1)
    found = compare([run_of("a", samples, np.array([100.0]))], resamples=100)
    text, page = report_markdown(found, on=DAY), _Page(report_html(found, on=DAY))
    assert "100.00" in text and not page.open
    assert "## Models against each other" not in text and "No bracket" in text
    assert "fewer than 20 scenes" in text


def test_many_metrics_are_rows() -> None:
    extra = [Metric(f"m{number}", float(number)) for number in range(8)]
    rows = _rows(report_markdown(_compared(["a", "b"], extra=extra), on=DAY))
    assert ["metric", "a", "b"] in rows and ["m3", "3.00", "3.00"] in rows


def test_notes_name_the_models_that_they_are_about() -> None:
    values = scores_of(SAMPLES, share=0.5, seed=0)
    runs = [run_of("a", SAMPLES, values, flags=["both", "alone"]), run_of("b", SAMPLES, values, flags=["both"])]
    text = report_markdown(compare(runs, resamples=100), on=DAY)
    assert "- both\n" in text and "- a: alone\n" in text


def test_models_of_one_server_keep_their_names() -> None:
    names = [f"openai:my-tuned-{letter}@http://127.0.0.1:18766/v1" for letter in "ab"]
    assert labels(names) == ["openai:my-tuned-a", "openai:my-tuned-b"]
    twice = labels(["openai:one@http://a/v1", "openai:one@http://b/v1"])
    assert twice[0] != twice[1] and all(label.startswith("openai:one") for label in twice)
