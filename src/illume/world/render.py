"""Scene to picture: anti-aliased shapes on a plain background; it does not know what is said of them."""

import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from illume.world.scene import COLOURS, Object, Scene, WorldConfig

Array = npt.NDArray[np.uint8]  # [h, w, 3]
Coverage = npt.NDArray[np.float32]  # [h, w] in [0, 1]
Points = npt.NDArray[np.floating]
RGB = tuple[int, int, int]

_NAMELESS = 80  # how far (of at most 440) a colour without a name keeps from those that have one


def render(scene: Scene, config: WorldConfig, palette: Mapping[str, RGB] = COLOURS) -> Array:
    """The picture [size, size, 3] of a scene, the same for equal scenes; `palette` says how each colour looks."""
    canvas = np.empty((config.size, config.size, 3), np.uint8)
    canvas[:] = config.background
    for thing in scene:
        sprite, reach = _sprite(thing.shape, palette[thing.colour], config.extent(thing.size), config.background)
        x, y = position(thing, config)
        canvas[y - reach : y + reach, x - reach : x + reach] = sprite  # windows never reach into another object
    return canvas


def position(thing: Object, config: WorldConfig) -> tuple[int, int]:
    """Where (x, y) an object's centre lies, in pixels."""
    x, y = config.centre(thing.cell)
    return x + thing.offset[0], y + thing.offset[1]


def nameless_palette(config: WorldConfig, rng: random.Random) -> dict[str, RGB]:
    """The world's colours replaced by random ones that none of its names, nor its background, is near to.

    In such colours a shape can be shown without showing any pair of shape and colour that the world has.
    """
    known = [COLOURS[name] for name in config.colours] + [config.background]
    return {name: _nameless(known, rng) for name in config.colours}


def _nameless(known: Sequence[RGB], rng: random.Random) -> RGB:
    while True:
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        if min(math.dist(colour, other) for other in known) > _NAMELESS:
            return colour


@lru_cache(maxsize=1024)
def _sprite(shape: str, colour: RGB, extent: float, background: RGB) -> tuple[Array, int]:
    reach = math.ceil(extent / 2)
    alpha = _alpha(shape, extent, reach)[..., None]
    blend = np.asarray(background) * (1 - alpha) + np.asarray(colour) * alpha
    return np.round(blend).astype(np.uint8), reach


@lru_cache(maxsize=256)
def _alpha(shape: str, extent: float, reach: int) -> Coverage:
    return coverage(shape, extent, reach)


def coverage(shape: str, extent: float, reach: int, shift: tuple[float, float] = (0.0, 0.0), fine: int = 8) -> Coverage:
    """How much of each pixel a shape of this width covers, in a window [2 reach, 2 reach] around its centre.

    Counted from `fine` samples a pixel along each axis.
    """
    ticks = (np.arange(2 * reach * fine, dtype=np.float32) + 0.5) / fine - reach
    x, y = (ticks[None, :] - shift[0]) * (2 / extent), (ticks[:, None] - shift[1]) * (2 / extent)
    inside = _inside(shape, x, y).astype(np.float32)
    return inside.reshape(2 * reach, fine, 2 * reach, fine).mean(axis=(1, 3))


def _inside(shape: str, x: Points, y: Points) -> npt.NDArray[np.bool_]:
    """Which points lie in the shape, which reaches from -1 to 1 along both axes; y points down."""
    if shape == "circle":
        return x**2 + y**2 <= 1
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= 0.9  # as it fills its corners, a little smaller looks the same size
    if shape == "diamond":
        return abs(x) + abs(y) <= 1
    if shape == "cross":
        return (np.minimum(abs(x), abs(y)) <= 0.33) & (np.maximum(abs(x), abs(y)) <= 1)
    return _in_polygon(_POLYGONS[shape], x, y)


def _star(points: int, inner: float) -> tuple[tuple[float, float], ...]:
    turns = [math.pi * i / points for i in range(2 * points)]
    return tuple(
        ((inner if i % 2 else 1.05) * math.sin(turn), -(inner if i % 2 else 1.05) * math.cos(turn))
        for i, turn in enumerate(turns)
    )


_POLYGONS = {"triangle": ((0.0, -0.95), (1.0, 0.9), (-1.0, 0.9)), "star": _star(5, 0.45)}


def _in_polygon(corners: tuple[tuple[float, float], ...], x: Points, y: Points) -> npt.NDArray[np.bool_]:
    """Points from which a ray to the right crosses the outline an odd number of times."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside
