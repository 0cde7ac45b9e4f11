"""The pictures of the generated world by key, rendered on demand; it does not know what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from PIL import Image

from illume.core.config import config_hash
from illume.core.errors import ConfigError, DataError
from illume.core.streams import stream
from illume.data.sources import Size, images_name
from illume.images import masks
from illume.world import (
    Edit,
    Inpainting,
    Scene,
    Split,
    WorldConfig,
    arrange,
    sample_edit_chain,
    sample_edit_pair,
    sample_inpainting,
    sample_scene,
)
from illume.world.render import RGB, nameless_palette, render
from illume.world.scene import COLOURS, centred

TURNS = 3  # edits in a row


class WorldImages:
    """A split's first scenes, edits (a scene and what it becomes), inpaintings (so too, with a region) and chains
    (a scene and what it becomes by one edit after the other), as pictures.

    Keys: NAME/scene/7, NAME/centred/7 (the scene, its objects in the middle of their cells), NAME/source/7 and
    NAME/target/7, NAME/masked/7 and NAME/painted/7, NAME/turn0/7 to NAME/turn3/7. Pictures are kept once rendered.
    With `nameless`, each scene is painted in random colours that have no name in this world: pictures to learn shapes
    apart from colours by, which never show a held-out pair, and of which no caption is true. There are then
    NAME/recoloured/7 and NAME/reshaped/7 too: the scene in other such colours, and other shapes in its colours.
    """

    def __init__(
        self,
        config: WorldConfig,
        split: Split,
        num_scenes: int,
        num_edits: int = 0,
        name: str | None = None,
        nameless: bool = False,
        num_inpaintings: int = 0,
        num_chains: int = 0,
    ) -> None:
        if max(num_scenes, num_inpaintings, num_chains) < 1:
            raise ConfigError(f"a world needs at least one scene, not {num_scenes} (and no inpaintings or chains)")
        if min(num_scenes, num_edits, num_inpaintings, num_chains) < 0:
            counts = f"{num_scenes} (and {num_edits} edits, {num_inpaintings} inpaintings, {num_chains} chains)"
            raise ConfigError(f"a world has no fewer than no scenes, not {counts}")
        self.config, self.split = config, split
        self.num_scenes, self.num_edits, self.num_inpaintings = num_scenes, num_edits, num_inpaintings
        self.num_chains = num_chains
        self.nameless = nameless
        self.name = images_name(name if name is not None else f"{'nameless' if nameless else 'world'}-{split}")
        self._scenes: dict[int, Scene] = {}
        self._edits: dict[int, tuple[Scene, Edit]] = {}
        self._inpaintings: dict[int, tuple[Scene, Inpainting]] = {}
        self._chains: dict[int, tuple[Scene, tuple[Edit, ...]]] = {}
        self._pictures: dict[str, np.ndarray] = {}

    @property
    def size(self) -> Size:
        return (self.config.size, self.config.size)

    @cached_property
    def fingerprint(self) -> str:
        more = f"-{self.num_inpaintings}" if self.num_inpaintings else ""
        more += f"-chains{self.num_chains}" if self.num_chains else ""
        return f"{config_hash(self.config)}-{self.split}-{self.num_scenes}-{self.num_edits}-{self.nameless}{more}"

    def keys(self) -> Sequence[str]:
        return tuple(self.key(kind, number) for kind, count in self._counts.items() for number in range(count))

    @property
    def _counts(self) -> dict[str, int]:
        """How many images of each kind there are."""
        pairs = {"source": self.num_edits, "target": self.num_edits}
        regions = {"masked": self.num_inpaintings, "painted": self.num_inpaintings}
        turns = {f"turn{turn}": self.num_chains for turn in range(TURNS + 1)}
        views = dict.fromkeys(("recoloured", "reshaped"), self.num_scenes) if self.nameless else {}
        return {"scene": self.num_scenes, "centred": self.num_scenes, **pairs, **regions, **turns, **views}

    def key(self, kind: str, number: int) -> str:
        return f"{self.name}/{kind}/{number}"

    def image(self, key: str) -> np.ndarray:
        if key not in self._pictures:
            picture = self._rendered(key)
            picture.flags.writeable = False
            self._pictures[key] = picture
        return self._pictures[key]

    def _rendered(self, key: str) -> np.ndarray:
        kind, number = self._parsed(key)
        if kind == "masked":
            return masked_picture(*self.inpainting(number), self.config)
        if kind == "painted":
            return render(self.inpainting(number)[1].target, self.config)
        return render(self._scene_of(kind, number), self.config, self._palette(key))

    def _palette(self, key: str) -> Mapping[str, RGB]:
        if not self.nameless:
            return COLOURS
        of = key.replace("/reshaped/", "/scene/")  # what has other shapes has the colours of the scene itself
        return nameless_palette(self.config, stream("nameless", self.config.seed, of))

    def scene(self, number: int) -> Scene:
        """Scene `number` of the split."""
        if number not in self._scenes:
            self._scenes[number] = sample_scene(self.config, self.split, number)
        return self._scenes[number]

    def edit(self, number: int) -> tuple[Scene, Edit]:
        """Edit `number` of the split: the scene before, what is asked, the scene after."""
        if number not in self._edits:
            self._edits[number] = sample_edit_pair(self.config, self.split, number)
        return self._edits[number]

    def inpainting(self, number: int) -> tuple[Scene, Inpainting]:
        """Inpainting `number` of the split: the scene before, the region and what is asked for, the scene after."""
        if number not in self._inpaintings:
            self._inpaintings[number] = sample_inpainting(self.config, self.split, number)
        return self._inpaintings[number]

    def chain(self, number: int) -> tuple[Scene, tuple[Edit, ...]]:
        """Chain `number` of the split: a scene, and edits of it one after the other."""
        if number not in self._chains:
            self._chains[number] = sample_edit_chain(self.config, self.split, number, TURNS)
        return self._chains[number]

    def _scene_of(self, kind: str, number: int) -> Scene:
        if kind in ("scene", "recoloured"):
            return self.scene(number)
        if kind == "centred":
            return centred(self.scene(number))
        if kind == "reshaped":
            return self._reshaped(number)
        if kind.startswith("turn"):
            first, edits = self.chain(number)
            return (first, *(edit.target for edit in edits))[int(kind.removeprefix("turn"))]
        before, edit = self.edit(number)
        return before if kind == "source" else edit.target

    def _reshaped(self, number: int) -> Scene:
        rng = stream("reshaped", self.config.seed, self.split, number)
        return arrange(replace(thing, shape=rng.choice(self.config.shapes)) for thing in self.scene(number))

    def _parsed(self, key: str) -> tuple[str, int]:
        """The kind and the number that a key names; DataError where there is no such image."""
        name, kind, number = ["", "", *key.rsplit("/", 2)][-3:]
        if name != self.name or not number.isdecimal() or int(number) >= self._counts.get(kind, 0):
            held = ", ".join(f"{count} {kind}" for kind, count in self._counts.items() if count)
            raise DataError(f"there is no image {key!r} in {self.name}, which has {held}")
        return kind, int(number)


def masked_picture(scene: Scene, inpainting: Inpainting, config: WorldConfig) -> np.ndarray:
    """The picture of a scene with the region of an inpainting painted over, as a model is shown it."""
    picture = render(scene, config)
    region = masks.region_of(inpainting.box, (config.size, config.size))
    return np.array(masks.marked(Image.fromarray(picture), region))
