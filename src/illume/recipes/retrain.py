"""Training on the records of self-enhancement rounds, in a run folder of its own: stage 3 anew, or a model continued.

It does not know how the records came about.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from illume.api import Illume
from illume.core.checkpoint import latest
from illume.core.config import dump_yaml, load_yaml
from illume.core.device import pick_device, pick_dtype
from illume.core.dist import barrier, broadcast_object, is_main
from illume.core.errors import CheckpointError, DataError
from illume.core.files import read_json
from illume.data.examples import Examples, Pictures
from illume.data.records_source import RecordsSource
from illume.encode import weights_hash
from illume.generate.folder import Parts, load_parts
from illume.generate.named import model_folder
from illume.models.lora import add_lora
from illume.recipes import parts
from illume.recipes.data import OpenData, open_data
from illume.recipes.folder import RunFolder, part_hashes
from illume.recipes.recipe import Recipe, RoundsData
from illume.recipes.run import finish, run
from illume.recipes.score import RECIPE_FILE, find_model, recipe_hash
from illume.train.stage import Stage
from illume.vocab.messages import ImageFrame

CONTINUED = "enhance"  # the stage that continues a finished model
CONTINUED_PART = 4  # of the last stage's steps, where none are asked for: one so many-th
ROW_STEP = 16


@dataclass(frozen=True)
class Base:
    """A finished run: its folder, its model's, and the recipe that made it."""

    run: Path
    model: Path
    recipe: Recipe

    @classmethod
    def find(cls, name: str) -> "Base":
        """Of a run's folder, a model's, or its name. ModelError where there is no recipe beside the model."""
        model = find_model(model_folder(name))
        return cls(model.parent, model, load_yaml(model / RECIPE_FILE, Recipe))


@dataclass(frozen=True)
class Retraining:
    """`share`: of the last stage's samples, those that are records of the rounds. `steps`: None is as many as the
    recipe's last stage (a model continued: a quarter). `rate` multiplies the rates of a model continued."""

    share: float = 0.1
    steps: int | None = None
    rate: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share ({self.share}) is a share of the samples, above 0 and at most 1")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps ({self.steps}) must be at least 1")
        if not self.rate > 0:
            raise ValueError(f"rate ({self.rate}) must be above 0")


def stage_anew(base: Base, rounds: Mapping[str, Path], out: Path, how: Retraining) -> dict[str, Any]:
    """The paper's protocol (ILLUME, section 3): the last stage trained anew from what the stages before it left, the
    rounds' records mixed in. Returns the scorecard; killed and run again, it goes on.

    CheckpointError where the base's run has not kept the checkpoints of its other parts, or another run is in `out`.
    """
    recipe = base.recipe
    *before, last = recipe.stages
    stage = mixed(last, rounds, how.share, older_rounds(recipe))
    stage = replace(stage, steps=how.steps or stage.steps)
    made = replace(recipe, out=str(out), stages=(*before, stage), rounds=rounds_data(base, rounds))
    refuse_another(made)
    if (card := finished(made)) is not None:
        return card
    if is_main():
        _link_parts(base, made, out)
    barrier()
    return run(made)


def model_continued(base: Base, rounds: Mapping[str, Path], out: Path, how: Retraining) -> dict[str, Any]:
    """A finished model trained on, its last stage's mixture with the rounds' records mixed in: without rounds, on that
    mixture as it is. Returns the scorecard; killed and run again, it goes on."""
    given = finished_parts(base)
    rounds_of = rounds_data(base, rounds, given, weights_hash(given.model))
    stage = continued(base.recipe.stages[-1], rounds, how, older_rounds(base.recipe))
    made = replace(base.recipe, out=str(out), stages=(stage,), rounds=rounds_of)
    return go_on(base, made, given, lambda folder, data: learn_mixture(folder, data, given))


Learn = Callable[[RunFolder, OpenData], None]
"""Trains the model that goes on through the one stage of its folder's recipe."""


def go_on(base: Base, made: Recipe, given: Parts, learn: Learn) -> dict[str, Any]:
    """A finished model, `given`, trained on as `learn` does, in the folder of the recipe `made`. Returns the scorecard;
    killed and run again, it goes on. CheckpointError where another run is in the folder."""
    refuse_another(made)
    if (card := finished(made)) is not None:
        return card
    folder = RunFolder(made)
    if is_main():
        link(base.run / "contrast", folder.path / "contrast")
    data = open_data(made)
    model = given.model.requires_grad_(True)
    if made.lora is not None:
        parts.seed_module(made, "lora")
        add_lora(model.decoder, made.lora)
    learn(folder, data)
    parts.merge(folder, model)
    scored = finish(folder, Illume(given, folder=folder.model)) if is_main() else {}
    barrier()
    return scored


def learn_mixture(folder: RunFolder, data: OpenData, given: Parts) -> None:
    """Next-id prediction on the stage's mixture."""
    codes = parts.encoded(folder, data, given.tokenizer)
    parts.train_stages(folder, data, given.model, given.layout, given.text, codes)


def finished_parts(base: Base) -> Parts:
    """The parts of the base's model, in float32 to be trained."""
    device = pick_device(base.recipe.device)
    return load_parts(base.model, device, pick_dtype("float32", device))


def continued(last: Stage, rounds: Mapping[str, Path], how: Retraining, older: Sequence[str]) -> Stage:
    """The stage that continues a model after its last one; on other samples than those its last stage began with."""
    stage = mixed(last, rounds, how.share, older)
    rules = tuple(replace(rule, lr=rule.lr * how.rate) for rule in stage.rules)
    steps = how.steps or max(1, last.steps // CONTINUED_PART)
    return replace(stage, name=CONTINUED, rules=rules, steps=steps, sample_every=0, seed=last.seed + 1)


def mixed(stage: Stage, rounds: Mapping[str, Path], share: float, older: Sequence[str] = ()) -> Stage:
    """A stage that gives `share` of its samples to the rounds, alike, and the rest as before; all, without rounds."""
    own = {name: weight for name, weight in stage.mixture.items() if name not in older and weight > 0}
    given = share if rounds else 0.0
    total = sum(own.values())
    kept = {name: weight * (1 - given) / total for name, weight in own.items()}
    return replace(stage, mixture=kept | {name: given / len(rounds) for name in rounds})


def rounds_data(
    base: Base, rounds: Mapping[str, Path], given: Parts | None = None, start: str | None = None
) -> RoundsData:
    """What a recipe says of the rounds. DataError where their records cannot be learnt from."""
    given = given or load_parts(base.model, pick_device("cpu"), pick_dtype("float32", pick_device("cpu")))
    longest = max((max(record_lengths(path, name, given, base.recipe)) for name, path in rounds.items()), default=0)
    contents = {name: digest(path) for name, path in rounds.items()}
    files = {name: str(path) for name, path in rounds.items()}
    return RoundsData(files, contents, row_length_for(base.recipe, longest), start)


def row_length_for(recipe: Recipe, longest: int) -> int:
    """Rows as long as the recipe's, or as the longest of what they have to hold."""
    return max(recipe.row_length, -(-longest // ROW_STEP) * ROW_STEP)


def record_lengths(path: Path, name: str, given: Parts, recipe: Recipe) -> list[int]:
    """How many ids each dialogue of a file of records has, at the most: its instruction dropped or not. DataError for a
    record that is none."""
    source = RecordsSource(path, recipe.image_size, name=name)
    frame = ImageFrame(given.tokenizer.grids(given.image_size))
    blank = tuple((0,) * (rows * columns) for rows, columns in frame.grids)
    pictures = Pictures(frame, lambda key: blank, always_codes=given.reading == "codes")
    forms = [Examples(given.layout, given.text, pictures, drop=drop, reading=given.reading) for drop in (0.0, 1.0)]
    return [max(len(form.sample(source, item, 0)) for form in forms) for item in range(len(source))]


def finished(made: Recipe) -> dict[str, Any] | None:
    """The scorecard of a run that was made just so, and ended: the first process looks, for all of them."""
    return broadcast_object(_own_card(made) if is_main() else None)


def refuse_another(made: Recipe) -> None:
    """CheckpointError where the folder of a recipe holds a run of another one, begun or finished: its parts may be
    called otherwise, so that nothing else would tell the two apart."""
    config = Path(made.out) / "config.yaml"
    if config.is_file() and part_hashes(load_yaml(config, Recipe)) != part_hashes(made):
        raise CheckpointError(
            f"{made.out} holds a run with other settings, of other records, or from another start: "
            "give another folder (--out), or delete this one to train anew"
        )


def _own_card(made: Recipe) -> dict[str, Any] | None:
    """The configuration is written before training: only what the card says of itself tells whose it is."""
    config, path = Path(made.out) / "config.yaml", Path(made.out) / "scorecard.json"
    if not path.is_file() or not config.is_file() or config.read_text(encoding="utf-8") != dump_yaml(made):
        return None
    card = read_json(path)
    return card if card.get("config_hash") == recipe_hash(made) else None


def older_rounds(recipe: Recipe) -> list[str]:
    """The sources of rounds that were mixed before."""
    return [] if recipe.rounds is None else list(recipe.rounds.sources)


def checkpoints_before(base: Base) -> list[str]:
    """The parts that a run's last stage stands on. CheckpointError where a finished checkpoint of one is missing."""
    recipe = base.recipe
    *before, _ = part_hashes(recipe)
    steps = {stage.name: stage.steps for stage in recipe.stages}
    steps |= {"encoder": recipe.encoder_stage.steps} if recipe.encoder_stage else {}
    steps |= {"tokenizer": recipe.tokenizer_stage.steps}
    steps |= {"pixel_decoder": recipe.pixel_stage.steps} if recipe.pixel_stage else {}
    needed = [part for part in before if part in steps]
    for part in needed:
        found = latest(base.run / "checkpoints" / part)
        if found is None or read_json(found / "meta.json").get("step") != steps[part]:
            raise CheckpointError(
                f"{base.run}: has no finished checkpoint of {part!r}, so the stages after it cannot be trained anew: "
                "keep the run's checkpoints/, or go on from the model itself (--from model)"
            )
    return needed


def _link_parts(base: Base, made: Recipe, out: Path) -> None:
    """Let the new run find every finished part of the base, and its codes."""
    for part in checkpoints_before(base):
        link(base.run / "checkpoints" / part, out / "checkpoints" / part)
    for codes in sorted((base.run / "codes").glob("*")):
        if codes.name not in (made.rounds.sources if made.rounds else ()):
            link(codes, out / "codes" / codes.name)


def link(there: Path, here: Path) -> None:
    """The same folder under another name; nothing where there is none."""
    if not there.is_dir() or here.is_dir():
        return
    here.parent.mkdir(parents=True, exist_ok=True)
    try:
        here.symlink_to(os.path.relpath(there.resolve(), here.parent.resolve()), target_is_directory=True)
    except OSError as error:
        raise CheckpointError(f"{here}: cannot be linked to {there}: {error}; copy the folder there") from error


def digest(path: Path) -> str:
    """Names the bytes of a file. DataError where it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
