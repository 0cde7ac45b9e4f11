"""A model folder: everything an ILLUME needs, in Hugging Face's layout, written whole and read with care.

It does not know how the model was trained, nor what it is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from illume.core.config import from_dict, to_dict
from illume.core.errors import ConfigError, ModelError
from illume.core.files import atomic_folder, replaceable, write_text
from illume.generate.card import model_card
from illume.generate.request import GREEDY, Number, Sampling, Scale
from illume.models.convert import load_unified, read_unified_config, save_unified
from illume.models.painting import load_pixel_decoder
from illume.models.pixel_decoder import PixelDecoder
from illume.models.tokenizing import AnyTokenizer, load_tokenizer
from illume.models.unified import Unified
from illume.vocab.format import Reading
from illume.vocab.layout import VocabLayout
from illume.vocab.text import ChatTemplate, HuggingFaceTokenizer, TextFormat

C = TypeVar("C")
TOKENIZER, PIXEL_DECODER = "vision_tokenizer", "pixel_decoder"
_NEEDED = ("tokenizer.json", f"{TOKENIZER}/config.json", f"{PIXEL_DECODER}/config.json")
# What a model folder holds, with what its run writes beside it: a save replaces these names and no others.
KNOWN = (
    "config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "README.md", "recipe.yaml",
    *(part + inside for part in (TOKENIZER, PIXEL_DECODER) for inside in ("", "/*.json", "/*.safetensors")),
    *(f"{PIXEL_DECODER}/{inside}" for inside in ("unet", "vae", "scheduler")),
)  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Drawing:
    """How images are drawn: the sampling of their codes and the scale of guidance, one or one for each level."""

    sampling: Sampling
    guidance: Scale


@dataclass(frozen=True)
class Generation:
    """The section "generation" of config.json: what is done where a request says nothing.

    Drawing and editing have values of their own; the defaults are ILLUME+'s (arXiv 2504.01934). `max_length` is the
    longest conversation with its answer, in ids; `rows` the most rows of one batch; `memory` how many earlier turns an
    answer in a session sees, None: all of them. A model that learnt from single turns is lost after others: 0.
    """

    text: Sampling = GREEDY
    draw: Drawing = Drawing(Sampling(1.0, 2048), 2.0)
    edit: Drawing = Drawing(Sampling(0.7, 512, 0.8), 1.5)
    max_length: int = 1024
    rows: int = 64
    paint_guidance: Number = 1.0
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 0:
            raise ValueError(f"memory is a number of turns, 0 or more, or none for all of them, not {self.memory}")


@dataclass(frozen=True)
class Parts:
    """What a model folder holds. `image_size` is the (height, width) in pixels that images are brought to; `reading`
    says whether the model reads them as features of its encoder or as codes of the tokenizer."""

    model: Unified
    layout: VocabLayout
    text: TextFormat
    tokenizer: AnyTokenizer
    pixel_decoder: PixelDecoder
    image_size: tuple[int, int]
    generation: Generation = field(default_factory=Generation)
    reading: Reading = "features"


def save_parts(folder: str | Path, parts: Parts) -> None:
    """Write a whole model folder, or nothing: an older model there stays until the new one is complete.

    ModelError where something else than a model would be replaced.
    """
    if not isinstance(parts.text.tokenizer, HuggingFaceTokenizer):
        raise ModelError(f"{folder}: a {type(parts.text.tokenizer).__name__} cannot be written as tokenizer.json")
    extra = {
        "vocabulary": to_dict(parts.layout),
        "chat_template": to_dict(parts.text.template),
        "image_size": list(parts.image_size),
        "generation": to_dict(parts.generation),
        "reading": parts.reading,
    }
    with atomic_folder(replaceable(folder, "a model", KNOWN, "config.json", ModelError)) as inside:
        save_unified(inside, parts.model, extra)
        parts.text.tokenizer.save(inside)
        parts.tokenizer.save(inside / TOKENIZER)
        parts.pixel_decoder.save(inside / PIXEL_DECODER)
        card = model_card(Path(folder).name, parts.model, parts.layout, parts.image_size, parts.reading)
        write_text(inside / "README.md", card)


def load_parts(folder: Path, device: torch.device, dtype: torch.dtype) -> Parts:
    """Read a model folder; the language model in `dtype`, the weights of the parts that paint in float32.

    ModelError says what is missing or of another format or version, and what to do. Pickles are never opened.
    """
    check_folder(folder)
    plain = read_unified_config(folder)
    template = _section(plain, "chat_template", ChatTemplate, folder)
    return Parts(
        load_unified(folder, device, dtype).requires_grad_(False),
        _section(plain, "vocabulary", VocabLayout, folder),
        TextFormat(HuggingFaceTokenizer.load(folder), template),
        load_tokenizer(folder / TOKENIZER).to(device).requires_grad_(False),
        load_pixel_decoder(folder / PIXEL_DECODER).to(device).requires_grad_(False),
        _image_size(plain, folder),
        _section(plain, "generation", Generation, folder),
        _reading(plain, folder),
    )


def model_inside(folder: Path) -> Path:
    """The model's folder, given it or its run's."""
    inner = folder / "model"
    return inner if (inner / "config.json").is_file() else folder


def check_folder(folder: Path) -> None:
    """ModelError unless this is a folder with all the parts of an ILLUME, in safetensors."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: not a model folder: it has no config.json (a run's model is in its model/)")
    read_unified_config(folder)
    if not any(folder.glob("model*.safetensors*")):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        found = (
            f"only {', '.join(pickles)}, and pickles are never loaded: convert them to safetensors" if pickles else ""
        )
        raise ModelError(f"{folder}: no model.safetensors: " + (found or "the weights are missing; copy them here"))
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder}: incomplete: {', '.join(missing)} missing; copy the whole folder, or save it again")


def _section(plain: Mapping[str, Any], name: str, cls: type[C], folder: Path) -> C:
    if name not in plain:
        raise ModelError(f"{folder}/config.json: lacks {name}")
    try:
        return from_dict(cls, plain[name], where=f"{folder}/config.json: {name}")
    except ConfigError as error:
        raise ModelError(str(error)) from error


def _reading(plain: Mapping[str, Any], folder: Path) -> Reading:
    match plain.get("reading", "features"):
        case "features":
            return "features"
        case "codes":
            return "codes"
        case other:
            raise ModelError(f"{folder}/config.json: reading {other!r}; expected 'features' or 'codes'")


def _image_size(plain: Mapping[str, Any], folder: Path) -> tuple[int, int]:
    match plain.get("image_size"):
        case [int(height), int(width)] if min(height, width) > 0:
            return height, width
        case other:
            raise ModelError(f"{folder}/config.json: image_size {other!r}; expected [height, width] in pixels")
