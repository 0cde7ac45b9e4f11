"""Pictures of a model while it trains: what it draws for a few prompts of its own data, one sheet each time."""

from math import ceil

import numpy as np
from PIL import Image

from illume.api import Illume
from illume.core.dist import is_main
from illume.core.files import atomic_file, write_text
from illume.generate.folder import Parts
from illume.recipes.folder import RunFolder
from illume.train.state import TrainState

COLUMNS = 8


def sample_grid(folder: RunFolder, prompts: list[str], part: str, state: TrainState, made: Parts) -> None:
    """Draw the prompts with the model as it stands into samples/PART-STEP.png, beside prompts.txt with a line each."""
    if not is_main():
        return
    pictures = Illume(made).draw(prompts)
    path = folder.path / "samples" / f"{part}-{state.step:06d}.png"
    with atomic_file(path) as temp:
        Image.fromarray(sheet([np.asarray(picture) for picture in pictures])).save(temp, "PNG")
    write_text(path.with_name("prompts.txt"), "".join(f"{' '.join(prompt.split())}\n" for prompt in prompts))


def sheet(pictures: list[np.ndarray], columns: int = COLUMNS, gap: int = 2) -> np.ndarray:
    """Pictures uint8 [h, w, 3] side by side on white, row after row."""
    height, width, _ = pictures[0].shape
    rows = ceil(len(pictures) / columns)
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (n * (size + gap) + gap for n, size in zip(divmod(number, columns), (height, width), strict=True))
        grid[top : top + height, left : left + width] = picture
    return grid
