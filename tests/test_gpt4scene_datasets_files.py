"""A dataset's files for others: LLaMA-Factory's registration, images that stay within, reports that say all."""

import json
from pathlib import Path

import pytest

from bev.errors import UserError
from gpt4scene.datasets import dropped as why
from gpt4scene.datasets.build import check_splits, drawn_at
from gpt4scene.datasets.dataset_info import check_dataset, dataset_info
from gpt4scene.datasets.dropped import Dropped, dropped_rows
from gpt4scene.datasets.report import range_text, report_markdown
from gpt4scene.datasets.training_samples import Asked
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.prompting.conversation_file import (
    Sample,
    read_conversations,
    read_samples,
    write_samples,
    write_sharegpt,
)
from gpt4scene.vlm.protocol import ViewSize


def _sample(folder: Path, image: str) -> Sample:
    asked = Message("user", (Image(str(folder / image)), Text("What is it?")))
    return Sample("a", Conversation((asked, Message("assistant", (Text("A cup."),)))))


def _write(folder: Path, image: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    write_samples(folder / "train.jsonl", [_sample(folder, image)])
    write_sharegpt(folder / "train.json", [_sample(folder, image)])
    return folder / "train.jsonl", folder / "train.json"


@pytest.mark.parametrize("image", ["../secret.jpg", "images/../../secret.jpg", "/etc/hostname"])
def test_images_outside_of_a_dataset_are_refused(image: str, tmp_path: Path) -> None:
    for path in _write(tmp_path / "data", image):
        with pytest.raises(UserError, match=r"(line 1|record 0): image .*(secret|hostname).* lies outside of .*data;"):
            check_dataset(path)
        read = read_samples if path.suffix == ".jsonl" else read_conversations
        with pytest.raises(UserError, match="lies outside of"):
            read(path, root=path.parent)
        assert read(path, root=Path("/")) == read(path)


def test_a_root_may_be_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "data", "images/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert read_samples("data/train.jsonl", root=Path("data"))
    with pytest.raises(UserError, match="lies outside of"):
        read_samples("data/train.jsonl", root=Path("data/images/deeper"))


def test_missing_images_are_counted(tmp_path: Path) -> None:
    path, _ = _write(tmp_path / "data", "images/a.jpg")
    with pytest.raises(UserError, match=r"1 of 1 images are not there, the first .*a\.jpg"):
        check_dataset(path)
    (tmp_path / "data" / "images").mkdir()
    (tmp_path / "data" / "images" / "a.jpg").touch()
    assert [sample.id for sample in check_dataset(path)] == ["a"]


def test_llama_factory_is_told_where_turns_and_images_are(tmp_path: Path) -> None:
    """What its converter reads by these names (ff6d4d1, src/llamafactory/data/converter.py) is there."""
    _, path = _write(tmp_path / "data", "images/a.jpg")
    info = dataset_info(["train", "val"])
    assert [each["file_name"] for each in info.values()] == ["train.sharegpt.json", "val.sharegpt.json"]
    columns, tags = info["gpt4scene_train"]["columns"], info["gpt4scene_train"]["tags"]
    [record] = json.loads(path.read_text())
    turns = record[columns["messages"]]
    assert [turn[tags["role_tag"]] for turn in turns] == [tags["user_tag"], tags["assistant_tag"]]
    shown = sum(turn[tags["content_tag"]].count("<image>") for turn in turns)
    assert shown == len(record[columns["images"]]) == 1


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ("504x476/28", ViewSize(504, 476, 28)),
        ("640x480", ViewSize(640, 480, 1)),
        ("qwen3-vl", ViewSize(512, 512, 32)),
        ("Qwen/Qwen2.5-VL-7B-Instruct", ViewSize(504, 504, 28)),
    ],
)
def test_sizes(size: str, drawn: ViewSize) -> None:
    assert drawn_at(size).size == drawn
    assert drawn_at(size).model == ("" if size[0].isdigit() else size)


@pytest.mark.parametrize("size", ["", "504", "0x4", "504x", "gpt", "504x476/0"])
def test_sizes_that_are_none(size: str) -> None:
    with pytest.raises(UserError, match="--size"):
        drawn_at(size)


def test_splits_without_questions_share_nothing() -> None:
    check_splits([Asked("scanqa", "train", ()), Asked("scanqa", "val", ())])


def test_a_report_escapes_what_a_page_would_take_for_its_own() -> None:
    dropped = dropped_rows([Dropped("scanqa", "train", why.NO_SCENE, "a|b`<i>")])
    page = report_markdown({"splits": [], "tasks": [], "dropped": dropped, "recipe": {"scenes": "[x]"}})
    assert r"scene missing (a\|b\`\<i>)" in page and r"- scenes: \[x]" in page
    assert range_text([1234, 1234]) == "1,234" and range_text([1, 2]) == "1 to 2"
