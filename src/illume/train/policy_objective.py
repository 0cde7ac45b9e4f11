"""Group-relative policy optimisation on drawn ids (GRPO, Shao et al. 2024, arXiv 2402.03300).

It does not know who draws or who judges: batches bring drawings with what each is worth within its group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.data.policy_batch import PolicyBatch
from illume.models.unified import Unified
from illume.train.drawn_ids import drawn_log_probs
from illume.train.lm_objective import LMObjective
from illume.train.objective import Loss

Reward = Literal["share", "overall"]
EQUAL = 1e-6  # rewards of a group that spread less are the same: what is left is rounding


@dataclass(frozen=True)
class PolicyConfig:
    """GRPO: `group` drawings of each of `prompts` prompts, drawn together, then learnt from for `inner` steps.

    `reward` "share": of the criteria that apply, those that passed; "overall": 1 where all did, else 0. Drawings are
    sampled at `temperature`, neither top-k nor top-p, and log-probabilities are those of that very distribution. With
    `guidance` other than 1 drawings are of the guided distribution, and the ratio is still the unguided one's: an
    approximation. `clip` bounds the ratio, `kl` weighs the divergence from the start (0: no copy of it is kept).
    """

    kind: Literal["policy"] = "policy"
    prompts: int = 8
    group: int = 8
    inner: int = 1
    reward: Reward = "share"
    temperature: float = 1.0
    guidance: float = 1.0
    clip: float = 0.2
    kl: float = 0.0

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.inner < 1 or self.group < 2:
            raise ValueError(
                f"prompts ({self.prompts}) and inner ({self.inner}) are 1 or more, group ({self.group}) is 2 or more"
            )
        if self.temperature <= 0 or not 0 < self.clip < 1 or self.kl < 0 or self.guidance < 0:
            raise ValueError(
                f"temperature ({self.temperature}) is above 0, clip ({self.clip}) between 0 and 1, kl ({self.kl}) and "
                f"guidance ({self.guidance}) are 0 or more"
            )

    @property
    def drawings(self) -> int:
        """How many are drawn at once."""
        return self.prompts * self.group


@dataclass
class Rollout:
    """What was drawn last, over all processes, group after group: codes of all levels in a row, rewards (NaN: not
    judged), and the log-probability of each code when it was drawn."""

    codes: Int[Tensor, "n c"]
    rewards: Float[Tensor, " n"]
    old: Float[Tensor, "n c"]

    @classmethod
    def blank(cls, drawings: int, codes: int) -> "Rollout":
        """Room for it."""
        return cls(torch.zeros(drawings, codes, dtype=torch.long), torch.zeros(drawings), torch.zeros(drawings, codes))


class PolicyObjective:
    """-min(ratio * A, clipped ratio * A) + kl * KL, a mean over the codes of a drawing, then over drawings.

    ratio = p(code) / p(code when drawn); A is the drawing's advantage; KL is estimated from the drawn codes without
    bias, and never below 0 (Schulman 2020, "Approximating KL divergence": k3). Metrics: policy_loss, clipped (the share
    of codes whose ratio the clip holds), kl, and what the batch tells of the step's drawings.

    Its state is the rollout: steps that learn from it again go on with it after a stop.
    """

    def __init__(self, model: Unified, config: PolicyConfig, num_codes: int) -> None:
        self.lm = LMObjective(model)
        self.config = config
        self.rollout = Rollout.blank(config.drawings, num_codes)

    def modules(self) -> Mapping[str, nn.Module]:
        """As those of the language model's objective."""
        return self.lm.modules()

    def size(self, batch: PolicyBatch) -> int:
        """The drawings."""
        return len(batch)

    def loss(self, batch: PolicyBatch) -> Loss:
        """The mean loss over drawings."""
        new = drawn_log_probs(self.lm, batch.rows, self.config.temperature)
        old = new.detach() if batch.old is None else batch.old
        worth, clip = batch.advantages[:, None], self.config.clip
        ratio = (new - old).exp()
        held = ratio.clamp(1 - clip, 1 + clip)
        gained = torch.minimum(ratio * worth, held * worth)
        apart = torch.zeros_like(new) if batch.reference is None else divergence(new, batch.reference)
        value = self.config.kl * apart - gained
        metrics = {"policy_loss": -gained, "clipped": (held * worth < ratio * worth).float(), "kl": apart}
        number = max(1, len(batch))
        told = {name: one.detach().mean(dim=1).sum() / number for name, one in metrics.items()}
        loss = value.mean(dim=1).sum() / number
        return Loss(loss, {**told, **batch.told}, dict.fromkeys(batch.told, 1))

    def state(self) -> dict[str, Any]:
        """The rollout, to load into."""
        return dict(vars(self.rollout))

    def load_state(self, state: dict[str, Any]) -> None:
        self.rollout = Rollout(**state)


def group_advantages(rewards: Float[Tensor, "p g"]) -> Float[Tensor, "p g"]:
    """How much better each drawing is than its group, in the group's standard deviations; groups are rows.

    Drawings without a reward (NaN) neither count nor are learnt from; a group of equal rewards says nothing: all zero.
    """
    known = ~rewards.isnan()
    number = known.sum(dim=1, keepdim=True).clamp(min=1)
    mean = rewards.nan_to_num(0).sum(dim=1, keepdim=True) / number
    off = torch.where(known, rewards - mean, 0)
    spread = (off.square().sum(dim=1, keepdim=True) / number).sqrt()
    return torch.where(spread > EQUAL, off / spread.clamp(min=EQUAL), 0)


def divergence(new: Float[Tensor, "n c"], reference: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """k3, an estimate of KL(new || reference) from ids drawn of `new`: r - 1 - log r of r = reference / new."""
    log_ratio = reference - new
    return log_ratio.exp() - 1 - log_ratio
