"""The smallest whole ILLUME, trained from nothing on the generated world.

    illume train pico out=runs/demo        (or: make demo)

Two CPU cores, no GPU, no downloads. The language model starts from nothing too, so its three stages keep the paper's
groups (ILLUME, section 3.2, Table 5) but not its rates, which are for tuning a model that can already write.
"""

from illume.generate.folder import Drawing, Generation
from illume.generate.request import GREEDY, Sampling
from illume.models.pixel_decoder import DiffusionDecoderConfig
from illume.models.presets import decoder_preset
from illume.models.quantizer import ProductVQConfig, VQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig
from illume.models.vision_encoder import EncoderConfig
from illume.recipes.recipe import BPEConfig, FrameConfig, NewDecoderConfig, Recipe, ScoreConfig, WorldData
from illume.train.stage import Rule, Schedule, Stage
from illume.world.scene import PICO

SCHEDULE = Schedule("trapezoid", warmup=0.03, flat=0.4)

# Muon moves the matrices inside blocks, AdamW all the rest: vectors, embeddings, heads, convolutions.
MATRIX = r".*\.([a-z]+_proj|fc\d)\.weight"
REST = rf"(?!{MATRIX}$).*"
VISION = (Rule(MATRIX, 0.02, "muon"), Rule(REST, 2e-3))
FROZEN = r"tokenizer\.encoder\..*"
TOKENIZER = (
    Rule(rf"(?!{FROZEN}$){MATRIX}", 0.02, "muon"),
    Rule(rf"(?!{FROZEN}$|{MATRIX}$).*", 2e-3),
    Rule(FROZEN, 0.0),
)
PIXELS = (Rule(r".*", 2e-3),)

# One codebook for shapes and one for colours, two levels of the sequence: shapes are drawn first, then coloured, so
# that a shape in a colour it never wore is made of codes, and of steps, that were all seen (journal, 2026-11-23).
CODES = ProductVQConfig(groups=(VQConfig(num_codes=64, dim=24), VQConfig(num_codes=64, dim=24)), apart=True)

# Half of the pictures wear colours without a name; the tokenizer sees those with their views (world_source.py).
PICTURES = {"scenes": 0.35, "edits": 0.15, "nameless": 0.5}
VIEWS = {"scenes": 0.35, "edits": 0.15, "parted": 0.5}

# A model that starts from nothing learns all tasks together from the start: stages 2 and 3 differ in what they train.
# Where things are, left or right above all, is learnt late and all at once. Asked of it first, a model knows it when
# drawing and editing take over; asked evenly throughout, one run in two never did (journal, 2026-11-23).
SEEING_FIRST = {"chat": 0.58, "draw": 0.17, "edit": 0.12, "assess": 0.03}
EVERYTHING = {"draw": 0.355, "edit": 0.32, "chat": 0.185, "assess": 0.09, "caption": 0.03, "text": 0.02}


def pico() -> Recipe:
    """Seven to eight minutes on two cores, scoring included."""
    return Recipe(
        name="pico",
        out="runs/pico",
        data=WorldData(PICO),
        image_size=PICO.size,
        text=BPEConfig(size=1024),
        encoder=EncoderConfig(image_size=PICO.size, patch=8, width=128, layers=3),
        tokenizer=TokenizerConfig((LevelConfig(CODES),)),
        pixel_decoder=DiffusionDecoderConfig(),
        decoder=NewDecoderConfig(decoder_preset("pico")),
        encoder_stage=image_stage("encoder", 200, 128, {"scenes": 1.0}, VISION),
        tokenizer_stage=image_stage("tokenizer", 340, 128, VIEWS, TOKENIZER),
        pixel_stage=image_stage("pixel_decoder", 270, 32, PICTURES, PIXELS, ema=0.99),
        stages=(
            stage1(10, {"caption": 0.5, "reconstruct": 0.5}),
            stage2(120, {"reconstruct": 0.05, "text": 0.05, **SEEING_FIRST}),
            stage3(420, EVERYTHING),
        ),
        frame=FrameConfig(row_ends=False, level_markers=False),
        grid_positions=4,
        code_vectors=True,
        code_rows=False,
        row_length=144,  # two samples of questions, or three drawings: 95% filled, where 128 are to 82%
        rows_per_batch=32,
        weighting="sample",  # or the codes, three of four ids, would drown the answers
        generation=Generation(
            text=GREEDY,
            draw=Drawing(Sampling(0.7, 0, 0.9), (1.0, 2.0)),  # only colours: shapes are drawn as well without
            edit=Drawing(Sampling(0.2, 0, 0.9), 1.0),  # of what is kept there is one right drawing
            max_length=192,
            memory=0,  # every record is a single turn
        ),
        score=ScoreConfig(num_items=300),
    )


def image_stage(
    name: str,
    steps: int,
    batch_size: int,
    mixture: dict[str, float],
    rules: tuple[Rule, ...],
    ema: float | None = None,
) -> Stage:
    """A stage that trains a part on images alone."""
    return Stage(name, steps, batch_size, rules, SCHEDULE, ema=ema, mixture=mixture, save_every=200)


def stage1(steps: int, mixture: dict[str, float]) -> Stage:
    """Visual embedding initialisation: the adapter and the vision rows; all else waits."""
    rules = (
        Rule(r"adapter\..*|places\..*", 1e-3),
        Rule(r"(embedding|head)\.(vision|code_projections\..*)", 1e-3),
        Rule(r"(embedding|head)\.text|decoder\..*|vision_encoder\..*", 0.0),
    )
    return Stage("stage1", steps, 128, rules, Schedule("constant"), mixture=mixture, save_every=100)


def stage2(steps: int, mixture: dict[str, float], batch_size: int = 128) -> Stage:
    """Unified image-text alignment: the adapter and the language model with all its rows."""
    rules = language_rules(encoder_rate=0.0)
    return Stage("stage2", steps, batch_size, rules, Schedule("constant"), mixture=mixture, save_every=100)


def stage3(steps: int, mixture: dict[str, float], batch_size: int = 128) -> Stage:
    """Supervised fine-tuning: everything but the tokenizer; drawing goes on beside the new tasks."""
    return Stage(
        "stage3",
        steps,
        batch_size,
        language_rules(encoder_rate=2e-5),
        SCHEDULE,
        ema=0.98,
        mixture=mixture,
        save_every=100,
        sample_every=200,
    )


def language_rules(encoder_rate: float) -> tuple[Rule, ...]:
    """Muon for the language model's matrices. What is new and sees few samples moves faster: codes and their places;
    text at that rate learns relations late, or never (journal, 2026-11-23)."""
    return (
        Rule(r"decoder\..*_proj\.weight", 0.02, "muon"),
        Rule(r"(embedding|head)\.(vision|code_projections\..*)|places\..*", 4e-3),
        Rule(r"(embedding|head)\.text", 1e-3),
        Rule(r"adapter\..*|decoder\.(?!.*_proj\.weight$).*", 1e-3),
        Rule(r"vision_encoder\..*", encoder_rate),
    )
