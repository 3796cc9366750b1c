"""How many tokens a request takes: the published examples, and what a real server counts."""

import io
import os
from pathlib import Path

import pytest
from serve_process import begin, served
from tiny_vlm import FAMILIES, tiny_vlm

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Detail, Image, Message, Text
from gpt4scene.vlm.image_tokens import image_rule
from gpt4scene.vlm.openai_chat import OpenAIChat
from gpt4scene.vlm.processor_tokens import counted_tokens
from gpt4scene.vlm.protocol import Request, TokenRange
from gpt4scene.vlm.text_tokens import text_tokens
from gpt4scene.vlm.tokens import estimate_tokens, image_size

_OWN = "http://127.0.0.1:8000/v1"


def _picture(width: int, height: int, detail: Detail = "auto", *, name: str = "a.jpg") -> Image:
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.new("RGB", (width, height), (width % 256, 90, 10)).save(file, "JPEG")
    return Image(name, detail, file.getvalue())


def _request(*parts: Text | Image, system: str = "") -> Request:
    system_turns = (Message("system", (Text(system),)),) if system else ()
    return Request(Conversation((*system_turns, Message("user", parts))))


def _image_tokens(model: str, width: int, height: int, detail: Detail = "high", provider: str = "openai") -> TokenRange:
    return image_rule(provider, model, own_server=False)(width, height, detail)


# --- images


@pytest.mark.parametrize(
    ("model", "size", "detail", "expected"),
    [
        # the published examples of the tile rule
        ("gpt-4o", (1024, 1024), "high", (765, 765)),
        ("gpt-4o-2024-08-06", (2048, 4096), "high", (1105, 1105)),
        ("gpt-4o", (4096, 8192), "low", (85, 85)),
        ("gpt-4o", (1024, 1024), "auto", (85, 765)),
        # the ambiguity: is a small image enlarged?
        ("gpt-4o", (512, 476), "high", (255, 765)),
        ("gpt-4.1-2025-04-14", (128, 64), "high", (255, 1105)),
        ("gpt-4o-mini", (1024, 1024), "high", (2833 + 4 * 5667, 2833 + 4 * 5667)),
        ("gpt-4o-mini-2024-07-18", (64, 64), "low", (2833, 2833)),
        ("o3-2025-04-16", (1024, 1024), "high", (75 + 4 * 150, 75 + 4 * 150)),
        ("o1", (64, 64), "low", (75, 75)),
        ("gpt-5-2025-08-07", (1024, 1024), "high", (70 + 4 * 140, 70 + 4 * 140)),
        ("gpt-4.5-preview", (64, 64), "low", (85, 85)),
        # the published examples of the patch rule
        ("gpt-6-astra", (1024, 1024), "auto", (1229, 1229)),
        ("gpt-6-astra", (4096, 512), "auto", (2458, 2458)),
        ("gpt-6-astra", (6000, 6000), "high", (3000, 3000)),
        ("gpt-4.1-mini", (1024, 1024), "high", (1659, 1659)),
        ("gpt-4.1-nano-2025-04-14", (512, 384), "high", (473, 473)),
        ("o4-mini", (512, 384), "high", (331, 331)),
        ("gpt-5-nano", (512, 384), "high", (473, 473)),
    ],
)
def test_openai_s_rules(model: str, size: tuple[int, int], detail: Detail, expected: tuple[int, int]) -> None:
    assert _image_tokens(model, *size, detail) == TokenRange(*expected)


def test_what_openai_billed_lies_within_the_range() -> None:
    """Bills that users published (community.openai.com 1281361 and 1262691), the words of the question taken off."""
    for model, size, billed in [
        ("gpt-4.1", (2049, 513), 1445),
        ("gpt-4.1", (2050, 513), 765),
        ("gpt-4.1-mini", (4000, 1474), 2489),
        ("gpt-4.1-mini", (1800, 2400), 2353),
        ("gpt-4o", (128, 64), 255),
        ("gpt-4o-mini", (128, 64), 8500),
    ]:
        counted = _image_tokens(model, *size)
        assert counted.low <= billed <= counted.high, (model, size, counted)


def test_an_image_over_the_budget_of_patches_is_reduced() -> None:
    before = 1452  # the published example, of the time when 1,536 patches were the most
    assert _image_tokens("gpt-5.2", 1800, 2400).low == before
    assert _image_tokens("gpt-5.2", 18000, 24000).high == round(6144 * 1.2 + 0.49)


@pytest.mark.parametrize(
    ("model", "size", "patches"),
    [
        ("claude-opus-5", (1000, 1000), 1296),
        ("claude-opus-5", (1920, 1080), 2691),
        ("claude-sonnet-5-5", (3840, 2160), 4784),
        ("claude-opus-4-6", (3840, 2160), 1560),
        ("claude-3-5-sonnet-20241022", (1075, 1520), 33 * 47),
        ("claude-sonnet-4-20250514", (200, 200), 64),
        ("claude-haiku-5-5", (512, 490), 19 * 18),
    ],
)
def test_claude_s_examples_lie_within_the_range_of_its_two_rules(
    model: str, size: tuple[int, int], patches: int
) -> None:
    counted = _image_tokens(model, *size, provider="anthropic")
    old = size[0] * size[1] / 750
    assert counted.low <= patches <= counted.high
    assert counted.high - counted.low <= max(abs(patches - old) + 1, 8)


def test_gemini_behind_its_openai_address() -> None:
    def tokens(model: str, detail: Detail = "high") -> TokenRange:
        return image_rule("openai", model, own_server=True)(960, 540, detail)

    assert tokens("gemini-2.5-flash") == TokenRange(258, 6 * 258)  # the documented example: six tiles
    assert tokens("gemini-2.5-flash", "low").low == 64
    assert tokens("models/gemini-3.5-flash") == tokens("gemini-4-argon") == TokenRange(280, 1120)


def test_a_name_is_not_taken_for_another_s() -> None:
    tiles = {model: _image_tokens(model, 1024, 1024) for model in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5.1")}
    assert len(set(tiles.values())) == 3  # only gpt-4o and gpt-4.1 share a rule
    assert _image_tokens("gpt-4.1-mini", 512, 384) != _image_tokens("gpt-4.1", 512, 384)
    assert _image_tokens("gpt-5.4-mini", 512, 384) != _image_tokens("gpt-5.4", 512, 384)
    assert image_rule("openai", "llava-onevision-qwen2-7b-ov", own_server=True)(512, 476, "high").low == 27 * 27


def test_an_unknown_model_of_openai_s_spans_what_is_known() -> None:
    unknown = _image_tokens("gpt-99", 512, 476)
    for model in ("gpt-4o", "gpt-5", "gpt-5.4-nano", "gpt-6-astra"):
        known = _image_tokens(model, 512, 476)
        assert unknown.low <= known.low <= known.high <= unknown.high


def test_the_open_families_agree_with_transformers_on_sizes_of_ours(models: dict[str, Path]) -> None:
    """What the rule by name says, against the processor with the released settings, a few frames of a scene."""
    for family, name in [
        ("qwen2_vl", "Qwen/Qwen2-VL-7B-Instruct"),
        ("qwen2_5_vl", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("qwen3_vl", "Qwen/Qwen3-VL-8B-Instruct"),
        ("internvl", "OpenGVLab/InternVL3-8B-hf"),
        ("llava_onevision", "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
    ]:
        rule = image_rule("openai", name, own_server=True)
        for size in [(560, 420), (512, 384), (64, 48), (1300, 900)]:
            with_one, with_two = (
                counted_tokens(
                    _request(*[_picture(*size)] * n, Text("x")).conversation, (size,) * n, str(models[family])
                )
                for n in (1, 2)
            )
            without = counted_tokens(_request(Text("x")).conversation, (), str(models[family]))
            assert with_one is not None and with_two is not None and without is not None
            for images, total in ((1, with_one), (2, with_two)):
                counted = rule(*size, "high")
                assert counted.low * images <= total - without <= (counted.high + 1) * images, (family, size, images)
                if "qwen" in family:  # the processor here has the settings of the released checkpoints
                    assert counted.high * images == total - without
                    assert size[0] * size[1] > 1e6 or counted.low == counted.high or family == "qwen3_vl"


# --- text

_SAID = {
    "English": "How many chairs stand around the table nearest to the window? Answer with the objects' numbers.",
    "German": "Wie viele Stühle stehen um den Tisch, der dem Fenster am nächsten ist? Küchenschrank, Größe, Übergang.",
    "French": "Combien de chaises entourent la table située près de la fenêtre, à côté de l'armoire ?",
    "Russian": "Сколько стульев стоит вокруг стола, ближайшего к окну?",
    "Chinese": "离窗户最近的桌子周围有几把椅子？",
    "Japanese": "窓に一番近いテーブルの周りに椅子はいくつありますか？",
    "Arabic": "كم عدد الكراسي حول الطاولة الأقرب إلى النافذة؟",
    "emoji": "🪑🛋️👩‍👩‍👧‍👦 🚪→∑≈",
    "ids": "<OBJ001> chair at (1.23, -0.45, 0.00) m, <OBJ012> sofa, <OBJ113> kitchen cabinet: 2.10 m high.\n",
    "JSON": '{"type": "object", "properties": {"ids": {"type": "array", "items": {"type": "integer"}}}}',
    "spaces": "a        b\n\n\n\n\t\t\tc    d",
    "half a pair": "\ud83d",
}


@pytest.fixture(scope="module")
def vocabulary() -> object:
    """Byte-pair encoding with Qwen's rule for pieces (a digit each), trained on Python's library; 16,000 pieces."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    pieces = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    texts = [
        path.read_text(encoding="utf-8", errors="ignore") for path in sorted(Path(os.__file__).parent.glob("*.py"))
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts[::2], trainers.BpeTrainer(vocab_size=16_000, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def test_a_real_encoding_stays_within_the_range_of_a_text(vocabulary: object) -> None:
    others = sorted(Path(os.__file__).parent.glob("*.py"))[1::2][:40]
    said = [path.read_text(encoding="utf-8", errors="ignore") for path in others]
    said += [text for name, text in _SAID.items() if name not in ("German", "French", "half a pair")]
    for text in said:
        counted = len(vocabulary.encode(text).ids)  # type: ignore[attr-defined]
        expected = text_tokens(text)
        assert expected.low <= counted <= expected.high, (text[:60], expected, counted)


@pytest.mark.parametrize("name", ["Russian", "Chinese", "Japanese", "Arabic"])
def test_what_is_not_latin_counts_its_bytes_which_nothing_exceeds(name: str) -> None:
    text = "".join(letter for letter in _SAID[name] if not letter.isascii())
    assert text_tokens(text).high == len(text.encode())


def test_a_text_that_has_no_utf_8_is_estimated_too() -> None:
    assert text_tokens(_SAID["half a pair"]).high >= 1


# --- requests


def test_a_request_is_its_images_its_text_and_what_frames_it() -> None:
    text = Text("Which chair is nearest to the window?")
    bare = estimate_tokens(_request(text), provider="openai", model="gpt-4o")
    framed = text_tokens(text.text)
    assert framed.low < bare.low and framed.high < bare.high < framed.high + 50
    images = [_picture(1024, 1024, "high"), _picture(512, 476, "low"), _picture(512, 476, "high")]
    shown = estimate_tokens(_request(*images, text), provider="openai", model="gpt-4o")
    assert (shown.low - bare.low, shown.high - bare.high) == (765 + 85 + 255, 765 + 85 + 765)


def test_a_schema_adds_to_the_upper_end_alone() -> None:
    conversation = _request(Text("Which?")).conversation
    bare, with_schema = (
        estimate_tokens(Request(conversation, json_schema=schema), provider="openai", model="gpt-4o")
        for schema in (None, {"type": "object", "properties": {"ids": {"type": "array"}}})
    )
    assert with_schema.low == bare.low and with_schema.high > bare.high + 20


def test_the_server_decides_which_rules_hold() -> None:
    request = _request(_picture(512, 384, "high"), Text("Which?"))

    def tokens(model: str, base_url: str | None) -> TokenRange:
        return estimate_tokens(request, provider="openai", model=model, base_url=base_url)

    assert tokens("tuned", _OWN).high > tokens("Qwen2.5-VL-7B", _OWN).high > 0
    assert tokens("gpt-4o", None) == tokens("gpt-4o", "https://api.openai.com/v1")
    assert tokens("gpt-4o", None) == tokens("gpt-4o", "https://mine.openai.azure.com/openai/v1")
    assert tokens("gemini-2.5-flash", "https://generativelanguage.googleapis.com/v1beta/openai/").low > 258


def test_a_header_is_read_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(_picture(64, 48).read())
    image = Image(str(path))
    assert image_size(image) == (64, 48)
    path.write_bytes(_picture(640, 480).read())
    assert image_size(image) == (640, 480)


def test_the_header_is_enough_for_an_image_s_size() -> None:
    whole = _picture(800, 600).read()
    assert image_size(Image("cut.jpg", data=whole[:700])) == (800, 600)
    assert len(whole) > 2000


def test_what_is_no_image_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    for image, said in [
        (Image(str(tmp_path / "notes.jpg")), "notes.jpg: is no image that can be read"),
        (Image(str(tmp_path / "nothing.jpg")), "nothing.jpg: no such image"),
        (Image("sent.png", data=b""), "sent.png: is no image that can be read"),
        (Image("cut.jpg", data=_picture(64, 48).read()[:100]), "cut.jpg: is no image that can be read"),
    ]:
        with pytest.raises(UserError, match=said) as caught:
            estimate_tokens(_request(image, Text("?")), provider="openai", model="gpt-4o")
        assert "\n" not in str(caught.value)


# --- counted by the processor


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    begin()  # the server, which needs seconds of its own
    folder = tmp_path_factory.mktemp("models")
    return {family: tiny_vlm(folder / family, family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_counting_equals_processing_the_pictures(family: str, models: dict[str, Path]) -> None:
    from PIL import Image as Pictures
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(models[family])
    for sizes in [(), ((560, 420),), ((512, 384), (120, 900), (64, 64))]:
        images = [_picture(*size) for size in sizes]
        request = _request(*images, Text("<OBJ012>: which color?"), system="You see a room.")
        turns = [
            {"role": "system", "content": [{"type": "text", "text": "You see a room."}]},
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": Pictures.open(io.BytesIO(image.read()))} for image in images),
                    {"type": "text", "text": "<OBJ012>: which color?"},
                ],
            },
        ]
        processed = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=True)
        estimated = estimate_tokens(request, provider="openai", model=str(models[family]), base_url=_OWN)
        assert estimated.low == estimated.high == len(processed["input_ids"][0])


def test_a_folder_whose_processor_cannot_be_loaded_is_estimated_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchProcessor"}')
    estimated = estimate_tokens(_request(Text("?")), provider="openai", model=str(tmp_path), base_url=_OWN)
    assert estimated.low < estimated.high
    assert "cannot be loaded" in caplog.text


def test_the_count_equals_the_usage_of_transformers_serve(models: dict[str, Path]) -> None:
    """Through the adapter, so that what it sends is what is counted."""
    folder = str(models["qwen2_5_vl"])
    shown = [[], [_picture(448, 336)], [_picture(504, 476, name=f"{i}.jpg") for i in range(9)]]
    said = ["Which chair?", "Größe of <OBJ012>, 1.25 m?\n", "多少椅子？"]
    with served(folder) as base_url:
        model = OpenAIChat(f"openai:{folder}@{base_url}", folder, base_url)
        for images, question, system in zip(shown, said, ["", "You see a room.", "You see a room."], strict=True):
            request = Request(_request(*images, Text(question), system=system).conversation, max_new_tokens=2)
            (reply,) = model.reply([request])
            assert reply.usage is not None, reply.why
            counted = reply.usage.input_tokens
            assert model.estimate(request) == TokenRange(counted, counted)
        model.close()
