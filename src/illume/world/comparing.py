"""Questions that compare: sizes, numbers, which of two, the same or not; asked of worlds of several sizes.

It knows no pictures. Yes and no, and the two sides of every choice, come equally often with each text.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

from illume.world.scene import Object, Scene, WorldConfig
from illume.world.specs import plural

Asked = tuple[str, str] | None  # the question and its answer


def _size(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    thing = rng.choice(scene.objects)
    return f"what size is {rng.choice(_names(thing, scene, config))}?", thing.size


def _more(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """What is more in one order is less in the other, so the words say nothing of the answer."""
    words, there = rng.choice(
        (
            ([f"{colour} objects" for colour in config.colours], Counter(f"{o.colour} objects" for o in scene)),
            ([plural(shape) for shape in config.shapes], Counter(plural(o.shape) for o in scene)),
            ([f"{size} objects" for size in config.sizes], Counter(f"{o.size} objects" for o in scene)),
        )
    )
    yes = rng.random() < 0.5
    pairs = [(a, b) for a, b in permutations(words, 2) if there[a] or there[b]]
    fitting = [(a, b) for a, b in pairs if (there[a] > there[b]) == yes]
    if not fitting:
        return None
    first, second = rng.choice(fitting)
    return f"are there more {first} than {second}?", "yes" if yes else "no"


def _larger(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """Which of two, in either order; the answer is the name that the question gave it."""
    couples = [(a, b) for a, b in permutations(scene, 2) if config.extent(a.size) > config.extent(b.size)]
    if not couples:
        return None
    large, small = rng.choice(couples)
    names = {thing: rng.choice(_names(thing, scene, config)) for thing in (large, small)}
    first, second = rng.sample((names[large], names[small]), 2)
    word, answer = rng.choice((("larger", large), ("smaller", small)))
    return f"which is {word}, {first} or {second}?", names[answer]


def _same(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """Asked where some are alike and some are not, so that either answer could be; by place, which tells neither."""
    word, attribute = rng.choice((("color", _colour_of), ("shape", _shape_of), ("size", _size_of)))
    couples = list(combinations(rng.sample(scene.objects, len(scene)), 2))
    alike = [(a, b) for a, b in couples if attribute(a) == attribute(b)]
    other = [(a, b) for a, b in couples if attribute(a) != attribute(b)]
    if not alike or not other:
        return None
    yes = rng.random() < 0.5
    first, second = (config.place(thing.cell) for thing in rng.choice(alike if yes else other))
    asked = f"do the objects at the {first} and at the {second} have the same {word}?"
    return asked, "yes" if yes else "no"


def _names(thing: Object, scene: Scene, config: WorldConfig) -> list[str]:
    """The ways to name one object without its size."""
    names = [f"the object at the {config.place(thing.cell)}"]
    for words, name in (
        ([other.shape for other in scene], thing.shape),
        ([f"{other.colour} {other.shape}" for other in scene], f"{thing.colour} {thing.shape}"),
        ([f"{other.colour} object" for other in scene], f"{thing.colour} object"),
    ):
        names += [f"the {name}"] if _once(name, words) else []
    return names


def _once(name: str, words: Sequence[str]) -> bool:
    return words.count(name) == 1


def _colour_of(thing: Object) -> str:
    return thing.colour


def _shape_of(thing: Object) -> str:
    return thing.shape


def _size_of(thing: Object) -> str:
    return thing.size


COMPARISONS: dict[str, Callable[[Scene, WorldConfig, random.Random], Asked]] = {
    "size": _size,
    "more": _more,
    "larger": _larger,
    "same": _same,
}
