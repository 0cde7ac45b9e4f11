"""Scores a model on the benchmarks of the data it was trained on; it knows nothing of how it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from illume.api import Illume, load
from illume.core.config import from_dict, load_yaml, override, plain_hash, to_dict
from illume.core.device import peak_memory_gb
from illume.core.errors import ModelError
from illume.core.log import console
from illume.eval.embedder import TowerEmbedder
from illume.eval.runner import run_tasks
from illume.eval.scorecard import Scorecard
from illume.eval.subject import ModelSubject
from illume.eval.task import Example, Task
from illume.eval.tasks import folder_tasks, record_tasks, world_tasks
from illume.generate.folder import model_inside
from illume.generate.named import model_folder
from illume.models.tokenizer import VisionTokenizer
from illume.recipes.data import open_data, open_folder
from illume.recipes.folder import naming
from illume.recipes.recipe import FolderData, MixedData, Recipe, RecordsData, ScoreConfig, WorldData
from illume.train.encoder_objective import Contrast

RECIPE_FILE = "recipe.yaml"  # beside a model's config.json: what made it
CONTRAST = "contrast"  # in a run's folder: what compares pictures with texts


def score_folder(model: str, overrides: Sequence[str], out: Path | None = None, device: str = "auto") -> dict[str, Any]:
    """The scorecard of a model (its folder, its run's, or a name), as in scorecard.json; written to `out` if given.

    overrides: `score.num_items=24`, `data.path=...` (where the images are now). Seconds and memory are those of this
    scoring. ModelError where the folder holds no model, or one without its recipe: what to ask it is not known then.
    """
    folder = find_model(model_folder(model))
    recipe = load_yaml(folder / RECIPE_FILE, Recipe)
    illume = load(folder, device=device)
    card, _ = score_model(illume, override(recipe, overrides), folder.parent)
    card = replace(card, config_hash=recipe_hash(recipe))  # the model's, whatever was overridden
    if out is not None:
        card.save(out)
    return card.to_dict()


def score_model(illume: Illume, recipe: Recipe, folder: Path) -> tuple[Scorecard, Mapping[str, Sequence[Example]]]:
    """The scorecard of a loaded model, and answered items by ability, to be shown.

    folder: its run's, where what else the benchmarks need is kept. The card's seconds and memory are those of scoring.
    """
    subject = ModelSubject(with_rows(illume, recipe.score.rows), recipe.seed)
    found = run_tasks(subject, tasks_of(recipe, illume, folder), lambda ability: console.print(f"score {ability}"))
    card = Scorecard(found.rows, found.seconds, round(peak_memory_gb(), 3), recipe_hash(recipe), recipe.seed)
    return card, found.examples


def with_rows(illume: Illume, rows: int) -> Illume:
    """The same model, answering so many requests at a time."""
    parts = replace(illume.parts, generation=replace(illume.parts.generation, rows=rows))
    return Illume(parts, folder=illume.folder, strict=illume.strict, tier=illume.tier)


def tasks_of(recipe: Recipe, illume: Illume, folder: Path) -> tuple[Task, ...]:
    """The benchmarks that the recipe's data have: of a mixture or of records, those of what is held out of them."""
    learnt = {name for stage in recipe.stages for name in stage.mixed}
    match recipe.data:
        case WorldData():
            return world_tasks(recipe.data.world, recipe.score.num_items, learnt)
        case FolderData():
            images = open_folder(recipe.data, recipe.image_size)
            return folder_tasks(images, recipe.score.num_items, run_embedder(illume, folder / CONTRAST), learnt)
        case RecordsData() | MixedData():
            return _held_out_tasks(recipe, illume, folder) if recipe.data.held_out else ()


def _held_out_tasks(recipe: Recipe, illume: Illume, folder: Path) -> tuple[Task, ...]:
    data = open_data(replace(recipe, out=str(folder)))  # where the run kept the indexes of its tars
    assert data.parted is not None  # of this kind of data
    learnt = data.seen(recipe.encoder_stage) if recipe.encoder_stage is not None else ()
    return record_tasks(data.parted, recipe.score.num_items, learnt, lambda: run_embedder(illume, folder / CONTRAST))


def run_embedder(illume: Illume, contrast: Path) -> TowerEmbedder | None:
    """What compares pictures with texts, where the run trained it. The tokenizer keeps the encoder it belongs to."""
    tokenizer = illume.parts.tokenizer
    if not isinstance(tokenizer, VisionTokenizer):
        console.print("a tokenizer without the encoder of the contrast: drawings cannot be scored", style="yellow")
        return None
    if not (contrast / "config.json").is_file():
        console.print(f"{contrast} is not there: drawings cannot be scored", style="yellow", markup=False)
        return None
    return TowerEmbedder(Contrast.load(contrast), tokenizer.encoder, illume.parts.text.tokenizer.encode)


def find_model(folder: Path) -> Path:
    """The model's folder, given it or its run's. ModelError where it has no recipe beside it."""
    found = model_inside(folder)
    if not (found / RECIPE_FILE).is_file():
        raise ModelError(f"{found / RECIPE_FILE} is missing: without its recipe a model's benchmarks are not known")
    return found


def recipe_hash(recipe: Recipe) -> str:
    """Names everything a model depends on: the recipe without where it runs and how it is scored."""
    known = replace(recipe, out="", device="auto", score=ScoreConfig())
    return plain_hash(naming(from_dict(Recipe, to_dict(known))))  # a float may stand as an int until it is read back
