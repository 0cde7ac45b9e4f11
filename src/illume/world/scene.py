"""What a scene of the generated world is, and which split it belongs to; it knows neither pictures nor words.

A scene is one to a few coloured shapes, each in a cell of its own. Everything else of the world (pictures, captions,
questions, edits) is derived from scenes, so every answer is known exactly.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal

from illume.core.streams import seed_of

Split = Literal["train", "test", "novel"]
Cell = tuple[int, int]  # (row, column)
Pair = tuple[str, str]  # (shape, colour)
EditKind = Literal["recolour", "remove", "add", "replace", "move", "resize"]

SHAPES = ("circle", "square", "triangle", "cross", "diamond", "star")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 20, 45),
    "green": (20, 150, 50),
    "blue": (30, 60, 220),
    "yellow": (250, 215, 0),
    "black": (25, 25, 25),
    "purple": (150, 30, 170),
    "orange": (255, 110, 0),
    "cyan": (0, 200, 220),
}
SIZES = {"small": 0.42, "medium": 0.6875, "large": 0.70}  # extent as a share of a cell's shorter side
_ROWS = {1: ("",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
_COLUMNS = {1: ("",), 2: ("left", "right"), 3: ("left", "center", "right")}


@dataclass(frozen=True)
class WorldConfig:
    """The size of the world. Raises ValueError where no clear picture of it could be drawn.

    `version` counts up whenever equal configurations give other scenes, texts or splits than before.
    """

    size: int = 32  # pixels a side
    shapes: tuple[str, ...] = ("circle", "square", "triangle", "cross")
    colours: tuple[str, ...] = ("red", "green", "blue", "yellow", "black")
    sizes: tuple[str, ...] = ("medium",)
    max_objects: int = 3
    layout: Cell = (2, 2)  # rows and columns of cells
    jitter: int = 1  # pixels an object may stand off its cell's centre, along each axis
    background: tuple[int, int, int] = (240, 240, 240)
    edits: tuple[EditKind, ...] = ("recolour", "remove", "add", "replace")
    test_fraction: float = 0.2  # of the scenes, and of the caption texts
    seed: int = 0
    version: Literal[3] = 3

    def __post_init__(self) -> None:
        _check_names("shapes", self.shapes, SHAPES, least=3)
        _check_names("colours", self.colours, tuple(COLOURS), least=3)
        _check_names("sizes", self.sizes, tuple(SIZES), least=1)
        if not set(self.layout) <= set(_ROWS):
            raise ValueError(f"layout {self.layout}: one to three rows and columns have names")
        if not 1 <= self.max_objects <= self.num_cells:
            raise ValueError(f"max_objects {self.max_objects} does not fit into {self.num_cells} cells")
        if "resize" in self.edits and not self.sized:
            raise ValueError(f"edits {self.edits}: nothing can be resized where all is {self.sizes[0]}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction {self.test_fraction} is not between 0 and 1")
        widest = max(self.extent(size) for size in self.sizes)
        if self.jitter < 0 or 2 * math.ceil(widest / 2) + 2 * self.jitter > int(self.cell_size):
            raise ValueError(
                f"objects {widest:.1f} px wide with jitter {self.jitter} outgrow cells of {self.cell_size:.1f} px"
            )

    @property
    def sized(self) -> bool:
        """Whether objects differ in size, so that sizes are spoken of."""
        return len(self.sizes) > 1

    @property
    def num_cells(self) -> int:
        return self.layout[0] * self.layout[1]

    @property
    def cell_size(self) -> float:
        """The shorter side of a cell, in pixels."""
        return self.size / max(self.layout)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(product(range(self.layout[0]), range(self.layout[1])))

    def extent(self, size: str) -> float:
        """The width of an object of this size, in pixels."""
        return SIZES[size] * self.cell_size

    def centre(self, cell: Cell) -> tuple[int, int]:
        """The (x, y) corner between pixels on which an object without offset stands."""
        x, y = ((index + 0.5) * self.size / n for index, n in zip(cell[::-1], self.layout[::-1], strict=True))
        return round(x), round(y)

    def place(self, cell: Cell) -> str:
        """The name of a cell: "top left"."""
        return f"{_ROWS[self.layout[0]][cell[0]]} {_COLUMNS[self.layout[1]][cell[1]]}".strip()


def _check_names(field: str, names: tuple[str, ...], known: tuple[str, ...], least: int) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) != len(names) or len(names) < least:
        raise ValueError(f"{field} {names}: at least {least} different ones of {', '.join(known)}")


PICO = WorldConfig()
NANO = WorldConfig(
    size=72,
    shapes=SHAPES,
    colours=tuple(COLOURS),
    sizes=("small", "large"),
    max_objects=4,
    layout=(3, 3),
    edits=("recolour", "remove", "add", "replace", "move", "resize"),
)


@dataclass(frozen=True)
class Object:
    """One shape in its cell; `offset` (x, y) in pixels from the cell's centre."""

    shape: str
    colour: str
    size: str
    cell: Cell
    offset: tuple[int, int] = (0, 0)

    @property
    def pair(self) -> Pair:
        return self.shape, self.colour


@dataclass(frozen=True)
class Scene:
    """Objects in different cells, in the order of the cells; `arrange` sorts them."""

    objects: tuple[Object, ...]

    def __post_init__(self) -> None:
        cells = [thing.cell for thing in self.objects]
        if cells != sorted(set(cells)):
            raise ValueError(f"the objects of a scene stand in different cells, in order, not in {cells}")

    def __iter__(self) -> Iterator[Object]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)


def arrange(objects: Iterable[Object]) -> Scene:
    """The scene of these objects, whatever their order."""
    return Scene(tuple(sorted(objects, key=lambda thing: thing.cell)))


def centred(scene: Scene) -> Scene:
    """The scene with every object in the middle of its cell."""
    return Scene(tuple(replace(thing, offset=(0, 0)) for thing in scene))


def scene_key(scene: Scene) -> str:
    """A readable name, the same for equal scenes only."""
    return ";".join(
        f"{o.colour} {o.size} {o.shape}@{o.cell[0]},{o.cell[1]}{o.offset[0]:+d}{o.offset[1]:+d}" for o in scene
    )


def arrangement_key(scene: Scene) -> str:
    """The scene's name without the offsets: scenes that differ by a pixel of jitter share it, and their split."""
    return ";".join(f"{o.colour} {o.size} {o.shape}@{o.cell[0]},{o.cell[1]}" for o in scene)


@lru_cache(maxsize=64)
def held_out(config: WorldConfig) -> frozenset[Pair]:
    """A fifth of the shape-colour pairs, along a diagonal, so that every shape and colour is still seen with others."""
    shapes = sorted(config.shapes, key=lambda name: seed_of(config.seed, "held out", name))
    colours = sorted(config.colours, key=lambda name: seed_of(config.seed, "held out", name))
    count = max(1, round(len(shapes) * len(colours) / 5))
    turn = math.lcm(len(shapes), len(colours))  # after this many steps the diagonal closes: shift it by one
    return frozenset((shapes[i % len(shapes)], colours[(i + i // turn) % len(colours)]) for i in range(count))


@lru_cache(maxsize=64)
def pairs_of(config: WorldConfig, split: Split | None) -> tuple[Pair, ...]:
    """The shape-colour pairs that scenes and texts of a split, or of none, may show."""
    every = product(config.shapes, config.colours)
    return tuple(pair for pair in every if split == "novel" or pair not in held_out(config))


@lru_cache(maxsize=1 << 16)
def is_test(config: WorldConfig, kind: str, key: str) -> bool:
    """Whether a key ("scene" or "text") falls into the test share."""
    return seed_of(config.seed, "split", kind, key) < config.test_fraction * 2**64


def mixes_held_out(pairs: Iterable[tuple[str | None, str | None]], config: WorldConfig) -> bool:
    """Whether the shape of one and the colour of one, the same or another, make a held-out pair."""
    shapes, colours = zip(*pairs, strict=True)
    return not held_out(config).isdisjoint(product(shapes, colours))


def scene_split(scene: Scene, config: WorldConfig) -> Split | None:
    """The one split a scene belongs to: novel if it shows a held-out pair, else by its arrangement's hash.

    None, no split at all, where it shows the shape of such a pair and its colour apart ("a red circle, a blue square"):
    if training saw only these, it would teach that where both are named two things are meant.
    """
    if not held_out(config).isdisjoint(thing.pair for thing in scene):
        return "novel"
    if mixes_held_out((thing.pair for thing in scene), config):
        return None
    return "test" if is_test(config, "scene", arrangement_key(scene)) else "train"


def related(a: Object, relation: str, b: Object) -> bool:
    """Whether `a` stands left of / right of / above / below `b`: in another column or row, so clearly."""
    axis = 1 if relation in ("left of", "right of") else 0
    first, second = (a, b) if relation in ("left of", "above") else (b, a)
    return first.cell[axis] < second.cell[axis]


RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
