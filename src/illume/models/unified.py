"""Vision encoder, adapter, language model and split vocabulary as one network.

It does not know which id means what, how a conversation is written, or how an image is painted.
"""

from dataclasses import dataclass
from typing import Protocol, cast

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.models.adapter import Adapter
from illume.models.decoder import Decoder, DecoderConfig, KVCache
from illume.models.embedding import PlaceEmbedding, SplitEmbedding, check_ranges
from illume.models.head import SplitHead

Grid = tuple[int, int]


@dataclass(frozen=True)
class UnifiedConfig:
    """Ids below `text_rows` are text, the next `vision_rows` vision; `code_ranges` are [first, last + 1) in ids, one a
    level. `max_grid` is the longest side of a grid that has 2-D places; 0: no places."""

    decoder: DecoderConfig
    text_rows: int
    vision_rows: int
    code_ranges: tuple[tuple[int, int], ...]
    max_grid: int = 0

    def __post_init__(self) -> None:
        check_ranges(self.code_ranges, self.text_rows, self.text_rows + self.vision_rows)


class ReadsImages(Protocol):
    """What is asked of a vision encoder: it is a module, and `dims` are the widths of its levels."""

    @property
    def dims(self) -> tuple[int, ...]: ...

    def __call__(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[tuple[Float[Tensor, "b _ _"], Grid], ...]: ...


class Unified(nn.Module):
    """The model that stages 1 to 3 train."""

    def __init__(self, config: UnifiedConfig, vision_encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        width = config.decoder.width
        rows = (config.text_rows, config.vision_rows, width, config.code_ranges)
        self.vision_encoder = vision_encoder
        self.adapter = Adapter(tuple(cast(ReadsImages, vision_encoder).dims), width)
        self.embedding = SplitEmbedding(*rows)
        self.places = PlaceEmbedding(len(config.code_ranges), config.max_grid, width) if config.max_grid else None
        self.decoder = Decoder(config.decoder)
        self.head = SplitHead(*rows)
        self.tie()

    def tie(self) -> None:
        """Let the head share the embedding's text rows, if the configuration says so."""
        if self.config.decoder.tied:
            self.head.tie_text(self.embedding.text)

    def set_code_vectors(self, vectors: tuple[Float[Tensor, "_ _"], ...], own: bool = True) -> None:
        """Code rows of embedding and head become learned + linear(frozen vector), one codebook [codes, dim] a level;
        without `own` rows, linear(frozen vector) alone."""
        self.embedding.set_code_vectors(vectors, own)
        self.head.set_code_vectors(vectors, own)

    def fold(self) -> None:
        """Make code rows plain rows again, without changing the function."""
        self.embedding.fold()
        self.head.fold()

    def read(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ d"], ...]:
        """Images in [-1, 1] to embeds for slots, one tensor a level."""
        return self.adapter(tuple(features for features, _ in cast(ReadsImages, self.vision_encoder)(pixels)))

    def embed(
        self,
        ids: Int[Tensor, "b t"],
        places: Int[Tensor, "b t 3"] | None = None,
        slot_index: Int[Tensor, " s"] | None = None,
        slot_embeds: Float[Tensor, "s d"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Embeds of ids, at the flat positions `slot_index` of b * t `slot_embeds` instead; 2-D places added to all."""
        embeds = self.embedding(ids)
        if (slot_index is None) != (slot_embeds is None):
            raise ValueError("slot_index and slot_embeds come together")
        if slot_index is not None and slot_embeds is not None:
            flat = rearrange(embeds, "b t d -> (b t) d").index_copy(0, slot_index, slot_embeds.to(embeds.dtype))
            embeds = rearrange(flat, "(b t) d -> b t d", b=ids.shape[0])
        if self.places is None:
            return embeds
        if places is None:
            raise ValueError("this model has 2-D places: give the place of every position, -1 where there is none")
        return embeds + self.places(places)

    def forward(
        self,
        ids: Int[Tensor, "b t"],
        positions: Int[Tensor, "b t"],
        *,
        segments: Int[Tensor, "b t"] | None = None,
        places: Int[Tensor, "b t 3"] | None = None,
        slot_index: Int[Tensor, " s"] | None = None,
        slot_embeds: Float[Tensor, "s d"] | None = None,
        cache: KVCache | None = None,
        branches: Int[Tensor, "b t"] | None = None,
        wanted: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*m d"]:
        """Hidden states, for `head.loss` or `head.logits`. See `embed` and `Decoder.forward` for the arguments."""
        embeds = self.embed(ids, places, slot_index, slot_embeds)
        return self.decoder(embeds, positions, segments, cache, branches, wanted)
