"""Where the furniture of a synthetic room goes: along walls, into corners, around tables, on top of each other."""

from dataclasses import dataclass, field

import numpy as np

from bev.synthetic import furniture, knickknacks
from bev.synthetic.furniture import Builder, Materials, Thing
from bev.synthetic.solids import Solid, turn_z

GAP_M = 0.003
MOST = 30


@dataclass(frozen=True, eq=False)
class Placed:
    """A thing at its place in the room."""

    label: str
    solid: Solid
    """In the room's frame."""
    center: np.ndarray
    """(3,) float64, metres: of its box."""
    size: np.ndarray
    """(3,) float64, metres, along the thing's own axes."""
    yaw: float
    """radians: of the thing's own x axis."""
    touches: bool
    tops: tuple[tuple[float, float, float, float, float], ...]
    """Places for small things in the thing's own frame, whose origin is `origin`."""
    origin: np.ndarray
    """(3,) float64, metres."""
    levels: int = 0
    """How many things it stands on."""


@dataclass
class _Plan:
    """The room while it is being furnished."""

    corners: np.ndarray
    placed: list[Placed] = field(default_factory=list)
    taken: list[np.ndarray] = field(default_factory=list)
    """(4, 2) rectangles on the floor that are full."""
    on_tops: dict[int, list[np.ndarray]] = field(default_factory=dict)
    """Rectangles taken on the tops of a placed thing, by its number."""

    def fits(self, rectangles: list[np.ndarray], *, spare: tuple[int, ...] = ()) -> bool:
        """Whether rectangles (4, 2) lie in the room and on free floor; `spare`: rows of `taken` to ignore."""
        others = [taken for row, taken in enumerate(self.taken) if row not in spare]
        return all(
            _inside(self.corners, rectangle) and not any(_overlap(rectangle, other) for other in others)
            for rectangle in rectangles
        )

    def put(self, thing: Thing, xy: np.ndarray, yaw: float, *, touches: bool, spare: tuple[int, ...] = ()) -> bool:
        """Stand a thing on the floor if there is room for it."""
        rectangles = [_rectangle(footprint, xy, yaw) for footprint in thing.footprint]
        if not self.fits(rectangles, spare=spare):
            return False
        self.taken += rectangles
        self.placed.append(_place(thing, np.append(xy, 0.0), yaw, touches=touches))
        return True


def furnish(rng: np.random.Generator, m: Materials, corners: np.ndarray, *, big_table: bool = False) -> list[Placed]:
    """Furniture for a room whose floor has these corners, 15 to 30 things.

    Args:
        rng: chance.
        m: material rows by name.
        corners: (4, 2) metres, counter-clockwise.
        big_table: a table that leaves little floor to see.
    """
    plan, wanted = _Plan(corners), int(rng.integers(18, 29))
    if big_table:
        _table_with_chairs(plan, rng, m, big=True)
    else:
        _corner_counter(plan, rng, m)
        _table_with_chairs(plan, rng, m, big=False)
    _along_walls(plan, rng, m, count=3 if big_table else 6, shallow=big_table)
    _loose(plan, rng, m, count=int(rng.integers(2, 5)))
    for builder in (knickknacks.book, knickknacks.cup, knickknacks.book, knickknacks.cup):
        for _ in range(6):
            if _small(plan, rng, m, builder):
                break
    wanted = min(max(wanted, len(plan.placed) + 2), MOST)
    for _ in range(200):
        if len(plan.placed) >= wanted:
            break
        _small(plan, rng, m)
    return plan.placed


def _corner_counter(plan: _Plan, rng: np.random.Generator, m: Materials) -> None:
    """An L-shaped counter in a square corner and a fridge at its end, in most rooms."""
    if rng.random() < 0.25:
        return
    for corner in rng.permutation(4):
        here = plan.corners[corner]
        ahead, behind = (_unit(plan.corners[(corner + step) % 4] - here) for step in (1, -1))
        if abs(ahead @ behind) > 1e-6:
            continue
        reach = (rng.uniform(1.5, 2.2), rng.uniform(1.2, 1.7))
        thing = furniture.counter(rng, m, reach=reach)
        # in a counter-clockwise room the arm along +x follows the wall that ends here, the other the wall that begins
        yaw = float(np.arctan2(behind[1], behind[0]))
        yaw_x, yaw_y = turn_z(yaw)[:2, 0], turn_z(yaw)[:2, 1]
        center = here + yaw_x * (reach[0] / 2 + GAP_M) - yaw_y * (reach[1] / 2 + GAP_M)
        if plan.put(thing, center, yaw, touches=True):
            cold = furniture.fridge(rng, m)
            at = here + yaw_x * (reach[0] + 2 * GAP_M + 0.3) - yaw_y * (GAP_M + 0.31)
            plan.put(cold, at, yaw, touches=True)
            return


def _table_with_chairs(plan: _Plan, rng: np.random.Generator, m: Materials, *, big: bool) -> None:
    low, high = plan.corners.min(axis=0), plan.corners.max(axis=0)
    spread = high - low
    size = (float(spread[0]) - 2.1, float(spread[1]) - 2.1) if big else (None, None)
    yaw = float(rng.choice([0.0, np.pi / 2])) if not big else 0.0
    for _ in range(60):
        thing = furniture.table(rng, m, width=size[0], depth=size[1])
        middle = plan.corners.mean(axis=0) + (0 if big else rng.uniform(-0.9, 0.9, 2))
        if plan.put(thing, middle, yaw + (0 if big else rng.normal(0, 0.04)), touches=False):
            break
    else:
        return
    row, table = len(plan.taken) - 1, plan.placed[-1]
    seats = [(side, along) for side in range(4) for along in _seats(table.size[side % 2])]
    for index in rng.permutation(len(seats))[: 7 if big else int(rng.integers(3, 7))]:
        side, along = seats[index]
        thing = furniture.chair(rng, m)
        tucked = rng.uniform(0.2, 0.3) if rng.random() < 0.75 else -rng.uniform(0.02, 0.15)
        out = turn_z(table.yaw + side * np.pi / 2)[:2, :2]
        edge = table.size[1 - side % 2] / 2
        at = table.origin[:2] + out @ np.array([along, -(edge + thing.size[1] / 2 - tucked)])
        turn = table.yaw + side * np.pi / 2 + np.pi + (0.0 if tucked > 0 else rng.normal(0, 0.25))
        plan.put(thing, at, float(turn), touches=False, spare=(row,) if tucked > 0 else ())


def _seats(length: float) -> list[float]:
    """Where chairs go along an edge so that they miss the legs at its ends."""
    room = length - 2 * 0.36
    count = int(room / 0.58) + 1 if room > 0 else int(length > 0.7)
    return [0.0] if count == 1 else list(np.linspace(-room / 2, room / 2, count)) if count else []


def _along_walls(plan: _Plan, rng: np.random.Generator, m: Materials, *, count: int, shallow: bool) -> None:
    def cabinet(label: str) -> Builder:
        return lambda rng, m: furniture.cabinet(rng, m, label=label)

    deep: list[Builder] = [
        furniture.sofa, furniture.bed, furniture.desk, cabinet("wardrobe"), cabinet("tv stand"),
        lambda rng, m: furniture.sofa(rng, m, width=0.98),
    ]  # fmt: skip
    flat: list[Builder] = [furniture.bookshelf, cabinet("cabinet"), cabinet("tv stand"), furniture.bookshelf]
    builders = flat if shallow else [*deep, *flat[:2]]
    order = rng.permutation(len(builders))
    done = 0
    for index in order:
        if done >= count:
            return
        thing = builders[index](rng, m)
        if _against_wall(plan, rng, thing):
            done += 1
            _companions(plan, rng, m, plan.placed[-1])


def _against_wall(plan: _Plan, rng: np.random.Generator, thing: Thing, *, tries: int = 24) -> bool:
    for _ in range(tries):
        wall = int(rng.integers(4))
        a, b = plan.corners[wall], plan.corners[(wall + 1) % 4]
        along, length = _unit(b - a), float(np.linalg.norm(b - a))
        half, deep = thing.size[0] / 2, thing.size[1] / 2
        if length < 2 * half + 0.2:
            continue
        place = rng.uniform(half + 0.05, length - half - 0.05)
        inwards = np.array([-along[1], along[0]])
        yaw = float(np.arctan2(-along[1], -along[0]))
        if plan.put(thing, a + along * place + inwards * (deep + GAP_M), yaw, touches=True):
            return True
    return False


def _companions(plan: _Plan, rng: np.random.Generator, m: Materials, host: Placed) -> None:
    """What belongs beside or on a piece of furniture: a nightstand, a monitor, a chair, a coffee table."""
    turn = turn_z(host.yaw)[:2, :2]

    def beside(thing: Thing, side: float) -> bool:
        y = (host.size[1] - thing.size[1]) / 2
        x = side * (host.size[0] + thing.size[0] + 2 * GAP_M) / 2
        return plan.put(thing, host.origin[:2] + turn @ np.array([x, y]), host.yaw, touches=True)

    if host.label == "bed":
        beside(furniture.cabinet(rng, m, label="nightstand"), float(rng.choice([-1, 1])))
    elif host.label == "desk":
        row = len(plan.taken) - 1
        seat = furniture.office_chair(rng, m)
        at = host.origin[:2] + turn @ np.array([-0.26, -(host.size[1] / 2 + 0.04)])  # beside the drawers
        plan.put(seat, at, host.yaw + np.pi + float(rng.normal(0, 0.2)), touches=False, spare=(row,))
        _on_top(plan, rng, host, knickknacks.monitor(rng, m), at_back=True)
    elif host.label == "tv stand":
        _on_top(plan, rng, host, knickknacks.television(rng, m), at_back=True)
    elif host.label == "sofa":
        thing = furniture.coffee_table(rng, m)
        at = host.origin[:2] + turn @ np.array([0.0, -(host.size[1] / 2 + 0.35 + thing.size[1] / 2)])
        plan.put(thing, at, host.yaw, touches=False)
    elif host.label in ("bookshelf", "wardrobe", "cabinet"):
        beside(
            furniture.bookshelf(rng, m) if rng.random() < 0.5 else knickknacks.carton(rng, m), rng.choice([-1.0, 1.0])
        )


def _loose(plan: _Plan, rng: np.random.Generator, m: Materials, *, count: int) -> None:
    """Things on the floor: against a wall, against furniture, or in the open."""
    for index in rng.permutation(len(knickknacks.LOOSE))[: count + 1]:
        thing = knickknacks.LOOSE[index](rng, m)
        tall = thing.size[2] > 1.15
        if tall or rng.random() < 0.6:
            _against_wall(plan, rng, thing)
            continue
        for _ in range(12):
            at = rng.uniform(plan.corners.min(axis=0) + 0.5, plan.corners.max(axis=0) - 0.5)
            if plan.put(thing, at, float(rng.uniform(-1.5, 1.5)), touches=False):
                break
    if rng.random() < 0.6:
        _against_wall(plan, rng, furniture.round_table(rng, m))
    if rng.random() < 0.5:
        _against_wall(plan, rng, furniture.stool(rng, m))


def _small(plan: _Plan, rng: np.random.Generator, m: Materials, builder: Builder | None = None) -> bool:
    """One more small thing on some top: a cup, a book, a book on a book, a box on a box."""
    hosts = [item for item in plan.placed if item.tops and item.levels < 2]
    if builder is not None:
        hosts = [item for item in hosts if item.label != "box"]
    if not hosts:
        return False
    areas = np.array([np.sqrt(item.size[0] * item.size[1]) for item in hosts])
    host = hosts[int(rng.choice(len(hosts), p=areas / areas.sum()))]
    if host.label in ("box", "book"):
        builder = knickknacks.carton if host.label == "box" else knickknacks.book
    elif builder is None:
        builders = knickknacks.KITCHEN if host.label == "counter" else knickknacks.SMALL
        builder = builders[int(rng.integers(len(builders)))]
    return _on_top(plan, rng, host, builder(rng, m))


def _on_top(plan: _Plan, rng: np.random.Generator, host: Placed, thing: Thing, *, at_back: bool = False) -> bool:
    number = next(row for row, item in enumerate(plan.placed) if item is host)
    full = plan.on_tops.setdefault(number, [])
    margin = {"book": -0.02, "box": 0.0}.get(host.label, 0.025)  # a book may jut out over another
    for _ in range(10):
        x0, y0, x1, y1, z = host.tops[int(rng.integers(len(host.tops)))]
        yaw = 0.0 if at_back else float(rng.normal(0, 0.5))
        half = np.abs(turn_z(yaw)[:2, :2]) @ thing.size[:2] / 2 + margin
        low, high = np.array([x0, y0]) + half, np.array([x1, y1]) - half
        if (low > high).any():
            continue
        at = np.array([0.0, high[1]]) if at_back else rng.uniform(low, high)
        x_low, y_low, x_high, y_high = thing.footprint[0]
        rectangle = _rectangle((x_low - 0.01, y_low - 0.01, x_high + 0.01, y_high + 0.01), at, yaw)
        if any(_overlap(rectangle, other) for other in full):
            continue
        full.append(rectangle)
        origin = host.origin + np.append(turn_z(host.yaw)[:2, :2] @ at, z)
        plan.placed.append(_place(thing, origin, host.yaw + yaw, touches=True, levels=host.levels + 1))
        return True
    return False


def _place(thing: Thing, origin: np.ndarray, yaw: float, *, touches: bool, levels: int = 0) -> Placed:
    low, high = thing.solid.vertices.min(axis=0), thing.solid.vertices.max(axis=0)
    center = origin + turn_z(yaw) @ ((low + high) / 2)
    return Placed(
        thing.label, thing.solid.moved(yaw, origin), center, high - low, yaw, touches, thing.tops, origin, levels
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _rectangle(footprint: tuple[float, float, float, float], xy: np.ndarray, yaw: float) -> np.ndarray:
    x0, y0, x1, y1 = footprint
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ turn_z(yaw)[:2, :2].T + xy


def _inside(corners: np.ndarray, points: np.ndarray) -> bool:
    edges = np.roll(corners, -1, axis=0) - corners
    to_points = points[:, None] - corners
    return bool((edges[:, 0] * to_points[..., 1] - edges[:, 1] * to_points[..., 0] >= -1e-9).all())


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two convex polygons overlap (separating axes)."""
    for polygon in (a, b):
        edges = np.roll(polygon, -1, axis=0) - polygon
        normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
        first, second = a @ normals.T, b @ normals.T
        if ((first.max(axis=0) <= second.min(axis=0) + 1e-9) | (second.max(axis=0) <= first.min(axis=0) + 1e-9)).any():
            return False
    return True
