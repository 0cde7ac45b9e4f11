"""The reconstruction tokenizer: pixels to codes by convolutions that are trained on pixels alone.

It is the baseline of ILLUME's Figure 6. It does not know how its codes are painted, nor how they become ids.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import ModelError
from illume.core.files import write_json
from illume.core.tensors import load_tensors, save_tensors
from illume.models.convolutional import ConvolutionalDecoderConfig, ConvolutionalEncoder
from illume.models.folder import read_config
from illume.models.quantizer import (
    QuantizerConfig,
    build_quantizer,
    from_levels,
    level_sizes,
    level_vectors,
    to_levels,
)
from illume.models.tokenizer import FORMAT_VERSION, AnyQuantizer, lasting, load_lasting
from illume.models.vision_encoder import Grid
from illume.models.vq import QuantizerLoss, VQConfig


@dataclass(frozen=True)
class ReconstructionConfig:
    """`network` is the encoder's, the mirror of a convolutional pixel decoder of the same configuration."""

    kind: Literal["reconstruction"] = "reconstruction"
    quantizer: QuantizerConfig = VQConfig()
    network: ConvolutionalDecoderConfig = ConvolutionalDecoderConfig()


class ReconstructionTokenizer(nn.Module):
    """A convolutional encoder and a quantiser, one level (VQGAN's, Esser et al. 2021, without its attention).

    It is trained together with the pixel decoder that paints its codes. What it gives back of codes are the quantiser's
    vectors.
    """

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = build_quantizer(config.quantizer)
        self.network = ConvolutionalEncoder(config.network, self.quantizer.dim)

    @property
    def quantizers(self) -> tuple[AnyQuantizer, ...]:
        return (self.quantizer,)

    @property
    def num_codes(self) -> tuple[int, ...]:
        """The size of every codebook that an image's codes are of: see VisionTokenizer."""
        return level_sizes(self.quantizer)

    @property
    def depths(self) -> tuple[int, ...]:
        """How many levels of the sequence write the one grid of vectors."""
        return (len(self.num_codes),)

    @property
    def dims(self) -> tuple[int, ...]:
        """The width of the code's vectors."""
        return (self.quantizer.dim,)

    @property
    def strides(self) -> tuple[int, ...]:
        """The side of what a code stands on, in pixels."""
        return (self.config.network.stride,)

    def grids(self, size: tuple[int, int]) -> tuple[Grid, ...]:
        """The grid of codes, a level, for an image of (height, width) pixels. ModelError where it does not divide."""
        stride = self.config.network.stride
        if size[0] % stride or size[1] % stride:
            raise ModelError(f"an image of {size[0]}x{size[1]} pixels does not divide into strides of {stride} pixels")
        return ((size[0] // stride, size[1] // stride),) * len(self.num_codes)

    def code_vectors(self) -> tuple[Float[Tensor, "k e"], ...]:
        """What is known of every code, a level: see Quantizer."""
        return level_vectors(self.quantizer)

    def vectors(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """What is to be quantised."""
        self.grids((pixels.shape[2], pixels.shape[3]))
        return rearrange(self.network(pixels), "b d r q -> b (r q) d")

    def encode(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Int[Tensor, "b _ _"], ...]:
        """One grid of codes a level."""
        rows = self.grids((pixels.shape[2], pixels.shape[3]))[0][0]
        levels = to_levels(self.quantizer.encode(self.vectors(pixels)), self.num_codes)
        return tuple(rearrange(level, "b (r q) -> b r q", r=rows) for level in levels)

    def decode(self, codes: tuple[Int[Tensor, "b _ _"], ...]) -> tuple[Float[Tensor, "b _ _"], ...]:
        """The vectors of these codes, row-major."""
        if len(codes) != len(self.num_codes):
            raise ModelError(f"{len(codes)} grids of codes for {len(self.num_codes)} levels")
        return (self.quantizer.decode(from_levels([level.flatten(1) for level in codes], self.num_codes)),)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> QuantizerLoss:
        """Quantised, with a gradient that passes straight through; what the decoder paints while both learn."""
        return self.quantizer.loss(self.vectors(pixels))

    def after_step(self, step: int, steps: int) -> None:
        """Let a codebook that follows statistics move; called when `step` of `steps` are done."""
        self.quantizer.after_step(step, steps)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, what only training needs left out."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        plain = {"format_version": FORMAT_VERSION, "tokenizer": to_dict(self.config)}
        write_json(Path(folder) / "config.json", plain)
        save_tensors(Path(folder) / "model.safetensors", lasting(self.state_dict()))

    @classmethod
    def load(cls, folder: str | Path) -> "ReconstructionTokenizer":
        """Read what `save` wrote. ModelError where the folder is not of this format or its tensors do not fit."""
        plain = read_config(Path(folder) / "config.json", FORMAT_VERSION)
        tokenizer = cls(from_dict(ReconstructionConfig, plain["tokenizer"], where=f"{folder}/config.json"))
        load_lasting(tokenizer, load_tensors(Path(folder) / "model.safetensors"), str(folder))
        return tokenizer.eval()
