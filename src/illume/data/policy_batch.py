"""Drawings and what each is worth within its group, as a batch; it does not know who drew or judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from illume.data.collate import SequenceBatch


@dataclass(frozen=True)
class PolicyBatch:
    """Packed rows of drawings with as many codes each, in the order of the rows.

    `old` and `reference` are log-probabilities in nats: when drawn (None: as now), and of the model at the start (None:
    not measured against it). `told`: figures of all drawings of the step, the same in each of its batches.
    """

    rows: SequenceBatch
    advantages: Float[Tensor, " n"]
    old: Float[Tensor, "n c"] | None = None
    reference: Float[Tensor, "n c"] | None = None
    told: Mapping[str, float] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.advantages)

    def to(self, device: torch.device | str) -> "PolicyBatch":
        old = None if self.old is None else self.old.to(device)
        reference = None if self.reference is None else self.reference.to(device)
        rows, advantages = self.rows.to(device), self.advantages.to(device)
        return replace(self, rows=rows, advantages=advantages, old=old, reference=reference)
