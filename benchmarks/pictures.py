"""Draws the README's pictures afresh from an existing run on the world.

    python -m benchmarks.pictures [--run runs/demo] [--out docs/pictures]

Prompts, scenes and edits are the first ones of the test split and of the novel one (shapes in colours they never had in
training): nothing is picked by hand.
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
from illume.recipes.recipe import Recipe, WorldData
from illume.recipes.samples import sheet
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    try:
        recipe = load_yaml(arguments.run / "config.yaml", Recipe)
        model = load(arguments.run / "model")
    except IllumeError as error:
        print(f"{error}\nTrain the demo first: make demo", file=sys.stderr)
        return 1
    if not isinstance(recipe.data, WorldData):
        print(f"{arguments.run} was not trained on the generated world", file=sys.stderr)
        return 1
    world = recipe.data.world
    for name, (said, pictures) in {
        "drawings": drawings(model, world, "test"),
        "novel": drawings(model, world, "novel"),
        "edits": edits(model, world),
    }.items():
        save(pictures, arguments.out / f"{name}.png")
        print(f"{name}: {'; '.join(said)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
