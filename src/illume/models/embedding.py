"""Rows of a vocabulary in two parameters, text and vision, and the 2-D places of an image.

It does not know what an id means, only that ids below `text_rows` are text and the rest vision.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.models.layers import full_precision

HEAD_STD = 0.02  # as in the published models of the family
# What enters a model that starts from nothing stands beside adapted features: at 0.02 it would drown among them.
EMBEDDING_STD = 0.3


def random_rows(number: int, width: int, std: float) -> nn.Parameter:
    """Normal rows. On the meta device nothing is drawn: there torch would import its compiler for it, a second."""
    rows = torch.empty(number, width)
    return nn.Parameter(rows if rows.is_meta else rows.normal_(std=std))


class SplitRows(nn.Module):
    """A vector an id: parameters `text` [text_rows, d] and `vision` [vision_rows, d].

    While codes have vectors (`set_code_vectors`), the row of a code is learned + linear(its frozen codebook vector):
    codes that look alike start alike. Without `own` rows it is the linear part alone: what is learnt of one code holds
    for those alike, and none can be singled out as never seen. `fold` makes them plain rows again.
    """

    std = HEAD_STD  # of the rows at the start

    def __init__(self, text_rows: int, vision_rows: int, width: int, code_ranges: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.code_ranges = tuple((start - text_rows, stop - text_rows) for start, stop in code_ranges)
        self.text = random_rows(text_rows, width, self.std)
        self.vision = random_rows(vision_rows, width, self.std)
        self.code_projections = nn.ModuleList()
        self.own_rows = True

    def set_code_vectors(self, vectors: tuple[Float[Tensor, "_ _"], ...], own: bool = True) -> None:
        """Give each level its codebook [codes, dim]. ValueError where the sizes are not those of the code ranges."""
        sizes = tuple(stop - start for start, stop in self.code_ranges)
        if tuple(len(level) for level in vectors) != sizes:
            raise ValueError(f"codebooks of {tuple(len(level) for level in vectors)} codes for ranges of {sizes}")
        self.fold()
        for level, codebook in enumerate(vectors):
            frozen = codebook.detach().to(self.vision.device, self.vision.dtype, copy=True)
            self.register_buffer(f"code_vectors_{level}", frozen)
            self.code_projections.append(self._projection(frozen))
        self.own_rows = own
        if not own:
            for start, stop in self.code_ranges:
                self.vision.data[start:stop] = 0

    def _projection(self, codebook: Float[Tensor, "k dim"]) -> nn.Linear:
        """Initialised so that the projected vectors have the size of the learned rows, whatever the codebook's."""
        width, dim = self.vision.shape[1], codebook.shape[1]
        projection = nn.Linear(dim, width, bias=False, device=codebook.device, dtype=codebook.dtype)
        length = codebook.square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
        with torch.no_grad():
            projection.weight.normal_().mul_(self.std / length)
        return projection

    def vision_rows(self) -> Float[Tensor, "v d"]:
        """All vision rows as they enter the model."""
        if not self.code_projections:
            return self.vision
        with full_precision(self.vision.device.type):  # so that folding changes nothing
            added = [
                projection(self.get_buffer(f"code_vectors_{level}"))
                for level, projection in enumerate(self.code_projections)
            ]
        pieces, done = [], 0
        for (start, stop), codes in zip(self.code_ranges, added, strict=True):
            pieces += [self.vision[done:start], self.vision[start:stop] + codes if self.own_rows else codes]
            done = stop
        return torch.cat([*pieces, self.vision[done:]])

    @torch.no_grad()
    def fold(self) -> None:
        """Add the projected codebook vectors to the learned rows and forget both vectors and projections."""
        self.vision.copy_(self.vision_rows())
        for level in range(len(self.code_projections)):
            delattr(self, f"code_vectors_{level}")
        self.code_projections = nn.ModuleList()


class SplitEmbedding(SplitRows):
    """ids -> embeds."""

    std = EMBEDDING_STD

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Raises IndexError for an id outside the vocabulary."""
        split = self.text.shape[0]
        text = F.embedding(ids.clamp(max=split - 1), self.text)
        vision = F.embedding((ids - split).clamp(min=0), self.vision_rows())
        return torch.where((ids < split).unsqueeze(-1), text, vision)


class PlaceEmbedding(nn.Module):
    """Where in an image a position stands: level + row + column, each learned, for grids up to `max_grid` a side."""

    def __init__(self, levels: int, max_grid: int, width: int) -> None:
        super().__init__()
        self.level = random_rows(levels, width, EMBEDDING_STD)
        self.row = random_rows(max_grid, width, EMBEDDING_STD)
        self.column = random_rows(max_grid, width, EMBEDDING_STD)

    def forward(self, places: Int[Tensor, "b t 3"]) -> Float[Tensor, "b t d"]:
        """(level, row, column) of every position, -1 three times where there is none: those get zeros."""
        level, row, column = places.clamp(min=0).unbind(dim=-1)
        placed = F.embedding(level, self.level) + F.embedding(row, self.row) + F.embedding(column, self.column)
        return placed * (places[..., :1] >= 0)


def check_ranges(ranges: tuple[tuple[int, int], ...], start: int, stop: int) -> None:
    """ValueError unless the ranges are in order, apart, and within [start, stop)."""
    edges = [start, *(edge for one in ranges for edge in one), stop]
    if any(low > high for low, high in pairwise(edges)):
        raise ValueError(f"code ranges {ranges} must be in order, apart, and within the vision rows [{start}, {stop})")
