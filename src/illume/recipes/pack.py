"""A run's model packed to be given away: in float16, half the bytes, with what made it and what it says beside it.

    illume pack runs/nano src/illume/weights/nano

It trains and scores nothing, and does not know which models come with ILLUME (generate/named.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import torch
from torch import Tensor

from illume.api import Illume, load
from illume.core.config import dump_yaml, load_yaml
from illume.core.errors import ConfigError, ModelError
from illume.core.files import atomic_folder, read_json, replaceable, write_json, write_text
from illume.core.tensors import load_tensors, save_tensors
from illume.eval.scorecard import load as load_card
from illume.generate.card import model_card
from illume.generate.draw import drawn
from illume.generate.folder import KNOWN
from illume.recipes.catalog import RECIPES, resolve
from illume.recipes.recipe import Recipe
from illume.recipes.score import RECIPE_FILE, find_model, recipe_hash

FORMAT_VERSION = 1
PROVENANCE = "PROVENANCE.json"
# What a packed model is asked, so that code that reads it otherwise is noticed: all of it is in the world of `nano`.
PROMPTS = (
    "a red circle",
    "a large blue star",
    "two green crosses",
    "a small yellow square",
    "a purple diamond on the left of an orange triangle",
    "a black circle and a cyan square",
)
QUESTION = "how many objects are there?"


def pack(run: Path, out: Path) -> dict[str, Any]:
    """Write the model of a finished run to `out`, whole or not at all; returns what PROVENANCE.json then holds.

    ModelError where the run has no model or no scorecard of it, where a weight is out of float16's range, and where
    something else than a packed model stands at `out`.
    """
    model = find_model(run)
    recipe = load_yaml(model / RECIPE_FILE, Recipe)
    card = _card_of(run, recipe)
    with atomic_folder(replaceable(out, "a packed model", (*KNOWN, PROVENANCE), PROVENANCE, ModelError)) as inside:
        copytree(model, inside, dirs_exist_ok=True)
        for file in inside.rglob("*.safetensors"):
            save_tensors(file, halved(load_tensors(file), f"{model / file.relative_to(inside)}"))
        write_text(inside / RECIPE_FILE, dump_yaml(replace(recipe, out=f"runs/{recipe.name}")))
        packed = read_packed(inside)
        write_text(inside / "README.md", _card_text(out.name, packed))
        provenance = _provenance(recipe, card) | {"says": says(packed)}
        write_json(inside / PROVENANCE, provenance)
    return provenance


def read_provenance(folder: Path) -> dict[str, Any]:
    """PROVENANCE.json of a packed model. CheckpointError where it cannot be read."""
    return read_json(folder / PROVENANCE)


def halved(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """float32 as float16, all else as it is. ModelError names a tensor with a number too large for that."""
    found = {name: one.half() if one.dtype == torch.float32 else one for name, one in tensors.items()}
    wrong = [name for name, one in found.items() if one.is_floating_point() and not one.isfinite().all()]
    if wrong:
        raise ModelError(f"{where}: {wrong[0]} is not finite, or too large for float16 ({len(wrong)} such tensors)")
    return found


def read_packed(folder: Path) -> Illume:
    """A packed model as it is asked here: float32 on the CPU, strictly, whatever the machine has."""
    return load(folder, device="cpu", dtype="float32", strict=True)


def says(illume: Illume) -> list[dict[str, Any]]:
    """Of each prompt the codes that are drawn, and of the picture painted of them the answer to a question."""
    requests = [illume.draw_request(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    drawings = [drawn(result, request.seed) for request, result in zip(requests, illume.run(requests), strict=True)]
    pictures = illume.painter.pictures(drawings)
    answers = illume.run([illume.ask_request(picture, QUESTION, 8) for picture in pictures])
    return [
        {
            "prompt": prompt,
            "seed": seed,
            "codes": [list(level) for level in drawings[seed].codes],
            "question": QUESTION,
            "answer": answers[seed].text,
        }
        for seed, prompt in enumerate(PROMPTS)
    ]


def _card_of(run: Path, recipe: Recipe) -> dict[str, Any]:
    path = run / "scorecard.json"
    if not path.is_file():
        raise ModelError(f"{path} is missing: only a finished run is packed, with its scorecard")
    card = load_card(path)
    if card["config_hash"] != recipe_hash(recipe):
        raise ModelError(f"{path}: it is of another recipe ({card['config_hash']}) than the model beside it")
    return card


def _provenance(recipe: Recipe, card: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "command": f"illume train {_called(recipe)}",
        "config_hash": card["config_hash"],
        "seed": card["seed"],
        "version": card["version"],
        "dtype": "float16",
        "scorecard": dict(card),
    }


def _called(recipe: Recipe) -> str:
    """How the recipe is named on the command line: built in, or as the file beside the model."""
    try:
        built_in = recipe.name in RECIPES and recipe_hash(resolve(recipe.name)) == recipe_hash(recipe)
    except ConfigError:  # some are only whole with overrides
        built_in = False
    return recipe.name if built_in else RECIPE_FILE


def _card_text(name: str, illume: Illume) -> str:
    parts = illume.parts
    return model_card(name, parts.model, parts.layout, parts.image_size, parts.reading)
