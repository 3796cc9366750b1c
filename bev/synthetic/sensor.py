"""What a depth sensor and a phone's camera make of a perfect picture: noise, holes, exposure."""

import cv2
import numpy as np

NEAR_M, FAR_M = 0.4, 4.5
DISPARITY_STEP = 0.0028
"""metres of depth per square metre between two neighbouring disparities of a structured-light sensor."""


def axial_noise_m(depth: np.ndarray) -> np.ndarray:
    """Standard deviation of depth noise, metres.

    The shape is that of Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise" (3DIMPVT 2012).
    """
    return 0.001 + 0.0018 * np.square(depth)


def sensed_depth(depth: np.ndarray, cosine: np.ndarray, returns: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Depth as a structured-light sensor gives it.

    Pixels jitter sideways at edges, noise grows with the square of the distance, values fall on disparities, and what
    is too near, too far, seen at a grazing angle, on an edge, glossy, dark or transparent returns nothing.

    Args:
        depth: (H, W) float32 metres, 0 = none.
        cosine: (H, W) float32: between the ray and the surface's normal.
        returns: (H, W) float32: share of the light that the material sends back.
        rng: chance.

    Returns:
        (H, W) float32 metres, 0 = none.
    """
    height, width = depth.shape
    shift = np.rint(rng.standard_normal((2, height, width), dtype=np.float32) * 0.5).astype(np.int32)
    rows = np.clip(np.arange(height)[:, None] + shift[0], 0, height - 1)
    columns = np.clip(np.arange(width)[None] + shift[1], 0, width - 1)
    # only edges jitter: a shift on a slope would add noise that is not the sensor's
    edge = _edges(depth)
    z = np.where(edge, depth[rows, columns], depth)
    noisy = z + rng.standard_normal(z.shape, dtype=np.float32) * axial_noise_m(z)
    positive = np.maximum(noisy, 0.05)
    stepped = 1 / (DISPARITY_STEP * np.maximum(np.rint(1 / (DISPARITY_STEP * positive)), 1))
    chance = returns * np.clip((cosine - 0.12) / 0.16, 0, 1)
    chance = np.where(edge, chance * 0.55, chance)
    # holes come in blobs: coarse noise decides together with single pixels
    coarse = rng.random((height // 12 + 2, width // 12 + 2), dtype=np.float32)
    blobs = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    luck = 0.65 * blobs + 0.35 * rng.random((height, width), dtype=np.float32)
    seen = (z > NEAR_M) & (noisy < FAR_M) & ((luck < chance) | (chance > 0.985))
    seen &= rng.random((height, width), dtype=np.float32) > 0.004
    return np.where(seen, stepped, 0).astype(np.float32)


def photographed(color: np.ndarray, *, time: float, phase: float, rng: np.random.Generator) -> np.ndarray:
    """A colour image with drifting exposure and white balance, a little vignetting and noise.

    Args:
        color: (H, W, 3) float32, 0..255.
        time: 0..1 through the film: exposure drifts slowly, with a little flicker.
        phase: 0..1, of the film.
        rng: chance.

    Returns:
        (H, W, 3) float32.
    """
    height, width = color.shape[:2]
    gain = 1 + 0.1 * np.sin(2 * np.pi * (2.1 * time + phase)) + rng.normal(0, 0.015)
    warmth = 0.025 * np.sin(2 * np.pi * (1.3 * time + 2 * phase))
    x = (np.arange(width, dtype=np.float32) - width / 2) / (width / 2)
    y = (np.arange(height, dtype=np.float32) - height / 2) / (width / 2)
    vignette = 1 - 0.09 * (x[None] ** 2 + y[:, None] ** 2)
    factors = (gain * vignette)[..., None] * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    return color * factors.astype(np.float32) + 2 * rng.standard_normal(color.shape, dtype=np.float32)


def _edges(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels within about one of a jump of more than 3 %."""
    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    return high - low > 0.03 * np.maximum(depth, 0.1)
