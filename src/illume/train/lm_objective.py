"""Next-id prediction over packed rows of text, slots and codes.

It knows no conversation: which ids are predicted, and where images enter, the batch says.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from illume.core.errors import DataError
from illume.data.collate import SequenceBatch
from illume.models.unified import Unified
from illume.train.objective import Loss

Weighting = Literal["id", "sample"]


class LMObjective:
    """The language model's loss: one cross-entropy over text and vision rows (ILLUME, section 3).

    `weighting` "id" is the plain mean over ids. "sample" is the mean over samples of each one's mean, so that an answer
    of two ids counts as much as an image of hundreds. The metrics are plain means over text ids and over codes with
    their markers. `chunk` positions at a time go through the head.
    """

    def __init__(self, model: Unified, weighting: Weighting = "id", chunk: int = 2048) -> None:
        self.model = model
        self.weighting = weighting
        self.chunk = chunk

    def modules(self) -> Mapping[str, nn.Module]:
        """The model's parts under their own names: vision_encoder, adapter, embedding, decoder, head, places."""
        return dict(self.model.named_children())

    def size(self, batch: SequenceBatch) -> int:
        """The ids with loss, or the samples that have any."""
        if self.weighting == "id":
            return int(batch.loss_mask.sum())
        return len(sample_numbers(batch.segments)[batch.loss_mask].unique())

    def loss(self, batch: SequenceBatch) -> Loss:
        """The mean loss; zero where nothing is predicted."""
        where = predicted(batch.loss_mask, batch.segments, batch.branches)
        hidden = self.hidden(batch, where - 1)
        targets = rearrange(batch.ids, "b t -> (b t)")[where]
        vision = targets >= self.model.config.text_rows
        losses = self.model.head(hidden, targets, self.chunk)
        texts, codes = (~vision).sum(), vision.sum()
        plain = losses.detach()
        metrics = {
            "text_loss": plain[~vision].sum() / texts.clamp(min=1),
            "code_loss": plain[vision].sum() / codes.clamp(min=1),
        }
        value = (losses * self._weights(batch)).sum() / max(1, self.size(batch))
        return Loss(value, metrics, {"text_loss": texts, "code_loss": codes})

    def _weights(self, batch: SequenceBatch) -> Float[Tensor, " m"] | float:
        """What each predicted id weighs, in the order of `predicted`."""
        if self.weighting == "id":
            return 1.0
        _, sample, count = sample_numbers(batch.segments)[batch.loss_mask].unique(
            return_inverse=True, return_counts=True
        )
        return count[sample].reciprocal()

    def hidden(self, batch: SequenceBatch, wanted: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """What the decoder makes of the wanted flat positions, images read and put into their slots."""
        slot_index, slot_embeds = self._slots(batch) if len(batch.images) else (None, None)
        return self.model(
            batch.ids,
            batch.positions,
            segments=batch.segments,
            branches=batch.branches,
            places=batch.places,
            slot_index=slot_index,
            slot_embeds=slot_embeds,
            wanted=wanted,
        )

    def _slots(self, batch: SequenceBatch) -> tuple[Int[Tensor, " s"], Float[Tensor, "s d"]]:
        """The slots of all levels, and the embeds that go there. A frozen encoder costs no backward pass."""
        levels = self.model.read(batch.images)
        features = [
            rearrange(level, "n s d -> (n s) d")[source]
            for level, source in zip(levels, batch.slot_source, strict=True)
        ]
        return torch.cat(batch.slot_index), torch.cat(features)


def sample_numbers(segments: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """A number for every position, the same within a sample only."""
    rows = torch.arange(segments.shape[0], device=segments.device)[:, None]
    return rows * (segments.max() + 2) + segments


def predicted(
    loss_mask: Bool[Tensor, "b t"], segments: Int[Tensor, "b t"], branches: Int[Tensor, "b t"]
) -> Int[Tensor, " m"]:
    """The flat positions whose id is predicted, each from the position before it.

    DataError if there is none in the same segment and branch: an id would be predicted from another sample, from
    another's branch, or from padding.
    """
    same = torch.zeros_like(loss_mask)
    same[:, 1:] = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0) & (branches[:, 1:] == branches[:, :-1])
    if bool((loss_mask & ~same).any()):
        row, column = (loss_mask & ~same).nonzero()[0].tolist()
        raise DataError(f"row {row}, position {column} has loss, but no position of its own sample stands before it")
    return rearrange(loss_mask, "b t -> (b t)").nonzero().squeeze(1)
