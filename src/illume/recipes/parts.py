"""The parts of a model, each built and trained as a recipe says, in the order in which they build on each other.

It does not know commands or scores.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch

from illume.core.device import keep_freed_memory, pick_device
from illume.core.dist import barrier, is_main, rank, world_size
from illume.core.errors import ConfigError
from illume.core.log import Progress
from illume.core.streams import seed_of
from illume.data.codes import CodeStore
from illume.data.examples import Examples, Pictures
from illume.data.loader import SequenceLoader, Share
from illume.data.prefetch import Prefetch
from illume.encode import encode_images
from illume.models.convolutional import ConvolutionalPixelDecoder
from illume.models.decoder import DecoderConfig
from illume.models.lora import add_lora, merge_lora, save_lora
from illume.models.painting import build_pixel_decoder
from illume.models.pixel_decoder import PixelDecoder
from illume.models.published import find_folder, load_language_model
from illume.models.reconstruction import ReconstructionTokenizer
from illume.models.tokenizing import AnyTokenizer, build_tokenizer
from illume.models.unified import Unified, UnifiedConfig
from illume.models.vision_encoder import PretrainedEncoderConfig, VisionEncoder, build_encoder
from illume.recipes.adapt import encoder_moves, lora_stage
from illume.recipes.data import OpenData, enlarged, open_data
from illume.recipes.folder import RunFolder
from illume.recipes.recipe import BPEConfig, PretrainedDecoderConfig, Recipe
from illume.train.callback import Callback
from illume.train.callbacks import MemoryCallback, MetricsCallback, ProgressCallback, SampleCallback, TableCallback
from illume.train.encoder_objective import Contrast, EncoderObjective
from illume.train.lm_objective import LMObjective
from illume.train.objective import Objective
from illume.train.pixel_objective import PixelObjective
from illume.train.reconstruction_objective import ReconstructionObjective
from illume.train.stage import Stage
from illume.train.state import TrainState
from illume.train.tokenizer_objective import TokenizerObjective
from illume.train.trainer import Loader, fit
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame
from illume.vocab.text import TEMPLATES, HuggingFaceTokenizer, TextFormat, train_byte_bpe

Sampler = Callable[[str, TrainState], None]


def fit_part(
    folder: RunFolder,
    part: str,
    objective: Objective,
    loader: Loader,
    stage: Stage,
    sampler: Sampler | None = None,
    ahead: bool = True,
) -> None:
    """Train one objective through one stage, going on where an earlier sitting was. `ahead`: batches may be made before
    the step before them is taken."""
    device = pick_device(folder.recipe.device)
    for module in objective.modules().values():
        module.to(device)
    callbacks: list[Callback] = [TableCallback(), ProgressCallback(part), MetricsCallback(folder.metrics, part)]
    if device.type == "cpu" and keep_freed_memory():
        callbacks.append(MemoryCallback())
    if sampler is not None and stage.sample_every:
        callbacks.append(SampleCallback(stage.sample_every, lambda state: sampler(part, state)))
    # On a CPU a second thread only takes the cores from the step: measured a third slower than none.
    with Prefetch(loader) if ahead and device.type != "cpu" else nullcontext(loader) as batches:
        fit(
            objective,
            batches,
            stage,
            callbacks,
            folder=folder.checkpoints(part),
            device=device,
            config_hash=folder.hashes[part],
        )


def text_format(recipe: Recipe, data: OpenData) -> TextFormat:
    """The text tokenizer and chat template: trained on the data's texts, or a published one."""
    template = TEMPLATES[recipe.text.template]
    if isinstance(recipe.text, BPEConfig):
        return TextFormat(train_byte_bpe(data.texts(), recipe.text.size, template.specials), template)
    return TextFormat(HuggingFaceTokenizer.load(recipe.text.name), template)


def vision_encoder(folder: RunFolder, data: OpenData, text: TextFormat) -> tuple[VisionEncoder, Contrast | None]:
    """A published encoder, or one trained here from the captions, with what compares its images with texts."""
    recipe = folder.recipe
    seed_module(recipe, "encoder")
    encoder = build_encoder(recipe.encoder)
    stage = recipe.encoder_stage
    if isinstance(recipe.encoder, PretrainedEncoderConfig) or stage is None:
        return encoder, None
    contrast = replace(recipe.contrast, text_size=text.size)
    objective = EncoderObjective(encoder, contrast, text.tokenizer.encode)
    fit_part(folder, "encoder", objective, data.image_loader(stage, share()), stage)
    return encoder.eval(), objective.contrast.eval()


def vision_tokenizer(folder: RunFolder, data: OpenData, encoder: VisionEncoder) -> tuple[AnyTokenizer, PixelDecoder]:
    """A tokenizer trained on the data's images, and the pixel decoder as its own training starts."""
    recipe, stage = folder.recipe, folder.recipe.tokenizer_stage
    seed_module(recipe, "tokenizer")
    tokenizer = build_tokenizer(recipe.tokenizer, copy.deepcopy(encoder))
    seed_module(recipe, "pixel decoder")
    decoder = build_pixel_decoder(recipe.pixel_decoder, tokenizer.dims)
    check_grids(recipe, encoder, tokenizer)
    check_guidance(recipe, tokenizer)
    objective = tokenizer_objective(tokenizer, decoder, stage.steps)
    fit_part(folder, "tokenizer", objective, data.image_loader(stage, share()), stage)
    return tokenizer.eval().requires_grad_(False), decoder


def tokenizer_objective(tokenizer: AnyTokenizer, decoder: PixelDecoder, steps: int) -> Objective:
    """What trains a tokenizer: its features' loss, or that of the pixels its decoder paints."""
    if isinstance(tokenizer, ReconstructionTokenizer):
        assert isinstance(decoder, ConvolutionalPixelDecoder)  # the recipe has seen to it
        return ReconstructionObjective(tokenizer, decoder, steps)
    return TokenizerObjective(tokenizer, steps)


def check_grids(recipe: Recipe, encoder: VisionEncoder, tokenizer: AnyTokenizer) -> None:
    """ConfigError where an image that is read and one that is drawn would have frames of different grids."""
    size = (recipe.image_size, recipe.image_size)
    reading, depths = encoder.grids(size), tokenizer.depths
    written = [grid for grid, depth in zip(reading, depths, strict=False) for _ in range(depth)]
    if recipe.reading == "features" and (len(reading) != len(depths) or tuple(written) != tokenizer.grids(size)):
        raise ConfigError(
            f"the encoder reads {recipe.image_size} pixels as grids {reading}, the tokenizer writes "
            f"{tokenizer.grids(size)}: change tokenizer.network.channels or unshuffle, or set reading=codes"
        )


def check_guidance(recipe: Recipe, tokenizer: AnyTokenizer) -> None:
    """ConfigError where guidance has scales for more or fewer levels than are drawn; a model would not draw at all."""
    levels = len(tokenizer.num_codes)
    for name in ("draw", "edit"):
        scale = getattr(recipe.generation, name).guidance
        if isinstance(scale, tuple) and len(scale) != levels:
            raise ConfigError(
                f"generation.{name}.guidance has {len(scale)} scales, images {levels} levels: give one for each level, "
                "or one number for all"
            )


def pixel_decoder(folder: RunFolder, data: OpenData, tokenizer: AnyTokenizer, decoder: PixelDecoder) -> PixelDecoder:
    """The pixel decoder trained to paint the data's images from what the tokenizer gives back; where the recipe has no
    stage for it, it came trained with the tokenizer."""
    recipe, stage = folder.recipe, folder.recipe.pixel_stage
    if stage is not None:
        shown = data if decoder.upscale == 1 else open_data(enlarged(recipe, decoder.upscale))
        objective = PixelObjective(decoder, tokenizer, stage.seed)
        fit_part(folder, "pixel_decoder", objective, shown.image_loader(stage, share()), stage)
    return decoder.eval().requires_grad_(False)


def encoded(folder: RunFolder, data: OpenData, tokenizer: AnyTokenizer) -> CodeStore:
    """The codes of every image that the language model reads or draws; computed once, by the first process."""
    device = pick_device(folder.recipe.device)
    stores = []
    for images in data.images(folder.recipe.stages, folder.recipe.reading):
        target = folder.codes / images.name
        if is_main():
            with Progress(f"codes of {images.name}", len(images.keys())) as progress:
                encode_images(
                    tokenizer,
                    images,
                    target,
                    device=device,
                    on_progress=lambda done, _, p=progress: p.advance(done - p.done),  # type: ignore[misc]
                )
        barrier()
        stores.append(CodeStore.load(target))
    return CodeStore.merge(stores)


def vocab_layout(recipe: Recipe, text_size: int, tokenizer: AnyTokenizer) -> VocabLayout:
    """The vocabulary of a recipe's model. One that reads codes has its drawings before it as they are."""
    frame = recipe.frame
    return VocabLayout(
        text_size,
        tokenizer.num_codes,
        depths=tokenizer.depths if max(tokenizer.depths) > 1 else (),
        num_sizes=frame.num_sizes,
        row_ends=frame.row_ends,
        level_markers=frame.level_markers,
        reread=frame.reread and recipe.reading == "features",
    )


def unified_config(recipe: Recipe, layout: VocabLayout, shape: DecoderConfig) -> UnifiedConfig:
    """The sizes of the language model with its vocabulary."""
    levels = [layout.ranges()[f"level{level}"] for level in range(len(layout.levels))]
    return UnifiedConfig(
        shape,
        text_rows=layout.vision_start,
        vision_rows=layout.size - layout.vision_start,
        code_ranges=tuple((ids.start, ids.stop) for ids in levels),
        max_grid=recipe.grid_positions,
    )


def language_model(
    recipe: Recipe, layout: VocabLayout, encoder: VisionEncoder, code_vectors: tuple[torch.Tensor, ...]
) -> Unified:
    """The unified model before its first stage; it reads images through a copy of the encoder of its own."""
    seed_module(recipe, "language model")
    model = Unified(unified_config(recipe, layout, recipe.decoder.shape), copy.deepcopy(encoder).requires_grad_(True))
    if isinstance(recipe.decoder, PretrainedDecoderConfig):
        load_language_model(find_folder(recipe.decoder.name), model, recipe.seed)
    if recipe.lora is not None:
        seed_module(recipe, "lora")
        add_lora(model.decoder, recipe.lora)
    if recipe.code_vectors:
        model.set_code_vectors(code_vectors, recipe.code_rows)
    return model


def train_stages(
    folder: RunFolder,
    data: OpenData,
    model: Unified,
    layout: VocabLayout,
    text: TextFormat,
    codes: CodeStore,
    sampler: Sampler | None = None,
) -> None:
    """The stages of the language model, one after the other (ILLUME, section 3.2)."""
    recipe = folder.recipe
    examples = examples_of(recipe, layout, text, codes)
    for number, stage in enumerate(recipe.stages, start=1):
        last = recipe.rounds if number == len(recipe.stages) else None
        row_length = recipe.row_length if last is None else last.row_length
        loader = sequence_loader(recipe, data, stage, examples, row_length)
        objective = LMObjective(model, recipe.weighting)
        with folder.part(stage.name):
            fit_part(folder, stage.name, objective, loader, lora_stage(stage, objective, recipe.lora), sampler)


def examples_of(recipe: Recipe, layout: VocabLayout, text: TextFormat, codes: CodeStore) -> Examples:
    """How records become samples."""
    pictures = Pictures(ImageFrame(codes.grids), codes, always_codes=recipe.reading == "codes")
    return Examples(layout, text, pictures, drop=recipe.drop, seed=recipe.seed, reading=recipe.reading)


def sequence_loader(
    recipe: Recipe, data: OpenData, stage: Stage, examples: Examples, row_length: int
) -> SequenceLoader:
    """The batches of a stage of the language model."""
    return SequenceLoader(
        data.mixture(stage),
        examples,
        batch_size=stage.batch_size,
        row_length=row_length,
        rows_per_batch=recipe.rows_per_batch,
        accumulate=stage.accumulate,
        share=share(),
    )


def merge(folder: RunFolder, model: Unified) -> None:
    """Make the trained model a plain one: codes folded into rows and, where there is LoRA, its maps kept in `lora/`, as
    peft keeps them, and added to the weights."""
    model.fold()
    recipe = folder.recipe
    if recipe.lora is None:
        return
    if is_main():
        base = recipe.decoder.name if isinstance(recipe.decoder, PretrainedDecoderConfig) else None
        encoder = recipe.encoder_stage is not None or encoder_moves(recipe.stages, model)
        save_lora(folder.path / "lora", model, base=base, encoder=encoder)
    merge_lora(model.decoder)


def share() -> Share:
    """This process's part of every step."""
    return Share(rank(), world_size())


def seed_module(recipe: Recipe, name: str) -> None:
    """Let the random start of a module depend on the recipe's seed and its name alone."""
    torch.manual_seed(seed_of("module", recipe.seed, name))
