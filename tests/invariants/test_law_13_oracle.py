"""Law 13: the oracle reads back every scene the world renders, worn pictures too, and rejects what is not the scene."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from illume.core.streams import seed_of
from illume.world import NANO, PICO, Group, Object, Scene, WorldConfig, arrange, holds, sample_scene
from illume.world import oracle as oracle_module
from illume.world.render import Array, coverage, position, render
from illume.world.scene import COLOURS, SHAPES, SIZES
from illume.world.specs import Spec, describe

Same = Callable[[Array, Scene, WorldConfig], bool]

WORLDS = {
    "pico": PICO,
    "pico with more jitter": replace(PICO, jitter=2),
    "pico with every shape and colour": replace(PICO, shapes=SHAPES, colours=tuple(COLOURS)),
    "nano": NANO,
}
COUNTS = {"pico": 90, "pico with more jitter": 24, "pico with every shape and colour": 45, "nano": 18}


def scenes_of(config: WorldConfig, number: int) -> list[Scene]:
    return [sample_scene(config, split, i) for split in ("train", "test", "novel") for i in range(number // 3)]


def as_pixels(values: np.ndarray) -> Array:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def blurred(picture: Array, sigma: float) -> np.ndarray:
    kernel = np.exp(-0.5 * (np.arange(-3, 4) / sigma) ** 2)
    kernel /= kernel.sum()
    values = np.pad(picture.astype(float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    values = sum(weight * values[i : i + height] for i, weight in enumerate(kernel))
    return sum(weight * values[:, i : i + width] for i, weight in enumerate(kernel))


def worn(picture: Array, rng: np.random.Generator, kind: str) -> Array:
    """As a neural painter leaves a picture."""
    noise = rng.normal(0, 8, picture.shape)
    if kind == "blurred":
        return as_pixels(blurred(picture, 0.7) + noise)
    if kind == "ringing":
        return as_pixels(1.5 * picture.astype(float) - 0.5 * blurred(picture, 1.0) + noise)
    if kind == "tinted":
        return as_pixels(picture + rng.normal(0, 8, 3) + noise)
    return picture


# --- the negatives: pictures that are not the scene -------------------------------------------------------------------


def full_spec(scene: Scene, config: WorldConfig) -> Spec:
    kinds = [(*thing.pair, thing.size if config.sized else None) for thing in scene]
    return describe(Group(shape, colour, kinds.count(k), size) for k in set(kinds) for shape, colour, size in [k])


def painted(picture: Array, x: float, y: float, shape: str, colour: tuple[int, int, int], extent: float) -> Array:
    """The picture with a shape painted over it anywhere, in any colour."""
    reach = int(np.ceil(extent / 2)) + 1
    alpha = np.zeros((picture.shape[0] + 2 * reach, picture.shape[1] + 2 * reach, 1))
    alpha[round(y) : round(y) + 2 * reach, round(x) : round(x) + 2 * reach, 0] = coverage(shape, extent, reach)
    alpha = alpha[reach:-reach, reach:-reach]
    return as_pixels(picture * (1 - alpha) + np.asarray(colour) * alpha)


def blanks(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    empty = render(Scene(()), config)
    yield empty
    yield np.full_like(empty, rng.integers(0, 256, 3))
    yield np.broadcast_to(np.linspace(0, 255, config.size)[:, None, None], empty.shape).astype(np.uint8)


def noises(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    shape = (config.size, config.size, 3)
    yield rng.integers(0, 256, shape).astype(np.uint8)
    yield as_pixels(rng.normal(128, 40, shape))
    yield as_pixels(render(scene, config) + rng.normal(0, 120, shape))
    yield as_pixels(blurred(as_pixels(rng.normal(128, 200, shape)), 2.0))


def merged(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """Two objects joined by a bridge, or one melted into a second that stands too near."""
    first = scene.objects[0]
    extent = config.extent(first.size)
    x, y = position(first, config)
    towards = np.sign(config.size / 2 - np.array([x, y]) + 0.1)
    yield painted(render(scene, config), x + towards[0] * 0.6 * extent, y, first.shape, COLOURS[first.colour], extent)
    for other in scene.objects[1:]:
        ends = np.array([position(first, config), position(other, config)])
        picture = render(scene, config)
        for x, y in np.linspace(*ends, 2 * config.size).round().astype(int):
            picture[y - 1 : y + 2, x - 1 : x + 2] = COLOURS[first.colour]
        yield picture


def missing(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    for thing in scene:
        yield render(arrange(other for other in scene if other is not thing), config)


def extra(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """One more object in a free cell, or a blot half as wide between the cells."""
    free = [cell for cell in config.cells if cell not in [thing.cell for thing in scene]]
    colour = str(rng.choice(config.colours))
    if free:
        cell = free[rng.integers(len(free))]
        thing = Object(str(rng.choice(config.shapes)), colour, scene.objects[0].size, cell)
        yield render(arrange([*scene, thing]), config)
    middle = config.size / 2 + rng.integers(-1, 2) if config.layout[0] == 2 else config.cell_size
    yield painted(render(scene, config), middle, middle, "square", COLOURS[colour], config.extent(config.sizes[0]) / 2)


def wrong_colours(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """Another colour of the world; one of no name; half of an object in another."""
    i = int(rng.integers(len(scene)))
    thing = scene.objects[i]
    rest = [other for other in scene if other is not thing]
    other = str(rng.choice([colour for colour in config.colours if colour != thing.colour]))
    yield render(arrange([*rest, replace(thing, colour=other)]), config)
    picture = render(arrange(rest), config) if rest else render(Scene(()), config)
    x, y = position(thing, config)
    yield painted(picture, x, y, thing.shape, nameless_colour(config, rng), config.extent(thing.size))
    picture = render(scene, config)
    half = render(arrange([*rest, replace(thing, colour=other)]), config)
    picture[:, x:] = half[:, x:]
    yield picture


def nameless_colour(config: WorldConfig, rng: np.random.Generator) -> tuple[int, int, int]:
    known = np.array([*(COLOURS[name] for name in config.colours), config.background])
    while True:
        colour = rng.integers(0, 256, 3)
        if np.linalg.norm(known - colour, axis=1).min() > 90:
            return tuple(int(value) for value in colour)


def wrong_shapes(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    thing = scene.objects[int(rng.integers(len(scene)))]
    other = str(rng.choice([shape for shape in config.shapes if shape != thing.shape]))
    yield render(arrange([*(o for o in scene if o is not thing), replace(thing, shape=other)]), config)


def wrong_sizes(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """Another size of the world; in a world of one, a size half as large again or a third smaller."""
    thing = scene.objects[int(rng.integers(len(scene)))]
    rest = [other for other in scene if other is not thing]
    if config.sized:
        other = str(rng.choice([size for size in config.sizes if size != thing.size]))
        yield render(arrange([*rest, replace(thing, size=other)]), config)
    x, y = position(thing, config)
    for factor in (0.66, 1.5) if not config.sized else (0.5, 2.0):
        picture = render(arrange(rest) if rest else Scene(()), config)
        yield painted(picture, x, y, thing.shape, COLOURS[thing.colour], config.extent(thing.size) * factor)


def wrong_cells(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """An object in another cell: only `same` can tell, for a spec without relation does not say where."""
    thing = scene.objects[int(rng.integers(len(scene)))]
    free = [cell for cell in config.cells if cell not in [other.cell for other in scene]]
    if free:
        moved = replace(thing, cell=free[rng.integers(len(free))])
        yield render(arrange([*(o for o in scene if o is not thing), moved]), config)


def between_cells(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> Iterator[Array]:
    """All of the picture moved by near half a cell, so that the objects stand where none may stand."""
    picture = render(scene, config)
    shift = round(config.cell_size / 2) - int(rng.integers(0, 2))
    moved = np.roll(picture, (shift, 0) if rng.random() < 0.5 else (0, shift), axis=(0, 1))
    yield moved


NEGATIVES = (
    blanks,
    noises,
    merged,
    missing,
    extra,
    wrong_colours,
    wrong_shapes,
    wrong_sizes,
    wrong_cells,
    between_cells,
)


# --- the law ----------------------------------------------------------------------------------------------------------


def fulfils(picture: Array, scene: Scene, config: WorldConfig) -> bool:
    """Whether the oracle finds all that the full description of the scene says."""
    return holds(oracle_module.check(picture, full_spec(scene, config), config))


def either(picture: Array, scene: Scene, config: WorldConfig) -> bool:
    return oracle_module.same(picture, scene, config) or fulfils(picture, scene, config)


def both(picture: Array, scene: Scene, config: WorldConfig) -> bool:
    return oracle_module.same(picture, scene, config) and fulfils(picture, scene, config)


def share_read_back(same: Same, config: WorldConfig, number: int, wear: str = "") -> float:
    rng = np.random.default_rng(seed_of("wear", wear))
    scenes = scenes_of(config, number)
    return float(np.mean([same(worn(render(scene, config), rng, wear), scene, config) for scene in scenes]))


def share_rejected(same: Same, config: WorldConfig, number: int, negatives: Callable, wear: str = "") -> float:
    rng = np.random.default_rng(seed_of("negatives", negatives.__name__, wear))
    pictures = [(p, s) for s in scenes_of(config, number) for p in negatives(s, config, rng)]
    return float(np.mean([not same(worn(picture, rng, wear), scene, config) for picture, scene in pictures]))


@pytest.mark.parametrize("world", WORLDS)
def test_law_13_clean_pictures_are_read_back_to_the_pixel(world: str) -> None:
    for scene in scenes_of(WORLDS[world], COUNTS[world]):
        assert oracle_module.read(render(scene, WORLDS[world]), WORLDS[world]) == oracle_module.Reading(scene)


@pytest.mark.parametrize("wear", ["blurred", "ringing", "tinted"])
@pytest.mark.parametrize("world", WORLDS)
def test_law_13_worn_pictures_are_read_back(world: str, wear: str) -> None:
    assert share_read_back(both, WORLDS[world], COUNTS[world], wear) >= 0.99


@pytest.mark.parametrize("negatives", NEGATIVES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_law_13_everything_else_is_rejected(world: str, negatives: Callable) -> None:
    accepted = oracle_module.same if negatives is wrong_cells else either
    for wear in ("", "blurred"):
        assert share_rejected(accepted, WORLDS[world], COUNTS[world], negatives, wear) >= 0.99


def test_law_13_a_blank_shows_nothing() -> None:
    assert oracle_module.read(render(Scene(()), PICO), PICO) == oracle_module.Reading(Scene(()))
    assert SIZES.keys() >= {size for config in WORLDS.values() for size in config.sizes}


def test_law_13_catches_an_oracle_that_overlooks_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle_module, "_RESIDUAL", np.inf)
    assert share_rejected(oracle_module.same, PICO, 60, merged) < 0.99
    assert share_rejected(oracle_module.same, PICO, 60, extra) < 0.99


def test_law_13_catches_an_oracle_that_accepts_any_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle_module, "_COLOUR", np.inf)
    assert share_rejected(fulfils, PICO, 60, wrong_colours) < 0.99


def test_law_13_catches_an_oracle_that_is_too_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle_module, "_EXPLAINED", 0.995)
    assert share_read_back(oracle_module.same, PICO, 60, "blurred") < 0.99


def test_law_13_catches_an_oracle_that_ignores_places() -> None:
    def same(picture: Array, scene: Scene, config: WorldConfig) -> bool:
        seen = oracle_module.read(picture, config)
        return seen.problem is None and sorted(o.pair for o in seen.scene) == sorted(o.pair for o in scene)

    assert share_rejected(same, PICO, 60, wrong_cells) < 0.99
