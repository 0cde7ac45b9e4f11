"""Scenes, prompts and edit pairs by index: pure functions of (config, split, index); they know no pictures."""

import random
from collections.abc import Iterator

from illume.core.errors import ConfigError
from illume.core.streams import stream
from illume.world.edits import Edit, propose_edit
from illume.world.inpainting import INPAINT_KINDS, Inpainting, propose_inpainting
from illume.world.language import Caption, find_caption
from illume.world.scene import (
    EditKind,
    Object,
    Pair,
    Scene,
    Split,
    WorldConfig,
    arrange,
    held_out,
    pairs_of,
    scene_split,
)
from illume.world.specs import CATEGORIES, NOVEL_CATEGORIES

# Kinds of scenes and their weights: chosen so that every category of captions comes often.
_KINDS = {"single": 0.16, "pair": 0.56, "repeat": 0.18, "mixed": 0.1}
# A world of several sizes has scenes of two kinds of objects too, of which one can stand beside the other.
_SIZED_KINDS = {"single": 0.24, "pair": 0.36, "repeat": 0.12, "mixed": 0.16, "sides": 0.12}
_KINDS_OF = {
    "single_object": ("single",),
    "colors": ("single",),
    "two_object": ("pair",),
    "position": ("pair",),
    "color_attr": ("pair", "pair", "mixed"),
    "counting": ("repeat", "repeat", "mixed"),
}
_SIZED_KINDS_OF = _KINDS_OF | {"position": ("pair", "sides"), "counting": ("repeat", "mixed", "sides")}
_PATIENCE = 10_000  # tries after which a world is judged to have no such scene


def categories_of(split: Split) -> tuple[str, ...]:
    """The categories that prompts of a split can have: novel ones name a shape with its colour."""
    return NOVEL_CATEGORIES if split == "novel" else CATEGORIES


def sample_scene(config: WorldConfig, split: Split, index: int) -> Scene:
    """Scene number `index` of a split; it has at least one caption of that split."""
    rng = stream(config.seed, "scene", split, index)
    kinds = _SIZED_KINDS if config.sized else _KINDS
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    for _ in range(_PATIENCE):
        scene = _draw_scene(config, split, rng, kind)
        if scene is not None and find_caption(scene, config, rng, split) is not None:
            return scene
    raise ConfigError(f"this world has no scene of split {split} with a caption; try another seed or test_fraction")


def sample_prompt(config: WorldConfig, split: Split, index: int, category: str | None = None) -> Caption:
    """Prompt number `index` of a split, the categories in turn unless one is named.

    Raises ConfigError for a category that the split, or this world, cannot have.
    """
    possible = categories_of(split)
    chosen = possible[index % len(possible)] if category is None else category
    if chosen not in possible:
        raise ConfigError(f"category {chosen!r}: prompts of split {split} have one of {', '.join(possible)}")
    rng = stream(config.seed, "prompt", split, index, chosen)
    kinds = (_SIZED_KINDS_OF if config.sized else _KINDS_OF)[chosen]
    for _ in range(_PATIENCE):
        scene = _draw_scene(config, split, rng, rng.choice(kinds))
        found = None if scene is None else find_caption(scene, config, rng, split, chosen)
        if found is not None:
            return found
    raise ConfigError(f"this world has no {chosen} prompt of split {split}; try another seed or test_fraction")


def sample_edit_pair(config: WorldConfig, split: Split, index: int) -> tuple[Scene, Edit]:
    """A scene and an edit of it within the split, the kinds of edits in turn.

    In training the kinds that refer to something in the scene come twice as often as "add", which is sooner learnt.
    """
    often = [kind for kind in config.edits if split == "train" and kind != "add"]
    kinds = (*config.edits, *often)
    kind = kinds[index % len(kinds)]
    rng = stream(config.seed, "edit", split, index)
    for scene in _scenes(config, split, rng):
        edit = propose_edit(scene, config, rng, kind)
        if edit is not None:
            return scene, edit
    raise ConfigError(f"this world has no {kind} of a scene of split {split}")


def sample_edit_chain(config: WorldConfig, split: Split, index: int, turns: int = 3) -> tuple[Scene, tuple[Edit, ...]]:
    """A scene and edits of it one after the other, each of what the last one gave and none undoing another.

    Every scene on the way belongs to the split.
    """
    rng = stream(config.seed, "edit chain", split, index)
    for scene in _scenes(config, split, rng):
        edits = _propose_chain(scene, config, rng, turns)
        if len(edits) == turns:
            return scene, tuple(edits)
    raise ConfigError(f"no scene of split {split} of this world has {turns} edits in a row")


def sample_inpainting(config: WorldConfig, split: Split, index: int) -> tuple[Scene, Inpainting]:
    """A scene and a region of it to be painted anew within the split, filled and restored in turn."""
    kind = INPAINT_KINDS[index % len(INPAINT_KINDS)]
    rng = stream(config.seed, "inpaint", split, index)
    for scene in _scenes(config, split, rng):
        found = propose_inpainting(scene, config, rng, kind)
        if found is not None:
            return scene, found
    raise ConfigError(f"this world has no region of a scene of split {split} to {kind}")


def _propose_chain(scene: Scene, config: WorldConfig, rng: random.Random, turns: int) -> list[Edit]:
    """Edits of one scene in a row, of different kinds while there are any left; fewer than `turns` where it ends."""
    seen, edits = [scene], list[Edit]()
    kinds: list[EditKind] = []
    for _ in range(turns):
        kinds = kinds or rng.sample(config.edits, len(config.edits))
        found = None
        for kind in tuple(kinds):
            found = propose_edit(seen[-1], config, rng, kind)
            if found is not None and found.target not in seen:
                kinds.remove(kind)
                break
            found = None
        if found is None:
            break
        edits.append(found)
        seen.append(found.target)
    return edits


def _scenes(config: WorldConfig, split: Split, rng: random.Random) -> Iterator[Scene]:
    """Scenes of a split, as many as one has patience for."""
    for _ in range(_PATIENCE + 1):
        yield sample_scene(config, split, rng.getrandbits(62))


def _draw_scene(config: WorldConfig, split: Split, rng: random.Random, kind: str) -> Scene | None:
    """One attempt at a scene of a kind; None where it belongs to another split."""
    pairs = _draw_pairs(config, split, rng, kind)
    cells = rng.sample(config.cells, len(pairs))
    jitter = range(-config.jitter, config.jitter + 1)
    alike = {pair: rng.choice(config.sizes) for pair in sorted(set(pairs))} if kind == "sides" else {}
    things = (
        Object(
            *pair,
            size=alike.get(pair) or rng.choice(config.sizes),
            cell=cell,
            offset=(rng.choice(jitter), rng.choice(jitter)),
        )
        for pair, cell in zip(pairs, cells, strict=True)
    )
    scene = arrange(things)
    return scene if scene_split(scene, config) == split else None


def _draw_pairs(config: WorldConfig, split: Split, rng: random.Random, kind: str) -> list[Pair]:
    """What the objects are: one; two different; several of one shape; three or more of any; some of each of two."""
    most = config.max_objects
    least = {"single": 1, "pair": 2, "repeat": 2, "mixed": 3, "sides": 3}[kind]
    number = min(most, rng.randint(least, max(least, most)) if kind in ("repeat", "mixed", "sides") else least)
    possible = pairs_of(config, split)
    first = rng.choice(sorted(held_out(config))) if split == "novel" else rng.choice(possible)
    if kind == "repeat":
        same = rng.random() < 0.5
        alike = [first] if same else [pair for pair in possible if pair[0] == first[0]]
        return [first] + [rng.choice(alike) for _ in range(number - 1)]
    if kind == "sides":
        second = rng.choice([pair for pair in possible if pair != first])
        some = rng.randint(1, max(1, number - 1))
        return [first] * some + [second] * (number - some)
    if kind == "pair" and rng.random() < 0.85:  # mostly of two shapes, so that names without colours tell them apart
        possible = tuple(pair for pair in possible if pair[0] != first[0])
    return [first] + [rng.choice(possible) for _ in range(number - 1)]
