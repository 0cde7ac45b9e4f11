"""The larger generated world, whole: 72 pixels, six shapes, eight colours, two sizes, up to four objects in nine cells.

    illume train nano out=runs/nano

Two CPU cores, no GPU, no downloads; 77 minutes, resumable at any time.
The stages are pico's, longer. Cells are 2 x 2 patches, as there: 36 of shape and 36 of colour.
Reached (goal): see .91 (.95), reconstruct .99 (.95), draw .65 (.85; novel .34, .70), edit .63 (.80; third turn .31,
.60), inpaint 1.0, assess kappa .57 (.7); the weights of that run are the model `nano` (docs/journal.md).
"""

from dataclasses import replace

from illume.generate.folder import Drawing, Generation
from illume.generate.request import GREEDY, Sampling
from illume.models.pixel_decoder import DiffusionDecoderConfig
from illume.models.presets import decoder_preset
from illume.models.quantizer import ProductVQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig
from illume.models.vision_encoder import EncoderConfig
from illume.models.vq import VQConfig
from illume.recipes.pico import PIXELS, TOKENIZER, VISION, image_stage, stage1, stage2, stage3
from illume.recipes.recipe import BPEConfig, FrameConfig, NewDecoderConfig, Recipe, WorldData
from illume.world.scene import NANO

# A shape in its cell is told by four codes, wherever it stands: more of them than pico has, for more shapes and sizes.
CODES = ProductVQConfig(groups=(VQConfig(num_codes=1024, dim=24), VQConfig(num_codes=128, dim=24)), apart=True)
SEEN = {"scenes": 0.33, "edits": 0.12, "regions": 0.05}

SEEING_FIRST = {"chat": 0.7, "draw": 0.12, "edit": 0.08, "inpaint": 0.02, "assess": 0.02}  # as in pico
EVERYTHING = {"draw": 0.31, "edit": 0.24, "inpaint": 0.05, "chat": 0.27, "assess": 0.09, "caption": 0.02, "text": 0.02}


def nano() -> Recipe:
    """At most 90 minutes on two cores, scoring included."""
    return Recipe(
        name="nano",
        out="runs/nano",
        data=WorldData(NANO, num_scenes=12288),
        image_size=NANO.size,
        text=BPEConfig(size=1024),
        encoder=EncoderConfig(image_size=NANO.size, patch=12, width=128, layers=3),
        tokenizer=TokenizerConfig((LevelConfig(CODES),)),
        pixel_decoder=DiffusionDecoderConfig(channels=(32, 64, 64), cells=6),
        decoder=NewDecoderConfig(replace(decoder_preset("pico"), hidden=640)),  # packed, under 15 MB
        encoder_stage=image_stage("encoder", 400, 128, {"scenes": 1.0}, VISION),
        tokenizer_stage=image_stage("tokenizer", 1200, 128, {**SEEN, "parted": 0.5}, TOKENIZER),
        pixel_stage=image_stage("pixel_decoder", 2000, 32, {**SEEN, "nameless": 0.5}, PIXELS, ema=0.995),
        stages=(
            stage1(10, {"caption": 0.5, "reconstruct": 0.5}),
            stage2(600, {"reconstruct": 0.03, "text": 0.03, **SEEING_FIRST}, batch_size=64),
            stage3(2700, EVERYTHING, batch_size=64),
        ),
        frame=FrameConfig(row_ends=False, level_markers=False),
        grid_positions=6,
        code_vectors=True,
        code_rows=False,
        row_length=272,  # three drawings, two edits, or a picture's questions and an edit
        rows_per_batch=32,
        weighting="sample",
        generation=Generation(
            text=GREEDY,
            draw=Drawing(Sampling(0.7, 0, 0.9), 1.5),
            edit=Drawing(Sampling(0.2, 0, 0.9), 1.0),  # of what is kept there is one right drawing
            max_length=576,
            memory=0,  # every record is a single turn
        ),
    )
