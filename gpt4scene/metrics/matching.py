"""Several boxes against several: one-to-one pairs of the greatest overlap, and the F1 score of those that overlap."""

from collections.abc import Sequence

import numpy as np


def matched_f1(ious: np.ndarray, iou_mins: Sequence[float] = (0.25, 0.5)) -> tuple[float, ...]:
    """F1 of found boxes that are paired with true ones so that the sum of all overlaps is greatest.

    A pair counts where it overlaps by `iou_min` or more. That sum decides, not how many pairs count: where a better
    overlap of one box keeps two others apart, so be it. The pairs are made on float32 numbers in a square matrix, as by
    `Multi3DReferEvaluator.evaluate_one_query` of M3DRef-CLIP, commit babfcc4, and those who have it from there.

    Args:
        ious: (n, m) overlap of n found boxes with m true ones, each in its order: it decides between equal sums.
        iou_mins: thresholds.

    Returns:
        For each threshold 0 to 1; 1 where there is nothing to be found and nothing was found, for which that code
        divides by zero.
    """
    from scipy.optimize import linear_sum_assignment

    found, true = ious.shape
    if found + true == 0:
        return tuple(1.0 for _ in iou_mins)
    square = np.zeros((max(found, true),) * 2, np.float32)
    square[:found, :true] = np.nan_to_num(ious)
    rows, columns = linear_sum_assignment(-square)
    paired = square[rows, columns][:found]
    return tuple(2 * int((paired >= iou_min).sum()) / (found + true) for iou_min in iou_mins)
