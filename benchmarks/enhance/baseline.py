"""The baseline of a seed: trained once, its finished parts taken from an earlier run where one is given."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.enhance.experiment import Experiment, base_recipe
from illume.core.checkpoint import latest
from illume.core.config import load_yaml
from illume.core.errors import CheckpointError, ConfigError
from illume.core.files import read_json
from illume.recipes.folder import part_hashes
from illume.recipes.recipe import Recipe
from illume.recipes.retrain import Base, finished, link
from illume.recipes.run import run


def baseline(experiment: Experiment, seed: int, out: Path, given: Sequence[Path] = ()) -> Base:
    """Train it in `out`, or go on, or find it finished there. `given`: runs whose parts are taken, where one is of this
    seed. CheckpointError where `out` holds another baseline."""
    recipe = base_recipe(experiment, seed, str(out))
    if finished(recipe) is None:
        for there in (folder for folder in given if _seed(folder) == seed):
            link_parts(there, recipe)
        run(recipe)
    return Base.find(str(out))


def link_parts(there: Path, recipe: Recipe) -> list[str]:
    """Let a run that is not begun find the parts that another has finished just so, in their order; their names.

    ConfigError where not even the first part is the same.
    """
    out, linked = Path(recipe.out), []
    for part, name in part_hashes(recipe).items():
        if not _is_finished(there / "checkpoints" / part, name, _steps(recipe)[part]):
            break
        link(there / "checkpoints" / part, out / "checkpoints" / part)
        linked.append(part)
    if not linked:
        raise ConfigError(f"{there}: its encoder is not that of the baseline, or not finished: leave --base out")
    if "tokenizer" in linked:
        for codes in sorted((there / "codes").glob("*")):
            link(codes, out / "codes" / codes.name)
    return linked


def check_given(given: Sequence[Path], seeds: Sequence[int]) -> None:
    """ConfigError for a run that is none, or of a seed that nobody asked for."""
    for folder in given:
        if _seed(folder) not in seeds:
            raise ConfigError(f"--base {folder}: a run of seed {_seed(folder)}, and the seeds are {list(seeds)}")


def _seed(folder: Path) -> int:
    return load_yaml(folder / "config.yaml", Recipe).seed


def _is_finished(checkpoints: Path, name: str, steps: int) -> bool:
    found = latest(checkpoints)
    if found is None:
        return False
    meta = read_json(found / "meta.json")
    return (meta.get("config_hash"), meta.get("step")) == (name, steps)


def _steps(recipe: Recipe) -> dict[str, int]:
    image = {"encoder": recipe.encoder_stage, "tokenizer": recipe.tokenizer_stage, "pixel_decoder": recipe.pixel_stage}
    steps = {part: stage.steps for part, stage in image.items() if stage is not None}
    if missing := part_hashes(recipe).keys() - steps.keys() - {stage.name for stage in recipe.stages}:
        raise CheckpointError(f"parts without a stage: {sorted(missing)}")
    return steps | {stage.name: stage.steps for stage in recipe.stages}
