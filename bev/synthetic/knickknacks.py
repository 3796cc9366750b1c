"""The loose things of synthetic rooms: plants, lamps, bins and boxes on the floor, cups and books on tables."""

from itertools import pairwise

import numpy as np

from bev.synthetic.furniture import Builder, Materials, Thing, pick, standing
from bev.synthetic.solids import blob, box, lathe, rod, turn_x, turn_z


def plant(rng: np.random.Generator, m: Materials) -> Thing:
    """A potted plant with broad leaves."""
    radius, pot = rng.uniform(0.12, 0.18), rng.uniform(0.2, 0.32)
    profile = [(0, 0), (radius * 0.75, 0), (radius, pot), (radius - 0.015, pot), (radius - 0.015, pot - 0.04)]
    parts = [lathe([*profile, (0, pot - 0.04)], (0, 0, 0), m["pot"])]
    parts[0] = lathe(profile, (0, 0, 0), m["pot"])
    parts.append(lathe([(radius - 0.015, pot - 0.04), (0, pot - 0.04)], (0, 0, 0), m["soil"]))
    leaf, high = pick(rng, m, "leaf", "leaf_pale"), rng.uniform(0.25, 0.75)
    for i in range(int(rng.integers(7, 12))):
        angle, lean = i * 2.4, rng.uniform(0.25, 0.75)
        rise = pot + high * rng.uniform(0.4, 1.0)
        foot = np.array([np.cos(angle), np.sin(angle), 0.0])
        tip = foot * rng.uniform(0.02, 0.1) + [0, 0, rise]
        parts.append(rod((0, 0, pot - 0.05), tip, 0.006, leaf, segments=6))
        blade = blob((0.11, 0.02, rng.uniform(0.22, 0.3)), (0, 0, -0.02), leaf, rows=8, segments=10)
        parts.append(blade.turned(turn_z(angle + np.pi / 2) @ turn_x(lean), tip))
    return standing("plant", parts)


def floor_lamp(rng: np.random.Generator, m: Materials) -> Thing:
    """A lamp on a thin pole."""
    high = rng.uniform(1.35, 1.65)
    profile = [(0, 0), (0.14, 0), (0.14, 0.02), (0, 0.025)]
    parts = [lathe(profile, (0, 0, 0), m["metal"]), rod((0, 0, 0.02), (0, 0, high - 0.05), 0.013, m["metal"])]
    shade = [(0.2, high - 0.27), (0.13, high), (0.125, high), (0.195, high - 0.27), (0.2, high - 0.27)]
    parts.append(lathe(shade, (0, 0, 0), m["shade"]))
    parts.append(blob((0.08, 0.08, 0.1), (0, 0, high - 0.16), m["lacquer"], rows=6, segments=10))
    return standing("floor lamp", parts)


def bin_(rng: np.random.Generator, m: Materials) -> Thing:
    """An open waste bin."""
    radius, high = rng.uniform(0.12, 0.17), rng.uniform(0.28, 0.42)
    profile = [
        (0, 0), (radius * 0.85, 0), (radius, high), (radius - 0.008, high), (radius * 0.85 - 0.008, 0.01), (0, 0.01),
    ]  # fmt: skip
    return standing("bin", [lathe(profile, (0, 0, 0), pick(rng, m, "metal", "plastic", "black", "pot"))])


def carton(rng: np.random.Generator, m: Materials) -> Thing:
    """A cardboard box that another may stand on."""
    width, depth, high = rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4), rng.uniform(0.2, 0.38)
    top = (-width / 2, -depth / 2, width / 2, depth / 2, high)
    return standing("box", [box((width, depth, high), (0, 0, 0), m["carton"], fit=True)], (top,))


def suitcase(rng: np.random.Generator, m: Materials) -> Thing:
    """An upright suitcase."""
    shell = blob((0.42, 0.25, 0.6), (0, 0, 0.04), pick(rng, m, "plastic", "leather", "black"), squareness=0.85)
    wheels = [box((0.04, 0.05, 0.06), (x, y, 0), m["black"]) for x in (-0.15, 0.15) for y in (-0.07, 0.07)]
    handle = [rod((x, 0.08, 0.5), (x, 0.08, 0.82), 0.008, m["chrome"]) for x in (-0.1, 0.1)]
    return standing(
        "suitcase", [shell, *wheels, *handle, rod((-0.11, 0.08, 0.82), (0.11, 0.08, 0.82), 0.012, m["black"])]
    )


def ball(rng: np.random.Generator, m: Materials) -> Thing:
    """A ball."""
    size = rng.uniform(0.22, 0.5)
    material = pick(rng, m, "ceramic_1", "ceramic_2", "plastic")
    return standing("ball", [blob((size, size, size), (0, 0, 0), material, rows=16, segments=24)])


def basket(rng: np.random.Generator, m: Materials) -> Thing:
    """A woven basket with a blanket in it."""
    radius, high = rng.uniform(0.18, 0.24), rng.uniform(0.25, 0.36)
    profile = [(0, 0), (radius * 0.9, 0), (radius, high), (radius - 0.02, high), (radius - 0.02, high * 0.6)]
    filling = blob(
        (2 * radius - 0.05, 2 * radius - 0.05, high * 0.6), (0, 0, high * 0.45), m["fabric_2"], squareness=0.3
    )
    return standing("basket", [lathe(profile, (0, 0, 0), m["cardboard"], step=0.05), filling])


def cup(rng: np.random.Generator, m: Materials) -> Thing:
    """A hollow cup with a handle."""
    radius, high = rng.uniform(0.038, 0.047), rng.uniform(0.09, 0.12)
    glaze = pick(rng, m, "ceramic_0", "ceramic_1", "ceramic_2")
    wall = radius - 0.004
    profile = [(0, 0), (radius * 0.85, 0), (radius, 0.02), (radius, high), (wall, high), (wall, 0.01), (0, 0.01)]
    parts = [lathe(profile, (0, 0, 0), glaze, segments=18, step=0.03)]
    bends = [(radius - 0.003, high * 0.8), (radius + 0.026, high * 0.75), (radius + 0.026, high * 0.35)]
    for (x0, z0), (x1, z1) in zip(bends, [*bends[1:], (radius - 0.003, high * 0.25)], strict=True):
        parts.append(rod((x0, 0, z0), (x1, 0, z1), 0.005, glaze, segments=6))
    return standing("cup", parts)


def book(rng: np.random.Generator, m: Materials) -> Thing:
    """A closed book lying flat, on which another may lie."""
    width, depth, thick = rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.27), rng.uniform(0.02, 0.045)
    bound = m[f"cover_{int(rng.integers(6))}"]
    parts = [box((width, depth, 0.003), (0, 0, z), bound, step=0.04, fit=True) for z in (0, thick - 0.003)]
    parts.append(box((width - 0.008, depth - 0.01, thick - 0.006), (0.002, 0, 0.003), m["paper"], step=0.04))
    parts.append(box((0.003, depth, thick - 0.006), (-width / 2 + 0.0015, 0, 0.003), bound, step=0.04))
    return standing("book", parts, ((-width / 2, -depth / 2, width / 2, depth / 2, thick),))


def laptop(rng: np.random.Generator, m: Materials) -> Thing:
    """An open laptop; its display returns no depth."""
    case = pick(rng, m, "metal", "black")
    base = box((0.33, 0.23, 0.015), (0, 0, 0), case, step=0.05)
    keys = box((0.28, 0.1, 0.002), (0, 0.04, 0.015), m["black"], step=0.05)
    lid = box((0.33, 0.01, 0.22), (0, 0, 0), case, step=0.05, front=m["screen"])
    return standing("laptop", [base, keys, lid.turned(turn_x(-rng.uniform(0.15, 0.4)), (0, 0.115, 0.013))])


def monitor(rng: np.random.Generator, m: Materials) -> Thing:
    """A display on a foot; it returns no depth from its front."""
    width = rng.uniform(0.5, 0.65)
    panel = box((width, 0.035, width * 0.58), (0, -0.02, 0.11), m["black"], front=m["screen"])
    neck = box((0.05, 0.03, 0.24), (0, 0.012, 0.012), m["black"])
    return standing("monitor", [panel, neck, box((0.24, 0.18, 0.012), (0, 0, 0), m["black"])])


def television(rng: np.random.Generator, m: Materials) -> Thing:
    """A television on two feet."""
    width = rng.uniform(0.9, 1.15)
    panel = box((width, 0.05, width * 0.57), (0, 0, 0.05), m["black"], front=m["screen"])
    feet = [box((0.03, 0.22, 0.05), (side * width * 0.35, 0, 0), m["black"]) for side in (-1, 1)]
    return standing("television", [panel, *feet])


def desk_lamp(rng: np.random.Generator, m: Materials) -> Thing:
    """A lamp with a shade."""
    high = rng.uniform(0.35, 0.5)
    foot = lathe(
        [(0, 0), (0.07, 0), (0.08, 0.03), (0.02, 0.06), (0, 0.06)], (0, 0, 0), pick(rng, m, "ceramic_0", "metal")
    )
    shade = [(0.13, high - 0.17), (0.08, high), (0.077, high), (0.127, high - 0.17), (0.13, high - 0.17)]
    pole = rod((0, 0, 0.05), (0, 0, high - 0.04), 0.009, m["metal"])
    return standing("lamp", [foot, pole, lathe(shade, (0, 0, 0), m["shade"], step=0.05)])


def bowl(rng: np.random.Generator, m: Materials) -> Thing:
    """A bowl with fruit."""
    r, glaze = rng.uniform(0.11, 0.15), pick(rng, m, "ceramic_0", "ceramic_1", "wood_light")
    profile = [(0, 0), (r * 0.5, 0), (r * 0.9, 0.05), (r, 0.09), (r - 0.006, 0.09), (r * 0.88, 0.052), (0, 0.02)]
    parts = [lathe(profile, (0, 0, 0), glaze, segments=24, step=0.03)]
    for i in range(4):
        at = (np.cos(i * 1.6) * 0.05, np.sin(i * 1.6) * 0.05, 0.035)
        parts.append(blob((0.075, 0.075, 0.075), at, pick(rng, m, "plastic", "leaf_pale", "pot"), rows=8, segments=12))
    return standing("bowl", parts)


def bottle(rng: np.random.Generator, m: Materials) -> Thing:
    """A bottle; one of glass is invisible to the depth sensor."""
    r, high = rng.uniform(0.033, 0.042), rng.uniform(0.24, 0.32)
    profile = [(0, 0), (r, 0), (r, high * 0.6), (r * 0.35, high * 0.78), (r * 0.35, high), (0, high)]
    return standing(
        "bottle", [lathe(profile, (0, 0, 0), pick(rng, m, "glass", "glass", "plastic"), segments=16, step=0.04)]
    )


def vase(rng: np.random.Generator, m: Materials) -> Thing:
    """A bellied vase."""
    high, r = rng.uniform(0.2, 0.34), rng.uniform(0.06, 0.09)
    t = np.linspace(0, 1, 9)
    outer = r * (0.62 + 0.38 * np.sin(np.pi * (t * 0.9 + 0.1)))
    profile = [(0.0, 0.0), *zip(outer.tolist(), (t * high).tolist(), strict=True)]
    profile += [(float(outer[-1]) - 0.006, high), (float(outer[-1]) - 0.006, high * 0.7)]
    return standing("vase", [lathe(profile, (0, 0, 0), pick(rng, m, "ceramic_0", "ceramic_1", "ceramic_2"), step=0.04)])


def microwave(rng: np.random.Generator, m: Materials) -> Thing:
    """A microwave oven with a dark glossy door."""
    return standing("microwave", [box((0.48, 0.36, 0.28), (0, 0, 0), m["metal"], front=m["screen"], step=0.06)])


def kettle(rng: np.random.Generator, m: Materials) -> Thing:
    """A kettle of chrome, which returns little depth."""
    profile = [(0, 0), (0.085, 0), (0.08, 0.12), (0.055, 0.2), (0.02, 0.215), (0.015, 0.235), (0, 0.235)]
    body = lathe(profile, (0, 0, 0), pick(rng, m, "chrome", "plastic", "chrome"), step=0.04)
    bends = [(0.06, 0.18), (0.13, 0.18), (0.13, 0.06), (0.082, 0.05)]
    grip = [rod((a, 0, b), (c, 0, d), 0.009, m["black"]) for (a, b), (c, d) in pairwise(bends)]
    return standing("kettle", [body, *grip])


SMALL: tuple[Builder, ...] = (cup, book, cup, book, bowl, bottle, vase, desk_lamp, laptop)
KITCHEN: tuple[Builder, ...] = (microwave, kettle, bowl, bottle, cup, cup)
LOOSE: tuple[Builder, ...] = (plant, bin_, carton, floor_lamp, ball, suitcase, basket)
