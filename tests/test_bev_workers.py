"""Frames side by side: in order, each on one core of torch's, and torch as it was afterwards."""

import threading
import time

import pytest

from bev.errors import UserError, require
from bev.workers import each_in_torch

torch = require("torch", "video")


def test_results_come_in_order_whoever_is_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.05 * (item == 0))
        return item * item

    assert each_in_torch(slow_at_first, range(20), "square", device="cpu", show=False) == [i * i for i in range(20)]
    assert each_in_torch(slow_at_first, [], "square", device="cpu", show=False) == []


def test_every_worker_has_one_core_and_no_gradients() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # an operation makes a thread take the number over
        told = each_in_torch(
            lambda _: (torch.ones(9).sum(), torch.get_num_threads(), torch.is_inference_mode_enabled())[1:],
            range(4),
            "look",
            device="cpu",
            show=False,
        )
        assert told == [(1, True)] * 4
        assert torch.get_num_threads() == 2 and not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(before)


def test_a_failure_ends_it_and_is_told() -> None:
    before, done = torch.get_num_threads(), []

    def fail_at_three(item: int) -> None:
        if item == 3:
            raise UserError("frame 3: does not decode")
        time.sleep(0.01)
        done.append(item)

    with pytest.raises(UserError, match="frame 3"):
        each_in_torch(fail_at_three, range(500), "read", device="cpu", show=False)
    assert len(done) < 100
    assert torch.get_num_threads() == before
    assert threading.active_count() < 50


def test_on_a_gpu_frames_come_one_by_one() -> None:
    names = each_in_torch(lambda _: threading.current_thread().name, range(3), "look", device="cuda:0", show=False)
    assert names == [threading.main_thread().name] * 3
