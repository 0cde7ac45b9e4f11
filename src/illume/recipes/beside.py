"""A finished model that goes on with its last stage's mixture, and learns something else beside it in every step.

It does not know what: an objective and a loader of batches of its own kind are given.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from illume.data.collate import SequenceBatch
from illume.data.drawings import Drawings
from illume.generate.folder import Parts
from illume.recipes import parts
from illume.recipes.adapt import lora_stage
from illume.recipes.data import OpenData
from illume.recipes.folder import RunFolder
from illume.train.joint_objective import JointObjective
from illume.train.lm_objective import LMObjective
from illume.train.objective import Objective
from illume.train.trainer import Loader
from illume.vocab.messages import ImageFrame


class JoinedLoader:
    """The batches of several loaders, one after the other."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.loaders = tuple(loaders)

    def batches(self, step: int) -> list[Any]:
        """Those of every loader."""
        return [batch for loader in self.loaders for batch in loader.batches(step)]


def drawings_of(given: Parts) -> Drawings:
    """How a model's drawings are written."""
    frame = ImageFrame(given.tokenizer.grids(given.image_size))
    return Drawings(given.layout, given.text, frame, given.reading)


def beside(share: float, batch_size: int) -> int:
    """How many of a step's samples are not the mixture's."""
    return max(1, round(share * batch_size))


def learn_beside(
    folder: RunFolder,
    data: OpenData,
    given: Parts,
    objective: Objective,
    loader: Loader,
    kind: type,
    number: int,
    ahead: bool = True,
) -> None:
    """Train the model through its one stage. `number` of a step's samples are the loader's, in batches of `kind`; each
    counts as much as one of the others, which are the mixture's."""
    recipe = folder.recipe
    (stage,) = recipe.stages
    loaders, objectives = [loader], {kind: objective}
    if (ordinary := stage.batch_size - number) > 0:
        examples = parts.examples_of(recipe, given.layout, given.text, parts.encoded(folder, data, given.tokenizer))
        mixture = replace(stage, batch_size=ordinary)
        loaders.insert(0, parts.sequence_loader(recipe, data, mixture, examples, recipe.row_length))
        objectives[SequenceBatch] = LMObjective(given.model, "sample")
    joint = JointObjective(objectives)
    with folder.part(stage.name):
        stage = lora_stage(stage, joint, recipe.lora)
        parts.fit_part(folder, stage.name, joint, JoinedLoader(loaders), stage, ahead=ahead)
