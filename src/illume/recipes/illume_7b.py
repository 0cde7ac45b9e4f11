"""ILLUME as published (arXiv 2412.06673), over parts that anyone can have: Vicuna-7B, SigLIP 2, Stable Diffusion 1.5.

    illume show illume_7b                                # the configuration and every stage's parameter table
    torchrun --nproc-per-node 8 -m illume train illume_7b decoder.name=vicuna-7b text.name=vicuna-7b out=runs/7b

Rates, batches, steps and trained groups of the three stages are the paper's Table 5; optimiser and schedule are
ILLUME+'s. The paper's encoder (UNIT) is under a proprietary licence, so another one stands in; what the paper does not
say (the tokenizer's and pixel decoder's training, the weights of the mixtures) is ours, and said so below.

Not run by us. One process holds the whole model, some 7.3 billion parameters, in float32 with gradients and both of
AdamW's moments from stage 2 on: about 117 GB before activations, for sharding is not written yet. So: GPUs of 141 GB
or more, or fewer and smaller trained groups.

Vicuna is published as pickles, which are never read; make a folder of safetensors once, tokenizer included:

    python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; n = 'lmsys/vicuna-7b-v1.5'; \\
        M.from_pretrained(n).save_pretrained('vicuna-7b'); T.from_pretrained(n).save_pretrained('vicuna-7b')"

Data, as files of records (docs: `illume data check FILE`) with the images beside them, in data/illume/ or anywhere
(`data.sources.captions=PATH`); the sizes are the paper's:

- pretrain_captions, pretrain_reconstruct: LLaVA-Pretrain's 558K captioned images, as caption and as reconstruct.
- captions, documents, draw, reconstruct, text: 15M for stage 2: captions of natural images and of documents,
  text-to-image pairs, images to reconstruct, plain text.
- chat, draw_fine, edit, assess: stage 3: instructions (documents and charts among them), good text-image pairs, edits,
  and 50K assessments of the model's own drawings. Without them the model is the paper's baseline: set
  `stages.2.mixture.assess=0`.

The paper's figures; not run by us: POPE 88.5, MMBench 75.1, SEED 72.9, MME-P 1445.3, MM-Vet 37.0, MMMU 38.2, AI2D 71.4,
VQA-text 72.1, ChartQA 66.7, DocVQA 76.0; MJHQ-30K FID 7.76, GenEval 0.61; Emu Edit DINO 0.791, CLIP-I 0.879.

The paper paints 512 pixels from 16x16 codes; here images are 256 pixels, the encoder's size. For 512, read and painted:
`image_size=512 encoder.name=google/siglip2-so400m-patch16-512 encoder.shape.image_size=512 encoder.taps.0.merge=2`.
"""

from dataclasses import replace

from illume.generate.folder import Generation
from illume.models.presets import decoder_preset
from illume.models.quantizer import SimVQConfig
from illume.models.stable_diffusion import StableDiffusionDecoderConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig
from illume.models.vision_encoder import EncoderConfig, PretrainedEncoderConfig
from illume.recipes.recipe import FrameConfig, PretrainedDecoderConfig, PretrainedTextConfig, Recipe, RecordsData
from illume.train.stage import Rule, Schedule, Stage

SCHEDULE = Schedule("cosine", warmup=0.03)
SOURCES = (
    *("pretrain_captions", "pretrain_reconstruct"),
    *("captions", "documents", "draw", "reconstruct", "text"),
    *("chat", "draw_fine", "edit", "assess"),
)

SIGLIP2 = PretrainedEncoderConfig(
    "google/siglip2-so400m-patch16-256",
    shape=EncoderConfig(image_size=256, patch=16, width=1152, layers=27, heads=16, hidden=4304),
)
# 16,384 codes and 256 of them an image are the paper's; width 32 by SimVQ is what ILLUME+ found to use every code.
CODES = LevelConfig(
    SimVQConfig(num_codes=16384, dim=32, commitment=0.25), width=1152, heads=16, hidden=4304, blocks_in=1, blocks_out=4
)

VISION_ROWS = r"(embedding|head)\.(vision|code_projections\..*)|places\..*"
TEXT_ROWS = r"(embedding|head)\.text"
LANGUAGE = r"(decoder|embedding|head|places)\..*"


def illume_7b() -> Recipe:
    """ILLUME over Vicuna-7B v1.5."""
    return Recipe(
        name="illume_7b",
        out="runs/illume_7b",
        data=RecordsData(
            sources={name: f"data/illume/{name}.jsonl" for name in SOURCES}, shown=("captions", "draw", "draw_fine")
        ),
        image_size=256,
        text=PretrainedTextConfig("lmsys/vicuna-7b-v1.5", template="vicuna"),
        encoder=SIGLIP2,
        tokenizer=TokenizerConfig((CODES,)),
        pixel_decoder=StableDiffusionDecoderConfig("stable-diffusion-v1-5/stable-diffusion-v1-5"),
        decoder=PretrainedDecoderConfig("lmsys/vicuna-7b-v1.5", decoder_preset("vicuna-7b"), text_rows=32000),
        encoder_stage=None,
        tokenizer_stage=tokenizer_stage(),
        pixel_stage=pixel_stage(),
        stages=(stage1(), stage2(), stage3()),
        frame=FrameConfig(row_ends=False, level_markers=False),
        row_length=4096,
        rows_per_batch=1,
        generation=Generation(max_length=4096, rows=8, paint_guidance=1.5),
    )


def illume_7b_qwen() -> Recipe:
    """The same over Qwen2.5-7B, which is published as safetensors."""
    name = "Qwen/Qwen2.5-7B-Instruct"
    return replace(
        illume_7b(),
        name="illume_7b_qwen",
        out="runs/illume_7b_qwen",
        text=PretrainedTextConfig(name, template="chatml"),
        decoder=PretrainedDecoderConfig(name, decoder_preset("qwen2.5-7b"), text_rows=151665),
    )


def tokenizer_stage() -> Stage:
    """Quantiser and feature decoder over the frozen encoder. Rate and length are ours."""
    rules = (Rule(r"tokenizer\.encoder\..*", 0.0), Rule(r"tokenizer\.levels\..*", 1e-4))
    return large_stage("tokenizer", 50_000, 256, rules, {"captions": 0.5, "draw": 0.5})


def pixel_stage() -> Stage:
    """Stable Diffusion's UNet learns to look at the features. Rate, length and averaging are ours."""
    rules = (Rule(r"pixel_decoder\.unet\..*", 5e-5), Rule(r"pixel_decoder\.vae\..*", 0.0))
    mixture = {"captions": 0.3, "draw": 0.3, "draw_fine": 0.4}
    return replace(large_stage("pixel_decoder", 50_000, 256, rules, mixture), ema=0.9999)


def stage1() -> Stage:
    """Visual embedding initialisation: the adapter and the vision rows. The weights of the mixture are ours."""
    rules = (
        Rule(r"adapter\..*", 1e-3),
        Rule(VISION_ROWS, 2e-4),
        Rule(rf"{TEXT_ROWS}|decoder\..*|vision_encoder\..*", 0.0),
    )
    return large_stage("stage1", 5_000, 256, rules, {"pretrain_captions": 0.5, "pretrain_reconstruct": 0.5})


def stage2() -> Stage:
    """Unified image-text alignment: adapter and language model, one pass. The weights of the mixture are ours."""
    rules = (Rule(r"adapter\..*", 5e-5), Rule(LANGUAGE, 5e-5), Rule(r"vision_encoder\..*", 0.0))
    mixture = {"captions": 0.35, "documents": 0.1, "draw": 0.35, "reconstruct": 0.1, "text": 0.1}
    return large_stage("stage2", 15_000, 1024, rules, mixture)


def stage3() -> Stage:
    """Supervised fine-tuning: everything but the tokenizer. The weights of the mixture are ours."""
    rules = (Rule(r"adapter\..*", 2e-5), Rule(LANGUAGE, 2e-5), Rule(r"vision_encoder\..*", 2e-6))
    mixture = {"chat": 0.55, "draw_fine": 0.3, "edit": 0.14, "assess": 0.01}
    return large_stage("stage3", 8_000, 1024, rules, mixture)


def large_stage(name: str, steps: int, batch_size: int, rules: tuple[Rule, ...], mixture: dict[str, float]) -> Stage:
    """AdamW with betas (0.9, 0.95) and no weight decay, warm-up over 3%, then a cosine (ILLUME+)."""
    return Stage(
        name,
        steps,
        batch_size,
        rules,
        SCHEDULE,
        betas=(0.9, 0.95),
        mixture=mixture,
        dtype="bfloat16",
        save_every=500,
    )
