"""The generated world as sources: its scenes, captions, questions and edits become records; it renders on demand."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from illume.core.config import config_hash
from illume.core.errors import ConfigError, DataError
from illume.core.streams import stream
from illume.data.records import Record, TaskName, Turn
from illume.data.sources import Size, images_name
from illume.images import masks
from illume.tasks.verdict import Criterion, Verdict
from illume.world import (
    Caption,
    Edit,
    Inpainting,
    Scene,
    Spec,
    Split,
    WorldConfig,
    caption,
    perturb,
    questions,
    sample_edit_pair,
    sample_inpainting,
    sample_scene,
    verdict,
)
from illume.world.render import RGB, nameless_palette, render
from illume.world.scene import COLOURS, centred

_PATIENCE = 100  # scenes tried for one with a wrong caption; nearly every scene has many


class WorldImages:
    """A split's first scenes, edits (a scene and what it becomes) and inpaintings (so too, with a region), as pictures.

    Keys: NAME/scene/7, NAME/centred/7 (the scene, its objects in the middle of their cells), NAME/source/7 and
    NAME/target/7, NAME/masked/7 and NAME/painted/7. Pictures are kept once
    rendered. With `nameless`, each scene is painted in random colours that have no name in this world: pictures to
    learn shapes apart from colours by, which never show a held-out pair, and of which no caption is true.
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
    ) -> None:
        if max(num_scenes, num_inpaintings) < 1 or min(num_scenes, num_edits, num_inpaintings) < 0:
            counts = f"{num_scenes} (and {num_edits} edits, {num_inpaintings} inpaintings)"
            raise ConfigError(f"a world needs at least one scene, not {counts}")
        self.config, self.split = config, split
        self.num_scenes, self.num_edits, self.num_inpaintings = num_scenes, num_edits, num_inpaintings
        self.nameless = nameless
        self.name = images_name(name if name is not None else f"{'nameless' if nameless else 'world'}-{split}")
        self._scenes: dict[int, Scene] = {}
        self._edits: dict[int, tuple[Scene, Edit]] = {}
        self._inpaintings: dict[int, tuple[Scene, Inpainting]] = {}
        self._pictures: dict[str, np.ndarray] = {}

    @property
    def size(self) -> Size:
        return (self.config.size, self.config.size)

    @cached_property
    def fingerprint(self) -> str:
        more = f"-{self.num_inpaintings}" if self.num_inpaintings else ""
        return f"{config_hash(self.config)}-{self.split}-{self.num_scenes}-{self.num_edits}-{self.nameless}{more}"

    def keys(self) -> Sequence[str]:
        return tuple(self.key(kind, number) for kind, count in self._counts.items() for number in range(count))

    @property
    def _counts(self) -> dict[str, int]:
        """How many images of each kind there are."""
        pairs = {"source": self.num_edits, "target": self.num_edits}
        regions = {"masked": self.num_inpaintings, "painted": self.num_inpaintings}
        return {"scene": self.num_scenes, "centred": self.num_scenes, **pairs, **regions}

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
        return nameless_palette(self.config, stream("nameless", self.config.seed, key))

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

    def _scene_of(self, kind: str, number: int) -> Scene:
        if kind == "scene":
            return self.scene(number)
        if kind == "centred":
            return centred(self.scene(number))
        before, edit = self.edit(number)
        return before if kind == "source" else edit.target

    def _parsed(self, key: str) -> tuple[str, int]:
        """The kind and the number that a key names; DataError where there is no such image."""
        name, kind, number = ["", "", *key.rsplit("/", 2)][-3:]
        if name != self.name or not number.isdecimal() or int(number) >= self._counts.get(kind, 0):
            held = ", ".join(f"{count} {kind}" for kind, count in self._counts.items() if count)
            raise DataError(f"there is no image {key!r} in {self.name}, which has {held}")
        return kind, int(number)


class WorldSource:
    """Records of one task about a world's images.

    Each scene comes `variants` times with other words (captions, questions, prompts to assess); an edit or an
    inpainting once.
    """

    def __init__(self, images: WorldImages, task: TaskName, *, name: str | None = None, variants: int = 4) -> None:
        if task == "edit" and not images.num_edits:
            raise ConfigError("these world images have no edits: set num_edits")
        if task == "inpaint" and not images.num_inpaintings:
            raise ConfigError("these world images have no inpaintings: set num_inpaintings")
        self.name = name if name is not None else task
        self.images = images
        self._task: TaskName = task
        once = {"edit": images.num_edits, "inpaint": images.num_inpaintings, "reconstruct": images.num_scenes}
        self._length = once.get(task, images.num_scenes * variants)
        self._make = _RECORDS[task]
        self._records: dict[int, Record] = {}

    def __len__(self) -> int:
        return self._length

    def record(self, index: int) -> Record:
        if not 0 <= index < self._length:
            raise IndexError(f"the source {self.name!r} has {self._length} records, none of number {index}")
        if index not in self._records:
            rng = stream("record", self.images.config.seed, self.images.split, self._task, index)
            self._records[index] = self._make(self.images, index, rng)
        return self._records[index]


def masked_picture(scene: Scene, inpainting: Inpainting, config: WorldConfig) -> np.ndarray:
    """The picture of a scene with the region of an inpainting painted over, as a model is shown it."""
    picture = render(scene, config)
    region = masks.region_of(inpainting.box, (config.size, config.size))
    return np.array(masks.marked(Image.fromarray(picture), region))


def to_verdict(spec: Spec, scene: Scene) -> Verdict:
    """The world's true verdict on a scene, as one is written down."""
    found = verdict(spec, scene).items()
    return Verdict.of({name: Criterion(f.applicable, f.reason, f.passed) for name, f in found})


def _captioned(images: WorldImages, index: int, rng: random.Random) -> tuple[str, Scene, Caption]:
    number = index % images.num_scenes
    scene = images.scene(number)
    return images.key("scene", number), scene, caption(scene, images.config, rng, images.split)


def _caption(images: WorldImages, index: int, rng: random.Random) -> Record:
    key, _, said = _captioned(images, index, rng)
    return Record("caption", images=(key,), text=said.text)


def _draw(images: WorldImages, index: int, rng: random.Random) -> Record:
    """The scene with each object in the middle of its cell: offsets, which no caption tells, would be noise."""
    _, _, said = _captioned(images, index, rng)
    return Record("draw", images=(images.key("centred", index % images.num_scenes),), text=said.text)


def _text(images: WorldImages, index: int, rng: random.Random) -> Record:
    return Record("text", text=_captioned(images, index, rng)[2].text)


def _reconstruct(images: WorldImages, index: int, rng: random.Random) -> Record:
    return Record("reconstruct", images=(images.key("scene", index),))


def _edit(images: WorldImages, index: int, rng: random.Random) -> Record:
    _, edit = images.edit(index)
    pair = (images.key("source", index), images.key("target", index))
    return Record("edit", images=pair, instruction=edit.instruction)


def _inpaint(images: WorldImages, index: int, rng: random.Random) -> Record:
    _, found = images.inpainting(index)
    pair = (images.key("masked", index), images.key("painted", index))
    return Record("inpaint", images=pair, instruction=found.instruction or "", mask=found.box)


def _chat(images: WorldImages, index: int, rng: random.Random) -> Record:
    number = index % images.num_scenes
    turns: list[Turn] = []
    for question in questions(images.scene(number), images.config, rng):
        shown = (0, question.text) if not turns else (question.text,)
        turns += [Turn("user", shown), Turn("assistant", (question.answer,))]
    return Record("chat", images=(images.key("scene", number),), messages=tuple(turns), independent=True)


def _assess(images: WorldImages, index: int, rng: random.Random) -> Record:
    """True and wrong captions in turn, so that always saying "good" is right half the time."""
    number, variant = index % images.num_scenes, index // images.num_scenes
    wrong = (number + variant) % 2 == 1
    for _ in range(_PATIENCE):
        scene = images.scene(number)
        said = caption(scene, images.config, rng, images.split)
        found = perturb(said, scene, images.config, rng, images.split) if wrong else (said, "")
        if found is not None:
            prompt = found[0]
            key = images.key("scene", number)
            return Record("assess", images=(key,), text=prompt.text, verdict=to_verdict(prompt.spec, scene))
        number = rng.randrange(images.num_scenes)  # this scene has no wrong caption of the split: take another
    raise DataError(f"no wrong caption of split {images.split!r} was found in {_PATIENCE} scenes")


_RECORDS: dict[str, Callable[[WorldImages, int, random.Random], Record]] = {
    "caption": _caption,
    "draw": _draw,
    "reconstruct": _reconstruct,
    "edit": _edit,
    "chat": _chat,
    "text": _text,
    "assess": _assess,
    "inpaint": _inpaint,
}
