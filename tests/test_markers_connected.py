"""Connected parts: the one place that says who hangs together with whom."""

import numpy as np

from markers.connected import connected, connected_of_label

CHAIN = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [5, 6]])


def test_nodes_that_pairs_join_are_one_part() -> None:
    part = connected(CHAIN, 8)
    assert len(set(part[:5])) == 1 and part[5] == part[6] and len(set(part[[0, 5, 7]])) == 3


def test_labels_cut_a_chain_and_negative_ones_leave_out() -> None:
    part = connected_of_label(CHAIN, np.array([4, 4, -1, 4, 4, 9, 9, -3]))
    assert part[0] == part[1] and part[3] == part[4] and part[5] == part[6]
    assert sorted(set(part[[0, 3, 5]])) == [0, 1, 2] and (part[[2, 7]] == -1).all()
    part = connected_of_label(CHAIN, np.array([1, 1, 2, 2, 1, 1, 2, 2]))
    assert sorted(part) == [0, 0, 1, 1, 2, 3, 4, 5]


def test_nothing_and_nothing_left() -> None:
    none = np.zeros((0, 2), np.int32)
    assert connected(none, 0).tolist() == [] and connected_of_label(none, np.zeros(0, int)).tolist() == []
    assert connected_of_label(CHAIN, np.full(8, -1)).tolist() == [-1] * 8
    assert connected_of_label(none, np.array([3, 3])).tolist() == [0, 1]
