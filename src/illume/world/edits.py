"""Edits of scenes: an instruction and the scene it leads to, all else identical; it knows no pictures."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from illume.core.errors import DataError
from illume.world.language import with_article
from illume.world.scene import (
    Cell,
    EditKind,
    Object,
    Scene,
    WorldConfig,
    arrange,
    pairs_of,
    scene_key,
    scene_split,
)

_PROPOSALS = 64  # tries at a target within the source's split


@dataclass(frozen=True)
class Edit:
    """What is asked and the scene that answers it."""

    kind: EditKind
    instruction: str
    target: Scene


def sample_edit(scene: Scene, config: WorldConfig, rng: random.Random) -> Edit:
    """An edit of one of the configured kinds. Raises DataError where none stays within the scene's split."""
    for kind in rng.sample(config.edits, len(config.edits)):
        edit = propose_edit(scene, config, rng, kind)
        if edit is not None:
            return edit
    raise DataError(f"no edit of the scene {scene_key(scene)!r} stays within its split")


def propose_edit(scene: Scene, config: WorldConfig, rng: random.Random, kind: EditKind) -> Edit | None:
    """An edit of this kind whose target belongs to the same split as the scene, or None where none was found."""
    split = scene_split(scene, config)
    for _ in range(_PROPOSALS):
        edit = _propose(scene, config, rng, kind)
        if edit is None:
            return None
        if scene_split(edit.target, config) == split:
            return edit
    return None


def references(thing: Object, scene: Scene) -> list[str]:
    """The expressions that mean this object and no other of the scene: "the circle", "the red circle".

    Where the sizes of the scene differ, "the small circle" and "the small red circle" too.
    """
    shapes = Counter(other.shape for other in scene)
    pairs = Counter(other.pair for other in scene)
    found = [f"the {thing.shape}"] if shapes[thing.shape] == 1 else []
    found += [f"the {thing.colour} {thing.shape}"] if pairs[thing.pair] == 1 else []
    if len({other.size for other in scene}) > 1:
        same = [other for other in scene if (other.shape, other.size) == (thing.shape, thing.size)]
        found += [f"the {thing.size} {thing.shape}"] if len(same) == 1 else []
        alone = sum(other.colour == thing.colour for other in same) == 1
        found += [f"the {thing.size} {thing.colour} {thing.shape}"] if alone else []
    return found


def _refer(thing: Object, scene: Scene, config: WorldConfig, rng: random.Random) -> str:
    """One of the object's references, its place among them."""
    return rng.choice([*references(thing, scene), f"the object at the {config.place(thing.cell)}"])


def _propose(scene: Scene, config: WorldConfig, rng: random.Random, kind: EditKind) -> Edit | None:
    """An edit of this kind, of whatever split; None where the scene has room for none."""
    thing = rng.choice(scene.objects)
    free = [cell for cell in config.cells if cell not in {other.cell for other in scene}]
    if kind == "add":
        return _add(scene, config, rng, rng.choice(free)) if free and len(scene) < config.max_objects else None
    name = _refer(thing, scene, config, rng)
    rest = [other for other in scene if other is not thing]
    if kind == "remove":
        return (
            Edit(kind, f"{rng.choice(('remove', 'delete', 'erase', 'take away'))} {name}", arrange(rest))
            if rest
            else None
        )
    if kind == "move":
        return _move(thing, name, rest, config, rng, rng.choice(free)) if free else None
    other = _CHANGED[kind](thing, config, rng)
    return Edit(kind, rng.choice(list(_worded(kind, name, thing, other, config))), arrange([*rest, other]))


def _worded(kind: EditKind, name: str, thing: Object, other: Object, config: WorldConfig) -> Iterator[str]:
    """The ways to say how one object becomes another."""
    if kind == "recolour":
        return _recolouring(name, other)
    return _replacing(name, other) if kind == "replace" else _resizing(name, thing, other, config)


def _add(scene: Scene, config: WorldConfig, rng: random.Random, cell: Cell) -> Edit:
    """The new object stands in the middle of its cell: the instruction leaves no other choice of place, nor of size."""
    shape, colour = rng.choice(pairs_of(config, scene_split(scene, config)))
    size = rng.choice(config.sizes) if config.sized else config.sizes[0]
    verb = rng.choice(("add", "put", "place", "draw"))
    thing = Object(shape, colour, size, cell)
    return Edit("add", f"{verb} {described(thing, config)} at the {config.place(cell)}", arrange([*scene, thing]))


def described(thing: Object, config: WorldConfig) -> str:
    """An object in words that leave nothing open but its place: "a red circle", "a small red circle"."""
    return with_article(f"{f'{thing.size} ' if config.sized else ''}{thing.colour} {thing.shape}")


def _move(thing: Object, name: str, rest: list[Object], config: WorldConfig, rng: random.Random, cell: Cell) -> Edit:
    instruction = f"{rng.choice(('move', 'bring', 'shift'))} {name} to the {config.place(cell)}"
    return Edit("move", instruction, arrange([*rest, replace(thing, cell=cell)]))


def _recolour(thing: Object, config: WorldConfig, rng: random.Random) -> Object:
    return replace(thing, colour=rng.choice([colour for colour in config.colours if colour != thing.colour]))


def _replace(thing: Object, config: WorldConfig, rng: random.Random) -> Object:
    """Another shape, in any colour; the size stays."""
    possible = [pair for pair in pairs_of(config, "novel") if pair[0] != thing.shape]
    shape, colour = rng.choice(possible)
    return replace(thing, shape=shape, colour=colour)


def _resize(thing: Object, config: WorldConfig, rng: random.Random) -> Object:
    return replace(thing, size=rng.choice([size for size in config.sizes if size != thing.size]))


_CHANGED = {"recolour": _recolour, "replace": _replace, "resize": _resize}


def _recolouring(name: str, other: Object) -> Iterator[str]:
    yield from (f"{verb} {name} {other.colour}" for verb in ("make", "paint", "color"))
    yield f"change {name} to {other.colour}"


def _replacing(name: str, other: Object) -> Iterator[str]:
    new = with_article(f"{other.colour} {other.shape}")
    yield from (f"replace {name} with {new}", f"turn {name} into {new}", f"swap {name} for {new}")


def _resizing(name: str, thing: Object, other: Object, config: WorldConfig) -> Iterator[str]:
    """By the size it gets; where there is one other size alone, also by the direction."""
    yield from (f"make {name} {other.size}", f"resize {name} to {other.size}", f"change {name} to {other.size}")
    if len(config.sizes) == 2:
        larger = config.extent(other.size) > config.extent(thing.size)
        yield from (f"{'enlarge' if larger else 'shrink'} {name}", f"make {name} {'bigger' if larger else 'smaller'}")
