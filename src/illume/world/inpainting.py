"""Regions of scenes painted anew: which pixels, what is asked, and the scene it leads to; it knows no pictures.

A region is one cell, or two beside each other. "fill" asks for one object in the middle of one cell, "restore" says
nothing: then the plain background comes back. What stood in the region before does not matter, for it is not seen.
"""

import random
from dataclasses import dataclass
from typing import Literal

from illume.world.edits import described
from illume.world.scene import Cell, Object, Scene, WorldConfig, arrange, centred, pairs_of, scene_split

InpaintKind = Literal["fill", "restore"]
INPAINT_KINDS: tuple[InpaintKind, ...] = ("fill", "restore")
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two are outside

_PROPOSALS = 64  # tries at a target within the source's split
_VERBS = ("fill in", "paint", "draw", "put")


@dataclass(frozen=True)
class Inpainting:
    """The cells to be painted anew, the same in pixels, what is asked (None: restore the background), the answer."""

    kind: InpaintKind
    cells: tuple[Cell, ...]
    box: Box
    instruction: str | None
    target: Scene


def propose_inpainting(scene: Scene, config: WorldConfig, rng: random.Random, kind: InpaintKind) -> Inpainting | None:
    """An inpainting of this kind whose target belongs to the scene's split, or None where none was found.

    Half of the regions to be filled are empty before, half are not; one to be restored shows something, and something
    is left elsewhere.
    """
    split = scene_split(scene, config)
    for _ in range(_PROPOSALS):
        found = _fill(scene, config, rng) if kind == "fill" else _restore(scene, config, rng)
        if found is not None and scene_split(found.target, config) == split:
            return found
    return None


def box_of(cells: tuple[Cell, ...], config: WorldConfig) -> Box:
    """The pixels of a block of cells; neighbouring cells share no pixel and leave none between them."""
    rows, columns = {row for row, _ in cells}, {column for _, column in cells}
    (top, bottom), (left, right) = (
        (round(min(some) * config.size / number), round((max(some) + 1) * config.size / number))
        for some, number in zip((rows, columns), config.layout, strict=True)
    )
    return left, top, right, bottom


def _fill(scene: Scene, config: WorldConfig, rng: random.Random) -> Inpainting | None:
    taken = [thing.cell for thing in scene]
    free = [cell for cell in config.cells if cell not in taken]
    over = not free or len(scene) == config.max_objects or rng.random() < 0.5
    cell = rng.choice(taken if over else free)
    pair = rng.choice(pairs_of(config, scene_split(scene, config)))
    thing = Object(*pair, size=rng.choice(config.sizes), cell=cell)
    target = arrange([*(other for other in scene if other.cell != cell), thing])
    if centred(target) == centred(scene):
        return None
    instruction = f"{rng.choice(_VERBS)} {described(thing, config)}"
    return Inpainting("fill", (cell,), box_of((cell,), config), instruction, target)


def _restore(scene: Scene, config: WorldConfig, rng: random.Random) -> Inpainting | None:
    row, column = rng.choice(scene.objects).cell
    beside = [(row, column), (row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)]
    other = rng.choice([cell for cell in beside if cell in config.cells])  # the cell itself: a region of one
    cells = tuple(sorted({(row, column), other}))
    rest = arrange(thing for thing in scene if thing.cell not in cells)
    return Inpainting("restore", cells, box_of(cells, config), None, rest) if len(rest) else None
