"""The tokenizer of captions against Stanford's: what the program gave, frozen, and the program itself where Java is."""

import json
import shutil
import time
from pathlib import Path

import pytest
from caption_texts import captions, mixtures, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from bev.errors import UserError
from gpt4scene.metrics import meteor
from gpt4scene.metrics.ptb_tokenizer import DROPPED, ptb_tokenize, ptb_tokenize_by_java

FROZEN = Path(__file__).with_name("ptb_captions.json")
"""Invented captions and what the program made of them: [text, tokens] in each line."""

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here")


def test_frozen_outputs_of_the_program_are_met() -> None:
    cases = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert len(cases) >= 300
    found = [ptb_tokenize([text])[0] for text, _ in cases]
    wrong = [(text, one, tokens) for one, (text, tokens) in zip(found, cases, strict=True) if one != tokens]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Brown.", "brown"),
        ("it's wooden", "it 's wooden"),
        ("It cannot be", "it can not be"),
        ("(left)", "-lrb- left -rrb-"),  # the drop list has brackets in capitals only
        ("the 1.5m wall!the end", "the 1.5 m wall!the end"),
        ("a can't-miss rock'n'roll bar", "a ca n't miss rock 'n' roll bar"),
        ("shaped like an L. The door", "shaped like an l the door"),
        ("shaped like an L. the door", "shaped like an l. the door"),
        ("1 1/2 ft. wide", "1\xa01/2 ft. wide"),  # one token, with a no-break space
        ("well!! is it??", "well !! is it ??"),  # the drop list has single marks only
        ("$5, £3 or €20", "$ 5 # 3 or $ 20"),
        ("<OBJ012> is left", "<obj012> is left"),
        ("two\nlines\r\nand\u2028more", "two lines and more"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_what_surprises(text: str, tokens: str) -> None:
    assert ptb_tokenize([text]) == [tokens]


@needs_java
@pytest.mark.parametrize("kind", [captions, mixtures, noise])
def test_the_program_itself_agrees(kind) -> None:
    texts = kind(77, 1500)
    pairs = zip(texts, ptb_tokenize(texts), ptb_tokenize_by_java(texts), strict=True)
    assert [(text, ours, theirs) for text, ours, theirs in pairs if ours != theirs] == []


@needs_java
def test_the_program_gives_one_line_for_every_text() -> None:
    texts = ["", "a\nb", "c\r\nd", "e\u2028f\u0085g", "plan B.", "The end", "fig.", "5", "\ud800", ""]
    assert ptb_tokenize_by_java(texts)[:4] == ["", "a b", "c d", "e f g"]
    assert ptb_tokenize_by_java(texts)[4:8] == ["plan b", "the end", "fig.", "5"]
    assert ptb_tokenize_by_java([]) == []


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_out_as_tokens(text: str) -> None:
    [found] = ptb_tokenize([text])
    assert not {"\n", "\r"} & set(found)
    assert found == "" or not DROPPED & set(found.split(" "))


@pytest.mark.parametrize(
    "piece", ["a", "a!", "1.", "<a ", "<!a", "'", "a-", "-a'", "d'a", "A&", ". ", "a@", "\xad", "1/2"]
)
def test_no_text_takes_long(piece: str) -> None:
    start = time.process_time()
    ptb_tokenize([piece * 4000])
    assert time.process_time() - start < 3


def test_without_the_program_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match="no Java here: install Java 8"):
        ptb_tokenize_by_java(["a chair"])


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        (["Plan B."], ["plan b."]),
        (["Plan B.", "The end"], ["plan b", "the end"]),
        (["Plan B.", "the end"], ["plan b.", "the end"]),
        (["Plan B.", "", "The end"], ["plan b", "", "the end"]),
        (["No.", "2", "No.", "two"], ["no.", "2", "no", "two"]),
        (["No.", "", "2"], ["no", "", "2"]),
    ],
)
def test_a_full_stop_may_hang_on_the_next_text(texts: list[str], tokens: list[str]) -> None:
    """The official code gives the program all texts at once, which takes them for one."""
    assert ptb_tokenize(texts) == tokens
    if shutil.which("java"):
        assert ptb_tokenize_by_java(texts) == tokens
