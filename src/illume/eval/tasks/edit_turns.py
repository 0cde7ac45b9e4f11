"""Editing in turns: each edit is of the picture that the last one gave, and the whole scene has to be right each time.

It does not know how a model answers; a turn whose picture is wrong already can still be put right by a later one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from illume.core.statistics import mean
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.eval.tasks.edit import redrawn
from illume.world import Edit, Scene, WorldConfig, oracle, sample_edit_chain
from illume.world.render import render

TURNS = 3


@dataclass(frozen=True)
class Item:
    """A scene, its picture, and the edits asked for one after the other."""

    scene: Scene
    picture: Picture
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class EditTurns:
    """Half as many rows of three edits as there are `num_items`, of test scenes. A row's score is that of its last
    turn; how many are right after the first and the second is reported beside it."""

    config: WorldConfig
    num_items: int
    ability: ClassVar[str] = "edit_turns"

    def items(self) -> Sequence[Item]:
        chains = [sample_edit_chain(self.config, "test", i, TURNS) for i in range((self.num_items + 1) // 2)]
        return [Item(scene, render(scene, self.config), edits) for scene, edits in chains]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[tuple[Picture, ...]]:
        pictures = [[item.picture] for item in items]
        for turn in range(TURNS):
            before = [shown[-1] for shown in pictures]
            drawn = subject.edit(before, [item.edits[turn].instruction for item in items])
            for shown, picture in zip(pictures, drawn, strict=True):
                shown.append(picture)
        return [tuple(shown[1:]) for shown in pictures]

    def score(self, item: Item, answer: tuple[Picture, ...]) -> Score:
        right = [self._shows(picture, edit.target) for picture, edit in zip(answer, item.edits, strict=True)]
        labels = ["before", *(f"{'right' if good else 'wrong'} after {i + 1}" for i, good in enumerate(right))]
        said = "; then ".join(edit.instruction for edit in item.edits)
        pictures = tuple(zip(labels, (item.picture, *answer), strict=True))
        facts = {f"turn {i + 1}": good for i, good in enumerate(right)}
        return Score(right[-1], facts=facts, example=Example(said, pictures, "", right[-1]))

    def baselines(
        self, subject: Subject, items: Sequence[Item], answers: Sequence[tuple[Picture, ...]]
    ) -> Mapping[str, float]:
        """Giving the source back; stopping one turn early; drawing the last scene from a caption of it."""
        return {
            "copy the input": mean([self._shows(item.picture, item.edits[-1].target) for item in items]),
            "without the last turn": mean(
                [self._shows(shown[-2], item.edits[-1].target) for item, shown in zip(items, answers, strict=True)]
            ),
            "redraw": redrawn(subject, [item.edits[-1].target for item in items], self.config),
        }

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        turns = {name: Figure.of([score.facts[name] for score in scores]) for name in scores[0].facts}
        return to_row(scores, baselines, turns)

    def _shows(self, picture: Picture, scene: Scene) -> bool:
        return oracle.same(picture, scene, self.config)
