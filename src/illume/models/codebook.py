"""What a learned codebook is made of: nearest neighbours, k-means, and the statistics of how its codes are used.

It does not know when a codebook moves (quantizer.py) nor what a code stands for.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.dist import all_reduce_sum, gather_rows

# Scores held at once while looking for neighbours: 2^26 floats are 256 MB.
LARGEST_TABLE = 1 << 26
# A code with a smaller share of the features than this has no mean worth following.
SMALLEST_SHARE = 1e-9


@torch.no_grad()
def nearest(points: Float[Tensor, "*n d"], codebook: Float[Tensor, "k d"]) -> Int[Tensor, "*n"]:
    """The index of each point's nearest row in L2, the lower one where two are equally near; in float32 throughout."""
    with torch.autocast(points.device.type, enabled=False):
        rows, codebook = points.float().reshape(-1, points.shape[-1]), codebook.float()
        half = codebook.square().sum(-1) / 2
        chunks = rows.split(max(1, LARGEST_TABLE // len(codebook)))
        found = [torch.addmm(-half, chunk, codebook.T).argmax(-1) for chunk in chunks]
    return torch.cat(found).reshape(points.shape[:-1])


def pick(
    points: Float[Tensor, "m d"], taken: Float[Tensor, "k d"], number: int, generator: torch.Generator
) -> Float[Tensor, "n d"]:
    """Up to `number` points, one after the other, likelier the further they are from all that is taken by then.

    The D² sampling of k-means++ (Arthur and Vassilvitskii 2007). A point that is taken already is never picked, so
    fewer come back where fewer are left; with nothing taken the first one is drawn evenly.
    """
    distance = torch.full((len(points),), torch.inf, device=points.device)
    if len(taken):
        distance = (points - taken[nearest(points, taken)]).square().sum(-1)
    chosen: list[Tensor] = []
    for _ in range(number):
        weight = torch.ones_like(distance) if distance.isinf().all() else distance.where(distance > 1e-10, 0)
        if not weight.any():
            break
        point = points[torch.multinomial(weight, 1, generator=generator)]
        distance = torch.minimum(distance, (points - point).square().sum(-1))
        chosen.append(point)
    return torch.cat(chosen) if chosen else points[:0]


class Clusters(NamedTuple):
    """Centres, the share of all points that each has, and the sum of its points over the number of all."""

    centres: Float[Tensor, "k d"]
    share: Float[Tensor, " k"]
    sums: Float[Tensor, "k d"]


@torch.no_grad()
def kmeans(
    points: Float[Tensor, "m d"], start: Float[Tensor, "k d"], unit_norm: bool, iterations: int = 10
) -> Clusters:
    """Lloyd's iterations from `start`; on the unit sphere if `unit_norm`. A centre without points stays."""
    centres = start
    for _ in range(iterations):
        counts, sums = tally(points, nearest(points, centres), len(centres))
        means = sums / counts.clamp_min(1)[:, None]
        centres = torch.where(counts[:, None] > 0, F.normalize(means, dim=-1) if unit_norm else means, centres)
    counts, sums = tally(points, nearest(points, centres), len(centres))
    return Clusters(centres, counts / len(points), sums / len(points))


def tally(
    points: Float[Tensor, "m d"], codes: Int[Tensor, " m"], num_codes: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
    """How many points each code has, and their sum."""
    counts = torch.bincount(codes, minlength=num_codes).to(points.dtype)
    return counts, points.new_zeros(num_codes, points.shape[-1]).index_add_(0, codes, points)


class Statistics(nn.Module):
    """How the codes of a codebook are used: moving averages, and a reservoir of recent points.

    `add` gathers within a step; `collect` closes the step over all ranks. Needed to go on training, not to use a model.
    """

    share: Tensor
    sums: Tensor
    recent: Tensor
    filled: Tensor

    def __init__(self, num_codes: int, dim: int, reservoir: int) -> None:
        super().__init__()
        self.register_buffer("share", torch.zeros(num_codes))
        self.register_buffer("sums", torch.zeros(num_codes, dim))
        self.register_buffer("recent", torch.zeros(reservoir, dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self._pending: list[tuple[Tensor, Tensor]] = []

    def add(self, points: Float[Tensor, "m d"], codes: Int[Tensor, " m"]) -> None:
        """Note the points of one micro-batch and the codes they got."""
        self._pending.append((points, codes))

    def collect(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
        """Counts and sums of everything noted since the last call, on all ranks; its points enter the reservoir."""
        if not self._pending:
            return torch.zeros_like(self.share), torch.zeros_like(self.sums)
        points = torch.cat([p for p, _ in self._pending])
        counts, sums = tally(points, torch.cat([c for _, c in self._pending]), len(self.share))
        self._pending.clear()
        self._remember(gather_rows(points))
        return all_reduce_sum(counts), all_reduce_sum(sums)

    def _remember(self, points: Float[Tensor, "m d"]) -> None:
        points = points[:: -(-len(points) // len(self.recent))]
        self.recent.copy_(torch.cat([self.recent, points])[-len(self.recent) :])
        self.filled.copy_((self.filled + len(points)).clamp_max(len(self.recent)))

    def recent_points(self) -> Float[Tensor, "m d"]:
        """The latest points, as many as there are yet."""
        return self.recent[len(self.recent) - int(self.filled) :]

    def follow(
        self, counts: Float[Tensor, " k"], sums: Float[Tensor, "k d"], decay: float, codebook: Float[Tensor, "k d"]
    ) -> Float[Tensor, "k d"]:
        """Take a step's counts into the moving averages; each code's mean point, or its old row where none came."""
        total = counts.sum().clamp_min(1)
        self.share.lerp_(counts / total, 1 - decay)
        self.sums.lerp_(sums / total, 1 - decay)
        means = self.sums / self.share.clamp_min(SMALLEST_SHARE)[:, None]
        return torch.where(self.share[:, None] > SMALLEST_SHARE, means, codebook)

    def restart(self, codes: Int[Tensor, " r"], share: Float[Tensor, " r"], sums: Float[Tensor, "r d"]) -> None:
        """Let the averages of these codes begin anew from here (both as shares of all points, like `Clusters`)."""
        self.share[codes] = share
        self.sums[codes] = sums
