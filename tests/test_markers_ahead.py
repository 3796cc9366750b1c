"""Work done ahead: in order, not too far, and over when nobody asks any more."""

import threading
from collections.abc import Iterator

import pytest

from markers.ahead import done_ahead


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_results_come_in_the_order_of_the_items(threads: int, ahead: int) -> None:
    assert list(done_ahead(lambda k: k * k, range(7), ahead=ahead, threads=threads)) == [k * k for k in range(7)]
    assert list(done_ahead(lambda k: k, [], ahead=ahead, threads=threads)) == []


def test_no_more_wait_than_allowed_and_items_are_asked_for_here() -> None:
    asked, here = [], threading.current_thread()

    def items() -> Iterator[int]:
        for k in range(10):
            assert threading.current_thread() is here
            asked.append(k)
            yield k

    results = done_ahead(lambda k: threading.current_thread() is here, items(), ahead=3)
    assert next(results) is False and asked == [0, 1, 2]
    assert next(results) is False and asked == [0, 1, 2, 3]


def test_an_error_comes_when_it_is_its_items_turn_and_ends_the_threads() -> None:
    results = done_ahead(lambda k: 6 // (2 - k), range(5), ahead=3, threads=2)
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not _threads()


def test_the_threads_end_when_the_caller_stops_asking() -> None:
    results = done_ahead(lambda k: k, range(100), ahead=4, threads=2)
    assert next(results) == 0 and _threads()
    del results
    assert not _threads()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
