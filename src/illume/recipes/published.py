"""The published models that a recipe starts from, found before anything is trained; it does not load their weights."""

from illume.models.diffusers_parts import check_published
from illume.models.published import check_weights, find_folder, published_config
from illume.models.stable_diffusion import StableDiffusionDecoderConfig
from illume.recipes.recipe import PretrainedDecoderConfig, Recipe


def find_published(recipe: Recipe) -> None:
    """ModelError where a recipe names a language model or a pixel decoder that is not there: it would otherwise be
    missed only after hours, when its turn comes. The encoder and the text tokenizer come first anyway."""
    if isinstance(recipe.decoder, PretrainedDecoderConfig):
        folder = find_folder(recipe.decoder.name)
        published_config(folder)
        check_weights(folder)
    if isinstance(recipe.pixel_decoder, StableDiffusionDecoderConfig):
        check_published(recipe.pixel_decoder.name)
