"""Stand-ins for a model on the generated world: one that does everything right, one that idles, one of noise."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from illume.data.world_source import to_verdict
from illume.eval.task import Picture
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.see import See
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.world import Object, Scene, Spec, WorldConfig, arrange, holds, oracle, verdict
from illume.world.language import understand
from illume.world.render import render


class PerfectSubject:
    """Looks up the answers to questions and edits; reads, draws and judges by the world's own rules."""

    def __init__(self, config: WorldConfig, see: See, edit: Edit) -> None:
        self.config = config
        self.answers = {(i.picture.tobytes(), i.question.text): i.question.answer for i in see.items()}
        self.targets = {(i.picture.tobytes(), i.edit.instruction): i.edit.target for i in edit.items()}

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str]) -> list[str]:
        asked = zip(pictures, questions, strict=True)
        return ["?" if p is None else f" {self.answers[p.tobytes(), q].upper()}. " for p, q in asked]

    def caption(self, pictures: Sequence[Picture]) -> list[str]:
        raise AssertionError("the world's benchmarks ask for no captions")

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        return [render(scene_of(understand(prompt), self.config), self.config) for prompt in prompts]

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        asked = zip(pictures, instructions, strict=True)
        return [render(self.targets[picture.tobytes(), text], self.config) for picture, text in asked]

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return list(pictures)

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        scenes = [oracle.read(picture, self.config).scene for picture in pictures]
        return [to_verdict(understand(p), scene).to_json() for p, scene in zip(prompts, scenes, strict=True)]


class IdleSubject(PerfectSubject):
    """Gives back what it is given, draws nothing, and finds everything good."""

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str]) -> list[str]:
        return list(questions)

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        return [np.full((self.config.size, self.config.size, 3), 240, np.uint8) for _ in prompts]

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        return list(pictures)

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return self.draw([""] * len(pictures))

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        return [Verdict.of(dict.fromkeys(CRITERIA, Criterion(True, "", True))).to_json() for _ in prompts]


class NoisySubject(PerfectSubject):
    """Says and draws noise."""

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str]) -> list[str]:
        return [f"{i}?!" for i in range(len(questions))]

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (self.config.size, self.config.size, 3), dtype=np.uint8) for _ in prompts]

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        return self.draw(instructions)

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return self.draw([""] * len(pictures))

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        return ['{"overall": true' for _ in prompts]


def scene_of(spec: Spec, config: WorldConfig) -> Scene:
    """A scene that is exactly what a spec says."""
    wanted = [group for group in spec.groups for _ in range(group.count)]
    cells = [(1, 1), (0, 0)] if spec.relation in ("right of", "below") else [(0, 0), (1, 1), (0, 1), (1, 0)]
    for shape, colour in product(config.shapes, config.colours):
        things = [
            Object(group.shape or shape, group.colour or colour, config.sizes[0], cell)
            for group, cell in zip(wanted, cells, strict=False)
        ]
        scene = arrange(things)
        if holds(verdict(spec, scene)):
            return scene
    raise AssertionError(f"no scene was found for {spec}")
