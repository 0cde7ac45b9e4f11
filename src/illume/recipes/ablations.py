"""The arms that pico is compared with: codes of reconstruction (ILLUME, Figure 6), and codes in place of features.

    illume train pico_reconstruction out=runs/reconstruction
    illume train pico_codes out=runs/codes

Each differs from pico in what its name says and in nothing else. `illume train pico_reconstruction reading=codes` is
both.
"""

from dataclasses import replace

from illume.models.convolutional import ConvolutionalDecoderConfig
from illume.models.reconstruction import ReconstructionConfig
from illume.recipes.pico import CODES, PICTURES, image_stage, pico
from illume.recipes.recipe import Recipe
from illume.train.stage import Rule

NETWORK = ConvolutionalDecoderConfig(channels=(48, 96, 96), unshuffle=2)  # 8 pixels a code, as pico's encoder has


def pico_reconstruction() -> Recipe:
    """A tokenizer and its painter trained on pixels alone, with pico's codebooks and number of codes."""
    recipe = pico()
    return replace(
        recipe,
        name="pico_reconstruction",
        out="runs/pico_reconstruction",
        tokenizer=ReconstructionConfig(quantizer=CODES, network=NETWORK),
        pixel_decoder=NETWORK,
        tokenizer_stage=image_stage("tokenizer", 800, 64, PICTURES, (Rule(r".*", 2e-3),)),
        pixel_stage=None,
    )


def pico_codes() -> Recipe:
    """Discrete input: what the model reads are the codes it would draw; encoder and adapter stand idle beside it."""
    return replace(pico(), name="pico_codes", out="runs/pico_codes", reading="codes")
