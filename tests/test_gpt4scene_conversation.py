"""Conversations: turns in order, images hashed once, and the same after a way through either format."""

import base64
import json
import os
import string
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.prompting.openai_messages import from_openai, media_type, stored_url, to_openai
from gpt4scene.prompting.sharegpt import from_sharegpt, to_sharegpt

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

# much of what could be taken for a placeholder, an escape, an id or a line's end
_pieces = st.sampled_from(
    ["<image>", "<\\image>", "<\\\\image>", "<video>", "<audio>", "<", ">", "\\", "image>", "<OBJ012>", "\n", "\u2028"]
)
texts = st.lists(_pieces | st.text(max_size=5), max_size=6).map("".join)
names = st.text(string.ascii_letters + string.digits + " ._-äß%;,=", min_size=1, max_size=12).map("img/{}".format)
details = st.sampled_from(["auto", "low", "high"])
files = st.builds(Image, names, details)
in_memory = st.builds(Image, names, details, st.sampled_from([JPEG, PNG]).flatmap(lambda h: st.binary().map(h.__add__)))


def conversations(images: st.SearchStrategy[Image] = files) -> st.SearchStrategy[Conversation]:
    shown = st.lists(texts.map(Text) | images, max_size=6).map(tuple)
    said = st.lists(texts.map(Text), max_size=3).map(tuple)

    @st.composite
    def turns(draw) -> Conversation:
        messages = [Message("system", draw(said))] if draw(st.booleans()) else []
        for position in range(draw(st.integers(0, 4))):
            messages.append(Message("assistant", draw(said)) if position % 2 else Message("user", draw(shown)))
        return Conversation(tuple(messages))

    return turns()


def _through_json(value: object) -> object:
    return json.loads(json.dumps(value))


@given(conversations(files | in_memory))
def test_openai_messages_lose_nothing(conversation: Conversation) -> None:
    messages = _through_json(to_openai(conversation))
    again = from_openai(messages)
    assert again == conversation
    assert [image.data for image in again.images] == [image.data for image in conversation.images]
    assert to_openai(again) == messages


@given(conversations())
def test_sharegpt_loses_nothing(conversation: Conversation) -> None:
    record = _through_json(to_sharegpt(conversation))
    assert isinstance(record, dict)
    assert from_sharegpt(record) == conversation
    assert to_sharegpt(from_sharegpt(record)) == record


@given(conversations())
def test_placeholders_are_as_many_as_files_wherever_llama_factory_counts(conversation: Conversation) -> None:
    record = to_sharegpt(conversation)
    counted = [turn["value"] for turn in record["conversations"] if turn["from"] != "system"]
    assert sum(value.count("<image>") for value in counted) == len(record["images"])
    assert not any(kind in value for value in counted for kind in ("<video>", "<audio>"))


@given(st.lists(texts, min_size=1, max_size=4))
def test_foreign_sharegpt_is_written_as_it_was(values: list[str]) -> None:
    """Records as LLaMA-Factory reads them: placeholders anywhere in a person's turn, any text around."""
    assume(not any(kind in value for value in values for kind in ("<video>", "<audio>")))
    assume(not any("<image>" in value for value in values[1::2]))
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    record = {"conversations": turns, "images": [f"{i}.jpg" for i in range("".join(values[::2]).count("<image>"))]}
    assume(sum(value.count("<image>") for value in values) == len(record["images"]))
    assert to_sharegpt(from_sharegpt(record)) == record


def test_texts_that_stand_together_are_one() -> None:
    image = Image("a.jpg")
    message = Message("user", (Text(""), Text("a"), Text("b"), image, Text(""), image, Text("c")))
    assert message.parts == (Text("ab"), image, image, Text("c"))
    assert message.text == "abc"
    assert Message("user", (Text(""),)).parts == ()


@pytest.mark.parametrize(
    ("roles", "fault"),
    [
        (["assistant"], "message 0 is of role 'assistant', system or user was expected"),
        (["user", "user"], "message 1 is of role 'user', assistant was expected"),
        (["user", "assistant", "system"], "message 2 is of role 'system', user was expected"),
        (["system", "assistant"], "message 1 is of role 'assistant', user was expected"),
        (["system", "system"], "message 1"),
    ],
)
def test_turns_are_in_order(roles, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Conversation(tuple(Message(role, (Text("x"),)) for role in roles))


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_only_the_user_shows_images(role) -> None:
    messages = [Message("user", (Text("x"),)), Message(role, (Image("a.jpg"),))]
    with pytest.raises(ValueError, match="only the user shows images"):
        Conversation(tuple(messages[role == "system" :]))


def _shown(*parts: Text | Image) -> Conversation:
    return Conversation((Message("system", (Text("s"),)), Message("user", parts)))


A, B = Image("a.jpg", data=JPEG + b"a"), Image("b.jpg", data=JPEG + b"b")


def test_the_prefix_ends_with_the_last_image() -> None:
    first, second = _shown(Text("look"), A, B, Text("one?")), _shown(Text("look"), A, B, Text("two?"))
    assert first.prefix == second.prefix != ()
    assert first.prefix[-1].parts == (Text("look"), A, B)
    assert first.prefix_key() == second.prefix_key()
    assert _shown(Text("no image")).prefix == (Message("system", (Text("s"),)),)
    assert Conversation(()).prefix == ()


def test_the_prefix_key_follows_what_is_seen() -> None:
    said = [
        _shown(A, B),
        _shown(B, A),
        _shown(A),
        _shown(A, Text("x"), B),
        _shown(Text("x"), A, B),
        _shown(Image("a.jpg", "low", A.data), B),
        Conversation((Message("user", (A, B)),)),
        Conversation((Message("system", (Text("other"),)), Message("user", (A, B)))),
        # a text that imitates what an image adds to the hash
        _shown(Text(f"x\1auto{A.sha256()}"), B),
    ]
    assert len({conversation.prefix_key() for conversation in said}) == len(said)
    assert _shown(Image("renamed.jpg", data=A.data), B).prefix_key() == _shown(A, B).prefix_key()


def test_an_image_on_disk_is_hashed_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    image = Image(str(path))
    assert image.sha256() == Image("x", data=JPEG).sha256()
    path.write_bytes(JPEG + b"longer")
    assert image.sha256() == Image("x", data=JPEG + b"longer").sha256()
    path.write_bytes(JPEG + b"LONGER")
    os.utime(path, ns=(1, 1))
    assert image.sha256() == Image("x", data=JPEG + b"LONGER").sha256()


def test_an_image_that_is_not_there_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        for look in (Image(str(path)).read, Image(str(path)).sha256):
            with pytest.raises(UserError, match="no such image"):
                look()


def test_paths_are_rooted_once() -> None:
    rooted = _shown(Image("a.jpg", "high"), Image("/b.jpg"), A, Text("x")).rooted(Path("/data"))
    assert [image.path for image in rooted.images] == ["/data/a.jpg", "/b.jpg", "a.jpg"]
    assert rooted.images[0].detail == "high" and rooted.images[2].data == A.data


def test_openai_messages_are_as_servers_take_them() -> None:
    conversation = _shown(Image("bev.jpg", "high"), Image("f.jpg"), Text("Where?")).then("assistant", "There.")
    assert to_openai(conversation, image_url=lambda image: f"https://files/{image.path}") == [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://files/bev.jpg", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "https://files/f.jpg"}},
                {"type": "text", "text": "Where?"},
            ],
        },
        {"role": "assistant", "content": "There."},
    ]


def test_data_urls_become_bytes() -> None:
    url = f"data:image/jpeg;base64,{base64.b64encode(JPEG).decode()}"
    assert stored_url(A).startswith("data:image/jpeg;name=a.jpg;base64,")
    assert media_type(PNG, "") == "image/png"
    [image] = from_openai([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]).images
    assert (image.path, image.data, image.detail) == ("image.jpeg", JPEG, "auto")
    [image] = from_openai([{"role": "user", "content": [_url("file:///a%20b/c.jpg")]}]).images
    assert image.path == "/a b/c.jpg"


def _url(url: object, **more: object) -> dict:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def test_what_clients_leave_empty_and_other_names_of_roles_are_read() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": "x", "name": None},
        {"role": "assistant", "content": "", "refusal": None, "tool_calls": []},
    ]
    assert from_openai(messages) == Conversation(
        (Message("system", (Text("s"),)), Message("user", (Text("x"),)), Message("assistant", ()))
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            [{"type": "input_audio", "input_audio": {}}],
            r"t\[1\]\.content\[0\]\.type must be text or image_url, found 'in",
        ),
        ([{"type": "text"}], r"t\[1\]\.content\[0\]\.text must be text"),
        ([{"type": "text", "text": "a"}, "b"], r"t\[1\]\.content\[1\] must be an object"),
        ([{"type": "image_url", "image_url": "a.jpg"}], r"content\[0\]\.image_url must be an object"),
        ([_url("a.jpg", detail="extreme")], r"detail must be one of auto, low, high, found 'extreme'"),
        ([_url("https://example.org/a.jpg")], r"'https://example\.org/a\.jpg' is on a server; images are files here"),
        ([_url("gs://bucket/a.jpg")], "is on a server"),
        ([_url("")], "is empty"),
        ([_url(7)], r"must be an object with a \"url\""),
        ([_url("data:image/png;base64,@@")], "does not decode"),
        ([_url("data:image/png;base64,")], "must be a data URL of an image in base64"),
        ([_url("data:text/plain;base64,YQ==")], "must be a data URL of an image"),
        (None, r"t\[1\]\.content must be text or a list of parts, found None"),
        ({}, r"t\[1\]\.content must be text or a list"),
    ],
)
def test_what_is_wrong_with_openai_messages_is_said_with_its_place(content, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        from_openai([{"role": "system", "content": "s"}, {"role": "user", "content": content}], where="t")


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ("text", "messages must be a list"),
        (None, "messages must be a list"),
        (["x"], r"messages\[0\] must be an object"),
        ([{"content": "x"}], r"messages\[0\]\.role must be one of system, developer, user, assistant, found None"),
        ([{"role": "tool", "content": "x"}], r"found 'tool'"),
        ([{"role": ["user"], "content": "x"}], r"role must be one of"),
        ([{"role": "user", "content": "x", "name": "Jo"}], r"messages\[0\]\.name is not known here"),
        ([{"role": "user", "content": "x"}] * 2, "messages: message 1 is of role 'user', assistant was expected"),
    ],
)
def test_what_is_wrong_with_the_turns_is_said(messages, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        from_openai(messages)


@pytest.mark.parametrize("path", ["", "data:x.jpg", "http://x/y.jpg", "file:a.jpg"])
def test_a_path_that_reads_like_a_url_is_not_written(path: str) -> None:
    with pytest.raises(UserError, match="is no path of a file"):
        to_openai(_shown(Image(path)))


def test_bytes_that_are_no_image_are_not_written() -> None:
    with pytest.raises(UserError, match=r"x\.jpg: is neither JPEG nor PNG"):
        to_openai(_shown(Image("x.jpg", data=b"GIF89a")))


def test_a_sharegpt_record_is_as_llama_factory_reads_it() -> None:
    conversation = _shown(Image("bev.jpg", "high"), Image("f.jpg"), Text("Is <image> a tag?")).then("assistant", "No.")
    assert to_sharegpt(conversation) == {
        "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "<image><image>Is <\\image> a tag?"},
            {"from": "gpt", "value": "No."},
        ],
        "images": ["bev.jpg", "f.jpg"],
        "details": ["high", "auto"],
    }
    assert "details" not in to_sharegpt(_shown(Image("f.jpg")))


def test_sharegpt_of_others_is_read() -> None:
    expected = _shown(Image("a.jpg"), Text("\nWhat?")).then("assistant", "A cup.")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cup."}]
    assert from_sharegpt({"conversations": turns, "system": "s", "images": ["a.jpg"], "videos": []}) == expected
    # as LLaMA-Factory's mllm_demo.json has them
    messages = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cup."}]
    assert from_sharegpt({"messages": messages, "system": "s", "images": ["a.jpg"]}) == expected
    # LLaMA-Factory leaves the system message alone
    system = {"from": "system", "value": "Tags such as <image> are <\\image>."}
    assert from_sharegpt({"conversations": [system]}).messages[0].text == system["value"]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({}, "t: conversations must be a list"),
        (
            {"conversations": [{"from": "tool", "value": "x"}]},
            r"t: conversations\[0\]\.from must be one of system, human",
        ),
        ({"conversations": [{"from": ["human"], "value": "x"}]}, r"conversations\[0\]\.from must be"),
        ({"conversations": ["x"]}, r"conversations\[0\]\.from must be"),
        ({"conversations": [{"from": "human"}]}, r"conversations\[0\]\.value must be text, found NoneType"),
        ({"messages": [{"role": "user", "content": 1}]}, r"messages\[0\]\.content must be text, found int"),
        ({"conversations": [{"from": "human", "value": "<image>"}]}, r"conversations\[0\]\.value: has an <image>"),
        ({"conversations": [{"from": "human", "value": "x"}], "images": ["a", "b"]}, "images holds 2 more"),
        ({"conversations": [{"from": "human", "value": "<video>"}]}, "shows a video"),
        ({"conversations": [], "videos": ["a.mp4"]}, "t: videos are not known here"),
        ({"conversations": [], "images": "a.jpg"}, "t: images must be a list of paths"),
        ({"conversations": [], "images": [{"bytes": ""}]}, "t: images must be a list of paths"),
        (
            {"conversations": [{"from": "human", "value": "<image>"}], "images": ["a"], "details": ["x"]},
            "details must hold one of auto, low, high for each of 1 images",
        ),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "t: conversations: message 0 is of role 'assistant'"),
        ({"conversations": [{"from": "system", "value": "x"}], "system": "y"}, "message 1 is of role 'system'"),
        (
            {"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "<image>"}], "images": ["a"]},
            "only the user shows images",
        ),
    ],
)
def test_what_is_wrong_with_a_sharegpt_record_is_said(record, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        from_sharegpt(record, where="t")


def test_sharegpt_names_files() -> None:
    with pytest.raises(UserError, match=r"a\.jpg: is in memory only"):
        to_sharegpt(_shown(A))
