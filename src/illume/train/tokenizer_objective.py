"""Training a vision tokenizer to give back its frozen encoder's features; it knows no pixels beyond the encoder."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from illume.data.collate import ImageBatch
from illume.models.tokenizer import LevelPass, VisionTokenizer
from illume.train.losses import feature_loss
from illume.train.objective import Loss


class TokenizerObjective:
    """Cosine and smooth-L1 on the features, and the quantisers' own losses; a mean over levels. No loss on pixels.

    Where a batch has views, the groups of the code are taken from them: see VisionTokenizer.forward.

    `steps` is the length of the training, of which the quantisers' phases are shares. Gradients are a mean over images;
    the codebooks' statistics add up over micro-batches and processes inside `after_step`.
    """

    def __init__(self, tokenizer: VisionTokenizer, steps: int) -> None:
        self.tokenizer = tokenizer
        self.steps = steps

    def modules(self) -> Mapping[str, nn.Module]:
        return {"tokenizer": self.tokenizer}

    def size(self, batch: ImageBatch) -> int:
        """The images."""
        return len(batch.pixels)

    def loss(self, batch: ImageBatch) -> Loss:
        """Metrics of each level end in its number."""
        values: list[Tensor] = []
        metrics: dict[str, float | Tensor] = {}
        for number, level in enumerate(self.tokenizer(batch.pixels, batch.views)):
            features = feature_loss(level.rebuilt, level.target)
            values.append(features + level.quantizer.loss)
            metrics |= {f"{name}_{number}": value for name, value in _metrics(level, features).items()}
        return Loss(torch.stack(values).mean(), metrics)

    def after_step(self, step: int) -> None:
        """Let the codebooks move."""
        self.tokenizer.after_step(step, self.steps)


def _metrics(level: LevelPass, features: Tensor) -> dict[str, Tensor]:
    return {"features": features.detach(), "quantizer": level.quantizer.loss.detach(), **level.quantizer.metrics}
