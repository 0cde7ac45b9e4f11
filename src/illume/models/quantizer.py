"""Quantisers: features to codes and back, with the losses and statistics that train their codebooks.

They do not know what the features describe, nor how the codes are laid out as images or vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.device import generator
from illume.models.codebook import Statistics, kmeans, nearest, pick


@dataclass(frozen=True)
class VQConfig:
    """A learned codebook that follows the features by moving averages (VQ-VAE, van den Oord et al. 2017, appendix A).

    Shares (`continuous`, `revive_until`) are of the training's steps: up to the first the features pass unquantised,
    then k-means over the last `reservoir` features places the codes; up to the second, every `revive_every` steps,
    codes used less than `dead_below` of an even share start anew at badly served features.
    """

    kind: Literal["vq"] = "vq"
    num_codes: int = 512
    dim: int = 16
    unit_norm: bool = True
    decay: float = 0.98
    commitment: float = 0.25
    continuous: float = 0.15
    revive_until: float = 0.8
    revive_every: int = 10
    dead_below: float = 0.1
    reservoir: int = 8192

    def __post_init__(self) -> None:
        if self.reservoir < self.num_codes:
            raise ValueError(
                f"reservoir {self.reservoir} is smaller than num_codes {self.num_codes}: k-means needs more"
            )


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


class QuantizerLoss(NamedTuple):
    """`quantised` passes the gradient of what follows straight through to the features; `loss` trains the rest."""

    quantised: Float[Tensor, "b n d"]
    codes: Int[Tensor, "b n"]
    loss: Float[Tensor, ""]
    metrics: Mapping[str, Tensor]


class Quantizer(Protocol):
    """`encode(decode(codes)) == codes`; `decode(encode(features))` is the quantised features of `loss`."""

    @property
    def num_codes(self) -> int: ...

    @property
    def dim(self) -> int: ...

    def encode(self, features: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]: ...

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]: ...

    def code_vectors(self) -> Float[Tensor, "k e"]:
        """What is known of every code, for whoever learns to write codes: what alike codes have in common."""
        ...

    def loss(self, features: Float[Tensor, "b n d"]) -> QuantizerLoss: ...

    def after_step(self, step: int, steps: int) -> None:
        """Called when `step` of `steps` are done: where a codebook moves by statistics, it moves here."""
        ...


def build_quantizer(config: QuantizerConfig) -> "VQ | ProductVQ | SimVQ":
    """The quantiser of a configuration."""
    if isinstance(config, VQConfig):
        return VQ(config)
    if isinstance(config, ProductVQConfig):
        return ProductVQ(config)
    return SimVQ(config)


def straight_through(features: Float[Tensor, "b n d"], quantised: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The values of `quantised`, to the bit, with the gradient of `features` (Bengio et al. 2013)."""
    return quantised.detach() + (features - features.detach())


def code_metrics(codes: Int[Tensor, "b n"], num_codes: int) -> dict[str, Tensor]:
    """How much of the codebook this batch uses: the share of codes met, and the perplexity of their distribution."""
    share = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return {"utilisation": (share > 0).float().mean(), "perplexity": entropy.exp()}


class VQ(nn.Module):
    """Nearest-neighbour quantisation with a codebook of moving averages.

    The codebook moves in `after_step`, once, from the statistics of all the `loss` calls of a step and all ranks: so
    micro-batches and processes add up to the whole batch exactly.
    """

    codebook: Tensor
    started: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        codebook = torch.randn(config.num_codes, config.dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("codebook", self._place(codebook))
        self.register_buffer("started", torch.tensor(False))
        self.statistics = Statistics(config.num_codes, config.dim, config.reservoir)

    @property
    def num_codes(self) -> int:
        return self.config.num_codes

    @property
    def dim(self) -> int:
        return self.config.dim

    def encode(self, features: Float[Tensor, "b n d"]) -> Int[Tensor, "b n"]:
        """The nearest code of every feature."""
        return nearest(self._place(features), self.codebook)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The codebook's vectors of these codes."""
        return self.codebook[codes]

    def code_vectors(self) -> Float[Tensor, "k e"]:
        """The codebook."""
        return self.codebook

    def loss(self, features: Float[Tensor, "b n d"]) -> QuantizerLoss:
        """Quantise and say what it costs: the commitment alone, for the codebook follows by itself."""
        points = self._place(features)
        codes = nearest(points, self.codebook)
        if self.training:
            self.statistics.add(points.detach().flatten(0, 1), codes.flatten())
        metrics = code_metrics(codes, self.num_codes)
        if not self.started:
            return QuantizerLoss(points, codes, points.new_zeros(()), metrics)
        quantised = self.decode(codes)
        commitment = self.config.commitment * F.mse_loss(points, quantised)
        return QuantizerLoss(straight_through(points, quantised), codes, commitment, metrics)

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Move the codebook: first not at all, then once by k-means, then by averages with revival of dead codes."""
        counts, sums = self.statistics.collect()
        if self.started:
            self.codebook.copy_(self._place(self.statistics.follow(counts, sums, self.config.decay, self.codebook)))
            if step <= self.config.revive_until * steps and step % self.config.revive_every == 0:
                self._revive(step)
        elif step >= self.config.continuous * steps:
            self._start(step)

    def _place(self, features: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The features where the codebook lives: on the unit sphere, if it does; in float32."""
        return F.normalize(features.float(), dim=-1) if self.config.unit_norm else features.float()

    def _start(self, step: int) -> None:
        points = self.statistics.recent_points()
        start = pick(points, self.codebook[:0], self.num_codes, generator(points.device, "k-means", step))
        clusters = kmeans(points, start, self.config.unit_norm)
        # Where there are fewer different points than codes, the rest keep their random rows until they are revived.
        self.codebook[: len(start)] = clusters.centres
        self.statistics.restart(torch.arange(len(start), device=points.device), clusters.share, clusters.sums)
        self.started.fill_(True)

    def _revive(self, step: int) -> None:
        """Dead codes, and twins of an earlier code (which are never found), move to features far from all codes."""
        own = torch.arange(self.num_codes, device=self.codebook.device)
        dead = self.statistics.share < self.config.dead_below / self.num_codes
        dead |= nearest(self.codebook, self.codebook) != own
        points = self.statistics.recent_points()
        chosen = pick(points, self.codebook[~dead], int(dead.sum()), generator(points.device, "revive", step))
        where = dead.nonzero().flatten()[: len(chosen)]
        self.codebook[where] = chosen
        fresh = torch.full((len(where),), 1 / self.num_codes, device=chosen.device)
        self.statistics.restart(where, fresh, chosen / self.num_codes)


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
