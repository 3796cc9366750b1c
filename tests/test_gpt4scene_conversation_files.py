"""Files of conversations: what is written is read, in every format, and every fault has a file, a line and a key."""

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from box_scene import box_scene
from hypothesis import given
from hypothesis import strategies as st
from test_gpt4scene_conversation import conversations

from bev.errors import UserError
from gpt4scene.prompting import prompts
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.prompting.conversation_file import (
    SCHEMA,
    Sample,
    read_conversations,
    read_samples,
    write_samples,
    write_sharegpt,
)
from gpt4scene.prompting.sharegpt import to_sharegpt
from gpt4scene.prompting.shown import show
from gpt4scene.vlm.protocol import ViewSize

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.fixed_dictionaries(
    {
        "conversation": conversations(),
        "scene": st.text(max_size=8),
        "task": st.sampled_from(["qa", "ground", ""]),
        "answers": st.lists(json_values, max_size=3).map(tuple),
        "weight": st.floats(0, 1e6) | st.integers(0, 5),
        "meta": st.dictionaries(st.text(max_size=8).filter(lambda key: key != "sharegpt"), json_values, max_size=3),
    }
)
sample_lists = st.dictionaries(st.text(min_size=1, max_size=8), fields, max_size=3).map(
    lambda named: [Sample(id=id, **values) for id, values in named.items()]
)


def _below(folder: Path, sample: Sample) -> Sample:
    """The sample with its images below a folder, at paths in the form that reading gives."""

    def placed(part):
        if isinstance(part, Text):
            return part
        return replace(part, path=os.path.normpath(folder / part.path))

    turns = tuple(Message(m.role, tuple(placed(part) for part in m.parts)) for m in sample.conversation.messages)
    return replace(sample, conversation=Conversation(turns))


@given(sample_lists, st.sampled_from(["train.jsonl", "sub/train.jsonl"]))
def test_a_conversation_file_loses_nothing(samples: list[Sample], name: str) -> None:
    with TemporaryDirectory() as folder:
        samples = [_below(Path(folder), sample) for sample in samples]
        write_samples(Path(folder, name), samples)
        assert read_samples(Path(folder, name)) == samples
        if samples:
            assert read_conversations(Path(folder, name)) == samples


@given(sample_lists.filter(bool))
def test_a_sharegpt_file_loses_nothing(samples: list[Sample]) -> None:
    with TemporaryDirectory() as folder:
        samples = [_below(Path(folder), sample) for sample in samples]
        path = Path(folder, "train.json")
        write_sharegpt(path, samples)
        assert read_conversations(path) == samples
        # beside it, as JSONL
        path.with_suffix(".jsonl").write_text(
            "".join(f"{json.dumps(each)}\n" for each in json.loads(path.read_bytes()))
        )
        assert read_conversations(path.with_suffix(".jsonl")) == samples


def _sample(id: str = "a", path: str = "img/bev.jpg", **more) -> Sample:
    shown = Message("user", (Image(path, "high"), Text("Where is the cup?")))
    turns = (Message("system", (Text("s"),)), shown, Message("assistant", (Text("<OBJ001>."),)))
    return Sample(id, Conversation(turns), **more)


def test_a_line_is_the_documented_one(tmp_path: Path) -> None:
    sample = _sample(path=str(tmp_path / "img" / "bev.jpg"), scene="room", task="qa", answers=("cup", 1), meta={"n": 1})
    write_samples(tmp_path / "train.jsonl", [sample, replace(sample, id="ü\u2028")])
    lines = (tmp_path / "train.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 3 and not lines[2]
    assert json.loads(lines[0]) == {
        "schema": "gpt4scene/conversation@1",
        "id": "a",
        "scene": "room",
        "task": "qa",
        "images": ["img/bev.jpg"],
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "img/bev.jpg", "detail": "high"}},
                    {"type": "text", "text": "Where is the cup?"},
                ],
            },
            {"role": "assistant", "content": "<OBJ001>."},
        ],
        "answers": ["cup", 1],
        "weight": 1.0,
        "meta": {"n": 1},
    }
    assert "ü".encode() in lines[1]
    assert [each.id for each in read_samples(tmp_path / "train.jsonl")] == ["a", "ü\u2028"]


def test_images_may_lie_beside_the_files_folder_and_are_read_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "bev.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    write_samples("data/train.jsonl", [_sample(path="scenes/bev.jpg")])
    assert json.loads(Path("data/train.jsonl").read_text())["images"] == ["../scenes/bev.jpg"]
    [sample] = read_samples("data/train.jsonl")
    assert sample.conversation.images[0].path == "scenes/bev.jpg"
    monkeypatch.chdir("/")
    [sample] = read_samples(tmp_path / "data" / "train.jsonl")
    assert sample.conversation.images[0].read() == b"\xff\xd8\xff"


def test_a_shown_scene_goes_through_the_file_with_its_prefix(tmp_path: Path) -> None:
    scene = box_scene()
    scene.save(tmp_path / "room")
    made = show(scene, size=ViewSize(224, 168, 28), folder=tmp_path / "room")
    texts = [prompts.question("Where is the cup?"), prompts.grounding("a cup"), prompts.caption(1)]
    samples = [Sample(str(i), made.conversation(text), scene=scene.name) for i, text in enumerate(texts)]
    write_samples(tmp_path / "eval.jsonl", samples)
    write_sharegpt(tmp_path / "eval.json", samples)
    read = read_samples(tmp_path / "eval.jsonl")
    assert {sample.conversation.prefix_key() for sample in read} == {samples[0].conversation.prefix_key()}
    assert read == samples == read_conversations(tmp_path / "eval.json")
    # the same image is the same object, however many conversations show it
    assert read[0].conversation.images[0] is read[2].conversation.images[0]


def test_openai_jsonl_is_recognised(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]},
            {"role": "assistant", "content": "A cup."},
        ],
        "images": [],
        "note": 7,
    }
    path = tmp_path / "chat.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\n" + f"{json.dumps(record)}\n\n{json.dumps(record)}".encode())
    first, second = read_conversations(path)
    assert (first.id, second.id) == ("chat-000001", "chat-000002")
    assert first.conversation.images[0].path == str(tmp_path / "a.jpg")
    assert first.meta == {"images": [], "note": 7}
    plain = {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello."}]}
    path.write_text(json.dumps([plain]))
    assert read_conversations(path)[0].conversation.messages[1].text == "Hello."


def test_sharegpt_of_others_keeps_what_it_holds_besides(tmp_path: Path) -> None:
    record = {
        "id": 7,
        "conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A cup."}],
        "images": ["a.jpg"],
        "source": {"scene": "scene0000_00"},
    }
    path = tmp_path / "data.json"
    path.write_text(json.dumps([record], indent=1))
    [sample] = read_conversations(path)
    assert sample.id == "data-000001"
    assert sample.meta == {"sharegpt": {"id": 7, "source": {"scene": "scene0000_00"}}}
    assert sample.conversation.images[0].path == str(tmp_path / "a.jpg")
    write_sharegpt(tmp_path / "again.json", [sample])
    [again] = json.loads((tmp_path / "again.json").read_text())
    assert {key: again[key] for key in record} == record
    assert read_conversations(tmp_path / "again.json") == [sample]
    # as LLaMA-Factory's own examples with images have it
    turns = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cup."}]
    path.write_text(json.dumps([{"messages": turns, "images": ["a.jpg"]}]))
    assert read_conversations(path)[0].conversation == sample.conversation


def test_no_column_of_a_sharegpt_file_has_two_types(tmp_path: Path) -> None:
    """A loader that gives every column one type, as LLaMA-Factory's does, could not read it."""
    samples = [_sample("a", answers=("cup",), meta={"n": 1}), _sample("b", answers=(1, None), meta={"n": "x"})]
    write_sharegpt(tmp_path / "train.json", samples)
    records = json.loads((tmp_path / "train.json").read_text())
    assert [list(record) for record in records] == [["conversations", "images", "details", "sample"]] * 2
    assert all(isinstance(record["sample"], str) for record in records)


def _written(folder: Path, *lines: str) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


GOOD = {
    "schema": SCHEMA,
    "id": "a",
    "scene": "",
    "task": "",
    "images": ["a.jpg"],
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]}],
    "answers": [],
    "weight": 1,
    "meta": {},
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": "gpt4scene/conversation@2"}, r"schema is 'gpt4scene/conversation@2', this version reads"),
        ({"schema": None}, r"schema is None"),
        ({"id": ...}, "id is missing"),
        ({"id": 7}, "id must be text, found 7"),
        ({"id": ""}, "id must not be empty"),
        ({"scene": 7}, "scene must be text, found 7"),
        ({"task": None}, "task must be text, found null"),
        ({"images": ...}, "images is missing"),
        ({"images": []}, "images must list the images of messages, in order"),
        ({"images": ["b.jpg"]}, "images must list the images of messages, in order"),
        ({"messages": ...}, "messages is missing"),
        ({"messages": [{"role": "tool", "content": ""}]}, r"messages\[0\]\.role must be one of"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "messages: message 0 is of role 'assistant'"),
        ({"answers": "cup"}, 'answers must be a list, found "cup"'),
        ({"weight": "1"}, 'weight must be a number, found "1"'),
        ({"weight": True}, "weight must be a number, found true"),
        ({"weight": -1}, "weight must be a finite number of 0 or more"),
        ({"meta": []}, r"meta must be an object, found \[\]"),
    ],
)
@pytest.mark.parametrize("read", [read_samples, read_conversations])
def test_a_fault_names_file_line_and_key(tmp_path: Path, change, fault: str, read) -> None:
    if read is read_conversations and "schema" in change:
        change = {**change, "schema": "gpt4scene/conversation@0"}
        fault = "schema is 'gpt4scene/conversation@0'"
    bad = {key: value for key, value in {**GOOD, "id": "b", **change}.items() if value is not ...}
    path = _written(tmp_path, json.dumps(GOOD), "", json.dumps(bad))
    with pytest.raises(UserError, match=f"train.jsonl, line 3: {fault}"):
        read(path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 1: is not JSON"),
        ("[]]", "is not JSON"),
        ('{"schema": NaN}', "line 1: is not JSON .NaN is no JSON number"),
        ("7", "line 1: must be an object, found 7"),
        ('{"text": "x"}', 'line 1: is no conversation: it has neither "messages" nor "conversations"'),
        ('{"conversations": [], "sample": "{"}', "line 1: sample must be JSON as text"),
        ('{"conversations": [], "sample": {}}', "line 1: sample must be JSON as text"),
        ('{"conversations": [], "sample": "7"}', "line 1: sample must be the JSON text of an object"),
        ('{"conversations": [], "sample": "{}"}', "line 1: sample: id must be text, found null"),
        ('[{"conversations": []}, 7]', "train.jsonl, record 1: must be an object, found 7"),
        ('[{"conversations": 7}]', "record 0: conversations must be a list"),
        ("[" * 100_000, "is not JSON that can be read"),
        ("", "holds no conversations"),
        ("[]", "holds no conversations"),
    ],
)
def test_what_is_no_file_of_conversations_is_said(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        read_conversations(_written(tmp_path, line))


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(UserError, match=r"line 1: is not UTF-8 text \(byte 8\)"):
        read_samples(tmp_path / "train.jsonl")


@pytest.mark.parametrize("read", [read_samples, read_conversations])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, read) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: no such file of conversations"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("write", [write_samples, write_sharegpt])
def test_two_conversations_of_one_id_are_a_fault(tmp_path: Path, write) -> None:
    with pytest.raises(UserError, match="two conversations have the id 'a'"):
        write(tmp_path / "train.jsonl", [_sample("a"), _sample("a")])
    with pytest.raises(UserError, match="two conversations have the id 'a'"):
        read_samples(_written(tmp_path, json.dumps(GOOD), json.dumps(GOOD)))


@pytest.mark.parametrize("write", [write_samples, write_sharegpt])
def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, write) -> None:
    path = tmp_path / "train.jsonl"
    write(path, [_sample("old")])
    before = path.read_bytes()
    in_memory = Conversation((Message("user", (Image("bev.jpg", data=b"\xff\xd8\xff"),)),))
    for bad, fault in [
        (Sample("b", in_memory), "conversation b: image bev.jpg is in memory only"),
        (_sample("b", meta={"n": {1, 2}}), "conversation b: answers and meta must be JSON"),
        (_sample("b", answers=(float("nan"),)), "conversation b: answers and meta must be JSON"),
    ]:
        with pytest.raises(UserError, match=fault):
            write(path, [_sample("a"), bad])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["train.jsonl"]


def test_no_samples_are_a_file_too(tmp_path: Path) -> None:
    write_samples(tmp_path / "train.jsonl", [])
    assert read_samples(tmp_path / "train.jsonl") == []
    write_sharegpt(tmp_path / "train.json", [])
    assert json.loads((tmp_path / "train.json").read_text()) == []


def test_lines_are_those_of_training_sets_in_order(tmp_path: Path) -> None:
    samples = [_sample(f"{i:05d}", path=str(tmp_path / f"{i % 3}.jpg")) for i in range(200)]
    write_samples(tmp_path / "train.jsonl", iter(samples))
    assert read_samples(tmp_path / "train.jsonl") == samples
    [first, *_] = read_conversations(tmp_path / "train.jsonl")
    assert to_sharegpt(first.conversation)["images"] == [str(tmp_path / "0.jpg")]
