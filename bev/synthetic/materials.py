"""Procedural textures for synthetic rooms: wood, cloth, stone, paper, posters, in one atlas with smaller copies."""

from dataclasses import dataclass

import cv2
import numpy as np

from bev.synthetic import patterns

LEVELS = 6


@dataclass(frozen=True, eq=False)
class Atlas:
    """All materials of a room in one image, each tile beside its halved copies, with a border of one pixel."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    rows: np.ndarray
    """(M,) float32: where a material's tile begins, pixels from the top."""
    tile_px: np.ndarray
    """(M,) float32."""
    tile_m: np.ndarray
    """(M,) float32: what one tile measures on a surface, metres; 1 for pictures, which span their face once."""
    returns: np.ndarray
    """(M,) float32: share of a depth sensor's light that comes back; 0 on glass, little on glossy and dark things."""
    names: tuple[str, ...]

    def sample(self, materials: np.ndarray, uv: np.ndarray, footprint_m: np.ndarray) -> np.ndarray:
        """Colours at points of surfaces, filtered to the size of a pixel there.

        Args:
            materials: (N,) rows of the material list.
            uv: (N, 2) texture coordinates, in units of the tile's own (metres, or 0..1 for pictures).
            footprint_m: (N,) what one pixel covers there, in the same unit.

        Returns:
            (N, 3) float32, 0..255.
        """
        size, tile = self.tile_px[materials], self.tile_m[materials]
        level = np.clip(np.log2(np.maximum(footprint_m * size / tile, 1.0)) - 0.4, 0, LEVELS - 1)
        where = uv.astype(np.float32) / tile[:, None]
        where -= np.floor(where)
        lower = np.floor(level)
        colors = self._level(materials, where, size, lower)
        share = (level - lower).astype(np.float32)[:, None]
        return colors + (self._level(materials, where, size, np.minimum(lower + 1, LEVELS - 1)) - colors) * share

    def _level(self, materials: np.ndarray, where: np.ndarray, size: np.ndarray, level: np.ndarray) -> np.ndarray:
        scaled = size * np.exp2(-level)
        across = 2 * (size - scaled) + 2 * level
        x = across + where[:, 0] * scaled + 0.5
        y = self.rows[materials] + where[:, 1] * scaled + 0.5
        columns = 1024  # cv2.remap wants maps of less than 32768 rows
        padding = -len(x) % columns
        x, y = (np.pad(value.astype(np.float32), (0, padding)).reshape(-1, columns) for value in (x, y))
        return cv2.remap(self.image, x, y, cv2.INTER_LINEAR).reshape(-1, 3)[: len(materials)].astype(np.float32)


def build_atlas(rng: np.random.Generator) -> Atlas:
    """The materials of one room, coloured and patterned by chance."""
    noise = _cloud(rng, 512)
    noises = {512: noise, 256: cv2.resize(noise, (256, 256), interpolation=cv2.INTER_AREA)}
    tiles, tile_m, returns, names = [], [], [], []
    for name, (size, metres, answer, paint) in _recipes(rng).items():
        image = paint(rng, np.roll(noises[size], rng.integers(0, size, 2), axis=(0, 1)))
        tiles.append(_with_levels(np.clip(image, 0, 255).astype(np.uint8)))
        tile_m.append(metres)
        returns.append(answer)
        names.append(name)
    heights = [tile.shape[0] for tile in tiles]
    width = max(tile.shape[1] for tile in tiles)
    image = np.zeros((sum(heights), width, 3), np.uint8)
    rows = np.cumsum([0, *heights[:-1]])
    for row, tile in zip(rows, tiles, strict=True):
        image[row : row + tile.shape[0], : tile.shape[1]] = tile
    return Atlas(
        image,
        rows.astype(np.float32),
        np.array([height - 2 for height in heights], np.float32),
        np.array(tile_m, np.float32),
        np.array(returns, np.float32),
        tuple(names),
    )


def _recipes(rng: np.random.Generator) -> dict[str, tuple[int, float, float, patterns.Paint]]:
    """Name to (tile size px, tile size m, sensor return, painter)."""
    wall = _hue(rng, 0.05, 0.14, 0.84, 0.95, hues=(30, 70))
    accent = _hue(rng, 0.15, 0.4, 0.6, 0.85, hues=(20, 240))
    light, dark = _wood_color(rng, light=True), _wood_color(rng, light=False)
    recipes: dict[str, tuple[int, float, float, patterns.Paint]] = {
        "floor": (512, 2.0, 1.0, patterns.planks(_wood_color(rng, light=bool(rng.integers(2)))) if rng.random() < 0.65
                  else patterns.tiles(_hue(rng, 0.05, 0.25, 0.6, 0.85), 6)),
        "wall": (512, 2.0, 1.0, patterns.wallpaper(wall, int(rng.integers(3)))),
        "wall_accent": (512, 2.0, 1.0, patterns.wallpaper(accent, int(rng.integers(3)))),
        "ceiling": (256, 1.0, 1.0, patterns.speckle(np.array([235, 233, 228]), 5)),
        "rug": (512, 1.0, 1.0, patterns.rug),
        "window": (256, 1.0, 0.1, patterns.window),
        "door": (256, 1.0, 1.0, patterns.door(light)),
        "wood_light": (256, 0.8, 1.0, patterns.grain(light)),
        "wood_dark": (256, 0.8, 0.9, patterns.grain(dark)),
        "wood_mid": (256, 0.8, 1.0, patterns.grain((light + dark) / 2)),
        "lacquer": (256, 0.6, 0.95, patterns.speckle(_hue(rng, 0.0, 0.12, 0.85, 0.95, hues=(20, 220)), 5)),
        "drawer": (256, 1.0, 0.95, patterns.drawer(light)),
        "stone": (256, 0.5, 0.95, patterns.speckle(_hue(rng, 0.03, 0.15, 0.55, 0.8), 34)),
        "stone_dark": (256, 0.5, 0.3, patterns.speckle(_hue(rng, 0.0, 0.1, 0.14, 0.22), 30)),
        "metal": (256, 0.4, 0.6, patterns.brushed(np.array([165, 168, 172]))),
        "chrome": (256, 0.4, 0.15, patterns.brushed(np.array([195, 199, 205]))),
        "steel_front": (256, 1.0, 0.35, patterns.fridge),
        "black": (256, 0.4, 0.35, patterns.speckle(np.array([34, 34, 38]), 9)),
        "screen": (256, 1.0, 0.0, patterns.screen),
        "glass": (256, 0.3, 0.0, patterns.speckle(np.array([110, 150, 130]), 10)),
        "cardboard": (256, 0.6, 1.0, patterns.stripes(np.array([176, 136, 92]), 0.07, 40)),
        "carton": (256, 1.0, 1.0, patterns.carton),
        "leaf": (256, 0.3, 0.9, patterns.speckle(np.array([62, 112, 48]), 45)),
        "leaf_pale": (256, 0.3, 0.9, patterns.speckle(np.array([112, 146, 74]), 40)),
        "soil": (256, 0.3, 0.9, patterns.speckle(np.array([70, 52, 40]), 40)),
        "pot": (256, 0.5, 1.0, patterns.stripes(_hue(rng, 0.35, 0.6, 0.55, 0.8), 0.2, 6)),
        "paper": (256, 0.2, 1.0, patterns.stripes(np.array([226, 219, 201]), 0.12, 64)),
        "shade": (256, 0.3, 1.0, patterns.stripes(_hue(rng, 0.08, 0.3, 0.85, 0.97), 0.12, 24)),
        "leather": (256, 0.5, 0.7, patterns.speckle(_hue(rng, 0.35, 0.6, 0.3, 0.5, hues=(12, 35)), 12)),
        "plastic": (256, 0.4, 1.0, patterns.speckle(_hue(rng, 0.45, 0.8, 0.5, 0.85), 8)),
    }  # fmt: skip
    for i in range(4):
        recipes[f"fabric_{i}"] = (256, 0.5, 1.0, patterns.fabric(_hue(rng, 0.15, 0.6, 0.4, 0.85), i))
        recipes[f"poster_{i}"] = (256, 1.0, 1.0, patterns.poster)
    for i in range(6):
        recipes[f"cover_{i}"] = (256, 1.0, 1.0, patterns.cover(_hue(rng, 0.3, 0.85, 0.35, 0.9)))
    for i in range(3):
        recipes[f"ceramic_{i}"] = (256, 0.25, 0.85, patterns.glaze(_hue(rng, 0.1, 0.7, 0.6, 0.95), i))
    return recipes


def _hue(
    rng: np.random.Generator, s0: float, s1: float, v0: float, v1: float, *, hues: tuple[float, float] = (0, 360)
) -> np.ndarray:
    """(3,) RGB 0..255 of a chance hue, saturation and value in the given ranges."""
    hsv = np.array([rng.uniform(*hues), rng.uniform(s0, s1), rng.uniform(v0, v1)], np.float32)
    return cv2.cvtColor(hsv[None, None], cv2.COLOR_HSV2RGB)[0, 0] * 255


def _wood_color(rng: np.random.Generator, *, light: bool) -> np.ndarray:
    base = np.array([205, 166, 118]) if light else np.array([134, 92, 62])
    return base * rng.uniform(0.9, 1.1) + rng.uniform(-8, 8, 3)


def _cloud(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) float32 periodic noise of many sizes, mean 0, standard deviation 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3, 10):
        cells = 2**octave
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        wrapped = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
        scale = size // cells
        big = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += big[2 * scale : 2 * scale + size, 2 * scale : 2 * scale + size] * 0.75 ** (octave - 3)
    return (total - total.mean()) / total.std()


def _with_levels(tile: np.ndarray) -> np.ndarray:
    levels, height = [], tile.shape[0] + 2
    for _ in range(LEVELS):
        border = cv2.copyMakeBorder(tile, 1, 1, 1, 1, cv2.BORDER_WRAP)
        levels.append(np.pad(border, ((0, height - border.shape[0]), (0, 0), (0, 0))))
        tile = cv2.resize(tile, (tile.shape[1] // 2, tile.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.concatenate(levels, axis=1)
