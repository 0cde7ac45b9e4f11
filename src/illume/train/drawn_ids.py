"""How likely a model finds the codes of drawings, as it drew them; it does not know what the drawings are worth.

At a code's place the grammar lets only codes of its level come: that is the distribution a drawing is sampled from, and
the one that is measured here. What the grammar forces (markers, ends of rows) has probability 1.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from illume.core.errors import DataError
from illume.data.collate import SequenceBatch
from illume.train.lm_objective import LMObjective, predicted, sample_numbers


def drawn_log_probs(lm: LMObjective, batch: SequenceBatch, temperature: float = 1.0) -> Float[Tensor, "n c"]:
    """Log-probabilities in nats, float32, of each drawing's codes in their order, given what stands before each.

    Every sample of the batch is a drawing, all with as many codes; n counts them row after row. `temperature` is that
    of the sampling; top-k and top-p, which change the distribution's support, are none.
    """
    where = predicted(batch.loss_mask, batch.segments, batch.branches)
    targets = rearrange(batch.ids, "b t -> (b t)")[where]
    levels = [range(start, stop) for start, stop in lm.model.config.code_ranges]
    of_level = [(targets >= level.start) & (targets < level.stop) for level in levels]
    codes = torch.stack(of_level).any(dim=0)
    hidden = lm.hidden(batch, where[codes] - 1) / temperature  # the head is linear: so are the logits divided
    targets = targets[codes]
    places, found = [], []
    for level, here in zip(levels, of_level, strict=True):
        index = here[codes].nonzero().squeeze(1)
        places.append(index)
        found.append(-lm.model.head(hidden[index], targets[index], lm.chunk, level))
    log_probs = torch.cat(found)[torch.cat(places).argsort()]
    return _by_sample(log_probs, batch, where[codes])


def _by_sample(log_probs: Float[Tensor, " m"], batch: SequenceBatch, where: Tensor) -> Float[Tensor, "n c"]:
    counts = rearrange(sample_numbers(batch.segments), "b t -> (b t)")[where].unique(return_counts=True)[1]
    if len(counts) == 0:
        return log_probs[None, :].expand(0, -1)
    if bool((counts != counts[0]).any()):
        raise DataError(
            f"drawings of one batch have {sorted(set(counts.tolist()))} codes: they have to be of one frame"
        )
    return rearrange(log_probs, "(n c) -> n c", n=len(counts))
