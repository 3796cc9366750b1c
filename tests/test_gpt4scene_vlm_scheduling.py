"""The order in which questions go out: scene after scene, one ahead where a discount is to be had."""

from collections.abc import Sequence

import pytest

from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.protocol import Request
from gpt4scene.vlm.scheduling import Schedule, grouped


def request(scene: str, question: str = "What?", max_new_tokens: int = 512) -> Request:
    images = tuple(Image(f"{scene}{i}.jpg", data=f"{scene}{i}".encode()) for i in range(2))
    said = Message("user", (*images, Text(question)))
    return Request(Conversation((Message("system", (Text("Look."),)), said)), max_new_tokens=max_new_tokens)


def rounds(schedule: Schedule) -> list[list[tuple[int, ...]]]:
    """What goes out together when every answer takes equally long."""
    found = []
    while True:
        sent = list(iter(schedule.next, None))
        if not sent:
            return found
        found.append(sent)
        for batch in sent:
            schedule.ended(batch)


def numbered(*sizes: int) -> list[list[int]]:
    """Groups of so many questions, numbered through."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def flat(batches: Sequence[tuple[int, ...]]) -> list[int]:
    return [question for batch in batches for question in batch]


def test_interleaved_scenes_are_put_together_in_the_order_in_which_they_appear() -> None:
    requests = [request(scene, f"{i}?") for i, scene in enumerate("babcacab")]
    assert grouped(requests) == [[0, 2, 7], [1, 4, 6], [3, 5]]


def test_parameters_part_a_scene_but_keep_it_together() -> None:
    requests = [request("a"), request("b"), request("a", max_new_tokens=8), request("a", "Where?")]
    assert grouped(requests) == [[0, 3], [2], [1]]


def test_without_a_discount_all_slots_are_taken_at_once_in_order() -> None:
    sent = rounds(Schedule(numbered(5, 1, 4), in_flight=4))
    assert sent == [[(0,), (1,), (2,), (3,)], [(4,), (5,), (6,), (7,)], [(8,), (9,)]]


def test_batches_never_mix_groups() -> None:
    sent = rounds(Schedule(numbered(5, 1, 4), batch_size=3))
    assert [batch for together in sent for batch in together] == [(0, 1, 2), (3, 4), (5,), (6, 7, 8), (9,)]


def test_with_a_discount_one_question_goes_ahead_and_other_scenes_fill_the_slots() -> None:
    schedule = Schedule(numbered(4, 4, 4), in_flight=8, prefix_discount=True)
    first = list(iter(schedule.next, None))
    assert first == [(0,), (4,), (8,)]
    schedule.ended((4,))
    assert list(iter(schedule.next, None)) == [(5,), (6,), (7,)]
    schedule.ended((0,))
    assert list(iter(schedule.next, None)) == [(1,), (2,), (3,)]


def test_the_earlier_scene_goes_first_whichever_answers_first() -> None:
    schedule = Schedule(numbered(3, 3), in_flight=2, prefix_discount=True)
    assert (schedule.next(), schedule.next()) == ((0,), (3,))
    schedule.ended((3,))
    schedule.ended((0,))
    assert (schedule.next(), schedule.next()) == ((1,), (2,))


@pytest.mark.parametrize("sizes", [(50,) * 8, (5,) * 60, (1,) * 100, (3, 200, 1, 1, 60, 2)])
def test_with_a_discount_slots_are_idle_only_in_the_first_rounds(sizes: tuple[int, ...]) -> None:
    sent = rounds(Schedule(numbered(*sizes), in_flight=16, prefix_discount=True))
    assert sorted(q for together in sent for q in flat(together)) == list(range(sum(sizes)))
    full = -(-sum(sizes) // 16)
    assert len(sent) <= full + 1


@pytest.mark.parametrize("sizes", [(50,) * 40, (5,) * 60])
def test_a_scene_is_finished_within_a_few_rounds_of_its_beginning(sizes: tuple[int, ...]) -> None:
    groups = numbered(*sizes)
    sent = rounds(Schedule(groups, in_flight=16, prefix_discount=True))
    round_of = {question: i for i, together in enumerate(sent) for question in flat(together)}
    waits = [round_of[group[-1]] - round_of[group[0]] for group in groups]
    assert max(waits) <= max(sizes) / 16 + 4


def test_the_others_of_a_scene_wait_for_its_first() -> None:
    groups = numbered(7, 7, 7)
    sent = rounds(Schedule(groups, in_flight=4, prefix_discount=True))
    round_of = {question: i for i, together in enumerate(sent) for question in flat(together)}
    assert all(round_of[question] > round_of[group[0]] for group in groups for question in group[1:])


def test_a_single_slot_needs_nobody_ahead() -> None:
    sent = rounds(Schedule(numbered(3, 3), in_flight=1, prefix_discount=True))
    assert [batch for together in sent for batch in together] == [(i,) for i in range(6)]
