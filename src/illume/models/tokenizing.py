"""Which vision tokenizer a configuration or a folder names; it does not know how any of them works inside."""

from pathlib import Path
from typing import Any

import torch

from illume.core.config import from_dict
from illume.core.errors import ModelError
from illume.models.folder import distrusted, read_config
from illume.models.reconstruction import ReconstructionConfig, ReconstructionTokenizer
from illume.models.tokenizer import FORMAT_VERSION, TokenizerConfig, VisionTokenizer
from illume.models.vision_encoder import Grid, VisionEncoder, encoder_from_spec

AnyTokenizerConfig = TokenizerConfig | ReconstructionConfig
AnyTokenizer = VisionTokenizer | ReconstructionTokenizer

# TokenizerConfig has no `kind`: it is older than the choice.
TOKENIZERS: dict[str | None, type[VisionTokenizer] | type[ReconstructionTokenizer]] = {
    None: VisionTokenizer,
    "reconstruction": ReconstructionTokenizer,
}
_PROBLEM = "not the sizes of a vision tokenizer"


def build_tokenizer(config: AnyTokenizerConfig, encoder: VisionEncoder) -> AnyTokenizer:
    """A new tokenizer. The encoder becomes part of one that rebuilds its features; another has no use for it."""
    if isinstance(config, ReconstructionConfig):
        return ReconstructionTokenizer(config)
    return VisionTokenizer(config, encoder)


def load_tokenizer(folder: str | Path) -> AnyTokenizer:
    """The tokenizer of a folder, whichever kind its config.json says. ModelError where it is of none."""
    path = Path(folder) / "config.json"
    with distrusted(path, _PROBLEM):
        return _class_of(read_config(path, FORMAT_VERSION), path).load(folder)


def stored_grids(folder: str | Path, size: tuple[int, int]) -> tuple[Grid, ...]:
    """The grids of an image of (height, width) pixels by the tokenizer of a folder, no weights read."""
    path = Path(folder) / "config.json"
    plain = read_config(path, FORMAT_VERSION)
    with distrusted(path, _PROBLEM), torch.device("meta"):
        if _class_of(plain, path) is VisionTokenizer:
            config = from_dict(TokenizerConfig, plain["tokenizer"], str(path))
            return VisionTokenizer(config, encoder_from_spec(plain["encoder"])).grids(size)
        return ReconstructionTokenizer(from_dict(ReconstructionConfig, plain["tokenizer"], str(path))).grids(size)


def _class_of(plain: dict[str, Any], path: Path) -> type[VisionTokenizer] | type[ReconstructionTokenizer]:
    kind = plain.get("tokenizer", {}).get("kind")
    if kind not in TOKENIZERS:
        known = ", ".join(filter(None, TOKENIZERS))
        raise ModelError(f"{path}: a vision tokenizer of kind {kind!r}; known are {known}, or none (features)")
    return TOKENIZERS[kind]
