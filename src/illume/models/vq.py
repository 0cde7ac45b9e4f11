"""What a quantiser is, and the plain one: a codebook that follows the features by moving averages.

It does not know what the features describe, nor how the codes are laid out as images or vocabulary.
"""

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
