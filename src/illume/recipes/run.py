"""A whole run: data, encoder, tokenizer, pixel decoder, the stages of the language model, scorecard and report.

The order is here; how each part is made is in parts.py, of what and for how long in the recipe.
"""

from dataclasses import replace
from typing import Any

import torch

from illume.api import Illume
from illume.core.config import dump_yaml
from illume.core.device import pick_device
from illume.core.dist import barrier, close, init_from_env, is_active, is_main
from illume.core.files import write_text
from illume.core.log import console
from illume.eval.report import write_report
from illume.generate.folder import Parts
from illume.recipes import parts
from illume.recipes.data import OpenData, open_data
from illume.recipes.folder import RunFolder
from illume.recipes.published import find_published
from illume.recipes.recipe import Recipe
from illume.recipes.samples import sample_grid
from illume.recipes.score import score_model
from illume.vocab.text import TextFormat

NUM_SAMPLES = 16


def run(recipe: Recipe) -> dict[str, Any]:
    """Train, score and report in `recipe.out`; killed and run again, it goes on where it was.

    Returns the scorecard. The folder then holds `model/`, `scorecard.json` and `report.html`. Under torchrun every
    process trains its share; the first one scores.
    """
    inside = is_active()  # of something larger, which goes on with the group
    init_from_env(pick_device(recipe.device))
    try:
        folder = RunFolder(recipe)
        with folder.part("data"):
            find_published(recipe)
            data = open_data(recipe)
            text = parts.text_format(recipe, data)
        tell_problems(data)
        illume = train(folder, data, text)
        card = finish(folder, illume) if is_main() else {}
        barrier()
        return card
    finally:
        if not inside:
            close()


def train(folder: RunFolder, data: OpenData, text: TextFormat) -> Illume:
    """Every part, one on the other; the finished model."""
    recipe = folder.recipe
    with folder.part("encoder"):
        encoder, contrast = parts.vision_encoder(folder, data, text)
    with folder.part("tokenizer"):
        tokenizer, painter = parts.vision_tokenizer(folder, data, encoder)
    with folder.part("pixel decoder"):
        pixel_decoder = parts.pixel_decoder(folder, data, tokenizer, painter)
    with folder.part("codes"):
        codes = parts.encoded(folder, data, tokenizer)
    layout = parts.vocab_layout(recipe, text.size, tokenizer)
    model = parts.language_model(recipe, layout, encoder, tokenizer.code_vectors())
    size = (recipe.image_size, recipe.image_size)
    made = Parts(model, layout, text, tokenizer, pixel_decoder, size, recipe.generation, recipe.reading)
    prompts = data.prompts(NUM_SAMPLES)
    parts.train_stages(
        folder, data, model, layout, text, codes, lambda part, state: sample_grid(folder, prompts, part, state, made)
    )
    parts.merge(folder, model)
    if is_main() and contrast is not None:
        contrast.save(folder.path / "contrast")
    return Illume(made, folder=folder.model)


@torch.inference_mode()
def finish(folder: RunFolder, illume: Illume) -> dict[str, Any]:
    """Write the model folder, score it, and write the scorecard and the report."""
    illume.save(folder.model)
    write_text(folder.model / "recipe.yaml", dump_yaml(folder.recipe))
    with folder.part("score"):
        card, examples = score_model(illume, folder.recipe, folder.path)
    card = replace(card, seconds=folder.seconds(), peak_memory_gb=folder.peak_memory_gb())
    card.save(folder.path / "scorecard.json")
    plain = card.to_dict()
    write_report(folder.path / "report.html", folder.recipe.name, plain, examples, folder.metrics.read())
    console.print(f"model, scorecard and report: {folder.path}")
    return plain


def tell_problems(data: OpenData) -> None:
    """Say which records were left out, and why."""
    for problem in data.problems:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    if data.problems:
        console.print(f"{len(data.problems)} records were left out, as on_invalid=skip asks", style="yellow")
