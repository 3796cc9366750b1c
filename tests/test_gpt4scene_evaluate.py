"""Which questions are drawn, how they are put, and what of them two models must share."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fake_benchmark
import pytest
from fake_benchmark import ROWS, box_objects, write_questions

from bev.errors import UserError
from gpt4scene.asking import Showing
from gpt4scene.benchmarks.sample import BenchmarkSample
from gpt4scene.evaluate import answer_questions, check_scoring, plan_questions, score_answers, scored_text
from gpt4scene.evaluation.evaluation import official_words, open_split, with_scenes
from gpt4scene.evaluation.prepared_scenes import find_scenes
from gpt4scene.evaluation.requests import Put, Wording, put_questions
from gpt4scene.evaluation.run import prompt_version, question_key
from gpt4scene.evaluation.subset import part_of
from gpt4scene.prompting.questions import Question
from gpt4scene.vlm.cache import AnswerCache
from gpt4scene.vlm.protocol import Price, ViewSize
from gpt4scene.vlm.replay import ReplayVLM

pytest_plugins = ["fake_benchmark"]
pytestmark = pytest.mark.usefixtures("fake")
SIZE = ViewSize(560, 420, 28)


def _samples(count: int = 300) -> list[BenchmarkSample]:
    """Of three types, one of them rare, about ten scenes."""
    kinds = ["often"] * 6 + ["now and then"] * 3 + ["rarely"]
    return [
        BenchmarkSample(f"id-{i}", f"room{i % 7}", Question(f"What {i}?"), kinds[i % 10], ("a",)) for i in range(count)
    ]


def _ids(samples: list[BenchmarkSample]) -> list[str]:
    return [sample.id for sample in samples]


def test_a_subset_does_not_depend_on_the_order_of_the_file() -> None:
    samples = _samples()
    drawn, scope = part_of(samples, limit=50, seed=3)
    shuffled = random.Random(0).sample(samples, len(samples))
    assert set(_ids(part_of(shuffled, limit=50, seed=3)[0])) == set(_ids(drawn))
    assert _ids(drawn) == [id for id in _ids(samples) if id in set(_ids(drawn))]  # in the order of the file
    assert scope.text() == "50 of 300 questions (seed 3)"
    assert set(_ids(part_of(samples, limit=50, seed=4)[0])) != set(_ids(drawn))


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    samples = _samples()
    held: set[str] = set()
    for limit in (1, 2, 5, 17, 100, 299, 300):
        drawn = set(_ids(part_of(samples, limit=limit, seed=1)[0]))
        assert held <= drawn and len(drawn) == limit
        held = drawn


def test_a_subset_holds_each_type_as_all_questions_do() -> None:
    samples = _samples()
    for seed in range(20):
        kinds = Counter(sample.kind for sample in part_of(samples, limit=50, seed=seed)[0])
        assert abs(kinds["often"] - 30) <= 1 and abs(kinds["now and then"] - 15) <= 1 and abs(kinds["rarely"] - 5) <= 1
    # of a single question, any type may be
    first = Counter(part_of(samples, limit=1, seed=seed)[0][0].kind for seed in range(200))
    assert first["often"] > first["now and then"] > first["rarely"] > 0


def test_every_question_is_as_likely_in_a_subset() -> None:
    samples = _samples(40)
    counts = Counter(id for seed in range(400) for id in _ids(part_of(samples, limit=10, seed=seed)[0]))
    assert set(counts) == set(_ids(samples))
    assert all(60 < count < 145 for count in counts.values())  # 100 on average


def test_all_questions_are_all_and_a_limit_must_be_one() -> None:
    samples = _samples(5)
    drawn, scope = part_of(samples, limit=9)
    assert _ids(drawn) == _ids(samples) and scope.text() == "" and scope.seed is None
    with pytest.raises(UserError, match="--limit 0: must be 1 or more"):
        part_of(samples, limit=0)


def test_scenes_are_left_out_before_questions_are_drawn_and_that_is_said() -> None:
    samples = _samples(70)
    drawn, scope = part_of(samples, limit=30, without_scenes={"room1", "room2", "elsewhere"})
    assert len(drawn) == 30 and not {sample.scene for sample in drawn} & {"room1", "room2"}
    assert scope.without_scenes == ("room1", "room2")
    assert scope.text() == "30 of 70 questions (seed 0), without 2 scenes that were not there"
    assert (
        part_of(samples, without_scenes={"room1"})[1].text().startswith("60 of 70 questions, without 1 scene that was")
    )
    with pytest.raises(UserError, match="no question is left"):
        part_of(samples, without_scenes={f"room{i}" for i in range(7)})


def test_scenes_are_found_by_name_and_below_their_dataset(tmp_path: Path, prepared: Path) -> None:
    samples = open_split("fake", write_questions(tmp_path / "data")).samples
    found = find_scenes(samples, prepared)
    assert found.folders == {"room_a": prepared / "room_a", "room_b": prepared / "sets" / "room_b"}
    strays = [
        replace(samples[0], scene=name) for name in (f"../{prepared.name}/room_a", "", "..", "/etc", "sets/room_b")
    ]
    assert set(find_scenes(strays, prepared).missing) == {f"../{prepared.name}/room_a", "", "..", "/etc"}


def _puts(prepared: Path, rows: list[dict], tmp_path: Path, *, size: ViewSize = SIZE, **how) -> list[Put]:
    evaluation = with_scenes(open_split("fake", write_questions(tmp_path / "data", rows)), prepared)
    objects = how.pop("objects", None)
    return put_questions(evaluation.samples, evaluation.folders, size, wording=Wording(**how), objects=objects)


def test_questions_share_a_scene_s_images_and_keep_their_order(tmp_path: Path, prepared: Path) -> None:
    rows = [ROWS[0], ROWS[2], ROWS[1]]
    puts = _puts(prepared, rows, tmp_path)
    assert [put.sample.id for put in puts] == ["q1", "q3", "q2"]
    asked = [put.request.conversation for put in puts if put.request]
    assert asked[0].prefix_key() == asked[2].prefix_key() and len(asked[0].images) == 3
    assert "What is red?" in asked[0].messages[-1].text and "single word" in asked[0].messages[-1].text
    assert puts[0].image_key == puts[2].image_key and puts[0].known_ids == {1, 2, 3, 4, 5}


def test_models_of_another_size_see_the_same_and_read_the_same(tmp_path: Path, prepared: Path) -> None:
    """The metres in the system message differ by a rounding of the image's sides."""
    small, large = (_puts(prepared, list(ROWS), tmp_path, size=size) for size in (SIZE, ViewSize(1024, 768, 32)))
    told = {put.request.conversation.messages[0].text for put in (*small, *large) if put.request}
    assert len(told) > 1
    for one, other in zip(small, large, strict=True):
        assert (one.question_key, one.image_key) == (other.question_key, other.image_key)
        assert one.request and other.request
        assert one.request.conversation.prefix_key() != other.request.conversation.prefix_key()


@pytest.mark.parametrize(
    ("showing", "words"),
    [
        (Showing(marks=False), True),
        (Showing(bev=False), True),
        (Showing(drop_marks_share=0.5), False),
        (Showing(frame_detail="low"), False),
        (Showing(preset="paper"), None),
    ],
)
def test_what_is_shown_otherwise_has_another_key(
    tmp_path: Path, prepared: Path, showing: Showing, words: bool | None
) -> None:
    rows = [ROWS[0]]
    if words is None:  # two frames are too few for it
        with pytest.raises(UserError, match="preset paper shows 8 frames"):
            _puts(prepared, rows, tmp_path, showing=showing)
        return
    plain, other = _puts(prepared, rows, tmp_path)[0], _puts(prepared, rows, tmp_path, showing=showing)[0]
    assert plain.image_key != other.image_key and (plain.question_key != other.question_key) == words


def test_a_scene_that_was_made_anew_of_the_same_capture_is_the_same(tmp_path: Path, prepared: Path) -> None:
    from gpt4scene.asking import show_scene
    from gpt4scene.evaluation.requests import image_key
    from gpt4scene.scene.scene import load_scene

    scene = load_scene(prepared / "room_a")
    shown = show_scene(scene, SIZE, showing=Showing(), folder=None)
    again = replace(scene, run=replace(scene.run, seconds={"fuse": 9.0}))
    other = replace(scene, instances=(replace(scene.instances[0], label="desk"), *scene.instances[1:]))
    keys = [image_key(each, shown, Showing()) for each in (scene, again, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_prompt_version_is_over_ids_and_texts_in_any_order() -> None:
    samples = _samples(3)
    keys = [question_key("system", str(i)) for i in range(3)]
    assert prompt_version(samples, keys) == prompt_version(samples[::-1], keys[::-1])
    assert prompt_version(samples, keys) != prompt_version(samples, keys[::-1])
    assert prompt_version(samples, [*keys[:2], ""]) == ""
    assert question_key("a", "bc") != question_key("ab", "c")


def test_captions_ask_for_the_scene_s_own_number(tmp_path: Path, prepared: Path) -> None:
    rows = [{"id": f"c{i}", "scene": "room_a", "object": 100 + i, "answer": "x"} for i in (1, 0, 9)]
    puts = _puts(prepared, rows, tmp_path, objects={"room_a": box_objects()})
    assert [put.question.object_id for put in puts[:2]] == [2, 1]
    assert puts[0].request and "<OBJ002>" in puts[0].request.conversation.messages[-1].text
    assert puts[2].request is None and puts[2].why == "the scene's annotation holds no object 109"
    far = _puts(prepared, rows[:1], tmp_path, objects={"room_a": box_objects(shift_m=50)})
    assert far[0].request is None and "no object of the scene overlaps the annotated object 101" in far[0].why
    with pytest.raises(UserError, match=r"val.jsonl, row 1: asks for an object.*--scans"):
        _puts(prepared, rows[:1], tmp_path)
    with pytest.raises(UserError, match="the images carry no numbers"):
        _puts(prepared, rows[:1], tmp_path, objects={"room_a": box_objects()}, showing=Showing(marks=False))


def test_a_number_that_no_image_shows_cannot_be_asked_for(tmp_path: Path, prepared: Path) -> None:
    rows = [{"id": f"c{i}", "scene": "room_a", "object": 100 + i, "answer": "x"} for i in range(5)]
    objects = {"room_a": box_objects()}
    puts = _puts(prepared, rows, tmp_path, objects=objects, showing=Showing(drop_marks_share=0.5))
    plain = _puts(prepared, rows, tmp_path, objects=objects)
    hidden = [put for put in puts if put.request is None]
    assert hidden and all("none of the images shows the number of object" in put.why for put in hidden)
    # and the words would be the same, so that another model may be compared that is shown the number
    assert [put.question_key for put in puts] == [put.question_key for put in plain]


def test_an_empty_question_is_told_by_its_row(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(UserError, match=r"val.jsonl, row 2: the question is empty"):
        _puts(prepared, [ROWS[0], ROWS[1] | {"question": " "}], tmp_path)


def test_images_of_a_question_s_own_need_no_scene(tmp_path: Path, prepared: Path) -> None:
    import cv2
    import numpy as np

    root = tmp_path / "data"
    root.mkdir()
    cv2.imwrite(str(root / "a.png"), np.zeros((20, 30, 3), np.uint8))
    rows = [{"id": "i1", "image": "a.png", "question": "What is it?", "answer": "black"}]
    evaluation = with_scenes(open_split("fake", write_questions(root, rows)), None)
    (put,) = put_questions(evaluation.samples, {}, SIZE, wording=Wording())
    assert put.request and [m.role for m in put.request.conversation.messages] == ["user"]
    assert len(put.request.conversation.images) == 1 and put.image_key and put.question_key
    official = put_questions(evaluation.samples, {}, SIZE, wording=Wording(official=official_words(evaluation)))
    assert official[0].request and official[0].request.conversation.messages[-1].text == "OFFICIAL What is it?"


def test_questions_about_scenes_need_them(tmp_path: Path) -> None:
    opened = open_split("fake", write_questions(tmp_path / "data"))
    with pytest.raises(UserError, match="say with --scenes"):
        with_scenes(opened, None)
    with pytest.raises(UserError, match="no such folder"):
        with_scenes(opened, tmp_path / "nowhere")


def test_reasoning_is_left_out_where_it_is_marked_and_all_else_is_scored_as_it_is() -> None:
    assert scored_text("<think>B or A?</think>\nA") == "A"
    assert scored_text("Hm. <answer> A </answer>") == "A"
    assert scored_text(" “A.” \n") == " “A.” \n"


def test_scoring_is_tried_before_anything_is_asked(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = with_scenes(open_split("fake", write_questions(tmp_path / "data")), prepared)
    check_scoring(evaluation)
    monkeypatch.setattr(fake_benchmark, "NEEDS_OBJECTS", True)
    with pytest.raises(UserError, match="needs objects"):
        check_scoring(evaluation)


def test_a_model_s_answers_become_a_run_for_each_protocol(tmp_path: Path, prepared: Path) -> None:
    script = tmp_path / "r.jsonl"
    lines = [
        {"match": "red", "reply": "Table", "usage": {"input_tokens": 10, "output_tokens": 2}},
        {"match": "green", "reply": "<think>...</think>stool"},
        {"match": "many", "reply": "", "outcome": "refused"},
        {"match": "high", "reply": "?"},
    ]
    script.write_text("\n".join(json.dumps(line) for line in lines))
    opened = open_split("fake", write_questions(tmp_path / "data"), protocols=["exact", "lenient"])
    evaluation = with_scenes(opened, prepared)
    wording, model = Wording(), ReplayVLM("replay:r", script)
    seen = []
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        planned = plan_questions(evaluation, model, cache, wording=wording)
        assert (planned.plan.to_send, planned.plan.cached) == (4, 0)
        answered = answer_questions(planned, cache, on_kept=lambda s, p, k: seen.append((s.id, p.text, k.cached)))
        exact, lenient = score_answers(evaluation, answered, wording=wording)
        again = answer_questions(planned, cache)
    assert sorted(seen) == [("q1", "Table", False), ("q2", "stool", False), ("q3", "", False), ("q4", "?", False)]
    assert (exact.report.value("EM"), lenient.report.value("EM")) == (25.0, 50.0)
    assert exact.report.unanswered == ("q3",) and exact.report.unparsed == ("q4",)
    assert exact.model == "replay:r" and exact.cost_usd == 0.0 and len(exact.prompt_version) == 12
    assert exact.usage and (exact.usage.input_tokens, exact.usage.output_tokens) == (10, 2)
    assert exact.scope == "" and exact.showing["preset"] == "default" and exact.answered_by == ("replay:r",)
    assert [p.outcome for p in exact.predictions] == ["answered", "answered", "refused", "answered"]
    assert again.asked.sent == 0 and again.predictions == answered.predictions


def test_a_reply_that_declines_in_words_is_a_refusal(tmp_path: Path, prepared: Path) -> None:
    script = tmp_path / "r.jsonl"
    lines = [
        {"match": "red", "reply": "I'm sorry, but I can't help with that."},
        {"match": "green", "reply": "The stool. " + "It stands there. " * 8 + "I cannot help with more."},
        {"match": "", "reply": "table"},
    ]
    script.write_text("\n".join(json.dumps(line) for line in lines))
    evaluation = with_scenes(open_split("fake", write_questions(tmp_path / "data")), prepared)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        planned = plan_questions(evaluation, ReplayVLM("replay:r", script), cache, wording=Wording())
        answered = answer_questions(planned, cache)
    assert [p.outcome for p in answered.predictions] == ["refused", "answered", "answered", "answered"]
    assert answered.answers[0]["why"] == "the reply declines: I'm sorry, but I can't help with that."
    (run,) = score_answers(evaluation, answered, wording=Wording())
    assert run.report.unanswered == ("q1",)


def test_equal_questions_are_paid_once(tmp_path: Path, prepared: Path) -> None:
    script = tmp_path / "r.jsonl"
    script.write_text(json.dumps({"reply": "table", "usage": {"input_tokens": 1_000_000, "output_tokens": 0}}))
    rows = [ROWS[0], ROWS[0] | {"id": "twin"}, ROWS[1]]
    evaluation = with_scenes(open_split("fake", write_questions(tmp_path / "data", rows)), prepared)
    model = ReplayVLM("replay:r", script)
    model.price = Price(2.0, 2.0, 2.0, 2.0, "2026-01-01")
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        planned = plan_questions(evaluation, model, cache, wording=Wording())
        for _ in range(2):  # the second time from the cache: what answers have cost, not what asking again does
            answered = answer_questions(planned, cache)
            assert [answer["cost_usd"] for answer in answered.answers] == [2.0, 0.0, 2.0]
            assert score_answers(evaluation, answered, wording=Wording())[0].cost_usd == 4.0
