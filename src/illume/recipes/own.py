"""The whole recipe on a person's own captioned images, from nothing.

    illume train own data=FOLDER out=runs/own

FOLDER is a Hugging Face imagefolder: pictures and a metadata.csv or metadata.jsonl with `file_name,text`. Some 6% of
the captions, with their images, are held out for the scorecard.
"""

from illume.generate.folder import Drawing, Generation
from illume.generate.request import GREEDY, Sampling
from illume.models.pixel_decoder import DiffusionDecoderConfig
from illume.models.presets import decoder_preset
from illume.models.tokenizer import LevelConfig, TokenizerConfig
from illume.models.vision_encoder import EncoderConfig
from illume.recipes.pico import CODES, PIXELS, TOKENIZER, VISION, image_stage, stage1, stage2, stage3
from illume.recipes.recipe import BPEConfig, FolderData, FrameConfig, NewDecoderConfig, Recipe, ScoreConfig


def own() -> Recipe:
    """Under an hour on two cores for a few thousand images; more images need more steps."""
    images = {"images": 1.0}
    return Recipe(
        name="own",
        out="runs/own",
        data=FolderData(path="", fit="contain"),
        image_size=48,
        text=BPEConfig(size=2048),
        encoder=EncoderConfig(image_size=48, patch=8, width=128, layers=3),
        tokenizer=TokenizerConfig((LevelConfig(CODES),)),
        pixel_decoder=DiffusionDecoderConfig(),
        decoder=NewDecoderConfig(decoder_preset("pico")),
        encoder_stage=image_stage("encoder", 600, 128, images, VISION),
        tokenizer_stage=image_stage("tokenizer", 700, 128, images, TOKENIZER),
        pixel_stage=image_stage("pixel_decoder", 1000, 32, images, PIXELS, ema=0.995),
        stages=(
            stage1(20, {"caption": 0.5, "reconstruct": 0.5}),
            stage2(120, {"caption": 0.25, "draw": 0.6, "reconstruct": 0.1, "text": 0.05}),
            stage3(450, {"draw": 0.7, "caption": 0.2, "reconstruct": 0.1}),
        ),
        frame=FrameConfig(row_ends=False, level_markers=False),
        grid_positions=6,
        code_vectors=True,
        row_length=256,
        generation=Generation(
            text=GREEDY,
            draw=Drawing(Sampling(0.9, 0, 0.95), 2.0),
            edit=Drawing(Sampling(0.7, 0, 0.9), 1.0),
            max_length=512,
            memory=0,  # every record is a single turn
        ),
        score=ScoreConfig(num_items=400),
    )
