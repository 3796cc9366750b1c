"""Caption metrics: values known by hand, every sample's own, resampling, and sets that break the official code."""

import os
import shutil

import numpy as np
import pytest

from bev.errors import UserError
from gpt4scene.metrics.captions import NAMES, Captioned, caption_metrics, tokenize

CANDIDATES = ["It is brown.", "left of the bed", "2 chairs", ""]
REFERENCES = [["brown", "It's brown"], ["to the left of the bed"], ["two chairs", "2 chairs", "4"], ["the door"]]

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here")


def values(found: Captioned) -> dict[str, float]:
    return {metric.name: metric.value for metric in found.metrics}


def scored(candidates=CANDIDATES, references=REFERENCES, **options) -> Captioned:
    return caption_metrics(candidates, references, **{"meteor": False, **options})


def test_equal_texts_are_perfect() -> None:
    texts = ["a brown chair near the door", "two white lamps on the table"]
    found = values(scored(texts, [[text] for text in texts]))
    assert found == pytest.approx(
        {"BLEU-1": 100, "BLEU-2": 100, "BLEU-3": 100, "BLEU-4": 100, "ROUGE-L": 100, "CIDEr": 1000}
    )


def test_values_by_hand() -> None:
    found = scored(["a b c d"], [["a b x d e"]], tokenizer="none")
    by_name = values(found)
    brevity = np.exp(1 - 5 / 4)
    assert by_name["BLEU-1"] == pytest.approx(100 * 3 / 4 * brevity)
    assert by_name["BLEU-2"] == pytest.approx(100 * np.sqrt(3 / 4 / 3) * brevity)
    precision, recall, beta = 3 / 4, 3 / 5, 1.2
    rouge = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert by_name["ROUGE-L"] == pytest.approx(100 * rouge)
    assert by_name["CIDEr"] == 0  # of one sample: every n-gram is in every sample


def test_every_sample_has_its_own_value_and_texts_as_they_were_scored() -> None:
    found = scored()
    assert found.candidates == ("it is brown", "left of the bed", "2 chairs", "")
    assert found.references[0] == ("brown", "it 's brown")
    assert [metric.name for metric in found.metrics] == [name for name in NAMES if name != "METEOR"]
    for metric in found.metrics:
        assert metric.values is not None and metric.values.shape == (4,)
    rouge = found.metrics[4]
    assert rouge.values is not None and rouge.values[2] == 100 and rouge.values[3] == 0
    alone = values(scored(CANDIDATES[1:2], REFERENCES[1:2]))
    bleu = found.metrics[3]
    assert bleu.values is not None and bleu.values[1] == pytest.approx(alone["BLEU-4"])


def test_bleu_of_a_resampling_is_bleu_of_that_set() -> None:
    found = scored()
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 3, 0, 1], [1, 2, 3, 0]], np.float64)
    for row, count in enumerate(counts.astype(int)):
        drawn = [i for i, times in enumerate(count) for _ in range(times)]
        again = values(scored([CANDIDATES[i] for i in drawn], [REFERENCES[i] for i in drawn]))
        for metric in found.metrics:
            resampled = metric.resampled(counts)
            assert resampled is not None
            if metric.name != "CIDEr":  # its document frequencies are those of the whole set
                assert resampled[row] == pytest.approx(again[metric.name], abs=1e-9), metric.name
    cider = found.metrics[-1]
    resampled = cider.resampled(counts[:1])
    assert resampled is not None and resampled[0] == pytest.approx(cider.value)


def test_the_order_of_samples_does_not_matter() -> None:
    order = [2, 0, 3, 1]
    turned = scored([CANDIDATES[i] for i in order], [REFERENCES[i] for i in order])
    assert values(turned) == pytest.approx(values(scored()))


def test_tokenizers_differ_where_they_should() -> None:
    assert tokenize(["It's (red)."]) == ["it 's -lrb- red -rrb-"]
    assert tokenize(["It's (red)."], tokenizer="none") == ["It's (red)."]
    assert values(scored(["Red."], [["red"]]))["BLEU-1"] == pytest.approx(100)
    assert values(scored(["Red."], [["red"]], tokenizer="none"))["BLEU-1"] == pytest.approx(0, abs=1e-6)


def test_an_empty_set_is_no_number() -> None:
    found = scored([], [], meteor=True)
    assert [metric.name for metric in found.metrics] == list(NAMES)
    assert all(np.isnan(metric.value) for metric in found.metrics)
    assert found.flags == ("there are no captions to score",)


@pytest.mark.filterwarnings("error")
def test_texts_without_words_are_scored() -> None:
    found = scored(["", "?", ""], [["a chair"], ["."], [""]])
    by_name = values(found)
    assert found.flags == () and not any(np.isnan(list(by_name.values())))
    none = scored(["", "chair"], [["."], [""]])
    assert values(none)["CIDEr"] == 0
    assert any("no reference has a word" in flag for flag in none.flags)


def test_line_breaks_on_which_the_official_code_fails_are_flagged() -> None:
    assert scored(["a\nb"], [["a b"]]).flags == ()  # the official tokenizer makes a space of it, too
    assert "1 texts" in scored(["a\u2028b"], [["a b"]]).flags[0]
    assert values(scored(["a\u2028b"], [["a b"]]))["BLEU-2"] == pytest.approx(100)


def test_a_sample_without_references_is_told() -> None:
    with pytest.raises(UserError, match="sample 2 of 2 has no reference"):
        scored(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="as many"):
        scored(["a", "b"], [["a"]])


def test_without_java_meteor_says_how_to_get_it_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = scored(meteor=True)
    assert [name for name, value in values(found).items() if np.isnan(value)] == ["METEOR"]
    assert len(found.flags) == 1 and "no Java here: install Java 8" in found.flags[0]
    resampled = found.metrics[4].resampled(np.ones((2, 4)))
    assert resampled is not None and np.isnan(resampled).all()


@needs_java
def test_all_metrics_by_the_java_tokenizer_are_those_by_ours() -> None:
    ours, theirs = scored(), scored(meteor=True, tokenizer="ptb-java")
    assert values(ours) == {name: value for name, value in values(theirs).items() if name != "METEOR"}
    assert list(values(theirs)) == list(NAMES) and theirs.flags == ()
    whole = theirs.metrics[4].resampled(np.ones((1, 4)))
    assert whole is not None and whole[0] == pytest.approx(theirs.metrics[4].value, abs=1e-9)
