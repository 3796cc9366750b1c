"""Detections of a synthetic film: its true masks, and what real detectors do to them."""

from collections.abc import Mapping

import cv2
import numpy as np
import supervision as sv

from bev.synthetic import Film


def true_detections(film: Film, *, min_px: int = 20) -> dict[int, sv.Detections]:
    """Every object's visible pixels in every frame, dense."""
    labels = {item.id: item.label for item in film.room.objects}
    found = {}
    for frame in film.scan.frames:
        ids = film.instance_ids(frame.index)
        shown, px = np.unique(ids[ids >= 0], return_counts=True)
        shown = shown[px >= min_px]
        found[frame.index] = as_detections(ids[None] == shown[:, None, None], [labels[i] for i in shown.tolist()])
    return found


def as_detections(masks: np.ndarray, labels: list[str], confidence: float = 0.9) -> sv.Detections:
    if not len(masks):
        return sv.Detections.empty()
    names = sorted(set(labels))
    return sv.Detections(
        xyxy=sv.mask_to_xyxy(masks).astype(np.float64) + [0, 0, 1, 1],
        mask=masks,
        confidence=np.full(len(masks), confidence),
        class_id=np.array([names.index(label) for label in labels]),
        data={"class_name": np.array(labels)},
    )


def with_noise(
    detections: Mapping[int, sv.Detections],
    *,
    seed: int,
    dropped: float = 0.3,
    dilated_px: int = 9,
    relabelled: float = 0.2,
    joined: float = 0.05,
) -> dict[int, sv.Detections]:
    """Masks dropped, their edges bleeding, labels swapped, and some joined with the nearest of their neighbours."""
    rng = np.random.default_rng(seed)
    vocabulary = sorted({str(n) for each in detections.values() if len(each) for n in each.data["class_name"]})
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilated_px + 1,) * 2)
    noisy = {}
    for index, each in detections.items():
        if not len(each):
            noisy[index] = each
            continue
        masks, labels = list(each.mask), [str(n) for n in each.data["class_name"]]
        gone = set()
        for row in range(len(masks)):
            if rng.random() < joined and row not in gone:
                near = cv2.dilate(masks[row].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                others = [o for o in range(len(masks)) if o != row and o not in gone and (masks[o] & near).any()]
                if others:
                    other = others[int(rng.integers(len(others)))]
                    masks[row] = masks[row] | masks[other]
                    gone.add(other)
        kept = [r for r in range(len(masks)) if r not in gone and rng.random() >= dropped]
        names = [
            vocabulary[int(rng.integers(len(vocabulary)))] if rng.random() < relabelled else labels[r] for r in kept
        ]
        grown = (
            [cv2.dilate(masks[r].astype(np.uint8), kernel) > 0 for r in kept]
            if dilated_px
            else [masks[r] for r in kept]
        )
        noisy[index] = as_detections(np.array(grown), names) if kept else sv.Detections.empty()
    return noisy
