"""Reinforcement of a model's own drawings by a judge (GRPO), in a run folder of its own.

It does not know who the judge is, nor how drawings become batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from illume.core.device import pick_device
from illume.core.dist import is_main, world_size
from illume.core.errors import ConfigError
from illume.core.log import console
from illume.data.policy_batch import PolicyBatch
from illume.encode import weights_hash
from illume.enhance.propose import Prompt, read_prompts
from illume.generate.folder import Parts
from illume.judge.api import ApiJudge
from illume.judge.protocol import Drawing, Judge
from illume.recipes.beside import drawings_of, learn_beside
from illume.recipes.data import OpenData
from illume.recipes.folder import RunFolder
from illume.recipes.recipe import RoundsData
from illume.recipes.retrain import (
    Base,
    Retraining,
    continued,
    digest,
    finished_parts,
    go_on,
    older_rounds,
    row_length_for,
)
from illume.recipes.rollouts import JudgedDrawer, RolloutLoader
from illume.train.policy_objective import PolicyConfig, PolicyObjective


def reinforcing(
    base: Base, rounds: Mapping[str, Path], out: Path, how: Retraining, config: PolicyConfig, judge: Judge
) -> dict[str, Any]:
    """A finished model trained on by GRPO on the prompts of files of prompts, beside its last stage's mixture: a share
    `how.share` of a step's samples are drawings. Returns the scorecard; killed and run again, it goes on.

    ConfigError where several processes would share a judge that keeps accounts.
    """
    check_judge(judge)
    given = finished_parts(base)
    prompts = {prompt.text: prompt for path in rounds.values() for prompt in read_prompts(path)}
    learnt = RoundsData(
        {name: str(path) for name, path in rounds.items()},
        {name: digest(path) for name, path in rounds.items()},
        row_length_for(base.recipe, max(_length(given, text) for text in prompts)),
        weights_hash(given.model),
        config,
        how.share,
        str(judge.identity),
    )
    stage = continued(base.recipe.stages[-1], {}, how, older_rounds(base.recipe))
    stage = replace(stage, batch_size=round(config.drawings / how.share))
    made = replace(base.recipe, out=str(out), stages=(stage,), rounds=learnt)
    return go_on(
        base, made, given, lambda folder, data: _learn(folder, data, given, list(prompts.values()), config, judge)
    )


def check_judge(judge: Judge) -> None:
    """ConfigError where several processes would share a judge that keeps accounts."""
    if world_size() > 1 and isinstance(judge, ApiJudge):
        raise ConfigError("an API keeps accounts in one process: reinforce by it without torchrun, or by another judge")


def _learn(
    folder: RunFolder, data: OpenData, given: Parts, prompts: list[Prompt], config: PolicyConfig, judge: Judge
) -> None:
    recipe = folder.recipe
    assert recipe.rounds is not None
    (stage,) = recipe.stages
    device = pick_device(recipe.device)
    if is_main():
        number = -(-stage.steps // config.inner) * config.drawings
        costs = costs_of(judge, given, prompts, number)
        console.print(f"{judge.identity}: at most {number} drawings are to be judged{costs}", markup=False)
    objective = PolicyObjective(
        given.model, config, sum(rows * columns for rows, columns in drawings_of(given).frame.grids)
    )
    loader = RolloutLoader(
        JudgedDrawer(given, judge, config),
        objective,
        prompts,
        stage,
        device=device,
        row_length=recipe.rounds.row_length,
        rows_per_batch=recipe.rows_per_batch,
    )
    learn_beside(folder, data, given, objective, loader, PolicyBatch, config.drawings, ahead=False)


def costs_of(judge: Judge, given: Parts, prompts: Sequence[Prompt], number: int) -> str:
    """What so many drawings of these prompts will cost, in words; nothing where the judge costs nothing. None of them
    is drawn yet: the size of a picture is known, and nothing else of it counts."""
    if not isinstance(judge, ApiJudge):
        return ""
    height, width = (side * given.pixel_decoder.upscale for side in given.image_size)
    blank = Image.new("RGB", (width, height))
    estimate = judge.estimate([Drawing(prompt.text, blank, prompt.key, prompt.spec) for prompt in prompts])
    return f"; {estimate.times(number / len(prompts))}"


def _length(given: Parts, text: str) -> int:
    write = drawings_of(given)
    blank = tuple((0,) * (rows * columns) for rows, columns in write.frame.grids)
    return len(write.sample(text, blank, text))
