"""Reading answers out of a model's text: tables of what models write, and properties that hold of any text."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt4scene.prompting.answers import (
    Parsed,
    answer_part,
    read_ids,
    read_json,
    read_number,
    read_option,
    read_reply,
    read_yes_no,
)
from gpt4scene.prompting.object_ids import format_id
from gpt4scene.vlm.protocol import Reply, ReplyOutcome

KNOWN = range(1, 31)
UNPARSABLE, REFUSED = "unparsable", "refused"


# ---------------------------------------------------------------- objects

IDS = [
    # as it is asked for
    ("<OBJ012>", (12,)),
    ("<OBJ012>.", (12,)),
    ("Yes. <OBJ014>, <OBJ004>, and <OBJ019>.", (14, 4, 19)),
    ("<OBJ002><OBJ003>", (2, 3)),  # nothing between them
    ("**<OBJ012>**", (12,)),
    ("The chair <OBJ003> is left of 2 tables, 3 m away.", (3,)),  # numbers beside it are none
    ("<OBJ003>, not object 5", (3,)),  # the strict form alone where there is one
    ("<OBJ004> is near <OBJ002> and <OBJ004>", (4, 2)),  # order kept, repeats removed
    ('{"ids": ["<OBJ003>", "<OBJ005>"]}', (3, 5)),
    ("No, it is <OBJ005>.", (5,)),  # a number outweighs the no
    # nearly as it is asked for
    ("<OBJ12>", (12,)),
    ("<obj012>", (12,)),
    ("<OBJ12> and <OBJ104>", (12, 104)),  # zeros forgotten, where the larger number needs none
    ("OBJ012", (12,)),
    ("`OBJ012`", (12,)),
    ("OBJ_012, OBJ_013", (12, 13)),
    ("<OBJ 12>", (12,)),
    # with a word
    ("object 12", (12,)),
    ("Object 12.", (12,)),
    ("The answer is object number 12, a chair.", (12,)),
    ("object no. 12", (12,)),
    ("Object ID: 12", (12,)),
    ('"object_id": 12', (12,)),
    ("object (12)", (12,)),
    ("objects 3, 5 and 7", (3, 5, 7)),
    ("objects 3, 5, and 7 are chairs", (3, 5, 7)),
    ("Objects **3** and **5**", (3, 5)),
    ("object IDs: [3, 5, 7]", (3, 5, 7)),
    ("object 3 and object 5", (3, 5)),
    ("Yes, objects 4 and 19.", (4, 19)),  # the fixtures of Multi3DRefer
    ("Objects: 4, 19", (4, 19)),
    ("ids 101,102,103", (101, 102, 103)),
    ("the chair numbered 12", (12,)),
    ("the box labelled as 12", (12,)),
    ("the lamp marked with the number 12", (12,)),
    ("the lamp labeled '12'", (12,)),
    ("marker 7's chair", (7,)),
    ("object\n12", (12,)),
    ("The object is 12.", (12,)),
    ("There are objects 12 and 13 in frame 2.", (12, 13)),
    # with a sign
    ("the chair #12 and #13", (12, 13)),
    ("[12]", (12,)),
    ("The chair [12] and the table [3, 5]", (12, 3, 5)),
    ("<12>", (12,)),
    # nothing but numbers
    ("12", (12,)),
    ("12.", (12,)),
    ("**12**", (12,)),
    ("(12)", (12,)),
    ("3, 5 and 7", (3, 5, 7)),
    ("3,5,7", (3, 5, 7)),
    ("3 4 5", (3, 4, 5)),
    ("[3, 5, 7]", (3, 5, 7)),
    ("- 3\n- 5", (3, 5)),
    ("1. 4\n2. 19", (4, 19)),  # a numbered list
    ("Yes: 3", (3,)),
    ("The answer is 12.", (12,)),
    ("The answer is [3, 5].", (3, 5)),
    ("Object(s): 3, 5", (3, 5)),
    ("$\\boxed{12}$", (12,)),
    ("```json\n[3, 5]\n```", (3, 5)),
    # where an answer stands
    ("Based on the images, the best match is **12**.", (12,)),
    ("The answer is 12.\n\nIt stands next to 5 chairs in image 3.", (12,)),
    ("There are 3 chairs: 4, 7 and 12.", (4, 7, 12)),
    ("12: the brown chair", (12,)),
    ("12, the brown chair", (12,)),
    ("Here they are:\n- 3: office chair\n- 12 (armchair)", (3, 12)),
    ("1. **3** - office chair\n2. **12** - armchair", (3, 12)),
    # what a reply decides on, after it has thought aloud
    ("<OBJ003> is a table, <OBJ012> the only chair.\n\n**Final answer:** <OBJ012>", (12,)),
    ("Objects 3 and 5 are tables, so the answer is 12.", (12,)),
    ("<OBJ003> is a table, no piano.\nAnswer: No.", ()),
    ("The answer is plain to see: <OBJ003>.", (3,)),
    # reasoning and its tags
    ("<think>maybe object 3</think>object 5", (5,)),
    ("maybe object 3</think>\n<OBJ005>", (5,)),  # the prompt had opened it
    ("<OBJ001> or <OBJ002>? <answer><OBJ002></answer>", (2,)),
    # pictures and counts beside an object
    ("Image 4 shows object 5.", (5,)),
    ("2 chairs near object 5", (5,)),
    ("object 3 and 2 chairs", (3,)),
    # none
    ("No.", ()),
    ("None", ()),
    ("None of the objects match the description.", ()),
    ("No such object.", ()),
    ("No objects match.", ()),
    ("There is no chair in the room", ()),
    ("There are no such objects.", ()),
    ("There isn't any.", ()),
    ("I cannot find any such object.", ()),
    ("I couldn’t find such an object: it does not exist.", ()),  # a typographic apostrophe
    ("N/A", ()),
    ("[]", ()),
    ('{"ids": []}', ()),
    ("0 objects", ()),
    ("0", ()),  # where no object has that number
    ("No numbered object fits this description.", ()),  # in the words of our own prompt
    ("There are no numbered objects that match.", ()),
    ("There doesn't appear to be a piano in this room.", ()),
    ("After a look at all images, none of these objects fit.", ()),
    ("I don't see a piano in the scene.", ()),
    ('```json\n{"ids": []}\n```', ()),
    ('{"ids": [], "reason": "there are 2 chairs and a bed"}', ()),
    # no object's number
    ("", UNPARSABLE),
    ("   \n", UNPARSABLE),
    ("44x", UNPARSABLE),
    ("<C4>", UNPARSABLE),
    ("the chair", UNPARSABLE),
    ("2 chairs", UNPARSABLE),
    ("There are 3 objects.", UNPARSABLE),
    ("The number of objects is 3.", UNPARSABLE),
    ("Number of objects: 3", UNPARSABLE),
    ("objects (3)", UNPARSABLE),
    ("The objects are 2 chairs", UNPARSABLE),
    ("4.5 m", UNPARSABLE),
    ("The object is 3 meters away", UNPARSABLE),
    ("the object 3 m away", UNPARSABLE),
    ("object 1 of 3", UNPARSABLE),
    ("object 3-5", UNPARSABLE),  # a range
    ("1,200", UNPARSABLE),
    ("in 2024", UNPARSABLE),
    ("2024", UNPARSABLE),  # so large, and not of the scene
    ("the 3rd object", UNPARSABLE),
    ("frame 12", UNPARSABLE),
    ("box [100, 200, 300, 400]", UNPARSABLE),  # a place in the picture
    ('[{"bbox_2d": [3, 5, 7, 9], "label": "chair"}]', UNPARSABLE),  # where the scene has such numbers, too
    ("No. 12", UNPARSABLE),
    ("There are 12.", UNPARSABLE),
    ("The distance is 12.", UNPARSABLE),
    ("1: look at the chairs\n2: look at the tables", UNPARSABLE),
    ("The best match is 99.", UNPARSABLE),  # of the scene alone, where nothing says that it is an object
    ("No numbers can be read.", UNPARSABLE),
    ("I can't see a number on it.", UNPARSABLE),
    ("No idea", UNPARSABLE),
    ("I cannot determine which", UNPARSABLE),
    ("I cannot see any image", UNPARSABLE),  # that is not: no such object
    ("<think>object 3", UNPARSABLE),  # never got to the answer
    ("<OBJ" + "1" * 5000 + ">", UNPARSABLE),  # more digits than Python reads
    ("I'm sorry, I can't help with that.", REFUSED),
    ("I’m sorry, but I’m unable to assist with this request.", REFUSED),
]


@pytest.mark.parametrize(("text", "expected"), IDS)
def test_ids(text: str, expected: tuple[int, ...] | str) -> None:
    parsed = read_ids(text, KNOWN)
    if isinstance(expected, str):
        assert (parsed.value, parsed.outcome) == (None, expected) and parsed.why
    else:
        assert parsed.outcome == "answered" and parsed.value is not None
        assert (*parsed.value.ids, *parsed.value.unknown_ids) == expected


def test_ids_that_the_scene_does_not_hold_are_told_apart_and_mentions_keep_repeats() -> None:
    found = read_ids("<OBJ099>, <OBJ002>, <OBJ002>, <OBJ000>, <OBJ099>", KNOWN).value
    assert found is not None
    assert (found.ids, found.unknown_ids, found.mentions) == ((2,), (99, 0), (99, 2, 2, 0, 99))
    assert read_ids("<OBJ000>", range(3)).value == read_ids("object 0", range(3)).value


def test_loose_and_bare_forms_can_be_left_out() -> None:
    spoken = read_ids("<OBJ003> is near. The answer is <OBJ012>.", KNOWN, bare=False).value
    assert spoken is not None and spoken.ids == (3, 12)
    assert read_ids("object 12", KNOWN, loose=False).outcome == UNPARSABLE
    assert read_ids("None", KNOWN, loose=False).outcome == "answered"
    assert read_ids("4.", KNOWN, bare=False).outcome == UNPARSABLE
    found = read_ids("4 of them, such as object 12", KNOWN, bare=False).value
    assert found is not None and found.ids == (12,)


@given(st.lists(st.integers(0, 10**17), max_size=8), st.sampled_from([", ", "", " and ", "\n- "]))
def test_what_is_written_is_read_back(ids: list[int], between: str) -> None:
    found = read_ids("Yes: " + between.join(map(format_id, ids)), set(ids)).value
    assert (found.mentions if found else ()) == tuple(ids)
    assert found is None or (found.ids, found.unknown_ids) == (tuple(dict.fromkeys(ids)), ())


# ---------------------------------------------------------------- numbers

NUMBERS = [
    ("3", 3),
    ("3.", 3),
    ("about 2.5 meters", 2.5),
    ("2.5m", 2.5),
    ("~2.5", 2.5),
    (".5", 0.5),
    ("-3", -3),
    ("−3 °C", -3),  # a typographic minus
    ("50%", 50),  # never 0.5
    ("1,200", 1200),
    ("1,234,567.5", 1234567.5),
    ("1/2", 0.5),
    ("½", 0.5),
    ("2½", 2.5),
    ("2 1/2 m", 2.5),
    ("\\frac{1}{2}", 0.5),
    ("1.2e-3", 0.0012),
    ("2.5 x 10^3", 2500),
    ("2.5 × 10³", 2500),
    ("2 × 10⁻³", 0.002),
    ("2 dozen", 24),
    ("3 thousand", 3000),
    ("4 in.", 4),
    ("3 m²", 3),
    ("There are **4** chairs", 4),
    ("$\\boxed{3}$", 3),
    ("2.5m (8.2 feet)", 2.5),  # the first of several
    ("3 chairs and 2 tables", 3),
    ("3 chairs and 2 tables, so the answer is 5.", 5),  # unless it says which
    ("2 + 3 = 5 chairs", 5),
    ("I see 2 and 2 there, a total of 4.", 4),
    ("The answer is three, since I see 4 legs", 3),
    # in words
    ("three", 3),
    ("Zero.", 0),
    ("twenty-five", 25),
    ("one hundred and five", 105),
    ("ten thousand", 10000),
    ("two and a half meters", 2.5),
    ("half a meter", 0.5),
    ("three quarters", 0.75),
    ("two point five", 2.5),
    ("negative two", -2),
    ("a dozen", 12),
    ("one", 1),
    ("There is one chair.", 1),
    ("the 3rd chair of two", 2),
    ("a 3-seat sofa and two chairs", 2),
    ("None.", 0),  # zero is what these say
    ("There are no chairs.", 0),
    # what is numbered is not counted
    ("The distance between <OBJ003> and <OBJ007> is 2.5 m", 2.5),
    ("objects 3, 5 and 7: 3 in total", 3),
    ("Objects 3 and 7 are 2.5 m apart.", 2.5),
    ("In image 4 I see 2", 2),
    ("<think>4 or 5</think>5", 5),
    ("Based on the 8 frames, there are 2 monitors.", 2),
    ("Looking at the 9 images, I see three.", 3),
    ("In images 2 to 9 I see 4 chairs.", 4),
    ("From Images 2-9, there are 4 chairs.", 4),
    ("The chair labeled 4 is 1.8 m tall", 1.8),
    ("3 in total: 2 chairs and 1 stool", 3),
    ("There are 2 here and 1 there, so there are 3 chairs in total.", 3),
    ("In total: 3", 3),
    ("2.5 m\n\nOn the bird's-eye view, 1 px = 0.01 m, a total of 250 px.", 2.5),  # what has a line of its own
    # none, or not one
    ("3 m 20 cm", UNPARSABLE),  # not 3
    ("5 feet 10 inches", UNPARSABLE),
    ("5'10\"", UNPARSABLE),
    ("1'200", UNPARSABLE),
    ("", UNPARSABLE),
    ("no", UNPARSABLE),
    ("I don't know", UNPARSABLE),
    ("the one near the door", UNPARSABLE),
    ("one of the chairs", UNPARSABLE),
    ("the left half of the room", UNPARSABLE),
    ("3-4", UNPARSABLE),
    ("3 to 4 meters", UNPARSABLE),
    ("between 3 and 4 m", UNPARSABLE),
    ("3 or 4", UNPARSABLE),
    ("2 x 3 m", UNPARSABLE),
    ("two three", UNPARSABLE),
    ("2,5", UNPARSABLE),  # a decimal comma, or two numbers
    ("1 000", UNPARSABLE),
    ("44x", UNPARSABLE),
    ("12:30", UNPARSABLE),
    ("1st", UNPARSABLE),
    ("v1.2", UNPARSABLE),
    ("1/0", UNPARSABLE),
    ("1e999", UNPARSABLE),
    ("9" * 5000, UNPARSABLE),
    ("1. chair\n2. table\n3. bed", UNPARSABLE),  # a numbered list
    ("I cannot assist with that", REFUSED),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_numbers(text: str, expected: float | str) -> None:
    parsed = read_number(text)
    if isinstance(expected, str):
        assert (parsed.value, parsed.outcome) == (None, expected) and parsed.why
    else:
        assert parsed == Parsed(pytest.approx(expected), "answered")


def test_the_last_number_where_that_is_wanted() -> None:
    assert read_number("First 3, then 2", which="last").value == 2
    assert read_number("It is between 3 and 4").why.startswith("a range")


@given(st.floats(-1e9, 1e9, allow_nan=False))
def test_any_number_is_read_back(value: float) -> None:
    assert read_number(f"It is {value!r} m.").value == value


# ---------------------------------------------------------------- options

OPTIONS = [
    ("B", "B"),
    ("b", "B"),
    ("B.", "B"),
    (" B\n", "B"),
    ("(B)", "B"),
    ("b)", "B"),
    ("**B**", "B"),
    ("**B.** chair", "B"),
    ("`B`", "B"),
    ("A", "A"),
    ("A.", "A"),
    ("Answer: B.", "B"),
    ("answer: a", "A"),
    ("Answer:\nB", "B"),
    ("The answer is A", "A"),
    ("The answer is B because A is too far", "B"),
    ("The answer is: **A** because it is near", "A"),
    ("The correct answer is (C) the table", "C"),
    ("Option C", "C"),
    ("I choose D.", "D"),
    ("Option A is wrong; the answer is B", "B"),  # the last of several
    ("Option B is incorrect. C.", "C"),
    ("B is wrong, so C", "C"),
    ("B. chair", "B"),
    ("B: because A is too far", "B"),
    ("A) the chair", "A"),
    ("A, because it is closest", "A"),
    ("A - the chair", "A"),
    ("C is the closest", "C"),
    ("It would be D", "D"),
    ("\\boxed{B}", "B"),
    ("$\\boxed{\\text{B}}$", "B"),
    ("<think>A, surely</think>C", "C"),
    ("A is correct", "A"),
    ("A. no\nB. yes\nC. no\n\n**B**", "B"),  # the last line
    # the article is no option
    ("A chair", UNPARSABLE),
    ("a chair near the door", UNPARSABLE),
    ("The answer is a chair", UNPARSABLE),
    ("The answer is A chair", UNPARSABLE),
    ("I would pick a chair", UNPARSABLE),
    # none, or not one
    ("B or C", UNPARSABLE),
    ("A, B", UNPARSABLE),
    ("Both A and B", UNPARSABLE),
    ("The answer is not B", UNPARSABLE),
    ("Neither B nor C", UNPARSABLE),
    ("A. too far\nB. close enough", UNPARSABLE),  # gone through, none chosen
    ("E", UNPARSABLE),  # beyond the last
    ("I think so", UNPARSABLE),
    ("D-shaped", UNPARSABLE),
    ("None", UNPARSABLE),
    ("", UNPARSABLE),
    ("I'm not able to help with that", REFUSED),
]


@pytest.mark.parametrize(("text", "expected"), OPTIONS)
def test_options(text: str, expected: str) -> None:
    _check_option(read_option(text), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A chair", "A"),  # the words of the option, not its article
        ("a table", "B"),
        ("Left.", "C"),
        ("to the front-left", "D"),  # the longer option holds the shorter one
        ("It is on the left.", "C"),
        ("B", "B"),
        ("A. a table", "A"),  # the letter outweighs the words
        ("left of a table", UNPARSABLE),  # two of them
        ("the bench", UNPARSABLE),
    ],
)
def test_options_by_their_words(text: str, expected: str) -> None:
    _check_option(read_option(text, ["a chair", "a table", "left", "front-left"]), expected)


def _check_option(parsed: Parsed[str], expected: str) -> None:
    if expected in (UNPARSABLE, REFUSED):
        assert (parsed.value, parsed.outcome) == (None, expected) and parsed.why
    else:
        assert parsed == Parsed(expected, "answered")


def test_options_that_are_numbers() -> None:
    assert read_option("4", ["3", "4", "5"]).value == "B"
    assert read_option("2.5 meters", ["2", "5", "2.5"]).value == "C"
    with pytest.raises(ValueError, match="1 to 26"):
        read_option("A", [])


# ---------------------------------------------------------------- yes and no


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", True),
        ("yes, there is", True),
        ("**No**", False),
        ("No, but yes would do", False),  # how it begins
        ("Yes is tempting, but the answer is no", False),  # unless it says which
        ("true", True),
        ("False.", False),
        ("Absolutely not.", False),
        ("Definitely not", False),
        ("Not really.", False),
        ("### Answer\nYes", True),
        ("Based on the images, yes, there is one.", True),
        ("It is behind the table, so no.", False),
        ("No other is to be seen, so yes.", True),
        ("There is no chair", False),
        ("There aren't any.", False),
        ("<think>no</think>Yes", True),
        ("There is a chair with no arms", None),
        ("Yes and no", None),
        ("No idea", None),
        ("nothing", None),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_yes_and_no(text: str, expected: bool | None) -> None:
    parsed = read_yes_no(text)
    assert parsed.value is expected
    assert parsed.outcome == (UNPARSABLE if expected is None else "answered")


# ---------------------------------------------------------------- JSON

MENDED = "the JSON was malformed and has been mended"


@pytest.mark.parametrize(
    ("text", "value", "why"),
    [
        ('{"ids": [3, 5]}', {"ids": [3, 5]}, ""),
        ("[1, 2]", [1, 2], ""),
        ("12", 12, ""),
        ("null", None, ""),
        ('{"a": ""}', {"a": ""}, ""),  # empty because it says so
        ('```json\n{"a": 1}\n```', {"a": 1}, ""),
        ('Sure:\n```\n{"a": 1}\n```\nHope that helps!', {"a": 1}, ""),
        ('```\n[1]\n```\nor rather\n```json\n{"b": 1}\n```', {"b": 1}, ""),  # the last of several
        ('Sure: {"ids": [3]} as you asked', {"ids": [3]}, ""),
        ('The [chair] is at {"x": [1, 2]}', {"x": [1, 2]}, ""),
        ('<think>{"a": 1}</think>{"a": 2}', {"a": 2}, ""),
        ("{'a': 1,}", {"a": 1}, MENDED),
        ("{a: 1}", {"a": 1}, MENDED),
        ("{'a': ''}", {"a": ""}, MENDED),
        ('{"ids": [1, 2', {"ids": [1, 2]}, MENDED),
        ("So {'ids': [1, 2]}.", {"ids": [1, 2]}, MENDED),  # not the sound list within
        ('```json\n{"ids": [1, 2],\n```', {"ids": [1, 2]}, MENDED),
    ],
)
def test_json(text: str, value: object, why: str) -> None:
    assert read_json(text) == Parsed(value, "answered", why)


@pytest.mark.parametrize(
    "text",
    ["", "no JSON here", '"', '{"ids": }', '{"a": NaN}', "{see above}", "[see here]", "[3 chairs]", "[", "{"],
)
def test_what_json_repair_makes_up_is_unparsable(text: str) -> None:
    parsed = read_json(text)
    assert (parsed.value, parsed.outcome) == (None, UNPARSABLE) and parsed.why


# ---------------------------------------------------------------- all of them

PIECES = (
    "<OBJ012> <OBJ object objects ids 3 12. 2024 , and or [ ] { } ( ) # * ` \" ' : = - – / . % \n m one half a dozen",
    "hundred point two no none there is are the answer B A C) not yes <think> </think> <answer> </answer> \\boxed{ ½ ²",
    "١ İ ''' ``` ```json null NaN 1e9 .5 $",
)
MODEL_TEXT = st.lists(
    st.sampled_from([piece for line in PIECES for piece in line.split(" ")]) | st.text(max_size=6), max_size=40
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(MODEL_TEXT | st.text(max_size=200))
@example("<think>" * 3000)
@example("objects " + "1, " * 3000)
@example("[" + "1," * 3000)
@example("hundred " * 2000)
@example("one \n one")
@example("[" * 9000)
def test_no_text_makes_a_reader_raise_and_none_is_answered_without_a_value(text: str) -> None:
    for parsed in (
        read_ids(text, KNOWN),
        read_number(text),
        read_option(text),
        read_option(text, ["two", "none", "the answer"]),
        read_yes_no(text),
    ):
        assert (parsed.outcome == "answered") == (parsed.value is not None)
        assert parsed.outcome in ("answered", UNPARSABLE, REFUSED)
        assert (parsed.why == "") == (parsed.outcome == "answered") and "\n" not in parsed.why
    assert read_json(text).outcome in ("answered", UNPARSABLE, REFUSED)


@pytest.mark.parametrize("outcome", ["refused", "truncated", "failed"])
def test_a_reply_that_is_none_is_not_read(outcome: ReplyOutcome) -> None:
    reply = Reply("The answer is 3", outcome, "model", why="because")
    assert read_reply(reply, read_number) == Parsed(None, outcome, "because")
    assert read_reply(Reply("The answer is 3", "answered", "model"), read_number).value == 3


def test_reasoning_is_left_out() -> None:
    assert answer_part("a<think>b</think>c<thinking>d</thinking>e") == "ace"
    assert answer_part("b</think> c") == "c"
    assert answer_part("x<think>a</think>b</think> c") == "c"
    assert answer_part("c <think> b") == "c"
