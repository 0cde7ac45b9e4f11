"""A recipe without weights, data or network: every module it trains, by name and shape, on the meta device.

It does not know how anything is shown or trained.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn

from illume.models.lora import add_lora
from illume.models.painting import shaped_pixel_decoder
from illume.models.tokenizing import build_tokenizer
from illume.models.unified import Unified
from illume.models.vision_encoder import VisionEncoder, shaped_encoder
from illume.recipes.adapt import lora_stage
from illume.recipes.parts import check_grids, check_guidance, tokenizer_objective, unified_config, vocab_layout
from illume.recipes.recipe import BPEConfig, PretrainedDecoderConfig, Recipe
from illume.train.encoder_objective import EncoderObjective
from illume.train.lm_objective import LMObjective
from illume.train.objective import Objective
from illume.train.pixel_objective import PixelObjective
from illume.train.stage import Stage
from illume.vocab.layout import VocabLayout
from illume.vocab.text import HuggingFaceTokenizer


@dataclass(frozen=True)
class Blueprint:
    """The vocabulary, what each stage trains in the order of training, and the finished model's modules by name."""

    layout: VocabLayout
    stages: tuple[tuple[Stage, Objective], ...]
    modules: dict[str, nn.Module]


def blueprint(recipe: Recipe) -> Blueprint:
    """The parts of a recipe as their training starts. A text tokenizer that is yet to be trained counts as full."""
    text_size = size_of_text(recipe)
    with torch.device("meta"):
        encoder = shaped_encoder(recipe.encoder)
        tokenizer = build_tokenizer(recipe.tokenizer, copy.deepcopy(encoder))
        check_grids(recipe, encoder, tokenizer)
        check_guidance(recipe, tokenizer)
        painter = shaped_pixel_decoder(recipe.pixel_decoder, tokenizer.dims)
        layout = vocab_layout(recipe, text_size, tokenizer)
        model = Unified(unified_config(recipe, layout, recipe.decoder.shape), copy.deepcopy(encoder))
        if recipe.code_vectors:
            model.set_code_vectors(tokenizer.code_vectors(), recipe.code_rows)
        if recipe.lora is not None:
            add_lora(model.decoder, recipe.lora)
        stages: list[tuple[Stage, Objective]] = [
            *_encoder_stage(recipe, encoder, text_size),
            (recipe.tokenizer_stage, tokenizer_objective(tokenizer, painter, recipe.tokenizer_stage.steps)),
            *([(recipe.pixel_stage, PixelObjective(painter, tokenizer))] if recipe.pixel_stage is not None else ()),
            *((lora_stage(stage, LMObjective(model), recipe.lora), LMObjective(model)) for stage in recipe.stages),
        ]
    made = dict(model.named_children()) | {"vision_tokenizer": tokenizer, "pixel_decoder": painter}
    return Blueprint(layout, tuple(stages), made)


def size_of_text(recipe: Recipe) -> int:
    """How many text ids there are; a published tokenizer without a published model has to be read for it."""
    if isinstance(recipe.text, BPEConfig):
        return recipe.text.size
    if isinstance(recipe.decoder, PretrainedDecoderConfig):
        return recipe.decoder.text_rows
    return HuggingFaceTokenizer.load(recipe.text.name).size


def _encoder_stage(recipe: Recipe, encoder: VisionEncoder, text_size: int) -> list[tuple[Stage, Objective]]:
    if recipe.encoder_stage is None:
        return []
    objective = EncoderObjective(encoder, replace(recipe.contrast, text_size=text_size), lambda text: [])
    return [(recipe.encoder_stage, objective)]
