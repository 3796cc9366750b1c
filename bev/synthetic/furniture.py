"""The things that stand in synthetic rooms, each built from boxes, turned and rounded solids.

Every builder gives a `Thing` that stands on z = 0 about the middle of its footprint, its back towards +y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bev.synthetic.solids import Solid, blob, box, joined, lathe, rod, turn_x, turn_z

Materials = dict[str, int]


@dataclass(frozen=True, eq=False)
class Thing:
    """A piece of furniture or a small object in its own frame."""

    label: str
    solid: Solid
    footprint: tuple[tuple[float, float, float, float], ...]
    """Rectangles x0, y0, x1, y1, metres, that together hold what it covers of the floor."""
    tops: tuple[tuple[float, float, float, float, float], ...] = ()
    """Places for small things: x0, y0, x1, y1 and height z, metres."""

    @property
    def size(self) -> np.ndarray:
        """(3,) float64 metres along x, y, z."""
        return self.solid.vertices.max(axis=0) - self.solid.vertices.min(axis=0)


Builder = Callable[[np.random.Generator, Materials], Thing]


def pick(rng: np.random.Generator, m: Materials, *names: str) -> int:
    """The row of one of the named materials."""
    return m[names[int(rng.integers(len(names)))]]


def standing(label: str, parts: list[Solid], tops: tuple[tuple[float, float, float, float, float], ...] = ()) -> Thing:
    """A thing of some solids, set on z = 0 and about the middle of its footprint."""
    solid = joined(parts)
    low, high = solid.vertices.min(axis=0), solid.vertices.max(axis=0)
    shift = np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]])
    half_x, half_y = (float(half) for half in (high - low)[:2] / 2)
    x, y, z = (float(value) for value in shift)
    moved_tops = tuple((x0 + x, y0 + y, x1 + x, y1 + y, top + z) for x0, y0, x1, y1, top in tops)
    return Thing(label, solid.moved(0.0, shift), ((-half_x, -half_y, half_x, half_y),), moved_tops)


def _legs(width: float, depth: float, height: float, thick: float, material: int, *, round_: bool) -> list[Solid]:
    x, y = width / 2 - thick * 0.7, depth / 2 - thick * 0.7
    places = [(-x, -y), (x, -y), (-x, y), (x, y)]
    if round_:
        return [rod((a, b, 0), (a, b, height), thick / 2, material) for a, b in places]
    return [box((thick, thick, height), (a, b, 0), material) for a, b in places]


def table(rng: np.random.Generator, m: Materials, *, width: float | None = None, depth: float | None = None) -> Thing:
    """A dining table on four thin legs."""
    width = width or rng.uniform(1.2, 1.7)
    depth = depth or rng.uniform(0.75, 0.9)
    height = rng.uniform(0.72, 0.76)
    wood = pick(rng, m, "wood_light", "wood_mid", "wood_dark")
    thick = rng.uniform(0.03, 0.05) + 0.02 * (width > 2)
    legs = _legs(width - 0.06, depth - 0.06, height - 0.035, thick, wood, round_=bool(rng.integers(2)))
    top = box((width, depth, 0.035), (0, 0, height - 0.035), wood)
    return standing("table", [*legs, top], ((-width / 2, -depth / 2, width / 2, depth / 2, height),))


def round_table(rng: np.random.Generator, m: Materials) -> Thing:
    """A small round table on one column."""
    radius, height = rng.uniform(0.32, 0.45), rng.uniform(0.5, 0.72)
    wood = pick(rng, m, "wood_light", "wood_dark", "lacquer", "stone")
    profile = [
        (0, 0), (radius * 0.6, 0), (radius * 0.6, 0.02), (0.03, 0.04), (0.03, height - 0.03),
        (radius, height - 0.03), (radius, height), (0, height),
    ]  # fmt: skip
    inner = radius * 0.65
    return standing(
        "round table", [lathe(profile, (0, 0, 0), wood, segments=32)], ((-inner, -inner, inner, inner, height),)
    )


def coffee_table(rng: np.random.Generator, m: Materials) -> Thing:
    """A low table with a shelf below."""
    width, depth, height = rng.uniform(0.8, 1.1), rng.uniform(0.45, 0.6), rng.uniform(0.38, 0.46)
    wood = pick(rng, m, "wood_light", "wood_dark", "lacquer")
    parts = _legs(width, depth, height - 0.03, 0.045, wood, round_=False)
    parts.append(box((width, depth, 0.03), (0, 0, height - 0.03), wood))
    parts.append(box((width - 0.1, depth - 0.1, 0.02), (0, 0, 0.13), wood))
    return standing("coffee table", parts, ((-width / 2, -depth / 2, width / 2, depth / 2, height),))


def chair(rng: np.random.Generator, m: Materials) -> Thing:
    """A chair on legs of 3 to 4 cm with a slatted or a solid back, its front towards -y."""
    width, depth, seat = rng.uniform(0.4, 0.45), rng.uniform(0.4, 0.46), rng.uniform(0.43, 0.47)
    high, thick = rng.uniform(0.82, 0.95), rng.uniform(0.03, 0.04)
    wood = pick(rng, m, "wood_light", "wood_mid", "wood_dark", "lacquer", "metal")
    cushion = pick(rng, m, "fabric_0", "fabric_1", "fabric_2", "leather", "wood_mid")
    parts = _legs(width, depth, seat - 0.04, thick, wood, round_=bool(rng.integers(2)))
    parts.append(box((width, depth, 0.04), (0, 0, seat - 0.04), cushion, step=0.06))
    back = depth / 2 - thick / 2
    for side in (-1, 1):
        parts.append(box((thick, thick, high - seat), (side * (width - thick) / 2, back, seat), wood))
    inner = width - 2 * thick
    if rng.random() < 0.5:
        for z in np.linspace(seat + 0.12, high - 0.06, 3):
            parts.append(box((inner, 0.02, 0.06), (0, back, z - 0.03), wood, step=0.06))
    else:
        parts.append(box((inner, 0.02, (high - seat) * 0.7), (0, back, seat + (high - seat) * 0.3), cushion, step=0.06))
    return standing("chair", parts)


def office_chair(rng: np.random.Generator, m: Materials) -> Thing:
    """A swivel chair on five feet."""
    fabric = pick(rng, m, "fabric_0", "fabric_3", "leather", "black")
    parts = []
    for angle in np.arange(5) * 2 * np.pi / 5:
        end = 0.26 * np.array([np.cos(angle), np.sin(angle)])
        parts.append(rod((0, 0, 0.09), (*end, 0.05), 0.018, m["metal"]))
        parts.append(blob((0.05, 0.05, 0.05), (*end, 0.0), m["black"], rows=6, segments=8))
    parts.append(rod((0, 0, 0.07), (0, 0, 0.43), 0.025, m["metal"]))
    parts.append(blob((0.48, 0.46, 0.09), (0, 0, 0.42), fabric, squareness=0.75))
    parts.append(rod((0, 0.2, 0.46), (0, 0.25, 0.62), 0.018, m["metal"]))
    parts.append(blob((0.44, 0.08, 0.46), (0, 0.25, 0.56), fabric, squareness=0.7))
    return standing("office chair", parts)


def stool(rng: np.random.Generator, m: Materials) -> Thing:
    """A round stool on three slanted legs."""
    height, radius = rng.uniform(0.42, 0.62), rng.uniform(0.15, 0.19)
    wood = pick(rng, m, "wood_light", "wood_mid", "lacquer")
    parts = [lathe([(0, height - 0.04), (radius, height - 0.04), (radius, height), (0, height)], (0, 0, 0), wood)]
    for angle in np.arange(3) * 2 * np.pi / 3 + 0.5:
        foot = np.array([np.cos(angle), np.sin(angle)])
        parts.append(rod((*(foot * radius), 0.008), (*(foot * radius * 0.7), height - 0.03), 0.016, wood))
    return standing("stool", parts)


def sofa(rng: np.random.Generator, m: Materials, *, width: float | None = None) -> Thing:
    """A sofa with arms, seat cushions and sometimes a pillow; the narrow one is an armchair."""
    seats = int(rng.integers(2, 4))
    label = "sofa" if width is None else "armchair"
    width = width or 0.66 * seats + 0.32
    seats = max(1, round((width - 0.32) / 0.66))
    depth, fabric = rng.uniform(0.82, 0.95), pick(rng, m, "fabric_0", "fabric_1", "fabric_2", "leather")
    parts = [box((width, depth, 0.24), (0, 0, 0.06), fabric)]
    for x in (-1, 1):
        for y in (-1, 1):
            parts.append(box((0.05, 0.05, 0.06), (x * (width / 2 - 0.06), y * (depth / 2 - 0.06), 0), m["wood_dark"]))
        arm = blob((0.16, depth, 0.34), (x * (width / 2 - 0.08), 0, 0.28), fabric, squareness=0.85)
        parts.append(arm)
    parts.append(blob((width - 0.04, 0.24, 0.56), (0, depth / 2 - 0.12, 0.28), fabric, squareness=0.85, segments=40))
    cushion = (width - 0.34) / seats
    for i in range(seats):
        x = (i - (seats - 1) / 2) * cushion
        parts.append(blob((cushion - 0.01, depth - 0.24, 0.17), (x, -0.12, 0.28), fabric, squareness=0.85))
    if label == "sofa" and rng.random() < 0.7:
        pillow = blob((0.42, 0.42, 0.14), (0, 0, -0.07), pick(rng, m, "fabric_3", "fabric_1"), squareness=0.5)
        lean = turn_z(rng.uniform(-0.3, 0.3)) @ turn_x(1.15)
        parts.append(pillow.turned(lean, (rng.choice([-1, 1]) * (width / 2 - 0.42), depth / 2 - 0.34, 0.63)))
    return standing(label, parts)


def bed(rng: np.random.Generator, m: Materials) -> Thing:
    """A bed with headboard, mattress, blanket and pillows; its head is at the back."""
    width, length = rng.choice([0.95, 1.25, 1.5]), 2.0
    wood = pick(rng, m, "wood_light", "wood_dark", "fabric_0")
    parts = [
        box((width, length, 0.2), (0, 0, 0.1), wood),
        *_legs(width, length, 0.1, 0.06, m["wood_dark"], round_=False),
        box((width, 0.06, rng.uniform(0.85, 1.05) - 0.3), (0, length / 2 - 0.03, 0.3), wood),
        blob((width - 0.04, length - 0.1, 0.22), (0, -0.04, 0.3), m["paper"], squareness=0.93, rows=16, segments=48),
        blob((width, 1.3, 0.12), (0, -0.34, 0.44), pick(rng, m, "fabric_1", "fabric_2", "fabric_3"),
             squareness=0.9, rows=16, segments=48),
    ]  # fmt: skip
    for x in [0.0] if width < 1.2 else [-width / 4, width / 4]:
        parts.append(blob((0.55, 0.38, 0.14), (x, length / 2 - 0.32, 0.5), m["lacquer"], squareness=0.5))
    return standing("bed", parts)


def bookshelf(rng: np.random.Generator, m: Materials) -> Thing:
    """An open shelf with a back panel and rows of books that belong to it."""
    width, depth, height = rng.uniform(0.7, 1.0), rng.uniform(0.28, 0.34), rng.choice([1.1, 1.75, 1.95])
    wood = pick(rng, m, "wood_light", "wood_mid", "wood_dark", "lacquer")
    parts = [box((width, 0.012, height - 0.02), (0, depth / 2 - 0.006, 0.01), wood)]
    for side in (-1, 1):
        parts.append(box((0.025, depth - 0.012, height), (side * (width - 0.025) / 2, -0.006, 0), wood))
    levels = np.linspace(0.06, height - 0.025, round(height / 0.34) + 1)
    for z in levels:
        parts.append(box((width - 0.05, depth - 0.012, 0.025), (0, -0.006, z), wood))
    for z in levels[:-1]:
        x, stop = -width / 2 + 0.03, rng.uniform(-0.1, 0.5) * width
        while x < stop:
            thick, tall = rng.uniform(0.02, 0.05), rng.uniform(0.17, 0.25)
            spine = m[f"cover_{int(rng.integers(6))}"]
            parts.append(box((thick, 0.17, tall), (x + thick / 2, 0.02, z + 0.025), spine, step=0.3, fit=True))
            x += thick + 0.002
    top = ((-width / 2, -depth / 2, width / 2, depth / 2, float(levels[-1] + 0.025)),) if height < 1.3 else ()
    return standing("bookshelf", parts, top)


def cabinet(rng: np.random.Generator, m: Materials, *, label: str = "cabinet") -> Thing:
    """A chest of drawers, a wardrobe or a television stand: fronts with handles."""
    width, depth, height, rows, columns = {
        "cabinet": (rng.uniform(0.8, 1.2), 0.42, rng.uniform(0.75, 1.0), 3, 2),
        "wardrobe": (rng.uniform(0.9, 1.3), 0.56, rng.uniform(1.8, 2.05), 1, 2),
        "tv stand": (rng.uniform(1.2, 1.6), 0.4, rng.uniform(0.4, 0.5), 1, 3),
        "nightstand": (rng.uniform(0.4, 0.5), 0.38, rng.uniform(0.45, 0.58), 2, 1),
    }[label]
    body = pick(rng, m, "wood_light", "wood_mid", "lacquer")
    parts = [box((width, depth - 0.02, height - 0.05), (0, 0.01, 0.05), body)]
    parts.append(box((width - 0.06, depth - 0.08, 0.05), (0, 0.02, 0), m["black"]))
    tall, wide = (height - 0.05) / rows, width / columns
    for row in range(rows):
        for column in range(columns):
            at = (-width / 2 + (column + 0.5) * wide, -depth / 2 + 0.01, 0.055 + row * tall)
            parts.append(box((wide - 0.01, 0.02, tall - 0.01), at, body, front=m["drawer"], step=0.1))
    top = ((-width / 2, -depth / 2, width / 2, depth / 2, height),) if height < 1.3 else ()
    return standing(label, parts, top)


def fridge(rng: np.random.Generator, m: Materials) -> Thing:
    """A fridge with a steel front that returns little depth."""
    width, depth, height = 0.6, 0.62, rng.uniform(1.5, 1.85)
    body = box((width, depth, height), (0, 0, 0), m["lacquer"], front=m["steel_front"])
    return standing("fridge", [body])


def counter(rng: np.random.Generator, m: Materials, *, reach: tuple[float, float] = (2.0, 1.6)) -> Thing:
    """An L-shaped kitchen counter; its corner is at the back left, its arms run to +x and to -y.

    Args:
        rng: chance.
        m: material rows by name.
        reach: length of the arms along x and along y, metres.
    """
    along, down = reach
    depth, height = 0.6, 0.9
    left, back = -along / 2, down / 2
    stone = pick(rng, m, "stone", "stone_dark", "wood_mid")
    parts = []
    for w, d, x, y in (
        (along, depth, 0.0, back - depth / 2),
        (depth, down - depth, left + depth / 2, -depth / 2),
    ):
        parts.append(box((w, d, 0.035), (x, y, height - 0.035), stone))
        parts.append(box((w - 0.02, d - 0.02, height - 0.135), (x - 0.01, y + 0.01, 0.1), m["lacquer"]))
        parts.append(box((w - 0.06, d - 0.06, 0.1), (x - 0.03, y + 0.03, 0), m["black"]))
    doors = max(1, round((along - depth) / 0.5))
    wide = (along - depth - 0.02) / doors
    for i in range(doors):
        at = (left + depth + (i + 0.5) * wide, back - depth + 0.008, 0.12)
        parts.append(box((wide - 0.01, 0.016, height - 0.17), at, m["lacquer"], front=m["drawer"], step=0.1))
    edges = (
        (left, back - depth, along / 2, back),
        (left, -down / 2, left + depth, back - depth),
    )
    return Thing("counter", joined(parts), edges, tuple((*edge, height) for edge in edges))


def desk(rng: np.random.Generator, m: Materials) -> Thing:
    """A desk on thin legs with a drawer block on the right."""
    width, depth, height = rng.uniform(1.2, 1.5), rng.uniform(0.6, 0.7), rng.uniform(0.72, 0.75)
    wood, at = pick(rng, m, "wood_light", "wood_mid", "lacquer"), width / 2 - 0.26
    legs = _legs(width, depth, height - 0.03, 0.045, m["metal"], round_=False)
    block = box((0.38, depth - 0.1, height - 0.13), (at, 0, 0.1), wood, front=m["drawer"])
    feet = box((0.34, depth - 0.14, 0.1), (at, 0, 0), m["black"])
    top = box((width, depth, 0.03), (0, 0, height - 0.03), wood)
    return standing("desk", [*legs, block, feet, top], ((-width / 2, -depth / 2, width / 2, depth / 2, height),))
