"""Quantisers: features to codes and back, with the losses and statistics that train their codebooks.

They do not know what the features describe, nor how the codes are laid out as images or vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.models.codebook import nearest
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
]


@dataclass(frozen=True)
class ProductVQConfig:
    """Small codebooks side by side, each with its own few dimensions; their indices together are one code.

    There are as many codes as combinations, so a pairing never seen in training (a known colour of a known shape) has
    a code all the same (product quantisation, Jégou et al. 2011).
    """

    kind: Literal["product_vq"] = "product_vq"
    groups: tuple[VQConfig, ...] = (VQConfig(num_codes=8, dim=4),) * 3


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

    def encode(self, features: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]:
        """One code a feature; the first group's index is the leading digit."""
        return self._join([group.encode(part) for group, part in self._parts(features)])

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The groups' vectors, side by side."""
        return torch.cat([vq.decode(digit) for vq, digit in zip(self._vqs(), self._digits(codes), strict=True)], dim=-1)

    def code_vectors(self) -> Float[Tensor, "k e"]:
        """The groups' vectors, and one-hot which entry of each: a code never seen shares its parts with others."""
        codes = torch.arange(self.num_codes, device=self._vqs()[0].codebook.device)
        sizes = (group.num_codes for group in self.config.groups)
        parts = [F.one_hot(digit, size) for digit, size in zip(self._digits(codes), sizes, strict=True)]
        vectors = self.decode(codes[None])[0]
        return torch.cat([vectors, *(part.to(vectors.dtype) for part in parts)], dim=-1)

    def loss(self, features: Float[Tensor, "b n d"]) -> QuantizerLoss:
        """The mean of the groups' losses; the metrics are of the joint code."""
        losses = [group.loss(part) for group, part in self._parts(features)]
        codes = self._join([loss.codes for loss in losses])
        quantised = torch.cat([loss.quantised for loss in losses], dim=-1)
        mean = torch.stack([loss.loss for loss in losses]).mean()
        return QuantizerLoss(quantised, codes, mean, code_metrics(codes, self.num_codes))

    def after_step(self, step: int, steps: int) -> None:
        for group in self._vqs():
            group.after_step(step, steps)

    def _vqs(self) -> list[VQ]:
        return [group for group in self.groups if isinstance(group, VQ)]

    def _parts(self, features: Tensor) -> list[tuple[VQ, Tensor]]:
        parts = features.split([group.dim for group in self.config.groups], dim=-1)
        return list(zip(self._vqs(), parts, strict=True))

    def _join(self, digits: list[Tensor]) -> Int[Tensor, "b n"]:
        codes = torch.zeros_like(digits[0])
        for group, digit in zip(self.config.groups, digits, strict=True):
            codes = codes * group.num_codes + digit
        return codes

    def _digits(self, codes: Int[Tensor, "*b"]) -> list[Tensor]:
        digits = []
        for group in reversed(self.config.groups):
            digits.append(codes % group.num_codes)
            codes = codes // group.num_codes
        return digits[::-1]


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
        with torch.autocast(self.frozen_codebook.device.type, enabled=False):
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
