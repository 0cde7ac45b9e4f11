"""Questions about a scene with their answers, balanced so that the question alone says little; it knows no pictures."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

from illume.world.comparing import COMPARISONS, Asked
from illume.world.edits import references
from illume.world.language import with_article
from illume.world.scene import (
    RELATIONS,
    Object,
    Pair,
    Scene,
    WorldConfig,
    pairs_of,
    related,
    scene_split,
)
from illume.world.specs import plural


@dataclass(frozen=True)
class Question:
    """One question; the answer is a word or two, or a number in digits."""

    kind: str
    text: str
    answer: str


# Training asks of these more often than of their opposites. With all four equally often, neither the order of the two
# objects nor the word says anything by itself, and a model is slow to find what both say together.
_COMMON = {"left of": 2.5, "above": 2.5}


def questions(scene: Scene, config: WorldConfig, rng: random.Random) -> list[Question]:
    """One question of every kind that the scene allows, in random order.

    Held-out pairs are named only of scenes that show one, so training never names any.
    """
    asked = [question for kind in question_kinds(config) if (question := ask(scene, config, rng, kind)) is not None]
    return rng.sample(asked, len(asked))


def question_kinds(config: WorldConfig) -> tuple[str, ...]:
    """The kinds of questions that a world has: those that compare only where sizes differ."""
    return QUESTION_KINDS + (tuple(COMPARISONS) if config.sized else ())


def ask(scene: Scene, config: WorldConfig, rng: random.Random, kind: str) -> Question | None:
    """A question of one kind; None where the scene allows none (a relation of a single object)."""
    found = _ASK[kind](scene, config, rng)
    return None if found is None else Question(kind, *found)


def ask_each_by_name(scene: Scene, config: WorldConfig, rng: random.Random, kind: str) -> list[Question]:
    """A question of "where", "colour" or "shape" about each object that something but its place tells apart."""
    named = [(names, thing) for thing in scene if (names := _NAMES[kind](thing, scene))]
    return [Question(kind, *_about(kind, rng.choice(names), thing, config)) for names, thing in named]


def _exists(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """The answer is drawn first, then what is asked for: yes and no come equally often with each text."""
    level = rng.choice(("shape", "colour", "pair", "size") if config.sized else ("shape", "colour", "pair"))
    names, there = _nouns(scene, config, level)
    absent = sorted(names - there)
    yes = rng.random() < 0.5
    if not absent:
        return None
    return f"is there {rng.choice(sorted(there) if yes else absent)}?", "yes" if yes else "no"


def _nouns(scene: Scene, config: WorldConfig, level: str) -> tuple[set[str], set[str]]:
    """What may be asked for at this level of detail, and what of it is there."""
    if level == "colour":
        return {f"anything {colour}" for colour in config.colours}, {f"anything {thing.colour}" for thing in scene}
    if level == "shape":
        return {with_article(shape) for shape in config.shapes}, {with_article(thing.shape) for thing in scene}
    if level == "size":
        near = [with_article(f"{size} {shape}") for size in config.sizes for shape in {o.shape for o in scene}]
        return set(near), {with_article(f"{thing.size} {thing.shape}") for thing in scene}
    pairs = _near(_named_pairs(scene, config), scene), [thing.pair for thing in scene]
    names, there = ({with_article(f"{colour} {shape}") for shape, colour in some} for some in pairs)
    return names, there


def _near(pairs: tuple[Pair, ...], scene: Scene) -> list[Pair]:
    """The pairs that share a shape or a colour with something there: a harder "no"."""
    shapes, colours = {o.shape for o in scene}, {o.colour for o in scene}
    return [pair for pair in pairs if pair[0] in shapes or pair[1] in colours]


def _count(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """The level of detail is drawn first, then the answer among those possible, then what to count."""
    levels = {"all": 1, "shape": 3, "colour": 3, "pair": 3} | ({"size": 2, "sized shape": 2} if config.sized else {})
    level = rng.choices(list(levels), list(levels.values()))[0]
    names, there = {
        "all": (["objects"], ["objects" for _ in scene]),
        "shape": ([plural(shape) for shape in config.shapes], [plural(thing.shape) for thing in scene]),
        "colour": ([f"{c} objects" for c in config.colours], [f"{thing.colour} objects" for thing in scene]),
        "pair": ([f"{c} {plural(s)}" for s, c in _named_pairs(scene, config)], [_several(thing) for thing in scene]),
        "size": ([f"{size} objects" for size in config.sizes], [f"{thing.size} objects" for thing in scene]),
        "sized shape": (
            [f"{size} {plural(shape)}" for size in config.sizes for shape in config.shapes],
            [f"{thing.size} {plural(thing.shape)}" for thing in scene],
        ),
    }[level]
    answer = rng.choice(sorted({there.count(name) for name in names}))
    return f"how many {rng.choice([name for name in names if there.count(name) == answer])} are there?", str(answer)


def _several(thing: Object) -> str:
    return f"{thing.colour} {plural(thing.shape)}"


def _colour(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    thing = rng.choice(scene.objects)
    return _about("colour", rng.choice([_at(thing, config), *_NAMES["colour"](thing, scene)]), thing, config)


def _shape(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    thing = rng.choice(scene.objects)
    return _about("shape", rng.choice([_at(thing, config), *_NAMES["shape"](thing, scene)]), thing, config)


def _where(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    named = [(name, thing) for thing in scene for name in references(thing, scene)]
    return _about("where", *rng.choice(named), config) if named else None


def _about(kind: str, name: str, thing: Object, config: WorldConfig) -> tuple[str, str]:
    """A question about one object, called by this name, and its answer."""
    if kind == "where":
        return f"where is {name}?", config.place(thing.cell)
    return (f"what color is {name}?", thing.colour) if kind == "colour" else (f"what shape is {name}?", thing.shape)


def _at(thing: Object, config: WorldConfig) -> str:
    return f"the object at the {config.place(thing.cell)}"


def _shape_alone(thing: Object, scene: Scene) -> list[str]:
    return [f"the {thing.shape}"] if sum(other.shape == thing.shape for other in scene) == 1 else []


def _colour_alone(thing: Object, scene: Scene) -> list[str]:
    return [f"the {thing.colour} object"] if sum(other.colour == thing.colour for other in scene) == 1 else []


# What tells an object apart, and neither its place nor what is asked for.
_NAMES: dict[str, Callable[[Object, Scene], list[str]]] = {
    "where": references,
    "colour": _shape_alone,
    "shape": _colour_alone,
}


def _relation(scene: Scene, config: WorldConfig, rng: random.Random) -> Asked:
    """Yes and no equally often; no also of relations across the axis."""
    couples = [(a, b) for a, b in permutations(scene, 2) if references(a, scene) and references(b, scene)]
    if not couples:
        return None
    a, b = rng.choice(couples)
    yes = rng.random() < 0.5
    possible = [relation for relation in RELATIONS if related(a, relation, b) == yes]
    skewed = scene_split(scene, config) == "train"
    relation = rng.choices(possible, [_COMMON.get(relation, 1.0) if skewed else 1.0 for relation in possible])[0]
    first, second = (rng.choice(references(thing, scene)) for thing in (a, b))
    return f"is {first} {relation} {second}?", "yes" if yes else "no"


def _named_pairs(scene: Scene, config: WorldConfig) -> tuple[Pair, ...]:
    return pairs_of(config, scene_split(scene, config))


_ASK: dict[str, Callable[[Scene, WorldConfig, random.Random], Asked]] = {
    "exists": _exists,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "where": _where,
    "relation": _relation,
}
QUESTION_KINDS = tuple(_ASK)
"""The kinds of every world; `question_kinds` adds those of a world of several sizes."""
_ASK |= COMPARISONS
