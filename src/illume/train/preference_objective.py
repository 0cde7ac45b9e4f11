"""Direct preference optimisation on drawn ids (Rafailov et al. 2023, arXiv 2305.18290).

It does not know who preferred what, nor who drew. What is rejected enters through the difference to what is chosen
alone: its likelihood is never raised for its own sake.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from illume.data.pair_loader import PairBatch
from illume.models.unified import Unified
from illume.train.drawn_ids import drawn_log_probs
from illume.train.lm_objective import LMObjective
from illume.train.objective import Loss


@dataclass(frozen=True)
class PreferenceConfig:
    """DPO. `beta`: how dear it is to leave the start. `likelihood`: the weight of the chosen drawing's own negative
    log-likelihood, a mean over its codes, which keeps it from sinking together with the rejected one (Pang et al. 2024,
    arXiv 2404.19733); 0 is plain DPO."""

    kind: Literal["preference"] = "preference"
    beta: float = 0.1
    likelihood: float = 0.0

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta ({self.beta}) must be above 0")
        if self.likelihood < 0:
            raise ValueError(f"likelihood ({self.likelihood}) is a weight, 0 or more")


class PreferenceObjective:
    """-log sigmoid(beta * margin) of each pair, plus the chosen one's likelihood.

    margin = (chosen - its reference) - (rejected - its reference), log-probabilities of all codes of a drawing under
    the distribution that the model draws from without guidance (drawn_ids.py). The reference is the model at the start.
    Metrics, means over pairs: preference_loss, preference_accuracy (the share of margins above 0), preference_margin
    (beta times it, in nats), and chosen and rejected: how much likelier each became, in nats.
    """

    def __init__(self, model: Unified, config: PreferenceConfig | None = None) -> None:
        self.lm = LMObjective(model)
        self.config = config or PreferenceConfig()

    def modules(self) -> Mapping[str, nn.Module]:
        """As those of the language model's objective."""
        return self.lm.modules()

    def size(self, batch: PairBatch) -> int:
        """The pairs."""
        return len(batch)

    def log_probs(self, batch: PairBatch) -> Float[Tensor, "p 2 c"]:
        """Of each code of the chosen and of the rejected drawing of each pair."""
        found = drawn_log_probs(self.lm, batch.rows)
        return found.unflatten(0, (len(batch), 2))

    def loss(self, batch: PairBatch) -> Loss:
        """The mean loss over pairs."""
        each = self.log_probs(batch)
        gained = each.sum(dim=2) - batch.reference
        margin = self.config.beta * (gained[:, 0] - gained[:, 1])
        preferred = -F.logsigmoid(margin)
        value = preferred - self.config.likelihood * each[:, 0].mean(dim=1)
        metrics = {
            "preference_loss": preferred,
            "preference_accuracy": (margin > 0).float(),
            "preference_margin": margin,
            "chosen": gained[:, 0],
            "rejected": gained[:, 1],
        }
        number = max(1, len(batch))
        return Loss(value.sum() / number, {name: one.detach().sum() / number for name, one in metrics.items()})
