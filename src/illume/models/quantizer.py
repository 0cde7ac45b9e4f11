"""Quantisers: features to codes and back, with the losses and statistics that train their codebooks.

They do not know what the features describe, nor how the codes are laid out as images or vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.models.codebook import nearest
from illume.models.layers import full_precision
from illume.models.vq import VQ, Quantizer, QuantizerLoss, VQConfig, code_metrics, straight_through

__all__ = [
    "VQ",
    "ProductVQ",
    "ProductVQConfig",
    "Quantizer",
    "QuantizerConfig",
    "QuantizerLoss",
    "SimVQ",
    "SimVQConfig",
    "VQConfig",
    "build_quantizer",
    "from_levels",
    "level_sizes",
    "level_vectors",
    "to_levels",
]


@dataclass(frozen=True)
class ProductVQConfig:
    """Small codebooks side by side, each with its own few dimensions; their indices together are one code.

    There are as many codes as combinations, so a pairing never seen in training (a known colour of a known shape) has
    a code all the same (product quantisation, Jégou et al. 2011). `apart`: each index is a code of a level of its own
    instead, and a language model writes the first ones of the whole image, then the second ones with those in view.
    """

    kind: Literal["product_vq"] = "product_vq"
    groups: tuple[VQConfig, ...] = (VQConfig(num_codes=8, dim=4),) * 3
    apart: bool = False


@dataclass(frozen=True)
class SimVQConfig:
    """A frozen random codebook under one learned linear map (SimVQ, Zhu et al. 2024): no code can die alone."""

    kind: Literal["simvq"] = "simvq"
    num_codes: int = 16384
    dim: int = 32
    commitment: float = 0.25


QuantizerConfig = VQConfig | ProductVQConfig | SimVQConfig


def build_quantizer(config: QuantizerConfig) -> "VQ | ProductVQ | SimVQ":
    """The quantiser of a configuration."""
    if isinstance(config, VQConfig):
        return VQ(config)
    if isinstance(config, ProductVQConfig):
        return ProductVQ(config)
    return SimVQ(config)


def level_sizes(quantizer: "VQ | ProductVQ | SimVQ") -> tuple[int, ...]:
    """The codebook sizes of the levels that a quantiser's codes are written in: one, or one a group."""
    if isinstance(quantizer, ProductVQ) and quantizer.config.apart:
        return tuple(group.num_codes for group in quantizer.config.groups)
    return (quantizer.num_codes,)


def level_vectors(quantizer: "VQ | ProductVQ | SimVQ") -> tuple[Float[Tensor, "k e"], ...]:
    """What is known of every code of each of these levels."""
    if isinstance(quantizer, ProductVQ) and quantizer.config.apart:
        return tuple(group.code_vectors() for group in quantizer.vqs())
    return (quantizer.code_vectors(),)


def to_levels(codes: Int[Tensor, "*b"], sizes: Sequence[int]) -> tuple[Int[Tensor, "*b"], ...]:
    """Codes as digits in a number system of mixed bases, the leading one first."""
    digits = []
    for size in reversed(sizes):
        digits.append(codes % size)
        codes = codes // size
    return tuple(digits[::-1])


def from_levels(digits: Sequence[Int[Tensor, "*b"]], sizes: Sequence[int]) -> Int[Tensor, "*b"]:
    """`to_levels` backwards."""
    codes = torch.zeros_like(digits[0])
    for digit, size in zip(digits, sizes, strict=True):
        codes = codes * size + digit
    return codes


class ProductVQ(nn.Module):
    """Several `VQ` side by side; their indices, read as the digits of a number, are one code."""

    def __init__(self, config: ProductVQConfig) -> None:
        super().__init__()
        self.config = config
        self.groups = nn.ModuleList(VQ(group) for group in config.groups)

    @property
    def num_codes(self) -> int:
        return math.prod(group.num_codes for group in self.config.groups)

    @property
    def dim(self) -> int:
        return sum(group.dim for group in self.config.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The codebook size of every group."""
        return tuple(group.num_codes for group in self.config.groups)

    def encode(self, features: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]:
        """One code a feature; the first group's index is the leading digit."""
        parts = zip(self.vqs(), self.parts(features), strict=True)
        return from_levels([vq.encode(part) for vq, part in parts], self.sizes)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The groups' vectors, side by side."""
        digits = zip(self.vqs(), to_levels(codes, self.sizes), strict=True)
        return torch.cat([vq.decode(digit) for vq, digit in digits], dim=-1)

    def code_vectors(self) -> Float[Tensor, "k e"]:
        """The groups' vectors, and one-hot which entry of each: a code never seen shares its parts with others."""
        codes = torch.arange(self.num_codes, device=self.vqs()[0].codebook.device)
        digits = zip(to_levels(codes, self.sizes), self.sizes, strict=True)
        vectors = self.decode(codes[None])[0]
        return torch.cat([vectors, *(F.one_hot(digit, size).to(vectors.dtype) for digit, size in digits)], dim=-1)

    def loss(self, features: Float[Tensor, "b n d"]) -> QuantizerLoss:
        """The mean of the losses of the groups. The metrics are of the joint code; of groups apart, their mean."""
        losses = [vq.loss(part) for vq, part in zip(self.vqs(), self.parts(features), strict=True)]
        codes = from_levels([loss.codes for loss in losses], self.sizes)
        quantised = torch.cat([loss.quantised for loss in losses], dim=-1)
        mean = torch.stack([loss.loss for loss in losses]).mean()
        if not self.config.apart:
            return QuantizerLoss(quantised, codes, mean, code_metrics(codes, self.num_codes))
        names = losses[0].metrics
        metrics = {name: torch.stack([loss.metrics[name] for loss in losses]).mean() for name in names}
        return QuantizerLoss(quantised, codes, mean, metrics)

    def after_step(self, step: int, steps: int) -> None:
        for group in self.vqs():
            group.after_step(step, steps)

    def vqs(self) -> list[VQ]:
        """The groups' quantisers."""
        return [group for group in self.groups if isinstance(group, VQ)]

    def parts(self, features: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b n _"], ...]:
        """Each group's own dimensions of the features."""
        return features.split([group.dim for group in self.config.groups], dim=-1)


class SimVQ(nn.Module):
    """Nearest-neighbour quantisation over a frozen codebook seen through a learned linear map."""

    frozen_codebook: Tensor

    def __init__(self, config: SimVQConfig) -> None:
        super().__init__()
        self.config = config
        frozen = torch.randn(config.num_codes, config.dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("frozen_codebook", frozen * config.dim**-0.5)
        self.code_transform = nn.Linear(config.dim, config.dim, bias=False)

    @property
    def num_codes(self) -> int:
        return self.config.num_codes

    @property
    def dim(self) -> int:
        return self.config.dim

    @property
    def codebook(self) -> Float[Tensor, "k d"]:
        """The codebook as it stands, in float32."""
        with full_precision(self.frozen_codebook.device.type):
            return self.code_transform(self.frozen_codebook)

    def encode(self, features: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]:
        """The nearest code of every feature."""
        return nearest(features, self.codebook)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The codebook's vectors of these codes."""
        return self.codebook[codes]

    def code_vectors(self) -> Float[Tensor, "k e"]:
        """The codebook."""
        return self.codebook

    def loss(self, features: Float[Tensor, "b n d"]) -> QuantizerLoss:
        """The map is drawn to the features, and the features, `commitment` as strongly, to the map's rows."""
        features, codebook = features.float(), self.codebook
        codes = nearest(features, codebook)
        quantised = codebook[codes]
        loss = F.mse_loss(quantised, features.detach())
        loss = loss + self.config.commitment * F.mse_loss(features, quantised.detach())
        return QuantizerLoss(straight_through(features, quantised), codes, loss, code_metrics(codes, self.num_codes))

    def after_step(self, step: int, steps: int) -> None:
        """Nothing: this codebook moves by its gradient."""
