"""Painters of periodic patterns and of pictures: each gives one tile of a texture."""

from collections.abc import Callable

import cv2
import numpy as np

Paint = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""From a generator and periodic noise (size, size) to a tile, (size, size, 3) float 0..255 RGB."""


def _ramp(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, size) and y (size, 1), 0..1."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[None], line[:, None]


def _streaks(noise: np.ndarray, stretch: int) -> np.ndarray:
    """Fine noise drawn out along x, periodic, standard deviation 1."""
    size = noise.shape[0]
    fine = noise - cv2.GaussianBlur(noise, (0, 0), 5)
    wrapped = cv2.copyMakeBorder(fine, 0, 0, stretch, stretch, cv2.BORDER_WRAP)
    long = cv2.blur(wrapped, (stretch, 1))[:, stretch : stretch + size]
    return long / long.std()


def _tinted(color: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(color, np.float32)[None, None] + amount[..., None].astype(np.float32))


def grain(color: np.ndarray) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        return _tinted(color, _streaks(noise, 56) * 11 + noise * 5)

    return paint


def planks(color: np.ndarray) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        size = noise.shape[0]
        image = _tinted(color, _streaks(noise, 56) * 11 + noise * 5)
        plank = size // 16
        for row in range(16):
            ends = np.sort(rng.integers(0, size, 2))
            band = image[row * plank : (row + 1) * plank]
            tones = rng.normal(0, 13, 2)
            band[:, ends[0] : ends[1]] += tones[0]
            band[:, : ends[0]] += tones[1]
            band[:, ends[1] :] += tones[1]
            band[:, ends] -= 45
            band[0] -= 45
        return image

    return paint


def tiles(color: np.ndarray, count: int) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        size = noise.shape[0]
        tones = rng.normal(0, 9, (count, count)).astype(np.float32) + (np.indices((count, count)).sum(0) % 2) * 26
        image = _tinted(color, cv2.resize(tones, (size, size), interpolation=cv2.INTER_NEAREST) + noise * 9)
        for line in np.linspace(0, size, count, endpoint=False).astype(int):
            image[line : line + 3] = image[:, line : line + 3] = 120
        return image

    return paint


def wallpaper(color: np.ndarray, kind: int) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        x, y = _ramp(noise.shape[0])
        if kind == 0:
            pattern = 9 * np.sign(np.sin(2 * np.pi * 12 * x)) + 0 * y
        elif kind == 1:
            pattern = 12 * (np.sin(2 * np.pi * 10 * x) * np.sin(2 * np.pi * 10 * y) > 0.55)
        else:
            pattern = 0 * (x + y)
        fine = noise - cv2.GaussianBlur(noise, (0, 0), 9)
        return _tinted(color, pattern + fine * 11 + noise * 2.5)

    return paint


def speckle(color: np.ndarray, strength: float) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        fine = noise - cv2.GaussianBlur(noise, (0, 0), 6)
        return _tinted(color, strength * (0.8 * fine / fine.std() + 0.3 * noise))

    return paint


def brushed(color: np.ndarray) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        return _tinted(color, _streaks(noise, 24) * 7)

    return paint


def stripes(color: np.ndarray, contrast: float, count: int) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        _, y = _ramp(noise.shape[0])
        wave = np.sign(np.sin(2 * np.pi * count * y))
        return np.asarray(color, np.float32) * (1 + contrast * wave[..., None]) + noise[..., None] * 6

    return paint


def fabric(color: np.ndarray, kind: int) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        x, y = _ramp(noise.shape[0])
        weave = 7 * np.sin(2 * np.pi * 64 * x) * np.sin(2 * np.pi * 64 * y) + noise * 9
        image = _tinted(color, weave)
        if kind % 4 == 1:
            image += 26 * (np.sin(2 * np.pi * 6 * x) > 0.6)[..., None]
            image -= 26 * (np.sin(2 * np.pi * 6 * y) > 0.6)[..., None]
        elif kind % 4 == 2:
            image[np.broadcast_to(np.sin(2 * np.pi * 8 * y) > 0.3, noise.shape)] += 34
        elif kind % 4 == 3:
            dots = np.sin(2 * np.pi * 9 * x) * np.sin(2 * np.pi * 9 * y) > 0.7
            image[dots] = 255 - np.asarray(color)
        return image

    return paint


def glaze(color: np.ndarray, kind: int) -> Paint:
    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        _, y = _ramp(noise.shape[0])
        image = _tinted(color, noise * 8)
        if kind:
            image[np.broadcast_to(np.sin(2 * np.pi * (2 + kind) * y) > 0.8, noise.shape)] = 255 - np.asarray(color)
        return image

    return paint


def door(color: np.ndarray) -> Paint:
    """A panelled door with its handle."""

    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        size = noise.shape[0]
        image = _tinted(color, _streaks(noise, 40).T * 9 + noise * 3)
        for top, bottom in ((0.06, 0.45), (0.52, 0.94)):
            for left, right in ((0.1, 0.46), (0.54, 0.9)):
                corners = [(int(size * a), int(size * b)) for a, b in ((left, top), (right, bottom))]
                cv2.rectangle(image, corners[0], corners[1], _darker(color, 45), 4)
        cv2.circle(image, (int(size * 0.93), size // 2), size // 40, (190, 190, 195), -1)
        _frame(image, _darker(color, 70), 5)
        return image

    return paint


def drawer(color: np.ndarray) -> Paint:
    """A drawer's or a cupboard door's front with a bar handle."""

    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        size = noise.shape[0]
        image = _tinted(color, _streaks(noise, 40) * 10 + noise * 4)
        _frame(image, _darker(color, 80), 7)
        cv2.rectangle(image, (size * 3 // 8, size // 6), (size * 5 // 8, size // 6 + size // 28), (70, 72, 76), -1)
        return image

    return paint


def fridge(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """A steel front of two doors."""
    size = noise.shape[0]
    image = _tinted(np.array([178, 181, 186]), _streaks(noise, 40) * 6)
    cv2.line(image, (0, size * 3 // 8), (size, size * 3 // 8), (40, 40, 44), 4)
    for top, bottom in ((0.12, 0.34), (0.42, 0.7)):
        cv2.rectangle(image, (size // 12, int(size * top)), (size // 8, int(size * bottom)), (80, 82, 88), -1)
    _frame(image, (70, 70, 74), 4)
    return image


def window(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Sky and trees behind a cross of bars."""
    size = noise.shape[0]
    _, y = _ramp(size)
    image = np.array([178, 210, 240], np.float32) + 30 * (1 - y[..., None]) + noise[..., None] * 6
    trees = cv2.GaussianBlur(noise, (0, 0), 4) * 0.12 + y > 0.68
    image[trees] = np.array([92, 130, 78]) + noise[trees][:, None] * 16
    bar = size // 32
    image[size // 2 - bar : size // 2 + bar] = image[:, size // 2 - bar : size // 2 + bar] = 238
    _frame(image, (240, 240, 236), size // 14)
    return image


def screen(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """A display with windows full of lines."""
    size = noise.shape[0]
    image = np.tile(rng.uniform(20, 60, 3), (size, size, 1)) + noise[..., None] * 3
    for left, right in ((0.08, 0.46), (0.52, 0.92)):
        a, b = int(size * left), int(size * right)
        cv2.rectangle(image, (a, size // 8), (b, size * 7 // 8), _color(rng, 20, 70), -1)
        for y in range(size // 8 + 8, size * 7 // 8 - 6, 10):
            end = a + 8 + int(rng.uniform(0.2, 0.85) * (b - a))
            cv2.line(image, (a + 6, y), (end, y), _color(rng, 120, 250), 3)
    _frame(image, (16, 16, 18), 8)
    return image


def carton(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """A parcel's side with tape and a label."""
    size = noise.shape[0]
    image = _tinted(np.array([182, 142, 98]), noise * 8)
    image[:, size * 7 // 16 : size * 9 // 16] = np.array([206, 178, 136]) + noise[:, : size // 8, None] * 4
    x, y = size // 12, size * 5 // 8
    cv2.rectangle(image, (x, y), (x + size // 4, y + size // 5), (238, 236, 228), -1)
    for i in range(12):
        cv2.line(image, (x + 6 + 4 * i, y + 8), (x + 6 + 4 * i, y + size // 9), (30, 30, 30), int(rng.integers(1, 4)))
    return image


def cover(color: np.ndarray) -> Paint:
    """A book's cover: a frame, a title, an ornament."""

    def paint(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
        size = noise.shape[0]
        image = _tinted(color, noise * 7)
        ink = _color(rng, 190, 255) if np.mean(color) < 140 else _color(rng, 10, 80)
        _frame(image, ink, 6, inset=12)
        for i in range(3):
            half = int(size * rng.uniform(0.12, 0.34))
            y = size // 5 + i * size // 12
            cv2.line(image, (size // 2 - half, y), (size // 2 + half, y), ink, 9)
        cv2.circle(image, (size // 2, size * 2 // 3), int(size * rng.uniform(0.08, 0.2)), ink, int(rng.choice([-1, 6])))
        return image

    return paint


def poster(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Abstract shapes in a frame."""
    size = noise.shape[0]
    image = np.tile(np.array(_color(rng, 140, 245), np.float32), (size, size, 1))
    for _ in range(12):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        reach, color, kind = int(rng.uniform(0.05, 0.28) * size), _color(rng, 20, 250), rng.integers(3)
        if kind == 0:
            cv2.circle(image, (x, y), reach // 2, color, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, (x, y), (x + reach, y + reach // 2), color, -1)
        else:
            end = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.line(image, (x, y), end, color, max(3, reach // 10), cv2.LINE_AA)
    image += noise[..., None] * 7
    _frame(image, (245, 244, 240), size // 14)
    _frame(image, _color(rng, 20, 90), size // 40)
    return image


def rug(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Nested borders around a field of diamonds."""
    size = noise.shape[0]
    colors = [0.6 * np.array(_color(rng, 30, 230)) + rng.uniform(20, 90) for _ in range(4)]
    x, y = _ramp(size)
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    diamonds = np.abs((x * 8) % 1 - 0.5) + np.abs((y * 8) % 1 - 0.5)
    image = np.where((diamonds < 0.3)[..., None], colors[0], colors[1])
    image = np.where((edge < 0.1)[..., None], colors[2], image)
    teeth = (np.abs(((x + y) * 24) % 1 - 0.5) < 0.2) & (edge < 0.075) & (edge > 0.035)
    image = np.where(teeth[..., None], colors[3], image).astype(np.float32)
    return image + noise[..., None] * 11


def _color(rng: np.random.Generator, low: int, high: int) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(low, high, 3)
    return float(red), float(green), float(blue)


def _darker(color: np.ndarray, amount: float) -> tuple[float, float, float]:
    red, green, blue = np.maximum(np.asarray(color, np.float64) - amount, 0)
    return float(red), float(green), float(blue)


def _frame(image: np.ndarray, color: tuple[float, float, float], width: int, *, inset: int = 0) -> None:
    far = image.shape[0] - 1 - inset - width // 2
    near = inset + width // 2
    cv2.rectangle(image, (near, near), (far, far), color, width)
