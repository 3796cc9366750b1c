"""Mean relative accuracy of numbers, as VSI-Bench defines it and as SPAR-Bench varies it.

The comparisons are those of the benchmarks' own code, in float64 and in its order of operations: 1 - linspace(...) is
not 0.05, 0.1 and so on to the last bit, so that an algebraic equal would score some answers otherwise.
"""

import numpy as np

TOLERATED: np.ndarray = 1 - np.linspace(0.5, 0.95, 10)
"""(10,) float64: how large a relative error may be, for each threshold of confidence; from 0.5 down to 0.05."""


def mean_relative_accuracy(found: np.ndarray | float, true: np.ndarray | float) -> np.ndarray:
    """For which share of the thresholds the relative error is small enough, by VSI-Bench's rule.

    `mean_relative_accuracy` of vision-x-nyu/thinking-in-space, commit 51e089c, lmms_eval/tasks/vsibench/utils.py; the
    copies in VITA-Group/VLM-3R and lmms-eval are the same. Its error is |found - true| / true, without a second
    absolute value, so that a negative truth gives every number full marks. The paper has < where the code has <=.

    A truth of 0 raises an error there. Here only an answer of exactly 0 then is right, which is what the rule tends to.

    Args:
        found, true: (...) of shapes that go together. NaN, which is also what cannot be read, scores 0.

    Returns:
        (...) float64, 0 to 1.
    """
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    with np.errstate(all="ignore"):
        score = _share_tolerated(np.abs(found - true) / true)
    return np.where(true == 0, np.where(found == 0, 1.0, 0.0), score)


def mean_relative_accuracy_spar(found: np.ndarray | float, true: np.ndarray | float) -> np.ndarray:
    """The same by SPAR-Bench's rule: with the absolute value of the quotient, and an absolute error for a truth of 0.

    `abs_dist_norm` and `mean_relative_accuracy` of fudan-zvg/spar, commit 1679885,
    lmms-eval/lmms_eval/tasks/sparbench/utils.py.
    """
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    with np.errstate(all="ignore"):
        difference = found - true
        return _share_tolerated(np.where(true == 0, np.abs(difference), np.abs(difference / true)))


def _share_tolerated(error: np.ndarray) -> np.ndarray:
    return (error[..., None] <= TOLERATED).mean(axis=-1)
