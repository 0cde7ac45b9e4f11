"""Draws the README's pictures afresh from existing runs.

    python -m benchmarks.pictures [--run runs/demo | runs/own | nano] [--out docs/pictures]

Of a run on the world: prompts, scenes and edits, the first ones of the test split and of the novel one (shapes in
colours they never had in training). Of one on a folder of images: the first held-out captions. Nothing is picked by
hand. Of a model that comes with ILLUME, by its name, the drawings alone, in a sheet of that name.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from illume.api import Illume, load
from illume.core.config import load_yaml
from illume.core.errors import IllumeError
from illume.data.image_folder import ImageFolderSource
from illume.generate.named import built_in, model_folder
from illume.recipes.data import open_folder
from illume.recipes.recipe import FolderData, Recipe, WorldData
from illume.recipes.samples import sheet
from illume.recipes.score import RECIPE_FILE, find_model
from illume.world import WorldConfig, sample_edit_pair, sample_prompt
from illume.world.render import render

COLUMNS = 8
ENLARGED = 2


def save(pictures: Sequence[np.ndarray], path: Path) -> None:
    """One sheet of pictures, enlarged by a whole factor."""
    grid = Image.fromarray(sheet(list(pictures), COLUMNS))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.resize((grid.width * ENLARGED, grid.height * ENLARGED), Image.Resampling.NEAREST).save(path, optimize=True)


def drawings(model: Illume, world: WorldConfig, split: str) -> tuple[list[str], list[np.ndarray]]:
    """The first prompts of a split and what the model draws for them."""
    prompts = [sample_prompt(world, split, index).text for index in range(2 * COLUMNS)]  # type: ignore[arg-type]
    return prompts, [np.asarray(picture) for picture in model.draw(prompts)]


def edits(model: Illume, world: WorldConfig) -> tuple[list[str], list[np.ndarray]]:
    """The first edits of the test split: a row of pictures before, a row after."""
    pairs = [sample_edit_pair(world, "test", index) for index in range(COLUMNS)]
    before = [render(scene, world) for scene, _ in pairs]
    requests = [model.edit_request(picture, edit.instruction) for picture, (_, edit) in zip(before, pairs, strict=True)]
    return [edit.instruction for _, edit in pairs], before + [np.asarray(one) for one in model.pictures(requests)]


def of_world(model: Illume, world: WorldConfig) -> dict[str, tuple[list[str], list[np.ndarray]]]:
    """Sheets of a run on the world, by name."""
    return {
        "drawings": drawings(model, world, "test"),
        "novel": drawings(model, world, "novel"),
        "edits": edits(model, world),
    }


def of_folder(model: Illume, recipe: Recipe, data: FolderData) -> dict[str, tuple[list[str], list[np.ndarray]]]:
    """Held-out images of a folder in a row, what is drawn for their captions in the next."""
    folder = open_folder(data, recipe.image_size)
    records = [ImageFolderSource(folder, "test", "draw").record(index) for index in range(2 * COLUMNS)]
    real = [folder.images.image(record.images[0]) for record in records]
    drawn = [np.asarray(picture) for picture in model.draw([record.text for record in records])]
    rows = [real[:COLUMNS], drawn[:COLUMNS], real[COLUMNS:], drawn[COLUMNS:]]
    return {"own": ([record.text for record in records], [picture for row in rows for picture in row])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    try:
        folder = find_model(model_folder(arguments.run))
        recipe = load_yaml(folder / RECIPE_FILE, Recipe)
        model = load(folder)
    except IllumeError as error:
        print(f"{error}\nTrain the demo first: make demo", file=sys.stderr)
        return 1
    match recipe.data:
        case WorldData(world=world) if built_in(arguments.run) is not None:
            sheets = {str(arguments.run): drawings(model, world, "test")}
        case WorldData(world=world):
            sheets = of_world(model, world)
        case FolderData() as data:
            sheets = of_folder(model, recipe, data)
        case _:
            print(f"{arguments.run} was trained neither on the world nor on a folder of images", file=sys.stderr)
            return 1
    for name, (said, pictures) in sheets.items():
        save(pictures, arguments.out / f"{name}.png")
        print(f"{name}: {'; '.join(said)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
