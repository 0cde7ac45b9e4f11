"""The generated world as sources: its scenes, captions, questions and edits become records; it renders nothing."""

import random
from collections.abc import Callable, Mapping
from typing import Literal

from illume.core.errors import ConfigError, DataError
from illume.core.streams import stream
from illume.data.records import Record, TaskName, Turn
from illume.data.world_images import TURNS, WorldImages
from illume.tasks.prompts import EDIT
from illume.tasks.verdict import Criterion, Verdict
from illume.world import (
    Caption,
    Finding,
    Scene,
    Spec,
    caption,
    lesson,
    perturb,
    verdict,
)

WorldTask = TaskName | Literal["edit_turns"]  # what a world has records of; edits in turns are chats
_PATIENCE = 100  # scenes tried for one with a wrong caption; nearly every scene has many


class WorldSource:
    """Records of one task about a world's images.

    Each scene comes `variants` times with other words (captions, questions, prompts to assess); an edit or an
    inpainting once, a chain of edits in both of its forms.
    """

    def __init__(self, images: WorldImages, task: WorldTask, *, name: str | None = None, variants: int = 4) -> None:
        if task == "edit" and not images.num_edits:
            raise ConfigError("these world images have no edits: set num_edits")
        if task == "inpaint" and not images.num_inpaintings:
            raise ConfigError("these world images have no inpaintings: set num_inpaintings")
        if task == "edit_turns" and not images.num_chains:
            raise ConfigError("these world images have no chains of edits: set num_chains")
        self.name = name if name is not None else task
        self.images = images
        self._task: WorldTask = task
        once = {"edit": images.num_edits, "inpaint": images.num_inpaintings, "reconstruct": images.num_scenes}
        once["edit_turns"] = 2 * images.num_chains
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


class PartedSource(WorldSource):
    """Pictures in nameless colours, each with two views of it: its shapes in other colours, its colours on other
    shapes. By these a product quantiser learns to tell shapes with one group of its code and colours with the next."""

    def __init__(self, images: WorldImages, *, name: str = "parted") -> None:
        if not images.nameless:
            raise ConfigError("views in other colours are of pictures in nameless colours: set nameless")
        super().__init__(images, "reconstruct", name=name)

    def views(self, index: int) -> tuple[str, ...]:
        """Keys: the same shapes, then the same colours."""
        return self.images.key("recoloured", index), self.images.key("reshaped", index)


def to_verdict(spec: Spec, scene: Scene) -> Verdict:
    """The world's true verdict on a scene, as one is written down."""
    return written(verdict(spec, scene))


def written(findings: Mapping[str, Finding]) -> Verdict:
    """What the world found, criterion by criterion, as a verdict is written down."""
    return Verdict.of({name: Criterion(f.applicable, f.reason, f.passed) for name, f in findings.items()})


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
    for question in lesson(images.scene(number), images.config, rng):
        shown = (0, question.text) if not turns else (question.text,)
        turns += [Turn("user", shown), Turn("assistant", (question.answer,))]
    return Record("chat", images=(images.key("scene", number),), messages=tuple(turns), independent=True)


def _edit_turns(images: WorldImages, index: int, rng: random.Random) -> Record:
    """Edits in a row, each drawing the history of the next: as a session's `edit` says them, each picture shown again
    with the instruction, and then as a person says them, who shows the first alone."""
    number = index % images.num_chains
    edited = index < images.num_chains
    turns: list[Turn] = []
    for before, edit in enumerate(images.chain(number)[1]):
        shown = (before,) if edited or not turns else ()
        instruction = EDIT + edit.instruction if edited else edit.instruction
        turns += [Turn("user", (*shown, instruction)), Turn("assistant", (before + 1,))]
    keys = tuple(images.key(f"turn{turn}", number) for turn in range(TURNS + 1))
    return Record("chat", images=keys, messages=tuple(turns))


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
    "edit_turns": _edit_turns,
}
